"""Run a study of `docs/evidence`: the same training with and without something, seed by seed, and what differs.

    python scripts/evidence.py docs/evidence/augmentation.yaml --data <folder of eda_trec> --data <folder of eda_cr>

A study's file names its arms, each a list of overrides, and what they share; the first arm is what the others are
compared with. A data set is a folder of train, validation and test files. With `rows`, each seed draws so many training
rows, every class by its share, the same for all arms. Runs are the usual run folders: a study that was stopped goes on,
finished runs are not run again. Intervals are 95 % by Student's t over the seeds, of the differences paired by seed.
"""

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev

import yaml
from scipy.stats import t
from sklearn.model_selection import train_test_split

sys.path.insert(0, str(Path(__file__).parents[1]))

import recipes
from recipes.cli import exit_on_user_error
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.data.splits import read_splits
from recipes.errors import UserError
from recipes.reports.tables import markdown_table

DRAWN = Path("runs/drawn")


@dataclass(frozen=True)
class Study:
    """What a file of `docs/evidence` says."""

    overrides: Sequence[str]
    """What all arms share."""
    arms: Mapping[str, Sequence[str]]
    """Overrides by name."""
    rows: Sequence[int | None] = (None,)
    """Training rows to draw; null: all."""
    metric: str = "accuracy"
    contrasts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Further sums of arms to be told, by name: what each arm counts."""


@dataclass(frozen=True)
class Found:
    """What a run came to."""

    score: float
    seconds: float
    passes: float


def run(overrides: Sequence[str], metric: str) -> Found:
    """Train, or take the finished run."""
    with redirect_stdout(io.StringIO()):
        metrics = recipes.finetune(overrides).metrics
    cost = metrics["cost"]
    return Found(metrics["test"][metric], cost["train_seconds"], cost["passes_per_update"])


def files_of(folder: Path) -> dict[str, Path]:
    """The split's files of a data set."""
    found = {split: sorted(folder.glob(f"{split}.*")) for split in ("train", "validation", "test")}
    if missing := [split for split, files in found.items() if len(files) != 1]:
        raise UserError(f"--data={folder}: one {', one '.join(missing)} file must be there, such as {missing[0]}.csv.")
    return {split: files[0] for split, files in found.items()}


def drawn(folder: Path, rows: int, seed: int) -> Path:
    """A file with so many training rows of a data set."""
    target = DRAWN / f"{folder.resolve().name}-{rows}-s{seed}.csv"
    if not target.exists():
        files = [f"data.{split}={file}" for split, file in files_of(folder).items()]
        examples = read_splits(read(compose_config(["data=files", *files])[0]).data, {}, False).train
        labels = examples["label"]
        chosen, _ = train_test_split(range(len(labels)), train_size=rows, stratify=labels, random_state=seed)
        target.parent.mkdir(parents=True, exist_ok=True)
        examples.select(chosen).select_columns(["text", "label"]).to_csv(target)
    return target


def table(found: Mapping[str, Sequence[Found]]) -> list[list[str]]:
    """A line for each arm: its mean, the difference to the first with its interval, and what it costs beside that."""
    base = next(iter(found.values()))
    lines = []
    for name, runs in found.items():
        score = mean(each.score for each in runs)
        time = mean(each.seconds for each in runs) / mean(each.seconds for each in base)
        line = [name, f"{score:.4f}", "", f"{time:.2f}", f"{mean(each.passes for each in runs):.2f}"]
        if runs is not base:
            line[2] = interval([each.score - first.score for each, first in zip(runs, base, strict=True)])
        lines.append(line)
    return lines


def contrasts(study: Study, found: Mapping[str, Sequence[Found]]) -> list[list[str]]:
    """A line for each contrast of a study: the sum of its arms, with its interval."""
    lines = []
    for name, counts in study.contrasts.items():
        arms = zip(*(found[arm] for arm in counts), strict=True)
        sums = [sum(count * each.score for count, each in zip(counts.values(), runs, strict=True)) for runs in arms]
        lines.append([name, interval(sums)])
    return lines


def interval(values: Sequence[float]) -> str:
    """The mean of one value a seed, and how far it may be off."""
    half = stdev(values) / len(values) ** 0.5 * t.ppf(0.975, len(values) - 1)
    return f"{mean(values):+.4f} ± {half:.4f}"


def main() -> None:
    """Run all arms on all data sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a file of docs/evidence")
    parser.add_argument("--data", type=Path, action="append", required=True, help="a folder; may be given again")
    parser.add_argument("--seeds", type=int, default=5, help="2 at least")
    parser.add_argument("--threads", type=int, help="as train.threads")
    arguments = parser.parse_args()
    study = Study(**yaml.safe_load(arguments.study.read_text(encoding="utf-8")))
    if unknown := {arm for counts in study.contrasts.values() for arm in counts} - study.arms.keys():
        raise UserError(f"{arguments.study}: contrasts count {', '.join(sorted(unknown))}, which is no arm.")
    shared = [*study.overrides, f"train.threads={arguments.threads or 'null'}", "data=files"]
    for folder in arguments.data:
        files, data_name = files_of(folder), folder.resolve().name
        for rows in study.rows:
            found: dict[str, list[Found]] = {name: [] for name in study.arms}
            for seed in range(arguments.seeds):
                train = drawn(folder, rows, seed) if rows else files["train"]
                data = [f"data.{split}={file}" for split, file in {**files, "train": train}.items()]
                for name, own in study.arms.items():
                    found[name].append(run([*shared, *data, *own, f"seed={seed}"], study.metric))
                    print(f"{data_name} {rows or 'all'} seed {seed}: {name} {found[name][-1]}", file=sys.stderr)
            header = ["arm", f"test {study.metric}", "difference", "time", "passes"]
            print(f"\n{data_name}, {rows or 'all'} rows, {arguments.seeds} seeds\n")
            print(markdown_table(header, table(found)), flush=True)
            if study.contrasts:
                lines = contrasts(study, found)
                print("", markdown_table(["contrast", f"test {study.metric}"], lines), sep="\n", flush=True)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
