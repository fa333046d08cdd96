"""Truncate: which tokens stay, by hand; where it does what the base does, bit for bit; and when predicting."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import transformers

import recipes
from recipes.base import Base
from tricks.pre_training.truncate import Truncate

LETTERS = "abcdefghijklmnopqrstuvwxyz"
BERT = {piece: number for number, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS])}
ROBERTA = {piece: number for number, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *LETTERS])}
DEBERTA = [
    *((piece, 0.0) for piece in ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")),
    ("▁", -2.0),
    *((letter, -3.0) for letter in LETTERS),
]
TOKENIZERS: dict[str, Callable[[], Any]] = {
    "bert": lambda: transformers.BertTokenizer(vocab=BERT),
    "roberta": lambda: transformers.RobertaTokenizer(vocab=ROBERTA, merges=[]),
    "deberta": lambda: transformers.DebertaV2Tokenizer(vocab=DEBERTA),
}
SPACED = " ".join(LETTERS)


def truncate(part: str = "head_tail", head_fraction: float = 0.25, pairs: str = "longest") -> Truncate:
    return Truncate(part=part, head_fraction=head_fraction, pairs=pairs)


def run_of(tokenizer: Any, max_length: int) -> Any:
    return SimpleNamespace(tokenizer=tokenizer, max_length=max_length)


def never(*_: Any) -> Any:
    raise AssertionError("texts are tokenized once")


def remaining(trick: Truncate, max_length: int, *sides: str, name: str = "bert") -> str:
    """What is read of a text or a pair, special tokens as the tokenizer writes them."""
    tokenizer = TOKENIZERS[name]()
    result = trick.encode(run_of(tokenizer, max_length), never, sides[:1], sides[1:] or None)
    assert all(len(rows[0]) <= max_length for rows in result.values())
    return " ".join(tokenizer.convert_ids_to_tokens(result["input_ids"][0]))


class TestSingleTexts:
    @pytest.mark.parametrize(
        ("part", "expected"),
        [
            ("head", "[CLS] a b c d e f g h [SEP]"),
            ("tail", "[CLS] s t u v w x y z [SEP]"),
            ("head_tail", "[CLS] a b u v w x y z [SEP]"),
        ],
    )
    def test_by_hand(self, part: str, expected: str) -> None:
        assert remaining(truncate(part), 10, SPACED) == expected

    @pytest.mark.parametrize("part", ["head", "tail", "head_tail"])
    def test_a_text_that_fits_is_not_cut(self, part: str) -> None:
        assert remaining(truncate(part), 10, "a b c d e f g h") == "[CLS] a b c d e f g h [SEP]"
        assert remaining(truncate(part), 10, "") == "[CLS] [SEP]"

    def test_the_head_and_tail_of_the_source(self) -> None:
        head_fraction = 0.251
        tokens = list(range(1000))
        assert truncate(head_fraction=head_fraction).cut(tokens, 510) == [*range(128), *range(1000 - 382, 1000)]

    @pytest.mark.parametrize(("fraction", "expected"), [(0.0, "w x y z"), (1.0, "a b c d"), (0.5, "a b y z")])
    def test_fractions(self, fraction: float, expected: str) -> None:
        assert remaining(truncate(head_fraction=fraction), 6, SPACED) == f"[CLS] {expected} [SEP]"

    def test_every_tokenizer_keeps_its_special_tokens(self) -> None:
        assert remaining(truncate(), 6, LETTERS, name="roberta") == "<s> a x y z </s>"
        assert remaining(truncate(), 6, LETTERS, name="deberta") == "[CLS] ▁ x y z [SEP]"


class TestPairs:
    @pytest.mark.parametrize(
        ("pairs", "expected"),
        [
            # Room for 7: the longer one gives way until both are of one length.
            ("longest", "[CLS] d e f g [SEP] v w x [SEP]"),
            ("first", "[CLS] g [SEP] s t u v w x [SEP]"),
            ("second", "[CLS] a b c d e f g [SEP] [SEP]"),
        ],
    )
    def test_which_text_loses_tokens(self, pairs: str, expected: str) -> None:
        second = "s t u v w x"
        assert remaining(truncate("tail", pairs=pairs), 10, "a b c d e f g", second) == expected

    def test_the_other_text_is_cut_only_where_that_is_not_enough(self) -> None:
        assert remaining(truncate("head", pairs="first"), 8, "a b", "s t u v w x") == "[CLS] [SEP] s t u v w [SEP]"
        assert remaining(truncate("head", pairs="second"), 8, "a b c d e f", "s t") == "[CLS] a b c d e [SEP] [SEP]"

    def test_each_text_keeps_its_own_head_and_tail(self) -> None:
        trick = truncate(head_fraction=0.5)
        assert remaining(trick, 11, "a b c d e f", "s t u v w x") == "[CLS] a b e f [SEP] s t w x [SEP]"
        assert remaining(trick, 8, LETTERS, "stuvwx", name="roberta") == "<s> a z </s> </s> s x </s>"

    def test_segments(self) -> None:
        run = run_of(TOKENIZERS["bert"](), 9)
        result = truncate("tail").encode(run, never, ["a b c d e", "a"], ["s t u v", "s"])
        assert result["token_type_ids"] == [[0, 0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1]]
        assert result["input_ids"] == [[2, 7, 8, 9, 3, 24, 25, 26, 3], [2, 5, 3, 23, 3]]


class TestNeutral:
    """Keeping heads, the longer of a pair giving way, is what the base does."""

    TEXTS = [LETTERS[:count] for count in range(13)]

    def same(self, name: str, first: Sequence[str], second: Sequence[str] | None, max_length: int) -> None:
        run = run_of(TOKENIZERS[name](), max_length)
        expected = Base(run).encode(first, second)
        result = truncate("head").encode(run, never, first, second)
        assert result == {name: rows for name, rows in expected.items() if name != "attention_mask"}

    @pytest.mark.parametrize("max_length", [4, 7, 10, 30])
    @pytest.mark.parametrize("name", TOKENIZERS)
    def test_is_what_the_base_does(self, name: str, max_length: int) -> None:
        texts = self.TEXTS if name != "bert" else [" ".join(text) for text in self.TEXTS]
        self.same(name, texts, None, max_length)
        self.same(name, [one for one in texts for _ in texts], [other for _ in texts for other in texts], max_length)


@pytest.mark.slow
def test_a_run_is_cut_in_the_same_way_when_it_predicts(tmp_path: Path) -> None:
    """The label is the last word: only who reads tails can learn it, and only who cuts alike can tell it."""
    rows = [("x " * 30 + word, label) for word, label in (("good", "yes"), ("bad", "no")) for _ in range(16)]
    file = tmp_path / "rows.csv"
    file.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    run = recipes.finetune(
        [
            "data=files",
            *(f"data.{split}={file}" for split in ("train", "validation", "test")),
            "model=tiny",
            "data.max_length=8",
            "train.max_updates=30",
            "train.batch_size=8",
            "train.learning_rate=0.01",
            "train.device=cpu",
            "+tricks=[truncate]",
            "tricks.truncate.part=tail",
            f"hydra.run.dir={tmp_path / 'run'}",
        ]
    )
    assert run.metrics["test"]["accuracy"] == 1.0
    assert run.predict(["x " * 40 + "bad", "bad " * 9 + "x " * 40 + "good"]).names() == ["no", "yes"]
