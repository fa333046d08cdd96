"""Printing of results, and of the machine that they depend on."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version

import torch
from rich.console import Console

from recipes.reports.tables import figure_table, markdown_table


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool) -> None:
    """Print a table for the terminal or as Markdown."""
    console = Console(highlight=False, soft_wrap=True, width=120)
    console.print(f"\n{title}", markup=False)
    if markdown:
        console.print("", markdown_table(header, rows), sep="\n", markup=False)
    else:
        console.print(figure_table(header, rows))


def describe_machine(*packages: str) -> str:
    """Processor, threads and versions of packages; PyTorch and transformers unless others are given."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages or ("torch", "transformers"))
    return f"{platform.machine()}, {torch.get_num_threads()} of {os.cpu_count()} cores, {versions}"
