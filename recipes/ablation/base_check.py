"""Before a study spends its runs: has its base learned, how much does a seed move it, does it need more updates?

The first seeds of the base run first. They are part of the study, so they cost nothing. Under a schedule that falls to
0 every curve flattens at its end, so a curve cannot show that a run was too short. Therefore one more run of the base
has twice the updates. Its gain is compared with the mean of the base's runs, in the light of the spread over seeds:

- *still improving*: better by more than the margin, and the 80 % interval of the gain excludes 0,
- *unclear*: better by more than the margin, but a seed may do as much.

With more than one data set, the error of 20 % is divided by their number. Where folds rotate, only runs on the first
fold are compared: another fold has other rows.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import t

from recipes.ablation.design import Arm, Design
from recipes.ablation.factors import Space
from recipes.ablation.failures import examine_base, explain_no_verdict
from recipes.ablation.runs import FINISHED, Row
from recipes.ablation.spread import PRIOR, RANGE, Spread
from recipes.errors import UserError
from recipes.metrics import is_lower_better
from recipes.runs.folder import RunFolder

BASE_RUNS = 2
"""Seeds of the base that run before the other arms."""
LONGER = 2
"""Multiple of the updates in the run that checks the length."""
HOW_TO_GO_ON = "Nothing else has run. To study this base nevertheless: hydra.sweeper.check_base=false."
RunAll = Callable[[Space, Sequence[Arm], Sequence[int]], Sequence[Row]]


@dataclass(frozen=True)
class Comparison:
    """The base at the study's length and at twice that length."""

    score: float
    """Mean at the study's length; higher is better."""
    gain: float
    low: float
    high: float
    margin: float

    @property
    def is_improving(self) -> bool:
        """Whether it must be trained longer."""
        return self.gain > self.margin and self.low > 0

    @property
    def is_unclear(self) -> bool:
        """Whether the gain is above the margin, but within what a seed does."""
        return self.gain > self.margin and self.low <= 0


def compare_lengths(scores: Sequence[float], longer: float, prior: Spread, margin: float, sets: int) -> Comparison:
    """Compare runs with one that has twice the updates.

    Args:
        scores: of the runs with the study's length; higher is better.
        longer: score of the longer run.
        prior: the spread over seeds before these runs.
        margin: a gain below it does not matter.
        sets: number of data sets that are compared in this way.
    """
    spread, gain = prior.update(scores), longer - float(np.mean(scores))
    critical_value = float(t.ppf(1 - (1 - RANGE) / 2 / sets, spread.degrees_of_freedom))
    half = critical_value * spread.deviation * math.sqrt(1 + 1 / len(scores))
    return Comparison(float(np.mean(scores)), gain, gain - half, gain + half, margin)


@dataclass(frozen=True)
class BaseRuns:
    """The first runs of the base."""

    space: Space
    metric: str
    rows: Sequence[Row]

    @property
    def finished(self) -> dict[str, list[Row]]:
        """The finished runs on each data set."""
        return {
            data: [row for row in self.rows if (row.data, row.status) == (data, FINISHED)] for data in self.space.data
        }

    @property
    def spreads(self) -> dict[str, Spread]:
        """The spread of a score over seeds on each data set."""
        return {
            data: PRIOR.update(self.scores(_on_fold_of(rows[0], rows) if rows else []))
            for data, rows in self.finished.items()
        }

    def scores(self, rows: Sequence[Row]) -> list[float]:
        """The scores of some runs; higher is better."""
        sign = -1 if is_lower_better(self.metric) else 1
        return [sign * row.score for row in rows if row.score is not None]


def run_base(space: Space, design: Design, seeds: int, metric: str, run: RunAll) -> BaseRuns:
    """Run the first seeds of the base, which are runs of the study if the base is one of its arms.

    Args:
        space: what varies.
        design: the arms.
        seeds: number of seeds of the study.
        metric: the score.
        run: makes the runs that are not finished.
    """
    # Rows of an arm outside the design must not be among those of the study.
    own_space = space if space.base in design.arms else replace(space)
    return BaseRuns(space, metric, run(own_space, [space.base], range(min(BASE_RUNS, seeds))))


def check_base(base: BaseRuns, margin: float, lengths: Sequence[float], run: RunAll) -> list[tuple[str, str]]:
    """Check that the base has learned, and with one more run on each data set that it is trained for long enough.

    Args:
        base: its first runs.
        margin: a gain below it does not matter.
        lengths: of the study, as multiples; the runs have the last one.
        run: makes the runs that are not finished.

    Returns:
        What was found, as lines of the plan; those that the report must mention are called `warning`.

    Raises:
        UserError: the base has not learned, or still improves, on some data set.
    """
    # A model without a training loop has no length.
    timed = {data: rows for data, rows in base.finished.items() if rows and RunFolder(rows[0].folder).updates}
    longer_space = replace(base.space, data={data: base.space.data[data] for data in timed})
    longer_space = replace(longer_space, length=base.space.length * LONGER)
    longer_rows = run(longer_space, [base.space.base], range(1)) if timed else []
    longer = {row.data: row for row in longer_rows if row.status == FINISHED}
    comparisons = {
        data: compare_lengths(base.scores(on_fold), base.scores([row])[0], PRIOR, margin, len(longer))
        for data, row in longer.items()
        if (on_fold := _on_fold_of(row, timed[data]))
    }
    improving = [data for data, each in comparisons.items() if each.is_improving]
    no_verdict = explain_no_verdict(examine_base(base.rows, base.metric))
    if improving or no_verdict:
        advice = _advise_length([longer[data] for data in improving], lengths) if improving else no_verdict
        gains = (f"{data}: {_describe_gain(comparisons[data], base.metric)}." for data in improving or comparisons)
        raise UserError(" ".join([advice, *gains, HOW_TO_GO_ON]))
    return [_describe_comparison(data, each, base.metric) for data, each in comparisons.items()]


def _on_fold_of(run: Row, rows: Sequence[Row]) -> list[Row]:
    """Select the runs that are scored on the same fold as one run."""
    return [row for row in rows if row.fold == run.fold]


def _describe_gain(comparison: Comparison, metric: str) -> str:
    return (
        f"twice the updates improve {metric} by {comparison.gain:+.4f} ({RANGE:.0%} interval {comparison.low:+.4f} to "
        f"{comparison.high:+.4f})"
    )


def _describe_comparison(data: str, comparison: Comparison, metric: str) -> tuple[str, str]:
    gain = f"{data}: {_describe_gain(comparison, metric)}"
    if comparison.is_unclear:
        return "warning", f"{gain}: the base may be too short, but a seed may do as much; more updates are safer."
    return "length", f"{gain}, not more than hydra.sweeper.margin={comparison.margin:g}: it is long enough."


def _advise_length(longer: Sequence[Row], lengths: Sequence[float]) -> str:
    """Name the number of updates, and the setting that sets it."""
    updates = max(RunFolder(row.folder).updates[-1]["update"] for row in longer)
    train = RunFolder(longer[0].folder).config["train"]
    name = "epochs" if train["max_updates"] is None else "max_updates"
    setting = f"train.{name}={train[name]:g}"
    if list(lengths) != [1]:
        setting = f"hydra.sweeper.lengths=[{','.join(f'{LONGER * each:g}' for each in lengths)}]"
    return f"Train longer first: {updates} updates ({setting})."
