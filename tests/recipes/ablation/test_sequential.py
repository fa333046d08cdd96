"""Seeds in rounds: the error that each look spends, and the arms that get more seeds."""

import pytest

from recipes.ablation.design import Effect, choose
from recipes.ablation.sequential import confidence_at, find_open_arms, merge_verdicts, schedule_analyses
from recipes.ablation.verdicts import RUNS_MISSING, Verdict


def test_there_are_at_most_five_looks_from_the_first_seeds_to_the_last() -> None:
    assert schedule_analyses(3, 11) == [3, 5, 7, 9, 11]
    assert schedule_analyses(2, 4) == [2, 3, 4]
    assert schedule_analyses(3, 3) == [3] and schedule_analyses(5, 2) == [5]


def test_all_looks_together_spend_exactly_the_level() -> None:
    for first, most in ((2, 10), (3, 3), (2, 4)):
        plan = schedule_analyses(first, most)
        spent = [1 - confidence_at(analysis, plan) for analysis in range(len(plan))]
        assert sum(spent) == pytest.approx(0.05) and min(spent) > 0
    assert confidence_at(0, [2, 4, 6, 8, 10]) == pytest.approx(0.998)  # a fifth of the seeds, a 25th of the 5 %


def test_a_clear_verdict_is_final_and_only_arms_of_open_verdicts_get_more_seeds() -> None:
    one, other = Effect(((0, 1),)), Effect(((1, 1),))
    before = {one: Verdict(one, "helps"), other: Verdict(other, "no evidence")}
    after = merge_verdicts(before, [Verdict(one, "no evidence"), Verdict(other, "hurts")])
    assert {effect: verdict.word for effect, verdict in after.items()} == {one: "helps", other: "hurts"}
    design = choose([2, 2], lambda arm: True, "one_at_a_time", 9)
    assert find_open_arms(design, before.values()) == [(0, 0), (0, 1)]
    assert find_open_arms(design, after.values()) == []
    # An effect whose runs all failed gets no more seeds.
    assert find_open_arms(design, [Verdict(other, "no evidence", RUNS_MISSING)]) == []
    factorial = choose([2, 2], lambda arm: True, "full", 9)
    assert find_open_arms(factorial, before.values()) == list(factorial.arms)
