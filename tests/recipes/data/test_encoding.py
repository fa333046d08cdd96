"""Tokens are flat, padded as the tokenizer requires, and cached."""

import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, concatenate_datasets
from transformers import BertTokenizer, ByT5Tokenizer, CTRLTokenizer, PreTrainedTokenizerBase, RobertaTokenizer

from recipes.data.encoding import (
    Encoded,
    _tokenizer_key,
    class_counts,
    clean_rows,
    encode,
    read_distributions,
    with_distributions,
)
from recipes.errors import UserError

LETTERS = [chr(ord("a") + index) for index in range(26)]
BERT = {token: number for number, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS])}
ROBERTA = {token: number for number, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *LETTERS])}
CLASSES = ["no", "yes"]


class Counting:
    """The `encode` seam; counts the rows that it encodes."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, **options: Any) -> None:
        self.tokenizer, self.options, self.rows = tokenizer, options, 0

    def __call__(self, texts: Sequence[str], pairs: Sequence[str] | None) -> Mapping[str, Any]:
        self.rows += len(texts)
        tokens: Mapping[str, Any] = self.tokenizer(list(texts), pairs and list(pairs), **self.options)
        return tokens


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRICKBOOK_CACHE", str(tmp_path))
    return tmp_path / "trickbook"


def bert() -> BertTokenizer:
    return BertTokenizer(vocab=BERT)


def rows_of(texts: list[str], labels: Sequence[Any] | None = None, pairs: list[str] | None = None) -> Dataset:
    ids = [f"row {number}" for number in range(len(texts))]
    labels = labels or [CLASSES[number % 2] for number in range(len(texts))]
    second = pairs or [None] * len(texts)
    return Dataset.from_dict({"id": ids, "source": ids, "text": texts, "text_pair": second, "label": labels})


def encoded(
    rows: Dataset, tokenizer: PreTrainedTokenizerBase | None = None, key: Sequence[object] | None = ()
) -> Encoded:
    tokenizer = tokenizer or bert()
    return encode(rows, Counting(tokenizer), tokenizer, CLASSES, key)


TEXTS = ["a b", "c", "d e f g"]


class TestEncoded:
    def test_columns_are_flat_and_in_the_order_of_the_data(self) -> None:
        dataset = encoded(rows_of(TEXTS))
        assert len(dataset) == 3
        assert dataset.lengths.tolist() == [4, 3, 6]
        assert dataset.offsets.tolist() == [0, 4, 7, 13]
        assert dataset.columns["input_ids"].tolist() == [2, 5, 6, 3, 2, 7, 3, 2, 8, 9, 10, 11, 3]
        assert dataset.ids == ["row 0", "row 1", "row 2"]
        assert "attention_mask" not in dataset.columns
        assert dataset.labels.tolist() == [0, 1, 0]

    def test_rows_may_exceed_one_batch_of_the_map(self) -> None:
        texts = [" ".join("a" * (1 + number % 5)) for number in range(2500)]
        dataset = encoded(rows_of(texts))
        assert dataset.lengths.tolist() == [3 + number % 5 for number in range(2500)]
        assert len(dataset.columns["input_ids"]) == dataset.lengths.sum()

    def test_pairs_have_segments(self) -> None:
        dataset = encoded(rows_of(["a", "b c"], pairs=["d", ""]))
        batch = dataset.collate(np.array([0, 1]), 0, 0)
        assert batch.inputs["token_type_ids"].tolist() == [[0, 0, 0, 1, 1], [0, 0, 0, 0, 1]]
        assert batch.inputs["input_ids"].tolist() == [[2, 5, 3, 8, 3], [2, 6, 7, 3, 3]]

    def test_token_ids_take_four_bytes_at_most(self) -> None:
        assert {each.dtype.itemsize for each in encoded(rows_of(TEXTS)).columns.values()} <= {1, 4}


class TestCollate:
    def test_pads_on_the_right_with_the_tokenizers_ids(self) -> None:
        batch = encoded(rows_of(TEXTS)).collate(np.array([2, 0]), 5, 9)
        assert batch.inputs["input_ids"].tolist() == [[2, 8, 9, 10, 11, 3], [2, 5, 6, 3, 0, 0]]
        assert batch.inputs["attention_mask"].tolist() == [[1] * 6, [1, 1, 1, 1, 0, 0]]
        assert batch.inputs["token_type_ids"].tolist() == [[0] * 6, [0] * 6]
        assert batch.inputs["input_ids"].dtype == torch.int64
        assert (batch.epoch, batch.index, batch.part) == (5, 9, ())
        assert batch.ids == ["row 2", "row 0"]
        assert batch.lengths.tolist() == [6, 4]

    def test_pads_on_the_left_if_the_tokenizer_does(self) -> None:
        tokenizer = bert()
        tokenizer.padding_side = "left"
        batch = encoded(rows_of(TEXTS), tokenizer).collate(np.array([2, 0, 1]), 0, 0)
        assert batch.inputs["input_ids"].tolist() == [[2, 8, 9, 10, 11, 3], [0, 0, 2, 5, 6, 3], [0, 0, 0, 2, 7, 3]]
        assert batch.inputs["attention_mask"].tolist() == [[1] * 6, [0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1]]
        # A part keeps the end of the rows.
        part = batch.take(np.array([2, 1]), 0)
        assert part.inputs["input_ids"].tolist() == [[0, 2, 7, 3], [2, 5, 6, 3]]
        assert part.inputs["attention_mask"].tolist() == [[0, 1, 1, 1], [1, 1, 1, 1]]

    @pytest.mark.parametrize("side", ["right", "left"])
    def test_rows_of_a_fixed_width_keep_it_in_parts(self, side: str) -> None:
        dataset = encode(rows_of(TEXTS), Counting(bert()), bert(), CLASSES, None, width=8)
        dataset = replace(dataset, padding=replace(dataset.padding, side=side))
        part = dataset.collate(np.array([2, 0]), 0, 0).take(np.array([1]), 0)
        row = [2, 5, 6, 3]
        assert part.inputs["input_ids"].tolist() == [[*row, 0, 0, 0, 0] if side == "right" else [0, 0, 0, 0, *row]]

    def test_a_text_without_tokens_has_one_of_padding(self) -> None:
        """Tokenizers without special tokens make none of an empty text, and a model cannot read nothing."""
        rows, tokenizer = rows_of(["", "a"]), bert()
        dataset = encode(rows, Counting(tokenizer, add_special_tokens=False), tokenizer, CLASSES, None)
        batch = dataset.collate(np.array([0, 1]), 0, 0)
        assert batch.inputs["input_ids"].tolist() == [[0], [5]]
        assert batch.inputs["attention_mask"].tolist() == [[1], [1]]

    def test_another_tokenizer_pads_with_another_id(self) -> None:
        batch = encoded(rows_of(TEXTS), RobertaTokenizer(vocab=ROBERTA, merges=[])).collate(np.array([1, 0]), 0, 0)
        assert batch.inputs["input_ids"].tolist() == [[0, 8, 2, 1, 1], [0, 6, 5, 7, 2]]
        assert "token_type_ids" not in batch.inputs

    def test_segments_are_padded_with_their_own_id(self) -> None:
        tokenizer = bert()
        tokenizer._pad_token_type_id = 1  # as xlnet has 3
        batch = encoded(rows_of(TEXTS), tokenizer).collate(np.array([2, 0]), 0, 0)
        assert batch.inputs["token_type_ids"].tolist() == [[0] * 6, [0, 0, 0, 0, 1, 1]]

    def test_is_as_wide_as_its_longest_row(self) -> None:
        dataset = encoded(rows_of(TEXTS))
        assert dataset.collate(np.array([1]), 0, 0).inputs["input_ids"].shape == (1, 3)

    def test_targets_are_one_hot_and_an_unseen_label_has_weight_zero(self) -> None:
        dataset = encoded(rows_of(TEXTS, ["yes", "never heard of", "no"]))
        batch = dataset.collate(np.array([0, 1, 2]), 0, 0)
        assert dataset.labels.tolist() == [1, -1, 0]
        assert batch.targets.tolist() == [[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]
        assert batch.weights.tolist() == [1.0, 0.0, 1.0]
        assert batch.total == 2.0

    def test_rows_without_labels_have_a_nonzero_total(self) -> None:
        batch = encoded(rows_of(TEXTS, [None, None, None])).collate(np.array([0, 1]), 0, 0)
        assert batch.weights.tolist() == [0.0, 0.0]
        assert batch.total == 1.0

    def test_multi_label_targets(self) -> None:
        dataset = encoded(rows_of(TEXTS, [["no", "yes"], [], ["yes", "never heard of"]]))
        batch = dataset.collate(np.array([0, 1, 2]), 0, 0)
        assert batch.targets.tolist() == [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]]
        assert batch.targets.dtype == torch.float32
        assert batch.weights.tolist() == [1.0, 1.0, 1.0]

    def test_targets_have_the_default_precision(self) -> None:
        torch.set_default_dtype(torch.float64)
        try:
            for labels in (["no", "yes", "no"], [["no"], [], ["yes"]]):
                batch = encoded(rows_of(TEXTS, labels)).collate(np.array([0, 1]), 0, 0)
                assert batch.targets.dtype == batch.weights.dtype == torch.float64
        finally:
            torch.set_default_dtype(torch.float32)


def test_distributions_are_a_column_that_survives_and_changes_no_token() -> None:
    answers = np.array([[0.75, 0.25], [0.5, 0.5], [0.0, 1.0]])
    rows = with_distributions(rows_of(TEXTS), "teacher", answers)
    read_again = read_distributions(rows.select([2, 0]), "teacher")
    assert read_again is not None and read_again.tolist() == [[0.0, 1.0], [0.75, 0.25]]
    assert read_distributions(rows_of(TEXTS), "teacher") is None
    tokenizer = bert()
    counting = Counting(tokenizer)
    plain = encode(rows_of(TEXTS), counting, tokenizer, CLASSES, ())
    taught = encode(rows, counting, tokenizer, CLASSES, ())
    assert counting.rows == 3  # tokenized once
    assert plain.teacher is None and taught.teacher is not None
    batch = taught.collate(np.array([1, 0]), 0, 0)
    assert batch.teacher is not None
    assert batch.teacher.tolist() == [[0.5, 0.5], [0.75, 0.25]]


@pytest.mark.parametrize("labels", [["no", "yes", "yes"], [["no"], ["yes"], ["no", "yes"]]])
def test_soft_targets_replace_the_label_of_the_rows_that_have_them(labels: Sequence[Any]) -> None:
    soft = with_distributions(rows_of(["soft"], labels[:1]), "soft_targets", np.array([[0.25, 0.75]]))
    dataset = encoded(concatenate_datasets([rows_of(TEXTS, labels), soft]))
    batch = dataset.collate(np.array([0, 3, 1]), 0, 0)
    assert batch.targets.tolist() == [[1.0, 0.0], [0.25, 0.75], [0.0, 1.0]]
    assert batch.weights.tolist() == [1, 1, 1]


class TestWindows:
    """Texts that the `encode` seam splits into windows."""

    def split(self, labels: Sequence[Any] | None = None, key: Sequence[object] | None = ()) -> Encoded:
        """Windows of two letters: ab, cd, e | c | fg, h."""
        tokenizer = bert()

        def windows(texts: Sequence[str], pairs: Sequence[str] | None) -> Mapping[str, Any]:
            windows_of_texts = [[text[begin : begin + 4] for begin in range(0, len(text), 4)] for text in texts]
            encoded_texts = [tokenizer(each) for each in windows_of_texts]
            return {
                name: [each[name] for each in encoded_texts]
                for name in ("input_ids", "token_type_ids", "attention_mask")
            }

        return encode(rows_of(["a b c d e", "c", "f g h"], labels), windows, tokenizer, CLASSES, key)

    @pytest.mark.parametrize("key", [(), None])
    def test_a_row_stays_a_document(self, key: Sequence[object] | None) -> None:
        for _ in range(2):  # the first pass writes the cache, the second reads it
            dataset = self.split(key=key)
            assert len(dataset) == 3
            assert dataset.counts.tolist() == [3, 1, 2]
            assert dataset.window_lengths.tolist() == [4, 4, 3, 3, 4, 3]
            assert dataset.lengths.tolist() == [11, 3, 7]
            assert dataset.windows_of(np.array([2, 0])).tolist() == [4, 5, 0, 1, 2]
            assert {each.dtype.itemsize for each in dataset.columns.values()} <= {1, 4}

    def test_collate_repeats_a_documents_id_and_divides_its_weight(self) -> None:
        batch = self.split(["yes", "no", "never heard of"]).collate(np.array([2, 0, 1]), 0, 0)
        assert batch.inputs["input_ids"].tolist() == [
            [2, 10, 11, 3],
            [2, 12, 3, 0],
            [2, 5, 6, 3],
            [2, 7, 8, 3],
            [2, 9, 3, 0],
            [2, 7, 3, 0],
        ]
        assert batch.documents is not None
        assert batch.documents.tolist() == [0, 0, 1, 1, 1, 2]
        assert batch.ids == ["row 2"] * 2 + ["row 0"] * 3 + ["row 1"]
        assert batch.targets.tolist() == [[0, 0]] * 2 + [[0, 1]] * 3 + [[1, 0]]
        assert batch.weights.tolist() == pytest.approx([0, 0, 1 / 3, 1 / 3, 1 / 3, 1])
        assert batch.total == 2.0
        assert batch.lengths.tolist() == [4, 3, 4, 4, 3, 3]
        assert (batch.examples, len(batch)) == (3, 6)
        assert batch.teacher is None
        part = batch.take(np.array([5, 1]), 0)
        assert part.documents is not None
        assert part.documents.tolist() == [2, 0]
        assert part.examples == 2

    def test_multi_label_targets(self) -> None:
        batch = self.split([["no", "yes"], [], ["yes"]]).collate(np.array([0, 2]), 0, 0)
        assert batch.targets.tolist() == [[1, 1]] * 3 + [[0, 1]] * 2
        assert batch.weights.tolist() == pytest.approx([1 / 3] * 3 + [1 / 2] * 2)

    def test_each_window_has_the_teachers_answer_to_its_document(self) -> None:
        answers = np.array([[0.75, 0.25], [0.5, 0.5], [0.0, 1.0]])
        batch = replace(self.split(), teacher=answers).collate(np.array([2, 0]), 0, 0)
        assert batch.teacher is not None
        assert batch.teacher.tolist() == [[0.0, 1.0]] * 2 + [[0.75, 0.25]] * 3

    def test_one_window_per_row_has_no_window_offsets(self) -> None:
        tokenizer = bert()

        def one_window_each(texts: Sequence[str], pairs: Sequence[str] | None) -> Mapping[str, Any]:
            return {name: [[row] for row in rows] for name, rows in tokenizer(list(texts)).items()}

        dataset, plain = encode(rows_of(TEXTS), one_window_each, tokenizer, CLASSES, None), encoded(rows_of(TEXTS))
        assert dataset.window_offsets is None
        assert dataset.offsets.tolist() == plain.offsets.tolist()
        assert dataset.columns["input_ids"].tolist() == plain.columns["input_ids"].tolist()
        batch = dataset.collate(np.array([0, 1]), 0, 0)
        assert batch.documents is None
        assert batch.examples == 2


class TestCache:
    def test_tokenizes_once(self) -> None:
        rows, tokenizer = rows_of(TEXTS), bert()
        first, second = Counting(tokenizer), Counting(tokenizer)
        one = encode(rows, first, tokenizer, CLASSES, ["key"])
        two = encode(rows, second, tokenizer, CLASSES, ["key"])
        assert (first.rows, second.rows) == (3, 0)
        assert np.array_equal(one.columns["input_ids"], two.columns["input_ids"])
        assert two.lengths.tolist() == [4, 3, 6]

    def test_equal_rows_and_tokenizers_share_the_cache(self) -> None:
        first, second = Counting(bert()), Counting(bert())
        encode(rows_of(TEXTS), first, first.tokenizer, CLASSES, [])
        encode(rows_of(TEXTS), second, second.tokenizer, CLASSES, [])
        assert second.rows == 0

    def test_truncation_of_the_last_call_is_not_part_of_the_key(self) -> None:
        rows = rows_of(TEXTS)
        first, second = Counting(bert(), truncation=True, max_length=9), Counting(bert())
        encode(rows_of(["x y"]), first, first.tokenizer, CLASSES, [9])  # leaves its truncation in the tokenizer
        encode(rows, first, first.tokenizer, CLASSES, [9])
        encode(rows, second, second.tokenizer, CLASSES, [9])
        assert second.rows == 0

    @pytest.mark.parametrize("change", ["texts", "pairs", "key", "vocabulary", "settings", "side", "special", "added"])
    def test_tokenizes_again_if_anything_in_the_key_changes(self, change: str) -> None:
        tokenizer: PreTrainedTokenizerBase = bert()
        encode(rows_of(TEXTS), Counting(tokenizer), tokenizer, CLASSES, [128, "segments(4)"])
        rows, key = rows_of(TEXTS), [128, "segments(4)"]
        if change == "texts":
            rows = rows_of(["a b", "c", "d e f h"])
        elif change == "pairs":
            rows = rows_of(TEXTS, pairs=TEXTS)
        elif change == "key":
            key = [128, "segments(5)"]
        elif change == "vocabulary":
            tokenizer = BertTokenizer(vocab={token: (number + 9) % len(BERT) for token, number in BERT.items()})
        elif change == "settings":  # the same vocabulary, but no segments
            tokenizer = BertTokenizer(vocab=BERT, model_input_names=["input_ids", "attention_mask"])
        elif change == "special":
            tokenizer.sep_token = "[MASK]"
        elif change == "added":
            tokenizer.add_tokens(["a b"])
        else:
            tokenizer.truncation_side = "left"
        again = Counting(tokenizer)
        dataset = encode(rows, again, tokenizer, CLASSES, key)
        assert again.rows == 3
        assert ("token_type_ids" in dataset.columns) == (change != "settings")

    def test_rows_of_the_same_fingerprint_are_told_apart(self) -> None:
        """A fingerprint may go by the path of a file."""
        first, second, tokenizer = rows_of(TEXTS), rows_of(["a b", "c", "x y"]), bert()
        first._fingerprint = second._fingerprint = "the same"
        encode(first, Counting(tokenizer), tokenizer, CLASSES, [])
        assert encode(second, Counting(tokenizer), tokenizer, CLASSES, []).columns["input_ids"][-3:].tolist() == [
            28,
            29,
            3,
        ]

    def test_equal_rows_of_other_fingerprints_share_the_cache(self) -> None:
        first, second, tokenizer = rows_of(TEXTS), rows_of(TEXTS), bert()
        second._fingerprint = "another"
        encode(first, Counting(tokenizer), tokenizer, CLASSES, [])
        again = Counting(tokenizer)
        encode(second.select([0, 1, 2]), again, tokenizer, CLASSES, [])
        assert again.rows == 0

    @pytest.mark.parametrize(
        "change",
        [
            lambda tokenizer: tokenizer.add_tokens(["ab"]),
            lambda tokenizer: setattr(tokenizer, "offset", 4),
            lambda tokenizer: setattr(tokenizer, "eos_token", "<unk>"),
            lambda tokenizer: setattr(tokenizer, "split_special_tokens", True),
        ],
    )
    def test_a_tokenizer_in_python_is_known_by_its_settings(self, change: Callable[[Any], Any]) -> None:
        """It has no backend whose rules could be read, and this one not even a vocabulary."""
        own, other = ByT5Tokenizer(extra_ids=2), ByT5Tokenizer(extra_ids=2)
        key = _tokenizer_key(own)
        own("some text", truncation=True, max_length=3)
        assert _tokenizer_key(own) == key
        assert _tokenizer_key(other) == key
        change(other)
        assert _tokenizer_key(other) != key

    def test_its_vocabulary_is_read_from_what_it_saves(self, tmp_path: Path) -> None:
        keys = []
        for merges in ("#version\n", "#version\na b</w>\n"):
            (tmp_path / "vocab.json").write_text('{"<unk>": 0, "a": 1, "b</w>": 2, "ab</w>": 3}')
            (tmp_path / "merges.txt").write_text(merges)
            tokenizer = CTRLTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
            keys.append(_tokenizer_key(tokenizer))
        assert keys[0] != keys[1]

    def test_the_class_is_part_of_the_key(self) -> None:
        class Other(ByT5Tokenizer):
            pass

        assert _tokenizer_key(Other()) != _tokenizer_key(ByT5Tokenizer())

    def test_the_tokenizer_is_left_as_it_was(self) -> None:
        tokenizer: Any = bert()
        tokenizer(TEXTS, truncation=True, max_length=3, padding="max_length")
        before = tokenizer.backend_tokenizer.to_str()
        _tokenizer_key(tokenizer)
        assert tokenizer.backend_tokenizer.to_str() == before
        assert '"max_length": 3' in before or '"max_length":3' in before

    def test_labels_and_classes_are_not_cached(self) -> None:
        rows, tokenizer = rows_of(TEXTS), bert()
        encode(rows, Counting(tokenizer), tokenizer, CLASSES, [])
        again = Counting(tokenizer)
        assert encode(rows, again, tokenizer, ["yes", "no"], []).labels.tolist() == [1, 0, 1]
        assert again.rows == 0

    def test_without_a_key_nothing_is_cached(self, cache: Path) -> None:
        tokenizer = bert()
        for _ in range(2):
            counting = Counting(tokenizer)
            assert encode(rows_of(TEXTS), counting, tokenizer, CLASSES, None).lengths.tolist() == [4, 3, 6]
            assert counting.rows == 3
        assert not cache.exists()

    def test_concurrent_writers_leave_one_complete_file(self, cache: Path) -> None:
        texts, children = ["a b c"] * 1500, []
        (blocked, release), (started, start) = os.pipe(), os.pipe()

        def child() -> int:
            os.close(release)
            tokenizer = bert()

            def wait_and_encode(first: Sequence[str], second: Any) -> Mapping[str, Any]:
                os.write(start, b"x")
                os.read(blocked, 1)  # until all children have started
                tokens: Mapping[str, Any] = tokenizer(list(first))
                return tokens

            return int(encode(rows_of(texts), wait_and_encode, tokenizer, CLASSES, []).lengths.tolist() != [5] * 1500)

        for _ in range(3):
            if (number := os.fork()) == 0:
                code = 1
                try:
                    code = child()
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            children.append(number)
        for _ in children:
            os.read(started, 1)
        os.close(release)
        assert [os.waitpid(number, 0)[1] for number in children] == [0, 0, 0]
        for end in (blocked, started, start):
            os.close(end)
        assert len(list(cache.iterdir())) == 1
        counting = Counting(bert())
        dataset = encode(rows_of(texts), counting, counting.tokenizer, CLASSES, [])
        assert counting.rows == 0
        assert dataset.columns["input_ids"].tolist() == [2, 5, 6, 7, 3] * 1500

    def test_a_failing_writer_leaves_no_file(self, cache: Path) -> None:
        def die(first: Sequence[str], second: Any) -> Mapping[str, Any]:
            raise RuntimeError("died")

        with pytest.raises(RuntimeError, match="died"):
            encode(rows_of(TEXTS), die, bert(), CLASSES, [])
        assert list(cache.iterdir()) == []
        counting = Counting(bert())
        encode(rows_of(TEXTS), counting, counting.tokenizer, CLASSES, [])
        assert counting.rows == 3

    def test_an_unwritable_cache_is_a_user_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").write_text("in the way")
        monkeypatch.setenv("TRICKBOOK_CACHE", str(tmp_path / "file"))
        with pytest.raises(UserError, match="file/trickbook: "):
            encoded(rows_of(TEXTS))


def test_both_texts_of_a_pair_are_cleaned() -> None:
    cleaned = clean_rows(rows_of(["a", "b"], pairs=["c", "d"]), str.upper)
    assert (cleaned["text"][:], cleaned["text_pair"][:]) == (["A", "B"], ["C", "D"])
    assert clean_rows(rows_of(["a"]), str.upper)["text_pair"][:] == [None]


def test_a_row_without_labels_among_multi_label_rows_has_no_class() -> None:
    dataset = encoded(rows_of(["a", "b", "c"], labels=[None, ["yes"], ["no", "yes"]]))
    assert dataset.labels.tolist() == [[0, 0], [0, 1], [1, 1]]


def test_rows_of_each_class_are_counted() -> None:
    assert class_counts(encoded(rows_of(list("abcd"), ["no", "no", "new", "yes"]))).tolist() == [2, 1]
    assert class_counts(encoded(rows_of(list("ab"), ["yes", "new"]))).tolist() == [0, 1]
    assert class_counts(encoded(rows_of(list("abc"), [["no", "yes"], ["yes"], []]))).tolist() == [1, 2]
