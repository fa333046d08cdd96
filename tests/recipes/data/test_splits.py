import gzip
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from recipes.compose import reading
from recipes.compose.overrides import compose_config
from recipes.config import Data
from recipes.data import duplicates
from recipes.data.splits import Splits, read_splits
from recipes.errors import UserError

Write = Callable[[str, str | bytes], Path]

FILES = reading.read(compose_config(["data=files", "data.train=x"])[0]).data
HUB = reading.read(compose_config(["data=hub", "data.name=x"])[0]).data
ROWS = [("a good film", "pos"), ("a bad film", "neg"), ("", "pos"), ("so, so", "neg")] * 5


def load(
    train: Path | str, extra: dict[str, str] | None = None, opened: bool = True, base: Data = FILES, **values: Any
) -> Splits:
    paths = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
    return read_splits(replace(base, train=str(train), **paths), extra or {}, opened)


def problems(*arguments: Any, **values: Any) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        load(*arguments, **values)
    assert all(problem.endswith((".", "?")) and "\n" not in problem for problem in caught.value.problems)
    return caught.value.problems


def table(*splits: Dataset | None) -> dict[str, tuple[str, Any]]:
    """Text and label by id, of all splits together."""
    found: dict[str, tuple[str, Any]] = {}
    for rows in splits:
        assert rows is not None
        for row in rows:
            assert row["id"] not in found
            assert row["source"] == row["id"]
            found[row["id"]] = (row["text"], row["label"])
    return found


def whole(splits: Splits) -> dict[str, tuple[str, Any]]:
    return table(splits.train, splits.validation, splits.test)


def csv_of(rows: Sequence[tuple[str, ...]], separator: str = ",", header: Sequence[str] = ("text", "label")) -> str:
    def cell(value: str) -> str:
        doubled = value.replace('"', '""')
        return f'"{doubled}"' if any(mark in value for mark in (separator, '"', "\n")) else value

    return "".join(separator.join(map(cell, row)) + "\n" for row in [tuple(header), *rows])


def jsonl_of(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def parquet_of(folder: Path, name: str, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), folder / name)
    return folder / name


def named(name: str, folder: Path) -> Path:
    """The same rows, as a file of this ending."""
    path = folder / name
    if name.endswith(".parquet"):
        return parquet_of(folder, name, text=[text for text, _ in ROWS], label=[label for _, label in ROWS])
    plain = {
        ".csv": csv_of(ROWS),
        ".tsv": csv_of(ROWS, "\t"),
        ".jsonl": jsonl_of([{"text": text, "label": label} for text, label in ROWS]),
        ".json": json.dumps([{"text": text, "label": label} for text, label in ROWS]),
    }[path.with_suffix("").suffix if name.endswith(".gz") else path.suffix].encode()
    path.write_bytes(gzip.compress(plain, mtime=0) if name.endswith(".gz") else plain)
    return path


# Formats.


@pytest.mark.parametrize(
    "name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet", "a.csv.gz", "a.tsv.gz", "a.jsonl.gz", "of.2024.csv"]
)
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    splits = load(named(name, tmp_path))
    assert whole(splits) == {str(number): row for number, row in enumerate(ROWS)}
    assert splits.classes == ["neg", "pos"]
    assert not splits.multi_label
    assert splits.train.column_names == ["id", "source", "text", "text_pair", "label"]


def test_a_path_for_each_split(write: Write) -> None:
    train = write("train.csv", csv_of(ROWS))
    validation = write("dev.jsonl", jsonl_of([{"label": "neg", "text": "x"}, {"label": "pos", "text": "y"}]))
    test = write("test.tsv", csv_of([("z", "pos")], "\t"))
    splits = load(train, validation=validation, test=test)
    assert table(splits.train) == {str(number): row for number, row in enumerate(ROWS)}
    assert table(splits.validation) == {"0": ("x", "neg"), "1": ("y", "pos")}
    assert table(splits.test) == {"0": ("z", "pos")}


