"""Checks of the data: texts, duplicates, leakage, tokenization and batches, as the model will get them."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset

from recipes import seams
from recipes.data.duplicates import comparable, digest, first_near_duplicates, fold_rows
from recipes.doctor.findings import CheckResult, Skip
from recipes.doctor.linear_probe import MOST_ROWS, sample_evenly, score_out_of_fold
from recipes.doctor.registry import check
from recipes.doctor.render import LONGEST, quote_names, shorten
from recipes.doctor.subject import Subject
from recipes.models.linear import is_chinese, join_pairs

SHOWN = 3
NEAR, SHINGLE = 0.9, 5
"""Jaccard similarity of near-duplicates, and characters in a shingle, as in conf/tricks/deduplicate.yaml."""
# UTF-8 that was decoded as Latin-1 or Windows-1252.
MOJIBAKE = re.compile(
    "[ÃÂ][\u0080-\u00bf]|â€[\u0080-\u00ff™œ\u009d“”˜¦]|ï»¿|\ufffd|锟斤拷|\u00c3[\u0192\u201a]"
    # The comma, the period and 的 of Chinese: UTF-8 read as Latin or as GBK, and GBK read as Latin.
    "|ï¼[\u0080-\u00bfŒ]|ã€[\u0080-\u00bf‚]|[锛銆]|£¬|¡£|µÄ"
)
ENTITIES = re.compile(r"&(?:amp|lt|gt|quot|nbsp|#\d{2,5});")
TAGS = re.compile(r"</?(?:a|b|br|div|em|html|i|img|li|p|span|strong|table|td|tr|ul)(?:\s[^<>]*)?/?>", re.IGNORECASE)
MISSING = {"nan", "null", "none", "n/a", "#n/a", "<na>"}
# One word with a digit in it.
KEY = re.compile(r"(?=\S*\d)[\w.+:#/-]+", re.ASCII)


@check("data", cheap=True)
def reading(subject: Subject, result: CheckResult) -> None:
    """Every split can be read; the reader's notes are repeated."""
    for name, rows in subject.rows_of_splits.items():
        result.add_inspected(len(rows), f"rows of {name}")
    for note in subject.splits.notes:
        result.note(note)


@check("data")
def inputs(subject: Subject, result: CheckResult) -> None:
    """Some inputs of the model, decoded, after every trick and the tokenizer."""
    train = subject.run.train
    rows = np.linspace(0, len(train) - 1, min(SHOWN, len(train))).astype(int)
    result.add_inspected(len(rows), "inputs, decoded")
    for row in rows:
        label = train.examples["label"][int(row)]
        result.note(f"{label}: {shorten(subject.decode(int(row)), 200)}", rows=[train.ids[row]])


@check("data", cheap=True)
def texts(subject: Subject, result: CheckResult) -> None:
    """Texts are not empty, differ from each other, and come from the right column."""
    for split, rows in subject.rows_of_splits.items():
        column = rows["text"][:]
        result.add_inspected(len(rows), f"texts of {split}")
        empty = [row for row, text in enumerate(column) if not text.strip()]
        if empty:
            report = result.warn if len(empty) > 0.01 * len(rows) else result.note
            report(
                f"{split}: {len(empty):,} texts are empty.",
                "they are all the same input, whatever their label",
                f"remove them, or check that data.text={subject.config.data.text} is the right column",
                _ids(rows, empty),
            )
        missing = [row for row, text in enumerate(column) if text.strip().lower() in MISSING]
        if len(missing) > 0.01 * len(rows):
            result.warn(
                f"{split}: {len(missing):,} texts mark a missing value, such as {shorten(column[missing[0]])}",
                "they are all the same input, whatever their label",
                "remove these rows, or write their texts",
                _ids(rows, missing),
            )
        keys = [row for row, text in enumerate(column) if KEY.fullmatch(text.strip())]
        if len(keys) > 0.9 * len(rows):
            result.warn(
                f"{split}: {len(keys):,} of {len(rows):,} texts are a number or a key, such as "
                f"{shorten(column[keys[0]])}",
                "numbers and keys tell nothing about new rows",
                f"check that data.text={subject.config.data.text} is the column of texts",
                _ids(rows, keys),
            )
        distinct = len(set(column))
        if distinct == 1 and len(rows) > 1:
            result.fail(
                f"{split}: all {len(rows):,} texts are the same: {shorten(column[0])}",
                "nothing can be learned",
                "data.text=<the column with the texts>",
            )
        elif split == "train" and _is_label_like(column, rows["label"][:], subject.splits.multi_label):
            result.fail(
                f"train: data.text={subject.config.data.text} has {distinct:,} distinct values in {len(rows):,} "
                f"rows and data.label={subject.config.data.label} {len(subject.splits.classes):,}: they look swapped.",
                "the model reads labels and predicts texts",
                f"data.text={subject.config.data.label} data.label={subject.config.data.text}",
            )


