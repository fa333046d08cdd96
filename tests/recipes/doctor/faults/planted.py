"""Tricks with a fault, each a mistake that people make in their own training code."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer

from recipes import Batch, Loss, Outcome, Run, Trick
from recipes.base import evaluating
from recipes.data.batching import Batches
from recipes.data.encoding import Encoded
from recipes.models.anatomy import head

# Faults of the loss.


@dataclass
class SoftmaxBeforeLoss(Trick):
    slots = {"loss": "weighting"}

    def loss(self, run: Run, inner: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
        return inner(logits.softmax(-1), targets)


@dataclass
class SigmoidBeforeLoss(Trick):
    slots = {"loss": "weighting"}

    def loss(self, run: Run, inner: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
        return inner(logits.sigmoid(), targets)


@dataclass
class WrongSign(Trick):
    slots = {"loss": "weighting"}

    def loss(self, run: Run, inner: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
        return -inner(logits, targets)


@dataclass
class ShiftedTargets(Trick):
    slots = {"loss": "targets"}

    def loss(self, run: Run, inner: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
        return inner(logits, targets.roll(1, -1))


@dataclass
class DoubledTargets(Trick):
    """Smoothing that adds to the targets and does not scale them."""

    slots = {"loss": "targets"}

    def loss(self, run: Run, inner: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
        return inner(logits, targets + 1 / targets.shape[1])


@dataclass
class NaiveLogarithm(Trick):
    slots = {"loss": "criterion"}

    def loss(self, run: Run, inner: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
        return -(targets * logits.softmax(-1).log()).sum(-1)


@dataclass
class DetachedLoss(Trick):
    slots = {"objective": "term"}

    def objective(self, run: Run, inner: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
        outcome = inner(batch)
        loss = outcome.loss.detach() + 0 * outcome.logits.sum(-1)
        return Outcome(loss, outcome.logits, outcome.targets, outcome.features)


@dataclass
class LabelsLost(Trick):
    """A batch that has lost its labels: all targets are 0."""

    slots = {"objective": "term"}

    def objective(self, run: Run, inner: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
        return inner(Batch(**{**batch.__dict__, "targets": torch.zeros_like(batch.targets)}))


@dataclass
class RootOfNothing(Trick):
    slots = {"objective": "term"}

    def objective(self, run: Run, inner: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
        outcome = inner(batch)
        loss = outcome.loss + (0 * outcome.logits.sum(-1)).sqrt()
        return Outcome(loss, outcome.logits, outcome.targets, outcome.features)


# Faults of the model.


class Changed(nn.Module):
    """A module whose output is changed."""

    def __init__(self, inner: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.change(self.inner(*inputs, **named))


class BrokenModel(Trick):
    slots = {"model": "reshape"}

    def model(self, run: Run, inner: Callable[[], nn.Module]) -> nn.Module:
        model = inner()
        self.break_model(model)
        return model

    def break_model(self, model: Any) -> None:
        raise NotImplementedError


@dataclass
class HeadTooSmall(BrokenModel):
    """Two outputs for three labels, as in the Hugging Face course."""

    def break_model(self, model: Any) -> None:
        model.classifier = nn.Linear(model.config.hidden_size, 2)
        model.config.num_labels = 2


@dataclass
class NotANumber(BrokenModel):
    def break_model(self, model: Any) -> None:
        with torch.no_grad():
            model.bert.encoder.layer[1].output.dense.weight[0, 0] = float("nan")


@dataclass
class DividingByZero(BrokenModel):
    def break_model(self, model: Any) -> None:
        layer = model.bert.encoder.layer[0].intermediate
        layer.dense = Changed(layer.dense, lambda values: values / (values - values).abs())


@dataclass
class SoftmaxAtTheEnd(BrokenModel):
    """A softmax after the last layer."""

    def break_model(self, model: Any) -> None:
        inner = model.forward

        def forward(**inputs: Any) -> Any:
            output = inner(**inputs)
            output.logits = output.logits.softmax(-1)
            return output

        model.forward = forward


@dataclass
class BoundedLogits(BrokenModel):
    """An activation after the last layer: rows are separated, and the loss stays high."""

    def break_model(self, model: Any) -> None:
        model.classifier.register_forward_hook(lambda _, inputs, output: output.tanh())


@dataclass
class HugeHead(BrokenModel):
    def break_model(self, model: Any) -> None:
        with torch.no_grad():
            head(model).weight.mul_(300)


@dataclass
class RulesOneOut(BrokenModel):
    def break_model(self, model: Any) -> None:
        with torch.no_grad():
            head(model).bias[-1] = -3.0


@dataclass
class ConstantLogits(BrokenModel):
    def break_model(self, model: Any) -> None:
        with torch.no_grad():
            head(model).weight.zero_()


@dataclass
class EverythingFrozen(BrokenModel):
    def break_model(self, model: Any) -> None:
        for name, each in model.named_parameters():
            each.requires_grad_(name == "bert.embeddings.position_embeddings.weight")
        model.bert.encoder.layer[0].register_forward_hook(
            lambda _, inputs, output: output[0].detach() if isinstance(output, tuple) else output.detach()
        )
        model.classifier.requires_grad_(True)


@dataclass
class LowerHalfDetached(BrokenModel):
    def break_model(self, model: Any) -> None:
        model.bert.encoder.layer[1].register_forward_pre_hook(lambda _, inputs: (inputs[0].detach(), *inputs[1:]))


@dataclass
class DropoutAlways(BrokenModel):
    def break_model(self, model: Any) -> None:
        model.dropout.forward = lambda values: functional.dropout(values, 0.5, training=True)


@dataclass
class EvaluationMode(BrokenModel):
    """A model that was left in evaluation mode after it was loaded."""

    def break_model(self, model: Any) -> None:
        model.eval()
        model.train = lambda mode=True: model


@dataclass
class DropoutBypassed(BrokenModel):
    """An encoder that goes to evaluation mode inside each pass."""

    def break_model(self, model: Any) -> None:
        inner = model.forward

        def forward(**inputs: Any) -> Any:
            grad = torch.is_grad_enabled()
            with evaluating(model), torch.set_grad_enabled(grad):
                return inner(**inputs)

        model.forward = forward


@dataclass
class RoundedWhenLoaded(BrokenModel):
    """A layer that rounds its weights whenever a state is loaded into it."""

    def break_model(self, model: Any) -> None:
        def round_weights(layer: nn.Module, errors: Any) -> None:
            with torch.no_grad():
                layer.weight.copy_(layer.weight.bfloat16().float())

        model.bert.encoder.layer[0].output.dense.register_load_state_dict_post_hook(round_weights)


@dataclass
class AcrossRows(BrokenModel):
    def break_model(self, model: Any) -> None:
        model.dropout.forward = lambda values: values - values.mean(0, keepdim=True)


@dataclass
class MaskIgnored(BrokenModel):
    def break_model(self, model: Any) -> None:
        inner = model.forward
        model.forward = lambda attention_mask, **inputs: inner(attention_mask=torch.ones_like(attention_mask), **inputs)


@dataclass
class SmallVocabulary(BrokenModel):
    def break_model(self, model: Any) -> None:
        weights = model.bert.embeddings.word_embeddings.weight[:50].detach().clone()
        model.bert.embeddings.word_embeddings = nn.Embedding.from_pretrained(weights, freeze=False)


@dataclass
class FewPositions(BrokenModel):
    def break_model(self, model: Any) -> None:
        model.bert.embeddings.position_embeddings = nn.Embedding(8, model.config.hidden_size)


# Faults of the optimizer.


@dataclass
class HeadOnly(Trick):
    slots = {"optimizer": "optimizer"}

    def optimizer(self, run: Run, inner: Callable[[nn.Module], Optimizer], model: nn.Module) -> Optimizer:
        return AdamW(head(model).parameters(), lr=run.config.train.learning_rate)


@dataclass
class BeforeTheHead(Trick):
    """The optimizer was created before the head was replaced."""

    slots = {"optimizer": "optimizer"}

    def optimizer(self, run: Run, inner: Callable[[nn.Module], Optimizer], model: nn.Module) -> Optimizer:
        of_head = {id(each) for each in head(model).parameters()}
        return AdamW(
            [each for each in model.parameters() if id(each) not in of_head], lr=run.config.train.learning_rate
        )


# Faults of the inputs and batches.


@dataclass
class NoSpecialTokens(Trick):
    slots = {"encode": "cut"}

    def encode(self, run: Run, inner: Any, texts: Sequence[str], pairs: Sequence[str] | None) -> Mapping[str, Any]:
        return run.tokenizer(list(texts), pairs, add_special_tokens=False, truncation=True, max_length=run.max_length)


@dataclass
class PaddedTexts(Trick):
    slots = {"encode": "cut"}

    def encode(self, run: Run, inner: Any, texts: Sequence[str], pairs: Sequence[str] | None) -> Mapping[str, Any]:
        length = run.max_length
        return run.tokenizer(list(texts), pairs, padding="max_length", truncation=True, max_length=length)


@dataclass
class UnknownWords(Trick):
    slots = {"encode": "cut"}

    def encode(self, run: Run, inner: Any, texts: Sequence[str], pairs: Sequence[str] | None) -> Mapping[str, Any]:
        encoded = inner(texts, pairs)
        unknown = run.tokenizer.unk_token_id
        encoded["input_ids"] = [[ids[0], *([unknown] * (len(ids) - 2)), ids[-1]] for ids in encoded["input_ids"]]
        return encoded


@dataclass
class EmptiedTexts(Trick):
    slots = {"examples": "rewrite"}

    def examples(self, run: Run, inner: Callable[[Dataset], Dataset], examples: Dataset) -> Dataset:
        return inner(examples.map(lambda row, index: {"text": row["text"] if index % 3 else ""}, with_indices=True))


@dataclass
class SortedBatches(Trick):
    slots = {"batches": "batches"}

    def batches(self, run: Run, inner: Callable[..., Batches], dataset: Encoded, epoch: int) -> Batches:
        rows, size = np.argsort(dataset.labels, kind="stable"), run.config.train.batch_size
        return Batches(dataset, [rows[start : start + size] for start in range(0, len(rows), size)], epoch)


@dataclass
class HalfTheRows(Trick):
    slots = {"batches": "batches"}

    def batches(self, run: Run, inner: Callable[..., Batches], dataset: Encoded, epoch: int) -> Batches:
        rows, size = np.arange(len(dataset) // 2), run.config.train.batch_size
        return Batches(dataset, [rows[start : start + size] for start in range(0, len(rows), size)], epoch)


class WithoutWeights(Batches):
    """Batches whose rows count for nothing."""

    def __getitem__(self, index: int) -> Batch:  # type: ignore[override]
        return super().__getitem__(index).without_weight()


@dataclass
class RowsWithoutWeight(Trick):
    slots = {"batches": "batches"}

    def batches(self, run: Run, inner: Callable[..., Batches], dataset: Encoded, epoch: int) -> Batches:
        return WithoutWeights(dataset, inner(dataset, epoch).plan, epoch)


class SlowBatches(Batches):
    """Batches that take long to collate."""

    def __getitem__(self, index: int) -> Batch:  # type: ignore[override]
        time.sleep(0.1)
        return super().__getitem__(index)


@dataclass
class SlowCollation(Trick):
    slots = {"batches": "batches"}

    def batches(self, run: Run, inner: Callable[..., Batches], dataset: Encoded, epoch: int) -> Batches:
        return SlowBatches(dataset, inner(dataset, epoch).plan, epoch)


@dataclass
class LabelsInPrediction(Trick):
    """A prediction that reads the labels of its rows."""

    slots = {"predict": "vote"}

    def predict(self, run: Run, inner: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        return 0.5 * inner(batch) + 0.5 * batch.targets


@dataclass
class PredictionOfNaN(Trick):
    """A prediction that is divided by its sum, which is 0 once small probabilities are cut."""

    slots = {"predict": "vote"}

    def predict(self, run: Run, inner: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        cut = inner(batch) * 0
        return cut / cut.sum(1, keepdim=True)


# Faults of the step.


@dataclass
class NoGradientAtAll(Trick):
    slots = {"gradient": "plan"}

    def gradient(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> Loss:
        with torch.no_grad():
            logits = run.bare_model(**batch.inputs).logits
        loss = functional.cross_entropy(logits, batch.targets)
        return Loss(loss, loss)


@dataclass
class FewRowsFit(Trick):
    """Memory runs out when more than five rows are trained at once."""

    slots = {"objective": "term"}

    def objective(self, run: Run, inner: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
        if len(batch) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(batch)


@dataclass
class FewRowsFitPredicted(Trick):
    slots = {"predict": "vote"}

    def predict(self, run: Run, inner: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        if len(batch) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(batch)


@dataclass
class NoRowFits(Trick):
    slots = {"gradient": "plan"}

    def gradient(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> Loss:
        if not run.config.model.gradient_checkpointing:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(batch)
