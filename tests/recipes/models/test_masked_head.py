"""The masked-language-model head, in every family."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM

from recipes.errors import UserError
from recipes.models.anatomy import word_embeddings
from recipes.models.loading import load_tokenizer
from recipes.models.masked_head import add_masked_head, predict_tokens, require_masked_head
from tests.recipes.models.families import FAMILY, batch_of, load_classifier, settings
from tests.recipes.models.test_inputs import small_model


@FAMILY
def test_tokens_are_predicted_as_by_the_pretrained_model(family: str, folders: dict[str, str], tmp_path: Path) -> None:
    torch.manual_seed(3)
    pretrained: Any = AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(folders[family])).eval()
    pretrained.save_pretrained(tmp_path)
    load_tokenizer(settings(folders[family]), []).save_pretrained(tmp_path)
    classifier: Any = load_classifier(str(tmp_path))
    model, is_new = add_masked_head(classifier, settings(str(tmp_path)))
    assert not is_new
    assert model.training and model.base_model is classifier.base_model
    batch = batch_of(str(tmp_path))
    positions = torch.zeros_like(batch.inputs["input_ids"], dtype=torch.bool)
    positions[0, 1] = positions[1, 3] = positions[3, 2] = True
    with torch.no_grad():
        predicted = predict_tokens(model.eval(), batch.inputs, positions)
        expected = pretrained(**batch.inputs).logits[positions]
    assert torch.allclose(predicted, expected, atol=1e-5)
    assert not model.base_model._forward_hooks


@FAMILY
def test_a_new_head_shares_the_word_vectors_that_are_trained(family: str, folders: dict[str, str]) -> None:
    classifier: Any = load_classifier(folders[family])
    model, is_new = add_masked_head(classifier, settings(folders[family]))
    require_masked_head(classifier, settings(folders[family]), "tricks.mlm")
    assert is_new
    words = word_embeddings(classifier).weight
    assert any(each is words for each in model.parameters())
    assert sum(each.shape == words.shape for each in model.parameters()) == 1


def test_an_architecture_without_such_a_head_is_refused_with_the_remedy() -> None:
    for family in ("GPT2", "Llama"):
        with pytest.raises(
            UserError, match=r"tricks.mlm: .* has no masked-language-model head; leave this trick out, or take"
        ):
            require_masked_head(small_model(family), settings("somewhere"), "tricks.mlm")
    with pytest.raises(UserError, match="an encoder and a decoder"):
        require_masked_head(small_model("Bart"), settings("somewhere"), "tricks.mlm")
