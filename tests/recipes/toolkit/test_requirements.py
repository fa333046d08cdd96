"""What a trick needs of the model: layers in a list, and a head that reads one vector of a text."""

import pytest
import torch
from torch import nn

from recipes.errors import UserError
from recipes.toolkit.requirements import require_layers, require_pooled_head
from tests.recipes.models.test_inputs import small_model


def test_layers_are_returned_or_their_lack_is_refused() -> None:
    model: nn.Module = small_model("GPT2")
    assert len(require_layers(model, "tricks.mine")) == model.config.num_hidden_layers  # type: ignore[union-attr]
    with pytest.raises(UserError, match=r"tricks.mine: Albert.* has no list of 2 layers; leave it out, or take"):
        require_layers(small_model("Albert"), "tricks.mine")


def test_a_head_that_reads_every_token_is_refused() -> None:
    for family in ("Bert", "XLNet", "Bart"):
        require_pooled_head(small_model(family), "tricks.mine")
    model = small_model("GPT2").train()
    state = torch.get_rng_state()
    with pytest.raises(UserError, match="tricks.mine: the head of GPT2.* reads every token, .* of a text; use that"):
        require_pooled_head(model, "tricks.mine", "use that")
    assert torch.equal(state, torch.get_rng_state())
    assert model.training and not any(module._forward_pre_hooks for module in model.modules())
