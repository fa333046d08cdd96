"""From the overrides of a sweep to factors, data sets and what all runs share."""

import pytest

from recipes.ablation.factors import NONE, Factor, Level, space_of
from recipes.errors import UserError


def test_every_trick_of_the_list_is_a_factor_in_name_order() -> None:
    space = space_of(["+tricks=[swa,mixup]", "model=tiny", "train.epochs=2"], [], "pydocs")
    assert [(factor.name, factor.levels) for factor in space.factors] == [
        ("mixup", ("none", "mixup")),
        ("swa", ("none", "swa")),
    ]
    assert space.shared == ("model=tiny", "train.epochs=2")
    assert space.data == {"pydocs": ()}
    assert space.base == (0, 0)


def test_a_run_s_overrides() -> None:
    asked = ["+tricks=[swa,mixup,amp]", "tricks.mixup.alpha=0.2", "tricks.amp.precision=bf16", "data=a,b"]
    space = space_of([*asked, "model=tiny", "evaluate.test=false"], ["amp"], "pydocs")
    assert space.overrides_of((1, 1), 3, "b") == [
        "model=tiny",
        "tricks.amp.precision=bf16",
        "data=b",
        "+tricks=[amp,mixup,swa]",
        "tricks.mixup.alpha=0.2",
        "evaluate.test=false",
        "seed=3",
    ]
    # Values of a trick that is not on would be an error.
    assert space.overrides_of((0, 1), 0, "a") == [
        "model=tiny",
        "tricks.amp.precision=bf16",
        "data=a",
        "+tricks=[amp,swa]",
        "evaluate.test=false",
        "seed=0",
    ]


def test_without_any_trick_none_is_named() -> None:
    space = space_of(["+tricks=[mixup]"], [], "pydocs")
    assert space.overrides_of((0,), 0, "pydocs") == ["evaluate.test=false", "seed=0"]


def test_what_is_always_on_is_no_factor() -> None:
    space = space_of(["+tricks=[mixup]"], ["swa", "amp"], "pydocs")
    assert [factor.name for factor in space.factors] == ["mixup"]
    assert "+tricks=[amp,swa]" in space.overrides_of((0,), 0, "pydocs")
    assert "+tricks=[amp,mixup,swa]" in space.overrides_of((1,), 0, "pydocs")


def test_swept_values_of_a_listed_trick_are_its_levels() -> None:
    asked = ["+tricks=[mixup]", "tricks.mixup.alpha=0.2,1.0", "tricks.mixup.fraction=0.5"]
    (factor,) = space_of(asked, [], "pydocs").factors
    assert factor.choices == (
        NONE,
        Level("mixup alpha=0.2", ("tricks.mixup.fraction=0.5", "tricks.mixup.alpha=0.2"), "mixup"),
        Level("mixup alpha=1.0", ("tricks.mixup.fraction=0.5", "tricks.mixup.alpha=1.0"), "mixup"),
    )
    two = space_of(["+tricks=[mixup]", "tricks.mixup.alpha=0.2,1.0", "tricks.mixup.fraction=0.5,1"], [], "pydocs")
    assert two.factors[0].levels == (
        "none",
        "mixup alpha=0.2 fraction=0.5",
        "mixup alpha=0.2 fraction=1",
        "mixup alpha=1.0 fraction=0.5",
        "mixup alpha=1.0 fraction=1",
    )


def test_swept_values_of_what_is_always_on_are_a_factor_of_their_own() -> None:
    space = space_of(["tricks.mixup.alpha=0.2,1.0"], ["mixup"], "pydocs")
    assert space.factors == (
        Factor(
            "tricks.mixup.alpha",
            (Level("0.2", ("tricks.mixup.alpha=0.2",)), Level("1.0", ("tricks.mixup.alpha=1.0",))),
        ),
    )


@pytest.mark.parametrize(
    ("override", "levels"),
    [
        ("model=minilm,tiny", ("minilm", "tiny")),
        ("train.learning_rate=1e-5,1e-4", ("1e-05", "0.0001")),
        ("train.batch_size=choice(8,16,32)", ("8", "16", "32")),
        ("train.epochs=range(1,4)", ("1", "2", "3")),
    ],
)
def test_other_sweeps_are_factors(override: str, levels: tuple[str, ...]) -> None:
    (factor,) = space_of([override], [], "pydocs").factors
    assert (factor.name, factor.levels) == (override.partition("=")[0], levels)
    assert [level.overrides for level in factor.choices] == [(f"{factor.name}={level}",) for level in levels]


def test_data_sets_are_no_factor() -> None:
    space = space_of(["data=files", "data.train=a.csv,b.csv", "+tricks=[mixup]"], [], "files")
    assert [factor.name for factor in space.factors] == ["mixup"]
    assert space.data == {"a.csv": ("data.train=a.csv",), "b.csv": ("data.train=b.csv",)}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["model=tiny"], "nothing varies; name tricks"),
        (["+tricks=[mixup],[swa]"], "an ablation takes one list"),
        (["+tricks=[mixup]", "seed=0,1,2"], "hydra.sweeper.seeds=3 says how many"),
        (["+tricks=[mixup]", "seed=1"], "hydra.sweeper.seeds=3 says how many"),
        (["+tricks=[mixup]", "seeds.init=0,1"], "hydra.sweeper.seeds=3 says how many"),
        (["+tricks=[mixup]", "evaluate.test=true"], "leaves the test split shut"),
        (["+tricks=[mixup]", "resume=false"], "name another hydra.sweep.dir"),
        (["train.learning_rate=interval(1e-5,1e-4)"], "list them: train.learning_rate=1,2"),
        (["model=choice(tiny)"], "model=tiny: a factor needs two values or more"),
        (["train.epochs=1,2,1"], "train.epochs=1,2,1: a factor needs two values or more, all different"),
    ],
)
def test_what_an_ablation_cannot_run(arguments: list[str], told: str) -> None:
    with pytest.raises(UserError) as raised:
        space_of(arguments, [], "pydocs")
    assert told in str(raised.value)
    assert len(raised.value.problems) == 1


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(UserError) as raised:
        space_of(["seed=1,2", "evaluate.test=true", "resume=false"], [], "pydocs")
    assert len(raised.value.problems) == 3
