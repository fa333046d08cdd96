"""Logs of other programs: what is read, and what is refused in one sentence."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from recipes.ablation.logs import LoggedRun, read_log
from recipes.errors import UserError

Write = Callable[[str, str], Path]


def test_a_line_is_a_run_and_one_without_a_finite_score_has_none(write: Write) -> None:
    path = write(
        "runs.csv",
        "arm,seed,data,score,status,majority\n"
        "base,0,sst2,0.85,Finished,0.51\n"
        "base,1,sst2,nan,finished,0.51\n"
        "mixup,0,sst2,,finished,\n"
        "mixup,1,sst2,0.5,crashed,0.51\n",
    )
    runs = read_log(str(path), majority=0.6)
    assert runs[0] == LoggedRun(("base",), "0", "sst2", 0.85, 0.51)
    assert [run.score for run in runs] == [0.85, None, None, None]
    assert runs[2].majority == 0.6  # the cell is empty


def test_factors_are_columns_and_other_formats_are_read_by_the_same_rules(write: Write) -> None:
    path = write("runs.jsonl", '{"mixup": true, "lr": 1e-5, "seed": 0, "score": 0.85}\n')
    assert read_log(str(path), ["mixup", "lr"]) == [LoggedRun(("true", "1e-5"), "0", "data", 0.85)]


def test_predictions_become_scores_by_row(write: Write) -> None:
    lines = ["arm,seed,row,label,prediction", "base,0,b,n,n", "base,0,a,p,n", "mixup,0,a,p,p", "mixup,0,b,n,n"]
    base, mixup = read_log(str(write("rows.csv", "\n".join(lines))))
    assert base.rows is not None and mixup.rows is not None
    assert (base.rows.tolist(), mixup.rows.tolist()) == ([1, 0], [1, 1])  # in the order of the first run
    assert (base.score, mixup.score) == (0.5, 1.0)
    assert base.predicts_one_class and not mixup.predicts_one_class
    assert base.fingerprint != mixup.fingerprint
    assert read_log(str(write("rows.csv", "\n".join(lines))), metric="mcc")[1].score == 1.0


def test_probabilities_are_those_of_each_row_in_the_order_of_the_first_run(write: Write) -> None:
    lines = ["arm,seed,row,label,prediction,p_n,p_p", "base,0,b,n,n,0.9,0.1", "base,0,a,p,n,0.6,0.4"]
    lines += ["mixup,0,a,p,n,0.7,0.3", "mixup,0,b,n,n,0.8,0.2"]
    base, mixup = read_log(str(write("rows.csv", "\n".join(lines))))
    assert base.predictions and mixup.predictions and mixup.predictions.classes == ["n", "p"]
    np.testing.assert_allclose(mixup.predictions.probabilities, [[0.8, 0.2], [0.7, 0.3]])
    # Equal decisions with other probabilities are not identical.
    assert base.rows is not None and mixup.rows is not None and base.rows.tolist() == mixup.rows.tolist()
    assert base.fingerprint != mixup.fingerprint


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["arm,seed,accuracy", "a,0,1"], "no column 'score'; the file has arm, seed, accuracy. Rename the columns"),
        (["name,seed,score", "a,0,1"], "no column 'arm'.* --factor names a column that varies"),
        (["arm,seed,label,prediction", "a,0,x,y"], "no column 'row'"),
        (["arm,seed,score"], "there are no runs in it"),
        (["arm,seed,score", "a,0,good"], "line 2: score='good' is not a number such as 0.87"),
        (["arm,seed,score", 'a,0,"0,85"'], "score='0,85' is not a number"),
        (["arm,seed,score", "a,,1"], "line 2: the cell of 'seed' is empty"),
        (["arm,seed,score", "a,0,1", "b,0,1", "a,0,2"], "line 4: the run a, seed 0, .* stands at line 2 already"),
        (["arm,seed,score,status", "a,0,1,fine"], "status='fine' is not known; write finished"),
        (["arm,seed,score", "a,0,1,2"], "line 2: 4 cells, but the header names 3"),
        (["arm,seed,row,label,prediction", "a,0,1,x,y", "a,0,1,x,y"], "line 3: row '1' of this run stands further up"),
        (
            ["arm,seed,row,label,prediction,p_x", "a,0,1,x,y,1"],
            "prediction='y' has no column 'p_y'; write a column for",
        ),
        (["arm,seed,row,label,prediction,p_x", "a,0,1,x,x,1.5"], "p_x='1.5' is not a probability between 0 and 1"),
        (["arm,seed,row,label,prediction", "a,0,1,x,y", "b,0,2,x,y"], "the run b, .* other rows or labels"),
    ],
)
def test_a_wrong_file_is_refused(write: Write, lines: Sequence[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_log(str(write("runs.csv", "\n".join(lines))))


def test_a_metric_that_needs_probabilities_is_refused(write: Write) -> None:
    path = write("rows.csv", "arm,seed,row,label,prediction\na,0,1,x,y\na,0,2,x,y\n")
    with pytest.raises(UserError, match="--metric=loss: predictions are scored by one of accuracy"):
        read_log(str(path), metric="loss")
