"""One run of the whole procedure: train, choose the weights, score, save. The base of the `train` seam."""

import os
import resource
import shutil
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from rich.console import Console

from recipes import linear, order
from recipes.config import Config
from recipes.data import Splits
from recipes.errors import UserError
from recipes.folder import FORMAT, FinishedRun, write_json, write_predictions, written
from recipes.loop import Run
from recipes.metrics import Predictions, available, measure
from recipes.report import draw_confusion, draw_learning_curve, score_table
from recipes.trick import Trick

PACKAGES = ("torch", "transformers", "datasets", "accelerate", "hydra-core", "omegaconf", "scikit-learn")


def train(config: Config, splits: Splits, tricks: Mapping[str, Trick], folder: Path) -> FinishedRun:
    """Train and score one model.

    Args:
        config: everything that decides the run.
        splits: the data; the test split is opened only when the weights are chosen.
        tricks: the selected ones, by name.
        folder: the run folder, already this config's own.

    Raises:
        UserError: the metric does not fit the data, there is no such model, the loss is no number, the disk is full.
        Interrupted: after Ctrl-C or SIGTERM.
    """
    _check(config, splits, tricks)
    if config.model.source == "linear":
        return linear.train(config, splits, folder)
    run = Run(config, tricks, splits, folder)
    run.fit()
    candidates, kept = _choose_weights(run)
    with run.seams.weights():
        scores = {name: run.predictions(run.encoded(rows)) for name, rows in _shut(splits).items()}
        scores = {"validation": run.predictions(run.validation), **scores}
        if run.accelerator.is_main_process:
            _save_model(run)
    metrics = {"candidates": candidates, "kept": kept, "cost": _cost(run), "onion": order.onion(tricks)}
    if run.accelerator.is_main_process:
        draw_learning_curve(run.history.read(), config.evaluate.metric, folder / "learning_curve.png")
        finish(folder, config, scores, metrics)
    run.accelerator.wait_for_everyone()
    return FinishedRun(folder)


def _cost(run: Run) -> dict[str, float]:
    """What training took; every process asks, since the passes of all are counted."""
    rows = torch.tensor(run.rows_passed, device=run.accelerator.device)
    passed = int(run.accelerator.reduce(rows)) if run.accelerator.num_processes > 1 else run.rows_passed
    seen = max(1, sum(line.get("examples", 0) for line in run.history.read()))
    return {
        "train_seconds": round(run.seconds, 3),
        "examples_per_second": round(seen / max(run.seconds, 1e-9), 3),
        "peak_memory_mb": peak_memory_mb(run.accelerator.device),
        "passes_per_update": round(passed / seen, 4),
    }


def _check(config: Config, splits: Splits, tricks: Mapping[str, Trick]) -> None:
    """Refuse what cannot work, before anything is trained."""
    problems = []
    names = available(len(splits.classes), splits.multi_label)
    if config.evaluate.metric not in names:
        problems.append(
            f"evaluate.metric={config.evaluate.metric}: this data has {', '.join(names)}; choose one of them."
        )
    if config.evaluate.early_stopping and (owners := order.around("weights", tricks)):
        problems.append(
            f"evaluate.early_stopping={config.evaluate.early_stopping}: {owners[0]} averages the end of training, "
            "which an early stop would cut off; leave out one of the two."
        )
    if problems:
        raise UserError(*problems)


def _shut(splits: Splits) -> dict[str, Dataset]:
    """What no run may look at before its weights are chosen."""
    return {**({} if splits.test is None else {"test": splits.test}), **splits.extra}


def _choose_weights(run: Run) -> tuple[dict[str, Any], str]:
    """Compare the candidates on validation and leave the model with the weights that are kept."""
    last = measure(run.predictions(run.validation))
    candidates: dict[str, Any] = {"last": last}
    if run.best is not None:
        candidates["best"] = {**run.best["metrics"], "update": run.best["update"]}
    kept = run.config.evaluate.keep
    if order.around("weights", run.tricks):
        with run.seams.weights():
            candidates["averaged"] = measure(run.predictions(run.validation))
        return candidates, "averaged"
    if kept == "best":
        run.bare_model.load_state_dict(run.checkpoints.best())
    return candidates, kept


def _save_model(run: Run) -> None:
    """Write `model/` so that `transformers.pipeline` loads it."""
    with written(run.folder / "model") as draft:
        run.bare_model.save_pretrained(draft)  # type: ignore[operator]
        # pipeline() does not cut a text that is too long unless the tokenizer knows the length that was trained.
        run.tokenizer.model_max_length = run.max_length
        run.tokenizer.save_pretrained(draft)


def finish(folder: Path, config: Config, scores: Mapping[str, Predictions], metrics: Mapping[str, Any]) -> FinishedRun:
    """Write predictions, pictures and, last of all, `metrics.json`, which says that the run is finished."""
    for name, predictions in scores.items():
        write_predictions(folder / "predictions" / f"{name}.csv", predictions)
    measured = {name: measure(predictions) for name, predictions in scores.items()}
    shown = "test" if measured.get("test") else "validation"
    draw_confusion(scores[shown], folder / "confusion_matrix.png")
    write_json(
        folder / "metrics.json",
        {
            "format": FORMAT,
            **measured,
            **metrics,
            "versions": {"python": sys.version.split()[0], **{name: version(name) for name in PACKAGES}},
            "seed": config.seed,
            "tricks": sorted(config.tricks),
        },
    )
    return FinishedRun(folder)


def peak_memory_mb(device: torch.device) -> float:
    """The most memory that the device (on a CPU: this process) has held, in MB of 2**20 bytes."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale, 1)


def show(run: FinishedRun) -> None:
    """Print a finished run's scores and where they are; one process speaks for all."""
    if os.environ.get("RANK", "0") != "0":
        return
    metrics = run.metrics
    splits = {name: values for name, values in metrics.items() if isinstance(values, dict) and "loss" in values}
    console = Console(highlight=False, width=max(100, shutil.get_terminal_size().columns))
    console.print(score_table(splits, f"finished: {metrics['kept']} weights"))
    if len(metrics["candidates"]) > 1:
        console.print(score_table(metrics["candidates"], "candidates on validation", "weights"))
    console.print(str(run.folder), markup=False)
