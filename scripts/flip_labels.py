"""Make the data of docs/evidence/label-noise.yaml: rows of a data set, some of which get a wrong label.

    python scripts/flip_labels.py <folder of eda_trec> runs/noise --draws 3
    python scripts/flip_labels.py runs/noise/eda_trec-0 --judged runs/<run>/clean_labels.csv

The first command writes a folder for each draw, in which `label` may be wrong and `true_label` is right. Validation and
test keep their labels. A wrong label is one of the other classes, each as probable. The second command counts how many
of the labels that a run of the trick `clean_labels` doubts are wrong.
"""

import argparse
import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split

sys.path.insert(0, str(Path(__file__).parents[1]))

from recipes.cli import exit_on_user_error, positive_integer
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.data.splits import read_splits
from scripts.evidence import files_of


def flip(labels: Sequence[str], fraction: float, random: np.random.Generator) -> list[str]:
    """Give a fraction of the rows, rounded to whole rows, one of the other labels."""
    names, flipped = sorted(set(labels)), list(labels)
    for row in random.permutation(len(labels))[: round(fraction * len(labels))]:
        flipped[row] = str(random.choice([name for name in names if name != labels[row]]))
    return flipped


def write_rows(path: Path, texts: Iterable[str], labels: Iterable[str], true_labels: Iterable[str]) -> None:
    """Write `text,label,true_label`."""
    with path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(["text", "label", "true_label"])
        writer.writerows(zip(texts, labels, true_labels, strict=True))


def make(folder: Path, target: Path, rows: int, fraction: float, draws: int) -> None:
    """Write a folder for each draw of training rows and of wrong labels."""
    files = [f"data.{split}={file}" for split, file in files_of(folder).items()]
    splits = read_splits(read(compose_config(["data=files", *files])[0]).data, {}, True)
    assert splits.test is not None
    labels = splits.train["label"][:]
    for draw in range(draws):
        indices, _ = train_test_split(range(len(labels)), train_size=rows, stratify=labels, random_state=draw)
        true_labels = [labels[index] for index in indices]
        noise = target / f"{folder.resolve().name}-{draw}"
        noise.mkdir(parents=True)
        texts = splits.train.select(indices)["text"][:]
        write_rows(noise / "train.csv", texts, flip(true_labels, fraction, np.random.default_rng(draw)), true_labels)
        for name, split in (("validation", splits.validation), ("test", splits.test)):
            write_rows(noise / f"{name}.csv", split["text"][:], split["label"][:], split["label"][:])


def count_found(folder: Path, listed: Path) -> dict[str, float]:
    """Count the wrong labels, those that a run doubts, and how many rows are wrong after each action."""
    with (folder / "train.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    with listed.open(encoding="utf-8", newline="") as lines:
        suggested = {int(line["id"]): line["suggested"] for line in csv.DictReader(lines)}
    wrong = {number for number, row in enumerate(rows) if row["label"] != row["true_label"]}
    right = len(wrong & suggested.keys())
    relabelled = [suggested.get(number, row["label"]) != row["true_label"] for number, row in enumerate(rows)]
    return {
        "rows": len(rows),
        "wrong": len(wrong),
        "doubtful": len(suggested),
        "precision": round(right / max(1, len(suggested)), 3),
        "recall": round(right / max(1, len(wrong)), 3),
        "wrong_after_drop": round((len(wrong) - right) / max(1, len(rows) - len(suggested)), 3),
        "wrong_after_relabel": round(sum(relabelled) / len(rows), 3),
    }


def main() -> None:
    """Make data, or count what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder of train, validation and test files")
    parser.add_argument("target", type=Path, nargs="?", help="where the folders of the draws go")
    parser.add_argument("--rows", type=positive_integer, default=500, help="training rows of a draw")
    parser.add_argument("--fraction", type=float, default=0.2, help="of the labels that are wrong")
    parser.add_argument("--draws", type=positive_integer, default=3)
    parser.add_argument("--judged", type=Path, help="clean_labels.csv of a run on a draw")
    arguments = parser.parse_args()
    if arguments.judged:
        counts = count_found(arguments.folder, arguments.judged)
        print(",".join(counts), ",".join(map(str, counts.values())), sep="\n")
    elif arguments.target:
        make(arguments.folder, arguments.target, arguments.rows, arguments.fraction, arguments.draws)
    else:
        parser.error("give the folder for the draws, or --judged")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
