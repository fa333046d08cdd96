"""The manifest: which files it covers, and which damage is found, named and refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from recipes.api import FinishedRun, finetune_config, load
from recipes.config import saved_config
from recipes.errors import UserError
from recipes.runs import manifest
from recipes.runs.claim import read_inputs
from recipes.runs.files import write_json
from recipes.runs.folder import is_finished
from recipes.testing import finished_run
from recipes.toolkit.warm_start import WarmStart
from tests.sampling import every

Damage = Callable[[Path], None]


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def flip_one_bit(path: Path) -> None:
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)


DAMAGES: dict[str, Damage] = {
    "emptied": lambda path: path.write_bytes(b"") and None,
    "halved": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]) and None,
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\n") and None,
    "flipped": flip_one_bit,
    "rubbish": lambda path: path.write_bytes(bytes(range(256))) and None,
    "of another shape": lambda path: path.write_bytes(b"[1]\n") and None,
    "deleted": lambda path: path.unlink(),
    "a folder": replace_by_folder,
}
READERS: dict[str, Callable[[FinishedRun], object]] = {
    "config.yaml": lambda run: run.config,
    "inputs.json": lambda run: read_inputs(run.folder),
    "history.jsonl": lambda run: run.history,
    "metrics.json": lambda run: run.metrics,
    "predictions/validation.csv": lambda run: run.load_predictions("validation"),
    "predictions/test.csv": lambda run: run.predictions("test"),
    "model/model.safetensors": lambda run: run.predict(["w1"]),
    "model/config.json": lambda run: run.predict(["w1"]),
    "model/tokenizer.json": lambda run: run.predict(["w1"]),
    "model/tokenizer_config.json": lambda run: WarmStart(str(run.folder), "tricks.mine.folder"),
}


@pytest.fixture
def run(tmp_path: Path) -> FinishedRun:
    """A finished run that a test may damage."""
    return FinishedRun(shutil.copytree(finished_run(), tmp_path / "run"))


def test_it_covers_all_that_is_read_back_and_nothing_that_a_user_may_edit(run: FinishedRun) -> None:
    assert manifest.read(run.folder) is not None
    assert set(manifest.read(run.folder) or ()) == set(READERS)
    for name in ("model/README.md", "learning_curve.png", "confusion_matrix.png"):
        (run.folder / name).write_text("edited")
    (run.folder / "report.html").write_text("new")
    for reader in READERS.values():
        reader(FinishedRun(run.folder))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", every(3, READERS))
def test_a_damaged_file_is_named_by_its_reader(run: FinishedRun, name: str, damage: str) -> None:
    DAMAGES[damage](run.folder / name)
    assert is_finished(run.folder)
    with pytest.raises(UserError, match=r"\. If the folder is a copy, copy it again\. If it is not, ") as caught:
        READERS[name](FinishedRun(run.folder))
    assert str(caught.value).startswith(f"{run.folder / name} is ")


@pytest.mark.parametrize("name", READERS)
def test_the_command_of_a_finished_run_notices_all_damage(run: FinishedRun, name: str) -> None:
    config = saved_config(run.config)
    assert finetune_config(config, run.folder) == run
    flip_one_bit(run.folder / name)
    with pytest.raises(UserError, match=rf"{name} is damaged"):
        finetune_config(config, run.folder)


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name not in ("deleted", "longer")])
def test_a_damaged_manifest_is_refused(run: FinishedRun, damage: str) -> None:
    DAMAGES[damage](run.folder / manifest.FILE)
    with pytest.raises(UserError, match=r"manifest\.json"):
        load(run.folder)


def test_without_a_manifest_a_run_is_not_finished(run: FinishedRun) -> None:
    manifest.remove(run.folder)
    assert not is_finished(run.folder)
    with pytest.raises(UserError, match=r"holds no finished run \(there is no manifest\.json\)"):
        load(run.folder)


@pytest.mark.parametrize("name", ["model/adapter_config.json", "model/ensemble.json", "model/tricks.safetensors"])
def test_a_file_that_was_added_to_the_model_is_refused(run: FinishedRun, name: str) -> None:
    (run.folder / name).write_text("{}")
    with pytest.raises(UserError, match=rf"{name} is not in .*manifest\.json: it was added later\. Move it"):
        run.predict(["w1"])


def test_predictions_that_were_added_are_no_split_of_the_run(run: FinishedRun) -> None:
    shutil.copy(run.folder / "predictions" / "test.csv", run.folder / "predictions" / "other.csv")
    assert run.splits == ["validation", "test"]
    with pytest.raises(UserError, match=r"predictions/other\.csv is not in "):
        run.load_predictions("other")


def test_a_file_that_changes_is_covered_again_by_writing_the_manifest(run: FinishedRun) -> None:
    write_json(run.folder / "metrics.json", {**run.metrics, "seed": 7})
    with pytest.raises(UserError, match=r"metrics\.json is damaged"):
        _ = FinishedRun(run.folder).metrics
    manifest.write(run.folder)
    assert FinishedRun(run.folder).metrics["seed"] == 7


def test_a_folder_of_an_earlier_version_is_read_with_one_note(
    run: FinishedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest.remove(run.folder)
    metrics = json.loads((run.folder / "metrics.json").read_text())
    write_json(run.folder / "metrics.json", {**metrics, "format": 2})
    for _ in range(2):
        assert load(run.folder).predict(["w1"]).ids == ["0"]
    text = "is of an earlier version, which wrote no manifest.json; its files are read without a check."
    assert capsys.readouterr().err.splitlines() == [f"note: {run.folder} {text}"]


def test_damaged_scores_of_an_earlier_version_are_refused(run: FinishedRun) -> None:
    manifest.remove(run.folder)
    (run.folder / "metrics.json").write_text("[1]")
    with pytest.raises(UserError, match=r"metrics\.json is damaged"):
        load(run.folder)


def test_a_finished_run_has_no_folder_that_it_does_not_need(tmp_path: Path) -> None:
    for name in ("checkpoints", "members"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    manifest.write(tmp_path, ["checkpoints"])
    assert {path.name for path in tmp_path.iterdir()} == {"manifest.json", "members"}
    assert manifest.is_unneeded(tmp_path, "checkpoints") and not manifest.is_unneeded(tmp_path, "members")


def test_a_kill_before_unneeded_folders_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoints").mkdir()
    monkeypatch.setattr(manifest, "remove_unneeded", lambda folder: None)
    manifest.write(tmp_path, ["checkpoints"])
    monkeypatch.undo()
    assert (tmp_path / "checkpoints").exists()
    manifest.remove_unneeded(tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_a_manifest_from_somebody_else_removes_nothing_else(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "file").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    manifest.write(tmp_path / "run", ["../mine", str(mine), "model"])
    assert (mine / "file").exists()


def test_an_unneeded_folder_that_cannot_be_removed(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "checkpoints").symlink_to(tmp_path / "target")
    with pytest.raises(UserError, match="checkpoints: "):
        manifest.write(tmp_path, ["checkpoints"])
    assert (tmp_path / "target").exists()


@pytest.mark.parametrize(("has_checkpoint", "consequence"), [(True, "only the finishing is redone"), (False, "again$")])
def test_what_a_damaged_file_costs(has_checkpoint: bool, consequence: str, tmp_path: Path) -> None:
    if has_checkpoint:
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / "00000008.safetensors").touch()
    assert consequence.removesuffix("$") in str(manifest.damaged(tmp_path, "metrics.json", "is damaged"))
