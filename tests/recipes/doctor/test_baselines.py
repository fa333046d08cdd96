"""What a model must beat: the majority class and the linear baseline, by hand and from the cache."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from recipes.data.splits import Splits
from recipes.doctor import baselines
from recipes.doctor.baselines import compare_with_baselines, fit_linear_baseline, predict_majority
from recipes.metrics import Predictions, measure
from recipes.models.linear import Linear


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRICKBOOK_CACHE", str(tmp_path))
    return tmp_path / "trickbook" / "baselines"


def dataset(texts: list[str], labels: list[Any]) -> Dataset:
    ids = [str(row) for row in range(len(texts))]
    return Dataset.from_dict(
        {"id": ids, "source": ids, "text": texts, "text_pair": [None] * len(texts), "label": labels}
    )


def make_splits(train: list[Any], validation: list[Any], words: str = "good poor") -> Splits:
    """The first word of a text is that of its label."""
    word = dict(zip("ab", words.split(" "), strict=True))

    def rows(labels: list[Any]) -> Dataset:
        return dataset([f"{word.get(str(label)[:1], 'new')} day" for label in labels], labels)

    multi_label = isinstance(train[0], list)
    classes = sorted({name for label in train for name in label})
    return Splits(rows(train), rows(validation), None, classes, multi_label)


def answers(labels: str, predicted: str) -> Predictions:
    decisions = np.array([[int(name == each) for each in "ab"] for name in predicted], np.int8)
    ids = [str(row) for row in range(len(labels))]
    return Predictions(ids, list(labels), np.where(decisions, 0.9, 0.1), decisions, ["a", "b"], False)


def test_the_majority_class_is_that_of_the_training_rows() -> None:
    majority = predict_majority(make_splits(list("aab"), list("bbba")))
    assert majority.names() == ["a"] * 4 and majority.labels == list("bbba")
    np.testing.assert_allclose(majority.probabilities, [[2 / 3, 1 / 3]] * 4)
    assert measure(majority)["accuracy"] == 0.25
    # Of two equally frequent labels the first one by name.
    assert predict_majority(make_splits(list("ba"), ["a"])).names() == ["a"]


def test_texts_are_read_once_for_their_language(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(baselines, "is_chinese", lambda texts: bool(asked.append(len(texts))))
    baselines._choose_rows(make_splits(list("abab"), list("ab")))
    assert asked == [4]


def test_with_more_than_one_label_it_is_the_most_frequent_set() -> None:
    majority = predict_majority(make_splits([["a", "b"], ["b", "a"], ["b"], []], [["a"]]))
    assert majority.names() == [["a", "b"]]
    np.testing.assert_allclose(majority.probabilities, [[0.5, 0.75]])


def test_the_linear_baseline_is_fitted_once_for_each_data_set(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = make_splits(list("abab"), list("abb"))
    expected = Linear.fit(splits, 0).predict_rows(splits.validation)
    first = fit_linear_baseline(splits)
    assert first is not None and first.rows == 4 and first.validation.names() == list("abb")
    np.testing.assert_allclose(first.validation.probabilities, expected.probabilities, atol=1e-6)

    (file,) = cache.iterdir()
    fits: list[int] = []
    fit = Linear.fit
    monkeypatch.setattr(Linear, "fit", lambda splits, seed: fits.append(1) or fit(splits, seed))
    again = fit_linear_baseline(splits)
    assert again is not None and (again.validation.probabilities == first.validation.probabilities).all() and not fits
    # Other rows, and a damaged entry, are fitted.
    fit_linear_baseline(make_splits(list("abab"), list("ab")))
    assert len(fits) == 1
    file.write_bytes(file.read_bytes()[:-1])
    repaired = fit_linear_baseline(splits)
    assert repaired is not None and (repaired.validation.probabilities == first.validation.probabilities).all()
    assert len(fits) == 2 and len(list(cache.iterdir())) == 2


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRICKBOOK_CACHE", str(tmp_path / "file"))
    assert fit_linear_baseline(make_splits(list("abab"), list("ab"))) is not None


def test_many_rows_long_texts_and_many_classes_are_fitted_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    splits = make_splits(list("ab") * 50, list("ab"))  # two words each

    def fitted(most_rows: int, most_work: int) -> int:
        monkeypatch.setattr(baselines, "MAX_ROWS", most_rows)
        monkeypatch.setattr(baselines, "MAX_WORK", most_work)
        baseline = fit_linear_baseline(splits)
        assert baseline is not None
        return baseline.rows

    assert (fitted(100, 800), fitted(99, 800), fitted(100, 799), fitted(100, 400)) == (100, 99, 99, 50)
    assert fitted(1, 1) == 2


def test_texts_without_words_are_compared_with_the_majority_class() -> None:
    splits = make_splits(list("abab"), list("ab"), words="! ?")
    splits = replace(splits, train=dataset(["!", "?", "!", "?"], list("abab")))
    assert fit_linear_baseline(splits) is None
    comparison = compare_with_baselines(answers("ab", "ab"), splits, "accuracy", is_linear=False)
    assert comparison["baselines"]["linear"] is None and comparison["against"]["baseline"] == "majority"


def test_the_linear_baseline_itself_is_compared_with_the_majority_class(cache: Path) -> None:
    splits = make_splits(list("aab"), list("ab"))
    comparison = compare_with_baselines(answers("ab", "ab"), splits, "accuracy", is_linear=True)
    assert comparison["baselines"]["linear"] is None and not cache.exists()
    assert comparison["against"]["baseline"] == "majority" and comparison["against"]["difference"] == 0.5
