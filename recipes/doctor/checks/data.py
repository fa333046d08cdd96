"""The data: what the model will really read, and whether it can be learnt and judged from it."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset

from recipes.data.duplicates import comparable, digest, first_alike, fold_rows
from recipes.doctor.findings import CheckResult, Skip
from recipes.doctor.linear_probe import MOST_ROWS, sampled, score_out_of_fold
from recipes.doctor.registry import check
from recipes.doctor.render import LONGEST, quote_names, short
from recipes.doctor.subject import Subject
from recipes.models.linear import is_chinese, join_pairs

SHOWN = 3
NEAR, SHINGLE = 0.9, 5
"""Share of common sequences of so many characters that makes a near copy, as in conf/tricks/deduplicate.yaml."""
# UTF-8 read as Latin-1 or Windows-1252 and written again.
MOJIBAKE = re.compile("[ÃÂ][\u0080-\u00bf]|â€[\u0080-\u00ff™œ\u009d“”˜¦]|ï»¿|\ufffd|锟斤拷|\u00c3[\u0192\u201a]")
ENTITIES = re.compile(r"&(?:amp|lt|gt|quot|nbsp|#\d{2,5});")


@check("data", cheap=True)
def reading(subject: Subject, result: CheckResult) -> None:
    """Every split can be read, and what its reader had to say."""
    for name, rows in subject.texts.items():
        result.at(len(rows), f"rows of {name}")
    for told in subject.splits.notes:
        result.note(told)


@check("data")
def inputs(subject: Subject, result: CheckResult) -> None:
    """What the model will really see, after every trick and the tokenizer: some rows, decoded."""
    train = subject.run.train
    rows = np.linspace(0, len(train) - 1, min(SHOWN, len(train))).astype(int)
    result.at(len(rows), "inputs, decoded")
    for row in rows:
        label = train.examples["label"][int(row)]
        result.note(f"{label}: {short(subject.shown(int(row)), 200)}", rows=[train.ids[row]])


@check("data", cheap=True)
def texts(subject: Subject, result: CheckResult) -> None:
    """Texts with something in them, that differ, and that are not columns mistaken for others."""
    for split, rows in subject.texts.items():
        written = rows["text"][:]
        result.at(len(rows), f"texts of {split}")
        empty = [row for row, text in enumerate(written) if not text.strip()]
        if empty:
            say = result.warn if len(empty) > 0.01 * len(rows) else result.note
            say(
                f"{split}: {len(empty):,} texts are empty.",
                "they are all the same input, whatever their label",
                f"remove them, or look whether data.text={subject.config.data.text} is the right column",
                _ids(rows, empty),
            )
        different = len(set(written))
        if different == 1 and len(rows) > 1:
            result.fail(
                f"{split}: all {len(rows):,} texts are the same: {short(written[0])}",
                "nothing can be learnt",
                "data.text=<the column with the texts>",
            )
        elif split == "train" and _is_label_like(written, rows["label"][:], subject.splits.multi_label):
            result.fail(
                f"train: data.text={subject.config.data.text} has {different:,} different values in {len(rows):,} "
                f"rows and data.label={subject.config.data.label} {len(subject.splits.classes):,}: they look swapped.",
                "a model that reads labels and answers texts",
                f"data.text={subject.config.data.label} data.label={subject.config.data.text}",
            )


@check("data", cheap=True)
def pairs(subject: Subject, result: CheckResult) -> None:
    """Second texts that say something that the first ones do not."""
    if not subject.config.data.text_pair:
        raise Skip("data.text_pair is not set")
    for split, rows in subject.texts.items():
        result.at(len(rows), f"pairs of {split}")
        both = list(zip(rows["text"][:], rows["text_pair"][:], strict=True))
        same = [row for row, (text, pair) in enumerate(both) if text == pair]
        column = f"data.text_pair={subject.config.data.text_pair}"
        if len(same) > 0.5 * len(rows):
            result.warn(
                f"{split}: in {len(same):,} of {len(rows):,} rows both texts are the same.",
                "the pair says nothing",
                f"look whether {column} is the right column",
                _ids(rows, same),
            )
        if len({pair for _, pair in both}) == 1 and len(rows) > 1:
            result.warn(
                f"{split}: all second texts are the same: {short(both[0][1])}",
                "the pair says nothing",
                f"data.text_pair=null, or look whether {column} is the right column",
            )


@check("data", cheap=True)
def encoding(subject: Subject, result: CheckResult) -> None:
    """Characters as they were written: no text that was read in the wrong encoding, no markup."""
    for split, rows in subject.texts.items():
        result.at(len(rows), f"texts of {split}")
        whole = join_pairs(rows["text"][:], rows["text_pair"][:])
        damaged = [row for row, text in enumerate(whole) if MOJIBAKE.search(text)]
        if damaged:
            say = result.warn if len(damaged) > 0.005 * len(rows) else result.note
            say(
                f"{split}: {len(damaged):,} texts look as if read in the wrong encoding: "
                f"{_around(whole[damaged[0]], MOJIBAKE)}",
                "words fall into pieces that mean nothing",
                "read the source in its own encoding and write it as UTF-8 (iconv, ftfy)",
                _ids(rows, damaged),
            )
        controls = [row for row, text in enumerate(whole) if _has_controls(text)]
        entities = [row for row, text in enumerate(whole) if ENTITIES.search(text)]
        for kind, found in (("control characters", controls), ("HTML entities such as &amp;", entities)):
            if len(found) > 0.01 * len(rows):
                remedy = "html.unescape the source"
                if found is controls:
                    remedy = subject.remedies("control_characters", otherwise="remove them from the source")
                result.note(
                    f"{split}: {len(found):,} texts hold {kind}.",
                    "tokens that say nothing",
                    remedy,
                    _ids(rows, found),
                )


@check("data", cheap=True)
def copies(subject: Subject, result: CheckResult) -> None:
    """Rows that stand only once, with one label, and in one split."""
    train = subject.originals
    own = fold_rows(train)
    places: dict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(own):
        places[text].append(row)
    result.at(len(own), "training rows")
    again = [row for rows in places.values() for row in rows[1:]]
    if again:
        remedy = subject.remedies("duplicates", otherwise="remove them from the source")
    if len(again) > 0.05 * len(own):
        result.warn(
            f"train: {len(again):,} of {len(own):,} rows repeat another one.",
            "repeated rows weigh more, and fall into validation when it is cut from train",
            remedy,
            _ids(train, again),
        )
    elif again:
        result.note(
            f"train: {len(again):,} of {len(own):,} rows repeat another one.",
            remedy=remedy,
            rows=_ids(train, again),
        )
    said = train["label"][:]
    torn = [rows for rows in places.values() if len(rows) > 1 and len({comparable(said[row]) for row in rows}) > 1]
    if torn:
        rows = [row for each in torn for row in each]
        say = result.warn if len(rows) > 0.01 * len(own) else result.note
        say(
            f"train: {len(torn):,} texts stand there with different labels, such as "
            f"{short(train['text'][torn[0][0]])} as "
            f"{quote_names(list(dict.fromkeys(str(said[row]) for row in torn[0])))}.",
            "no model can answer both rightly",
            "; ".join(filter(None, ["settle their labels", subject.remedies("contradictory_labels")])),
            _ids(train, rows),
        )
    known = {digest(text) for text in places}
    for split, rows in list(subject.texts.items())[1:]:
        result.at(len(rows), f"rows of {split}")
        leaked = [row for row, text in enumerate(fold_rows(rows)) if digest(text) in known]
        if leaked:
            say = result.warn if len(leaked) > 0.005 * len(rows) else result.note
            say(
                f"{split}: {len(leaked):,} of {len(rows):,} rows stand in train too.",
                f"{split} scores are too good: these rows were learnt by heart",
                subject.remedies("leaked_rows", otherwise="remove them from the source"),
                _ids(rows, leaked),
            )


@check("data")
def near_copies(subject: Subject, result: CheckResult) -> None:
    """Held-out rows that are nearly a training row."""
    train = dict.fromkeys(fold_rows(subject.originals)[:MOST_ROWS])
    held = {split: fold_rows(rows)[:MOST_ROWS] for split, rows in list(subject.texts.items())[1:]}
    own = list(dict.fromkeys(text for texts in held.values() for text in texts if text not in train))
    try:
        first = first_alike(train, own, NEAR, SHINGLE, inside=False)
    except ImportError as error:
        raise Skip("near copies need the package datasketch: pip install -e '.[deduplicate]'") from error
    result.at(len(train), "different training texts")
    for split, texts in held.items():
        result.at(len(texts), f"rows of {split}")
        apart = "cut the splits anew, with data.group"
        near = [row for row, text in enumerate(texts) if text not in train and first[text] in train]
        if len(near) > 0.01 * len(texts):
            result.warn(
                f"{split}: {len(near):,} of {len(texts):,} rows are nearly a training row.",
                f"{split} scores are too good",
                # A run may know of the test split's rows no more than whether they are its own.
                subject.remedies("leaked_near_duplicates", otherwise=apart) if split == "validation" else apart,
                _ids(subject.texts[split], near),
            )


@check("data", cheap=True)
def tokens(subject: Subject, result: CheckResult) -> None:
    """Texts that the tokenizer knows, in one piece, and that fit."""
    run = subject.run
    train, tokenizer = run.train, run.tokenizer
    ids = train.columns["input_ids"]
    result.at(len(ids), f"tokens of {len(train):,} training rows")
    unknown = ids == (-1 if tokenizer.unk_token_id is None else tokenizer.unk_token_id)
    real = np.isin(ids, tokenizer.all_special_ids, invert=True) | unknown
    if unknown.any():
        share = float(unknown.sum() / real.sum())
        if share > 0.02:
            row = int(np.searchsorted(train.offsets, np.flatnonzero(unknown)[0], "right") - 1)
            result.warn(
                f"{share:.1%} of all tokens are {tokenizer.unk_token}, which the tokenizer does not know: "
                f"{short(subject.shown(_document(train, row)))}",
                "words are lost: another language, or other upper and lower case, than the model was pretrained on",
                "a model of this language (model=bert_chinese, model=xlm_roberta), or the cased or uncased one of it",
            )
    rows = np.unique(np.linspace(0, len(train) - 1, 200).astype(int))
    sampled = [text[:1000] for text in train.examples.select(rows)["text"]]
    letters = sum(len("".join(text.split())) for text in sampled)
    pieces = sum(map(len, tokenizer(sampled, add_special_tokens=False).input_ids))
    if letters > 200 and not is_chinese(sampled) and pieces > 0.6 * letters:
        result.warn(
            f"{letters / pieces:.1f} characters to a token: words fall into single letters.",
            "the model reads a language that it was not pretrained on",
            "a model of this language (model=xlm_roberta)",
        )
    special = len(tokenizer("").input_ids)
    bare = np.flatnonzero(train.lengths <= special + 1)
    if len(bare) > 0.2 * len(train):
        result.warn(
            f"{len(bare):,} of {len(train):,} training rows have at most one token.",
            "there is next to nothing to read",
            f"look whether data.text={subject.config.data.text} is the text",
            [train.ids[row] for row in bare.tolist()],
        )


@check("data", cheap=True)
def length(subject: Subject, result: CheckResult) -> None:
    """How much of the text is cut off."""
    run = subject.run
    rows, whole = run.report.uncut
    result.at(len(rows), "training rows")
    kept = np.minimum(whole, run.train.lengths[rows])
    cut, lost = float((whole > kept).mean()), float(1 - kept.sum() / whole.sum())
    if lost > 0.1:
        say = result.warn if lost > 0.5 else result.note
        most = min(int(np.percentile(whole, 95)), run.tokenizer.model_max_length)
        more = f"data.max_length={most}" if most > run.max_length else subject.remedies("long_texts")
        say(
            f"{cut:.1%} of the rows are longer than data.max_length={run.max_length}; {lost:.1%} of all text is cut.",
            "what is said there is not read; `cut_text` tells whether it matters",
            ", or ".join(filter(None, [more, subject.remedies("cut_texts")])),
            [run.train.ids[row] for row in rows[whole > kept]],
        )


@check("data")
def cut_text(subject: Subject, result: CheckResult) -> None:
    """How much better a linear model knows the label from all of a text than from what is kept of it."""
    run = subject.run
    if subject.splits.multi_label or subject.config.data.text_pair:
        raise Skip("rows have several labels, or two texts")
    if run.train.window_offsets is not None:
        raise Skip("texts are read whole, in windows")
    place = {name: row for row, name in enumerate(run.train.ids)}
    kept, whole, said = [], [], []
    sample = sampled(subject.originals)
    for text, name, label in zip(sample["text"][:], sample["id"][:], sample["label"][:], strict=True):
        ids = run.tokenizer(text, add_special_tokens=False).input_ids
        if len(ids) > run.train.lengths[place[name]]:
            whole.append(str(run.tokenizer.decode(ids)))
            kept.append(subject.shown(place[name]))
            said.append(label)
    result.at(len(whole), "rows that are cut")
    if len(whole) < 50 or min(Counter(said).values()) < 5:
        return
    left, right = (score_out_of_fold(texts, said, 0)[0] for texts in (kept, whole))
    told = f"of the rows cut, a linear model has {left:.1%} right from what is kept and {right:.1%} from all of it."
    if right > left + 0.03:
        result.warn(
            told,
            "the label is told in the part that is not read",
            subject.remedies("label_in_cut_part", "a larger data.max_length"),
        )
    else:
        result.note(told)


@check("data", cheap=True)
def batches(subject: Subject, result: CheckResult) -> None:
    """Batches that mix the labels, whatever the order of the file."""
    run = subject.run
    numbers = run.train.labels
    if numbers.ndim == 2:
        raise Skip("rows have several labels")
    plan = run.seams.batches(run.train, 0).plan
    whole = [rows for rows in plan if len(rows) == run.config.train.batch_size]
    result.at(len(whole), "batches")
    if not whole or len(whole[0]) < 4 or len(np.unique(numbers)) < 2:
        return
    shares = np.bincount(numbers[numbers >= 0]) / len(numbers)
    lucky = float((shares ** len(whole[0])).sum())
    alone = [rows for rows in whole if len(np.unique(numbers[rows])) == 1]
    if len(alone) > 0.2 * len(whole) and len(alone) / len(whole) > 3 * lucky:
        result.warn(
            f"{len(alone):,} of {len(whole):,} batches hold rows of one label only.",
            "each update forgets the other labels, and the loss goes up and down with the label",
            "shuffle: leave out what deals the batches (a trick on `batches`)",
            [run.train.ids[row] for row in alone[0]],
        )
    seen = Counter(int(row) for rows in plan for row in rows)
    never = len(run.train) - len(seen)
    if never:
        result.warn(
            f"{never:,} of {len(run.train):,} training rows are in no batch of the first epoch.",
            "they are never learnt",
            "leave out what deals the batches (a trick on `batches`)",
        )


# What checks share.


def _ids(rows: Dataset, places: Sequence[int]) -> list[str]:
    return [rows["id"][place] for place in places[:5]]


def _around(text: str, pattern: re.Pattern[str]) -> str:
    found = pattern.search(text)
    start = max(0, found.start() - LONGEST // 2) if found else 0
    return short(text[start : start + LONGEST])


def _has_controls(text: str) -> bool:
    return any(unicodedata.category(letter) == "Cc" for letter in text if letter < " " and letter not in "\n\r\t")


def _is_label_like(written: Sequence[str], said: Sequence[Any], multi_label: bool) -> bool:
    """Whether there are few short texts, each often, and many long labels."""
    if multi_label or len(written) < 20:
        return False
    texts, names = set(written), {label for label in said if label is not None}
    return len(texts) < 0.1 * len(names) or (
        len(texts) <= 20 < len(names)
        and np.mean([len(text) for text in texts]) < np.mean([len(name) for name in names])
    )


def _document(train: Any, window: int) -> int:
    if train.window_offsets is None:
        return window
    return int(np.searchsorted(train.window_offsets, window, "right") - 1)
