"""PGD: train on each text and on its word vectors moved in several small steps that raise the loss, inside a ball.

r <- P(r + alpha g / |g|), `count` times from r = 0. g is the gradient of the full composed loss at x + r in the text's
word vectors, and P projects into |r| <= epsilon. The gradients of the loss at x and at x + r are added.

Source: Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks, arXiv 1706.06083; on word
    vectors with 2-norms as in Miyato et al. 2017, arXiv 1605.07725, with the clean gradient added, as is usual for
    text classifiers. The gradients of intermediate steps are dropped.
Cost: `count` + 1 passes; gradients of the weights are stored twice.
Use when: fgm helps and time does not matter. Avoid when: time matters: fgm has most of the effect in half the passes.
Composes: as fgm: gradient/attack, inside plans and outside splits; objective/term, to know its rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from recipes import allowed
from recipes.toolkit.adversarial import Attack


@dataclass
class Pgd(Attack):
    """An attack of several steps in a ball."""

    epsilon: float = allowed("[0, inf)")
    """Radius of the ball in which each text's word vectors move, as one vector."""
    alpha: float = allowed("(0, inf)")
    """Length of a step."""
    count: int = allowed("[1, inf)")
    """Number of steps."""

    neutral = {"epsilon": 0.0}
    control = "train_longer"
    passes = 4.0

    def steps(self) -> Sequence[tuple[float, float]]:
        """`count` steps of length alpha."""
        return [(self.alpha, self.epsilon)] * self.count
