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
    """A trick that writes its name around what it wraps."""

    def __init__(self, name: str, **slots: str) -> None:
        self.name, self.slots, self.excludes = name, slots, dict[str, str]

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

    def test_outer_layers_wrap_inner_ones_and_names_decide_within_a_layer(self) -> None:
        chosen = tricks(
            accumulate={"gradient": "split"},
            mixup={"gradient": "plan", "objective": "mix"},
            fgm={"gradient": "attack"},
            cutmix={"gradient": "plan"},
            sam={"gradient": "sharpen"},
        )
        composed = seams.compose("gradient", lambda batch: f"base {batch}", chosen, "!")
        assert composed("x") == "cutmix!(mixup!(sam!(fgm!(accumulate!(base x)))))"

    def test_the_order_of_choosing_never_matters(self) -> None:
        chosen = tricks(b={"loss": "targets"}, a={"loss": "weighting"}, c={"loss": "targets"})
        wanted = ["b", "c", "a"]
        assert seams.tricks_around("loss", chosen) == wanted
        assert seams.tricks_around("loss", dict(reversed(chosen.items()))) == wanted

    def test_layers_that_are_not_alphabetical(self) -> None:
        chosen = tricks(
            add={"examples": "add"},
            drop={"examples": "drop"},
            rewrite={"examples": "rewrite"},
            join={"examples": "join"},
        )
        assert seams.tricks_around("examples", chosen) == ["join", "drop", "rewrite", "add"]

    def test_arguments_pass_through(self) -> None:
        composed = seams.compose("loss", lambda logits, targets: logits + targets, tricks(s={"loss": "targets"}), "")
        assert composed(2, 3) == "s(5)"


def test_onion_lists_only_seams_that_have_a_trick() -> None:
    chosen = tricks(swa={"schedule": "schedule", "update": "average"}, clip={"update": "clip"})
    assert seams.wrapped_seams(chosen) == {"schedule": ["swa"], "update": ["swa", "clip"]}
    assert seams.wrapped_seams({}) == {}


