"""Compare arms of `docs/evidence/few-shot.yaml` with the package setfit on a few labelled rows a class.

    python scripts/few_shot.py --data <folder of eda_cr> --rows 8 --draws 10 --systems setfit stage_only

Draw d takes the same rows a class of the training file for every system. SetFit trains on them with its own `Trainer`:
`setfit` with 20 pairs of each kind a row, as in its paper (arXiv 2209.11055), `setfit_default` with the pairs of its
version 1, one epoch of all pairs. Both encode with the files of the same package. The arms validate on the first rows
of the validation file, once, after training; nothing is chosen or fitted on them. `--tune` scores on the other rows of
the validation file in place of the test file, on other draws, to choose settings. Arms with the same stage then take it
from the cache, so their seconds are not shown.

Each result is a line of few-shot.csv next to the study, and a study that was stopped goes on with the missing ones.
Texts and weights are not stored. setfit comes with `pip install -e '.[bench]'`.
"""

import argparse
import csv
import io
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

import recipes
from recipes.cli import exit_on_user_error, positive_integer
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.data.splits import Splits, read_splits
from recipes.models.packages import packaged_folder
from recipes.reports.tables import markdown_table
from recipes.runtime.randomness import generator
from scripts.evidence import Study, files_of, format_interval

STUDY = Path(__file__).parents[1] / "docs" / "evidence" / "few-shot.yaml"
SETFIT = {"setfit": 20, "setfit_default": None}
"""Pairs of each kind a row; None: all pairs once."""
VALIDATION_ROWS = 50
TUNING_DRAWS = 1000
"""Number of the first draw with which settings are chosen."""


@dataclass(frozen=True)
class Result:
    """A line of the CSV file."""

    data: str
    model: str
    rows: int
    """Of each class, or all of a class that has fewer."""
    draw: int
    system: str
    digest: str
    """Of the overrides."""
    accuracy: float
    seconds: float
    """Of training alone, by the clock."""
    cpu_seconds: float
    """Of training and scoring, of this process."""
    device: str


@dataclass(frozen=True)
class Draw:
    """A few labelled rows, and the rows that a system is scored on, each a text and a label."""

    number: int
    train: Sequence[tuple[str, str]]
    validation: Sequence[tuple[str, str]]
    test: Sequence[tuple[str, str]]


def make_draw(splits: Splits, rows: int, number: int, tune: bool) -> Draw:
    """Draw rows of each class."""
    assert splits.test is not None
    parts = {
        name: list(zip(part["text"], part["label"], strict=True))
        for name, part in (("train", splits.train), ("validation", splits.validation), ("test", splits.test))
    }
    labels = np.array(splits.train["label"][:])
    random, chosen_rows = generator(number, "few_shot", rows), list[int]()
    for name in splits.classes:
        chosen_rows += sorted(random.permutation(np.flatnonzero(labels == name))[:rows].tolist())
    validation, others = parts["validation"][:VALIDATION_ROWS], parts["validation"][VALIDATION_ROWS:]
    return Draw(number, [parts["train"][row] for row in chosen_rows], validation, others if tune else parts["test"])


def train_setfit(draw: Draw, model: str, pairs: int | None) -> tuple[float, float]:
    """Train and score SetFit, and return the accuracy and the seconds of training."""
    import setfit  # type: ignore[import-not-found]
    from datasets import Dataset

    setfit.logging.set_verbosity_error()
    classes = sorted({label for _, label in draw.train})
    texts, labels = zip(*draw.train, strict=True)
    rows = Dataset.from_dict({"text": list(texts), "label": [classes.index(label) for label in labels]})
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        encoder = setfit.SetFitModel.from_pretrained(str(packaged_folder(model)), trust_remote_code=False)
        arguments = setfit.TrainingArguments(
            output_dir=folder,
            num_iterations=pairs,
            seed=draw.number,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            show_progress_bar=False,
        )
        trainer = setfit.Trainer(model=encoder, args=arguments, train_dataset=rows)
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
        predicted = encoder.predict([text for text, _ in draw.test], use_labels=False)
    right = [classes[int(number)] == label for number, (_, label) in zip(predicted, draw.test, strict=True)]
    return mean(right), seconds


def train_arm(draw: Draw, model: str, overrides: Sequence[str], threads: int) -> tuple[float, float]:
    """Train and score an arm, and return the accuracy and the seconds of training."""
    with tempfile.TemporaryDirectory() as folder:
        data = ["data=files", f"model={model}", f"train.threads={threads}", f"hydra.run.dir={folder}/run"]
        for split in ("train", "validation", "test"):
            path = Path(folder, f"{split}.csv")
            with path.open("w", encoding="utf-8", newline="") as lines:
                csv.writer(lines).writerows([("text", "label"), *getattr(draw, split)])
            data.append(f"data.{split}={path}")
        with redirect_stdout(io.StringIO()):
            finished = recipes.finetune([*data, *overrides, f"seed={draw.number}"])
        return finished.metrics["test"]["accuracy"], finished.metrics["cost"]["train_seconds"]


