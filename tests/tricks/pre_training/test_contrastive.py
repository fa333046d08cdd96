"""Contrastive: the loss by hand and as sentence-transformers has it, and the order of the rows."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import nn

from recipes.compose.tricks import build
from recipes.data.encoding import Encoded
from recipes.errors import UserError
from recipes.runtime.randomness import generator
from recipes.testing import in_child, temporary_folder, tiny_config, tiny_run
from recipes.toolkit.fitted_head import document_vectors
from tricks.pre_training.contrastive import Contrastive, contrast, order_in_pairs, same_class


def trick(**values: Any) -> Contrastive:
    defaults = {"epochs": 1.0, "max_updates": None, "batch_size": 8, "learning_rate": 1e-4, "warmup": 0.1}
    return Contrastive(**{**defaults, "pooling": "mean", "head": "logistic", **values})


def test_the_loss_by_hand() -> None:
    vectors = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    # cos: 0 for rows 0 and 1, sqrt(1/2) for the others. Rows 0 and 1 are of one class.
    loss = contrast(vectors, same_class(torch.tensor([0, 0, 1])))
    assert loss.item() == pytest.approx(((1 - 0) ** 2 + (0.5 + 0.5) / 2) / 2)


def test_a_batch_with_one_kind_of_pair_has_half_the_loss() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert contrast(vectors, same_class(torch.tensor([0, 0]))).item() == pytest.approx(0.5)
    assert contrast(vectors, same_class(torch.tensor([0, 1]))).item() == 0
    assert contrast(vectors[:1], same_class(torch.tensor([0]))).item() == 0


def test_it_is_the_loss_of_setfit_over_pairs_where_both_kinds_are_as_many() -> None:
    """SetFit repeats pairs of the rarer kind until both are as many, and takes the mean over all."""
    losses = pytest.importorskip("sentence_transformers.losses")
    torch.manual_seed(0)
    vectors, labels = torch.randn(6, 5), torch.tensor([0, 0, 0, 0, 1, 1])
    same = same_class(labels)
    first, second = torch.triu_indices(6, 6, 1)
    is_positive = same[first, second]
    assert is_positive.sum() == 7 and (~is_positive).sum() == 8
    times = torch.where(is_positive, 8, 7)  # so that each kind has 56 pairs
    first, second = first.repeat_interleave(times), second.repeat_interleave(times)
    setfit = losses.CosineSimilarityLoss(nn.Identity())
    expected = setfit.compute_loss_from_embeddings([vectors[first], vectors[second]], same[first, second].float())
    assert contrast(vectors, same).item() == pytest.approx(expected.item(), abs=1e-6)


def test_rows_with_a_common_label_are_of_one_class() -> None:
    labels = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    same = same_class(labels)
    assert same[0].tolist() == [True, True, False, False]
    assert same[2].tolist() == [False, False, True, False]


def test_rows_are_ordered_in_pairs_of_one_class() -> None:
    labels = np.array([0] * 5 + [1] * 4 + [2] * 1)
    order = order_in_pairs(labels, generator(0, "test"))
    assert sorted(order) == list(range(10))
    neighbours = [labels[order[0:2]].tolist()]
    # Class 0 has one row left over and class 2 one, so at most two rows stand alone.
    alone = 0
    position = 0
    while position < len(order):
        neighbours = labels[order[position : position + 2]].tolist()
        is_two = len(neighbours) == 2 and neighbours[0] == neighbours[1]
        alone, position = alone + (not is_two), position + 1 + is_two
    assert alone <= 2
    assert (order_in_pairs(labels, generator(1, "test")) != order).any()
    sets = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    pairs = order_in_pairs(sets, generator(0, "test")).reshape(2, 2)
    assert sorted(map(sorted, pairs.tolist())) == [[0, 1], [2, 3]]


@pytest.mark.slow
def test_vectors_of_one_class_come_together_and_the_head_is_fitted() -> None:
    def train() -> tuple[float, float, float]:
        with temporary_folder() as folder:
            run = tiny_run(tiny_config("+tricks=[contrastive]", "tricks.contrastive.learning_rate=1e-3"), folder)
            before = measure(run)
            run.seams.pretrain()
            after = measure(run)
            right = (run.predictions(run.train).probabilities.argmax(1) == run.train.labels).mean()
            return before, after, float(right)

    def measure(run: Any) -> float:
        with torch.no_grad():
            batch = run.train.collate(np.arange(len(run.train)), 0, 0)
            labels = torch.from_numpy(run.train.labels)
            return contrast(document_vectors(run, batch), same_class(labels)).item()

    before, after, right = in_child(train)
    assert after < 0.8 * before
    assert right > 0.8


def test_a_class_of_one_row_is_warned_of() -> None:
    labels = np.array([0, 0, 1])
    rows = Encoded(Dataset.from_dict({"id": ["a", "b", "c"]}), {}, np.zeros(1), labels, 2, None)  # type: ignore[arg-type]
    run: Any = SimpleNamespace(train=rows, classes=["common", "rare"])
    (warning,) = trick().check(run)
    assert "1 of 2 classes have one training row each (such as 'rare')" in warning and "label another row" in warning
    assert list(trick(epochs=0.0).check(run)) == []


def test_pieces_of_a_text_are_refused_next_to_the_mean_of_its_tokens() -> None:
    message = "tricks contrastive and segments exclude each other: both make one vector of a text"
    with pytest.raises(UserError, match=message):
        build(tiny_config("+tricks=[contrastive,segments]").tricks)
    build(tiny_config("+tricks=[contrastive,segments]", "tricks.contrastive.pooling=own").tricks)
