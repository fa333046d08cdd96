"""Which arms are chosen, and what is computed from them: checked against hand-made designs."""

from itertools import combinations, product

import numpy as np
import pytest

from recipes.ablation.design import Arm, Design, Effect, choose, columns, largest_determinant, regular_fraction
from recipes.errors import UserError


def every(arm: Arm) -> bool:
    return True


def single(factor: int, level: int = 1) -> Effect:
    return Effect(((factor, level),))


def pair(one: int, other: int) -> Effect:
    return Effect(((one, 1), (other, 1)))


@pytest.mark.parametrize("strength", [2, 3, 4])
@pytest.mark.parametrize("factors", range(1, 12))
def test_in_a_regular_fraction_so_many_factors_vary_independently(factors: int, strength: int) -> None:
    arms = np.array(regular_fraction(factors, strength))
    for chosen in combinations(range(factors), min(strength, factors)):
        _, counts = np.unique(arms[:, chosen], axis=0, return_counts=True)
        assert len(counts) == 2 ** len(chosen) and len(set(counts)) == 1
    assert regular_fraction(factors, strength)[0] == (0,) * factors


def test_regular_fractions_are_the_smallest_there_are() -> None:
    # Box, Hunter and Hunter's table; at strength 4, the largest known codes.
    assert [len(regular_fraction(each, 2)) for each in (3, 7, 8, 15)] == [4, 8, 16, 16]
    assert [len(regular_fraction(each, 3)) for each in (4, 8, 9, 16)] == [8, 16, 32, 32]
    assert [len(regular_fraction(each, 4)) for each in (5, 6, 8, 11, 12, 17)] == [16, 32, 64, 128, 256, 256]


def test_auto_takes_the_smallest_that_answers_the_question_in_the_budget() -> None:
    assert len(choose([2] * 8, every, "auto", 100).arms) == 64
    assert len(choose([2] * 8, every, "auto", 63).arms) == 16
    assert len(choose([2] * 8, every, "auto", 15).arms) == 15
    assert len(choose([2] * 3, every, "auto", 100).arms) == 8
    assert len(choose([2], every, "auto", 100).arms) == 2
    assert set(choose([3, 3], every, "auto", 100).arms) == set(product(range(3), repeat=2))


def test_a_two_level_effect_is_the_difference_of_means_and_a_pair_that_of_differences() -> None:
    design = choose([2, 2], every, "full", 100)
    assert design.arms == ((0, 0), (0, 1), (1, 0), (1, 1))
    found = design.contrasts()
    np.testing.assert_allclose(found[single(0)], [-0.5, -0.5, 0.5, 0.5], atol=1e-12)
    np.testing.assert_allclose(found[pair(0, 1)], [1, -1, -1, 1], atol=1e-12)


@pytest.mark.parametrize("kind", ["full", "auto"])
def test_contrasts_give_back_effects_that_are_there(kind: str) -> None:
    levels = [2, 3, 2]
    design = choose(levels, every, kind, 100)
    effects = [*design.mains, *design.pairs]
    truth = np.random.default_rng(0).normal(size=len(effects))
    scores = 0.8 + columns(design.arms, levels, effects) @ truth
    found = design.contrasts()
    np.testing.assert_allclose([found[effect] @ scores for effect in effects], truth, atol=1e-9)
    # A level's effect is against level 0, averaged over all that the others may be.
    if kind == "full":
        chosen = np.array(design.arms)
        difference = scores[chosen[:, 1] == 2].mean() - scores[chosen[:, 1] == 0].mean()
        assert found[single(1, 2)] @ scores == pytest.approx(difference)


def test_one_at_a_time_is_alone_on_the_base_and_leave_one_out_beside_all_others() -> None:
    alone = choose([2, 2, 3], every, "one_at_a_time", 100)
    assert set(alone.arms) == {(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 2)}
    weights = dict(zip(alone.arms, alone.contrasts()[single(2, 2)], strict=True))
    assert {arm: weight for arm, weight in weights.items() if weight} == {(0, 0, 2): 1, (0, 0, 0): -1}
    assert alone.pairs == [] and alone.estimand == "alone on the base"
    beside = choose([2, 2, 3], every, "leave_one_out", 100)
    assert set(beside.arms) == {(1, 1, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 2)}
    weights = dict(zip(beside.arms, beside.contrasts()[single(2, 2)], strict=True))
    assert {arm: weight for arm, weight in weights.items() if weight} == {(1, 1, 2): 1, (1, 1, 0): -1}
    assert beside.estimand == "beside all others"


