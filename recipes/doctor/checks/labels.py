"""Checks of the labels: their spelling and frequencies, and whether texts predict them."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from datasets import Dataset

from recipes.config import Data
from recipes.data.labels import is_integer, is_number, spelling_key
from recipes.data.splitting import label_counts
from recipes.doctor.findings import CheckResult, Skip
from recipes.doctor.linear_probe import MOST_ROWS, fit_words, sample_evenly, score_out_of_fold
from recipes.doctor.registry import check
from recipes.doctor.render import quote_names, shorten
from recipes.doctor.subject import Subject
from recipes.models.linear import is_chinese, join_pairs

SHOWN = 3
FOR_IMBALANCE = ("macro_f1", "mcc", "roc_auc", "average_precision")
"""Metrics that count rare labels as much as frequent ones, or compare with chance."""
LITTLE_TO_GAIN = 0.9
SUSPICIOUS_ACCURACY = 0.995
"""Of the linear probe: real tasks are harder."""
SHORTCUT = 0.95
"""Fraction of texts with the name of their label, and F1 score of a single word, from which on they are reported."""
SEPARATORS = (";", "|", ",", "/", "、", "；", "，")
"""Signs that usually join the labels of a row."""
FEWEST_ROWS = 20
"""Of a label whose words are inspected."""
LEAST_ACCURACY = 0.6
"""The linear probe must be at least this accurate before its doubts about labels count."""
LARGEST_DROP = 0.2
"""Of the linear probe's accuracy, from unseen rows of train to those of another split."""


@check("data", cheap=True)
def label_spelling(subject: Subject, result: CheckResult) -> None:
    """Each label has one spelling, is either a name or a number, and is no combination of others."""
    classes = subject.splits.classes
    result.add_inspected(len(classes), "labels")
    spellings: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        spellings[spelling_key(name)].append(name)
    ambiguous = [quote_names(names) for names in spellings.values() if len(names) > 1]
    if ambiguous:
        result.warn(
            f"{'; '.join(ambiguous[:SHOWN])} differ in case, space, width or look-alike letters only.",
            "one label has two outputs, and predicting one of them is wrong for the rows of the other",
            f"use one spelling in the column data.label={subject.config.data.label}",
        )
    numbers = [name for name in classes if is_integer(name)]
    names = [name for name in classes if not is_number(name)]
    if names and len(numbers) > 1 and sorted(map(int, numbers)) in _consecutive_ids(len(numbers)):
        result.warn(
            f"{quote_names(numbers)} are numbers, {quote_names(names)} names.",
            "if a number stands for a name, one label has two outputs",
            f"use names everywhere in the column data.label={subject.config.data.label}",
        )
    for separator in () if subject.splits.multi_label else SEPARATORS:
        joined = [name for name in classes if separator in name and _parts(name, separator) <= set(classes)]
        if joined:
            result.warn(
                f"{quote_names(joined)} {'is' if len(joined) == 1 else 'are'} made of other labels, joined by "
                f"{separator!r}.",
                "each combination is a label of its own, with few rows, and predicting one of its parts is wrong",
                f"data.label_separator='{separator}', if a row may have more than one label",
            )


def _parts(name: str, separator: str) -> set[str]:
    return {part.strip() for part in name.split(separator)}


def _consecutive_ids(count: int) -> list[list[int]]:
    """The two usual ways to number `count` labels: from 0, and from 1."""
    return [list(range(first, first + count)) for first in (0, 1)]


@check("data", cheap=True)
def labels(subject: Subject, result: CheckResult) -> None:
    """Every split has every label, and training has enough rows of each."""
    counts = {split: label_counts(rows) for split, rows in subject.rows_of_splits.items()}
    for split, rows in subject.rows_of_splits.items():
        result.add_inspected(len(rows), f"labels of {split}")
    _check_absent(subject, result, counts)
    _check_unseen(subject, result, counts)
    train = counts["train"]
    rare = [name for name in subject.splits.classes if train[name] < 5]
    if rare:
        result.warn(
            f"{quote_names(rare)}: fewer than 5 training rows each.",
            "they are hardly ever predicted",
            "collect more of them, or merge them with another label",
        )
    if subject.splits.multi_label:
        _check_label_sets(subject, result, train)
    else:
        _check_imbalance(subject, result, train)


