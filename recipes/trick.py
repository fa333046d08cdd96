"""The contract of a trick: what it may override, and what it may ask of the run that it is part of.

A trick's fields are its settings: typed, documented, with their ranges, and **without defaults**. The values stand in
`conf/tricks/<name>.yaml`, where a user sees them. It overrides the seams that it is about and names its slot in each:

    @dataclass
    class Scale(Trick):
        factor: float = allowed("(0, inf)")
        slots = {"loss": "weighting"}
        neutral = {"factor": 1.0}

        def loss(self, run, inner, logits, targets):
            return inner(logits, targets * self.factor)

Its `name` is that of the YAML file, which a user may have chosen; messages write `self.name`, or
`tricks.{self.name}.factor` for a setting. What a run reports and this trick answers stands in `remedies`.

The first argument of a seam is the run. What it offers depends on the phase:

- `Context`: while texts are cleaned, and while answers are decided. An ensemble, which has no model of its own, is one.
- `ModelContext`: also while texts are encoded, while the model is reshaped, and while a batch is predicted. A finished
  run that was loaded from its folder is one.
- `Run`: while training.

Rules that `recipes.testing.TrickLaws` holds every trick to: return new batches, never change one; add to gradients,
never replace them; draw random numbers from `run.generator`; count updates, not calls; restore whatever was changed
(weights, hooks, modes), also when the inner function raises.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar, cast

from torch import Tensor
from torch.nn import Linear, Module, Parameter
from torch.optim import Optimizer

from recipes.data.batch import Batch, Loss, Outcome
from recipes.errors import nearest
from recipes.findings import FINDINGS, values_in
from recipes.ranges import out_of_range
from recipes.runtime.steps import Answer
from recipes.seams import SEAMS, slots_of

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from accelerate import Accelerator
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from recipes.config import Config
    from recipes.data.batching import Batches
    from recipes.data.encoding import Encoded
    from recipes.data.splits import Splits, VisibleSplits
    from recipes.metrics import Predictions
    from recipes.runs.folder import RunFolder

INSIDE_A_PASS = ("accelerator", "model", "loss", "objective", "gradient")
"""The seams with which a trick changes what happens in the forward and backward pass of a part."""

CONTROLS: Mapping[str, str] = {
    "more_rows": "unchanged copies of the training rows, as many as the trick adds",
    "train_longer": "more updates of the recipe without the trick, by as many passes as it costs",
}
"""What a trick may have to beat in an ablation, so that it is not the further rows or passes alone that help."""


@dataclasses.dataclass
class PredictionSeams:
    """The seams that act whenever texts are predicted, each the base function inside every trick that wraps it."""

    clean: Callable[[str], str]
    """Rewrite a text."""
    encode: Callable[[Sequence[str], Sequence[str] | None], Mapping[str, Any]]
    """Turn texts, and their pairs, into token lists by model input."""
    predict: Callable[[Batch], Tensor]
    """Probabilities, (row, class)."""
    decide: Callable[[Tensor], Tensor]
    """From probabilities, (row, class), to answers, (row, class) of 0 and 1."""


@dataclasses.dataclass
class Seams(PredictionSeams):
    """All seams of a run that trains. `Trick` documents the arguments of each."""

    examples: Callable[["Dataset"], "Dataset"]
    """Drop, rewrite, add or annotate training rows."""
    batches: Callable[["Encoded", int], "Batches"]
    """Deal the rows of an epoch, counted from 0, into batches."""
    model: Callable[[], Module]
    """Load the model."""
    optimizer: Callable[[Module], Optimizer]
    """Make the optimizer."""
    schedule: Callable[[float], float]
    """The factor of the base rates at a fraction of all updates in [0, 1]."""
    pretrain: Callable[[], None]
    """Train the model with another objective before the first update."""
    accelerator: Callable[..., "Accelerator"]
    """Make the accelerator."""
    loss: Callable[[Tensor, Tensor], Tensor]
    """One loss for each row, (row), from logits and targets, (row, class)."""
    objective: Callable[[Batch], Outcome]
    """Forward and loss of a batch, or of a part of one."""
    gradient: Callable[[Batch], Loss]
    """Add a batch's gradient to `.grad`."""
    update: Callable[[], None]
    """Clip, step, count."""
    weights: Callable[[], AbstractContextManager[bool]]
    """Inside this context the model has the weights that are evaluated."""
    settle: Callable[["Predictions"], "Predictions"]
    """Fit on validation what predicting needs."""
    results: Callable[[Mapping[str, "Predictions"]], dict[str, Any]]
    """The metrics of each split, by its name."""


