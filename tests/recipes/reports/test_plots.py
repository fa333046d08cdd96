"""Plots: the numbers that are drawn, and the two formats of a file."""

from dataclasses import replace
from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest
from matplotlib import image
from matplotlib.axes import Axes

from recipes.metrics import Predictions
from recipes.reports import plots


def predictions_of(labels: list[object], decisions: list[list[int]], multi_label: bool = False) -> Predictions:
    """Predictions of three classes; every class that is predicted has probability 0.9."""
    array = np.array(decisions, dtype=np.int8)
    ids = [str(row) for row in range(len(labels))]
    return Predictions(ids, labels, array * 0.9, array, ["x", "y", "z"], multi_label)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[matplotlib.figure.Figure]:
    """The figures that are saved from here on, in place of their files."""
    saved: list[matplotlib.figure.Figure] = []
    monkeypatch.setattr(plots, "save", lambda figure, path: saved.append(figure))
    return saved


def texts(axes: Axes) -> list[tuple[float, float, str]]:
    return [(*text.get_position(), text.get_text()) for text in axes.texts]


X, Y, Z = [1, 0, 0], [0, 1, 0], [0, 0, 1]


def test_confusions_of_one_label_a_row() -> None:
    counts = plots.count_confusions(predictions_of(["x", "x", "y", None, "unseen"], [X, Z, Y, X, X]))
    assert counts.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_a_missed_label_counts_against_each_class_predicted_wrongly() -> None:
    rows = predictions_of([["x", "y"], ["x"], ["z", "unseen"], []], [[1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 0, 0]], True)
    # Row 0: x is right, and y is missed for z. Row 1: x is missed for y and z. Row 2: z is missed for nothing.
    assert plots.count_confusions(rows).tolist() == [[1, 1, 1], [0, 0, 1], [0, 0, 0]]


def test_the_confusion_matrix_shows_fractions_and_counts(figures: list[matplotlib.figure.Figure]) -> None:
    plots.draw_confusion(predictions_of(["x", "x", "x", "x", "y"], [X, X, X, Z, Y]), Path("unused"))
    axes = figures[0].axes[0]
    assert axes.images[0].get_array().tolist() == [[0.75, 0, 0.25], [0, 1, 0], [0, 0, 0]]
    assert texts(axes) == [(0, 0, "3"), (2, 0, "1"), (1, 1, "1")]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["x", "y", "z"]


def test_the_learning_curve_has_losses_and_validation_scores(figures: list[matplotlib.figure.Figure]) -> None:
    history = [
        {"update": 1, "loss": 1.0},
        {"update": 2, "loss": None},
        {"update": 3, "loss": 0.5},
        {"update": 3, "split": "validation", "loss": 0.4, "accuracy": 0.75},
    ]
    plots.draw_learning_curve(history, "accuracy", Path("unused"))
    loss_axes, score_axes = figures[0].axes
    raw, smoothed = loss_axes.lines
    assert raw.get_xydata().tolist() == [[1, 1.0], [3, 0.5]]
    assert smoothed.get_xydata() == pytest.approx(np.array([[1, 1.0], [3, (0.98 * 1.0 + 0.5) / 1.98]]))
    assert score_axes.lines[0].get_xydata().tolist() == [[3, 0.75]]


def test_a_learning_curve_without_updates_is_empty(figures: list[matplotlib.figure.Figure]) -> None:
    plots.draw_learning_curve([], "accuracy", Path("unused"))
    assert list(figures[0].axes[0].lines) == []


@pytest.mark.usefixtures("real_pictures")
def test_a_figure_is_saved_as_png(tmp_path: Path) -> None:
    plots.draw_learning_curve([], "accuracy", tmp_path / "curve.png")
    assert image.imread(tmp_path / "curve.png").shape == (540, 960, 4)


def test_long_names_are_cut() -> None:
    assert plots._drawable_names(["a" * 40, "b" * 41])[0] == ["a" * 40, "b" * 39 + "…"]


def test_names_that_no_font_has_become_numbers_with_a_legend(figures: list[matplotlib.figure.Figure]) -> None:
    assert plots._drawable_names(["x", "\U0010fffd"]) == (["x", "class 1"], None)
    classes = ["x", "\U0010fffd", "z"]
    plots.draw_confusion(replace(predictions_of(["x"], [X]), classes=classes), Path("unused"))
    plots.draw_confusion(predictions_of(["x"], [X]), Path("unused"))
    legends = [figure.get_supxlabel() for figure in figures]
    assert "numbered from 0, in the order of the columns of predictions/*.csv" in legends[0] and legends[1] == ""


def test_many_classes_have_no_names_but_a_legend(figures: list[matplotlib.figure.Figure]) -> None:
    classes = [f"c{number}" for number in range(31)]
    decisions = np.eye(31, dtype=np.int8)[:1]
    plots.draw_confusion(Predictions(["0"], ["c0"], decisions * 0.9, decisions, classes, False), Path("unused"))
    assert figures[0].get_supxlabel().startswith("Too many names") and not list(figures[0].axes[0].texts)
