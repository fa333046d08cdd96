"""Make the trick atlas: run what docs/atlas/atlas.yaml declares, and write its page from the stored rows.

    python scripts/atlas.py run --data <folder of data sets> --studies everyday --seeds 3
    python scripts/atlas.py run --data ... --budget 9 --processes 8 --device cuda     ends within 9 minutes
    python scripts/atlas.py pack --data <folder of data sets> --to <folder>           small files for another machine

A finished run is a line of CSV in docs/atlas/rows, to be committed. The same command goes on from these lines. With
--budget it ends between blocks: all arms of a study on one data set with one seed. Every data set gets its first seed
before any gets a second.

Workers on other machines that see the same folders join in: start the same command there with absolute paths, as tasks
of Slurm or jobs of Ray. Both were tried with two workers on one machine: each run was made once, also after `scancel`.

    srun --ntasks=8 --cpus-per-task=1 python scripts/atlas.py run --data ...
    ray job submit --no-wait --entrypoint-num-cpus 1 -- python scripts/atlas.py run --data ...      once for each worker
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

STARTED = time.time()
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from recipes.cli import exit_on_user_error, finite_number, positive_integer
from scripts.survey.declaration import Atlas, check_names, read_declaration

if TYPE_CHECKING:
    from scripts.survey.blocks import Block
    from scripts.survey.effects import Panel

ATLAS = ROOT / "docs" / "atlas"
CLAIMS = ATLAS / "claims.yaml"


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--declaration", type=Path, default=ATLAS / "atlas.yaml", help="(docs/atlas/atlas.yaml)")
    commands = parser.add_subparsers(dest="command", required=True)

    run = commands.add_parser("run", help="make the runs that have no row yet")
    run.add_argument("--data", type=Path, required=True, help="a folder with a folder for each data set")
    run.add_argument("--rows", type=Path, default=ATLAS / "rows", help="the stored rows (docs/atlas/rows)")
    run.add_argument("--work", type=Path, default=Path("runs/atlas"), help="for all that is not stored (%(default)s)")
    run.add_argument("--budget", type=finite_number, help="minutes, with the start; none: until all is done")
    run.add_argument("--processes", type=positive_integer, default=1, help="workers; threads are cores / workers")
    run.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="(%(default)s)")
    run.add_argument("--threads", type=positive_integer, help="of each worker (cores / workers)")
    run.add_argument("--seeds", type=positive_integer, default=1, help="of each arm (%(default)s)")
    run.add_argument("--studies", nargs="+", help="only these; all if left out")
    run.add_argument("--claims", nargs="*", help="runs of claims.yaml in place of studies: these, or all")
    run.add_argument("--encoders", nargs="+", help="only these")
    run.add_argument("--sets", nargs="+", help="only these data sets")
    run.add_argument("--updates", nargs="+", type=positive_integer, help="in place of the declared lengths")
    run.add_argument("--plan", action="store_true", help="count the runs and stop")
    run.add_argument("--until", type=float, help=argparse.SUPPRESS)
    run.add_argument("--parent", type=int, help=argparse.SUPPRESS)

    pack = commands.add_parser("pack", help="write the rows that the atlas uses of each data set")
    pack.add_argument("--data", type=Path, required=True, help="a folder with a folder for each data set")
    pack.add_argument("--to", type=Path, required=True, help="a new folder")
    pack.add_argument("--sets", nargs="+", help="only these data sets; all if left out")

    describe = commands.add_parser("describe", help="write docs/atlas/data.csv, the properties of the data sets")
    describe.add_argument("--data", type=Path, required=True, help="a folder that `pack` has written")
    commands.add_parser("page", help="write docs/atlas.md, docs/atlas.html and conf/atlas.csv from the stored rows")
    return parser.parse_args()


def main() -> None:
    """Do what the command line asks for."""
    arguments = read_arguments()
    atlas = read_declaration(arguments.declaration)
    if arguments.command == "page":
        write_page(atlas)
        return
    if arguments.command == "describe":
        describe(atlas, arguments.data)
        return
    if arguments.sets:
        check_names("--sets", arguments.sets, atlas.data)
    if arguments.command == "pack":
        from scripts.survey.packing import pack

        pack(atlas, arguments.data, arguments.to, arguments.sets or list(atlas.data))
    elif arguments.parent is None:
        start(atlas, arguments)
    else:
        work(atlas, arguments)


def start(atlas: Atlas, arguments: argparse.Namespace) -> None:
    """Count what is missing, start the workers and wait for them."""
    from scripts.survey.fieldwork import run_workers
    from scripts.survey.rows import read_results
    from scripts.survey.samples import draw, find_sample

    blocks = select(atlas, arguments)
    finished = read_results(arguments.rows)
    runs = {run.key for block in blocks for run in block.runs}
    print(f"{len(blocks)} blocks, {len(runs)} runs, {len(runs & finished.keys())} of them finished", flush=True)
    if arguments.plan or runs <= finished.keys():
        return
    until = [] if arguments.budget is None else ["--until", str(STARTED + 60 * arguments.budget)]
    # What is missing ends the program here, before any worker has started.
    missing = [run for block in blocks for run in block.runs if run.key not in finished]
    for data, rows in sorted({(run.data, run.rows or atlas.rows) for run in missing}):
        source = find_sample(arguments.data, data, arguments.work / "data", atlas.validation_rows)
        draw(source, rows, 0, atlas.data[data].folds, arguments.work / "drawn")
    words = [sys.executable, *sys.argv, *until, "--parent", str(os.getpid())]
    failed = run_workers(words, arguments.processes, arguments.work)
    done = len(runs & read_results(arguments.rows).keys())
    print(f"{done} of {len(runs)} runs are finished, {failed} failed; {time.time() - STARTED:.0f} s", flush=True)
    if failed:
        sys.exit(f"Why runs failed is above, or in {arguments.work / 'failed'}; the same command tries them again.")


def work(atlas: Atlas, arguments: argparse.Namespace) -> None:
    """Be a worker."""
    from recipes.runtime.watchdog import end_with
    from scripts.survey.fieldwork import Worker

    end_with(arguments.parent)
    threads = arguments.threads or int(os.environ["OMP_NUM_THREADS"])
    machine = [f"train.threads={threads}", f"train.device={arguments.device}"]
    if arguments.device == "cuda":
        machine.append("train.cuda_graphs=on")
    worker = Worker(
        atlas=atlas,
        data=arguments.data,
        rows=arguments.rows,
        work=arguments.work,
        machine=machine,
        workers=arguments.processes,
        until=arguments.until,
    )
    worker.run_blocks(select(atlas, arguments))


def select(atlas: Atlas, arguments: argparse.Namespace) -> "list[Block]":
    """List the blocks that the command line asks for."""
    from scripts.survey.blocks import Selection, list_blocks
    from scripts.survey.claims import list_claim_blocks, read_claims

    names = arguments.studies if arguments.claims is None else arguments.claims
    selection = Selection(names or None, arguments.encoders, arguments.sets, arguments.updates, arguments.seeds)
    check_names("--encoders", arguments.encoders or (), atlas.encoders)
    if arguments.claims is None:
        check_names("--studies", names or (), atlas.studies)
        return list(list_blocks(atlas, selection))
    claims = read_claims(CLAIMS, atlas)
    check_names("--claims", names, claims)
    return list(list_claim_blocks(atlas, claims, selection))


def describe(atlas: Atlas, data: Path) -> None:
    """Write the properties of the data sets that are packed."""
    from recipes.ablation.expectations import describe_rows
    from scripts.survey.page import FIELDS
    from scripts.survey.samples import read_rows, write_rows

    lines = []
    for name, each in atlas.data.items():
        if (data / name / "pool.csv").is_file():
            rows = read_rows(data / name / "pool.csv")[1]
            texts = [" ".join(row[:-1]) for row in rows]
            own = describe_rows(texts, [row[-1] for row in rows], each.language != "zh")
            numbers = [str(atlas.rows), f"{own.classes}", f"{own.majority:.4f}", f"{own.length:g}"]
            lines.append((name, each.language, *numbers))
    write_rows(ATLAS / "data.csv", FIELDS, lines)


def write_page(atlas: Atlas) -> None:
    """Write the page, and the table that predictions read."""
    from recipes.ablation.expectations import STORED, write_measured
    from scripts.survey.page import measure

    panels, pages = make_pages(atlas)
    write_measured(measure(atlas, panels, ATLAS / "data.csv"), STORED)
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")


def make_pages(atlas: Atlas) -> "tuple[list[Panel], dict[Path, str]]":
    """Make the panels and the text of both pages from the stored rows."""
    from recipes.reports.document import as_html, as_markdown
    from scripts.survey.claims import read_claims
    from scripts.survey.effects import list_panels
    from scripts.survey.page import TITLE, build_parts
    from scripts.survey.rows import read_results

    results = read_results(ATLAS / "rows")
    panels = list_panels(atlas, results)
    parts = list(build_parts(atlas, read_claims(CLAIMS, atlas), panels, results, ATLAS / "data.csv"))
    return panels, {
        ROOT / "docs" / "atlas.md": as_markdown(TITLE, parts),
        ROOT / "docs" / "atlas.html": as_html(TITLE, parts),
    }


if __name__ == "__main__":
    with exit_on_user_error():
        main()
