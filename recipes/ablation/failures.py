"""Runs that did not learn: which levels break training, and whether the base has learned.

A run is *broken* if it collapsed (`recipes.metrics.has_collapsed`) or diverged. `trickbook judge` applies the rules to
logs, where a run is broken if it failed or did not learn.

- A level *breaks training* if at least two of its runs are broken, and Fisher's exact test against the runs without the
  level, one-sided, gives at most 0.05. All runs at the level leave the other effects, the healthy ones too. The p value
  is multiplied by the number of levels, unless at least half of the level's runs are broken and none without it. In a
  study in rounds it is multiplied by the number of the look as well. Without this, up to 28 % of studies called a
  harmless level breaking where any run may collapse, and up to 50 % in rounds.
- If more than one level does, the most certain one leaves first, and the others are tested again on what remains.
  Levels that the remaining arms always have together are found together.
- Any other broken run stays in with its score: no run is left out because of its own score.
- A level is *doubted* if it has broken runs, not enough for that test but more than chance explains in two of three
  cases, and fewer runs than there are without it. The noise is then measured mostly on healthy runs, and an interval is
  too narrow. It has no verdict; more seeds would tell.
- The base *did not learn* on a data set if at least half of its runs are broken. Nor did it if it is no better than its
  baselines (`health` in `metrics.json`): the low end of its 95 % interval over rows is not above the score of the
  majority class, or its score is below that of the linear baseline. Both are means over its runs. Then no level has a
  verdict. Calibration error (ece) is not compared: the majority class has hardly any.

Where the base has no run, the arms with the fewest levels on stand in for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean

import numpy as np
from scipy.stats import hypergeom

from recipes.ablation.design import Arm, Design, Effect
from recipes.ablation.factors import Space
from recipes.ablation.runs import FINISHED, Row
from recipes.ablation.verdicts import (
    DOUBTED,
    INSEPARABLE,
    LOST,
    NO_EVIDENCE,
    NOT_ESTIMABLE,
    RUNS_LEFT_OUT,
    Verdict,
)
from recipes.errors import list_names
from recipes.metrics import Predictions, is_better, is_lower_better
from recipes.prediction.pseudo_values import mean_interval, score_rows
from recipes.reports.health import BASELINES
from recipes.runs.folder import RunFolder

MAX_CHANCE = 0.05
"""Of an innocent level, or of any of them, to be called breaking."""
DOUBTFUL_CHANCE = 1 / 3
"""A level whose broken runs chance explains less often than this has no verdict of its own."""
FEWEST_BROKEN = 2
NO_VERDICT = "No verdict: "
MAKE_IT_LEARN = "Make the base learn first: more updates, or another learning rate."


@dataclass(frozen=True)
class BrokenLevel:
    """A level with broken runs."""

    effect: Effect
    broken: int
    """Number of its runs that are broken."""
    count: int
    """Number of its runs."""
    chance: float
    """How often chance alone breaks as many of its runs; of a level that breaks training, with its correction."""

    @property
    def breaks(self) -> str:
        """The verdict if it breaks training."""
        return f"breaks training ({self.broken} of {self.count} runs)"

    @property
    def cannot_tell(self) -> str:
        """The verdict if it is doubted."""
        return f"cannot tell ({self.broken} of {self.count} runs did not learn)"


def find_breaking(design: Design, outcomes: Sequence[tuple[Arm, bool]], analysis: int = 1) -> list[BrokenLevel]:
    """Find the levels that break training, the most certain one first.

    Args:
        design: has the levels.
        outcomes: the arm of each run, and whether the run is broken.
        analysis: its number, counted from 1, for a study that is judged more than once.
    """
    remaining, untested = list(outcomes), list(design.mains)
    breaking: list[BrokenLevel] = []
    while untested:
        chances = {
            effect: counts.chance * analysis * (1 if counts.is_obvious else len(untested))
            for effect in untested
            if (counts := _count(effect, remaining)).broken >= FEWEST_BROKEN
        }
        best = min(chances, key=chances.__getitem__, default=None)
        # Rounding, since the chance of 3 broken runs of 3 against 0 of 3 is 0.05 exactly.
        if best is None or round(chances[best], 9) > MAX_CHANCE:
            break
        arms = {arm for arm, _ in remaining}
        own = select_arms(arms, best)
        for effect in [effect for effect in untested if select_arms(arms, effect) == own]:
            of_level = [is_broken for arm, is_broken in remaining if arm in own]
            breaking.append(BrokenLevel(effect, sum(of_level), len(of_level), chances[best]))
            untested.remove(effect)
        remaining = [outcome for outcome in remaining if outcome[0] not in own]
    return breaking


def find_doubted(design: Design, outcomes: Sequence[tuple[Arm, bool]]) -> list[BrokenLevel]:
    """Find the levels that may break training, and whose own effect therefore has no interval.

    Args:
        design: has the levels; none of them breaks training.
        outcomes: the arm of each run, and whether the run is broken; runs of other arms are not looked at.
    """
    arms = set(design.arms)
    counts = {effect: _count(effect, [each for each in outcomes if each[0] in arms]) for effect in design.mains}
    return [
        BrokenLevel(effect, each.broken, each.count, each.chance)
        for effect, each in counts.items()
        if each.broken and each.count < each.other_count and each.chance <= DOUBTFUL_CHANCE + 1e-9
    ]


@dataclass(frozen=True)
class _Counts:
    """The runs at a level, and those without it; broken ones, and all."""

    broken: int
    count: int
    other_broken: int
    other_count: int

    @property
    def is_obvious(self) -> bool:
        """Whether at least half of the level's runs are broken, and none without it."""
        return is_mostly_broken(self.broken, self.count) and not self.other_broken

    @property
    def chance(self) -> float:
        """The p value of Fisher's exact test, one-sided."""
        return _test_exactly(self.broken, self.count, self.other_broken, self.other_count)