class TestRefusals:
    def test_two_in_a_starred_layer(self) -> None:
        chosen = tricks(pgd={"gradient": "attack"}, fgm={"gradient": "attack"}, mixup={"gradient": "plan"})
        with pytest.raises(UserError) as error:
            seams.check(chosen)
        assert str(error.value) == (
            "tricks fgm and pgd both fill gradient/attack, which holds one trick at a time; keep one of them: "
            "+tricks=[fgm] or +tricks=[pgd]."
        )

    def test_every_clash_at_once(self) -> None:
        chosen = tricks(
            a={"gradient": "attack", "weights": "final"},
            b={"gradient": "attack"},
            c={"weights": "final"},
        )
        assert len(seams.refusals(chosen)) == 2

    def test_a_trick_excludes_layers_of_others(self) -> None:
        chosen = tricks(window={"encode": "cut"}, mixup={"objective": "mix"}, fgm={"gradient": "attack"})
        assert seams.refusals(chosen) == []
        chosen["window"].excludes = lambda: {"objective/mix": "windows of different texts would be mixed"}
        assert seams.refusals(chosen) == [
            "tricks mixup and window exclude each other: windows of different texts would be mixed; keep one of them: "
            "+tricks=[mixup] or +tricks=[window]."
        ]
        assert seams.refusals({name: chosen[name] for name in ("window", "fgm")}) == []

    def test_unstarred_layers_hold_many(self) -> None:
        seams.check(tricks(a={"loss": "targets"}, b={"loss": "targets"}, c={"loss": "weighting"}))

    @pytest.mark.parametrize("seam", seams.SEAMS)
    def test_stars_of_the_design(self, seam: str) -> None:
        starred = {
            "encode": {"cut"},
            "batches": {"batches"},
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


# The order of layers, by real tricks and by numbers that are others in another order.


def nested(seam: str, base: Callable[..., Any], chosen: dict[str, Any], run: Any) -> Callable[..., Any]:
    """The tricks around a seam as they stand here, the outermost first, whatever their layers."""
    for trick in reversed(chosen.values()):
        base = partial(getattr(trick, seam), run, base)
    return base


def with_neighbours_swapped(chosen: dict[str, Any]) -> list[dict[str, Any]]:
    """Every order in which two neighbours have changed places."""
    names, found = list(chosen), []
    for place in range(len(names) - 1):
        other = [*names[:place], names[place + 1], names[place], *names[place + 2 :]]
        found.append({name: chosen[name] for name in other})
    return found


class TestLoss:
    """Targets are smoothed, then weighed, then measured; of two classes one weighs 2/3 and the other 2."""

    RUN: Any = SimpleNamespace(
        train=SimpleNamespace(labels=np.array([0, 0, 0, 1]), num_classes=2),
        classes=["no", "yes"],
        multi_label=False,
    )
    LOGITS = torch.tensor([[1.0, -2.0], [0.5, 3.0], [0.0, 0.2]], dtype=torch.float64)
    TARGETS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.25, 0.75]], dtype=torch.float64)
    SMOOTHED = 0.8 * TARGETS + 0.1
    WEIGHTS = torch.tensor([2 / 3, 2.0], dtype=torch.float64)

    def losses(self, compose: Callable[..., Any], names: Sequence[str]) -> Tensor:
        every = {
            "label_smoothing": LabelSmoothing(amount=0.2),
            "class_weights": ClassWeights(scheme="balanced", beta=0.0, values={}),
            "focal": Focal(gamma=2.0, scheme="none", beta=0.0, values={}),
        }
        chosen = {name: every[name] for name in names}
        found: Tensor = compose("loss", Base(self.RUN).loss, chosen, self.RUN)(self.LOGITS, self.TARGETS)
        return found

    def test_smoothed_then_weighed(self) -> None:
        shares = self.LOGITS.log_softmax(1)
        found = self.losses(seams.compose, ["class_weights", "label_smoothing"])
        torch.testing.assert_close(found, -(self.WEIGHTS * self.SMOOTHED * shares).sum(1))
        other = self.losses(nested, ["class_weights", "label_smoothing"])
        assert float((found - other).abs().min()) > 0.01

    def test_smoothed_then_weighed_then_measured(self) -> None:
        shares = self.LOGITS.log_softmax(1)
        focused = (1 - shares.exp()) ** 2 * shares
        found = self.losses(seams.compose, ["focal", "class_weights", "label_smoothing"])
        torch.testing.assert_close(found, -(self.WEIGHTS * self.SMOOTHED * focused).sum(1))
        for other in (
            ["class_weights", "label_smoothing", "focal"],
            ["label_smoothing", "focal", "class_weights"],
        ):
            assert float((found - self.losses(nested, other)).abs().max()) > 0.01, other


def seen_of_gradient(run: TrainingRun, compose: Callable[..., Any], chosen: dict[str, Any]) -> dict[str, Any]:
    """The gradient of a batch, the parts that were run one after the other, and how often mixup has drawn."""
    parts, draws = [], []
    generator = run.generator

    def base(batch: Batch) -> Loss:
        parts.append(batch.part)
        return Base(run).gradient(batch)

    def counted(purpose: str, batch: Batch) -> np.random.Generator:
        draws.append(purpose)
        return generator(purpose, batch)

    run.generator = counted  # type: ignore[method-assign]
    run.optimizer.zero_grad()
    compose("gradient", base, chosen, run)(run.seams.batches(run.train, 0)[0])
    run.generator = generator  # type: ignore[method-assign]
    vector = torch.cat([each.grad.flatten() for each in run.parameters if each.grad is not None])
    return {"gradient": vector.numpy().copy(), "parts": parts, "draws": len(draws)}


def is_alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    near = np.abs(one["gradient"] - other["gradient"]).max() <= 1e-6 * np.abs(one["gradient"]).max()
    return bool(near) and (one["parts"], one["draws"]) == (other["parts"], other["draws"])


def test_gradient_is_planned_then_sharpened_then_attacked_then_split() -> None:
    """One plan for the whole batch; weights move by the whole of it, and so do word vectors; parts are innermost."""

    def seen() -> list[dict[str, Any]]:
        overrides = ["tricks.accumulate.part_size=3", "tricks.awp.gamma=0.1", "tricks.fgm.epsilon=1.0"]
        config = tiny_config("+tricks=[accumulate,awp,fgm,mixup]", "model.dropout=0.0", *overrides)
        with temporary_folder() as folder:
            run = tiny_run(config, folder)
            wanted = {name: run.tricks[name] for name in ("mixup", "awp", "fgm", "accumulate")}
            return [
                seen_of_gradient(run, seams.compose, dict(run.tricks)),
                seen_of_gradient(run, nested, wanted),
                *(seen_of_gradient(run, nested, other) for other in with_neighbours_swapped(wanted)),
            ]

    found, wanted, *others = in_child(seen)
    # Four passes over the batch, two of them at moved weights and two of them at moved word vectors.
    assert found["parts"] == [(0,), (1,), (2,)] * 4 and found["draws"] == 1
    assert is_alike(found, wanted)
    assert [is_alike(found, other) for other in others] == [False] * 3


