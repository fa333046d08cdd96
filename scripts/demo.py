"""The demonstration of `make demo`: fine-tune the default model with three tricks and compare it with two baselines."""

import os
import shlex
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import recipes
from recipes.cli import exit_on_user_error
from recipes.reports.tables import ScoreTable, console_for_tables


def main() -> None:
    linear_baseline = recipes.finetune(["model=linear"])
    # Four epochs of the default six: enough to be clearly above the linear baseline.
    run = recipes.finetune(["+tricks=[mixup,amp,swa]", "train.epochs=4"])
    test = run.predictions("test")
    majority, count = Counter(test["label"]).most_common(1)[0]
    rows = {
        f"majority class ({majority})": {"accuracy": count / len(test["label"])},
        "model=linear": linear_baseline.metrics["test"],
        "+tricks=[mixup,amp,swa] train.epochs=4": run.metrics["test"],
    }
    console = console_for_tables()
    console.print(ScoreTable(rows, "test split of data=pydocs"))
    seconds = run.metrics["cost"]["train_seconds"]
    console.print(
        f"trained in {seconds / 60:.1f} minutes; the run folder is {run.folder}", markup=False, soft_wrap=True
    )
    console.print("\nTry next:", markup=False)
    for what, command in next_commands(run.folder).items():
        console.print(f"\n# {what}\n{command}", markup=False, soft_wrap=True)


def next_commands(folder: Path) -> dict[str, str]:
    """Three commands to try on a finished run, each under what it does. They work in the folder that this ran in."""
    python, run = shlex.quote(os.path.relpath(sys.executable)), shlex.quote(os.path.relpath(folder))
    row = shlex.quote('{"text": "Parse an XML document from a string and return its root element."}')
    return {
        "A page about this run: scores, curves, suspicious rows.": f"{python} scripts/report.py {run}",
        "Predict a text.": f"echo {row} | {python} scripts/predict.py {run} - -",
        "What a study of these tricks would run, and what it could tell.": (
            f"{python} train.py -m hydra/sweeper=ablation '+tricks=[mixup,amp,swa]' hydra.sweeper.plan=true"
        ),
    }


if __name__ == "__main__":
    with exit_on_user_error():
        main()
