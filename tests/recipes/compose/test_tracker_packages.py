"""Trackers whose package is missing, and settings that nobody reads."""

import pytest

from recipes.compose import tracker_packages
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.compose.tracker_packages import chosen_trackers
from recipes.errors import UserError


def read_choice(*overrides: str) -> list[str]:
    return chosen_trackers(read(compose_config(overrides)[0]).tracker)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The packages that count as installed."""
    packages = {"tensorboard"}
    monkeypatch.setattr(tracker_packages, "_is_installed", packages.__contains__)
    return packages


def test_the_default_is_tensorboard(installed: set[str]) -> None:
    assert read_choice() == ["tensorboard"]
    assert read_choice("tracker=none") == read_choice("tracker=[]") == []


def test_more_than_one_tracker_and_the_small_package_of_mlflow(installed: set[str]) -> None:
    installed |= {"mlflow-skinny", "wandb"}
    assert read_choice("tracker=[mlflow,wandb]") == ["wandb", "mlflow"]
    assert read_choice("tracker=[mlflow,tensorboard]", "tracker.tracking_uri=sqlite:///a.db") == [
        "tensorboard",
        "mlflow",
    ]


def test_a_missing_package_is_named(installed: set[str]) -> None:
    with pytest.raises(UserError) as error:
        read_choice("tracker=[mlflow,wandb]")
    assert error.value.problems == (
        "tracker=wandb needs the package wandb: pip install 'trickbook[wandb]'.",
        "tracker=mlflow needs the package mlflow: pip install 'trickbook[mlflow]'.",
    )


def test_a_package_is_looked_for_by_its_name() -> None:
    assert tracker_packages._is_installed("torch") and not tracker_packages._is_installed("no-such-package")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("tracker.tracking_uri=http://a", "tracker=mlflow, or leave it out."),
        ("tracker.entity=team", "tracker=wandb or tracker=swanlab, or leave it out."),
        ("tracker.offline=true", "tracker=wandb or tracker=swanlab, or leave it out."),
    ],
)
def test_a_setting_that_no_chosen_tracker_reads_is_refused(override: str, expected: str) -> None:
    with pytest.raises(UserError) as error:
        read_choice(override)
    assert str(error.value) == f"{override}: no chosen tracker reads it; choose {expected}"


@pytest.mark.parametrize("choice", ["tracker=nonsense", "tracker=null", "tracker=[tensorboard,nonsense]"])
def test_another_tracker_is_refused_with_those_that_there_are(choice: str) -> None:
    with pytest.raises(UserError, match=r"there is no such tracker; .*mlflow, none, swanlab, tensorboard, wandb"):
        compose_config([choice])
