"""Seeds in rounds: what is spent, and who is looked at again."""

import pytest

from recipes.ablation.design import Effect, choose
from recipes.ablation.sequential import kept, level_at, looks, still_open
from recipes.ablation.verdicts import LOST, Verdict


def test_five_looks_at_most_from_the_first_seeds_to_the_last() -> None:
    assert looks(3, 11) == [3, 5, 7, 9, 11]
    assert looks(2, 4) == [2, 3, 4]
    assert looks(3, 3) == [3] and looks(5, 2) == [5]


def test_all_looks_together_spend_the_level_and_no_more() -> None:
    for first, most in ((2, 10), (3, 3), (2, 4)):
        plan = looks(first, most)
        spent = [1 - level_at(look, plan) for look in range(len(plan))]
        assert sum(spent) == pytest.approx(0.05) and min(spent) > 0
    assert level_at(0, [2, 4, 6, 8, 10]) == pytest.approx(0.998)  # a fifth of the seeds, a 25th of the 5 %


def test_a_clear_verdict_stays_and_only_the_arms_of_open_ones_go_on() -> None:
    one, other = Effect(((0, 1),)), Effect(((1, 1),))
    before = {one: Verdict(one, "helps"), other: Verdict(other, "no evidence")}
    after = kept(before, [Verdict(one, "no evidence"), Verdict(other, "hurts")])
    assert {effect: verdict.word for effect, verdict in after.items()} == {one: "helps", other: "hurts"}
    design = choose([2, 2], lambda arm: True, "one_at_a_time", 9)
    assert still_open(design, before.values()) == [(0, 0), (0, 1)]
    assert still_open(design, after.values()) == []
    # What failed everywhere, or cannot be told, is not tried again and again.
    assert still_open(design, [Verdict(other, "no evidence", LOST)]) == []
    factorial = choose([2, 2], lambda arm: True, "full", 9)
    assert still_open(factorial, before.values()) == list(factorial.arms)
