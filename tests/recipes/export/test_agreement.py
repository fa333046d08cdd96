"""Which texts are compared, and that an export which differs is refused with the largest difference."""

from pathlib import Path

import numpy as np
import pytest

from recipes.errors import UserError
from recipes.export import agreement
from recipes.export.agreement import compare, texts_to_compare
from recipes.testing import tiny_config
from tests.recipes.export.helpers import export_without_graph, load_with


def test_the_texts_of_the_run_and_made_up_ones() -> None:
    texts, pairs, own = texts_to_compare(tiny_config(longest=9), 64)
    assert (len(texts), pairs, own) == (200, None, 88)  # 44 rows of validation, and 44 of test
    assert {"", "好", "😀"} <= set(texts)
    lengths = sorted(len(text.split()) for text in texts)
    assert lengths[0] == 0 and lengths[-1] > 128


def test_the_texts_of_pairs() -> None:
    texts, pairs, _ = texts_to_compare(tiny_config("data.text_pair=label", longest=9), 64)
    assert pairs is not None and len(pairs) == len(texts)
    assert set(pairs[:40]) <= {"x", "y", "z"}


def test_texts_are_made_up_where_the_data_is_gone(tmp_path: Path) -> None:
    config = tiny_config(longest=9)
    moved = {name: str(tmp_path / "gone.csv") for name in ("train", "validation", "test")}
    original = {name: getattr(config.data, name) for name in moved}
    vars(config.data).update(moved)
    try:
        texts, _, own = texts_to_compare(config, 64)
    finally:
        vars(config.data).update(original)
    assert (len(texts), own) == (200, 0)


@pytest.fixture
def few_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TEXTS": 20, "OWN_TEXTS": 8}.items():
        monkeypatch.setattr(agreement, name, value)


@pytest.mark.usefixtures("few_texts")
def test_a_model_that_differs_is_refused_with_the_largest_difference(tmp_path: Path) -> None:
    run, predictor = load_with()
    classifier = export_without_graph(run, predictor, tmp_path / "export")
    right = classifier.run_model

    def run_model(inputs: dict[str, np.ndarray]) -> np.ndarray:
        logits = right(inputs)
        logits[-1] += [0.0, 0.0, 1.0]  # one row of a batch
        return logits

    classifier.run_model = run_model  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"a probability differs by 0\.\d+, and .* is allowed \(1 of 20 texts"):
        compare(classifier, predictor)
    classifier.run_model = lambda inputs: np.full((len(inputs["input_ids"]), 3), np.nan)
    with pytest.raises(UserError, match="differs by nan"):
        compare(classifier, predictor)


@pytest.mark.usefixtures("few_texts")
def test_nearly_equal_probabilities_hide_nothing(tmp_path: Path) -> None:
    """A model that has learned nothing: what differs between texts is less than what rounding may be elsewhere."""
    run, predictor = load_with()
    classifier = export_without_graph(run, predictor, tmp_path / "export")
    for parameter in predictor.bare_model.classifier.parameters():
        parameter.data.mul_(1e-4)
    assert compare(classifier, predictor).largest_difference < 1e-6
    right = classifier.run_model
    classifier.run_model = lambda inputs: right({**inputs, "attention_mask": np.ones_like(inputs["attention_mask"])})
    with pytest.raises(UserError, match="does not agree"):
        compare(classifier, predictor)


@pytest.mark.usefixtures("few_texts")
def test_other_rules_of_deciding_are_refused(tmp_path: Path) -> None:
    run, predictor = load_with("+tricks=[threshold]")
    predictor.tricks["threshold"].load({"thresholds": [0.01, 0.5, 0.5]})
    classifier = export_without_graph(run, predictor, tmp_path / "export")
    compare(classifier, predictor)
    classifier.settings["thresholds"] = None
    with pytest.raises(UserError, match="decides for other labels"):
        compare(classifier, predictor)
