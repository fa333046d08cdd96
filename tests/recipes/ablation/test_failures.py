"""Levels that break training, effects that are lost with them, and a base that did not learn."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recipes.ablation.design import Arm, Design, Effect, choose
from recipes.ablation.effects import Block
from recipes.ablation.factors import NONE, Factor, Level, Space
from recipes.ablation.failures import (
    describe_base,
    describe_breaking,
    describe_doubted,
    describe_rule,
    examine_base,
    explain_no_verdict,
    find_breaking,
    find_doubted,
    find_lost_effects,
    leave_out,
    mark,
)
from recipes.ablation.runs import FAILED, FINISHED, Row
from recipes.ablation.verdicts import DOUBTED, LOST, RUNS_LEFT_OUT, Verdict, judge
from recipes.metrics import Predictions
from recipes.runs.predictions import write_predictions

NAMES = ("awp", "fgm", "ema")
SPACE = Space(tuple(Factor(name, (NONE, Level(name, (), name))) for name in NAMES), {"set": ()})
FULL = Design("full", (2, 2, 2), tuple(product((0, 1), repeat=3)))
SINGLE = Design("one_at_a_time", (2, 2, 2), ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)))
AWP, FGM, EMA = (Effect(((factor, 1),)) for factor in range(3))


def outcomes(design: Design, broken: dict[Arm, int], seeds: int = 3) -> list[tuple[Arm, bool]]:
    """The runs of each arm, of which the first ones are broken."""
    return [(arm, seed < broken.get(arm, 0)) for arm in design.arms for seed in range(seeds)]


def words(design: Design, runs: Sequence[tuple[Arm, bool]]) -> dict[str, str]:
    return {SPACE.name_effect(each.effect.terms): each.breaks for each in find_breaking(design, runs)}


def test_a_level_whose_runs_are_all_broken_breaks_training() -> None:
    assert words(FULL, outcomes(FULL, {arm: 3 for arm in FULL.arms if arm[0]})) == {
        "awp": "breaks training (12 of 12 runs)"
    }


def test_a_level_breaks_training_if_two_of_its_runs_are_more_than_chance() -> None:
    # 2 of 3 against 0 of 9: 3 / 66 = 0.045; 2 of 3 against 1 of 9: 28 / 220 = 0.13.
    assert words(SINGLE, outcomes(SINGLE, {(1, 0, 0): 2})) == {"awp": "breaks training (2 of 3 runs)"}
    assert words(SINGLE, outcomes(SINGLE, {(1, 0, 0): 2, (0, 1, 0): 1})) == {}
    # 1 of 3 is never enough, and 3 of 3 against 0 of 3 is 1 / 20, which is.
    assert words(SINGLE, outcomes(SINGLE, {(1, 0, 0): 1}, seeds=1)) == {}
    two = Design("full", (2,), ((0,), (1,)))
    assert [each.breaks for each in find_breaking(two, outcomes(two, {(1,): 3}))] == ["breaks training (3 of 3 runs)"]
    assert find_breaking(two, outcomes(two, {(1,): 2})) == []


def test_other_broken_runs_make_the_number_of_levels_count() -> None:
    # 4 of 5 against 1 of 15: 5 * 15 + 1 of the 15,504 choices of 5 runs, and there are three levels.
    four = {(1, 0, 0): 4, (0, 1, 0): 1}
    (awp,) = find_breaking(SINGLE, outcomes(SINGLE, four, seeds=5))
    chance = (5 * 15 + 1) / 15504
    assert (awp.effect, awp.chance) == (AWP, pytest.approx(3 * chance))
    # 3 of 5 against 1 of 15 is (10 * 15 + 5) / 4845 = 0.032, and three times as much is chance.
    assert words(SINGLE, outcomes(SINGLE, {(1, 0, 0): 3, (0, 1, 0): 1}, seeds=5)) == {}
    # Fewer than half of the level's runs: 2 of 5 against 0 of 15 is 10 / 190 = 0.053; 3 of 8 against 0 of 24 is 0.011.
    assert words(SINGLE, outcomes(SINGLE, {(1, 0, 0): 3}, seeds=8)) == {"awp": "breaks training (3 of 8 runs)"}
    assert find_breaking(SINGLE, outcomes(SINGLE, {(1, 0, 0): 3}, seeds=8), analysis=2) == []


def test_each_look_counts() -> None:
    two = Design("full", (2,), ((0,), (1,)))
    # 1 / 20 at the first look; 1 / 70 at the third and at the fourth.
    assert find_breaking(two, outcomes(two, {(1,): 3}), analysis=2) == []
    assert find_breaking(two, outcomes(two, {(1,): 4}, seeds=4), analysis=3) != []
    assert find_breaking(two, outcomes(two, {(1,): 4}, seeds=4), analysis=4) == []


def test_a_level_with_too_few_broken_runs_is_doubted() -> None:
    # 1 of 5 against 0 of 15 is 1 / 4; against 1 of 15 it is 0.45.
    (awp,) = find_doubted(SINGLE, outcomes(SINGLE, {(1, 0, 0): 1}, seeds=5))
    assert (awp.effect, awp.cannot_tell) == (AWP, "cannot tell (1 of 5 runs did not learn)")
    assert awp.chance == pytest.approx(0.25)
    assert find_doubted(SINGLE, outcomes(SINGLE, {(1, 0, 0): 1, (0, 1, 0): 1}, seeds=5)) == []
    # The base does not count as a level, and half of all runs measure the noise well enough.
    assert find_doubted(SINGLE, outcomes(SINGLE, {(0, 0, 0): 1}, seeds=5)) == []
    assert find_doubted(FULL, outcomes(FULL, {(1, 0, 0): 3}, seeds=3)) == []
    # Runs that have left do not count.
    two = SINGLE.restrict_to([(0, 0, 0), (1, 0, 0), (0, 1, 0)])
    assert find_doubted(two, outcomes(SINGLE, {(1, 0, 0): 1, (0, 0, 1): 5}, seeds=5))[0].chance == pytest.approx(1 / 3)
    assert list(describe_doubted([awp], SPACE)) == [
        "Cannot tell what awp does: 1 of 5 runs did not learn, which is too few to show that it breaks training, and "
        "too many for an interval. More seeds would tell."
    ]
    pair = Effect((*AWP.terms, *EMA.terms))
    verdicts = [Verdict(effect, "helps", "", 0.1, (0.0, 0.2)) for effect in (AWP, EMA, pair)]
    marked = mark(verdicts, [], [awp], FULL)
    assert [(each.word, each.why) for each in marked] == [
        ("cannot tell (1 of 5 runs did not learn)", DOUBTED),
        ("helps", ""),
        ("no evidence", DOUBTED),
    ]


def test_the_rule_names_the_number_of_levels() -> None:
    assert "8 levels were tested, so p is multiplied by their number" in describe_rule(8)


def test_the_most_certain_level_leaves_first_and_explains_the_runs_of_others() -> None:
    # All runs with awp are broken, and half of the runs with fgm, since they have awp too.
    runs = outcomes(FULL, {arm: 3 for arm in FULL.arms if arm[0]})
    assert list(words(FULL, runs)) == ["awp"]
    # fgm breaks 4 of 6 of its runs without awp: 4 of 6 against 0 of 6 is 15 / 495 = 0.03.
    both = outcomes(FULL, {arm: 3 if arm[0] else 2 for arm in FULL.arms if arm[0] or arm[1]})
    assert words(FULL, both) == {"awp": "breaks training (12 of 12 runs)", "fgm": "breaks training (4 of 6 runs)"}


def test_levels_that_are_always_together_are_found_together() -> None:
    arms = ((0, 0, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1))
    design = Design("full", (2, 2, 2), arms)
    assert list(words(design, outcomes(design, {arm: 3 for arm in arms if arm[0]}))) == ["awp", "fgm"]


def test_another_level_that_never_learned_says_nothing_about_training_without_it() -> None:
    design = Design("full", (3,), ((0,), (1,), (2,)))
    breaking = find_breaking(design, outcomes(design, {(1,): 4, (2,): 4}, seeds=4))
    assert [each.breaks for each in breaking] == ["breaks training (4 of 4 runs)"] * 2


def make_block(design: Design, seeds: int, effect: float = 0.0) -> Block:
    """A study in which runs with awp have the score 0.5, and ema has an effect."""
    random = np.random.default_rng(0)
    arms = np.repeat(np.arange(len(design.arms)), seeds)
    levels = np.array(design.arms)[arms]
    scores = np.where(levels[:, 0], 0.5, 0.85 + effect * levels[:, 2]) + random.normal(0, 0.003, len(arms))
    rows = scores[:, None] + random.normal(0, 0.02, (len(arms), 300))
    return Block("set", arms, np.tile(np.arange(seeds), len(design.arms)), rows, [str(run) for run in range(len(arms))])


def test_the_other_effects_are_those_of_the_arms_that_remain() -> None:
    breaking = find_breaking(FULL, outcomes(FULL, {arm: 2 for arm in FULL.arms if arm[0]}))
    remaining = leave_out(FULL, breaking)
    assert remaining.arms == tuple(arm for arm in FULL.arms if not arm[0])
    block = make_block(FULL, 3, effect=0.05)
    chosen = np.flatnonzero([not FULL.arms[arm][0] for arm in block.arms])
    index = {arm: number for number, arm in enumerate(remaining.arms)}
    without = Block(
        "set",
        np.array([index[FULL.arms[arm]] for arm in block.arms[chosen]]),
        block.seeds[chosen],
        block.rows[chosen],
        [block.fingerprints[run] for run in chosen],
    )
    mains, pairs = judge(remaining, [without], 0.01)
    awp, fgm, ema = mark(mains, breaking, [], FULL)
    assert (awp.word, awp.why, awp.has_estimate) == ("breaks training (8 of 12 runs)", RUNS_LEFT_OUT, False)
    means = {arm: block.rows[[FULL.arms[each] == arm for each in block.arms]].mean() for arm in remaining.arms}
    assert ema.value == pytest.approx((means[0, 0, 1] + means[0, 1, 1] - means[0, 0, 0] - means[0, 1, 0]) / 2)
    assert ema.word == "helps" and fgm.word == "practically nothing"
    assert [verdict.effect.terms for verdict in pairs] == [((1, 1), (2, 1))]
    # Over all runs, the effect of ema is halved: there is none where training is broken.
    assert judge(FULL, [block], 0.01)[0][2].value == pytest.approx(0.025, abs=0.005)


def test_the_report_names_what_is_lost() -> None:
    fraction = choose([2, 2, 2], lambda arm: True, "auto", 4)
    breaking = find_breaking(fraction, outcomes(fraction, {arm: 3 for arm in fraction.arms if arm[0]}))
    assert len(leave_out(fraction, breaking).arms) == 2
    # In the two arms that remain, fgm and ema are always together or always apart.
    assert find_lost_effects(fraction, breaking) == [FGM, EMA]
    assert list(describe_breaking(breaking, fraction, SPACE)) == [
        "awp breaks training (6 of 6 runs), p = 0.0011. All its runs, the healthy ones too, are left out of the other "
        "effects.",
        "This loses 2 of 4 combinations, and with them what fgm and ema would show. To measure all of it, repeat the "
        "study without awp.",
    ]
    mains, _ = judge(leave_out(fraction, breaking), [make_block(leave_out(fraction, breaking), 3)], 0.01)
    assert [verdict.why for verdict in mark(mains, breaking, [], fraction)] == [RUNS_LEFT_OUT, LOST, LOST]
    leave_one_out = choose([2, 2, 2], lambda arm: True, "leave_one_out", 4)
    runs = outcomes(leave_one_out, {arm: 3 for arm in leave_one_out.arms if arm[0]})
    assert find_lost_effects(leave_one_out, find_breaking(leave_one_out, runs)) == [FGM, EMA]
    assert find_lost_effects(FULL, find_breaking(FULL, outcomes(FULL, {arm: 3 for arm in FULL.arms if arm[0]}))) == []


def make_row(
    folder: Path,
    arm: Arm,
    seed: int,
    collapsed: bool,
    right: int | None = None,
    baselines: Any = None,
    data: str = "set",
    metric: str = "accuracy",
) -> Row:
    """A finished run that answers `right` of 100 rows rightly."""
    run = folder / f"{data}{arm}{seed}"
    run.mkdir()
    health = {"headline": "learned", "findings": [], "baselines": baselines, "against": None}
    (run / "metrics.json").write_text(json.dumps({"validation": {}, **({"health": health} if baselines else {})}))
    if right is not None:
        (run / "predictions").mkdir()
        decisions = np.array([[1, 0] if row < right else [0, 1] for row in range(100)], np.int8)
        labels = ["a"] * 100
        predictions = Predictions(list(map(str, range(100))), labels, decisions * 1.0, decisions, ["a", "b"], False)
        write_predictions(run / "predictions" / "validation.csv", predictions)
    return Row(data, arm, seed, run, FINISHED, score=(right or 80) / 100, collapsed=collapsed)


def test_a_base_that_mostly_collapsed_did_not_learn(tmp_path: Path) -> None:
    base, trick = (0, 0, 0), (1, 0, 0)
    rows = [make_row(tmp_path, base, seed, seed > 0) for seed in range(3)]
    rows += [make_row(tmp_path, trick, seed, False) for seed in range(3)]
    text = explain_no_verdict(examine_base(rows, "accuracy"))
    assert text.startswith(
        "No verdict: the base did not learn on set (2 of 3 runs answer one class or diverged), so nothing can be "
    )
    learned = examine_base([rows[0], *rows[3:]], "accuracy")
    assert explain_no_verdict(learned) == "" and learned[0].baselines == {}
    diverged = [Row("set", base, seed, tmp_path, FAILED, "training diverged: nan") for seed in (3, 4)]
    assert "2 of 3 runs answer one class or diverged" in explain_no_verdict(
        examine_base([rows[0], *diverged], "accuracy")
    )
    # A run that failed for another reason says nothing.
    failed = Row("set", base, 5, tmp_path, FAILED, "no memory")
    assert explain_no_verdict(examine_base([rows[0], failed], "accuracy")) == ""


def test_a_base_that_is_not_better_than_its_baselines_did_not_learn(tmp_path: Path) -> None:
    baselines = {"majority": {"accuracy": 0.5}, "linear": {"accuracy": 0.7}}
    rows = [make_row(tmp_path, (0, 0, 0), seed, False, right, baselines) for seed, right in enumerate((80, 70, 58))]
    (base,) = examine_base(rows[:2], "accuracy")
    assert (base.score, base.reason) == (0.75, "")
    half = 1.9842169 * np.mean([(p * (1 - p) / 99) ** 0.5 for p in (0.8, 0.7)])  # t with 99 degrees of freedom
    assert base.low == pytest.approx(0.75 - half)
    assert describe_base(base) == (
        "On set the base has accuracy 0.7500, the majority class 0.5000 and the linear baseline 0.7000."
    )
    # On average over its runs it is worse than the linear baseline.
    (base,) = examine_base(rows, "accuracy")
    assert base.reason == "accuracy 0.6933; the linear baseline has 0.7000"
    assert f"the base did not learn on set ({base.reason}), so" in explain_no_verdict([base])
    # It is better than the majority class, but not by more than the chance of which rows are in the split.
    chance = [make_row(tmp_path, (0, 0, 0), 4, False, 58, {"majority": {"accuracy": 0.5}, "linear": None})]
    (base,) = examine_base(chance, "accuracy")
    assert base.reason == "accuracy 0.5800, 0.4816 at the low end; the majority class has 0.5000"


def test_less_loss_is_better_and_calibration_is_not_compared(tmp_path: Path) -> None:
    baselines = {"majority": {"loss": 0.69, "ece": 0.0}, "linear": {"loss": 0.4, "ece": 0.1}}
    row = replace(make_row(tmp_path, (0, 0, 0), 0, False, 100, baselines), score=0.3)
    (base,) = examine_base([row], "loss")
    assert base.reason == "" and base.low == pytest.approx(0)
    (base,) = examine_base([replace(row, score=0.5)], "loss")
    assert base.reason == "loss 0.5000; the linear baseline has 0.4000"
    (base,) = examine_base([row], "ece")
    assert base.reason == ""


def test_every_data_set_must_be_learned_and_the_fewest_levels_stand_in_for_the_base(tmp_path: Path) -> None:
    rows = [
        make_row(tmp_path, arm, 0, data == "two" and sum(arm) == 2, data=data)
        for arm in ((1, 1, 1), (0, 1, 1), (1, 0, 1))
        for data in ("one", "two")
    ]
    one, two = examine_base(rows, "accuracy")
    assert (one.data, one.count, one.broken) == ("one", 2, 0) and (two.count, two.broken) == (2, 2)
    assert "the base did not learn on two (2 of 2 runs" in explain_no_verdict([one, two])
    assert examine_base([], "accuracy") == []