def read_results(path: Path) -> list[Result]:
    """Read the finished runs."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as lines:
        return [
            Result(**{each.name: each.type(line[each.name]) for each in fields(Result)})  # type: ignore[operator]
            for line in csv.DictReader(lines)
        ]


def append_result(path: Path, result: Result) -> None:
    """Append a finished run."""
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, [each.name for each in fields(Result)], lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(asdict(result))


def finish(study: Study, path: Path, options: argparse.Namespace) -> None:
    """Run each system on each draw that has no line yet."""
    done = {(each.data, each.model, each.rows, each.draw, each.system, each.digest) for each in read_results(path)}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {options.threads} threads"
    for folder in options.data:
        paths = [f"data.{split}={file}" for split, file in files_of(folder).items()]
        splits = read_splits(read(compose_config(["data=files", *paths])[0]).data, {}, True)
        for rows in options.rows:
            for number in range(options.draws):
                draw = make_draw(splits, rows, number + TUNING_DRAWS * options.tune, options.tune)
                for system in options.systems:
                    digest = str(SETFIT[system]) if system in SETFIT else study.digest(system)
                    key = (folder.resolve().name, options.model, rows, draw.number, system, digest)
                    if key in done:
                        continue
                    start = time.process_time()
                    if system in SETFIT:
                        measured = train_setfit(draw, options.model, SETFIT[system])
                    else:
                        overrides = [*study.overrides, *study.arms[system]]
                        measured = train_arm(draw, options.model, overrides, options.threads)
                    used = time.process_time() - start
                    append_result(path, Result(*key, measured[0], round(measured[1], 2), round(used, 2), device))
                    print(*key, f"{measured[0]:.4f}", f"{measured[1]:.1f} s", file=sys.stderr, flush=True)


def describe(results: Sequence[Result], base: str) -> Iterator[str]:
    """Yield a title and a table of means and differences for each data set, model, number of rows and kind of draw."""
    groups: dict[tuple[Any, ...], dict[str, dict[int, Result]]] = {}
    for each in results:
        kind = "settings were chosen on these" if each.draw >= TUNING_DRAWS else "test"
        group = groups.setdefault((each.data, each.model, each.rows, kind), {})
        group.setdefault(each.system, {})[each.draw] = each
    for (data, model, rows, kind), systems in groups.items():
        yield f"\n{data}, {model}, {rows} rows a class ({kind})\n"
        lines = []
        for system, runs in systems.items():
            scores = [each.accuracy for each in runs.values()]
            shared = sorted(runs.keys() & systems.get(base, {}).keys())
            differences = [runs[draw].accuracy - systems[base][draw].accuracy for draw in shared]
            spread = f" ({stdev(scores):.4f})" if len(scores) > 1 else ""
            seconds = f"{mean(each.cpu_seconds for each in runs.values()):.1f}" if kind == "test" else ""
            difference = "" if system == base else format_interval(differences)
            lines.append([system, str(len(runs)), f"{mean(scores):.4f}{spread}", difference, seconds])
        yield markdown_table(["system", "draws", "accuracy (deviation)", f"difference to {base}", "CPU seconds"], lines)


def main() -> None:
    """Run what is missing, and print the tables."""
    study = Study(**yaml.safe_load(STUDY.read_text(encoding="utf-8")))
    systems = [*SETFIT, *study.arms]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", default=[], help="a folder; none: only print the tables")
    parser.add_argument("--model", default="minilm", choices=["minilm", "e5"])
    parser.add_argument("--rows", type=positive_integer, nargs="+", default=[8], help="of each class")
    parser.add_argument("--draws", type=positive_integer, default=10)
    parser.add_argument("--systems", nargs="+", choices=systems, default=["setfit", "stage_only"])
    parser.add_argument("--tune", action="store_true", help="score on validation rows, to choose settings")
    parser.add_argument("--threads", type=positive_integer, default=1)
    options = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as cache:
        if not options.tune:
            # A stage that is in the cache takes no time.
            os.environ["TRICKBOOK_CACHE"] = cache
        finish(study, STUDY.with_suffix(".csv"), options)
    print(*describe(read_results(STUDY.with_suffix(".csv")), "setfit"), sep="\n")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
