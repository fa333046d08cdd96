"""PGD: train on each text and on its word vectors moved in several small steps that raise the loss, inside a ball.

r <- P(r + alpha u g / |g|), `count` times from r = 0. g is the gradient of the full composed loss at x + r, and P
projects into |r| <= epsilon u. The gradients of the loss at x and at x + r are added. x, g and the unit u depend on
`scope`, as in fgm: the word vectors of one text, in mean norms of a word vector; or the word embedding matrix, u = 1.

Source: Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks, arXiv 1706.06083; on word
    vectors with 2-norms as in Miyato et al. 2017, arXiv 1605.07725, with the clean gradient added, as is usual for
    text classifiers. The gradients of intermediate steps are dropped.
Cost: `count` + 1 passes; gradients of the weights are stored twice. scope=matrix also copies the matrix.
Use when: fgm helps and time does not matter. Avoid when: time matters: fgm has most of the effect in half the passes.
Composes: as fgm: gradient/attack, inside plans and outside splits; objective/term, to know its rows; model/measure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from recipes import Run, allowed
from recipes.toolkit.adversarial import Attack


@dataclass
class Pgd(Attack):
    """An attack of several steps in a ball of radius epsilon."""

    alpha: float = allowed("(0, inf)")
    """Length of a step, in the unit of epsilon."""
    count: int = allowed("[1, inf)")
    """Number of steps."""

    neutral = {"epsilon": 0.0}
    control = "train_longer"
    passes = 4.0

    def steps(self) -> Sequence[tuple[float, float]]:
        """`count` steps of length alpha."""
        return [(self.alpha, self.epsilon)] * self.count

    def distances(self) -> Mapping[str, float]:
        """The radius of the ball, and the length of a step."""
        return {"epsilon": self.epsilon, "alpha": self.alpha}

    def check(self, run: Run) -> Iterable[str]:
        """Warn if a step is longer than the radius of the ball."""
        yield from super().check(run)
        if 0 < self.epsilon < self.alpha:
            yield (
                f"tricks.{self.name}.alpha={self.alpha:g}, the length of a step, is more than "
                f"epsilon={self.epsilon:g}, the radius of the ball, so every step ends at its edge; "
                f"tricks.{self.name}.alpha={self.epsilon / 2:g}."
            )