def _check_absent(subject: Subject, result: CheckResult, counts: dict[str, Counter[str]]) -> None:
    for split in list(counts)[1:]:
        absent = [name for name in subject.splits.classes if name not in counts[split]]
        if absent and counts[split]:
            remedy = f"add rows of them to {split}"
            if split in ("validation", "test"):
                remedy = _remedy_for_absent(subject.config.data, split)
            report = result.warn if split == "validation" else result.note
            report(
                f"{split} has no row of {quote_names(absent)}.",
                "these labels are not evaluated; macro F1 counts them as always wrong",
                remedy,
            )


def _check_unseen(subject: Subject, result: CheckResult, counts: dict[str, Counter[str]]) -> None:
    for split in list(counts)[1:]:
        unseen = [name for name in counts[split] if name not in subject.splits.classes]
        if unseen:
            remedy = "add training rows of these labels, or remove these rows"
            if getattr(subject.config.data, split, None) is not None:
                remedy += f", or split again: data.{split}=null"
            result.warn(
                f"{split} has labels that train does not: {quote_names(sorted(unseen))}.",
                f"the model cannot predict them, so {sum(counts[split][name] for name in unseen):,} rows of {split} "
                "always count as errors",
                remedy,
            )


def _remedy_for_absent(data: Data, split: str) -> str:
    if getattr(data, split) is not None:
        return f"split again, stratified: data.{split}=null"
    fraction = getattr(data, f"{split}_fraction")
    return f"add rows of them, or cut more rows off: a larger data.{split}_fraction (now {fraction:g})"


def _check_imbalance(subject: Subject, result: CheckResult, train: Counter[str]) -> None:
    classes, total = subject.splits.classes, len(subject.rows_of_splits["train"])
    most, least = max(classes, key=lambda name: train[name]), min(classes, key=lambda name: train[name])
    if train[most] < 20 * train[least] and train[most] < 0.95 * total:
        return
    # What the config has already is not advised; with both parts of the remedy there is nothing left to do.
    metric = "" if subject.config.evaluate.metric in FOR_IMBALANCE else "evaluate.metric=macro_f1"
    remedy = ", and ".join(filter(None, [metric, subject.remedies("class_imbalance")]))
    if not remedy:
        return
    if train[most] >= 0.95 * total:
        result.warn(
            f"{train[most] / total:.1%} of the training rows are {most!r}.",
            f"always predicting {most!r} has an accuracy of {train[most] / total:.1%}, so accuracy means little",
            remedy,
        )
    else:
        result.note(
            f"{most!r} has {train[most]:,} training rows, {least!r} {train[least]:,}.",
            "rare labels hardly change the accuracy",
            f"{remedy}, if all labels are equally important",
        )


def _check_label_sets(subject: Subject, result: CheckResult, train: Counter[str]) -> None:
    total = len(subject.rows_of_splits["train"])
    unlabelled = sum(not label for label in subject.rows_of_splits["train"]["label"][:])
    if unlabelled > 0.5 * total:
        result.warn(
            f"{unlabelled / total:.1%} of the training rows have no label at all.",
            "the model learns to predict no label",
            "check data.label_separator, or remove rows that nobody has labelled",
        )
    separator = subject.config.data.label_separator
    always = [name for name in subject.splits.classes if train[name] == total]
    if always:
        result.warn(
            f"every training row has {quote_names(always)}.",
            "there is nothing to learn about them",
            f"remove these labels, or if {separator!r} is part of a name, data.label_separator=null"
            if separator
            else "remove these labels",
        )


@check("data")
def shortcuts(subject: Subject, result: CheckResult) -> None:
    """No text contains the name of its label, and no single word gives a label away."""
    if subject.splits.multi_label:
        raise Skip("rows have several labels")
    rows = sample_evenly(subject.original_rows)
    labels, texts = rows["label"][:], [text.casefold() for text in join_pairs(rows["text"][:], rows["text_pair"][:])]
    result.add_inspected(len(rows), "training rows")
    split_text = _split_letters if is_chinese(texts) else _split_words
    words_of_rows = [split_text(text) for text in texts]
    names, named, with_another = set(labels), list[int](), 0
    for row, (label, text) in enumerate(zip(labels, texts, strict=True)):
        contained = {name for name in names if _is_in(name.casefold(), text, words_of_rows[row])}
        named += [row] if label in contained else []
        with_another += bool(contained - {label})
    if len(named) >= SHORTCUT * len(rows) and with_another < 0.5 * len(rows):
        result.warn(
            f"{len(named):,} of {len(rows):,} training texts contain the name of their label, such as "
            f"{shorten(rows['text'][named[0]])} as {labels[named[0]]!r}.",
            "the model reads the answer, and new texts do not have it",
            "remove the names of the labels from the texts",
            [rows["id"][row] for row in named],
        )
        return
    for label, word in _telling_words(labels, words_of_rows):
        result.warn(
            f"the word {word!r} alone separates {label!r} from the other labels: nearly every training text of "
            f"{label!r} has it, and hardly any other.",
            "the model learns this word and nothing else; texts without it get a wrong label",
            f"remove {word!r} from the texts, unless it is what the label means",
        )


