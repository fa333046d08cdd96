"""Running the checks over a patient."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.config import Config
from recipes.data.splits import Splits
from recipes.doctor import checks  # noqa: F401  (importing them registers them)
from recipes.doctor.findings import SECTIONS, Look, Report, Skip
from recipes.doctor.registry import CHECKS, Check
from recipes.doctor.render import told
from recipes.doctor.subject import CHEAP_SAMPLE, SAMPLE, Patient
from recipes.errors import UserError
from recipes.loop import TrainingRun


def examine(overrides: Sequence[str] = (), cheap: bool = False) -> Report:
    """Examine what `python train.py <overrides>` would train.

    Args:
        overrides: as on the command line.
        cheap: only what `train.py` looks at at every start.

    Raises:
        UserError: the overrides cannot be composed; there is nothing to examine then.
    """
    composed, folder = compose_config(overrides)
    patient = Patient(read(composed), folder, sample=CHEAP_SAMPLE if cheap else SAMPLE)
    return examined(patient, [each for each in CHECKS if each.cheap or not cheap])


def at_start(run: TrainingRun, splits: Splits) -> None:
    """Run the cheap checks over a run that is about to begin: warnings become its notes.

    Raises:
        UserError: with every error.
    """
    patient = Patient(run.config, run=run, splits=splits, sample=CHEAP_SAMPLE)
    report = examined(patient, [each for each in CHECKS if each.cheap and each.section != "after"])
    errors = [finding for finding in report.findings if finding.severity == "error"]
    if errors:
        raise UserError(*(f"{told(finding)} doctor=off trains all the same." for finding in errors))
    for finding in report.findings:
        if finding.severity == "warning":
            run.note(f"doctor: {told(finding).removeprefix('warning: ')}")


def at_end(config: Config, folder: Path) -> list[str]:
    """What the scores of a run that has just ended give away, a sentence or two each."""
    report = examined(Patient(config, folder), [each for each in CHECKS if each.cheap and each.section == "after"])
    return [f"doctor: {told(finding)}" for finding in report.findings if finding.severity != "note"]


def of_rows(run: TrainingRun, splits: Splits, ids: Sequence[str]) -> str:
    """What is wrong with some training rows as the model is now, in a sentence or two; nothing where nothing is."""
    place = {name: row for row, name in enumerate(run.train.ids)}
    patient = Patient(run.config, run=run, splits=splits)
    patient.__dict__["rows"] = np.array([place[name] for name in ids])
    report = examined(patient, [each for each in CHECKS if each.name in ("finite", "loss_at_start")])
    wrong = [finding for finding in report.findings if finding.severity == "error"]
    return "".join(f"{finding.says} Rows: {', '.join(finding.rows)}. " for finding in wrong)


def examined(patient: Patient, chosen: Sequence[Check]) -> Report:
    """Run checks over a patient, in the order of their sections, and leave it as it was."""
    looks = []
    with patient.undisturbed():
        for each in sorted(chosen, key=lambda each: SECTIONS.index(each.section)):
            look = Look(each.section, each.name, each.about)
            try:
                each.look(patient, look)
                if not look.seen:
                    raise ValueError(f"check {each.name} does not say what it looked at")
            except Skip as reason:
                look.skipped = str(reason)
            except UserError as error:
                for problem in error.problems:
                    look.fail(problem, "nothing is trained", "")
            looks.append(look)
    return Report(looks)
