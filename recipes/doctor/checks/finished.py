"""After training: what the scores of a finished run give away."""

from collections import Counter

import numpy as np

from recipes.doctor.findings import CheckResult, Skip
from recipes.doctor.registry import check
from recipes.doctor.subject import Subject
from recipes.metrics import LOWER_IS_BETTER, intervals, measure
from recipes.models.linear import Linear
from recipes.reports.run_page import SURE


@check("after", cheap=True)
def answers(subject: Subject, result: CheckResult) -> None:
    """Answers that vary, and reach every class."""
    run = subject.finished
    for split in run.splits:
        held = run.load_predictions(split)
        result.at(len(held.ids), f"answers on {split}")
        if held.multi_label:
            continue
        given = Counter(map(str, held.names()))
        asked = Counter(str(label) for label in held.labels if label is not None)
        if len(given) == 1 and len(asked) > 1:
            result.fail(
                f"{split}: every row is answered {next(iter(given))!r}.",
                "the model has learnt nothing but that",
                "python scripts/doctor.py with the same overrides says what stands in its way",
            )
            continue
        never = [name for name in held.classes if name not in given and asked[name] >= 5]
        if never:
            result.warn(
                f"{split}: {', '.join(map(repr, never[:5]))} is never answered, though it is true "
                f"{sum(asked[name] for name in never):,} times.",
                "recall 0 there",
                "recipe=imbalanced, or more rows of it",
            )


@check("after", cheap=True)
def splits_apart(subject: Subject, result: CheckResult) -> None:
    """Test scores that are as validation promised."""
    run, name = subject.finished, subject.config.evaluate.metric
    if not run.metrics.get("test"):
        raise Skip("test has no scores")
    validation, test = run.load_predictions("validation"), run.load_predictions("test")
    result.at(len(validation.ids) + len(test.ids), "answers")
    ours, theirs = intervals(validation), intervals(test)
    if name in ours and (ours[name][0] > theirs[name][1] or theirs[name][0] > ours[name][1]):
        result.warn(
            f"{name} is {run.metrics['validation'][name]:.4f} on validation, {run.metrics['test'][name]:.4f} on test, "
            "farther apart than rows alone explain.",
            "the splits differ in kind, or one leaks",
            "look at `copies`, and cut the splits anew from all rows: data.validation=null data.test=null",
        )


@check("after", cheap=True)
def sureness(subject: Subject, result: CheckResult) -> None:
    """Probabilities that are right as often as they say."""
    run = subject.finished
    held = run.load_predictions("validation")
    result.at(len(held.ids), "answers on validation")
    error = measure(held).get("ece")
    if error is not None and error > 0.1 and len(held.ids) >= 100:
        sure = float(held.probabilities.max(1).mean())
        result.warn(
            f"ece is {error:.3f} on validation; the model is {sure:.0%} sure on average.",
            "its probabilities cannot be read as such",
            subject.remedies("overconfidence", otherwise="fewer epochs"),
        )


@check("after", cheap=True)
def sure_errors(subject: Subject, result: CheckResult) -> None:
    """Rows that are answered wrongly and yet surely: their labels, or what training has not seen."""
    held = subject.finished.load_predictions("validation")
    if held.multi_label:
        raise Skip("rows have several labels")
    result.at(len(held.ids), "answers on validation")
    given, sure = held.names(), held.probabilities.max(1)
    wrong = [row for row in np.argsort(-sure) if sure[row] >= SURE and held.labels[row] not in (None, given[row])]
    if wrong:
        result.note(
            f"{len(wrong):,} of {len(held.ids):,} validation rows are answered wrongly at {SURE:.0%} or more, first "
            f"{given[wrong[0]]!r} for {held.labels[wrong[0]]!r}.",
            "either their labels are wrong, or training has no rows like them",
            "read them: scripts/report.py shows their texts",
            [held.ids[row] for row in wrong],
        )


@check("after")
def linear_probe(subject: Subject, result: CheckResult) -> None:
    """A score above that of a linear model on the same rows."""
    run, name = subject.finished, subject.config.evaluate.metric
    if subject.config.model.source == "linear":
        raise Skip("this is the linear model")
    splits = subject.splits
    result.at(len(splits.validation), "validation rows")
    linear_probe = measure(Linear.fit(splits, subject.config.seed).predict_rows(splits.validation))
    if name not in linear_probe:
        raise Skip(f"there is no {name} of it")
    own, other = run.metrics["validation"][name], linear_probe[name]
    said = f"{name} on validation is {own:.4f}, that of model=linear {other:.4f}."
    below = other - own if name not in LOWER_IS_BETTER else own - other
    if below > 0.01:
        result.warn(
            said, "the encoder is worth less than counting words", "more updates, another rate; or model=linear"
        )
    else:
        result.note(said)


@check("after", cheap=True)
def curve(subject: Subject, result: CheckResult) -> None:
    """A loss that fell, and validation that went with it."""
    run = subject.finished
    lines = run.updates
    if len(lines) < 10:
        raise Skip("there are fewer than ten updates")
    result.at(len(lines), "updates")
    losses = np.array([line["loss"] if line["loss"] is not None else np.nan for line in lines], dtype=float)
    tenth = max(1, len(losses) // 10)
    first, last = np.nanmean(losses[:tenth]), np.nanmean(losses[-tenth:])
    if last > 0.95 * first:
        result.warn(
            f"the loss began at {first:.3f} and ended at {last:.3f}.",
            "hardly anything was learnt",
            "scripts/doctor.py with the same overrides: `overfitting_one_batch` says whether it can learn",
        )
    scores = [
        line["loss"] for line in run.history if line.get("split") == "validation" and line.get("loss") is not None
    ]
    if len(scores) >= 3 and scores[-1] > 1.3 * min(scores) and run.metrics["weights"] == "last":
        result.warn(
            f"validation loss was {min(scores):.3f} and is {scores[-1]:.3f} at the end.",
            "the model is overfitted",
            "evaluate.weights=best, or fewer epochs",
        )