def _count(effect: Effect, outcomes: Sequence[tuple[Arm, bool]]) -> _Counts:
    """Count the runs at a level and without it.

    Other levels of its factor that never learned say nothing about what happens without it.
    """
    ((factor, level),) = effect.terms
    learning_levels = {arm[factor] for arm, is_broken in outcomes if not is_broken}
    own = [is_broken for arm, is_broken in outcomes if arm[factor] == level]
    others = [is_broken for arm, is_broken in outcomes if arm[factor] != level and arm[factor] in learning_levels]
    return _Counts(sum(own), len(own), sum(others), len(others))


@lru_cache(maxsize=1 << 16)
def _test_exactly(broken: int, count: int, other_broken: int, other_count: int) -> float:
    """How often `broken` or more of all broken runs are among `count` of all runs by chance."""
    return float(hypergeom.sf(broken - 1, count + other_count, broken + other_broken, count))


def select_arms(arms: set[Arm], effect: Effect) -> set[Arm]:
    """Select the arms that have the levels of an effect."""
    return {arm for arm in arms if all(arm[factor] == level for factor, level in effect.terms)}


def leave_out(design: Design, breaking: Sequence[BrokenLevel]) -> Design:
    """Return the design without the arms of the levels that break training."""
    arms = set(design.arms)
    return design.restrict_to(arms.difference(*(select_arms(arms, each.effect) for each in breaking)))


def mark(
    verdicts: Sequence[Verdict],
    breaking: Sequence[BrokenLevel],
    doubted: Sequence[BrokenLevel],
    planned: Design,
) -> list[Verdict]:
    """Replace the verdicts on levels that break training or are doubted, and on effects that are lost.

    Args:
        verdicts: on what the remaining arms can estimate.
        breaking: the levels that break training.
        doubted: the levels that may break training. Their pairs have no verdict either.
        planned: the design with all of its arms.
    """
    words = {each.effect: each.breaks for each in breaking}
    doubts = {each.effect: each.cannot_tell for each in doubted}
    contrasts = planned.contrasts()

    def mark_one(verdict: Verdict) -> Verdict:
        if verdict.effect in words:
            return Verdict(verdict.effect, words[verdict.effect], RUNS_LEFT_OUT)
        if verdict.effect in doubts:
            return Verdict(verdict.effect, doubts[verdict.effect], DOUBTED)
        is_missing = verdict.why == NOT_ESTIMABLE or verdict.word == INSEPARABLE
        if breaking and is_missing and verdict.effect in contrasts:
            return Verdict(verdict.effect, NO_EVIDENCE, LOST)
        is_doubted = any(Effect((term,)) in doubts for term in verdict.effect.terms)
        return Verdict(verdict.effect, NO_EVIDENCE, DOUBTED) if is_doubted and verdict.has_estimate else verdict

    return [mark_one(verdict) for verdict in verdicts]


def find_lost_effects(planned: Design, breaking: Sequence[BrokenLevel]) -> list[Effect]:
    """Find the effects and pairs that the planned arms could estimate and the remaining arms cannot.

    The breaking levels themselves are not among them, nor are their pairs.
    """
    remaining = leave_out(planned, breaking).contrasts()
    levels = {term for each in breaking for term in each.effect.terms}
    return [effect for effect in planned.contrasts() if effect not in remaining and not levels & set(effect.terms)]


@dataclass(frozen=True)
class BaseHealth:
    """How the base did on one data set, next to its baselines."""

    data: str
    count: int
    """Number of its finished or diverged runs."""
    broken: int
    """Number of its runs that collapsed or diverged."""
    score: float | None
    """The mean over its finished runs."""
    baselines: Mapping[str, float]
    """The score of the linear baseline and of the majority class; those that are known."""
    metric: str
    low: float = 0.0
    """The worse end of the 95 % interval of its score over rows; a mean over its finished runs."""

    @property
    def reason(self) -> str:
        """Why the base did not learn, as part of a sentence; empty if it did."""
        if is_mostly_broken(self.broken, self.count):
            return f"{self.broken} of {self.count} runs answer one class or diverged"
        if self.score is None or self.metric == "ece":
            return ""
        majority, linear = (self.baselines.get(name) for name in ("majority", "linear"))
        if majority is not None and not is_better(self.metric, self.low, majority):
            return (
                f"{self.metric} {self.score:.4f}, {self.low:.4f} at the low end; the majority class has {majority:.4f}"
            )
        if linear is not None and is_better(self.metric, linear, self.score):
            return f"{self.metric} {self.score:.4f}; the linear baseline has {linear:.4f}"
        return ""


