"""Learning rates by weight."""

import torch
from torch import nn

from recipes.toolkit.rates import scale_rates


def test_each_group_is_split_by_factor_and_keeps_its_settings() -> None:
    weights = [nn.Parameter(torch.zeros(size)) for size in range(1, 5)]
    groups = [{"params": weights[:3], "weight_decay": 0.5, "lr": 0.2}, {"params": weights[3:], "lr": 0.3}]
    optimizer = scale_rates(torch.optim.AdamW(groups), dict(zip(weights, (1.0, 2.0, 1.0, 3.0), strict=True)))
    numbers = {weight: number for number, weight in enumerate(weights)}
    split = [
        ([numbers[each] for each in group["params"]], group["weight_decay"], round(group["lr"], 6))
        for group in optimizer.param_groups
    ]
    assert split == [([1], 0.5, 0.4), ([0, 2], 0.5, 0.2), ([3], 0.01, 0.9)]
