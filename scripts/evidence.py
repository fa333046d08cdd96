"""Run a study of `docs/evidence`: the same training with and without something, compared seed by seed.

    python scripts/evidence.py docs/evidence/augmentation.yaml --data <folder of eda_trec> --data <folder of eda_cr>

The file of a study names its arms, each a list of overrides, and the overrides that they share. The other arms are
compared with the first. A data set is a folder of train, validation and test files. With `rows`, each seed draws that
many training rows, stratified by class, the same rows for all arms. Intervals are 95 % by Student's t over the seeds,
of the differences paired by seed.

An override of an arm may end in `=@<arm>`, for the run folder of another arm with the same data and seed, or in
`=@other_rows`, for a file with the texts of up to 2,000 training rows that were not drawn, or in `=@variants`, for a
file with the variants of the drawn rows, taken from the data set's `variants.csv` (`scripts/translate_back.py`).

Each finished run is a line of a CSV file next to the study. A study that was stopped goes on with the runs that have no
line. Of a finished run only scores and predictions stay; its weights are removed. The tables are made from the CSV
file, so a study can be extended: `--arms fgm pgd --seeds 3` adds two seeds to two arms that have one.
"""

import argparse
import csv
import hashlib
import io
import re
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field, fields
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
from recipes.doctor.health import HEADLINES
from recipes.errors import UserError, list_names
from recipes.guards import Diverged
from recipes.reports.tables import markdown_table

DRAWN_ROWS = Path("runs/drawn")
PREDICTIONS = Path("runs/evidence")
OTHER_ROWS, MOST_OTHER_ROWS = "other_rows", 2000
VARIANTS = "variants.csv"
REFERENCE = re.compile(r"(?<==)@(\w+)$")
BROKEN = HEADLINES[:2]
"""Headlines of a run that learned nothing: it diverged, or collapsed. The others compare models that did."""


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

    def digest(self, arm: str) -> str:
        """Hash the overrides of an arm, and of those that it refers to: a run with other overrides is another run."""
        others = [line for other in self.references(arm) for line in self.arms[other]]
        return hashlib.sha256("\0".join([*self.overrides, *self.arms[arm], *others]).encode()).hexdigest()[:8]

    def references(self, arm: str) -> list[str]:
        """The other arms whose run folders the overrides of an arm name."""
        names = {match[1] for line in self.arms[arm] if (match := REFERENCE.search(line))}
        return sorted(names & self.arms.keys())


@dataclass(frozen=True)
class Result:
    """The result of a run, a line of the CSV file."""

    data: str
    rows: str
    """Number of training rows, or `all`."""
    arm: str
    seed: int
    digest: str
    """Of the overrides."""
    health: str
    """The headline of the run's `health`. Older lines have `learned`, `collapsed` and `diverged` alone."""
    score: float
    """Of the study's metric on test; NaN if training diverged."""
    validation: float
    seconds: float
    passes: float
    """Forward and backward passes per update."""


def run(overrides: Sequence[str], metric: str, target: Path) -> tuple[str, float, float, float, float]:
    """Train, keep predictions and metrics, and remove the rest.

    Args:
        overrides: of the run.
        metric: the study's.
        target: the folder for predictions and metrics.

    Returns:
        The health, the scores on test and validation, the seconds, and the passes per update.
    """
    try:
        with redirect_stdout(io.StringIO()):
            finished = recipes.finetune(overrides)
    except Diverged:
        return "diverged", float("nan"), float("nan"), float("nan"), float("nan")
    metrics = finished.metrics
    # Predictions first: a run that is stopped here is read again.
    shutil.copytree(finished.folder / "predictions", target, dirs_exist_ok=True)
    shutil.copy(finished.folder / "metrics.json", target)
    cost = metrics["cost"]
    return (
        metrics["health"]["headline"],
        metrics["test"][metric],
        metrics["validation"][metric],
        cost["train_seconds"],
        cost["passes_per_update"],
    )


