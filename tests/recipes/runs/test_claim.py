"""Claiming a run folder: for one config, one set of inputs and one process at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from recipes.errors import InputsChanged, UserError
from recipes.runs import manifest
from recipes.runs.claim import CheckpointsRemoved, claim, differences
from recipes.runs.folder import is_finished, read_config
from tests.recipes.runs.helpers import NEWER, claim_once, values

Write = Callable[[str, str | bytes], Path]


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


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


def test_drafts_of_a_killed_process_are_removed_and_nothing_else(tmp_path: Path, write: Write) -> None:
    claim_once(tmp_path / "run", values())
    drafts = [
        ".metrics.json.123",
        "checkpoints/.00000001.safetensors.123",
        "predictions/.a.csv.1",
        ".model.123/weights",
    ]
    for name in drafts:
        folder, _, inner = name.partition("/weights")
        write(f"run/{folder}.trickbook-draft{'/weights' if _ else ''}", "half")
    theirs = [
        *(".mine.tmp", ".notes.123.tmp", "notes/.a.123.tmp", "notes/.deep/.b.tmp", ".git/.x.1.tmp"),
        *("notes/.a.123.trickbook-draft", ".a.trickbook-draft", "a.1.trickbook-draft"),
    ]
    for name in theirs:
        write(f"run/{name}", "theirs")
    claim_once(tmp_path / "run", values())
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    left = {str(path.relative_to(tmp_path / "run")) for path in files}
    assert left == {".lock", "config.yaml", "history.jsonl", *theirs}


def test_a_refused_start_removes_no_draft(tmp_path: Path, write: Write) -> None:
    claim_once(tmp_path / "run", values(seed=7))
    draft = write("run/.notes.123.trickbook-draft", "theirs")
    with pytest.raises(UserError):
        claim_once(tmp_path / "run", values())
    assert draft.exists()


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


def test_a_finished_run_without_checkpoints_is_not_trained_further(tmp_path: Path) -> None:
    removing, keeping = {"every": 1.0, "after_finish": "remove"}, {"every": 1.0, "after_finish": "keep"}
    claim_once(tmp_path / "run", values(checkpoint=removing))
    manifest.write(tmp_path / "run", ["checkpoints"])
    with pytest.raises(CheckpointsRemoved, match=r"this run is finished, and its checkpoints are removed"):
        claim_once(tmp_path / "run", values(checkpoint=keeping, train__epochs=2.0))
    assert is_finished(tmp_path / "run")
    # A setting that changes no number is no other value.
    claim_once(tmp_path / "run", values(checkpoint=keeping))
    assert is_finished(tmp_path / "run")


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


# A start that comes to nothing.


def test_a_failed_start_leaves_nothing_behind(tmp_path: Path) -> None:
    own = values(tricks={"mixup": {"alpha": 0.4}})
    with pytest.raises(ValueError, match="the model"), claim(tmp_path / "run", own, {"data.train": "sha256:1"}):
        for name in ("events.out.tfevents.1", "mixup.csv"):  # of a tracker and of a trick
            (tmp_path / "run" / name).touch()
        raise ValueError("the model")
    assert list(tmp_path.iterdir()) == []
    claim_once(tmp_path / "run", values(seed=1))


def test_a_failed_start_leaves_files_of_others(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "text.csv").touch()
    with pytest.raises(ValueError, match="the model"), claim(tmp_path / "run", values()):
        (tmp_path / "run" / "notes.txt").touch()
        raise ValueError("the model")
    assert list_names(tmp_path) == ["notes.txt", "run", "text.csv"]


def test_a_start_that_was_killed_claims_nothing(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(values(seed=1)))
    (tmp_path / "run" / "inputs.json").write_text('{"data.train": "sha256:1"}')
    with claim(tmp_path / "run", values(), {"data.train": "sha256:2"}):
        (tmp_path / "run" / "checkpoints").mkdir()
    assert (read_config(tmp_path / "run") or {})["seed"] == 0
    assert "sha256:2" in (tmp_path / "run" / "inputs.json").read_text()


def test_starting_over_restores_the_old_folder_if_it_fails(tmp_path: Path) -> None:
    claim_once(tmp_path / "run", values())
    (tmp_path / "run" / "number").write_text("1")
    with pytest.raises(ValueError, match="the model"), claim(tmp_path / "run", values(resume=False)):
        raise ValueError("the model")
    assert (tmp_path / "run" / "number").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


# Folders that are no run's own.


@pytest.mark.parametrize("name", ["", ".", "..", "sub/..", "/"])
def test_a_run_needs_a_folder_of_its_own(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="a run needs a folder of its own"):
        claim_once(Path(name), values())
    assert list_names(tmp_path) == ["sub"]


def test_the_home_folder_is_no_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    with pytest.raises(UserError, match="a run needs a folder of its own"):
        claim_once(tmp_path / "me", values())


@pytest.mark.parametrize("resume", [True, False])
def test_another_programs_config_is_left_alone(resume: bool, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("port: 80\n")
    with pytest.raises(UserError, match=r"its config\.yaml is not of a run"):
        claim_once(tmp_path / "run", values(resume=resume))
    assert (tmp_path / "run" / "config.yaml").read_text() == "port: 80\n"


def test_another_programs_model_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run" / "model").mkdir(parents=True)
    with pytest.raises(UserError, match=r"it holds model but no config\.yaml of a run"):
        claim_once(tmp_path / "run", values())
    assert list_names(tmp_path) == ["model", "run"]


# Inputs.


def read_once(folder: Path, inputs: dict[str, str | None], **changes: Any) -> None:
    settings = values(**changes) | {"data": {"train": "a.csv", "test": "b.csv", **NEWER}}
    with claim(folder, settings, inputs, "python train.py resume=false"):
        (folder / "history.jsonl").touch()


def test_the_same_inputs_are_accepted(tmp_path: Path) -> None:
    inputs: dict[str, str | None] = {"data.train": "sha256:1", "data.test": None}
    read_once(tmp_path / "run", inputs)
    read_once(tmp_path / "run", inputs)
    # What could not be identified then or now is not another input.
    read_once(tmp_path / "run", {"data.train": None, "data.test": "sha256:2"})


def test_a_changed_input_is_refused_with_two_commands(tmp_path: Path) -> None:
    run = tmp_path / "run"
    read_once(run, {"data.train": "sha256:1", "data.test": "sha256:1"})
    with pytest.raises(InputsChanged) as caught:
        read_once(run, {"data.train": "sha256:2"})
    assert caught.value.problems == (
        f"{run}: since this run data.train=a.csv has changed, data.test=b.csv has gone. To see the old result: python "
        f"scripts/report.py {run}. To train on what is there now: python train.py resume=false, which renames the old "
        "folder.",
    )
    read_once(run, {"data.train": "sha256:2"}, resume=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.old1"]


def test_a_run_from_before_inputs_were_recorded_goes_on(tmp_path: Path) -> None:
    claim_once(tmp_path / "run", values() | {"data": {"train": "a.csv", "test": "b.csv", **NEWER}})
    read_once(tmp_path / "run", {"data.train": "sha256:1"})


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_damaged_inputs_are_a_user_error(content: str, tmp_path: Path) -> None:
    read_once(tmp_path / "run", {"data.train": "sha256:1"})
    (tmp_path / "run" / "inputs.json").write_text(content)
    with pytest.raises(UserError, match=r"inputs\.json is damaged.* start over with resume=false"):
        read_once(tmp_path / "run", {"data.train": "sha256:1"})


def test_a_longer_run_of_changed_inputs_leaves_the_finished_one(tmp_path: Path) -> None:
    run = tmp_path / "run"
    read_once(run, {"data.train": "sha256:1"})
    (run / "metrics.json").write_text("{}")
    before = {path: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(InputsChanged):
        read_once(run, {"data.train": "sha256:2"}, train__epochs=2.0)
    assert {path: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.parametrize("name", ["inputs.json", "learning_curve.png"])
def test_files_that_a_run_would_overwrite_are_left_alone(name: str, tmp_path: Path, write: Write) -> None:
    write(f"run/{name}", "mine")
    with pytest.raises(UserError, match=f"it holds {name} but no config"):
        read_once(tmp_path / "run", {"data.train": "sha256:1"})
    assert (tmp_path / "run" / name).read_text() == "mine"


def test_a_failed_start_removes_only_its_own_files(tmp_path: Path, write: Write) -> None:
    for name in ("run/events.out.tfevents.1.mine", "run/.lock"):
        write(name, "mine")
    with pytest.raises(ValueError, match="the model"), claim(tmp_path / "run", values(), {"data.train": "sha256:1"}):
        (tmp_path / "run" / "events.out.tfevents.2").touch()
        raise ValueError("the model")
    assert list_names(tmp_path) == [".lock", "events.out.tfevents.1.mine", "run"]


def test_a_link_in_a_run_folder_is_not_followed(tmp_path: Path, write: Write) -> None:
    claim_once(tmp_path / "run", values())
    theirs = write("theirs/00000009.safetensors", "theirs")
    (tmp_path / "run" / "checkpoints").symlink_to(theirs.parent)
    with pytest.raises(UserError, match="checkpoints in it is a link"):
        claim_once(tmp_path / "run", values())
