"""A study in rounds: it is judged at several looks, and ends when the recipe is decided.

A trick is *settled* when one of these holds:

- its verdict is clear, and a clear verdict is final,
- its interval ends below the margin, so the trick cannot be worth much,
- it has a chance below 5 % to be shown to help with all the seeds that the budget allows (predictive power).

A level that may break training (`recipes/ablation/failures.py`) is never settled.

When every trick is settled, no further round is likely to change the recipe, and the study ends. Intervals hold over
all looks (`recipes/ablation/boundaries.py`), whatever ends the study. Arms that only settled tricks need get no more
seeds. A trick that is shown to hurt or to make no difference, and that costs more passes, takes its arms out of later
rounds, if the others lose little by it. Contrasts are always those of the design as planned: arms that have left count
with the seeds that they have.

Decisions depend on finished runs only. So a study that was interrupted decides the same when it is resumed.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from recipes.ablation.boundaries import (
    ALPHA,
    DRAWS,
    LARGEST_MULTIPLIER,
    Boundary,
    JointLaw,
    draw_joint_law,
    find_boundaries,
)
from recipes.ablation.design import Arm, Design, Effect
from recipes.ablation.effects import Block, Estimates, compute_max_t_level, estimate
from recipes.ablation.verdicts import HURTS, IDENTICAL, NO_EVIDENCE, NOTHING, Verdict, find_identical, judge
from recipes.errors import list_names

ROUND_GROWTH = 1.25
"""Each round has this many times the seeds of the one before, or one more."""
LEAST_CHANCE = 0.05
"""Below this chance to be shown to help, a trick is settled."""
EXPENSIVE = 1.05
"""A settled trick that costs more passes than this may leave."""
MOST_LOSS = 1.05
"""The arms of a settled trick leave only if the other tricks' standard errors grow by less than this."""


def schedule_analyses(first: int, most: int) -> list[int]:
    """Return the number of seeds at each look, from the first to the most: 3, 4, 5, 6, 8, 10, 12, 15, ..."""
    analyses = [first]
    while analyses[-1] < most:
        analyses.append(min(most, max(analyses[-1] + 1, round(analyses[-1] * ROUND_GROWTH))))
    return analyses