def test_other_columns_by_name(write: Write) -> None:
    rows = [(f"k{number}", "first", "second", label) for number, (_, label) in enumerate(ROWS)]
    train = write("a.csv", csv_of(rows, header=("key", "one", "two", "class")))
    splits = load(train, id="key", text="one", text_pair="two", label="class")
    assert set(whole(splits)) == {f"k{number}" for number in range(len(ROWS))}
    assert set(splits.train["text"]) == {"first"}
    assert set(splits.train["text_pair"]) == {"second"}


def test_without_a_pair_there_is_none(write: Write) -> None:
    assert set(load(write("a.csv", csv_of(ROWS))).train["text_pair"]) == {None}


def test_every_cell_of_a_csv_is_text_as_it_stands(write: Write) -> None:
    cells = ["NA", "null", "1e3", "007", "1.0", "true", " spaced ", "line\nbreak", "line\r\nbreak", 'say "so"', "a,b"]
    train = write("a.csv", csv_of([(cell, str(number % 2)) for number, cell in enumerate(cells * 3)]))
    assert [text for text, _ in (whole(load(train))[str(number)] for number in range(len(cells)))] == cells


def test_a_byte_order_mark_is_no_part_of_the_first_name(write: Write) -> None:
    for name in ("a.csv", "a.jsonl"):
        content = (
            csv_of(ROWS) if name == "a.csv" else jsonl_of([{"text": text, "label": label} for text, label in ROWS])
        )
        assert len(whole(load(write(name, "\ufeff" + content)))) == len(ROWS)


def test_windows_line_ends_and_empty_lines(write: Write) -> None:
    content = csv_of(ROWS).replace("\n", "\r\n") + "\r\n\r\n"
    assert whole(load(write("a.csv", content))) == {str(number): row for number, row in enumerate(ROWS)}


def test_an_empty_line_of_a_single_column_is_an_empty_text(write: Write) -> None:
    splits = load(write("a.csv", csv_of(ROWS)), test=write("test.csv", "text\none\n\nthree\n"))
    assert splits.test is not None
    assert splits.test["text"] == ["one", "", "three"]


def test_empty_texts_are_kept_and_noted(write: Write) -> None:
    train = write(
        "a.jsonl", jsonl_of([{"text": None, "label": "a"}, {"text": "  ", "label": "b"}, {"text": "x", "label": "a"}])
    )
    splits = load(train, validation=train, test=train)
    assert splits.train["text"] == ["", "  ", "x"]
    assert "train has 2 empty texts." in splits.notes


def test_trailing_separators_make_a_column_without_a_name(write: Write) -> None:
    rows = [(*row, "") for row in ROWS]
    assert len(whole(load(write("a.csv", csv_of(rows, header=("text", "label", "")))))) == len(ROWS)


# Labels.


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([1, 2], ["1", "2"]),
        ([1.0, 2.0], ["1", "2"]),
        ([0.5, 1.5], ["0.5", "1.5"]),
        ([True, False], ["False", "True"]),
        (["007", "7"], ["7", "007"]),
        ([-1, 1], ["-1", "1"]),
        ([10, 9], ["9", "10"]),
        (["10", "b"], ["10", "b"]),
        ([" a", "b "], ["a", "b"]),
        ([3, "b"], ["3", "b"]),
        (["体育", "财经"], ["体育", "财经"]),
    ],
)
def test_labels_are_names_whatever_they_were(values: list[Any], classes: list[str], write: Write) -> None:
    train = write("a.jsonl", jsonl_of([{"text": "x", "label": value} for value in values * 10]))
    splits = load(train)
    assert sorted(splits.classes) == sorted(classes)
    assert Counter(label for _, label in whole(splits).values()) == dict.fromkeys(classes, 10)


