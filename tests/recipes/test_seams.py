"""The order of tricks: which trick wraps which, and which tricks exclude each other."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from datasets import Dataset
from hydra.utils import get_class
from omegaconf import OmegaConf
from scipy.special import softmax
from torch import Tensor, nn

from recipes import seams
from recipes.base import Base
from recipes.config import CONF
from recipes.data.batch import Batch, Loss
from recipes.errors import UserError
from recipes.loop import TrainingRun
from recipes.metrics import Predictions
from recipes.testing import in_child, temporary_folder, tiny_config, tiny_run
from tricks.in_training.class_weights import ClassWeights
from tricks.in_training.focal import Focal
from tricks.in_training.label_smoothing import LabelSmoothing
from tricks.post_training.incremental import Incremental
from tricks.post_training.temperature import Temperature
from tricks.post_training.threshold import Threshold, fit_thresholds
from tricks.pre_training.deduplicate import Deduplicate
from tricks.pre_training.duplicate import Duplicate


class Wrapper:
    """A trick that puts its name around the result of what it wraps."""

    def __init__(self, name: str, **slots: str) -> None:
        self.name, self.slots, self.excludes, self.sets = name, slots, dict[str, str], dict[str, Any]()

    def __getattr__(self, seam: str) -> Callable[..., str]:
        if seam not in seams.SEAMS:
            raise AttributeError(seam)

        def wrap(run: Any, inner: Callable[..., str], *arguments: Any) -> str:
            return f"{self.name}{run}({inner(*arguments)})"

        return wrap


def tricks(**slots: dict[str, str]) -> dict[str, Any]:
    return {name: Wrapper(name, **seams) for name, seams in slots.items()}


class TestCompose:
    def test_an_unwrapped_seam_is_the_base_itself(self) -> None:
        base = str.upper
        assert seams.compose("objective", base, {}, None) is base
        assert seams.compose("objective", base, tricks(clip={"update": "clip"}), None) is base

    def test_outer_slots_wrap_inner_ones_and_names_decide_within_a_slot(self) -> None:
        selected = tricks(
            accumulate={"gradient": "split"},
            mixup={"gradient": "plan", "objective": "mix"},
            fgm={"gradient": "attack"},
            cutmix={"gradient": "plan"},
            sam={"gradient": "sharpen"},
        )
        composed = seams.compose("gradient", lambda batch: f"base {batch}", selected, "!")
        assert composed("x") == "cutmix!(mixup!(sam!(fgm!(accumulate!(base x)))))"

    def test_the_order_of_selection_never_matters(self) -> None:
        selected = tricks(b={"loss": "targets"}, a={"loss": "weighting"}, c={"loss": "targets"})
        expected = ["b", "c", "a"]
        assert seams.tricks_around("loss", selected) == expected
        assert seams.tricks_around("loss", dict(reversed(selected.items()))) == expected

    def test_slots_that_are_not_alphabetical(self) -> None:
        selected = tricks(
            add={"examples": "add"},
            drop={"examples": "drop"},
            rewrite={"examples": "rewrite"},
            join={"examples": "join"},
        )
        assert seams.tricks_around("examples", selected) == ["join", "drop", "rewrite", "add"]

    def test_arguments_pass_through(self) -> None:
        composed = seams.compose("loss", lambda logits, targets: logits + targets, tricks(s={"loss": "targets"}), "")
        assert composed(2, 3) == "s(5)"


def test_the_order_of_tricks_lists_only_seams_that_have_a_trick() -> None:
    selected = tricks(swa={"schedule": "schedule", "update": "average"}, clip={"update": "clip"})
    assert seams.wrapped_seams(selected) == {"schedule": ["swa"], "update": ["swa", "clip"]}
    assert seams.wrapped_seams({}) == {}


class TestRefusals:
    def test_two_in_a_starred_slot(self) -> None:
        selected = tricks(pgd={"gradient": "attack"}, fgm={"gradient": "attack"}, mixup={"gradient": "plan"})
        with pytest.raises(UserError) as error:
            seams.check(selected)
        assert str(error.value) == (
            "tricks fgm and pgd both fill gradient/attack, which holds one trick at a time; keep one of them: "
            "+tricks=[fgm] or +tricks=[pgd]."
        )

    def test_all_conflicts_are_reported_at_once(self) -> None:
        selected = tricks(
            a={"gradient": "attack", "weights": "final"},
            b={"gradient": "attack"},
            c={"weights": "final"},
        )
        assert len(seams.refusals(selected)) == 2

    def test_a_trick_excludes_slots_of_others(self) -> None:
        selected = tricks(window={"encode": "cut"}, mixup={"objective": "mix"}, fgm={"gradient": "attack"})
        assert seams.refusals(selected) == []
        selected["window"].excludes = lambda: {"objective/mix": "windows of different texts would be mixed"}
        assert seams.refusals(selected) == [
            "tricks mixup and window exclude each other: windows of different texts would be mixed; keep one of them: "
            "+tricks=[mixup] or +tricks=[window]."
        ]
        assert seams.refusals({name: selected[name] for name in ("window", "fgm")}) == []

    def test_tricks_that_set_something_to_different_values(self) -> None:
        selected = tricks(a={"loss": "targets"}, b={"loss": "weighting"}, c={"update": "clip"})
        for name, norm in (("a", None), ("b", 2.0), ("c", None)):
            selected[name].sets = {"train.clip_norm": norm, "train.warmup": 0.1}
        assert seams.refusals(selected) == [
            f"tricks {one} and {other} set train.clip_norm to different values; keep one of them: +tricks=[{one}] or "
            f"+tricks=[{other}]."
            for one, other in ("ab", "bc")
        ]

    def test_unstarred_slots_take_many_tricks(self) -> None:
        seams.check(tricks(a={"loss": "targets"}, b={"loss": "targets"}, c={"loss": "weighting"}))

    @pytest.mark.parametrize("seam", seams.SEAMS)
    def test_the_expected_slots_are_starred(self, seam: str) -> None:
        starred = {
            "encode": {"cut"},
            "batches": {"batches"},
            "model": {"attach"},
            "loss": {"criterion"},
            "objective": {"mix"},
            "gradient": {"sharpen", "attack", "split"},
            "weights": {"final"},
            "settle": {"decide", "calibrate"},
            "decide": {"decide"},
            "train": {"train"},
        }
        assert {slot for slot, single in seams.slots_of(seam).items() if single} == starred.get(seam, set())


class TestStages:
    def test_every_seam_belongs_to_one_stage(self) -> None:
        staged = [seam for stage in seams.STAGES.values() for seam in stage]
        assert sorted(staged) == sorted(seams.SEAMS)

    def test_a_trick_lives_where_its_last_seam_is(self) -> None:
        assert seams.stage_of({"model": "adapt"}) == "pre_training"
        assert seams.stage_of({"gradient": "plan", "examples": "add"}) == "in_training"
        assert seams.stage_of({"schedule": "schedule", "update": "average", "weights": "final"}) == "post_training"


def test_seams_are_those_of_the_contract_and_of_the_base() -> None:
    from recipes.base import Base
    from recipes.trick import Trick

    run: Any = SimpleNamespace()
    for seam in seams.SEAMS:
        assert callable(getattr(Trick, seam))
        assert seam == "train" or callable(getattr(Base(run), seam))


# The order of slots: with real tricks, whose numbers would differ in another order.


def nest(seam: str, base: Callable[..., Any], selected: dict[str, Any], run: Any) -> Callable[..., Any]:
    """Wrap the tricks around a seam in the order given, outermost first, and ignore their slots."""
    for trick in reversed(selected.values()):
        base = partial(getattr(trick, seam), run, base)
    return base


def swap_neighbours(selected: dict[str, Any]) -> list[dict[str, Any]]:
    """List every order in which two neighbours are swapped."""
    names, orders = list(selected), []
    for index in range(len(names) - 1):
        swapped = [*names[:index], names[index + 1], names[index], *names[index + 2 :]]
        orders.append({name: selected[name] for name in swapped})
    return orders


class TestLoss:
    """Targets are smoothed, then weighted, then scored; the weights of the two classes are 2/3 and 2."""

    RUN: Any = SimpleNamespace(
        train=SimpleNamespace(labels=np.array([0, 0, 0, 1]), num_classes=2),
        classes=["no", "yes"],
        multi_label=False,
    )
    LOGITS = torch.tensor([[1.0, -2.0], [0.5, 3.0], [0.0, 0.2]], dtype=torch.float64)
    TARGETS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.25, 0.75]], dtype=torch.float64)
    SMOOTHED = 0.8 * TARGETS + 0.1
    WEIGHTS = torch.tensor([2 / 3, 2.0], dtype=torch.float64)

    def compute_losses(self, compose: Callable[..., Any], names: Sequence[str]) -> Tensor:
        all_tricks = {
            "label_smoothing": LabelSmoothing(amount=0.2),
            "class_weights": ClassWeights(scheme="balanced", beta=0.0, values={}),
            "focal": Focal(gamma=2.0, scheme="none", beta=0.0, values={}),
        }
        selected = {name: all_tricks[name] for name in names}
        for trick in selected.values():
            trick.prepare(self.RUN)
        losses: Tensor = compose("loss", Base(self.RUN).loss, selected, self.RUN)(self.LOGITS, self.TARGETS)
        return losses

    def test_smoothed_then_weighted(self) -> None:
        log_probabilities = self.LOGITS.log_softmax(1)
        losses = self.compute_losses(seams.compose, ["class_weights", "label_smoothing"])
        torch.testing.assert_close(losses, -(self.WEIGHTS * self.SMOOTHED * log_probabilities).sum(1))
        swapped_losses = self.compute_losses(nest, ["class_weights", "label_smoothing"])
        assert float((losses - swapped_losses).abs().min()) > 0.01

    def test_smoothed_then_weighted_then_scored(self) -> None:
        log_probabilities = self.LOGITS.log_softmax(1)
        focused = (1 - log_probabilities.exp()) ** 2 * log_probabilities
        losses = self.compute_losses(seams.compose, ["focal", "class_weights", "label_smoothing"])
        torch.testing.assert_close(losses, -(self.WEIGHTS * self.SMOOTHED * focused).sum(1))
        for other in (
            ["class_weights", "label_smoothing", "focal"],
            ["label_smoothing", "focal", "class_weights"],
        ):
            assert float((losses - self.compute_losses(nest, other)).abs().max()) > 0.01, other


def record_gradient(run: TrainingRun, compose: Callable[..., Any], selected: dict[str, Any]) -> dict[str, Any]:
    """Record the gradient of a batch, its parts in the order they ran, and how often mixup drew random numbers."""
    parts, draws = [], []
    generator = run.generator

    def base(batch: Batch) -> Loss:
        parts.append(batch.part)
        return Base(run).gradient(batch)

    def generator_with_count(purpose: str, batch: Batch) -> np.random.Generator:
        draws.append(purpose)
        return generator(purpose, batch)

    run.generator = generator_with_count  # type: ignore[method-assign]
    run.optimizer.zero_grad()
    compose("gradient", base, selected, run)(run.seams.batches(run.train, 0)[0])
    run.generator = generator  # type: ignore[method-assign]
    vector = torch.cat([each.grad.flatten() for each in run.parameters if each.grad is not None])
    return {"gradient": vector.numpy().copy(), "parts": parts, "draws": len(draws)}


def is_alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    near = np.abs(one["gradient"] - other["gradient"]).max() <= 1e-6 * np.abs(one["gradient"]).max()
    return bool(near) and (one["parts"], one["draws"]) == (other["parts"], other["draws"])


def test_gradient_is_planned_then_sharpened_then_attacked_then_split() -> None:
    """One plan for the full batch; weights and word vectors are perturbed once per batch; parts are innermost."""

    def record_all_orders() -> list[dict[str, Any]]:
        awp = ["tricks.awp.gamma=0.1", "tricks.awp.start=0.0"]
        overrides = ["tricks.accumulate.part_size=3", *awp, "tricks.fgm.epsilon=1.0"]
        settings = ["model.dropout=0.0", "train.warmup=0.0", *overrides]
        config = tiny_config("+tricks=[accumulate,awp,fgm,mixup]", *settings)
        with temporary_folder() as folder:
            run = tiny_run(config, folder)
            in_order = {name: run.tricks[name] for name in ("mixup", "awp", "fgm", "accumulate")}
            return [
                record_gradient(run, seams.compose, dict(run.tricks)),
                record_gradient(run, nest, in_order),
                *(record_gradient(run, nest, other) for other in swap_neighbours(in_order)),
            ]

    composed, expected, *others = in_child(record_all_orders)
    # Four passes over the batch, two of them at moved weights and two of them at moved word vectors.
    assert composed["parts"] == [(0,), (1,), (2,)] * 4 and composed["draws"] == 1
    assert is_alike(composed, expected)
    assert [is_alike(composed, other) for other in others] == [False] * 3


def test_decisions_are_fitted_to_calibrated_probabilities() -> None:
    """Thresholds are fitted to the probabilities after temperature scaling."""
    classes, random = ["x", "y", "z"], np.random.default_rng(0)
    logits = random.normal(size=(60, 3)) * 4
    true = np.where(random.random(60) < 0.5, logits.argmax(1), random.integers(3, size=60))
    head = nn.Linear(1, 1)
    nn.init.ones_(head.weight)

    def predictions(_: object = None) -> Predictions:
        probabilities = softmax(logits * head.weight.item(), axis=1)
        ids, labels = [str(row) for row in range(60)], [classes[number] for number in true]
        return Predictions(
            ids, labels, probabilities, np.eye(3, dtype=np.int8)[probabilities.argmax(1)], classes, False
        )

    run: Any = SimpleNamespace(head=head, predictions=predictions, validation=None, say=lambda text: None)
    before = predictions()
    selected: dict[str, Any] = {
        "temperature": Temperature(limit=10.0),
        "threshold": Threshold(rounds=3, candidates=30),
    }
    after = seams.compose("settle", lambda predictions: predictions, selected, run)(before)
    assert head.weight.item() < 0.7  # half of the labels are random, so the model was overconfident
    expected = fit_thresholds(predictions(), 3, 30)
    assert selected["threshold"].thresholds == expected
    assert np.abs(np.array(expected) - fit_thresholds(before, 3, 30)).max() > 0.01
    ratios = after.probabilities / np.array(expected)
    assert (after.decisions.argmax(1) == ratios.argmax(1)).all()


def test_rows_are_joined_then_dropped_then_added() -> None:
    """The texts a and b and the old texts a and c have three distinct values; each appears twice in the result."""
    features = datasets.Features({name: datasets.Value("string") for name in ("id", "source", "text", "label")})

    def rows(*texts: str) -> Dataset:
        ids = [str(number) for number in range(len(texts))]
        return Dataset.from_dict(
            {"id": ids, "source": ids, "text": texts, "label": ["x"] * len(texts)}, features
        ).add_column("text_pair", [None] * len(texts))

    old = Incremental(folder="old", replay=1.0, new_labels="refuse")
    old.__dict__["old"] = SimpleNamespace(splits=SimpleNamespace(train=rows("a", "c")))
    selected: dict[str, Any] = {
        "duplicate": Duplicate(copies=1),
        "deduplicate": Deduplicate(inside=True, held_out=False, threshold=1.0, shingle=5),
        "incremental": old,
    }
    run: Any = SimpleNamespace(
        note=lambda text: None, clean_rows=lambda examples: examples, config=SimpleNamespace(seed=0)
    )

    def texts(compose: Callable[..., Any], tricks: dict[str, Any]) -> Counter[str]:
        return Counter(compose("examples", lambda examples: examples, tricks, run)(rows("a", "b"))["text"])

    in_order = {name: selected[name] for name in ("incremental", "deduplicate", "duplicate")}
    assert texts(seams.compose, selected) == texts(nest, in_order) == {"a": 2, "b": 2, "c": 2}
    for other in swap_neighbours(in_order):
        assert texts(nest, other) != {"a": 2, "b": 2, "c": 2}


@pytest.mark.parametrize(
    ("seam", "expected"),
    [
        ("objective", ["mixup", "r_drop", "fgm"]),
        ("update", ["ema", "clip_gradient"]),
        ("model", ["incremental", "segments", "reinitialize_layers", "freeze_layers"]),
        ("train", ["incremental", "fusion"]),
    ],
)
def test_the_order_of_real_tricks_that_no_number_reveals(seam: str, expected: list[str]) -> None:
    files = {name: OmegaConf.load(CONF / "tricks" / f"{name}.yaml") for name in sorted(expected)}
    selected = {name: get_class(values["_target_"]) for name, values in files.items()}
    assert seams.tricks_around(seam, selected) == expected
