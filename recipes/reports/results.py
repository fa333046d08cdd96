"""The files that every finished run has: predictions, pictures, model card, scores, manifest. And its last lines."""

import json
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.config import Config, value_at
from recipes.metrics import Predictions, explain_missing, measure_classes
from recipes.reports.health import describe_health
from recipes.reports.plots import draw_confusion, draw_learning_curve
from recipes.reports.tables import ScoreTable, console_for_tables, print_classes
from recipes.runs import manifest
from recipes.runs.files import atomic_write, write_json
from recipes.runs.folder import FORMAT, RunFolder, main_split
from recipes.runs.history import History
from recipes.runs.predictions import write_predictions
from recipes.runtime.distributed import is_first
from recipes.runtime.program import in_notebook

if TYPE_CHECKING:
    from recipes.data.splits import Splits

PACKAGES = ("torch", "transformers", "datasets", "accelerate", "hydra-core", "omegaconf", "scikit-learn")


def write_results(
    folder: Path, config: Config, splits: "Splits", scored: Mapping[str, Predictions], metrics: Mapping[str, Any]
) -> RunFolder:
    """Write the results into a run folder.

    `manifest.json` comes last: a folder that has it is a finished run, and its checkpoints are removed.

    Args:
        folder: the run folder, with the model in `model/` unless `checkpoint.save_model` is false.
        config: of the run.
        splits: the data.
        scored: the predictions of each split.
        metrics: the scores of each split, and what the run cost.
    """
    from recipes.reports.model_card import render_card  # late: it imports torch, and a finished run is shown without

    for name, predictions in scored.items():
        write_predictions(folder / "predictions" / f"{name}.csv", predictions)
    if (folder / "history.jsonl").exists():
        history = History(folder / "history.jsonl").read()
        draw_learning_curve(history, config.evaluate.metric, folder / "learning_curve.png")
    draw_confusion(scored[main_split(metrics)], folder / "confusion_matrix.png")
    tokenizer = folder / "model" / "tokenizer_config.json"
    # `model=linear` and ensembles have no tokenizer, and no limit.
    limit = json.loads(tokenizer.read_text(encoding="utf-8"))["model_max_length"] if tokenizer.exists() else None
    if (folder / "model").is_dir():
        with atomic_write(folder / "model" / "README.md") as draft:
            draft.write_text(render_card(config, splits, scored, metrics, limit), encoding="utf-8")
    write_json(
        folder / "metrics.json",
        {
            "format": FORMAT,
            **metrics,
            "labels": {"multi_label": splits.multi_label, "multi_hot": splits.multi_hot},
            "versions": dict(_read_versions()),
            "seed": config.seed,
            "tricks": sorted(config.tricks),
        },
    )
    manifest.write(folder, list(_list_unneeded(config)))
    return RunFolder(folder)


def describe_scores(scored: Mapping[str, Predictions], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `metrics.json` next to the scores of the splits.

    Args:
        scored: the predictions of each split.
        metrics: the scores of each split.

    Returns:
        `classes`: precision, recall, F1 and support of each class of each split. `unscored`: why a metric has no value
        on a split, a sentence each, if there are any.
    """
    classes = {split: measure_classes(predictions) for split, predictions in scored.items()}
    unscored = {split: explain_missing(predictions, metrics[split]) for split, predictions in scored.items()}
    missing = {split: sentences for split, sentences in unscored.items() if sentences}
    return {"classes": classes, **({"unscored": missing} if missing else {})}


@cache
def _read_versions() -> Mapping[str, str]:
    return {"python": sys.version.split()[0], **{name: version(name) for name in PACKAGES}}


def _list_unneeded(config: Config) -> Iterator[str]:
    """List the folders that a finished run does not need."""
    if config.checkpoint.after_finish == "remove":
        yield manifest.CHECKPOINTS
    if not config.checkpoint.save_model:  # the members of an ensemble are its model
        yield manifest.MEMBERS


def show_scores(run: RunFolder) -> None:
    """Print the scores of a run, from the first process only. They come before all that its folder still lacks.

    A notebook gets the chosen metric alone: the run shows its scores there.
    """
    if not is_first():
        return
    metrics = run.metrics
    scored = {name: metrics[name] for name in run.splits if metrics[name]}
    if in_notebook():
        chosen_metric = value_at(run.config, "evaluate.metric")
        scores = [f"{name} {scores[chosen_metric]:.4f}" for name, scores in scored.items() if chosen_metric in scores]
        print(f"{chosen_metric}: {' · '.join(scores)} ({metrics['weights']} weights)", flush=True)
        return
    console = console_for_tables()
    console.print(ScoreTable(scored, f"scores: {metrics['weights']} weights"))
    if len(metrics["candidates"]) > 1:
        console.print(ScoreTable(metrics["candidates"], "candidates on validation"))
    main = main_split(metrics)
    if classes := metrics.get("classes", {}).get(main):  # a run of an earlier version has none
        print_classes(console, classes, f"classes on {main}")
    for split, sentences in metrics.get("unscored", {}).items():
        for sentence in sentences.values():
            console.print(f"note: on {split}, {sentence}", markup=False, soft_wrap=True)
    sys.stdout.flush()  # the next lines may take seconds, and the output may be a file


def show_health(run: RunFolder) -> None:
    """Print a finished run's health and its folder, from the first process only."""
    if not is_first():
        return
    console = console_for_tables()
    for line in describe_health(run.metrics):
        console.print(line, markup=False, soft_wrap=True)
    console.print(str(run.folder), markup=False, soft_wrap=True)
