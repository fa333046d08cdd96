"""Write one HTML page about one or more finished runs: scores, curves, classes, and the rows with the highest loss.

    trickbook report runs/<run> [runs/<other> ...] [--output report.html]

The page is a single file and needs no network. It contains texts of your data, so be careful whom you send it to.
"""

from pathlib import Path

from recipes.commands.arguments import make_parser
from recipes.errors import UserError


def main(arguments: list[str] | None = None) -> None:
    """Write the page."""
    parser = make_parser("report", __doc__)
    parser.add_argument("runs", nargs="+", metavar="run", help="folder of a finished run")
    parser.add_argument("--output", type=Path, help="file to write; default: report.html in a single run's folder")
    options = parser.parse_args(arguments)

    from recipes.api import load
    from recipes.data.inputs import compare_inputs
    from recipes.runs.files import atomic_write
    from recipes.runs.folder import RunFolder, has_diverged

    # A single run that diverged has a page too, which says what to do.
    diverged = [each for each in map(Path, options.runs) if has_diverged(each)]
    is_diverged = len(options.runs) == len(diverged) == 1
    runs = [RunFolder(diverged[0])] if is_diverged else [load(folder) for folder in options.runs]
    # What makes the page takes seconds to import, so a wrong folder is refused first.
    from recipes.reports.html import PAGE_START
    from recipes.reports.run_page import page

    compare_inputs(run.folder for run in runs)
    if options.output is None and len(runs) > 1:
        raise UserError(f"A page of {len(runs)} runs needs a file to write: --output=report.html.")
    target = options.output or runs[0].folder / "report.html"
    if not target.name or target.parent.name in ("model", "predictions"):
        raise UserError(f"--output={target}: name a file for the page, outside model/ and predictions/ of a run.")
    if options.output and target.is_file() and not target.read_bytes().startswith(PAGE_START.encode()):
        raise UserError(f"--output={target} exists and is not a page of a run; name another file.")
    with atomic_write(target) as draft:
        draft.write_text(page(runs), encoding="utf-8")
    print(target)
