"""The simulation: its worlds have the stated properties, and its counts are near the nominal levels."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from recipes.ablation.design import choose


@pytest.fixture(scope="module")
def calibrate(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("calibrate")


def test_simulated_arms_have_the_true_accuracy(calibrate: ModuleType) -> None:
    world = replace(calibrate.WORLDS["with effects"], rows=200_000)
    arms = [(0,) * 8, (1, 0, 0, 0, 0, 0, 0, 0), (1, 1, 1, 1, 1, 1, 1, 1)]
    (block,) = calibrate.simulate_study(world, arms, 1, np.random.default_rng(0))
    # The noise of a run remains with any number of rows: 0.05 relative to a row's 1, about 0.01 of accuracy.
    np.testing.assert_allclose(block.rows.mean(1), [0.85, 0.88, 0.88], atol=0.03)
    assert calibrate.accuracy(world, arms) == pytest.approx([0.85, 0.88, 0.88])


def test_worlds_have_idle_tricks_and_failed_runs(calibrate: ModuleType) -> None:
    design = choose([2, 2], lambda arm: True, "full", 4)
    (block,) = calibrate.simulate_study(
        calibrate.World(effects=(0, 0), idle=1), design.arms, 2, np.random.default_rng(0)
    )
    assert block.fingerprints == ["0", "0", "0", "0", "1", "1", "1", "1"]
    assert (block.rows[0] == block.rows[2]).all() and (block.rows[0] != block.rows[4]).any()
    (block,) = calibrate.simulate_study(calibrate.World(lost=0.5), design.arms, 50, np.random.default_rng(0))
    assert 70 < len(block.arms) < 130 and len(block.rows) == len(block.arms) == len(block.fingerprints)


def test_studies_without_an_estimate_are_not_counted(calibrate: ModuleType) -> None:
    design, seeds = next(iter(calibrate.designs().values()))
    world = replace(calibrate.WORLDS["a fifth of the runs lost"], lost=0.45)
    each, at_once, _, by_seeds, *_ = calibrate.count_coverage(world, design, seeds, 40, 0)
    assert float(each.partition("%")[0]) > 90 and float(at_once.partition("%")[0]) > 80 and "nan" not in by_seeds


def test_logs_without_effects_get_few_false_claims(calibrate: ModuleType) -> None:
    world = calibrate.LogWorld(failing=0.4)
    runs = calibrate.simulate_log(world, 3, 4, np.random.default_rng(0))
    assert len({(run.levels, run.seed) for run in runs}) == 12
    assert 0 < sum(run.score == calibrate.MAJORITY for run in runs) < 12
    claims, breaks, none = calibrate.count_in_logs(world, 3, 4, 100, 0)
    # Three standard errors of 100 logs. The base often fails, and then there is no verdict.
    assert max(float(cell.partition("%")[0]) for cell in (claims, breaks)) < 11.5
    assert float(none.partition("%")[0]) > 20


def test_every_part_of_the_simulation_can_be_named(calibrate: ModuleType) -> None:
    modules = {path.stem for path in (Path(calibrate.__file__).parent / "calibration").glob("*.py")}
    assert modules == set(calibrate.PARTS)


def test_a_part_prints_its_lines(
    calibrate: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["calibrate.py", "datasets", "--studies", "20"])
    calibrate.main()
    assert capsys.readouterr().out.startswith("Intervals for the mean over a population of data sets\n")


@pytest.mark.slow
def test_intervals_have_their_coverage_and_false_verdicts_are_rare(calibrate: ModuleType) -> None:
    designs = calibrate.designs()
    for name, world in [(next(iter(designs)), "as seen"), (next(iter(designs)), "two tricks idle")]:
        cells = calibrate.count_coverage(calibrate.WORLDS[world], *designs[name], 400, 0)
        assert cells[4:] == ["", ""]  # this fraction estimates no pair
        each, at_once, false, by_seeds = (float(cell.partition("%")[0]) for cell in cells[:4])
        # Three standard errors of 400 studies around the results of 10,000.
        assert 93 < each < 97 and at_once > 92 and false < 8, (name, world)
        assert by_seeds < each - 2
    full = next(name for name in designs if name.startswith("full"))
    *_, at_once, false = calibrate.count_coverage(calibrate.WORLDS["as seen"], *designs[full], 400, 0)
    assert float(at_once.partition("%")[0]) > 92 and float(false.partition("%")[0]) < 8
