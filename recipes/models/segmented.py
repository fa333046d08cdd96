"""Reading a row in pieces: each goes through the model up to its head, and the head sees them pooled, once.

What a piece needs on the way back is computed again there, so memory holds the activations of one piece.
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
from recipes.models.anatomy import head, word_embeddings
from recipes.runtime.randomness import seed_device

Read = Callable[[Mapping[str, Tensor], Tensor | None], Tensor]


def read_in_segments(model: PreTrainedModel, size: int, pool: Callable[[Tensor, Tensor], Tensor]) -> None:
    """From here on the model's forward takes rows of several pieces, each of `size` tokens but a row's last.

    Where something changes the word vectors, it sees those of the whole row; what changes the vector that enters the
    head sees the pooled one.

    Args:
        model: the classifier.
        size: tokens of a piece, special ones included.
        pool: from vectors, (row, piece, hidden), 0 where a row has no such piece, and which it has, (row, piece), to
            (row, hidden).
    """
    plain, last, words = model.forward, head(model), word_embeddings(model)

    def read(inputs: Mapping[str, Tensor], vectors: Tensor | None) -> Tensor:
        """What would enter the head, (row, hidden)."""
        given = nullcontext() if vectors is None else replaced(model, words, Given(vectors, words))
        with replaced(model, last, nn.Identity()), given:
            found: Tensor = plain(**inputs).logits
        return found

    def read_again(inputs: Mapping[str, Tensor], vectors: Tensor | None) -> Tensor:
        weights = [each for each in model.parameters() if each.requires_grad]
        return cast(Tensor, ReadAgain.apply(read, inputs, vectors, *weights))  # type: ignore[no-untyped-call]

    def forward(**inputs: Tensor) -> SequenceClassifierOutput:
        mask = inputs["attention_mask"]
        longest = int(mask.sum(1).max())
        vectors = words(inputs["input_ids"]) if word_vectors.are_changed(model) else None
        again = torch.is_grad_enabled() and longest > size
        pieces, there = [], []
        for begin in range(0, longest, size):
            stretch = slice(begin, begin + size)
            rows = mask[:, stretch].any(1)
            part = {name: values[rows, stretch] for name, values in inputs.items()}
            given = None if vectors is None else vectors[rows, stretch]
            found = read_again(part, given) if again else read(part, given)
            pieces.append(found.new_zeros(len(rows), found.shape[1]).index_put((rows,), found))
            there.append(rows)
        return SequenceClassifierOutput(logits=last(pool(torch.stack(pieces, 1), torch.stack(there, 1))))

    # A function, not a method: accelerate binds a method anew to the model.
    model.forward = forward


class ReadAgain(torch.autograd.Function):
    """What a piece gives, without its activations: they are computed again on the way back.

    `torch.utils.checkpoint` keeps the graph of each piece: small things that stay between large ones that go, so that
    the heap of a CPU grows by the gaps (read: 8 MB a piece, where one piece alone needs some 20).
    """

    @staticmethod
    def forward(
        ctx: Any, read: Read, inputs: Mapping[str, Tensor], vectors: Tensor | None, *weights: nn.Parameter
    ) -> Tensor:
        """Read, with draws that can be repeated."""
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
        """Read again with the same draws and in the same precision, and go back."""
        (vectors,) = ctx.saved_tensors
        vectors = None if vectors is None else vectors.detach().requires_grad_()
        seed_device(*ctx.draws)
        with torch.enable_grad(), torch.autocast(*ctx.precision):
            found = ctx.read(ctx.inputs, vectors)
        sought = [*ctx.weights] if vectors is None else [vectors, *ctx.weights]
        gradients = torch.autograd.grad(found, sought, gradient, allow_unused=True)
        return None, None, *([None] if vectors is None else []), *gradients


@contextmanager
def replaced(model: nn.Module, module: nn.Module, other: nn.Module) -> Iterator[None]:
    """Inside this context another module stands in the place of one of the model's."""
    path = next(path for path, each in model.named_modules() if each is module)
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, other)
    try:
        yield
    finally:
        setattr(model.get_submodule(parent), name, module)


class Given(nn.Module):
    """In the place of the word embeddings: vectors made before; a model that pads by itself makes those behind."""

    def __init__(self, vectors: Tensor, words: nn.Module) -> None:
        """Hold them for one pass."""
        super().__init__()
        self.vectors, self.words = vectors, words

    def forward(self, token_ids: Tensor) -> Tensor:
        """Their vectors, (row, token, hidden)."""
        width = self.vectors.shape[1]
        if token_ids.shape[1] == width:
            return self.vectors
        return torch.cat([self.vectors, self.words.forward(token_ids[:, width:])], dim=1)
