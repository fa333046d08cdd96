"""The linear baseline: classes, labels, pairs, Chinese, saving, and its run folder."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from recipes import pipeline
from recipes.compose import reading
from recipes.data.splits import Splits
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.models.linear import Linear, is_chinese, join_pairs
from recipes.runs.folder import RunFolder
from recipes.testing import compose_again

GOOD, BAD = ["good fine film", "fine and good", "a good one"], ["bad awful film", "awful and bad", "a bad one"]


def rows(texts: Sequence[str], labels: Sequence[Any], pairs: Sequence[str] | None = None) -> Dataset:
    numbers = [str(number) for number in range(len(texts))]
    second = list(pairs) if pairs else [None] * len(texts)
    columns = {"id": numbers, "source": numbers, "text": list(texts), "text_pair": second, "label": list(labels)}
    return Dataset.from_dict(columns)


def splits(train: Dataset, classes: Sequence[str], multi_label: bool = False, test: Dataset | None = None) -> Splits:
    return Splits(train, train, test, list(classes), multi_label)


def fit(texts: Sequence[str], labels: Sequence[Any], classes: Sequence[str], multi_label: bool = False) -> Linear:
    return Linear.fit(splits(rows(texts, labels), classes, multi_label), seed=0)


def predict(model: Linear, *texts: str) -> Predictions:
    numbers = [str(number) for number in range(len(texts))]
    return model.predict(texts, numbers, [None] * len(texts))


def test_a_model_of_two_classes_separates_them() -> None:
    model = fit(GOOD + BAD, ["pos"] * 3 + ["neg"] * 3, ["neg", "pos"])
    predictions = predict(model, "awful", "fine", "unheard of")
    assert predictions.names()[:2] == ["neg", "pos"]
    np.testing.assert_allclose(predictions.probabilities.sum(1), 1)
    assert predictions.probabilities[0, 0] > 0.6
    np.testing.assert_allclose(predictions.probabilities[2], 0.5, atol=0.05)


@pytest.mark.parametrize("classes", [["neg", "none", "pos"], ["neg", "pos", "x", "y"]])
def test_a_class_without_rows_is_never_predicted(classes: list[str]) -> None:
    model = fit(GOOD + BAD, ["pos"] * 3 + ["neg"] * 3, classes)
    without = fit(GOOD + BAD, ["pos"] * 3 + ["neg"] * 3, ["neg", "pos"])
    predictions, expected = predict(model, "awful", "fine"), predict(without, "awful", "fine")
    present = [classes.index("neg"), classes.index("pos")]
    np.testing.assert_allclose(predictions.probabilities[:, present], expected.probabilities, atol=1e-6)
    assert np.delete(predictions.probabilities, present, axis=1).max() < 1e-9


def test_the_only_class_with_rows_is_always_predicted() -> None:
    for name in ("neg", "none", "pos"):  # index 0 must not be mistaken for False
        assert predict(fit(GOOD, [name] * 3, ["neg", "none", "pos"]), "awful").names() == [name]


def test_two_classes_are_the_sigmoid_of_one_score() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    model = fit(GOOD + BAD, ["pos"] * 3 + ["neg"] * 3, ["neg", "pos"])
    terms = TfidfVectorizer(ngram_range=(1, 2)).fit(GOOD + BAD)
    solver = LogisticRegression(C=10.0, max_iter=1000).fit(terms.transform(GOOD + BAD), [1] * 3 + [0] * 3)
    texts = ["fine film", "a bad film", "one"]
    np.testing.assert_allclose(
        predict(model, *texts).probabilities, solver.predict_proba(terms.transform(texts)), atol=1e-4
    )


def test_a_model_of_three_classes_separates_them() -> None:
    model = fit([*GOOD, *BAD, "so so", "so it is"], ["a"] * 3 + ["b"] * 3 + ["c"] * 2, ["a", "b", "c"])
    predictions = predict(model, "good", "awful", "so")
    assert predictions.names() == ["a", "b", "c"]
    np.testing.assert_allclose(predictions.probabilities.sum(1), 1, rtol=1e-6)


def test_a_multi_label_row_may_have_two_labels_or_none() -> None:
    labels = [["film", "pos"], ["pos"], ["pos"], ["film"], [], []]
    model = fit(GOOD + BAD, labels, ["film", "pos"], multi_label=True)
    predictions = predict(model, "good film", "film", "awful and bad")
    assert predictions.names() == [["film", "pos"], ["film"], []]


def test_labels_of_all_rows_and_of_no_row_are_predicted_alike() -> None:
    model = fit(["one", "two"], [["all"], ["all"]], ["all", "none"], multi_label=True)
    assert predict(model, "one", "else").names() == [["all"], ["all"]]


def test_a_pair_is_joined_to_one_text() -> None:
    assert join_pairs(["a", "b"], ["c", None]) == ["a c", "b"]
    assert join_pairs(["a"], None) == ["a"]
    train = rows(["same"] * 4, ["yes", "no"] * 2, pairs=["good", "bad"] * 2)
    model = Linear.fit(splits(train, ["no", "yes"]), seed=0)
    assert model.predict_rows(rows(["same", "same"], [None, None], pairs=["bad", "good"])).names() == ["no", "yes"]


def test_chinese_terms_are_characters() -> None:
    assert is_chinese(["电影很好看", "good 电影很好看"])
    assert not is_chinese(["a film 片", "", "123"])
    model = fit(["好看好看", "难看难看", "真好", "真难"], ["正", "负", "正", "负"], ["正", "负"])
    assert predict(model, "好", "难").names() == ["正", "负"]


@pytest.mark.parametrize("classes", [2, 3])
def test_a_saved_model_predicts_the_same(classes: int, tmp_path: Path) -> None:
    texts = [*GOOD, *BAD, "so so", "so it is"]
    labels = ["a"] * 3 + ["b"] * 3 + (["c"] * 2 if classes == 3 else ["a", "b"])
    model = fit(texts, labels, "abc"[:classes])
    model.save(tmp_path / "model")
    after = predict(Linear.load(tmp_path / "model"), "good film", "awful", "else", "")
    before = predict(model, "good film", "awful", "else", "")
    np.testing.assert_array_equal(after.probabilities, before.probabilities)
    assert after.names() == before.names()


def test_texts_without_words_are_refused() -> None:
    with pytest.raises(UserError, match=r"model=linear finds no words in data\.text"):
        fit(["", "!"], ["a", "b"], ["a", "b"])


def test_tricks_of_training_are_refused(tmp_path: Path) -> None:
    config = reading.read(compose_again(["model=linear", "+tricks=[mixup,swa]"]))
    with pytest.raises(UserError, match=r"model=linear has no training loop, so \+tricks=\[mixup,swa\] cannot act"):
        pipeline.train(config, splits(rows(GOOD + BAD, ["a"] * 3 + ["b"] * 3), ["a", "b"]), tmp_path)
    assert not list(tmp_path.iterdir())


def test_its_run_folder_is_like_any_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = reading.read(compose_again(["model=linear"]))
    train = rows(GOOD + BAD, ["pos"] * 3 + ["neg"] * 3)
    hidden = rows(["good", "awful"], [None, None])
    all_splits = replace(splits(train, ["neg", "pos"], test=train), extra={"hidden": hidden}, notes=["look here."])
    run = pipeline.train_linear(config, all_splits, tmp_path)
    assert "note: look here." in capsys.readouterr().out
    assert run == RunFolder(tmp_path)
    assert run.metrics["test"]["accuracy"] == 1.0
    assert run.metrics["hidden"] == {}
    assert run.metrics["weights"] == "last"
    lines = (tmp_path / "predictions" / "hidden.csv").read_text().splitlines()
    assert lines[0] == "id,label,prediction,p_neg,p_pos"
    assert [line.split(",")[:3] for line in lines[1:]] == [["0", "", "pos"], ["1", "", "neg"]]
    assert not list(tmp_path.rglob("*.trickbook-draft"))


def test_the_same_seed_gives_the_same_weights() -> None:
    make: Callable[[], Linear] = lambda: fit(GOOD + BAD, ["a"] * 3 + ["b"] * 3, ["a", "b"])  # noqa: E731
    np.testing.assert_array_equal(make().weights, make().weights)
