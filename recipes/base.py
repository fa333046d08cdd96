"""The base of every seam: what happens where no trick is on (`recipes/seams.py` lists the seams)."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from datasets import Dataset
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer

from recipes.data.batch import Batch, Loss, Outcome
from recipes.data.batching import Batches, cut_by_length, group
from recipes.data.encoding import Encoded
from recipes.errors import UserError
from recipes.metrics import Predictions, measure
from recipes.models.anatomy import pooled_vectors
from recipes.models.inputs import fit_tokenizer
from recipes.models.loading import load_model, setting_of
from recipes.runtime.distributed import uses_cpu
from recipes.runtime.randomness import generator, key, seed_forward
from recipes.seams import compose
from recipes.state import LiveRun
from recipes.trick import Context, ModelContext, PredictionSeams, Seams, Trick

# The cost of one more pass, in tokens. On a CPU: adding up the gradient of the word embeddings and starting about a
# hundred small kernels, measured on MiniLM with 2 cores. On a GPU a pass of fewer than some thousand tokens takes no
# longer than an empty one; that figure is an estimate, not measured.
COST_OF_PASS: dict[str, float] = {"cpu": 128}
COST_OF_PASS_ON_GPU = 4096


class ContextBase:
    """The base functions that need no model.

    Args:
        run: the run that calls them.
    """

    run: Context

    def __init__(self, run: Context) -> None:
        self.run = run

    def clean(self, text: str) -> str:
        """Leave a text as it is."""
        return text

    def settle(self, validation: Predictions) -> Predictions:
        """Fit nothing."""
        return validation

    def decide(self, probabilities: Tensor) -> Tensor:
        """The most probable class; where rows may have more than one label, every class from 0.5 on."""
        if self.run.multi_label:
            return (probabilities >= 0.5).to(torch.int8)
        answers = torch.zeros_like(probabilities, dtype=torch.int8)
        return answers.scatter_(1, probabilities.argmax(1, keepdim=True), 1)

    def results(self, scored: Mapping[str, Predictions]) -> dict[str, Any]:
        """The metrics of each split."""
        return {name: measure(predictions) for name, predictions in scored.items()}


class PredictionBase(ContextBase):
    """The base functions that predicting needs.

    Args:
        run: the run that calls them.
    """

    run: ModelContext

    def __init__(self, run: ModelContext) -> None:
        self.run = run

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None) -> Mapping[str, Any]:
        """Tokenize and cut the tail; of a pair, that of the longer text."""
        limit = self.run.max_length
        return cast(Mapping[str, Any], self.run.tokenizer(list(texts), pairs, truncation=True, max_length=limit))

    def predict(self, batch: Batch) -> Tensor:
        """Softmax, or the sigmoid of each class where rows may have more than one label."""
        logits = cast(Tensor, self.run.bare_model(**batch.inputs).logits).float()
        return logits.sigmoid() if self.run.multi_label else logits.softmax(-1)


class Base(PredictionBase):
    """The base functions of a run that trains.

    Args:
        run: the run that calls them; it need not be set up yet.
    """

    run: LiveRun

    def __init__(self, run: LiveRun) -> None:
        self.run = run

    def examples(self, examples: Dataset) -> Dataset:
        """Leave the training rows as they are."""
        return examples

    def batches(self, dataset: Encoded, epoch: int) -> Batches:
        """Shuffle, and group by length without bias (`recipes.data.batching.group`)."""
        config = self.run.config
        random = generator(config.seeds.order, "order", epoch)
        plan = group(dataset.lengths, dataset.labels, config.train.batch_size, self.run.label_weight, random)
        return Batches(dataset, plan, epoch)

    def model(self) -> nn.Module:
        """Load the model, with a new head, and fit the tokenizer to it."""
        run = self.run
        torch.manual_seed(key(run.config.seeds.init, "init"))
        model = load_model(run.config.model, run.tokenizer, run.classes, run.multi_label)
        fit_tokenizer(run.tokenizer, model, run.max_length, setting_of(run.config.model))
        run.max_length = min(run.max_length, run.tokenizer.model_max_length)
        return model

    def optimizer(self, model: nn.Module) -> Optimizer:
        """AdamW with bias correction, without weight decay on biases and normalization.

        Biases and normalization weights are the parameters of one dimension.
        """
        train = self.run.config.train
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        groups = [
            {"params": [each for each in parameters if each.dim() > 1], "weight_decay": train.weight_decay},
            {"params": [each for each in parameters if each.dim() <= 1], "weight_decay": 0.0},
        ]
        return AdamW(groups, lr=train.learning_rate, fused=self.run.accelerator.device.type in ("cpu", "cuda"))

    def schedule(self, progress: float) -> float:
        """Rise linearly over the warm-up, then fall to 0 linearly or as a half cosine, or stay constant."""
        train = self.run.config.train
        if progress < train.warmup:
            return progress / train.warmup
        rest = (progress - train.warmup) / (1 - train.warmup) if train.warmup < 1 else 0.0
        if train.schedule == "constant":
            return 1.0
        return 1 - rest if train.schedule == "linear" else (1 + math.cos(math.pi * rest)) / 2

    def pretrain(self) -> None:
        """Train nothing before the first update."""

    def accelerator(self, **options: Any) -> Accelerator:
        """One device for each process, in 32 bits, unless the options say otherwise."""
        device = self.run.config.train.device
        available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if not available.get(device, True):
            raise UserError(f"train.device={device}: this machine has none; use train.device=auto.")
        # Accelerate's state is global: without this the second run of a process trains in the first one's precision.
        AcceleratorState._reset_state(reset_partial_state="RANK" not in os.environ)
        GradientState._reset_state()
        return Accelerator(cpu=uses_cpu(device), **options)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy with soft targets; for multi-label data the mean of the classes' binary cross-entropies."""
        if self.run.multi_label:
            return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(-1)
        return functional.cross_entropy(logits, targets, reduction="none")

    def objective(self, batch: Batch) -> Outcome:
        """Forward, then the loss of each row."""
        run = self.run
        run.rows_passed += len(batch)
        with pooled_vectors(run.head) as features:
            logits = cast(Tensor, run.model(**batch.inputs).logits)
        return Outcome(run.seams.loss(logits, batch.targets), logits, batch.targets, features[-1])

    def gradient(self, batch: Batch) -> Loss:
        """Add the gradient of the batch's mean loss to `.grad`, part by part.

        Parts hold rows of similar length, so that little padding is computed. Each part is divided among the processes.
        """
        run = self.run
        parts = cut_by_length(batch.lengths.numpy(), run.cost_of_pass)
        total = Loss()
        for number, rows in enumerate(parts):
            # Only the last part averages gradients over the processes: once an update.
            with run.no_sync() if number < len(parts) - 1 else nullcontext():
                total += self._backward(self._own_rows(batch, rows, number, len(parts)))
        run.parts_passed += len(parts)
        return total

    def _own_rows(self, batch: Batch, rows: np.ndarray, number: int, count: int) -> Batch:
        """This process's rows of a part.

        Args:
            batch: the whole update.
            rows: the part's rows in the batch, (row).
            number: of the part, from 0.
            count: of the parts.
        """
        processes, rank = self.run.accelerator.num_processes, self.run.accelerator.process_index
        if count == 1 and processes == 1:
            return batch
        # The part number keys dropout: every process needs its own.
        own, part = rows[rank::processes], number * processes + rank
        # A process without rows joins in with a row of weight 0, since DDP waits for all of them.
        return batch.take(own, part) if len(own) else batch.take(rows[:1], part).without_weight()

    def _backward(self, part: Batch) -> Loss:
        """Forward and backward of a part: its contribution to the update's mean loss and to `.grad`."""
        seed, device = self.run.config.seeds.dropout, self.run.accelerator.device.type
        # Dropout depends on the batch and the part alone, so a repeated or resumed part draws the same. All passes of
        # an objective have one seed: a graph that is replayed cannot be seeded on the way.
        seed_part = partial(seed_forward, seed, part.epoch, part.index, part.part, device)
        return self.run.graphs.run(part, self._pass, seed_part)

    def _pass(self, part: Batch) -> Loss:
        """Forward and backward on the device alone, so that it can be recorded once and replayed."""
        run, processes = self.run, self.run.accelerator.num_processes
        outcome = run.seams.objective(part)
        loss = (outcome.loss * part.weights).sum() / part.total
        # DDP takes the mean over processes, but the loss is a sum over their rows.
        run.accelerator.backward(loss * processes if processes > 1 else loss)
        if run.is_plain:
            return Loss(loss.detach(), loss.detach())
        with torch.no_grad():
            plain = (self.loss(outcome.logits.detach(), outcome.targets) * part.weights).sum() / part.total
        return Loss(loss.detach(), plain)

    def update(self) -> None:
        """Clip, set the learning rate, step, and count the step. A gradient that is not finite makes no step."""
        run = self.run
        # The step before this one: on a GPU its outcome is read only now, where this gradient is queued behind it.
        run.settle_step()
        limit = run.config.train.clip_norm
        run.grad_norm = run.accelerator.clip_grad_norm_(run.parameters, math.inf if limit is None else limit)
        # The middle of the update: neither the first nor the last update is at rate 0.
        run.factor = run.seams.schedule((run.updates + 0.5) / run.total_updates)
        for parameters, rate in zip(run.optimizer.param_groups, run.base_rates, strict=True):
            parameters["lr"] = rate * run.factor
        run.steps.add(self._step() if run.accelerator.scaler is None else self._step_with_scale())
        run.optimizer.optimizer.zero_grad()

    def _step(self) -> Tensor:
        """Make the optimizer's step if the gradient is finite, and return whether it is."""
        run = self.run
        # Not accelerate's wrapper: it looks for another package on every step, which takes 0.1 ms.
        optimizer: Any = run.optimizer.optimizer
        is_finite = torch.isfinite(run.grad_norm)
        # torch's protocol for optimizers that skip a step on the device, so that nobody waits for the gradient.
        if not run.steps.waits and getattr(optimizer, "_step_supports_amp_scaling", False):
            optimizer.found_inf = is_finite.logical_not().float()
            optimizer.step()
        elif is_finite:
            optimizer.step()
        return is_finite

    def _step_with_scale(self) -> Tensor:
        """Make the optimizer's step with a loss scale, and return whether it was made: if not, the scale falls."""
        run = self.run
        scale: Callable[[Tensor], Tensor] = run.accelerator.scaler.scale
        one = torch.ones((), device=run.accelerator.device)
        # Scaled tensors show the scale without waiting for it. `optimizer_step_was_skipped` does not: a fused optimizer
        # is called even then, and skips by itself.
        before = scale(one)
        run.optimizer.step()
        return scale(one) >= before

    def weights(self) -> AbstractContextManager[bool]:
        """The current weights; False, since they are not other ones."""
        return nullcontext(False)


