"""Command-line options that two or more benchmarks have."""

from argparse import ArgumentParser
from pathlib import Path

from recipes.cli import positive_integer


def add_text_options(parser: ArgumentParser) -> None:
    """The data sets, and how their texts are batched."""
    add_data_option(parser, "may be given several times", required=True)
    parser.add_argument("--threads", type=positive_integer, help="of the process; PyTorch's choice unless given")
    parser.add_argument("--batch-size", type=positive_integer, default=32, help="rows an update (%(default)s)")
    parser.add_argument("--max-length", type=positive_integer, default=256, help="tokens of one row (%(default)s)")


def add_data_option(parser: ArgumentParser, remark: str, required: bool) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        required=required,
        metavar="FOLDER",
        help=f"holds train.csv or train.csv.gz with the columns text and label; {remark}",
    )


def add_rows_option(parser: ArgumentParser, default: int | None = None) -> None:
    """How many rows of a file to take."""
    amount = "; all unless given" if default is None else " (%(default)s)"
    parser.add_argument("--rows", type=positive_integer, default=default, help=f"first rows of the file{amount}")


def add_rounds_option(parser: ArgumentParser, default: int) -> None:
    parser.add_argument(
        "--rounds", type=positive_integer, default=default, help="runs of each contestant (%(default)s)"
    )


def add_threads_option(parser: ArgumentParser) -> None:
    """Threads where one is the default: other processes of the machine then disturb least."""
    parser.add_argument("--threads", type=positive_integer, default=1, help="of each process (%(default)s)")
