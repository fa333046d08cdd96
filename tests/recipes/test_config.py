"""Settings by their dotted paths, and settings that have a new name."""

from typing import Any

import pytest

from recipes.config import (
    NEWER_SETTINGS,
    add_newer_settings,
    as_values,
    digest,
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


def test_a_config_without_a_newer_setting_has_its_default() -> None:
    config = saved_config({"seed": 3, "data": {"text": "body"}})
    assert (config.seed, config.seeds.order, config.data.text, config.data.max_length) == (3, 3, "body", 128)


def test_a_value_of_no_setting_is_refused() -> None:
    with pytest.raises(UserError, match="nonsense"):
        saved_config({"data": {"nonsense": 1}})


@pytest.mark.parametrize(("gpus", "runs"), [([], 2), (["0"], 1), (["0", "1", "2"], 3)])
def test_joblib_makes_one_run_at_a_time_for_each_gpu(
    gpus: list[str], runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "visible_gpus", lambda: gpus)
    assert runs_at_a_time() == runs


@pytest.mark.parametrize("setting", ["min_seconds", "after_finish", "save_model"])
def test_what_becomes_of_files_changes_no_hash(setting: str) -> None:
    old = {"checkpoint": {"every": 1.0, "keep": 2}, "seed": 0}
    new = {"checkpoint": {"every": 1.0, "keep": 2, setting: "other"}, "seed": 0}
    assert digest(new) == digest(old) != digest({**old, "checkpoint": {"every": 2.0, "keep": 2}})
    assert new["checkpoint"][setting] == "other", "the argument is not modified"