def test_decisions_are_fitted_to_calibrated_probabilities() -> None:
    """Thresholds are of the probabilities that the temperature has left."""
    classes, random = ["x", "y", "z"], np.random.default_rng(0)
    logits = random.normal(size=(60, 3)) * 4
    true = np.where(random.random(60) < 0.5, logits.argmax(1), random.integers(3, size=60))
    head = nn.Linear(1, 1)
    nn.init.ones_(head.weight)

    def predictions(_: object = None) -> Predictions:
        shares = softmax(logits * head.weight.item(), axis=1)
        ids, labels = [str(row) for row in range(60)], [classes[number] for number in true]
        return Predictions(ids, labels, shares, np.eye(3, dtype=np.int8)[shares.argmax(1)], classes, False)

    run: Any = SimpleNamespace(head=head, predictions=predictions, validation=None, say=lambda text: None)
    before = predictions()
    chosen: dict[str, Any] = {
        "temperature": Temperature(limit=10.0),
        "threshold": Threshold(rounds=3, candidates=30),
    }
    after = seams.compose("settle", lambda given: given, chosen, run)(before)
    assert head.weight.item() < 0.7  # half of the answers are chance, so the model was far too sure
    wanted = fit_thresholds(predictions(), 3, 30)
    assert chosen["threshold"].thresholds == wanted
    assert np.abs(np.array(wanted) - fit_thresholds(before, 3, 30)).max() > 0.01
    shares = after.probabilities / np.array(wanted)
    assert (after.decisions.argmax(1) == shares.argmax(1)).all()


def test_rows_are_joined_then_dropped_then_added() -> None:
    """Of the texts a, b and the old ones a, c three are different, and each of them comes twice in the end."""
    features = datasets.Features({name: datasets.Value("string") for name in ("id", "source", "text", "label")})

    def rows(*texts: str) -> Dataset:
        ids = [str(number) for number in range(len(texts))]
        return Dataset.from_dict(
            {"id": ids, "source": ids, "text": texts, "label": ["x"] * len(texts)}, features
        ).add_column("text_pair", [None] * len(texts))

    old = Incremental(folder="old", replay=1.0, new_labels="refuse")
    old.__dict__["old"] = SimpleNamespace(splits=SimpleNamespace(train=rows("a", "c")))
    chosen: dict[str, Any] = {
        "duplicate": Duplicate(copies=1),
        "deduplicate": Deduplicate(inside=True, held_out=False, threshold=1.0, shingle=5),
        "incremental": old,
    }
    run: Any = SimpleNamespace(
        note=lambda text: None, clean_rows=lambda examples: examples, config=SimpleNamespace(seed=0)
    )

    def texts(compose: Callable[..., Any], tricks: dict[str, Any]) -> Counter[str]:
        return Counter(compose("examples", lambda examples: examples, tricks, run)(rows("a", "b"))["text"])

    wanted = {name: chosen[name] for name in ("incremental", "deduplicate", "duplicate")}
    assert texts(seams.compose, chosen) == texts(nested, wanted) == {"a": 2, "b": 2, "c": 2}
    for other in with_neighbours_swapped(wanted):
        assert texts(nested, other) != {"a": 2, "b": 2, "c": 2}


@pytest.mark.parametrize(
    ("seam", "wanted"),
    [
        ("objective", ["mixup", "r_drop", "fgm"]),
        ("update", ["ema", "clip_gradient"]),
        ("model", ["incremental", "segments", "reinitialize_layers", "freeze_layers"]),
        ("train", ["incremental", "fusion"]),
    ],
)
def test_real_tricks_whose_order_no_number_shows(seam: str, wanted: list[str]) -> None:
    files = {name: OmegaConf.load(CONF / "tricks" / f"{name}.yaml") for name in sorted(wanted)}
    chosen = {name: get_class(values["_target_"]) for name, values in files.items()}
    assert seams.tricks_around(seam, chosen) == wanted
