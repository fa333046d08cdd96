"""Tables in Markdown and in a terminal."""

from recipes.reports.tables import console_for_tables, figure_table, markdown_table, markdown_text, score_table


def test_markdown_escapes_what_would_break_a_table() -> None:
    assert markdown_table(["a|b", "c"], [["x\ny", "1"]]) == "| a\\|b | c |\n| --- | ---: |\n| x y | 1 |"


def test_text_in_markdown_is_what_it_was() -> None:
    same = ["label_smoothing (+0.1)", "1 < 2 > 0", "a & b", "x=1, y", "最好", "a-b: 5 %"]
    assert [markdown_text(text) for text in same] == same
    assert (
        markdown_text("*a* `b` ~~c~~ ![d](e) __f__ \\*") == "\\*a\\* \\`b\\` \\~\\~c\\~\\~ !\\[d](e) \\__f_\\_ \\\\\\*"
    )
    assert markdown_text("</a> <!-- &lt; \r\n\t---") == "&lt;/a> &lt;!-- &#38;lt; ---"


def test_a_terminal_takes_no_name_for_a_style() -> None:
    console = console_for_tables()
    with console.capture() as capture:
        console.print(score_table({"[/b]": {"[red]f1": 1.0}}, "[x]", "[/y]"))
        console.print(figure_table(["[/a]"], [["[/c]"]]))
    assert all(name in capture.get() for name in ("[/b]", "[red]f1", "[x]", "[/y]", "[/a]", "[/c]"))


def test_a_metric_that_a_row_lacks_is_an_empty_cell() -> None:
    table = score_table({"validation": {"accuracy": 0.5, "unseen": 3}, "test": {"loss": 1.0}}, "title")
    assert [column.header for column in table.columns] == ["split", "accuracy", "unseen", "loss"]
    assert [list(column.cells) for column in table.columns[1:]] == [["0.5000", ""], ["3", ""], ["", "1.0000"]]


def test_figures_are_on_the_right() -> None:
    table = figure_table(["loop", "seconds"], [["Trickbook", "1.5"], ["peer", "2.0"]])
    assert [column.justify for column in table.columns] == ["left", "right"] and table.row_count == 2
