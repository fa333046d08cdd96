"""Clean labels: which labels are doubtful, by hand, and what becomes of their rows."""

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from datasets import Dataset

from recipes import UserError
from recipes.api import finetune_config
from recipes.config import Config
from recipes.testing import in_child, temporary_folder, tiny_config, tiny_run
from tricks.in_training import clean_labels
from tricks.in_training.clean_labels import CleanLabels, find_doubtful

CLASSES = ["no", "yes"]
# Rows 3 and 8 have the wrong label. Row 4 is uncertain.
LABELS = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
OF_YES = np.array([0.1, 0.2, 0.1, 0.9, 0.45, 0.9, 0.8, 0.9, 0.2, 0.7])
PROBABILITIES = np.stack([1 - OF_YES, OF_YES], axis=1)


def count_wrong(labels: np.ndarray, probabilities: np.ndarray) -> int:
    """How many labels are wrong by arXiv 1911.00068: the rows that are confidently counted under another class."""
    count = probabilities.shape[1]
    thresholds = [probabilities[labels == number, number].mean() for number in range(count)]
    wrong = 0
    for label, row in zip(labels, probabilities, strict=True):
        above = [number for number in range(count) if row[number] >= thresholds[number]]
        wrong += bool(above) and max(above, key=lambda number: row[number]) != label != row.argmax()
    return wrong


def test_the_number_and_the_rows_are_those_of_confident_learning() -> None:
    assert np.flatnonzero(find_doubtful(LABELS, PROBABILITIES)).tolist() == [3, 8]
    random = np.random.default_rng(0)
    for _ in range(5):
        labels = np.repeat(np.arange(3), 40)
        logits = 3.0 * np.eye(3)[labels] + random.normal(size=(120, 3))
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        wrong = random.permutation(120)[:20]
        labels[wrong] = (labels[wrong] + 1) % 3
        mask, confidence = find_doubtful(labels, probabilities), probabilities[np.arange(120), labels]
        assert mask.sum() == count_wrong(labels, probabilities)
        assert confidence[mask].max() < confidence[~mask].min()


def test_a_label_that_is_the_most_probable_one_is_not_doubtful() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    probabilities = np.full((6, 3), 0.1) + 0.7 * np.eye(3)[labels]
    probabilities[1] = [0.36, 0.32, 0.32]
    probabilities[3] = [0.8, 0.1, 0.1]
    probabilities[5] = [0.38, 0.24, 0.38]
    assert not find_doubtful(labels, probabilities)[[1, 5]].any()


def test_at_most_half_of_a_class_is_doubtful() -> None:
    labels = np.array([0] * 30 + [1] * 4)
    of_yes = np.array([0.1] * 30 + [0.01, 0.02, 0.03, 0.9])
    mask = find_doubtful(labels, np.stack([1 - of_yes, of_yes], axis=1))
    assert np.flatnonzero(mask).tolist() == [30, 31]


def rows(labels: Sequence[str]) -> Dataset:
    ids = [str(number) for number in range(len(labels))]
    texts = [f"text, {number}" for number in ids]
    columns = {"id": ids, "source": ids, "text": texts, "text_pair": [None] * len(ids), "label": list(labels)}
    return Dataset.from_dict(columns, datasets.Features({name: datasets.Value("string") for name in columns}))


def trick(action: str = "drop", fusion: str | None = None) -> CleanLabels:
    return CleanLabels(action=action, folds=2, fusion=fusion)


def context(folder: Path, **values: Any) -> Any:
    data = SimpleNamespace(text_pair=None, split_seed=0)
    defaults = {"multi_label": False, "classes": CLASSES, "folder": folder, "note": lambda text: None}
    return SimpleNamespace(
        **{**defaults, "config": SimpleNamespace(data=data), "splits": SimpleNamespace(is_fold=False), **values}
    )


@pytest.fixture
def predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clean_labels, "predict_linear_folds", lambda *arguments: PROBABILITIES)


EXAMPLES = rows([CLASSES[number] for number in LABELS])


