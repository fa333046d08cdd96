"""Keyword arguments: each becomes the override that a command line would have."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recipes.compose.keywords import as_overrides, as_text
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.errors import UserError
from tests.sampling import every


def test_names_paths_and_sections() -> None:
    assert as_overrides({"epochs": 2, "max_length": 16, "seed": 1, "resume": False, "folder": Path("runs/mine")}) == [
        "train.epochs=2",
        "data.max_length=16",
        "seed=1",
        "resume=false",
        "hydra.run.dir=runs/mine",
    ]
    assert as_overrides({"checkpoint__every": 0.5, "evaluate.every": 2, "seeds": {"order": 3}, "recipe": "plain"}) == [
        "checkpoint.every=0.5",
        "evaluate.every=2",
        "seeds.order=3",
        "recipe=plain",
    ]
    assert as_overrides({"evaluate": {"metric": "mcc", "extra": {"hard": "a b.csv"}}}) == [
        "evaluate.metric=mcc",
        "evaluate.extra.hard='a b.csv'",
    ]


def test_tricks_by_name_and_with_settings() -> None:
    assert as_overrides({"tricks": ()}) == as_overrides({"tricks": {}}) == []
    assert as_overrides({"tricks": "ema"}) == as_overrides({"tricks": {"ema": None}}) == ["+tricks=[ema]"]
    settings: dict[str, Any] = {"ema": {"decay": 0.9}, "mixup": {}}
    assert as_overrides({"tricks": settings}) == ["+tricks=[ema,mixup]", "tricks.ema.decay=0.9"]


TEXTS = ("a, b", "[a]", "null", "True", "1e3", "007", "", "ä 文本", "${oc.env:HOME}", "it's \\", "{a: b}", "a=b", "~/x")


@pytest.mark.parametrize("text", every(4, TEXTS))
def test_a_text_is_read_back_as_it_is(text: str) -> None:
    assert (
        read(compose_config(as_overrides({"text": text, "data": "files", "data__train": "x.csv"}))[0]).data.text == text
    )


def test_values() -> None:
    assert [as_text(value, "x") for value in (None, True, 2, 1e-05, np.float64(0.5), np.arange(2), ["a", "b c"])] == [
        *("null", "true", "2", "1e-05", "0.5", "[0,1]", "[a,'b c']"),
    ]


REFUSED = {
    "every": "every: evaluate.every and checkpoint.every are two settings; write evaluate__every or checkpoint__every.",
    "lr": "lr: there is no such setting; write learning_rate=<value>.",
    "fp16": "fp16: there is no such setting; write tricks=['amp'].",
    "output_dir": "output_dir: there is no such setting; write folder=<value>.",
    "save_steps": "save_steps: there is no such setting; write checkpoint__every=<a number of epochs>.",
    "epohcs": "epohcs: there is no such setting; did you mean epochs? There are: ",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_no_setting_has_is_refused(name: str) -> None:
    with pytest.raises(UserError) as caught:
        as_overrides({name: 1, "threads": object()})
    first, second = caught.value.problems
    assert first.startswith(REFUSED[name])
    assert second == "train.threads: a value of type object cannot be a setting; write a text, a number or a list."


@pytest.mark.parametrize("value", [["mix up"], [1], 5, [None], "+tricks=[ema]"])
def test_what_names_no_trick_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match=r"is not the name of a trick; write a list of names"):
        as_overrides({"tricks": value})
