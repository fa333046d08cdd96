"""Layer-wise learning rate: lower layers learn more slowly.

The rate of layer l of L is train.learning_rate * decay ** (L - l); the embeddings are layer 0; the head and
other modules above the layers keep the full rate.

Source: Howard, Ruder 2018, Universal Language Model Fine-tuning, arXiv 1801.06146 (discriminative fine-tuning, decay
    1/2.6); for BERT Sun et al. 2019, arXiv 1905.05583 (0.95); AutoGluon's default is 0.9.
Cost: one pass; a parameter group of the optimizer for each layer.
Use when: rows are few, or training is unstable: pretrained weights change less. Avoid when: the text differs from the
    encoder's training data, so its lower layers have to learn.
Composes: optimizer/optimizer: it splits the parameter groups of any optimizer. Schedules scale all groups equally.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn
from torch.optim import Optimizer

from recipes import Run, Trick, allowed
from recipes.models.anatomy import depths
from recipes.toolkit.rates import scale_rates
from recipes.toolkit.requirements import require_layers


@dataclass
class LayerwiseLearningRate(Trick):
    """Split the parameter groups of the optimizer by depth."""

    decay: float = allowed(
        "(0, 1]",
        advised="[0.8, 1]",
        source="0.95 in Sun et al. 2019, arXiv 1905.05583; 0.9 in AutoGluon",
        below="the lower half of the layers hardly learns",
    )
    """Rate of a layer over that of the one above."""

    slots = {"optimizer": "optimizer"}
    neutral = {"decay": 1.0}

    def optimizer(self, run: Run, inner: Callable[[nn.Module], Optimizer], model: nn.Module) -> Optimizer:
        """Split each group into one group for each depth."""
        optimizer = inner(model)
        if self.decay == 1:
            return optimizer
        require_layers(model, f"tricks.{self.name}")
        depth = {weight: max(0, each - 1) for weight, each in depths(model).items()}
        return scale_rates(optimizer, {weight: self.decay**power for weight, power in depth.items()})