@pytest.mark.usefixtures("predicted")
class TestActions:
    def test_the_list(self, tmp_path: Path) -> None:
        notes: list[str] = []
        for action in ("report", "drop"):
            trick(action).examples(context(tmp_path, note=notes.append), lambda each: each, EXAMPLES)
            with (tmp_path / "clean_labels.csv").open(encoding="utf-8", newline="") as lines:
                assert list(csv.reader(lines)) == [
                    ["id", "label", "suggested", "p_label", "p_suggested", "action", "text"],
                    ["3", "no", "yes", "0.100000", "0.900000", action, "text, 3"],
                    ["8", "yes", "no", "0.200000", "0.800000", action, "text, 8"],
                ]
        assert notes[1] == (
            "clean_labels: 2 of 10 training labels are doubtful (drop), see clean_labels.csv. Models that had not seen "
            "the row agree with 80.0% of the labels."
        )

    def test_report_changes_no_row(self, tmp_path: Path) -> None:
        assert trick("report").examples(context(tmp_path), lambda each: each, EXAMPLES) is EXAMPLES

    def test_drop(self, tmp_path: Path) -> None:
        result = trick("drop").examples(context(tmp_path), lambda each: each, EXAMPLES)
        assert list(result["id"]) == [name for name in EXAMPLES["id"] if name not in ("3", "8")]

    def test_relabel(self, tmp_path: Path) -> None:
        result = trick("relabel").examples(context(tmp_path), lambda each: each, EXAMPLES)
        assert [row for row, label in enumerate(result["label"]) if label != EXAMPLES["label"][row]] == [3, 8]
        assert result.features == EXAMPLES.features
        assert result.remove_columns("label")[:] == EXAMPLES.remove_columns("label")[:]

    def test_variants_have_the_weight_of_their_source(self, tmp_path: Path) -> None:
        cleaning = trick("downweight")
        assert cleaning.examples(context(tmp_path), lambda each: each, EXAMPLES) is EXAMPLES
        trained = SimpleNamespace(ids=["3", "4", "3/1"], examples={"source": ["3", "4", "3"]})
        batch: Any = Weighted(["4", "3/1", "3"], torch.tensor([1.0, 1.0, 0.5]))
        run: Any = SimpleNamespace(train=trained)
        result: Any = cleaning.gradient(run, lambda each: each, batch)  # type: ignore[arg-type, return-value]
        assert result.weights.tolist() == pytest.approx([1.0, 0.1, 0.05])
        assert trick("drop").gradient(run, lambda each: each, batch) is batch  # type: ignore[arg-type, return-value]

    def test_a_warning_where_many_labels_are_doubtful(self, tmp_path: Path) -> None:
        cleaning = trick()
        cleaning.examples(context(tmp_path), lambda each: each, EXAMPLES)
        assert list(cleaning.check(context(tmp_path))) == []
        cleaning.doubtful = 0.4
        (warning,) = cleaning.check(context(tmp_path))
        assert warning.startswith("tricks.clean_labels: 40% of the labels are doubtful, so the models that judge them")

    def test_a_warning_where_no_update_would_read_the_weights(self, tmp_path: Path) -> None:
        def warn(action: str, learning_rate: float) -> list[str]:
            config = SimpleNamespace(train=SimpleNamespace(learning_rate=learning_rate))
            return list(trick(action).check(context(tmp_path, config=config)))

        (warning,) = warn("downweight", 0.0)
        assert warning.endswith("; tricks.clean_labels.action=drop.")
        assert warn("downweight", 1e-4) == warn("drop", 0.0) == []

    def test_without_the_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
        message = r"clean_labels needs the package cleanlab: pip install 'trickbook\[clean_labels\]', or leave it out"
        with pytest.raises(UserError, match=message):
            trick().examples(context(tmp_path), lambda each: each, EXAMPLES)


@dataclass(frozen=True)
class Weighted:
    """The part of a batch that the trick reads."""

    ids: list[str]
    weights: torch.Tensor


@pytest.mark.parametrize(
    ("values", "fusion", "message"),
    [
        ({"multi_label": True}, None, "rows with one label each, and these may have several; leave it out"),
        (
            {"config": SimpleNamespace(data=SimpleNamespace(text_pair="second"))},
            None,
            "data.text_pair=second: clean_labels judges labels by the words of a row",
        ),
        ({"splits": SimpleNamespace(is_fold=True)}, "a", "tricks.clean_labels.fusion=a: this run is one fold"),
    ],
)
def test_rows_that_it_cannot_judge(tmp_path: Path, values: dict[str, Any], fusion: str | None, message: str) -> None:
    with pytest.raises(UserError) as caught:
        trick(fusion=fusion).examples(context(tmp_path, **values), lambda each: each, EXAMPLES)
    assert message in str(caught.value)


class TestFusion:
    """The encoders of a finished fusion judge."""

    def refuse(self, config: Config, folder: Path) -> str:
        try:
            tiny_run(config, folder)
        except UserError as error:
            return str(error)
        raise AssertionError("it was not refused")

    @pytest.mark.slow
    def test_its_folds_judge(self) -> None:
        def judge() -> dict[str, str]:
            with temporary_folder() as folder:
                fast = ("train.max_updates=2", "evaluate.test=false")
                fused = tiny_config("+tricks=[fusion]", "tricks.fusion.folds=2", *fast)
                run = finetune_config(fused, folder / "fused")
                judged = tiny_config("+tricks=[clean_labels]", f"tricks.clean_labels.fusion={folder / 'fused'}", *fast)
                tiny_run(judged, folder, folder / "judged")
                with (folder / "judged" / "clean_labels.csv").open(encoding="utf-8", newline="") as lines:
                    table = list(csv.reader(lines))[1:]
                predictions = run.load_predictions("out_of_fold")
                of_label = {
                    name: f"{row[predictions.classes.index(label)]:.6f}"
                    for name, label, row in zip(
                        predictions.ids, predictions.labels, predictions.probabilities.astype(float), strict=True
                    )
                }
                assert table and all(of_label[cells[0]] == cells[3] for cells in table)
                other = replace(judged, data=replace(judged.data, validation=None))
                alone = finetune_config(tiny_config(*fast), folder / "alone").folder
                cases = {
                    "other data": other,
                    "no fusion": with_fusion(judged, alone),
                    "no run": with_fusion(judged, folder),
                }
                return {name: self.refuse(config, folder) for name, config in cases.items()}

        messages = in_child(judge)
        assert "so it may have been trained on rows that evaluate this one" in messages["other data"]
        assert (
            "the run has no out-of-fold predictions; give the folder of a finished ensemble of" in messages["no fusion"]
        )
        assert (
            messages["no run"].startswith("tricks.clean_labels.fusion=")
            and "holds no finished run" in messages["no run"]
        )


def with_fusion(config: Config, folder: Path) -> Config:
    values = {**config.tricks["clean_labels"], "fusion": str(folder)}
    return replace(config, tricks={"clean_labels": values})
