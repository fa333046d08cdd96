"""Checks of a finished run: predictions, gaps between splits, calibration, and the loss curve."""

from collections import Counter

import numpy as np

from recipes.doctor.findings import CheckResult, Skip
from recipes.doctor.registry import check
from recipes.doctor.subject import Subject
from recipes.metrics import LOWER_IS_BETTER, intervals, measure
from recipes.models.linear import Linear
from recipes.reports.run_page import SURE


@check("after", cheap=True)
def predictions(subject: Subject, result: CheckResult) -> None:
    """The predicted labels vary, and every class is predicted."""
    run = subject.finished_run
    for split in run.splits:
        scored = run.load_predictions(split)
        result.add_inspected(len(scored.ids), f"predictions on {split}")
        if scored.multi_label:
            continue
        predicted_counts = Counter(map(str, scored.names()))
        true_counts = Counter(str(label) for label in scored.labels if label is not None)
        if len(predicted_counts) == 1 and len(true_counts) > 1:
            result.fail(
                f"{split}: the prediction is {next(iter(predicted_counts))!r} for every row.",
                "the model has learned nothing else",
                "run python scripts/doctor.py with the same overrides to find the cause",
            )
            continue
        never = [name for name in scored.classes if name not in predicted_counts and true_counts[name] >= 5]
        if never:
            result.warn(
                f"{split}: {', '.join(map(repr, never[:5]))} is never predicted, but is the label of "
                f"{sum(true_counts[name] for name in never):,} rows.",
                "their recall is 0",
                ", or ".join(filter(None, [subject.remedies("class_imbalance"), "more rows of these labels"])),
            )


@check("after", cheap=True)
def validation_test_gap(subject: Subject, result: CheckResult) -> None:
    """Validation and test scores agree within their confidence intervals."""
    run, metric = subject.finished_run, subject.config.evaluate.metric
    if not run.metrics.get("test"):
        raise Skip("test has no scores")
    validation, test = run.load_predictions("validation"), run.load_predictions("test")
    result.add_inspected(len(validation.ids) + len(test.ids), "predictions")
    on_validation, on_test = intervals(validation), intervals(test)
    if metric not in on_validation:
        return
    if on_validation[metric][0] > on_test[metric][1] or on_test[metric][0] > on_validation[metric][1]:
        result.warn(
            f"{metric} is {run.metrics['validation'][metric]:.4f} on validation and "
            f"{run.metrics['test'][metric]:.4f} on test: their confidence intervals do not overlap.",
            "the splits come from different distributions, or one of them leaks",
            "see the check `duplicates`, and split all rows again: data.validation=null data.test=null",
        )


@check("after", cheap=True)
def calibration(subject: Subject, result: CheckResult) -> None:
    """Probabilities match the accuracy (expected calibration error)."""
    scored = subject.finished_run.load_predictions("validation")
    result.add_inspected(len(scored.ids), "predictions on validation")
    error = measure(scored).get("ece")
    if error is not None and error > 0.1 and len(scored.ids) >= 100:
        confidence = float(scored.probabilities.max(1).mean())
        result.warn(
            f"ece is {error:.3f} on validation; the mean confidence is {confidence:.0%}.",
            "predicted probabilities are not reliable",
            subject.remedies("overconfidence", otherwise="fewer epochs"),
        )


@check("after", cheap=True)
def confident_errors(subject: Subject, result: CheckResult) -> None:
    """Few rows are predicted wrongly with high confidence."""
    scored = subject.finished_run.load_predictions("validation")
    if scored.multi_label:
        raise Skip("rows have several labels")
    result.add_inspected(len(scored.ids), "predictions on validation")
    predicted, confidence = scored.names(), scored.probabilities.max(1)
    most_confident_first = np.argsort(-confidence)
    wrong = [
        row
        for row in most_confident_first
        if confidence[row] >= SURE and scored.labels[row] not in (None, predicted[row])
    ]
    if wrong:
        result.note(
            f"{len(wrong):,} of {len(scored.ids):,} validation rows are predicted wrongly at {SURE:.0%} or more, first "
            f"{predicted[wrong[0]]!r} for {scored.labels[wrong[0]]!r}.",
            "either their labels are wrong, or training has no rows like them",
            "read them: scripts/report.py shows their texts",
            [scored.ids[row] for row in wrong],
        )


@check("after")
def linear_baseline(subject: Subject, result: CheckResult) -> None:
    """The validation score is above that of a linear model on the same rows."""
    run, metric = subject.finished_run, subject.config.evaluate.metric
    if subject.config.model.source == "linear":
        raise Skip("this is the linear model")
    splits = subject.splits
    result.add_inspected(len(splits.validation), "validation rows")
    baseline = measure(Linear.fit(splits, subject.config.seed).predict_rows(splits.validation))
    if metric not in baseline:
        raise Skip(f"the linear model has no {metric}")
    score, linear_score = run.metrics["validation"][metric], baseline[metric]
    message = f"{metric} on validation is {score:.4f}, that of model=linear {linear_score:.4f}."
    shortfall = linear_score - score if metric not in LOWER_IS_BETTER else score - linear_score
    if shortfall > 0.01:
        result.warn(
            message,
            "the encoder is worse than counting words",
            "more updates, another learning rate, or model=linear",
        )
    else:
        result.note(message)


@check("after", cheap=True)
def loss_curve(subject: Subject, result: CheckResult) -> None:
    """The training loss fell, and the validation loss did not rise again."""
    run = subject.finished_run
    lines = run.updates
    if len(lines) < 10:
        raise Skip("there are fewer than ten updates")
    result.add_inspected(len(lines), "updates")
    losses = np.array([line["loss"] if line["loss"] is not None else np.nan for line in lines], dtype=float)
    tenth = max(1, len(losses) // 10)
    first, last = np.nanmean(losses[:tenth]), np.nanmean(losses[-tenth:])
    if last > 0.95 * first:
        result.warn(
            f"the loss began at {first:.3f} and ended at {last:.3f}.",
            "the model learned almost nothing",
            "run scripts/doctor.py with the same overrides: `overfitting_one_batch` tests whether it can learn",
        )
    validation_losses = [
        line["loss"] for line in run.history if line.get("split") == "validation" and line.get("loss") is not None
    ]
    if len(validation_losses) < 3 or run.metrics["weights"] != "last":
        return
    if validation_losses[-1] > 1.3 * min(validation_losses):
        result.warn(
            f"validation loss was {min(validation_losses):.3f} and is {validation_losses[-1]:.3f} at the end.",
            "the model is overfitted",
            "evaluate.weights=best, or fewer epochs",
        )
