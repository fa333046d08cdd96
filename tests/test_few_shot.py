"""The script that compares with setfit: its draws, and a small study of one arm end to end."""

import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from datasets import Dataset

from recipes.compose.reading import read
from recipes.config import CONF
from recipes.data.splits import Splits
from recipes.testing import compose_again, in_child, make_text_file


@pytest.fixture
def few_shot(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("few_shot")


def splits() -> Splits:
    def part(name: str, count: int) -> Dataset:
        texts = [f"{name} {row}" for row in range(count)]
        return Dataset.from_dict(
            {"text": texts, "label": ["rare" if row == 0 else "xy"[row % 2] for row in range(count)]}
        )

    return Splits(part("train", 41), part("validation", 120), part("test", 30), ["rare", "x", "y"], False)


def test_a_draw_has_the_same_rows_a_class_for_every_system(few_shot: ModuleType) -> None:
    draw = few_shot.make_draw(splits(), 8, 3, False)
    assert Counter(label for _, label in draw.train) == {"rare": 1, "x": 8, "y": 8}
    assert draw == few_shot.make_draw(splits(), 8, 3, False)
    assert set(draw.train) != set(few_shot.make_draw(splits(), 8, 4, False).train)
    assert [text for text, _ in draw.test] == [f"test {row}" for row in range(30)]


def test_settings_are_chosen_without_the_test_rows(few_shot: ModuleType) -> None:
    draw = few_shot.make_draw(splits(), 8, few_shot.TUNING_DRAWS, True)
    assert len(draw.validation) == few_shot.VALIDATION_ROWS
    assert {text.split()[0] for text, _ in draw.test} == {"validation"}
    assert not set(draw.test) & set(draw.validation)


def test_every_arm_composes(few_shot: ModuleType) -> None:
    study = few_shot.Study(**yaml.safe_load(few_shot.STUDY.read_text(encoding="utf-8")))
    for overrides in study.arms.values():
        read(compose_again(["data=files", f"data.train={CONF}", *study.overrides, *overrides]))


def test_the_recipe_is_the_arm_that_was_measured(few_shot: ModuleType) -> None:
    study = few_shot.Study(**yaml.safe_load(few_shot.STUDY.read_text(encoding="utf-8")))
    data = ["data=files", f"data.train={CONF}", "model=minilm"]
    arm = read(compose_again([*data, *study.overrides, *study.arms["stage_only"]]))
    recipe = read(compose_again([*data, "recipe=few_shot"]))
    assert recipe.tricks == arm.tricks and recipe.train == arm.train
    assert recipe.evaluate.weights == arm.evaluate.weights


def test_a_finished_draw_is_not_repeated_and_the_table_pairs_draws(
    few_shot: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "set"
    data.mkdir()
    for seed, split in enumerate(("train", "validation", "test")):
        (data / f"{split}.csv").write_bytes(make_text_file(12, seed).read_bytes())
    study = {"overrides": ["train.max_updates=1", "checkpoint.save_model=false"], "arms": {"plain": []}}
    (tmp_path / "few-shot.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    monkeypatch.setattr(few_shot, "STUDY", tmp_path / "few-shot.yaml")
    trained: list[int] = []

    def train(draw: Any, *_: object) -> tuple[float, float]:
        trained.append(draw.number)
        return 0.5 + 0.1 * draw.number, 1.0

    monkeypatch.setattr(few_shot, "train_setfit", train)
    monkeypatch.setattr(few_shot, "train_arm", lambda draw, *_: (train(draw)[0] + 0.2, 2.0))
    clock = iter(range(8))
    monkeypatch.setattr(few_shot.time, "process_time", lambda: float(next(clock)))
    monkeypatch.setenv("TRICKBOOK_CACHE", str(tmp_path))  # main() has its own
    for draws in ("1", "2"):
        arguments = ["--data", str(data), "--rows", "4", "--draws", draws, "--systems", "setfit", "plain"]
        monkeypatch.setattr(sys, "argv", ["few_shot.py", *arguments])
        few_shot.main()
    assert trained == [0, 0, 1, 1]
    table = capsys.readouterr().out.rpartition("set, minilm, 4 rows a class (test)")[2]
    assert "| setfit | 2 | 0.5500 (0.0707) |  | 1.0 |" in table
    assert "| plain | 2 | 0.7500 (0.0707) | +0.2000 ± 0.0000 | 1.0 |" in table


def test_seconds_are_shown_for_test_draws_alone(few_shot: ModuleType) -> None:
    """Other runs take stages that they share from the cache."""
    tuned = few_shot.Result("set", "minilm", 8, few_shot.TUNING_DRAWS, "plain", "", 0.5, 1.0, 2.0, "")
    test = few_shot.Result("set", "minilm", 8, 0, "plain", "", 0.5, 1.0, 2.0, "")
    _, hidden, _, shown = few_shot.describe([tuned, test], "setfit")
    assert hidden.endswith("|  |") and shown.endswith("| 2.0 |")


def test_a_test_draw_takes_nothing_from_the_cache(
    few_shot: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRICKBOOK_CACHE", str(tmp_path))
    monkeypatch.setattr(few_shot, "STUDY", tmp_path / "few-shot.yaml")
    (tmp_path / "few-shot.yaml").write_text("{overrides: [], arms: {plain: []}}", encoding="utf-8")
    caches: list[str] = []
    monkeypatch.setattr(few_shot, "finish", lambda *_: caches.append(os.environ["TRICKBOOK_CACHE"]))
    for arguments in (["--tune"], []):
        monkeypatch.setattr(sys, "argv", ["few_shot.py", *arguments])
        few_shot.main()
    assert caches[0] == str(tmp_path) != caches[1]


def test_an_arm_is_scored_on_the_rows_of_its_draw(few_shot: ModuleType) -> None:
    def train() -> tuple[float, float]:
        rows = [(f"{letter} {row}", label) for row in range(8) for letter, label in (("a", "x"), ("b", "y"))]
        draw = few_shot.Draw(0, rows, rows[:4], rows[4:])
        accuracy, seconds = few_shot.train_arm(draw, "tiny", ["train.max_updates=2", "doctor=off"], 1)
        return accuracy, seconds

    accuracy, seconds = in_child(train)
    assert 0 <= accuracy <= 1 and seconds > 0
