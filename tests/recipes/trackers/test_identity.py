"""How trackers call a run."""

from copy import deepcopy
from pathlib import Path

import pytest

from recipes.testing import tiny_config
from recipes.trackers.identity import flatten, identify, label_in_sweep

RUN = Path("runs/files-tiny-base-s0-1234abcd")


def test_a_run_is_called_as_its_folder() -> None:
    config = tiny_config("+tricks=[mixup,amp]", "tracker.tags=[draft,team=nlp]", "seed=3")
    identity = identify(config, RUN)
    assert (identity.project, identity.group, identity.name) == ("trickbook", None, RUN.name)
    assert identity.tags == {"draft": "", "team": "nlp"}
    assert identity.labels == ["draft", "team=nlp", "amp", "mixup"]
    settings = identity.settings
    assert settings["tricks"] == "amp+mixup" and settings["folder"] == str(RUN) and settings["seed"] == 3
    assert settings["train.batch_size"] == 8 and settings["tricks.mixup.alpha"] == config.tricks["mixup"]["alpha"]
    # What changes no number of a run is none of its settings.
    assert not [name for name in settings if name.startswith(("tracker", "checkpoint.min_seconds", "resume"))]


def test_the_user_chooses_other_names() -> None:
    names = ("tracker.project=mine", "tracker.group=friday", "tracker.name=first")
    identity = identify(tiny_config(*names), RUN)
    assert (identity.project, identity.group, identity.name) == ("mine", "friday", "first")


@pytest.mark.parametrize(("name", "expected"), [((), RUN.name), (("tracker.name=first",), "first")])
def test_the_members_of_an_ensemble_are_a_group(name: tuple[str, ...], expected: str) -> None:
    identity = identify(tiny_config(*name), RUN / "members" / "tiny" / "fold-1")
    assert (identity.group, identity.name) == (expected, f"{expected}/tiny/fold-1")


@pytest.mark.parametrize(
    ("overrides", "tricks", "name"),
    [
        (["data=files", "data.train=a.csv", "seed=2"], "", "base data=files s2"),
        (["+tricks=[swa,ema]", "seed=2", "hydra.x=1", "evaluate.test=false"], "+tricks=[swa,ema]", "ema+swa s2"),
        (["model=tiny", "train.epochs=2", "train.threads=1", "tracker=wandb"], "", "base model=tiny epochs=2 s2"),
        (["+tricks=[mixup]", "tricks.mixup.alpha=0.2"], "+tricks=[mixup]", "mixup mixup.alpha=0.2 s2"),
    ],
)
def test_a_run_of_a_sweep_is_called_by_its_arm_and_seed(overrides: list[str], tricks: str, name: str) -> None:
    # A copy, since tests share configs.
    config = deepcopy(tiny_config("seed=2", *filter(None, [tricks])))
    label_in_sweep(config, Path("runs/three"), overrides)
    assert (config.tracker.group, config.tracker.name) == ("three", name)
    label_in_sweep(config, Path("runs/four"), overrides)
    assert config.tracker.group == "three"


def test_leaves_are_named_by_their_path() -> None:
    values = {"a": 1, "b": {"c": None, "d": [1, "x"], "e": {}}, "f": {"g": {"h": 0.5}}}
    assert dict(flatten(values, "/")) == {"a": 1, "b/c": None, "b/d": "[1, x]", "b/e": "", "f/g/h": 0.5}
