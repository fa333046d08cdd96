"""A tokenizer fits its model: padding token and side, length, and rows that do not depend on their batch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from datasets import Dataset
from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase, pipeline

from recipes.data.encoding import Encoded, Padding, encode
from recipes.errors import UserError
from recipes.models.inputs import check_token_ids, fit_tokenizer, fixed_width, settle_padding
from recipes.models.loading import load_model, load_tokenizer
from tests.recipes.models.families import CLASSES, TEXTS, settings, wordpieces
from tests.sampling import every

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<mask>")
SMALL = {"vocab_size": 80, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "num_labels": 3}
WIDE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
ENCODER = {**SMALL, **WIDE, "max_position_embeddings": 20}
BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 20,
}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 20}
XLNET = {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64}
# Each with the most tokens that it reads of 100, and the side on which it must be padded.
FAMILIES: dict[str, tuple[type[Any], dict[str, Any], int, str | None]] = {
    "Bert": (transformers.BertConfig, ENCODER, 20, "right"),
    "Albert": (transformers.AlbertConfig, {**ENCODER, "embedding_size": 16}, 20, "right"),
    "Roberta": (transformers.RobertaConfig, ENCODER, 19, "right"),
    "Bart": (transformers.BartConfig, {**SMALL, **BART}, 20, "right"),
    "GPT2": (transformers.GPT2Config, {**SMALL, **GPT2}, 20, "right"),
    "Nystromformer": (
        transformers.NystromformerConfig,
        {**ENCODER, "num_landmarks": 20, "segment_means_seq_len": 20, "conv_kernel_size": 3},
        20,
        "right",
    ),
    "ModernBert": (transformers.ModernBertConfig, {**ENCODER, "cls_token_id": 1, "sep_token_id": 2}, 100, "right"),
    "Llama": (transformers.LlamaConfig, ENCODER, 100, None),
    "XLNet": (transformers.XLNetConfig, {**SMALL, **XLNET}, 100, "left"),
}
FAMILY = pytest.mark.parametrize("family", FAMILIES)
READS_PADDING = ("Nystromformer",)


def small_tokenizer(**options: Any) -> PreTrainedTokenizerBase:
    tokenizer = transformers.BertTokenizer(
        vocab=wordpieces(*SPECIAL),
        cls_token="<s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
    )
    tokenizer.eos_token = "</s>"
    for name, value in options.items():
        setattr(tokenizer, name, value)
    return tokenizer


def small_model(family: str, **options: Any) -> Any:
    kind, values, *_ = FAMILIES[family]
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(kind(**{**values, **options}))
    for parameter in model.parameters():  # far from 0, so that no difference is lost
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def rows_of(tokenizer: PreTrainedTokenizerBase, texts: list[str], max_length: int = 100) -> Encoded:
    ids, empty = [str(row) for row in range(len(texts))], [None] * len(texts)
    rows = Dataset.from_dict(
        {"id": ids, "source": ids, "text": texts, "text_pair": empty, "label": [CLASSES[0]] * len(ids)}
    )

    def cut(first: Any, second: Any) -> Any:
        return tokenizer(list(first), truncation=True, max_length=max_length)

    return encode(rows, cut, tokenizer, CLASSES, None)


class TestLength:
    @FAMILY
    def test_it_is_that_which_the_model_reads(self, family: str) -> None:
        model, tokenizer = small_model(family), small_tokenizer()
        fit_tokenizer(tokenizer, model, 100, "model")
        limit = FAMILIES[family][2]
        assert min(tokenizer.model_max_length, 100) == limit
        # The whole model reads as many, and (but for those without a limit) not one more.
        texts = ["a " * 200]
        inputs = tokenizer(texts, truncation=True, max_length=limit, return_tensors="pt")
        assert inputs["input_ids"].shape == (1, limit)
        assert model.eval()(**inputs).logits.isfinite().all()
        if limit < 100:
            longer = tokenizer(texts, truncation=True, max_length=limit + 1, return_tensors="pt")
            with pytest.raises((IndexError, RuntimeError)):
                model(**longer)

    def test_a_lower_limit_of_the_tokenizer_stays(self) -> None:
        tokenizer = small_tokenizer(model_max_length=7)
        fit_tokenizer(tokenizer, small_model("Bert"), 100, "model")
        assert tokenizer.model_max_length == 7

    def test_what_the_run_does_not_use_is_not_tried(self) -> None:
        tokenizer, model, lengths = small_tokenizer(), small_model("Bert"), []
        model.register_forward_pre_hook(
            lambda _, __, inputs: lengths.append(inputs["input_ids"].shape[1]), with_kwargs=True
        )
        fit_tokenizer(tokenizer, model, 12, "model")
        assert lengths == [12]
        assert tokenizer.model_max_length == 20  # as its config promises

    def test_draws_and_modes_are_as_before(self) -> None:
        tokenizer, model = small_tokenizer(), small_model("Bert").train()
        state = torch.get_rng_state()
        fit_tokenizer(tokenizer, model, 100, "model")
        settle_padding(model, tokenizer, rows_of(tokenizer, TEXTS, 20), 20, "model")
        assert torch.equal(torch.get_rng_state(), state)
        assert all(module.training for module in model.modules())
        assert not any(module._forward_pre_hooks for module in model.modules())


class TestPaddingToken:
    def test_a_tokenizer_without_one_pads_with_its_end(self) -> None:
        tokenizer, model = small_tokenizer(pad_token=None), small_model("GPT2", pad_token_id=None)
        fit_tokenizer(tokenizer, model, 100, "model")
        assert (tokenizer.pad_token, tokenizer.pad_token_id, model.config.pad_token_id) == ("</s>", 2, 2)

    def test_the_model_knows_better(self) -> None:
        tokenizer, model = small_tokenizer(pad_token=None), small_model("Roberta", pad_token_id=3)
        fit_tokenizer(tokenizer, model, 100, "model")
        assert tokenizer.pad_token == "<unk>"

    def test_one_without_an_embedding_is_replaced(self) -> None:
        tokenizer, model = small_tokenizer(), small_model("GPT2", pad_token_id=None)
        tokenizer.add_special_tokens({"pad_token": "<new>"})
        tokenizer.add_tokens([f"more{number}" for number in range(9)])
        model.resize_token_embeddings(tokenizer.convert_tokens_to_ids("<new>"))
        fit_tokenizer(tokenizer, model, 100, "model")
        assert (tokenizer.pad_token_id, model.config.pad_token_id) == (2, 2)

    def test_a_pipeline_answers_the_same_for_a_batch(self, tmp_path: Path) -> None:
        tokenizer, model = small_tokenizer(pad_token=None, padding_side="left"), small_model("GPT2", pad_token_id=None)
        fit_tokenizer(tokenizer, model, 100, "model")
        settle_padding(model, tokenizer, rows_of(tokenizer, TEXTS, 20), 20, "model")
        model.save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        classify = pipeline("text-classification", model=str(tmp_path))
        together = classify(TEXTS, batch_size=3, top_k=None, truncation=True)
        for text, scores in zip(TEXTS, together, strict=True):
            alone = {each["label"]: each["score"] for each in classify(text, top_k=None, truncation=True)}
            assert {each["label"]: each["score"] for each in scores} == pytest.approx(alone, abs=1e-5)


def test_inputs_that_the_model_does_not_take_are_left_out() -> None:
    tokenizer, config = small_tokenizer(), transformers.DistilBertConfig(dim=32, n_layers=1, n_heads=2, hidden_dim=64)
    assert "token_type_ids" in tokenizer("a")
    fit_tokenizer(tokenizer, transformers.DistilBertForSequenceClassification(config), 100, "model")
    assert list(tokenizer("a")) == ["input_ids", "attention_mask"]


def test_a_model_that_takes_no_mask_is_refused() -> None:
    class Unmasked(nn.Module):
        def forward(self, input_ids: torch.Tensor) -> None:
            """Read tokens only."""

    model: Any = Unmasked()
    with pytest.raises(UserError, match="model: Unmasked takes no attention_mask"):
        fit_tokenizer(small_tokenizer(), model, 100, "model")


class TestSettlePadding:
    @pytest.mark.parametrize("side", ["right", "left"])
    @pytest.mark.parametrize("family", every(3, [name for name in FAMILIES if name not in READS_PADDING]))
    def test_a_row_does_not_depend_on_its_batch(self, family: str, side: str) -> None:
        model, tokenizer = small_model(family).eval(), small_tokenizer(padding_side=side)
        dataset = rows_of(tokenizer, TEXTS, 19)
        padding = settle_padding(model, tokenizer, dataset, 19, "model")
        assert padding.side == tokenizer.padding_side == (FAMILIES[family][3] or side)
        assert padding.width is fixed_width(model) is None
        dataset = replace(dataset, padding=padding)
        together = dataset.pad(np.arange(len(TEXTS)))
        with torch.no_grad():
            logits = model(**together).logits
            alone = torch.cat([model(**dataset.pad(np.array([row]))).logits for row in range(len(TEXTS))])
        assert torch.allclose(logits, alone, atol=2e-5)
        # A pipeline pads as the saved tokenizer says.
        theirs = tokenizer(TEXTS, truncation=True, max_length=19, padding=True, return_tensors="pt")
        assert torch.equal(theirs["input_ids"], together["input_ids"])

    def test_a_model_that_reads_padding_gets_rows_of_one_width(self) -> None:
        model, tokenizer = small_model("Nystromformer").eval(), small_tokenizer()
        padding = settle_padding(model, tokenizer, rows_of(tokenizer, TEXTS, 20), 20, "model")
        assert (padding.width, fixed_width(model)) == (20, 20)

    def test_the_models_token_pads_if_the_tokenizers_does_not_do(self) -> None:
        model, tokenizer = small_model("GPT2", pad_token_id=4).eval(), small_tokenizer()
        padding = settle_padding(model, tokenizer, rows_of(tokenizer, TEXTS, 20), 20, "model")
        assert padding == Padding({"input_ids": 4, "token_type_ids": 0}, "right")
        assert tokenizer.pad_token == "<mask>"

    def test_rows_are_compared_in_fp32_where_the_user_allows_tf32(self) -> None:
        model, tokenizer, precisions = small_model("Bert").eval(), small_tokenizer(), set[str]()
        model.register_forward_pre_hook(lambda *_: precisions.add(torch.backends.cuda.matmul.fp32_precision))
        torch.set_float32_matmul_precision("high")
        try:
            settle_padding(model, tokenizer, rows_of(tokenizer, TEXTS, 20), 20, "model")
        finally:
            torch.set_float32_matmul_precision("highest")
        assert precisions == {"ieee"}

    def test_rows_that_see_each_other_are_refused(self) -> None:
        model, tokenizer = small_model("Bert").eval(), small_tokenizer()
        model.dropout.forward = lambda vectors: vectors - vectors.mean(0, keepdim=True)
        with pytest.raises(UserError, match=r"^model: a row's result depends on the rows next to it.* differ by \d"):
            settle_padding(model, tokenizer, rows_of(tokenizer, TEXTS, 20), 20, "model")

    def test_rows_that_it_cannot_read_are_a_user_error(self) -> None:
        model, tokenizer = small_model("Bert").eval(), small_tokenizer()
        dataset = rows_of(tokenizer, ["a", "a " * 50])
        message = (
            r"model: BertFor\w+ cannot read training rows of 3 and 52 tokens \(.*\)\. Set data.max_length, now 100,"
        )
        with pytest.raises(UserError, match=message):
            settle_padding(model, tokenizer, dataset, 100, "model")

    def test_a_row_of_many_segments_is_not_passed(self) -> None:
        """A document of a thousand segments would take longer than all other checks."""
        model, tokenizer, widths = small_model("ModernBert").eval(), small_tokenizer(), []
        model.register_forward_pre_hook(
            lambda _, __, inputs: widths.append(inputs["input_ids"].shape[1]), with_kwargs=True
        )
        settle_padding(model, tokenizer, rows_of(tokenizer, ["a", "a " * 90, "a " * 10]), 20, "model")
        assert max(widths) == 12

    def test_one_row_is_enough(self) -> None:
        model, tokenizer = small_model("Bert").eval(), small_tokenizer()
        assert settle_padding(model, tokenizer, rows_of(tokenizer, ["a"]), 20, "model").side == "right"

    def test_what_was_found_is_saved(self, tmp_path: Path) -> None:
        model, tokenizer = small_model("XLNet").eval(), small_tokenizer()
        settle_padding(model, tokenizer, rows_of(tokenizer, TEXTS), 20, "model")
        tokenizer.save_pretrained(tmp_path)
        assert AutoTokenizer.from_pretrained(tmp_path).padding_side == "left"


def test_tokens_without_an_embedding_are_refused() -> None:
    model, tokenizer = small_model("Bert"), small_tokenizer()
    tokenizer.add_tokens(["hello", "world"])
    dataset = rows_of(tokenizer, ["a hello world"])
    check_token_ids(model, tokenizer, dataset, "model")
    model.resize_token_embeddings(len(tokenizer) - 1)
    with pytest.raises(
        UserError, match=r"gives 'world' the id 78, and the model has 78 embeddings, so for ids up to 77"
    ):
        check_token_ids(model, tokenizer, dataset, "model")


def test_the_tokenizer_of_a_folder_is_fitted_when_the_model_is_loaded(tmp_path: Path) -> None:
    """Loading alone changes no limit, since only the model knows it."""
    small_model("Bart").save_pretrained(tmp_path)
    small_tokenizer().save_pretrained(tmp_path)
    own = settings(str(tmp_path))
    tokenizer = load_tokenizer(own, [])
    fit_tokenizer(tokenizer, load_model(own, tokenizer, CLASSES, False), 128, "model")
    assert tokenizer.model_max_length == 20
