"""Incremental: start from a finished run's weights and train on new data only.

Weights and tokenizer are those of the run folder; the head's rows go to the labels of their names, whatever the order.
Of each class `replay` of the old training rows, and one at least, is trained on again beside the new rows. The old
run's test split is scored as `old_test`, and `metrics.json` has `forgetting`: each metric there before, after, and its
change. Where the head has grown, means over classes are taken there over the old ones.

Source: rehearsal, Robins 1995, Catastrophic Forgetting, Rehearsal and Pseudorehearsal; de Masson d'Autume, Ruder, Kong,
    Yogatama 2019, Episodic Memory in Lifelong Language Learning, arXiv 1906.01076 (replays 1 row for every 100 new
    ones).
Cost: one pass; with replay over more rows. The old data is read once more.
Use when: new rows come and training on all of them is too dear, or the old ones are gone (replay=0; what is forgotten
    is then measured only while the old test split can be read). Avoid when: old and new rows can be trained on
    together; or all labels are new and nothing is replayed: seen once (model=tiny, pydocs' 6 largest packages, then the
    6 others), accuracy on the old test split fell from 0.72 to 0.00, with replay=0.1 to 0.43. `evaluate.weights=best`
    chooses by the new validation split alone.
Composes: train/data (labels, old test split), examples/join (replay, before copies are dropped and variants added;
    `deduplicate` also drops new rows that stand in the old test split), model/load, results. Excludes what draws
    weights anew (model/adapt). What reshapes the model must be as in the old run. Of a chain of runs the last one is
    replayed and measured.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from recipes.metrics import LOWER_IS_BETTER, Predictions
from recipes.runs.folder import RunFolder
from recipes.runtime.randomness import key
from recipes.seams import tricks_around
from recipes.toolkit.warm_start import WarmStart

OLD_TEST = "old_test"
# Where rows have one label, and where they have several.
MEANS_OVER_CLASSES = {False: ("macro_f1",), True: ("macro_f1", "loss")}


@dataclass
class Incremental(Trick):
    """Go on where another run has ended, on other rows."""

    folder: str | None = allowed("")
    """Of the finished run."""
    replay: float = allowed("[0, 1]")
    """Share of the old training rows that are trained on again."""
    new_labels: str = allowed("refuse | extend")
    """What becomes of labels that are not those of the old run."""

    slots = {"train": "data", "examples": "join", "model": "load", "results": "results"}
    neutral = "training starts from the weights of another run, so no value leaves it as it was"

    def __post_init__(self) -> None:
        """Nothing is replayed yet."""
        super().__post_init__()
        self.replayed = ""

    def excludes(self) -> Mapping[str, str]:
        """What is drawn when the model is made would not stay."""
        return {"model/adapt": "the weights of the old run would replace those that are drawn anew"}

    @cached_property
    def old(self) -> WarmStart:
        """The run to start from."""
        return WarmStart(self.folder, f"tricks.{self.name}.folder")

    def train(
        self, run: None, inner: Callable[..., RunFolder], config: Config, splits: Splits, folder: Path
    ) -> RunFolder:
        """Refuse what does not go together, settle the labels, and have the old test split scored."""
        if problems := list(self._find_conflicts(config, splits)):
            raise UserError(*problems)
        old, extra = self.old, dict(splits.extra)
        notes = [*splits.notes, f"{self.name}: training starts from the weights of {self.folder}."]
        differ = set(splits.classes) != set(old.classes)
        classes = list(dict.fromkeys([*old.classes, *splits.classes])) if differ else splits.classes
        if new := classes[len(old.classes) :]:
            notes.append(f"{self.name}: the head grows from {len(old.classes)} labels by {_listed(new)}.")
        before, now = read_text_tricks(old.config["tricks"]), read_text_tricks(config.tricks)
        if before != now:
            descriptions = [
                f"with {', '.join(tricks.values())}" if tricks else "as they stand" for tricks in (before, now)
            ]
            notes.append(
                f"{self.name}: the old run read texts {descriptions[0]}, this one reads them {descriptions[1]}."
            )
        try:
            rows = old.splits.test if self.replay or config.evaluate.test else None
        except UserError as error:
            if self.replay:
                raise
            notes.append(f"{self.name}: what is forgotten is not measured. {error}")
        else:
            if config.evaluate.test and rows is not None and old.metrics["test"]:
                extra[OLD_TEST] = rows
            else:
                why = "the old run has no test scores" if config.evaluate.test else "evaluate.test=false"
                notes.append(f"{self.name}: what is forgotten is not measured ({why}).")
        return inner(config, replace(splits, classes=classes, extra=extra, notes=notes), folder)

    def _find_conflicts(self, config: Config, splits: Splits) -> Iterator[str]:
        old = self.old
        multi_label, one = "several labels", "one label"
        if splits.multi_label != old.multi_label:
            here, there = (multi_label, one) if splits.multi_label else (one, multi_label)
            yield f"{old.setting}: its rows have {there} each, those of the new data {here}."
        if bool(config.data.text_pair) != old.in_pairs:
            there = "pairs of texts" if old.in_pairs else "single texts"
            yield f"data.text_pair={config.data.text_pair or 'null'}: the old run was trained on {there}."
        if OLD_TEST in splits.extra:
            yield f"evaluate.extra.{OLD_TEST}: {self.name} scores the old run's test split by this name; take another."
        new = [name for name in splits.classes if name not in old.classes]
        missing = [name for name in old.classes if name not in splits.classes]
        if self.new_labels == "refuse" and (new or missing):
            said = [f"only the new data has {_listed(new)}"] if new else []
            said += [f"only the old run has {_listed(missing)}"] if missing else []
            yield (
                f"{old.setting}: the labels differ: {'; '.join(said)}. Spell them alike, or let the model have old and "
                f"new ones with tricks.{self.name}.new_labels=extend."
            )

    def examples(self, run: Run, inner: Callable[[Dataset], Dataset], examples: Dataset) -> Dataset:
        """Join old rows to the new ones; their ids begin with `old:`."""
        if not self.replay:
            return inner(examples)
        rows = self.old.splits.train
        chosen = rows.select(draw_rows(rows, self.replay, run.config.seed))
        self.replayed = chosen._fingerprint
        run.note(f"{self.name}: {len(chosen):,} of {len(rows):,} old training rows are trained on again.")
        columns = run.clean_rows(chosen).to_dict()
        columns["id"] = columns["source"] = [f"old:{name}" for name in columns["id"]]
        return inner(concatenate_datasets([examples, Dataset.from_dict(columns, chosen.features)]))

    def model(self, run: ModelContext, inner: Callable[[], nn.Module]) -> nn.Module:
        """Give the model the old run's weights, and texts its tokens."""
        run.tokenizer = self.old.tokenizer(run.tokenizer.model_max_length)
        model = inner()
        self.old.load_weights(model, run.classes)
        return model

    def results(
        self, run: Context, inner: Callable[..., dict[str, Any]], scored: Mapping[str, Predictions]
    ) -> dict[str, Any]:
        """Compare what the old test split gives with what it gave the old run, and say so."""
        measured = inner(scored)
        if OLD_TEST not in measured:
            return measured
        growth = len(run.classes) / len(self.old.classes)
        means = MEANS_OVER_CLASSES[run.multi_label]
        found = forgetting(self.old.metrics["test"], measured[OLD_TEST], dict.fromkeys(means, growth))
        run.say(f"{self.name}: {summarize(found, run.config.evaluate.metric)}")
        return {**measured, "forgetting": found}

    def state(self) -> dict[str, Any]:
        """Which rows are replayed."""
        return {"replayed": self.replayed}

    def load(self, state: Mapping[str, Any]) -> None:
        """See that they are still the same."""
        if state["replayed"] != self.replayed:
            raise UserError(
                f"{self.old.setting}: its training rows have changed since this run was begun; start over with "
                "resume=false."
            )


