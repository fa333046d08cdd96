"""The head by logistic regression: its probabilities, those of many labels, and the vector of a document."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from recipes.data.batch import Batch
from recipes.toolkit.fitted_head import document_vectors, fit_head


@pytest.mark.parametrize("classes", [2, 3])
def test_the_fitted_head_has_the_probabilities_of_logistic_regression(classes: int) -> None:
    random = np.random.default_rng(0)
    vectors, labels = random.normal(size=(30, 4)).astype(np.float32), np.arange(30) % classes
    vectors[:, 0] += labels
    classifier = nn.Linear(4, classes)
    fit_head(classifier, vectors, labels)
    scaled = vectors / np.linalg.norm(vectors, axis=1).mean()
    expected = LogisticRegression(max_iter=1000).fit(scaled, labels).predict_proba(scaled)
    assert np.allclose(classifier(torch.from_numpy(vectors)).softmax(-1).detach().numpy(), expected, atol=1e-5)


def test_each_label_of_many_has_its_own_logistic_regression() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(20, 4)).astype(np.float32)
    labels = np.stack([vectors[:, 0] > 0, np.ones(20), vectors[:, 1] > 0], axis=1).astype(np.int8)
    classifier = nn.Linear(4, 3, bias=True)
    fit_head(classifier, vectors, labels)
    scaled = vectors / np.linalg.norm(vectors, axis=1).mean()
    expected = LogisticRegression(max_iter=1000).fit(scaled, labels[:, 2]).predict_proba(scaled)[:, 1]
    assert np.allclose(classifier(torch.from_numpy(vectors))[:, 2].sigmoid().detach().numpy(), expected, atol=1e-5)
    # All rows have the label in the middle.
    assert torch.equal(classifier.weight[1], torch.zeros(4))
    assert classifier.bias[1].item() == pytest.approx(math.log(20.5 / 0.5))


class Doubled(nn.Module):
    """A classifier whose vectors are twice its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 3)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.head(2 * values)  # type: ignore[no-any-return]


def test_the_windows_of_a_document_have_one_vector() -> None:
    model, values = Doubled(), torch.tensor([[1.0, 0.0], [3.0, 4.0], [5.0, 5.0]])
    run: Any = SimpleNamespace(bare_model=model, head=model.head)
    ones = torch.ones(3)
    batch = Batch(["a", "a", "b"], {"values": values}, ones, ones, ones, 3.0, 0, 0)
    assert document_vectors(run, batch).tolist() == [[2.0, 0.0], [6.0, 8.0], [10.0, 10.0]]
    windows = replace(batch, documents=torch.tensor([0, 0, 1]))
    assert document_vectors(run, windows).tolist() == [[4.0, 4.0], [10.0, 10.0]]


@pytest.mark.parametrize("present", [[1], [0, 2], [0, 1, 3]])
def test_a_class_without_a_row_is_improbable(present: list[int]) -> None:
    random = np.random.default_rng(0)
    labels = np.array(present).repeat(10)
    vectors = (np.eye(4)[labels] + 0.1 * random.normal(size=(len(labels), 4))).astype(np.float32)
    classifier = nn.Linear(4, 4)
    fit_head(classifier, vectors, labels)
    probabilities = classifier(torch.from_numpy(vectors)).softmax(-1).detach().numpy()
    assert (probabilities.argmax(1) == labels).all()
    absent = [number for number in range(4) if number not in present]
    assert (probabilities[:, absent] < 0.1).all() and (probabilities[:, absent] > 0).all()