def test_numbers_are_in_order_of_value_and_names_of_letter(write: Write) -> None:
    train = write("a.csv", csv_of([("x", label) for label in ["10", "9", "-1"] * 9]))
    assert load(train).classes == ["-1", "9", "10"]
    train = write("b.csv", csv_of([("x", label) for label in ["z", "10", "b"] * 9]))
    assert load(train).classes == ["10", "b", "z"]


def test_parquet_numbers_categories_and_missing_values(tmp_path: Path) -> None:
    train = parquet_of(tmp_path, "a.parquet", text=["x"] * 20, label=[1.0, 2.0] * 10)
    test = parquet_of(tmp_path, "b.parquet", text=["x"] * 3, label=[1.0, float("nan"), None])
    splits = load(train, test=test)
    assert splits.classes == ["1", "2"]
    assert splits.test is not None
    assert splits.test["label"] == ["1", None, None]
    assert "test: 2 of 3 rows have no label; they get predictions only." in splits.notes
    coded = pa.array(["a", "b"] * 10).dictionary_encode()
    assert load(parquet_of(tmp_path, "c.parquet", text=["x"] * 20, label=coded)).classes == ["a", "b"]


def test_lists_of_labels(write: Write, tmp_path: Path) -> None:
    lists = [["a", "b"], [], ["b"], ["c", "a", "c"]] * 5
    jsonl = write("a.jsonl", jsonl_of([{"text": "x", "label": names} for names in lists]))
    joined = write("a.csv", csv_of([("x", " | ".join(names)) for names in lists]))
    parquet = parquet_of(tmp_path, "a.parquet", text=["x"] * 20, label=lists)
    expected = {str(number): ("x", list(dict.fromkeys(names))) for number, names in enumerate(lists)}
    for splits in (load(jsonl), load(joined, label_separator="|"), load(parquet)):
        assert splits.multi_label
        assert splits.classes == ["a", "b", "c"]
        assert whole(splits) == expected


def test_lists_of_numbers_and_a_single_name_among_lists(write: Write) -> None:
    train = write("a.jsonl", jsonl_of([{"text": "x", "label": [1, 2]}, {"text": "x", "label": [2]}] * 10))
    assert load(train).classes == ["1", "2"]
    train = write("b.jsonl", jsonl_of([{"text": "x", "label": ["a", None]}, {"text": "x", "label": "b"}] * 10))
    assert whole(load(train))["0"] == ("x", ["a"])
    assert whole(load(train))["1"] == ("x", ["b"])


def test_one_class_is_enough_where_a_row_may_have_none(write: Write) -> None:
    train = write("a.csv", csv_of([("x", "urgent"), ("y", "")] * 10))
    assert load(train, label_separator=";").classes == ["urgent"]


# Splits without labels.


@pytest.mark.parametrize("content", ["text\nx\ny\n", "text,label\nx,\ny,\n", "text,label\nx,-1\ny,-1\n"])
@pytest.mark.parametrize("separator", [None, "|"])
def test_a_test_split_without_labels_gets_predictions_only(content: str, separator: str | None, write: Write) -> None:
    splits = load(write("a.csv", csv_of(ROWS)), test=write("test.csv", content), label_separator=separator)
    assert table(splits.test) == {"0": ("x", None), "1": ("y", None)}
    assert "test has no labels; it gets predictions only." in splits.notes


def test_minus_one_is_a_label_where_training_has_it(write: Write) -> None:
    train = write("a.csv", csv_of([("x", label) for label in ["-1", "1"] * 10]))
    splits = load(train, test=write("test.csv", "text,label\nx,-1\n"))
    assert table(splits.test) == {"0": ("x", "-1")}


@pytest.mark.parametrize("split", ["train", "validation"])
def test_rows_without_labels_cannot_be_trained_on(split: str, write: Write) -> None:
    good, bad = write("a.csv", csv_of(ROWS)), write("b.csv", csv_of([*ROWS, ("x", ""), ("y", " ")]))
    paths = {"train": good, "validation": good, split: bad}
    assert problems(**paths) == (f"{split}: 2 of 22 rows have no label (first: id 20); label or remove them.",)


