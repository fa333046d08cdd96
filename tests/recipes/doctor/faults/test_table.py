"""The table of faults in docs/doctor.md: each is planted in a small run, and the doctor's answer names what to do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from recipes.api import finetune_config
from recipes.doctor import Finding
from recipes.reports.monitor import Monitor
from recipes.testing import in_child
from tests.recipes.doctor.faults.harness import (
    Fault,
    Row,
    Rows,
    checks_in,
    checks_named,
    find_problems,
    list_findings,
    make_config,
)
from tests.recipes.doctor.faults.test_faults import (
    add_mojibake,
    change_labels,
    contradict_labels,
    copy_texts_to_pairs,
    exchange_validation_labels,
    keep_almost_only_x,
    leak,
    leak_near_duplicates,
    lengthen_texts,
    mark_x,
    name_labels,
    number_validation_labels,
    respell_labels,
    save_english,
    set_everywhere,
    set_one_class,
    shuffle_labels,
    swap_columns,
    unbalance,
    write_texts,
)

PAGE = Path(__file__).parents[4] / "docs" / "doctor.md"


@dataclass(frozen=True)
class Planted:
    """A fault of the table, and what answers it."""

    check: str
    """The check that must speak; empty: no check, since it is no fault."""
    message: str = ""
    """Part of its message."""
    rows: Callable[[Rows], None] | None = None
    overrides: Sequence[str] = ()
    model: Callable[[Path], None] | None = None
    file: Callable[[bytes], bytes] | None = None
    """Changes the bytes of the training file."""


def every_row(change: Callable[[Row, int], dict[str, str]], *splits: str) -> Callable[[Rows], None]:
    """Change each row of some splits, of all without names, by its index."""

    def change_rows(rows: Rows) -> None:
        for split in splits or rows:
            for index, row in enumerate(rows[split]):
                row |= change(row, index)

    return change_rows


def number(row: Row, first: int = 0) -> dict[str, str]:
    return {"label": str("xyz".index(row["label"]) + first)}


def number_from_one_in_validation(rows: Rows) -> None:
    every_row(lambda row, index: number(row), "train", "test")(rows)
    every_row(lambda row, index: number(row, 1), "validation")(rows)


def shift_labels(rows: Rows) -> None:
    """Each label stands one row too low."""
    labels = [row["label"] for row in rows["train"]]
    for row, label in zip(rows["train"], [labels[-1], *labels], strict=False):
        row["label"] = label


def shift_shuffled_labels(rows: Rows) -> None:
    """In the healthy rows labels follow each other in turns, so a shift renames them; here they do not."""
    rows["train"].sort(key=lambda row: row["other"][::-1])
    shift_labels(rows)


def one_of(split: str, label: str) -> Callable[[Rows], None]:
    def change_rows(rows: Rows) -> None:
        rows[split] = [row for row in rows[split] if row["label"] == label]

    return change_rows


def without_in_train(rows: Rows) -> None:
    """A label that only test has."""
    for split in ("train", "validation"):
        rows[split] = [row for row in rows[split] if row["label"] != "z"]


def sort_by_label(split: str) -> Callable[[Rows], None]:
    return lambda rows: rows[split].sort(key=lambda row: row["label"])


def few_rows(count: int) -> Callable[[Rows], None]:
    return lambda rows: rows.update(train=rows["train"][:count])


def make_validation_test(rows: Rows) -> None:
    rows["test"] = [dict(row) for row in rows["validation"]]


def write_floats_in_validation(rows: Rows) -> None:
    every_row(lambda row, index: number(row))(rows)
    every_row(lambda row, index: {"label": f"{row['label']}.0"}, "validation")(rows)


CHINESE = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏"


def write_chinese(row: Row, index: int) -> str:
    return "".join(CHINESE[(ord(letter) + index) % len(CHINESE)] for letter in row["text"])


def override(check: str, *overrides: str, message: str = "", **others: Any) -> Planted:
    return Planted(check, message or overrides[0].removeprefix("+"), overrides=overrides, **others)


def advised(setting: str, *tricks: str) -> Planted:
    return Planted("advised_values", setting, overrides=(*tricks, setting))


KNOWN: Mapping[str, Sequence[Planted]] = {
    "labels 0 and 1 in train, names in validation": [
        Planted("reading", "One has names, the other class numbers", number_validation_labels)
    ],
    "labels off by one in validation": [
        Planted("labels", "validation has labels that train does not: '3'", number_from_one_in_validation)
    ],
    "labels shuffled; 25 % of labels wrong": [
        Planted("learnability", "words alone do not predict the labels", shuffle_labels),
        Planted("label_errors", "labels look wrong", change_labels),
    ],
    "texts that are numbers or ids": [
        Planted("texts", "are a number or a key", write_texts(lambda row, index: str(index * 17))),
        Planted("texts", "are a number or a key", write_texts(lambda row, index: f"row-{index}")),
    ],
    "the label column as text": [override("shortcuts", "data.text=label", message="contain the name of their label")],
    "empty texts; texts that are `nan`": [
        Planted("texts", "are empty", write_texts(lambda row, index: row["text"] if index % 4 else "")),
        Planted("texts", "mark a missing value", write_texts(lambda row, index: row["text"] if index % 4 else "nan")),
    ],
    "all texts equal": [Planted("texts", "texts are the same", set_everywhere("text", "good film"))],
    "`data.max_length=4`": [override("truncation", "data.max_length=4", message="of all text is truncated")],
    "validation is the file of train; test rows in train": [
        Planted(
            "duplicates",
            "rows are also in train",
            lambda rows: rows.update(validation=[dict(row) for row in rows["train"]]),
        ),
        Planted("duplicates", "test: 20 of 120 rows are also in train", leak("test")),
    ],
    "validation of one class; training rows of one class": [
        Planted("labels", "validation has no row of", one_of("validation", "x")),
        Planted("reading", "only one class", set_one_class),
    ],
    "training or validation rows sorted by label": [
        Planted("", rows=sort_by_label("train")),
        Planted("", rows=sort_by_label("validation")),
    ],
    "learning rate 0.001 times": [override("learning_rate", "train.learning_rate=1e-6", message="0.001 of the usual")],
    "learning rate 10 and 100 times": [
        override("learning_rate", "train.learning_rate=0.0002", model=save_english),
        override("learning_rate", "train.learning_rate=0.002", model=save_english),
    ],
    "no warm-up, batch of 1, weight decay of 10, dropout of 0.9": [
        Planted("advised_values", "train.warmup=0 is below", overrides=["train.warmup=0.0"]),
        advised("train.batch_size=1"),
        advised("train.weight_decay=10"),
        advised("model.dropout=0.9"),
    ],
    "all layers frozen": [advised("tricks.freeze_layers.fraction=1", "+tricks=[freeze_layers]")],
    "accuracy with 97 % of one label": [
        Planted("labels", "of the training rows are 'x'", keep_almost_only_x),
    ],
    "repeated texts with contradicting labels": [Planted("duplicates", "with different labels", contradict_labels)],
    "the label, or a marker word, in the text": [
        Planted("shortcuts", "contain the name of their label", name_labels),
        Planted("shortcuts", "the word 'qqq' alone separates 'x'", mark_x),
    ],
    "pair column missing, empty, or the same text twice": [
        override("reading", "data.text_pair=second"),
        override("pairs", "data.text_pair=other", message="all second texts are", rows=set_everywhere("other", "")),
        override("pairs", "data.text_pair=other", message="both texts are the same", rows=copy_texts_to_pairs),
    ],
    "a class for each row": [override("reading", "data.label=other", message="different labels in 240 rows")],
    "header as a row; file without a header": [
        Planted("reading", "header", file=lambda content: content + b"text,label,other\r\n"),
        Planted("reading", "header", file=lambda content: content.partition(b"\n")[2]),
    ],
    "wrong encoding": [Planted("encoding", "wrong encoding", add_mojibake)],
    "two byte order marks in the header": [
        Planted("reading", "characters that no font shows", file=lambda content: "\ufeff\ufeff".encode() + content)
    ],
    "HTML in all texts": [
        Planted("encoding", "HTML tags such as <p>", write_texts(lambda row, index: f"<p>{row['text']}</p>"))
    ],
    "labels that differ in blanks and case": [Planted("label_spelling", "differ in case", respell_labels)],
    "early stopping after one evaluation": [
        override("advised_values", "evaluate.early_stopping=1"),
    ],
    "parts of one row; mixup, R-Drop, label smoothing far too strong": [
        advised("tricks.accumulate.part_size=1", "+tricks=[accumulate]"),
        advised("tricks.mixup.alpha=100", "+tricks=[mixup]"),
        advised("tricks.r_drop.alpha=1000", "+tricks=[r_drop]"),
        advised("tricks.label_smoothing.amount=0.9", "+tricks=[label_smoothing]"),
    ],
    "class weights with balanced batches": [
        override(
            "ineffective_tricks",
            "+tricks=[balanced_batches,class_weights]",
            message="the same imbalance twice",
            rows=unbalance,
        )
    ],
    "20 updates; 10 training rows": [
        override("updates", "train.max_updates=20"),
        Planted("labels", "fewer than 5 training rows", few_rows(10)),
    ],
    "a metric of another task": [override("setup", "evaluate.metric=micro_f1")],
}

INVENTED: Mapping[str, Sequence[Planted]] = {
    "labels one row too low": [Planted("learnability", "each label stands one row too low", shift_shuffled_labels)],
    "the columns of text and label exchanged": [Planted("reading", "different labels in", swap_columns)],
    "validation rows nearly in train": [Planted("near_duplicates", "near-duplicates", leak_near_duplicates)],
    "the file of validation as test file": [Planted("duplicates", "rows are also in validation", make_validation_test)],
    "labels exchanged in validation": [
        Planted("labels_of_splits", "rows of 'y' look like train's 'x'", exchange_validation_labels)
    ],
    "Chinese texts with an English model": [
        Planted("tokens", "does not know", write_texts(write_chinese), model=save_english)
    ],
    "most rows longer than `data.max_length`": [Planted("truncation", "of all text is truncated", lengthen_texts)],
    "a label that only test has": [Planted("labels", "test has labels that train does not: 'z'", without_in_train)],
    "a batch of more rows than there are": [
        override("updates", "train.batch_size=512", message="makes 6 updates of 512 rows")
    ],
    "warm-up over all of training": [advised("train.warmup=1")],
    "a column of text that says nothing about the label": [
        override("learnability", "data.text=other", message="words alone do not predict the labels")
    ],
    "a tab-separated file named .csv": [
        Planted("reading", "text", file=lambda content: content.replace(b",", b"\t")),
    ],
    "two labels in a cell, and no separator": [
        Planted(
            "label_spelling",
            "are made of other labels, joined by ';'",
            every_row(lambda row, index: {"label": ";".join(sorted({row["label"], "xyz"[index % 7 % 3]}))}),
        )
    ],
    "a separator that is part of a label": [
        Planted(
            "labels",
            "every training row has 'news'",
            every_row(lambda row, index: {"label": f"news.{row['label']}"}),
            ["data.label_separator='.'", "evaluate.metric=micro_f1"],
        )
    ],
    "labels as 1 in train and as 1.0 in validation": [Planted("", rows=write_floats_in_validation)],
    "one row a hundred times": [
        Planted("duplicates", "repeat another one", lambda rows: rows["train"].extend([dict(rows["train"][0])] * 100))
    ],
    "a thousand epochs": [override("advised_values", "train.epochs=1000")],
}


def plant(planted: Planted, folder: Path) -> list[Finding]:
    """The warnings and errors of the check that must speak; of all that do not train, if none must."""
    fault = Fault("", "", "", rows=planted.rows, overrides=planted.overrides, model=planted.model)
    config = make_config(fault, folder, True)
    if planted.file:
        path = folder / "train.csv"
        path.write_bytes(planted.file(path.read_bytes()))
    untrained = [
        each for each in checks_in("config", "data", "model", "tricks") if each.cheap or each.section == "data"
    ]
    checks = checks_named(planted.check) if planted.check else untrained
    return [finding for finding in find_problems(config, checks) if finding.severity != "note"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*KNOWN, *INVENTED])
def test_the_answer_names_the_fault_and_what_to_do(name: str, tmp_path: Path) -> None:
    for planted in {**KNOWN, **INVENTED}[name]:
        findings = plant(planted, tmp_path)
        answers = [each for each in findings if each.check == planted.check and planted.message in each.message]
        assert answers if planted.check else not findings, list_findings(findings)
        assert all(each.remedy or each.check in ("reading", "setup") for each in answers), answers


@dataclass(frozen=True)
class Trained:
    """A fault that is trained, and what answers it in the end and while it trains."""

    overrides: Sequence[str]
    headlines: Sequence[str]
    """Headlines of `health` of which the run must have one."""
    watch: str = ""
    """Part of a line of the watch."""
    rows: Callable[[Rows], None] | None = None


TRAINED: Mapping[str, Trained] = {
    "learning rate 0.001 times": Trained(
        ["train.learning_rate=1e-6", "train.batch_size=8"], ["collapsed", "not_better"], "nothing is learned"
    ),
    "learning rate 10 and 100 times": Trained(["train.learning_rate=0.1"], ["diverged", "collapsed", "not_better"]),
    "labels shuffled; 25 % of labels wrong": Trained(
        ["train.learning_rate=3e-3", "train.epochs=30"],
        ["collapsed", "not_better"],
        "the training rows are memorized",
        shuffle_labels,
    ),
    "20 updates; 10 training rows": Trained(["train.max_updates=20"], ["collapsed", "not_better"]),
}


def train(trained: Trained, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """The health of the run, and the lines of the watch."""
    fault = Fault("", "", "", rows=trained.rows, overrides=trained.overrides)
    config = make_config(fault, folder, True)
    run = in_child(lambda: finetune_config(config, folder / "run"))
    monitor = Monitor(len("xyz"), False, config.tricks)
    lines = [sentence for line in run.history for sentence in monitor.read_line(line)]
    assert run.health is not None
    return run.health, lines


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_fault_has_a_headline_and_a_remedy(name: str, tmp_path: Path) -> None:
    trained = TRAINED[name]
    health, lines = train(trained, tmp_path)
    assert health["headline"] in trained.headlines, health
    assert all(each["remedy"] for each in health["findings"])
    assert any(trained.watch in line for line in lines) or not trained.watch, lines


def test_the_page_has_these_faults_and_no_others() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for header, faults in (("| fault | ", KNOWN), ("| invented later | ", INVENTED)):
        table = page[page.index(header) :].split("\n\n")[0]
        names = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2:]]
        assert names == list(faults)
