"""A study in rounds: its looks, when it ends, which arms leave, and what it says about them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from recipes.ablation.boundaries import ALPHA, SPENDING_POWER
from recipes.ablation.design import Arm, Design, Effect, choose
from recipes.ablation.effects import Block, Estimates
from recipes.ablation.sequential import Rounds, draw_rounds, expect_runs, merge_verdicts, schedule_analyses
from recipes.ablation.verdicts import HELPS, HURTS, IDENTICAL, NO_EVIDENCE, NOT_ESTIMABLE, NOTHING, Verdict, judge

FIRST, SECOND = Effect(((0, 1),)), Effect(((1, 1),))


def make_design(kind: str, factors: int = 2) -> Design:
    return choose([2] * factors, lambda arm: True, kind, 100)


def make_block(
    design: Design, seeds_of: dict[Arm, int], effects: Sequence[float], run: float = 0.0, row: float = 0.0
) -> Block:
    """Runs with additive effects, noise of a run, and noise of an arm on each of 100 rows, which all seeds share."""
    arms, seeds, rows = [], [], []
    for number, arm in enumerate(design.arms):
        of_rows = np.random.default_rng([7, number]).normal(0, row, 100)
        for seed in range(seeds_of[arm]):
            noise = np.random.default_rng([seed, number]).normal(0, run)
            arms.append(number)
            seeds.append(seed)
            rows.append(0.5 + np.dot(arm, effects) + noise + of_rows)
    return Block("set", np.array(arms), np.array(seeds), np.array(rows), [str(run) for run in range(len(arms))])


def run_rounds(rounds: Rounds, passes: dict[Effect, float] | None = None, **world: object) -> list[set[Arm]]:
    """Take a study through all its rounds, and return the arms of each."""
    seeds_of, requests = dict.fromkeys(rounds.design.arms, 0), []
    for analysis, seeds in enumerate(rounds.analyses):
        requests.append(set(rounds.arms))
        seeds_of |= dict.fromkeys(rounds.arms, seeds)
        rounds.judge(analysis, [make_block(rounds.design, seeds_of, **world)])  # type: ignore[arg-type]
        rounds.choose_arms(passes or {})
        if not rounds.arms:
            break
    return requests


def test_looks_grow_by_a_quarter_up_to_the_budget() -> None:
    assert schedule_analyses(3, 10) == [3, 4, 5, 6, 8, 10]
    assert schedule_analyses(2, 13) == [2, 3, 4, 5, 6, 8, 10, 12, 13]
    assert schedule_analyses(3, 3) == [3] and schedule_analyses(5, 2) == [5]


def test_a_clear_verdict_keeps_its_word_and_takes_the_numbers_of_the_last_look_that_agrees() -> None:
    before = {FIRST: Verdict(FIRST, HELPS, value=0.1), SECOND: Verdict(SECOND, NO_EVIDENCE)}
    after = merge_verdicts(before, [Verdict(FIRST, HELPS, value=0.2), Verdict(SECOND, HURTS)])
    assert (after[FIRST].value, after[SECOND].word) == (0.2, HURTS)
    for word in (NO_EVIDENCE, NOTHING, HURTS):
        assert merge_verdicts(before, [Verdict(FIRST, word)])[FIRST] == before[FIRST]
    # That nothing changes is a fact, not an estimate.
    assert merge_verdicts(before, [Verdict(FIRST, IDENTICAL)])[FIRST].word == IDENTICAL


def test_a_study_ends_when_its_recipe_is_decided_and_not_when_every_verdict_is_clear() -> None:
    """The first trick helps. The second has no effect, and its interval stays wider than the margin."""
    rounds = Rounds(make_design("full"), [3, 4, 5, 6, 8, 10], margin=0.01)
    requests = run_rounds(rounds, effects=(0.3, -0.02), run=0.02, row=0.02)
    assert 1 <= len(requests) < 6
    assert rounds.mains[FIRST].word == HELPS and rounds.chances[SECOND] < 0.05
    assert rounds.mains[SECOND].word == NO_EVIDENCE
    *_, ended, chance = rounds.describe(lambda effect: "first" if effect == FIRST else "second")
    assert ended == "It ended because the recipe is decided."
    assert chance in (
        "With a chance below 5 % to be shown to help by 10 seeds: second.",
        "Not worth more than 0.01: second.",
    )


def test_a_trick_that_may_still_help_keeps_the_study_going_until_the_budget_is_used_up() -> None:
    rounds = Rounds(make_design("full"), [3, 4], margin=0.001)
    assert len(run_rounds(rounds, effects=(0.06, 0.5), run=0.05)) == 2
    assert rounds.mains[FIRST].word == NO_EVIDENCE
    assert list(rounds.describe(str))[1:] == [
        "It ended because the budget is used up.",
        f"Not settled: {FIRST}.",
    ]


def test_arms_that_only_settled_tricks_need_get_no_more_seeds() -> None:
    rounds = Rounds(make_design("one_at_a_time"), [3, 4, 5], margin=0.001)
    requests = run_rounds(rounds, effects=(0.5, 0.03), run=0.02)
    assert requests[0] == {(0, 0), (1, 0), (0, 1)}
    assert len(requests) > 1 and requests[1] == {(0, 0), (0, 1)}
    left, *_ = reversed(list(rounds.describe(lambda effect: "first" if effect == FIRST else "second")))
    assert left == (
        "Left early: first with 3 seeds. Every effect is over the arms as planned (alone on the base), at the seeds "
        "that each arm has."
    )


@pytest.mark.parametrize(("row", "leaves"), [(0.5, True), (0.0, False)])
def test_a_harmful_trick_that_costs_passes_leaves_if_the_others_lose_little(row: float, leaves: bool) -> None:
    """Rows dominate the noise: more runs with the trick would tell little about the others."""
    design = make_design("full")
    rounds = Rounds(design, [3, 4, 5], margin=0.001)
    seeds_of = dict.fromkeys(design.arms, 3)
    rounds.judge(0, [make_block(design, seeds_of, (0.0, -2.0), run=0.02, row=row)])
    assert rounds.mains[SECOND].word == HURTS
    # Keep the first trick open, whatever its estimate is.
    rounds.chances[FIRST] = 0.5
    rounds.choose_arms({SECOND: 2.0})
    assert rounds.arms == ([arm for arm in design.arms if not arm[1]] if leaves else list(design.arms))
    # A trick that costs no more passes stays.
    rounds.choose_arms({SECOND: 1.0})
    assert rounds.arms == list(design.arms)


def test_effects_next_to_a_trick_that_left_are_averages_over_the_design_as_planned() -> None:
    """The first trick is worth 0.4 without the second and 0 with it, so 0.2 on average, however many seeds each has."""
    design = make_design("full")
    seeds_of = {arm: 3 if arm[1] else 9 for arm in design.arms}
    block = make_block(design, seeds_of, (0.4, -2.0), run=0.001)
    both_on = (block.arms == design.arms.index((1, 1)))[:, None]
    block.rows[:] -= 0.4 * both_on
    rounds = Rounds(design, [9], margin=0.001)
    rounds.judge(0, [block])
    assert rounds.mains[FIRST].value == pytest.approx(0.2, abs=0.002)


def test_a_study_that_ends_for_another_reason_spends_all_of_the_error_that_is_left() -> None:
    design, seeds = make_design("full"), dict.fromkeys(make_design("full").arms, 3)
    block = make_block(design, seeds, (0.1, 0.0), run=0.05)
    goes_on, ends = Rounds(design, [3, 4, 5, 6, 8], 0.01), Rounds(design, [3, 4, 5, 6, 8], 0.01)
    goes_on.judge(0, [block])
    ends.judge(0, [block], is_last=True)
    ends.choose_arms({})
    assert ends.arms == () and goes_on.level > ends.level == 0.95
    assert list(ends.describe(str))[1] == "It ended because a level breaks training."
    # The arms without the second trick are judged alone.
    ends.restrict_to(half := design.restrict_to([(0, 0), (1, 0)]), [make_block(half, seeds, (0.1, 0.0), run=0.05)])
    assert ends.mains[SECOND].why == NOT_ESTIMABLE and ends.mains[FIRST].has_estimate
    assert not any("Left early" in sentence for sentence in ends.describe(str))


def test_with_rotating_folds_no_noise_is_common_to_all_looks() -> None:
    """The same runs on rows that all seeds share leave less for later looks, so the first one may spend more."""
    design = make_design("full")
    shared = make_block(design, dict.fromkeys(design.arms, 4), (0.1, 0.0), run=0.001, row=0.1)
    rotated = replace(shared, folds=shared.seeds % 10, fold_count=10)
    levels = []
    for block in (shared, rotated):
        rounds = Rounds(design, [4, 8], 0.01)
        rounds.judge(0, [block])
        levels.append(rounds.level)
    # Half of the seeds have half of the information.
    spent = ALPHA * 0.5**SPENDING_POWER
    assert levels[0] == pytest.approx(1 - ALPHA, abs=0.005) and levels[1] == pytest.approx(1 - spent, abs=0.002)


def test_a_study_with_one_look_is_judged_at_95_percent() -> None:
    design = make_design("full")
    block = make_block(design, dict.fromkeys(design.arms, 3), (0.1, 0.0), run=0.02)
    rounds = Rounds(design, [3], margin=0.01)
    rounds.judge(0, [block])
    rounds.choose_arms({})
    assert list(rounds.mains.values()) == judge(design, [block], 0.01)[0]
    assert rounds.arms == () and list(rounds.describe(str)) == []


def test_the_plan_expects_between_the_least_and_the_most_runs() -> None:
    design, analyses = make_design("one_at_a_time", 4), [3, 4, 5, 6, 8, 10]
    quiet, noisy = (expect_runs(design, analyses, 0.01, variance, 1e-5) for variance in (1e-8, 1e-3))
    assert quiet == pytest.approx(15, abs=0.5) and 20 < noisy < 50


def test_drawn_studies_have_the_power_of_the_joint_law() -> None:
    design = make_design("full", 1)
    family = Estimates(
        effects=list(design.mains),
        values=np.zeros(1),
        run_covariance=np.array([[1e-12]]),
        row_covariance=np.array([[1e-4]]),
        run_degrees_of_freedom=np.full(1, 1e6),
        row_degrees_of_freedom=1e6,
        by_block={},
    )
    # All noise is of rows, which all looks share: a fixed design, whose power is one half at its critical value.
    runs, claims = draw_rounds(design, family, [3, 6], 0.01, np.array([0.0196]))
    assert (claims[0] > 0).mean() == pytest.approx(0.5, abs=0.015) and (claims[0] < 0).mean() < 0.001
    _, claims = draw_rounds(design, family, [3, 6], 0.01, np.zeros(1))
    assert (claims[0] != 0).mean() == pytest.approx(0.05, abs=0.005)
    # A second look tells nothing new, so every study ends at the first.
    assert set(runs.tolist()) == {2.0 * 3}