@check("data", cheap=True)
def pairs(subject: Subject, result: CheckResult) -> None:
    """Second texts differ from the first ones and from each other."""
    if not subject.config.data.text_pair:
        raise Skip("data.text_pair is not set")
    for split, rows in subject.rows_of_splits.items():
        result.add_inspected(len(rows), f"pairs of {split}")
        both = list(zip(rows["text"][:], rows["text_pair"][:], strict=True))
        same = [row for row, (text, pair) in enumerate(both) if text == pair]
        column = f"data.text_pair={subject.config.data.text_pair}"
        if len(same) > 0.5 * len(rows):
            result.warn(
                f"{split}: in {len(same):,} of {len(rows):,} rows both texts are the same.",
                "the second text adds no information",
                f"data.text_pair=null, or check that {column} is the right column",
                _ids(rows, same),
            )
        if len({pair for _, pair in both}) == 1 and len(rows) > 1:
            result.warn(
                f"{split}: all second texts are the same: {shorten(both[0][1])}",
                "the second text adds no information",
                f"data.text_pair=null, or check that {column} is the right column",
            )


@check("data", cheap=True)
def encoding(subject: Subject, result: CheckResult) -> None:
    """Texts were read in the right encoding, without control characters, HTML entities or tags."""
    for split, rows in subject.rows_of_splits.items():
        result.add_inspected(len(rows), f"texts of {split}")
        joined = join_pairs(rows["text"][:], rows["text_pair"][:])
        damaged = [row for row, text in enumerate(joined) if MOJIBAKE.search(text)]
        if damaged:
            report = result.warn if len(damaged) > 0.005 * len(rows) else result.note
            report(
                f"{split}: {len(damaged):,} texts look as if read in the wrong encoding: "
                f"{_excerpt_around(joined[damaged[0]], MOJIBAKE)}",
                "words are split into meaningless tokens",
                "read the source in its own encoding and write it as UTF-8 (iconv, ftfy)",
                _ids(rows, damaged),
            )
        with_controls = [row for row, text in enumerate(joined) if _has_controls(text)]
        if len(with_controls) > 0.01 * len(rows):
            result.note(
                f"{split}: {len(with_controls):,} texts contain control characters.",
                "tokens without meaning",
                subject.remedies("control_characters", otherwise="remove them from the source"),
                _ids(rows, with_controls),
            )
        with_entities = [row for row, text in enumerate(joined) if ENTITIES.search(text)]
        if len(with_entities) > 0.01 * len(rows):
            result.note(
                f"{split}: {len(with_entities):,} texts contain HTML entities such as &amp;.",
                "tokens without meaning",
                "html.unescape the source",
                _ids(rows, with_entities),
            )
        tag_of_row = {row: tag[0] for row, text in enumerate(joined) if (tag := TAGS.search(text))}
        with_tags = list(tag_of_row)
        if len(with_tags) > 0.01 * len(rows):
            # A few line breaks do no harm; where every text is a page, most tokens may be markup.
            report = result.warn if len(with_tags) > 0.5 * len(rows) else result.note
            report(
                f"{split}: {len(with_tags):,} texts contain HTML tags such as {tag_of_row[with_tags[0]]}.",
                "tags take the room of words in data.max_length, and new texts may not have them",
                "extract the text of the source, for instance with BeautifulSoup(text).get_text()",
                _ids(rows, with_tags),
            )


