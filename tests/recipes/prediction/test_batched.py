"""Predicting a split in batches: the order of rows, several processes, and batches that do not fit in memory."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import nn

from recipes.data.batching import by_length
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.prediction.batched import halve_until_it_fits, predict_split


class Rows:
    """Five rows; a batch of them holds their indices and the index of the batch."""

    lengths = np.array([3, 9, 4, 9, 1])
    counts = np.ones(5, int)
    num_classes = 2
    ids = list("abcde")
    examples = Dataset.from_dict({"label": [None, "x", "y", "x", "y"]})

    def __len__(self) -> int:
        return 5

    def collate(self, rows: np.ndarray, epoch: int, index: int) -> torch.Tensor:
        return torch.tensor([[float(row), float(index)] for row in rows])


class FakeAccelerator:
    """One of several processes; the rows of the others stay 0."""

    def __init__(self, process_index: int, num_processes: int) -> None:
        self.process_index, self.num_processes = process_index, num_processes

    def reduce(self, values: torch.Tensor) -> torch.Tensor:
        return values


class TestPredictSplit:
    """A split is divided among processes."""

    def predict(self, rank: int, processes: int) -> tuple[np.ndarray, np.ndarray]:
        model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1).eval())

        def predict_batch(batch: torch.Tensor) -> torch.Tensor:
            assert not model[0].training
            assert not torch.is_grad_enabled()
            return batch + 1

        seams = SimpleNamespace(predict=predict_batch, decide=lambda probabilities: probabilities > 2)
        run: Any = SimpleNamespace(bare_model=model, seams=seams, classes=["x", "y"], multi_label=False)
        rows: Any = Rows()
        accelerator: Any = FakeAccelerator(rank, processes)
        predictions = predict_split(run, rows, 2, accelerator)
        assert [module.training for module in model.modules()] == [True, True, False]
        assert (list(predictions.ids), predictions.classes) == (Rows.ids, ["x", "y"])
        # A column would read the table again for each row that is asked for, some hundred times slower.
        assert predictions.labels == [None, "x", "y", "x", "y"] and type(predictions.labels) is list
        return predictions.probabilities, predictions.decisions

    def test_predictions_are_in_the_order_of_the_data(self) -> None:
        probabilities, decisions = self.predict(0, 1)
        assert probabilities[:, 0].tolist() == [1, 2, 3, 4, 5]
        plan = by_length(Rows.lengths, Rows.counts, 2)
        for number, rows in enumerate(plan):
            assert (probabilities[rows, 1] == number + 1).all()
        assert decisions.tolist() == (probabilities > 2).astype(int).tolist()

    def test_each_process_has_its_own_rows_and_zeros_elsewhere(self) -> None:
        total = self.predict(0, 1)
        parts = [self.predict(rank, 3) for rank in range(3)]
        assert np.array_equal(sum(part[0] for part in parts), total[0])
        assert np.array_equal(sum(part[1] for part in parts), total[1])
        assert all((part[0] == 0).any() for part in parts)
        assert not self.predict(3, 4)[0].any()  # more processes than batches


class Documents:
    """Four documents of 1, 3, 1 and 2 windows; records the rows of each batch."""

    counts = np.array([1, 3, 1, 2])
    lengths = np.array([9, 30, 5, 20])
    num_classes = 2
    ids = list("abcd")
    examples = {"label": [None] * 4}

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __len__(self) -> int:
        return 4

    def collate(self, rows: np.ndarray, epoch: int, index: int) -> torch.Tensor:
        self.batches.append(rows.tolist())
        return torch.zeros(len(rows), 2)


@pytest.mark.parametrize(
    ("batch_size", "batches"), [(3, [[1], [3, 0], [2]]), (4, [[1, 3], [0, 2]]), (8, [[1, 3, 0, 2]])]
)
def test_the_batch_size_counts_windows_and_not_rows(batch_size: int, batches: list[list[int]]) -> None:
    """With the longest document first, the documents begin at the windows 0, 3, 5 and 6."""
    documents: Any = Documents()
    seams = SimpleNamespace(predict=lambda batch: batch, decide=lambda probabilities: probabilities)
    run: Any = SimpleNamespace(bare_model=nn.Linear(1, 1), seams=seams, classes=["x", "y"], multi_label=False)
    predict_split(run, documents, batch_size)
    assert documents.batches == batches


class TestHalving:
    """The largest batch that fits has 5 windows."""

    PREDICTIONS = Predictions([], [], np.zeros((0, 2)), np.zeros((0, 2)), ["x", "y"], False)

    def predict(self, batch_size: int) -> Predictions:
        if batch_size > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.PREDICTIONS

    def test_the_batch_size_is_halved_until_it_fits(self) -> None:
        assert halve_until_it_fits(self.predict, 5, "") == (self.PREDICTIONS, 5)
        assert halve_until_it_fits(self.predict, 64, "") == (self.PREDICTIONS, 4)

    def test_a_smallest_batch_that_does_not_fit_is_a_user_error(self) -> None:
        with pytest.raises(UserError, match="one row does not fit"):
            halve_until_it_fits(self.predict, 64, "one row does not fit", smallest=8)

    @pytest.mark.parametrize(
        ("largest", "smallest", "sizes"),
        [(3, 1, [12, 6, 3]), (1, 1, [12, 6, 3, 1]), (0, 1, [12, 6, 3, 1]), (2, 3, [12, 6, 3]), (12, 12, [12])],
    )
    def test_no_batch_is_smaller_than_the_smallest(self, largest: int, smallest: int, sizes: list[int]) -> None:
        """The largest batch that fits may be smaller than the smallest that is tried."""
        tried_sizes = []

        def predict(batch_size: int) -> Predictions:
            tried_sizes.append(batch_size)
            if batch_size > largest:
                raise torch.OutOfMemoryError
            return self.PREDICTIONS

        if largest < smallest:
            with pytest.raises(UserError, match="does not fit"):
                halve_until_it_fits(predict, 12, "it does not fit.", smallest)
        else:
            assert halve_until_it_fits(predict, 12, "it does not fit.", smallest) == (self.PREDICTIONS, sizes[-1])
        assert tried_sizes == sizes

    def test_another_error_is_raised_as_it_is(self) -> None:
        def fail(batch_size: int) -> Predictions:
            raise RuntimeError("another error")

        with pytest.raises(RuntimeError, match="another error"):
            halve_until_it_fits(fail, 64, "")
