"""Modifying word vectors: nested scopes, what stays afterwards, and `mixup` of them in every family."""

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from recipes.data.batch import Batch
from recipes.errors import UserError
from recipes.models import word_vectors
from recipes.models.anatomy import layers, word_embeddings
from tests.recipes.models.families import (
    COUNTING_FROM_PADDING,
    FAMILIES,
    FAMILY,
    LAMBDAS,
    PARTNER,
    batch_of,
    load_classifier,
    logits_of,
    mixup_objective,
)
from tests.recipes.models.test_inputs import small_model

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


def test_the_model_gets_the_modified_vectors(model: nn.Module) -> None:
    word_embeddings(model).weight.data[7] = 0.0
    zeros = model(torch.full_like(IDS, 7)).logits
    with word_vectors.modify(model, 3, torch.zeros_like):
        assert torch.equal(model(IDS).logits, zeros)
    assert not torch.allclose(model(IDS).logits, zeros)


def test_the_inner_scope_acts_first(model: nn.Module) -> None:
    calls: list[str] = []

    def call(name: str, vectors: Tensor) -> Tensor:
        calls.append(name)
        return vectors

    with word_vectors.modify(model, 3, lambda vectors: call("attack", 10 * vectors)):
        with word_vectors.modify(model, 3, lambda vectors: call("mix", vectors + 1)):
            both = word_embeddings(model)(IDS)
        outer = word_embeddings(model)(IDS)
    own = word_vectors.embed(model, IDS)
    assert torch.equal(both, 10 * (own + 1))
    assert torch.equal(outer, 10 * own)
    assert calls == ["mix", "attack", "attack"]


def test_the_hook_is_removed_even_after_an_exception(model: nn.Module) -> None:
    plain = model(IDS).logits
    with pytest.raises(RuntimeError, match="inside"), word_vectors.modify(model, 3, torch.zeros_like):
        raise RuntimeError("inside")
    with pytest.raises(RuntimeError, match="in the change"), word_vectors.modify(model, 3, _fail):
        model(IDS)
    assert not word_embeddings(model)._forward_hooks
    assert torch.equal(model(IDS).logits, plain)


def _fail(vectors: Tensor) -> Tensor:
    raise RuntimeError("in the change")


def test_another_hook_gets_the_modified_vectors_and_stays(model: nn.Module) -> None:
    outputs: list[Tensor] = []
    word_embeddings(model).register_forward_hook(lambda module, inputs, output: outputs.append(output))
    with word_vectors.modify(model, 3, torch.zeros_like):
        model(IDS)
    model(IDS)
    assert torch.equal(outputs[0], torch.zeros(2, 3, 8))
    assert torch.equal(outputs[1], word_vectors.embed(model, IDS))


def test_embed_ignores_hooks_and_has_a_gradient(model: nn.Module) -> None:
    with word_vectors.modify(model, 3, torch.zeros_like):
        vectors = word_vectors.embed(model, IDS)
    assert torch.equal(vectors, word_embeddings(model).weight[IDS])
    vectors.sum().backward()
    assert word_embeddings(model).weight.grad[IDS].eq(1).all()


def test_vectors_of_padding_that_the_model_adds_are_not_modified(model: nn.Module) -> None:
    own = word_vectors.embed(model, IDS)
    with word_vectors.modify(model, 2, torch.zeros_like):
        vectors = word_embeddings(model)(IDS)
    assert torch.equal(vectors[:, :2], torch.zeros_like(own[:, :2]))
    assert torch.equal(vectors[:, 2:], own[:, 2:])


def test_has_hooks_inside_the_scope_only(model: nn.Module) -> None:
    assert not word_vectors.has_hooks(model)
    with word_vectors.modify(model, 3, torch.zeros_like):
        assert word_vectors.has_hooks(model)
    assert not word_vectors.has_hooks(model)


