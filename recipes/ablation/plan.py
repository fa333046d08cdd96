"""The plan of a study: its runs, the effects that it can estimate, and how long it takes; printed before it starts."""

import math
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from statistics import median

import numpy as np
from scipy.stats import norm

from recipes.ablation.design import Design
from recipes.ablation.factors import Space
from recipes.ablation.spread import PRIOR, RANGE, Spread
from recipes.config import Config
from recipes.reports.tables import console_for_tables

TRIAL_UPDATES = 6
# Assumptions behind the smallest effect. The spread over seeds is not one of them: see `spread.py`.
CHANGED_FRACTION = 0.1
"""The fraction of the answers that a trick changes."""
POWER = 0.8
ALPHA = 0.05
DRAWS = 2_000
"""Spreads over seeds that the range of the smallest effect is computed from."""
MIN_ALIAS = 0.1
"""Aliases with a smaller coefficient are not listed."""


def describe_plan(
    space: Space,
    design: Design,
    seeds: int,
    rows: Mapping[str, int],
    warnings: Iterable[str] = (),
    lengths: Sequence[float] = (1,),
) -> Iterator[tuple[str, str]]:
    """Describe the plan in lines, each a (name, text).

    Args:
        space: what varies.
        design: the arms.
        seeds: number of seeds of each arm on each data set.
        rows: number of labelled validation rows of each data set.
        warnings: what biases the comparison, in sentences.
        lengths: multiples of the updates at which the study is repeated.
    """
    for factor in space.factors:
        yield "varies", f"{factor.name}: {', '.join(factor.levels)}"
    if space.always:
        yield "always", ", ".join(space.always)
    runs = len(design.arms) * seeds * len(space.data) * len(lengths)
    at_lengths = (
        f", each at {' and '.join(f'{each:g}' for each in lengths)} times the updates" if len(lengths) > 1 else ""
    )
    sets = ", ".join(f"{name} ({count:,} validation rows)" for name, count in rows.items())
    yield "runs", f"{runs}: {len(design.arms)} arms ({design.kind}), {seeds} seeds, on {sets}{at_lengths}"
    contrasts = design.contrasts()
    mains = [effect for effect in design.mains if effect in contrasts]
    pairs = [pair for pair in design.pairs if pair in contrasts]
    yield "estimates", f"{len(mains)} effects ({design.estimand}) and {len(pairs)} of {len(design.pairs)} pairs"
    for effect in design.mains:
        if effect not in contrasts:
            yield "cannot", f"{space.name_effect(effect.terms)}: this design has no two arms that differ in it"
    if groups := design.inseparable_pairs():
        names = ", ".join(" = ".join(space.name_effect(pair.terms) for pair in group) for group in groups)
        yield "cannot", f"pairs (joined by = if the arms cannot tell them from each other): {names}"
    for effect, aliases in design.aliases().items():
        terms = [
            f"{coefficient:+.2f} of {space.name_effect(pair.terms)}"
            for pair, coefficient in aliases.items()
            if abs(coefficient) >= MIN_ALIAS
        ]
        if terms:
            yield "aliased", f"{space.name_effect(effect.terms)} includes {', '.join(terms)}"
    for warning in warnings:
        yield "warning", warning
    yield (
        "detects",
        f"{describe_range(design, seeds, rows, dict.fromkeys(rows, PRIOR))}, as in the project's own studies; the "
        "first runs of the base will narrow this",
    )


def describe_range(design: Design, seeds: int, rows: Mapping[str, int], spreads: Mapping[str, Spread]) -> str:
    """Describe the smallest effect that a study detects, and the spread over seeds behind it, as ranges."""
    low, high = predict_smallest_effect(design, seeds, rows, spreads)
    deviations = [each.quantiles([0.5 - RANGE / 2, 0.5 + RANGE / 2]) for each in spreads.values()]
    least, most = min(each[0] for each in deviations), max(each[1] for each in deviations)
    return (
        f"effects from {low:.3f} to {high:.3f} on ({RANGE:.0%} range), {POWER:.0%} of the time, if a trick changes "
        f"{CHANGED_FRACTION:.0%} of the answers; another seed moves a score by {least:.3f} to {most:.3f}"
    )


