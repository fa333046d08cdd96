"""Finding the parts of a model, in every family."""

import pytest
import torch
import transformers
from torch import Tensor, nn

from recipes.models import word_vectors
from recipes.models.anatomy import (
    depths,
    head,
    layers,
    pooled_vectors,
    undropped_vectors,
    with_weights,
    word_embeddings,
)
from recipes.models.loading import load_model, load_tokenizer
from tests.recipes.models.families import FAMILIES, FAMILY, TEXTS, WIDTH, batch_of, load_classifier, logits_of, settings


class TestAnatomy:
    @FAMILY
    def test_layers_are_the_modules_that_run_in_order(self, folders: dict[str, str], family: str) -> None:
        model = load_classifier(folders[family])
        stack = layers(model)
        assert len(stack) == model.config.num_hidden_layers == 2
        ran: list[nn.Module] = []
        for layer in stack:
            layer.register_forward_hook(lambda module, inputs, output: ran.append(module))
        logits_of(model.eval(), batch_of(folders[family]))
        assert ran == list(stack)

    @FAMILY
    def test_modified_word_vectors_change_the_logits(self, folders: dict[str, str], family: str) -> None:
        model, batch = load_classifier(folders[family]).eval(), batch_of(folders[family])
        plain = logits_of(model, batch)
        originals: list[Tensor] = []

        def mirror(vectors: Tensor) -> Tensor:  # scaling would do nothing to deberta, which normalizes next
            originals.append(vectors)
            return vectors.flip(-1)

        with word_vectors.modify(model, batch.inputs["input_ids"].shape[1], mirror):
            changed = logits_of(model, batch)
        own = word_vectors.embed(model, batch.inputs["input_ids"])
        assert torch.equal(originals[0], own)
        assert own.shape == (*batch.inputs["input_ids"].shape, word_embeddings(model).weight.shape[1])
        assert not torch.allclose(changed, plain, atol=1e-3)
        assert torch.equal(logits_of(model, batch), plain)

    @FAMILY
    def test_the_head_maps_the_pooled_vectors_to_the_logits(self, folders: dict[str, str], family: str) -> None:
        model, batch = load_classifier(folders[family]).eval(), batch_of(folders[family])
        with pooled_vectors(head(model)) as pooled:
            logits = logits_of(model, batch)
        assert len(pooled) == 1
        assert pooled[0].shape == (len(TEXTS), WIDTH)
        assert torch.equal(head(model)(pooled[0]), logits)
        assert not head(model)._forward_pre_hooks

    @FAMILY
    def test_the_vectors_before_the_dropout_of_the_head_give_its_input(
        self, folders: dict[str, str], family: str
    ) -> None:
        model, batch = load_classifier(folders[family]).train(), batch_of(folders[family])
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.25
        with pooled_vectors(head(model)) as pooled, undropped_vectors(model, head(model)) as undropped:
            logits_of(model, batch)
        ((vectors, rate),) = undropped
        assert rate == 0.25
        remaining = pooled[0] != 0
        assert (vectors[~remaining] != 0).any(), "nothing was dropped"
        torch.testing.assert_close(pooled[0][remaining], vectors[remaining] / 0.75)
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())

    def test_a_head_without_dropout_gets_its_vectors_at_rate_0(self) -> None:
        model = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 2), nn.Linear(2, 3))
        with undropped_vectors(model, model[2]) as undropped:  # type: ignore[arg-type]
            model(torch.ones(1, 2))
        ((vectors, rate),) = undropped
        assert rate == 0.0 and vectors.shape == (1, 2)

    def test_a_hidden_layer_as_wide_as_the_head_is_not_the_head(self, folders: dict[str, str]) -> None:
        roberta = settings(folders["roberta"])
        classes = [f"class {number:02}" for number in range(WIDTH)]
        model = load_model(roberta, load_tokenizer(roberta, []), classes, False)
        assert head(model) is model.classifier.out_proj

    def test_albert_has_no_list_of_layers(self) -> None:
        config = transformers.AlbertConfig(
            vocab_size=20,
            embedding_size=8,
            hidden_size=8,
            num_hidden_layers=3,
            num_attention_heads=1,
            intermediate_size=8,
            max_position_embeddings=16,
        )
        model = transformers.AlbertForSequenceClassification(config)
        with pytest.raises(ValueError, match="AlbertForSequenceClassification has no list of 3 layers"):
            layers(model)
        assert head(model) is model.classifier

    def test_an_encoder_has_no_head(self) -> None:
        config = transformers.BertConfig(
            vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16, num_labels=3
        )
        with pytest.raises(ValueError, match="BertModel has no linear head with 3 outputs"):
            head(transformers.BertModel(config))


WITH_DEPTHS = pytest.mark.parametrize("family", FAMILIES)


class TestDepths:
    def test_embeddings_are_deepest_and_the_head_has_depth_0(self, folders: dict[str, str]) -> None:
        model = load_classifier(folders["bert"])
        depth_of = {name: depths(model)[parameter] for name, parameter in model.named_parameters()}
        assert {depth for name, depth in depth_of.items() if "embeddings" in name} == {3}
        assert {depth for name, depth in depth_of.items() if ".layer.0." in name} == {2}
        assert {depth for name, depth in depth_of.items() if ".layer.1." in name} == {1}
        assert {depth for name, depth in depth_of.items() if "pooler" in name or "classifier" in name} == {0}

    @WITH_DEPTHS
    def test_every_parameter_has_a_depth(self, folders: dict[str, str], family: str) -> None:
        model = load_classifier(folders[family])
        depth_of = depths(model)
        assert depth_of.keys() == set(model.parameters())
        assert depth_of[word_embeddings(model).weight] == 3
        assert {depth_of[parameter] for parameter in head(model).parameters()} == {0}


def test_with_weights_puts_the_own_weights_back_even_after_an_exception() -> None:
    model = nn.Linear(2, 2)
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    zeros = {name: torch.zeros_like(tensor) for name, tensor in own.items()}
    with pytest.raises(ValueError, match="inside"), with_weights(model, zeros) as is_changed:
        assert is_changed
        assert all(torch.equal(tensor, zeros[name]) for name, tensor in model.state_dict().items())
        raise ValueError("inside")
    assert all(torch.equal(tensor, own[name]) for name, tensor in model.state_dict().items())
