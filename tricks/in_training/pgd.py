"""PGD: train on each text and on its word vectors moved in several small steps, inside a ball, that raise the loss.

r <- P(r + alpha g / |g|), `steps` times from r = 0, g the gradient of the whole composed loss at x + r in the text's
word vectors, P back into |r| <= epsilon. gradient = that of the loss at x plus that at x + r.

Source: Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks, arXiv 1706.06083; on word
    vectors with 2-norms as in Miyato et al. 2017, arXiv 1605.07725, and with the clean gradient kept, as text
    classifiers use it. The gradients of the steps between are dropped.
Cost: `steps` + 1 passes; gradients of the weights are held twice.
Use when: fgm helps and time does not matter. Avoid when: it does: fgm has most of the effect in half of the passes.
Composes: as fgm: gradient/attack, inside plans and outside splits; objective/term, to know its rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from recipes import allowed
from recipes.toolkit.adversarial import Attack


@dataclass
class Pgd(Attack):
    """Several steps in a ball."""

    epsilon: float = allowed("[0, inf)")
    """Radius of the ball in which each text's word vectors move, as one vector."""
    alpha: float = allowed("(0, inf)")
    """How far one step goes."""
    count: int = allowed("[1, inf)")
    """Steps."""

    neutral = {"epsilon": 0.0}
    control = "train_longer"
    passes = 4.0

    def steps(self) -> Sequence[tuple[float, float]]:
        """The same one again and again."""
        return [(self.alpha, self.epsilon)] * self.count
