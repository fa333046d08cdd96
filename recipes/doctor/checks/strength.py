"""Checks of how strongly each trick acts alone: on the loss and the gradient of a batch, and on the layers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recipes import seams
from recipes.base import Base
from recipes.data.batch import Batch, Outcome
from recipes.doctor.alone import describe_settings, only_tricks, step_tricks, weaken
from recipes.doctor.findings import CheckResult, Skip
from recipes.doctor.memorize import memorize, small_batch
from recipes.doctor.registry import check
from recipes.doctor.subject import Subject
from recipes.loop import TrainingRun
from recipes.models.anatomy import depths, layers
from recipes.trick import Trick


@dataclass(frozen=True)
class Limit:
    """How far a figure of a trick may be from that of the same batch without it, and why."""

    message: str
    """The problem, with the figure in braces."""
    low: float
    high: float
    consequence: str


# No trick at its default is outside, with model=tiny on three data sets and model=minilm on SST-2; see docs/doctor.md.
LIMITS: Mapping[str, Limit] = {
    # A large factor is harmless: the steps of AdamW do not depend on it. Next to 0 little is left to learn from.
    "loss before training": Limit(
        "the loss of the untrained model is {:.2g} times that without it",
        0.02,
        math.inf,
        "hardly a row counts before anything is learned",
    ),
    # At their defaults at most 1.5. R-Drop with alpha=10, the highest advised value, has 1.2.
    "loss": Limit(
        "the loss becomes {:.3g} times that without it while the batch is learned",
        0.0,
        3.0,
        "a term that does not depend on the labels outweighs them",
    ),
    # At their defaults at most 15 (mixup, whose rows are other ones).
    "gradient": Limit(
        "the gradient becomes {:.3g} times that without it while the batch is learned",
        0.0,
        30.0,
        "next to nothing is left of the gradient of the labels once it is clipped",
    ),
    # At their defaults at most 0.74 (pgd). At 1 a model that has half learned the rows knows nothing about them.
    "worst pass": Limit(
        "the loss of its worst pass is {:.2f} times that of a uniform prediction, though the batch is half learned",
        0.0,
        0.9,
        "it moves inputs or weights so far that nothing the model knows is left, and trains on that",
    ),
}
# An encoder of which more layers than these fractions hardly learn, or have new weights, is hardly the pretrained one.
SLOW_RATE, MOST_SLOW, MOST_REDRAWN = 0.1, 0.75, 0.5


@dataclass(frozen=True)
class Strength:
    """What a batch gives with some tricks."""

    loss: float
    gradient: float
    """The norm over all weights."""
    worst_pass: float
    """The highest cross-entropy of a pass, relative to that of a uniform prediction."""


@check("tricks")
def trick_strength(subject: Subject, result: CheckResult) -> None:
    """Each trick alone leaves the loss and the gradient of a batch on the scale of the run without tricks."""
    tricks = step_tricks(subject.run)
    if not tricks:
        raise Skip("no trick acts on the loss or the gradient")
    batch = small_batch(subject)
    with subject.restore_after() as run:
        # Not 0: some tricks do nothing during warm-up, or before their start.
        run.updates = run.total_updates // 2
        untrained = _measure_alone(run, tricks, batch)
        with only_tricks(run, {}):
            got = memorize(run, batch, 0.5, least_accuracy=0.0, every=1)
        run.updates = run.total_updates // 2
        half_trained = _measure_alone(run, tricks, batch)
    result.add_inspected(len(tricks), "tricks")
    for name, trick in tricks.items():
        scale = untrained[name].loss / untrained[""].loss
        figures = {"loss before training": scale}
        # A model that has learned nothing has no knowledge that could be lost.
        if got.loss <= 0.5 * got.start:
            after, plain = half_trained[name], half_trained[""]
            figures |= {
                "loss": after.loss / plain.loss / scale,
                "gradient": after.gradient / plain.gradient / scale,
                "worst pass": after.worst_pass,
            }
        outside = {
            each: figure for each, figure in figures.items() if not LIMITS[each].low <= figure <= LIMITS[each].high
        }
        if outside:
            problems = "; ".join(LIMITS[each].message.format(figure) for each, figure in outside.items())
            result.warn(
                f"with {describe_settings(trick, subject.config)} alone, {problems}.",
                LIMITS[next(iter(outside))].consequence,
                weaken(trick, subject.config),
            )
        else:
            result.note(f"{name} alone: {', '.join(f'{each} {figure:.2f}' for each, figure in figures.items())}.")


def _measure_alone(run: TrainingRun, tricks: Mapping[str, Trick], batch: Batch) -> dict[str, Strength]:
    """The strength of each trick alone, and under "" that of the run without tricks on the step."""
    measured = {}
    for name, selected in {"": {}, **{name: {name: trick} for name, trick in tricks.items()}}.items():
        with only_tricks(run, selected):
            measured[name] = _measure(run, batch)
    return measured


def _measure(run: TrainingRun, batch: Batch) -> Strength:
    base, objective = Base(run), run.seams.objective
    passes: list[float] = []

    def record(part: Batch) -> Outcome:
        outcome = objective(part)
        with torch.no_grad():
            logits = outcome.logits.detach().float()
            loss, uniform = (base.loss(each, outcome.targets).mean() for each in (logits, torch.zeros_like(logits)))
            passes.append(float(loss / uniform))
        return outcome

    run.seams.objective = record
    run.optimizer.zero_grad()
    loss = run.seams.gradient(batch)
    norms = [each.grad.norm() for each in run.parameters if each.grad is not None]
    run.optimizer.zero_grad()
    return Strength(float(loss.composed), float(torch.stack(norms).norm()) if norms else 0.0, max(passes))


@check("tricks")
def trained_layers(subject: Subject, result: CheckResult) -> None:
    """No trick alone leaves most layers of the encoder without training, or gives most of them new weights."""
    run, config = subject.run, subject.config
    tricks = {name: each for name, each in run.tricks.items() if {"model", "optimizer"} & set(each.slots)}
    loading = {name: each for name, each in tricks.items() if each.slots.get("model") == "load"}
    tricks = {name: each for name, each in tricks.items() if name not in loading}
    if not tricks:
        raise Skip("no trick changes the weights or their learning rates")
    try:
        count = len(layers(run.bare_model))
    except ValueError as reason:
        raise Skip(str(reason)) from reason
    result.add_inspected(count, "layers")
    loaded = dict(_model_with(run, loading).named_parameters())
    for name, trick in tricks.items():
        alone = {**loading, name: trick}
        model = _model_with(run, alone)
        rates = _rates_of_layers(run, model, alone, count)
        slow = sum(rate < SLOW_RATE * config.train.learning_rate for rate in rates)
        redrawn = _redrawn_layers(model, loaded, count)
        if slow > MOST_SLOW * count:
            result.warn(
                f"with {describe_settings(trick, config)} alone, {slow} of {count} layers learn at less than a tenth "
                "of the learning rate, or not at all.",
                "the encoder hardly adapts to the task",
                weaken(trick, config),
            )
        # The weights of model=tiny are random anyway.
        if redrawn > MOST_REDRAWN * count and config.model.source != "tiny":
            result.warn(
                f"with {describe_settings(trick, config)} alone, {redrawn} of {count} layers have new random weights.",
                "most of what was pretrained is lost",
                weaken(trick, config),
            )


def _model_with(run: TrainingRun, tricks: Mapping[str, Trick]) -> nn.Module:
    """Load the model with some tricks only."""
    return seams.compose("model", Base(run).model, tricks, run)()


def _rates_of_layers(run: TrainingRun, model: nn.Module, tricks: Mapping[str, Trick], count: int) -> list[float]:
    """The highest learning rate of each layer's weights, from the last layer down; 0 where none is trained."""
    optimizer = seams.compose("optimizer", Base(run).optimizer, tricks, run)(model)
    rate_of: dict[Tensor, float] = {each: group["lr"] for group in optimizer.param_groups for each in group["params"]}
    depth_of = depths(model)
    return [
        max((rate_of.get(each, 0.0) for each, at in depth_of.items() if at == depth), default=0.0)
        for depth in range(1, count + 1)
    ]


def _redrawn_layers(model: nn.Module, loaded: Mapping[str, Tensor], count: int) -> int:
    """How many layers have a matrix that differs from the loaded one."""
    depth_of = depths(model)
    changed = {
        depth_of[each]
        for name, each in model.named_parameters()
        if each.dim() > 1 and name in loaded and not torch.equal(each, loaded[name])
    }
    return len(changed & set(range(1, count + 1)))
