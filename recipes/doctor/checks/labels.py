"""Checks of the labels: their spelling and frequencies, and whether texts predict them."""

from collections import Counter, defaultdict

import numpy as np

from recipes.config import Data
from recipes.data.labels import is_integer, is_number, spelling_key
from recipes.data.splitting import label_counts
from recipes.doctor.findings import CheckResult, Skip
from recipes.doctor.linear_probe import score_out_of_fold
from recipes.doctor.registry import check
from recipes.doctor.render import quote_names, shorten
from recipes.doctor.subject import Subject

SHOWN = 3
FOR_IMBALANCE = ("macro_f1", "mcc", "roc_auc", "average_precision")
"""Metrics that count rare labels as much as frequent ones, or compare with chance."""
LEAST_ACCURACY = 0.6
"""The linear probe must be at least this accurate before its doubts about labels count."""


@check("data", cheap=True)
def label_spelling(subject: Subject, result: CheckResult) -> None:
    """Each label has one spelling, and is either a name or a number."""
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
    always = [name for name in subject.splits.classes if train[name] == total]
    if always:
        result.warn(
            f"every training row has {quote_names(always)}.",
            "there is nothing to learn about them",
            "remove these labels",
        )


@check("data")
def learnability(subject: Subject, result: CheckResult) -> None:
    """Texts predict labels: a linear model does better than with shuffled labels."""
    probe = subject.linear_probe
    result.add_inspected(len(probe.rows), "training rows, in 3 folds")
    shuffled = list(np.random.default_rng(0).permutation(probe.labels))
    chance, _ = score_out_of_fold(probe.texts, shuffled, 0)
    deviation = (chance * (1 - chance) / len(probe.rows)) ** 0.5
    message = f"a linear model has an accuracy of {probe.score:.1%}; with shuffled labels {chance:.1%}"
    if probe.score >= chance + 3 * deviation:
        result.note(f"{message}. A model should beat this linear baseline (model=linear).")
    elif subject.config.data.text_pair:
        result.note(f"{message}; it cannot compare the two texts of a pair.")
    else:
        result.warn(
            f"{message}: words alone do not predict the labels.",
            "unless the task is about more than words (grammar, say), no model will learn much",
            "check that each row's data.label belongs to its data.text: was one of the columns shuffled?",
        )


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
            "check these rows; scripts/report.py lists the most suspicious ones after training",
            [rows["id"][int(row)] for row in doubted],
        )
    elif len(doubted):
        result.note(
            f"{len(doubted):,} of {len(rows):,} labels are worth checking.",
            rows=[rows["id"][int(row)] for row in doubted],
        )
