"""Run every check and table that needs a GPU, and print one page.

    python scripts/gpu_check.py                                   all sections, at most 9 minutes
    python scripts/gpu_check.py graphs laws --seconds 120         some sections
    python scripts/gpu_check.py --device cpu --seconds 60         the same page on a CPU: a rehearsal, no figures
    python scripts/gpu_check.py --data <folder with train.csv>    real texts in place of made ones

Nothing is downloaded: models have random weights in the shapes of MiniLM and BERT-base, and texts are made here, with
the lengths of short reviews and of imdb. It is written for Python 3.12, torch 2.11, transformers 5.17, accelerate 1.15.

A machine without a network may lack some packages. Collect them on one that has it, carry them, and install them:

    pip wheel --no-deps -w wheels hydra-core omegaconf antlr4-python3-runtime==4.9.3 datasets multiprocess dill xxhash
    pip wheel --no-deps -w wheels torch-ema filelock rich scikit-learn tensorboard     what is missing of these, too
    pip install --no-index --no-deps wheels/*.whl

Each section runs in its own process, so one that breaks the GPU's context, or never ends, takes no other with it. The
page is printed and written to a file. The exit code is 1 if a check failed.
"""

import argparse
import ast
import importlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

STARTED = time.monotonic()
ROOT = Path(__file__).parents[1]
if __name__ == "__main__":
    # Python puts scripts/ first on the path; `scripts.gpu` is found from the checkout.
    sys.path[0] = str(ROOT)

from recipes.cli import exit_on_user_error, positive_integer
from recipes.errors import UserError

PROGRAM = "python scripts/gpu_check.py"
SECONDS = 520
"""Of all sections together. With starting and printing the command stays below 9 minutes."""
GRACE = 15.0
"""Seconds after its own that a section is given to end, before it is killed."""
FOLDER = ROOT / "scripts" / "gpu"
"""A section is a module here with `describe(seconds)`; `scripts/gpu/work.py` says what it may use."""
WEIGHTS = {"graphs": 4, "laws": 3, "long_text": 2, "prediction": 2, "processes": 3, "synchronization": 2}
"""How the time is divided among the sections; 1 for any other."""
FAILED = "**FAILED**"


def main() -> int:
    """Run the sections, and return the exit code."""
    arguments = read_arguments(sys.argv[1:])
    if arguments.inside:
        print_section(arguments.sections[0], arguments)
        return 0
    failed: list[str] = []
    with arguments.output.open("w", encoding="utf-8") as file:
        for line in make_page(arguments, failed):
            print(line, flush=True)
            print(line, file=file, flush=True)
    return 1 if failed else 0


def read_arguments(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UserError: there is no such section, or no GPU.
    """
    names = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "work")
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", metavar="section", help=f"{', '.join(names)}; all if none is given")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="(%(default)s)")
    parser.add_argument("--seconds", type=positive_integer, default=SECONDS, help="of all sections (%(default)s)")
    parser.add_argument("--data", type=Path, help="a folder with train.csv or train.csv.gz: columns text and label")
    parser.add_argument("--output", type=Path, default=Path("gpu_check.md"), help="the page (%(default)s)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    if unknown := [name for name in arguments.sections if name not in names]:
        raise UserError(f"{PROGRAM}: there is no section {unknown[0]}; the sections are {', '.join(names)}.")
    arguments.sections = arguments.sections or names
    if arguments.device == "cuda" and not arguments.inside:
        require_gpu()
    return arguments


def require_gpu() -> None:
    """Refuse to run where there is nothing to check."""
    import torch

    if not torch.cuda.is_available():
        raise UserError("torch finds no GPU on this machine; --device cpu --seconds 60 rehearses the page on the CPU.")


def make_page(arguments: argparse.Namespace, failed: list[str]) -> Iterator[str]:
    """The lines of the page; sections that fail are added to `failed`."""
    start, sections = time.monotonic(), arguments.sections
    yield from describe_machine(arguments.device)
    for number, name in enumerate(sections):
        # What earlier sections did not use goes to the later ones.
        left = arguments.seconds - (time.monotonic() - start)
        weights = [WEIGHTS.get(each, 1) for each in sections[number:]]
        seconds = max(1.0, left * weights[0] / sum(weights))
        began, has_failed = time.monotonic(), False
        yield f"\n## {read_title(name)}\n"
        for line in run_section(name, seconds, arguments):
            has_failed |= line.startswith(FAILED)
            yield line
        if has_failed:
            failed.append(name)
        yield f"\n({name}: {time.monotonic() - began:.0f} s of {seconds:.0f} s)"
    yield "\n## Result\n"
    yield f"{FAILED}: {', '.join(failed)}" if failed else "All checks passed."


def read_title(name: str) -> str:
    """The first line of a section's docstring; the section itself is imported in its own process alone."""
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or name).splitlines()[0].rstrip(".")


def describe_machine(device: str) -> Iterator[str]:
    """The header: card, versions, commit."""
    import platform
    from importlib.metadata import version

    import torch

    yield "# GPU check\n"
    card = torch.cuda.get_device_name() if device == "cuda" else "none: a rehearsal on the CPU, its figures say nothing"
    yield f"- card: {card}"
    yield f"- Python {platform.python_version()}, torch {torch.__version__}"
    yield f"- transformers {version('transformers')}, accelerate {version('accelerate')}"
    git = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True)
    yield f"- commit: {git.stdout.strip() or 'unknown, since this is no git checkout'}"


def run_section(name: str, seconds: float, arguments: argparse.Namespace) -> Iterator[str]:
    """Run a section in its own process; yield its lines as they come."""
    command = [sys.executable, "-u", __file__, name, "--inside", "--device", arguments.device]
    command += ["--seconds", str(max(1, int(seconds))), *(["--data", str(arguments.data)] if arguments.data else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        killer = threading.Timer(seconds + GRACE, process.kill)
        killer.start()
        try:
            for line in process.stdout:
                yield line.rstrip("\n")
        finally:
            killer.cancel()
            process.kill()
    if process.returncode < 0:
        yield f"{FAILED}: the section was ended by signal {-process.returncode}, after {seconds:.0f} s or less."
    elif process.returncode:
        yield f"{FAILED}: the section ended with code {process.returncode}."


def print_section(name: str, arguments: argparse.Namespace) -> None:
    """Print a section, in its own process; an error ends it with a traceback."""
    from scripts.gpu import work

    work.DEVICE, work.DATA = arguments.device, arguments.data
    section = importlib.import_module(f"scripts.gpu.{name}")
    # Imports take long on some machines, and belong to the section's time.
    for line in section.describe(max(1.0, arguments.seconds - (time.monotonic() - STARTED))):
        print(line, flush=True)


if __name__ == "__main__":
    with exit_on_user_error():
        sys.exit(main())
