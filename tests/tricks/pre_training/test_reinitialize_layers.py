"""Reinitialize layers: which weights are new, and that they are those of an untrained model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from recipes import UserError
from recipes.base import Base
from recipes.testing import copy_weights, in_child, tiny_config, tiny_run


def weights(folder: Path, *overrides: str) -> dict[str, np.ndarray]:
    """A run's weights before training, where the loaded ones are all 7."""
    inner = Base.model

    def trained(self: Base) -> nn.Module:
        model = inner(self)
        with torch.no_grad():
            for weight in model.parameters():
                weight.fill_(7.0)
        return model

    Base.model = trained  # type: ignore[method-assign]
    return copy_weights(tiny_run(tiny_config(*overrides), folder))


def new_ones(result: dict[str, np.ndarray]) -> set[str]:
    return {name for name, values in result.items() if values.dtype == np.float32 and not (values == 7).all()}


def test_the_highest_layers_and_what_is_above_them_but_the_head(tmp_path: Path) -> None:
    result = in_child(lambda: weights(tmp_path, "+tricks=[reinitialize_layers]"))
    assert new_ones(result) == {name for name in result if "layer.1." in name or "pooler" in name}
    dense = result["bert.encoder.layer.1.output.dense.weight"]
    assert dense.std() == pytest.approx(0.02, rel=0.1) and abs(dense.mean()) < 0.002
    assert (result["bert.encoder.layer.1.output.dense.bias"] == 0).all()
    assert (result["bert.encoder.layer.1.output.LayerNorm.weight"] == 1).all()


def test_all_layers_leave_the_embeddings(tmp_path: Path) -> None:
    result = in_child(lambda: weights(tmp_path, "+tricks=[reinitialize_layers]", "tricks.reinitialize_layers.count=2"))
    remaining = {name for name in result if result[name].dtype == np.float32} - new_ones(result)
    assert remaining == {name for name in result if "embeddings." in name or "classifier" in name} - {
        "bert.embeddings.position_ids",
        "bert.embeddings.token_type_ids",
    }


def test_the_seed_of_new_weights_decides(tmp_path: Path) -> None:
    def dense(*overrides: str) -> np.ndarray:
        result = in_child(lambda: weights(tmp_path, "+tricks=[reinitialize_layers]", *overrides))
        return result["bert.encoder.layer.1.output.dense.weight"]

    assert (dense() == dense("seeds.order=5")).all()
    assert (dense() != dense("seeds.init=5")).any()


def test_more_layers_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"tricks\.reinitialize_layers\.count=3: the model has 2 layers; choose 0 to 2\."
    ):
        tiny_run(tiny_config("+tricks=[reinitialize_layers]", "tricks.reinitialize_layers.count=3"), tmp_path)
