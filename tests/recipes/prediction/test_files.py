"""Predicting a file: the order of rows, bad rows, resumed jobs, scores, and refused requests."""

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from recipes import load
from recipes.api import finetune_config
from recipes.data.records import records
from recipes.data.splits import read_splits
from recipes.errors import UserError
from recipes.prediction import batched, files, precision, predictors
from recipes.prediction.files import PredictionJob, PredictionRequest, PredictionSummary
from recipes.prediction.predictors import Predictor
from recipes.runtime.precision import Measurement
from recipes.testing import finished_run, in_child, make_text_file, tiny_config
from tests.sampling import slow

ROWS = 44
# Steps of finishing a job: the move of the second file; among the others the note that all is joined (4), and the
# removal of pieces (12).
FINISHING = (7,)
OTHERS = (0, 1, 2, 4, 5, 6, 8, 12, 20, 29)


@pytest.fixture
def prediction_request(tmp_path: Path) -> PredictionRequest:
    return PredictionRequest(
        str(finished_run()),
        str(make_text_file(12)),
        str(tmp_path / "out.csv"),
        look_ahead=10,
        metrics=True,
        precision="fp32",
    )


def run_job(request: PredictionRequest) -> PredictionSummary:
    return in_child(lambda: PredictionJob(request).run())


def read_output(path: str) -> list[dict[str, Any]]:
    return [dict(record.values) for record in records(path, "csv")]


def test_predictions_are_the_model_s_in_the_order_of_the_input(prediction_request: PredictionRequest) -> None:
    summary, rows = run_job(prediction_request), read_output(prediction_request.target)
    texts = [str(record.values["text"]) for record in records(prediction_request.source, "csv")]
    expected = in_child(lambda: load(finished_run()).predict(texts))
    assert [row["id"] for row in rows] == [str(number) for number in range(ROWS)]
    assert [row["prediction"] for row in rows] == expected.names()
    np.testing.assert_allclose([float(row["p_y"]) for row in rows], expected.probabilities[:, 1], atol=2e-6)
    assert (summary.rows, summary.bad, summary.rows_read) == (ROWS, 0, ROWS)
    labels = [record.values["label"] for record in records(prediction_request.source, "csv")]
    correct = sum(row["prediction"] == label for row, label in zip(rows, labels, strict=True))
    assert summary.metrics is not None
    assert summary.metrics["accuracy"] == pytest.approx(correct / ROWS)


@pytest.mark.slow
def test_the_look_ahead_does_not_change_the_predictions(prediction_request: PredictionRequest, tmp_path: Path) -> None:
    run_job(prediction_request)
    run_job(replace(prediction_request, look_ahead=1000, target=str(tmp_path / "at_once.csv")))
    for one, other in zip(
        read_output(prediction_request.target), read_output(str(tmp_path / "at_once.csv")), strict=True
    ):
        assert one["id"] == other["id"] and float(one["p_x"]) == pytest.approx(float(other["p_x"]), abs=2e-6)


def test_bad_rows_are_reported_and_do_not_stop_the_job(prediction_request: PredictionRequest, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "a1"}\nnope\n{"text": [7]}\n{"label": "x"}\n{"text": "b1"}\n', encoding="utf-8")
    summary = run_job(replace(prediction_request, source=str(source), look_ahead=2))
    assert (summary.rows, summary.bad) == (2, 3)
    assert [row["id"] for row in read_output(prediction_request.target)] == ["0", "4"]
    bad = [json.loads(line) for line in Path(f"{prediction_request.target}.bad.jsonl").read_text().splitlines()]
    assert [each["row"] for each in bad] == [1, 2, 3]
    assert [each["problem"] for each in bad[1:]] == [
        "'text' holds a list, not a text; write a text, or name another column",
        "no text in 'text'; write one, or remove the record",
    ]
    assert bad[1]["record"] == {"text": ["7"]}


