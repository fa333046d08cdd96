"""The files of a finished run, and its last lines in the terminal."""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image

from recipes.metrics import Predictions, measure
from recipes.reports import model_card, results
from recipes.reports.results import PACKAGES, show_health, show_scores, write_results
from recipes.runs.folder import FORMAT, RunFolder, is_finished
from recipes.testing import finished_run, tiny_config, tiny_splits


def predictions_of(labels: list[str | None]) -> Predictions:
    """Every row is predicted as x."""
    decisions = np.tile(np.array([1, 0, 0], np.int8), (len(labels), 1))
    ids = [str(row) for row in range(len(labels))]
    return Predictions(ids, labels, decisions * 0.9, decisions, ["x", "y", "z"], False)


def write_some(folder: Path, scored: dict[str, Predictions], *overrides: str) -> RunFolder:
    config = tiny_config(*overrides)
    cost = {"train_seconds": 1.0, "peak_memory_mb": 2.0, "passes_per_update": 1.0}
    scores = {split: measure(predictions) for split, predictions in scored.items()}
    metrics = {**scores, "weights": "best", "candidates": {}, "cost": cost}
    (folder / "model").mkdir()
    return write_results(folder, config, tiny_splits(config), scored, metrics)


@pytest.mark.usefixtures("real_pictures")
def test_finish_writes_predictions_pictures_card_and_metrics(tmp_path: Path) -> None:
    run = write_some(tmp_path, {"validation": predictions_of(["x", "y"])}, "seed=3", "+tricks=[swa,mixup]")
    assert run == RunFolder(tmp_path) and is_finished(tmp_path)
    assert image.imread(tmp_path / "confusion_matrix.png").ndim == 3
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == [
        "confusion_matrix.png",
        "manifest.json",
        "metrics.json",
        "model/README.md",
        "predictions/validation.csv",
    ]
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert list(metrics)[0] == "format" and metrics["format"] == FORMAT
    assert metrics["seed"] == 3 and metrics["tricks"] == ["mixup", "swa"]
    assert metrics["validation"]["accuracy"] == 0.5
    packages = {name: version(name) for name in PACKAGES}
    assert metrics["versions"] == {"python": sys.version.split()[0], **packages}


def test_a_run_is_finished_only_when_all_else_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> str:
        raise RuntimeError("no card")

    monkeypatch.setattr(model_card, "render_card", fail)
    with pytest.raises(RuntimeError, match="no card"):
        write_some(tmp_path, {"validation": predictions_of(["x", "y"])})
    assert not is_finished(tmp_path)


@pytest.mark.parametrize(
    ("test_labels", "split"), [(None, "validation"), ([None, None], "validation"), (["x", "z"], "test")]
)
def test_the_confusion_matrix_is_of_test_where_it_has_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, test_labels: list[str | None] | None, split: str
) -> None:
    scored = {"validation": predictions_of(["x", "y"])}
    if test_labels is not None:
        scored["test"] = predictions_of(test_labels)
    sources: list[Predictions] = []
    monkeypatch.setattr(results, "draw_confusion", lambda predictions, path: sources.append(predictions))
    write_some(tmp_path, scored)
    assert sources == [scored[split]]


def test_the_card_has_the_token_limit_of_the_tokenizer(tmp_path: Path) -> None:
    text = (finished_run() / "model" / "README.md").read_text(encoding="utf-8")
    limit = json.loads((finished_run() / "model" / "tokenizer_config.json").read_text())["model_max_length"]
    assert f"An input has at most {limit:,} tokens" in text
    run = write_some(tmp_path, {"validation": predictions_of(["x", "y"])})
    assert "An input has at most" not in (run.folder / "model" / "README.md").read_text(encoding="utf-8")


def test_show_prints_scores_candidates_and_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    run = RunFolder(finished_run())
    assert len(run.metrics["candidates"]) > 1
    show_scores(run)
    show_health(run)
    output = capsys.readouterr().out
    assert f"scores: {run.metrics['weights']} weights" in output and "candidates on validation" in output
    assert f"{run.metrics['test']['accuracy']:.4f}" in output
    assert output.endswith(f"\n{run.folder}\n")


def test_show_prints_from_the_first_process_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(results, "is_first", lambda: False)
    show_scores(RunFolder(finished_run()))
    show_health(RunFolder(finished_run()))
    assert capsys.readouterr().out == ""
