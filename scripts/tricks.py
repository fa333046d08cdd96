"""The catalogue of tricks, made of YAML files, cards and code, so that it cannot drift from them.

python scripts/tricks.py --write  put the tricks of each stage into both READMEs, and everything into docs/tricks.md
python scripts/tricks.py ...      everything else is `trickbook tricks`, in a checkout
"""

import sys
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from recipes.ablation.expectations import read_measured
from recipes.commands import trickbook
from recipes.commands.tricks import entries, pairs, table, tricks
from recipes.compose.overrides import compose_config
from recipes.config import CONF
from recipes.seams import STAGES, stage_of
from scripts.survey.declaration import read_declaration
from scripts.survey.seen import describe_recipe, describe_stage, judge_tricks

MARKS = "<!-- tricks: made by scripts/tricks.py -->\n", "<!-- end of tricks -->\n"
READMES = ROOT / "README.md", ROOT / "README_zh.md"
CATALOGUE = ROOT / "docs" / "tricks.md"
DECLARATION = ROOT / "docs" / "atlas" / "atlas.yaml"


def list_by_stage() -> str:
    """A row for each stage: the names of its tricks, each a link to its card, and those that the atlas saw help."""
    lines = ["| stage | tricks | seen to help ([atlas](docs/atlas.md)) |", "|---|---|---|"]
    seen = judge_tricks(read_measured(), read_declaration(DECLARATION).margin)
    for stage in STAGES:
        names = [name for name, trick in tricks().items() if stage_of(trick.slots) == stage]
        links = ", ".join(f"[`{name}`](docs/tricks.md#{name})" for name in names)
        lines.append(f"| {stage.replace('_', '-')} | {links} | {describe_stage(names, seen)} |")
    return "\n".join(lines) + "\n"


def recipes() -> str:
    """A row for each recipe: purpose, verdict and figures of its YAML file, and its tricks in the atlas."""
    header = (
        "| recipe | purpose | verdict | evidence | accuracy of its tricks at their defaults in the [atlas](atlas.md) |"
    )
    lines = [header, "|---|---|---|---|---|"]
    seen = judge_tricks(read_measured(), read_declaration(DECLARATION).margin)
    for path in sorted((CONF / "recipe").glob("*.yaml")):
        comments = [line[2:] for line in path.read_text(encoding="utf-8").splitlines()[1:] if line.startswith("# ")]
        purpose, _, rest = " ".join(comments).partition("  python train.py ")
        verdict, _, evidence = rest.partition("Verdict: ")[2].partition(". ")
        selected = sorted(compose_config([f"recipe={path.stem}"])[0].tricks)
        cells = [f"[`{path.stem}`](../conf/recipe/{path.name})", purpose.strip(), verdict, evidence]
        lines.append(f"| {' | '.join(cells)} | {describe_recipe(selected, seen)} |")
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
