"""The model card in `model/README.md`: what the model predicts, its scores, its training, its limits."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData

from recipes import seams
from recipes.compose.tricks import build
from recipes.config import Config
from recipes.data.language import SAMPLE, guess_language
from recipes.data.splits import Splits
from recipes.data.splitting import label_counts
from recipes.metrics import Predictions, intervals, label_matrices
from recipes.models.packages import PACKAGES
from recipes.reports.health import describe_health
from recipes.reports.tables import markdown_code, markdown_table, markdown_text
from recipes.runs.files import expand_home

MAX_NAMES = 12
"""Classes with few rows that are listed by name; of more, only their number is given."""
FOLDERS = re.compile(r"(?<![\w.])/(?:[^\s,\]'\"/]+/)+")
"""The folders of an absolute path inside a text."""
TASK = "text-classification"
HUB_METRICS = {
    "accuracy": "accuracy",
    **dict.fromkeys(("macro_f1", "weighted_f1", "micro_f1"), "f1"),
    **dict.fromkeys(("macro_precision", "weighted_precision", "micro_precision"), "precision"),
    **dict.fromkeys(("macro_recall", "weighted_recall", "micro_recall"), "recall"),
    "mcc": "matthews_correlation",
    "roc_auc": "roc_auc",
    "brier": "brier_score",
}
"""The hub's names of metrics."""
FEW_ROWS = 30
"""Below this number of rows a class's scores mean little."""


def render_card(
    config: Config, splits: Splits, scored: Mapping[str, Predictions], metrics: Mapping[str, Any], limit: int | None
) -> str:
    """The card as Markdown, with the front matter that the hub reads.

    Args:
        config: of the run.
        splits: the data.
        scored: the predictions of each split.
        metrics: the content of `metrics.json`.
        limit: tokens of one input; None if the model reads all of a text.
    """
    data = _card_data(config, splits, scored, metrics)
    return "\n".join(["---", data.to_yaml(), "---", *_body(config, splits, scored, metrics, limit)]) + "\n"


def _card_data(
    config: Config, splits: Splits, scored: Mapping[str, Predictions], metrics: Mapping[str, Any]
) -> ModelCardData:
    """The front matter: what the hub shows next to the card, and searches."""
    is_transformer = config.model.source != "linear" and "ensemble" not in metrics
    on_hub = config.data.name if config.data.source == "hub" else None
    results = [
        EvalResult(
            task_type=TASK,
            task_name="Text Classification",
            dataset_type=on_hub or _data_name(config),
            dataset_name=_data_name(config),
            dataset_config=config.data.subset if on_hub else None,
            dataset_split=split,
            metric_type=HUB_METRICS.get(name, name),
            metric_name=name,
            metric_value=value,
        )
        for split in scored
        for name, value in metrics[split].items()
        if isinstance(value, float) and math.isfinite(value)
    ]
    return ModelCardData(
        language=guess_language(splits.train["text"][:SAMPLE]),
        library_name="transformers" if is_transformer else None,
        base_model=_base_model(config) if is_transformer else None,
        datasets=on_hub,
        pipeline_tag=TASK,
        tags=["trickbook", *sorted(config.tricks)],
        metrics=sorted({result.metric_type for result in results} & set(HUB_METRICS.values())) or None,
        model_name=_title(config),
        eval_results=results or None,
    )


def _base_model(config: Config) -> str | None:
    """The hub's name of the model that was fine-tuned; None if it has none."""
    model = config.model
    if package := PACKAGES.get(model.source):
        return f"{package.owner}/{package.model}"
    is_named = model.source == "hub" and model.name and not Path(model.name).is_absolute()
    return model.name if is_named and not expand_home(str(model.name)).exists() else None


def _title(config: Config) -> str:
    model, tricks = without_folders(config.model.name) or config.model.source, sorted(config.tricks)
    return f"{_data_name(config)}: {model}{' with ' + ', '.join(tricks) if tricks else ''}"


