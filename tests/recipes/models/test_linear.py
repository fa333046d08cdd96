from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from recipes import pipeline
from recipes.compose import reading
from recipes.compose.overrides import compose_config
from recipes.data.splits import Splits
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.models.linear import Linear, is_chinese, join_pairs
from recipes.runs.folder import RunFolder

GOOD, BAD = ["good fine film", "fine and good", "a good one"], ["bad awful film", "awful and bad", "a bad one"]


def rows(texts: Sequence[str], labels: Sequence[Any], pairs: Sequence[str] | None = None) -> Dataset:
    numbers = [str(number) for number in range(len(texts))]
    second = list(pairs) if pairs else [None] * len(texts)
    columns = {"id": numbers, "source": numbers, "text": list(texts), "text_pair": second, "label": list(labels)}
    return Dataset.from_dict(columns)


def splits(train: Dataset, classes: Sequence[str], multi_label: bool = False, test: Dataset | None = None) -> Splits:
    return Splits(train, train, test, list(classes), multi_label)


def fitted(texts: Sequence[str], labels: Sequence[Any], classes: Sequence[str], multi_label: bool = False) -> Linear:
    return Linear.fit(splits(rows(texts, labels), classes, multi_label), seed=0)


def answers(model: Linear, *texts: str) -> Predictions:
    numbers = [str(number) for number in range(len(texts))]
    return model.predict(texts, numbers, [None] * len(texts))


def test_two_classes() -> None:
    model = fitted(GOOD + BAD, ["pos"] * 3 + ["neg"] * 3, ["neg", "pos"])
    found = answers(model, "awful", "fine", "unheard of")
    assert found.names()[:2] == ["neg", "pos"]
    np.testing.assert_allclose(found.probabilities.sum(1), 1)
    assert found.probabilities[0, 0] > 0.6
    np.testing.assert_allclose(found.probabilities[2], 0.5, atol=0.05)


@pytest.mark.parametrize("classes", [["neg", "none", "pos"], ["neg", "pos", "x", "y"]])
def test_a_class_without_rows_is_never_answered(classes: list[str]) -> None:
    model = fitted(GOOD + BAD, ["pos"] * 3 + ["neg"] * 3, classes)
    without = fitted(GOOD + BAD, ["pos"] * 3 + ["neg"] * 3, ["neg", "pos"])
    found, wanted = answers(model, "awful", "fine"), answers(without, "awful", "fine")
    there = [classes.index("neg"), classes.index("pos")]
    np.testing.assert_allclose(found.probabilities[:, there], wanted.probabilities, atol=1e-6)
    assert np.delete(found.probabilities, there, axis=1).max() < 1e-9


def test_one_class_of_several_has_rows() -> None:
    for name in ("neg", "none", "pos"):  # the first one's number is 0, which is no no
        assert answers(fitted(GOOD, [name] * 3, ["neg", "none", "pos"]), "awful").names() == [name]


def test_two_classes_are_the_sigmoid_of_one_score() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    model = fitted(GOOD + BAD, ["pos"] * 3 + ["neg"] * 3, ["neg", "pos"])
    terms = TfidfVectorizer(ngram_range=(1, 2)).fit(GOOD + BAD)
    solver = LogisticRegression(C=10.0, max_iter=1000).fit(terms.transform(GOOD + BAD), [1] * 3 + [0] * 3)
    texts = ["fine film", "a bad film", "one"]
    np.testing.assert_allclose(
        answers(model, *texts).probabilities, solver.predict_proba(terms.transform(texts)), atol=1e-4
    )


def test_three_classes() -> None:
    model = fitted([*GOOD, *BAD, "so so", "so it is"], ["a"] * 3 + ["b"] * 3 + ["c"] * 2, ["a", "b", "c"])
    found = answers(model, "good", "awful", "so")
    assert found.names() == ["a", "b", "c"]
    np.testing.assert_allclose(found.probabilities.sum(1), 1, rtol=1e-6)


