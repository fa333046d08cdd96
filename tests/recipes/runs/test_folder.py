"""The run folder: its predictions, which run it belongs to, and reading a finished run."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from recipes.api import FinishedRun, load
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.runs.files import write_json
from recipes.runs.folder import RunFolder, claim, differences, is_finished, read_config, write_predictions
from recipes.runs.history import History


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


# Claiming a folder for a run.


def values(**changes: Any) -> dict[str, Any]:
    train = {"epochs": 1.0, "max_updates": None, "schedule": "constant", "warmup": 0.0, "learning_rate": 1e-5}
    config: dict[str, Any] = {"seed": 0, "resume": True, "train": train, "tricks": {}}
    for path, value in changes.items():
        node = config
        *parts, name = path.split("__")
        for part in parts:
            node = node[part]
        node[name] = value
    return config


def claim_once(folder: Path, settings: dict[str, Any]) -> None:
    with claim(folder, settings):
        pass


def test_a_new_folder_gets_the_config(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    claim_once(folder, values())
    config = read_config(folder)
    assert config == {name: value for name, value in values().items() if name != "resume"}
    assert isinstance(config["train"]["learning_rate"], float)


def test_the_same_config_leaves_the_folder_untouched(tmp_path: Path) -> None:
    claim_once(tmp_path / "run", values())
    path = tmp_path / "run" / "config.yaml"
    path.write_text("# untouched\n" + path.read_text())
    (tmp_path / "run" / "metrics.json").write_text("{}")
    claim_once(tmp_path / "run", values())
    assert path.read_text().startswith("# untouched")
    assert is_finished(tmp_path / "run")


def test_drafts_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    claim_once(tmp_path / "run", values())
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / ".00000001.safetensors.123.tmp").write_text("half")
    (tmp_path / "run" / ".model.123.tmp").mkdir()
    (tmp_path / "run" / ".model.123.tmp" / "weights").write_text("half")
    claim_once(tmp_path / "run", values())
    assert list_names(tmp_path / "run") == [".lock", "checkpoints", "config.yaml"]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"train__schedule": "linear", "train__epochs": 2.0},
        {"train__epochs": 0.5},
        {"train__epochs": 2.0, "seed": 1},
        {"train__max_updates": 9},
        {"tricks": {"mixup": {"alpha": 0.4}}},
    ],
)
def test_other_values_are_refused_with_the_differences(changes: dict[str, Any], tmp_path: Path) -> None:
    claim_once(tmp_path / "run", values())
    (tmp_path / "run" / "metrics.json").write_text("{}")
    with pytest.raises(UserError) as caught:
        claim_once(tmp_path / "run", values(**changes))
    (problem,) = caught.value.problems
    for path in changes:
        assert path.replace("__", ".") in problem
    assert " there, " in problem
    assert "resume=false" in problem
    assert read_config(tmp_path / "run") == {name: value for name, value in values().items() if name != "resume"}
    assert is_finished(tmp_path / "run")


def test_a_setting_that_the_old_run_does_not_have_is_another_value(tmp_path: Path) -> None:
    claim_once(tmp_path / "run", values())
    with pytest.raises(UserError, match=r"momentum: None there, 0\.9 here"):
        claim_once(tmp_path / "run", {**values(), "momentum": 0.9})


def test_differences_include_values_that_are_missing_on_either_side() -> None:
    old, new = {"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 4, "e": 5}, "f": 6}
    assert list(differences(old, new, "")) == [("b.c", 2, 4), ("b.d", 3, None), ("b.e", None, 5), ("f", None, 6)]
    assert list(differences(old, old, "")) == []


@pytest.mark.parametrize("changes", [{"train__epochs": 2.0}, {"train__epochs": 2.0, "train__max_updates": 9}])
def test_a_longer_run_of_a_constant_schedule_goes_on(changes: dict[str, Any], tmp_path: Path) -> None:
    claim_once(tmp_path / "run", values(**{name: 8 for name in changes if "updates" in name}))
    (tmp_path / "run" / "metrics.json").write_text("{}")
    claim_once(tmp_path / "run", values(**changes))
    config = read_config(tmp_path / "run")
    assert config is not None
    assert config["train"]["epochs"] == 2.0
    assert not is_finished(tmp_path / "run")


@pytest.mark.parametrize(
    "ends", [{"train__schedule": "linear"}, {"train__warmup": 0.1}, {"tricks": {"mixup": {"cooldown": 0.1}}}]
)
def test_a_longer_run_is_refused_if_its_rates_or_tricks_depend_on_the_end(ends: dict[str, Any], tmp_path: Path) -> None:
    claim_once(tmp_path / "run", values(**ends))
    with pytest.raises(UserError, match=r"train\.epochs: 1\.0 there, 2\.0 here"):
        claim_once(tmp_path / "run", values(**ends, train__epochs=2.0))


def test_one_process_works_in_a_folder_at_a_time(tmp_path: Path) -> None:
    with claim(tmp_path / "run", values()):
        with pytest.raises(UserError, match=r"hydra\.run\.dir=.*run: another process is training there"):
            claim_once(tmp_path / "run", values())
        with pytest.raises(UserError, match="another process"):
            claim_once(tmp_path / "run", values(resume=False))
    with pytest.raises(OSError, match="of the work inside"), claim(tmp_path / "run", values()):
        raise OSError("of the work inside")
    claim_once(tmp_path / "run", values())
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_starting_over_renames_each_old_folder(tmp_path: Path) -> None:
    for number in range(3):
        claim_once(tmp_path / "run", values(seed=number, resume=False))
        (tmp_path / "run" / "number").write_text(str(number))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.old1", "run.old2"]
    assert [(tmp_path / name / "number").read_text() for name in ("run.old1", "run.old2", "run")] == ["0", "1", "2"]


def test_a_damaged_config_is_a_user_error(tmp_path: Path) -> None:
    claim_once(tmp_path / "run", values())
    (tmp_path / "run" / "config.yaml").write_text("seed: [0")
    with pytest.raises(UserError, match=r"config\.yaml is damaged\. .* start over with resume=false"):
        claim_once(tmp_path / "run", values())
    claim_once(tmp_path / "run", values(resume=False))
    assert read_config(tmp_path / "run") is not None


@pytest.mark.parametrize("text", ["", "- a", "hello", "7", "null", "\udcff"])
def test_a_config_that_holds_no_settings_is_damage_and_no_new_run(text: str, tmp_path: Path) -> None:
    claim_once(tmp_path / "run", values())
    path = tmp_path / "run" / "config.yaml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"config\.yaml is damaged.* start over with resume=false"):
        claim_once(tmp_path / "run", values(seed=1))
    assert path.read_bytes() == text.encode(errors="surrogateescape")


@pytest.mark.parametrize(
    "name", ["metrics.json", "history.jsonl", "checkpoints", "model", "predictions", "manifest.json"]
)
def test_a_run_without_its_config_is_no_new_run(name: str, tmp_path: Path) -> None:
    claim_once(tmp_path / "run", values())
    (tmp_path / "run" / "config.yaml").unlink()
    (tmp_path / "run" / name).mkdir()
    with pytest.raises(UserError, match=rf"(config\.yaml is missing, though the folder has {name}|manifest\.json: )"):
        claim_once(tmp_path / "run", values(seed=1))
    claim_once(tmp_path / "run", values(seed=1, resume=False))
    assert (tmp_path / "run.old1" / name).exists()


def test_a_config_of_another_shape_is_refused(tmp_path: Path) -> None:
    claim_once(tmp_path / "run", values())
    (tmp_path / "run" / "config.yaml").write_text("a: 1\n")
    with pytest.raises(UserError, match="holds a run with other values"):
        claim_once(tmp_path / "run", values())


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
        with claim(tmp_path, {**values(), "data": {"label_separator": "|"}}):
            pass
        with pytest.raises(UserError, match=r"data\.label_separator: \| there, ; here"):
            claim_once(tmp_path, {**values(), "data": {"label_separator": ";"}})