def train_arm(overrides: Sequence[str]) -> Path:
    """Train an arm that another one refers to, unless it is finished, and return its folder."""
    with redirect_stdout(io.StringIO()):
        folder: Path = recipes.finetune(overrides).folder
    return folder


def fill_in(overrides: Sequence[str], paths: Mapping[str, Path]) -> list[str]:
    """Replace the references of overrides by the paths that they stand for."""
    return [REFERENCE.sub(lambda match: str(paths[match[1]]), line) for line in overrides]


def read_results(path: Path) -> list[Result]:
    """Read the finished runs of a study; none if it has no file yet."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as lines:
        return [
            Result(**{each.name: each.type(line[each.name]) for each in fields(Result)})  # type: ignore[operator]
            for line in csv.DictReader(lines)
        ]


def append_result(path: Path, result: Result) -> None:
    """Append a finished run to the file of a study."""
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, [each.name for each in fields(Result)], lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(asdict(result))


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
        indices, others = train_test_split(range(len(labels)), train_size=rows, stratify=labels, random_state=seed)
        target.parent.mkdir(parents=True, exist_ok=True)
        examples.select(others[:MOST_OTHER_ROWS]).select_columns(["text"]).to_csv(other_rows_of(target))
        if (folder / VARIANTS).exists():
            copy_variants(folder / VARIANTS, {str(examples["id"][index]) for index in indices}, variants_of(target))
        examples.select(indices).select_columns(["id", "text", "label"]).to_csv(target)
    return target


def copy_variants(source: Path, ids: Collection[str], target: Path) -> None:
    """Copy the variants of some rows."""
    with source.open(encoding="utf-8", newline="") as lines, target.open("w", encoding="utf-8", newline="") as copied:
        header, *variants = csv.reader(lines)
        csv.writer(copied, lineterminator="\n").writerows([header, *(each for each in variants if each[0] in ids)])


def other_rows_of(sample: Path) -> Path:
    """The file with the texts of rows that were not drawn, next to that of the drawn rows."""
    return sample.with_suffix(".others.csv")


def variants_of(sample: Path) -> Path:
    """The file with the variants of the drawn rows, next to them."""
    return sample.with_suffix(f".{VARIANTS}")


def summarize_arms(results: Mapping[str, Mapping[int, Result]]) -> list[list[str]]:
    """Summarize each arm in a line: mean score, difference to the first, relative cost, and health.

    Args:
        results: of each arm, by seed. Differences are of the seeds that both arms have.
    """
    base = next(iter(results.values()))
    lines = []
    for name, runs in results.items():
        if not runs:
            lines.append([name, "0", *[""] * 5])
            continue
        shared = sorted(runs.keys() & base.keys())
        differences = [runs[seed].score - base[seed].score for seed in shared]
        seconds = [mean(each[seed].seconds for seed in shared) for each in (runs, base)] if shared else []
        broken = sum(each.health in BROKEN for each in runs.values())
        lines.append(
            [
                name,
                str(len(runs)),
                f"{mean(each.score for each in runs.values()):.4f}",
                "" if runs is base else format_interval(differences),
                f"{seconds[0] / seconds[1]:.2f}" if seconds else "",
                f"{mean(each.passes for each in runs.values()):.2f}",
                f"{broken} of {len(runs)}" if broken else "",
            ]
        )
    return lines


def summarize_contrasts(study: Study, results: Mapping[str, Mapping[int, Result]]) -> list[list[str]]:
    """Summarize each contrast of a study in a line: the weighted sum of its arms, with its interval."""
    lines = []
    for name, weights in study.contrasts.items():
        seeds = set.intersection(*(set(results[arm]) for arm in weights))
        sums = [sum(weight * results[arm][seed].score for arm, weight in weights.items()) for seed in sorted(seeds)]
        lines.append([name, format_interval(sums)])
    return lines


def format_interval(values: Sequence[float]) -> str:
    """Format the mean of one value a seed with the half width of its 95 % interval, from two seeds on."""
    if len(values) < 2:
        return f"{values[0]:+.4f}" if values else ""
    half = stdev(values) / len(values) ** 0.5 * t.ppf(0.975, len(values) - 1)
    return f"{mean(values):+.4f} ± {half:.4f}"


def describe(study: Study, results: Sequence[Result]) -> Iterator[str]:
    """Describe a study in Markdown: a table for each data set and number of rows."""
    header = ["arm", "seeds", f"test {study.metric}", "difference", "time", "passes", "broken"]
    for data, rows in dict.fromkeys((each.data, each.rows) for each in results):
        by_arm: dict[str, dict[int, Result]] = {arm: {} for arm in study.arms}
        for each in results:
            if (each.data, each.rows) == (data, rows) and each.digest == study.digest(each.arm):
                by_arm[each.arm][each.seed] = each
        yield f"\n{data}, {rows} rows\n"
        yield markdown_table(header, summarize_arms(by_arm))
        if study.contrasts:
            yield "\n" + markdown_table(["contrast", f"test {study.metric}"], summarize_contrasts(study, by_arm))


def finish(study: Study, path: Path, arguments: argparse.Namespace) -> None:
    """Run all arms that have no line in the study's file, seed by seed, and append their lines."""
    done = {(each.data, each.rows, each.arm, each.seed, each.digest) for each in read_results(path)}
    shared = [*study.overrides, f"train.threads={arguments.threads or 'null'}", "data=files"]
    for folder in arguments.data:
        files, data_name = files_of(folder), folder.resolve().name
        for rows in study.rows:
            for seed in range(arguments.seeds):
                train = draw_rows(folder, rows, seed) if rows else files["train"]
                data = [f"data.{split}={file}" for split, file in {**files, "train": train}.items()]
                common = [*shared, *data, f"seed={seed}"]
                referred = set[Path]()
                for arm in arguments.arms or study.arms:
                    key = (data_name, str(rows or "all"), arm, seed, study.digest(arm))
                    if key in done:
                        continue
                    folders = {other: train_arm([*common, *study.arms[other]]) for other in study.references(arm)}
                    referred |= set(folders.values())
                    paths = {**folders, OTHER_ROWS: other_rows_of(train), "variants": variants_of(train)}
                    overrides = [*common, *fill_in(study.arms[arm], paths)]
                    target = PREDICTIONS / path.stem / "-".join(map(str, key))
                    append_result(path, Result(*key, *run(overrides, study.metric, target)))
                    print(*key, file=sys.stderr, flush=True)
                    if not any(arm in study.references(other) for other in study.arms):
                        shutil.rmtree(compose_config(overrides)[1])
                for trained in referred:
                    shutil.rmtree(trained)


def main() -> None:
    """Run all arms on all data sets, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a file of docs/evidence")
    parser.add_argument("--data", type=Path, action="append", default=[], help="a folder; none: only print the tables")
    parser.add_argument("--arms", nargs="+", help="only these; all if left out")
    parser.add_argument("--seeds", type=positive_integer, default=5)
    parser.add_argument("--threads", type=positive_integer, help="as train.threads")
    arguments = parser.parse_args()
    study = Study(**yaml.safe_load(arguments.study.read_text(encoding="utf-8")))
    named = {arm for weights in study.contrasts.values() for arm in weights} | set(arguments.arms or [])
    if unknown := sorted(named - study.arms.keys()):
        arms = list_names(list(study.arms), quoted=False)
        raise UserError(f"{arguments.study}: {list_names(unknown)}: no such arm; it has {arms}.")
    path = arguments.study.with_suffix(".csv")
    finish(study, path, arguments)
    for line in describe(study, read_results(path)):
        print(line)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
