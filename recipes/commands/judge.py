"""Judge runs that other programs made: which arm helps, hurts or makes no difference, and how many more runs it takes.

    trickbook judge runs.csv
    trickbook judge runs.csv --base plain --majority 0.51
    trickbook judge runs.csv --factor mixup --factor model --base model=minilm
    trickbook judge predictions.csv --metric macro_f1

The file is CSV, TSV, JSONL or Parquet, with a line for each run (columns arm, seed and score), or for each validation
row of each run (columns arm, seed, row, label and prediction). Further columns are `data` (data set), `status`
(finished, failed, ...) and `majority` (score of the majority class); of predictions `p_<class>` (the probability of
each class). An empty score or nan is a run that failed. docs/ablation.md says what the verdicts mean and how to export
runs.
"""

import argparse
from pathlib import Path

from recipes.cli import finite_number
from recipes.commands.arguments import WIDTH, make_parser
from recipes.errors import UserError

TITLE = "Judged runs"


def main(arguments: list[str] | None = None) -> None:
    """Print the verdicts, and write the report if a file is named."""
    parser = make_parser("judge", __doc__)
    parser.add_argument("runs", help="the file, or - for JSONL on standard input")
    parser.add_argument(
        "--factor", action="append", default=[], help="a column that varies, in place of the column arm; repeatable"
    )
    parser.add_argument(
        "--base",
        action="append",
        default=[],
        help="the arm that others are compared with (default: base or baseline), or <factor>=<level>; repeatable",
    )
    parser.add_argument("--lower-is-better", action="store_true", help="the score is a loss or an error")
    parser.add_argument(
        "--margin", type=finite_number, default=0.01, help="effects below it do not matter (default: %(default)s)"
    )
    parser.add_argument("--majority", type=finite_number, help="the score of the majority class, on every data set")
    parser.add_argument(
        "--metric",
        help="what predictions are scored by (default: accuracy), also a function: '{_target_: my_scores.gain}'",
    )
    parser.add_argument(
        "--trusted", action="append", default=[], help="a function of your own for --metric; repeatable"
    )
    parser.add_argument(
        "--second-endpoint",
        choices=("loss", "brier", "none"),
        help="the proper score that is reported too, from columns p_<class> (default: loss)",
    )
    parser.add_argument("--output", type=Path, help="a Markdown file to write the report to")
    options = parser.parse_args(arguments)

    from recipes.compose.metrics import read_metric
    from recipes.compose.trust import trusting
    from recipes.metrics import CustomMetric, scoring

    metric, further = options.metric, list[CustomMetric]()
    if metric and metric.lstrip().startswith("{"):
        with trusting(options.trusted):
            further = [read_metric(metric)]
        metric = further[0].name
    with scoring(further):
        judge_file(options, metric)


def judge_file(options: argparse.Namespace, metric: str | None) -> None:
    """Judge the runs of a file by a metric, and print the report."""
    from recipes.ablation.judging import Question, build_parts, judge_log, print_parts
    from recipes.ablation.logs import METRICS, SCORE, read_log
    from recipes.reports.document import as_markdown
    from recipes.reports.tables import console_for_tables
    from recipes.runs.files import atomic_write

    target = options.output
    is_report = target and target.is_file() and target.read_text("utf-8", "replace").startswith(f"# {TITLE}\n")
    if target and target.exists() and not is_report:
        raise UserError(f"--output={target} exists and is not a report of judge; name another file.")
    if options.margin <= 0:
        raise UserError(f"--margin={options.margin:g} must be above 0; the default is 0.01.")
    runs = read_log(options.runs, options.factor, metric, options.majority)
    has_probabilities = runs[0].predictions is not None
    if options.second_endpoint in ("loss", "brier") and not has_probabilities:
        raise UserError(
            f"--second-endpoint={options.second_endpoint}: it needs predictions with a column p_<class> for the "
            "probability of each class; leave it out."
        )
    question = Question(
        factors=options.factor,
        bases=options.base,
        metric=metric or (METRICS[0] if runs[0].rows is not None else SCORE),
        margin=options.margin,
        lower_is_better=options.lower_is_better,
        second_endpoint=options.second_endpoint or "loss",
    )
    parts = list(build_parts(judge_log(runs, question), question))
    console = console_for_tables()
    console.width = min(console.width, WIDTH)
    print_parts(parts, console)
    if target:
        with atomic_write(target) as draft:
            draft.write_text(as_markdown(TITLE, parts), encoding="utf-8")
        print(target)
