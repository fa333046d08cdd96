"""Changing word vectors: the order of nested scopes, and that nothing of it stays."""

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from recipes.models import word_vectors
from recipes.models.anatomy import word_embeddings

IDS = torch.tensor([[1, 2, 3], [4, 5, 6]])


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=9,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=16,
        max_position_embeddings=8,
    )
    return BertForSequenceClassification(config).eval()


def test_the_model_sees_what_was_changed(model: nn.Module) -> None:
    word_embeddings(model).weight.data[7] = 0.0
    zeros = model(torch.full_like(IDS, 7)).logits
    with word_vectors.changed(model, 3, torch.zeros_like):
        assert torch.equal(model(IDS).logits, zeros)
    assert not torch.allclose(model(IDS).logits, zeros)


def test_the_inner_scope_acts_first(model: nn.Module) -> None:
    calls: list[str] = []

    def call(name: str, vectors: Tensor) -> Tensor:
        calls.append(name)
        return vectors

    with word_vectors.changed(model, 3, lambda vectors: call("attack", 10 * vectors)):
        with word_vectors.changed(model, 3, lambda vectors: call("mix", vectors + 1)):
            found = word_embeddings(model)(IDS)
        alone = word_embeddings(model)(IDS)
    own = word_vectors.of(model, IDS)
    assert torch.equal(found, 10 * (own + 1))
    assert torch.equal(alone, 10 * own)
    assert calls == ["mix", "attack", "attack"]


def test_nothing_stays_behind_not_even_after_an_exception(model: nn.Module) -> None:
    plain = model(IDS).logits
    with pytest.raises(RuntimeError, match="inside"), word_vectors.changed(model, 3, torch.zeros_like):
        raise RuntimeError("inside")
    with pytest.raises(RuntimeError, match="in the change"), word_vectors.changed(model, 3, _fail):
        model(IDS)
    assert not word_embeddings(model)._forward_hooks
    assert torch.equal(model(IDS).logits, plain)


def _fail(vectors: Tensor) -> Tensor:
    raise RuntimeError("in the change")


def test_a_foreign_hook_sees_what_the_model_sees_and_stays(model: nn.Module) -> None:
    seen: list[Tensor] = []
    word_embeddings(model).register_forward_hook(lambda module, inputs, output: seen.append(output))
    with word_vectors.changed(model, 3, torch.zeros_like):
        model(IDS)
    model(IDS)
    assert torch.equal(seen[0], torch.zeros(2, 3, 8))
    assert torch.equal(seen[1], word_vectors.of(model, IDS))


def test_of_passes_every_hook_and_has_a_gradient(model: nn.Module) -> None:
    with word_vectors.changed(model, 3, torch.zeros_like):
        vectors = word_vectors.of(model, IDS)
    assert torch.equal(vectors, word_embeddings(model).weight[IDS])
    vectors.sum().backward()
    assert word_embeddings(model).weight.grad[IDS].eq(1).all()


def test_what_a_model_adds_behind_the_batch_is_kept(model: nn.Module) -> None:
    own = word_vectors.of(model, IDS)
    with word_vectors.changed(model, 2, torch.zeros_like):
        found = word_embeddings(model)(IDS)
    assert torch.equal(found[:, :2], torch.zeros_like(own[:, :2]))
    assert torch.equal(found[:, 2:], own[:, 2:])