class TestMixup:
    """`mixup` of word vectors: plan, hook, masks, positions, backward pass."""

    @FAMILY
    def test_only_mixed_rows_change_and_both_texts_get_a_gradient(self, folders: dict[str, str], family: str) -> None:
        model, batch = load_classifier(folders[family]).eval(), batch_of(folders[family])
        plain = logits_of(model, batch)
        outcome = mixup_objective(model, batch, [])
        unmixed = LAMBDAS == 1.0
        assert torch.allclose(outcome.logits[unmixed], plain[unmixed], atol=1e-5)
        assert not torch.isclose(outcome.logits[~unmixed], plain[~unmixed], atol=1e-3).all(-1).any()
        outcome.loss.sum().backward()
        gradient = word_embeddings(model).weight.grad
        assert gradient is not None and gradient.isfinite().all() and gradient.abs().sum() > 0
        # Both texts of a mixture have a part in the gradient.
        rows = [0, int(PARTNER[0])]
        both = {int(token) for row in rows for token in batch.inputs["input_ids"][row, : batch.lengths[row]]}
        assert all(gradient[token].abs().sum() > 0 for token in both)
        assert not word_embeddings(model)._forward_hooks

    @pytest.mark.parametrize("family", [name for name in FAMILIES if name != "longformer"])
    def test_logits_equal_those_of_mixed_input_vectors(self, folders: dict[str, str], family: str) -> None:
        model, batch = load_classifier(folders[family]).eval(), batch_of(folders[family])
        ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
        vectors = word_embeddings(model)(ids) * mask[..., None]
        lambdas = torch.tensor(LAMBDAS, dtype=torch.float32)[:, None, None]
        mixed = lambdas * vectors + (1 - lambdas) * vectors[PARTNER]
        union = torch.where(lambdas[..., 0] == 1.0, mask, mask | mask[PARTNER])
        # From vectors, roberta and its relatives count positions without a gap.
        expected = model(inputs_embeds=mixed, attention_mask=union).logits
        assert torch.allclose(mixup_objective(model, batch, []).logits, expected, atol=1e-5)

    @pytest.mark.parametrize("family", COUNTING_FROM_PADDING)
    def test_positions_continue_after_the_shorter_text(self, folders: dict[str, str], family: str) -> None:
        model, batch = load_classifier(folders[family]).eval(), batch_of(folders[family])
        table = next(each for name, each in model.named_modules() if name.endswith("position_embeddings"))
        positions: list[Tensor] = []
        table.register_forward_hook(lambda module, inputs, output: positions.append(inputs[0]))
        mixed_batches: list[Batch] = []
        mixup_objective(model, batch, mixed_batches)
        lengths = mixed_batches[0].inputs["attention_mask"].sum(1)
        assert int(lengths[0]) == int(batch.lengths[1]) > int(batch.lengths[0])
        for row, length in enumerate(lengths):
            assert positions[0][row, :length].tolist() == list(range(2, 2 + int(length)))

    def test_longformer_pads_further_than_the_batch(self, folders: dict[str, str]) -> None:
        model, batch = load_classifier(folders["longformer"]).eval(), batch_of(folders["longformer"])
        widths: list[int] = []
        layers(model)[0].register_forward_hook(lambda module, inputs, output: widths.append(inputs[0].shape[1]))
        mixup_objective(model, batch, [])
        assert widths[0] % 16 == 0 and widths[0] > batch.inputs["input_ids"].shape[1]


def test_a_model_that_works_token_by_token_shows_its_vectors_row_by_row() -> None:
    """Inside xlnet vectors are (token, row, hidden)."""
    model, ids = small_model("XLNet").eval(), torch.tensor([[5, 6, 7], [8, 9, 10]])
    seen: list[Tensor] = []

    def change(vectors: Tensor) -> Tensor:
        seen.append(vectors)
        return vectors * torch.tensor([1.0, 2.0])[:, None, None]

    plain = model(input_ids=ids).logits
    with word_vectors.modify(model, 3, change):
        changed = model(input_ids=ids).logits
    assert torch.equal(seen[0], word_vectors.embed(model, ids))
    assert torch.allclose(changed[0], plain[0], atol=1e-5)
    assert not torch.allclose(changed[1], plain[1], atol=1e-3)


def test_word_vectors_of_an_encoder_and_a_decoder_are_not_changed() -> None:
    with (
        pytest.raises(UserError, match="BartForSequenceClassification reads each text twice"),
        word_vectors.modify(small_model("Bart"), 3, lambda vectors: vectors),
    ):
        pass
