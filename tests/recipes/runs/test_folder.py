import csv
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from recipes.api import FinishedRun, load
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.runs.files import atomic_write, write_json
from recipes.runs.folder import RunFolder, claim, is_finished, read_config, write_predictions
from recipes.runs.history import History

Write = Callable[[str, str], Path]


def inside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


# Writing whole or not at all.


def test_a_file_takes_its_name_when_all_of_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with atomic_write(path) as draft:
        draft.write_text("half")
        assert not path.exists()
        draft.write_text("whole")
    assert path.read_text() == "whole"
    assert inside(tmp_path / "new") == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()])
def test_what_breaks_leaves_the_old_file(error: BaseException, write: Write) -> None:
    path = write("a.txt", "old")
    with pytest.raises(type(error)), atomic_write(path) as draft:
        draft.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert inside(path.parent) == ["a.txt"]


def test_what_breaks_leaves_the_old_folder(write: Write) -> None:
    old = write("model/weights", "old").parent
    with pytest.raises(ValueError), atomic_write(old) as draft:
        draft.mkdir()
        (draft / "weights").write_text("half")
        raise ValueError
    assert (old / "weights").read_text() == "old"
    with atomic_write(old) as draft:
        draft.mkdir()
        (draft / "other").write_text("new")
    assert inside(old.parent) == ["model", "other"]


def test_a_full_disk_is_the_user_s_to_know(write: Write) -> None:
    path = write("a.txt", "old")
    with pytest.raises(UserError, match=r"a\.txt: No space left on device\."), atomic_write(path) as draft:
        draft.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert inside(path.parent) == ["a.txt"]
    with (
        pytest.raises(UserError, match="a file stands where a folder should be"),
        atomic_write(path / "b.txt") as draft,
    ):
        draft.write_text("")


def test_json_holds_no_number_that_is_none(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 0.5, "名": None})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 0.5, "名": None}
    assert "名" in (tmp_path / "a.json").read_text()
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text())["a"] == 0.5


def predictions(labels: list[Any], decisions: list[list[int]], multi_label: bool) -> Predictions:
    shares = np.array([[0.25, 0.75], [0.9, 0.1]], dtype=np.float32)
    chosen = np.array(decisions, dtype=np.int8)
    return Predictions(["a,1", "b"], labels, shares, chosen, ["neg", "pos"], multi_label)


def test_predictions_of_one_label(tmp_path: Path) -> None:
    write_predictions(tmp_path / "predictions" / "test.csv", predictions(["pos", None], [[0, 1], [1, 0]], False))
    with (tmp_path / "predictions" / "test.csv").open(newline="") as lines:
        assert list(csv.reader(lines)) == [
            ["id", "label", "prediction", "p_neg", "p_pos"],
            ["a,1", "pos", "pos", "0.25", "0.75"],
            ["b", "", "neg", "0.9", "0.1"],
        ]


def test_predictions_of_several_labels(tmp_path: Path) -> None:
    write_predictions(tmp_path / "test.csv", predictions([["neg", "pos"], []], [[1, 1], [0, 0]], True))
    with (tmp_path / "test.csv").open(newline="") as lines:
        assert [row[1:3] for row in csv.reader(lines)][1:] == [["neg|pos", "neg|pos"], ["", ""]]


# History.


def test_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    assert history.read() == []
    history.append([{"update": 1, "loss": 0.5}])
    history.append(
        [{"update": 2, "loss": float("nan"), "grad_norm": float("inf")}, {"update": 2, "split": "validation"}]
    )
    assert history.read() == [
        {"update": 1, "loss": 0.5},
        {"update": 2, "loss": None, "grad_norm": None},
        {"update": 2, "split": "validation"},
    ]