def test_a_validation_split_without_the_column(write: Write) -> None:
    good, bad = write("a.csv", csv_of(ROWS)), write("b.csv", "text\nx\n")
    assert problems(good, validation=bad) == ("data.label=label: validation has no such column; there are: text.",)


# Labels that training has not.


def test_labels_that_only_validation_and_test_have_are_noted(write: Write) -> None:
    train = write("a.csv", csv_of(ROWS))
    other = write("b.csv", csv_of([("x", "pos"), ("x", "neg"), ("y", "mixed"), ("y", "mixed")]))
    splits = load(train, validation=other, test=other, extra={"hard": str(other)})
    assert splits.classes == ["neg", "pos"]
    for name in ("validation", "test", "hard"):
        told = (
            f"{name} has labels that train does not: 'mixed' (2); they count as errors in accuracy and are left out of "
        )
        assert any(note.startswith(told) for note in splits.notes)
    assert splits.extra["hard"]["label"] == ["pos", "neg", "mixed", "mixed"]


def test_a_typo_between_splits_is_refused(write: Write) -> None:
    rows = [("x", "positive"), ("y", "negative")] * 10
    train = write("a.csv", csv_of(rows))
    for wrong in ("postive", "Positive", "positives"):
        other = write("b.csv", csv_of([(text, wrong if label == "positive" else label) for text, label in rows]))
        (problem,) = problems(train, validation=other)
        assert problem.startswith(f"validation has labels that train does not: '{wrong}' (10); is '{wrong}' train's ")
    other = write("c.csv", csv_of([("x", "good"), ("x", "bad")]))
    assert problems(train, test=other) == (
        "test has labels that train does not: 'bad' (1), 'good' (1), and none that it has: negative, positive. Are "
        "they spelt alike?",
    )
    numbers = write("d.csv", csv_of([("x", "0"), ("x", "1")] * 10))
    for one, other in ((train, numbers), (numbers, train)):
        assert problems(one, test=other)[0].endswith("One has names, the other their numbers; write the names in both.")


def test_numbers_and_labels_in_use_are_no_typos(write: Write) -> None:
    train = write("a.csv", csv_of([("x", f"class{number}") for number in range(9)] * 3))
    splits = load(train, test=write("b.csv", csv_of([("x", "class1"), ("x", "class10")])))
    assert any("class10" in note for note in splits.notes)
    train = write("c.csv", csv_of([("x", "positive"), ("x", "negative")] * 9))
    splits = load(train, test=write("d.csv", csv_of([("x", "positive"), ("x", "postive")])))
    assert any("postive" in note for note in splits.notes)


# Cutting.


