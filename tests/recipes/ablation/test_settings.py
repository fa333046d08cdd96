"""The settings of a study are checked, all at once."""

from typing import Any

import pytest
import yaml

from recipes.ablation.settings import read_settings
from recipes.config import CONF
from recipes.errors import UserError


def defaults() -> dict[str, Any]:
    text = (CONF / "hydra" / "sweeper" / "ablation.yaml").read_text(encoding="utf-8")
    return {name: value for name, value in yaml.safe_load(text).items() if name != "_target_"}


def test_the_defaults_are_valid() -> None:
    settings = read_settings(defaults())
    assert (settings.seeds, settings.design, settings.budget, settings.max_batch_size) == (3, "auto", 100, None)


def test_all_wrong_settings_are_reported_at_once() -> None:
    with pytest.raises(UserError) as raised:
        read_settings(defaults() | {"margin": 0, "stop": "soon"})
    assert [problem.split(" ")[0] for problem in raised.value.problems] == [
        "hydra.sweeper.margin",
        "hydra.sweeper.stop",
    ]


def test_one_seed_cannot_confirm() -> None:
    with pytest.raises(UserError, match=r"seeds=1 is too few .* or hydra\.sweeper\.confirm=false"):
        read_settings(defaults() | {"seeds": 1})
    assert read_settings(defaults() | {"seeds": 1, "confirm": False}).seeds == 1


def test_lengths_are_sorted_multiples() -> None:
    assert read_settings(defaults() | {"lengths": [2, 0.5]}).lengths == [0.5, 2]
    for wrong in ([], [0], [1, 1.0], [float("nan")], [float("inf")]):
        with pytest.raises(UserError, match=r"hydra\.sweeper\.lengths=\[.*all different, such as \[1,2\]"):
            read_settings(defaults() | {"lengths": wrong})
