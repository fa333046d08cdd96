"""Checks of the config: values that are unusual, conflict or have no effect."""

from recipes.compose.remedies import usual_learning_rate
from recipes.doctor.findings import CheckResult
from recipes.doctor.registry import check
from recipes.doctor.subject import Subject

# Devlin et al. 2019 (arXiv 1810.04805) searched 2e-5 to 5e-5 for BERT, Turc et al. 2019 (1908.08962) 3e-5 to 3e-4 for
# small encoders. At 1e-3, the default of most optimizers, both stall.
LOWEST_RATE, HIGHEST_RATE, HIGHEST_TINY_RATE = 2e-6, 5e-4, 0.1
FEW_UPDATES = 50
MOST_WEIGHT_DECAY = 0.2
SMALL_BATCH = 8


@check("config", cheap=True)
def learning_rate(subject: Subject, result: CheckResult) -> None:
    """The learning rate suits fine-tuning; the remedy is the rate in the model's config file."""
    rate, source = subject.config.train.learning_rate, subject.config.model.source
    result.add_inspected(1, "setting")
    if source == "linear":
        return
    is_high = rate > (HIGHEST_RATE if source != "tiny" else HIGHEST_TINY_RATE)
    is_low = source != "tiny" and rate < LOWEST_RATE
    if not is_high and not is_low and rate > 0:
        return
    usual = usual_learning_rate(subject.config.model)
    remedy = f"train.learning_rate={usual:g}, as in this model's config"
    if rate == 0:
        result.fail("train.learning_rate=0.", "no weight changes", remedy)
    elif is_high:
        result.warn(
            f"train.learning_rate={rate:g} is {rate / usual:.0f} times the usual rate for this model.",
            "the pretrained weights are destroyed and the loss stalls near that of a constant prediction"
            if source != "tiny"
            else "training diverges",
            remedy,
        )
    else:
        result.warn(
            f"train.learning_rate={rate:g} is {rate / usual:.1g} of the usual rate for this model.",
            "the weights hardly change from the pretrained ones",
            remedy,
        )


@check("config", cheap=True)
def schedule(subject: Subject, result: CheckResult) -> None:
    """The warm-up leaves most of training at or after the full learning rate."""
    train = subject.config.train
    result.add_inspected(1, "setting")
    if train.warmup > 0.5:
        result.warn(
            f"train.warmup={train.warmup:g}: the learning rate rises for {train.warmup:.0%} of all updates.",
            "most of training runs below train.learning_rate, and the decay is too short",
            "train.warmup=0.1 (a fraction of all updates)",
        )


@check("config", cheap=True)
def setup(subject: Subject, result: CheckResult) -> None:
    """Settings, data, model and tricks fit together, so that the run can be set up."""
    result.add_inspected(len(subject.run.train), "training rows")


@check("config", cheap=True)
def updates(subject: Subject, result: CheckResult) -> None:
    """Training has enough updates, and each update has enough rows."""
    run, train = subject.run, subject.config.train
    result.add_inspected(run.total_updates, "updates")
    if run.total_updates < FEW_UPDATES:
        setting = "train.max_updates" if train.max_updates else "train.epochs"
        value = train.max_updates or train.epochs
        smaller = max(4, len(run.train) // FEW_UPDATES)
        remedy = f"train.max_updates={2 * FEW_UPDATES}"
        result.warn(
            f"{setting}={value:g} makes {run.total_updates} updates of {train.batch_size} rows.",
            "so few updates leave a new head close to its initial weights",
            f"{remedy}, or train.batch_size={smaller}" if smaller < train.batch_size else remedy,
        )
    if train.batch_size < SMALL_BATCH:
        result.note(
            f"train.batch_size={train.batch_size} over all processes.",
            "the loss fluctuates from update to update, which is no problem in itself",
            subject.remedies("noisy_loss", f"train.batch_size={SMALL_BATCH}"),
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


@check("config", cheap=True)
def regularization(subject: Subject, result: CheckResult) -> None:
    """Weight decay, gradient clipping and dropout are not so strong that they prevent learning."""
    train, dropout = subject.config.train, subject.config.model.dropout
    result.add_inspected(3, "settings")
    if train.weight_decay > MOST_WEIGHT_DECAY:
        result.warn(
            f"train.weight_decay={train.weight_decay:g}: 0.01 to 0.1 is usual.",
            "weights shrink faster than they are trained",
            "train.weight_decay=0.01",
        )
    if train.clip_norm is not None and train.clip_norm < 0.01:
        result.warn(
            f"train.clip_norm={train.clip_norm:g}: 1.0 is usual.",
            "every gradient is scaled down to almost nothing",
            "train.clip_norm=1.0",
        )
    if dropout is not None and dropout > 0.5:
        result.warn(
            f"model.dropout={dropout:g}: 0.1 is usual.", "most of the encoder's output is dropped", "model.dropout=0.1"
        )


def _rounded(value: float) -> str:
    return f"{max(0.01, value):.2g}"