def many(count: int = 1000) -> list[tuple[str, str, str]]:
    """Rows of three classes, 70 %, 25 % and 5 %, and a user with each."""
    random = np.random.default_rng(0)
    labels = np.array(["a"] * (count * 70 // 100) + ["b"] * (count * 25 // 100) + ["c"] * (count * 5 // 100))
    return [
        (f"text {number}", str(label), f"u{random.integers(count // 8)}")
        for number, label in enumerate(random.permutation(labels))
    ]


def parts(splits: Splits) -> list[list[str]]:
    assert splits.test is not None
    return [list(rows["id"]) for rows in (splits.train, splits.validation, splits.test)]


@pytest.mark.parametrize("shares", [(0.1, 0.2), (0.15, 0.4), (0.5, 0.05)])
def test_one_file_is_cut_by_the_shares_asked_for_and_by_class(shares: tuple[float, float], write: Write) -> None:
    train = write("a.csv", csv_of(many(), header=("text", "label", "user")))
    splits = load(train, validation_fraction=shares[0], test_fraction=shares[1])
    found = parts(splits)
    assert [len(part) for part in found] == [
        1000 - sum(round(1000 * share) for share in shares),
        *(round(1000 * share) for share in shares),
    ]
    assert sorted(sum(found, []), key=int) == [str(number) for number in range(1000)]
    assert all(part == sorted(part, key=int) for part in found)
    for rows, share in ((splits.validation, shares[0]), (splits.test, shares[1])):
        assert rows is not None
        counts = Counter(rows["label"])
        for label, count in (("a", 700), ("b", 250), ("c", 50)):
            assert abs(counts[label] - count * share) < 1.5


def test_rows_keep_their_numbers_texts_and_labels_when_cut(write: Write) -> None:
    rows = many(200)
    splits = load(write("a.csv", csv_of(rows, header=("text", "label", "user"))))
    assert whole(splits) == {str(number): (text, label) for number, (text, label, _) in enumerate(rows)}


@pytest.mark.parametrize("group", [None, "user"])
def test_the_cut_depends_on_the_split_seed_alone(group: str | None, write: Write) -> None:
    train = write("a.csv", csv_of(many(), header=("text", "label", "user")))
    first = parts(load(train, group=group))
    assert parts(load(train, group=group)) == first
    assert parts(load(train, group=group, split_seed=1)) != first
    kept = set(parts(load(train, group=group))[2]) & set(parts(load(train, group=group, split_seed=1))[2])
    assert len(kept) < 100


def test_groups_stay_whole_and_classes_near_their_share(write: Write) -> None:
    rows = many()
    splits = load(write("a.csv", csv_of(rows, header=("text", "label", "user"))), group="user")
    users = [{rows[int(number)][2] for number in part} for part in parts(splits)]
    assert not users[0] & users[1] and not users[0] & users[2] and not users[1] & users[2]
    assert splits.test is not None
    for part, share in ((splits.validation, 0.1), (splits.test, 0.2)):
        counts = Counter(part["label"])
        assert abs(len(part) - 1000 * share) <= 16  # two groups
        for label, count in (("a", 700), ("b", 250), ("c", 50)):
            assert abs(counts[label] - count * share) <= 16


def test_a_few_large_groups_can_be_cut(write: Write) -> None:
    rows = [("x", "ab"[number % 2], f"g{number % 3}") for number in range(60)]
    found = parts(load(write("a.csv", csv_of(rows, header=("text", "label", "user"))), group="user"))
    assert [len(part) for part in found] == [20, 20, 20]


def test_only_what_is_missing_is_cut_off(write: Write) -> None:
    train, other = (
        write("a.csv", csv_of(many(), header=("text", "label", "user"))),
        write("b.csv", csv_of([("x", "a")])),
    )
    assert [len(part) for part in parts(load(train, test=other))] == [900, 100, 1]
    assert [len(part) for part in parts(load(train, validation=other))] == [800, 1, 200]


def test_a_rare_class_stays_in_training(write: Write) -> None:
    rows = [("x", "a")] * 50 + [(f"y{number}", f"rare{number}") for number in range(10)]
    for seed in range(5):
        splits = load(write("a.csv", csv_of(rows)), split_seed=seed)
        assert len(splits.classes) == 11


def test_several_labels_are_spread_by_the_rarest(write: Write) -> None:
    rows = [("x", "common|rare" if number % 10 == 0 else f"common|u{number}") for number in range(200)]
    splits = load(write("a.csv", csv_of(rows)), label_separator="|")
    assert splits.test is not None
    assert sum("rare" in names for names in splits.test["label"]) == 4
    assert len(splits.test) == 40


def test_too_few_rows_to_cut(write: Write) -> None:
    assert problems(write("a.csv", csv_of(ROWS[:2])))[0].startswith("2 rows of 2 classes are too few to cut 20% off; ")
    rows = [("x", "ab"[number % 2], "one") for number in range(20)]
    train = write("b.csv", csv_of(rows, header=("text", "label", "user")))
    assert problems(train, group="user")[0].startswith("1 groups of 2 classes are too few to cut 20% off; ")


def test_the_test_split_stays_shut_when_asked(write: Write) -> None:
    train = write("a.csv", csv_of(many(), header=("text", "label", "user")))
    shut = load(train, opened=False)
    assert shut.test is None
    assert [list(rows["id"]) for rows in (shut.train, shut.validation)] == parts(load(train))[:2]
    assert read_splits(replace(FILES, train=str(train), test="nowhere.csv"), {}, False).test is None


# What is wrong with a file.


def test_every_missing_file_is_told_at_once(write: Write, tmp_path: Path) -> None:
    write("train.csv", "")
    found = problems(tmp_path / "trian.csv", test=tmp_path / "none" / "test.csv", extra={"hard": "hard.csv"})
    assert found[0].endswith("trian.csv: there is no such file; did you mean train.csv? There are: train.csv.")
    assert found[1].endswith(f"test.csv: there is no such file; {tmp_path / 'none'} holds no data files.")
    assert found[2].startswith("evaluate.extra.hard=hard.csv: there is no such file; ")
    assert len(found) == 3


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b"", "the file is empty."),
        ("a.csv", b"\n\n", "the file is empty."),
        ("a.csv.gz", gzip.compress(b"", mtime=0), "the file is empty."),
        ("a.jsonl", b"", "the file is empty."),
        ("a.csv", b"text,label\n", "there is no row in it."),
        ("a.jsonl", b"\n\n", "there is no row in it."),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0), "the file is empty."),
        ("a.jsonl", b'"text"\n', "line 1 is no object; each line must be one, "),
        ("a.csv", "text,label\ncaf\xe9,a\n".encode("latin-1"), "line 2 is not UTF-8 (byte 4 of the line); convert "),
        ("a.tsv", "text\tlabel\n中文\ta\n".encode("gb18030"), "line 2 is not UTF-8 (byte 1 of the line); convert "),
        ("a.jsonl", '{"text": "a"}\n{"text": "caf\xe9"}\n'.encode("latin-1"), "line 2 is not UTF-8 (byte 14 of the "),
        ("a.csv", "text,label\n中文,a\n".encode("utf-16"), "is UTF-16, not UTF-8; convert it: iconv -f UTF-16 "),
        ("a.csv", b'text,label\nx,a\n"y,b\nz,c\n', "a quote is opened and never closed (in record 2); "),
        ("a.csv", b"text,label\nwell, yes,a\nno,b\n", "the first row has more cells than the header has names; "),
        ("a.csv", b"text,label\nno,b\nwell, yes,a\n", "line 3 has more cells than the header has names; "),
        ("a.csv", b"text,label,text\nx,a,y\n", "cannot be read: the header names 'text' twice."),
        ("a.csv.gz", b"text,label\nx,a\n", "cannot be read: Not a gzipped file"),
        ("a.csv.gz", gzip.compress(b"text,label\nx,a\n" * 999, mtime=0)[:-20], "cannot be read: Compressed file ended"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": "b", "label\n', "line 2 is no JSON ("),
        ("a.parquet", b"text,label\nx,a\n", "cannot be read: Parquet magic bytes not found in footer."),
        ("a.txt", b"text,label\nx,a\n", "the ending must be one of .csv, .tsv, .jsonl, .json, .parquet (.gz "),
    ],
)
def test_a_file_that_cannot_be_read(name: str, content: bytes, told: str, write: Write) -> None:
    path = write(name, content)
    (problem,) = problems(path)
    assert problem.startswith(f"data.train={path}: {told}")


