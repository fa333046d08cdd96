"""The part of a report on the length of training: each effect at each multiple of the updates."""

from collections.abc import Iterator

from recipes.ablation.findings import Findings
from recipes.ablation.plots import draw_lengths
from recipes.ablation.verdicts import Verdict
from recipes.reports.document import Heading, Part, Table


def build_length_parts(findings: Findings) -> Iterator[Part]:
    """Build the table and the plot of effects by length; nothing for a study of one length."""
    if len(findings.by_length) < 2:
        return
    lengths = [f"{length:g}" for length in findings.by_length]
    yield Heading("By training length")
    yield (
        f"The study was repeated at {', '.join(lengths[:-1])} and {lengths[-1]} times the updates. All verdicts of "
        "this report, and the recommended recipe, are of the longest. The intervals of one length hold at once. "
        "Those of different lengths are each on their own."
    )
    by_effect = [{verdict.effect: verdict for verdict in each.mains} for each in findings.by_length.values()]
    yield Table(
        ["", *(f"{length} x the updates" for length in lengths)],
        [
            [findings.name(verdict.effect), *(_describe_verdict(each[verdict.effect]) for each in by_effect)]
            for verdict in findings.mains
        ],
    )
    yield lambda to: draw_lengths(findings, to)


def _describe_verdict(verdict: Verdict) -> str:
    if not verdict.has_estimate:
        return verdict.word
    low, high = verdict.interval
    return f"{verdict.word}: {verdict.value:+z.4f} ({low:+z.4f} to {high:+z.4f})"
