"""Augment from: variants with the labels of their rows, and those that are left out or refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from recipes import UserError
from recipes.data.splits import read_splits
from recipes.loop import TrainingRun
from recipes.testing import build_tricks, in_child, make_text_file, temporary_folder, tiny_config
from tricks.pre_training.augment_from import count_repetitions


def write_rows(folder: Path, name: str, *lines: str) -> Path:
    path = folder / f"{name}.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def augmented(variants: Path, *overrides: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows that are added, and the trick's notes."""
    overrides = (f"tricks.augment_from.variants_file={variants}", *overrides)
    tricks = () if any(each.startswith("+tricks") for each in overrides) else ("+tricks=[augment_from]",)
    config = tiny_config(*tricks, *overrides)
    splits = read_splits(config.data, {}, config.evaluate.test)

    def set_up() -> tuple[list[dict[str, Any]], list[str]]:
        with temporary_folder() as folder:
            run = TrainingRun(config, build_tricks(config.tricks), splits, folder)
        rows = [row for row in run.train.examples if "+" in row["id"]]
        return rows, [note for note in run.notes if "augment_from" in note]

    return in_child(set_up)


def refusal(variants: Path | None, *overrides: str) -> str:
    setting = [] if variants is None else [f"tricks.augment_from.variants_file={variants}"]
    config = tiny_config("+tricks=[augment_from]", *setting, *overrides)
    with pytest.raises(UserError) as error, temporary_folder() as folder:
        TrainingRun(config, build_tricks(config.tricks), read_splits(config.data, {}, config.evaluate.test), folder)
    return str(error.value)


def texts_of(split: int) -> list[str]:
    lines = make_text_file(12, split).read_text(encoding="utf-8").splitlines()[1:]
    return [line.partition(",")[0] for line in lines]


def test_variants_have_the_label_and_the_source_of_their_row(tmp_path: Path) -> None:
    variants = write_rows(tmp_path, "v", "text,id", "first new text,4", "a second one,0", "and a third one,4")
    rows, notes = augmented(variants)
    assert [(row["id"], row["source"], row["text"], row["label"]) for row in rows] == [
        ("4+file:1", "4", "first new text", "y"),
        ("0+file:1", "0", "a second one", "x"),
        ("4+file:2", "4", "and a third one", "y"),
    ]
    assert "3 of 3 variants are added" in notes[0]
    rows, _ = augmented(variants, "tricks.augment_from.most_per_row=1")
    assert [row["id"] for row in rows] == ["4+file:1", "0+file:1"]


def test_ids_are_those_of_the_data(tmp_path: Path) -> None:
    train = write_rows(tmp_path, "train", "key,text,label", "k1,one thing,a", "k2,another thing,b", "k3,the last,a")
    data = [*(f"data.{split}={train}" for split in ("train", "validation", "test")), "data.id=key"]
    rows, _ = augmented(write_rows(tmp_path, "v", "key,text", "k2,something else"), *data)
    assert [(row["id"], row["label"]) for row in rows] == [("k2+file:1", "b")]
    other = write_rows(tmp_path, "w", "of,text", "k3,something else")
    rows, _ = augmented(other, *data, "tricks.augment_from.id=of")
    assert [row["source"] for row in rows] == ["k3"]


def test_texts_that_are_known_are_left_out(tmp_path: Path) -> None:
    training, validation, test = (max(texts_of(split), key=len) for split in range(3))
    texts = [training, validation, f"{validation}!", test, f"{test}!", "new text", "New Text"]
    rows, notes = augmented(write_rows(tmp_path, "v", "id,text", *(f"1,{text}" for text in texts)))
    assert [row["text"] for row in rows] == ["new text"]
    assert "1 of 7 variants are added" in notes[0] and "6 repeat one another or a text of training" in notes[0]


def write_variants_of(folder: Path, names: Sequence[object]) -> Path:
    return write_rows(folder, "v", "id,text", *(f"{name},new text number {name}" for name in names))


def test_rows_that_were_cut_off_for_other_splits_get_no_variants(tmp_path: Path) -> None:
    cut = ["data.validation=null", "data.test=null", f"data.train={make_text_file(30, 0)}"]
    variants = write_variants_of(tmp_path, range(44))
    for is_read in ("true", "false"):
        rows, notes = augmented(variants, *cut, f"evaluate.test={is_read}")
        assert len(rows) == len({row["source"] for row in rows}) < 44
        assert f"{44 - len(rows)} are of rows that are not trained on" in notes[-1]
        assert ("test is not read" in notes[0]) == (is_read == "false")
    # With all rows known, an id of none is a mistake.
    assert "1 of its ids are of no training row: '44'" in refusal(write_variants_of(tmp_path, range(45)), *cut)


