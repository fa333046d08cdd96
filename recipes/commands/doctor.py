"""Check the run that `trickbook train <the same overrides>` would start, and list its problems, cheapest checks first.

    trickbook doctor runs/<run>     a finished run: did it learn
    trickbook doctor data=files data.train=my.csv '+tricks=[mixup]'
    trickbook doctor --cheap ...    the checks of every start of training
    trickbook doctor --json ...     the same as JSON

Exit code 0: nothing to fix; 1: warnings; 2: errors. The doctor changes nothing. A check that cannot run is skipped,
with the reason; it never counts as passed.
"""

import json
import sys
from pathlib import Path

from recipes.commands.arguments import make_parser
from recipes.errors import UserError


def main(arguments: list[str] | None = None) -> None:
    """Examine what the overrides describe, or a finished run; exits with 0, 1 or 2."""
    parser = make_parser("doctor", __doc__)
    parser.add_argument("overrides", nargs="*", help="as after `trickbook train`, or the folder of a finished run")
    parser.add_argument("--cheap", action="store_true", help="only the checks that take a second or two")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--config-dir", help="a further config folder, as for training")
    options = parser.parse_args(arguments)

    folders = [each for each in options.overrides if "=" not in each and Path(each).is_dir()]
    if folders and len(options.overrides) > 1:
        raise UserError(f"{folders[0]} is a folder; give one run folder alone, or overrides alone.")
    if len(options.overrides) == 1 and "=" not in options.overrides[0] and not folders:
        raise UserError(f"{options.overrides[0]}: there is no such folder; an override is written as name=value.")
    # Importing PyTorch takes seconds, so --help and mistakes come first.
    from recipes.compose.overrides import compose_config
    from recipes.compose.reading import read

    if not folders:
        read(compose_config(options.overrides, options.config_dir)[0])
    from recipes.doctor import examine
    from recipes.doctor.render import report_lines, report_table, verdict
    from recipes.doctor.runner import examine_finished
    from recipes.reports.health import describe_headline
    from recipes.reports.tables import console_for_tables

    if folders:
        report, health = examine_finished(Path(folders[0]))
        values, last_line = {**report.as_json(), "health": health}, f"health: {describe_headline(health)}"
    else:
        report = examine(options.overrides, options.cheap, options.config_dir)
        values, last_line = report.as_json(), verdict(report)
    if options.json:
        print(json.dumps(values, indent=1, ensure_ascii=False))
    else:
        console = console_for_tables()
        console.print(report_table(report))
        for line in (*report_lines(report), last_line):
            console.print(line, markup=False, soft_wrap=True)
    sys.exit(report.exit_code)
