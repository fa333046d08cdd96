"""Verdicts from numbers: each by a study with a known truth."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from recipes.ablation.design import Arm, Design, Effect, choose, design_matrix
from recipes.ablation.effects import Block, estimate
from recipes.ablation.verdicts import NOT_ESTIMABLE, RUNS_MISSING, Verdict, is_identical, judge, sign_test
from recipes.errors import UserError

NOISE = 0.002


def every(arm: Arm) -> bool:
    return True


def study(design: Design, truth: dict[Effect, float], seeds: int = 3, noise: float = NOISE, rows: int = 400) -> Block:
    """Runs with known effects; the noise is of runs, and a little of rows."""
    random = np.random.default_rng(0)
    effects = list(truth)
    means = 0.8 + design_matrix(design.arms, design.levels, effects) @ np.array([truth[effect] for effect in effects])
    count = len(design.arms)
    arms, numbers = np.repeat(np.arange(count), seeds), np.tile(np.arange(seeds), count)
    scores = means[arms] + 0.01 * numbers + random.normal(0, noise, count * seeds)
    row_noise = random.normal(0, 0.02, (count * seeds, rows))
    values = scores[:, None] + row_noise - row_noise.mean(1, keepdims=True)
    return Block("one", arms, numbers, values, [str(run) for run in range(count * seeds)])


def single(factor: int) -> Effect:
    return Effect(((factor, 1),))


def words(verdicts: list[Verdict]) -> list[str]:
    return [verdict.word for verdict in verdicts]


def test_helps_hurts_practically_nothing_and_no_evidence() -> None:
    design = choose([2] * 4, every, "full", 100)
    truth = {single(0): 0.03, single(1): -0.03, single(2): 0.0}
    mains, pairs = judge(design, [study(design, truth)], margin=0.01)
    assert words(mains) == ["helps", "hurts", "practically nothing", "practically nothing"]
    assert set(words(pairs)) == {"adds up"}
    assert (
        mains[0].interval[0]
        < mains[0].equivalence_interval[0]
        < mains[0].value
        < mains[0].equivalence_interval[1]
        < mains[0].interval[1]
    )
    noisy, _ = judge(design, [study(design, {}, noise=0.1)], margin=0.001)
    assert set(words(noisy)) == {"no evidence"}


def test_clear_but_smaller_than_the_margin_is_practically_nothing() -> None:
    design = choose([2] * 3, every, "full", 100)
    runs = [study(design, {single(0): 0.01})]
    assert judge(design, runs, margin=0.001)[0][0].word == "helps"
    assert judge(design, runs, margin=0.02)[0][0].word == "practically nothing"


def test_pairs_fight_help_together_or_are_not_separable() -> None:
    design = choose([2] * 3, every, "full", 100)
    fight, help_together = Effect(((0, 1), (1, 1))), Effect(((0, 1), (2, 1)))
    _, pairs = judge(design, [study(design, {fight: -0.05, help_together: 0.05})], margin=0.01)
    assert words(pairs) == ["fights", "helps together", "adds up"]
    fraction = choose([2] * 4, every, "auto", 8)
    assert set(words(judge(fraction, [study(fraction, {})], margin=0.01)[1])) == {"not separable in this design"}


def test_no_evidence_names_the_seeds_or_rows_that_are_missing() -> None:
    design = choose([2] * 3, every, "full", 100)
    mains, _ = judge(design, [study(design, {}, noise=0.02)], margin=0.001)
    assert "seeds instead of 3 would settle it" in mains[0].why and "rows" not in mains[0].why
    mains, _ = judge(design, [study(design, {}, noise=0.02)], margin=1e-9)
    assert all("seeds instead" in verdict.why or "over 100 times" in verdict.why for verdict in mains)
    runs = study(design, {}, noise=0.0)
    random = np.random.default_rng(1)
    # The trick has large effects on single rows, and a small one on average.
    row_effects = random.normal(0, 0.5, runs.rows.shape[1])
    row_effects += 0.01 - row_effects.mean()
    is_on = np.array(design.arms)[runs.arms, 0]
    rows = runs.rows + is_on[:, None] * row_effects
    mains, _ = judge(design, [Block("one", runs.arms, runs.seeds, rows, runs.fingerprints)], margin=0.001)
    assert "times the labelled validation rows would settle it" in mains[0].why and "seeds" not in mains[0].why


def test_arms_that_predict_the_same_are_identical_without_a_division_by_0() -> None:
    design = choose([2] * 3, every, "full", 100)
    runs = study(design, {single(1): 0.03})
    index = {arm: number for number, arm in enumerate(design.arms)}
    original = [index[(0, *design.arms[arm][1:])] * 3 + seed for arm, seed in zip(runs.arms, runs.seeds, strict=True)]
    same = Block("one", runs.arms, runs.seeds, runs.rows[original], [str(run) for run in original])
    with np.errstate(all="raise"):
        mains, pairs = judge(design, [same], margin=0.01)
    assert words(mains) == ["identical", "helps", "practically nothing"]
    assert words(pairs) == ["adds up"] * 3 and pairs[0].why == "one of them changes nothing"
    assert mains[0].value == 0.0 and mains[0].interval == (0.0, 0.0)
    # The same hits from other probabilities are not identical.
    other = Block("one", same.arms, same.seeds, same.rows, runs.fingerprints)
    assert not is_identical(design, design, [other], single(0))


@pytest.mark.parametrize("different_first", [False, True])
def test_identical_on_one_data_set_and_different_on_another_is_not_identical(different_first: bool) -> None:
    design = choose([2, 2], every, "full", 4)
    runs = study(design, {single(0): 0.03})
    without = [design.arms.index((0, design.arms[arm][1])) for arm in runs.arms]
    original = [3 * arm + seed for arm, seed in zip(without, runs.seeds, strict=True)]
    same = Block("one", runs.arms, runs.seeds, runs.rows[original], [str(run) for run in original])
    other = Block("two", runs.arms, runs.seeds, runs.rows, runs.fingerprints)
    blocks = [other, same] if different_first else [same, other]
    assert is_identical(design, design, [same, same], single(0))
    assert not is_identical(design, design, blocks, single(0))
    assert "identical" in words(judge(design, [same], margin=0.001)[0])
    assert "identical" not in words(judge(design, blocks, margin=0.001)[0])


def test_a_trick_that_changes_nothing_on_one_data_set_counts_as_exactly_0_there() -> None:
    design = choose([2], every, "full", 2)
    changed = study(design, {single(0): 0.05})
    unchanged = Block(
        "one", changed.arms, changed.seeds, changed.rows[changed.seeds], [str(seed) for seed in changed.seeds]
    )
    changed = replace(changed, name="two")
    ((of_unchanged,), _) = judge(design, [unchanged], margin=0.01)
    assert of_unchanged.word == "identical"
    (alone, _), (both, _) = estimate(design, [changed]), estimate(design, [unchanged, changed])
    with np.errstate(all="raise"):
        ((verdict,), _) = judge(design, [unchanged, changed], margin=0.01)
    assert verdict.word == "helps" and verdict.value == alone.values[0] / 2
    assert both.by_block["one"].tolist() == [0.0] and both.by_block["two"] == alone.by_block["two"]
    # The data set without noise halves the interval and costs no degree of freedom.
    assert both.run_variance == pytest.approx(alone.run_variance / 4)
    assert both.row_variance == pytest.approx(alone.row_variance / 4)
    assert (
        both.run_degrees_of_freedom == alone.run_degrees_of_freedom
        and both.row_degrees_of_freedom == alone.row_degrees_of_freedom
    )
    with pytest.raises(UserError, match="every run of a seed predicts the same"):
        estimate(design, [unchanged])


def test_runs_that_share_no_seed_do_not_count_as_identical() -> None:
    design = choose([2], every, "full", 2)
    runs = study(design, {})
    names = [str(seed) for seed in runs.seeds]
    separate = select_runs(Block("one", runs.arms, runs.seeds, runs.rows, names), np.array([1, 0, 0, 0, 1, 0], bool))
    with pytest.raises(UserError, match="one: 2 runs of 2 arms leave nothing to measure chance by"):
        estimate(design, [separate])


def test_one_pair_of_runs_that_differs_is_enough_to_be_not_identical() -> None:
    design = choose([2], every, "full", 2)
    runs = study(design, {})
    names = [str(seed) for seed in runs.seeds]
    same = Block("one", runs.arms, runs.seeds, runs.rows[runs.seeds], names)
    assert is_identical(design, design, [same], single(0))
    for run in range(len(names)):
        changed = [*names[:run], "another", *names[run + 1 :]]
        assert not is_identical(design, design, [Block("one", same.arms, same.seeds, same.rows, changed)], single(0))


def test_without_two_arms_that_differ_in_one_factor_only_all_runs_must_be_identical() -> None:
    design = choose([2] * 3, every, "auto", 4)
    runs = study(design, {})
    assert not is_identical(design, design, [runs], single(0))
    alike = Block("one", runs.arms, runs.seeds, runs.rows[runs.seeds], [str(seed) for seed in runs.seeds])
    with np.errstate(all="raise"):
        mains, _ = judge(design, [alike], margin=0.01)
    assert words(mains) == ["identical"] * 3


def test_a_trick_that_other_runs_have_shown_to_be_idle_is_identical_and_in_no_family() -> None:
    design = choose([2, 2], every, "full", 4)
    runs = study(design, {single(0): 0.1})
    (helps, _), _ = judge(design, [runs], 0.01)
    (alone, idle), (adds_up,) = judge(design, [runs], 0.01, idle=[single(1)])
    assert [helps.word, alone.word, idle.word] == ["helps", "helps", "identical"]
    assert alone.interval[1] - alone.interval[0] < helps.interval[1] - helps.interval[0]  # one effect, not two at once
    assert (adds_up.word, adds_up.why) == ("adds up", "one of them changes nothing")


def test_the_sign_test_is_exact_and_needs_enough_seeds() -> None:
    design = choose([2], every, "full", 2)
    differences = np.array([0.01, 0.02, 0.03, 0.01, 0.02, 0.02, -0.001])
    scores = np.concatenate([np.zeros(7), differences])
    runs = Block(
        "one",
        np.repeat([0, 1], 7),
        np.tile(np.arange(7), 2),
        np.repeat(scores[:, None], 4, 1),
        [str(run) for run in range(14)],
    )
    sums = [
        abs(sum(sign * each for sign, each in zip(signs, differences, strict=True)))
        for signs in product([-1, 1], repeat=7)
    ]
    expected = np.mean(np.array(sums) >= differences.sum() - 1e-12)
    assert sign_test(design, [runs], single(0), 0.95) == pytest.approx(expected)
    # With six seeds, one sign against the rest gives p = 0.06 at least: such a test could only veto.
    assert sign_test(design, [select_runs(runs, runs.seeds < 6)], single(0), 0.95) is None
    assert sign_test(design, [runs], single(0), 0.98) is None


def test_if_interval_and_sign_test_disagree_there_is_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    design = choose([2] * 3, every, "full", 100)
    monkeypatch.setattr("recipes.ablation.verdicts.sign_test", lambda *_: 0.06)
    mains, _ = judge(design, [study(design, {single(0): 0.05})], margin=0.01)
    assert mains[0].word == "no evidence" and "a sign test disagrees (p = 0.060)" in mains[0].why


def test_the_sign_test_averages_twins_next_to_different_tricks() -> None:
    """An interaction makes them differ, and is not noise."""
    design = choose([2, 2], every, "full", 4)
    runs = study(design, {single(0): 0.02, Effect(((0, 1), (1, 1))): -0.08}, seeds=8)
    assert sign_test(design, [runs], single(0), 0.95) == pytest.approx(2 / 256)
    assert judge(design, [runs], margin=0.001)[0][0].word == "helps"


def select_runs(runs: Block, is_on: np.ndarray) -> Block:
    names = [name for name, selected in zip(runs.fingerprints, is_on, strict=True) if selected]
    return Block(runs.name, runs.arms[is_on], runs.seeds[is_on], runs.rows[is_on], names)


def test_a_trick_whose_runs_all_failed_is_not_identical() -> None:
    design = choose([2, 2], every, "full", 4)
    runs = study(design, {})
    without = select_runs(runs, np.isin(runs.arms, [0, 1]))  # all runs of the first trick have failed
    mains, pairs = judge(design, [without], margin=0.01)
    assert (mains[0].word, mains[0].why) == ("no evidence", RUNS_MISSING) and not mains[0].has_estimate
    assert mains[1].why != RUNS_MISSING and pairs[0].why == RUNS_MISSING
    # Also where it failed on one of two data sets only.
    other = Block("two", runs.arms, runs.seeds, runs.rows, runs.fingerprints)
    assert judge(design, [without, other], margin=0.01)[0][0].why == RUNS_MISSING


def test_an_effect_that_the_design_cannot_estimate_has_that_reason() -> None:
    design = choose([3, 2], lambda arm: arm != (2, 1), "leave_one_out", 100)
    mains, pairs = judge(design, [study(design, {})], margin=0.01)
    assert [verdict.why == NOT_ESTIMABLE for verdict in mains] == [False, True, False] and pairs == []


def test_arms_without_any_difference_in_scores_give_no_evidence() -> None:
    design = choose([2], every, "full", 2)
    runs = study(design, {})
    right = Block("one", runs.arms, runs.seeds, np.ones((6, 20)), runs.fingerprints)
    ((verdict,), _) = judge(design, [right], margin=0.01)
    assert (verdict.word, verdict.why) == ("no evidence", "no run and no row differs between the arms")


def test_equivalence_intervals_hold_for_all_effects_at_once() -> None:
    design = choose([2] * 4, every, "full", 100)
    runs = [study(design, {})]
    singles, _ = estimate(design, runs)
    alone, simultaneous = singles.interval(0.9), singles.simultaneous_intervals(0.9)[0]
    equivalence_interval = [verdict.equivalence_interval for verdict in judge(design, runs, margin=0.01)[0]]
    np.testing.assert_allclose(equivalence_interval, np.array(simultaneous).T)
    assert (np.array(simultaneous[1]) > np.array(alone[1])).all()