def test_half_a_line_at_the_end_is_passed_over(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.append([{"update": 1}, {"update": 2}])
    with history.path.open("a") as file:
        file.write('{"update": 3, "lo')
    assert [line["update"] for line in history.read()] == [1, 2]
    history.cut(2)
    history.append([{"update": 3}])
    assert [line["update"] for line in history.read()] == [1, 2, 3]


def test_what_comes_after_a_checkpoint_is_dropped(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.append([{"update": number} for number in (1, 2, 2, 3, 3)])
    history.cut(2)
    assert [line["update"] for line in history.read()] == [1, 2, 2]


def test_history_on_a_full_disk(write: Write) -> None:
    with pytest.raises(UserError, match="a file stands where a folder should be"):
        History(write("a", "") / "history.jsonl").append([{"update": 1}])


# Claiming.


def values(**changes: Any) -> dict[str, Any]:
    train = {"epochs": 1.0, "max_updates": None, "schedule": "constant", "warmup": 0.0, "learning_rate": 1e-5}
    found: dict[str, Any] = {"seed": 0, "resume": True, "train": train, "tricks": {}}
    for path, value in changes.items():
        node = found
        *parts, name = path.split("__")
        for part in parts:
            node = node[part]
        node[name] = value
    return found


def claim_at_once(folder: Path, settings: dict[str, Any]) -> None:
    with claim(folder, settings):
        pass


def test_a_folder_becomes_the_config_s_own(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    claim_at_once(folder, values())
    held = read_config(folder)
    assert held == {name: value for name, value in values().items() if name != "resume"}
    assert isinstance(held["train"]["learning_rate"], float)


def test_the_same_config_finds_its_folder_untouched(tmp_path: Path) -> None:
    claim_at_once(tmp_path / "run", values())
    path = tmp_path / "run" / "config.yaml"
    path.write_text("# untouched\n" + path.read_text())
    (tmp_path / "run" / "metrics.json").write_text("{}")
    claim_at_once(tmp_path / "run", values())
    assert path.read_text().startswith("# untouched")
    assert is_finished(tmp_path / "run")


def test_drafts_that_a_kill_left_are_removed(tmp_path: Path) -> None:
    claim_at_once(tmp_path / "run", values())
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / ".00000001.safetensors.123.tmp").write_text("half")
    (tmp_path / "run" / ".model.123.tmp").mkdir()
    (tmp_path / "run" / ".model.123.tmp" / "weights").write_text("half")
    claim_at_once(tmp_path / "run", values())
    assert inside(tmp_path / "run") == [".lock", "checkpoints", "config.yaml"]


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
    claim_at_once(tmp_path / "run", values())
    (tmp_path / "run" / "metrics.json").write_text("{}")
    with pytest.raises(UserError) as caught:
        claim_at_once(tmp_path / "run", values(**changes))
    (problem,) = caught.value.problems
    for path in changes:
        assert path.replace("__", ".") in problem
    assert " there, " in problem
    assert "resume=false" in problem
    assert read_config(tmp_path / "run") == {name: value for name, value in values().items() if name != "resume"}
    assert is_finished(tmp_path / "run")


@pytest.mark.parametrize("changes", [{"train__epochs": 2.0}, {"train__epochs": 2.0, "train__max_updates": 9}])
def test_more_of_a_constant_schedule_goes_on(changes: dict[str, Any], tmp_path: Path) -> None:
    claim_at_once(tmp_path / "run", values(**{name: 8 for name in changes if "updates" in name}))
    (tmp_path / "run" / "metrics.json").write_text("{}")
    claim_at_once(tmp_path / "run", values(**changes))
    held = read_config(tmp_path / "run")
    assert held is not None
    assert held["train"]["epochs"] == 2.0
    assert not is_finished(tmp_path / "run")


@pytest.mark.parametrize(
    "ends", [{"train__schedule": "linear"}, {"train__warmup": 0.1}, {"tricks": {"mixup": {"cooldown": 0.1}}}]
)
def test_more_of_what_depends_on_the_end_is_another_run(ends: dict[str, Any], tmp_path: Path) -> None:
    claim_at_once(tmp_path / "run", values(**ends))
    with pytest.raises(UserError, match=r"train\.epochs: 1\.0 there, 2\.0 here"):
        claim_at_once(tmp_path / "run", values(**ends, train__epochs=2.0))


def test_one_process_works_in_a_folder_at_a_time(tmp_path: Path) -> None:
    with claim(tmp_path / "run", values()):
        with pytest.raises(UserError, match=r"hydra\.run\.dir=.*run: another process is training there"):
            claim_at_once(tmp_path / "run", values())
        with pytest.raises(UserError, match="another process"):
            claim_at_once(tmp_path / "run", values(resume=False))
    with pytest.raises(OSError, match="of the work inside"), claim(tmp_path / "run", values()):
        raise OSError("of the work inside")
    claim_at_once(tmp_path / "run", values())
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_starting_over_keeps_each_old_folder_aside(tmp_path: Path) -> None:
    for number in range(3):
        claim_at_once(tmp_path / "run", values(seed=number, resume=False))
        (tmp_path / "run" / "number").write_text(str(number))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.old1", "run.old2"]
    assert [(tmp_path / name / "number").read_text() for name in ("run.old1", "run.old2", "run")] == ["0", "1", "2"]


def test_a_damaged_config_is_told(tmp_path: Path) -> None:
    claim_at_once(tmp_path / "run", values())
    (tmp_path / "run" / "config.yaml").write_text("seed: [0")
    with pytest.raises(UserError, match=r"config\.yaml is damaged; start over with resume=false"):
        claim_at_once(tmp_path / "run", values())
    claim_at_once(tmp_path / "run", values(resume=False))
    assert read_config(tmp_path / "run") is not None


# A finished run.


def test_a_finished_run_is_read_from_its_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished run"):
        load(tmp_path)
    claim_at_once(tmp_path, values())
    with pytest.raises(UserError, match="holds no finished run"):
        load(tmp_path)
    History(tmp_path / "history.jsonl").append([{"update": 1}])
    write_json(tmp_path / "metrics.json", {"test": {"accuracy": 1.0}})
    run = load(str(tmp_path))
    assert run == FinishedRun(tmp_path)
    assert run.metrics == {"test": {"accuracy": 1.0}}
    assert run.history == [{"update": 1}]
    assert run.config["seed"] == 0


class TestFirstFormat:
    """Folders that the first version wrote."""

    def test_its_metrics_have_the_present_names(self, tmp_path: Path) -> None:
        write_json(tmp_path / "metrics.json", {"format": 1, "kept": "best", "onion": {"loss": ["focal"]}, "seed": 1})
        metrics = RunFolder(tmp_path).metrics
        assert metrics == {"format": 1, "weights": "best", "seams": {"loss": ["focal"]}, "seed": 1}

    def test_the_present_format_is_left_alone(self, tmp_path: Path) -> None:
        write_json(tmp_path / "metrics.json", {"format": 2, "kept": {"accuracy": 1.0}})
        assert RunFolder(tmp_path).metrics["kept"] == {"accuracy": 1.0}

    def test_its_run_goes_on_under_the_present_names(self, tmp_path: Path) -> None:
        old = {**values(), "data": {"separator": "|"}}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({name: old[name] for name in old if name != "resume"}))
        with claim(tmp_path, {**values(), "data": {"label_separator": "|"}}):
            pass
        with pytest.raises(UserError, match=r"data\.label_separator: \| there, ; here"):
            claim_at_once(tmp_path, {**values(), "data": {"label_separator": ";"}})
