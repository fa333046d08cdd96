"""The flow of a study: which arms get more seeds, and when it ends. Nothing is trained."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

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
    """Runs with artificial scores: the first trick has a large effect, the second one of the size of the noise."""

    def __init__(self, stop: str, budget: int) -> None:
        self.settings = SimpleNamespace(seeds=3, stop=stop, budget=budget, margin=0.001, second_endpoint="none")
        self.composer = SimpleNamespace(
            master=SimpleNamespace(evaluate=SimpleNamespace(metric="accuracy")), search_path=[]
        )
        self.requests: list[tuple[set[Arm], int]] = []
        self.by_folder: dict[Path, Row] = {}
        self.runs_until_killed = 10**6

    def run(self, space: Space, arms: Sequence[Arm], seeds: range) -> None:
        self.requests.append((set(arms), len(seeds)))
        for arm in arms:
            for seed in seeds:
                if len(self.by_folder) == self.runs_until_killed:
                    raise KeyboardInterrupt
                chance = np.random.default_rng([seed, *arm]).normal(0, 0.02)
                score = 0.5 + 0.3 * arm[0] + 0.02 * arm[1] + chance
                row = Row("set", arm, seed, Path(f"{arm}-{seed}"), FINISHED, None, score, 1.0, 1.0, 1.0)
                row = replace(row, collapsed=self.has_collapsed(arm, seed))
                self.by_folder[row.folder] = row

    def has_collapsed(self, arm: Arm, seed: int) -> bool:
        return False

    def rows_of(self, space: Space) -> list[Row]:
        return list(self.by_folder.values())


def blocks(design: Design, rows: Sequence[Row], metric: str, scored: Any = None) -> list[Block]:
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
    analyses = [3, 4, 5, 6, 8, 10, 11]
    assert [count for _, count in study_runs.requests] == analyses[: analyses.index(seeds) + 1] and seeds > 4
    assert study_runs.requests[0][0] == {(0, 0), (1, 0), (0, 1)}
    assert study_runs.requests[-1][0] == {(0, 0), (0, 1)}
    # The clear verdict is final: its arm has no more seeds than it needed.
    with_first = [row for row in findings.rows if row.arm == (1, 0)]
    assert findings.mains[0].word == "helps" and len(with_first) < seeds
    assert findings.rounds[0].startswith("Seeds were added in rounds: the study was judged with 3, 4")
    assert findings.rounds[-1].startswith(f"Left early: first with {len(with_first)} seeds.")


def test_an_interrupted_study_decides_the_same_when_it_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision sees the runs that were requested so far, and no later ones that are finished already."""
    whole, findings, _ = run_in_rounds(monkeypatch, "when_clear", 33, "one_at_a_time")
    design = choose([2, 2], lambda arm: True, "one_at_a_time", 100)
    for runs in (4, 11):
        study_runs: Any = StudyRuns("when_clear", 33)
        study_runs.runs_until_killed = runs
        with pytest.raises(KeyboardInterrupt):
            study._run_in_rounds(SPACE, lambda arm: True, design, study_runs)
        # The runs so far are on disk; the new process asks for all of them again, round by round.
        finished, resumed = dict(study_runs.by_folder), StudyRuns("when_clear", 33)
        again, _ = study._run_in_rounds(SPACE, lambda arm: True, design, cast(Any, resumed))
        assert resumed.requests == whole.requests and again.mains == findings.mains
        assert finished.items() <= resumed.by_folder.items()


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
    assert (
        text.startswith("# Ablation\n\n**The base did not learn**\n\nNo verdict: the base did not learn")
        and "| first | no verdict |" in text
    )


def test_a_base_that_is_no_arm_of_the_design_is_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    """In `leave_one_out` the arms with the fewest tricks stand in for a base that has no run."""
    monkeypatch.setattr(study, "load_blocks", blocks)
    design = Design("leave_one_out", (2, 2), ((0, 1), (1, 0), (1, 1)))
    base_rows = [Row("set", (0, 0), seed, Path(f"base-{seed}"), FINISHED, score=0.5) for seed in range(2)]
    for has_collapsed, word in ((True, "no verdict"), (False, "helps")):
        rows = [replace(row, collapsed=has_collapsed) for row in base_rows]
        study_runs: Any = StudyRuns("fixed", 100)
        findings, _ = study._run_in_rounds(SPACE, lambda arm: True, design, study_runs, rows)
        assert findings.mains[0].word == word
        assert (findings.base[0].count, findings.base[0].broken) == (2, 2 * has_collapsed)
        assert len(findings.rows) == 9


def test_a_doubted_level_gets_more_seeds_and_has_no_verdict_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second trick alone: 1 of 3 runs collapses against 0 of 6, and then 2 of 4 against 0 of 7."""
    monkeypatch.setattr(StudyRuns, "has_collapsed", lambda self, arm, seed: arm == (0, 1) and seed in (0, 3))
    study_runs, findings, _ = run_in_rounds(monkeypatch, "when_clear", 12, "one_at_a_time")
    assert study_runs.requests[1] == ({(0, 0), (0, 1)}, 4)
    first, second = findings.mains
    assert first.word == "helps" and second.word == "cannot tell (2 of 4 runs did not learn)"
    assert not second.has_estimate and findings.over_all_runs[second.effect].has_estimate
    assert list(findings.by_data["set"]) == [first.effect]
    text = as_markdown("Ablation", build_parts(findings))
    # 0.37 ** 3 = 0.05
    assert "A level has at least 3 runs here. One that breaks up to 63 % of its runs" in text
    assert "Cannot tell what second does: 2 of 4 runs did not learn" in text and "Not settled: second." in text


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


def test_a_run_that_serves_two_purposes_has_one_line_and_the_check_of_the_length_none(tmp_path: Path) -> None:
    composer: Any = SimpleNamespace(sweep=tmp_path)
    settings: Any = SimpleNamespace(lengths=[1.0])
    study_runs = study.StudyRuns(settings, composer, lambda *arguments: None, {})
    base = Row("set", (0, 0), 0, tmp_path / "base", FINISHED, score=0.5)
    study_runs._record(replace(SPACE), [base])
    study_runs._record(replace(SPACE), [base, replace(base, arm=(0, 1), folder=tmp_path / "second")])
    study_runs._record(replace(SPACE, length=2.0), [replace(base, folder=tmp_path / "longer")])
    lines = list(csv.DictReader((tmp_path / "runs.csv").read_text(encoding="utf-8").splitlines()))
    assert [(line["second"], line["folder"]) for line in lines] == [("none", "base"), ("second", "second")]
