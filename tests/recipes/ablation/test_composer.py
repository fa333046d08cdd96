"""Configs are composed as the launcher composes them, and runs get the folders that Hydra gives them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recipes.ablation.composer import Composer, multiply_length
from recipes.ablation.factors import NONE, Factor, Level, Space
from recipes.compose.overrides import compose_config

SPACE = Space((Factor("mixup", (NONE, Level("mixup", (), "mixup"))),), {"one": ("data=one",), "two": ("data=two",)})
SOURCES = [
    {"path": "/my/conf", "schema": "file", "provider": "command-line"},
    {"path": "package.conf", "schema": "pkg", "provider": "hydra.searchpath in command-line"},
    {"path": "/other", "schema": "file", "provider": "main"},
]


class Loader:
    """Composes the overrides as they are; the subfolder depends on the seed, as in `hydra.sweep.subdir`."""

    def load_sweep_config(self, master: DictConfig, overrides: list[str]) -> DictConfig:
        values = OmegaConf.from_dotlist([each for each in overrides if not each.startswith("+")])
        sweep = {"hydra": {"sweep": {"subdir": f"{' '.join(overrides[:-1])}-${{seed}}"}}}
        return OmegaConf.merge(values, sweep)


class RotatingLoader(Loader):
    """Composes real configs; the subfolder depends on the seed and the fold."""

    def load_sweep_config(self, master: DictConfig, overrides: list[str]) -> DictConfig:
        composed, _ = compose_config(overrides)
        sweep = {"hydra": {"sweep": {"subdir": "${seed}-${data.fold}"}}}
        OmegaConf.set_struct(composed, False)
        return OmegaConf.merge(composed, sweep)


def composer(rotate: bool = False) -> Composer:
    sources = [SimpleNamespace(**each) for each in SOURCES]
    hydra = SimpleNamespace(sweep=SimpleNamespace(dir="study"), runtime=SimpleNamespace(config_sources=sources))
    master: Any = SimpleNamespace(hydra=hydra)
    loader: Any = Loader()
    return Composer(master, loader, rotate)


def test_a_composed_config_has_no_hydra_section() -> None:
    assert composer()(["seed=3", "data=one"]) == {"seed": 3, "data": "one"}
    assert "hydra" in composer().compose_full(["seed=3"])


def test_only_config_folders_of_the_command_line_are_on_the_search_path() -> None:
    assert composer().search_path == ["file:///my/conf", "pkg://package.conf"]


def test_classes_are_trusted_by_name_and_by_config_dir_alone(write: Callable[[str, str], Path]) -> None:
    study = composer()
    study.master.trusted = ["b.Named"]
    for source, provider in zip(study.master.hydra.runtime.config_sources, ("mine", "theirs", "main"), strict=True):
        source.path = str(write(f"{provider}/tricks/one.yaml", f"_target_: a.{provider}").parents[1])
    assert study.trusted == ["a.mine", "b.Named"]


def test_runs_are_listed_seed_by_seed_each_in_its_own_folder() -> None:
    runs = list(composer().list_runs(SPACE, [(0,), (1,)], [0, 1]))
    assert [(run.seed, run.data, run.arm) for run in runs] == [
        (seed, data, arm) for seed in (0, 1) for data in ("one", "two") for arm in ((0,), (1,))
    ]
    assert runs[0].folder == Path("study/data=one evaluate.test=false-0")
    assert runs[-1].folder == Path("study/data=two +tricks=[mixup] evaluate.test=false-1")
    assert len({run.folder for run in runs}) == len(runs)


def test_a_length_multiplies_what_the_config_of_each_arm_sets() -> None:
    assert multiply_length(OmegaConf.create({"max_updates": None, "epochs": 1.5}), 2) == "train.epochs=3"
    assert multiply_length(OmegaConf.create({"max_updates": 25, "epochs": 1.5}), 0.5) == "train.max_updates=12"
    levels = (Level("3", ("train.epochs=3",)), Level("5", ("train.epochs=5",)))
    space = Space((Factor("train.epochs", levels),), {"one": ("data=one",)}, ("train.max_updates=null",), length=2)
    runs = list(composer().list_runs(space, [(0,), (1,)], [7]))
    assert [run.overrides[-2:] for run in runs] == [["seed=7", f"train.epochs={epochs}"] for epochs in (6, 10)]
    assert len({run.folder for run in runs}) == 2
    assert composer().find_length(space, (1,)) == ("train.epochs=10",)
    assert composer().find_length(replace(space, length=1), (1,)) == ()


def test_seeds_rotate_over_the_folds_that_the_validation_fraction_makes() -> None:
    space = Space(SPACE.factors, {"files": ("data=files", "data.train=a.csv", "data.validation_fraction=0.4")})
    study = composer(rotate=True)
    study.loader = RotatingLoader()  # type: ignore[assignment]
    runs = list(study.list_runs(space, [(0,), (1,)], range(3)))
    # 80 % of the rows are not test, and 40 % are a fold.
    assert [run.fold for run in runs] == [0, 0, 1, 1, 0, 0]
    assert [run.folder for run in runs[::2]] == [Path("study/0-0"), Path("study/1-1"), Path("study/2-0")]
    assert runs[2].overrides[-2:] == ["seed=1", "data.fold=1"]
    assert study.count_folds(space) == {"files": 2}
    assert list(composer().list_runs(SPACE, [(0,)], [0]))[0].overrides[-1] == "seed=0"
