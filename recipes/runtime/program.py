"""How this program was started: which command a reader can type, and whether a notebook shows what is printed."""

import sys
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).parents[2]
"""The folder that holds `recipes/` and `tricks/`: a checkout, or the one that pip installs into."""


def name_command(name: str) -> str:
    """Name a command: `trickbook predict`, or `python scripts/predict.py` where a checkout's own file was started."""
    is_installed = not (ROOT / "train.py").is_file()
    if is_installed or Path(sys.argv[0]).stem == "trickbook":
        return f"trickbook {name}"
    return "python train.py" if name == "train" else f"python scripts/{name}.py"


def in_notebook() -> bool:
    """Whether what is printed now goes to a notebook, such as Jupyter's."""
    return _is_of_notebook(sys.stdout)


def is_terminal(stream: TextIO) -> bool:
    """Whether lines of a stream can be drawn again. A notebook says that it is a terminal, but its lines stay."""
    return stream.isatty() and not _is_of_notebook(stream)


def _is_of_notebook(stream: TextIO) -> bool:
    return type(stream).__module__.startswith("ipykernel.")
