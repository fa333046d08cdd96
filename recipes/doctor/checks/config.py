"""The config: values that do not go together, or do nothing."""

from recipes.doctor.findings import CheckResult
from recipes.doctor.registry import check
from recipes.doctor.subject import Subject

# Devlin et al. 2019 (arXiv 1810.04805) searched 2e-5 to 5e-5 for BERT, Turc et al. 2019 (1908.08962) 3e-5 to 3e-4 for
# small ones; 1e-3, the default of most optimizers, stalls both.
LOWEST_RATE, HIGHEST_RATE = 2e-6, 5e-4
FEW_UPDATES = 50
SMALL_BATCH = 8


@check("config", cheap=True)
def learning_rate(subject: Subject, result: CheckResult) -> None:
    """A rate that suits fine-tuning: 1e-5 to 1e-4 for encoders, up to 3e-4 for small ones."""
    rate, source = subject.config.train.learning_rate, subject.config.model.source
    result.at(1, "setting")
    if source == "linear":
        return
    if rate == 0:
        result.fail("train.learning_rate=0.", "no weight moves", "leave it out: every conf/model/*.yaml has its own")
    elif source != "tiny" and rate > HIGHEST_RATE:
        result.warn(
            f"train.learning_rate={rate:g} is ten to a hundred times what fine-tuning an encoder takes.",
            "the pretrained weights are destroyed and the loss stalls near that of a constant answer",
            "train.learning_rate=2e-5 (1e-5 to 1e-4; up to 3e-4 for small encoders)",
        )
    elif source != "tiny" and rate < LOWEST_RATE:
        result.warn(
            f"train.learning_rate={rate:g} is far below 1e-5.",
            "the model hardly moves from its pretrained weights",
            "train.learning_rate=2e-5 (1e-5 to 1e-4; up to 3e-4 for small encoders)",
        )
    elif source == "tiny" and rate > 0.1:
        result.warn(
            f"train.learning_rate={rate:g} is high even for a tiny model.",
            "training diverges",
            "train.learning_rate=1e-3",
        )


@check("config", cheap=True)
def schedule(subject: Subject, result: CheckResult) -> None:
    """A warm-up that is shorter than training."""
    train = subject.config.train
    result.at(1, "setting")
    if train.warmup > 0.5:
        result.warn(
            f"train.warmup={train.warmup:g}: the rate rises for {train.warmup:.0%} of all updates.",
            "most of training runs below the rate that was asked for, and hardly any of it settles",
            "train.warmup=0.1 (a share of all updates)",
        )


@check("config", cheap=True)
def setting_up(subject: Subject, result: CheckResult) -> None:
    """Settings, data, model and tricks that can be put together at all."""
    result.at(len(subject.run.train), "training rows")


@check("config", cheap=True)
def updates(subject: Subject, result: CheckResult) -> None:
    """Enough updates to learn, each of enough rows to be more than chance."""
    run, train = subject.run, subject.config.train
    result.at(run.total_updates, "updates")
    if run.total_updates < FEW_UPDATES:
        said = "train.max_updates" if train.max_updates else "train.epochs"
        value = train.max_updates or train.epochs
        smaller = max(4, len(run.train) // FEW_UPDATES)
        remedy = f"train.max_updates={2 * FEW_UPDATES}"
        result.warn(
            f"{said}={value:g} makes {run.total_updates} updates of {train.batch_size} rows.",
            "so few steps leave a new head near where it began",
            f"{remedy}, or train.batch_size={smaller}" if smaller < train.batch_size else remedy,
        )
    if train.batch_size < SMALL_BATCH:
        result.note(
            f"train.batch_size={train.batch_size} over all processes.",
            "the loss fluctuates from update to update, which alone is no fault",
            subject.remedies("noisy_loss"),
        )
    if train.max_updates and train.max_updates < run.updates_per_epoch:
        result.note(
            f"train.max_updates={train.max_updates} is less than an epoch of {run.updates_per_epoch}.",
            f"{1 - train.max_updates / run.updates_per_epoch:.0%} of the training rows are never seen",
            "train.max_updates=null",
        )


@check("config", cheap=True)
def evaluations(subject: Subject, result: CheckResult) -> None:
    """Evaluations that happen, and are as many as what rests on them needs."""
    run, evaluate = subject.run, subject.config.evaluate
    between = evaluate.every * run.updates_per_epoch
    count = int(run.total_updates / between) + (run.total_updates % between > 0)
    result.at(count, "evaluations")
    if count == 1 and evaluate.weights == "best" and between > run.total_updates:
        result.note(
            f"evaluate.every={evaluate.every:g} epochs is more than training has: validation is seen once, at the end.",
            "best and last are the same weights",
            f"evaluate.every={_nice(run.total_updates / run.updates_per_epoch / 4)}",
        )
    if evaluate.early_stopping is not None and count <= evaluate.early_stopping + 1:
        result.warn(
            f"evaluate.early_stopping={evaluate.early_stopping} with {count} evaluations in all.",
            "training can never stop early",
            f"evaluate.every={_nice(run.total_updates / run.updates_per_epoch / (3 * evaluate.early_stopping + 3))}",
        )


@check("config", cheap=True)
def regularization(subject: Subject, result: CheckResult) -> None:
    """Limits on the weights and the gradient that leave room to learn."""
    train, dropout = subject.config.train, subject.config.model.dropout
    result.at(3, "settings")
    if train.weight_decay > 0.5:
        result.warn(
            f"train.weight_decay={train.weight_decay:g}: 0.01 to 0.1 are usual.",
            "weights shrink faster than they learn",
            "train.weight_decay=0.01",
        )
    if train.clip_norm is not None and train.clip_norm < 0.01:
        result.warn(
            f"train.clip_norm={train.clip_norm:g}: 1.0 is usual.",
            "every update is cut to next to nothing but its direction",
            "train.clip_norm=1.0",
        )
    if dropout is not None and dropout > 0.5:
        result.warn(
            f"model.dropout={dropout:g}: 0.1 is usual.", "most of what the encoder says is dropped", "model.dropout=0.1"
        )


def _nice(value: float) -> str:
    return f"{max(0.01, value):.2g}"
