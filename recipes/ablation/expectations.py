"""What the trick atlas lets one expect of a trick on new data: a prediction with its interval, or an abstention.

The atlas (docs/atlas.md) has the effect of each trick on some data sets. A prediction for another one is their mean,
moved by how the data set differs from them. The model is linear: the effects are mean + features * slopes + noise,
the slopes are normal, and all slopes together explain a quarter of what the noise does. So the prediction is that of
kriging with a linear kernel, and its interval is Student's with k - 1 degrees of freedom for k data sets (Gelman and
others 2013, Bayesian Data Analysis, 14.8). With a larger part for the slopes, intervals held in 92 % where there are no
slopes. The prediction is for the effect that a study would *measure*, which has the noise of one.

A prediction from few data sets says nothing, so there is none from fewer than eight. `hold_out` counts how often the
intervals hold on real data sets, each left out in turn. `scripts/calibrate.py expectations` counts them in simulations.
"""

import csv
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from scipy.stats import beta, t

from recipes.config import CONF

STORED = CONF / "atlas.csv"
"""The effects, made of the stored rows by `scripts/atlas.py page`."""
MIN_DATA_SETS = 8
"""With fewer data sets there is no prediction."""
LEVEL = 0.95
EXPLAINED = 0.25
"""What all slopes together explain of the variance over data sets, relative to the noise."""


@dataclass(frozen=True)
class Features:
    """What effects may depend on."""

    rows: float
    """Training rows."""
    classes: float
    majority: float
    """The fraction of the largest class."""
    length: float
    """The median length of a text: words, or characters where words have no spaces."""
    base: float | None = None
    """The accuracy without any trick; None: unknown, and not used."""

    def as_array(self) -> np.ndarray:
        """As numbers on a scale on which differences of each feature are alike, (feature)."""
        base = math.nan if self.base is None else -math.log(1 - min(self.base, 0.999))
        return np.array([math.log(self.rows), math.log(self.classes), self.majority, math.log(self.length), base])


@dataclass(frozen=True)
class Measured:
    """The effects of a trick on one data set of the atlas."""

    trick: str
    study: str
    """The tricks that it was measured with."""
    language: str
    encoder: str
    updates: int
    data: str
    accuracy: float
    loss: float
    """By how much the log loss falls."""
    passes: float
    """By how much the trick multiplies the passes of training."""
    rows: float
    classes: float
    majority: float
    length: float
    base: float

    @property
    def features(self) -> Features:
        """Of the data set."""
        return Features(self.rows, self.classes, self.majority, self.length, self.base)


@dataclass(frozen=True)
class Expectation:
    """What to expect of a trick."""

    mean: float
    interval: tuple[float, float]
    chance: float
    """The probability that the effect is above the margin."""


@dataclass(frozen=True)
class Coverage:
    """How many intervals held, of those that were tried on data sets that they had not seen."""

    count: int
    tried: int

    @property
    def interval(self) -> tuple[float, float]:
        """Of the true rate: Clopper and Pearson 1934, 95 %."""
        low = float(beta.ppf(0.025, self.count, self.tried - self.count + 1)) if self.count else 0.0
        high = float(beta.ppf(0.975, self.count + 1, self.tried - self.count)) if self.count < self.tried else 1.0
        return low, high

    def __str__(self) -> str:
        """The counts and the interval."""
        if not self.tried:
            return "could not be tried"
        low, high = self.interval
        return f"held in {self.count} of {self.tried} ({low:.0%} to {high:.0%})"


