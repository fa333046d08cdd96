"""The card that ships with a model: what it answers, how well, how it was made, and what it cannot."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from recipes import seams
from recipes.compose.tricks import build
from recipes.config import Config
from recipes.data.splits import Splits
from recipes.data.splitting import label_counts
from recipes.metrics import Predictions, intervals, marks
from recipes.reports.tables import markdown_table

MOST = 12
FOLDERS = re.compile(r"(?<![\w.])/(?:[^\s,\]'\"/]+/)+")
"""The folders of an absolute path inside a text."""
FEW = 30
"""Rows of a class from which on its scores mean something."""


def card(
    config: Config, splits: Splits, scored: Mapping[str, Predictions], metrics: Mapping[str, Any], limit: int | None
) -> str:
    """The Markdown page, with the front matter that a hub reads.

    Args:
        config: the run's.
        splits: the data.
        scored: the predictions of each split.
        metrics: what `metrics.json` will hold.
        limit: tokens of one input; None: the model reads all of a text.
    """
    alone = config.model.source != "linear" and "ensemble" not in metrics
    library = {"library_name": "transformers"} if alone else {}
    front = yaml.safe_dump({**library, "pipeline_tag": "text-classification", "tags": ["trickbook"]}, sort_keys=False)
    return "\n".join(["---", f"{front}---", *_body(config, splits, scored, metrics, limit)]) + "\n"


def _body(
    config: Config, splits: Splits, scored: Mapping[str, Predictions], metrics: Mapping[str, Any], limit: int | None
) -> Iterator[str]:
    first = scored["validation"]
    model, tricks = _public(config.model.name) or config.model.source, sorted(config.tricks)
    fused, multi_label = "ensemble" in metrics, "any number of" if first.multi_label else "one of"
    yield f"# {_data(config)}: {model}{' with ' + ', '.join(tricks) if tricks else ''}\n"
    yield f"Answers {multi_label} {len(first.classes)} labels: {', '.join(first.classes)}.\n"
    yield "## Use\n"
    yield from _use(config, fused)
    yield "## Scores\n"
    yield from _scores(config, scored, metrics)
    yield "## Data\n"
    yield from _rows(splits, scored)
    yield "## Training\n"
    cost = metrics["cost"]
    passes = f"{cost['passes_per_update']:g} passes an update"
    yield f"Weights kept: {metrics['weights']}. Seed {config.seed}. It took {cost['train_seconds']:,.0f} s,"
    yield f"{cost['peak_memory_mb']:,.0f} MB at most, and {passes}.\n"
    if fused:
        yield from _members(metrics["ensemble"])
    if config.model.source != "linear":
        settings = {"train": asdict(config.train), "tricks": {name: _settings(config, name) for name in tricks}}
        yield f"```yaml\n{yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)}```\n"
    yield "## Limits\n"
    yield from (f"- {line}" for line in _limits(config, first, limit))


def _members(ensemble: Mapping[str, Any]) -> Iterator[str]:
    lines = []
    for name, member in ensemble["members"].items():
        contribution = member["contribution"]
        lines.append([name, f"{member['weight']:.4f}", "" if contribution is None else f"{contribution:+.4f}"])
    yield markdown_table(
        ["member", f"weight ({ensemble['scheme']})", "validation score with it less without it"], lines
    )
    yield (
        f"\nTwo of the runs answer {ensemble['disagreement']:.1%} of validation differently; the loss of all is "
        f"{ensemble['diversity']:.4f} below their average of {ensemble['average_loss']:.4f}.\n"
    )


def _settings(config: Config, trick: str) -> dict[str, Any]:
    return {name: _public(value) for name, value in config.tricks[trick].items() if name != "_target_"}


def _public(value: Any) -> Any:
    """A setting without the folders of the machine that it was made on."""
    if isinstance(value, list):
        return [_public(each) for each in value]
    if isinstance(value, str) and (Path(value).is_absolute() or Path(value).exists()):
        return Path(value).name
    return FOLDERS.sub("", value) if isinstance(value, str) else value


def _data(config: Config) -> str:
    data = config.data
    return Path(data.train).name if data.source == "files" and data.train else data.name or data.source


def _use(config: Config, fused: bool) -> Iterator[str]:
    if fused:
        yield (
            "No model of its own: several answer together, those of `members/` that `ensemble.json` names. From "
            "Trickbook's checkout, `recipes.load(<run folder>).predict(texts)`.\n"
        )
        return
    if config.model.source == "linear":
        yield "No transformers model: from Trickbook's checkout, `recipes.load(<run folder>).predict(texts)`.\n"
        return
    yield "```python\nfrom transformers import pipeline\n"
    yield 'pipeline("text-classification", model="<this folder>")\n```\n'
    tricks = build(config.tricks)
    changing = [name for seam in seams.PREDICTING for name in seams.tricks_around(seam, tricks)]
    changing += [name for name, trick in tricks.items() if trick.slots.get("model") == "reshape"]
    if changing:
        yield (
            f"That leaves out {', '.join(sorted(set(changing)))}, so its answers can differ from the scores below. "
            "`recipes.load(<run folder>).predict(texts)`, from Trickbook's checkout, has all of it.\n"
        )


def _scores(config: Config, scored: Mapping[str, Predictions], metrics: Mapping[str, Any]) -> Iterator[str]:
    lines = []
    for split, predictions in scored.items():
        within = intervals(predictions)
        rows = sum(label is not None for label in predictions.labels)
        for name, value in metrics[split].items():
            low_and_high = "{:.4f} to {:.4f}".format(*within[name]) if name in within else ""
            lines.append([split, f"{rows:,}", name, f"{value:.4f}" if name != "unseen" else str(value), low_and_high])
    yield markdown_table(["split", "rows", "metric", "value", "95 % interval over rows"], lines)
    tricks, ensemble = build(config.tricks), metrics.get("ensemble")
    chose = ["the weights were chosen"] if metrics["weights"] == "best" else []
    if ensemble and ensemble["folds"] == 1 and config.evaluate.weights == "best":
        chose = ["the members' weights were chosen"]
    if ensemble and ensemble["folds"] > 1:  # what calibrates has seen its own fold
        tricks = seams.deciding_tricks(tricks)
    chose += ["the averaged weights were chosen"] if "ingredients" in metrics else []
    chose += ["the members were weighed"] if ensemble and ensemble["scheme"] == "fitted" else []
    chose += [f"{name} was fitted" for name in seams.tricks_around("settle", tricks)]
    told = f"By validation {' and '.join(chose)}, so its scores are a little too good. " if chose else ""
    yield f"\n{told}Another seed would move all of them too.\n"


def _rows(splits: Splits, scored: Mapping[str, Predictions]) -> Iterator[str]:
    counts = {
        "train": label_counts(splits.train),
        **{split: _counts(predictions) for split, predictions in scored.items()},
    }
    lines = [[name, *(f"{each[name]:,}" for each in counts.values())] for name in splits.classes]
    lines.append(["no label", "0", *(f"{(~each.has_label).sum():,}" for each in scored.values())])
    yield markdown_table(["rows with", *counts], lines)
    yield ""


def _counts(predictions: Predictions) -> Mapping[str, int]:
    return dict(zip(predictions.classes, marks(predictions)[0].sum(0).tolist(), strict=True))


def _limits(config: Config, validation: Predictions, limit: int | None) -> Iterator[str]:
    if not validation.multi_label:
        yield "Any text gets one of these labels, also one that is about none of them."
    if limit:
        reading = seams.tricks_around("encode", build(config.tricks))
        longer = f"{reading[0]} says what is read of longer texts" if reading else "longer texts lose their tail"
        yield f"An input has at most {limit:,} tokens; {longer}."
    counts = _counts(validation)
    if few := [name for name in validation.classes if counts[name] < FEW]:
        which = ", ".join(few) if len(few) <= MOST else f"{len(few)} of the labels"
        yield f"What is said of {which} rests on fewer than {FEW} validation rows."
    yield "It was judged on rows of the kind it was trained on; other sources, languages or times may differ."
