"""Files of unlabelled texts: what is read, what is refused, and which texts are left out."""

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from recipes.data.splits import Splits
from recipes.data.unlabelled import leave_out_evaluated, read_unlabelled
from recipes.errors import UserError
from tests.recipes.data.helpers import FILES, Write, as_csv, as_jsonl

TEXTS = ["one text", "", "你好，世界", "a, b"]
SETTING = "tricks.mlm.file"


def read_texts(path: Path, **values: Any) -> list[str]:
    rows, _ = read_unlabelled(str(path), SETTING, replace(FILES, **values), ["pos", "neg"])
    assert rows.column_names == ["id", "source", "text", "text_pair", "label"]
    assert set(rows["label"]) == {None}
    return list(rows["text"])


def refusal(path: Path, **values: Any) -> str:
    with pytest.raises(UserError) as caught:
        read_texts(path, **values)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{SETTING}={path}"), problem
    return problem


def test_every_format_has_the_same_texts_and_empty_ones_are_left_out(write: Write, tmp_path: Path) -> None:
    table = as_csv([(text,) for text in TEXTS], header=["text"]).replace("\n\n", '\n""\n')
    lines = "\n".join(TEXTS) + "\n"
    for name, content in (
        ("a.csv", table),
        ("a.jsonl", as_jsonl([{"text": text} for text in TEXTS])),
        ("a.txt", lines),
        ("b.TXT", "\ufeff" + lines.replace("\n", "\r\n")),
    ):
        assert read_texts(write(name, content)) == ["one text", "你好，世界", "a, b"], name
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(lines.encode()))
    assert read_texts(tmp_path / "a.txt.gz") == ["one text", "你好，世界", "a, b"]
    _, notes = read_unlabelled(str(write("c.csv", table)), SETTING, FILES)
    assert notes == [f"{SETTING}={tmp_path / 'c.csv'}: 1 of 4 texts are empty and are left out."]


def test_ids_and_groups_of_labelled_rows_are_not_asked_for(write: Write) -> None:
    assert read_texts(write("a.csv", "text\none\n"), id="number", group="user") == ["one"]


def test_an_empty_column_of_labels_is_no_label(write: Write) -> None:
    assert read_texts(write("a.csv", as_csv([("one", ""), ("two", "")]))) == ["one", "two"]
    assert read_texts(write("b.csv", as_csv([("one", "-1"), ("two", "-1")]))) == ["one", "two"]
    assert read_texts(write("a.jsonl", as_jsonl([{"text": "one", "label": []}]))) == ["one"]


def test_pairs_are_read_from_their_column(write: Write) -> None:
    path = write("a.csv", as_csv([("one", "two")], header=["text", "other"]))
    rows, _ = read_unlabelled(str(path), SETTING, replace(FILES, text_pair="other"))
    assert rows["text_pair"] == ["two"]
    assert "a line of a .txt file is one text" in refusal(write("a.txt", "one\n"), text_pair="other")


def test_a_labelled_file_is_refused_with_the_remedy(write: Write) -> None:
    for name, content, values in (
        ("a.csv", as_csv([("one", "pos"), ("two", "")]), {}),
        ("a.jsonl", as_jsonl([{"text": "one", "label": ["pos"]}, {"text": "two", "label": []}]), {}),
        ("b.csv", as_csv([("one", "1"), ("two", "")], header=["text", "toxic"]), {"label": ["toxic", "insult"]}),
    ):
        problem = refusal(write(name, content), **values)
        assert "1 of its 2 rows have a label" in problem and "data.train" in problem, name
    for content in ("one\tpos\ntwo\tneg\n", "pos\tone\nneg\ttwo\n"):
        assert "each line has a tab and one of the labels" in refusal(write("a.txt", content))
    assert read_texts(write("a.txt", "one\tpos\ntwo\tthree\n")) == ["one\tpos", "two\tthree"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "the file has no rows; write a text on each line, or name another file"),
        ("a.txt", "\n \n", "the file has no rows"),
        ("a.csv", "", "the file is empty"),
        ("a.docx", "", "the ending must be one of .txt, .csv, .tsv, .jsonl, .json, .parquet (.gz may follow)."),
        ("a.csv", "text\n", "the file has no rows"),
        ("a.csv", 'text\n" "\n', "each of its 1 texts is empty"),
        ("a.xlsx", "x", "Save the sheet as CSV UTF-8"),
        ("a.txt", b"caf\xe9 one\xff\n\x81\x8d\n", ""),
        ("a.txt.gz", b"\x1f\x8b\x08\x00\x00\x00", "the gzip file is cut off or damaged"),
    ],
)
def test_a_file_without_readable_texts_is_refused(name: str, content: str | bytes, message: str, write: Write) -> None:
    assert message in refusal(write(name, content))


def test_a_missing_file_and_a_missing_column_are_named(tmp_path: Path, write: Write) -> None:
    assert "there is no such file" in refusal(tmp_path / "none.txt")
    assert "this is a folder" in refusal(tmp_path)
    with pytest.raises(UserError, match=r"^tricks.mlm.file=.*: data.text=text: the file of unlabelled texts .*review"):
        read_texts(write("a.csv", "review\none\n"))


def rows(*texts: str) -> Dataset:
    columns = {"id": list(map(str, range(len(texts)))), "text": list(texts), "text_pair": [None] * len(texts)}
    return Dataset.from_dict(columns)


def test_texts_of_other_splits_and_repeated_texts_are_left_out() -> None:
    def unchanged(examples: Dataset) -> Dataset:
        return examples

    evaluated = {"validation": rows("the same long validation text"), "test": rows("hidden text of the test split")}
    splits = Splits(rows("x"), **evaluated, classes=["p", "q"], multi_label=False).hide_test(unchanged)
    texts = ["A  b", "Hidden Text of the test split", "the SAME long validation text", "a b"]
    texts += ["the same long validation text!", "hidden text of the test split!", "c"]
    remaining = leave_out_evaluated(rows(*texts), splits, unchanged)
    assert remaining["id"] == ["0", "4", "5", "6"]
    assert leave_out_evaluated(rows(*texts), splits, unchanged, threshold=0.8)["id"] == ["0", "6"]
