"""The ranking at the end of a sweep: its order, its intervals by hand, and what it says of chance."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.cells import cell_len
from rich.console import Console
from scipy.stats import t

from recipes.ablation.ranking import Candidate, Line, SweepLog, describe_ranking, pool_deviation, ranked_at_end
from recipes.config import as_values
from recipes.metrics import Predictions, measure
from recipes.runs import manifest
from recipes.runs.files import write_json
from recipes.runs.folder import FORMAT
from recipes.runs.predictions import write_predictions
from recipes.testing import tiny_config

ROWS = 40


def write_run(folder: Path, wrong: Sequence[int], metric: str = "accuracy", ids: str = "row") -> Path:
    """A finished run that is wrong on these rows of two classes."""
    labels = ["ab"[row % 2] for row in range(ROWS)]
    is_b = np.array([(row % 2) ^ (row in wrong) for row in range(ROWS)])
    probabilities = np.stack([0.9 - 0.8 * is_b, 0.1 + 0.8 * is_b], 1).astype(np.float32)
    decisions = np.eye(2, dtype=np.int8)[is_b]
    names = [f"{ids} {row}" for row in range(ROWS)]
    predictions = Predictions(names, labels, probabilities, decisions, ["a", "b"], False)
    config = tiny_config()
    config.evaluate.metric = metric
    write_predictions(folder / "predictions" / "validation.csv", predictions)
    write_json(folder / "metrics.json", {"format": FORMAT, "validation": measure(predictions)})
    (folder / "config.yaml").write_text(yaml.safe_dump(as_values(config)), encoding="utf-8")
    manifest.write(folder)
    return folder


def show(lines: Sequence[Line], width: int = 80) -> tuple[list[list[str]], list[str]]:
    """The cells of each line of the tables, and the sentences."""
    console = Console(width=width, file=io.StringIO())
    sentences = []
    for part in describe_ranking(lines):
        if isinstance(part, str):
            sentences.append(part)
        else:
            console.print(part)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue().splitlines()
    assert max(map(cell_len, shown), default=0) <= width
    return [line.split() for line in shown if line.split()[:1] and line.split()[0].isdigit()], sentences


def test_single_runs_are_compared_row_by_row(tmp_path: Path) -> None:
    wrong: dict[str, Sequence[int]] = {"1e-05": range(4), "0.001": [0, 1], "1": range(30)}
    lines = [
        Line(write_run(tmp_path / rate, rows), [f"train.learning_rate={rate}", "model=tiny"])
        for rate, rows in wrong.items()
    ]
    table, sentences = show(lines)
    assert [row[1] for row in table] == ["0.9500", "0.9000", "0.2500"]
    assert [row[-1] for row in table] == [f"train.learning_rate={rate}" for rate in ("0.001", "1e-05", "1")]
    # The first is right on two rows of 40 more than the second.
    gains = np.array([1.0] * 2 + [0.0] * 38)
    half = t.ppf(0.975, 39) * gains.std(ddof=1) / math.sqrt(40)
    assert table[1][2:6] == ["0.0500", f"({0.05 - half:.4f}", "to", f"{0.05 + half:.4f})"]
    assert sentences == [
        "The first is not shown to be better than the second: the 95 % interval of the difference includes 0.",
        "The intervals are over validation rows. Another seed may change the order: sweep seed=0,1,2 too.",
        "As the best of 3 on these rows, the first is too good by chance; only the test split tells its score.",
        f"first: {tmp_path / '0.001'}",
    ]


def test_seeds_are_runs_of_one_candidate_and_their_spread_is_in_the_interval(tmp_path: Path) -> None:
    lines = [
        Line(write_run(tmp_path / f"{rate}-{seed}", range(count)), [f"train.learning_rate={rate}", f"seed={seed}"])
        for rate, counts in {"1": (0, 4), "2": (20, 24)}.items()
        for seed, count in enumerate(counts)
    ]
    table, sentences = show(lines)
    assert [row[1:3] for row in table] == [["0.9500", "2"], ["0.4500", "2"]]
    deviation = math.sqrt(0.05**2 * 4 / 2)
    # Rows 0 to 3 are wrong in one run of both, and rows 4 to 19 in both runs of the second alone, 20 to 23 in one.
    gains = np.array([0.5] * 4 + [1.0] * 16 + [0.5] * 4 + [0.0] * 16)
    half = t.ppf(0.975, 2) * math.sqrt(gains.var(ddof=1) / 40 + deviation**2 * (1 / 2 + 1 / 2))
    assert table[1][3:7] == ["0.5000", f"({0.5 - half:.4f}", "to", f"{0.5 + half:.4f})"]
    assert sentences[0] == "The first is ahead of the second by more than chance explains (95 % interval)."
    assert sentences[1].startswith(
        f"Another seed or fold moves accuracy by {deviation:.4f} (standard deviation, 4 runs)"
    )


def test_folds_have_rows_of_their_own(tmp_path: Path) -> None:
    lines = [
        Line(
            write_run(tmp_path / f"{rate}-{fold}", range(count), ids=f"fold {fold}"),
            [f"train.learning_rate={rate}", f"data.fold={fold}"],
        )
        for rate, counts in {"1": (0, 4), "2": (20, 24)}.items()
        for fold, count in enumerate(counts)
    ]
    table, _ = show(lines)
    half = t.ppf(0.975, 2) * math.sqrt(0.05**2 * 4 / 2)
    assert table[1][3:7] == ["0.5000", f"({0.5 - half:.4f}", "to", f"{0.5 + half:.4f})"]


def test_less_is_better_of_a_loss_and_a_gain_is_positive_all_the_same(tmp_path: Path) -> None:
    lines = [
        Line(write_run(tmp_path / f"{count}", range(count), "loss"), [f"seeds.order={count}", f"a={count}"])
        for count in (9, 3)
    ]
    table, _ = show(lines)
    assert table[0][-1] == "a=3" and table[0][1] < table[1][1] and float(table[1][2]) > 0


def test_each_data_set_has_a_ranking(tmp_path: Path) -> None:
    lines = [
        Line(write_run(tmp_path / f"{data}{count}", range(count)), [f"data={data}", f"a={count}"])
        for data in ("sst2", "cola")
        for count in (9, 3)
    ]
    table, sentences = show(lines)
    assert [row[0] for row in table] == ["1", "2", "1", "2"]
    assert [each for each in sentences if each.startswith("first")] == [
        f"first: {tmp_path / 'sst23'}",
        f"first: {tmp_path / 'cola3'}",
    ]


def test_failed_runs_are_counted_and_a_search_may_repeat_a_run(tmp_path: Path) -> None:
    line = Line(write_run(tmp_path / "good", [0]), ["a=1"])
    table, sentences = show([line, line, Line(tmp_path / "none", ["a=2"])])
    assert len(table) == 1
    assert sentences == ["1 of 2 runs failed, and have no score.", f"first: {tmp_path / 'good'}"]
    assert show([Line(tmp_path / "none", ["a=2"])]) == ([], ["1 of 1 runs failed, and have no score."])


def test_long_settings_are_folded_and_drawn_numbers_are_short(tmp_path: Path) -> None:
    long = [f"+tricks=[mixup,swa,{'x' * 90}]", "train.learning_rate=3.123456789012e-05"]
    lines = [Line(write_run(tmp_path / "a", [0]), long), Line(write_run(tmp_path / "b", [1]), ["+tricks=[]"])]
    console = Console(width=80, file=io.StringIO())
    console.print(next(describe_ranking(lines)))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(cell_len, text.splitlines())) <= 80
    assert "train.learning_rate=3.123e-05" in "".join(text.split())


def test_deviations_are_pooled_over_candidates_with_more_than_one_run() -> None:
    candidates = [Candidate("a", [], [0.5, 0.7]), Candidate("b", [], [0.1]), Candidate("c", [], [0.2, 0.3, 0.4])]
    pooled = pool_deviation(candidates)
    assert pooled is not None and pooled.degrees_of_freedom == 3
    assert pooled.value == pytest.approx(math.sqrt((0.02 + 0.02) / 3))
    assert pool_deviation(candidates[1:2]) is None


def test_the_log_is_read_once_and_an_error_does_not_hide_the_ranking(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs: list[SweepLog] = []
    with pytest.raises(ZeroDivisionError), ranked_at_end() as log:
        logs.append(log)
        log.add(write_run(tmp_path / "run", [0]), ["a=1", "+tricks=[x]"])
        log.add(write_run(tmp_path / "other", [0, 1]), ["a=1", "+tricks=[]"])
        raise ZeroDivisionError
    output = capsys.readouterr().out
    assert "ranking by validation accuracy" in output and "+tricks=[x]" in output
    assert logs[0].read() == [] and not logs[0].path.exists()


def test_nothing_is_said_of_a_single_run(capsys: pytest.CaptureFixture[str]) -> None:
    with ranked_at_end():
        pass
    assert capsys.readouterr().out == ""


def test_runs_by_two_metrics_have_no_ranking(tmp_path: Path) -> None:
    runs: list[Any] = [write_run(tmp_path / metric, [0], metric) for metric in ("loss", "accuracy")]
    _, sentences = show([Line(run, [f"a={run}"]) for run in runs])
    assert sentences == ["No ranking: the runs are scored by accuracy, loss."]
