"""Checks of the config: values that are unusual, conflict or have no effect."""

import math

from recipes.compose.remedies import advised_learning_rates, default_setting, usual_learning_rate
from recipes.doctor.findings import CheckResult
from recipes.doctor.registry import check
from recipes.doctor.stages import is_trained_before_updates
from recipes.doctor.subject import Subject
from recipes.ranges import advised_fields, outside_advice

FEW_UPDATES = 50
SMALLEST_BATCH = 8
# Of all updates.
SHORTEST_PATIENCE = 0.1


@check("config", cheap=True)
def learning_rate(subject: Subject, result: CheckResult) -> None:
    """The learning rate is in the range that is advised for the model; the remedy is that of its config file."""
    rate, source = subject.config.train.learning_rate, subject.config.model.source
    result.add_inspected(1, "setting")
    if source == "linear" or is_trained_before_updates(subject.config):
        return
    lowest, highest = advised_learning_rates(subject.config.model)
    if lowest <= rate <= highest:
        return
    usual = usual_learning_rate(subject.config.model)
    remedy = f"train.learning_rate={usual:g}, as in this model's config"
    if rate == 0:
        result.fail("train.learning_rate=0.", "no weight changes", remedy)
    elif rate > highest:
        result.warn(
            f"train.learning_rate={rate:g} is {rate / usual:.0f} times the usual rate for this model; "
            f"{lowest:g} to {highest:g} is advised.",
            "the pretrained weights are destroyed and the loss stalls near that of a constant prediction"
            if source != "tiny"
            else "training diverges",
            remedy,
        )
    else:
        result.warn(
            f"train.learning_rate={rate:g} is {rate / usual:.1g} of the usual rate for this model; "
            f"{lowest:g} to {highest:g} is advised.",
            "the weights hardly change from the pretrained ones",
            remedy,
        )


@check("config", cheap=True)
def setup(subject: Subject, result: CheckResult) -> None:
    """Settings, data, model and tricks fit together, so that the run can be set up."""
    result.add_inspected(len(subject.run.train), "training rows")


@check("config", cheap=True)
def advised_values(subject: Subject, result: CheckResult) -> None:
    """Settings of the run and of its tricks are in the ranges that are advised for them."""
    run, config = subject.run, subject.config
    unadvised = [(each, default_setting(each.path)) for each in outside_advice(config, "")]
    for name, trick in run.tricks.items():
        neutral = {} if isinstance(trick.neutral, str) else trick.neutral
        for each in outside_advice(trick, f"tricks.{name}."):
            setting = each.path.rpartition(".")[2]
            # At its neutral value a setting is off, which `ineffective_tricks` reports.
            if neutral.get(setting) != each.value:
                unadvised.append((each, default_setting(setting, config.tricks[name]["_target_"])))
    result.add_inspected(sum(len(list(advised_fields(each))) for each in (config, *run.tricks.values())), "settings")
    for each, default in unadvised:
        end = f"{each.path}={each.nearest:g}, the nearest advised value"
        result.warn(str(each), each.consequence, end if default is None else f"{each.path}={default}, the default")


@check("config", cheap=True)
def updates(subject: Subject, result: CheckResult) -> None:
    """Training has enough updates, and each update has enough rows."""
    run, train = subject.run, subject.config.train
    result.add_inspected(run.total_updates, "updates")
    if is_trained_before_updates(subject.config):
        return
    if run.total_updates < FEW_UPDATES:
        setting = "train.max_updates" if train.max_updates else "train.epochs"
        value = train.max_updates or train.epochs
        smaller = max(SMALLEST_BATCH, len(run.train) // FEW_UPDATES)
        remedy = f"train.max_updates={2 * FEW_UPDATES}"
        result.warn(
            f"{setting}={value:g} makes {run.total_updates} updates of {train.batch_size} rows.",
            "so few updates leave a new head close to its initial weights",
            f"{remedy}, or train.batch_size={smaller}" if smaller < train.batch_size else remedy,
        )
    if train.max_updates and train.max_updates < run.updates_per_epoch:
        result.note(
            f"train.max_updates={train.max_updates} is less than an epoch of {run.updates_per_epoch} updates.",
            f"{1 - train.max_updates / run.updates_per_epoch:.0%} of the training rows are never used",
            "train.max_updates=null",
        )


@check("config", cheap=True)
def evaluations(subject: Subject, result: CheckResult) -> None:
    """There are enough evaluations to choose weights and to stop early."""
    run, evaluate = subject.run, subject.config.evaluate
    between = evaluate.every * run.updates_per_epoch
    count = int(run.total_updates / between) + (run.total_updates % between > 0)
    result.add_inspected(count, "evaluations")
    if count == 1 and evaluate.weights == "best" and between > run.total_updates:
        result.note(
            f"evaluate.every={evaluate.every:g} epochs is longer than training, so validation runs once, at the end.",
            "best and last are the same weights",
            f"evaluate.every={_rounded(run.total_updates / run.updates_per_epoch / 4)}",
        )
    if evaluate.early_stopping is not None and count <= evaluate.early_stopping + 1:
        result.warn(
            f"evaluate.early_stopping={evaluate.early_stopping} with {count} evaluations in all.",
            "training can never stop early",
            f"evaluate.every={_rounded(run.total_updates / run.updates_per_epoch / (3 * evaluate.early_stopping + 3))}",
        )
    elif evaluate.early_stopping is not None and evaluate.early_stopping < (longest := SHORTEST_PATIENCE * count):
        result.warn(
            f"evaluate.early_stopping={evaluate.early_stopping} with {count} evaluations in all.",
            f"training ends when {evaluate.early_stopping / count:.0%} of it bring no better score, perhaps by chance",
            f"evaluate.early_stopping={math.ceil(2 * longest)}",
        )


def _rounded(value: float) -> str:
    return f"{max(0.01, value):.2g}"
