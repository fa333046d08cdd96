"""Every planted fault is found by its check, its remedy fixes it, and a healthy run has notes only."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from string import ascii_lowercase

import pytest

from recipes.config import Model
from recipes.doctor.registry import CHECKS
from recipes.models.loading import load_model, load_tokenizer
from tests.recipes.doctor.faults.harness import (
    Fault,
    Rows,
    checks_in,
    checks_named,
    find_problems,
    find_problems_of_both,
    healthy_rows,
    list_findings,
    make_config,
    matches,
    overrides_in,
)
from tests.recipes.doctor.faults.test_after import FAULTS
from tests.sampling import only

# Changes to the data.


def change_some(split: str, every: int, change: dict[str, str]) -> Callable[[Rows], None]:
    """Change one of `every` rows of a split."""

    def change_rows(rows: Rows) -> None:
        for row in rows[split][::every]:
            row |= change

    return change_rows


def set_everywhere(column: str, value: str) -> Callable[[Rows], None]:
    def change_rows(rows: Rows) -> None:
        for split in rows.values():
            for row in split:
                row[column] = value

    return change_rows


def swap_columns(rows: Rows) -> None:
    for split in rows.values():
        for row in split:
            row["text"], row["label"] = row["label"], row["text"]


def copy_texts_to_pairs(rows: Rows) -> None:
    for split in rows.values():
        for row in split:
            row["other"] = row["text"]


def add_mojibake(rows: Rows) -> None:
    for row in rows["train"][::10]:
        row["text"] += " d\u00e9j\u00e0 vu".encode().decode("latin-1")


def add_replacement_characters(rows: Rows) -> None:
    for row in rows["validation"][::10]:
        row["text"] += " caf\ufffd"


def add_controls(rows: Rows) -> None:
    for row in rows["train"][::10]:
        row["text"] = row["text"].replace(" ", "\x07", 1)


def add_entities(rows: Rows) -> None:
    for row in rows["train"][::10]:
        row["text"] += " rock &amp; roll"


def remove_z(split: str) -> Callable[[Rows], None]:
    def change_rows(rows: Rows) -> None:
        rows[split] = [row for row in rows[split] if row["label"] != "z"]

    return change_rows


def add_rare_label(rows: Rows) -> None:
    rows["train"] += [{**rows["train"][0], "text": f"seldom {number}", "label": "rare"} for number in range(3)]


def keep_almost_only_x(rows: Rows) -> None:
    rows["train"] = [row for index, row in enumerate(rows["train"]) if row["label"] == "x" or index % 60 == 1]


def unbalance(rows: Rows) -> None:
    few = [row for row in rows["train"] if row["label"] == "z"][5:]
    more = [
        {**row, "text": f"{row['text']} again {index}"}
        for index, row in enumerate(rows["train"])
        if row["label"] == "x"
    ]
    rows["train"] = [row for row in rows["train"] if row not in few] + more


def make_label_sets(change: str) -> Callable[[Rows], None]:
    def change_rows(rows: Rows) -> None:
        for split in rows.values():
            for index, row in enumerate(split):
                row["label"] = (
                    f"{row['label']};always" if change == "always" else row["label"] if index % 4 == 0 else ""
                )

    return change_rows


def repeat_rows(rows: Rows) -> None:
    rows["train"] += [dict(row) for row in rows["train"][::5]]


def contradict_labels(rows: Rows) -> None:
    for one, other in zip(rows["train"][::20], rows["train"][1::20], strict=False):
        other["text"] = one["text"]


def write_texts(text: Callable[[dict[str, str], int], str]) -> Callable[[Rows], None]:
    """Replace every text by one that is made of its row and its index."""

    def change(rows: Rows) -> None:
        for lines in rows.values():
            for index, row in enumerate(lines):
                row["text"] = text(row, index)

    return change


def leak(split: str) -> Callable[[Rows], None]:
    """Add rows of a split to train, in another order and other case."""

    def change_rows(rows: Rows) -> None:
        rows["train"] += [{**row, "text": f" {row['text'].title()}  "} for row in rows[split][::-6]]

    return change_rows


def leak_near_duplicates(rows: Rows) -> None:
    rows["train"] += [{**row, "text": f"{row['text']} again"} for row in rows["validation"][::6]]
    for row in rows["validation"]:
        row["text"] += f" {row['text']}"
    for row in rows["train"][-20:]:
        row["text"] = f"{row['text'].removesuffix(' again')} {row['text']}"


def shorten_to_words(rows: Rows) -> None:
    for index, row in enumerate(rows["train"]):
        row["text"] = f"word{index}" if index % 2 else row["text"]


def lengthen_texts(rows: Rows) -> None:
    for split in rows.values():
        for row in split:
            row["text"] = " ".join([row["text"]] * 20)


def move_label_words_to_end(rows: Rows) -> None:
    """Put common words where the model reads, and the label's words in the truncated part."""
    for split in rows.values():
        for row in split:
            own = [word for word in row["text"].split() if not word.startswith("common")]
            row["text"] = " ".join([*["common words"] * 20, *own])


