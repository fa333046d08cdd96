"""The flow of a study: which arms get more seeds, and when it ends. Nothing is trained."""

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
from recipes.ablation.report import build_parts, summarize
from recipes.ablation.runs import FINISHED, Row
from recipes.ablation.verdicts import IDENTICAL
from recipes.reports.document import as_markdown
from recipes.runs.folder import RunFolder

NAMES = ("first", "second")
SPACE = Space(tuple(Factor(name, (NONE, Level(name, (), name))) for name in NAMES), {"set": ()})


@pytest.fixture(autouse=True)
def no_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """The artificial runs have no folder, so their health is unknown."""
    monkeypatch.setattr(RunFolder, "metrics", {})


class StudyRuns:
    """Runs with artificial scores: the first trick has a large effect, the second a negligible one."""

    def __init__(self, stop: str, budget: int) -> None:
        self.settings = SimpleNamespace(seeds=3, stop=stop, budget=budget, margin=0.001, second_endpoint="none")
        self.composer = SimpleNamespace(
            master=SimpleNamespace(evaluate=SimpleNamespace(metric="accuracy")), search_path=[]
        )
        self.requests: list[tuple[set[Arm], int]] = []
        self.by_folder: dict[Path, Row] = {}

    def run(self, space: Space, arms: Sequence[Arm], seeds: range) -> None:
        self.requests.append((set(arms), len(seeds)))
        for arm in arms:
            for seed in seeds:
                chance = np.random.default_rng([seed, *arm]).normal(0, 0.02)
                row = Row(
                    "set", arm, seed, Path(f"{arm}-{seed}"), FINISHED, None, 0.5 + 0.3 * arm[0] + chance, 1.0, 1.0, 1.0
                )
                row = replace(row, collapsed=self.has_collapsed(arm, seed))
                self.by_folder[row.folder] = row

    def has_collapsed(self, arm: Arm, seed: int) -> bool:
        return False

    def rows_of(self, space: Space) -> list[Row]:
        return list(self.by_folder.values())


def blocks(design: Design, rows: Sequence[Row], metric: str) -> list[Block]:
    rows = [row for row in rows if row.arm in design.arms]
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


def run_in_rounds(monkeypatch: pytest.MonkeyPatch, stop: str, budget: int, kind: str) -> tuple[StudyRuns, Any, int]:
    monkeypatch.setattr(study, "load_blocks", blocks)
    design = choose([2, 2], lambda arm: True, kind, 100)
    study_runs: Any = StudyRuns(stop, budget)
    findings, seeds = study._run_in_rounds(SPACE, lambda arm: True, design, study_runs)
    return study_runs, findings, seeds


def test_a_study_in_which_no_trick_changes_anything_has_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        study,
        "load_blocks",
        lambda *arguments: [
            replace(block, fingerprints=[str(seed) for seed in block.seeds], rows=block.rows * 0)
            for block in blocks(*arguments)
        ],
    )
    design = choose([2, 2], lambda arm: True, "full", 100)
    study_runs: Any = StudyRuns("fixed", 100)
    findings, _ = study._run_in_rounds(SPACE, lambda arm: True, design, study_runs)
    assert [verdict.word for verdict in findings.mains] == [IDENTICAL, IDENTICAL]


def test_fixed_seeds_are_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    study_runs, findings, seeds = run_in_rounds(monkeypatch, "fixed", 100, "full")
    assert seeds == 3 and [count for _, count in study_runs.requests] == [3]
    assert [verdict.word for verdict in findings.mains] == ["helps", "no evidence"]


def test_seeds_are_added_only_to_the_arms_of_open_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    study_runs, findings, seeds = run_in_rounds(monkeypatch, "when_clear", 33, "one_at_a_time")
    assert seeds == 11 and [count for _, count in study_runs.requests] == [3, 5, 7, 9, 11]
    assert study_runs.requests[0][0] == {(0, 0), (1, 0), (0, 1)}
    assert {frozenset(arms) for arms, _ in study_runs.requests[1:]} == {frozenset({(0, 0), (0, 1)})}
    assert [verdict.word for verdict in findings.mains] == ["helps", "no evidence"]
    # The clear verdict is final: its arm has three seeds.
    assert len([row for row in findings.rows if row.arm == (1, 0)]) == 3