def _split_words(text: str) -> set[str]:
    """The words, and the signs between them."""
    return set(re.findall(r"\w+|[^\w\s]", text))


def _split_letters(text: str) -> set[str]:
    """Letters and pairs of them, in place of words, where text has no spaces."""
    return {text[start : start + size] for size in (1, 2) for start in range(len(text) - size + 1)}


def _is_in(name: str, text: str, words: set[str]) -> bool:
    """Whether a text contains the name of a label; a single letter has to be a word."""
    return name in words or (len(name) > 1 and name in text)


def _telling_words(labels: Sequence[str], words_of_rows: Sequence[set[str]]) -> Iterator[tuple[str, str]]:
    """Yield each frequent label that one word separates from the others, and the word."""
    rows_of_label = Counter(labels)
    rows_of_word = Counter(word for words in words_of_rows for word in words)
    for label, count in rows_of_label.items():
        if count < max(FEWEST_ROWS, 0.05 * len(labels)) or len(rows_of_label) < 2:
            continue
        of_label = Counter(
            word for own, words in zip(labels, words_of_rows, strict=True) if own == label for word in words
        )
        # The F1 score of the rule that a text has the label if it has the word.
        score, word = max((2 * hits / (count + rows_of_word[word]), word) for word, hits in of_label.items())
        if score >= SHORTCUT:
            yield label, word


@check("data")
def learnability(subject: Subject, result: CheckResult) -> None:
    """Texts predict labels: a linear model does better than with shuffled labels."""
    probe = subject.linear_probe
    result.add_inspected(len(probe.rows), "training rows, in 3 folds")
    shuffled = list(np.random.default_rng(0).permutation(probe.labels))
    chance, _ = score_out_of_fold(probe.texts, shuffled, 0)
    deviation = (chance * (1 - chance) / len(probe.rows)) ** 0.5
    message = f"a linear model has an accuracy of {probe.score:.1%}; with shuffled labels {chance:.1%}"
    if probe.score >= SUSPICIOUS_ACCURACY and probe.score >= chance + 3 * deviation:
        result.warn(
            f"{message}: hardly any real task is that easy.",
            "the label may be in the texts, or each label may have its own source or template",
            f"read texts of each label: does data.text={subject.config.data.text} hold anything that only somebody who "
            "knows the label could have written? Then remove it",
        )
    elif probe.score >= chance + 3 * deviation:
        result.note(f"{message}. A model should beat this linear baseline (model=linear).")
    elif subject.config.data.text_pair:
        result.note(f"{message}; it cannot compare the two texts of a pair.")
    elif chance >= LITTLE_TO_GAIN:
        result.note(f"{message}: where nearly all rows have one label, accuracy cannot show more.")
    elif shift := _find_shift(subject.original_rows, chance + 6 * deviation):
        result.warn(
            f"{message}, and with the labels moved by one row {shift[1]:.1%}: each label stands one row too "
            f"{'low' if shift[0] < 0 else 'high'}.",
            "texts have the labels of their neighbors, and no model will learn",
            f"move the column data.label={subject.config.data.label} {'up' if shift[0] < 0 else 'down'} by one row",
        )
    else:
        result.warn(
            f"{message}: words alone do not predict the labels.",
            "unless the task is about more than words (grammar, say), no model will learn much",
            "check that each row's data.label belongs to its data.text: was one of the columns shuffled, or are many "
            "labels wrong?",
        )


def _find_shift(rows: Dataset, least: float) -> tuple[int, float] | None:
    """By how many rows the labels have to be moved to fit the texts, and the accuracy then; None if nothing helps."""
    rows = rows.select(range(min(len(rows), MOST_ROWS)))
    texts, labels = join_pairs(rows["text"][:], rows["text_pair"][:]), rows["label"][:]
    for shift in (-1, 1):
        score, _ = score_out_of_fold(texts, labels[-shift:] + labels[:-shift], 0)
        if score >= least:
            return shift, score
    return None


