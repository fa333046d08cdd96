"""FGM: train on each text and on its word vectors moved one step in the direction that raises the loss most.

gradient = that of the loss at x plus that at x + epsilon g / |g|, g the gradient of the whole composed loss in the
text's word vectors, |g| its norm over all of them.

Source: Miyato, Dai, Goodfellow 2017, Adversarial Training Methods for Semi-Supervised Text Classification, arXiv
    1605.07725. The code in wide use moves the embedding *matrix* instead, by one norm over the batch: its epsilon is
    shared by all rows, here each text has its own, so epsilon = its epsilon / the root of the batch's rows here.
Cost: two passes, the second without anything more than the first.
Use when: data is small and the encoder overfits. Avoid when: time is short: a plain run of twice the updates is the arm
    to beat.
Composes: gradient/attack, inside plans and outside splits; objective/term, to know its rows. Focal loss, mixtures and
    comparisons hold on the attacked pass too; a mixture's partners, where they run apart, are moved with it. The sum of
    both gradients is clipped by train.clip_norm.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from recipes import allowed
from recipes.toolkit.adversarial import Attack


@dataclass
class Fgm(Attack):
    """One step."""

    epsilon: float = allowed("[0, inf)")
    """How far each text's word vectors move, as one vector."""

    neutral = {"epsilon": 0.0}
    control = "train_longer"
    passes = 2.0

    def steps(self) -> Sequence[tuple[float, float]]:
        """All the way at once."""
        return [(self.epsilon, self.epsilon)]