def test_ids_of_no_row_are_refused(tmp_path: Path) -> None:
    message = refusal(write_variants_of(tmp_path, [0, 44, "x7", "x8", "x9"]))
    assert "4 of its ids are of no training row: '44', 'x7', 'x8' and 1 more" in message
    assert "numbers of the rows in data.train, from 0 (data.id=null); correct them, or name" in message
    assert "variants_file is not set" in refusal(None)
    unread = ["data.test=null", "evaluate.test=false"]
    assert "2 of its ids are of no training row" in refusal(write_variants_of(tmp_path, ["x7", "x8"]), *unread)


def test_a_file_of_which_nothing_can_be_added_is_refused(tmp_path: Path) -> None:
    known = write_rows(tmp_path, "v", "id,text", *(f"1,{max(texts_of(split), key=len)}" for split in range(3)))
    message = refusal(known)
    assert f"variants_file={known}: none of its 3 variants can be added: each is" in message
    assert "give variants of training rows" in message


def test_labels_may_repeat_those_of_the_rows(tmp_path: Path) -> None:
    """Row 4 has the label y. Where labels are lists, their order is free, and an empty cell claims nothing."""
    rows, _ = augmented(write_rows(tmp_path, "v", "id,text,label", "4,first new text,y", "4,a second one,"))
    assert [row["label"] for row in rows] == ["y", "y"]
    rows, _ = augmented(write_rows(tmp_path, "v", "id,text,label", "4,first new text,-1"))
    assert [row["label"] for row in rows] == ["y"]
    train = write_rows(tmp_path, "train", "text,label", "one thing,b|a", "another thing,b", "the last,a")
    data = [*(f"data.{split}={train}" for split in ("train", "validation", "test")), "data.label_separator=|"]
    rows, _ = augmented(write_rows(tmp_path, "w", "id,text,label", "0,some new words,a|b", "2,more of them,"), *data)
    assert [sorted(row["label"]) for row in rows] == [["a", "b"], ["a"]]


def test_other_labels_than_those_of_the_rows_are_refused(tmp_path: Path) -> None:
    variants = write_rows(tmp_path, "v", "id,text,label", "4,first new text,y", "0,a second one,y", "1,a third one,x")
    assert refusal(variants) == (
        f"tricks.augment_from.variants_file={variants}: 2 of its 3 variants have another label than their row. The "
        "first is of row '0': 'y', and the row has 'x'. Correct these labels, or remove them: a variant has the label "
        "of its row."
    )


def test_labels_are_compared_before_a_trick_changes_them(tmp_path: Path) -> None:
    """Labels of the file are those of the data, also where `clean_labels` relabels the row."""
    pytest.importorskip("cleanlab")
    texts, labels = ["a0 a1", "b0 b1", "c0 c1"], ["x", "y", "z"]
    # Row 0 has the words of y, and the label x.
    lines = ["b0 b1 w0,x", *(f"{texts[row % 3]} w{row},{labels[row % 3]}" for row in range(1, 60))]
    train = write_rows(tmp_path, "train", "text,label", *lines)
    data = [f"data.{split}={train}" for split in ("train", "validation", "test")]
    relabel = ["+tricks=[augment_from,clean_labels]", "tricks.clean_labels.action=relabel"]
    rows, _ = augmented(write_rows(tmp_path, "v", "id,text,label", "0,a new text,x"), *data, *relabel)
    assert [row["label"] for row in rows] == ["y"]


def test_rows_that_another_trick_drops_get_no_variants(tmp_path: Path) -> None:
    first, second = "a text that is twice here", "a text that is here once"
    train = write_rows(tmp_path, "train", "text,label", f"{first},a", f"{first},a", f"{second},b", "another row,b")
    data = [f"data.train={train}", f"data.validation={train}", "tricks.deduplicate.held_out=false"]
    variants = write_rows(tmp_path, "v", "id,text", "0,new", "1,also new")
    rows, notes = augmented(variants, "+tricks=[augment_from,deduplicate]", *data, "evaluate.test=false")
    assert [row["source"] for row in rows] == ["0"]
    assert "1 are of rows that are not trained on" in notes[-1]


def test_equal_names_are_numbered() -> None:
    assert count_repetitions(["a", "b", "a", "a", "b"]) == [1, 1, 2, 3, 2]
