"""Predicting a file: the order, bad rows, what is taken up again, scores, and what is refused."""

import json
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
from recipes.errors import UserError
from recipes.prediction import batched, files
from recipes.prediction.files import Job, PredictionRequest, PredictionSummary
from recipes.prediction.predictors import Predictor
from recipes.testing import finished_run, in_child, make_text_file, tiny_config

ROWS = 44


@pytest.fixture
def asked(tmp_path: Path) -> PredictionRequest:
    return PredictionRequest(
        str(finished_run()),
        str(make_text_file(12)),
        str(tmp_path / "out.csv"),
        look_ahead=10,
        metrics=True,
        precision="fp32",
    )


def go(asked: PredictionRequest) -> PredictionSummary:
    return in_child(lambda: Job(asked).go())


def answers(path: str) -> list[dict[str, Any]]:
    return [dict(record.values) for record in records(path, "csv")]


def test_what_the_model_says_in_the_order_that_was_read(asked: PredictionRequest) -> None:
    told, found = go(asked), answers(asked.target)
    texts = [str(record.values["text"]) for record in records(asked.source, "csv")]
    wanted = in_child(lambda: load(finished_run()).predict(texts))
    assert [row["id"] for row in found] == [str(number) for number in range(ROWS)]
    assert [row["prediction"] for row in found] == wanted.names()
    np.testing.assert_allclose([float(row["p_y"]) for row in found], wanted.probabilities[:, 1], atol=2e-6)
    assert (told.rows, told.bad) == (ROWS, 0)
    assert told.metrics is not None
    assert told.metrics["accuracy"] == pytest.approx(
        sum(
            row["prediction"] == record.values["label"]
            for row, record in zip(found, records(asked.source, "csv"), strict=True)
        )
        / ROWS
    )


def test_the_look_ahead_changes_nothing(asked: PredictionRequest, tmp_path: Path) -> None:
    go(asked)
    go(replace(asked, look_ahead=1000, target=str(tmp_path / "whole.csv")))
    for one, other in zip(answers(asked.target), answers(str(tmp_path / "whole.csv")), strict=True):
        assert one["id"] == other["id"] and float(one["p_x"]) == pytest.approx(float(other["p_x"]), abs=2e-6)


def test_bad_rows_are_told_and_stop_nothing(asked: PredictionRequest, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "a1"}\nnope\n{"text": [7]}\n{"label": "x"}\n{"text": "b1"}\n', encoding="utf-8")
    told = go(replace(asked, source=str(source), look_ahead=2))
    assert (told.rows, told.bad) == (2, 3)
    assert [row["id"] for row in answers(asked.target)] == ["0", "4"]
    bad = [json.loads(line) for line in Path(f"{asked.target}.bad.jsonl").read_text().splitlines()]
    assert [each["row"] for each in bad] == [1, 2, 3]
    assert [each["problem"] for each in bad[1:]] == ["no text in 'text'"] * 2
    assert bad[1]["record"] == {"text": [7]}


class Counting(Predictor):
    """A model that notes how many rows each call has, and may die."""

    calls: list[int]
    dies_at: int = 99

    def predict(self, texts: Any, pairs: Any, ids: Any) -> Any:
        Counting.calls.append(len(ids))
        if len(Counting.calls) == Counting.dies_at:
            raise KeyboardInterrupt
        return super().predict(texts, pairs, ids)


def stop(asked: PredictionRequest, call: int) -> list[int]:
    """Let a job die at a call of its model; gives the rows of each call, and counts those that follow anew."""
    files.load_predictor = Counting  # type: ignore[assignment]
    Counting.calls, Counting.dies_at = [], call
    with pytest.raises(KeyboardInterrupt):
        Job(asked).go()
    made, Counting.calls, Counting.dies_at = Counting.calls, [], 99
    return made


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["data.label_separator=|", "evaluate.metric=micro_f1"],
        ["+tricks=[fusion]", "tricks.fusion.folds=2", "tricks.fusion.members=[tiny,linear]"],
    ],
)
def test_the_scores_are_those_of_training(overrides: list[str], asked: PredictionRequest, tmp_path: Path) -> None:
    def both() -> tuple[dict[str, float] | None, dict[str, float]]:
        run = finetune_config(tiny_config("train.learning_rate=3e-3", *overrides), tmp_path / "run")
        source = run.config["data"]["test"]
        return Job(replace(asked, run=str(run.folder), source=source)).go().metrics, run.metrics["test"]

    found, wanted = in_child(both)
    assert found == pytest.approx(wanted, abs=1e-5)


