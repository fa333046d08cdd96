"""Reinitialize layers: draw new weights for the highest layers, which are specific to the pretraining task.

The weights of the last `count` layers, and of modules between them and the head (a pooler), are initialized as in an
untrained model.

Source: Zhang, Wu, Katiyar, Weinberger, Artzi 2021, Revisiting Few-sample BERT Fine-tuning, arXiv 2006.05987.
Cost: one pass.
Use when: rows are few and results vary much from seed to seed. Avoid when: the encoder was trained for sentence vectors
    (minilm): its last layers are specific to that.
Composes: model/adapt. Draws from seeds.init.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from transformers import PreTrainedModel

from recipes import ModelContext, Trick, UserError, allowed
from recipes.models.anatomy import depths, head, layers
from recipes.runtime.randomness import key


@dataclass
class ReinitializeLayers(Trick):
    """Reinitialize the highest layers."""

    count: int = allowed(
        "[0, inf)",
        advised="[1, 6]",
        source="Zhang et al. 2021, arXiv 2006.05987",
        above="most of what was pretrained is lost",
    )
    """Number of layers, from the highest down."""

    slots = {"model": "adapt"}
    neutral = {"count": 0}
    replays = True

    def model(self, run: ModelContext, inner: Callable[[], nn.Module]) -> nn.Module:
        """Reinitialize module by module, by the method of the model family."""
        model = cast(PreTrainedModel, inner())
        if self.count > (most := len(layers(model))):
            raise UserError(f"tricks.{self.name}.count={self.count}: the model has {most} layers; choose 0 to {most}.")
        if self.count:
            torch.manual_seed(key(run.config.seeds.init, "reinitialize_layers"))
            depth, head_weights = depths(model), set(head(model).parameters())
            for module in model.modules():
                parameters = list(module.parameters(recurse=False))
                if parameters and all(depth[each] <= self.count and each not in head_weights for each in parameters):
                    for each in parameters:
                        each._is_hf_initialized = False  # type: ignore[attr-defined]
                    model._init_weights(module)  # type: ignore[no-untyped-call]
        return model
