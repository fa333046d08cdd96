"""Tables in Markdown and in a terminal."""

import io
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from recipes.reports.tables import (
    ScoreTable,
    console_for_tables,
    figure_table,
    make_console,
    markdown_table,
    markdown_text,
    print_classes,
)


def lines_of(draw: Any, width: int) -> list[str]:
    """What a console of this width shows."""
    console = Console(width=width, file=io.StringIO())
    draw(console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(cell_len, lines)) <= width
    return [line.rstrip() for line in lines if line.strip()]


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
        console.print(ScoreTable({"[/b]": {"[red]f1": 1.0}}, "[x]"))
        console.print(figure_table(["[/a]"], [["[/c]"]]))
    assert all(name in capture.get() for name in ("[/b]", "[red]f1", "[x]", "[/a]", "[/c]"))


def test_a_metric_that_a_column_lacks_is_an_empty_cell() -> None:
    table = ScoreTable({"validation": {"accuracy": 0.5, "unseen": 3}, "test": {"loss": 1.0}}, "title")
    title, header, _, *rows = lines_of(lambda console: console.print(table), 80)
    assert (title, header.split()) == ("title", ["metric", "validation", "test"])
    assert [row.split() for row in rows] == [["accuracy", "0.5000"], ["unseen", "3"], ["loss", "1.0000"]]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_scores_fit_the_width_and_none_is_cut(width: int) -> None:
    names = ["validation", "test", *(f"extra_{number}" for number in range(8)), "难的评论"]
    metrics = ["accuracy", "average_precision", "top_k_accuracy_score", "加权费用"]
    scores = {split: {name: index + 0.5 for name in metrics} for index, split in enumerate(names)}
    lines = lines_of(lambda console: console.print(ScoreTable(scores, "scores")), width)
    headers = [line.split()[1:] for line in lines if line.split()[0] == "metric"]
    assert [name for header in headers for name in header] == names
    of_metric = [line.split() for line in lines if line.split()[0] == "加权费用"]
    assert [cell for row in of_metric for cell in row[1:]] == [f"{index}.5000" for index in range(len(names))]


def classes_of(count: int) -> dict[str, dict[str, float]]:
    names = [f"类别 {number}" for number in range(count)]
    scores = {name: {"precision": 0.5, "recall": 0.25, "f1": 1 / (2 + index)} for index, name in enumerate(names)}
    return {name: {**values, "support": 1200 + index} for index, (name, values) in enumerate(scores.items())}


def test_up_to_20_classes_are_all_printed() -> None:
    lines = lines_of(lambda console: print_classes(console, classes_of(20), "classes on test"), 80)
    assert (lines[0], lines[1].split()) == ("classes on test", ["class", "rows", "precision", "recall", "f1"])
    assert lines[3].split() == ["类别", "0", "1,200", "0.5000", "0.2500", "0.5000"] and len(lines) == 3 + 20


def test_of_more_the_worst_five_that_have_rows_are_printed() -> None:
    classes = classes_of(21)
    classes["类别 20"]["support"] = 0
    lines = lines_of(lambda console: print_classes(console, classes, "classes on test"), 80)
    assert lines[0] == "classes on test: the 5 with the lowest F1"
    assert [line.split()[1] for line in lines[3:-1]] == ["19", "18", "17", "16", "15"]
    assert lines[-1] == "16 more classes are in metrics.json."


def test_a_long_name_leaves_room_for_the_scores() -> None:
    classes = {"很长的名字" * 20: {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 7}}
    *_, row = lines_of(lambda console: print_classes(console, classes, "classes"), 80)
    assert row.split()[-4:] == ["7", "0.5000", "0.2500", "0.3333"] and "…" in row


def test_figures_are_on_the_right() -> None:
    table = figure_table(["loop", "seconds"], [["Trickbook", "1.5"], ["peer", "2.0"]])
    assert [column.justify for column in table.columns] == ["left", "right"] and table.row_count == 2


def test_a_file_is_no_terminal_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel of a notebook sets this, and the runs of a study write into files."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not make_console().is_terminal
