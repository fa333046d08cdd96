"""What the recommended recipe must beat, the sign of what is said of it, and that the test split is counted."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recipes.ablation import confirmation
from recipes.ablation.confirmation import contest
from recipes.ablation.design import Arm, Design, Effect
from recipes.ablation.factors import NONE, Factor, Level, Space
from recipes.ablation.findings import Findings
from recipes.ablation.runs import FINISHED, Row
from recipes.ablation.verdicts import HELPS, Verdict
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.config import Config
from recipes.metrics import Predictions

NAMES = ("eda", "fgm", "swa")
ARMS = tuple((one, two, three) for one in (0, 1) for two in (0, 1) for three in (0, 1))


def findings(folder: Path, always: tuple[str, ...] = (), helping: Arm = (1, 1, 1)) -> Findings:
    """All three help; eda makes five rows of one, fgm passes twice."""
    space = Space(tuple(Factor(name, (NONE, Level(name, (), name))) for name in NAMES), {"set": ()}, always=always)
    rows = []
    for arm in ARMS:
        place = folder / "".join(map(str, arm))
        place.mkdir()
        lines = [{"update": number, "epoch": number / (50 if arm[0] else 10), "examples": 8} for number in (1, 2, 3)]
        (place / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        passes = 2.0 if arm[1] else 1.0
        rows.append(Row("set", arm, 0, place, FINISHED, None, 0.5, passes, passes, 100.0))
    mains = [Verdict(Effect(((place, 1),)), HELPS if on else "hurts", "", 0.02) for place, on in enumerate(helping)]
    return Findings(space, lambda arm: True, Design("full", (2, 2, 2), ARMS), rows, mains, [], "accuracy", 0.01, {})


def config(*overrides: str) -> Config:
    return read(compose_config(["+tricks=[duplicate,eda,fgm,swa]", "tricks.duplicate.copies=1", *overrides])[0])


def test_augmentation_must_beat_copies_and_further_passes_longer_training(tmp_path: Path) -> None:
    only = config("train.max_updates=30")
    del only.tricks["duplicate"]
    held = contest(findings(tmp_path), only)
    assert list(held.arms) == [(1, 1, 1, 0), (0, 0, 0, 0), (0, 1, 1, 1), (1, 0, 1, 2)]
    assert list(held.names) == [
        "the recipe",
        "the base",
        "4 copies of each row in place of eda",
        "2 times the updates in place of fgm",
    ]
    without_eda, without_fgm = (held.space.overrides_of(arm, 3, "set") for arm in held.arms[2:])
    assert without_eda == ["+tricks=[duplicate,fgm,swa]", "tricks.duplicate.copies=4", "evaluate.test=false", "seed=3"]
    assert without_fgm == ["+tricks=[eda,swa]", "train.max_updates=60", "evaluate.test=false", "seed=3"]


def test_copies_that_are_there_anyway_are_multiplied_and_epochs_where_there_are_no_updates(tmp_path: Path) -> None:
    held = contest(findings(tmp_path, always=("duplicate",)), config("train.epochs=3"))
    assert "tricks.duplicate.copies=9" in held.space.overrides_of(held.arms[2], 0, "set")  # 2 x 5 of each row
    assert "train.epochs=6" in held.space.overrides_of(held.arms[3], 0, "set")


def test_runs_that_do_not_say_how_many_rows_they_had_count_for_nothing(tmp_path: Path) -> None:
    found = findings(tmp_path)
    for row in found.rows:
        if row.arm in ((1, 0, 1), (0, 1, 0)):
            (row.folder / "history.jsonl").unlink()
    assert "tricks.duplicate.copies=9" in contest(found, config()).space.overrides_of((0, 1, 1, 1), 0, "set")
    for row in found.rows:
        (row.folder / "history.jsonl").unlink(missing_ok=True)
    assert [level.name for level in contest(found, config()).space.factors[-1].choices] == [
        "none",
        "2 times the updates in place of fgm",
    ]


def test_what_is_not_recommended_has_no_control(tmp_path: Path) -> None:
    held = contest(findings(tmp_path, helping=(0, 0, 1)), config())
    assert list(held.arms) == [(0, 0, 1, 0), (0, 0, 0, 0)]


def said(right: float, shares: float, seed: int) -> Predictions:
    hits = np.random.default_rng(seed).random(200) < right
    decisions = np.where(hits[:, None], [[1, 0]], [[0, 1]]).astype(np.int8)
    return Predictions(
        [str(row) for row in range(200)],
        ["a"] * 200,
        np.full((200, 2), shares, np.float32),
        decisions,
        ["a", "b"],
        False,
    )


def test_on_test_the_recipe_is_better_where_the_base_is_worse_also_by_its_decisions_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = ["a"] * 199 + ["b"]
    splits = SimpleNamespace(test={"label": labels, "text": ["x"] * 200, "text_pair": [None] * 200})
    monkeypatch.setattr(confirmation, "read_splits", lambda *_: splits)

    class Finished:
        config: dict[str, Any] = {"data": {**{name: None for name in confirmation.Data.__dataclass_fields__}}}

        def __init__(self, folder: Path) -> None:
            self.recipe = folder.name.startswith("recipe")
            self.seed = int(folder.name[-1])

        def predict(self, texts: list[str], pairs: None) -> Predictions:
            return said(0.8 if self.recipe else 0.6, 0.5, self.seed)  # the same probabilities

    monkeypatch.setattr(confirmation, "FinishedRun", Finished)
    rows = [
        Row("set", (number,), seed, tmp_path / f"{name}{seed}", FINISHED)
        for number, name in enumerate(("recipe", "base"))
        for seed in (1, 2, 3)
    ]
    (tmp_path / "runs").mkdir()
    test = confirmation._test_split(rows[0])
    verdict = confirmation._tested(rows, test, findings(tmp_path / "runs"))
    assert verdict.word == "hurts" and verdict.value == pytest.approx(-0.2, abs=0.05)
    splits.test["label"] = ["a"] * 199 + ["None"]
    assert confirmation._test_split(rows[0]) is not None
    splits.test["label"] = ["a"] * 199 + [None]
    assert confirmation._test_split(rows[0]) is None


def test_recipes_that_a_test_split_was_opened_for_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = {path: {"text": [path, "b"], "text_pair": [None] * 2, "label": ["a", "b"]} for path in ("one", "two")}

    class Finished:
        def __init__(self, folder: Path) -> None:
            rate, seed = folder.name.split("_")
            self.config = {"seed": seed, "seeds": {"order": seed}, "train": {"learning_rate": rate}}

    monkeypatch.setattr(confirmation, "FinishedRun", Finished)

    def opened(split: str, rate: str, seed: int) -> int:
        rows = [Row("set", (arm,), seed, tmp_path / f"{rate}_{seed}", FINISHED) for arm in (1, 0)]
        test: Any = splits[split]
        return confirmation._count(test, rows, tmp_path / "opened.txt")

    assert opened("one", "1e-5", 3) == 1
    assert opened("one", "1e-5", 4) == 1  # other seeds, no other recipe
    assert opened("two", "1e-5", 3) == 1  # other rows
    assert opened("one", "1e-4", 3) == 2
    assert opened("two", "1e-5", 3) == 1