def test_a_parquet_file_without_rows(tmp_path: Path) -> None:
    path = parquet_of(tmp_path, "a.parquet", text=pa.array([], pa.string()), label=pa.array([], pa.string()))
    assert problems(path)[0].endswith("there is no row in it.")


def test_every_wrong_column_is_told_at_once(write: Write) -> None:
    train = write("a.csv", csv_of(ROWS))
    assert problems(train, text="txet", text_pair="b", label="lable", id="key", group="user") == (
        "data.id=key: train has no such column; there are: label, text.",
        "data.text=txet: train has no such column; did you mean text? There are: label, text.",
        "data.text_pair=b: train has no such column; there are: label, text.",
        "data.label=lable: train has no such column; did you mean label? There are: label, text.",
        "data.group=user: train has no such column; there are: label, text.",
    )


def test_columns_that_hold_no_text(write: Write, tmp_path: Path) -> None:
    train = write("a.jsonl", jsonl_of([{"text": ["x"], "label": {"a": 1}}] * 9))
    found = problems(train)
    assert found[0].startswith("data.text=text: train holds ")
    assert found[1].startswith("data.label=label: train holds ")
    path = parquet_of(tmp_path, "a.parquet", text=[b"\xff", b"a"], label=["a", "b"])
    assert problems(path)[0].startswith("data.text=text: train holds binary there, not text (")