@check("data", cheap=True)
def duplicates(subject: Subject, result: CheckResult) -> None:
    """No text occurs twice in the training rows, with two labels, or in two splits."""
    train = subject.original_rows
    folded = fold_rows(train)
    rows_of_text: dict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(folded):
        rows_of_text[text].append(row)
    result.add_inspected(len(folded), "training rows")
    _check_repeated(subject, result, rows_of_text)
    _check_contradictory(subject, result, rows_of_text)
    train_digests = {digest(text) for text in rows_of_text}
    for split, rows in list(subject.rows_of_splits.items())[1:]:
        result.add_inspected(len(rows), f"rows of {split}")
        leaked = [row for row, text in enumerate(fold_rows(rows)) if digest(text) in train_digests]
        if leaked:
            report = result.warn if len(leaked) > 0.005 * len(rows) else result.note
            remedy = subject.remedies("leaked_rows", otherwise="remove them from the source")
            # To drop them would leave little or nothing to train on.
            if len(leaked) > 0.5 * len(rows):
                remedy = f"data.{split}=null cuts another {split} split; is its file the same as that of data.train?"
            report(
                f"{split}: {len(leaked):,} of {len(rows):,} rows are also in train.",
                f"{split} scores are too high: the model has memorized these rows",
                remedy,
                _ids(rows, leaked),
            )
    _check_test_in_validation(subject, result)


def _check_test_in_validation(subject: Subject, result: CheckResult) -> None:
    """Rows of test by which the weights were chosen; rows that are in train too are reported there."""
    rows = subject.rows_of_splits
    if not {"validation", "test"} <= rows.keys():
        return
    texts = fold_rows(rows["test"])
    seen = set(fold_rows(rows["validation"])) - set(fold_rows(rows["train"]))
    shared = [row for row, text in enumerate(texts) if text in seen]
    if len(shared) > 0.05 * len(texts):
        is_set = subject.config.data.test is not None
        result.warn(
            f"test: {len(shared):,} of {len(texts):,} rows are also in validation.",
            "the weights are chosen by rows that they are tested on, so test scores are too high",
            "data.test=null cuts another test split; is its file the same as that of data.validation?"
            if is_set
            else "remove them from the source",
            _ids(rows["test"], shared),
        )


def _check_repeated(subject: Subject, result: CheckResult, rows_of_text: dict[str, list[int]]) -> None:
    train = subject.original_rows
    repeated = [row for rows in rows_of_text.values() for row in rows[1:]]
    if not repeated:
        return
    message = f"train: {len(repeated):,} of {len(train):,} rows repeat another one."
    remedy = subject.remedies("duplicates", otherwise="remove them from the source")
    if len(repeated) > 0.05 * len(train):
        result.warn(
            message,
            "repeated rows have more weight, and leak into validation when it is split from train",
            remedy,
            _ids(train, repeated),
        )
    else:
        result.note(message, remedy=remedy, rows=_ids(train, repeated))


def _check_contradictory(subject: Subject, result: CheckResult, rows_of_text: dict[str, list[int]]) -> None:
    train = subject.original_rows
    labels = train["label"][:]
    contradictory = [
        rows for rows in rows_of_text.values() if len(rows) > 1 and len({comparable(labels[row]) for row in rows}) > 1
    ]
    if not contradictory:
        return
    rows = [row for each in contradictory for row in each]
    first = contradictory[0]
    first_labels = list(dict.fromkeys(str(labels[row]) for row in first))
    report = result.warn if len(rows) > 0.01 * len(train) else result.note
    report(
        f"train: {len(contradictory):,} texts occur with different labels, such as "
        f"{shorten(train['text'][first[0]])} as {quote_names(first_labels)}.",
        "no model can predict both",
        "; ".join(filter(None, ["correct their labels", subject.remedies("contradictory_labels")])),
        _ids(train, rows),
    )


@check("data")
def near_duplicates(subject: Subject, result: CheckResult) -> None:
    """Validation and test rows are no near-duplicates of training rows."""
    train = dict.fromkeys(fold_rows(subject.original_rows)[:MOST_ROWS])
    other_splits = {split: fold_rows(rows)[:MOST_ROWS] for split, rows in list(subject.rows_of_splits.items())[1:]}
    unseen = list(dict.fromkeys(text for texts in other_splits.values() for text in texts if text not in train))
    try:
        first = first_near_duplicates(train, unseen, NEAR, SHINGLE, inside=False)
    except ImportError as error:
        raise Skip("near-duplicates need the package datasketch: pip install 'trickbook[deduplicate]'") from error
    result.add_inspected(len(train), "distinct training texts")
    split_again = "split the data again, with data.group"
    for split, texts in other_splits.items():
        result.add_inspected(len(texts), f"rows of {split}")
        near = [row for row, text in enumerate(texts) if text not in train and first[text] in train]
        if len(near) > 0.01 * len(texts):
            remedy = split_again
            # Tricks must not change the test split: a run may only ask whether its rows are in train.
            if split == "validation":
                remedy = subject.remedies("leaked_near_duplicates", otherwise=split_again)
            result.warn(
                f"{split}: {len(near):,} of {len(texts):,} rows are near-duplicates of training rows.",
                f"{split} scores are too high",
                remedy,
                _ids(subject.rows_of_splits[split], near),
            )


