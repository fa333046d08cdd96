"""Modifying and capturing vectors inside the model, and `mixup` of them in every family."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from recipes.models import hidden_states
from recipes.models.anatomy import head, layers, pooled_vectors
from recipes.runtime.randomness import seed_forward
from tests.recipes.models.families import (
    FAMILIES,
    FAMILY,
    FAST_FAMILIES,
    LAMBDAS,
    PARTNER,
    TEXTS,
    WIDTH,
    batch_of,
    load_classifier,
    logits_of,
    mixup_objective,
)
from tests.sampling import only
from tricks.in_training.mixup import FROM_PARTNER, LAYER


@FAMILY
def test_capture_gives_the_input_before_any_hook(folders: dict[str, str], family: str) -> None:
    model, batch = load_classifier(folders[family]).eval(), batch_of(folders[family])
    ran: list[nn.Module] = []
    head(model).register_forward_hook(lambda module, inputs, output: ran.append(module))
    layer = layers(model)[1]
    vectors = hidden_states.capture(model, layer, batch.inputs)
    assert vectors.shape[::2] == (len(batch), WIDTH)
    with hidden_states.modify(layer, torch.zeros_like):
        assert torch.equal(hidden_states.capture(model, layer, batch.inputs), vectors)
    assert not ran  # the forward pass ends at the layer
    assert not layer._forward_pre_hooks


@FAMILY
def test_modify_changes_the_logits_inside_the_scope_only(folders: dict[str, str], family: str) -> None:
    model, batch = load_classifier(folders[family]).eval(), batch_of(folders[family])
    plain = logits_of(model, batch)
    with hidden_states.modify(layers(model)[1], lambda vectors: vectors.flip(-1)):
        assert not torch.allclose(logits_of(model, batch), plain, atol=1e-3)
    with pytest.raises(ZeroDivisionError), hidden_states.modify(layers(model)[1], lambda vectors: vectors * (1 / 0)):
        logits_of(model, batch)
    assert torch.equal(logits_of(model, batch), plain)


class KeywordModel(nn.Module):
    """Passes vectors to a module by keyword, and leaves another module out."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.unused = nn.Linear(2, 2), nn.Bilinear(2, 2, 2)

    def forward(self, vectors: Tensor) -> Tensor:
        output: Tensor = self.linear(input=vectors)
        return output


def test_a_module_that_does_not_run_is_refused() -> None:
    model = KeywordModel()
    with pytest.raises(ValueError, match="KeywordModel does not run its Bilinear"):
        hidden_states.capture(model, model.unused, {"vectors": torch.ones(1, 2)})


def test_a_module_that_gets_its_vectors_by_keyword_is_refused() -> None:
    model = KeywordModel()
    with pytest.raises(ValueError, match="Linear does not take its vectors as the first argument"):
        hidden_states.capture(model, model.linear, {"vectors": torch.ones(1, 2)})
    with (
        pytest.raises(ValueError, match="Linear does not take its vectors as the first argument"),
        hidden_states.modify(model.linear, torch.zeros_like),
    ):
        model(torch.ones(1, 2))


class TestMixup:
    """`mixup` of hidden states and pooled vectors: hooks, masks, backward passes."""

    @FAMILY
    def test_hidden_states_of_each_text_alone_are_mixed(self, folders: dict[str, str], family: str) -> None:
        """The expected logits are computed one row at a time, without padding, so that no mask is needed."""
        model, batch = load_classifier(folders[family]).eval(), batch_of(folders[family])
        layer = layers(model)[1]

        def run(ids: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
            hook = layer.register_forward_pre_hook(lambda module, inputs: (change(inputs[0]), *inputs[1:]))
            logits: Tensor = model(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None]).logits[0]
            hook.remove()
            return logits

        def states_of(ids: Tensor) -> Tensor:
            inputs: list[Tensor] = []
            run(ids, lambda states: inputs.append(states) or states)  # type: ignore[func-returns-value]
            return inputs[0][:, : len(ids)]

        def replace_by(states: Tensor) -> Callable[[Tensor], Tensor]:
            return lambda vectors: torch.cat([states, vectors[:, states.shape[1] :]], dim=1)

        texts = [batch.inputs["input_ids"][row, : batch.lengths[row]] for row in range(len(TEXTS))]
        interpolated, swapped = [], []
        taken = torch.zeros_like(batch.inputs["input_ids"], dtype=torch.bool)
        for row, weight in enumerate(LAMBDAS):
            own, other = texts[row], texts[row if weight == 1.0 else int(PARTNER[row])]
            one, two = states_of(own), states_of(other)
            longer = max(own, other, key=len)
            sides = [functional.pad(states, (0, 0, 0, len(longer) - states.shape[1])) for states in (one, two)]
            interpolated.append(run(longer, replace_by(weight * sides[0] + (1 - weight) * sides[1])))
            taken[row, 1] = True
            swapped.append(run(own, replace_by(torch.cat([one[:, :1], two[:, 1:2], one[:, 2:]], dim=1))))
        carried = {LAYER: torch.ones(len(TEXTS), dtype=torch.int64), FROM_PARTNER: taken}
        for mask, expected in (("whole", interpolated), ("block", swapped)):
            logits = mixup_objective(model, batch, [], carried, level="hidden", mask=mask).logits
            assert torch.allclose(logits, torch.stack(expected), atol=2e-5), mask
            assert not torch.isclose(logits, logits_of(model, batch), atol=1e-3).all(-1)[LAMBDAS != 1.0].any(), mask
        assert not any(each._forward_pre_hooks for each in model.modules())

    @FAMILY
    def test_pooled_vectors_are_mixed_before_the_head(self, folders: dict[str, str], family: str) -> None:
        model, batch = load_classifier(folders[family]).eval(), batch_of(folders[family])
        with pooled_vectors(head(model)) as pooled:
            logits_of(model, batch)
        lambdas = torch.tensor(LAMBDAS, dtype=torch.float32)[:, None]
        other = torch.where(lambdas == 1.0, pooled[0], pooled[0][PARTNER])
        expected = head(model)(lambdas * pooled[0] + (1 - lambdas) * other)
        assert torch.allclose(mixup_objective(model, batch, [], level="sentence").logits, expected, atol=1e-5)

    @pytest.mark.parametrize("mask", ["whole", "block"])
    @pytest.mark.parametrize("family", only(FAST_FAMILIES, [name for name in FAMILIES if name != "mpnet"]))
    def test_gradient_checkpointing_changes_no_gradient(self, folders: dict[str, str], family: str, mask: str) -> None:
        batch, gradients = batch_of(folders[family]), []
        taken = (torch.arange(batch.inputs["input_ids"].shape[1]) == 1).expand_as(batch.inputs["input_ids"])
        carried = {LAYER: torch.ones(len(TEXTS), dtype=torch.int64), FROM_PARTNER: taken}
        for checkpointing in (False, True):
            model = load_classifier(folders[family], 0.2, checkpointing).train()
            seed_forward(0, 0, 0)
            mixup_objective(model, batch, [], carried, level="hidden", mask=mask).loss.sum().backward()
            gradients.append({name: each.grad for name, each in model.named_parameters() if each.grad is not None})
        assert gradients[0].keys() == gradients[1].keys()
        for name, gradient in gradients[0].items():
            assert torch.allclose(gradient, gradients[1][name], atol=1e-6), name
