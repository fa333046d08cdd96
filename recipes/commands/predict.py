"""Predict a file of any size with a finished run, and write id, prediction and probabilities in the same order.

    trickbook predict runs/<run> reviews.csv predictions.csv
    cat reviews.jsonl | trickbook predict runs/<run> - - > predictions.jsonl

Input and output may be CSV, TSV, JSONL or Parquet, in any combination; a `.gz` input is decompressed. The input has the
columns of the training data, and is read by the same rules. A file that is not UTF-8 is read in the run's
`data.encoding`, or in the encoding that is detected. Standard input is UTF-8 unless --encoding says otherwise.

Rows that cannot be read do not stop the job: they go to `<output>.bad.jsonl` with the reason, or to standard error if
the output is `-`. A stopped job is resumed by the same command.
"""

from pathlib import Path

from recipes.commands.arguments import add_trust, make_parser, read_trusted


def main(arguments: list[str] | None = None) -> None:
    """Predict a file, and print how fast that was."""
    parser = make_parser("predict", __doc__)
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument("input", help="a file, or - for standard input (JSONL unless --format says otherwise)")
    parser.add_argument("output", help="a file that does not exist yet, or - for standard output")
    parser.add_argument(
        "--format", choices=["csv", "tsv", "jsonl", "parquet"], help="of the input (default: by its ending)"
    )
    parser.add_argument("--encoding", help="of an input that is not UTF-8 (default: detected; of a stream: UTF-8)")
    parser.add_argument(
        "--look-ahead",
        type=int,
        default=4096,
        help="rows read and grouped by length; more need more memory (default: %(default)s)",
    )
    parser.add_argument(
        "--precision",
        choices=["auto", "fastest", "fp32", "bf16", "fp16"],
        default="auto",
        help="auto (default): on a GPU 16 bits, on a CPU the precision that the run was trained in; fastest: on a CPU "
        "bf16 if it is measured to be faster, which moves probabilities a little (docs/benchmarks.md)",
    )
    parser.add_argument(
        "--memory-limit", help="a fraction such as 0.5, or bytes such as 4GB; of the GPU, if there is one"
    )
    parser.add_argument("--metrics", action="store_true", help="score the rows that have a label")
    add_trust(parser)
    options = parser.parse_args(arguments)

    from recipes.compose.trust import trusting
    from recipes.runs.folder import finished_run

    # Importing PyTorch takes seconds, so a wrong folder is refused first.
    finished_run(options.run)
    from recipes.prediction.files import PredictionJob, PredictionRequest
    from recipes.reports.tables import ScoreTable, print_classes, progress
    from recipes.runtime.memory import limit_memory

    request = PredictionRequest(
        run=options.run,
        source=options.input,
        target=options.output,
        source_format=options.format,
        encoding=options.encoding,
        look_ahead=options.look_ahead,
        precision=options.precision,
        metrics=options.metrics,
    )
    trusted = read_trusted(options)
    with trusting(trusted), limit_memory(options.memory_limit) as check, progress("rows") as (console, advance):

        def report_progress(rows: int) -> None:
            check(f"finished rows are saved: lower --look-ahead (now {request.look_ahead}), or allow more")
            advance(rows)

        summary = PredictionJob(request, report_progress).run()
        bad = f", {summary.bad:,} of them bad" if summary.bad else ""
        speed = summary.rows_read / max(summary.seconds, 1e-9)
        console.print(f"{summary.rows_read:,} rows{bad} in {summary.seconds:.1f} s ({speed:,.0f} rows/s)")
        for note in summary.notes:
            console.print(f"note: {note}", markup=False, soft_wrap=True)
        if summary.metrics is not None:
            console.print(ScoreTable({Path(options.input).name: summary.metrics}, "scores"))
            if summary.classes:
                print_classes(console, summary.classes, "classes")
