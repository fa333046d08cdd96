"""Every planted fault is found under its name, what mends it mends it, and where nothing is wrong nothing is said."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from string import ascii_lowercase

import pytest

from recipes.config import Model
from recipes.models.loading import load_model, load_tokenizer
from tests.recipes.doctor.faults.test_after import FAULTS
from tests.recipes.doctor.faults.ward import (
    Fault,
    Rows,
    config_of,
    found,
    healthy_rows,
    in_sections,
    is_it,
    named,
    told,
)

# What spoils the data.


def each(split: str, every: int, change: dict[str, str]) -> Callable[[Rows], None]:
    """A change of every so many rows of a split."""

    def spoil(rows: Rows) -> None:
        for row in rows[split][::every]:
            row |= change

    return spoil


def everywhere(column: str, value: str) -> Callable[[Rows], None]:
    def spoil(rows: Rows) -> None:
        for split in rows.values():
            for row in split:
                row[column] = value

    return spoil


def swapped(rows: Rows) -> None:
    for split in rows.values():
        for row in split:
            row["text"], row["label"] = row["label"], row["text"]


def texts_twice(rows: Rows) -> None:
    for split in rows.values():
        for row in split:
            row["other"] = row["text"]


def mojibake(rows: Rows) -> None:
    for row in rows["train"][::10]:
        row["text"] += " d\u00e9j\u00e0 vu".encode().decode("latin-1")


def replacement_characters(rows: Rows) -> None:
    for row in rows["validation"][::10]:
        row["text"] += " caf\ufffd"


def controls(rows: Rows) -> None:
    for row in rows["train"][::10]:
        row["text"] = row["text"].replace(" ", "\x07", 1)


def entities(rows: Rows) -> None:
    for row in rows["train"][::10]:
        row["text"] += " rock &amp; roll"


def without_z(split: str) -> Callable[[Rows], None]:
    def spoil(rows: Rows) -> None:
        rows[split] = [row for row in rows[split] if row["label"] != "z"]

    return spoil


def rare_label(rows: Rows) -> None:
    rows["train"] += [{**rows["train"][0], "text": f"seldom {number}", "label": "rare"} for number in range(3)]


def nearly_constant(rows: Rows) -> None:
    rows["train"] = [row for place, row in enumerate(rows["train"]) if row["label"] == "x" or place % 60 == 1]


def imbalanced(rows: Rows) -> None:
    few = [row for row in rows["train"] if row["label"] == "z"][5:]
    more = [
        {**row, "text": f"{row['text']} again {place}"}
        for place, row in enumerate(rows["train"])
        if row["label"] == "x"
    ]
    rows["train"] = [row for row in rows["train"] if row not in few] + more


def sets(change: str) -> Callable[[Rows], None]:
    def spoil(rows: Rows) -> None:
        for split in rows.values():
            for place, row in enumerate(split):
                row["label"] = (
                    f"{row['label']};always" if change == "always" else row["label"] if place % 4 == 0 else ""
                )

    return spoil


def repeated(rows: Rows) -> None:
    rows["train"] += [dict(row) for row in rows["train"][::5]]


def contradicted(rows: Rows) -> None:
    for one, other in zip(rows["train"][::20], rows["train"][1::20], strict=False):
        other["text"] = one["text"]


def leaked(split: str) -> Callable[[Rows], None]:
    """Rows of a split stand in train too, in another order and other case."""

    def spoil(rows: Rows) -> None:
        rows["train"] += [{**row, "text": f" {row['text'].title()}  "} for row in rows[split][::-6]]

    return spoil


def nearly_leaked(rows: Rows) -> None:
    rows["train"] += [{**row, "text": f"{row['text']} again"} for row in rows["validation"][::6]]
    for row in rows["validation"]:
        row["text"] += f" {row['text']}"
    for row in rows["train"][-20:]:
        row["text"] = f"{row['text'].removesuffix(' again')} {row['text']}"


def single_words(rows: Rows) -> None:
    for place, row in enumerate(rows["train"]):
        row["text"] = f"word{place}" if place % 2 else row["text"]


def long_texts(rows: Rows) -> None:
    for split in rows.values():
        for row in split:
            row["text"] = " ".join([row["text"]] * 20)


def told_at_the_end(rows: Rows) -> None:
    """Nothing but common words where the model reads, the label's words behind."""
    for split in rows.values():
        for row in split:
            own = [word for word in row["text"].split() if not word.startswith("common")]
            row["text"] = " ".join([*["common words"] * 20, *own])


