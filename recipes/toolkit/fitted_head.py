"""Fit the head to the vectors of all rows, by logistic regression."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from recipes.base import evaluating
from recipes.data.batch import Batch
from recipes.data.encoding import Encoded
from recipes.models.hidden_states import capture
from recipes.trick import Run

ROWS_AT_ONCE = 64


def document_vectors(run: Run, batch: Batch) -> Tensor:
    """The vector of each document, (document, hidden): the input of the head, or its mean over the windows."""
    vectors = capture(run.bare_model, run.head, batch.inputs)
    if batch.documents is None:
        return vectors
    documents = batch.documents.to(vectors.device)
    sums = vectors.new_zeros(batch.examples, vectors.shape[1]).index_add(0, documents, vectors)
    return sums / documents.bincount()[:, None]


def all_vectors(run: Run, rows: Encoded) -> np.ndarray:
    """The vectors of all rows without dropout, (row, hidden)."""
    order = np.argsort(rows.lengths, kind="stable")
    parts = np.array_split(order, max(1, round(len(order) / ROWS_AT_ONCE)))
    vectors = np.empty((len(order), run.head.in_features), dtype=np.float32)
    with evaluating(run.bare_model):
        for part in parts:
            batch = rows.collate(part, 0, 0).to(run.accelerator.device)
            vectors[part] = document_vectors(run, batch).float().cpu().numpy()
    return vectors


def fit_head(head: nn.Linear, vectors: np.ndarray, labels: np.ndarray) -> None:
    """Fit the head by logistic regression, on vectors of mean length 1: its penalty depends on their scale.

    A class that no row has, or all rows, has no weights: its bias says how frequent it is.

    Args:
        head: (class, hidden).
        vectors: (row, hidden).
        labels: class number, (row), or 0 and 1, (row, class).
    """
    scale = np.linalg.norm(vectors, axis=1).mean()

    def fit(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        model = LogisticRegression(max_iter=1000).fit(vectors / scale, targets)
        return model.coef_ / scale, model.intercept_

    zeros = np.zeros((1, head.in_features))
    if labels.ndim == 1:
        present = np.unique(labels)
        weights, biases = zeros.repeat(head.out_features, 0), np.full(head.out_features, -np.log(2 * len(labels) + 1))
        if len(present) == 1:
            biases[present] = 0.0
        else:
            own_weights, own_biases = fit(labels)
            if len(present) == 2:  # one row: softmax of -z/2 and z/2 is the sigmoid of z
                own_weights, own_biases = (np.concatenate([-each, each]) / 2 for each in (own_weights, own_biases))
            weights[present], biases[present] = own_weights, own_biases
    else:
        counts = labels.sum(0)
        always = np.log((counts + 0.5) / (len(labels) - counts + 0.5))
        fits = [
            fit(column) if 0 < count < len(column) else (zeros, np.array([odds]))
            for column, count, odds in zip(labels.T, counts, always, strict=True)
        ]
        weights, biases = (np.concatenate(parts) for parts in zip(*fits, strict=True))
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weights))
        if head.bias is not None:
            head.bias.copy_(torch.from_numpy(biases))
