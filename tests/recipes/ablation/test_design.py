"""The arms that are chosen and what is computed from them, checked against designs made by hand."""

from itertools import combinations, product

import numpy as np
import pytest

from recipes.ablation.design import (
    Arm,
    Design,
    Effect,
    build_regular_fraction,
    choose,
    choose_d_optimal_rows,
    design_matrix,
)
from recipes.errors import UserError


def every(arm: Arm) -> bool:
    return True


def single(factor: int, level: int = 1) -> Effect:
    return Effect(((factor, level),))


def pair(one: int, other: int) -> Effect:
    return Effect(((one, 1), (other, 1)))


@pytest.mark.parametrize("strength", [2, 3, 4])
@pytest.mark.parametrize("factors", range(1, 12))
def test_factors_of_a_regular_fraction_are_independent_up_to_its_strength(factors: int, strength: int) -> None:
    arms = np.array(build_regular_fraction(factors, strength))
    for chosen_factors in combinations(range(factors), min(strength, factors)):
        _, counts = np.unique(arms[:, chosen_factors], axis=0, return_counts=True)
        assert len(counts) == 2 ** len(chosen_factors) and len(set(counts)) == 1
    assert build_regular_fraction(factors, strength)[0] == (0,) * factors


def test_regular_fractions_are_the_smallest_possible() -> None:
    # Box, Hunter and Hunter's table; at strength 4, the largest known codes.
    assert [len(build_regular_fraction(each, 2)) for each in (3, 7, 8, 15)] == [4, 8, 16, 16]
    assert [len(build_regular_fraction(each, 3)) for each in (4, 8, 9, 16)] == [8, 16, 32, 32]
    assert [len(build_regular_fraction(each, 4)) for each in (5, 6, 8, 11, 12, 17)] == [16, 32, 64, 128, 256, 256]


def test_auto_takes_the_smallest_design_that_answers_the_question_in_the_budget() -> None:
    assert len(choose([2] * 8, every, "auto", 100).arms) == 64
    assert len(choose([2] * 8, every, "auto", 63).arms) == 16
    assert len(choose([2] * 8, every, "auto", 15).arms) == 15
    assert len(choose([2] * 3, every, "auto", 100).arms) == 8
    assert len(choose([2], every, "auto", 100).arms) == 2
    assert set(choose([3, 3], every, "auto", 100).arms) == set(product(range(3), repeat=2))


def test_a_main_effect_is_a_difference_of_means_and_a_pair_is_a_difference_of_differences() -> None:
    design = choose([2, 2], every, "full", 100)
    assert design.arms == ((0, 0), (0, 1), (1, 0), (1, 1))
    contrasts = design.contrasts()
    np.testing.assert_allclose(contrasts[single(0)], [-0.5, -0.5, 0.5, 0.5], atol=1e-12)
    np.testing.assert_allclose(contrasts[pair(0, 1)], [1, -1, -1, 1], atol=1e-12)


@pytest.mark.parametrize("kind", ["full", "auto"])
def test_contrasts_recover_the_true_effects(kind: str) -> None:
    levels = [2, 3, 2]
    design = choose(levels, every, kind, 100)
    effects = [*design.mains, *design.pairs]
    truth = np.random.default_rng(0).normal(size=len(effects))
    scores = 0.8 + design_matrix(design.arms, levels, effects) @ truth
    contrasts = design.contrasts()
    np.testing.assert_allclose([contrasts[effect] @ scores for effect in effects], truth, atol=1e-9)
    # A level's effect is against level 0, averaged over all levels of the other factors.
    if kind == "full":
        levels_of_arms = np.array(design.arms)
        difference = scores[levels_of_arms[:, 1] == 2].mean() - scores[levels_of_arms[:, 1] == 0].mean()
        assert contrasts[single(1, 2)] @ scores == pytest.approx(difference)


def test_one_at_a_time_compares_with_the_base_and_leave_one_out_with_all_tricks() -> None:
    one_at_a_time = choose([2, 2, 3], every, "one_at_a_time", 100)
    assert set(one_at_a_time.arms) == {(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 2)}
    weights = dict(zip(one_at_a_time.arms, one_at_a_time.contrasts()[single(2, 2)], strict=True))
    assert {arm: weight for arm, weight in weights.items() if weight} == {(0, 0, 2): 1, (0, 0, 0): -1}
    assert one_at_a_time.pairs == [] and one_at_a_time.estimand == "alone on the base"
    leave_one_out = choose([2, 2, 3], every, "leave_one_out", 100)
    assert set(leave_one_out.arms) == {(1, 1, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 2)}
    weights = dict(zip(leave_one_out.arms, leave_one_out.contrasts()[single(2, 2)], strict=True))
    assert {arm: weight for arm, weight in weights.items() if weight} == {(1, 1, 2): 1, (1, 1, 0): -1}
    assert leave_one_out.estimand == "added to all others"


