"""Trickbook: fine-tune text classifiers with tricks to toggle, check and prove.

usage: trickbook <command> ...

{commands}

trickbook <command> --help shows its options, trickbook --version its version.

  trickbook train data=files data.train=reviews.csv '+tricks=[mixup,amp]'
  trickbook predict runs/<run> new.csv predictions.csv
"""

import importlib
import os
import platform
import sys
from importlib import metadata

from recipes.cli import exit_on_user_error
from recipes.commands import COMMANDS
from recipes.errors import UserError, nearest
from recipes.runtime.program import ROOT


def main(arguments: list[str] | None = None) -> None:
    """Run the command that the first argument names, with the others."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    with exit_on_user_error():
        try:
            if name in ("-h", "--help"):
                print(describe())
            elif name == "--version":
                print(describe_version())
            elif name in ("-sc", "--shell-completion"):
                complete_line([name, *rest])
            elif name in COMMANDS:
                importlib.import_module(f"recipes.commands.{name}").main(rest)
            else:
                raise UserError(f"{name}: there is no such command; {nearest(name, COMMANDS)}")
        except BrokenPipeError:  # the reader of the output has closed it
            # Python flushes standard output once more when it exits, which would raise again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)


def complete_line(arguments: list[str]) -> None:
    """Answer a shell: the commands after `trickbook`, and after `trickbook train` what may follow."""
    _, *words = os.environ.get("COMP_LINE", "").split(" ")
    if len(words) == 1:
        print(" ".join(each for each in COMMANDS if each.startswith(words[0])))
    elif not words or words[0] == "train":
        importlib.import_module("recipes.commands.train").main(arguments)


def describe() -> str:
    """The page of `trickbook --help`: one screen of 80 columns."""
    width = max(map(len, COMMANDS)) + 2
    commands = "\n".join(f"  {name:{width}}{purpose}" for name, purpose in COMMANDS.items())
    return (__doc__ or "").strip().format(commands=commands)


def describe_version() -> str:
    """The version, and where it is, since an environment and a checkout may both have one."""
    try:
        version = metadata.version("trickbook")
    except metadata.PackageNotFoundError:
        version = "(not installed)"
    return f"trickbook {version} in {ROOT} (Python {platform.python_version()})"


if __name__ == "__main__":
    main()
