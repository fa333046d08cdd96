"""Layer-wise learning rate: the rate of every weight, and what else a group says."""

from pathlib import Path
from typing import Any

import pytest

from recipes.testing import in_child, tiny_config, tiny_run


def rates(folder: Path, *overrides: str) -> dict[str, tuple[float, float]]:
    """Rate and weight decay by name."""
    config = tiny_config("+tricks=[layerwise_learning_rate]", "train.learning_rate=0.01", *overrides)
    run = tiny_run(config, folder)
    names = {weight: name for name, weight in run.bare_model.named_parameters()}
    optimizer: Any = run.optimizer
    return {
        names[weight]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for weight in group["params"]
    }


def test_by_depth(tmp_path: Path) -> None:
    result = in_child(lambda: rates(tmp_path, "tricks.layerwise_learning_rate.decay=0.5"))
    assert len(result) > 30
    for name, (rate, decay) in result.items():
        position = {"embeddings": 2, "layer.0.": 1, "layer.1.": 0, "pooler": 0, "classifier": 0}
        (power,) = [each for part, each in position.items() if part in name]
        assert rate == pytest.approx(0.01 * 0.5**power), name
        assert decay == (0.0 if "bias" in name or "LayerNorm" in name else 0.01), name


def test_a_run_scales_all_alike(tmp_path: Path) -> None:
    def fractions() -> set[float]:
        run = tiny_run(tiny_config("+tricks=[layerwise_learning_rate]"), tmp_path)
        for index in range(3):
            run._step(run.seams.batches(run.train, 0)[index])
        optimizer: Any = run.optimizer
        return {
            round(group["lr"] / rate, 9) for group, rate in zip(optimizer.param_groups, run.base_rates, strict=True)
        }

    assert len(in_child(fractions)) == 1
