"""Make the data of docs/evidence/back-translation.yaml: variants of training rows, translated there and back.

    python scripts/translate_back.py <folder of eda_trec> runs/translated/eda_trec

The target gets the three files of the data set with ids, and `variants.csv` with a variant of each training row through
each language of `--through`. Apertium translates by rules, without a model or a network; a neural translator writes
better. On Debian: `apt install apertium apertium-eng-spa apertium-eng-cat`.
"""

import argparse
import csv
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from recipes.cli import exit_on_user_error
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.data.splits import read_splits
from recipes.errors import UserError
from scripts.evidence import VARIANTS, files_of

Translate = Callable[[Sequence[str], str], Sequence[str]]


def translate(texts: Sequence[str], pair: str) -> list[str]:
    """Translate texts with Apertium.

    Args:
        texts: none has a line break.
        pair: both languages, such as eng-spa.

    Raises:
        UserError: there is no Apertium, or it cannot translate this pair.
    """
    if shutil.which("apertium") is None:
        raise UserError("apertium: no such program; on Debian: apt install apertium apertium-eng-spa apertium-eng-cat.")
    # The full stop keeps its rules from moving words to the next line; -u leaves unknown words as they are.
    lines = "".join(f"{text} .\n" for text in texts)
    done = subprocess.run(["apertium", "-u", pair], input=lines, capture_output=True, text=True, encoding="utf-8")
    translated = [line.removesuffix(".").strip() for line in done.stdout.splitlines()]
    if done.returncode or len(translated) != len(texts):
        reason = done.stderr.strip() or f"it returned {len(translated)} texts for {len(texts)}"
        raise UserError(f"apertium {pair}: {reason}. `apertium -l` lists what it can translate.")
    return translated


def make(folder: Path, target: Path, source: str, through: Sequence[str], translate: Translate) -> None:
    """Write the splits of a data set with ids, and a variant of each training row for each language."""
    paths = [f"data.{split}={file}" for split, file in files_of(folder).items()]
    splits = read_splits(read(compose_config(["data=files", *paths])[0]).data, {}, True)
    train = splits.train
    assert splits.test is not None
    texts = [" ".join(text.split()) for text in train["text"]]
    translated = [translate(translate(texts, f"{source}-{other}"), f"{other}-{source}") for other in through]
    target.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", train), ("validation", splits.validation), ("test", splits.test)):
        rows.select_columns(["id", "text", "label"]).to_csv(target / f"{name}.csv")
    with (target / VARIANTS).open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(["id", "text"])
        for row, variants in zip(train["id"], zip(*translated, strict=True), strict=True):
            writer.writerows([row, variant] for variant in variants)


def main() -> None:
    """Make the data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder of train, validation and test files")
    parser.add_argument("target", type=Path, help="the folder to make; name it like the data set")
    parser.add_argument("--source", default="eng", help="the language of the texts, as Apertium names it")
    parser.add_argument("--through", nargs="+", default=["spa", "cat"], help="the other languages")
    arguments = parser.parse_args()
    make(arguments.folder, arguments.target, arguments.source, arguments.through, translate)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