@check("data", cheap=True)
def tokens(subject: Subject, result: CheckResult) -> None:
    """The tokenizer knows the words of the texts, and texts have more than one token."""
    train = subject.run.train
    result.add_inspected(len(train.columns["input_ids"]), f"tokens of {len(train):,} training rows")
    _check_unknown_tokens(subject, result)
    _check_characters_per_token(subject, result)
    special = len(subject.run.tokenizer("").input_ids)
    bare = np.flatnonzero(train.lengths <= special + 1)
    if len(bare) > 0.2 * len(train):
        result.warn(
            f"{len(bare):,} of {len(train):,} training rows have at most one token.",
            "there is almost nothing to learn from",
            f"check that data.text={subject.config.data.text} is the column of texts",
            [train.ids[row] for row in bare.tolist()],
        )


def _check_unknown_tokens(subject: Subject, result: CheckResult) -> None:
    train, tokenizer = subject.run.train, subject.run.tokenizer
    ids = train.columns["input_ids"]
    unknown = ids == (-1 if tokenizer.unk_token_id is None else tokenizer.unk_token_id)
    if not unknown.any():
        return
    # The unknown token is a special token too, but represents a word of the text.
    real = np.isin(ids, tokenizer.all_special_ids, invert=True) | unknown
    fraction = float(unknown.sum() / real.sum())
    if fraction > 0.02:
        window = int(np.searchsorted(train.offsets, np.flatnonzero(unknown)[0], "right") - 1)
        result.warn(
            f"{fraction:.1%} of all tokens are {tokenizer.unk_token}, which the tokenizer does not know: "
            f"{shorten(subject.decode(_row_of_window(train, window)))}",
            "words are lost: the model was pretrained on another language, or on other upper and lower case",
            "a model of this language (model=e5 has 100 and needs no hub; model=bert_chinese), or its cased or uncased "
            "version",
        )


def _check_characters_per_token(subject: Subject, result: CheckResult) -> None:
    train = subject.run.train
    rows = np.unique(np.linspace(0, len(train) - 1, 200).astype(int))
    sample = [text[:1000] for text in train.examples.select(rows)["text"]]
    characters = sum(len("".join(text.split())) for text in sample)
    token_count = sum(map(len, subject.run.tokenizer(sample, add_special_tokens=False).input_ids))
    # A Chinese character is a token by design.
    if characters > 200 and not is_chinese(sample) and token_count > 0.6 * characters:
        result.warn(
            f"{characters / token_count:.1f} characters per token: words are split into single letters.",
            "the model reads a language that it was not pretrained on",
            "a model of this language (model=xlm_roberta)",
        )


@check("data", cheap=True)
def truncation(subject: Subject, result: CheckResult) -> None:
    """How much of the texts is truncated."""
    run = subject.run
    rows, full = run.console.uncut_lengths
    result.add_inspected(len(rows), "training rows")
    remaining = np.minimum(full, run.train.lengths[rows])
    is_cut = full > remaining
    cut_fraction, lost_fraction = float(is_cut.mean()), float(1 - remaining.sum() / full.sum())
    if lost_fraction > 0.1:
        report = result.warn if lost_fraction > 0.5 else result.note
        most = min(int(np.percentile(full, 95)), run.tokenizer.model_max_length)
        longer = f"data.max_length={most}" if most > run.max_length else subject.remedies("long_texts")
        report(
            f"{cut_fraction:.1%} of the rows are longer than data.max_length={run.max_length}; "
            f"{lost_fraction:.1%} of all text is truncated.",
            "the model does not read the truncated part; `truncation_effect` measures whether it matters",
            ", or ".join(filter(None, [longer, subject.remedies("cut_texts")]))
            or f"let {' and '.join(seams.tricks_around('encode', run.tricks))} read more of each text",
            [run.train.ids[row] for row in rows[is_cut]],
        )