class Context:
    """What a trick may ask in every phase, long after training too."""

    config: "Config"
    """All settings, as they were resolved."""
    tricks: Mapping[str, "Trick"]
    """The selected tricks by name, this one among them."""
    classes: Sequence[str]
    """The labels, in the order of the model's outputs."""
    multi_label: bool
    """Whether a row may have more than one label."""

    def say(self, text: str) -> None:
        """Print a line, once for all processes."""
        raise NotImplementedError


class ModelContext(Context):
    """What a trick may ask where there is a model to predict with."""

    tokenizer: "PreTrainedTokenizerBase"
    max_length: int
    """Tokens of one input, special tokens included."""
    bare_model: Module
    """The model without what accelerate has wrapped around it; not there yet while texts are encoded for training."""
    seams: PredictionSeams


class Run(ModelContext):
    """What a trick may ask while training. Everything is read only, unless its description says otherwise."""

    seams: Seams
    folder: "Path"
    """The run folder."""
    splits: "VisibleSplits"
    """The rows as they were read. The test split is not among them."""
    train: "Encoded"
    """The training rows as the model sees them."""
    validation: "Encoded"
    accelerator: "Accelerator"
    model: Module
    """The model as it is trained: `bare_model`, or that inside DistributedDataParallel."""
    head: Linear
    """The last slot, (class, hidden). Its input is the pooled vector of each row."""
    parameters: list[Parameter]
    """All parameters of the model, also those that are not trained."""
    optimizer: Optimizer
    updates_per_epoch: int
    total_updates: int
    """Updates of the whole run."""
    batches_done: int
    """Batches consumed so far; the position in training."""
    updates: int
    """Optimizer steps so far; fewer than `batches_done` where a step was skipped.

    On a GPU, reading it waits for the last step: `by_updates` and `after_step` wait for nothing.
    """
    rows_passed: float
    """Rows that went through the model so far, to report passes; whoever runs another pass adds its rows."""
    parts_passed: int
    """Forward and backward passes so far; whoever splits a batch adds its parts."""

    def generator(self, purpose: str, batch: Batch) -> "np.random.Generator":
        """Random numbers for one batch: the same on every pass over it, whatever other tricks are on.

        Args:
            purpose: whose draws they are, such as the trick's name.
            batch: keys the draws by its epoch, index and part.
        """
        raise NotImplementedError

    def note(self, text: str) -> None:
        """Add a line to the run's header."""
        raise NotImplementedError

    def log(self, **values: Any) -> None:
        """Add numbers to this update's line of `history.jsonl`; those of the first process are written."""
        raise NotImplementedError

    def by_updates(self, answer: Callable[[int], Answer]) -> Answer:
        """What `answer(run.updates)` returns. A GPU is waited for only where its last step makes a difference.

        Args:
            answer: a function of the number of optimizer steps, such as "has the start been reached?".
        """
        raise NotImplementedError

    def after_step(self, action: Callable[[int], None]) -> None:
        """Call a function once it is known that this update's step was made; never if it was skipped.

        Ask for it after `inner()`. On a GPU it is called later, but before the weights change again: right before the
        next step, an evaluation or a checkpoint.

        Args:
            action: is given the number of optimizer steps, this one included.
        """
        raise NotImplementedError

    def no_sync(self) -> AbstractContextManager[None]:
        """Inside this context processes do not average their gradients: for all parts of an update but the last."""
        raise NotImplementedError

    def clean_rows(self, examples: "Dataset") -> "Dataset":
        """The same rows with every text, and every text of a pair, cleaned."""
        raise NotImplementedError

    def predictions(self, dataset: "Encoded") -> "Predictions":
        """Predict a split with the weights that the model has now; rows keep the data's order.

        Raises:
            UserError: memory does not hold the smallest batch, or predictions are not finite.
        """
        raise NotImplementedError