class Rounds:
    """The looks of one study, and its decisions so far.

    Args:
        design: the arms.
        analyses: the number of seeds at each look.
        margin: effects smaller than this do not matter, in the metric's unit.
    """

    def __init__(self, design: Design, analyses: Sequence[int], margin: float) -> None:
        self.design, self.analyses, self.margin = design, analyses, margin
        self.arms: Sequence[Arm] = design.arms
        """The arms of the next round; none if the study has ended."""
        self.analysis = 0
        """The index of the last look."""
        self.level = 1 - ALPHA
        """The confidence level of the last look."""
        self.mains: dict[Effect, Verdict] = {}
        self.pairs: dict[Effect, Verdict] = {}
        self.doubted: Sequence[Effect] = ()
        """The main effects of levels that may break training, at this look: their numbers show nothing yet."""
        self.chances: dict[Effect, float] = {}
        """How likely each trick is shown to help at the last look."""
        self._seeds = np.repeat(np.array(analyses)[:, None], len(design.arms), axis=1)
        """The number of seeds of each arm at each look, as planned now, (analysis, arm)."""
        self._boundaries: list[Boundary] = []
        self._law: JointLaw | None = None
        self._effects: Sequence[Effect] = ()

    def judge(
        self, analysis: int, blocks: Sequence[Block], idle: Collection[Effect] = (), is_last: bool = False
    ) -> None:
        """Judge all effects at a look; the last look may be judged again.

        Args:
            analysis: its index.
            blocks: the finished runs, a block for each data set.
            idle: main effects that other runs have shown to change nothing.
            is_last: whether the study ends here for another reason than its effects, so that all of the error is left
                for this look.
        """
        self.analysis = analysis
        if is_last:
            self._seeds = self._seeds[: analysis + 1]
        self.level = 1 - ALPHA if len(self._seeds) == 1 else self._find_level(analysis, blocks, idle)
        mains, pairs = judge(self.design, blocks, self.margin, self.level, idle)
        # A verdict is not final while it is doubted, and a final one is taken back.
        mains = [self._take_back(verdict) for verdict in mains]
        previous = {effect: verdict for effect, verdict in self.mains.items() if effect not in self.doubted}
        self.mains, self.pairs = merge_verdicts(previous, mains), merge_verdicts(self.pairs, pairs)

    def _take_back(self, verdict: Verdict) -> Verdict:
        """Take back what a verdict says of a doubted level; its numbers stay."""
        is_doubted = verdict.effect in self.doubted and verdict.word != IDENTICAL
        return replace(verdict, word=NO_EVIDENCE) if is_doubted else verdict

    def restrict_to(self, design: Design, blocks: Sequence[Block]) -> None:
        """Judge the last look again with some of the arms only.

        Args:
            design: the design with these arms.
            blocks: their finished runs.
        """
        self._seeds = self._seeds[:, [self.design.arms.index(arm) for arm in design.arms]]
        self.design, self.mains, self.pairs = design, {}, {}
        self.judge(self.analysis, blocks)

    def _find_level(self, analysis: int, blocks: Sequence[Block], idle: Collection[Effect]) -> float:
        """Find the confidence level of a look, and how likely each trick is shown to help at the last."""
        past = self._boundaries[:analysis]
        self.chances, self._law = {}, None
        family, _ = estimate(self.design, blocks, find_identical(self.design, blocks, idle))
        if not family.effects:
            self._boundaries = [*past, Boundary(LARGEST_MULTIPLIER, 0.0)]
            return 1 - ALPHA
        if any(block.folds is not None for block in blocks):
            # With rotating folds further seeds have other rows, so no part of the noise is common to all looks.
            family = replace(
                family,
                run_covariance=family.run_covariance + family.row_covariance,
                row_covariance=np.zeros_like(family.row_covariance),
            )
        self._effects, self._law = family.effects, draw_joint_law(family, self._seeds_behind(family.effects), analysis)
        boundaries = find_boundaries(self._law, past)
        self._boundaries = boundaries[: analysis + 1]
        chances = self._law.chances(analysis, family.values[:, None], boundaries[-1].multiplier)[:, 0]
        self.chances = dict(zip(family.effects, chances.tolist(), strict=True))
        return compute_max_t_level(family.run_covariance + family.row_covariance, boundaries[analysis].multiplier)

    def _seeds_behind(self, effects: Sequence[Effect], seeds: np.ndarray | None = None) -> np.ndarray:
        """Compute the number of seeds of equal arms that give an effect the same run variance, (analysis, effect)."""
        contrasts = self.design.contrasts()
        squared_weights = np.array([contrasts[effect] for effect in effects]).T ** 2
        return np.asarray(squared_weights.sum(0) / ((1 / (self._seeds if seeds is None else seeds)) @ squared_weights))

    def choose_arms(self, passes: Mapping[Effect, float]) -> None:
        """Choose the arms of the next round, after the last look.

        Args:
            passes: the cost of each level, as a multiple of the passes without it.
        """
        analysis, open_effects = self.analysis, self._find_open()
        self.arms = ()
        if analysis == len(self._seeds) - 1 or not open_effects:
            return
        contrasts = self.design.contrasts()
        is_needed = np.any([contrasts[effect] != 0 for effect in open_effects], axis=0)
        self._seeds = self._without(~is_needed)
        all_needed = self._last_variances(open_effects, self._seeds)
        settled = [
            effect
            for effect, verdict in self.mains.items()
            if verdict.word in (HURTS, NOTHING, IDENTICAL) and passes.get(effect, 1.0) > EXPENSIVE
        ]
        for effect in sorted(settled, key=lambda each: -passes[each]):
            ((factor, level),) = effect.terms
            has_level = np.array([arm[factor] == level for arm in self.design.arms])
            fewer = self._without(has_level | (self._seeds[-1] == self._seeds[analysis]))
            variances = self._last_variances(open_effects, fewer)
            if np.all(variances <= MOST_LOSS**2 * all_needed) and np.any(fewer[-1] > fewer[analysis]):
                self._seeds = fewer
        self.arms = [
            arm
            for arm, now, later in zip(self.design.arms, self._seeds[analysis], self._seeds[analysis + 1], strict=True)
            if later > now
        ]

    def describe(self, name: Callable[[Effect], str]) -> Iterator[str]:
        """Describe the looks, why the study ended, and which arms have fewer seeds, in sentences.

        Args:
            name: names an effect.
        """
        if len(self.analyses) == 1:
            return

        def list_effects(effects: Iterable[Effect]) -> str:
            return list_names(list(map(name, effects)), quoted=False, last=" and ")

        most = self.analyses[-1]
        counts = list_names(list(map(str, self.analyses[: self.analysis + 1])), quoted=False, last=" and ")
        yield f"Seeds were added in rounds: the study was judged with {counts} seeds, of {most} that the budget allows."
        unclear = [verdict for verdict in self.mains.values() if verdict.has_estimate and not is_clear(verdict)]
        small = [each.effect for each in unclear if each.interval[1] <= self.margin and each.effect not in self.doubted]
        others = [each.effect for each in unclear if each.effect not in small]
        is_decided = self.analysis < len(self._seeds) - 1
        if is_decided:
            yield "It ended because the recipe is decided."
        elif len(self._seeds) < len(self.analyses):
            yield "It ended because a level breaks training."
        else:
            yield "It ended because the budget is used up."
        if small:
            yield f"Not worth more than {self.margin:g}: {list_effects(small)}."
        if others and is_decided:
            chance = f"{LEAST_CHANCE:.0%}".replace("%", " %")
            yield f"With a chance below {chance} to be shown to help by {most} seeds: {list_effects(others)}."
        elif others:
            yield f"Not settled: {list_effects(others)}."
        fewer = {
            effect: seeds for effect in self.mains if (seeds := self._seeds_of(effect)) < self.analyses[self.analysis]
        }
        if fewer:
            parts = [f"{name(effect)} with {seeds} seeds" for effect, seeds in fewer.items()]
            yield (
                f"Left early: {list_names(parts, quoted=False, last=' and ')}. Every effect is over the arms as "
                f"planned ({self.design.estimand}), at the seeds that each arm has."
            )

    def _seeds_of(self, effect: Effect) -> int:
        """The largest number of seeds of an arm with this level."""
        ((factor, level),) = effect.terms
        return max(
            (
                int(n)
                for arm, n in zip(self.design.arms, self._seeds[self.analysis], strict=True)
                if arm[factor] == level
            ),
            default=self.analyses[self.analysis],
        )

    def _find_open(self) -> list[Effect]:
        """Find the tricks that are not settled."""
        return [
            effect
            for effect, verdict in self.mains.items()
            if verdict.has_estimate and not is_clear(verdict) and (effect in self.doubted or self._may_help(verdict))
        ]

    def _may_help(self, verdict: Verdict) -> bool:
        """Whether a trick without a clear verdict may still be shown to help by more than the margin."""
        return verdict.interval[1] > self.margin and self.chances.get(verdict.effect, 0.0) >= LEAST_CHANCE

    def _without(self, leaves: np.ndarray) -> np.ndarray:
        """Plan the seeds if some arms get no more after this look, and all others get all, (analysis, arm)."""
        seeds, later = self._seeds.copy(), self.analysis + 1
        seeds[later:] = np.where(leaves, seeds[self.analysis], np.array(self.analyses)[later:, None])
        return seeds

    def _last_variances(self, effects: Sequence[Effect], seeds: np.ndarray) -> np.ndarray:
        """Predict the variances of effects at the last look from those at this look, (effect)."""
        assert self._law is not None
        indices = [list(self._effects).index(effect) for effect in effects]
        behind = self._seeds_behind(effects, seeds)
        run_variance = self._law.run_variance[self.analysis, indices] * behind[self.analysis] / behind[-1]
        return np.asarray(run_variance + self._law.row_variance[indices])