def read_text_tricks(values: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The tricks that decide how a text reaches the model, each with its values."""
    tricks = build(values)
    return {name: repr(tricks[name]) for seam in ("clean", "encode") for name in tricks_around(seam, tricks)}


def draw_rows(rows: Dataset, fraction: float, seed: int) -> list[int]:
    """The places of this share of each class's rows, one at least; of several labels the rarest is a row's class."""
    classes = strata(rows.with_format("arrow")[:])
    draws = np.array([key(seed, "incremental", name) for name in rows["id"]])
    chosen: list[int] = []
    for number in np.unique(classes):
        own = np.flatnonzero(classes == number)
        chosen += own[np.argsort(draws[own])][: max(1, round(fraction * len(own)))].tolist()
    return sorted(chosen)


def forgetting(
    before: Mapping[str, float], after: Mapping[str, float], factors: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """Each metric before and after, and its change.

    Args:
        before: the old run's.
        after: this run's, of the same rows.
        factors: what makes a metric's later value comparable, where it is not.
    """
    now = {name: value * factors.get(name, 1.0) for name, value in after.items()}
    names = [name for name in before if name in after and name != "unseen"]
    return {name: {"before": before[name], "after": now[name], "change": now[name] - before[name]} for name in names}


def summarize(found: Mapping[str, Mapping[str, float]], metric: str) -> str:
    """What became of the metric that chooses, or of the first one there is."""
    name = metric if metric in found else next(iter(found))
    values = found[name]
    lost = values["change"] if name in LOWER_IS_BETTER else -values["change"]
    said = f"{lost:.4f} is forgotten" if lost > 0 else "nothing is forgotten"
    was, now = values["before"], values["after"]
    return f"on the old test split {name} was {was:.4f} and is {now:.4f} now: {said}."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
