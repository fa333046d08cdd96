"""Write one HTML page about one or more finished runs: scores, curves, classes, and the rows with the highest loss.

    python scripts/report.py runs/<run> [runs/<other> ...] [--output report.html]

The page is a single file and needs no network. It contains texts of your data, so be careful whom you send it to.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from recipes.cli import exit_on_user_error
from recipes.errors import UserError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="run", help="folder of a finished run")
    parser.add_argument("--output", type=Path, help="file to write; default: report.html in a single run's folder")
    arguments = parser.parse_args()

    from recipes.api import load
    from recipes.data.inputs import compare_inputs
    from recipes.runs.files import atomic_write

    runs = [load(folder) for folder in arguments.runs]
    # What makes the page takes seconds to import, so a wrong folder is refused first.
    from recipes.reports.html import PAGE_START
    from recipes.reports.run_page import page

    compare_inputs(run.folder for run in runs)
    if arguments.output is None and len(runs) > 1:
        raise UserError(f"A page of {len(runs)} runs needs a file to write: --output=report.html.")
    target = arguments.output or runs[0].folder / "report.html"
    if not target.name or target.parent.name in ("model", "predictions"):
        raise UserError(f"--output={target}: name a file for the page, outside model/ and predictions/ of a run.")
    if arguments.output and target.is_file() and not target.read_bytes().startswith(PAGE_START.encode()):
        raise UserError(f"--output={target} exists and is not such a page; name another file.")
    with atomic_write(target) as draft:
        draft.write_text(page(runs), encoding="utf-8")
    print(target)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
