"""The rows of a data set that the atlas uses: for each seed, training rows and validation rows.

The official splits are merged, since nothing is compared with published figures here, and more validation rows make
intervals shorter. A text that occurs twice counts once; one with two labels is left out, so no row is in both parts.
Each seed draws its own training rows, the same ones for all arms. The validation rows rotate over the folds of the data
set, so that an average over seeds is one over as many times the rows. Seed 0 is scored on the first fold and draws from
the pool; another seed validates on rows of the pool, and may draw those of the first fold.
"""

import csv
import gzip
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock
from sklearn.model_selection import train_test_split

from recipes.errors import UserError
from recipes.runs.files import atomic_write

SPLITS = ("train", "validation", "test")
MOST_POOLED = 5_000
FEWEST_OF_CLASS = 20
"""Classes with fewer rows are left out: a draw of a thousand rows could have none of them."""
Row = tuple[str, ...]
"""The texts, and the label last."""


def read_rows(path: Path) -> tuple[list[str], list[Row]]:
    """Read the columns and rows of a CSV file, which may be compressed."""
    file = (
        gzip.open(path, "rt", encoding="utf-8", newline="")
        if path.suffix == ".gz"
        else path.open(encoding="utf-8", newline="")
    )
    with file as lines:
        columns, *rows = csv.reader(lines)
    return columns, [tuple(row) for row in rows]


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    with atomic_write(path) as draft:
        draft.write_text(text.getvalue(), encoding="utf-8")


def sample(source: Path, target: Path, validation_rows: int) -> None:
    """Write `pool.csv` and `validation.csv` of a data set.

    Args:
        source: a folder with `train`, `validation` and `test`, each `.csv` or `.csv.gz`.
        target: the folder to write to.
        validation_rows: their number.

    Raises:
        UserError: a split has no file.
    """
    merged: list[Row] = []
    for split in SPLITS:
        files = sorted(source.glob(f"{split}.csv*"))
        if not files:
            raise UserError(f"--data: {source} has no {split}.csv or {split}.csv.gz.")
        columns, rows = read_rows(files[0])
        merged += rows
    labels_of: dict[Row, set[str]] = {}
    for *texts, label in merged:
        labels_of.setdefault(tuple(texts), set()).add(label)
    distinct = [(*texts, *labels) for texts, labels in labels_of.items() if len(labels) == 1]
    counts = Counter(row[-1] for row in distinct)
    rows = [row for row in distinct if counts[row[-1]] >= FEWEST_OF_CLASS]
    rest, validation = split_by_class(rows, validation_rows, 0)
    pool = split_by_class(rest, MOST_POOLED, 0)[1] if len(rest) > MOST_POOLED else rest
    write_rows(target / "validation.csv", columns, validation)
    # Last: a folder with a pool is complete.
    write_rows(target / "pool.csv", columns, pool)


def split_by_class(rows: Sequence[Row], count: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Draw rows, stratified by class; return the others and the drawn ones, in their order."""
    labels = [row[-1] for row in rows]
    others, draws = train_test_split(range(len(rows)), test_size=count, stratify=labels, random_state=seed)
    return [rows[index] for index in sorted(others)], [rows[index] for index in sorted(draws)]


def find_sample(data: Path, name: str, work: Path, validation_rows: int) -> Path:
    """Find the folder with the pool of a data set; make it if `data` has the original files.

    Args:
        data: the folder of all data sets.
        name: of the data set.
        work: where to write.
        validation_rows: their number.

    Raises:
        UserError: there is no such data set.
    """
    if (data / name / "pool.csv").is_file():
        return data / name
    if not (data / name).is_dir():
        raise UserError(f"--data={data}: it has no folder {name}.")
    target = work / name
    target.mkdir(parents=True, exist_ok=True)
    with FileLock(work / f".{name}.lock"):
        if not (target / "pool.csv").is_file():
            sample(data / name, target, validation_rows)
    return target


def draw(folder: Path, count: int, seed: int, folds: int, work: Path) -> tuple[Path, Path]:
    """Draw the training rows of a seed, and return their file and that of its validation rows.

    Args:
        folder: that `find_sample` has found.
        count: of training rows.
        seed: of the draw.
        folds: over which the validation rows of the seeds rotate.
        work: where to write.

    Raises:
        UserError: the pool is too small.
    """
    fold = seed % folds
    train = work / folder.name / f"train-{count}-s{seed}-{fold}.csv"
    validation = work / folder.name / f"validation-{fold}.csv"
    if not (train.is_file() and validation.is_file()):
        columns, first = read_rows(folder / "validation.csv")
        pool = read_rows(folder / "pool.csv")[1]
        if len(pool) <= max(count, (folds - 1) * len(first)):
            raise UserError(
                f"{folder / 'pool.csv'} has {len(pool)} rows; a draw of {count} rows and {folds} folds of {len(first)} "
                "take more."
            )
        scored = split_folds(first, pool, folds)[fold]
        not_drawn = set(scored)
        others = [row for row in (*pool, *first) if row not in not_drawn]
        write_rows(train, columns, split_by_class(others, count, seed)[1])
        write_rows(validation, columns, scored)
    return train, validation


def split_folds(first: Sequence[Row], pool: Sequence[Row], count: int) -> list[Sequence[Row]]:
    """Split off folds from a pool, as large as the first one, and return them all."""
    folds = [first]
    for number in range(1, count):
        pool, fold = split_by_class(pool, len(first), number)
        folds.append(fold)
    return folds