class CountingPredictor(Predictor):
    """Notes the number of rows of each call, and may raise KeyboardInterrupt."""

    calls: list[int]
    stops_at: int = 99

    def predict(self, texts: Any, pairs: Any, ids: Any) -> Any:
        CountingPredictor.calls.append(len(ids))
        if len(CountingPredictor.calls) == CountingPredictor.stops_at:
            raise KeyboardInterrupt
        return super().predict(texts, pairs, ids)


def stop(prediction_request: PredictionRequest, call: int) -> list[int]:
    """Interrupt a job at a call of its predictor.

    Returns:
        The rows of each call so far; later calls are counted from 0 again.
    """
    files.load_predictor = CountingPredictor  # type: ignore[assignment]
    CountingPredictor.calls, CountingPredictor.stops_at = [], call
    with pytest.raises(KeyboardInterrupt):
        PredictionJob(prediction_request).run()
    calls, CountingPredictor.calls, CountingPredictor.stops_at = CountingPredictor.calls, [], 99
    return calls


@pytest.mark.parametrize(
    "overrides",
    [
        slow([]),
        ["data.label_separator=|", "evaluate.metric=micro_f1"],
        slow(["+tricks=[fusion]", "tricks.fusion.folds=2", "tricks.fusion.members=[tiny,linear]"]),
    ],
)
def test_the_scores_equal_those_of_training(
    overrides: list[str], prediction_request: PredictionRequest, tmp_path: Path
) -> None:
    def score_twice() -> tuple[dict[str, float] | None, dict[str, float]]:
        run = finetune_config(tiny_config("train.learning_rate=3e-3", *overrides), tmp_path / "run")
        request = replace(prediction_request, run=str(run.folder), source=run.config["data"]["test"])
        return PredictionJob(request).run().metrics, run.metrics["test"]

    scores, expected = in_child(score_twice)
    assert scores == pytest.approx(expected, abs=1e-5)


def test_numbers_and_empty_cells_are_read_as_in_training(prediction_request: PredictionRequest, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": 7}\n{"text": null}\n', encoding="utf-8")
    assert run_job(replace(prediction_request, source=str(source))).bad == 0
    assert len(read_output(prediction_request.target)) == 2


@pytest.mark.slow
def test_a_job_is_resumed_with_another_look_ahead(prediction_request: PredictionRequest, tmp_path: Path) -> None:
    def stop_and_resume() -> list[int]:
        stop(prediction_request, 3)
        PredictionJob(replace(prediction_request, look_ahead=20)).run()
        return CountingPredictor.calls

    assert in_child(stop_and_resume) == [20, 4]
    assert [row["id"] for row in read_output(prediction_request.target)] == [str(number) for number in range(ROWS)]


@pytest.mark.slow
def test_a_damaged_piece_is_predicted_again(prediction_request: PredictionRequest, tmp_path: Path) -> None:
    def stop_and_resume() -> list[int]:
        stop(prediction_request, 4)
        (Path(f"{prediction_request.target}.parts") / "00000001").write_bytes(b"")
        PredictionJob(prediction_request).run()
        return CountingPredictor.calls

    assert in_child(stop_and_resume) == [10, 10, 10, 4]
    assert [row["id"] for row in read_output(prediction_request.target)] == [str(number) for number in range(ROWS)]


@pytest.mark.parametrize("step", [*FINISHING, *(slow(step) for step in OTHERS)])
def test_a_job_killed_while_it_finishes_is_completed_by_the_same_command(
    step: int, prediction_request: PredictionRequest, tmp_path: Path
) -> None:
    """Killed before it joins, notes that it has joined, moves a file, or removes pieces and request."""
    source = tmp_path / "in.csv"
    source.write_bytes(Path(prediction_request.source).read_bytes() + b"one cell\n")
    killed = replace(prediction_request, source=str(source), target=str(tmp_path / "killed.csv"))
    whole = replace(killed, target=str(tmp_path / "whole.csv"))

    def kill_at_step() -> None:
        steps = iter(range(step + 1))

        def count(function: Any) -> Any:
            def counting(*arguments: Any, **options: Any) -> Any:
                if next(steps) == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **options)

            return counting

        predict_pieces = PredictionJob._predict_pieces

        def predict_then_count(job: PredictionJob) -> list[Path]:
            pieces = predict_pieces(job)
            files.join_pieces, files.write_json = count(files.join_pieces), count(files.write_json)
            files.remove_draft, Path.replace = count(files.remove_draft), count(Path.replace)
            Path.unlink = count(Path.unlink)  # type: ignore[method-assign]
            return pieces

        PredictionJob._predict_pieces = predict_then_count  # type: ignore[method-assign]
        PredictionJob(killed).run()

    with pytest.raises(ChildProcessError):
        in_child(kill_at_step)
    summary, expected = run_job(killed), run_job(whole)
    assert replace(summary, seconds=0) == replace(expected, seconds=0) and summary.bad == 1
    for name in ("", ".bad.jsonl"):
        assert Path(f"{killed.target}{name}").read_bytes() == Path(f"{whole.target}{name}").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {
        "in.csv",
        *(f"{name}.csv{ending}" for name in ("killed", "whole") for ending in ("", ".bad.jsonl")),
    }


