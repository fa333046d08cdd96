"""Read a row in segments: each passes the encoder alone, and the head gets their pooled vectors once.

The activations of a segment are computed again in its backward pass, so memory holds those of one segment at a time.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from recipes.models import word_vectors
from recipes.models.anatomy import has_tokens_first, head, word_embeddings
from recipes.runtime.randomness import seed_device

# The forward pass of a segment up to the head: from its inputs, and from changed word vectors or None, to the vectors
# that the head gets, (row, hidden).
ReadSegment = Callable[[Mapping[str, Tensor], Tensor | None], Tensor]


def read_in_segments(model: PreTrainedModel, size: int, pool: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Replace the model's forward by one that reads rows in segments of `size` tokens; a row's last may be shorter.

    A hook on the word embeddings gets the word vectors of all segments at once. A hook on the head gets the pooled
    vectors.

    Args:
        model: the classifier.
        size: tokens of a segment, special tokens included.
        pool: maps the vectors of the segments, (row, segment, hidden), and a mask, (row, segment), to (row, hidden). A
            row without such a segment has zeros in the vectors and False in the mask.
    """
    forward_segment, classifier, words = model.forward, head(model), word_embeddings(model)
    tokens_first = has_tokens_first(model)

    def read(inputs: Mapping[str, Tensor], vectors: Tensor | None) -> Tensor:
        """Compute the vectors that the head would get, (row, hidden)."""
        fixed = (
            nullcontext()
            if vectors is None
            else replace_module(model, words, FixedWordVectors(vectors, words, tokens_first))
        )
        with replace_module(model, classifier, nn.Identity()), fixed:
            pooled: Tensor = forward_segment(**inputs).logits
        return pooled

    def read_again(inputs: Mapping[str, Tensor], vectors: Tensor | None) -> Tensor:
        # Autograd computes gradients only for tensors that `apply` gets as arguments.
        weights = [each for each in model.parameters() if each.requires_grad]
        return cast(Tensor, ReadAgain.apply(read, inputs, vectors, *weights))  # type: ignore[no-untyped-call]

    def forward(**inputs: Tensor) -> SequenceClassifierOutput:
        mask = inputs["attention_mask"]
        on_left = not bool(mask[:, 0].all())
        vectors = words(inputs["input_ids"]) if word_vectors.has_hooks(model) else None
        if on_left:
            vectors = None if vectors is None else move_padding(vectors, mask, "right")
            inputs = {name: move_padding(values, mask, "right") for name, values in inputs.items()}
            mask = inputs["attention_mask"]
        longest = int(mask.sum(1).max())
        # A single segment gains nothing from computing its activations twice.
        recompute = torch.is_grad_enabled() and longest > size
        segments, present = [], []
        for begin in range(0, longest, size):
            span = slice(begin, begin + size)
            # Only rows that are long enough have this segment.
            rows = mask[:, span].any(1)
            segment_inputs = {name: values[rows, span] for name, values in inputs.items()}
            segment_vectors = None if vectors is None else vectors[rows, span]
            if on_left:
                own_mask = segment_inputs["attention_mask"]
                segment_vectors = None if segment_vectors is None else move_padding(segment_vectors, own_mask, "left")
                segment_inputs = {name: move_padding(each, own_mask, "left") for name, each in segment_inputs.items()}
            read_segment = read_again if recompute else read
            pooled = read_segment(segment_inputs, segment_vectors)
            segments.append(pooled.new_zeros(len(rows), pooled.shape[1]).index_put((rows,), pooled))
            present.append(rows)
        logits = classifier(pool(torch.stack(segments, 1), torch.stack(present, 1)))
        return SequenceClassifierOutput(logits=logits)

    # A function, not a method: accelerate would bind a method to the model again.
    model.forward = forward


def move_padding(values: Tensor, mask: Tensor, side: str) -> Tensor:
    """Move the padding of each row to one side; the tokens keep their order.

    Args:
        values: (row, token) or (row, token, hidden).
        mask: 1 on tokens and 0 on padding, (row, token).
        side: right or left.
    """
    order = mask.argsort(dim=1, descending=side == "right", stable=True)
    return values.take_along_dim(order if values.dim() == 2 else order[..., None], dim=1)


class ReadAgain(torch.autograd.Function):
    """The forward pass of a segment that frees its activations, and computes them again in the backward pass.

    `torch.utils.checkpoint` would do the same, but it keeps the autograd graph of each segment. These small objects
    stay in memory between the large tensors that are freed, so the heap of a CPU fragments. Measured: it grows by 8 MB
    a segment, where one segment needs about 20 MB.
    """

    @staticmethod
    def forward(
        ctx: Any, read: ReadSegment, inputs: Mapping[str, Tensor], vectors: Tensor | None, *weights: nn.Parameter
    ) -> Tensor:
        """Read a segment, and note all that the backward pass needs to repeat it: random draws and precision."""
        device = inputs["input_ids"].device.type
        ctx.read, ctx.inputs, ctx.weights = read, inputs, weights
        ctx.save_for_backward(vectors)
        ctx.draws = int(torch.randint(2**62, ())), device
        ctx.precision = device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        seed_device(*ctx.draws)
        return read(inputs, vectors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Read the segment again with the same draws and in the same precision, and compute its gradients."""
        (vectors,) = ctx.saved_tensors
        vectors = None if vectors is None else vectors.detach().requires_grad_()
        seed_device(*ctx.draws)
        with torch.enable_grad(), torch.autocast(*ctx.precision):
            pooled = ctx.read(ctx.inputs, vectors)
        sources = [*ctx.weights] if vectors is None else [vectors, *ctx.weights]
        gradients = torch.autograd.grad(pooled, sources, gradient, allow_unused=True)
        # One gradient for each argument of `forward`: none for `read` and `inputs`, nor for `vectors` if it is None.
        return None, None, *([None] if vectors is None else []), *gradients


@contextmanager
def replace_module(model: nn.Module, module: nn.Module, other: nn.Module) -> Iterator[None]:
    """Inside this context the model runs `other` instead of one of its modules."""
    path = next(path for path, each in model.named_modules() if each is module)
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, other)
    try:
        yield
    finally:
        setattr(model.get_submodule(parent), name, module)


class FixedWordVectors(nn.Module):
    """Word embeddings that return vectors computed before.

    Args:
        vectors: the word vectors of one forward pass, (row, token, hidden).
        words: the word embeddings, for the padding that a model (longformer) adds after the tokens of the batch.
        tokens_first: whether the model asks for (token, row, hidden).
    """

    def __init__(self, vectors: Tensor, words: nn.Module, tokens_first: bool) -> None:
        super().__init__()
        self.vectors, self.words, self.tokens_first = vectors, words, tokens_first

    def forward(self, token_ids: Tensor) -> Tensor:
        """Return the vectors, (row, token, hidden), or as the model asks for them."""
        if self.tokens_first:
            return self.vectors.transpose(0, 1)
        width = self.vectors.shape[1]
        if token_ids.shape[1] == width:
            return self.vectors
        return torch.cat([self.vectors, self.words.forward(token_ids[:, width:])], dim=1)