def test_a_level_that_breaks_training_leaves_the_other_effects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StudyRuns, "has_collapsed", lambda self, arm, seed: arm[1] == 1 and seed > 0)
    study_runs, findings, _ = run_in_rounds(monkeypatch, "when_clear", 100, "full")
    # Six of nine runs with the second trick collapsed; further seeds would be spent on it too.
    assert [count for _, count in study_runs.requests] == [3]
    assert [verdict.word for verdict in findings.mains] == ["helps", "breaks training (4 of 6 runs)"]
    assert findings.design.arms == ((0, 0), (1, 0)) and findings.pairs == []
    score = {row.arm: 0.0 for row in findings.rows}
    for row in findings.rows:
        score[row.arm] += row.score / 3
    assert findings.mains[0].value == pytest.approx(score[1, 0] - score[0, 0])
    (first, second) = findings.over_all_runs.values()
    assert first.value == pytest.approx((score[1, 0] + score[1, 1] - score[0, 0] - score[0, 1]) / 2)
    assert second.has_estimate
    sentences = list(summarize(findings))
    assert "This loses 2 of 4 combinations. To measure all of it, repeat the study without second." in sentences
    assert sentences[-1] == "Recommended: first."


def test_a_base_that_did_not_learn_ends_the_study_without_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both tricks look helpful, since the base has collapsed."""
    monkeypatch.setattr(StudyRuns, "has_collapsed", lambda self, arm, seed: arm == (0, 0))
    study_runs, findings, _ = run_in_rounds(monkeypatch, "when_clear", 100, "full")
    assert [count for _, count in study_runs.requests] == [3]
    assert [(verdict.word, verdict.has_estimate) for verdict in findings.mains] == [("no verdict", False)] * 2
    first, second, *others = summarize(findings)
    assert first.startswith("No verdict: the base did not learn on set (3 of 3 runs answer one class or diverged), so")
    assert second.startswith("12 runs (4 combinations, 3 seeds) were compared") and others == []
    assert not any(findings.recommended_arm)
    text = as_markdown("Ablation", build_parts(findings))
    assert text.startswith("# Ablation\n\nNo verdict: the base did not learn") and "| first | no verdict |" in text


def test_an_open_trick_gets_one_more_run_if_no_two_arms_differ_in_it_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    half = Design("auto", (2, 2, 2), ((0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1)))
    factors = tuple(Factor(name, (NONE, Level(name, (), name))) for name in ("first", "second", "third"))
    space = Space(factors, {"one": ("data=one",), "two": ("data=two",)})
    requests: list[tuple[list[str], list[Arm], range]] = []

    def run(space: Space, arms: Sequence[Arm], seeds: range) -> list[Row]:
        requests.append((list(space.data), list(arms), seeds))
        return [Row(data, arm, 0, Path(f"{data}{arm}"), FINISHED) for data in space.data for arm in arms]

    def are_alike(new: Row, old: Row) -> bool:
        """The first trick changes nothing, the second changes nothing on one data set."""
        return old.arm == (1, 0, 0) or (old.arm, old.data) == ((0, 1, 0), "one")

    monkeypatch.setattr(study, "are_alike", are_alike)
    rows_so_far = [Row(data, arm, 0, Path(), FINISHED) for data in space.data for arm in half.arms]
    study_runs: Any = SimpleNamespace(run=run, rows_of=lambda _: rows_so_far)
    singles = [Effect(((factor, 1),)) for factor in range(3)]
    assert study._find_idle_effects(space, lambda arm: True, half, singles, study_runs) == singles[:1]
    assert requests == [([data], [(0, 0, 0)], range(1)) for data in ("one", "two")]
    assert study._find_idle_effects(space, lambda arm: True, half, [], study_runs) == [] and len(requests) == 2
    # A run that has failed is no evidence.
    rows_so_far[:] = []
    assert study._find_idle_effects(space, lambda arm: True, half, singles, study_runs) == []
