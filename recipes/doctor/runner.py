"""Running checks on a subject: from the command line, at the start of training, and at its end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipes.compose.metrics import scoring_by
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.compose.trust import trusting
from recipes.config import Config, saved_config
from recipes.data.splits import Splits
from recipes.doctor import checks  # noqa: F401  (importing them registers them)
from recipes.doctor.findings import SECTIONS, CheckResult, Report, Skip
from recipes.doctor.health import NO_BASELINES, summarize
from recipes.doctor.registry import CHECKS, Check
from recipes.doctor.render import describe
from recipes.doctor.subject import CHEAP_SAMPLE, SAMPLE, Subject
from recipes.errors import UserError
from recipes.loop import TrainingRun
from recipes.metrics import Predictions
from recipes.reports.results import describe_scores, show_scores, write_results
from recipes.runs.folder import RunFolder, finished_run, is_finished


def examine(overrides: Sequence[str] = (), cheap: bool = False, config_dir: str | None = None) -> Report:
    """Check the run that `python train.py <overrides>` would start.

    Args:
        overrides: as on the command line.
        cheap: only the checks that `train.py` runs at every start.
        config_dir: a further config folder, as `--config-dir` of `train.py`.

    Raises:
        UserError: the overrides cannot be composed, so no check can run.
    """
    composed, folder = compose_config(overrides, config_dir)
    config = read(composed)
    subject = Subject(config, folder, sample=CHEAP_SAMPLE if cheap else SAMPLE)
    with trusting(config.trusted), scoring_by(vars(config.evaluate)):
        return run_checks(subject, [each for each in CHECKS if each.cheap or not cheap])


def check_at_start(run: TrainingRun, splits: Splits) -> None:
    """Run the cheap checks on a run before it starts; warnings become notes of the run.

    Raises:
        UserError: there are errors; all of them are listed.
    """
    subject = Subject(run.config, run=run, splits=splits, sample=CHEAP_SAMPLE)
    report = run_checks(subject, [each for each in CHECKS if each.cheap and each.section != "after"])
    errors = [finding for finding in report.findings if finding.severity == "error"]
    if errors:
        raise UserError(*(f"{describe(finding)} doctor=off trains all the same." for finding in errors))
    for finding in report.findings:
        if finding.severity == "warning":
            run.note(f"doctor: {describe(finding).removeprefix('warning: ')}")


def finish(
    folder: Path, config: Config, splits: Splits, scored: Mapping[str, Predictions], metrics: Mapping[str, Any]
) -> RunFolder:
    """Show the scores of a run that has ended, examine it, and write its results, with its `health`, into its folder.

    A run that is stopped while this goes on is not finished: the same command shows the scores again, and goes on.

    Args:
        folder: the run folder, with the model in `model/`.
        config: of the run.
        splits: the data.
        scored: the predictions of each split.
        metrics: the scores of each split, and what the run cost.
    """
    metrics = {**metrics, **describe_scores(scored, metrics)}
    run = RunFolder.in_memory(folder, scored, metrics)
    show_scores(run)
    subject = Subject(config, folder)
    # In place of what the cached properties would read.
    subject.__dict__ |= {"finished_run": run, "splits": splits}
    report = run_checks(subject, [each for each in CHECKS if each.section == "after"])
    health = summarize(report.findings, subject.comparison)
    return write_results(folder, config, splits, scored, {**metrics, "health": health})


def examine_finished(folder: Path) -> tuple[Report, dict[str, Any]]:
    """Check a finished run.

    Returns:
        The report, and the `health` that follows from it, also for a run of an earlier version. A run that diverged is
        not finished, but its folder says why it ended.

    Raises:
        UserError: the folder holds no finished run.
    """
    if (folder / "metrics.json").exists() and not is_finished(folder) and (health := RunFolder(folder).health):
        return Report([describe_unfinished(health)]), health
    run = finished_run(folder)
    subject = Subject(saved_config(run.config), folder)
    with scoring_by(run.config.get("evaluate", {}), of_folder=True):
        report = run_checks(subject, [each for each in CHECKS if each.section == "after"])
        try:
            comparison = subject.comparison
        except (UserError, Skip):  # a run of an earlier version whose data is gone; the report has the reason
            comparison = NO_BASELINES
    return report, summarize(report.findings, comparison)


def describe_unfinished(health: Mapping[str, Any]) -> CheckResult:
    """The result of the check that a run diverged, from the `health` in its folder."""
    result = CheckResult("after", "loss_curve", "The training loss fell, and did not explode.")
    result.add_inspected(1, "run that ended early")
    for finding in health["findings"]:
        result.fail(finding["message"], finding["consequence"], finding["remedy"])
    return result


def diagnose_rows(run: TrainingRun, splits: Splits, ids: Sequence[str]) -> str:
    """Describe the errors that the current model shows on some training rows; an empty string without errors."""
    row_of = {name: row for row, name in enumerate(run.train.ids)}
    subject = Subject(run.config, run=run, splits=splits)
    # In place of the sample that the cached property would draw.
    subject.__dict__["rows"] = np.array([row_of[name] for name in ids])
    report = run_checks(subject, [each for each in CHECKS if each.name in ("finite_values", "initial_loss")])
    errors = [finding for finding in report.findings if finding.severity == "error"]
    return "".join(f"{finding.message} Rows: {', '.join(finding.rows)}. " for finding in errors)


def run_checks(subject: Subject, checks_to_run: Sequence[Check]) -> Report:
    """Run checks on a subject, in the order of their sections, and restore the random states afterwards.

    Raises:
        ValueError: a check records nothing that it inspected.
    """
    results = []
    with subject.preserve_randomness():
        for each in sorted(checks_to_run, key=lambda each: SECTIONS.index(each.section)):
            result = CheckResult(each.section, each.name, each.description)
            try:
                each.function(subject, result)
                # Without this, a check that inspects nothing would count as passed.
                if not result.inspected:
                    raise ValueError(f"check {each.name} does not record what it inspected")
            except Skip as reason:
                result.skipped = str(reason)
            except UserError as error:
                for problem in error.problems:
                    result.fail(problem, "nothing is trained", "")
            results.append(result)
    return Report(results)