def _body(
    config: Config, splits: Splits, scored: Mapping[str, Predictions], metrics: Mapping[str, Any], limit: int | None
) -> Iterator[str]:
    validation = scored["validation"]
    tricks, is_ensemble = sorted(config.tricks), "ensemble" in metrics
    how_many = "any number of" if validation.multi_label else "one of"
    yield f"# {markdown_text(_title(config))}\n"
    labels = markdown_text(", ".join(validation.classes))
    yield f"Predicts {how_many} {len(validation.classes)} labels: {labels}.\n"
    yield "## Use\n"
    yield from _use(config, is_ensemble)
    yield "## Scores\n"
    yield from _scores(config, scored, metrics)
    if lines := list(describe_health(metrics)):
        yield "## Health\n"
        yield from (f"- {markdown_text(line)}" for line in lines)
        yield ""
    yield "## Data\n"
    yield from _rows(splits, scored)
    yield "## Training\n"
    # Time and memory differ from run to run; a repeated run makes the same `model/`, byte by byte.
    passes = metrics["cost"]["passes_per_update"]
    yield f"Weights: {metrics['weights']}. Seed: {config.seed}. {passes:g} passes an update. `metrics.json` of the run"
    yield "has the time and memory that training took.\n"
    if is_ensemble:
        yield from _members(metrics["ensemble"])
    if config.model.source != "linear":
        settings = {"train": asdict(config.train), "tricks": {name: _settings(config, name) for name in tricks}}
        yield f"{markdown_code(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), 'yaml')}\n"
    yield "## Limits\n"
    yield from (f"- {markdown_text(line)}" for line in _limits(config, validation, limit))


def _members(ensemble: Mapping[str, Any]) -> Iterator[str]:
    lines = []
    for name, member in ensemble["members"].items():
        contribution = member["contribution"]
        lines.append([name, f"{member['weight']:.4f}", "" if contribution is None else f"{contribution:+.4f}"])
    yield markdown_table(["member", f"weight ({ensemble['scheme']})", "validation score with it minus without"], lines)
    yield (
        f"\nTwo runs of the ensemble disagree on {ensemble['disagreement']:.1%} of the validation predictions, on "
        f"average. The loss of the ensemble is {ensemble['diversity']:.4f} below its members' average of "
        f"{ensemble['average_loss']:.4f}.\n"
    )


def _settings(config: Config, trick: str) -> dict[str, Any]:
    return {name: without_folders(value) for name, value in config.tricks[trick].items() if name != "_target_"}


def without_folders(value: Any) -> Any:
    """A setting without the folders of this machine: a card is published, and they are private."""
    if isinstance(value, list):
        return [without_folders(each) for each in value]
    if isinstance(value, dict):
        return {name: without_folders(each) for name, each in value.items()}
    if isinstance(value, str) and (Path(value).is_absolute() or Path(value).exists()):
        return Path(value).name
    return FOLDERS.sub("", value) if isinstance(value, str) else value


def _data_name(config: Config) -> str:
    data = config.data
    return Path(data.train).name if data.source == "files" and data.train else data.name or data.source


def _use(config: Config, is_ensemble: bool) -> Iterator[str]:
    if is_ensemble:
        yield (
            "This folder has no model of its own: the ensemble combines the models in `members/` that `ensemble.json` "
            "lists. Load it with Trickbook: `recipes.load(<run folder>).predict(texts)`.\n"
        )
        return
    if config.model.source == "linear":
        yield (
            "This is not a transformers model. Load it with Trickbook by `recipes.load(<run folder>).predict(texts)`.\n"
        )
        return
    yield "```python\nfrom transformers import pipeline\n"
    yield 'pipeline("text-classification", model="<this folder>")\n```\n'
    # A pipeline has the weights alone: tricks that act on texts, probabilities or the model's forward pass are missing.
    tricks = build(config.tricks)
    missing = [name for seam in seams.PREDICTING for name in seams.tricks_around(seam, tricks)]
    missing += [name for name, trick in tricks.items() if trick.slots.get("model") == "reshape"]
    if missing:
        names = markdown_text(", ".join(sorted(set(missing))))
        yield (
            f"The pipeline leaves out {names}, so its predictions can differ from those scored below. "
            "`recipes.load(<run folder>).predict(texts)`, with Trickbook, leaves out "
            "nothing.\n"
        )