def prediction_seams(run: ModelContext, tricks: Mapping[str, Trick]) -> PredictionSeams:
    """The seams of a finished run: each base function inside the tricks that wrap it."""
    base = PredictionBase(run)
    return PredictionSeams(
        clean=compose("clean", base.clean, tricks, run),
        encode=compose("encode", base.encode, tricks, run),
        predict=compose("predict", base.predict, tricks, run),
        decide=compose("decide", base.decide, tricks, run),
    )


def training_seams(run: LiveRun, tricks: Mapping[str, Trick]) -> Seams:
    """The seams of a run that trains: each base function inside the tricks that wrap it."""
    base = Base(run)
    return Seams(
        clean=compose("clean", base.clean, tricks, run),
        examples=compose("examples", base.examples, tricks, run),
        encode=compose("encode", base.encode, tricks, run),
        batches=compose("batches", base.batches, tricks, run),
        model=compose("model", base.model, tricks, run),
        optimizer=compose("optimizer", base.optimizer, tricks, run),
        schedule=compose("schedule", base.schedule, tricks, run),
        pretrain=compose("pretrain", base.pretrain, tricks, run),
        accelerator=compose("accelerator", base.accelerator, tricks, run),
        loss=compose("loss", base.loss, tricks, run),
        objective=compose("objective", base.objective, tricks, run),
        gradient=compose("gradient", base.gradient, tricks, run),
        update=compose("update", base.update, tricks, run),
        weights=compose("weights", base.weights, tricks, run),
        settle=compose("settle", base.settle, tricks, run),
        predict=compose("predict", base.predict, tricks, run),
        decide=compose("decide", base.decide, tricks, run),
        results=compose("results", base.results, tricks, run),
    )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside this context dropout is off and no gradient is kept; each module's mode comes back whatever happens."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
