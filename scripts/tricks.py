"""The trick table: from each YAML file and card to the README, so that neither can drift.

python scripts/tricks.py          print it
python scripts/tricks.py --write  put it into README.md, between its two marks
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from recipes import order
from recipes.config import CONF, read
from recipes.overrides import compose_config
from recipes.tricks import build

MARKS = "<!-- tricks: made by scripts/tricks.py -->\n", "<!-- end of tricks -->\n"


def table() -> str:
    """A row for each trick: stage, what it does, where it wraps, passes, source."""
    lines = ["| trick | stage | what it does | wraps | passes | source |", "|---|---|---|---|---|---|"]
    for path in sorted((CONF / "tricks").glob("*.yaml")):
        trick = build(read(compose_config([f"+tricks=[{path.stem}]"])[0]).tricks)[path.stem]
        card = sys.modules[type(trick).__module__].__doc__ or ""
        says = card.split("\n")[0].partition(": ")[2]
        source = " ".join(card.partition("Source: ")[2].split("\n")[0].split()).split(";")[0].rstrip(":,. ")
        wraps = ", ".join(f"`{seam}`" for seam in order.SEAMS if seam in trick.layers)
        stage = order.stage_of(trick.layers).replace("_", "-")
        home = f"{type(trick).__module__.replace('.', '/')}.py"
        lines.append(f"| [`{path.stem}`]({home}) | {stage} | {says} | {wraps} | {trick.passes:g} | {source} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    if not parser.parse_args().write:
        print(table(), end="")
        return
    readme = ROOT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(MARKS[0])
    readme.write_text(f"{before}{MARKS[0]}\n{table()}\n{MARKS[1]}{rest.split(MARKS[1])[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
