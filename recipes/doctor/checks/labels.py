"""The labels: how they are written, whether every split has them, and whether texts tell them."""

import re
import unicodedata
from collections import defaultdict

import numpy as np

from recipes.data.splitting import label_counts
from recipes.doctor.findings import CheckResult, Skip
from recipes.doctor.linear_probe import score_out_of_fold
from recipes.doctor.registry import check
from recipes.doctor.render import quote_names, short
from recipes.doctor.subject import Subject

SHOWN = 3
KNOWS_ENOUGH = 0.6
"""Right answers from which on a linear model may doubt a label."""


@check("data", cheap=True)
def spelling(subject: Subject, result: CheckResult) -> None:
    """Labels that are each written in one way: one spelling, and a name or a number, not both."""
    classes = subject.splits.classes
    result.at(len(classes), "labels")
    spelt: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        spelt[re.sub(r"[\s_]+", "", unicodedata.normalize("NFKC", name)).casefold()].append(name)
    alike = [quote_names(names) for names in spelt.values() if len(names) > 1]
    if alike:
        result.warn(
            f"{'; '.join(alike[:SHOWN])} differ in case, space or width only.",
            "one meaning has several outputs, and whichever of them is answered is wrong for the others' rows",
            f"write them alike in the column data.label={subject.config.data.label}",
        )
    numbers, names = ([name for name in classes if name.isdecimal() == wanted] for wanted in (True, False))
    if names and len(numbers) > 1 and sorted(map(int, numbers)) in _ids_of(len(numbers)):
        result.warn(
            f"{quote_names(numbers)} are numbers, {quote_names(names)} names.",
            "where a number stands for a name, one meaning has two outputs",
            f"write the names throughout the column data.label={subject.config.data.label}",
        )


def _ids_of(count: int) -> list[list[int]]:
    """How so many labels are numbered: from 0, or from 1."""
    return [list(range(first, first + count)) for first in (0, 1)]


@check("data", cheap=True)
def labels(subject: Subject, result: CheckResult) -> None:
    """Labels that every split has, often enough to learn and to judge."""
    splits = subject.splits
    counts = {split: label_counts(rows) for split, rows in subject.texts.items()}
    for split, rows in subject.texts.items():
        result.at(len(rows), f"labels of {split}")
    train, total = counts["train"], len(subject.texts["train"])
    for split in list(counts)[1:]:
        absent = [name for name in splits.classes if name not in counts[split]]
        if absent and counts[split]:
            say = result.warn if split == "validation" else result.note
            say(
                f"{split} has no row of {quote_names(absent)}.",
                "nothing is known of how well these are answered; macro F1 counts them as never right",
                f"cut the splits anew, stratified: data.{split}=null"
                if split in ("validation", "test")
                else f"add rows of them to {split}",
            )
    rare = [name for name in splits.classes if train[name] < 5]
    if rare:
        result.warn(
            f"{quote_names(rare)}: fewer than 5 training rows each.",
            "they are hardly ever answered",
            "collect more of them, or join them to another label",
        )
    most, least = max(splits.classes, key=lambda name: train[name]), min(splits.classes, key=lambda name: train[name])
    if not splits.multi_label and train[most] >= 0.95 * total:
        result.warn(
            f"{train[most] / total:.1%} of the training rows are {most!r}.",
            f"answering {most!r} always is {train[most] / total:.1%} right, so accuracy says nothing",
            f"evaluate.metric=macro_f1 {_weighing(subject)}",
        )
    elif not splits.multi_label and train[most] >= 20 * train[least]:
        result.note(
            f"{most!r} has {train[most]:,} training rows, {least!r} {train[least]:,}.",
            "accuracy hardly feels the rare ones",
            f"evaluate.metric=macro_f1, and {_weighing(subject)} if each label counts alike",
        )
    if splits.multi_label:
        none = sum(not label for label in subject.texts["train"]["label"][:])
        if none > 0.5 * total:
            result.warn(
                f"{none / total:.1%} of the training rows have no label at all.",
                "no label is the safest answer",
                "look at data.label_separator, or remove rows that nobody has labelled",
            )
        always = [name for name in splits.classes if train[name] == total]
        if always:
            result.warn(
                f"every training row has {quote_names(always)}.",
                "there is nothing to learn of them",
                "remove these labels",
            )


def _weighing(subject: Subject) -> str:
    return " or ".join(filter(None, ["recipe=imbalanced", subject.remedies("class_imbalance")]))


@check("data")
def something_to_learn(subject: Subject, result: CheckResult) -> None:
    """Whether texts tell labels at all: a linear model against the commonest label, and against shuffled labels."""
    linear_probe = subject.linear_probe
    result.at(len(linear_probe.rows), "training rows, in 3 folds")
    chance, _ = score_out_of_fold(
        linear_probe.texts, list(np.random.default_rng(0).permutation(linear_probe.labels)), 0
    )
    spread = (chance * (1 - chance) / len(linear_probe.rows)) ** 0.5
    told = f"a linear model has {linear_probe.score:.1%} right; with shuffled labels {chance:.1%}"
    if linear_probe.score >= chance + 3 * spread:
        result.note(f"{told}. That is the floor a model must clear (model=linear).")
    elif subject.config.data.text_pair:
        result.note(f"{told}; it does not see how two texts go together.")
    else:
        result.warn(
            f"{told}: words alone do not tell the labels.",
            "unless the task is about more than words (grammar, say), no model will learn much",
            "look whether data.label belongs to data.text row by row: are rows shuffled apart?",
        )


@check("data")
def label_errors(subject: Subject, result: CheckResult) -> None:
    """Rows whose label a linear model, trained on the others, is sure not to believe (confident learning)."""
    linear_probe = subject.linear_probe
    rows, said, classes, shares = linear_probe.rows, linear_probe.labels, linear_probe.classes, linear_probe.shares
    result.at(len(rows), "training rows, in 3 folds")
    if linear_probe.score < max(KNOWS_ENOUGH, 1.5 / len(classes)):
        raise Skip("the linear model knows too little to doubt a label")
    number = {name: place for place, name in enumerate(classes)}
    true = np.array([number[label] for label in said])
    own = shares[np.arange(len(true)), true]
    # Northcutt, Jiang, Chuang 2021, Confident Learning, arXiv 1911.00068: sure is above the class's own mean.
    sure = np.array([shares[true == place, place].mean() for place in range(len(classes))])
    beyond = np.where(shares >= sure, shares, 0)
    other = beyond.argmax(1)
    doubted = np.flatnonzero((beyond.max(1) > 0.5) & (other != true))
    doubted = doubted[np.argsort(own[doubted] - beyond[doubted].max(1))]
    if len(doubted) > 0.15 * len(rows):
        first = doubted[0]
        result.warn(
            f"{len(doubted):,} of {len(rows):,} labels look wrong, most of all {short(rows['text'][int(first)])} as "
            f"{said[first]!r} ({classes[other[first]]!r} at {shares[first].max():.0%}).",
            "wrong labels are learnt, and wrong ones in validation judge wrongly",
            "look at the rows named; scripts/report.py lists the most suspicious ones after training",
            [rows["id"][int(row)] for row in doubted],
        )
    elif len(doubted):
        result.note(
            f"{len(doubted):,} of {len(rows):,} labels are worth a second look.",
            rows=[rows["id"][int(row)] for row in doubted],
        )
