"""What is refused before anything is trained."""

from dataclasses import replace
from typing import Any

import pytest
from datasets import Dataset

from recipes.compose.reading import read
from recipes.compose.requirements import check, unmet
from recipes.compose.tricks import build
from recipes.config import Config, as_values
from recipes.data.splits import Splits
from recipes.errors import UserError
from recipes.testing import compose_again


def make_config(*overrides: str) -> Config:
    return read(compose_again(["model=tiny", *overrides]))


def make_splits(labels: list[Any], validation: list[Any]) -> Splits:
    def rows(of: list[Any]) -> Dataset:
        return Dataset.from_dict({"text": ["x"] * len(of), "label": of})

    return Splits(rows(labels), rows(validation), None, sorted(set(labels)), False)


def problems_of(*overrides: str) -> list[str]:
    config = make_config(*overrides)
    return list(unmet(as_values(config), build(config.tricks)))


def test_nothing_is_wrong_with_the_base() -> None:
    check(make_config(), make_splits(["a", "b"], ["a", "b"]), {})
    assert problems_of() == []


def test_tricks_need_a_training_loop() -> None:
    (problem,) = problems_of("model=linear", "+tricks=[focal,swa]")
    assert problem == "model=linear has no training loop, so +tricks=[focal,swa] cannot act; leave them out."


def test_an_early_stop_does_not_go_with_an_average_of_the_end() -> None:
    (problem,) = problems_of("evaluate.early_stopping=2", "+tricks=[swa]")
    assert problem.startswith("evaluate.early_stopping=2: swa averages the end of training")
    assert problems_of("evaluate.early_stopping=2", "+tricks=[focal]") == []


def test_a_setting_that_a_trick_needs_is_named_with_its_value() -> None:
    (problem,) = problems_of("train.clip_norm=1.0", "+tricks=[clip_gradient]")
    assert problem.startswith("train.clip_norm=1.0: clip_gradient needs train.clip_norm=null")
    assert problems_of("train.clip_norm=null", "+tricks=[clip_gradient]") == []


@pytest.mark.parametrize(
    ("metric", "validation", "message"),
    [
        ("micro_f1", ["a", "b"], "evaluate.metric=micro_f1: this data has accuracy, "),
        ("roc_auc", ["a", "a"], "evaluate.metric=roc_auc ranks rows of two classes, and validation has rows of one"),
    ],
)
def test_the_metric_must_fit_the_data(metric: str, validation: list[str], message: str) -> None:
    config = make_config()
    config = replace(config, evaluate=replace(config.evaluate, metric=metric))
    with pytest.raises(UserError, match=message):
        check(config, make_splits(["a", "b"], validation), {})