@check("data")
def labels_of_splits(subject: Subject, result: CheckResult) -> None:
    """The labels of validation and test mean what those of train mean: a linear model predicts them as well."""
    probe = subject.linear_probe
    if subject.config.data.text_pair or probe.score < max(LEAST_ACCURACY, 1.5 / len(probe.classes)):
        raise Skip("the linear model is not accurate enough to doubt a label")
    model = fit_words(probe.texts, probe.labels, 0)
    for split, rows in list(subject.rows_of_splits.items())[1:]:
        known = rows.select([row for row, label in enumerate(rows["label"][:]) if label in probe.classes])
        if len(known) < FEWEST_ROWS:
            continue
        known = sample_evenly(known)
        number_of = {name: number for number, name in enumerate(probe.classes)}
        true = np.array([number_of[name] for name in known["label"][:]])
        predicted = model(join_pairs(known["text"][:], known["text_pair"][:])).argmax(1)
        result.add_inspected(len(known), f"rows of {split}")
        score = float((predicted == true).mean())
        deviation = (probe.score * (1 - probe.score) * (1 / len(known) + 1 / len(probe.rows))) ** 0.5
        if score < probe.score - max(LARGEST_DROP, 4 * deviation):
            is_wrong = predicted != true
            pairs = Counter(zip(true[is_wrong].tolist(), predicted[is_wrong].tolist(), strict=True))
            ((label, answer), count) = pairs.most_common(1)[0]
            label_name, answer_name = probe.classes[label], probe.classes[answer]
            total = int((true == label).sum())
            result.warn(
                f"a linear model of train has an accuracy of {score:.1%} on {split}, and of {probe.score:.1%} on rows "
                f"of train that it has not seen; most errors: {count:,} of {total:,} rows of {label_name!r} look like "
                f"train's {answer_name!r}.",
                f"scores on {split} say nothing about what was learned",
                f"compare texts of {label_name!r} in both files: are labels of {split} exchanged, shuffled, or "
                "numbered in another order?",
                [known["id"][int(row)] for row in np.flatnonzero((true == label) & (predicted == answer))],
            )
    if not result.inspected:
        raise Skip(f"each split has fewer than {FEWEST_ROWS} rows with a label of train")


@check("data")
def label_errors(subject: Subject, result: CheckResult) -> None:
    """Few labels are contradicted by a linear model that was trained on the other rows (confident learning)."""
    probe = subject.linear_probe
    rows, classes, probabilities = probe.rows, probe.classes, probe.probabilities
    result.add_inspected(len(rows), "training rows, in 3 folds")
    if probe.score < max(LEAST_ACCURACY, 1.5 / len(classes)):
        raise Skip("the linear model is not accurate enough to doubt a label")
    class_number = {name: number for number, name in enumerate(classes)}
    true = np.array([class_number[label] for label in probe.labels])
    of_label = probabilities[np.arange(len(true)), true]
    # Northcutt, Jiang, Chuang 2021, Confident Learning, arXiv 1911.00068: a prediction is confident if its probability
    # is at least the mean probability of that class on the rows labelled with it.
    thresholds = np.array([probabilities[true == number, number].mean() for number in range(len(classes))])
    confident = np.where(probabilities >= thresholds, probabilities, 0)
    predicted = confident.argmax(1)
    doubted = np.flatnonzero((confident.max(1) > 0.5) & (predicted != true))
    # The clearest contradictions first.
    doubted = doubted[np.argsort(of_label[doubted] - confident[doubted].max(1))]
    if len(doubted) > 0.15 * len(rows):
        first = doubted[0]
        result.warn(
            f"{len(doubted):,} of {len(rows):,} labels look wrong, most of all {shorten(rows['text'][int(first)])} as "
            f"{probe.labels[first]!r} ({classes[predicted[first]]!r} at {probabilities[first].max():.0%}).",
            "the model learns wrong labels, and wrong labels in validation distort the scores",
            "check these rows; trickbook report lists the most suspicious ones after training",
            [rows["id"][int(row)] for row in doubted],
        )
    elif len(doubted):
        result.note(
            f"{len(doubted):,} of {len(rows):,} labels are worth checking.",
            rows=[rows["id"][int(row)] for row in doubted],
        )
