"""Several processes at one run: who speaks for all."""

import os


def is_first() -> bool:
    """Whether this is the first of the processes that torchrun started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """Print a line, once for all processes."""
    if is_first():
        print(text)