def is_mostly_broken(broken: int, count: int) -> bool:
    """Whether at least half of the runs are broken, so that the base did not learn."""
    return 2 * broken >= count


def examine_base(rows: Sequence[Row], metric: str) -> list[BaseHealth]:
    """Examine the runs of the base on each data set.

    Args:
        rows: all runs of the study.
        metric: the chosen metric.
    """
    done = [row for row in rows if row.is_broken is not None]
    if not done:
        return []
    fewest = min(np.count_nonzero(row.arm) for row in done)
    of_base = [row for row in done if np.count_nonzero(row.arm) == fewest]
    return [
        _examine(data, [row for row in of_base if row.data == data], metric)
        for data in dict.fromkeys(row.data for row in of_base)
    ]


def _examine(data: str, rows: Sequence[Row], metric: str) -> BaseHealth:
    finished = [row for row in rows if row.status == FINISHED]
    folders = [RunFolder(row.folder) for row in finished]
    # Runs of older code have no health. Where folds rotate, each run has the baselines of its own rows.
    health = [folder.health for folder in folders if folder.health]
    scored = [{name for name, scores in each["baselines"].items() if scores and metric in scores} for each in health]
    names = [name for name in health[0]["baselines"] if all(name in each for each in scored)] if health else []
    baselines = {name: fmean(each["baselines"][name][metric] for each in health) for name in names}
    return BaseHealth(
        data,
        len(rows),
        sum(bool(row.is_broken) for row in rows),
        fmean(row.score for row in finished if row.score is not None) if finished else None,
        baselines,
        metric,
        fmean(_find_low_end(folder.load_predictions("validation"), metric) for folder in folders) if baselines else 0.0,
    )


def _find_low_end(predictions: Predictions, metric: str) -> float:
    """The worse end of the 95 % interval of a score over rows."""
    end, _ = mean_interval(score_rows(predictions, metric))
    return -end if is_lower_better(metric) else end


def explain_no_verdict(base: Sequence[BaseHealth]) -> str:
    """Explain that the base did not learn; empty if it did on every data set."""
    reasons = [f"on {each.data} ({each.reason})" for each in base if each.reason]
    if not reasons:
        return ""
    return (
        f"{NO_VERDICT}the base did not learn {list_names(reasons, quoted=False, last=' and ')}, so nothing can be "
        f"compared with it. {MAKE_IT_LEARN}"
    )


def describe_base(base: BaseHealth) -> str:
    """Describe the base next to its baselines in a sentence."""
    baselines = [f"{BASELINES[name]} {score:.4f}" for name, score in base.baselines.items()]
    score = "no score" if base.score is None else f"{base.score:.4f}"
    others = list_names(baselines, quoted=False, last=" and ")
    return f"On {base.data} the base has {base.metric} {score}, {others}."


def describe_breaking(breaking: Sequence[BrokenLevel], planned: Design, space: Space) -> Iterator[str]:
    """Describe the levels that break training, and what is lost with their runs, in sentences."""
    if not breaking:
        return
    names = [space.name_effect(each.effect.terms) for each in breaking]
    for name, each in zip(names, breaking, strict=True):
        yield (
            f"{name} {each.breaks}, p = {each.chance:.2g}. All its runs, the healthy ones too, are left out of the "
            "other effects."
        )
    lost = len(planned.arms) - len(leave_out(planned, breaking).arms)
    effects = [space.name_effect(effect.terms) for effect in find_lost_effects(planned, breaking)]
    of_effects = f", and with them what {list_names(effects, quoted=False, last=' and ')} would show" if effects else ""
    yield (
        f"This loses {lost} of {len(planned.arms)} combinations{of_effects}. To measure all of it, repeat the study "
        f"without {list_names(names, quoted=False, last=' and ')}."
    )


def describe_doubted(doubted: Sequence[BrokenLevel], space: Space) -> Iterator[str]:
    """Describe the levels that may break training, in sentences."""
    for each in doubted:
        yield (
            f"Cannot tell what {space.name_effect(each.effect.terms)} does: {each.broken} of {each.count} runs did not "
            "learn, which is too few to show that it breaks training, and too many for an interval. More seeds would "
            "tell."
        )


def describe_rule(levels: int) -> str:
    """Describe when a level breaks training.

    Args:
        levels: the number of levels that are tested.
    """
    return (
        "A level breaks training if at least two of its runs answer one class or diverged, and Fisher's exact test "
        f"against the runs without it gives p <= {MAX_CHANCE:g}. {levels} levels were tested, so p is multiplied by "
        "their number, unless at least half of the level's runs are broken and none without it. In rounds it is also "
        "multiplied by the number of the look. Any other such run stays in with its score."
    )