def test_numbers_as_texts(write: Write) -> None:
    train = write("a.jsonl", jsonl_of([{"text": 5, "label": "a"}, {"text": "five", "label": "b"}] * 10))
    assert set(text for text, _ in whole(load(train)).values()) == {"5", "five"}


def test_ids_must_be_unique(write: Write) -> None:
    rows = [(f"k{number % 19}", *row) for number, row in enumerate(ROWS)]
    train = write("a.csv", csv_of(rows, header=("key", "text", "label")))
    assert problems(train, id="key") == ("data.id=key: train has 'k0' more than once; ids must be unique.",)
    assert len(whole(load(train))) == len(ROWS)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["a"] * 20, "train has only one class, 'a'; a classifier needs at least two. Is data.label the right column?"),
        ([""] * 20, "train has no labels; a classifier needs at least two. Is data.label the right column?"),
        ([f"l{n}" for n in range(99)], "train has 99 different labels in 99 rows; is data.label the right column?"),
    ],
)
def test_labels_that_cannot_be_learnt(labels: list[str], told: str, write: Write) -> None:
    assert problems(write("a.csv", csv_of([("x", label) for label in labels]))) == (told,)


def test_a_class_that_only_the_cut_off_groups_have(write: Write) -> None:
    rows = [("x", "a", "one")] * 20 + [("x", "b", "two")] * 3 + [("x", "a", "two")] * 4
    train = write("a.csv", csv_of(rows, header=("text", "label", "user")))
    assert problems(train, group="user", validation=train)[0].startswith("train has only one class, 'a'; ")


def test_lists_in_one_split_and_names_in_another(write: Write) -> None:
    lists = write("a.jsonl", jsonl_of([{"text": "x", "label": ["a"]}, {"text": "y", "label": ["b"]}] * 9))
    one = write("b.csv", csv_of([("x", "a"), ("y", "b")]))
    assert problems(lists, validation=one) == ("validation has one label to a row, train has not.",)
    assert problems(one, validation=lists, test=one) == ("validation has lists of labels to a row, train has not.",)


# The hub, and the embedded default.


@pytest.fixture
def local_hub(tmp_path: Path) -> Path:
    """A data set in a folder, as the hub would give it: class labels by number, a test split without any."""
    features = datasets.Features(
        {
            "idx": datasets.Value("int32"),
            "sentence": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["negative", "positive"]),
        }
    )

    def split(start: int, labels: Sequence[int]) -> Dataset:
        rows = {"idx": list(range(start, start + len(labels))), "sentence": ["x"] * len(labels), "label": list(labels)}
        return Dataset.from_dict(rows, features=features)

    for name, rows in (("train", split(0, [0, 1] * 10)), ("test", split(100, [-1, -1, -1]))):
        rows.to_parquet(tmp_path / "set" / "data" / f"{name}-00000-of-00001.parquet")
    return tmp_path / "set"


