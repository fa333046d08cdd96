"""Incremental: start from a finished run's weights and train on new data only.

Weights and tokenizer come from the run folder; rows of the head are matched to labels by name, in any order. A fraction
`replay` of the old training rows of each class, at least one row, is added to the new rows. The test split of the old
run is scored as `old_test`. `metrics.json` gets `forgetting`: each metric on that split before, after, and its change.
If the head has grown, means over classes use only the old classes there.

Source: rehearsal, Robins 1995, Catastrophic Forgetting, Rehearsal and Pseudorehearsal; de Masson d'Autume, Ruder, Kong,
    Yogatama 2019, Episodic Memory in Lifelong Language Learning, arXiv 1906.01076 (replays 1 row for every 100 new
    ones).
Cost: one pass; with replay over more rows. The old data is read once more.
Use when: new rows arrive and training on all rows is too expensive, or the old rows are gone (replay=0; forgetting is
    then measured only if the old test split can still be read). Avoid when: old and new rows can be trained on
    together; or all labels are new and nothing is replayed: in one test (model=tiny, pydocs' 6 largest packages, then
    the 6 others), accuracy on the old test split fell from 0.72 to 0.00, with replay=0.1 to 0.43.
    `evaluate.weights=best` selects by the new validation split only.
Composes: train/data (labels, old test split), examples/join (replay, before duplicates are dropped and variants added;
    `deduplicate` also drops new rows that are in the old test split), model/load, results. Excludes tricks that
    reinitialize weights (model/adapt). Tricks that reshape the model must be the same as in the old run. In a chain of
    runs only the last one is replayed and measured.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets
from torch import nn

from recipes import Context, ModelContext, Run, Trick, UserError, allowed
from recipes.compose.tricks import build
from recipes.config import Config
from recipes.data.splits import Splits
from recipes.data.splitting import strata
from recipes.errors import list_names
from recipes.metrics import Predictions, is_lower_better
from recipes.runs.folder import RunFolder
from recipes.runtime.randomness import key
from recipes.seams import tricks_around
from recipes.toolkit.warm_start import WarmStart

OLD_TEST = "old_test"
# Metrics that are means over classes, by whether the run is multi-label.
MEANS_OVER_CLASSES = {False: ("macro_f1",), True: ("macro_f1", "loss")}


@dataclass
class Incremental(Trick):
    """Continue from the weights of a finished run, on other rows."""

    folder: str | None = allowed("")
    """Folder of the finished run."""
    replay: float = allowed("[0, 1]")
    """Fraction of the old training rows that are trained on again."""
    new_labels: str = allowed("refuse | extend")
    """Whether labels that differ from the old run are refused or extend the head."""

    slots = {"train": "data", "examples": "join", "model": "load", "results": "results"}
    remedies = {"removed_checkpoints": "+tricks=[{name}] tricks.{name}.folder={folder}"}
    neutral = "training starts from the weights of another run, so no value leaves it as it was"
    replays = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.replayed = ""

    def excludes(self) -> Mapping[str, str]:
        """Exclude tricks that reinitialize weights, since these would be overwritten."""
        return {"model/adapt": "the weights of the old run would overwrite the reinitialized ones"}

    @cached_property
    def old(self) -> WarmStart:
        """The run to start from."""
        return WarmStart(self.folder, f"tricks.{self.name}.folder")

    def train(
        self, run: None, inner: Callable[..., RunFolder], config: Config, splits: Splits, folder: Path
    ) -> RunFolder:
        """Compare the runs, merge the labels, and add the old test split to the splits that are scored."""
        if problems := list(self._find_conflicts(config, splits)):
            raise UserError(*problems)
        old, extra = self.old, dict(splits.extra)
        notes = [*splits.notes, f"{self.name}: training starts from the weights of {self.folder}."]
        differ = set(splits.classes) != set(old.classes)
        classes = list(dict.fromkeys([*old.classes, *splits.classes])) if differ else splits.classes
        if new := classes[len(old.classes) :]:
            notes.append(f"{self.name}: the head grows from {len(old.classes)} labels by {list_names(new)}.")
        before, now = read_text_tricks(old.config["tricks"]), read_text_tricks(config.tricks)
        if before != now:
            descriptions = [f"with {', '.join(tricks.values())}" if tricks else "unchanged" for tricks in (before, now)]
            notes.append(
                f"{self.name}: the old run read texts {descriptions[0]}, this one reads them {descriptions[1]}."
            )
        try:
            rows = old.splits.test if self.replay or config.evaluate.test else None
        except UserError as error:
            if self.replay:
                raise
            notes.append(f"{self.name}: forgetting is not measured. {error}")
        else:
            if config.evaluate.test and rows is not None and old.metrics["test"]:
                extra[OLD_TEST] = rows
            else:
                reason = "the old run has no test scores" if config.evaluate.test else "evaluate.test=false"
                notes.append(f"{self.name}: forgetting is not measured ({reason}).")
        return inner(config, replace(splits, classes=classes, extra=extra, notes=notes), folder)

    def _find_conflicts(self, config: Config, splits: Splits) -> Iterator[str]:
        old = self.old
        multi_label, one = "several labels", "one label"
        if splits.multi_label != old.multi_label:
            here, there = (multi_label, one) if splits.multi_label else (one, multi_label)
            yield (
                f"{old.setting}: its rows have {there} each, those of the new data {here}; give the folder of a run on "
                "such data."
            )
        if bool(config.data.text_pair) != old.in_pairs:
            there = "pairs of texts" if old.in_pairs else "single texts"
            yield (
                f"data.text_pair={config.data.text_pair or 'null'}: the run of {old.setting} was trained on {there}; "
                "give the folder of a run on such data."
            )
        if OLD_TEST in splits.extra:
            yield f"evaluate.extra.{OLD_TEST}: {self.name} uses this name for the old run's test split; choose another."
        new = [name for name in splits.classes if name not in old.classes]
        missing = [name for name in old.classes if name not in splits.classes]
        if self.new_labels == "refuse" and (new or missing):
            differences = [f"only the new data has {list_names(new)}"] if new else []
            differences += [f"only the old run has {list_names(missing)}"] if missing else []
            yield (
                f"{old.setting}: the labels differ: {'; '.join(differences)}. Spell them alike, or let the model have "
                f"old and new ones with tricks.{self.name}.new_labels=extend."
            )

    def examples(self, run: Run, inner: Callable[[Dataset], Dataset], examples: Dataset) -> Dataset:
        """Add old rows to the new ones; their ids begin with `old:`."""
        if not self.replay:
            return inner(examples)
        rows = self.old.splits.train
        replayed = rows.select(draw_rows(rows, self.replay, run.config.seed))
        self.replayed = replayed._fingerprint
        run.note(f"{self.name}: {len(replayed):,} of {len(rows):,} old training rows are trained on again.")
        columns = run.clean_rows(replayed).to_dict()
        columns["id"] = columns["source"] = [f"old:{name}" for name in columns["id"]]
        return inner(concatenate_datasets([examples, Dataset.from_dict(columns, replayed.features)]))

    def model(self, run: ModelContext, inner: Callable[[], nn.Module]) -> nn.Module:
        """Load weights and tokenizer of the old run."""
        run.tokenizer = self.old.tokenizer(run.tokenizer.model_max_length)
        model = inner()
        self.old.load_weights(model, run.classes)
        return model

    def results(
        self, run: Context, inner: Callable[..., dict[str, Any]], scored: Mapping[str, Predictions]
    ) -> dict[str, Any]:
        """Compare the scores on the old test split before and after, and report the change."""
        measured = inner(scored)
        if OLD_TEST not in measured:
            return measured
        growth = len(run.classes) / len(self.old.classes)
        means = MEANS_OVER_CLASSES[run.multi_label]
        changes = forgetting(self.old.metrics["test"], measured[OLD_TEST], dict.fromkeys(means, growth))
        run.say(f"{self.name}: {summarize(changes, run.config.evaluate.metric)}")
        return {**measured, "forgetting": changes}

    def state(self) -> dict[str, Any]:
        """The fingerprint of the replayed rows."""
        return {"replayed": self.replayed}

    def load(self, state: Mapping[str, Any]) -> None:
        """Check that the replayed rows are the same."""
        if state["replayed"] != self.replayed:
            raise UserError(
                f"{self.old.setting}: its training rows have changed since this run started; start over with "
                "resume=false."
            )


def read_text_tricks(values: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The tricks that change how the model reads a text, by name, each with its values."""
    tricks = build(values)
    names = [name for seam in ("clean", "encode") for name in tricks_around(seam, tricks)]
    names += [name for name, trick in tricks.items() if trick.slots.get("model") == "reshape"]
    return {name: repr(tricks[name]) for name in names}


