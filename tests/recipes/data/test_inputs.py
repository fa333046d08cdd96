"""Fingerprints of inputs: what counts, what does not, and what is read again."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import Dataset

from recipes.compose.reading import read
from recipes.config import Config, as_values
from recipes.data import inputs
from recipes.data.inputs import check_data, compare_inputs, fingerprint, identify_inputs
from recipes.errors import UserError
from recipes.runs.claim import claim
from recipes.testing import compose_again

Write = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRICKBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(inputs, "FRESH_SECONDS", -1.0)
    return tmp_path / "cache" / "trickbook" / "fingerprints"


def config(*overrides: str) -> Config:
    return read(compose_again(["model=tiny", *overrides]))


def replace(path: Path, content: str) -> None:
    """Write content of the same length into a file, and restore its time of modification."""
    status = path.stat()
    assert len(content) == status.st_size
    path.write_text(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_every_file_that_a_run_reads_is_an_input(write: Write) -> None:
    names = {name: str(write(f"{name}.csv", name)) for name in ("train", "validation", "test", "hard")}
    names["synonyms"] = str(write("synonyms.txt", "a\tb"))
    settings = config(
        "data=files",
        *(f"data.{name}={names[name]}" for name in ("train", "validation", "test")),
        f"+evaluate.extra.hard={names['hard']}",
        "+tricks=[eda]",
        f"tricks.eda.file={names['synonyms']}",
    )
    found = identify_inputs(settings)
    assert sorted(found) == ["data.test", "data.train", "data.validation", "evaluate.extra.hard", "tricks.eda.file"]
    assert len(set(found.values())) == 5
    for name, setting in (("test", "data.test"), ("synonyms", "tricks.eda.file")):
        replace(Path(names[name]), "x" * len(Path(names[name]).read_text()))
        assert {path for path, value in identify_inputs(settings).items() if value != found[path]} == {setting}
        found = identify_inputs(settings)


def test_a_local_model_is_an_input(tmp_path: Path, write: Write) -> None:
    write("mine/config.json", "{}")
    weights = write("mine/model.safetensors", "123")
    settings = config("model=hub", f"model.name={tmp_path / 'mine'}")
    before = identify_inputs(settings)
    replace(weights, "124")
    after = identify_inputs(settings)
    assert before["model.name"] != after["model.name"]
    assert before["data"] == after["data"]
    assert "model.name" not in identify_inputs(config("model=hub", "model.name=owner/name"))


def test_only_the_model_counts_of_a_run_folder(tmp_path: Path, write: Write) -> None:
    write("run/model/config.json", "{}")
    write("run/report.html", "old")
    before = fingerprint(tmp_path / "run")
    write("run/report.html", "new")
    assert fingerprint(tmp_path / "run") == before
    write("run/model/config.json", "{ }")
    assert fingerprint(tmp_path / "run") != before


def test_the_models_of_its_members_count_of_a_fused_run(tmp_path: Path, write: Write) -> None:
    write("run/model/ensemble.json", "{}")
    weights = write("run/members/1-tiny/fold-1/model/model.safetensors", "123")
    write("run/members/1-tiny/fold-1/history.jsonl", "old")
    before = fingerprint(tmp_path / "run")
    write("run/members/1-tiny/fold-1/history.jsonl", "new")
    assert fingerprint(tmp_path / "run") == before
    replace(weights, "124")
    assert fingerprint(tmp_path / "run") != before


def test_runs_that_a_trick_names_are_inputs(tmp_path: Path, write: Write) -> None:
    write("run/model/ensemble.json", "{}")
    tricks = {"distill": "teacher", "clean_labels": "fusion", "incremental": "folder"}
    for trick, setting in tricks.items():
        found = identify_inputs(config(f"+tricks=[{trick}]", f"tricks.{trick}.{setting}={tmp_path / 'run'}"))
        assert f"tricks.{trick}.{setting}" in found


def test_an_unchanged_file_is_not_read_again(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("train.csv", "a")
    first = fingerprint(path)
    assert first == "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    monkeypatch.setattr(inputs.hashlib, "file_digest", None)
    assert fingerprint(path) == first


def test_a_file_that_has_just_changed_is_read_again(write: Write, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(inputs, "FRESH_SECONDS", 60.0)
    fingerprint(write("train.csv", "a"))
    assert not cache.exists()


def test_a_damaged_cache_is_not_believed(write: Write, cache: Path) -> None:
    path = write("train.csv", "a")
    first = fingerprint(path)
    (entry,) = cache.iterdir()
    for content in ("", "{", "[]", '{"times": null}'):
        entry.write_text(content)
        assert fingerprint(path) == first


def test_data_of_the_hub_have_the_fingerprint_of_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Dataset.from_dict({"text": ["a"]})
    monkeypatch.setattr(datasets, "load_dataset", lambda *arguments, **options: rows)
    settings = config("data=hub", "data.name=owner/name")
    assert identify_inputs(settings) == {"data.train": f"datasets:{rows._fingerprint}"}

    def fail(*arguments: Any, **options: Any) -> Any:
        raise OSError("no network")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    assert identify_inputs(settings) == {"data.train": None}


def test_a_finished_run_is_checked_against_its_inputs(tmp_path: Path, write: Write) -> None:
    path = write("train.csv", "a")
    settings = config("data=files", f"data.train={path}")
    folder = tmp_path / "run"
    with claim(folder, as_values(settings), identify_inputs(settings)):
        (folder / "history.jsonl").touch()
    check_data(folder)
    replace(path, "b")
    with pytest.raises(UserError, match=r"run: since this run data\.train=.*train\.csv has changed\."):
        check_data(folder)
    path.unlink()
    with pytest.raises(UserError, match=r"data\.train=.*train\.csv has gone"):
        check_data(folder)
    (folder / "inputs.json").unlink()
    check_data(folder)


def test_runs_that_read_different_contents_are_not_compared(tmp_path: Path, write: Write) -> None:
    path = write("train.csv", "a")
    settings = config("data=files", f"data.train={path}")
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder, content in zip(folders, "aab", strict=True):
        replace(path, content)
        with claim(folder, as_values(settings), identify_inputs(settings)):
            (folder / "history.jsonl").touch()
    assert compare_inputs([*folders[:2], tmp_path / "none"]) == folders[:1]
    with pytest.raises(UserError, match=r"data\.train=.*train\.csv: .*one and .*three have read different contents"):
        compare_inputs(folders)
