"""The controls of the recommended recipe, the sign of its test verdict, and how often a test split is used."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recipes.ablation import confirmation
from recipes.ablation.confirmation import plan_confirmation
from recipes.ablation.design import Arm, Design, Effect
from recipes.ablation.factors import NONE, Factor, Level, Space
from recipes.ablation.findings import Findings
from recipes.ablation.runs import FINISHED, Row
from recipes.ablation.verdicts import HELPS, Verdict
from recipes.compose.reading import read
from recipes.config import Config
from recipes.metrics import Predictions
from recipes.testing import compose_again

NAMES = ("eda", "fgm", "swa")
ARMS = tuple((one, two, three) for one in (0, 1) for two in (0, 1) for three in (0, 1))


def findings(folder: Path, always: tuple[str, ...] = (), helping: Arm = (1, 1, 1)) -> Findings:
    """A study in which all three tricks help; eda turns one row into five, fgm doubles the passes."""
    space = Space(tuple(Factor(name, (NONE, Level(name, (), name))) for name in NAMES), {"set": ()}, always=always)
    rows = []
    for arm in ARMS:
        run_folder = folder / "".join(map(str, arm))
        run_folder.mkdir()
        lines = [{"update": number, "epoch": number / (50 if arm[0] else 10), "examples": 8} for number in (1, 2, 3)]
        (run_folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        passes = 2.0 if arm[1] else 1.0
        rows.append(Row("set", arm, 0, run_folder, FINISHED, None, 0.5, passes, passes, 100.0))
    mains = [Verdict(Effect(((factor, 1),)), HELPS if on else "hurts", "", 0.02) for factor, on in enumerate(helping)]
    return Findings(space, lambda arm: True, Design("full", (2, 2, 2), ARMS), rows, mains, [], "accuracy", 0.01, {})


def config(*overrides: str) -> Config:
    return read(compose_again(["+tricks=[duplicate,eda,fgm,swa]", "tricks.duplicate.copies=1", *overrides]))


def test_the_control_of_augmentation_is_duplicates_and_that_of_more_passes_is_longer_training(tmp_path: Path) -> None:
    only = config("train.max_updates=30")
    del only.tricks["duplicate"]
    plan = plan_confirmation(findings(tmp_path), only)
    assert list(plan.arms) == [(1, 1, 1, 0), (0, 0, 0, 0), (0, 1, 1, 1), (1, 0, 1, 2)]
    assert list(plan.names) == [
        "the recipe",
        "the base",
        "4 copies of each row in place of eda",
        "2 times the updates in place of fgm",
    ]
    without_eda, without_fgm = (plan.space.overrides_of(arm, 3, "set") for arm in plan.arms[2:])
    assert without_eda == ["+tricks=[duplicate,fgm,swa]", "tricks.duplicate.copies=4", "evaluate.test=false", "seed=3"]
    assert without_fgm == ["+tricks=[eda,swa]", "train.max_updates=60", "evaluate.test=false", "seed=3"]


def test_duplicates_of_the_recipe_are_multiplied_and_epochs_replace_updates_where_none_are_set(tmp_path: Path) -> None:
    plan = plan_confirmation(findings(tmp_path, always=("duplicate",)), config("train.epochs=3"))
    assert "tricks.duplicate.copies=9" in plan.space.overrides_of(plan.arms[2], 0, "set")  # 2 x 5 of each row
    assert "train.epochs=6" in plan.space.overrides_of(plan.arms[3], 0, "set")


def test_runs_without_a_count_of_rows_are_ignored(tmp_path: Path) -> None:
    study = findings(tmp_path)
    for row in study.rows:
        if row.arm in ((1, 0, 1), (0, 1, 0)):
            (row.folder / "history.jsonl").unlink()
    assert "tricks.duplicate.copies=9" in plan_confirmation(study, config()).space.overrides_of((0, 1, 1, 1), 0, "set")
    for row in study.rows:
        (row.folder / "history.jsonl").unlink(missing_ok=True)
    assert [level.name for level in plan_confirmation(study, config()).space.factors[-1].choices] == [
        "none",
        "2 times the updates in place of fgm",
    ]


def test_a_trick_that_is_not_recommended_has_no_control(tmp_path: Path) -> None:
    plan = plan_confirmation(findings(tmp_path, helping=(0, 0, 1)), config())
    assert list(plan.arms) == [(0, 0, 1, 0), (0, 0, 0, 0)]


def predictions(accuracy: float, probability: float, seed: int) -> Predictions:
    is_right = np.random.default_rng(seed).random(200) < accuracy
    decisions = np.where(is_right[:, None], [[1, 0]], [[0, 1]]).astype(np.int8)
    return Predictions(
        [str(row) for row in range(200)],
        ["a"] * 200,
        np.full((200, 2), probability, np.float32),
        decisions,
        ["a", "b"],
        False,
    )


def test_on_the_test_split_the_base_is_judged_against_the_recipe_by_decisions_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = ["a"] * 199 + ["b"]
    splits = SimpleNamespace(test={"label": labels, "text": ["x"] * 200, "text_pair": [None] * 200})
    monkeypatch.setattr(confirmation, "read_splits", lambda *_: splits)

    class Finished:
        config: dict[str, Any] = {"data": {"text_pair": None}}

        def __init__(self, folder: Path) -> None:
            self.recipe = folder.name.startswith("recipe")
            self.seed = int(folder.name[-1])

        def predict(self, texts: list[str], pairs: None) -> Predictions:
            return predictions(0.8 if self.recipe else 0.6, 0.5, self.seed)  # the same probabilities

    monkeypatch.setattr(confirmation, "FinishedRun", Finished)
    rows = [
        Row("set", (number,), seed, tmp_path / f"{name}{seed}", FINISHED)
        for number, name in enumerate(("recipe", "base"))
        for seed in (1, 2, 3)
    ]
    (tmp_path / "runs").mkdir()
    test = confirmation._load_test_split(rows[0])
    verdict = confirmation._judge_on_test(rows, test, findings(tmp_path / "runs"))
    assert verdict.word == "hurts" and verdict.value == pytest.approx(-0.2, abs=0.05)
    splits.test["label"] = ["a"] * 199 + ["None"]
    assert confirmation._load_test_split(rows[0]) is not None
    splits.test["label"] = ["a"] * 199 + [None]
    assert confirmation._load_test_split(rows[0]) is None


def test_recipes_that_were_scored_on_a_test_split_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = {path: {"text": [path, "b"], "text_pair": [None] * 2, "label": ["a", "b"]} for path in ("one", "two")}

    class Finished:
        def __init__(self, folder: Path) -> None:
            rate, seed = folder.name.split("_")
            self.config = {"seed": seed, "seeds": {"order": seed}, "train": {"learning_rate": rate}}

    monkeypatch.setattr(confirmation, "FinishedRun", Finished)

    def count_tested(split: str, rate: str, seed: int) -> int:
        rows = [Row("set", (arm,), seed, tmp_path / f"{rate}_{seed}", FINISHED) for arm in (1, 0)]
        test: Any = splits[split]
        return confirmation._count_tested_recipes(test, rows, tmp_path / "opened.txt")

    assert count_tested("one", "1e-5", 3) == 1
    assert count_tested("one", "1e-5", 4) == 1  # other seeds, but the same recipe
    assert count_tested("two", "1e-5", 3) == 1  # other rows
    assert count_tested("one", "1e-4", 3) == 2
    assert count_tested("two", "1e-5", 3) == 1