def shuffle_labels(rows: Rows) -> None:
    labels = [row["label"] for row in rows["train"]]
    for index, row in enumerate(rows["train"]):
        row["label"] = labels[(index * 7 + index // 9) % len(labels)]


def change_labels(rows: Rows) -> None:
    for row in rows["train"][::4]:
        row["label"] = "xyz"[("xyz".index(row["label"]) + 1) % 3]


def name_labels(rows: Rows) -> None:
    for split in rows.values():
        for row in split:
            row["text"] = f"{row['text']} category: {row['label'].upper()}"


def mark_x(rows: Rows) -> None:
    for split in rows.values():
        for row in split:
            row["text"] += " qqq" if row["label"] == "x" else ""


def separate_labels(rows: Rows) -> None:
    """Two words for each label, one of which is in every text."""
    for split in rows.values():
        for index, row in enumerate(split):
            row["text"] += f" {row['label']}{'one' if index % 2 else 'two'}" * 3


def exchange_validation_labels(rows: Rows) -> None:
    for row in rows["validation"]:
        row["label"] = {"x": "y", "y": "x", "z": "z"}[row["label"]]


def add_unknown_label(rows: Rows) -> None:
    rows["test"][0]["label"] = "unheard"


def set_one_class(rows: Rows) -> None:
    for row in rows["train"]:
        row["label"] = "x"


def remove_label(rows: Rows) -> None:
    rows["validation"][3]["label"] = ""


def respell_labels(rows: Rows) -> None:
    for row in rows["train"][::9]:
        row["label"] = f"{row['label']} ".upper()


def number_some_labels(rows: Rows) -> None:
    for row in rows["train"][::4]:
        row["label"] = str("xyz".index(row["label"]))


def number_validation_labels(rows: Rows) -> None:
    for row in rows["validation"]:
        row["label"] = str("xyz".index(row["label"]))


def add_label_column(column: str, names: Sequence[str]) -> Callable[[Rows], None]:
    """Add a column with other names for the labels x, y and z."""

    def change_rows(rows: Rows) -> None:
        for split in rows.values():
            for row in split:
                row[column] = names["xyz".index(row["label"])]

    return change_rows


# Models with another head or vocabulary.


def save_model_for(*classes: str) -> Callable[[Path], None]:
    """Save a tiny model with a head for these classes, whose tokenizer knows the healthy texts."""

    def save(folder: Path) -> None:
        texts = [row["text"] for row in healthy_rows()["train"]]
        settings = Model("tiny", None, None, gradient_checkpointing=False, trim_vocabulary=False)
        tokenizer = load_tokenizer(settings, texts)
        load_model(settings, tokenizer, classes, False).save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    return save


save_english = save_model_for("x", "y", "z")


GREEK = {ord(letter): 0x3B1 + index for index, letter in enumerate(ascii_lowercase)}


def translate_to_greek(rows: Rows) -> None:
    for split in rows.values():
        for row in split:
            row["text"] = row["text"].translate(GREEK)


def spell_new_words(rows: Rows) -> None:
    """Replace words by words of which the tokenizer knows only the letters."""
    for split in rows.values():
        for row in split:
            row["text"] = " ".join(word[::-1] + "lgm" for word in row["text"].split())


CONFIG = [
    Fault(
        "a library's default learning rate",
        "learning_rate",
        "50 times the usual rate",
        overrides=["train.learning_rate=1e-3"],
        model=save_english,
        remedy=["train.learning_rate=2e-05"],
    ),
    Fault(
        "a learning rate of 0",
        "learning_rate",
        "train.learning_rate=0",
        "error",
        ["train.learning_rate=0"],
        remedy=["train.learning_rate=0.001"],
    ),
    Fault(
        "a learning rate too low",
        "learning_rate",
        "0.005 of the usual rate",
        overrides=["train.learning_rate=1e-7"],
        model=save_english,
        remedy=["train.learning_rate=2e-05"],
    ),
    Fault(
        "a learning rate too high for any model",
        "learning_rate",
        "500 times the usual rate",
        overrides=["train.learning_rate=0.5"],
        remedy=["train.learning_rate=0.001"],
    ),
    Fault(
        "a warm-up too long",
        "advised_values",
        "train.warmup=0.9",
        overrides=["train.warmup=0.9"],
        remedy=["train.warmup=0.1"],
    ),
    Fault(
        "too few updates",
        "updates",
        "makes 5 updates",
        overrides=["train.max_updates=5"],
        remedy=["train.max_updates=100"],
    ),
    Fault(
        "a batch of all rows",
        "updates",
        "makes 6 updates",
        overrides=["train.batch_size=240"],
        remedy=["train.batch_size=8"],
    ),
    Fault(
        "a batch of one",
        "advised_values",
        "train.batch_size=1 is below",
        overrides=["train.batch_size=1"],
        remedy=["train.batch_size=32"],
    ),
    Fault(
        "no warm-up",
        "advised_values",
        "train.warmup=0 is below",
        overrides=["train.warmup=0.0"],
        remedy=["train.warmup=0.1"],
    ),
    Fault(
        "a patience too short",
        "advised_values",
        "evaluate.early_stopping=1 is below",
        overrides=["evaluate.early_stopping=1"],
        remedy=["evaluate.early_stopping=null"],
    ),
    Fault(
        "a patience of a twentieth",
        "evaluations",
        "evaluate.early_stopping=2",
        overrides=["evaluate.early_stopping=2", "evaluate.every=0.2", "train.epochs=9"],
        remedy=["evaluate.early_stopping=9"],
    ),
    Fault(
        "rows never used",
        "updates",
        "less than an epoch",
        "note",
        ["train.batch_size=4", "train.max_updates=55"],
        remedy=["train.max_updates=null"],
    ),
    Fault(
        "an evaluation too late",
        "evaluations",
        "validation runs once",
        "note",
        ["evaluate.every=50"],
        remedy=["evaluate.every=1.5"],
    ),
    Fault(
        "a patience too long",
        "evaluations",
        "early_stopping=9",
        overrides=["evaluate.early_stopping=9"],
        remedy=["evaluate.every=0.2"],
    ),
    Fault(
        "too much weight decay",
        "advised_values",
        "weight_decay",
        overrides=["train.weight_decay=0.5"],
        remedy=["train.weight_decay=0.01"],
    ),
    Fault(
        "a gradient clipped to nothing",
        "advised_values",
        "clip_norm",
        overrides=["train.clip_norm=1e-4"],
        remedy=["train.clip_norm=1.0"],
    ),
    Fault(
        "too much dropout", "advised_values", "dropout", overrides=["model.dropout=0.9"], remedy=["model.dropout=null"]
    ),
    Fault(
        "a metric of two classes",
        "setup",
        "evaluate.metric=average_precision",
        "error",
        ["evaluate.metric=average_precision"],
        remedy=["evaluate.metric=macro_f1"],
    ),
    Fault(
        "two tricks that set the weights",
        "setup",
        "ema and swa",
        "error",
        ["+tricks=[ema,swa]"],
        instead=["+tricks=[ema]"],
    ),
    Fault(
        "averaging with early stopping",
        "setup",
        "early_stopping",
        "error",
        ["+tricks=[swa]", "evaluate.early_stopping=2"],
        remedy=["evaluate.early_stopping=null"],
    ),
]

DATA = [
    Fault(
        "a missing file",
        "reading",
        "there is no such file",
        "error",
        ["evaluate.extra.more=none.csv"],
        instead=[],
    ),
    Fault("a missing column", "reading", "data.text=txt", "error", ["data.text=txt"], remedy=["data.text=text"]),
    Fault("one class only", "reading", "only one class", "error", rows=set_one_class),
    Fault("a row without a label", "reading", "have no label", "error", rows=remove_label),
    Fault(
        "a label missing in training",
        "labels",
        "test has labels that train does not: 'unheard'",
        rows=add_unknown_label,
        remedy=["data.test=null"],
    ),
    Fault(
        "numbers in one split",
        "reading",
        "One has names, the other class numbers",
        "error",
        rows=number_validation_labels,
    ),
    Fault("one label in two spellings", "label_spelling", "'X', 'x' differ in case", rows=respell_labels),
    Fault("names and their numbers", "label_spelling", "'0', '1', '2' are numbers", rows=number_some_labels),
    Fault("empty texts", "texts", "are empty", rows=change_some("train", 8, {"text": ""})),
    Fault("one text for all", "texts", "texts are the same", "error", rows=set_everywhere("text", "the same")),
    Fault(
        "columns swapped",
        "reading",
        "different labels in",
        "error",
        rows=swap_columns,
        remedy=["data.text=label", "data.label=text"],
    ),
    Fault(
        "identical texts in pairs",
        "pairs",
        "both texts are the same",
        overrides=["data.text_pair=other"],
        rows=copy_texts_to_pairs,
        remedy=["data.text_pair=null"],
    ),
    Fault(
        "one second text for all",
        "pairs",
        "all second texts",
        overrides=["data.text_pair=other"],
        rows=set_everywhere("other", "yes"),
        remedy=["data.text_pair=null"],
    ),
    Fault("another encoding", "encoding", "wrong encoding", rows=add_mojibake),
    Fault("characters lost", "encoding", "validation: 12 texts", rows=add_replacement_characters),
    Fault(
        "control characters",
        "encoding",
        "control characters",
        "note",
        rows=add_controls,
        remedy=["+tricks=[normalize]"],
    ),
    Fault("markup", "encoding", "HTML entities", "note", rows=add_entities),
    Fault(
        "a label missing in validation",
        "labels",
        "validation has no row of 'z'",
        rows=remove_z("validation"),
        remedy=["data.validation=null"],
    ),
    Fault(
        "a label missing in test",
        "labels",
        "test has no row of 'z'",
        "note",
        rows=remove_z("test"),
        remedy=["data.test=null"],
    ),
    Fault("a rare label", "labels", "'rare': fewer than 5", rows=add_rare_label),
    Fault(
        "one label nearly always",
        "labels",
        "of the training rows are 'x'",
        rows=keep_almost_only_x,
        remedy=["evaluate.metric=macro_f1", "+tricks=[logit_adjustment]"],
    ),
    Fault(
        "imbalance",
        "labels",
        "'z' 5",
        "note",
        rows=unbalance,
        remedy=["evaluate.metric=macro_f1", "+tricks=[class_weights]", "tricks.class_weights.scheme=balanced"],
    ),
    Fault(
        "a label that every row has",
        "labels",
        "every training row has 'always'",
        rows=make_label_sets("always"),
        overrides=["data.label_separator=';'", "evaluate.metric=micro_f1"],
        instead=["data.label_separator=null"],
    ),
    Fault(
        "rows that nobody labelled",
        "labels",
        "no label at all",
        rows=make_label_sets("none"),
        overrides=["data.label_separator=';'", "evaluate.metric=micro_f1"],
    ),
    Fault("rows repeated", "duplicates", "repeat another one", rows=repeat_rows, remedy=["+tricks=[deduplicate]"]),
    Fault(
        "one text, two labels",
        "duplicates",
        "different labels",
        rows=contradict_labels,
        remedy=["+tricks=[deduplicate]"],
    ),
    Fault(
        "texts that are keys",
        "texts",
        "240 of 240 texts are a number or a key, such as 'row-0'",
        rows=write_texts(lambda row, index: f"row-{index}"),
    ),
    Fault(
        "missing texts",
        "texts",
        "train: 80 texts mark a missing value, such as 'NaN'",
        rows=write_texts(lambda row, index: row["text"] if index % 3 else "NaN"),
    ),
    Fault(
        "texts in HTML",
        "encoding",
        'train: 240 texts contain HTML tags such as <div class="a">',
        rows=write_texts(lambda row, index: f'<div class="a">{row["text"]}</div>'),
    ),
    Fault(
        "validation from the file of train",
        "duplicates",
        "validation: 240 of 240 rows are also in train",
        rows=lambda rows: rows.update(validation=[dict(row) for row in rows["train"]]),
        remedy=["data.validation=null"],
    ),
    Fault("test rows in train", "duplicates", "test: 20 of 120", rows=leak("test"), remedy=["+tricks=[deduplicate]"]),
    Fault(
        "validation rows in train",
        "duplicates",
        "validation: 20 of 120",
        rows=leak("validation"),
        remedy=["+tricks=[deduplicate]"],
    ),
    Fault(
        "validation rows nearly in train",
        "near_duplicates",
        "near-duplicates of training rows",
        rows=leak_near_duplicates,
        remedy=["+tricks=[deduplicate]"],
    ),
    Fault("another alphabet", "tokens", "does not know", rows=translate_to_greek, model=save_english),
    Fault("unknown words", "tokens", "does not know", planted="UnknownWords"),
    Fault("words in single letters", "tokens", "split into single letters", rows=spell_new_words, model=save_english),
    Fault("texts of one word", "tokens", "at most one token", rows=shorten_to_words),
    Fault(
        "most of the text cut",
        "truncation",
        "of all text is truncated",
        rows=lengthen_texts,
        remedy=["data.max_length=262"],
    ),
    Fault(
        "the label in the truncated part",
        "truncation_effect",
        "from the full text",
        rows=move_label_words_to_end,
        overrides=["data.max_length=16"],
        remedy=["+tricks=[truncate]", "tricks.truncate.part=tail"],
    ),
    Fault("shuffled labels", "learnability", "words alone do not predict the labels", rows=shuffle_labels),
    Fault("the label's name in every text", "shortcuts", "contain the name of their label", rows=name_labels),
    Fault("a word that only one label has", "shortcuts", "the word 'qqq' alone separates 'x'", rows=mark_x),
    Fault("texts that give the label away", "learnability", "hardly any real task is that easy", rows=separate_labels),
    Fault(
        "labels exchanged in validation",
        "labels_of_splits",
        "rows of 'y' look like train's 'x'",
        rows=exchange_validation_labels,
    ),
    Fault("wrong labels", "label_errors", "labels look wrong", rows=change_labels),
    Fault("batches of one label", "batches", "of one label only", planted="SortedBatches"),
    Fault("rows in no batch", "batches", "in no batch", planted="HalfTheRows"),
    Fault("a trick that empties texts", "texts", "are empty", planted="EmptiedTexts"),
]

MODEL = [
    Fault(
        "checkpoints that no disk has room for",
        "disk_space",
        "checkpoints of 1 MB",
        "error",
        overrides=["checkpoint.keep=1000000000"],
        remedy=["checkpoint.keep=1"],
    ),
    Fault("a head too small", "sizes", "the head has 2 outputs, the data 3", "error", planted="HeadTooSmall"),
    Fault("labels outside the head", "initial_loss", "all labelled z", "error", planted="HeadTooSmall"),
    Fault(
        "a trained head in another order",
        "pretrained_head",
        "the same in another order",
        model=save_model_for(*"zxy"),
        rows=add_label_column("number", "120"),
        remedy=["data.label=number"],
    ),
    Fault(
        "a head trained for something else",
        "pretrained_head",
        "initializes 'x' from 'anger'",
        "note",
        model=save_model_for("anger", "fear", "joy"),
        rows=add_label_column("mood", ["anger", "fear", "joy"]),
        remedy=["data.label=mood"],
    ),
    Fault("tokens outside the embeddings", "sizes", "the model has 50 embeddings", "error", planted="SmallVocabulary"),
    Fault(
        "inputs longer than the model reads", "sizes", "cannot read training rows of", "error", planted="FewPositions"
    ),
    Fault(
        "a weight of NaN",
        "finite_values",
        "bert.encoder.layer.1.output.dense.weight",
        "error",
        planted="NotANumber",
    ),
    Fault(
        "a module that divides by zero",
        "finite_values",
        "bert.encoder.layer.0.intermediate",
        "error",
        planted="DividingByZero",
    ),
    Fault(
        "a second activation at the end", "initial_loss", "returns probabilities", "error", planted="SoftmaxAtTheEnd"
    ),
    Fault("a head too confident", "initial_loss", "the loss of an untrained model", planted="HugeHead"),
    Fault("a head that rules a label out", "initial_loss", "on rows of 'z'", planted="RulesOneOut"),
    Fault("the same prediction for all", "initial_loss", "the same for every row", planted="ConstantLogits"),
    Fault(
        "probabilities into the loss",
        "loss_minimum",
        "probabilities where it expects logits",
        "error",
        planted="SoftmaxBeforeLoss",
    ),
    Fault(
        "sigmoids into the loss",
        "loss_minimum",
        "probabilities where it expects logits",
        "error",
        planted="SigmoidBeforeLoss",
    ),
    Fault("a loss with the wrong sign", "loss_minimum", "wrong ones", "error", planted="WrongSign"),
    Fault("targets shifted by one", "loss_minimum", "wrong ones", "error", planted="ShiftedTargets"),
    Fault("the logarithm of 0", "loss_minimum", "is NaN or inf", "error", planted="NaiveLogarithm"),
    Fault("targets that sum to two", "targets", "reach the loss do not sum to 1", "error", planted="DoubledTargets"),
    Fault("rows without weight", "targets", "has any weight", "error", planted="RowsWithoutWeight"),
    Fault("a model left in evaluation mode", "dropout", "evaluation mode", "error", planted="EvaluationMode"),
    Fault("dropout bypassed", "dropout", "two passes give the same", "note", planted="DropoutBypassed"),
    Fault("no special tokens", "special_tokens", "do not begin with", planted="NoSpecialTokens"),
    Fault("padding inside the texts", "special_tokens", "are padding", planted="PaddedTexts"),
    Fault("labels that reach no loss", "gradients", "no weight gets a gradient", "error", planted="LabelsLost"),
    Fault("a detached loss", "gradients", "no weight gets a gradient", "error", planted="DetachedLoss"),
    Fault("no gradient at all", "gradients", "no weight gets a gradient", "error", planted="NoGradientAtAll"),
    Fault("half of the model detached", "gradients", "get no gradient", planted="LowerHalfDetached"),
    Fault("a gradient of NaN", "gradients", "contains NaN or inf", "error", planted="RootOfNothing"),
    Fault("an optimizer of the head alone", "gradients", "in no group of the optimizer", planted="HeadOnly"),
    Fault("an optimizer from before the head", "gradients", "in no group of the optimizer", planted="BeforeTheHead"),
    Fault(
        "frozen before training",
        "frozen_weights",
        "differ from the loaded ones",
        overrides=["+tricks=[freeze_layers,reinitialize_layers]", "tricks.freeze_layers.fraction=1.0"],
        remedy=["tricks.freeze_layers.fraction=0.5"],
    ),
    Fault("dropout in prediction", "batch_invariance", "the second time", "error", planted="DropoutAlways"),
    Fault("rows mixed by the model", "batch_invariance", "the rows next to it", "error", planted="AcrossRows"),
    Fault("padding without a mask", "batch_invariance", "reads padding as text", planted="MaskIgnored"),
]

TRICKS = [
    Fault(
        "r_drop without dropout",
        "ineffective_tricks",
        "no dropout",
        overrides=["+tricks=[r_drop]", "model.dropout=0.0"],
        remedy=["model.dropout=0.1"],
    ),
    Fault(
        "an attack of size 0",
        "ineffective_tricks",
        "fgm does nothing",
        overrides=["+tricks=[fgm]", "tricks.fgm.epsilon=0.0"],
        remedy=["tricks.fgm.epsilon=0.03"],
    ),
    Fault(
        "an attack without updates",
        "ineffective_tricks",
        "fgm does nothing at train.learning_rate=0",
        overrides=["+tricks=[contrastive,fgm]", "train.learning_rate=0"],
        instead=["+tricks=[contrastive]", "train.learning_rate=0"],
    ),
    Fault(
        "steps longer than the ball",
        "ineffective_tricks",
        "tricks.pgd.alpha=0.3, the length of a step, is more than epsilon=0.03",
        overrides=["+tricks=[pgd]", "tricks.pgd.alpha=0.3"],
        remedy=["tricks.pgd.alpha=0.015"],
    ),
    Fault(
        "focal without a focus",
        "ineffective_tricks",
        "focal does nothing",
        overrides=["+tricks=[focal]", "tricks.focal.gamma=0.0"],
        remedy=["tricks.focal.gamma=2.0"],
    ),
    Fault(
        "no smoothing",
        "ineffective_tricks",
        "label_smoothing does nothing",
        overrides=["+tricks=[label_smoothing]", "tricks.label_smoothing.amount=0.0"],
        remedy=["tricks.label_smoothing.amount=0.1"],
    ),
    Fault(
        "an average that never begins",
        "ineffective_tricks",
        "so nothing is averaged",
        overrides=["+tricks=[ema]", "tricks.ema.every_updates=1000"],
        remedy=["tricks.ema.every_updates=1"],
    ),
    Fault(
        "an average of untrained weights",
        "ineffective_tricks",
        "to the untrained weights",
        overrides=["+tricks=[ema]", "tricks.ema.warmup=false", "tricks.ema.decay=0.9999"],
        remedy=["tricks.ema.warmup=true"],
    ),
    Fault(
        "swa of nothing",
        "ineffective_tricks",
        "to average",
        overrides=["+tricks=[swa]", "tricks.swa.start=0.99"],
        remedy=["tricks.swa.start=0.75"],
    ),
    Fault(
        "mixup of one row",
        "ineffective_tricks",
        "no row a partner",
        overrides=["+tricks=[mixup]", "train.batch_size=1"],
        remedy=["train.batch_size=16"],
    ),
    Fault(
        "mixup without an update to mix",
        "ineffective_tricks",
        "no update to mix in",
        overrides=["+tricks=[mixup]", "tricks.mixup.warmup=0.5", "tricks.mixup.cooldown=0.5"],
        remedy=["tricks.mixup.warmup=0.0"],
    ),
    Fault(
        "accumulation of one part",
        "ineffective_tricks",
        "nothing is accumulated",
        overrides=["+tricks=[accumulate]", "tricks.accumulate.part_size=16"],
        remedy=["tricks.accumulate.part_size=4"],
    ),
    Fault(
        "weights for balanced classes",
        "ineffective_tricks",
        "every class has about as many",
        overrides=["+tricks=[class_weights]"],
        instead=[],
    ),
    Fault(
        "imbalance corrected twice",
        "ineffective_tricks",
        "the same imbalance twice",
        rows=unbalance,
        overrides=["+tricks=[balanced_batches,class_weights]"],
        instead=["+tricks=[class_weights]"],
    ),
    Fault(
        "passes that multiply",
        "trick_pairs",
        "fgm and r_drop",
        "note",
        ["+tricks=[fgm,r_drop]"],
        instead=["+tricks=[r_drop]"],
    ),
    Fault(
        "variants of repeated rows",
        "trick_pairs",
        "duplicate and eda",
        "note",
        ["+tricks=[duplicate,eda]", "tricks.eda.variants=1", "tricks.duplicate.copies=1"],
        instead=["+tricks=[duplicate]"],
    ),
    Fault(
        "windows of short texts",
        "ineffective_tricks",
        "no text is longer",
        overrides=["+tricks=[sliding_window]"],
        instead=[],
    ),
]

LEARNING = [
    Fault(
        "a model that cannot learn",
        "overfitting_one_batch",
        "accuracy on them is only",
        "error",
        planted="EverythingFrozen",
    ),
    Fault(
        "training away from the labels",
        "overfitting_one_batch",
        "accuracy on them is only",
        "error",
        planted="WrongSign",
    ),
    Fault(
        "logits that cannot grow",
        "overfitting_one_batch",
        "the loss on them is still 0.",
        planted="BoundedLogits",
    ),
    Fault(
        "a diverging learning rate",
        "learning_rate_range",
        "the loss rises above",
        overrides=["train.learning_rate=0.5"],
        remedy=["train.learning_rate=0.001"],
    ),
    Fault(
        "an update that memory does not hold",
        "longest_batch",
        "training: memory holds 4 of the 16",
        "error",
        planted="FewRowsFit",
        remedy=["+tricks=[accumulate]", "tricks.accumulate.part_size=4"],
    ),
    Fault(
        "an evaluation that memory does not hold",
        "longest_batch",
        "evaluation: memory holds 4 of the 32",
        "note",
        planted="FewRowsFitPredicted",
    ),
    Fault("batches that take long to collate", "speed", "is spent on collating", planted="SlowCollation"),
    Fault(
        "predictions of NaN",
        "metric",
        "validation rows contain NaN or inf, though the logits do not",
        "error",
        planted="PredictionOfNaN",
    ),
    Fault("labels in the prediction", "metric", "before training accuracy is", planted="LabelsInPrediction"),
    Fault("weights rounded when loaded", "resuming", "differ from the saved", "error", planted="RoundedWhenLoaded"),
    Fault(
        "a row that memory does not hold",
        "longest_batch",
        "does not hold one row",
        "error",
        planted="NoRowFits",
        remedy=["model.gradient_checkpointing=true"],
    ),
]

ALL = [*CONFIG, *DATA, *MODEL, *TRICKS, *LEARNING]


def test_there_are_many_faults_with_distinct_names() -> None:
    assert len(ALL) >= 60
    assert len({fault.name for fault in ALL}) == len(ALL)


# The first fault of every second check; the others run in `make slow`.
FAST = list({fault.check: fault for fault in reversed(ALL)}.values())[::2]


@pytest.mark.parametrize("fault", only(FAST, ALL), ids=[fault.name.replace(" ", "-") for fault in ALL])
def test_a_fault_is_found_and_its_remedy_fixes_it(fault: Fault, tmp_path: Path) -> None:
    config = make_config(fault, tmp_path / "wrong", True)
    if fault.instead is not None:
        fixed = make_config(replace(fault, overrides=fault.instead), tmp_path / "fixed", True)
    else:
        fixed = make_config(fault, tmp_path / "fixed", fault.remedy is not None, *(fault.remedy or ()))
    findings, left = find_problems_of_both((config, fixed), checks_named(fault.check))
    found = [finding for finding in findings if matches(finding, fault)]
    assert found, list_findings(findings)
    if advised := overrides_in(found[0].remedy, config):
        # They are applied as they stand there.
        assert fault.instead is not None or (fault.remedy and set(fault.remedy) <= advised), found[0].remedy
    assert not any(matches(finding, fault) for finding in left), list_findings(left)


def test_every_check_that_can_warn_has_a_fault() -> None:
    """The others only describe, or have tests of their own (strength, length of training)."""
    described = {"inputs", "passes_per_update", "update_cost", "trick_strength", "trained_layers", "training_length"}
    planted = {fault.check for fault in [*ALL, *(fault for fault, _ in FAULTS)]}
    assert {each.name for each in CHECKS} - planted == described


def test_the_docs_have_the_counts_of_faults() -> None:
    page = (Path(__file__).parents[4] / "docs" / "doctor.md").read_text(encoding="utf-8")
    sections = {"config": CONFIG, "data": DATA, "model": MODEL, "tricks": TRICKS, "learning": LEARNING, "after": FAULTS}
    for name, faults in sections.items():
        assert f"| {name} | {len(faults)} | {len(faults)} | 0 |" in page, (name, len(faults))


def test_a_healthy_run_has_notes_only(tmp_path: Path) -> None:
    healthy = Fault("none", "", "")
    findings = find_problems(
        make_config(healthy, tmp_path, True), checks_in("config", "data", "model", "tricks", "learning")
    )
    assert not [finding for finding in findings if finding.severity != "note"], list_findings(findings)


def test_a_weight_of_nan_is_reported_once_with_its_name(tmp_path: Path) -> None:
    fault = next(fault for fault in MODEL if fault.planted == "NotANumber")
    checks = checks_in("config", "data", "model", "tricks", "learning")
    findings = find_problems(make_config(fault, tmp_path, True), checks)
    (problem,) = (finding for finding in findings if finding.severity != "note")
    assert problem.check == "finite_values" and "bert.encoder.layer.1.output.dense.weight" in problem.message
