"""The contract of a trick: a dataclass that wraps seams of the onion (`recipes/order.py`).

A trick's fields are its settings: typed, documented, with their ranges, and **without defaults**: the values stand in
`conf/tricks/<name>.yaml`, where a user sees them. It overrides the seams that it is about and names its layer in each:

    @dataclass
    class Scale(Trick):
        factor: float = allowed("(0, inf)")
        layers = {"loss": "weighting"}
        neutral = {"factor": 1.0}

        def loss(self, run, inner, logits, targets):
            return inner(logits, targets * self.factor)

Rules that `recipes.testing.TrickLaws` holds every trick to: new batches instead of changed ones; gradients are added,
never replaced; random numbers from `run.generator`; counts are of updates, not of calls; whatever is borrowed (weights,
hooks, modes) is given back, also when the inner function raises.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from recipes.batch import Batch, Loss, Outcome
from recipes.order import SEAMS, layers_of
from recipes.ranges import out_of_range

if TYPE_CHECKING:
    from pathlib import Path

    from accelerate import Accelerator
    from datasets import Dataset

    from recipes.batches import Batches
    from recipes.config import Config
    from recipes.data import Splits
    from recipes.encoding import Encoded
    from recipes.folder import FinishedRun
    from recipes.loop import Run
    from recipes.metrics import Predictions


@dataclasses.dataclass
class Trick:
    """Base of every trick: each seam passes through to the function that it wraps."""

    layers: ClassVar[Mapping[str, str]] = {}
    """The seams that this trick overrides, each with its layer from `recipes.order.SEAMS`."""
    neutral: ClassVar[Mapping[str, Any] | str] = "not declared"
    """Values at which the trick must change nothing, or one sentence that says why there are none."""
    needs: ClassVar[Mapping[str, Any]] = {}
    """Settings of the base, by their path, that must have these values beside this trick."""
    control: ClassVar[str | None] = None
    """The arm that an ablation of this trick must beat, if any."""
    passes: ClassVar[float] = 1.0
    """Forward and backward passes that one update costs at the values of the YAML file."""

    def __init_subclass__(cls) -> None:
        """Refuse a class whose `layers` and methods disagree: it would be silently left out of the onion."""
        super().__init_subclass__()
        overridden = {seam for seam in SEAMS if getattr(cls, seam) is not getattr(Trick, seam)}
        if overridden != set(cls.layers):
            raise TypeError(f"{cls.__name__} overrides {sorted(overridden)}, its layers name {sorted(cls.layers)}")
        for seam, layer in cls.layers.items():
            if layer not in layers_of(seam):
                raise TypeError(f"{cls.__name__}: {seam} has no layer {layer!r}, only {list(layers_of(seam))}")

    def __post_init__(self) -> None:
        """Raise `ValueError` with a line for each value out of range."""
        if problems := list(out_of_range(self, "")):
            raise ValueError("\n".join(problems))

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold for this trick: tensors and JSON values by name."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""

    def excludes(self) -> Mapping[str, str]:
        """Layers of other tricks, each as `seam/layer`, that cannot be beside this one at its values, and why."""
        return {}

    def check(self, run: "Run") -> Iterable[str]:
        """Sentences on what makes this trick do nothing, or harm, in this run."""
        return ()

    # Pre-training seams.

    def clean(self, run: "Run", inner: Callable[[str], str], text: str) -> str:
        """Rewrite a text; every split, and when predicting."""
        return inner(text)

    def examples(self, run: "Run", inner: Callable[["Dataset"], "Dataset"], examples: "Dataset") -> "Dataset":
        """Drop, rewrite or add rows (id, source, text, text_pair, label); the training split only."""
        return inner(examples)

    def encode(
        self, run: "Run", inner: Callable[..., Mapping[str, Any]], texts: Sequence[str], pairs: Sequence[str] | None
    ) -> Mapping[str, Any]:
        """Turn texts, and their pairs, into token lists: `input_ids` and what else the model takes."""
        return inner(texts, pairs)

    def batches(self, run: "Run", inner: Callable[..., "Batches"], dataset: "Encoded", epoch: int) -> "Batches":
        """Deal the training rows of one epoch into batches; into as many in every epoch."""
        return inner(dataset, epoch)

    def model(self, run: "Run", inner: Callable[[], Module]) -> Module:
        """Load the model, or change the one that was loaded."""
        return inner()

    def optimizer(self, run: "Run", inner: Callable[[Module], Optimizer], model: Module) -> Optimizer:
        """Make the optimizer."""
        return inner(model)

    def schedule(self, run: "Run", inner: Callable[[float], float], share: float) -> float:
        """The factor of each group's base rate at a share in [0, 1] of all updates."""
        return inner(share)

    # In-training seams.

    def accelerator(self, run: "Run", inner: Callable[..., "Accelerator"], **options: Any) -> "Accelerator":
        """Make the accelerator: device, precision, processes."""
        return inner(**options)

    def loss(self, run: "Run", inner: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
        """One loss per row from logits and targets, both (row, class); linear in the targets."""
        return inner(logits, targets)

    def objective(self, run: "Run", inner: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
        """Forward and loss of a batch, or of a part of one."""
        return inner(batch)

    def gradient(self, run: "Run", inner: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """Add a batch's gradient to `.grad`; returns the loss of the clean pass."""
        return inner(batch)

    def update(self, run: "Run", inner: Callable[[], None]) -> None:
        """Clip, step, count; `run.updates` stays as it was when the step was skipped."""
        inner()

    # Post-training seams.

    def weights(self, run: "Run", inner: Callable[[], AbstractContextManager[bool]]) -> AbstractContextManager[bool]:
        """Inside this context the model has the weights that are evaluated, saved and shipped.

        It gives whether those are others than the ones that are trained: as long as they are not, call inner.
        """
        return inner()

    def settle(
        self, run: "Run", inner: Callable[["Predictions"], "Predictions"], validation: "Predictions"
    ) -> "Predictions":
        """Fit on validation what predicting needs, once the weights are chosen and before another split is opened.

        Takes what the weights say of validation and gives what they say from now on.
        """
        return inner(validation)

    def predict(self, run: "Run", inner: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        """Probabilities, (row, class)."""
        return inner(batch)

    def decide(self, run: "Run", inner: Callable[[Tensor], Tensor], probabilities: Tensor) -> Tensor:
        """What is answered, (row, class) of 0 and 1."""
        return inner(probabilities)

    def results(
        self, run: "Run", inner: Callable[..., dict[str, Any]], scored: Mapping[str, "Predictions"]
    ) -> dict[str, Any]:
        """What `metrics.json` says of each split that was predicted, by its name."""
        return inner(scored)

    def train(
        self, run: None, inner: Callable[..., "FinishedRun"], config: "Config", splits: "Splits", folder: "Path"
    ) -> "FinishedRun":
        """The whole procedure, into a folder; there is no run yet, or no single one, so `run` is None."""
        return inner(config, splits, folder)
