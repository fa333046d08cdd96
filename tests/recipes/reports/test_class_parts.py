"""Scores by class and confusions by hand, for few and many classes, and the reliability of probabilities."""

import numpy as np
import pytest

from recipes.metrics import Predictions
from recipes.reports.class_parts import class_parts, reliability_plot
from recipes.reports.document import Cell, Folded, Heading, Table, as_html
from tests.recipes.reports.pages import answers, check_page


def tables_of(predictions: Predictions) -> list[Table]:
    return [part for part in class_parts(predictions, "test", 2) if isinstance(part, Table)]


def texts(table: Table) -> list[list[str]]:
    return [[str(cell) for cell in row] for row in table.rows]


def test_two_classes_have_scores_and_a_matrix() -> None:
    scores, matrix = tables_of(answers(list("xxxxy"), list("xxxyy"), "xyz"))[:2]
    assert texts(scores) == [
        ["x", "4", "1.000", "0.750", "0.857"],
        ["y", "1", "0.500", "1.000", "0.667"],
        ["z", "0", "0.000", "0.000", "0.000"],
    ]
    assert matrix.header == ["label", "as x", "as y", "as z"]
    assert texts(matrix) == [["x", "3", "1", "0"], ["y", "0", "1", "0"], ["z", "0", "0", "0"]]
    assert matrix.rows[0][1] == Cell("3", shade=0.75)


def test_long_names_are_numbers_in_the_header_of_the_matrix() -> None:
    long = "a class name that goes on and on"
    matrix = tables_of(answers([long, "物流"], [long, "物流"], ["物流", long]))[1]
    assert matrix.header == ["label", "as 1", "as 2"]
    assert [row[0] for row in texts(matrix)] == ["1. 物流", f"2. {long}"]


@pytest.mark.parametrize("count", [20, 100])
def test_many_classes_have_a_list_of_confusions_in_place_of_a_matrix(count: int) -> None:
    classes = [f"class {number}" for number in range(count)]
    predicted = ["class 1", *classes[1:], "class 1", "class 2"]
    predictions = answers([*classes, "class 0", "class 0"], predicted, classes)
    parts = list(class_parts(predictions, "test", 2))
    tables = [part for part in parts if isinstance(part, Table)]
    assert len(tables) == 2
    assert texts(tables[1]) == [["class 0", "class 1", "2", "67%"], ["class 0", "class 2", "1", "33%"]]
    folded = [part for part in parts if isinstance(part, Folded)]
    assert len(folded) == (count > 20) and len(tables[0].rows) == (20 if count == 20 else 10)
    assert texts(tables[0])[0][0] == "class 0"
    page = check_page(as_html("many", [Heading("all"), *parts]))
    assert page.tags.count("tr") >= count


def test_rows_with_several_labels_have_scores_by_class() -> None:
    decisions = np.array([[1, 0], [1, 1]], np.int8)
    predictions = Predictions(["0", "1"], [["x"], ["y"]], decisions * 0.9, decisions, ["x", "y"], True)
    scores, _ = tables_of(predictions)
    assert texts(scores) == [["x", "1", "0.500", "1.000", "0.667"], ["y", "1", "1.000", "1.000", "1.000"]]


def test_reliability_is_the_accuracy_at_each_confidence() -> None:
    plot = reliability_plot(answers(list("xxxx"), list("xxxy"), "xy", sure=0.8))
    diagonal, run = plot.series
    assert diagonal.kind == "guide" and run.points == [(pytest.approx(0.8), 0.75)]
    # Wilson's interval of 3 in 4, by hand.
    assert run.intervals == [(pytest.approx(0.3006, abs=1e-4), pytest.approx(0.9544, abs=1e-4))]
