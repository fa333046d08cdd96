"""The catalogue of tricks, made of YAML files, cards and code, so that it cannot drift from them.

python scripts/tricks.py          print a row for each trick
python scripts/tricks.py --pairs  print what each pair means: who is inside whom, or why it is refused
python scripts/tricks.py --write  put the first into README.md, and everything into docs/tricks.md
"""

import argparse
import dataclasses
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from recipes import seams
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.compose.tricks import build
from recipes.config import CONF
from recipes.ranges import as_yaml, describe_field
from recipes.trick import Trick

MARKS = "<!-- tricks: made by scripts/tricks.py -->\n", "<!-- end of tricks -->\n"
CATALOGUE = ROOT / "docs" / "tricks.md"
# What it means that one trick is inside another, by the seam that both wrap.
INSIDE = {
    "clean": "{inner} rewrites what {outer} has rewritten",
    "examples": "{inner} works on the rows that {outer} leaves or adds",
    "encode": "{inner} cuts for {outer}",
    "batches": "{outer} deals what {inner} dealt",
    "model": "{inner} changes the model first, {outer} then",
    "optimizer": "{outer} changes the groups that {inner} made",
    "schedule": "{outer} changes the factor that {inner} gives",
    "accelerator": "{inner} has the last word on the options",
    "loss": "{inner} gets the targets and logits that {outer} has made",
    "objective": "every pass that {outer} makes goes through {inner}",
    "gradient": "{inner} takes every gradient that {outer} asks for",
    "update": "{inner} acts closer to the step",
    "weights": "{outer} decides whether {inner} is asked",
    "settle": "{outer} is fitted to what {inner} leaves",
    "predict": "{outer} merges what {inner} answers",
    "decide": "{outer} decides whether {inner} is asked",
    "results": "{outer} adds to what {inner} has made of the scores",
    "train": "{outer} runs {inner} as often as it likes",
}


@cache
def tricks() -> dict[str, Trick]:
    """Every trick, at the values of its YAML file."""
    names = sorted(path.stem for path in (CONF / "tricks").glob("*.yaml"))
    values = read(compose_config([f"+tricks=[{','.join(names)}]"])[0]).tricks
    return {name: build({name: values[name]})[name] for name in names}


def table(root: str = "") -> str:
    """A row for each trick: stage, what it does, where it wraps, passes, source; `root` leads links to the root."""
    lines = ["| trick | stage | what it does | wraps | passes | source |", "|---|---|---|---|---|---|"]
    for name, trick in tricks().items():
        card = card_of(trick)
        summary = card.split("\n")[0].partition(": ")[2]
        source = first_source(card)
        wraps = ", ".join(f"`{seam}`" for seam in seams.SEAMS if seam in trick.slots)
        stage = seams.stage_of(trick.slots).replace("_", "-")
        lines.append(
            f"| [`{name}`]({root}{home_of(trick)}) | {stage} | {summary} | {wraps} | {trick.passes:g} | {source} |"
        )
    return "\n".join(lines) + "\n"


def first_source(card: str) -> str:
    """The work that a card names first, up to its number on arXiv if it has one there."""
    source = " ".join(card.partition("Source: ")[2].partition("\nCost: ")[0].split())
    first = re.split(r"; | \(|\. (?=[A-Z])", source)[0].rstrip(".")
    return re.sub(r"(arXiv \d{4}\.\d{5}).*", r"\1", first)


def card_of(trick: Trick) -> str:
    return sys.modules[type(trick).__module__].__doc__ or ""


def home_of(trick: Trick) -> str:
    return f"{type(trick).__module__.replace('.', '/')}.py"


def entries() -> Iterator[str]:
    """For each trick its layers, needs and settings with what they may hold and what is advised, and its card."""
    for name, trick in tricks().items():
        slots = ", ".join(f"{seam}/{trick.slots[seam]}" for seam in seams.SEAMS if seam in trick.slots)
        needs = "".join(f"; needs {path}={as_yaml(value)}" for path, value in trick.needs.items())
        yield f"### [`{name}`](../{home_of(trick)})\n\n{slots}; passes: {trick.passes:g}{needs}\n"
        yield "| setting | value | holds | advised |\n|---|---|---|---|"
        for item in dataclasses.fields(trick):
            values = describe_field(item).replace(" |", ",")
            advice = item.metadata.get("advice")
            advised = f"{advice.values}{f' ({advice.source})' if advice.source else ''}" if advice else ""
            yield f"| {item.name} | `{as_yaml(getattr(trick, item.name))}` | {values} | {advised} |"
        yield f"\n```text\n{card_of(trick).strip()}\n```\n"


def pairs(all_tricks: Mapping[str, Trick]) -> Iterator[str]:
    """A line for each pair that meets: refused, and why, or who is inside whom, and what that means."""
    for one, other in combinations(all_tricks, 2):
        pair = {name: all_tricks[name] for name in (one, other)}
        if reasons := seams.refusals(pair):
            yield f"- `{one}` and `{other}`: refused. {' '.join(reasons)}"
            continue
        shared = {seam: seams.tricks_around(seam, pair) for seam in seams.SEAMS}
        meanings = [
            f"{seam}: {INSIDE[seam].format(outer=f'`{names[0]}`', inner=f'`{names[1]}`')}"
            for seam, names in shared.items()
            if len(names) == 2
        ]
        if meanings:
            yield f"- `{one}` and `{other}`: {'; '.join(meanings)}."


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--pairs", action="store_true", help="print what each pair means")
    mode.add_argument("--write", action="store_true", help="write the table into README.md and the page docs/tricks.md")
    arguments = parser.parse_args()
    if arguments.pairs:
        print(*pairs(tricks()), sep="\n")
    elif arguments.write:
        readme = ROOT / "README.md"
        before, rest = readme.read_text(encoding="utf-8").split(MARKS[0])
        readme.write_text(f"{before}{MARKS[0]}\n{table()}\n{MARKS[1]}{rest.split(MARKS[1])[1]}", encoding="utf-8")
        CATALOGUE.write_text(catalogue(), encoding="utf-8")
    else:
        print(table(), end="")


if __name__ == "__main__":
    main()
