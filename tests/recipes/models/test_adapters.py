"""Low-rank adapters: the arithmetic by hand, and a plain model with the merged weights in every family."""

from typing import cast

import torch
from torch import Tensor, nn

from recipes.models.adapters import adapted_modules, add_adapters, find_targets, merged_weights
from recipes.models.anatomy import depths, head, layers
from tests.recipes.models.families import CLASSES, FAMILY, batch_of, load_classifier, logits_of

RANK = len(CLASSES)  # so that an adapter has as many outputs as the head


def adapted(folder: str, kind: str = "linear") -> nn.Module:
    torch.manual_seed(0)
    model = load_classifier(folder).eval()
    add_adapters(model, find_targets(model, kind), RANK, 6.0, 0.0)
    return model


def train_a_little(model: nn.Module) -> None:
    """Give B other values than 0."""
    torch.manual_seed(1)
    with torch.no_grad():
        for _, module in adapted_modules(model):
            module.lora_B["default"].weight.normal_(std=0.1)


@FAMILY
def test_untrained_adapters_change_nothing(folders: dict[str, str], family: str) -> None:
    plain, batch = load_classifier(folders[family]).eval(), batch_of(folders[family])
    model = adapted(folders[family])
    assert torch.equal(logits_of(model, batch), logits_of(plain, batch))
    # Each linear module inside the layers has one, and those outside none.
    inside = [module for module in layers(plain).modules() if isinstance(module, nn.Linear)]
    assert len(list(adapted_modules(model))) == len(inside) > 0
    path_of_head = next(path for path, module in plain.named_modules() if module is head(plain))
    assert head(model) is model.get_submodule(path_of_head)


@FAMILY
def test_merged_weights_make_the_same_logits(folders: dict[str, str], family: str) -> None:
    model, plain, batch = adapted(folders[family]), load_classifier(folders[family]).eval(), batch_of(folders[family])
    before = logits_of(model, batch)
    train_a_little(model)
    trained = logits_of(model, batch)
    weights = merged_weights(model)
    assert weights is not None
    plain.load_state_dict(weights)  # strict: the names are those of the plain model
    assert torch.allclose(logits_of(plain, batch), trained, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before, trained, atol=1e-3)
    # The model keeps its adapters.
    assert torch.equal(logits_of(model, batch), trained)


@FAMILY
def test_attention_has_fewer_targets_and_some_in_each_layer(folders: dict[str, str], family: str) -> None:
    model = load_classifier(folders[family])
    attention, linear = find_targets(model, "attention"), find_targets(model, "linear")
    assert set(attention) < set(linear)
    # The linear modules between the width of the model and the larger one of the feed-forward part are outside.
    modules = dict(model.named_modules())
    wider = {name for name in linear if cast(nn.Linear, modules[name]).in_features == 64}
    assert wider and not wider & set(attention)
    prefix = next(name for name, module in modules.items() if module is layers(model))
    assert {name.removeprefix(f"{prefix}.")[0] for name in attention} == {"0", "1"}


def test_the_sum_by_hand(folders: dict[str, str]) -> None:
    model = adapted(folders["bert"])
    train_a_little(model)
    _, module = next(iter(adapted_modules(model)))
    vectors = torch.randn(5, 32)
    base, low, high = module.base_layer, module.lora_A["default"].weight, module.lora_B["default"].weight
    assert low.shape == (RANK, 32) and high.shape == (32, RANK)
    expected: Tensor = vectors @ base.weight.T + base.bias + 6.0 / RANK * vectors @ low.T @ high.T
    assert torch.allclose(module(vectors), expected, atol=1e-6)


def test_only_adapters_and_what_is_above_the_layers_are_trained(folders: dict[str, str]) -> None:
    model = adapted(folders["bert"])
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert all("lora_" in name or "pooler" in name or "classifier" in name for name in trained)
    assert {name for name in trained if "lora_" not in name} == {
        *("bert.pooler.dense.weight", "bert.pooler.dense.bias"),
        *("classifier.weight", "classifier.bias"),
    }
    # An adapter is as deep as its layer, which layer-wise learning rates go by.
    depth = depths(model)
    assert {depth[weight] for name, weight in model.named_parameters() if "layer.0." in name} == {2}


def test_frozen_layers_get_none(folders: dict[str, str]) -> None:
    model = load_classifier(folders["bert"])
    for weight in layers(model)[0].parameters():
        weight.requires_grad_(False)
    assert all(".layer.1." in name for name in find_targets(model, "linear"))


def test_a_plain_model_has_nothing_to_merge(folders: dict[str, str]) -> None:
    assert merged_weights(load_classifier(folders["bert"])) is None
