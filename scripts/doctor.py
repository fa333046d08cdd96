"""Check the run that `python train.py <the same overrides>` would start, and list its problems, cheapest checks first.

    python scripts/doctor.py runs/<run>       a finished run: did it learn, and what would help
    python scripts/doctor.py data=files data.train=reviews.csv '+tricks=[mixup,amp,swa]'
    python scripts/doctor.py --cheap ...      the checks that train.py runs at every start
    python scripts/doctor.py --json ...       the same as JSON

Exit code 0: nothing to fix; 1: warnings; 2: errors. The doctor changes nothing. A check that cannot run is skipped,
with the reason; it never counts as passed.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from recipes.cli import exit_on_user_error
from recipes.errors import UserError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="as after train.py, or the folder of a finished run")
    parser.add_argument("--cheap", action="store_true", help="only the checks that take a second or two")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--config-dir", help="a further config folder, as for train.py")
    arguments = parser.parse_args()

    folders = [each for each in arguments.overrides if "=" not in each and Path(each).is_dir()]
    if folders and len(arguments.overrides) > 1:
        raise UserError(f"{folders[0]} is a folder; give one run folder alone, or overrides alone.")
    # Importing PyTorch takes seconds, so --help and mistakes come first.
    from recipes.compose.overrides import compose_config
    from recipes.compose.reading import read

    if not folders:
        read(compose_config(arguments.overrides, arguments.config_dir)[0])
    from recipes.doctor import examine
    from recipes.doctor.render import report_lines, report_table, verdict
    from recipes.doctor.runner import examine_finished
    from recipes.reports.health import describe_headline
    from recipes.reports.tables import console_for_tables

    if folders:
        report, health = examine_finished(Path(folders[0]))
        values, last_line = {**report.as_json(), "health": health}, f"health: {describe_headline(health)}"
    else:
        report = examine(arguments.overrides, arguments.cheap, arguments.config_dir)
        values, last_line = report.as_json(), verdict(report)
    if arguments.json:
        print(json.dumps(values, indent=1, ensure_ascii=False))
    else:
        console = console_for_tables()
        console.print(report_table(report))
        for line in (*report_lines(report), last_line):
            console.print(line, markup=False, soft_wrap=True)
    sys.exit(report.exit_code)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