def shuffled_labels(rows: Rows) -> None:
    said = [row["label"] for row in rows["train"]]
    for place, row in enumerate(rows["train"]):
        row["label"] = said[(place * 7 + place // 9) % len(said)]


def wrong_labels(rows: Rows) -> None:
    for row in rows["train"][::4]:
        row["label"] = "xyz"[("xyz".index(row["label"]) + 1) % 3]


def unknown_label(rows: Rows) -> None:
    rows["test"][0]["label"] = "unheard"


def one_class(rows: Rows) -> None:
    for row in rows["train"]:
        row["label"] = "x"


def no_label(rows: Rows) -> None:
    rows["validation"][3]["label"] = ""


def two_spellings(rows: Rows) -> None:
    for row in rows["train"][::9]:
        row["label"] = f"{row['label']} ".upper()


def numbers_too(rows: Rows) -> None:
    for row in rows["train"][::4]:
        row["label"] = str("xyz".index(row["label"]))


def numbers_in_validation(rows: Rows) -> None:
    for row in rows["validation"]:
        row["label"] = str("xyz".index(row["label"]))


def written_otherwise(column: str, names: Sequence[str]) -> Callable[[Rows], None]:
    """A further column with what x, y and z are called there."""

    def spoil(rows: Rows) -> None:
        for split in rows.values():
            for row in split:
                row[column] = names["xyz".index(row["label"])]

    return spoil


# What spoils a model's folder.


def trained_for(*classes: str) -> Callable[[Path], None]:
    """A tiny model whose tokenizer knows the healthy texts, with a head for these classes."""

    def make(folder: Path) -> None:
        texts = [row["text"] for row in healthy_rows()["train"]]
        settings = Model("tiny", None, None, False)
        tokenizer = load_tokenizer(settings, texts)
        load_model(settings, tokenizer, classes, False).save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    return make


english = trained_for("x", "y", "z")


GREEK = {ord(letter): 0x3B1 + place for place, letter in enumerate(ascii_lowercase)}


def greek(rows: Rows) -> None:
    for split in rows.values():
        for row in split:
            row["text"] = row["text"].translate(
                {ord(letter): 0x3B1 + place for place, letter in enumerate(ascii_lowercase)}
            )


def broken_words(rows: Rows) -> None:
    """Words that the tokenizer has no piece of but the letters."""
    for split in rows.values():
        for row in split:
            row["text"] = " ".join(word[::-1] + "lgm" for word in row["text"].split())


CONFIG = [
    Fault(
        "a library's default rate",
        "learning_rate",
        "ten to a hundred times",
        overrides=["train.learning_rate=1e-3"],
        model=english,
        remedy=["train.learning_rate=2e-5"],
    ),
    Fault(
        "no rate",
        "learning_rate",
        "train.learning_rate=0",
        "error",
        ["train.learning_rate=0"],
        remedy=["train.learning_rate=1e-3"],
    ),
    Fault(
        "a rate that moves nothing",
        "learning_rate",
        "far below",
        overrides=["train.learning_rate=1e-7"],
        model=english,
        remedy=["train.learning_rate=2e-5"],
    ),
    Fault(
        "a rate too high for any",
        "learning_rate",
        "high even",
        overrides=["train.learning_rate=0.5"],
        remedy=["train.learning_rate=1e-3"],
    ),
    Fault(
        "a warm-up without end",
        "schedule",
        "train.warmup=0.9",
        overrides=["train.warmup=0.9"],
        remedy=["train.warmup=0.1"],
    ),
    Fault(
        "hardly any update",
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
        remedy=["train.batch_size=4"],
    ),
    Fault(
        "a batch of one", "updates", "train.batch_size=1", "note", ["train.batch_size=1"], remedy=["train.batch_size=8"]
    ),
    Fault(
        "rows never seen",
        "updates",
        "less than an epoch",
        "note",
        ["train.batch_size=4", "train.max_updates=55"],
        remedy=["train.max_updates=null"],
    ),
    Fault(
        "an evaluation too late",
        "evaluations",
        "seen once",
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
        "weights that decay",
        "regularization",
        "weight_decay",
        overrides=["train.weight_decay=0.9"],
        remedy=["train.weight_decay=0.01"],
    ),
    Fault(
        "a gradient cut to nothing",
        "regularization",
        "clip_norm",
        overrides=["train.clip_norm=1e-4"],
        remedy=["train.clip_norm=1.0"],
    ),
    Fault("all dropped", "regularization", "dropout", overrides=["model.dropout=0.9"], remedy=["model.dropout=0.1"]),
    Fault(
        "a metric of two classes",
        "setting_up",
        "evaluate.metric=roc_auc",
        "error",
        ["evaluate.metric=roc_auc"],
        remedy=["evaluate.metric=macro_f1"],
    ),
    Fault(
        "two owners of the weights",
        "setting_up",
        "ema and swa",
        "error",
        ["+tricks=[ema,swa]"],
        instead=["+tricks=[ema]"],
    ),
    Fault(
        "an average that stopping cuts off",
        "setting_up",
        "early_stopping",
        "error",
        ["+tricks=[swa]", "evaluate.early_stopping=2"],
        remedy=["evaluate.early_stopping=null"],
    ),
]

DATA = [
    Fault(
        "a file that is not there",
        "reading",
        "there is no such file",
        "error",
        ["evaluate.extra.more=none.csv"],
        instead=[],
    ),
    Fault(
        "a column that is not there", "reading", "data.text=txt", "error", ["data.text=txt"], remedy=["data.text=text"]
    ),
    Fault("one class only", "reading", "only one class", "error", rows=one_class),
    Fault("a row without a label", "reading", "have no label", "error", rows=no_label),
    Fault("a label that training has not", "reading", "'unheard'", "note", rows=unknown_label),
    Fault(
        "numbers in one split", "reading", "One has names, the other their numbers", "error", rows=numbers_in_validation
    ),
    Fault("one label in two spellings", "spelling", "'X', 'x' differ in case", rows=two_spellings),
    Fault("names and their numbers", "spelling", "'0', '1', '2' are numbers", rows=numbers_too),
    Fault("empty texts", "texts", "are empty", rows=each("train", 8, {"text": ""})),
    Fault("one text for all", "texts", "texts are the same", "error", rows=everywhere("text", "the same")),
    Fault(
        "columns swapped",
        "reading",
        "different labels in",
        "error",
        rows=swapped,
        remedy=["data.text=label", "data.label=text"],
    ),
    Fault(
        "pairs of twins",
        "pairs",
        "both texts are the same",
        overrides=["data.text_pair=other"],
        rows=texts_twice,
        remedy=["data.text_pair=null"],
    ),
    Fault(
        "one second text for all",
        "pairs",
        "all second texts",
        overrides=["data.text_pair=other"],
        rows=everywhere("other", "yes"),
        remedy=["data.text_pair=null"],
    ),
    Fault("another encoding", "encoding", "wrong encoding", rows=mojibake),
    Fault("characters lost", "encoding", "validation: 12 texts", rows=replacement_characters),
    Fault(
        "control characters", "encoding", "control characters", "note", rows=controls, remedy=["+tricks=[normalize]"]
    ),
    Fault("markup", "encoding", "HTML entities", "note", rows=entities),
    Fault("a label missing in validation", "labels", "validation has no row of 'z'", rows=without_z("validation")),
    Fault("a label missing in test", "labels", "test has no row of 'z'", "note", rows=without_z("test")),
    Fault("a rare label", "labels", "'rare': fewer than 5", rows=rare_label),
    Fault("one label nearly always", "labels", "of the training rows are 'x'", rows=nearly_constant),
    Fault("imbalance", "labels", "'z' 5", "note", rows=imbalanced),
    Fault(
        "a label that every row has",
        "labels",
        "every training row has 'always'",
        rows=sets("always"),
        overrides=["data.label_separator=';'", "evaluate.metric=micro_f1"],
    ),
    Fault(
        "rows that nobody labelled",
        "labels",
        "no label at all",
        rows=sets("none"),
        overrides=["data.label_separator=';'", "evaluate.metric=micro_f1"],
    ),
    Fault("rows repeated", "copies", "repeat another one", rows=repeated, remedy=["+tricks=[deduplicate]"]),
    Fault("one text, two labels", "copies", "different labels", rows=contradicted, remedy=["+tricks=[deduplicate]"]),
    Fault("test rows in train", "copies", "test: 20 of 120", rows=leaked("test"), remedy=["+tricks=[deduplicate]"]),
    Fault(
        "validation rows in train",
        "copies",
        "validation: 20 of 120",
        rows=leaked("validation"),
        remedy=["+tricks=[deduplicate]"],
    ),
    Fault(
        "validation rows nearly in train",
        "near_copies",
        "nearly a training row",
        rows=nearly_leaked,
        remedy=["+tricks=[deduplicate]"],
    ),
    Fault("another alphabet", "tokens", "does not know", rows=greek, model=english),
    Fault("unknown words", "tokens", "does not know", planted="UnknownWords"),
    Fault("words in single letters", "tokens", "fall into single letters", rows=broken_words, model=english),
    Fault("texts of one word", "tokens", "at most one token", rows=single_words),
    Fault("most of the text cut", "length", "of all text is cut", rows=long_texts, remedy=["data.max_length=400"]),
    Fault(
        "the label told behind the cut",
        "cut_text",
        "from all of it",
        rows=told_at_the_end,
        overrides=["data.max_length=16"],
        remedy=["+tricks=[truncate]", "tricks.truncate.part=tail"],
    ),
    Fault("shuffled labels", "something_to_learn", "words alone do not tell the labels", rows=shuffled_labels),
    Fault("wrong labels", "label_errors", "labels look wrong", rows=wrong_labels),
    Fault("batches of one label", "batches", "of one label only", planted="SortedBatches"),
    Fault("rows in no batch", "batches", "in no batch", planted="HalfTheRows"),
    Fault("a trick that empties texts", "texts", "are empty", planted="EmptiedTexts"),
]

MODEL = [
    Fault("a head too small", "sizes", "the head has 2 outputs, the data 3", "error", planted="HeadTooSmall"),
    Fault("labels outside the head", "loss_at_start", "all labelled z", "error", planted="HeadTooSmall"),
    Fault(
        "a trained head in another order",
        "trained_head",
        "the same in another order",
        model=trained_for(*"zxy"),
        rows=written_otherwise("number", "120"),
        remedy=["data.label=number"],
    ),
    Fault(
        "a head trained for something else",
        "trained_head",
        "begins 'x' from 'anger'",
        "note",
        model=trained_for("anger", "fear", "joy"),
        rows=written_otherwise("mood", ["anger", "fear", "joy"]),
        remedy=["data.label=mood"],
    ),
    Fault("tokens outside the embeddings", "sizes", "the model knows 50", "error", planted="SmallVocabulary"),
    Fault("inputs longer than the model reads", "sizes", "the model reads 8", "error", planted="FewPositions"),
    Fault(
        "a weight that is no number",
        "finite",
        "bert.encoder.layer.1.output.dense.weight",
        "error",
        planted="NotANumber",
    ),
    Fault(
        "a module that divides by zero",
        "finite",
        "bert.encoder.layer.0.intermediate",
        "error",
        planted="DividingByZero",
    ),
    Fault("the last activation doubled", "loss_at_start", "are probabilities", "error", planted="SoftmaxAtTheEnd"),
    Fault("a head too sure", "loss_at_start", "the loss of an untrained model", planted="HugeHead"),
    Fault("a head that rules a label out", "loss_at_start", "on rows of 'z'", planted="RulesOneOut"),
    Fault("the same answer for all", "loss_at_start", "the same for every row", planted="ConstantLogits"),
    Fault(
        "probabilities into the loss",
        "loss_of_the_right_answer",
        "probabilities where it wants logits",
        "error",
        planted="SoftmaxBeforeLoss",
    ),
    Fault(
        "sigmoids into the loss",
        "loss_of_the_right_answer",
        "probabilities where it wants logits",
        "error",
        planted="SigmoidBeforeLoss",
    ),
    Fault("the sign turned", "loss_of_the_right_answer", "wrong ones", "error", planted="WrongSign"),
    Fault("targets one off", "loss_of_the_right_answer", "wrong ones", "error", planted="ShiftedTargets"),
    Fault("the logarithm of nothing", "loss_of_the_right_answer", "is no number", "error", planted="NaiveLogarithm"),
    Fault("no special tokens", "special_tokens", "do not begin with", planted="NoSpecialTokens"),
    Fault("padding inside the texts", "special_tokens", "are padding", planted="PaddedTexts"),
    Fault("labels that reach no loss", "gradients", "no weight gets a gradient", "error", planted="LabelsLost"),
    Fault("a loss without a way back", "gradients", "no weight gets a gradient", "error", planted="DetachedLoss"),
    Fault("no gradient at all", "gradients", "no weight gets a gradient", "error", planted="NoGradientAtAll"),
    Fault("half of the model cut off", "gradients", "get no gradient", planted="LowerHalfDetached"),
    Fault("a gradient that is no number", "gradients", "is no number", "error", planted="RootOfNothing"),
    Fault("an optimizer of the head alone", "gradients", "in no group of the optimizer", planted="HeadOnly"),
    Fault("an optimizer from before the head", "gradients", "in no group of the optimizer", planted="BeforeTheHead"),
    Fault(
        "frozen before it was learnt",
        "frozen_weights",
        "are not those that were loaded",
        overrides=["+tricks=[freeze_layers,reinitialize_layers]", "tricks.freeze_layers.fraction=1.0"],
        remedy=["tricks.freeze_layers.fraction=0.5"],
    ),
    Fault("dropout while predicting", "invariance", "the second time", "error", planted="DropoutAlways"),
    Fault("rows that see each other", "invariance", "differ by up to", "error", planted="AcrossRows"),
    Fault("padding that is read", "invariance", "differ by up to", "error", planted="MaskIgnored"),
]

TRICKS = [
    Fault(
        "r_drop without dropout",
        "sense",
        "no dropout",
        overrides=["+tricks=[r_drop]", "model.dropout=0.0"],
        remedy=["model.dropout=0.1"],
    ),
    Fault(
        "an attack of no size",
        "sense",
        "fgm does nothing",
        overrides=["+tricks=[fgm]", "tricks.fgm.epsilon=0.0"],
        remedy=["tricks.fgm.epsilon=0.2"],
    ),
    Fault(
        "focal without a focus",
        "sense",
        "focal does nothing",
        overrides=["+tricks=[focal]", "tricks.focal.gamma=0.0"],
        remedy=["tricks.focal.gamma=2.0"],
    ),
    Fault(
        "no smoothing",
        "sense",
        "label_smoothing does nothing",
        overrides=["+tricks=[label_smoothing]", "tricks.label_smoothing.amount=0.0"],
        remedy=["tricks.label_smoothing.amount=0.1"],
    ),
    Fault(
        "an average that never begins",
        "sense",
        "so nothing is averaged",
        overrides=["+tricks=[ema]", "tricks.ema.every_updates=1000"],
        remedy=["tricks.ema.every_updates=1"],
    ),
    Fault(
        "an average of untrained weights",
        "sense",
        "to the untrained weights",
        overrides=["+tricks=[ema]", "tricks.ema.warmup=false", "tricks.ema.decay=0.9999"],
        remedy=["tricks.ema.warmup=true"],
    ),
    Fault(
        "swa of nothing",
        "sense",
        "to average",
        overrides=["+tricks=[swa]", "tricks.swa.start=0.99"],
        remedy=["tricks.swa.start=0.75"],
    ),
    Fault(
        "mixup of one row",
        "sense",
        "no row a partner",
        overrides=["+tricks=[mixup]", "train.batch_size=1"],
        remedy=["train.batch_size=16"],
    ),
    Fault(
        "mixup between two ends",
        "sense",
        "no update to mix in",
        overrides=["+tricks=[mixup]", "tricks.mixup.warmup=0.5", "tricks.mixup.cooldown=0.5"],
        remedy=["tricks.mixup.warmup=0.0"],
    ),
    Fault(
        "parts of a whole batch",
        "sense",
        "nothing is accumulated",
        overrides=["+tricks=[accumulate]", "tricks.accumulate.part_size=16"],
        remedy=["tricks.accumulate.part_size=4"],
    ),
    Fault(
        "weights for balanced classes",
        "sense",
        "every class has about as many",
        overrides=["+tricks=[class_weights]"],
        instead=[],
    ),
    Fault(
        "imbalance made up for twice",
        "sense",
        "the same imbalance twice",
        rows=imbalanced,
        overrides=["+tricks=[balanced_batches,class_weights]"],
        instead=["+tricks=[class_weights]"],
    ),
    Fault(
        "passes upon passes",
        "seldom_together",
        "fgm and r_drop",
        "note",
        ["+tricks=[fgm,r_drop]"],
        instead=["+tricks=[r_drop]"],
    ),
    Fault(
        "variants of copies",
        "seldom_together",
        "duplicate and eda",
        "note",
        ["+tricks=[duplicate,eda]", "tricks.eda.variants=1", "tricks.duplicate.copies=1"],
        instead=["+tricks=[duplicate]"],
    ),
    Fault("windows of short texts", "sense", "no text is longer", overrides=["+tricks=[sliding_window]"], instead=[]),
]

LEARNING = [
    Fault("nothing can be learnt", "overfitting_one_batch", "of them are right", "error", planted="EverythingFrozen"),
    Fault("learning away from the labels", "overfitting_one_batch", "of them are right", "error", planted="WrongSign"),
    Fault(
        "an unlearnable rate",
        "learning_rate_range",
        "upwards",
        overrides=["train.learning_rate=0.5"],
        remedy=["train.learning_rate=1e-3"],
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
    Fault("a row that memory does not hold", "longest_batch", "does not hold one row", "error", planted="NoRowFits"),
]

ALL = [*CONFIG, *DATA, *MODEL, *TRICKS, *LEARNING]


def test_there_are_enough_of_them() -> None:
    assert len(ALL) >= 60
    assert len({fault.name for fault in ALL}) == len(ALL)


@pytest.mark.parametrize("fault", ALL, ids=[fault.name.replace(" ", "-") for fault in ALL])
def test_found_named_and_mended(fault: Fault, tmp_path: Path) -> None:
    findings = found(config_of(fault, tmp_path, True), named(fault.check))
    assert any(is_it(finding, fault) for finding in findings), told(findings)
    if fault.instead is not None:
        mended = config_of(replace(fault, overrides=fault.instead), tmp_path, True)
    else:
        mended = config_of(fault, tmp_path, fault.remedy is not None, *(fault.remedy or ()))
    left = found(mended, named(fault.check))
    assert not any(is_it(finding, fault) for finding in left), told(left)


def test_the_page_has_their_counts() -> None:
    page = (Path(__file__).parents[4] / "docs" / "doctor.md").read_text(encoding="utf-8")
    sections = {"config": CONFIG, "data": DATA, "model": MODEL, "tricks": TRICKS, "learning": LEARNING, "after": FAULTS}
    for name, faults in sections.items():
        assert f"| {name} | {len(faults)} | {len(faults)} | 0 |" in page, (name, len(faults))


def test_a_healthy_run_is_left_in_peace(tmp_path: Path) -> None:
    healthy = Fault("none", "", "")
    findings = found(config_of(healthy, tmp_path, True), in_sections("config", "data", "model", "tricks", "learning"))
    assert not [finding for finding in findings if finding.severity != "note"], told(findings)
