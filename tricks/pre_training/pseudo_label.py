"""Pseudo label: train on unlabelled texts too, with the predictions of a finished run as their targets.

A text counts as the class that the teacher predicts. Of each class the `most_per_class` texts with the highest
probability are added. `targets=soft` trains them on all probabilities of the teacher, `confident` on the class alone,
and only where its probability is at least `confidence`. With multiple labels per row, the probability of an answer is
that of its least sure class, and a text counts for each of its labels. Texts that repeat one another or a training row
are left out, and so is each that nearly duplicates a row of validation, test or `evaluate.extra`. (With
`evaluate.test=false` the test split is not read, so its texts are not found.)

Source: Lee 2013, Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks; a
    teacher first, then a student on both kinds of rows: noisy student, Xie et al. 2020, arXiv 1911.04252 (soft targets,
    equally many of each class).
Cost: one pass over more rows, and one pass of the teacher over the texts before training; its predictions are cached.
Use when: there are many texts of the same kind and few labels, and training is long enough to read them. It did not do
    what its source claims in four draws of 200 rows and 2,000 texts of eda_trec (50 updates, MiniLM): accuracy changed
    by -0.038 ± 0.068 (docs/evidence/distillation.md).
Avoid when: the teacher is weak, since its errors are learned as labels; the texts are of another kind; or nothing is
    compared: an ablation shows where it lowers the score. The teacher should be a run with the same splits; the start
    warns where the settings show that it is not.
Composes: examples/join, before duplicates are dropped and variants added. `distill` lets its own teacher answer for the
    added texts too. Tricks that change labels (`clean_labels`) change no soft targets: with them use targets=confident.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from datasets import Dataset, concatenate_datasets

from recipes import Run, Trick, UserError, allowed
from recipes.data.encoding import SOFT_TARGETS, with_distributions
from recipes.data.unlabelled import read_unlabelled
from recipes.metrics import Predictions
from recipes.prediction.teacher import Teacher
from recipes.toolkit.leaks import leave_out_known, note_unread_test


@dataclass
class PseudoLabel(Trick):
    """Add texts with the teacher's predictions to the training rows."""

    unlabelled_file: str | None = allowed("")
    """The file of texts."""
    teacher: str | None = allowed("")
    """Folder of the finished run that predicts them."""
    targets: str = allowed("soft | confident")
    """Whether texts have all of the teacher's probabilities, or its predicted classes where it is sure."""
    confidence: float = allowed(
        "[0, 1]",
        advised="[0.5, 0.99]",
        source="0.95 in FixMatch, Sohn et al. 2020, arXiv 2001.07685",
        below="guesses count like labels",
        above="hardly any text is added",
    )
    """Probability from which the teacher is sure; only targets=confident reads it."""
    most_per_class: int | None = allowed("[0, inf)")
    """Texts of each class, the surest first; null: all."""
    threshold: float = allowed(
        "(0, 1]",
        advised="[0.7, 1]",
        source="0.8 over words in Lee et al. 2022, arXiv 2107.06499; 0.9 here",
        below="different texts are left out as near-duplicates",
    )
    """Fraction of common character sequences of near-duplicates; 1: equal texts only."""

    slots = {"examples": "join"}
    neutral = {"most_per_class": 0}
    control = "more_rows"

    def check(self, run: Run) -> Iterable[str]:
        """Warn if the teacher learned nothing, or may have been trained on rows that evaluate this run."""
        return self._teacher().check(run) if self.most_per_class != 0 else ()

    def _teacher(self) -> Teacher:
        return Teacher(self.teacher, f"tricks.{self.name}.teacher")

    def examples(self, run: Run, inner: Callable[[Dataset], Dataset], examples: Dataset) -> Dataset:
        """Read the texts, leave out those that must not be trained on, and add the surest of each class."""
        if self.most_per_class == 0:
            return inner(examples)
        teacher, texts = self._teacher(), self._read(run, examples)
        teacher.require_task(run.classes, run.multi_label, bool(run.config.data.text_pair))
        predictions = teacher.predict(texts, run.classes)
        is_soft = self.targets == "soft"
        indices = choose_rows(predictions, 0.0 if is_soft else self.confidence, self.most_per_class)
        if not indices:
            raise UserError(
                f"tricks.{self.name}.confidence={self.confidence:g}: the teacher is not so sure of any of "
                f"{len(texts):,} texts; lower it, or use tricks.{self.name}.targets=soft."
            )
        names = predictions.names()
        columns = texts.select(indices).to_dict()
        columns["id"] = columns["source"] = [f"unlabelled:{number}" for number in columns["id"]]
        columns["label"] = [names[row] for row in indices]
        added = Dataset.from_dict(columns, examples.features)
        counts = Counter(name for label in columns["label"] for name in ([label] if isinstance(label, str) else label))
        listed = ", ".join(f"{name} {counts[name]:,}" for name in run.classes)
        run.note(f"{self.name}: {len(added):,} of {len(texts):,} texts added with {self.targets} targets: {listed}.")
        if is_soft:
            added = with_distributions(added, SOFT_TARGETS, predictions.probabilities[indices])
        return inner(concatenate_datasets([examples, added]))

    def _read(self, run: Run, examples: Dataset) -> Dataset:
        """The texts that may be trained on, cleaned."""
        setting = f"tricks.{self.name}.unlabelled_file"
        if self.unlabelled_file is None:
            raise UserError(f"{setting} is not set; give it a file of texts without labels: {setting}=texts.csv.")
        rows, notes = read_unlabelled(self.unlabelled_file, setting, run.config.data, run.classes)
        for note in notes:
            run.note(note)
        texts = leave_out_known(run, rows, examples, self.threshold, f"tricks.{self.name}.threshold")
        if not len(texts):
            raise UserError(
                f"{setting}={self.unlabelled_file}: each of its texts is in training, validation or test; give other "
                "texts."
            )
        run.note(
            f"{self.name}: {len(rows) - len(texts):,} of {len(rows):,} texts are left out: they repeat one another, or "
            "are in training, or nearly in validation, test or evaluate.extra."
        )
        note_unread_test(run, self.name)
        return texts


def choose_rows(predictions: Predictions, confidence: float, most_per_class: int | None) -> list[int]:
    """The rows of which the teacher is sure enough, the surest of each class, in the order of the data.

    Args:
        predictions: of the teacher.
        confidence: the least probability of an answer.
        most_per_class: rows of each class; None: all.
    """
    probabilities, decided = predictions.probabilities, predictions.decisions.astype(bool)
    if predictions.multi_label:
        sureness = np.where(decided, probabilities, 1 - probabilities).min(1)
    else:
        sureness = probabilities[decided]
    # Texts without a label, where there may be none, are capped like a class of their own.
    decided = np.concatenate([decided, ~decided.any(1, keepdims=True)], axis=1)
    counts = np.zeros(decided.shape[1], dtype=int)
    indices = []
    for row in np.argsort(-sureness, kind="stable"):
        has_room = most_per_class is None or (counts[decided[row]] < most_per_class).all()
        if sureness[row] >= confidence and has_room:
            counts += decided[row]
            indices.append(int(row))
    return sorted(indices)
