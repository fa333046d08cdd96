"""Which levels can be in one run: tricks that exclude each other, and settings that a trick needs."""

from collections.abc import Sequence
from itertools import product

import pytest
from omegaconf import DictConfig

from recipes.ablation.factors import build_space
from recipes.ablation.feasibility import find_admissible_arms
from recipes.errors import UserError
from recipes.testing import compose_again


def compose(overrides: Sequence[str]) -> DictConfig:
    return compose_again(overrides)


def test_tricks_that_exclude_each_other_are_one_factor() -> None:
    space, admissible = find_admissible_arms(
        build_space(["+tricks=[swa,mixup,ema]", "model=tiny"], [], "pydocs"), compose
    )
    assert [(factor.name, factor.levels) for factor in space.factors] == [
        ("ema|swa", ("none", "ema", "swa")),
        ("mixup", ("none", "mixup")),
    ]
    assert "+tricks=[mixup,swa]" in space.overrides_of((2, 1), 0, "pydocs")
    assert admissible((2, 1))


def test_tricks_that_only_some_values_exclude_stay_two_factors() -> None:
    arguments = ["+tricks=[class_weights,focal]", "tricks.focal.scheme=none,balanced", "model=tiny"]
    space, admissible = find_admissible_arms(build_space(arguments, [], "pydocs"), compose)
    assert [factor.name for factor in space.factors] == ["class_weights", "focal"]
    assert admissible((1, 1)) and admissible((0, 2))
    assert not admissible((1, 2))


def test_a_trick_may_need_a_level_of_another_factor() -> None:
    arguments = ["+tricks=[clip_gradient,mixup]", "train.clip_norm=1.0,null", "model=tiny"]
    space, admissible = find_admissible_arms(build_space(arguments, [], "pydocs"), compose)
    assert [factor.name for factor in space.factors] == ["clip_gradient", "mixup", "train.clip_norm"]
    assert admissible((1, 1, 1)) and admissible((0, 1, 0))
    assert not admissible((1, 0, 0))


def test_a_trick_sets_what_it_needs_in_its_own_arms() -> None:
    _, admissible = find_admissible_arms(
        build_space(["+tricks=[clip_gradient,mixup]", "model=tiny"], [], "pydocs"), compose
    )
    assert all(admissible(arm) for arm in product((0, 1), repeat=2))


def test_a_trick_that_sets_another_value_than_the_study_was_given_is_an_error() -> None:
    arguments = ["+tricks=[clip_gradient,mixup]", "train.clip_norm=1.0", "model=tiny"]
    with pytest.raises(UserError, match=r"clip_gradient needs train\.clip_norm=null"):
        find_admissible_arms(build_space(arguments, [], "pydocs"), compose)


def test_a_trick_that_excludes_one_that_is_always_on_is_an_error() -> None:
    with pytest.raises(UserError, match="tricks ema and swa both fill weights/final"):
        find_admissible_arms(build_space(["+tricks=[swa,mixup]", "model=tiny"], ["ema"], "pydocs"), compose)


def test_a_wrong_value_at_any_level_is_an_error() -> None:
    arguments = ["+tricks=[mixup]", "tricks.mixup.alpha=0.2,-1", "train.warmup=0.1,2", "model=tiny"]
    with pytest.raises(UserError) as raised:
        find_admissible_arms(build_space(arguments, [], "pydocs"), compose)
    assert [problem.split(" ")[0] for problem in raised.value.problems] == ["tricks.mixup.alpha", "train.warmup"]


def test_a_level_that_equals_the_base_is_an_error() -> None:
    arguments = ["recipe=competition", "+tricks=[fgm,mixup]", "train.batch_size=32,8", "model=tiny"]
    with pytest.raises(UserError, match="^fgm: fgm and none are the same run"):
        find_admissible_arms(build_space(arguments, [], "pydocs"), compose)
    with pytest.raises(UserError, match=r"^train\.epochs: 3\.0 and 3 are the same run"):
        find_admissible_arms(build_space(["train.epochs=3,3.0", "model=tiny"], [], "pydocs"), compose)