def test_a_data_set_with_class_names(local_hub: Path) -> None:
    splits = load("train", base=HUB, name=local_hub, test="test", text="sentence", id="idx")
    assert splits.classes == ["negative", "positive"]
    assert Counter(splits.train["label"]) == {"negative": 9, "positive": 9}
    assert table(splits.test) == {"100": ("x", None), "101": ("x", None), "102": ("x", None)}
    assert set(table(splits.train, splits.validation)) == {str(number) for number in range(20)}


def test_a_split_that_the_data_set_has_not(local_hub: Path) -> None:
    (problem,) = problems("trian", base=HUB, name=local_hub, text="sentence")
    assert problem.startswith(f"data.name={local_hub}: split trian cannot be loaded (")
    assert "data.train" in problem


def test_lists_of_class_numbers(tmp_path: Path) -> None:
    names = datasets.ClassLabel(names=["joy", "anger", "none"])
    features = datasets.Features({"text": datasets.Value("string"), "labels": datasets.Sequence(names)})
    rows = Dataset.from_dict({"text": ["x"] * 20, "labels": [[0, 1], []] * 10}, features=features)
    rows.to_parquet(tmp_path / "set" / "data" / "train-00000-of-00001.parquet")
    splits = load("train", base=HUB, name=tmp_path / "set", label="labels")
    assert splits.multi_label
    assert splits.classes == ["anger", "joy"]
    assert whole(splits)["0"] == ("x", ["joy", "anger"])


def test_the_hub_out_of_reach_is_one_paragraph() -> None:
    found = problems("train", base=HUB, name="owner/no-such-data-set", test="test")
    assert len(found) == 2
    for problem, split in zip(found, ("train", "test"), strict=True):
        assert problem.startswith(f"data.name=owner/no-such-data-set: split {split} cannot be loaded (")
        assert problem.endswith("or download it elsewhere and use data=files.")


def test_the_embedded_default_has_twelve_classes_and_each_text_once() -> None:
    splits = read_splits(reading.read(compose_config([])[0]).data, {}, True)
    rows = whole(splits)
    assert len(splits.classes) == 12
    assert len(rows) > 2000
    assert len({text for text, _ in rows.values()}) == len(rows)


@pytest.mark.slow
def test_many_rows_are_read_in_seconds(write: Write) -> None:
    rows = [(f"text number {number} of many", "abcdefg"[number % 7]) for number in range(200_000)]
    train = write("a.csv", csv_of(rows))
    began = time.perf_counter()
    splits = load(train)
    assert time.perf_counter() - began < 20
    assert [len(part) for part in parts(splits)] == [140_000, 20_000, 40_000]


class TestShut:
    def test_of_the_test_split_and_the_extra_ones_only_digests_are_left(self) -> None:
        def rows(*texts: str) -> Dataset:
            return Dataset.from_dict({"text": texts, "text_pair": [None] * len(texts)})

        asked: list[list[str]] = []

        def clean_rows(examples: Dataset) -> Dataset:
            asked.append(list(examples["text"]))
            return examples.map(lambda row: {"text": row["text"].strip("*")})

        splits = Splits(rows("a"), rows("b"), rows("*C  d*"), ["x"], False, {"more": rows("e", "c d")})
        run_sees = splits.hide_test(clean_rows)
        assert not hasattr(run_sees, "test") and not hasattr(run_sees, "extra") and asked == []
        assert run_sees.hidden_digests() == {duplicates.digest("c d"), duplicates.digest("e")}
        assert run_sees.hidden_digests() is run_sees.hidden_digests()
        assert asked == [["*C  d*"], ["e", "c d"]]

    def test_where_nothing_is_held_back_there_is_nothing(self) -> None:
        rows = Dataset.from_dict({"text": ["a"], "text_pair": [None]})
        assert Splits(rows, rows, None, ["x"], False).hide_test(lambda each: each).hidden_digests() == frozenset()
