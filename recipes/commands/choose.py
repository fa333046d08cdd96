"""Predict which tricks are worth trying first on your data, from what the trick atlas has measured on other data.

    trickbook choose data=files data.train=my.csv
    trickbook choose data=files data.train=my.csv --base 0.87
    trickbook choose --json ...     the same as JSON

The words are those after `trickbook train`. A prediction is for the accuracy that a study would measure, with an
interval of 95 %. With fewer than eight measured data sets in the language of your texts there is none. docs/atlas.md
has the measurements; a study on your own data (docs/ablation.md) is what decides.
"""

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from recipes.cli import finite_number
from recipes.commands.arguments import make_parser
from recipes.errors import UserError
from recipes.runtime.program import name_command

if TYPE_CHECKING:
    from recipes.ablation.expectations import Advice, Features


def main(arguments: list[str] | None = None) -> None:
    """Print a line for each trick, or why there is no prediction."""
    parser = make_parser("choose", __doc__)
    parser.add_argument("overrides", nargs="*", help="as after `trickbook train`")
    parser.add_argument("--base", type=finite_number, help="accuracy without any trick on validation, if you know it")
    parser.add_argument(
        "--margin", type=finite_number, default=0.01, help="effects below it do not matter (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the predictions as JSON")
    parser.add_argument("--config-dir", help="a further config folder, as for training")
    options = parser.parse_args(arguments)
    if options.base is not None and not 0 < options.base < 1:
        raise UserError(f"--base={options.base}: an accuracy is above 0 and below 1, such as 0.87.")

    from recipes.compose.overrides import compose_config
    from recipes.compose.reading import read

    config = read(compose_config(options.overrides, options.config_dir)[0])

    from recipes.ablation.expectations import advise, read_measured
    from recipes.ablation.order import describe_data

    features, language = describe_data(config)
    if features is None:
        raise UserError("trickbook choose: rows with more than one label are not in the atlas, so it predicts nothing.")
    features = replace(features, base=options.base)
    advice = advise(features, language, options.margin, read_measured())
    if options.json:
        values = asdict(advice) | {"coverage": asdict(advice.coverage) | {"interval": advice.coverage.interval}}
        print(json.dumps({"features": asdict(features), **values}, indent=1, ensure_ascii=False))
    else:
        print_advice(features, advice, options.margin)


def print_advice(features: "Features", advice: "Advice", margin: float) -> None:
    """Print what the atlas expects on these data."""
    from recipes.ablation.expectations import MIN_DATA_SETS
    from recipes.reports.tables import console_for_tables, figure_table

    console = console_for_tables()

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    unit = "characters" if advice.language in ("ja", "zh") else "words"
    say(
        f"Your data: {features.rows:,.0f} training rows, {features.classes:.0f} classes, the largest "
        f"{features.majority:.0%}, {features.length:g} {unit} a text (median), language {advice.language or 'unknown'}."
    )
    if not advice.expected:
        say(
            f"No prediction: it takes {MIN_DATA_SETS} data sets of this language on which a trick was measured, and "
            f"the atlas has {advice.data_sets}. More: python scripts/atlas.py run, in a checkout (docs/atlas.md). "
            "Until then docs/choose.md leads from data to tricks, and a study on your data decides (docs/ablation.md)."
        )
        return
    rows = []
    for trick, expected in advice.expected.items():
        low, high = expected.interval
        interval = f"{low:+.4f} to {high:+.4f}"
        rows.append([trick, f"{expected.mean:+.4f}", interval, f"{expected.chance:.0%}", f"{advice.passes[trick]:.2f}"])
    console.print(figure_table(["trick", "accuracy", "95 % interval", f"chance of {margin:+g}", "x passes"], rows))
    say(
        f"From {advice.data_sets} data sets. With each left out in turn, the intervals {advice.coverage}; the brackets "
        "are the 95 % interval of that rate. An interval that includes 0 does not say whether the trick helps."
    )
    if advice.unlike:
        say(f"Beware: your data are unlike all of these in {'; '.join(advice.unlike)}.")
    first = next(iter(advice.expected))
    command = f"{name_command('train')} -m hydra/sweeper=ablation '+tricks=[{first}]' ..."
    say(f"Compare on your own data: {command} (docs/ablation.md)")
