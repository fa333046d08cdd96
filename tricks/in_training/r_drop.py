"""R-Drop: penalize disagreement between two passes over the same rows with different dropout.

loss = (l_1 + l_2) / 2 + alpha * (KL(p_1 || p_2) + KL(p_2 || p_1)) / 2 per row, with KL summed over classes. With
multiple labels per row each class has a two-sided KL, and these are summed.

Source: Liang et al. 2021, R-Drop: Regularized Dropout for Neural Networks, arXiv 2106.14448. The weight of KL differs
    between implementations. In their code (dropreg/R-Drop at 9dcc830) it differs between models, and KL, the mean of
    both directions, is *summed over the batch*. BERT (modeling_bert.py) has l_1 + l_2 + 0.5 KL: alpha = rows of the
    batch / 4 here. RoBERTa (modeling_roberta.py) has 0.5 l_1 + 0.7 KL, without l_2: alpha = 1.4 rows of the batch.
    `forward_kl` of their fairseq criterion has (l_1 + l_2 + reg_alpha KL) / rows: alpha = reg_alpha / 2. bert4torch's
    RDropLoss adds its alpha / 4 times both KLs averaged over rows *and classes*: alpha = its alpha / (2 * classes)
    here.
Cost: two forward passes before one backward pass: twice the memory.
Use when: the model overfits, or results vary from seed to seed. Avoid when: dropout is 0: the passes are equal; or time
    is short: a plain run of twice the updates is the baseline to beat.
Composes: objective/compare: inside mixing, so both passes see the same mixture; outside extra terms.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from recipes import Batch, Outcome, Run, Trick, allowed


@dataclass
class RDrop(Trick):
    """Run twice, and add the divergence of the two predictions to the loss."""

    alpha: float = allowed(
        "[0, inf)",
        advised="[0.1, 10]",
        source="1 to 10 in Liang et al. 2021, arXiv 2106.14448",
        below="it only doubles the cost",
        above="the two passes agree best when all answers are the same, and the labels hardly count",
    )
    """Weight of the disagreement."""

    slots = {"objective": "compare"}
    neutral = {"alpha": 0.0, "model.dropout": 0.0}
    control = "train_longer"
    passes = 2.0
    replays = True

    def objective(self, run: Run, inner: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
        """Run both passes; dropout of the second continues the draws of the first. Other draws go by its own `part`."""
        first = inner(batch)
        second = inner(replace(batch, part=(*batch.part, 1)))
        divergence = disagreement(first.logits, second.logits, run.multi_label)
        return replace(first, loss=(first.loss + second.loss) / 2 + self.alpha * divergence)

    def check(self, run: Run) -> Iterable[str]:
        """Warn if the model has no dropout: both passes are then the same."""
        if not any(isinstance(module, nn.Dropout) and module.p for module in run.bare_model.modules()):
            yield f"tricks.{self.name}: the model has no dropout, so two passes never differ; set model.dropout=0.1."


def disagreement(one: Tensor, other: Tensor, multi_label: bool) -> Tensor:
    """The mean of both Kullback-Leibler divergences, (row), in at least 32 bits.

    Args:
        one: logits, (row, class).
        other: logits, (row, class).
        multi_label: whether each class is a separate binary distribution.
    """
    kind = torch.promote_types(one.dtype, torch.float32)
    pair = [logits.to(kind) for logits in (one, other)]
    if multi_label:
        pair = [torch.stack([functional.logsigmoid(each), functional.logsigmoid(-each)], -1) for each in pair]
    else:
        pair = [functional.log_softmax(each, -1) for each in pair]
    # KL(p || q) + KL(q || p) = sum of (p - q) (log p - log q)
    difference = (pair[0].exp() - pair[1].exp()) * (pair[0] - pair[1])
    return difference.flatten(1).sum(1) / 2
