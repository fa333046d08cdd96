"""The second endpoint of a study: a proper score, with intervals of its own. It decides nothing.

The chosen metric alone decides the verdicts and the recommended recipe. Accuracy and F1 see only which class is ahead,
so a trick can leave them as they are and make the probabilities better or worse. A proper score is best for the true
probabilities, and it is exact row by row, so its intervals are often narrower. Its intervals hold for all of its main
effects, and for all of its pairs, at once; they are not corrected for the chosen metric.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from recipes.ablation.design import Design, Effect
from recipes.ablation.effects import Block, estimate
from recipes.ablation.runs import FINISHED, Row
from recipes.ablation.verdicts import Verdict
from recipes.metrics import Predictions, is_lower_better
from recipes.prediction.pseudo_values import count_clipped_rows, count_unseen_rows
from recipes.runs.folder import RunFolder

NAMES = {"loss": "log loss", "brier": "Brier score"}


@dataclass(frozen=True)
class Interval:
    """An effect on the second endpoint, or a difference of effects; above 0 is better."""

    value: float
    low: float
    high: float

    @property
    def leaves_out_zero(self) -> bool:
        """Whether the effect has a sign."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class SecondEndpoint:
    """The effects on a proper score."""

    metric: str
    effects: Mapping[Effect, Interval]
    """Main effects and pairs; those without an estimate are missing."""
    unscored: Sequence[str] = ()
    """How many rows are clipped or have an unseen label, in sentences."""

    @property
    def name(self) -> str:
        """The score in a sentence."""
        return NAMES[self.metric]


def estimate_second_endpoint(
    design: Design,
    blocks: Sequence[Block],
    level: float,
    identical: Collection[Effect],
    doubted: Collection[Effect] = (),
) -> dict[Effect, Interval]:
    """Estimate the effects on a proper score; the intervals of each family hold for all of it at once.

    Args:
        design: the arms.
        blocks: the runs, scored by it.
        level: the confidence level of the intervals.
        identical: main effects that are known to be 0.
        doubted: main effects that get no interval, and nor do their pairs.
    """
    intervals: dict[Effect, Interval] = {}
    for family in estimate(design, blocks, identical):
        if family.effects:
            ((lows, highs),) = family.simultaneous_intervals(level)
            numbers = zip(family.values.tolist(), lows.tolist(), highs.tolist(), strict=True)
            intervals |= {effect: Interval(*each) for effect, each in zip(family.effects, numbers, strict=True)}
    return {
        effect: interval
        for effect, interval in intervals.items()
        if not any(Effect((term,)) in doubted for term in effect.terms)
    }


def count_unscored(rows: Sequence[Row], metric: str) -> Iterator[str]:
    """Count the validation rows of finished runs that are clipped, or left out of a proper score, in sentences."""
    finished = [row for row in rows if row.status == FINISHED]
    predictions = (RunFolder(row.folder).load_predictions("validation") for row in finished)
    return describe_unscored(predictions, metric)


def describe_unscored(predictions: Iterable[Predictions], metric: str) -> Iterator[str]:
    """Describe how many rows of runs are clipped, or left out of a proper score, in sentences.

    Args:
        predictions: of each run.
        metric: the proper score.
    """
    counts = [(count_clipped_rows(each), count_unseen_rows(each), int(each.has_label.sum())) for each in predictions]
    if not counts:
        return
    clipped, unseen, rows = (list(each) for each in zip(*counts, strict=True))
    if metric == "loss":
        if any(clipped):
            yield (
                f"The log loss is clipped at 1e-7 on {sum(clipped):,} of {sum(rows):,} rows of all runs, in "
                f"{sum(map(bool, clipped))} of {len(counts)} runs. These answers are sure and wrong."
            )
        else:
            yield "The log loss is clipped at 1e-7; no row of any run is below."
    if any(unseen):
        yield (
            f"Validation rows with a label that training does not have, which the {NAMES[metric]} leaves out: "
            f"{max(unseen):,}."
        )


def describe_disagreement(name: str, metric: str, verdict: Verdict, second: SecondEndpoint) -> str:
    """Describe a level that moves the two endpoints in opposite directions; empty if it does not.

    It is described if one of the two intervals leaves out 0, and says which of them does not.

    Args:
        name: of the level.
        metric: the chosen metric.
        verdict: on it.
        second: the other endpoint.
    """
    other = second.effects.get(verdict.effect)
    if not verdict.has_estimate or other is None or verdict.value * other.value >= 0:
        return ""
    low, high = verdict.interval
    is_clear = low > 0 or high < 0
    if not (is_clear or other.leaves_out_zero):
        return ""
    if is_lower_better(metric):
        verb = "improves" if verdict.value > 0 else "worsens"
    else:
        verb = "raises" if verdict.value > 0 else "lowers"
    other_verb = "improves" if other.value > 0 else "worsens"
    doubt, other_doubt = ("" if each else " (its interval includes 0)" for each in (is_clear, other.leaves_out_zero))
    return (
        f"{name} {verb} {metric} by {abs(verdict.value):.4f}{doubt} and {other_verb} the {second.name} by "
        f"{abs(other.value):.4f}{other_doubt}."
    )
