"""A sweep without a finished plain run of its data says so, with the command that makes one."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from recipes.compose.baseline import MissingBaseline, describe_missing_baselines
from recipes.config import CONF
from recipes.testing import compose_again
from tests.sampling import slow

FILES = ("data=files", "data.train=a.csv", "model=tiny")


@pytest.fixture
def loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ConfigLoader]:
    monkeypatch.chdir(tmp_path)
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()
    GlobalHydra.instance().hydra = before


def describe(loader: ConfigLoader, *overrides: str) -> list[str]:
    master = loader.load_configuration("train", list(overrides), RunMode.MULTIRUN)
    return list(describe_missing_baselines(master, loader))


def finish(folder: str, overrides: Sequence[str], is_finished: bool = True) -> None:
    """Write the folder of a run with these overrides."""
    values: Any = compose_again(overrides)
    path = Path(folder)
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(yaml.safe_dump(OmegaConf.to_container(values, resolve=True), sort_keys=False))
    if is_finished:
        (path / "metrics.json").write_text(json.dumps({"format": 2, "validation": {}}))


@pytest.mark.parametrize(
    ("sweep", "command"),
    [
        (["seed=0,1"], "data=files data.train=a.csv model=tiny"),
        slow(["+tricks=[mixup]", "tricks.mixup.alpha=0.2,1.0", "train.epochs=2"], f"{' '.join(FILES)} train.epochs=2"),
        slow(["search=learning_rate", "recipe=robust"], " ".join(FILES)),
        (["train.learning_rate=interval(1e-5,1e-3)"], " ".join(FILES)),
        slow(["evaluate.test=false"], " ".join(FILES)),
    ],
)
def test_the_command_of_the_plain_run_has_no_tricks_and_nothing_swept(
    loader: ConfigLoader, sweep: list[str], command: str
) -> None:
    (paragraph,) = describe(loader, *FILES, *sweep)
    assert paragraph.startswith("No baseline yet: runs has no finished run of this data and model without tricks")
    assert paragraph.endswith(f"To make it first: python train.py {command}")


@pytest.mark.slow
def test_each_data_set_of_a_sweep_needs_its_own(loader: ConfigLoader) -> None:
    paragraphs = describe(loader, "data=files", "data.train=a.csv,b.csv", "model=tiny,minilm")
    assert [each.partition("python train.py ")[2] for each in paragraphs] == [
        f"data.train={name} data=files model=tiny" for name in ("a.csv", "b.csv")
    ]
    finish("runs/mine", FILES)
    assert [each[-32:] for each in describe(loader, "data=files", "data.train=a.csv,b.csv", "model=tiny")] == [
        "data.train=b.csv data=files model=tiny"[-32:]
    ]


@pytest.mark.parametrize("folder", ["runs/mine", "runs/study/one"])
def test_a_finished_plain_run_is_found_whatever_its_other_settings(loader: ConfigLoader, folder: str) -> None:
    finish(folder, [*FILES, "train.max_updates=7", "seed=3"])
    assert describe(loader, *FILES, "+tricks=[mixup]", "seed=0,1") == []


@pytest.mark.parametrize(
    ("others", "is_finished"),
    [(["+tricks=[mixup]"], True), slow(["data.max_length=64"], True), (["model=minilm"], True), slow([], False)],
)
def test_other_runs_are_no_baseline(loader: ConfigLoader, others: list[str], is_finished: bool) -> None:
    finish("runs/mine", [*FILES, *others], is_finished)
    assert len(describe(loader, *FILES, "seed=0,1")) == 1


def test_a_damaged_run_or_a_wrong_command_is_left_to_others(loader: ConfigLoader) -> None:
    finish("runs/mine", FILES)
    Path("runs/mine/metrics.json").write_text("[]")
    assert len(describe(loader, *FILES, "seed=0,1")) == 1
    assert describe(loader, "data=no_such_data,pydocs", "model=tiny") == []


def test_hydra_calls_it_and_an_ablation_needs_none(loader: ConfigLoader, capsys: pytest.CaptureFixture[str]) -> None:
    for sweeper, count in (("basic", 1), ("ablation", 0)):
        master = loader.load_configuration("train", [*FILES, "seed=0,1", f"hydra/sweeper={sweeper}"], RunMode.MULTIRUN)
        assert master.hydra.callbacks.baseline._target_ == f"{MissingBaseline.__module__}.MissingBaseline"
        MissingBaseline().on_multirun_start(master)
        assert capsys.readouterr().out.count("No baseline yet") == count
