"""The linear probe: rows, folds and probabilities."""

import numpy as np
import pytest
from datasets import Dataset, Features, Value

from recipes.doctor import linear_probe
from recipes.doctor.findings import Skip
from recipes.doctor.linear_probe import fit_linear_probe, sample_evenly, score_out_of_fold

FEATURES = Features({name: Value("string") for name in ("text", "text_pair", "label")})


def make_rows(labels: str) -> Dataset:
    """Rows whose text contains their label."""
    texts = [f"word{label} common{index % 3}" for index, label in enumerate(labels)]
    return Dataset.from_dict({"text": texts, "text_pair": [None] * len(labels), "label": list(labels)}, FEATURES)


def test_labels_in_the_text_are_predicted_with_probabilities() -> None:
    probe = fit_linear_probe(make_rows("xyz" * 12))
    assert probe.score == 1.0 and probe.classes == ["x", "y", "z"] and probe.probabilities.shape == (36, 3)
    assert np.allclose(probe.probabilities.sum(1), 1)
    assert [probe.classes[column] for column in probe.probabilities.argmax(1)] == probe.labels


def test_labels_with_fewer_than_three_rows_are_left_out() -> None:
    probe = fit_linear_probe(make_rows("xy" * 15 + "zz"))
    assert probe.classes == ["x", "y"] and len(probe.rows) == 30


def test_a_label_with_exactly_three_rows_is_used() -> None:
    probe = fit_linear_probe(make_rows("x" * 15 + "y" * 13 + "t" * 3 + "d" * 2))
    assert probe.classes == ["t", "x", "y"]
    assert len(probe.rows) == 31 and "d" not in probe.labels
    assert probe.probabilities.shape == (31, 3)
    assert probe.probabilities.sum(1) == pytest.approx(1)


@pytest.mark.parametrize("labels", ["xy" * 14, "x" * 15 + "y" * 14, "x" * 40, "x" * 40 + "yy"])
def test_too_few_rows_or_labels_are_skipped(labels: str) -> None:
    with pytest.raises(Skip, match="too few rows for three folds"):
        fit_linear_probe(make_rows(labels))


def test_texts_without_words_are_skipped() -> None:
    with pytest.raises(Skip, match="no words"):
        score_out_of_fold(["?"] * 12, list("xy" * 6), 0)


def test_many_rows_are_sampled_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_probe, "MOST_ROWS", 3)
    assert sample_evenly(make_rows("abcde"))["label"][:] == ["a", "c", "e"]
    assert sample_evenly(make_rows("abc"))["label"][:] == ["a", "b", "c"]
