"""From the overrides of a sweep to factors, data sets and the overrides that all runs share."""

import pytest

from recipes.ablation.factors import NONE, Factor, Level, build_space
from recipes.errors import UserError


def test_every_trick_of_the_list_is_a_factor_in_name_order() -> None:
    space = build_space(["+tricks=[swa,mixup]", "model=tiny", "train.epochs=2"], [], "pydocs")
    assert [(factor.name, factor.levels) for factor in space.factors] == [
        ("mixup", ("none", "mixup")),
        ("swa", ("none", "swa")),
    ]
    assert space.shared == ("model=tiny", "train.epochs=2")
    assert space.data == {"pydocs": ()}
    assert space.base == (0, 0)


def test_a_run_s_overrides() -> None:
    arguments = ["+tricks=[swa,mixup,amp]", "tricks.mixup.alpha=0.2", "tricks.amp.precision=bf16", "data=a,b"]
    space = build_space([*arguments, "model=tiny", "evaluate.test=false"], ["amp"], "pydocs")
    assert space.overrides_of((1, 1), 3, "b") == [
        "model=tiny",
        "tricks.amp.precision=bf16",
        "data=b",
        "+tricks=[amp,mixup,swa]",
        "tricks.mixup.alpha=0.2",
        "evaluate.test=false",
        "seed=3",
    ]
    # The value of a trick that is off would be an error.
    assert space.overrides_of((0, 1), 0, "a") == [
        "model=tiny",
        "tricks.amp.precision=bf16",
        "data=a",
        "+tricks=[amp,swa]",
        "evaluate.test=false",
        "seed=0",
    ]


def test_a_run_without_tricks_has_no_tricks_override() -> None:
    space = build_space(["+tricks=[mixup]"], [], "pydocs")
    assert space.overrides_of((0,), 0, "pydocs") == ["evaluate.test=false", "seed=0"]


def test_a_trick_that_is_always_on_is_not_a_factor() -> None:
    space = build_space(["+tricks=[mixup]"], ["swa", "amp"], "pydocs")
    assert [factor.name for factor in space.factors] == ["mixup"]
    assert "+tricks=[amp,swa]" in space.overrides_of((0,), 0, "pydocs")
    assert "+tricks=[amp,mixup,swa]" in space.overrides_of((1,), 0, "pydocs")


def test_swept_values_of_a_varied_trick_are_its_levels() -> None:
    arguments = ["+tricks=[mixup]", "tricks.mixup.alpha=0.2,1.0", "tricks.mixup.fraction=0.5"]
    (factor,) = build_space(arguments, [], "pydocs").factors
    assert factor.choices == (
        NONE,
        Level("mixup alpha=0.2", ("tricks.mixup.fraction=0.5", "tricks.mixup.alpha=0.2"), "mixup"),
        Level("mixup alpha=1.0", ("tricks.mixup.fraction=0.5", "tricks.mixup.alpha=1.0"), "mixup"),
    )
    two = build_space(["+tricks=[mixup]", "tricks.mixup.alpha=0.2,1.0", "tricks.mixup.fraction=0.5,1"], [], "pydocs")
    assert two.factors[0].levels == (
        "none",
        "mixup alpha=0.2 fraction=0.5",
        "mixup alpha=0.2 fraction=1",
        "mixup alpha=1.0 fraction=0.5",
        "mixup alpha=1.0 fraction=1",
    )


def test_swept_values_of_a_trick_that_is_always_on_are_a_factor() -> None:
    space = build_space(["tricks.mixup.alpha=0.2,1.0"], ["mixup"], "pydocs")
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
    (factor,) = build_space([override], [], "pydocs").factors
    assert (factor.name, factor.levels) == (override.partition("=")[0], levels)
    assert [level.overrides for level in factor.choices] == [(f"{factor.name}={level}",) for level in levels]


def test_data_sets_are_not_a_factor() -> None:
    space = build_space(["data=files", "data.train=a.csv,b.csv", "+tricks=[mixup]"], [], "files")
    assert [factor.name for factor in space.factors] == ["mixup"]
    assert space.data == {"a.csv": ("data.train=a.csv",), "b.csv": ("data.train=b.csv",)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model=tiny"], "nothing varies; name tricks"),
        (["+tricks=[mixup],[swa]"], "an ablation takes one list"),
        (["+tricks=[mixup]", "seed=0,1,2"], "set their number, as in hydra.sweeper.seeds=3"),
        (["+tricks=[mixup]", "seed=1"], "set their number, as in hydra.sweeper.seeds=3"),
        (["+tricks=[mixup]", "seeds.init=0,1"], "set their number, as in hydra.sweeper.seeds=3"),
        (["+tricks=[mixup]", "evaluate.test=true"], "does not use the test split"),
        (["+tricks=[mixup]", "resume=false"], "name another hydra.sweep.dir"),
        (["+tricks=[mixup]", "tracker=mlflow,wandb"], "it does not change the results of a run"),
        (["+tricks=[mixup]", "tracker.project=a,b"], "it does not change the results of a run"),
        (["train.learning_rate=interval(1e-5,1e-4)"], "list them: train.learning_rate=1,2"),
        (["model=choice(tiny)"], "model=tiny: a factor needs two values or more"),
        (["train.epochs=1,2,1"], "train.epochs=1,2,1: a factor needs two values or more, all different"),
    ],
)
def test_an_override_that_an_ablation_cannot_take_is_an_error(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as raised:
        build_space(arguments, [], "pydocs")
    assert message in str(raised.value)
    assert len(raised.value.problems) == 1


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(UserError) as raised:
        build_space(["seed=1,2", "evaluate.test=true", "resume=false"], [], "pydocs")
    assert len(raised.value.problems) == 3