def merge_verdicts(previous: Mapping[Effect, Verdict], new: Iterable[Verdict]) -> dict[Effect, Verdict]:
    """Merge the verdicts of a look into the previous ones.

    A clear verdict keeps its word, with the numbers of the last look that agrees. That a level changes nothing at all
    is a fact, and overrides an estimate.
    """
    merged = {}
    for verdict in new:
        before = previous.get(verdict.effect)
        is_final = before and is_clear(before) and verdict.word not in (before.word, IDENTICAL)
        merged[verdict.effect] = before if before and is_final else verdict
    return merged


def is_clear(verdict: Verdict) -> bool:
    """Whether a verdict is final."""
    return verdict.word != NO_EVIDENCE


def expect_runs(
    design: Design, analyses: Sequence[int], margin: float, run_variance: float, row_variance: float
) -> float:
    """Expect how many runs a study takes on each data set if no trick has an effect, by drawing such studies.

    Args:
        design: the arms.
        analyses: the number of seeds at each look.
        margin: effects smaller than this do not matter.
        run_variance: of the score of one arm at one seed, averaged over the data sets.
        row_variance: of an effect over rows.
    """
    contrasts = design.contrasts()
    effects = [effect for effect in design.mains if effect in contrasts]
    weights = np.array([contrasts[effect] for effect in effects])
    count = len(effects)
    family = Estimates(
        effects=effects,
        values=np.zeros(count),
        run_covariance=run_variance * weights @ weights.T / analyses[0],
        row_covariance=row_variance * np.eye(count),
        run_degrees_of_freedom=np.full(count, max(1.0, (len(design.arms) - 1) * (analyses[0] - 1))),
        row_degrees_of_freedom=1e6,
        by_block={},
    )
    runs, _ = draw_rounds(design, family, analyses, margin, np.zeros(count))
    return float(runs.mean())