def test_a_folder_with_other_files_is_left_alone(prediction_request: PredictionRequest) -> None:
    folder = Path(f"{prediction_request.target}.parts")
    folder.mkdir()
    (folder / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="holds other files"):
        PredictionJob(prediction_request).run()
    assert (folder / "mine.txt").read_text(encoding="utf-8") == "mine"


def test_ids_are_read_from_their_column(prediction_request: PredictionRequest, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"id": "k0", "text": "a"}\n{"text": "b"}\n{"id": 2, "text": "c"}\n', encoding="utf-8")

    def run_with_ids() -> PredictionSummary:
        job = PredictionJob(replace(prediction_request, source=str(source)))
        job.data = {**job.data, "id": "id"}
        return job.run()

    assert in_child(run_with_ids).bad == 1
    assert [row["id"] for row in read_output(prediction_request.target)] == ["k0", "2"]
    assert "no id in 'id'" in Path(f"{prediction_request.target}.bad.jsonl").read_text(encoding="utf-8")


@pytest.mark.parametrize("ending", ["csv", slow("jsonl"), slow("parquet")])
def test_a_resumed_job_writes_the_same_file(ending: str, prediction_request: PredictionRequest, tmp_path: Path) -> None:
    names = ("uninterrupted", "stopped")
    uninterrupted, stopped = (replace(prediction_request, target=str(tmp_path / f"{name}.{ending}")) for name in names)

    def stop_and_resume() -> tuple[list[int], list[int], PredictionSummary]:
        first = stop(stopped, 3)
        assert not Path(stopped.target).exists()
        return first, CountingPredictor.calls, PredictionJob(stopped).run()

    expected = run_job(uninterrupted)
    first, second, summary = in_child(stop_and_resume)
    assert (first, second) == ([10, 10, 10], [10, 10, 4])
    assert Path(uninterrupted.target).read_bytes() == Path(stopped.target).read_bytes()
    assert replace(summary, seconds=0) == replace(expected, seconds=0)
    assert not list(tmp_path.glob("*.parts"))


