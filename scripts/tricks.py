"""The catalogue of tricks, made of YAML files, cards and code, so that it cannot drift from them.

python scripts/tricks.py --write  put the tricks of each stage into both READMEs, and everything into docs/tricks.md
python scripts/tricks.py ...      everything else is `trickbook tricks`, in a checkout
"""

import sys
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from recipes.commands import trickbook
from recipes.commands.tricks import entries, pairs, table, tricks
from recipes.config import CONF
from recipes.seams import STAGES, stage_of

MARKS = "<!-- tricks: made by scripts/tricks.py -->\n", "<!-- end of tricks -->\n"
READMES = ROOT / "README.md", ROOT / "README_zh.md"
CATALOGUE = ROOT / "docs" / "tricks.md"


def list_by_stage() -> str:
    """A row for each stage, with the names of its tricks; each leads to its card."""
    lines = ["| stage | tricks |", "|---|---|"]
    for stage in STAGES:
        links = [
            f"[`{name}`](docs/tricks.md#{name})" for name, trick in tricks().items() if stage_of(trick.slots) == stage
        ]
        lines.append(f"| {stage.replace('_', '-')} | {', '.join(links)} |")
    return "\n".join(lines) + "\n"


def recipes() -> str:
    """A row for each recipe: its purpose, the verdict of its own evidence, and the figures, from its YAML file."""
    lines = ["| recipe | purpose | verdict | evidence |", "|---|---|---|---|"]
    for path in sorted((CONF / "recipe").glob("*.yaml")):
        comments = [line[2:] for line in path.read_text(encoding="utf-8").splitlines()[1:] if line.startswith("# ")]
        purpose, _, rest = " ".join(comments).partition("  python train.py ")
        verdict, _, evidence = rest.partition("Verdict: ")[2].partition(". ")
        lines.append(f"| [`{path.stem}`](../conf/recipe/{path.name}) | {purpose.strip()} | {verdict} | {evidence} |")
    return "\n".join(lines) + "\n"


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
            "## Recipes\n",
            "Each is a file of tricks and values. Differences are of test accuracy to `recipe=plain`, unless stated.\n",
            recipes(),
            "## Each pair\n",
            "What it means that two are on together, at the values of their YAML files. "
            f"The {unrelated} pairs that are not here wrap different seams: neither sees the other.\n",
            *meeting,
            "",
        ]
    )


def write() -> None:
    for readme in READMES:
        before, rest = readme.read_text(encoding="utf-8").split(MARKS[0])
        readme.write_text(
            f"{before}{MARKS[0]}\n{list_by_stage()}\n{MARKS[1]}{rest.split(MARKS[1])[1]}", encoding="utf-8"
        )
    CATALOGUE.write_text(catalogue(), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write()
    else:
        trickbook.main(["tricks", *sys.argv[1:]])
