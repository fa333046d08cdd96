"""Effects at each length of training: how they differ between lengths, and this part of a report."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from recipes.ablation.design import Effect
from recipes.ablation.effects import Block, estimate
from recipes.ablation.endpoints import Interval
from recipes.ablation.findings import Findings
from recipes.ablation.observations import load_blocks
from recipes.ablation.plots import plot_lengths
from recipes.ablation.runs import Row
from recipes.ablation.verdicts import IDENTICAL, Verdict
from recipes.errors import UserError
from recipes.reports.document import Charts, Heading, Part, Table

LEVEL = 0.95


def measure_differences(short: Findings, long: Findings) -> dict[Effect, Interval]:
    """Measure how much larger each effect is at the longer training.

    The score of each run at the shorter length is subtracted from that of the same arm, seed and data at the longer
    one, row by row. The effects on these differences are estimated as those on scores are.

    Args:
        short: the study at one length.
        long: the study at a larger one.

    Returns:
        The differences, with intervals that hold for all of them at once. Effects that have no estimate at one of the
        two lengths are missing; so are all where nothing measures chance.
    """
    verdicts = {
        verdict.effect: (verdict, other)
        for verdict, other in zip(short.mains, long.mains, strict=True)
        if verdict.has_estimate and other.has_estimate
    }
    identical = [effect for effect, pair in verdicts.items() if all(each.word == IDENTICAL for each in pair)]
    design = short.design.restrict_to(long.design.arms)
    common = {_identify(row) for row in short.finished_rows} & {_identify(row) for row in long.finished_rows}
    short_blocks, long_blocks = (
        load_blocks(design, [row for row in each.rows if _identify(row) in common], each.metric)
        for each in (short, long)
    )
    try:
        family, _ = estimate(design, list(map(subtract_block, long_blocks, short_blocks)), identical)
    except UserError:  # too few runs have finished at both lengths
        return {}
    if not family.effects:
        return {}
    ((lows, highs),) = family.simultaneous_intervals(LEVEL)
    numbers = zip(family.effects, family.values.tolist(), lows.tolist(), highs.tolist(), strict=True)
    return {effect: Interval(*interval) for effect, *interval in numbers if effect in verdicts}


def _identify(row: Row) -> tuple[str, tuple[int, ...], int]:
    return row.data, row.arm, row.seed


def subtract_block(block: Block, other: Block) -> Block:
    """Subtract the scores of the same arms and seeds, row by row."""
    index = {run: number for number, run in enumerate(_list_runs(other))}
    order = [index[run] for run in _list_runs(block)]
    fingerprints = [f"{one} {other.fingerprints[run]}" for one, run in zip(block.fingerprints, order, strict=True)]
    return replace(block, rows=block.rows - other.rows[np.array(order)], fingerprints=fingerprints)


def _list_runs(block: Block) -> Sequence[tuple[int, int]]:
    return list(zip(block.arms.tolist(), block.seeds.tolist(), strict=True))


def build_length_parts(findings: Findings) -> Iterator[Part]:
    """Build the table and the plot of effects by length; nothing for a study of one length."""
    if len(findings.by_length) < 2:
        return
    lengths = [f"{length:g}" for length in findings.by_length]
    yield Heading("By training length")
    yield (
        f"The study was repeated at {', '.join(lengths[:-1])} and {lengths[-1]} times the updates. All verdicts of "
        "this report, and the recommended recipe, are of the longest. The intervals of one length hold at once. "
        f"The last column is how much larger an effect is at {lengths[-1]} than at {lengths[0]} times the updates, run "
        "by run with the same seed and data. Its intervals hold at once, for a single look at the study."
    )
    by_effect = [{verdict.effect: verdict for verdict in each.mains} for each in findings.by_length.values()]
    yield Table(
        ["level", *(f"{length} x the updates" for length in lengths), "difference"],
        [
            [
                findings.name(verdict.effect),
                *(_describe_verdict(each[verdict.effect]) for each in by_effect),
                _describe_difference(findings.differences.get(verdict.effect)),
            ]
            for verdict in findings.mains
        ],
    )
    yield Charts(plot_lengths(findings))


def _describe_difference(difference: Interval | None) -> str:
    if difference is None:
        return ""
    return f"{difference.value:+z.4f} ({difference.low:+z.4f} to {difference.high:+z.4f})"


def _describe_verdict(verdict: Verdict) -> str:
    if not verdict.has_estimate:
        return verdict.word
    low, high = verdict.interval
    return f"{verdict.word}: {verdict.value:+z.4f} ({low:+z.4f} to {high:+z.4f})"