def read_measured(path: Path = STORED) -> list[Measured]:
    """Read the effects of the atlas; none if it has none yet."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as lines:
        return [
            Measured(**{each.name: each.type(line[each.name]) for each in fields(Measured)})  # type: ignore[operator]
            for line in csv.DictReader(lines)
        ]


def write_measured(measured: Iterable[Measured], path: Path) -> None:
    """Write the effects of the atlas."""
    with path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow([each.name for each in fields(Measured)])
        writer.writerows(
            [f"{value:.6g}" if isinstance(value, float) else value for value in astuple(each)] for each in measured
        )


def describe_rows(texts: Sequence[str], labels: Sequence[str], has_spaces: bool, base: float | None = None) -> Features:
    """Describe training rows.

    Args:
        texts: of each row.
        labels: of each row.
        has_spaces: whether spaces separate words.
        base: the accuracy without any trick, if it is known.
    """
    counts = Counter(labels)
    lengths = [len(text.split()) if has_spaces else len(text) for text in texts]
    length = max(1.0, float(np.median(lengths)))
    return Features(len(labels), len(counts), max(counts.values()) / len(labels), length, base)


def select(measured: Iterable[Measured], language: str | None, encoder: str | None = None) -> dict[str, list[Measured]]:
    """Select the effects of each trick in a language, of the study and length with the most data sets.

    Args:
        measured: the atlas.
        language: of the texts.
        encoder: only of this one; None: of any.
    """
    by_trick: dict[str, dict[tuple[str, str, int], list[Measured]]] = {}
    for each in measured:
        if each.language == language and encoder in (None, each.encoder):
            by_trick.setdefault(each.trick, {}).setdefault((each.study, each.encoder, each.updates), []).append(each)
    # Among equally many data sets the longest training counts.
    return {
        trick: max(groups.items(), key=lambda group: (len(group[1]), group[0][2]))[1]
        for trick, groups in by_trick.items()
    }


@dataclass(frozen=True)
class Advice:
    """What the atlas says about new data."""

    language: str | None
    data_sets: int
    """The most data sets of the language that a trick has been measured on."""
    expected: Mapping[str, Expectation]
    """By trick, the likeliest to help first; empty if the atlas abstains."""
    passes: Mapping[str, float]
    """By how much each trick multiplies the passes of training."""
    coverage: Coverage
    """Of its intervals, on data sets of the atlas that were left out."""
    unlike: Sequence[str] = ()
    """In what the new data are outside of all data sets of the atlas, in words."""


def advise(
    new: Features,
    language: str | None,
    margin: float,
    measured: Sequence[Measured],
    tricks: Sequence[str] | None = None,
) -> Advice:
    """Predict the effect of each trick on new data, or abstain.

    Args:
        new: the features of the data.
        language: of its texts; None: unknown.
        margin: effects below it do not matter.
        measured: the atlas.
        tricks: only these; None: all.
    """
    by_trick = {trick: own for trick, own in select(measured, language).items() if tricks is None or trick in tricks}
    supported = {trick: own for trick, own in by_trick.items() if len(own) >= MIN_DATA_SETS}
    expected = {
        trick: expectation
        for trick, own in supported.items()
        if (expectation := expect([each.accuracy for each in own], [each.features for each in own], new, margin))
    }
    ordered = sorted(expected, key=lambda trick: (-expected[trick].chance, -expected[trick].mean))
    known = [each.features for own in supported.values() for each in own]
    return Advice(
        language=language,
        data_sets=max(map(len, by_trick.values()), default=0),
        expected={trick: expected[trick] for trick in ordered},
        passes={trick: float(np.mean([each.passes for each in supported[trick]])) for trick in ordered},
        coverage=hold_out(supported),
        unlike=list(_find_unlike(new, known)) if known else [],
    )


def _find_unlike(new: Features, known: Sequence[Features]) -> Iterator[str]:
    """Describe the features in which new data are outside of all that are known."""
    names = {"rows": "training rows", "classes": "classes", "majority": "largest class", "length": "median length"}
    for name, words in {**names, "base": "accuracy of the base"}.items():
        value, values = getattr(new, name), [getattr(each, name) for each in known]
        if value is not None and not min(values) <= value <= max(values):
            reach = f"{min(values):g}" if min(values) == max(values) else f"{min(values):g} to {max(values):g}"
            yield f"{words} {value:.4g} (the atlas has {reach})"


def expect(
    effects: Sequence[float], known: Sequence[Features], new: Features, margin: float, level: float = LEVEL
) -> Expectation | None:
    """Predict the effect of a trick on new data; None from fewer than eight data sets.

    Args:
        effects: on each data set of the atlas.
        known: the features of each of them.
        new: those of the new data.
        margin: effects below it do not matter.
        level: the confidence level of the interval.
    """
    if len(effects) < MIN_DATA_SETS:
        return None
    return _predict(np.asarray(effects), np.stack([each.as_array() for each in known]), new.as_array(), margin, level)


def _predict(effects: np.ndarray, known: np.ndarray, new: np.ndarray, margin: float, level: float) -> Expectation:
    """Predict by kriging with a linear kernel.

    Args:
        effects: (data set).
        known: features, (data set, feature).
        new: features, (feature); NaN where one is unknown.
        margin: effects below it do not matter.
        level: of the interval.
    """
    count, spread = len(effects), known.std(axis=0)
    # A feature that all data sets have in common, or that is unknown, explains nothing.
    used = (spread > 1e-9) & ~np.isnan(new)
    center = known.mean(axis=0)
    scale_of = spread[used] * math.sqrt(max(1, used.sum()) / EXPLAINED)
    scaled, own = ((each - center)[..., used] / scale_of for each in (known, new))
    inverse = np.linalg.inv(np.eye(count) + scaled @ scaled.T)
    information = inverse.sum()
    mean = float(inverse.sum(0) @ effects / information)
    residuals = effects - mean
    variance = float(residuals @ inverse @ residuals) / (count - 1)
    covariance = scaled @ own
    predicted = mean + float(covariance @ inverse @ residuals)
    of_mean = (1 - float(inverse.sum(0) @ covariance)) ** 2 / information
    scale = math.sqrt(variance * (1 + float(own @ own) - float(covariance @ inverse @ covariance) + of_mean))
    reach = float(t.ppf(0.5 + level / 2, count - 1)) * scale
    chance = float(t.sf((margin - predicted) / scale, count - 1)) if scale else float(predicted > margin)
    return Expectation(predicted, (predicted - reach, predicted + reach), chance)


def hold_out(by_trick: Mapping[str, Sequence[Measured]], level: float = LEVEL) -> Coverage:
    """Predict the effect on each data set from the others, and count how often the interval holds what was measured."""
    outcomes = []
    for measured in by_trick.values():
        if len(measured) < MIN_DATA_SETS:
            continue
        effects = np.array([each.accuracy for each in measured])
        features = np.stack([each.features.as_array() for each in measured])
        for left_out in range(len(measured)):
            others = np.arange(len(measured)) != left_out
            low, high = _predict(effects[others], features[others], features[left_out], 0.0, level).interval
            outcomes.append(low <= effects[left_out] <= high)
    return Coverage(int(sum(outcomes)), len(outcomes))
