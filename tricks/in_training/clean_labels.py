"""Clean labels: drop, downweight or correct training labels that models of the other rows doubt.

The training rows are divided into `folds`, and each fold is predicted by the linear baseline, fitted on the others; or
by the encoders of a finished fusion (`fusion`). Confident learning estimates from these probabilities the number n of
wrong labels. The n labels with the lowest probability are doubtful, unless they are the most probable of their row, and
at most half of a class.
`drop` leaves them out. `downweight` multiplies their loss by the probability of their label. `relabel` gives them the
most probable label. `report` only lists them. `clean_labels.csv` in the run folder lists them in all cases: id, label,
suggested label, the probabilities of both, and the action. Rows of other splits are never judged.

Source: Northcutt, Jiang, Chuang 2021, Confident Learning: Estimating Uncertainty in Dataset Labels, arXiv 1911.00068,
    by the package cleanlab.
Cost: one pass. Before it, once per cache entry, 3 to 7 seconds of a core for 3,000 to 6,500 English texts in 5 folds.
Use when: labels come from a crowd, from rules or from users, and rows are thousands. Of 2,000 rows with a fifth of the
    labels flipped, linear models find 58 to 77 % of these, and 43 to 95 % of the doubtful labels are wrong (eda_trec,
    eda_cr, eda_subj, sms_spam: docs/evidence/label-noise-found.csv). After dropping, 6 to 11 % of the labels are wrong.
    MiniLM on 500 rows of eda_trec with a fifth flipped, mean of three draws: the flipped labels cost 0.112 of accuracy.
    `downweight` brought 0.053 ± 0.098 back, `drop` 0.050 ± 0.136, `relabel` -0.021 ± 0.253: nothing is shown with three
    draws (docs/evidence/label-noise.csv).
Avoid when: rows are few, or words say little about the label: of 500 rows of eda_cr, fewer than half of the doubtful
    labels are wrong, and `relabel` makes more wrong labels than it corrects. Some doubtful rows are hard and have
    the right label: read the list first (`report`).
Composes: examples/judge: after duplicates are dropped, before variants are added; these have the label and the weight
    of their source. gradient/plan: the weights. With mixup a row has its own weight, not that of its partner. The
    stages of contrastive and mlm, and a fitted head, read no weights; `drop` and `relabel` act there.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from datasets import Dataset

from recipes import Batch, Loss, Run, Trick, UserError, allowed
from recipes.runs.files import atomic_write
from recipes.runs.predictions import csv_writer
from recipes.runtime.distributed import is_first
from recipes.toolkit.out_of_fold import predict_linear_folds, read_ensemble_folds

MOST_OF_A_CLASS = 0.5
"""Where most labels of a class are wrong, nothing tells which ones."""
MANY = 1 / 3
"""Fraction of doubtful rows from which the models are more to blame than the labels."""


@dataclass
class CleanLabels(Trick):
    """Find doubtful labels of training rows, and act on them."""

    action: str = allowed("drop | downweight | relabel | report")
    """What is done with doubtful rows."""
    folds: int = allowed(
        "[2, inf)",
        advised="[3, 10]",
        source="5 in cleanlab",
        below="each model has seen half of the rows, and doubts more",
        above="every fold costs another fit, of nearly the same rows",
    )
    """Parts of the training rows, each predicted by a linear model of the others."""
    fusion: str | None = allowed("")
    """Folder of a finished fusion of folds, whose encoders predict instead; null: linear models."""

    slots = {"examples": "judge", "gradient": "plan"}
    neutral = {"action": "report"}
    replays = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.weight_by_id: dict[str, float] = {}
        """Of doubtful rows, by id."""
        self.factor_by_id: dict[str, float] | None = None
        """The same for all rows that are trained on, variants too; None before the first update."""
        self.doubtful = 0.0
        """Fraction of the training rows."""

    def check(self, run: Run) -> Iterable[str]:
        """Warn where too large a fraction of the rows is doubtful for these models to be trusted."""
        if self.action == "downweight" and not run.config.train.learning_rate:
            yield (
                f"tricks.{self.name}.action=downweight acts in updates, and with train.learning_rate=0 they change "
                f"nothing; tricks.{self.name}.action=drop."
            )
        if self.doubtful > MANY:
            yield (
                f"tricks.{self.name}: {self.doubtful:.0%} of the labels are doubtful, so the models that judge them "
                f"are probably too weak; read {self.name}.csv with tricks.{self.name}.action=report, or let encoders "
                f"judge: tricks.{self.name}.fusion=<folder of a finished fusion>."
            )

    def examples(self, run: Run, inner: Callable[[Dataset], Dataset], examples: Dataset) -> Dataset:
        """Predict each row by models that have not seen it, list the doubtful labels, and act on them."""
        probabilities = self._predict(run, examples)
        labels = np.array([run.classes.index(label) for label in examples["label"][:]])
        try:
            is_doubtful = find_doubtful(labels, probabilities)
        except ImportError as error:
            raise UserError(
                f"tricks.{self.name} needs the package cleanlab: pip install 'trickbook[clean_labels]', or leave it "
                "out."
            ) from error
        agreement, self.doubtful = (probabilities.argmax(1) == labels).mean(), float(is_doubtful.mean())
        run.note(
            f"{self.name}: {is_doubtful.sum():,} of {len(labels):,} training labels are doubtful ({self.action}), see "
            f"{self.name}.csv. Models that had not seen the row agree with {agreement:.1%} of the labels."
        )
        suggested, confidence = probabilities.argmax(1), probabilities[np.arange(len(labels)), labels]
        doubtful = sorted(np.flatnonzero(is_doubtful), key=lambda row: (confidence[row], row))
        if is_first():
            self._list_rows(run, examples, doubtful, labels, probabilities)
        if self.action == "drop":
            examples = examples.select(np.flatnonzero(~is_doubtful))
        elif self.action == "relabel":
            names = [run.classes[number] for number in np.where(is_doubtful, suggested, labels)]
            examples = Dataset.from_dict({**examples.to_dict(), "label": names}, examples.features)
        elif self.action == "downweight":
            self.weight_by_id = {examples["id"][row]: float(confidence[row]) for row in doubtful}
        return inner(examples)

    def _list_rows(
        self, run: Run, examples: Dataset, rows: Iterable[np.integer], labels: np.ndarray, probabilities: np.ndarray
    ) -> None:
        """Write a file with rows, their labels and what the models suggest."""
        path = run.folder / f"{self.name}.csv"
        with atomic_write(path) as draft, draft.open("w", encoding="utf-8", newline="") as lines:
            writer = csv_writer(lines)
            writer.writerow(["id", "label", "suggested", "p_label", "p_suggested", "action", "text"])
            for row in rows:
                names = [run.classes[number] for number in (labels[row], probabilities[row].argmax())]
                numbers = [f"{number:.6f}" for number in (probabilities[row, labels[row]], probabilities[row].max())]
                writer.writerow([examples["id"][row], *names, *numbers, self.action, examples["text"][row]])

    def _predict(self, run: Run, examples: Dataset) -> np.ndarray:
        """Probabilities of the rows, (row, class), by models that were not trained on them."""
        if run.multi_label:
            raise UserError(
                f"tricks.{self.name}: it judges rows with one label each, and these may have several; leave it out."
            )
        data = run.config.data
        if self.fusion is None:
            if data.text_pair:
                raise UserError(
                    f"data.text_pair={data.text_pair}: {self.name} judges labels by the words of a row, which say "
                    f"little about two texts; set tricks.{self.name}.fusion to the folder of a finished fusion, or "
                    "leave it out."
                )
            setting = f"tricks.{self.name}.folds={self.folds}"
            return predict_linear_folds(examples, run.classes, self.folds, data.split_seed, setting)
        setting = f"tricks.{self.name}.fusion={self.fusion}"
        if run.splits.is_fold:
            raise UserError(
                f"{setting}: this run is one fold of a data set, and the fusion was trained on the rows that evaluate "
                f"it; set tricks.{self.name}.fusion=null."
            )
        return read_ensemble_folds(self.fusion, data, examples, run.classes, setting)

    def gradient(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """Multiply the weights of doubtful rows, and of variants that are made of them."""
        if self.action != "downweight":
            return inner(batch)
        if self.factor_by_id is None:
            sources = zip(run.train.ids, run.train.examples["source"][:], strict=True)
            self.factor_by_id = {
                name: self.weight_by_id[source] for name, source in sources if source in self.weight_by_id
            }
        factors = torch.tensor([self.factor_by_id.get(name, 1.0) for name in batch.ids]).to(batch.weights)
        return inner(replace(batch, weights=batch.weights * factors))


def find_doubtful(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Mask the rows whose label is doubtful, (row).

    As many rows as confident learning estimates to be mislabelled, those with the lowest probability of their label,
    but no row whose label is the most probable one, and at most half of a class.

    Args:
        labels: the number of each row's class, (row).
        probabilities: by models that were not trained on the row, (row, class).

    Raises:
        ImportError: the package cleanlab is missing.
    """
    from cleanlab.filter import find_label_issues  # late: it takes a second, and is an extra

    mask: np.ndarray = find_label_issues(labels, probabilities, filter_by="low_self_confidence", n_jobs=1)
    mask &= probabilities.argmax(1) != labels
    for number in np.unique(labels):
        rows = np.flatnonzero(mask & (labels == number))
        most = int(MOST_OF_A_CLASS * (labels == number).sum())
        mask[rows[np.argsort(probabilities[rows, number], kind="stable")][most:]] = False
    return mask
