"""The findings of a study with a known truth: names, costs, the recommended arm, the Pareto front."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recipes.ablation.design import Arm, Effect, choose, design_matrix
from recipes.ablation.effects import Block, estimate_by_data
from recipes.ablation.factors import NONE, Factor, Level, Space
from recipes.ablation.findings import Findings
from recipes.ablation.runs import FAILED, FINISHED, Row
from recipes.ablation.verdicts import judge


def trick(name: str, *overrides: str) -> Level:
    return Level(name, overrides, name.split()[0])


def value(name: str, setting: str) -> Level:
    return Level(setting, (f"{name}={setting}",))


FACTORS = (
    Factor("mixup", (NONE, *(trick(f"mixup alpha={alpha}", f"tricks.mixup.alpha={alpha}") for alpha in (0.2, 1.0)))),
    Factor("fgm", (NONE, trick("fgm"))),
    Factor("ema|swa", (NONE, trick("ema"), trick("swa"))),
    Factor("train.learning_rate", tuple(value("train.learning_rate", setting) for setting in ("1e-5", "1e-4"))),
)


def simulate_findings(
    truth: dict[Effect, float],
    admissible: Callable[[Arm], bool] = lambda arm: True,
    kind: str = "full",
    most: int = 100,
) -> Findings:
    """Simulate a study of two data sets with a known truth and one failed run."""
    space = Space(FACTORS, {"one": ("data=one",), "two": ("data=two",)}, ("model=tiny",), ("amp",))
    design = choose([len(factor.levels) for factor in FACTORS], admissible, kind, most)
    random = np.random.default_rng(0)
    means = 0.8 + design_matrix(design.arms, design.levels, list(truth)) @ np.array(list(truth.values()))
    rows, blocks = [], []
    for data in space.data:
        arms, seeds, scores = [], [], []
        for index, arm in enumerate(design.arms):
            for seed in range(3):
                run = (data, arm, seed, Path(f"study/{data}-{index}-{seed}"))
                if (data, index, seed) == ("two", 1, 2):
                    rows.append(Row(*run, FAILED, "data.train=<b>: no such file"))
                    continue
                score = means[index] + random.normal(0, 0.003)
                seconds = 10.0 * (2 if arm[1] else 1)
                rows.append(Row(*run, FINISHED, None, score, seconds, 2.0 if arm[1] else 1.0, 900.0, "run"))
                arms, seeds, scores = [*arms, index], [*seeds, seed], [*scores, score]
        row_noise = random.normal(0, 0.02, (len(scores), 200))
        values = np.array(scores)[:, None] + row_noise - row_noise.mean(1, keepdims=True)
        blocks.append(
            Block(data, np.array(arms), np.array(seeds), values, [f"{data}{run}" for run in range(len(arms))])
        )
    mains, pairs = judge(design, blocks, 0.01)
    return Findings(space, admissible, design, rows, mains, pairs, "accuracy", 0.01, estimate_by_data(design, blocks))


def single(factor: int, level: int = 1) -> Effect:
    return Effect(((factor, level),))


TRUTH = {single(0, 2): 0.03, single(1): 0.04, single(2, 1): -0.05, Effect(((0, 2), (1, 1))): -0.08}


@pytest.fixture(scope="module")
def study() -> Findings:
    return simulate_findings(TRUTH)


def test_effects_and_arms_have_names(study: Findings) -> None:
    assert [study.name(verdict.effect) for verdict in study.mains] == [
        "mixup alpha=0.2",
        "mixup alpha=1.0",
        "fgm",
        "ema",
        "swa",
        "train.learning_rate=1e-4",
    ]
    assert study.name(Effect(((0, 2), (1, 1)))) == "mixup alpha=1.0 × fgm"
    assert study.space.name_arm((0, 1, 2, 1)) == "fgm + swa + train.learning_rate=1e-4"
    assert study.space.name_arm((0, 0, 0, 0)) == "base"


def test_costs_are_ratios_and_no_arm_beats_the_pareto_front(study: Findings) -> None:
    of_fgm = study.costs[single(1)]
    assert of_fgm["seconds"] == pytest.approx(2.0) and of_fgm["passes"] == pytest.approx(2)
    assert study.costs[single(0)] == pytest.approx({"passes": 1.0, "seconds": 1.0, "memory": 1.0})
    means = study.means()
    front = study.pareto_front()
    assert [means[arm][1] for arm in front] == sorted({means[arm][1] for arm in front})
    for arm in front:
        assert not any(score > means[arm][0] and seconds <= means[arm][1] for score, seconds in means.values())


def test_the_recommended_arm_has_the_tricks_that_help_and_no_two_that_fight(study: Findings) -> None:
    words = {study.name(verdict.effect): verdict.word for verdict in study.mains}
    assert words["fgm"] != "hurts" and words["ema"] == "hurts" and words["swa"] == "practically nothing"
    # Against neither: mixup +0.09, fgm +0.08, both +0.05.
    fighting = simulate_findings({single(0, 2): 0.03, single(1): 0.04, Effect(((0, 2), (1, 1))): -0.12})
    assert fighting.space.name_arm(fighting.recommended_arm) == "mixup alpha=1.0"
    findings = simulate_findings({single(0, 2): 0.03, single(1): 0.04})
    assert findings.space.name_arm(findings.recommended_arm) == "mixup alpha=1.0 + fgm"
    exclusive = simulate_findings({single(0, 2): 0.03, single(1): 0.04}, lambda arm: not (arm[0] and arm[1]))
    assert exclusive.space.name_arm(exclusive.recommended_arm) == "fgm"
    nothing = simulate_findings({})
    assert nothing.recommended_arm == (0, 0, 0, 0)


def test_costs_are_compared_between_runs_in_the_same_mode(study: Findings) -> None:
    """Replayed runs take a third of the time. Those with ema are not replayed, and one other run is partly."""
    ema = {arm for arm in study.design.arms if arm[2] == 1}
    rows = [row if row.arm in ema else replace(row, graphs=True, seconds=(row.seconds or 0) / 3) for row in study.rows]
    partly = next(index for index, row in enumerate(rows) if row.graphs)
    rows[partly] = replace(rows[partly], graphs="partial", seconds=1e6)
    mixed = replace(study, rows=rows)
    assert mixed.compares_replays and not study.compares_replays
    assert set(mixed.arms_in_other_modes) == {*ema, rows[partly].arm} and study.arms_in_other_modes == []
    assert mixed.costs[single(2, 1)] == pytest.approx({"passes": 1.0})
    assert mixed.costs[single(1)] == pytest.approx({"passes": 2.0, "seconds": 2.0, "memory": 1.0})
    assert not ema & set(mixed.means())


def test_a_run_that_is_missing_on_a_slow_data_set_changes_no_cost() -> None:
    design = choose([2], lambda arm: True, "full", 2)
    space = Space((Factor("fgm", (NONE, trick("fgm"))),), {"fast": (), "slow": ()})
    rows = [
        Row(data, arm, seed, Path(f"{data}{arm}{seed}"), FINISHED, None, score, seconds, 1.0, 1.0)
        for data, score, seconds in (("fast", 0.9, 10.0), ("slow", 0.5, 100.0))
        for arm in design.arms
        for seed in range(3)
        if (data, arm, seed) != ("slow", (1,), 2)
    ]
    study = Findings(space, lambda arm: True, design, rows, [], [], "accuracy", 0.01, {})
    assert study.costs[single(0)] == pytest.approx({"passes": 1.0, "seconds": 1.0, "memory": 1.0})
    assert study.means()[(0,)] == pytest.approx((0.7, 55.0)) == study.means()[(1,)]


def test_the_pareto_front_minimizes_a_metric_of_which_less_is_better(study: Findings) -> None:
    arms = study.design.arms[:2]
    rows = [
        Row("one", arm, 0, Path(str(arm)), FINISHED, None, score, seconds, 1.0, 1.0)
        for arm, score, seconds in zip(arms, (0.9, 0.4), (10.0, 11.0), strict=True)
    ]
    loss = replace(study, rows=rows, metric="loss")
    assert loss.pareto_front() == list(arms) and replace(loss, metric="accuracy").pareto_front() == [arms[0]]
