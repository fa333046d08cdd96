"""How often the intervals hold that the atlas predicts for new data (recipes/ablation/expectations.py)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recipes.ablation.expectations import Features, expect
from recipes.reports.tables import markdown_table

COUNTS = (8, 12, 20)
NOISE = 0.01


@dataclass(frozen=True)
class World:
    """How the effect of a trick depends on data."""

    explained: float = 0.0
    """The fraction of its variance over data sets that the features explain."""
    heavy: bool = False
    """Whether some data sets are far from all others: noise with 3 degrees of freedom."""
    unequal: bool = False
    """Whether the noise of data sets differs, by a factor of up to 6."""
    bent: bool = False
    """Whether the effect depends on the square of a feature, which the model does not know."""


WORLDS = {
    "no dependence": World(),
    "half is explained": World(0.5),
    "90 % is explained": World(0.9),
    "heavy tails": World(0.5, heavy=True),
    "unequal noise": World(0.5, unequal=True),
    "a square": World(0.5, bent=True),
}


def describe(studies: int, processes: int) -> Iterator[str]:
    """Describe the coverage of the intervals in lines of Markdown.

    Args:
        studies: number of simulated data sets a line.
        processes: not used, since a line takes seconds.
    """
    rows = []
    for name, world in WORLDS.items():
        for count in COUNTS:
            holds, width = simulate(world, count, studies, np.random.default_rng(0))
            rows.append([f"{name}; {count}", f"{holds:.3f}", f"{width / NOISE:.2f}"])
    yield f"Intervals of 95 % for one more data set, {studies} each"
    yield markdown_table(["world; data sets", "held", "median width / noise"], rows)


def simulate(world: World, count: int, studies: int, random: np.random.Generator) -> tuple[float, float]:
    """Count how often the interval for one more data set holds, and measure its median width."""
    holds, widths = [], []
    for _ in range(studies):
        features, effects = draw(world, count + 1, random)
        prediction = expect(effects[:-1], features[:-1], features[-1], 0.0)
        assert prediction is not None
        low, high = prediction.interval
        holds.append(low <= effects[-1] <= high)
        widths.append(high - low)
    return float(np.mean(holds)), float(np.median(widths))


def draw(world: World, count: int, random: np.random.Generator) -> tuple[list[Features], np.ndarray]:
    """Draw data sets and the effect of a trick on each of them."""
    classes = random.choice([2, 2, 2, 3, 6, 10, 20], count)
    majority = 1 / classes + (1 - 1 / classes) * random.beta(1, 4, count)
    length, base = np.exp(random.normal(2.7, 0.6, count)), random.beta(12, 2, count)
    features = [Features(1000.0, *map(float, each)) for each in zip(classes, majority, length, base, strict=True)]
    scaled = np.column_stack([np.log(classes), majority, np.log(length), -np.log(1 - base)])
    scaled = (scaled - scaled.mean(0)) / (scaled.std(0) + 1e-12)
    signal = scaled @ random.standard_normal(4) / 2
    if world.bent:
        signal = signal + (scaled[:, 2] ** 2 - 1) / 2
    noise = random.standard_t(3, count) / 3**0.5 if world.heavy else random.standard_normal(count)
    if world.unequal:
        noise = noise * np.exp(random.uniform(-0.9, 0.9, count))
    ratio = np.sqrt(world.explained / (1 - world.explained))
    return features, 0.003 + NOISE * (ratio * signal + noise)
