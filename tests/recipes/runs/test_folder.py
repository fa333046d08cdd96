"""The run folder: its predictions, which run it belongs to, and reading a finished run."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from recipes.api import FinishedRun, load
from recipes.errors import UserError
from recipes.metrics import Predictions, measure
from recipes.runs.files import write_json
from recipes.runs.folder import RunFolder, read_config, write_predictions
from recipes.runs.history import History
from tests.recipes.runs.helpers import claim_once, values

Write = Callable[[str, str | bytes], Path]


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def predictions(labels: list[Any], decisions: list[list[int]], multi_label: bool) -> Predictions:
    probabilities = np.array([[0.25, 0.75], [0.9, 0.1]], dtype=np.float32)
    classes = ["neg", "pos"]
    return Predictions(["a,1", "b"], labels, probabilities, np.array(decisions, dtype=np.int8), classes, multi_label)


def test_the_csv_of_single_label_predictions(tmp_path: Path) -> None:
    write_predictions(tmp_path / "predictions" / "test.csv", predictions(["pos", None], [[0, 1], [1, 0]], False))
    with (tmp_path / "predictions" / "test.csv").open(newline="") as lines:
        assert list(csv.reader(lines)) == [
            ["id", "label", "prediction", "p_neg", "p_pos"],
            ["a,1", "pos", "pos", "0.25", "0.75"],
            ["b", "", "neg", "0.9", "0.1"],
        ]


def test_the_csv_of_multi_label_predictions(tmp_path: Path) -> None:
    write_predictions(tmp_path / "test.csv", predictions([["neg", "pos"], []], [[1, 1], [0, 0]], True))
    with (tmp_path / "test.csv").open(newline="") as lines:
        assert [row[1:3] for row in csv.reader(lines)][1:] == [["neg|pos", "neg|pos"], ["", ""]]


# Reading a folder.


def test_a_damaged_config_is_a_user_error(tmp_path: Path) -> None:
    claim_once(tmp_path / "run", values())
    (tmp_path / "run" / "config.yaml").write_text("seed: [0")
    with pytest.raises(UserError, match=r"config\.yaml is damaged\. .* start over with resume=false"):
        claim_once(tmp_path / "run", values())
    claim_once(tmp_path / "run", values(resume=False))
    assert read_config(tmp_path / "run") is not None


# Reading a finished run.


def test_a_finished_run_is_read_from_its_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished run"):
        load(tmp_path)
    claim_once(tmp_path, values())
    with pytest.raises(UserError, match="holds no finished run"):
        load(tmp_path)
    History(tmp_path / "history.jsonl").append([{"update": 1}])
    write_json(tmp_path / "metrics.json", {"test": {"accuracy": 1.0}})
    run = load(str(tmp_path))
    assert run == FinishedRun(tmp_path)
    assert run.metrics == {"test": {"accuracy": 1.0}}
    assert run.history == [{"update": 1}]
    assert run.config["seed"] == 0


def test_a_folder_object_reads_the_disk_once(tmp_path: Path) -> None:
    claim_once(tmp_path, values())
    history = History(tmp_path / "history.jsonl")
    history.append([{"update": 1}])
    write_json(tmp_path / "metrics.json", {"seed": 0})
    run = RunFolder(tmp_path)
    assert (run.metrics, len(run.history), run.config["seed"]) == ({"seed": 0}, 1, 0)

    history.append([{"update": 2}])
    write_json(tmp_path / "metrics.json", {"seed": 1})
    (tmp_path / "config.yaml").write_text("seed: 1")
    assert (run.metrics, len(run.history), run.config["seed"]) == ({"seed": 0}, 1, 0)
    run = RunFolder(tmp_path)
    assert (run.metrics, len(run.history), run.config["seed"]) == ({"seed": 1}, 2, 1)


def test_updates_are_the_lines_without_a_split(tmp_path: Path) -> None:
    History(tmp_path / "history.jsonl").append([{"update": 1}, {"update": 1, "split": "validation"}, {"update": 2}])
    assert RunFolder(tmp_path).updates == [{"update": 1}, {"update": 2}]


@pytest.mark.parametrize("multi_label", [False, True])
def test_predictions_are_read_as_they_were_written(multi_label: bool, tmp_path: Path) -> None:
    labels: list[Any] = [["neg", "pos"], []] if multi_label else ["pos", None]
    before = predictions(labels, [[1, 1], [0, 0]] if multi_label else [[0, 1], [1, 0]], multi_label)
    write_predictions(tmp_path / "predictions" / "test.csv", before)
    write_predictions(tmp_path / "predictions" / "extra.csv", before)
    write_predictions(tmp_path / "predictions" / "validation.csv", before)
    write_json(tmp_path / "metrics.json", {"validation": {"subset_accuracy" if multi_label else "accuracy": 0.5}})
    run = RunFolder(tmp_path)
    assert run.splits == ["validation", "test", "extra"]
    after = run.load_predictions("test")
    assert (after.ids, after.labels, after.classes) == (before.ids, before.labels, before.classes)
    assert after.multi_label == multi_label
    assert np.array_equal(after.probabilities, before.probabilities)
    assert np.array_equal(after.decisions, before.decisions)


@pytest.mark.parametrize(("multi_label", "decisions"), [(False, [[0, 1], [1, 0]]), (True, [[1, 1], [0, 0]])])
def test_a_class_is_not_read_as_another_one_whose_name_contains_it(
    multi_label: bool, decisions: list[list[int]], tmp_path: Path
) -> None:
    labels: list[Any] = [["po"], []] if multi_label else ["pos", None]
    probabilities = np.array([[0.25, 0.75], [0.9, 0.1]], dtype=np.float32)
    classes = ["po", "pos"]
    before = Predictions(["a", "b"], labels, probabilities, np.array(decisions, dtype=np.int8), classes, multi_label)
    write_predictions(tmp_path / "predictions" / "validation.csv", before)
    write_json(tmp_path / "metrics.json", {"validation": {"subset_accuracy" if multi_label else "accuracy": 1.0}})
    after = RunFolder(tmp_path).load_predictions("validation")
    assert (after.labels, after.decisions.tolist(), after.multi_label) == (labels, decisions, multi_label)
    assert (after.ids, after.classes) == (["a", "b"], classes)
    np.testing.assert_array_equal(after.probabilities, probabilities)


# Names that a CSV file, a join by `|` or a column's name may take for something else.
NASTY = ["a|b", "a", "b", "a,b", '"', "'", "a\nb", "a\rb", "a\r\nb", "a\tb", "a\u2028b", "p_", "p_a", "id", "label"]
NASTY += ["prediction", "😀", "\\", "\\|", "\\N", "|", "[]", "null", " x ", "#", "文本", "accuracy", "test"]


@pytest.mark.parametrize("multi_label", [False, True])
def test_any_name_and_any_score_is_read_back_equal(multi_label: bool, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    names = [*NASTY, "unseen|\\"]
    # Rows with very small numbers, and rows in which all classes are equal.
    probabilities = random.random((90, len(NASTY))).astype(np.float32) ** random.integers(1, 30, (90, 1))
    probabilities[:5] = 1 / 3
    labels: list[Any] = [names[row % len(names)] for row in range(89)]
    decisions = np.eye(len(NASTY), dtype=np.int8)[probabilities.argmax(1)]
    if multi_label:
        labels = [[name, *names[:row]][:4] if row else [] for row, name in enumerate(labels)]
        labels = [list(dict.fromkeys(names)) for names in labels]
        decisions = (probabilities > 0.5).astype(np.int8)
    ids = [NASTY[row] if row < len(NASTY) else str(row) for row in range(90)]
    before = Predictions(ids, [*labels, None], probabilities.astype(np.float32), decisions, NASTY, multi_label)
    write_predictions(tmp_path / "predictions" / "test.csv", before)
    write_json(tmp_path / "metrics.json", {"labels": {"multi_label": multi_label, "multi_hot": 0}})
    after = RunFolder(tmp_path).load_predictions("test")
    assert (after.ids, after.labels, after.classes) == (before.ids, before.labels, before.classes)
    assert (after.names(), after.multi_label) == (before.names(), multi_label)
    assert np.array_equal(after.probabilities, before.probabilities)
    assert measure(after) == measure(before)


def test_damaged_predictions_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "predictions" / "test.csv"
    write_json(tmp_path / "metrics.json", {"validation": {}})
    write_predictions(path, predictions(["pos", None], [[0, 1], [1, 0]], False))
    content = path.read_text(encoding="utf-8")
    for damaged in (content[:-9], content.replace("pos,pos", "pos,bad"), ""):
        path.write_text(damaged, encoding="utf-8")
        with pytest.raises(UserError, match=f"{path} is damaged"):
            RunFolder(tmp_path).load_predictions("test")


def test_validation_and_test_come_before_the_other_splits_by_name(tmp_path: Path) -> None:
    (tmp_path / "predictions").mkdir()
    for name in ("extra_b", "test", "extra_a", "validation"):
        (tmp_path / "predictions" / f"{name}.csv").write_text("id\n", encoding="utf-8")
    assert RunFolder(tmp_path).splits == ["validation", "test", "extra_a", "extra_b"]


class TestFirstFormat:
    """Folders written by the first version."""

    def test_its_metrics_have_the_present_names(self, tmp_path: Path) -> None:
        write_json(tmp_path / "metrics.json", {"format": 1, "kept": "best", "onion": {"loss": ["focal"]}, "seed": 1})
        metrics = RunFolder(tmp_path).metrics
        assert metrics == {"format": 1, "weights": "best", "seams": {"loss": ["focal"]}, "seed": 1}

    def test_the_present_format_is_left_alone(self, tmp_path: Path) -> None:
        write_json(tmp_path / "metrics.json", {"format": 2, "kept": {"accuracy": 1.0}})
        assert RunFolder(tmp_path).metrics["kept"] == {"accuracy": 1.0}

    def test_its_run_is_resumed_under_the_present_names(self, tmp_path: Path) -> None:
        old = {**values(), "data": {"separator": "|"}}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({name: old[name] for name in old if name != "resume"}))
        claim_once(tmp_path, {**values(), "data": {"label_separator": "|"}})
        with pytest.raises(UserError, match=r"data\.label_separator: \| there, ; here"):
            claim_once(tmp_path, {**values(), "data": {"label_separator": ";"}})
