"""List the tricks, or show one with its settings, its source, and when to use it.

    trickbook tricks            a row for each trick
    trickbook tricks mixup      all about one trick, or more
    trickbook tricks --pairs    who is inside whom, or why a pair is refused

Tricks are chosen by one list, '+tricks=[mixup,amp]', and set by tricks.mixup.alpha=0.4.
"""

import ast
import dataclasses
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

from recipes import seams
from recipes.commands.arguments import make_parser
from recipes.compose.loader import describe_sets
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.config import CONF
from recipes.errors import UserError, nearest
from recipes.ranges import as_yaml, describe_field
from recipes.reports.tables import console_for_tables
from recipes.runtime.program import ROOT

if TYPE_CHECKING:
    from recipes.trick import Trick

# What it means that one trick is inside another, by the seam that both wrap.
INSIDE = {
    "clean": "{inner} rewrites what {outer} has rewritten",
    "examples": "{inner} works on the rows that {outer} leaves or adds",
    "encode": "{inner} cuts for {outer}",
    "batches": "{outer} deals what {inner} dealt",
    "model": "{inner} changes the model first, {outer} then",
    "optimizer": "{outer} changes the groups that {inner} made",
    "pretrain": "{inner} comes first",
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
def tricks() -> "dict[str, Trick]":
    """Every trick, at the values of its YAML file."""
    names = sorted(path.stem for path in (CONF / "tricks").glob("*.yaml"))
    # Building them loads PyTorch.
    from recipes.compose.tricks import build

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
            f"| [`{name}`]({root}{home_of(trick)}) | {stage} | {summary} | {wraps} | {trick.passes:.2g} | {source} |"
        )
    return "\n".join(lines) + "\n"


def first_source(card: str) -> str:
    """The work that a card names first, up to its number on arXiv if it has one there."""
    source = " ".join(card.partition("Source: ")[2].partition("\nCost: ")[0].split())
    first = re.split(r"; | \(|\. (?=[A-Z])", source)[0].rstrip(".")
    return re.sub(r"(arXiv \d{4}\.\d{5}).*", r"\1", first)


def card_of(trick: "Trick") -> str:
    """The docstring of its module."""
    return sys.modules[type(trick).__module__].__doc__ or ""


def home_of(trick: "Trick") -> str:
    """The path of its module."""
    return f"{type(trick).__module__.replace('.', '/')}.py"


def entries() -> Iterator[str]:
    """For each trick its slots, what it sets, its settings with what they hold and what is advised, and its card."""
    for name, trick in tricks().items():
        slots = ", ".join(f"{seam}/{trick.slots[seam]}" for seam in seams.SEAMS if seam in trick.slots)
        sets = "".join(f"; sets `{path}={as_yaml(value)}`" for path, value in trick.sets.items())
        yield f"### [`{name}`](../{home_of(trick)})\n\n{slots}; passes: {trick.passes:.2g}{sets}\n"
        yield "| setting | value | holds | advised |\n|---|---|---|---|"
        for item in dataclasses.fields(trick):
            values = describe_field(item).replace(" |", ",")
            advice = item.metadata.get("advice")
            advised = f"{advice.values}{f' ({advice.source})' if advice.source else ''}" if advice else ""
            yield f"| {item.name} | `{as_yaml(getattr(trick, item.name))}` | {values} | {advised} |"
        yield f"\n```text\n{card_of(trick).strip()}\n```\n"


def pairs(all_tricks: "Mapping[str, Trick]") -> Iterator[str]:
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


def read_cards() -> dict[str, tuple[str, str]]:
    """The stage and the card of each trick. Nothing is imported: that would load PyTorch, which takes seconds."""
    cards = {}
    for path in sorted((CONF / "tricks").glob("*.yaml")):
        target = re.search(r"^_target_: (tricks\.(\w+)\.\w+)\.\w+$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert target is not None, path
        source = ROOT.joinpath(*target[1].split(".")).with_suffix(".py").read_text(encoding="utf-8")
        cards[path.stem] = target[2].replace("_", "-"), ast.get_docstring(ast.parse(source)) or ""
    return cards


def list_tricks(cards: Mapping[str, tuple[str, str]]) -> Table:
    """A row for each trick, for a terminal."""
    rows = Table("trick", "stage", "what it does", box=box.SIMPLE_HEAD)
    for name, (stage, card) in cards.items():
        rows.add_row(name, stage, escape(card.split("\n")[0].partition(": ")[2]))
    return rows


def list_settings(trick: "Trick") -> Table:
    """A row for each setting of a trick, for a terminal."""
    rows = Table("setting", "value", "holds", box=box.SIMPLE_HEAD)
    for item in dataclasses.fields(trick):
        rows.add_row(item.name, *map(escape, (as_yaml(getattr(trick, item.name)), describe_field(item))))
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Print the list, some tricks, or the pairs."""
    parser = make_parser("tricks", __doc__)
    parser.add_argument("names", nargs="*", metavar="trick", help="a trick to show")
    parser.add_argument("--pairs", action="store_true", help="print what each pair means")
    options = parser.parse_args(arguments)
    cards = read_cards()
    if unknown := [name for name in options.names if name not in cards]:
        raise UserError(*(f"{name}: there is no such trick; {nearest(name, cards)}" for name in unknown))
    console = console_for_tables()
    if options.pairs:
        print(*pairs(tricks()), sep="\n")
    for name in options.names:
        print(f"{name}\n\n{cards[name][1].strip()}")
        console.print(list_settings(tricks()[name]))
        for sentence in describe_sets({name: tricks()[name]}):
            print(sentence)
    if not options.pairs and not options.names:
        console.print(list_tricks(cards))
