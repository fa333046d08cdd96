"""From the predictions on disk to blocks of row scores."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recipes.ablation.design import Design
from recipes.ablation.observations import ScoredRun, are_alike, build_block, load_blocks, score_run
from recipes.ablation.runs import FAILED, FINISHED, Row
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.runs.predictions import write_predictions

DESIGN = Design("full", (2,), ((0,), (1,)))


def predictions(right: list[bool]) -> Predictions:
    decisions = np.array([[1, 0] if each else [0, 1] for each in right], np.int8)
    ids = [str(row) for row in range(len(right))]
    return Predictions(ids, ["a"] * len(right), np.full((len(right), 2), 0.5, np.float32), decisions, ["a", "b"], False)


def write_run(folder: Path, data: str, arm: int, right: list[bool], fold: int | None = None) -> Row:
    run = folder / f"{data}{arm}-{fold}"
    (run / "predictions").mkdir(parents=True)
    (run / "config.yaml").write_text("{}\n" if fold is None else f"data: {{fold: {fold}, test: a.csv}}\n")
    (run / "metrics.json").write_text('{"validation": {}}')
    write_predictions(run / "predictions" / "validation.csv", predictions(right))
    return Row(data, (arm,), fold or 0, run, FINISHED, fold=fold)


def test_each_data_set_is_a_block_of_its_finished_runs(tmp_path: Path) -> None:
    rows = [
        write_run(tmp_path, "one", 0, [True, False]),
        write_run(tmp_path, "one", 1, [True, True]),
        write_run(tmp_path, "two", 0, [False, False, True]),
        Row("two", (1,), 0, tmp_path / "nowhere", FAILED, "no memory"),
    ]
    one, two = load_blocks(DESIGN, rows, "accuracy")
    assert (one.name, one.arms.tolist(), one.seeds.tolist()) == ("one", [0, 1], [0, 0])
    np.testing.assert_allclose(one.rows, [[1, 0], [1, 1]], atol=1e-9)
    assert (two.name, two.arms.tolist()) == ("two", [0])
    np.testing.assert_allclose(two.rows, [[0, 0, 1]], atol=1e-9)
    assert one.validation != two.validation


def test_runs_are_alike_only_if_probabilities_and_decisions_are_equal(tmp_path: Path) -> None:
    first = write_run(tmp_path, "one", 0, [True, False])
    same = write_run(tmp_path, "one", 1, [True, False])
    other = write_run(tmp_path, "two", 0, [True, True])
    assert are_alike(first, same)
    assert not are_alike(first, other)  # the same probabilities


def test_runs_that_were_scored_on_other_rows_are_an_error() -> None:
    rows = [Row("one", (arm,), 0, Path(f"run{arm}"), FINISHED) for arm in (0, 1)]
    first = predictions([True, False])
    for other in (replace(first, ids=["0", "2"]), replace(first, labels=["a", "b"])):
        with pytest.raises(UserError, match="run1 was scored on other validation rows than run0"):
            build_block(DESIGN, rows, [score_run(each, "accuracy") for each in (first, other)])


def test_a_run_is_scored_once(tmp_path: Path) -> None:
    rows = [write_run(tmp_path, "one", arm, [True, False]) for arm in (0, 1)]
    scored: dict[Path, ScoredRun] = {}
    (first,) = load_blocks(DESIGN, rows[:1], "accuracy", scored)
    (tmp_path / "one0-None" / "predictions" / "validation.csv").unlink()
    (both,) = load_blocks(DESIGN, rows, "accuracy", scored)
    assert both.rows[0].tolist() == first.rows[0].tolist() and both.fingerprints[0] == first.fingerprints[0]
    assert list(scored) == [row.folder for row in rows]


def test_runs_on_different_folds_have_different_rows_in_one_block(tmp_path: Path) -> None:
    """Here seed s is on fold s; the folds need not be of one size."""
    rows = [
        write_run(tmp_path, "one", 0, [True, False], fold=0),
        write_run(tmp_path, "one", 0, [False, False, True], fold=1),
        write_run(tmp_path, "one", 1, [True, True], fold=0),
        write_run(tmp_path, "one", 1, [True, False, True], fold=1),
    ]
    (block,) = load_blocks(DESIGN, rows, "accuracy")
    assert block.arms.tolist() == [0, 1, 0, 1] and block.seeds.tolist() == [0, 0, 1, 1]
    nan = np.nan
    expected = [[1, 0, nan, nan, nan], [1, 1, nan, nan, nan], [nan, nan, 0, 0, 1], [nan, nan, 1, 0, 1]]
    np.testing.assert_allclose(block.rows, expected, atol=1e-9)
    np.testing.assert_allclose(block.scores, [1 / 2, 1, 1 / 3, 2 / 3])
    assert block.fold_count == 10 and len(set(block.fingerprints)) == 4
    assert block.folds is not None and block.folds.tolist() == [0, 0, 1, 1]


def test_arms_of_one_fold_must_be_scored_on_its_rows(tmp_path: Path) -> None:
    rows = [write_run(tmp_path, "one", arm, [True] * (2 + arm), fold) for arm in (0, 1) for fold in (0, 1)]
    with pytest.raises(UserError, match="was scored on other validation rows than"):
        load_blocks(DESIGN, rows, "accuracy")