def predict_smallest_effect(
    design: Design, seeds: int, rows: Mapping[str, int], spreads: Mapping[str, Spread]
) -> tuple[float, float]:
    """Predict a range for the smallest effect, from what is known of the spread over seeds on each data set."""
    probabilities = (np.arange(DRAWS) + 0.5) / DRAWS
    # The spreads of different data sets are independent, so each has its own order.
    orders = np.random.default_rng(0)
    deviations = {data: orders.permutation(spreads[data].quantiles(probabilities)) for data in rows}
    low, high = np.quantile(
        estimate_smallest_effect(design, seeds, rows, deviations), [0.5 - RANGE / 2, 0.5 + RANGE / 2]
    )
    return float(low), float(high)


def estimate_smallest_effect(
    design: Design, seeds: int, rows: Mapping[str, int], deviations: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Estimate the smallest single effect that is significant with a probability of `POWER`, by normal theory.

    The variance over seeds falls with the number of runs behind an effect, the variance over rows with the number of
    rows alone. The level is corrected for the number of effects (Bonferroni).

    Args:
        design: the arms.
        seeds: number of seeds.
        rows: number of labelled validation rows of each data set.
        deviations: of a score over seeds on each data set; arrays of the same shape as the result.
    """
    contrasts = design.contrasts()
    weights = [contrasts[effect] for effect in design.mains if effect in contrasts]
    factor = max(float(each @ each) for each in weights) / seeds
    variances = [factor * deviations[data] ** 2 + CHANGED_FRACTION / count for data, count in rows.items()]
    critical_value = norm.ppf(1 - ALPHA / 2 / len(weights))
    smallest: np.ndarray = (critical_value + norm.ppf(POWER)) * np.sqrt(np.mean(variances, axis=0) / len(rows))
    return smallest


def estimate_detectable(intervals: Sequence[tuple[float, float]]) -> float:
    """Estimate the smallest effect that is significant with a probability of `POWER`, from measured intervals.

    Args:
        intervals: of all effects, which hold at once. The widest one decides.
    """
    half = max((high - low) / 2 for low, high in intervals)
    # The half width is a critical value times the standard error.
    return half * (1 + float(norm.ppf(POWER) / norm.ppf(1 - ALPHA / 2 / len(intervals))))


def print_plan(lines: Iterable[tuple[str, str]]) -> None:
    """Print lines of a plan; a name that repeats is printed once."""
    console = console_for_tables()
    previous = ""
    for name, line in lines:
        console.print(f"  {name if name != previous else '':<9} {line}", markup=False, soft_wrap=True)
        previous = name


def measure_run_seconds(config: Config) -> float:
    """Extrapolate how long a run takes from a trial of a few updates in a temporary folder, in seconds."""
    from recipes.api import finetune_config

    never = float(10**6)
    trial = replace(
        config,
        doctor="off",
        train=replace(config.train, max_updates=TRIAL_UPDATES),
        evaluate=replace(config.evaluate, every=never),
        checkpoint=replace(config.checkpoint, every=never, save_model=False),
    )
    with tempfile.TemporaryDirectory(prefix="trickbook-trial-") as folder, redirect_stdout(StringIO()):
        with redirect_stderr(StringIO()):
            start = time.perf_counter()
            lines = finetune_config(trial, Path(folder) / "run").updates
            total = time.perf_counter() - start
    if not lines:
        # A procedure of more than one run logs no updates, and model=linear is already trained in full.
        is_linear = config.model.source == "linear"
        return total * (1 if is_linear else (config.train.max_updates or TRIAL_UPDATES) / TRIAL_UPDATES)
    updates_per_epoch = lines[-1]["update"] / lines[-1]["epoch"]
    updates = config.train.max_updates or math.ceil(config.train.epochs * updates_per_epoch)
    # The first updates are slower, since they fill caches; the later half is typical.
    seconds_per_update = median(line["seconds"] for line in lines[len(lines) // 2 :])
    return float(total + (updates - len(lines)) * seconds_per_update)
