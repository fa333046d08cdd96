"""The demonstration of `make demo`: fine-tune the default with three tricks, beside the floors that it must clear."""

import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import recipes
from recipes.cli import exit_on_user_error
from recipes.reports.tables import console_for_tables, score_table


def main() -> None:
    floor = recipes.finetune(["model=linear"])
    run = recipes.finetune(["+tricks=[mixup,amp,swa]"])
    test = run.predictions("test")
    commonest, count = Counter(test["label"]).most_common(1)[0]
    rows = {
        f"majority class ({commonest})": {"accuracy": count / len(test["label"])},
        "model=linear": floor.metrics["test"],
        "model=minilm +tricks=[mixup,amp,swa]": run.metrics["test"],
    }
    console = console_for_tables()
    console.print(score_table(rows, "test split of data=pydocs", "what"))
    seconds = run.metrics["cost"]["train_seconds"]
    console.print(f"trained in {seconds / 60:.1f} minutes; everything of this run is in {run.folder}", markup=False)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