def draw_rounds(
    design: Design, family: Estimates, analyses: Sequence[int], margin: float, truth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draw studies in rounds from the joint law of their looks, in which no trick leaves before the others.

    Args:
        design: the arms.
        family: the effects with their variances at the first look.
        analyses: the number of seeds at each look.
        margin: effects smaller than this do not matter.
        truth: the true effects, (effect).

    Returns:
        The number of runs of each study on each data set, (draw), and the sign of the effects that are shown to help or
        to hurt, 0 for the others, (effect, draw).
    """
    contrasts = design.contrasts()
    has_weight = np.array([contrasts[effect] != 0 for effect in family.effects]).T.astype(float)
    law = draw_joint_law(family, np.repeat(np.array(analyses, float)[:, None], len(truth), axis=1), 0)
    boundaries = find_boundaries(law)
    runs = np.full(DRAWS, float(len(design.arms) * analyses[0]))
    claims = np.zeros((len(truth), DRAWS))
    is_running = np.ones(DRAWS, dtype=bool)
    for analysis, boundary in enumerate(boundaries):
        values, scale = law.deviations[analysis] + truth[:, None], law.scales[analysis]
        half = np.sqrt(law.squared_half_widths(analysis, boundary.multiplier, scale))
        is_new = is_running & (claims == 0) & (np.abs(values) > half)
        claims = np.where(is_new, np.sign(values), claims)
        if analysis == len(boundaries) - 1:
            break
        chances = law.chances(analysis, values, boundaries[-1].multiplier, scale)
        is_open = (claims == 0) & (values + half > margin) & (chances >= LEAST_CHANCE)
        is_running &= is_open.any(0)
        is_needed = has_weight @ is_open.astype(float) > 0
        runs += is_needed.sum(0) * is_running * (analyses[analysis + 1] - analyses[analysis])
    return runs, claims
