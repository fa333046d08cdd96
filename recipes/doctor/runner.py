"""Running the checks over a patient."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.config import Config
from recipes.data.splits import Splits
from recipes.doctor import checks  # noqa: F401  (importing them registers them)
from recipes.doctor.findings import SECTIONS, CheckResult, Report, Skip
from recipes.doctor.registry import CHECKS, Check
from recipes.doctor.render import describe
from recipes.doctor.subject import CHEAP_SAMPLE, SAMPLE, Subject
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
    subject = Subject(read(composed), folder, sample=CHEAP_SAMPLE if cheap else SAMPLE)
    return run_checks(subject, [each for each in CHECKS if each.cheap or not cheap])


def at_start(run: TrainingRun, splits: Splits) -> None:
    """Run the cheap checks over a run that is about to begin: warnings become its notes.

    Raises:
        UserError: with every error.
    """
    subject = Subject(run.config, run=run, splits=splits, sample=CHEAP_SAMPLE)
    report = run_checks(subject, [each for each in CHECKS if each.cheap and each.section != "after"])
    errors = [finding for finding in report.findings if finding.severity == "error"]
    if errors:
        raise UserError(*(f"{describe(finding)} doctor=off trains all the same." for finding in errors))
    for finding in report.findings:
        if finding.severity == "warning":
            run.note(f"doctor: {describe(finding).removeprefix('warning: ')}")


def at_end(config: Config, folder: Path) -> list[str]:
    """What the scores of a run that has just ended give away, a sentence or two each."""
    report = run_checks(Subject(config, folder), [each for each in CHECKS if each.cheap and each.section == "after"])
    return [f"doctor: {describe(finding)}" for finding in report.findings if finding.severity != "note"]


def of_rows(run: TrainingRun, splits: Splits, ids: Sequence[str]) -> str:
    """What is wrong with some training rows as the model is now, in a sentence or two; nothing where nothing is."""
    place = {name: row for row, name in enumerate(run.train.ids)}
    subject = Subject(run.config, run=run, splits=splits)
    subject.__dict__["rows"] = np.array([place[name] for name in ids])
    report = run_checks(subject, [each for each in CHECKS if each.name in ("finite", "loss_at_start")])
    wrong = [finding for finding in report.findings if finding.severity == "error"]
    return "".join(f"{finding.message} Rows: {', '.join(finding.rows)}. " for finding in wrong)


def run_checks(subject: Subject, chosen: Sequence[Check]) -> Report:
    """Run checks over a patient, in the order of their sections, and leave it as it was."""
    results = []
    with subject.preserve_randomness():
        for each in sorted(chosen, key=lambda each: SECTIONS.index(each.section)):
            result = CheckResult(each.section, each.name, each.about)
            try:
                each.result(subject, result)
                if not result.seen:
                    raise ValueError(f"check {each.name} does not say what it looked at")
            except Skip as reason:
                result.skipped = str(reason)
            except UserError as error:
                for problem in error.problems:
                    result.fail(problem, "nothing is trained", "")
            results.append(result)
    return Report(results)
