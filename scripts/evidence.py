"""Run a study of `docs/evidence`: the same training with and without something, compared seed by seed.

    python scripts/evidence.py docs/evidence/augmentation.yaml --data <folder of eda_trec> --data <folder of eda_cr>

The file of a study names its arms, each a list of overrides, and the overrides that they share. The other arms are
compared with the first. A data set is a folder of train, validation and test files. With `rows`, each seed draws that
many training rows, stratified by class, the same rows for all arms. Runs are ordinary run folders: a study that was
stopped resumes, and finished runs are not repeated. Intervals are 95 % by Student's t over the seeds, of the
differences paired by seed.
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
from recipes.cli import exit_on_user_error, positive_integer
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.data.splits import read_splits
from recipes.errors import UserError
from recipes.reports.tables import markdown_table

DRAWN_ROWS = Path("runs/drawn")


@dataclass(frozen=True)
class Study:
    """The content of a file of `docs/evidence`."""

    overrides: Sequence[str]
    """Overrides that all arms share."""
    arms: Mapping[str, Sequence[str]]
    """The overrides of each arm, by its name."""
    rows: Sequence[int | None] = (None,)
    """Numbers of training rows to draw; null: all."""
    metric: str = "accuracy"
    contrasts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Weighted sums of arms to report, by name: the weight of each arm."""


@dataclass(frozen=True)
class Result:
    """The result of a run."""

    score: float
    seconds: float
    passes: float


def run(overrides: Sequence[str], metric: str) -> Result:
    """Train, or read the finished run."""
    with redirect_stdout(io.StringIO()):
        metrics = recipes.finetune(overrides).metrics
    cost = metrics["cost"]
    return Result(metrics["test"][metric], cost["train_seconds"], cost["passes_per_update"])


def files_of(folder: Path) -> dict[str, Path]:
    """Find the file of each split of a data set.

    Raises:
        UserError: a split has no file, or more than one.
    """
    by_split = {split: sorted(folder.glob(f"{split}.*")) for split in ("train", "validation", "test")}
    if missing := [split for split, files in by_split.items() if len(files) != 1]:
        raise UserError(f"--data={folder}: one {', one '.join(missing)} file must be there, such as {missing[0]}.csv.")
    return {split: files[0] for split, files in by_split.items()}


def draw_rows(folder: Path, rows: int, seed: int) -> Path:
    """Draw training rows of a data set, stratified by class, and return the file with them."""
    target = DRAWN_ROWS / f"{folder.resolve().name}-{rows}-s{seed}.csv"
    if not target.exists():
        files = [f"data.{split}={file}" for split, file in files_of(folder).items()]
        examples = read_splits(read(compose_config(["data=files", *files])[0]).data, {}, False).train
        labels = examples["label"]
        indices, _ = train_test_split(range(len(labels)), train_size=rows, stratify=labels, random_state=seed)
        target.parent.mkdir(parents=True, exist_ok=True)
        examples.select(indices).select_columns(["text", "label"]).to_csv(target)
    return target


def summarize_arms(results: Mapping[str, Sequence[Result]]) -> list[list[str]]:
    """Summarize each arm in a line: its mean, the difference to the first with its interval, and its relative cost."""
    base = next(iter(results.values()))
    lines = []
    for name, runs in results.items():
        score = mean(each.score for each in runs)
        time = mean(each.seconds for each in runs) / mean(each.seconds for each in base)
        line = [name, f"{score:.4f}", "", f"{time:.2f}", f"{mean(each.passes for each in runs):.2f}"]
        if runs is not base:
            line[2] = format_interval([each.score - first.score for each, first in zip(runs, base, strict=True)])
        lines.append(line)
    return lines


def summarize_contrasts(study: Study, results: Mapping[str, Sequence[Result]]) -> list[list[str]]:
    """Summarize each contrast of a study in a line: the weighted sum of its arms, with its interval."""
    lines = []
    for name, weights in study.contrasts.items():
        by_seed = zip(*(results[arm] for arm in weights), strict=True)
        sums = [
            sum(weight * each.score for weight, each in zip(weights.values(), runs, strict=True)) for runs in by_seed
        ]
        lines.append([name, format_interval(sums)])
    return lines


def format_interval(values: Sequence[float]) -> str:
    """Format the mean of one value a seed with the half width of its 95 % interval."""
    half = stdev(values) / len(values) ** 0.5 * t.ppf(0.975, len(values) - 1)
    return f"{mean(values):+.4f} ± {half:.4f}"


def main() -> None:
    """Run all arms on all data sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a file of docs/evidence")
    parser.add_argument("--data", type=Path, action="append", required=True, help="a folder; may be given again")
    parser.add_argument("--seeds", type=int, default=5, help="2 at least")
    parser.add_argument("--threads", type=positive_integer, help="as train.threads")
    arguments = parser.parse_args()
    study = Study(**yaml.safe_load(arguments.study.read_text(encoding="utf-8")))
    if unknown := {arm for weights in study.contrasts.values() for arm in weights} - study.arms.keys():
        raise UserError(f"{arguments.study}: contrasts name {', '.join(sorted(unknown))}, which is not an arm.")
    shared = [*study.overrides, f"train.threads={arguments.threads or 'null'}", "data=files"]
    for folder in arguments.data:
        files, data_name = files_of(folder), folder.resolve().name
        for rows in study.rows:
            results: dict[str, list[Result]] = {name: [] for name in study.arms}
            for seed in range(arguments.seeds):
                train = draw_rows(folder, rows, seed) if rows else files["train"]
                data = [f"data.{split}={file}" for split, file in {**files, "train": train}.items()]
                for name, overrides in study.arms.items():
                    results[name].append(run([*shared, *data, *overrides, f"seed={seed}"], study.metric))
                    print(f"{data_name} {rows or 'all'} seed {seed}: {name} {results[name][-1]}", file=sys.stderr)
            header = ["arm", f"test {study.metric}", "difference", "time", "passes"]
            print(f"\n{data_name}, {rows or 'all'} rows, {arguments.seeds} seeds\n")
            print(markdown_table(header, summarize_arms(results)), flush=True)
            if study.contrasts:
                lines = summarize_contrasts(study, results)
                print("", markdown_table(["contrast", f"test {study.metric}"], lines), sep="\n", flush=True)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
