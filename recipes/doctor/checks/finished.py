"""Checks of a finished run: predictions, gaps between splits, calibration, the baselines, and the loss curve.

Their figures are compared with the limits of `recipes.doctor.health`, and what they find stands in `metrics.json`.
"""

import math
from collections import Counter
from functools import partial

import numpy as np

from recipes.compose.remedies import usual_learning_rate
from recipes.doctor.findings import CheckResult, Skip
from recipes.doctor.health import judge
from recipes.doctor.registry import check
from recipes.doctor.stages import is_trained_before_updates
from recipes.doctor.subject import Subject
from recipes.metrics import answer_spread, intervals, is_better, measure
from recipes.reports.error_parts import SURE
from recipes.reports.health import BASELINES

FEW_UPDATES = 300
"""A run of fewer updates that learned nothing is advised to train for longer."""
OTHER_STAGE = "other settings of the stage before the updates"
"""What to change where a stage is all of training."""


@check("after", cheap=True)
def predictions(subject: Subject, result: CheckResult) -> None:
    """The predicted labels vary, and every class is predicted."""
    run = subject.finished_run
    for split in run.splits:
        scored = run.load_predictions(split)
        result.add_inspected(len(scored.ids), f"predictions on {split}")
        names = [" + ".join(name) if isinstance(name, list) else name for name in scored.names()]
        predicted_counts = Counter(names)
        if split == "validation":
            (name, count), *_ = predicted_counts.most_common(1)
            which = "every row" if count == len(names) else f"{count:,} of {len(names):,} rows"
            judge(
                result,
                "collapsed",
                answer_spread(scored),
                f"{split}: the prediction is {name!r} for {which}.",
                "the model has learned nothing else",
                partial(_undo_collapse, subject),
            )
        if scored.multi_label or len(predicted_counts) == 1:
            continue
        true_counts = Counter(str(label) for label in scored.labels if label is not None)
        # The most frequent one decides: with it, the others are listed too.
        never = [name for name in scored.classes if name not in predicted_counts and true_counts[name] >= 5]
        judge(
            result,
            "never_predicted",
            max((true_counts[name] for name in never), default=0),
            f"{split}: {', '.join(map(repr, never[:5]))} is never predicted, but is the label of "
            f"{sum(true_counts[name] for name in never):,} rows.",
            "their recall is 0",
            lambda: ", or ".join(filter(None, [subject.remedies("class_imbalance"), "more rows of these labels"])),
        )


def _undo_collapse(subject: Subject) -> str:
    """What may help a run that predicts one class; empty if nothing stands out."""
    config, updates = subject.config, len(subject.finished_run.updates)
    if not updates:
        return ""
    if is_trained_before_updates(config):
        return f"{OTHER_STAGE}, or trickbook doctor with the same overrides to find the cause"
    usual, rate = usual_learning_rate(config.model), config.train.learning_rate
    remedies = []
    if not usual / 2 <= rate <= 2 * usual:
        remedies.append(f"train.learning_rate={usual:g}, which is usual for this model")
    if config.tricks:
        remedies.append(f"the same run without {', '.join(sorted(config.tricks))}")
    if stop := subject.finished_run.metrics.get("early_stop"):
        remedies.append(f"evaluate.early_stopping=null (it ended the run after {updates} of {stop['planned_updates']})")
    elif updates < FEW_UPDATES:
        remedies.append(f"train.max_updates={FEW_UPDATES} or more (this run had {updates})")
    return ", or ".join([*remedies, "trickbook doctor with the same overrides to find the cause"])