@check("data")
def truncation_effect(subject: Subject, result: CheckResult) -> None:
    """How much better a linear model predicts the labels from full texts than from truncated ones."""
    run = subject.run
    if subject.splits.multi_label or subject.config.data.text_pair:
        raise Skip("rows have several labels, or two texts")
    if run.train.window_offsets is not None:
        raise Skip("full texts are read, in windows")
    row_of = {name: row for row, name in enumerate(run.train.ids)}
    truncated_texts, full_texts, labels = [], [], []
    sample = sample_evenly(subject.original_rows)
    for text, name, label in zip(sample["text"][:], sample["id"][:], sample["label"][:], strict=True):
        ids = run.tokenizer(text, add_special_tokens=False).input_ids
        if len(ids) > run.train.lengths[row_of[name]]:
            # Decoded on both sides, so that only the length differs.
            full_texts.append(str(run.tokenizer.decode(ids)))
            truncated_texts.append(subject.decode(row_of[name]))
            labels.append(label)
    result.add_inspected(len(full_texts), "truncated rows")
    if len(full_texts) < 50 or min(Counter(labels).values()) < 5:
        return
    truncated_score, full_score = (score_out_of_fold(texts, labels, 0)[0] for texts in (truncated_texts, full_texts))
    message = (
        f"on truncated rows, a linear model has an accuracy of {truncated_score:.1%} from the truncated text and of "
        f"{full_score:.1%} from the full text."
    )
    if full_score > truncated_score + 0.03:
        result.warn(
            message,
            "the truncated part helps to predict the label, and the model does not read it",
            subject.remedies("label_in_cut_part", "a larger data.max_length"),
        )
    else:
        result.note(message)


@check("data", cheap=True)
def batches(subject: Subject, result: CheckResult) -> None:
    """Batches mix the labels, whatever the order of the file, and every row is in one of them."""
    run = subject.run
    labels = run.train.labels
    if labels.ndim == 2:
        raise Skip("rows have several labels")
    plan = run.seams.batches(run.train, 0).plan
    full_batches = [rows for rows in plan if len(rows) == run.config.train.batch_size]
    result.add_inspected(len(full_batches), "batches")
    if not full_batches or len(full_batches[0]) < 4 or len(np.unique(labels)) < 2:
        return
    class_fractions = np.bincount(labels[labels >= 0]) / len(labels)
    # The probability that a random batch has one label only.
    expected = float((class_fractions ** len(full_batches[0])).sum())
    unmixed = [rows for rows in full_batches if len(np.unique(labels[rows])) == 1]
    if len(unmixed) > 0.2 * len(full_batches) and len(unmixed) / len(full_batches) > 3 * expected:
        result.warn(
            f"{len(unmixed):,} of {len(full_batches):,} batches have rows of one label only.",
            "each update forgets the other labels, and the loss goes up and down with the label",
            "shuffle the rows: leave out the trick that forms the batches (seam `batches`)",
            [run.train.ids[row] for row in unmixed[0]],
        )
    used = {int(row) for rows in plan for row in rows}
    unused = len(run.train) - len(used)
    if unused:
        result.warn(
            f"{unused:,} of {len(run.train):,} training rows are in no batch of the first epoch.",
            "the model does not learn from them",
            "leave out the trick that forms the batches (seam `batches`)",
        )


def _ids(rows: Dataset, indices: Sequence[int]) -> list[str]:
    return [rows["id"][index] for index in indices[:5]]


def _excerpt_around(text: str, pattern: re.Pattern[str]) -> str:
    match = pattern.search(text)
    start = max(0, match.start() - LONGEST // 2) if match else 0
    return shorten(text[start : start + LONGEST])


def _has_controls(text: str) -> bool:
    return any(unicodedata.category(letter) == "Cc" for letter in text if letter < " " and letter not in "\n\r\t")


def _is_label_like(texts: Sequence[str], labels: Sequence[Any], multi_label: bool) -> bool:
    """Whether texts look like labels and labels like texts: few short texts, many long labels."""
    if multi_label or len(texts) < 20:
        return False
    distinct, names = set(texts), {label for label in labels if label is not None}
    if len(distinct) < 0.1 * len(names):
        return True
    few_texts = len(distinct) <= 20 < len(names)
    return few_texts and bool(np.mean([len(text) for text in distinct]) < np.mean([len(name) for name in names]))


def _row_of_window(train: Any, window: int) -> int:
    if train.window_offsets is None:
        return window
    return int(np.searchsorted(train.window_offsets, window, "right") - 1)
