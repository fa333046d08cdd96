"""The mean of the token vectors, in every family."""

import pytest
import torch
from torch import nn

from recipes.errors import UserError
from recipes.models.anatomy import head, pooled_vectors
from recipes.models.mean_pooling import read_mean
from tests.recipes.models.families import FAMILY, TEXTS, batch_of, load_classifier, logits_of
from tests.recipes.models.test_inputs import small_model


@FAMILY
def test_the_head_reads_the_mean_of_the_tokens_alone(family: str, folders: dict[str, str]) -> None:
    model, batch = load_classifier(folders[family]).eval(), batch_of(folders[family])
    read_mean(model, "pooling=mean")  # type: ignore[arg-type]
    with torch.no_grad(), pooled_vectors(head(model)) as vectors:
        logits = logits_of(model, batch)
        for row, text in enumerate(TEXTS):
            alone = batch_of(folders[family], [text])
            inputs = dict(alone.inputs)
            if family == "longformer":  # its classifier lets the first token attend to all others
                inputs["global_attention_mask"] = torch.zeros_like(inputs["input_ids"])
                inputs["global_attention_mask"][:, 0] = 1
            tokens = model.base_model(**inputs)[0][0, : int(alone.lengths[0])]  # type: ignore[operator]
            assert torch.allclose(vectors[0][row], tokens.mean(0), atol=1e-5)
    assert torch.allclose(logits, head(model)(vectors[0]))


@FAMILY
def test_every_weight_that_is_trained_has_a_gradient(family: str, folders: dict[str, str]) -> None:
    """Processes that train together would wait for the others for ever."""
    model, batch = load_classifier(folders[family]), batch_of(folders[family])
    read_mean(model, "pooling=mean")  # type: ignore[arg-type]
    logits_of(model, batch).sum().backward()
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    assert {name for name, each in model.named_parameters() if each.grad is not None} == trained
    assert all(each.requires_grad for each in head(model).parameters())


def test_a_head_that_reads_other_vectors_is_refused() -> None:
    model = small_model("Bert")
    model.classifier = nn.Linear(16, 3)
    with pytest.raises(UserError, match=r"pooling=mean: the head .* reads 16 numbers a text, its encoder writes 32"):
        read_mean(model, "pooling=mean")
    with pytest.raises(UserError, match="an encoder and a decoder"):
        read_mean(small_model("Bart"), "pooling=mean")
