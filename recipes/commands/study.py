"""Start a study of tricks from Python; the command line does so with `train -m hydra/sweeper=ablation`."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from recipes.ablation.ranking import ranked_at_end
from recipes.ablation.result import Study
from recipes.ablation.settings import Settings
from recipes.api import independent_call
from recipes.cli import raise_user_error
from recipes.commands.train import Training
from recipes.compose.calls import write_overrides
from recipes.compose.keywords import as_text
from recipes.compose.overrides import start_sweep
from recipes.data.frames import Rows
from recipes.runs.files import expand_home

FOLDER = "hydra.sweep.dir="


def ablate(
    overrides: Sequence[str] = (),
    trusted: Sequence[str] = (),
    *,
    train: Rows | str | Path | None = None,
    validation: Rows | str | Path | None = None,
    test: Rows | str | Path | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | Sequence[str] | None = None,
    tricks: str | Sequence[str] | Mapping[str, Mapping[str, Any] | None] = (),
    folder: str | Path | None = None,
    **settings: Any,
) -> Study:
    """Study which tricks help, as `python train.py -m hydra/sweeper=ablation <overrides>` does.

    The same call goes on where it stopped, and shows the verdicts again once all runs are finished.

    Args:
        overrides: as on the command line; more than one value is a factor: `["train.learning_rate=1e-5,1e-4"]`.
        trusted: names of further classes that may be imported.
        train: the training rows, as for `finetune`.
        validation: the same, to compare by.
        test: the same; the recommended recipe alone is scored on it.
        text: the column with the text.
        text_pair: the column with the second text of a pair.
        label: the column with the label, or with a list of them; or a list of columns of 0 and 1.
        tricks: those to compare with and without each; their names, or their settings by name.
        folder: of the study; None: one below `runs` that is named by the data, the tricks and the settings.
        **settings: of the study, such as `seeds=5`, `margin=0.02`, `confirm=False`, `plan=True`
            (`conf/hydra/sweeper/ablation.yaml` has all); or any setting of its runs, as for `finetune`.

    Returns:
        The study: `.verdicts` (a DataFrame), `.best` (overrides of the recommended recipe), `.summary`, `.page`.

    Raises:
        UserError: something in the overrides, the values or the data is wrong.
        KeyboardInterrupt: it was stopped; the same call goes on.

    Example:
        study = recipes.ablate(train=df, text="review", label="stars", tricks=["mixup", "ema"], model="tiny", seeds=3)
        run = recipes.finetune(study.best, train=df, text="review", label="stars", model="tiny")
    """
    names = {item.name for item in fields(Settings)}
    of_study = [f"hydra.sweeper.{name}={as_text(value, name)}" for name, value in settings.items() if name in names]
    columns = {"text": text, "text_pair": text_pair, "label": label, "tricks": tricks}
    of_runs = {name: value for name, value in settings.items() if name not in names}
    rows = {"train": train, "validation": validation, "test": test}
    with independent_call():
        lines = write_overrides(overrides, of_runs, rows, None, columns)
        lines += [f"trusted={as_text(list(trusted), 'trusted')}"] if trusted else []
        target = _find_folder(lines, folder)
        sweep = ["hydra/sweeper=ablation", *of_study, f"{FOLDER}{as_text(target, 'folder')}"]
        others = [line for line in lines if not line.startswith((FOLDER, "hydra/sweeper="))]
        with raise_user_error(), ranked_at_end() as log:
            findings = start_sweep([*others, *sweep], Training(log))
    return Study(target, findings)


def _find_folder(lines: Sequence[str], folder: str | Path | None) -> Path:
    """The folder of a study: as named, or named by everything that decides its runs."""
    if folder is not None:
        return expand_home(str(folder))
    if named := [line.removeprefix(FOLDER) for line in lines if line.startswith(FOLDER)]:
        return expand_home(named[-1].strip("'\""))
    deciding = [line for line in lines if not line.startswith(("hydra.sweeper.", "hydra/launcher="))]
    return Path("runs") / f"ablation-{hashlib.sha256(repr(sorted(deciding)).encode()).hexdigest()[:8]}"
