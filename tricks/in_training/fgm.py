"""FGM: train on each text and on its word vectors moved one step in the direction that raises the loss most.

The gradients of the loss at x and at x + epsilon u g / |g| are added. g is the gradient of the full composed loss.

- scope=text: x are the word vectors of one text, and |g| is the norm over all of them. u is the mean norm of a word
  vector of the model's vocabulary: 1.07 in MiniLM, about 1.4 in BERT. It is measured when the model is loaded, so that
  an epsilon suits another model too. Padding and the other texts of the batch change nothing.
- scope=matrix: x is the word embedding matrix, g its gradient over the full update, and u = 1. This is the code in wide
  use, so its epsilon holds as it stands. All texts of the batch divide one epsilon, but share the moves of the tokens
  that they have in common.

Source: Miyato, Dai, Goodfellow 2017, Adversarial Training Methods for Semi-Supervised Text Classification, arXiv
    1605.07725 (scope=text, on normalized vectors). scope=matrix: https://kexue.fm/archives/7234 and its many copies.
Cost: two passes. scope=matrix also copies the matrix.
Use when: data is small and the encoder overfits. Avoid when: time is short: a plain run of twice the updates is the
    baseline to beat.
Composes: gradient/attack, inside plans and outside splits; objective/term, to know its rows; model/measure, outside all
    that change the model. Focal loss, mixtures and comparisons apply to the attacked pass too. The partners of a
    mixture, if they run in a separate pass, are moved with it. train.clip_norm clips the sum of both gradients.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from recipes.toolkit.adversarial import Attack


@dataclass
class Fgm(Attack):
    """An attack of one step."""

    neutral = {"epsilon": 0.0}
    control = "train_longer"
    passes = 2.0

    def steps(self) -> Sequence[tuple[float, float]]:
        """One step of length epsilon."""
        return [(self.epsilon, self.epsilon)]
