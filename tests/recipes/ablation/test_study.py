"""The flow of a study: who is run again with more seeds, and when it ends. Nothing is trained."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recipes.ablation import study
from recipes.ablation.design import Arm, Design, Effect, choose
from recipes.ablation.effects import Block
from recipes.ablation.factors import NONE, Factor, Level, Space
from recipes.ablation.runs import FINISHED, Row
from recipes.ablation.verdicts import IDENTICAL

NAMES = ("first", "second")
SPACE = Space(tuple(Factor(name, (NONE, Level(name, (), name))) for name in NAMES), {"set": ()})


class Made:
    """Runs whose scores are made up: the first trick is worth much, the second nothing that can be told."""

    def __init__(self, stop: str, budget: int) -> None:
        self.settings = SimpleNamespace(seeds=3, stop=stop, budget=budget, margin=0.001)
        self.composer = SimpleNamespace(
            master=SimpleNamespace(evaluate=SimpleNamespace(metric="accuracy")), searched=[]
        )
        self.asked: list[tuple[set[Arm], int]] = []
        self.by_folder: dict[Path, Row] = {}

    def rows(self, space: Space, arms: Sequence[Arm], seeds: range) -> None:
        self.asked.append((set(arms), len(seeds)))
        for arm in arms:
            for seed in seeds:
                chance = np.random.default_rng([seed, *arm]).normal(0, 0.02)
                row = Row(
                    "set", arm, seed, Path(f"{arm}-{seed}"), FINISHED, None, 0.5 + 0.3 * arm[0] + chance, 1.0, 1.0, 1.0
                )
                self.by_folder[row.folder] = row

    def of(self, space: Space) -> list[Row]:
        return list(self.by_folder.values())


def blocks(design: Design, rows: Sequence[Row], metric: str) -> list[Block]:
    scores = np.array([row.score for row in rows])
    arms = np.array([design.arms.index(row.arm) for row in rows])
    return [
        Block(
            "set",
            arms,
            np.array([row.seed for row in rows]),
            np.repeat(scores[:, None], 5, 1),
            [str(row.folder) for row in rows],
        )
    ]


def in_rounds(monkeypatch: pytest.MonkeyPatch, stop: str, budget: int, kind: str) -> tuple[Made, Any, int]:
    monkeypatch.setattr(study, "blocks_of", blocks)
    design = choose([2, 2], lambda arm: True, kind, 100)
    made: Any = Made(stop, budget)
    findings, seeds = study._in_rounds(SPACE, lambda arm: True, design, made)
    return made, findings, seeds


def test_a_study_in_which_nothing_changes_anything_has_its_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        study,
        "blocks_of",
        lambda *arguments: [
            replace(block, fingerprints=[str(seed) for seed in block.seeds], rows=block.rows * 0)
            for block in blocks(*arguments)
        ],
    )
    design = choose([2, 2], lambda arm: True, "full", 100)
    made: Any = Made("fixed", 100)
    findings, _ = study._in_rounds(SPACE, lambda arm: True, design, made)
    assert [verdict.word for verdict in findings.mains] == [IDENTICAL, IDENTICAL]


def test_fixed_seeds_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made, findings, seeds = in_rounds(monkeypatch, "fixed", 100, "full")
    assert seeds == 3 and [count for _, count in made.asked] == [3]
    assert [verdict.word for verdict in findings.mains] == ["helps", "no evidence"]


def test_seeds_are_added_to_the_arms_of_what_is_open_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    made, findings, seeds = in_rounds(monkeypatch, "when_clear", 33, "one_at_a_time")
    assert seeds == 11 and [count for _, count in made.asked] == [3, 5, 7, 9, 11]
    assert made.asked[0][0] == {(0, 0), (1, 0), (0, 1)}
    assert {frozenset(arms) for arms, _ in made.asked[1:]} == {frozenset({(0, 0), (0, 1)})}
    assert [verdict.word for verdict in findings.mains] == ["helps", "no evidence"]
    # What was clear is told as it was then: three seeds, and their share of the level.
    assert len([row for row in findings.rows if row.arm == (1, 0)]) == 3


def test_what_is_open_is_looked_at_once_more_where_no_two_arms_differ_in_it_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    half = Design("auto", (2, 2, 2), ((0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1)))
    factors = tuple(Factor(name, (NONE, Level(name, (), name))) for name in ("first", "second", "third"))
    space = Space(factors, {"one": ("data=one",), "two": ("data=two",)})
    asked: list[tuple[list[str], list[Arm], range]] = []

    def rows(space: Space, arms: Sequence[Arm], seeds: range) -> list[Row]:
        asked.append((list(space.data), list(arms), seeds))
        return [Row(data, arm, 0, Path(f"{data}{arm}"), FINISHED) for data in space.data for arm in arms]

    def are_alike(new: Row, old: Row) -> bool:
        """The first changes nothing, the second nothing on one data set."""
        return old.arm == (1, 0, 0) or (old.arm, old.data) == ((0, 1, 0), "one")

    monkeypatch.setattr(study, "are_alike", are_alike)
    there = [Row(data, arm, 0, Path(), FINISHED) for data in space.data for arm in half.arms]
    made: Any = SimpleNamespace(rows=rows, of=lambda _: there)
    singles = [Effect(((place, 1),)) for place in range(3)]
    assert study._idle(space, lambda arm: True, half, singles, made) == singles[:1]
    assert asked == [([data], [(0, 0, 0)], range(1)) for data in ("one", "two")]
    assert study._idle(space, lambda arm: True, half, [], made) == [] and len(asked) == 2
    # A run that has failed shows nothing.
    there[:] = []
    assert study._idle(space, lambda arm: True, half, singles, made) == []