def _scores(config: Config, scored: Mapping[str, Predictions], metrics: Mapping[str, Any]) -> Iterator[str]:
    lines = []
    for split, predictions in scored.items():
        bounds = intervals(predictions)
        rows = int(predictions.has_label.sum())
        for name, value in metrics[split].items():
            interval = "{:.4f} to {:.4f}".format(*bounds[name]) if name in bounds else ""
            lines.append([split, f"{rows:,}", name, f"{value:.4f}" if name != "unseen" else str(value), interval])
    yield markdown_table(["split", "rows", "metric", "value", "95 % interval over rows"], lines)
    fitted = _fitted_on_validation(config, metrics)
    why = markdown_text(" and ".join(fitted))
    reason = f"Validation scores are slightly optimistic, because on that split {why}. " if fitted else ""
    yield f"\n{reason}All scores would differ with another seed.\n"


def _fitted_on_validation(config: Config, metrics: Mapping[str, Any]) -> list[str]:
    """What was chosen or fitted on the validation split, each as a clause."""
    tricks, ensemble = build(config.tricks), metrics.get("ensemble")
    clauses = ["the weights were chosen"] if metrics["weights"] == "best" else []
    if ensemble and ensemble["folds"] == 1 and config.evaluate.weights == "best":
        clauses = ["the members' weights were chosen"]
    # With folds, a member is calibrated on its own fold; only what decides is fitted on validation.
    if ensemble and ensemble["folds"] > 1:
        tricks = seams.deciding_tricks(tricks)
    clauses += ["the averaged weights were chosen"] if "ingredients" in metrics else []
    clauses += ["the weight of each member was fitted"] if ensemble and ensemble["scheme"] == "fitted" else []
    return clauses + [f"{name} was fitted" for name in seams.tricks_around("settle", tricks)]


def _rows(splits: Splits, scored: Mapping[str, Predictions]) -> Iterator[str]:
    counts = {
        "train": label_counts(splits.train),
        **{split: _count_labels(predictions) for split, predictions in scored.items()},
    }
    lines = [[name, *(f"{each[name]:,}" for each in counts.values())] for name in splits.classes]
    lines.append(["no label", "0", *(f"{(~each.has_label).sum():,}" for each in scored.values())])
    yield markdown_table(["rows with", *counts], lines)
    yield ""


def _count_labels(predictions: Predictions) -> Mapping[str, int]:
    labels, _, _ = label_matrices(predictions)
    return dict(zip(predictions.classes, labels.sum(0).tolist(), strict=True))


def _limits(config: Config, validation: Predictions, limit: int | None) -> Iterator[str]:
    if not validation.multi_label:
        yield "Every text gets one of these labels, even if none of them applies."
    if limit:
        encoding_tricks = seams.tricks_around("encode", build(config.tricks))
        longer = (
            f"{encoding_tricks[0]} decides what is read of longer texts"
            if encoding_tricks
            else "longer texts are cut at the end"
        )
        yield f"An input has at most {limit:,} tokens; {longer}."
    counts = _count_labels(validation)
    if rare := [name for name in validation.classes if counts[name] < FEW_ROWS]:
        classes = ", ".join(rare) if len(rare) <= MAX_NAMES else f"{len(rare)} of the labels"
        yield f"The scores of {classes} rest on fewer than {FEW_ROWS} validation rows."
    yield (
        "The model was evaluated on rows like those it was trained on; other sources, languages or periods may give "
        "other scores."
    )
