"""A trimmed vocabulary: the same tokens and logits for the texts that it was made for, and pieces for all others."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from recipes.config import Model
from recipes.errors import UserError
from recipes.models.anatomy import word_embeddings
from recipes.models.loading import load_model, load_tokenizer
from tests.recipes.models.families import CLASSES, settings

random_numbers = random.Random(0)
LETTERS = "abcdefghij"
# Pieces overlap, so there are many ways to split a word.
WORDS = sorted({"".join(random_numbers.choices(LETTERS, k=random_numbers.randint(2, 4))) for _ in range(300)})
SCORED = [
    *((token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")),
    *((mark + word, random_numbers.uniform(-9, -2)) for word in WORDS for mark in ("▁", "")),
    *((letter, -9.5) for letter in ("▁", *LETTERS)),
    ("rarest", -12.0),
    ("<mask>", 0.0),
]


def texts(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join("".join(draw.choices(LETTERS, k=draw.randint(1, 7))) for _ in range(3)) for _ in range(count)]


SEEN = [*texts(20, 1), "aé bc", "ab<mask>cd"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("unigram")
    tokenizer = transformers.XLMRobertaTokenizer(vocab=SCORED)
    tokenizer.save_pretrained(path)
    config = AutoConfig.for_model(
        "xlm-roberta",
        vocab_size=len(tokenizer) + 5,  # more rows than tokens, as E5 has
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=66,
        pad_token_id=1,
    )
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(path)
    return str(path)


def load(
    model: Model, seen: list[str], validation: list[str]
) -> tuple[transformers.PreTrainedTokenizerBase, nn.Module]:
    tokenizer = load_tokenizer(model, seen, validation)
    torch.manual_seed(1)
    return tokenizer, load_model(model, tokenizer, CLASSES, False).eval()


@pytest.fixture(scope="module")
def both(folder: str) -> tuple[transformers.PreTrainedTokenizerBase, ...]:
    own = settings(folder)
    return *load(own, [], []), *load(replace(own, trim_vocabulary=True), SEEN[:9], SEEN[9:])


def test_texts_that_were_seen_have_the_same_tokens_and_the_same_logits(both: tuple) -> None:
    own, full, trimmed, smaller = both
    assert len(trimmed) < len(own) / 2
    assert word_embeddings(smaller).weight.shape == (len(trimmed), 32)
    assert smaller.config.vocab_size == len(trimmed)
    for first, second in (SEEN, None), (SEEN, SEEN[::-1]):
        before, after = (each(first, second, padding=True, return_tensors="pt") for each in (own, trimmed))
        tokens = [
            [each.convert_ids_to_tokens(ids) for ids in rows]
            for each, rows in ((own, before.input_ids), (trimmed, after.input_ids))
        ]
        assert tokens[0] == tokens[1]
        with torch.no_grad():
            assert torch.equal(full(**before).logits, smaller(**after).logits)


def test_special_tokens_have_the_ids_of_before(both: tuple) -> None:
    own, _, trimmed, smaller = both
    for role in ("cls_token_id", "pad_token_id", "sep_token_id", "unk_token_id"):
        assert getattr(own, role) == getattr(trimmed, role)
    assert trimmed.mask_token_id == len(trimmed) - 1
    assert smaller.config.pad_token_id == 1
    assert word_embeddings(smaller).padding_idx == 1


def test_new_words_are_spelled_and_nothing_more_is_unknown(both: tuple) -> None:
    own, _, trimmed, smaller = both
    differ = 0
    for text in texts(200, 2):
        tokens = trimmed.tokenize(text)
        assert "<unk>" not in tokens
        assert "".join(tokens).replace("▁", " ").strip() == text
        differ += tokens != own.tokenize(text)
        assert max(trimmed(text).input_ids) < len(trimmed)
    assert differ > 50
    # A character that the model never knew is unknown before and after.
    before, after = (each.convert_ids_to_tokens(each("aé bé").input_ids) for each in (own, trimmed))
    assert before == after
    assert before.count("<unk>") == 2


def test_the_saved_model_is_loaded_without_the_whole_vocabulary(both: tuple, tmp_path: Path) -> None:
    _, _, trimmed, smaller = both
    trimmed.save_pretrained(tmp_path)
    smaller.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    inputs = tokenizer(texts(9, 3), padding=True, return_tensors="pt")
    assert torch.equal(inputs.input_ids, trimmed(texts(9, 3), padding=True, return_tensors="pt").input_ids)
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, smaller(**inputs).logits)
    assert not any("tmp" in path.read_text() for path in tmp_path.glob("*.json"))


def test_the_head_is_the_same_as_without(both: tuple) -> None:
    _, full, _, smaller = both
    assert torch.equal(full.classifier.out_proj.weight, smaller.classifier.out_proj.weight)


def test_word_vectors_are_trained(both: tuple) -> None:
    *_, smaller = both
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in smaller.parameters())
    names = [name for name, _ in smaller.named_parameters()]
    assert names == [name for name, _ in both[1].named_parameters()]


@pytest.mark.parametrize("family", ["bert", "roberta", "mpnet"])
def test_other_vocabularies_are_refused(folders: dict[str, str], family: str) -> None:
    with pytest.raises(UserError, match=r"model\.trim_vocabulary=true: the vocabulary of model\.name=.* is no list"):
        load_tokenizer(replace(settings(folders[family]), trim_vocabulary=True), ["a"])


@pytest.mark.parametrize("family", ["xlm-roberta", "deberta-v2"])
def test_families_with_scored_pieces_are_trimmed(folders: dict[str, str], family: str) -> None:
    model = replace(settings(folders[family]), trim_vocabulary=True)
    assert load_tokenizer(model, ["a cab"]).tokenize("a cab") == ["▁", "a", "▁", "c", "a", "b"]
