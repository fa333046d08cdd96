"""Supervised contrastive: pull the vectors of rows of one class together, and push those of other classes apart.

loss_i = (1 - weight) l_i + weight c_i, where l_i is the row's loss without the trick, and c_i = - sum_j s_ij log p_ij /
sum_j s_ij over the other rows j of the update. p_ij is the softmax over j of z_i z_j / temperature, and z the
normalized input of the head. s_ij is t_i t_j: 1 for two rows of one class, less where targets are soft, and the number
of common labels where rows have more than one. A row that shares no label with another row has c_i = 0. A row of a
smaller weight counts less. Before the pass that counts, all rows of the update are run once without gradients. So a
part of a batch has the gradient that it has in the full update.

Source: Gunel, Du, Conneau, Stoyanov 2021, Supervised Contrastive Learning for Pre-trained Language Model Fine-tuning,
    arXiv 2011.01403 (temperature 0.3 and weight 0.9; rows have one label). Its formula adds up c_i over the rows of a
    batch, but takes the mean of l_i; here both are means. z is the last state of [CLS] there. The gradient of c in
    parts is that of GradCache: Gao, Zhang, Han, Callan 2021, arXiv 2101.06983. Dropout is the same in both passes where
    the update is one part.
Cost: a pass and a third: the forward pass of all rows once more, in each process.
Use when: labelled rows are few, or labels are noisy. Avoid when: batches hold few rows of each class, or training is
    short: at a weight of 0.9 cross-entropy has a tenth of the loss, so a new head learns late. It is not shown to help
    here: with MiniLM on 500 rows of TREC and 300 updates the accuracy moved by -0.0027 ± 0.0283 (three seeds;
    docs/evidence/regularization.md).
Composes: gradient/plan and objective/term. Refuses mixtures, which have no one class. Inside fgm, pgd, awp or sam the
    gradient of c is that at the rows and weights as they were.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from recipes import Batch, Loss, Outcome, Run, Trick, allowed
from recipes.data.encoding import class_counts
from recipes.models.anatomy import pooled_vectors
from recipes.runtime.randomness import seed_forward
from recipes.toolkit.requirements import require_pooled_head

LOSS, GRADIENT = "supervised_contrastive.loss", "supervised_contrastive.gradient"
A_FORWARD_PASS = 1 / 3
"""Of a forward and backward pass."""


@dataclass
class SupervisedContrastive(Trick):
    """Add the contrastive loss of the pooled vectors to the objective."""

    weight: float = allowed(
        "[0, 1]",
        advised="[0.1, 0.9]",
        source="0.1 to 0.9 were tried in Gunel et al. 2021, arXiv 2011.01403",
        above="the head learns nothing",
    )
    """Of the contrastive loss; the rest is that of the loss without it."""
    temperature: float = allowed(
        "(0, inf)",
        advised="[0.1, 0.7]",
        source="0.1 to 0.7 were tried in Gunel et al. 2021, arXiv 2011.01403",
        below="only the nearest row counts",
        above="all rows count the same, and hardly anything moves",
    )
    """Divides the cosines: small makes near rows count more."""

    slots = {"gradient": "plan", "objective": "term"}
    neutral = {"weight": 0.0}
    passes = 1 + A_FORWARD_PASS
    replays = True

    def excludes(self) -> Mapping[str, str]:
        """Exclude mixtures."""
        return {"objective/mix": "a mixture of texts has no one class"}

    def prepare(self, run: Run) -> None:
        """Refuse a model without one vector of a text."""
        if self.weight:
            require_pooled_head(run.bare_model, f"tricks.{self.name}")

    def check(self, run: Run) -> Iterable[str]:
        """Warn if most rows have no other row of their class in a batch."""
        if run.multi_label:
            return
        fractions = class_counts(run.train) / class_counts(run.train).sum()
        size = run.config.train.batch_size
        alone = float((fractions * (1 - fractions) ** (size - 1)).sum())
        if alone > 0.5:
            yield (
                f"tricks.{self.name}: in batches of {size}, {alone:.0%} of the rows are alone in their class, and have "
                f"nothing to be pulled to; train.batch_size={4 * len(run.classes)}."
            )

    def gradient(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """Compute the contrastive loss of each row and its gradient in the row's vector, over the full update."""
        if not self.weight:
            return inner(batch)
        vectors = self._run_rows(run, batch).requires_grad_()
        losses = compute_losses(vectors, batch.targets, batch.weights, self.temperature)
        (gradient,) = torch.autograd.grad((losses * batch.weights).sum(), vectors)
        # The loop multiplies each row's loss by its weight, so it is divided out here.
        gradient = torch.where(batch.weights[:, None] > 0, gradient / batch.weights[:, None], 0.0)
        planned = {**batch.carried, LOSS: losses.detach()}
        return inner(replace(batch, carried=planned, vectors={**batch.vectors, GRADIENT: gradient}))

    def _run_rows(self, run: Run, batch: Batch) -> Tensor:
        """The normalized vectors of all rows, (row, hidden), under the dropout of an update in one part."""
        device = run.accelerator.device.type
        seed_forward(run.config.seeds.dropout, batch.epoch, batch.index, batch.part, device)
        with torch.no_grad(), pooled_vectors(run.head) as vectors:
            run.bare_model(**batch.inputs)
        run.rows_passed += A_FORWARD_PASS * len(batch)
        return normalize(vectors[0])

    def objective(self, run: Run, inner: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
        """Add the planned loss, with the planned gradient of the vectors of this pass."""
        outcome = inner(batch)
        if GRADIENT not in batch.vectors:
            return outcome
        pull = (normalize(outcome.features) * batch.vectors[GRADIENT]).sum(-1)
        contrastive = batch.carried[LOSS] + pull - pull.detach()
        return replace(outcome, loss=(1 - self.weight) * outcome.loss + self.weight * contrastive)


def normalize(vectors: Tensor) -> Tensor:
    """Scale each vector to length 1, in at least 32 bits."""
    return functional.normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=-1)


def compute_losses(vectors: Tensor, targets: Tensor, weights: Tensor, temperature: float) -> Tensor:
    """The contrastive loss of each row, (row).

    Args:
        vectors: of length 1, (row, hidden).
        targets: a distribution over classes for each row, or 0 and 1, (row, class).
        weights: how much each row counts for the others, (row).
        temperature: divides the cosines.
    """
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    weights, targets = weights.to(vectors), targets.to(vectors)
    scores = vectors @ vectors.T / temperature
    others = (scores + weights.log()).masked_fill(itself, torch.finfo(scores.dtype).min)
    log_probabilities = scores - others.logsumexp(1, keepdim=True)
    same = (targets @ targets.T * weights).masked_fill(itself, 0.0)
    total = same.sum(1)
    losses = -(same * log_probabilities).sum(1) / total.clamp_min(torch.finfo(total.dtype).tiny)
    return torch.where(total > 0, losses, 0.0)