def test_numbers_and_empty_cells_are_texts_as_in_training(asked: PredictionRequest, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": 7}\n{"text": null}\n', encoding="utf-8")
    assert go(replace(asked, source=str(source))).bad == 0
    assert len(answers(asked.target)) == 2


def test_a_higher_look_ahead_goes_on_too(asked: PredictionRequest, tmp_path: Path) -> None:
    def twice() -> list[int]:
        stop(asked, 3)
        Job(replace(asked, look_ahead=20)).go()
        return Counting.calls

    assert in_child(twice) == [20, 4]
    assert [row["id"] for row in answers(asked.target)] == [str(number) for number in range(ROWS)]


def test_a_damaged_piece_is_made_again(asked: PredictionRequest, tmp_path: Path) -> None:
    def twice() -> list[int]:
        stop(asked, 4)
        (Path(f"{asked.target}.parts") / "00000001").write_bytes(b"")
        Job(asked).go()
        return Counting.calls

    assert in_child(twice) == [10, 10, 10, 4]
    assert [row["id"] for row in answers(asked.target)] == [str(number) for number in range(ROWS)]


def test_a_folder_of_somebody_else_is_left_alone(asked: PredictionRequest) -> None:
    folder = Path(f"{asked.target}.parts")
    folder.mkdir()
    (folder / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="holds other files"):
        Job(asked).go()
    assert (folder / "mine.txt").read_text(encoding="utf-8") == "mine"


def test_ids_of_their_own(asked: PredictionRequest, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"id": "k0", "text": "a"}\n{"text": "b"}\n{"id": 2, "text": "c"}\n', encoding="utf-8")

    def run() -> PredictionSummary:
        job = Job(replace(asked, source=str(source)))
        job.data = {**job.data, "id": "id"}
        return job.go()

    assert in_child(run).bad == 1
    assert [row["id"] for row in answers(asked.target)] == ["k0", "2"]
    assert "no id in 'id'" in Path(f"{asked.target}.bad.jsonl").read_text(encoding="utf-8")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_stopped_anywhere_it_goes_on_and_ends_the_same(ending: str, asked: PredictionRequest, tmp_path: Path) -> None:
    whole, stopped = (replace(asked, target=str(tmp_path / f"{name}.{ending}")) for name in ("whole", "stopped"))

    def twice() -> tuple[list[int], list[int], PredictionSummary]:
        first = stop(stopped, 3)
        assert not Path(stopped.target).exists()
        return first, Counting.calls, Job(stopped).go()

    told = go(whole)
    first, second, again = in_child(twice)
    assert (first, second) == ([10, 10, 10], [10, 10, 4])
    assert Path(whole.target).read_bytes() == Path(stopped.target).read_bytes()
    assert replace(told, seconds=0) == replace(again, seconds=0)
    assert not list(tmp_path.glob("*.parts"))


def test_another_input_is_not_gone_on_with(asked: PredictionRequest, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes(Path(asked.source).read_bytes())
    asked = replace(asked, source=str(source))

    def stopped_and_changed() -> list[int]:
        stop(asked, 2)
        source.write_text("text,label\nb1 b2,y\n", encoding="utf-8")
        Job(asked).go()
        return Counting.calls

    assert in_child(stopped_and_changed) == [1]
    assert len(answers(asked.target)) == 1


def test_to_standard_output(asked: PredictionRequest, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "a1"}\nnope\n', encoding="utf-8")
    Job(replace(asked, source=str(source), target="-")).go()
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    assert json.loads(line)["id"] == "0" and json.loads(err.splitlines()[-1])["row"] == 1


def test_where_memory_runs_out_batches_are_halved(asked: PredictionRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    from recipes.prediction import predictors

    inner, sizes = batched.predict_split, []

    def short(run: Any, dataset: Any, batch_size: int, accelerator: Any = None) -> Any:
        sizes.append(batch_size)
        if batch_size > 16:
            raise torch.OutOfMemoryError
        return inner(run, dataset, batch_size, accelerator)

    monkeypatch.setattr(predictors, "predict_split", short)
    Job(asked).go()
    assert sizes == [64, 32, 16, 16, 16, 16, 16]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"run": "nowhere"}, "nowhere holds no finished run"),
        ({"source": "none.csv"}, "none.csv: there is no such file"),
        ({"target": "out.xls"}, "the ending must be one of"),
        ({"target": "-", "source_format": "parquet"}, "Parquet"),
        ({"look_ahead": 0}, "--look-ahead=0: at least one row"),
    ],
)
def test_refusals(values: dict[str, Any], message: str, asked: PredictionRequest) -> None:
    with pytest.raises(UserError, match=message):
        Job(replace(asked, **values))


def test_nothing_is_written_over(asked: PredictionRequest) -> None:
    Path(asked.target).write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="is there already; remove it, or name another output"):
        Job(asked)
    assert Path(asked.target).read_text(encoding="utf-8") == "mine"


def test_a_file_of_other_columns_is_refused_at_once(asked: PredictionRequest, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("txt,label\na,x\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"has no column 'text', .* did you mean txt\?"):
        Job(replace(asked, source=str(source))).go()


@pytest.mark.parametrize(
    ("cell", "separator", "several", "wanted"),
    [
        ("x", None, False, "x"),
        ("", None, False, None),
        (None, None, False, None),
        (3, None, False, "3"),
        (" x ", None, False, "x"),
        (1.0, None, False, "1"),
        (float("nan"), None, False, None),
        ("x | y|x", "|", True, ["x", "y"]),
        ("", "|", True, []),
        (["x"], None, True, ["x"]),
        (None, "|", True, None),
    ],
)
def test_labels(cell: Any, separator: str | None, several: bool, wanted: Any, asked: PredictionRequest) -> None:
    job = Job(asked)
    job.data = {**job.data, "label_separator": separator}
    job.reader = SimpleNamespace(multi_label=several)  # type: ignore[assignment]
    assert job._label(cell) == wanted


def test_nothing_in_it(asked: PredictionRequest, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("text,label\n", encoding="utf-8")
    with pytest.raises(UserError, match="there is no row in it"):
        Job(replace(asked, source=str(source))).go()
