"""Augment from: add variants of training rows from a file that another program made.

The file has a column of ids and the columns of the texts. So a language model may paraphrase, or a translator translate
there and back, before training and on another machine. A variant has the label of its row; if the file has labels too
and one is another, it is refused. Variants of rows that were cut off as validation or test are left out, and so is each
that repeats another one or a training row, or nearly duplicates a row of validation, test or `evaluate.extra`. An id
that no row has is refused, and so is a file of which nothing can be added.

Source: back translation: Sennrich, Haddow, Birch 2016, arXiv 1511.06709, for classification Xie et al. 2020, arXiv
    1904.12848; paraphrases of a language model: Dai et al. 2023, AugGPT, arXiv 2302.13007.
Cost: one pass over the rows and their variants; nothing is made while training.
Use when: there are a few hundred rows, and a model that is much larger than the trained one can rewrite them.
    Avoid when: it does not beat `duplicate`, or the variants change what the label depends on. Do not let a program see
    validation or test rows as examples: no check of near-duplicates finds what it takes from them. Scores depend on the
    file. Two back translations by rules (Apertium) of each of 100 rows of TREC moved the accuracy of MiniLM by
    -0.0353 ± 0.0507, and were 5.6 points below `duplicate` (three seeds; docs/evidence/short_runs.md). Variants of a
    language model were not measured.
Composes: examples/add, after tricks that drop or rewrite rows. Variants are cleaned like all texts. Tricks of the same
    slot whose names follow vary them too.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from datasets import Dataset, concatenate_datasets

from recipes import Run, Trick, UserError, allowed
from recipes.data.labels import is_unlabelled
from recipes.data.variants import read_variants
from recipes.errors import list_names
from recipes.toolkit.leaks import leave_out_known, note_unread_test


@dataclass
class AugmentFrom(Trick):
    """Add rows from a file, with the labels of the rows that they are variants of."""

    variants_file: str | None = allowed("")
    """The file of variants."""
    id: str | None = allowed("")
    """Its column with the id of a training row; null: `data.id`, or id."""
    most_per_row: int | None = allowed(
        "[0, inf)",
        advised="[1, 16]",
        source="6 in AugGPT, Dai et al. 2023, arXiv 2302.13007",
        above="training takes many times as long, on texts that repeat one another",
    )
    """Variants of each row; null: all."""
    threshold: float = allowed(
        "(0, 1]",
        advised="[0.7, 1]",
        source="0.8 over words in Lee et al. 2022, arXiv 2107.06499; 0.9 here",
        below="different texts are left out as near-duplicates",
    )
    """Fraction of common character sequences of near-duplicates; 1: equal texts only."""

    slots = {"examples": "add"}
    neutral = {"most_per_row": 0}
    control = "more_rows"

    def examples(self, run: Run, inner: Callable[[Dataset], Dataset], examples: Dataset) -> Dataset:
        """Add the variants of the rows that are trained on."""
        if self.most_per_row == 0:
            return inner(examples)
        setting = f"tricks.{self.name}.variants_file"
        if self.variants_file is None:
            raise UserError(f"{setting} is not set; give it a file of ids and texts: {setting}=variants.csv.")
        column = self.id or run.config.data.id or "id"
        variants, notes = read_variants(self.variants_file, setting, run.config.data, column, f"tricks.{self.name}.id")
        self._check_ids(run, variants["id"][:], f"{setting}={self.variants_file}")
        self._check_labels(run, variants, f"{setting}={self.variants_file}")
        for note in notes:
            run.note(note)
        note_unread_test(run, self.name)
        row_of = {name: row for row, name in enumerate(examples["id"][:])}
        own = variants.select([number for number, name in enumerate(variants["id"][:]) if name in row_of])
        unseen = leave_out_known(run, own, examples, self.threshold, f"tricks.{self.name}.threshold")
        numbers = count_repetitions(unseen["id"][:])
        added = unseen.select([row for row, number in enumerate(numbers) if number <= (self.most_per_row or number)])
        if not (len(added) or run.splits.is_fold):
            raise UserError(
                f"{setting}={self.variants_file}: none of its {len(variants):,} variants can be added: each is of a "
                "row that is not trained on, repeats a text of training, or is nearly in validation, test or "
                "evaluate.extra; give variants of training rows."
            )
        run.note(
            f"{self.name}: {len(added):,} of {len(variants):,} variants are added. {len(variants) - len(own):,} are of "
            f"rows that are not trained on; {len(own) - len(unseen):,} repeat one another or a text of training, or "
            "are nearly in validation, test or evaluate.extra."
        )
        ids = added["id"][:]
        # Everything but the texts and the id is that of the row.
        columns = examples.select([row_of[name] for name in ids]).to_dict()
        columns |= {name: added[name][:] for name in ("text", "text_pair")}
        columns["id"] = [f"{name}+file:{number}" for name, number in zip(ids, count_repetitions(ids), strict=True)]
        return inner(concatenate_datasets([examples, Dataset.from_dict(columns, examples.features)]))

    def _check_ids(self, run: Run, names: list[str], setting: str) -> None:
        """Refuse ids that no row has. Those of rows that were cut off for validation or test are none of these."""
        data, splits = run.config.data, run.splits
        known = {*splits.train["id"][:]}
        if data.validation is None or splits.is_fold:
            known.update(splits.validation["id"][:])
        is_test_cut = data.test is None
        if is_test_cut or splits.is_fold:
            known |= splits.hidden_ids
        unknown = list(dict.fromkeys(name for name in names if name not in known))
        # A test split that was cut off and is not read has ids that nobody knows here.
        if unknown and (len(unknown) == len(set(names)) or run.config.evaluate.test or not is_test_cut):
            kind = (
                f"values of data.id={data.id}"
                if data.id
                else "numbers of the rows in data.train, from 0 (data.id=null)"
            )
            raise UserError(
                f"{setting}: {len(unknown):,} of its ids are of no training row: {list_names(unknown, most=3)}. Ids "
                f"are {kind}; correct them, or name another column with tricks.{self.name}.id."
            )

    def _check_labels(self, run: Run, variants: Dataset, setting: str) -> None:
        """Refuse labels that differ from those of the data, before any trick changes them."""
        rows = run.splits.train
        labels = dict(zip(rows["id"][:], rows["label"][:], strict=True))
        if is_unlabelled({name for label in variants["label"][:] for name in as_names(label)}, run.classes):
            return
        pairs = zip(variants["id"][:], variants["label"][:], strict=True)
        differing = [
            (name, label)
            for name, label in pairs
            if label and name in labels and as_names(label) != as_names(labels[name])
        ]
        if differing:
            name, label = differing[0]
            raise UserError(
                f"{setting}: {len(differing):,} of its {len(variants):,} variants have another label than their row. "
                f"The first is of row {name!r}: {label!r}, and the row has {labels[name]!r}. Correct these labels, or "
                "remove them: a variant has the label of its row."
            )


def as_names(label: str | list[str] | None) -> set[str]:
    """The names in a label, without their order."""
    return {label} if isinstance(label, str) else set(label or ())


def count_repetitions(names: Iterable[str]) -> list[int]:
    """Number each name among its equals, from 1 on: a, b, a has the numbers 1, 1, 2."""
    counts: Counter[str] = Counter()
    numbers = []
    for name in names:
        counts[name] += 1
        numbers.append(counts[name])
    return numbers