def test_several_labels_to_a_row() -> None:
    labels = [["film", "pos"], ["pos"], ["pos"], ["film"], [], []]
    model = fitted(GOOD + BAD, labels, ["film", "pos"], multi_label=True)
    found = answers(model, "good film", "film", "awful and bad")
    assert found.names() == [["film", "pos"], ["film"], []]


def test_a_label_that_every_row_has_or_none() -> None:
    model = fitted(["one", "two"], [["all"], ["all"]], ["all", "none"], multi_label=True)
    assert answers(model, "one", "else").names() == [["all"], ["all"]]


def test_pairs_are_read_as_one_text() -> None:
    assert join_pairs(["a", "b"], ["c", None]) == ["a c", "b"]
    assert join_pairs(["a"], None) == ["a"]
    train = rows(["same"] * 4, ["yes", "no"] * 2, pairs=["good", "bad"] * 2)
    model = Linear.fit(splits(train, ["no", "yes"]), seed=0)
    assert model.predict_rows(rows(["same", "same"], [None, None], pairs=["bad", "good"])).names() == ["no", "yes"]


def test_chinese_is_read_by_character() -> None:
    assert is_chinese(["电影很好看", "good 电影很好看"])
    assert not is_chinese(["a film 片", "", "123"])
    model = fitted(["好看好看", "难看难看", "真好", "真难"], ["正", "负", "正", "负"], ["正", "负"])
    assert answers(model, "好", "难").names() == ["正", "负"]


@pytest.mark.parametrize("classes", [2, 3])
def test_a_saved_model_predicts_the_same(classes: int, tmp_path: Path) -> None:
    texts = [*GOOD, *BAD, "so so", "so it is"]
    labels = ["a"] * 3 + ["b"] * 3 + (["c"] * 2 if classes == 3 else ["a", "b"])
    model = fitted(texts, labels, "abc"[:classes])
    model.save(tmp_path / "model")
    again = answers(Linear.load(tmp_path / "model"), "good film", "awful", "else", "")
    before = answers(model, "good film", "awful", "else", "")
    np.testing.assert_array_equal(again.probabilities, before.probabilities)
    assert again.names() == before.names()


def test_no_words_at_all() -> None:
    with pytest.raises(UserError, match=r"model=linear finds no words in data\.text"):
        fitted(["", "!"], ["a", "b"], ["a", "b"])


def test_a_trick_cannot_act(tmp_path: Path) -> None:
    config = reading.read(compose_config(["model=linear", "+tricks=[mixup,swa]"])[0])
    with pytest.raises(UserError, match=r"model=linear has no training loop, so \+tricks=\[mixup,swa\] cannot act"):
        pipeline.train(config, splits(rows(GOOD + BAD, ["a"] * 3 + ["b"] * 3), ["a", "b"]), tmp_path)
    assert not list(tmp_path.iterdir())


def test_it_leaves_a_run_folder_like_any_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = reading.read(compose_config(["model=linear"])[0])
    train = rows(GOOD + BAD, ["pos"] * 3 + ["neg"] * 3)
    hidden = rows(["good", "awful"], [None, None])
    held = replace(splits(train, ["neg", "pos"], test=train), extra={"hidden": hidden}, notes=["look here."])
    run = pipeline.train_linear(config, held, tmp_path)
    assert "note: look here." in capsys.readouterr().out
    assert run == RunFolder(tmp_path)
    assert run.metrics["test"]["accuracy"] == 1.0
    assert run.metrics["hidden"] == {}
    assert run.metrics["weights"] == "last"
    lines = (tmp_path / "predictions" / "hidden.csv").read_text().splitlines()
    assert lines[0] == "id,label,prediction,p_neg,p_pos"
    assert [line.split(",")[:3] for line in lines[1:]] == [["0", "", "pos"], ["1", "", "neg"]]
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_same_seed_gives_the_same_weights() -> None:
    make: Callable[[], Linear] = lambda: fitted(GOOD + BAD, ["a"] * 3 + ["b"] * 3, ["a", "b"])  # noqa: E731
    np.testing.assert_array_equal(make().weights, make().weights)