def draw_rows(rows: Dataset, fraction: float, seed: int) -> list[int]:
    """Draw this fraction of the rows of each class, at least one, as indices.

    With multiple labels, the rarest label is the class of a row.
    """
    classes = strata(rows.with_format("arrow")[:])
    draws = np.array([key(seed, "incremental", name) for name in rows["id"]])
    indices: list[int] = []
    for number in np.unique(classes):
        own = np.flatnonzero(classes == number)
        indices += own[np.argsort(draws[own])][: max(1, round(fraction * len(own)))].tolist()
    return sorted(indices)


def forgetting(
    before: Mapping[str, float], after: Mapping[str, float], factors: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """Each metric before and after, and its change.

    Args:
        before: metrics of the old run.
        after: metrics of this run on the same rows.
        factors: factors by metric that make the later value comparable; the default is 1.
    """
    now = {name: value * factors.get(name, 1.0) for name, value in after.items()}
    names = [name for name in before if name in after and name != "unseen"]
    return {name: {"before": before[name], "after": now[name], "change": now[name] - before[name]} for name in names}


def summarize(changes: Mapping[str, Mapping[str, float]], metric: str) -> str:
    """Describe the change of the selection metric, or of the first metric if that is missing."""
    name = metric if metric in changes else next(iter(changes))
    values = changes[name]
    lost = values["change"] if is_lower_better(name) else -values["change"]
    verdict = f"{lost:.4f} is forgotten" if lost > 0 else "nothing is forgotten"
    was, now = values["before"], values["after"]
    return f"on the old test split {name} was {was:.4f} and is {now:.4f} now: {verdict}."
