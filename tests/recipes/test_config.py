"""Settings by their dotted paths, and settings that have a new name."""

from pathlib import Path
from typing import Any

import joblib
import pytest
import yaml

from recipes.compose.overrides import compose_config
from recipes.config import (
    CONF,
    NEWER_SETTINGS,
    add_newer_settings,
    as_values,
    digest,
    newer_settings,
    put_at,
    rename_settings,
    renamed_settings,
    runs_at_a_time,
    saved_config,
    value_at,
)
from recipes.errors import UserError
from recipes.runtime import workers


def test_a_value_is_read_and_set_by_its_path() -> None:
    values: dict[str, Any] = {"data": {"text": "body"}}
    assert value_at(values, "data.text") == "body"
    assert value_at(values, "data.text.more") is None and value_at(values, "model.name") is None
    put_at(values, "model.name", "bert")
    assert values == {"data": {"text": "body"}, "model": {"name": "bert"}}


def test_a_renamed_setting_keeps_its_value_and_the_argument_is_not_modified() -> None:
    old = {"data": {"separator": "|", "text": "body"}, "seed": 1}
    new = rename_settings(old, {"data.separator": "data.label_separator"})
    assert new == {"data": {"label_separator": "|", "text": "body"}, "seed": 1}
    assert old["data"] == {"separator": "|", "text": "body"}


def test_the_new_name_wins_if_both_names_are_set() -> None:
    both = {"data": {"separator": "|", "label_separator": ";"}}
    assert rename_settings(both, {"data.separator": "data.label_separator"}) == {"data": {"label_separator": ";"}}


def test_a_run_has_the_hash_that_its_old_names_gave_it() -> None:
    old = {"data": {"separator": "|"}, "tricks": {"swa": {"rate": 0.5, "every": 1}}, "resume": True}
    assert digest(rename_settings(old, renamed_settings())) == digest(old) == "0444a264"
    assert digest({**old, "data": {"separator": ";"}}) != digest(old)


def test_a_newer_setting_changes_the_hash_only_at_another_value_than_before() -> None:
    old = {"data": {"separator": "|"}, "tricks": {"swa": {"rate": 0.5, "every": 1}}, "resume": True}
    new = add_newer_settings(rename_settings(old, renamed_settings()))
    assert new["data"] == {"label_separator": "|", "header": True, "encoding": None, "fold": None}
    assert "train" not in new  # a setting of a part that is not there stays away
    assert digest(new) == "0444a264"
    for path in NEWER_SETTINGS:
        changed = add_newer_settings(new)
        put_at(changed, path, "other")
        assert digest(changed) != digest(new)
    assert add_newer_settings({"seed": 1}) == {"seed": 1}


def test_the_values_of_newer_settings_are_those_of_the_base() -> None:
    values = saved_config({})
    assert {path: value_at(as_values(values), path) for path in NEWER_SETTINGS} == NEWER_SETTINGS


def test_the_values_of_newer_settings_of_tricks_are_those_of_their_files() -> None:
    of_tricks = {path: value for path, value in newer_settings().items() if path not in NEWER_SETTINGS}
    assert len(of_tricks) >= 3
    for path, value in of_tricks.items():
        _, trick, setting = path.split(".")
        assert yaml.safe_load((CONF / "tricks" / f"{trick}.yaml").read_text(encoding="utf-8"))[setting] == value


def test_a_trick_of_an_earlier_version_has_its_newer_settings() -> None:
    old = {"tricks": {"mixup": {"alpha": 0.4}}}
    new = add_newer_settings(old)
    assert new["tricks"]["mixup"] == {"alpha": 0.4, "partners": 3, "smoothness": 0.3, "prior": 0.2}
    assert digest(new) == digest(old)
    assert add_newer_settings({"tricks": {"swa": {}}}) == {"tricks": {"swa": {}}}


def test_a_config_without_a_newer_setting_has_its_default() -> None:
    config = saved_config({"seed": 3, "data": {"text": "body"}})
    assert (config.seed, config.seeds.order, config.data.text, config.data.max_length) == (3, 3, "body", 128)


def test_a_value_of_no_setting_is_refused() -> None:
    with pytest.raises(UserError, match="nonsense"):
        saved_config({"data": {"nonsense": 1}})


@pytest.mark.parametrize(
    ("gpus", "cores", "runs"),
    [([], 16, 2), (["0"], 16, 4), (["0", "1"], 16, 8), (["0"], 2, 2), (["0", "1", "2"], 2, 3)],
)
def test_joblib_makes_four_runs_at_a_time_on_a_gpu(
    gpus: list[str], cores: int, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "visible_gpus", lambda: gpus)
    monkeypatch.setattr(joblib, "cpu_count", lambda: cores)
    assert runs_at_a_time() == runs


@pytest.mark.parametrize("setting", ["min_seconds", "after_finish", "save_model"])
def test_what_becomes_of_files_changes_no_hash(setting: str) -> None:
    old = {"checkpoint": {"every": 1.0, "keep": 2}, "seed": 0}
    new = {"checkpoint": {"every": 1.0, "keep": 2, setting: "other"}, "seed": 0}
    assert digest(new) == digest(old) != digest({**old, "checkpoint": {"every": 2.0, "keep": 2}})
    assert new["checkpoint"][setting] == "other", "the argument is not modified"


def run_name(*overrides: str) -> str:
    """The name of the run folder, without the hash."""
    return compose_config(overrides)[1].name.rpartition("-")[0]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("reviews.csv", "reviews"),
        ("data/Reviews.v2.jsonl.gz", "Reviews.v2"),
        ("评论 数据.csv", "评论-数据"),
        ("/a/b/समीक्षा.parquet", "समीक्षा"),
        ("cafe\u0301.csv", "caf\u00e9"),
        ("a:b?c*.tsv", "a-b-c"),
        (".hidden.csv", "hidden"),
        ("C:\\data\\mine.csv", "mine"),
        ("con.csv", "con"),
        ("???.csv", "files"),
        ("评" * 90 + ".csv", "评" * 20),
    ],
)
def test_a_run_folder_is_named_by_its_data_file(file: str, name: str) -> None:
    assert run_name("data=files", f"data.train={file}") == f"{name}-minilm-base-s0"


def test_a_run_folder_is_named_by_data_and_model_of_the_hub() -> None:
    hub = ["data=hub", "data.name=owner/reviews", "data.train=train", "model=hub", "model.name=owner/net-2.0/"]
    assert run_name(*hub) == "reviews-net-2.0-base-s0"
    assert run_name() == "pydocs-minilm-base-s0"
    assert run_name("data=sst2") == "sst2-minilm-base-s0"


def test_files_of_one_name_in_two_folders_have_two_run_folders() -> None:
    names = {compose_config(["data=files", f"data.train={folder}/train.csv"])[1].name for folder in "ab"}
    assert len(names) == 2 and all(name.startswith("train-minilm-base-s0-") for name in names)


def test_a_folder_that_an_earlier_version_has_named_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = ["data=files", "data.train=reviews.csv"]
    folder = compose_config(overrides)[1]
    previous = folder.with_name(folder.name.replace("reviews-", "files-"))
    previous.mkdir(parents=True)
    assert compose_config(overrides)[1] == previous
    folder.mkdir()
    assert compose_config(overrides)[1] == folder
