"""Tokens without special ones, and the special ones put back: as the tokenizer itself does it, whichever it is."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from recipes.toolkit.windows import token_ids, with_special_tokens

LETTERS = "abcdefghij"
BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
DEBERTA = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")


def numbered(*pieces: str) -> dict[str, int]:
    return {piece: number for number, piece in enumerate([*pieces, *LETTERS])}


def unigrams(*special: str) -> list[tuple[str, float]]:
    return [*((piece, 0.0) for piece in special), ("▁", -2.0), *((letter, -3.0) for letter in LETTERS)]


def without_special_tokens() -> transformers.PreTrainedTokenizerFast:
    """As gpt2 has none: nothing stands between the texts of a pair."""
    backend = Tokenizer(models.WordLevel(numbered("[UNK]"), "[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")


TOKENIZERS: Mapping[str, Callable[[], Any]] = {
    "bert": lambda: transformers.BertTokenizer(vocab=numbered(*BERT)),
    "distilbert": lambda: transformers.DistilBertTokenizer(vocab=numbered(*BERT)),
    "roberta": lambda: transformers.RobertaTokenizer(vocab=numbered(*ROBERTA, "Ġ"), merges=[]),
    "deberta": lambda: transformers.DebertaV2Tokenizer(vocab=unigrams(*DEBERTA)),
    "xlm-roberta": lambda: transformers.XLMRobertaTokenizer(vocab=unigrams(*ROBERTA)),
    "none": without_special_tokens,
}
FIRST = ["a b c", "", "j", "a ? b", "h i j a b c d e f g"]
SECOND = ["d", "e f", "", "g", "a b"]


@pytest.mark.parametrize("name", TOKENIZERS)
class TestAsTheTokenizer:
    def test_single_texts(self, name: str) -> None:
        tokenizer = TOKENIZERS[name]()
        own = {key: rows for key, rows in tokenizer(FIRST).items() if key != "attention_mask"}
        assert with_special_tokens(tokenizer, token_ids(tokenizer, FIRST)) == own

    def test_pairs(self, name: str) -> None:
        tokenizer = TOKENIZERS[name]()
        own = {key: rows for key, rows in tokenizer(FIRST, SECOND).items() if key != "attention_mask"}
        assert with_special_tokens(tokenizer, token_ids(tokenizer, FIRST), token_ids(tokenizer, SECOND)) == own


def test_by_hand() -> None:
    bert, roberta = TOKENIZERS["bert"](), TOKENIZERS["roberta"]()
    assert token_ids(bert, ["a b c", ""]) == [[5, 6, 7], []]
    assert with_special_tokens(bert, [[5, 6], [7]], [[8], []]) == {
        "input_ids": [[2, 5, 6, 3, 8, 3], [2, 7, 3, 3]],
        "token_type_ids": [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1]],
    }
    assert with_special_tokens(roberta, [[6, 7]], [[8]]) == {"input_ids": [[0, 6, 7, 2, 2, 8, 2]]}


def test_the_input_tokens_are_not_changed() -> None:
    given = [[5, 6]]
    with_special_tokens(TOKENIZERS["bert"](), given)
    assert given == [[5, 6]]


def test_a_text_past_the_models_limit_keeps_all_its_tokens() -> None:
    bert = TOKENIZERS["bert"]()
    bert.model_max_length = 4
    bert(["a b c d e f"], truncation=True, max_length=4)  # leaves its truncation behind
    assert token_ids(bert, ["a b c d e f"]) == [[5, 6, 7, 8, 9, 10]]
