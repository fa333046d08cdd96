"""The onion: who wraps whom, and who excludes whom."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from recipes import order
from recipes.errors import UserError


class Wrapper:
    """A trick that writes its name around what it wraps."""

    def __init__(self, name: str, **layers: str) -> None:
        self.name, self.layers, self.excludes = name, layers, dict[str, str]

    def __getattr__(self, seam: str) -> Callable[..., str]:
        if seam not in order.SEAMS:
            raise AttributeError(seam)

        def wrap(run: Any, inner: Callable[..., str], *arguments: Any) -> str:
            return f"{self.name}{run}({inner(*arguments)})"

        return wrap


def tricks(**layers: dict[str, str]) -> dict[str, Any]:
    return {name: Wrapper(name, **seams) for name, seams in layers.items()}


class TestCompose:
    def test_an_unwrapped_seam_is_the_base_itself(self) -> None:
        base = str.upper
        assert order.compose("objective", base, {}, None) is base
        assert order.compose("objective", base, tricks(clip={"update": "clip"}), None) is base

    def test_outer_layers_wrap_inner_ones_and_names_decide_within_a_layer(self) -> None:
        chosen = tricks(
            accumulate={"gradient": "split"}, mixup={"gradient": "plan", "objective": "mix"},
            fgm={"gradient": "attack"}, cutmix={"gradient": "plan"}, sam={"gradient": "sharpen"},
        )  # fmt: skip
        composed = order.compose("gradient", lambda batch: f"base {batch}", chosen, "!")
        assert composed("x") == "cutmix!(mixup!(sam!(fgm!(accumulate!(base x)))))"

    def test_the_order_of_choosing_never_matters(self) -> None:
        chosen = tricks(b={"loss": "targets"}, a={"loss": "weighting"}, c={"loss": "targets"})
        wanted = ["b", "c", "a"]
        assert order.around("loss", chosen) == wanted
        assert order.around("loss", dict(reversed(chosen.items()))) == wanted

    def test_layers_that_are_not_alphabetical(self) -> None:
        chosen = tricks(
            add={"examples": "add"}, drop={"examples": "drop"}, rewrite={"examples": "rewrite"},
            join={"examples": "join"},
        )  # fmt: skip
        assert order.around("examples", chosen) == ["join", "drop", "rewrite", "add"]

    def test_arguments_pass_through(self) -> None:
        composed = order.compose("loss", lambda logits, targets: logits + targets, tricks(s={"loss": "targets"}), "")
        assert composed(2, 3) == "s(5)"


def test_onion_lists_only_seams_that_have_a_trick() -> None:
    chosen = tricks(swa={"schedule": "schedule", "update": "average"}, clip={"update": "clip"})
    assert order.onion(chosen) == {"schedule": ["swa"], "update": ["swa", "clip"]}
    assert order.onion({}) == {}


class TestRefusals:
    def test_two_in_a_starred_layer(self) -> None:
        chosen = tricks(pgd={"gradient": "attack"}, fgm={"gradient": "attack"}, mixup={"gradient": "plan"})
        with pytest.raises(UserError) as error:
            order.check(chosen)
        assert str(error.value) == (
            "tricks fgm and pgd both fill gradient/attack, which holds one trick at a time; keep one of them: "
            "+tricks=[fgm] or +tricks=[pgd]."
        )

    def test_every_clash_at_once(self) -> None:
        chosen = tricks(
            a={"gradient": "attack", "weights": "final"}, b={"gradient": "attack"}, c={"weights": "final"},
        )  # fmt: skip
        assert len(order.refusals(chosen)) == 2

    def test_a_trick_excludes_layers_of_others(self) -> None:
        chosen = tricks(window={"encode": "cut"}, mixup={"objective": "mix"}, fgm={"gradient": "attack"})
        assert order.refusals(chosen) == []
        chosen["window"].excludes = lambda: {"objective/mix": "windows of different texts would be mixed"}
        assert order.refusals(chosen) == [
            "tricks mixup and window exclude each other: windows of different texts would be mixed; keep one of them: "
            "+tricks=[mixup] or +tricks=[window]."
        ]
        assert order.refusals({name: chosen[name] for name in ("window", "fgm")}) == []

    def test_unstarred_layers_hold_many(self) -> None:
        order.check(tricks(a={"loss": "targets"}, b={"loss": "targets"}, c={"loss": "weighting"}))

    @pytest.mark.parametrize("seam", order.SEAMS)
    def test_stars_of_the_design(self, seam: str) -> None:
        starred = {
            "encode": {"cut"}, "batches": {"batches"}, "loss": {"criterion"}, "objective": {"mix"},
            "gradient": {"sharpen", "attack", "split"}, "weights": {"final"}, "settle": {"decide", "calibrate"},
            "decide": {"decide"}, "train": {"train"},
        }  # fmt: skip
        assert {layer for layer, single in order.layers_of(seam).items() if single} == starred.get(seam, set())


class TestStages:
    def test_every_seam_belongs_to_one_stage(self) -> None:
        seams = [seam for stage in order.STAGES.values() for seam in stage]
        assert sorted(seams) == sorted(order.SEAMS)

    def test_a_trick_lives_where_its_last_seam_is(self) -> None:
        assert order.stage_of({"model": "adapt"}) == "pre_training"
        assert order.stage_of({"gradient": "plan", "examples": "add"}) == "in_training"
        assert order.stage_of({"schedule": "schedule", "update": "average", "weights": "final"}) == "post_training"


def test_seams_are_those_of_the_contract_and_of_the_base() -> None:
    from recipes.base import Base
    from recipes.trick import Trick

    run: Any = SimpleNamespace()
    for seam in order.SEAMS:
        assert callable(getattr(Trick, seam))
        assert seam == "train" or callable(getattr(Base(run), seam))
