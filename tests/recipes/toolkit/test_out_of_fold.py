"""Out-of-fold predictions: who has seen what, the cache, and the sentences where there are none."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
from datasets import Dataset

from recipes.data.cache import cache_folder
from recipes.data.splits import Splits
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.models.linear import Linear
from recipes.toolkit import out_of_fold
from recipes.toolkit.out_of_fold import predict_linear_folds

CLASSES = ["no", "yes"]


def rows(texts: Sequence[str], labels: Sequence[str], sources: Sequence[str] = ()) -> Dataset:
    ids = [str(number) for number in range(len(texts))]
    columns = {
        "id": ids,
        "source": list(sources or ids),
        "text": texts,
        "text_pair": [None] * len(ids),
        "label": labels,
    }
    features = datasets.Features({name: datasets.Value("string") for name in columns})
    return Dataset.from_dict(columns, features)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRICKBOOK_CACHE", str(tmp_path))


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], list[str]]]:
    """The ids that each model is fitted on, and those that it predicts."""
    pairs: list[tuple[list[str], list[str]]] = []

    class Fake:
        def __init__(self, splits: Splits) -> None:
            self.train = list(splits.train["id"])

        def predict_rows(self, rows: Dataset) -> Any:
            pairs.append((self.train, list(rows["id"])))
            number = [float(name) / 100 for name in rows["id"]]
            probabilities = np.array([[each, 1 - each] for each in number])
            return Predictions(rows["id"], rows["label"], probabilities, probabilities > 0.5, CLASSES, False)

    monkeypatch.setattr(Linear, "fit", lambda splits, seed: Fake(splits))
    return pairs


def predict(examples: Dataset, folds: int = 3) -> np.ndarray:
    return predict_linear_folds(examples, CLASSES, folds, 0, f"tricks.clean_labels.folds={folds}")


def test_each_row_is_predicted_once_by_a_model_of_the_others(fitted: list[tuple[list[str], list[str]]]) -> None:
    examples = rows([f"text {number}" for number in range(12)], CLASSES * 6)
    probabilities = predict(examples)
    assert np.allclose(probabilities[:, 0], np.arange(12) / 100)
    assert len(fitted) == 3
    assert sorted(name for _, predicted in fitted for name in predicted) == sorted(examples["id"])
    for train, predicted in fitted:
        assert set(train) == set(examples["id"]) - set(predicted)
        # Stratified: two rows of each class.
        assert sorted(int(name) % 2 for name in predicted) == [0, 0, 1, 1]


def test_duplicates_and_rows_of_one_source_are_in_one_fold(fitted: list[tuple[list[str], list[str]]]) -> None:
    texts = ["A  same", *(f"text {number}" for number in range(10)), "a same"]
    sources = ["0", "1", "2", *("3" for _ in range(2)), *map(str, range(5, 12))]
    predict(rows(texts, CLASSES * 6, sources))
    for _, predicted in fitted:
        assert ("0" in predicted) == ("11" in predicted)
        assert ("3" in predicted) == ("4" in predicted)


def test_the_cache_goes_by_the_contents(fitted: list[tuple[list[str], list[str]]]) -> None:
    texts = [f"text {number}" for number in range(12)]
    first = predict(rows(texts, CLASSES * 6))
    assert np.array_equal(predict(rows(texts, CLASSES * 6)), first) and len(fitted) == 3
    (file,) = (cache_folder() / "out_of_fold").iterdir()
    file.write_bytes(b"damaged")
    assert np.array_equal(predict(rows(texts, CLASSES * 6)), first) and len(fitted) == 6
    predict(rows(texts, [*CLASSES[::-1], *CLASSES * 5]))
    predict(rows(["other", *texts[1:]], CLASSES * 6))
    assert len(fitted) == 12


def test_the_linear_baseline_learns_the_words() -> None:
    texts = [f"{'good' if number % 2 else 'bad'} film {number}" for number in range(20)]
    probabilities = predict(rows(texts, CLASSES * 10))
    assert (probabilities.argmax(1) == np.arange(20) % 2).all()
    assert np.array_equal(probabilities, probabilities.round(out_of_fold.DIGITS))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["no"] * 8 + ["yes"] * 2, "folds=3: the class 'yes' has 2 different training rows; use 2 folds at most."),
        (["no"] * 9 + ["yes"], "folds=3: the class 'yes' has 1 different training row; give it more rows, or leave"),
    ],
)
def test_more_folds_than_rows_of_a_class(labels: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        predict(rows([f"text {number}" for number in range(10)], labels))
    assert message in str(caught.value)


def test_texts_without_words() -> None:
    with pytest.raises(UserError, match="folds=3: the texts have no words to predict labels from; leave the trick out"):
        predict(rows(["?", "!", "-", "+", ".", ","], CLASSES * 3))


@pytest.mark.parametrize(
    ("classes", "labels", "problem"),
    [
        (["no", "yes", "perhaps"], ["no", "yes"], "its labels are others"),
        (CLASSES, ["no", "no"], "training rows such as id 1 (1 in all) have no or another label there"),
    ],
)
def test_a_fusion_of_other_labels_is_refused(
    classes: list[str], labels: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "out_of_fold.csv").touch()
    numbers = np.zeros((2, len(classes)))
    predictions = Predictions(["0", "1"], labels, numbers, numbers, classes, False)
    run = SimpleNamespace(folder=tmp_path, load_predictions=lambda split: predictions)
    monkeypatch.setattr(out_of_fold, "finished_run", lambda folder, setting: run)
    monkeypatch.setattr(out_of_fold, "check_same_data", lambda *_: None)
    data: Any = None
    with pytest.raises(UserError) as caught:
        out_of_fold.read_ensemble_folds("old", data, rows(["a", "b"], ["no", "yes"]), CLASSES, "fusion=old")
    assert f"fusion=old: {problem}; use an ensemble" in caught.value.problems[0]
