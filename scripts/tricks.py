"""The catalogue of tricks, made of YAML files, cards and code, so that it cannot drift from them.

python scripts/tricks.py --write  put the table into README.md, and everything into docs/tricks.md
python scripts/tricks.py ...      everything else is `trickbook tricks`, in a checkout
"""

import sys
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from recipes.commands import trickbook
from recipes.commands.tricks import entries, pairs, table, tricks

MARKS = "<!-- tricks: made by scripts/tricks.py -->\n", "<!-- end of tricks -->\n"
CATALOGUE = ROOT / "docs" / "tricks.md"


def catalogue() -> str:
    """The whole page."""
    meeting = list(pairs(tricks()))
    unrelated = len(list(combinations(tricks(), 2))) - len(meeting)
    return "\n".join(
        [
            "# The tricks\n",
            "Made by `python scripts/tricks.py --write` of YAML files, cards and code.\n",
            table("../"),
            "## Each trick\n",
            *entries(),
            "## Each pair\n",
            "What it means that two are on together, at the values of their YAML files. "
            f"The {unrelated} pairs that are not here wrap different seams: neither sees the other.\n",
            *meeting,
            "",
        ]
    )


def write() -> None:
    readme = ROOT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(MARKS[0])
    readme.write_text(f"{before}{MARKS[0]}\n{table()}\n{MARKS[1]}{rest.split(MARKS[1])[1]}", encoding="utf-8")
    CATALOGUE.write_text(catalogue(), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write()
    else:
        trickbook.main(["tricks", *sys.argv[1:]])
