"""Learning rates of their own for some of the weights."""

from collections.abc import Mapping

from torch import nn
from torch.optim import Optimizer


def scale_rates(optimizer: Optimizer, factor_of: Mapping[nn.Parameter, float]) -> Optimizer:
    """Split each parameter group of an optimizer into one group for each factor of its learning rate.

    Args:
        optimizer: it is changed, before its first step.
        factor_of: the factor of each of its weights.
    """
    groups = list(optimizer.param_groups)
    optimizer.param_groups.clear()
    for group in groups:
        for factor in sorted({factor_of[weight] for weight in group["params"]}, reverse=True):
            weights = [weight for weight in group["params"] if factor_of[weight] == factor]
            optimizer.add_param_group({**group, "params": weights, "lr": group["lr"] * factor})
    return optimizer
