"""Checks before a study: warnings on biased comparisons, validation rows, the duration, names of tricks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from recipes.ablation import plan, preflight
from recipes.ablation.design import Arm, Design
from recipes.ablation.factors import Space, build_space
from recipes.ablation.preflight import (
    check_disk,
    check_rotation,
    check_tricks,
    count_validation_rows,
    describe_faster_launcher,
    describe_sets,
    estimate_duration,
    find_warnings,
)
from recipes.config import Config
from recipes.errors import UserError
from recipes.testing import compose_again


def compose(overrides: Sequence[str]) -> DictConfig:
    return compose_again(overrides)


COMPOSER: Any = compose


def space(*arguments: str, data: str = "pydocs") -> Space:
    return build_space([*arguments, "model=tiny"], [], data)


def test_a_trick_that_is_fitted_on_validation_gives_a_warning() -> None:
    (warning,) = find_warnings(space("+tricks=[threshold,mixup]"), COMPOSER)
    assert warning.startswith("threshold learn from the validation rows that also judge them")


def test_the_best_weights_and_averaged_weights_give_a_warning() -> None:
    (warning,) = find_warnings(space("+tricks=[ema,mixup,swa]"), COMPOSER)
    assert warning.startswith("evaluate.weights=best: ") and "not those of ema and swa" in warning
    assert list(find_warnings(space("+tricks=[ema,mixup,swa]", "evaluate.weights=last"), COMPOSER)) == []
    assert list(find_warnings(space("+tricks=[mixup]"), COMPOSER)) == []


def test_what_a_trick_sets_is_part_of_its_effect() -> None:
    (sentence,) = describe_sets(space("+tricks=[clip_gradient,mixup]"), COMPOSER)
    assert sentence == (
        "clip_gradient sets train.clip_norm=null in the arms that have it, and in no others: the base has 1.0. Its "
        "effect includes that of this setting."
    )
    assert list(describe_sets(space("+tricks=[clip_gradient,mixup]", "train.clip_norm=null"), COMPOSER)) == []
    assert list(describe_sets(space("+tricks=[mixup]"), COMPOSER)) == []


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    lines = [f"good {row},yes\nbad {row},no" for row in range(20)]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    return tmp_path / "texts.csv"


def test_labelled_validation_rows_are_counted_for_each_data_set(texts: Path) -> None:
    files = space("data=files", f"data.train={texts}", "+tricks=[mixup]", data="files")
    (count,) = count_validation_rows(files, COMPOSER, False).values()
    assert 0 < count < 40


def test_a_level_with_other_validation_rows_is_an_error(texts: Path) -> None:
    files = space("data=files", f"data.train={texts}", "data.validation_fraction=0.2,0.3", data="files")
    with pytest.raises(
        UserError, match=r"data\.validation_fraction=0\.3: its validation rows differ from those of the"
    ):
        count_validation_rows(files, COMPOSER, False)


def test_rotation_counts_the_rows_of_the_folds_that_the_seeds_use(texts: Path) -> None:
    files = space("data=files", f"data.train={texts}", "data.validation_fraction=0.2", "+tricks=[mixup]", data="files")
    # 32 of 40 rows are not test: 4 folds of 8 rows.
    assert check_rotation(files, COMPOSER, 3) == {"files": 24}
    assert check_rotation(files, COMPOSER, 9) == {"files": 32}


def test_rotation_needs_data_without_a_validation_split_of_its_own(texts: Path) -> None:
    files = ("data=files", f"data.train={texts}")
    own = space(*files, f"data.validation={texts}", "+tricks=[mixup]", data="files")
    with pytest.raises(UserError, match=r"rotate=true: files has a validation split of its own .*validation=null"):
        check_rotation(own, COMPOSER, 3)
    fixed = space(*files, "data.fold=1", "+tricks=[mixup]", data="files")
    with pytest.raises(UserError, match="data.fold=1: hydra.sweeper.rotate sets it for each seed"):
        check_rotation(fixed, COMPOSER, 3)


def test_the_duration_multiplies_the_ratios_of_the_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    tricks = space("+tricks=[fgm,mixup]")
    design = Design("full", (2, 2), ((0, 0), (0, 1), (1, 0), (1, 1)))
    # The base takes 10 s and fgm 30 s; mixup cannot be alone and is assumed to cost nothing.
    monkeypatch.setattr(plan, "measure_run_seconds", lambda config: 30.0 if "fgm" in config.tricks else 10.0)

    def admissible(arm: Arm) -> bool:
        return arm != (0, 1)

    # 10 + 10 + 30 + 30 seconds, with three seeds.
    assert (
        estimate_duration(tricks, admissible, design, 3, COMPOSER) == "about 4 min one after another, by short trials"
    )


def test_each_data_set_has_a_trial_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[Config] = []

    def measure(config: Config) -> float:
        timed.append(config)
        return 5.0

    monkeypatch.setattr(plan, "measure_run_seconds", measure)
    two = space("data=files", "data.train=a.csv,b.csv", "+tricks=[mixup]", data="files")
    design = Design("full", (2,), ((0,), (1,)))
    assert estimate_duration(two, lambda arm: True, design, 2, COMPOSER).startswith("about 40 s ")
    assert [(config.data.train, sorted(config.tricks)) for config in timed] == [
        ("a.csv", []),
        ("b.csv", []),
        ("a.csv", ["mixup"]),
    ]


def test_an_unknown_trick_that_should_be_always_on_is_an_error() -> None:
    class Loader:
        def get_group_options(self, group: str) -> list[str]:
            return ["amp", "swa"] if group == "tricks" else []

    loader: Any = Loader()
    check_tricks(["amp"], loader)
    with pytest.raises(UserError, match=r"hydra\.sweeper\.always: there is no trick swo; did you mean swa"):
        check_tricks(["swo"], loader)


def test_the_disk_of_a_study_is_measured_on_its_first_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [tmp_path / name for name in "ab"]
    for run, size in zip(runs, (1_000_000, 3_000_000), strict=True):
        run.mkdir()
        (run / "file").write_bytes(bytes(size))
    monkeypatch.setattr(preflight, "free_bytes", lambda folder: 30_000_000)
    assert check_disk(tmp_path, runs, 10) == "3 MB for each run, 30 MB for 10 more; 30 MB are free"
    with pytest.raises(UserError, match=r"needs 3 MB for each run, 33 MB for 11 more, and 30 MB are free\."):
        check_disk(tmp_path, runs, 11)


def test_a_plan_names_the_faster_launcher_where_runs_would_be_made_one_by_one_on_a_gpu() -> None:
    basic, joblib = "hydra._internal.core_plugins.basic_launcher.BasicLauncher", "joblib_launcher.JoblibLauncher"
    ((name, line),) = describe_faster_launcher(basic, ["0"])
    assert name == "faster" and line.startswith("hydra/launcher=joblib_workers makes 4 runs at a time on each GPU")
    assert not list(describe_faster_launcher(basic, [])) and not list(describe_faster_launcher(joblib, ["0"]))