@check("after", cheap=True)
def validation_test_gap(subject: Subject, result: CheckResult) -> None:
    """Validation and test scores agree within their confidence intervals."""
    run, metric = subject.finished_run, subject.config.evaluate.metric
    if not run.metrics.get("test"):
        raise Skip("test has no scores")
    validation, test = run.load_predictions("validation"), run.load_predictions("test")
    result.add_inspected(len(validation.ids) + len(test.ids), "predictions")
    on_validation, on_test = intervals(validation), intervals(test)
    if metric not in on_validation or metric not in on_test:
        return
    judge(
        result,
        "split_gap",
        max(on_validation[metric][0] - on_test[metric][1], on_test[metric][0] - on_validation[metric][1]),
        f"{metric} is {run.metrics['validation'][metric]:.4f} on validation and "
        f"{run.metrics['test'][metric]:.4f} on test: their confidence intervals do not overlap.",
        "the splits come from different distributions, or one of them leaks",
    )


@check("after", cheap=True)
def calibration(subject: Subject, result: CheckResult) -> None:
    """Probabilities match the accuracy (expected calibration error)."""
    scored = subject.finished_run.load_predictions("validation")
    result.add_inspected(len(scored.ids), "predictions on validation")
    error = measure(scored).get("ece")
    if error is not None and len(scored.ids) >= 100:
        confidence = float(scored.probabilities.max(1).mean())
        judge(
            result,
            "miscalibrated",
            error,
            f"ece is {error:.3f} on validation; the mean confidence is {confidence:.0%}.",
            "predicted probabilities are not reliable",
            lambda: subject.remedies("overconfidence"),
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
        judge(
            result,
            "confident_errors",
            len(wrong),
            f"{len(wrong):,} of {len(scored.ids):,} validation rows are predicted wrongly at {SURE:.0%} or more, first "
            f"{predicted[wrong[0]]!r} for {scored.labels[wrong[0]]!r}.",
            "either their labels are wrong, or training has no rows like them",
            rows=[scored.ids[row] for row in wrong],
        )


@check("after")
def linear_baseline(subject: Subject, result: CheckResult) -> None:
    """The validation score is above that of the linear baseline, or of the majority class if there is none."""
    run, metric, comparison = subject.finished_run, subject.config.evaluate.metric, subject.comparison
    if metric not in run.metrics["validation"]:
        raise Skip(f"{metric} has no value on validation")
    against, count = comparison["against"], int(run.load_predictions("validation").has_label.sum())
    result.add_inspected(count, "validation rows with a label")
    if against is None:
        judge(
            result,
            "not_better",
            -math.inf,
            f"{count} validation rows with a label cannot show whether the model is better than a baseline.",
            "the scores say nothing",
            "more validation rows: data.validation_fraction, or another file as data.validation",
        )
        return
    score, baseline = run.metrics["validation"][metric], comparison["baselines"][against["baseline"]][metric]
    interval = f"95 % interval of the difference {against['low']:+.4f} to {against['high']:+.4f}, better is positive"
    message = (
        f"{metric} on validation is {score:.4f}, that of {BASELINES[against['baseline']]} {baseline:.4f} ({interval})."
    )
    if against["difference"] > 0:
        consequence = f"{count:,} validation rows do not show that the model is better"
        remedy = "more validation rows, or longer training"
    elif against["baseline"] == "linear":
        consequence = "the encoder is no better than counting words"
        other = OTHER_STAGE if is_trained_before_updates(subject.config) else "more updates, another learning rate"
        remedy = f"{other}, or model=linear"
    else:
        consequence = "the model is no better than one answer for all rows"
        remedy = "more training rows, or trickbook doctor with the same overrides, which checks the labels"
    if against["low"] > 0:
        result.note(message)
    judge(result, "not_better", against["low"], message, consequence, remedy)


@check("after", cheap=True)
def loss_curve(subject: Subject, result: CheckResult) -> None:
    """The training loss fell, and did not explode."""
    run = subject.finished_run
    lines = run.updates
    if len(lines) < 10:
        raise Skip("there are fewer than ten updates")
    if is_trained_before_updates(subject.config):
        raise Skip("train.learning_rate=0: the loss of the updates cannot fall")
    result.add_inspected(len(lines), "updates")
    tenth = max(1, len(lines) // 10)
    losses = np.array([line["loss"] if line["loss"] is not None else np.nan for line in lines], dtype=float)
    first, last = np.nanmean(losses[:tenth]), np.nanmean(losses[-tenth:])
    judge(
        result,
        "loss_did_not_fall",
        last / first,
        f"the loss began at {first:.3f} and ended at {last:.3f}.",
        "the model learned almost nothing",
    )
    classes = len(run.load_predictions("validation").classes)
    uniform = math.log(2) if run.load_predictions("validation").multi_label else math.log(max(2, classes))
    end = float(np.median([_cross_entropy(line) for line in lines[-tenth:]]))
    judge(
        result,
        "diverged",
        end / uniform,
        f"training cross-entropy is {end:.3g} at the end; a uniform guess has {uniform:.3f}.",
        "the weights are far from any that work",
        f"train.learning_rate={subject.config.train.learning_rate / 10:g}, or train.clip_norm=1.0",
    )


def _cross_entropy(line: dict[str, float | None]) -> float:
    """The training cross-entropy of an update; inf if it is not finite. Old histories have the loss alone."""
    value = line.get("cross_entropy", line["loss"])
    return math.inf if value is None else value


@check("after", cheap=True)
def memorizing(subject: Subject, result: CheckResult) -> None:
    """The final weights' validation loss is near the lowest one, or the training rows are not memorized."""
    run, metrics = subject.finished_run, subject.finished_run.metrics
    final = metrics.get("candidates", {}).get(metrics["weights"], {})
    if not run.updates or final.get("loss") is None:
        raise Skip("there is no training loss to compare with")
    losses = [line["loss"] for line in run.history if line.get("split") and line.get("loss") is not None]
    result.add_inspected(len(losses), "evaluations")
    # Before the first update a model knows at most how frequent the labels are.
    majority = (subject.comparison["baselines"]["majority"] or {}).get("loss", math.inf)
    lowest = min([majority, *losses])
    until = final.get("update", len(run.updates))
    recent = [_cross_entropy(line) for line in run.updates[:until]][-max(1, until // 10) :]
    training = float(np.mean(recent))
    if training < 0.7 * lowest:
        judge(
            result,
            "memorized",
            final["loss"] / lowest,
            f"validation loss was {lowest:.3f} and is {final['loss']:.3f} with the final weights, while training "
            f"cross-entropy is {training:.3f}.",
            "the training rows are memorized",
            _avoid_memorizing(subject),
        )


def _avoid_memorizing(subject: Subject) -> str:
    evaluate = subject.config.evaluate
    remedies = ["fewer epochs"]
    if evaluate.weights == "last":
        remedies.append("evaluate.weights=best")
    if evaluate.early_stopping is None:
        remedies.append("evaluate.early_stopping=2")
    if evaluate.metric != "loss":
        remedies.append("evaluate.metric=loss")
    return ", or ".join(remedies)


@check("after", cheap=True)
def training_length(subject: Subject, result: CheckResult) -> None:
    """The best evaluation is not the last one."""
    run, config = subject.finished_run, subject.config
    metric = config.evaluate.metric
    scores = [line[metric] for line in run.history if line.get("split") and line.get(metric) is not None]
    if len(scores) < 2:
        raise Skip("there are fewer than two evaluations")
    result.add_inspected(len(scores), "evaluations")
    best = 0
    for index, score in enumerate(scores):
        best = index if is_better(metric, score, scores[best]) else best
    longer = (
        f"train.max_updates={2 * config.train.max_updates}"
        if config.train.max_updates
        else f"train.epochs={2 * config.train.epochs:g}"
    )
    judge(
        result,
        "best_at_end",
        len(scores) - 1 - best,
        f"the last of {len(scores)} evaluations is the best one ({metric} {scores[best]:.4f}).",
        "a longer run may be better",
        longer,
    )
