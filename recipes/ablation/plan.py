"""What a study is going to run, what that can tell and what not, and how long it takes; said before it starts."""

import math
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from statistics import median

import numpy as np
from scipy.stats import norm

from recipes.ablation.design import Design
from recipes.ablation.factors import Space
from recipes.config import Config
from recipes.reports.tables import console_for_tables

TRIAL_UPDATES = 6
# What the smallest effect is told by, before anything is known of this data.
SEED_DEVIATION = 0.01
"""How much a seed moves a score."""
CHANGED = 0.1
"""The share of the answers that a trick changes."""
POWER = 0.8
WORTH_TELLING = 0.1
"""Less of a pair than this inside a single effect is not told."""


def told(
    space: Space, design: Design, seeds: int, rows: Mapping[str, int], doubts: Iterable[str] = ()
) -> Iterator[tuple[str, str]]:
    """The plan, a name and a line each.

    Args:
        space: what varies.
        design: the arms.
        seeds: of each arm on each data set.
        rows: labelled validation rows of each data set.
        doubts: what makes arms unlike to be judged.
    """
    for factor in space.factors:
        yield "varies", f"{factor.name}: {', '.join(factor.levels)}"
    if space.always:
        yield "always", ", ".join(space.always)
    runs = len(design.arms) * seeds * len(space.data)
    sets = ", ".join(f"{name} ({count:,} validation rows)" for name, count in rows.items())
    yield "runs", f"{runs}: {len(design.arms)} arms ({design.kind}), {seeds} seeds, on {sets}"
    known = design.contrasts()
    mains = [effect for effect in design.mains if effect in known]
    pairs = [pair for pair in design.pairs if pair in known]
    yield "tells", f"{len(mains)} effects ({design.estimand}) and {len(pairs)} of {len(design.pairs)} pairs"
    for effect in design.mains:
        if effect not in known:
            yield "not told", f"{space.effect(effect.places)}: no two arms differ in it as this design asks"
    if groups := design.inseparable():
        pairs_told = ", ".join(" = ".join(space.effect(pair.places) for pair in group) for group in groups)
        yield "not told", f"pairs, = joining those that look alike: {pairs_told}"
    for effect, borne in design.aliases().items():
        shares = [
            f"{share:+.2f} of {space.effect(pair.places)}"
            for pair, share in borne.items()
            if abs(share) >= WORTH_TELLING
        ]
        if shares:
            yield "mixed", f"{space.effect(effect.places)} holds {', '.join(shares)}"
    for doubt in doubts:
        yield "beware", doubt
    least = smallest_effect(design, seeds, rows)
    yield (
        "sees",
        f"{POWER:.0%} of the time an effect of {least:.3f} or more, if a seed moves a score by {SEED_DEVIATION} and a "
        f"trick changes {CHANGED:.0%} of the answers",
    )


def smallest_effect(design: Design, seeds: int, rows: Mapping[str, int]) -> float:
    """What the least visible single effect must be worth to be clear of 0 in most studies, by normal theory.

    Chance of seeds goes down with the runs that an effect is made of, chance of rows with the rows alone.
    """
    known = design.contrasts()
    weights = [known[effect] for effect in design.mains if effect in known]
    by_seeds = max(float(each @ each) for each in weights) * SEED_DEVIATION**2 / seeds
    variance = np.mean([by_seeds + CHANGED / count for count in rows.values()]) / len(rows)
    clear = norm.ppf(1 - 0.025 / len(weights)) + norm.ppf(POWER)
    return float(clear * math.sqrt(variance))


def show(lines: Iterable[tuple[str, str]]) -> None:
    """Print lines of a plan."""
    console = console_for_tables()
    before = ""
    for name, line in lines:
        console.print(f"  {name if name != before else '':<8} {line}", markup=False, soft_wrap=True)
        before = name


def seconds_of(config: Config) -> float:
    """How long a run takes, by a trial of a few updates in a folder of its own."""
    from recipes.api import finetune_config

    never = float(10**6)
    trial = replace(
        config,
        doctor="off",
        train=replace(config.train, max_updates=TRIAL_UPDATES),
        evaluate=replace(config.evaluate, every=never),
        checkpoint=replace(config.checkpoint, every=never),
    )
    with tempfile.TemporaryDirectory(prefix="trickbook-trial-") as folder, redirect_stdout(StringIO()):
        with redirect_stderr(StringIO()):
            began = time.perf_counter()
            lines = finetune_config(trial, Path(folder) / "run").updates
            whole = time.perf_counter() - began
    if not lines:
        # A procedure of several runs says nothing of single updates; model=linear is done.
        linear = config.model.source == "linear"
        return whole * (1 if linear else (config.train.max_updates or TRIAL_UPDATES) / TRIAL_UPDATES)
    updates_per_epoch = lines[-1]["update"] / lines[-1]["epoch"]
    updates = config.train.max_updates or math.ceil(config.train.epochs * updates_per_epoch)
    # The first updates warm caches up.
    return float(whole + (updates - len(lines)) * median(line["seconds"] for line in lines[len(lines) // 2 :]))
