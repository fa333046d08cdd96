"""Read a file of unlabelled texts, and leave out those that a run is evaluated on.

The file is CSV, TSV, JSONL or Parquet with the column `data.text` (and `data.text_pair`), or a `.txt` file with a text
on each line. Any of them may be gzipped.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc
from datasets import Dataset

from recipes.config import Data
from recipes.data import duplicates
from recipes.data.columns import as_dataset, as_examples
from recipes.data.encodings import explain_encoding, find_encoding
from recipes.data.formats import FORMATS, FormatError, explain_endings, explain_gzip, open_bytes
from recipes.data.labels import is_unlabelled
from recipes.data.paths import find_file
from recipes.data.sources import read_file
from recipes.data.splits import VisibleSplits
from recipes.errors import UserError, list_names, unreadable

SHINGLE = 5
"""Length of the character sequences by which near-duplicates are compared, as in the trick `deduplicate`."""
SPLIT = "the file of unlabelled texts"
"""How messages call its rows."""


def read_unlabelled(path: str, setting: str, settings: Data, classes: Sequence[str] = ()) -> tuple[Dataset, list[str]]:
    """Read unlabelled texts.

    Args:
        path: of the file.
        setting: dotted path of the setting that names the file.
        settings: the config's `data`, which names the columns.
        classes: the labels of the training rows, by which a labelled file is recognized.

    Returns:
        Rows with the columns id, source, text, text_pair and label, where every label is null, without empty texts; and
        notes for the user.

    Raises:
        UserError: there is no such file, it cannot be read, has labels, or has no text.
    """
    setting = f"{setting}={path}"
    # Records of such a file are known by their number.
    settings = replace(settings, id=None, group=None)
    file, ending = find_file(SPLIT, path, setting), Path(path.lower().removesuffix(".gz")).suffix
    if ending == ".txt":
        raw, notes = _read_lines(file, setting, settings, classes), list[str]()
    elif ending not in FORMATS:
        raise UserError(f"{setting}: the ending must be one of .txt, {explain_endings(ending)}")
    else:
        raw, notes = read_file(SPLIT, path, settings, setting)
    label_columns = settings.label if isinstance(settings.label, list) else [settings.label]
    present = [name for name in label_columns if name in raw.column_names]
    if labelled := _count_labelled(raw.select_columns(present), classes):
        raise UserError(
            f"{setting}: {labelled:,} of its {len(raw):,} rows have a label in data.label="
            f"{list_names(present, quoted=False)}, but texts without labels are expected. Train on these rows "
            "(data.train), or remove their labels."
        )
    table, _ = as_examples(raw.remove_columns(present), settings, SPLIT, path)
    rows = table.filter(pc.not_equal(pc.utf8_trim_whitespace(table["text"]), ""))
    if not len(rows):
        raise UserError(
            f"{setting}: each of its {len(table):,} texts is empty; is data.text={settings.text} right? If it is, name "
            "another file."
        )
    if empty := len(table) - len(rows):
        notes.append(f"{setting}: {empty:,} of {len(table):,} texts are empty and are left out.")
    return as_dataset(rows), notes


def _count_labelled(columns: Dataset, classes: Sequence[str]) -> int:
    """How many rows have a label; -1 is none, unless it is a class."""

    def labels(cell: str | list[str | None] | None) -> set[str]:
        names = {name for name in (cell if isinstance(cell, list) else [cell]) if name}
        return set() if is_unlabelled(names, classes) else names

    return sum(any(map(labels, row.values())) for row in columns)


def _read_lines(file: Path, setting: str, settings: Data, classes: Sequence[str]) -> Dataset:
    """The lines of a `.txt` file, as the columns that the config names."""
    if settings.text_pair:
        raise UserError(
            f"{setting}: data.text_pair={settings.text_pair} is set, but a line of a .txt file is one text; write the "
            f"pairs as CSV with the columns {settings.text} and {settings.text_pair}."
        )
    try:
        encoding, _ = find_encoding(file, settings.encoding)
        with open_bytes(file) as raw, io.TextIOWrapper(raw, encoding) as lines:
            texts = [line.rstrip("\n") for line in lines if line.strip()]
    except FormatError as error:
        raise UserError(f"{setting}: {error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{setting}: {explain_encoding(error)}") from error
    except (EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise unreadable(setting, error) from error
        raise UserError(f"{setting}: {explain_gzip(error)}") from error
    if not texts:
        raise UserError(f"{setting}: the file has no rows; write a text on each line, or name another file.")
    # A table that was saved as .txt: each line ends, or begins, with one of the classes.
    cells = [line.split("\t") for line in texts]
    if classes and all(len(row) > 1 and {row[0], row[-1]} & set(classes) for row in cells):
        raise UserError(
            f"{setting}: each line has a tab and one of the labels {list_names(classes, most=3)}, but texts without "
            "labels are expected. Train on these rows (data.train, as .tsv), or remove the labels."
        )
    return Dataset.from_dict({settings.text: texts})


def leave_out_evaluated(
    rows: Dataset, splits: VisibleSplits, clean_rows: Callable[[Dataset], Dataset], threshold: float = 1.0
) -> Dataset:
    """Leave out each text that is in validation, in test or in `evaluate.extra`, and each that repeats an earlier one.

    Args:
        rows: cleaned unlabelled rows.
        splits: the data of the run.
        clean_rows: cleans the texts of a split as the run does.
        threshold: Jaccard similarity of near-duplicates; 1: exact duplicates only.

    Raises:
        ImportError: near-duplicates need the package datasketch, which is missing.
    """
    texts = duplicates.fold_rows(rows)
    of_validation = dict.fromkeys(duplicates.fold_rows(clean_rows(splits.validation)))
    hidden = splits.hidden_digests()
    first: dict[str, int] = {}
    for index, text in enumerate(texts):
        if text not in of_validation and duplicates.digest(text) not in hidden:
            first.setdefault(text, index)
    if threshold < 1:
        near = duplicates.first_near_duplicates(of_validation, list(first), threshold, SHINGLE, inside=False)
        near_hidden = splits.find_hidden(list(first), threshold, SHINGLE)
        first = {text: index for text, index in first.items() if near[text] == text and text not in near_hidden}
    return rows.select(list(first.values()))
