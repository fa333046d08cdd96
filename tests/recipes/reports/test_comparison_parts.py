"""The comparison of runs: paired differences where runs share rows, and no winner."""

from pathlib import Path

import pytest

from recipes.metrics import Predictions
from recipes.reports.charts import Intervals, Plot
from recipes.reports.comparison_parts import comparison_parts, name_runs
from recipes.reports.document import Answer, Charts, Items, Table, as_html
from recipes.runs.folder import RunFolder
from tests.recipes.reports.pages import HEALTH, answers, check_page, make_run

LABELS = ["x", "y"] * 20


def with_errors(count: int) -> Predictions:
    return answers(LABELS, ["y" if row < count else label for row, label in enumerate(LABELS)], "xy")


def run(name: str, errors: int) -> RunFolder:
    return make_run(name, {"validation": with_errors(errors), "test": with_errors(errors)})


def test_each_run_is_compared_with_the_first_row_by_row() -> None:
    runs = [run("base", 20), run("Good", 0), run("same", 18), run("bad", 40)]
    parts = list(comparison_parts(runs))
    answer, sentences = parts[0], parts[1]
    assert isinstance(answer, Answer) and isinstance(sentences, Items)
    assert answer.headline == "Better than base: Good. Worse than base: bad"
    # base is wrong in 10 of 40 rows, and 10 rows differ: 0.25 +- 2.0227 * sqrt(0.1923 / 40).
    assert sentences.items[0] == (
        "Good is better than base: +0.2500 accuracy (95 % paired interval +0.1098 to +0.3902; better is positive)."
    )
    assert sentences.items[1].startswith("same is not shown to differ from base: +0.0250 accuracy")
    text = as_html("4 runs", parts)
    page = check_page(text)
    assert [values["href"] for values in page.all("a")].count("#run-2") == 2  # in the table and on top
    assert "<b>0." not in text


def test_runs_on_other_rows_are_not_compared_row_by_row() -> None:
    other = answers(LABELS[:30], LABELS[:30], "xy")
    parts = list(comparison_parts([run("base", 4), make_run("other", {"validation": other, "test": other})]))
    assert parts[1] == Items(["other is not compared with base: they have other rows, or too few."])
    assert isinstance(parts[0], Answer) and parts[0].headline == "No run can be compared with base"
    assert "these intervals" not in as_html("2 runs", parts)
    assert not [
        each for part in parts if isinstance(part, Charts) for each in part.charts[:1] if "Difference" in each.title
    ]
    check_page(as_html("2 runs", parts))


def test_a_lower_loss_is_better() -> None:
    sure = answers(LABELS, LABELS, "xy", 0.99)
    runs = [run("base", 0), make_run("sure", {"validation": sure, "test": sure})]
    runs[0].config["evaluate"]["metric"] = "loss"
    (chart,) = (
        each
        for part in comparison_parts(runs)
        if isinstance(part, Charts)
        for each in part.charts
        if isinstance(each, Intervals) and each.title == "Difference to base"
    )
    assert chart.rows[0].value == pytest.approx(0.2131, abs=1e-4)  # log(0.99 / 0.8)


def test_the_table_has_every_metric_and_health_of_each_run() -> None:
    old = make_run("old", {"validation": with_errors(0)}, health=None)
    against = {**HEALTH["against"], "low": -0.2, "high": -0.1}
    scored = {"validation": with_errors(9), "test": with_errors(9)}
    worse = make_run("worse", scored, health={"headline": "not_better", "against": against})
    (table,) = (
        part
        for part in comparison_parts([run("base", 4), old, worse])
        if isinstance(part, Table) and "MB" in part.header
    )
    assert [[str(cell) for cell in row][:4] for row in table.rows] == [
        ["base", "test", "learned", "0.9500"],
        ["old", "validation", "unknown", "1.0000"],
        ["worse", "test", "worse", "0.8750"],
    ]
    assert "loss ↓" in table.header


def test_a_plot_has_at_most_six_curves() -> None:
    runs = [run(f"run{number}", number) for number in range(8)]
    curves = [
        len(each.series)
        for part in comparison_parts(runs)
        if isinstance(part, Charts)
        for each in part.charts
        if isinstance(each, Plot) and each.title == "Validation accuracy" and len(each.series) > 1
    ]
    assert curves == [6, 2]


def test_folders_of_one_name_get_their_parents_name() -> None:
    folders = [RunFolder(Path(path)) for path in ("/a/one/fold", "/a/two/fold", "/a/three")]
    assert name_runs(folders) == ["one/fold", "two/fold", "a/three"]
