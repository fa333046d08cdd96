"""Attacks on word vectors: the common base of `fgm` and `pgd`.

With scope=text each row of the update has one perturbation, however the update is computed. The batch carries it, so
every part has that of its own rows, and the hook on the embedding layer adds it. Parts of any size, several processes,
mixtures and repeated passes therefore see the same perturbation of a row. With scope=matrix the word embedding matrix
has one perturbation, from its gradient over the full update. The direction of both is the gradient of the full composed
objective.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from recipes.data.batch import Batch, Loss, Outcome
from recipes.models import word_vectors
from recipes.models.anatomy import require_one_stack, word_embeddings
from recipes.ranges import allowed
from recipes.toolkit.gradients import add_gradients, set_gradients_aside, take_gradients
from recipes.toolkit.sharpness import displace
from recipes.trick import ModelContext, Run, Trick

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PERTURBATION = "attack.perturbation"
FARTHEST = 0.05
"""The largest distance at scope=text with which minilm trained in 120 updates: docs/evidence/short_runs.md."""


@dataclass
class Attack(Trick, ABC):
    """Add the gradient at perturbed word vectors to the clean gradient."""

    scope: str = allowed("text | matrix")
    """What moves as one vector: the word vectors of each text, or the word embedding matrix."""
    epsilon: float = allowed(
        "[0, inf)",
        advised="[0, 3]",
        source="scope=matrix: 1 to 3 in the published code; scope=text: up to 0.05, measured with minilm",
        above="the attacked texts have nothing in common with the real ones, and the model answers one class",
    )
    """How far it moves at most; scope=text: in mean norms of a word vector; scope=matrix: as it is."""
    start: float = allowed("[0, 1]")
    """Fraction of all updates before the first attack."""

    slots = {"model": "measure", "gradient": "attack", "objective": "term"}
    replays = True

    def __post_init__(self) -> None:
        super().__post_init__()
        # That of the pass that runs now, set by `objective` and read by the hook. It is on self because a forward hook
        # gets only a module and tensors. The hook cannot be registered in `objective`, where the batch is at hand: the
        # hook registered last runs first, so the attack would then act before the mixing of word vectors.
        self._perturbation = torch.zeros(0)
        self.unit: float | None = None
        """The length of 1 in the settings; None before it is measured, and where nothing is attacked."""

    @abstractmethod
    def steps(self) -> Sequence[tuple[float, float]]:
        """The steps of the attack, each as (length, radius of the ball around 0), in `unit`."""

    def distances(self) -> Mapping[str, float]:
        """The settings that are measured in `unit`, by name."""
        return {"epsilon": self.epsilon}

    def model(self, run: ModelContext, inner: Callable[[], nn.Module]) -> nn.Module:
        """Measure the unit of the settings on the loaded model, and print it in the header."""
        model = inner()
        if self.epsilon:
            self.unit = 1.0 if self.scope == "matrix" else mean_word_norm(model, run.tokenizer)
            cast(Run, run).note(self._describe_distances(self.unit))
        return model

    def _describe_distances(self, unit: float) -> str:
        if self.scope == "matrix":
            settings = ", ".join(f"{name}={value:g}" for name, value in self.distances().items())
            return f"{self.name}: {settings} in 2-norm of the change of the word embedding matrix (scope=matrix)."
        settings = ", ".join(f"{name}={value:g} is {value * unit:.3g}" for name, value in self.distances().items())
        return f"{self.name}: for each text {settings}, in mean norms of a word vector, which is {unit:.3g}."

    def prepare(self, run: Run) -> None:
        """Refuse a model with word vectors in its encoder and in its decoder."""
        if self.epsilon and self.scope == "text":
            require_one_stack(run.bare_model, f"tricks.{self.name}")

    def check(self, run: Run) -> Iterable[str]:
        """Warn of distances that break training, and of scope=matrix where the matrix has no gradient."""
        # The advised range of epsilon has the values of both scopes.
        if self.scope == "text" and FARTHEST < self.epsilon <= 3:
            yield (
                f"tricks.{self.name}.epsilon={self.epsilon:g} is above {FARTHEST} mean norms of a word vector, where "
                f"short training may end with one class for all rows; tricks.{self.name}.epsilon=0.03."
            )
        if self.scope == "matrix" and not _matrix(run).requires_grad:
            yield (
                f"tricks.{self.name}.scope=matrix attacks along the gradient of the word embedding matrix, which is "
                f"frozen; tricks.{self.name}.scope=text."
            )

    def state(self) -> dict[str, Any]:
        """The unit, so that a resumed run attacks at the same distances to the last bit."""
        return {"unit": self.unit}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore the unit."""
        self.unit = state["unit"]

    def gradient(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """Run the clean pass, one pass for each further step, and the pass whose gradient is added."""
        if self.unit is None or run.by_updates(lambda updates: updates < self.start * run.total_updates):
            return inner(batch)
        moves = [(length * self.unit, radius * self.unit) for length, radius in self.steps()]
        return (self._attack_matrix if self.scope == "matrix" else self._attack_texts)(run, inner, batch, moves)

    def _attack_texts(
        self, run: Run, inner: Callable[[Batch], Loss], batch: Batch, moves: Sequence[tuple[float, float]]
    ) -> Loss:
        vectors = _matrix(run)
        dtype = torch.promote_types(vectors.dtype, torch.float32)
        shape = (*batch.inputs["input_ids"].shape, vectors.shape[1])
        perturbation = torch.zeros(shape, dtype=dtype, device=vectors.device)
        # The clean pass: its gradient stays in the parameters, and its direction is that of the first step.
        with run.no_sync():
            loss, direction = self._direction(run, inner, batch, perturbation)
        perturbation, skipped = take_step(perturbation, direction, *moves[0])
        # Further steps only look for a direction: their gradients of the weights are dropped.
        for move in moves[1:]:
            with run.no_sync(), set_gradients_aside(run.parameters):
                _, direction = self._direction(run, inner, batch, perturbation)
            perturbation, more = take_step(perturbation, direction, *move)
            skipped = skipped | more
        self._run_perturbed(run, inner, batch, perturbation)
        run.log(rows_not_attacked=skipped.sum(), attack_radius=moves[-1][1])
        return loss

    def _attack_matrix(
        self, run: Run, inner: Callable[[Batch], Loss], batch: Batch, moves: Sequence[tuple[float, float]]
    ) -> Loss:
        matrix = _matrix(run)
        # The direction is the gradient of this update alone, over all its parts and processes.
        with set_gradients_aside(run.parameters):
            loss = inner(batch)
            perturbation, skipped = take_step(torch.zeros_like(matrix.detach())[None], _gradient(matrix), *moves[0])
            for move in moves[1:]:
                with set_gradients_aside(run.parameters), displace({matrix: perturbation[0]}):
                    inner(batch)
                    direction = _gradient(matrix)
                perturbation, more = take_step(perturbation, direction, *move)
                skipped = skipped | more
            with displace({matrix: perturbation[0]}):
                inner(batch)
            gradients = take_gradients(run.parameters)
        add_gradients(run.parameters, gradients)
        run.log(rows_not_attacked=skipped.sum() * len(batch), attack_radius=moves[-1][1])
        return loss

    def _direction(
        self, run: Run, inner: Callable[[Batch], Loss], batch: Batch, perturbation: Tensor
    ) -> tuple[Loss, Tensor]:
        """Run a pass and compute its gradient in the perturbation; it is 0 for the rows of other processes."""
        leaf = perturbation.clone().requires_grad_()
        loss = self._run_perturbed(run, inner, batch, leaf)
        return loss, torch.zeros_like(perturbation) if leaf.grad is None else leaf.grad

    def _run_perturbed(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch, perturbation: Tensor) -> Loss:
        """Run a pass in which the perturbation is added to the word vectors."""

        def add(vectors: Tensor) -> Tensor:
            behind = vectors.shape[1] - self._perturbation.shape[1]  # what longformer adds
            return vectors + functional.pad(self._perturbation, (0, 0, 0, behind)).to(vectors.dtype)

        with word_vectors.modify(run.bare_model, None, add):
            return inner(replace(batch, carried={**batch.carried, PERTURBATION: perturbation}))

    def objective(self, run: Run, inner: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
        """Tell the hook the perturbation of the rows that run now."""
        if PERTURBATION in batch.carried:
            self._perturbation = batch.carried[PERTURBATION]
        return inner(batch)


def mean_word_norm(model: nn.Module, tokenizer: "PreTrainedTokenizerBase") -> float:
    """Compute the mean 2-norm of the word vectors of a tokenizer's vocabulary, special tokens left out."""
    norms = torch.linalg.vector_norm(cast(Tensor, word_embeddings(model).weight).detach(), dim=1)
    # A matrix may have more rows than there are words, to be a multiple of some number.
    is_word = torch.arange(len(norms)) < len(tokenizer)
    is_word[[number for number in tokenizer.all_special_ids if number < len(norms)]] = False
    return float(norms.cpu()[is_word].double().mean())


def take_step(perturbation: Tensor, direction: Tensor, step: float, limit: float) -> tuple[Tensor, Tensor]:
    """Move each row's perturbation along its direction, then back into the ball around 0.

    Args:
        perturbation: (row, token, hidden); of a matrix, (1, word, hidden).
        direction: of the same shape; a row whose direction is 0 or not finite stays where it is.
        step: length of the step.
        limit: radius of the ball.

    Returns:
        The new perturbation, and a mask of the rows whose direction is not finite, (row).
    """
    length = direction.flatten(1).norm(dim=1)[:, None, None]
    finite = length.isfinite()
    unit = torch.where(finite & (length > 0), direction / length, 0.0)
    target = perturbation + step * unit
    distance = target.flatten(1).norm(dim=1)[:, None, None]
    return torch.where(distance > limit, target * (limit / distance), target), ~finite.flatten()


def _matrix(run: Run) -> nn.Parameter:
    return cast(nn.Parameter, word_embeddings(run.bare_model).weight)


def _gradient(matrix: nn.Parameter) -> Tensor:
    """The gradient of a matrix as `take_step` wants it, (1, word, hidden); 0 where it has none."""
    return (torch.zeros_like(matrix) if matrix.grad is None else matrix.grad)[None]
