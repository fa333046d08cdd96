"""What the parsers of all commands have in common."""

import argparse
import re
import textwrap

from recipes.commands import COMMANDS
from recipes.runtime.program import name_command

WIDTH = 80
"""Columns of what commands print about themselves."""


def make_parser(name: str, page: str | None) -> argparse.ArgumentParser:
    """Make the parser of a command.

    Args:
        name: of the command.
        page: its `--help`; where it says `trickbook <name>`, it shows what the user can type.
    """
    commands = re.compile(rf"\btrickbook ({'|'.join(COMMANDS)})\b")
    text = commands.sub(lambda match: name_command(match[1]), page or "")
    # Paragraphs are wrapped; lines that begin with spaces, such as examples, stay as they are.
    paragraphs = [each if each[0] == " " else textwrap.fill(each, WIDTH) for each in text.strip().split("\n\n")]
    return argparse.ArgumentParser(
        prog=name_command(name),
        description="\n\n".join(paragraphs),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the user's own classes, for commands that load a run."""
    parser.add_argument(
        "--trusted",
        action="extend",
        default=[],
        type=lambda names: names.strip("[]").replace(",", " ").split(),
        help="a class of your own that the run uses, such as my_tricks.Cutoff; its code runs",
    )
    parser.add_argument("--config-dir", help="trust the classes in the YAML files of this folder, as training does")


def read_trusted(options: argparse.Namespace) -> list[str]:
    """Read the names of the classes that the options of `add_trust` name.

    Raises:
        UserError: the config folder does not exist, or has no configs.
    """
    from recipes.compose.trust import read_targets  # late: it imports Hydra

    return [*options.trusted, *(read_targets(options.config_dir) if options.config_dir else ())]