@dataclasses.dataclass
class Trick:
    """Base of every trick: each seam passes its arguments on to the function that it wraps, `inner`."""

    slots: ClassVar[Mapping[str, str]] = {}
    """The seams that this trick overrides, each with its slot from `recipes.seams.SEAMS`."""
    neutral: ClassVar[Mapping[str, Any] | str] = "not declared"
    """Values at which the trick must change nothing, or one sentence that says why there are none."""
    sets: ClassVar[Mapping[str, Any]] = {}
    """Settings outside the trick, by dotted path, and the value that each has while the trick is on.

    A run with the trick has these values by itself. Where the user gave another one, the start is refused. Write plain
    values in the class itself: they are read from its source, before it is imported (`recipes.compose.loader`).
    """
    control: ClassVar[str | None] = None
    """The kind of control that an ablation must compare this trick with, if any: one of `CONTROLS`.

    A control costs as much as the trick, without its idea.
    """
    controls: ClassVar[Mapping[str, str]] = {}
    """The `CONTROLS` that this trick is, each with the setting that says how much."""
    remedies: ClassVar[Mapping[str, str]] = {}
    """What to do about the findings that this trick answers, by the keys of `recipes.findings`.

    `{name}` is filled with the trick's name: `{"duplicates": "+tricks=[{name}] tricks.{name}.inside=true"}`.
    """
    measurable: ClassVar[Mapping[str, Any]] = {}
    """Settings that `measure_settings` replaces at the first start of a run, each with the value that asks for it."""
    passes = 1.0
    """Forward and backward passes of one update. One that depends on the settings is set in `__post_init__`."""

    # Without an annotation these are no fields: no user sets them.
    replays = cast(bool | str, "its class does not say that its passes can be replayed")
    """True if a pass may be recorded once and replayed as a CUDA graph, else why not, as a clause.

    Only asked of tricks around a seam of `INSIDE_A_PASS`. A replay repeats the operations on the device with the
    tensors of another part, and runs no Python. So in `loss` and `objective`, and in what they call, a trick may not
    read the batch's ids, lengths or position, draw on the host, count, or branch on a tensor's values. In `gradient` it
    may: it leaves what it drew in `carried`, where a tensor may also require a gradient. A law verifies the claim.
    """
    fits_head = False
    """Whether it trains the model and fits its head before the first update, so that training may end there."""
    name = ""
    """The name under which it is selected, from `__post_init__` on; where it was made by hand, that of its class."""

    def __init_subclass__(cls) -> None:
        """Refuse a class that would silently do nothing of what it declares.

        Its `slots` and methods disagree, or it declares a finding or a control that nobody asks for.
        """
        super().__init_subclass__()
        if "layers" in cls.__dict__:
            raise TypeError(f"{cls.__name__}.layers is called slots now; rename it.")
        if "needs" in cls.__dict__:
            raise TypeError(f"{cls.__name__}.needs is called sets now, and runs have these values by themselves.")
        if "name" in {*vars(cls), *vars(cls).get("__annotations__", ())}:
            raise TypeError(f"{cls.__name__}: name is what the trick is selected by; call the setting something else")
        cls.name = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
        overridden = {seam for seam in SEAMS if getattr(cls, seam) is not getattr(Trick, seam)}
        if overridden != set(cls.slots):
            raise TypeError(f"{cls.__name__} overrides {sorted(overridden)}, its slots name {sorted(cls.slots)}")
        for seam, slot in cls.slots.items():
            if slot not in slots_of(seam):
                raise TypeError(f"{cls.__name__}: {seam} has no slot {slot!r}, only {list(slots_of(seam))}")
        for finding, remedy in cls.remedies.items():
            if finding not in FINDINGS:
                raise TypeError(f"{cls.__name__}: there is no finding {finding!r}; {nearest(finding, FINDINGS)}")
            if unknown := values_in(remedy) - values_in(FINDINGS[finding]) - {"name"}:
                raise TypeError(f"{cls.__name__}: the remedy for {finding} has no value {sorted(unknown)}")
        if unknown := {*cls.controls, *([cls.control] if cls.control else [])} - set(CONTROLS):
            raise TypeError(f"{cls.__name__}: there is no control {sorted(unknown)}, only {list(CONTROLS)}")

    def __post_init__(self) -> None:
        """Raise `ValueError` with a line for each value out of range."""
        if problems := list(out_of_range(self, "")):
            raise ValueError("\n".join(problems))

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold of this trick: tensors and JSON values by name."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""

    def excludes(self) -> Mapping[str, str]:
        """Slots that must stay empty next to this trick at its values, each as `seam/slot`, and why."""
        return {}

    def measure_settings(self, config: "Config") -> Mapping[str, tuple[Any, str]]:
        """The values of settings in `measurable`, each with a line for the header; none that cannot be measured here.

        Called once for a run, before it is set up. Its `config.yaml` holds the values, and a resumed run has them.
        """
        return {}

    def prepare(self, run: Run) -> None:
        """Read what settings name, and refuse what the trick cannot work with, before anything is trained.

        Called at each start, also of a run that goes on, once the run is set up and before its header is printed.

        Raises:
            UserError: a file or folder cannot be used, or the model or the data is of another kind.
        """

    def check(self, run: Run) -> Iterable[str]:
        """Reasons why this trick does nothing, or harms, in this run; each a sentence with a remedy."""
        return ()

    # Pre-training seams.

    def clean(self, run: Context, inner: Callable[[str], str], text: str) -> str:
        """Rewrite a text, in every split and when predicting."""
        return inner(text)

    def examples(self, run: Run, inner: Callable[["Dataset"], "Dataset"], examples: "Dataset") -> "Dataset":
        """Drop, rewrite or add training rows (id, source, text, text_pair, label)."""
        return inner(examples)

    def encode(
        self,
        run: ModelContext,
        inner: Callable[..., Mapping[str, Any]],
        texts: Sequence[str],
        pairs: Sequence[str] | None,
    ) -> Mapping[str, Any]:
        """Turn texts, and their pairs, into token lists by model input: `input_ids` and the others.

        For each text one list of tokens, or a list of windows, each a list of tokens.
        """
        return inner(texts, pairs)

    def batches(self, run: Run, inner: Callable[..., "Batches"], dataset: "Encoded", epoch: int) -> "Batches":
        """Divide the training rows of one epoch, counted from 0, into batches: the same number in every epoch."""
        return inner(dataset, epoch)

    def model(self, run: ModelContext, inner: Callable[[], Module]) -> Module:
        """Load the model, or change the one that `inner` loads.

        A trick in the slot `reshape` acts again when a finished run is loaded.
        """
        return inner()

    def optimizer(self, run: Run, inner: Callable[[Module], Optimizer], model: Module) -> Optimizer:
        """Make the optimizer for the parameters that are trained."""
        return inner(model)

    def schedule(self, run: Run, inner: Callable[[float], float], progress: float) -> float:
        """The factor of every base rate after a fraction, in [0, 1], of all updates."""
        return inner(progress)

    def pretrain(self, run: Run, inner: Callable[[], None]) -> None:
        """Train the model with another objective before the first update; a resumed run that is past it skips this.

        `recipes.toolkit.pretraining` has the loop, its checkpoints and its cache.
        """
        inner()

    # In-training seams.

    def accelerator(self, run: Run, inner: Callable[..., "Accelerator"], **options: Any) -> "Accelerator":
        """Make the accelerator: device, precision, processes."""
        return inner(**options)

    def loss(self, run: Run, inner: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
        """One loss for each row, (row), from logits and targets, both (row, class). Linear in the targets."""
        return inner(logits, targets)

    def objective(self, run: Run, inner: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
        """Forward and loss of a batch, or of a part of one. It may call `inner` more than once."""
        return inner(batch)

    def gradient(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """Add a batch's gradient to `.grad`, and return the loss of the unchanged batch."""
        return inner(batch)

    def update(self, run: Run, inner: Callable[[], None]) -> None:
        """Clip, step, count. Use `run.after_step` for what follows a step: one that was skipped has no consequences."""
        inner()

    # Post-training seams.

    def weights(self, run: Run, inner: Callable[[], AbstractContextManager[bool]]) -> AbstractContextManager[bool]:
        """Inside this context the model has the weights that are evaluated and saved.

        The context yields True where these are not the weights that are trained. While the trick has none of its own,
        it returns `inner()`.
        """
        return inner()

    def settle(
        self, run: Run, inner: Callable[["Predictions"], "Predictions"], validation: "Predictions"
    ) -> "Predictions":
        """Fit on validation what predicting needs, after the weights are chosen and before another split is opened.

        Args:
            run: the run; in an ensemble, tricks of the slot `decide` are given a `Context`.
            inner: the tricks that settle first.
            validation: the predictions of the validation split.

        Returns:
            The predictions of the validation split from now on.
        """
        return inner(validation)

    def predict(self, run: ModelContext, inner: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        """The probabilities of a batch's documents, (document, class)."""
        return inner(batch)

    def decide(self, run: Context, inner: Callable[[Tensor], Tensor], probabilities: Tensor) -> Tensor:
        """The answers, (row, class) of 0 and 1, to probabilities, (row, class)."""
        return inner(probabilities)

    def export(self, run: ModelContext, in_pairs: bool) -> Mapping[str, Any] | None:
        """How a program without Trickbook does what this trick does when texts are predicted; None: it cannot.

        Only tricks around a seam of `recipes.seams.PREDICTING` are asked, and those that reshape the model, whose
        forward pass is exported as they have changed it.

        Args:
            run: the loaded run.
            in_pairs: whether it reads pairs of texts.

        Returns:
            Entries of `settings.json`, as `recipes/export/reader.py` reads them: `clean`, `cut`, `windows`, `merge` or
            `thresholds`; none if the graph does it all.
        """
        return None

    def results(
        self, run: Run, inner: Callable[..., dict[str, Any]], scored: Mapping[str, "Predictions"]
    ) -> dict[str, Any]:
        """The metrics of each predicted split, by its name, and further entries for `metrics.json`."""
        return inner(scored)

    def train(
        self, run: None, inner: Callable[..., "RunFolder"], config: "Config", splits: "Splits", folder: "Path"
    ) -> "RunFolder":
        """Train, score and save one model, or several. There is no run yet, or more than one, so `run` is None."""
        return inner(config, splits, folder)
