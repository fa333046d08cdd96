"""The simulation: its worlds are what they say, and what it counts is near what is promised; chance is fixed."""

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from recipes.ablation.design import choose


@pytest.fixture(scope="module")
def calibrate(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("calibrate")


def test_arms_are_as_accurate_as_the_world_says(calibrate: ModuleType) -> None:
    world = replace(calibrate.WORLDS["with effects"], rows=200_000)
    arms = [(0,) * 8, (1, 0, 0, 0, 0, 0, 0, 0), (1, 1, 1, 1, 1, 1, 1, 1)]
    (block,) = calibrate.study(world, arms, 1, np.random.default_rng(0))
    # A run's own deviation stays, however many rows there are: 0.05 beside a row's 1, some 0.01 of accuracy.
    np.testing.assert_allclose(block.rows.mean(1), [0.85, 0.88, 0.88], atol=0.03)
    assert calibrate.accuracy(world, arms) == pytest.approx([0.85, 0.88, 0.88])


def test_idle_tricks_and_lost_runs_are_there(calibrate: ModuleType) -> None:
    design = choose([2, 2], lambda arm: True, "full", 4)
    (block,) = calibrate.study(calibrate.World(effects=(0, 0), idle=1), design.arms, 2, np.random.default_rng(0))
    assert block.fingerprints == ["0", "0", "0", "0", "1", "1", "1", "1"]
    assert (block.rows[0] == block.rows[2]).all() and (block.rows[0] != block.rows[4]).any()
    (block,) = calibrate.study(calibrate.World(lost=0.5), design.arms, 50, np.random.default_rng(0))
    assert 70 < len(block.arms) < 130 and len(block.rows) == len(block.arms) == len(block.fingerprints)


def test_studies_that_lost_too_much_to_tell_anything_are_not_counted(calibrate: ModuleType) -> None:
    design, seeds = next(iter(calibrate.designs().values()))
    world = replace(calibrate.WORLDS["a fifth of the runs lost"], lost=0.45)
    each, at_once, _, by_seeds, *_ = calibrate.covered(world, design, seeds, 40, 0)
    assert float(each.partition("%")[0]) > 90 and float(at_once.partition("%")[0]) > 80 and "nan" not in by_seeds


@pytest.mark.slow
def test_intervals_hold_and_false_verdicts_are_rare(calibrate: ModuleType) -> None:
    known = calibrate.designs()
    for name, world in [(next(iter(known)), "as seen"), (next(iter(known)), "two tricks idle")]:
        cells = calibrate.covered(calibrate.WORLDS[world], *known[name], 400, 0)
        assert cells[4:] == ["", ""]  # this fraction tells no pair
        each, at_once, false, by_seeds = (float(cell.partition("%")[0]) for cell in cells[:4])
        # Three standard errors of 400 studies around what 10,000 of them show.
        assert 93 < each < 97 and at_once > 92 and false < 8, (name, world)
        assert by_seeds < each - 2
    full = next(name for name in known if name.startswith("full"))
    *_, at_once, false = calibrate.covered(calibrate.WORLDS["as seen"], *known[full], 400, 0)
    assert float(at_once.partition("%")[0]) > 92 and float(false.partition("%")[0]) < 8
