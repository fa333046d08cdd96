"""Predict a file of any size with a finished run, and write id, prediction and probabilities in the same order.

    python scripts/predict.py runs/<run> reviews.csv predictions.csv
    cat reviews.jsonl | python scripts/predict.py runs/<run> - - > predictions.jsonl

CSV, TSV, JSONL and Parquet, each to each; a `.gz` input is read as it is. The columns are those of the training data.
Rows that cannot be read go to `<output>.bad.jsonl` with the reason (to `-`: to standard error) and stop nothing. What
is done is kept: the same command goes on where it was stopped.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from recipes.cli import exit_on_user_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument("input", help="a file, or - for standard input (JSONL unless --format says otherwise)")
    parser.add_argument("output", help="a file that is not there yet, or - for standard output")
    parser.add_argument("--format", choices=["csv", "tsv", "jsonl", "parquet"], help="of the input; else by its ending")
    parser.add_argument("--look-ahead", type=int, default=4096, help="rows grouped by length (%(default)s): memory")
    parser.add_argument(
        "--precision",
        choices=["auto", "fp32", "bf16", "fp16"],
        default="auto",
        help="%(default)s: 16 bits where the hardware is faster in them",
    )
    parser.add_argument("--memory-limit", help="a share such as 0.5, or bytes such as 4GB; of the GPU, if there is one")
    parser.add_argument("--metrics", action="store_true", help="score the rows that have a label")
    arguments = parser.parse_args()

    from recipes.prediction.files import Job, PredictionRequest
    from recipes.reports.tables import progress, score_table
    from recipes.runtime.memory import limit

    asked = PredictionRequest(
        run=arguments.run,
        source=arguments.input,
        target=arguments.output,
        source_format=arguments.format,
        look_ahead=arguments.look_ahead,
        precision=arguments.precision,
        metrics=arguments.metrics,
    )
    with limit(arguments.memory_limit) as check, progress("rows") as (console, advance):

        def done(rows: int) -> None:
            check(f"what is done is kept: lower --look-ahead (now {asked.look_ahead}), or allow more")
            advance(rows)

        told = Job(asked, done).go()
        bad = f", {told.bad:,} of them bad" if told.bad else ""
        speed = told.read / max(told.seconds, 1e-9)
        console.print(f"{told.read:,} rows{bad} in {told.seconds:.1f} s ({speed:,.0f} rows/s)")
        if told.metrics is not None:
            console.print(score_table({Path(arguments.input).name: told.metrics}, "scores", "input"))


if __name__ == "__main__":
    with exit_on_user_error():
        try:
            main()
        except BrokenPipeError:  # whoever read the output has enough; Python would complain once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