def test_a_job_of_a_changed_input_starts_over(prediction_request: PredictionRequest, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes(Path(prediction_request.source).read_bytes())
    prediction_request = replace(prediction_request, source=str(source))

    def stop_and_change_the_input() -> list[int]:
        stop(prediction_request, 2)
        source.write_text("text,label\nb1 b2,y\n", encoding="utf-8")
        PredictionJob(prediction_request).run()
        return CountingPredictor.calls

    assert in_child(stop_and_change_the_input) == [1]
    assert len(read_output(prediction_request.target)) == 1


def test_standard_output_gets_predictions_and_standard_error_bad_rows(
    prediction_request: PredictionRequest, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "a1"}\nnope\n', encoding="utf-8")
    PredictionJob(replace(prediction_request, source=str(source), target="-")).run()
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    assert json.loads(line)["id"] == "0" and json.loads(err.splitlines()[-1])["row"] == 1


def test_batches_are_halved_when_memory_runs_out(
    prediction_request: PredictionRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict_split, sizes = batched.predict_split, []

    def predict_small(run: Any, dataset: Any, batch_size: int, **options: Any) -> Any:
        sizes.append(batch_size)
        if batch_size > 256:
            raise torch.OutOfMemoryError
        return predict_split(run, dataset, batch_size, **options)

    monkeypatch.setattr(predictors, "predict_split", predict_small)
    PredictionJob(prediction_request).run()
    assert sizes == [4096, 2048, 1024, 512, 256, 256, 256, 256, 256]


def test_pieces_of_another_precision_are_not_reused(
    prediction_request: PredictionRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a machine measures again and finds another precision fastest, nothing is mixed."""
    identities = []
    for seconds in (0.5, 2.0):
        measured = Measurement(fp32=1.0, bf16=seconds)
        monkeypatch.setattr(precision, "measure_once", lambda folder, measured=measured: measured)
        job = PredictionJob(replace(prediction_request, precision="fastest"))
        identities.append(job._identify_request()["precision"])
    assert identities == ["bf16", "fp32"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"run": "nowhere"}, "nowhere holds no finished run"),
        ({"source": "none.csv"}, "none.csv: there is no such file"),
        ({"target": "out.xls"}, "the ending must be one of"),
        ({"target": "-", "source_format": "parquet"}, "Parquet"),
        ({"look_ahead": 0}, "--look-ahead=0: it must be from 1"),
    ],
)
def test_a_wrong_request_is_refused(
    values: dict[str, Any], message: str, prediction_request: PredictionRequest
) -> None:
    with pytest.raises(UserError, match=message):
        PredictionJob(replace(prediction_request, **values))


def test_an_existing_output_is_not_overwritten(prediction_request: PredictionRequest) -> None:
    Path(prediction_request.target).write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="exists; remove it, or name another output"):
        PredictionJob(prediction_request)
    assert Path(prediction_request.target).read_text(encoding="utf-8") == "mine"


def test_a_file_of_other_columns_is_refused_at_once(prediction_request: PredictionRequest, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("txt,label\na,x\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"has no column 'text', .* did you mean txt\?"):
        PredictionJob(replace(prediction_request, source=str(source))).run()


@pytest.mark.parametrize(
    ("cell", "separator", "multi_label", "expected"),
    [
        ("x", None, False, "x"),
        ("", None, False, None),
        (None, None, False, None),
        (" x ", None, False, "x"),
        ("1.0", None, False, "1"),
        ("x\u200b", None, False, "x"),
        ("x | y|x", "|", True, ["x", "y"]),
        ("", "|", True, []),
        (["x"], None, True, ["x"]),
        ("['x', 'y']", None, True, ["x", "y"]),
        ("x", None, True, ["x"]),
        (None, "|", True, []),
        (None, None, True, None),
    ],
)
def test_labels_are_read_as_in_training(
    cell: Any, separator: str | None, multi_label: bool, expected: Any, prediction_request: PredictionRequest
) -> None:
    job = PredictionJob(prediction_request)
    job.data = {**job.data, "label_separator": separator}
    job.predictor = SimpleNamespace(multi_label=multi_label, classes=["x", "y", "1", "3"])  # type: ignore[assignment]
    labelled = (
        ["y"]
        if multi_label and not separator and not isinstance(cell, str)
        else "['y']"
        if cell == "['x', 'y']"
        else "y"
    )
    cells = [job._label_cells({"label": each}) for each in (cell, labelled)]
    assert job._read_labels(cells) == [expected, ["y"] if multi_label else "y"]


# Labels of one column, in each form that a file may have them.
FORMS: dict[str, list[Any]] = {
    "names": ["pos", "neg", "pos\u200b", " neg", "nan", "a|b"],
    "numbers": ["1", "1.0", "2", "2.0", "007", "0.10000000149011612"],
    "lists saved as text": ["['a', 'b']", "[]", "['b']", "['a']", '["a"]', "['c' 'a']"],
    "some lists saved as text": ["['a']", "b", "c", "b", "c", "a"],
    "multi-hot saved as text": ["[1, 0]", "[0, 1]", "[1, 1]", "[0, 0]", "[1, 0]", "[0 1]"],
    "lists": [["a", "b"], [], ["b"], ["c"], ["a", "a"], ["1.0"]],
    "multi-hot": [["1", "0"], ["0", "1"], ["1", "1"], ["0", "0"], ["1", "0"], ["0", "1"]],
    "lists and names": ["a", ["b"], "['c']", ["a", "c"], "b|d", ["d"]],
}


@pytest.mark.parametrize("separator", [None, "|"])
@pytest.mark.parametrize("form", FORMS)
def test_training_and_predicting_read_each_form_alike(form: str, separator: str | None, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"text": f"w{number}", "label": cell} for number, cell in enumerate(FORMS[form] * 6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    files = dict.fromkeys(("train", "validation", "test"), str(path))
    splits = read_splits(replace(tiny_config().data, **files, label_separator=separator), {}, True)
    job: Any = object.__new__(PredictionJob)
    job.request, job.summary = PredictionRequest("run", str(path), "-"), PredictionSummary()
    job.data = {"label": "label", "label_separator": separator}
    job.finished_run = SimpleNamespace(multi_hot=splits.multi_hot)
    job.predictor = SimpleNamespace(classes=splits.classes, multi_label=splits.multi_label)
    cells = [job._label_cells(record.values) for record in records(str(path), "jsonl")]
    assert splits.test is not None
    assert job._read_labels(cells) == list(splits.test["label"])
    # A file without labels, as in training.
    assert job._read_labels([None] * 3) == [None] * 3
    assert splits.multi_hot or job._read_labels(["-1"] * 3) == [None] * 3


def test_labels_that_the_run_does_not_have_are_noted(prediction_request: PredictionRequest, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("text,label\na1,x\na2,new\na3,new\na4,\n", encoding="utf-8")
    summary = run_job(replace(prediction_request, source=str(source)))
    assert summary.metrics and summary.metrics["unseen"] == 2
    assert summary.notes == [
        f"{source}: labels that the run does not have count as errors in accuracy and are left out of loss, brier and "
        "ece: 'new' (2).",
        "roc_auc has no value: it ranks rows with a class above rows without it, and all rows have the same.",
    ]


def test_lists_of_labels_are_refused_for_a_run_of_single_labels(
    prediction_request: PredictionRequest, tmp_path: Path
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "a1", "label": ["x", "y"]}\n', encoding="utf-8")
    request = replace(prediction_request, source=str(source))
    with pytest.raises(
        UserError, match="has one label per row.\nThe predictions are written; only the scores are missing"
    ):
        PredictionJob(request).run()
    assert len(read_output(request.target)) == 1


@pytest.mark.parametrize("form", [slow("multi_hot"), "columns", slow("lists_as_text")])
def test_each_form_of_labels_is_scored_as_in_training(
    form: str, prediction_request: PredictionRequest, tmp_path: Path
) -> None:
    rows = [[row % 2, (row // 2) % 2, (row // 3) % 2] for row in range(36)]
    label: Any = "label"
    if form == "columns":
        label, cells = ["a", "b"], [{"a": row[0], "b": row[1]} for row in rows]
    elif form == "multi_hot":
        cells = [{"label": row} for row in rows]
    else:
        cells = [{"label": str([name for name, bit in zip("abc", row, strict=True) if bit])} for row in rows]
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"text": f"w{number}", **cell}) for number, cell in enumerate(cells)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def score_twice() -> tuple[list[str], dict[str, float] | None, dict[str, float]]:
        overrides = ["evaluate.metric=micro_f1", "train.max_updates=2"]
        config = tiny_config(*overrides)
        files = dict.fromkeys(("train", "validation", "test"), str(path))
        config = replace(config, data=replace(config.data, **files, label=label))
        run = finetune_config(config, tmp_path / "run")
        request = replace(prediction_request, run=str(run.folder), source=str(path))
        return run.load_predictions("test").classes, PredictionJob(request).run().metrics, run.metrics["test"]

    classes, scores, expected = in_child(score_twice)
    assert classes == {"multi_hot": ["0", "1", "2"], "columns": ["a", "b"], "lists_as_text": ["a", "b", "c"]}[form]
    assert scores == pytest.approx(expected, abs=1e-5)


def test_a_file_without_rows_is_refused(prediction_request: PredictionRequest, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("text,label\n", encoding="utf-8")
    with pytest.raises(UserError, match="there is no row in it"):
        PredictionJob(replace(prediction_request, source=str(source))).run()
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_a_resumed_job_skips_bad_rows_too(prediction_request: PredictionRequest, tmp_path: Path) -> None:
    """Row 1 of the first chunk is bad. The resumed job begins at row 4, not at row 3."""
    source = tmp_path / "in.jsonl"
    lines = ["nope" if row == 1 else json.dumps({"text": f"a{row}", "label": "x"}) for row in range(9)]
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    prediction_request = replace(prediction_request, source=str(source), look_ahead=4)

    def stop_and_resume() -> tuple[list[int], list[int]]:
        calls = stop(prediction_request, 2)
        return calls, [PredictionJob(prediction_request).run().bad, *CountingPredictor.calls]

    assert in_child(stop_and_resume) == ([3, 4], [1, 4, 1])
    assert [row["id"] for row in read_output(prediction_request.target)] == ["0", *map(str, range(2, 9))]


@pytest.mark.parametrize("changed", [slow("nothing"), "precision", slow("run")])
@pytest.mark.slow
def test_pieces_of_another_precision_or_run_are_not_used(
    changed: str, prediction_request: PredictionRequest, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(prediction_request.run, folder)
    prediction_request = replace(prediction_request, run=str(folder))

    def stop_and_resume() -> list[int]:
        stop(prediction_request, 3)
        if changed == "run":  # a run that is trained again writes its scores at another time
            os.utime(folder / "metrics.json", (1, 1))
        resumed = replace(prediction_request, precision="bf16") if changed == "precision" else prediction_request
        PredictionJob(resumed).run()
        return CountingPredictor.calls

    assert in_child(stop_and_resume) == ([10, 10, 4] if changed == "nothing" else [10, 10, 10, 10, 4])


def test_neither_a_list_nor_an_object_is_a_text(prediction_request: PredictionRequest, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": {"a": 1}}\n{"text": ["a"]}\n{"text": 7}\n{"text": "a1"}\n', encoding="utf-8")
    summary = run_job(replace(prediction_request, source=str(source), metrics=False))
    assert (summary.rows, summary.bad) == (2, 2)
    assert [row["id"] for row in read_output(prediction_request.target)] == ["2", "3"]


def test_a_file_with_only_bad_rows_gets_an_empty_output(prediction_request: PredictionRequest, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": [1]}\n{"text": [2]}\n', encoding="utf-8")
    summary = run_job(replace(prediction_request, source=str(source), metrics=False))
    assert (summary.rows, summary.bad, read_output(prediction_request.target)) == (0, 2, [])


def test_standard_output_has_one_header(
    prediction_request: PredictionRequest, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = tmp_path / "in.csv"
    source.write_text("text\na1\nb1\nc1\n", encoding="utf-8")
    PredictionJob(replace(prediction_request, source=str(source), target="-", look_ahead=1, metrics=False)).run()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["id", "0", "1", "2"]


def job_with(request: PredictionRequest, **settings: Any) -> PredictionJob:
    """A job of a run that was trained with these settings of its data."""
    job = PredictionJob(request)
    job.data = {**job.data, **settings}
    job.records = records(
        request.source, Path(request.source).suffix[1:], None, job.data["header"], job.request.encoding
    )
    return job


def test_a_run_without_a_header_reads_columns_by_number(prediction_request: PredictionRequest, tmp_path: Path) -> None:
    source = tmp_path / "in.tsv"
    source.write_text("x\ta1\ny\tb1\n", encoding="utf-8")
    request = replace(prediction_request, source=str(source))
    summary = in_child(lambda: job_with(request, header=False, text="2", label="1").run())
    assert (summary.rows, summary.bad) == (2, 0) and summary.metrics is not None
    assert [row["id"] for row in read_output(request.target)] == ["0", "1"]


def test_the_encoding_of_the_input_is_detected_or_given(prediction_request: PredictionRequest, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes("text\nÇa a été retardé.\nOù est l'hôtel ?\n".encode("latin-1"))
    request = replace(prediction_request, source=str(source), metrics=False)
    mark = "begins with a byte order mark like the tables of Excel; Python reads it as utf-8-sig."
    assert run_job(request).notes == ["in.csv is read as CP1252.", f"out.csv {mark}"]
    named = replace(request, encoding="cp1254", target=str(tmp_path / "named.csv"))
    assert run_job(named).notes == ["in.csv is read as CP1254.", f"named.csv {mark}"]
    with pytest.raises(UserError, match="there is no encoding 'cp1'; names of encodings are utf-8, "):
        PredictionJob(replace(request, encoding="cp1", target=str(tmp_path / "none.csv")))


@pytest.mark.parametrize(
    ("encoding", "ending", "has_mark"),
    [
        slow("utf-8", "csv", False),
        slow("utf-8-sig", "csv", True),
        ("gb18030", "tsv", True),
        slow("gb18030", "jsonl", False),
    ],
)
def test_a_table_of_excel_becomes_a_table_for_excel(
    encoding: str, ending: str, has_mark: bool, prediction_request: PredictionRequest, tmp_path: Path
) -> None:
    source, target = tmp_path / "评论.csv", tmp_path / f"结果.{ending}"
    source.write_text("text\n房间很干净，服务也好。\n", encoding=encoding)
    requested = None if encoding.startswith("utf-8") else encoding
    request = replace(prediction_request, source=str(source), target=str(target), metrics=False, encoding=requested)
    notes = run_job(request).notes
    assert target.read_bytes().startswith(b"\xef\xbb\xbf") == has_mark
    assert any("begins with a byte order mark" in note for note in notes) == has_mark


def test_bad_rows_can_be_read_by_people(prediction_request: PredictionRequest, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes("text\n好\n很好,不错\n".encode() + b"\xff,b\n")
    run_job(replace(prediction_request, source=str(source), metrics=False))
    first, second = Path(f"{prediction_request.target}.bad.jsonl").read_text(encoding="utf-8").splitlines()
    assert '"text": "很好"' in first and '"text": "\\udcff"' in second


def test_bytes_that_are_not_utf8_make_only_their_row_a_bad_one(
    prediction_request: PredictionRequest, tmp_path: Path
) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes("text\nfür\nschön grün\n".encode() + b"gr\xfc\xdfe\nfine\n")
    summary = run_job(replace(prediction_request, source=str(source), metrics=False))
    assert (summary.rows, summary.bad) == (3, 1)
    (bad,) = Path(f"{prediction_request.target}.bad.jsonl").read_text(encoding="utf-8").splitlines()
    assert (
        json.loads(bad)["row"] == 2
        and json.loads(bad)["problem"] == "'text' is not UTF-8 (byte 0xFC), though the file is; correct it"
    )


def test_rows_inside_a_cell_are_a_bad_row(prediction_request: PredictionRequest, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text('text,label\n"a1,x\nof 15",y\n"a, b\nc",x\n', encoding="utf-8")
    assert run_job(replace(prediction_request, source=str(source))).bad == 1
    assert [row["id"] for row in read_output(prediction_request.target)] == ["1"]


def test_a_path_may_begin_with_the_home_folder(
    prediction_request: PredictionRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "in.CSV").write_text("text\na1\n", encoding="utf-8")
    assert run_job(replace(prediction_request, source="~/in.CSV", target="~/new.csv", metrics=False)).rows == 1
    assert [row["id"] for row in read_output(str(tmp_path / "new.csv"))] == ["0"]
