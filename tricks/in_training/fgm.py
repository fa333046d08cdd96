"""FGM: train on each text and on its word vectors moved one step in the direction that raises the loss most.

The gradients of the loss at x and at x + epsilon g / |g| are added. g is the gradient of the full composed loss in the
text's word vectors, and |g| its norm over all of them.

Source: Miyato, Dai, Goodfellow 2017, Adversarial Training Methods for Semi-Supervised Text Classification, arXiv
    1605.07725. The code in wide use moves the embedding *matrix* instead, by one norm over the batch. There all rows
    divide one epsilon; here each text has its own, so epsilon here = its epsilon / the root of the batch's rows.
Cost: two passes.
Use when: data is small and the encoder overfits. Avoid when: time is short: a plain run of twice the updates is the
    baseline to beat.
Composes: gradient/attack, inside plans and outside splits; objective/term, to know its rows. Focal loss, mixtures and
    comparisons apply to the attacked pass too. The partners of a mixture, if they run in a separate pass, are moved
    with it. train.clip_norm clips the sum of both gradients.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from recipes import allowed
from recipes.toolkit.adversarial import Attack


@dataclass
class Fgm(Attack):
    """An attack of one step."""

    epsilon: float = allowed("[0, inf)")
    """How far each text's word vectors move, as one vector."""

    neutral = {"epsilon": 0.0}
    control = "train_longer"
    passes = 2.0

    def steps(self) -> Sequence[tuple[float, float]]:
        """One step of length epsilon."""
        return [(self.epsilon, self.epsilon)]
