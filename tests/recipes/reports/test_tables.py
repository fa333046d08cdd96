"""Tables in Markdown and in a terminal."""

from recipes.reports.tables import figure_table, markdown_table, score_table


def test_markdown_escapes_what_would_break_a_table() -> None:
    assert markdown_table(["a|b", "c"], [["x\ny", "1"]]) == "| a\\|b | c |\n| --- | ---: |\n| x y | 1 |"


def test_a_metric_that_a_row_lacks_is_an_empty_cell() -> None:
    table = score_table({"validation": {"accuracy": 0.5, "unseen": 3}, "test": {"loss": 1.0}}, "title")
    assert [column.header for column in table.columns] == ["split", "accuracy", "unseen", "loss"]
    assert [list(column.cells) for column in table.columns[1:]] == [["0.5000", ""], ["3", ""], ["", "1.0000"]]


def test_figures_are_on_the_right() -> None:
    table = figure_table(["loop", "seconds"], [["Trickbook", "1.5"], ["peer", "2.0"]])
    assert [column.justify for column in table.columns] == ["left", "right"] and table.row_count == 2
