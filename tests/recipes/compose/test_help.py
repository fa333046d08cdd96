"""The page of --help: every setting with its meaning and range, in step with conf/, in lines that fit."""

import shlex
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from recipes.compose.folders import GROUPS
from recipes.compose.help import EXAMPLE, describe_settings, fill_template, read_examples, read_settings
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.config import CONF, Config


def leaves(kind: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each setting of the schema."""
    for item in fields(kind):
        if is_dataclass(item.type):
            yield from leaves(item.type, f"{path}{item.name}.")
        else:
            yield f"{path}{item.name}"


def test_every_setting_of_the_schema_is_there_with_a_meaning() -> None:
    settings = {setting.path: setting for setting in read_settings()}
    assert set(settings) == set(leaves(Config))
    page = describe_settings(80)
    for path, setting in settings.items():
        assert setting.comment, path
        assert path == "tricks" or f"  {path}={setting.value}" in page


def test_a_setting_has_its_unit_and_its_range() -> None:
    meanings = {setting.path: setting.meaning for setting in read_settings()}
    assert meanings["train.batch_size"] == "documents of an update, over all processes; allowed: [1, 1000000]"
    assert meanings["train.schedule"] == "after the warm-up: linear, cosine (both to 0) or constant"
    # From the lines above it.
    assert meanings["checkpoint.min_seconds"].startswith("seconds of training between checkpoints, where epochs")


def test_the_five_examples_can_be_run() -> None:
    examples = read_examples()
    assert len(examples) == 5
    for example in examples:
        arguments = shlex.split(example.removeprefix("python train.py "))
        sweeps = "-m" in arguments
        read(compose_config([each for each in arguments if not (sweeps and ("," in each or each == "-m"))])[0])


def test_every_example_in_conf_is_short() -> None:
    lines = [line for path in CONF.rglob("*.yaml") for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line for line in lines if EXAMPLE.fullmatch(line) and len(line) > 120] == []


def test_every_choice_is_there() -> None:
    words = set(describe_settings(80).replace(",", " ").split())
    for group in GROUPS:
        names = {path.stem for path in (CONF / group).glob("*.yaml")}
        assert names and names <= words


@pytest.mark.parametrize("width", [80, 120])
def test_lines_fit_and_no_range_is_cut(width: int) -> None:
    lines = describe_settings(width).splitlines()
    assert max(map(len, lines)) <= width
    assert not [line for line in lines if line.endswith(("[0,", "[1,", "(0,"))]
    assert len(lines) < 200


def test_a_dollar_is_no_place_holder_of_hydra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert "seeds.order=$${seed}" in fill_template()
    monkeypatch.setenv("COLUMNS", "300")
    assert max(map(len, fill_template().splitlines())) <= 121