def test_a_fraction_reports_aliases_and_inseparable_pairs() -> None:
    half = choose([2] * 3, every, "auto", 4)
    assert len(half.arms) == 4 and set(half.contrasts()) == {single(0), single(1), single(2)}
    assert {effect: list(pairs) for effect, pairs in half.aliases().items()} == {
        single(0): [pair(1, 2)],
        single(1): [pair(0, 2)],
        single(2): [pair(0, 1)],
    }
    half_of_four = choose([2] * 4, every, "auto", 8)
    assert half_of_four.aliases() == {}
    assert sorted(map(sorted, half_of_four.inseparable_pairs())) == [
        [pair(0, 1), pair(2, 3)],
        [pair(0, 2), pair(1, 3)],
        [pair(0, 3), pair(1, 2)],
    ]
    assert choose([2] * 5, every, "auto", 16).inseparable_pairs() == []


def test_an_alias_is_the_coefficient_of_a_pair_in_a_main_effect() -> None:
    design = choose([2] * 3, every, "auto", 4)
    scores = design_matrix(design.arms, design.levels, [pair(1, 2)])[:, 0]
    assert design.contrasts()[single(0)] @ scores == pytest.approx(design.aliases()[single(0)][pair(1, 2)])


def test_a_twin_is_a_new_arm_that_differs_in_one_level_only() -> None:
    half = Design("auto", (2, 2, 2), ((0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1)))
    assert half.find_twin(single(0), every) == ((0, 0, 0), (1, 0, 0))
    assert half.find_twin(single(0), lambda arm: arm != (0, 0, 0)) == ((1, 0, 1), (0, 0, 1))
    assert half.find_twin(single(0), lambda arm: False) is None
    assert choose([2, 2], every, "full", 4).find_twin(single(0), every) is None
    three = Design("auto", (3, 2), ((0, 0), (1, 1), (2, 0)))
    assert three.find_twin(single(0, 1), every) == ((1, 0), (0, 0)) and three.find_twin(single(0, 2), every) is None


def test_refused_pairs_never_run_and_all_effects_are_estimated() -> None:
    def refuse_first_two(arm: Arm) -> bool:
        return not (arm[0] and arm[1])

    for most in (12, 16, 24, 60):
        design = choose([2] * 6, refuse_first_two, "auto", most)
        assert all(map(refuse_first_two, design.arms)) and len(set(design.arms)) == len(design.arms) <= most
        assert set(design.mains) <= set(design.contrasts()) and pair(0, 1) not in design.pairs
    assert set(design.pairs) <= set(design.contrasts())


def test_the_d_optimal_rows_of_a_small_model_are_found() -> None:
    candidates = [arm for arm in product(range(2), repeat=4) if not (arm[0] and arm[1])]
    design = Design("full", (2,) * 4, tuple(candidates))
    model = np.column_stack([np.ones(len(candidates)), design_matrix(candidates, design.levels, design.mains)])
    rows = choose_d_optimal_rows(model, np.zeros(5), 6)
    best = max(np.linalg.det(model[list(each)].T @ model[list(each)]) for each in combinations(range(12), 6))
    assert np.linalg.det(model[rows].T @ model[rows]) == pytest.approx(best)
    assert rows == choose_d_optimal_rows(model, np.zeros(5), 6)


def test_a_design_that_does_not_fit_is_an_error() -> None:
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


def test_missing_arms_cost_no_more_effects_than_necessary() -> None:
    full = choose([2] * 4, every, "full", 100)
    # A trick that failed everywhere: the others are still a full design.
    left = full.restrict_to(arm for arm in full.arms if not arm[3])
    assert set(left.contrasts()) == {*map(single, range(3)), pair(0, 1), pair(0, 2), pair(1, 2)}
    assert left.aliases() == {} and left.inseparable_pairs() == []
    # One missing arm of a saturated design: every main effect is aliased with pairs now, and that is reported.
    fraction = choose([2] * 5, every, "auto", 16)
    assert fraction.aliases() == {}
    left = fraction.restrict_to(fraction.arms[1:])
    assert set(map(single, range(5))) <= set(left.contrasts()) and len(left.aliases()) == 5


def test_pairs_aliased_with_main_effects_are_parallel_to_no_other_pair() -> None:
    half = Design("auto", (2,) * 3, ((0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1)))
    assert half.inseparable_pairs() == [[pair(0, 1)], [pair(0, 2)], [pair(1, 2)]]


def test_aliases_stay_small_while_the_budget_allows() -> None:
    for factors in (5, 6, 7):
        coefficients = [
            abs(coefficient)
            for pairs in choose([2] * factors, every, "auto", 12).aliases().values()
            for coefficient in pairs.values()
        ]
        assert max(coefficients, default=0) <= 0.2501
