"""The run folder: its predictions, which run it belongs to, and reading a finished run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from recipes.api import FinishedRun, load
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.runs.files import write_json
from recipes.runs.folder import RunFolder, has_diverged, read_config
from recipes.runs.history import History
from recipes.runs.predictions import write_predictions
from tests.recipes.runs.helpers import claim_once, values


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


# Reading a folder.


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
    (tmp_path / "run" / name).mkdir(exist_ok=True) if name != "history.jsonl" else None
    for resume in (True, False):
        with pytest.raises(
            UserError, match=r"it holds .* but no config\.yaml of a run; name another folder, or move it"
        ):
            claim_once(tmp_path / "run", values(seed=1, resume=resume))
    assert (tmp_path / "run" / name).exists()


def test_a_config_of_another_shape_is_refused(tmp_path: Path) -> None:
    claim_once(tmp_path / "run", values())
    (tmp_path / "run" / "config.yaml").write_text("a: 1\n")
    with pytest.raises(UserError, match=r"its config\.yaml is not of a run"):
        claim_once(tmp_path / "run", values())


# Reading a finished run.


def test_a_finished_run_is_read_from_its_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no finished run \(.*\); give the folder of one, such as runs/<name>"):
        load(tmp_path)
    claim_once(tmp_path, values())
    with pytest.raises(UserError, match=r"holds no finished run \(.*\); start its command again, which finishes it"):
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


def test_predictions_are_read_once(tmp_path: Path) -> None:
    path = tmp_path / "predictions" / "test.csv"
    write_predictions(
        path, Predictions(["a"], ["x"], np.ones((1, 1), np.float32), np.ones((1, 1), np.int8), ["x"], False)
    )
    write_json(tmp_path / "metrics.json", {"validation": {"accuracy": 1.0}})
    run = RunFolder(tmp_path)
    assert run.predictions("test") == {"id": ["a"], "label": ["x"], "prediction": ["x"], "p_x": ["1"]}
    assert run.load_predictions("test").labels == ["x"]
    path.unlink()
    assert run.load_predictions("test").labels == ["x"]


@pytest.mark.parametrize(
    ("metrics", "multi_label", "multi_hot"),
    [
        ({"validation": {"accuracy": 1.0}}, False, None),
        ({"validation": {"subset_accuracy": 1.0}}, True, None),
        ({"labels": {"multi_label": True, "multi_hot": 3}}, True, 3),
        ({"labels": {"multi_label": False, "multi_hot": 0}, "validation": {}}, False, 0),
    ],
)
def test_a_folder_says_in_which_form_its_labels_are(
    metrics: dict[str, Any], multi_label: bool, multi_hot: int | None, tmp_path: Path
) -> None:
    write_json(tmp_path / "metrics.json", metrics)
    run = RunFolder(tmp_path)
    assert (run.multi_label, run.multi_hot) == (multi_label, multi_hot)


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
        # Settings that are newer have the value at which they change nothing.
        newer = {"header": True, "encoding": None}
        claim_once(tmp_path, {**values(), "data": {"label_separator": "|", **newer}})
        with pytest.raises(UserError, match=r"data\.label_separator: \| there, ; here"):
            claim_once(tmp_path, {**values(), "data": {"label_separator": ";", **newer}})


def test_a_run_has_diverged_if_its_metrics_say_so_and_it_is_not_finished(tmp_path: Path) -> None:
    assert not has_diverged(tmp_path)
    for headline, expected in (("diverged", True), ("learned", False)):
        write_json(tmp_path / "metrics.json", {"format": 4, "health": {"headline": headline}})
        assert has_diverged(tmp_path) == expected
    write_json(tmp_path / "metrics.json", ["diverged"])
    assert not has_diverged(tmp_path)