def test_what_a_fraction_cannot_tell_apart_is_said() -> None:
    third = choose([2] * 3, every, "auto", 4)
    assert len(third.arms) == 4 and set(third.contrasts()) == {single(0), single(1), single(2)}
    assert {effect: list(pairs) for effect, pairs in third.aliases().items()} == {
        single(0): [pair(1, 2)],
        single(1): [pair(0, 2)],
        single(2): [pair(0, 1)],
    }
    fourth = choose([2] * 4, every, "auto", 8)
    assert fourth.aliases() == {}
    assert sorted(map(sorted, fourth.inseparable())) == [
        [pair(0, 1), pair(2, 3)],
        [pair(0, 2), pair(1, 3)],
        [pair(0, 3), pair(1, 2)],
    ]
    assert choose([2] * 5, every, "auto", 16).inseparable() == []


def test_an_alias_is_how_much_of_a_pair_stands_in_an_effect() -> None:
    design = choose([2] * 3, every, "auto", 4)
    scores = columns(design.arms, design.levels, [pair(1, 2)])[:, 0]
    assert design.contrasts()[single(0)] @ scores == pytest.approx(design.aliases()[single(0)][pair(1, 2)])


def test_a_twin_differs_in_a_level_alone_and_is_not_there_yet() -> None:
    half = Design("auto", (2, 2, 2), ((0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1)))
    assert half.twin(single(0), every) == ((0, 0, 0), (1, 0, 0))
    assert half.twin(single(0), lambda arm: arm != (0, 0, 0)) == ((1, 0, 1), (0, 0, 1))
    assert half.twin(single(0), lambda arm: False) is None
    assert choose([2, 2], every, "full", 4).twin(single(0), every) is None
    three = Design("auto", (3, 2), ((0, 0), (1, 1), (2, 0)))
    assert three.twin(single(0, 1), every) == ((1, 0), (0, 0)) and three.twin(single(0, 2), every) is None


def test_refused_pairs_never_run_and_all_effects_are_told() -> None:
    def apart(arm: Arm) -> bool:
        return not (arm[0] and arm[1])

    for most in (12, 16, 24, 60):
        design = choose([2] * 6, apart, "auto", most)
        assert all(map(apart, design.arms)) and len(set(design.arms)) == len(design.arms) <= most
        assert set(design.mains) <= set(design.contrasts()) and pair(0, 1) not in design.pairs
    assert set(design.pairs) <= set(design.contrasts())


def test_the_largest_determinant_of_a_small_model_is_found() -> None:
    candidates = [arm for arm in product(range(2), repeat=4) if not (arm[0] and arm[1])]
    design = Design("full", (2,) * 4, tuple(candidates))
    model = np.column_stack([np.ones(len(candidates)), columns(candidates, design.levels, design.mains)])
    chosen = largest_determinant(model, np.zeros(5), 6)
    best = max(np.linalg.det(model[list(rows)].T @ model[list(rows)]) for rows in combinations(range(12), 6))
    assert np.linalg.det(model[chosen].T @ model[chosen]) == pytest.approx(best)
    assert chosen == largest_determinant(model, np.zeros(5), 6)


def test_a_budget_that_cannot_do_is_told() -> None:
    with pytest.raises(UserError, match=r"allows 5 arms .* 8 effects need 9 at least"):
        choose([2] * 8, every, "auto", 5)
    with pytest.raises(UserError, match="design=full needs 256 arms"):
        choose([2] * 8, every, "full", 100)
    with pytest.raises(UserError, match="the base, which is refused"):
        choose([2] * 3, any, "one_at_a_time", 100)
    with pytest.raises(UserError, match="no two arms that it compares can be run"):
        choose([2] * 3, all, "leave_one_out", 100)
    with pytest.raises(UserError, match="20 factors have more than"):
        choose([2] * 20, every, "full", 10**9)
    with pytest.raises(UserError, match="all tricks together, and some of them are refused"):
        choose([2] * 3, lambda arm: sum(arm) < 3, "leave_one_out", 100)


def test_lost_arms_take_no_more_with_them_than_they_must() -> None:
    full = choose([2] * 4, every, "full", 100)
    # A trick that failed everywhere: the others are a whole design still.
    left = full.of(arm for arm in full.arms if not arm[3])
    assert set(left.contrasts()) == {*map(single, range(3)), pair(0, 1), pair(0, 2), pair(1, 2)}
    assert left.aliases() == {} and left.inseparable() == []
    # A single arm of a design that had none to spare: main effects hold a little of every pair now, and that is said.
    fraction = choose([2] * 5, every, "auto", 16)
    assert fraction.aliases() == {}
    left = fraction.of(fraction.arms[1:])
    assert set(map(single, range(5))) <= set(left.contrasts()) and len(left.aliases()) == 5


def test_pairs_inside_main_effects_look_like_no_other_pair() -> None:
    quarter = Design("auto", (2,) * 3, ((0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1)))
    assert quarter.inseparable() == [[pair(0, 1)], [pair(0, 2)], [pair(1, 2)]]


def test_confounding_is_not_taken_while_the_budget_allows_less() -> None:
    for factors in (5, 6, 7):
        shares = [
            abs(share)
            for pairs in choose([2] * factors, every, "auto", 12).aliases().values()
            for share in pairs.values()
        ]
        assert max(shares, default=0) <= 0.2501
