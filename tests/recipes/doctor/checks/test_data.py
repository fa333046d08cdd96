"""Checks of the data: duplicates, contradictory labels and leaked rows, with exact counts and rows."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
from datasets import Dataset

from recipes.doctor.checks.data import MOJIBAKE, duplicates, near_duplicates, texts, tokens, truncation
from recipes.doctor.findings import CheckResult, Finding

FEATURES = datasets.Features({name: datasets.Value("string") for name in ("id", "text", "text_pair", "label")})


def make_rows(texts: Sequence[str], labels: Sequence[str] = (), prefix: str = "train") -> Dataset:
    """One row for each text; its id is its index."""
    columns = {
        "id": [f"{prefix} {number}" for number in range(len(texts))],
        "text": list(texts),
        "text_pair": [None] * len(texts),
        "label": list(labels) or ["x"] * len(texts),
    }
    return Dataset.from_dict(columns, FEATURES)


def run_check(check: Any, **subject: Any) -> list[Finding]:
    """The findings of a check, for a subject with these attributes."""
    result = CheckResult("data", check.__name__, "")
    check(SimpleNamespace(remedies=lambda finding, otherwise="": "a remedy", **subject), result)
    return result.findings


def find_duplicates(train: Dataset, **others: Dataset) -> list[Finding]:
    config = SimpleNamespace(data=SimpleNamespace(test=None))
    return run_check(duplicates, original_rows=train, rows_of_splits={"train": train, **others}, config=config)


def distinct_texts(count: int) -> list[str]:
    return [f"text {number}" for number in range(count)]


@pytest.mark.parametrize(("count", "severity"), [(60, "note"), (59, "warning")])
def test_repeated_rows_are_counted_without_the_first_of_each(count: int, severity: str) -> None:
    """One text three times and one twice, whatever their case and white space: three repeated rows."""
    texts = ["again", "twice", " Again ", "AGAIN", "twice", *distinct_texts(count - 5)]
    (finding,) = find_duplicates(make_rows(texts))
    assert finding.message == f"train: 3 of {count} rows repeat another one."
    assert (finding.severity, finding.rows) == (severity, ["train 2", "train 3", "train 4"])


def test_there_is_no_finding_without_repeated_rows() -> None:
    assert find_duplicates(make_rows(distinct_texts(9)), validation=make_rows(["another"], prefix="validation")) == []


def test_texts_with_different_labels_are_counted_by_text() -> None:
    texts = ["one", "one", "one", "two", "two", "three", "three", *distinct_texts(93)]
    labels = ["x", "y", "x", "y", "z", "x", "x", *["x"] * 93]
    repeated, contradictory = find_duplicates(make_rows(texts, labels))
    assert repeated.message == "train: 4 of 100 rows repeat another one."
    assert contradictory.message.startswith("train: 2 texts occur with different labels, such as ")
    assert contradictory.rows == [f"train {number}" for number in range(5)]


def test_rows_of_other_splits_that_are_also_in_train_are_counted_for_each_split() -> None:
    train = make_rows(distinct_texts(9))
    validation = make_rows(["text 3", "other", "TEXT  3", "text 8"], prefix="validation")
    test = make_rows(["other", "text 0"], prefix="test")
    first, second, third = find_duplicates(train, validation=validation, test=test)
    assert first.message == "validation: 3 of 4 rows are also in train."
    assert first.rows == ["validation 0", "validation 2", "validation 3"]
    assert second.message == "test: 1 of 2 rows are also in train." and second.rows == ["test 1"]
    assert third.message == "test: 1 of 2 rows are also in validation." and third.rows == ["test 0"]


def test_a_text_of_white_space_is_empty() -> None:
    train = make_rows(["", "  ", "\n\t", *distinct_texts(97)])
    config = SimpleNamespace(data=SimpleNamespace(text="text", label="label"))
    splits = SimpleNamespace(multi_label=False, classes=["x"])
    (finding,) = run_check(texts, rows_of_splits={"train": train}, config=config, splits=splits)
    assert (finding.severity, finding.message) == ("warning", "train: 3 texts are empty.")
    assert finding.rows == ["train 0", "train 1", "train 2"]


def test_exact_duplicates_are_not_counted_as_near_duplicates() -> None:
    pytest.importorskip("datasketch")
    sentence = "it was a long evening and nobody at the table had anything new to add to what was clear {}"
    train = [sentence.format(f"number {number}" * (number + 1)) for number in range(4)]
    validation = make_rows([train[0], f"{train[1]}!", "something else entirely"], prefix="validation")
    splits = {"train": make_rows(train), "validation": validation}
    (finding,) = run_check(near_duplicates, original_rows=splits["train"], rows_of_splits=splits)
    assert finding.message == "validation: 1 of 3 rows are near-duplicates of training rows."
    assert finding.rows == ["validation 1"]


class WordTokenizer:
    """One token for each word, between two special tokens."""

    unk_token_id, unk_token, all_special_ids = 2, "[UNK]", (0, 1)

    def __call__(self, text: str | list[str], add_special_tokens: bool = True) -> Any:
        def encode(each: str) -> list[int]:
            words = [3 + len(word) for word in each.split()]
            return [0, *words, 1] if add_special_tokens else words

        return SimpleNamespace(input_ids=encode(text) if isinstance(text, str) else [encode(each) for each in text])


class EncodedRows(SimpleNamespace):
    """Encoded rows with a length."""

    def __len__(self) -> int:
        return len(self.ids)


@pytest.mark.parametrize(("count", "messages"), [(2, []), (3, ["3 of 10 training rows have at most one token."])])
def test_special_tokens_do_not_count_as_tokens_of_a_text(count: int, messages: list[str]) -> None:
    """Some of ten texts have a single word."""
    train_texts = ["word"] * count + ["more than one"] * (10 - count)
    tokenizer = WordTokenizer()
    token_ids = [tokenizer(text).input_ids for text in train_texts]
    train = EncodedRows(
        columns={"input_ids": np.concatenate(token_ids)},
        lengths=np.array([len(each) for each in token_ids]),
        offsets=np.cumsum([0, *map(len, token_ids)]),
        examples=make_rows(train_texts),
        ids=[f"train {number}" for number in range(10)],
    )
    run = SimpleNamespace(train=train, tokenizer=tokenizer)
    config = SimpleNamespace(data=SimpleNamespace(text="text"))
    assert [finding.message for finding in run_check(tokens, run=run, config=config)] == messages


def test_only_truncated_rows_are_listed() -> None:
    """Rows b and d lose 6 and 2 of 22 tokens; row a fits exactly."""
    run = SimpleNamespace(
        train=SimpleNamespace(lengths=np.array([4, 4, 2, 4]), ids=["a", "b", "c", "d"]),
        console=SimpleNamespace(uncut_lengths=(np.array([0, 1, 2, 3]), np.array([4, 10, 2, 6]))),
        tokenizer=SimpleNamespace(model_max_length=512),
        max_length=4,
    )
    (finding,) = run_check(truncation, run=run)
    assert finding.rows == ["b", "d"]
    assert finding.message == "50.0% of the rows are longer than data.max_length=4; 36.4% of all text is truncated."


@pytest.mark.parametrize(
    ("written", "read"), [("utf-8", "latin-1"), ("utf-8", "cp1252"), ("utf-8", "gb18030"), ("gbk", "latin-1")]
)
def test_chinese_that_was_read_in_the_wrong_encoding_is_seen(written: str, read: str) -> None:
    text = "房间很干净，服务也好。这是我的酒店"
    damaged = text.encode(written).decode(read, "ignore")
    assert MOJIBAKE.search(damaged) and not MOJIBAKE.search(text)


def test_other_languages_are_not_taken_for_the_wrong_encoding() -> None:
    for text in (
        "這部電影非常好看，強烈推薦。",
        "Où est l’hôtel ? Ça « change » été.",
        "5 µm, £5, ¡Hola!",
        "ヤバい、これ。",
    ):
        assert not MOJIBAKE.search(text)
