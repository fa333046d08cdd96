"""The program of an export predicts as `predict` does, whatever acts before and after the model."""

from pathlib import Path

import numpy as np
import pytest

from recipes.export import agreement
from recipes.export.agreement import compare
from recipes.export.reader import Classifier, merge_windows
from tests.recipes.export.helpers import export_without_graph, load_with
from tests.sampling import every

PAIRS = "data.text_pair=text"
SHORT = "data.max_length=12"
WINDOWS = ["+tricks=[sliding_window]", SHORT]
# Overrides, and whether a row may have more than one label.
KINDS: dict[str, tuple[list[str], bool]] = {
    "plain": ([], False),
    "labels": ([], True),
    "pairs": ([PAIRS, "data.max_length=9"], False),
    "normalize": (["+tricks=[normalize]", "tricks.normalize.form=NFKC"], True),
    "normalize widths": (
        ["+tricks=[normalize]", "tricks.normalize.form=NFC", "tricks.normalize.half_width=true"],
        False,
    ),
    "windows": (WINDOWS, False),
    "windows with labels": (WINDOWS, True),
    "windows of pairs": ([*WINDOWS, PAIRS, "tricks.sliding_window.merge=max"], False),
    "few windows": ([*WINDOWS, "tricks.sliding_window.max_windows=2", "tricks.sliding_window.merge=max"], True),
    "votes": ([*WINDOWS, "tricks.sliding_window.merge=vote"], False),
    "votes for labels": ([*WINDOWS, "tricks.sliding_window.merge=vote"], True),
    "mean of windows": ([*WINDOWS, "tricks.sliding_window.merge=mean_probabilities"], False),
    "truncate": (["+tricks=[truncate,normalize]", SHORT], False),
    "truncated pairs": (["+tricks=[truncate]", "tricks.truncate.part=tail", PAIRS, SHORT], True),
}


@pytest.mark.parametrize("kind", every(4, KINDS))
def test_it_agrees_with_predict(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TEXTS": 40, "OWN_TEXTS": 15, "LONGEST": 40}.items():
        monkeypatch.setattr(agreement, name, value)
    overrides, multi_label = KINDS[kind]
    run, predictor = load_with(*overrides, multi_label=multi_label)
    classifier = export_without_graph(run, predictor, tmp_path / "export")
    found = compare(classifier, predictor)
    assert found.texts == 40 and found.own_texts == 15
    assert found.largest_difference < 1e-5


def test_thresholds_decide(tmp_path: Path) -> None:
    run, predictor = load_with("+tricks=[threshold]")
    predictor.tricks["threshold"].load({"thresholds": [0.9, 0.2, 0.5]})
    classifier = export_without_graph(run, predictor, tmp_path / "export")
    probabilities = np.array([[0.6, 0.25, 0.15], [0.95, 0.05, 0.0], [0.0, 0.1, 0.9]], dtype=np.float32)
    assert classifier.decide(probabilities).argmax(1).tolist() == [1, 0, 2]
    classifier.multi_label = True
    assert classifier.decide(probabilities).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


def test_names_and_no_rows_at_all(tmp_path: Path) -> None:
    run, predictor = load_with()
    classifier = export_without_graph(run, predictor, tmp_path / "export")
    assert classifier.labels == ["x", "y", "z"]
    assert classifier.predict(["a1 a2", ""]) == predictor.predict(["a1 a2", ""], None, ["0", "1"]).names()
    assert classifier.probabilities([]).shape == (0, 3) and classifier.predict([]) == []
    classifier.multi_label = True
    assert all(isinstance(names, list) for names in classifier.predict(["a1 a2"]))


@pytest.mark.parametrize(("texts", "pairs"), [("a text", None), (["a text"], ["its pair"])])
def test_other_arguments_are_refused(texts: list[str], pairs: list[str] | None, tmp_path: Path) -> None:
    run, predictor = load_with()
    classifier = export_without_graph(run, predictor, tmp_path / "export")
    with pytest.raises(ValueError, match="it takes a list of texts"):
        classifier.probabilities(texts, pairs)


def test_padding_goes_where_the_model_reads_it(tmp_path: Path) -> None:
    run, predictor = load_with()
    export_without_graph(run, predictor, tmp_path / "export")
    inputs: list[dict[str, np.ndarray]] = []

    def run_model(batch: dict[str, np.ndarray]) -> np.ndarray:
        inputs.append(batch)
        return np.zeros((len(batch["input_ids"]), 3))

    classifier = Classifier(tmp_path / "export", run_model)  # type: ignore[arg-type]
    classifier.settings["padding"] |= {"side": "left", "width": 6, "input_ids": 1}
    classifier.probabilities(["a1", "a1 a2"])
    assert inputs[0]["attention_mask"].tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1]]
    assert inputs[0]["input_ids"][:, :2].tolist() == [[1, 1], [1, 1]]


def test_merged_windows_by_hand() -> None:
    answers = np.array([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1]], dtype=np.float32)
    assert merge_windows(answers, "max", False) == pytest.approx([0.6 / 1.5, 0.8 / 1.5, 0.1 / 1.5])
    assert merge_windows(answers, "vote", False) == pytest.approx([1.35 / 3, 1.55 / 3, 0.1 / 3])
    roots = np.sqrt([0.06, 0.24, 0.01])
    assert merge_windows(answers, "mean_logits", False) == pytest.approx(roots / roots.sum())
