"""Checks that train for a few updates: whether the model can learn, how fast, and in how much memory."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from recipes import seams, state
from recipes.base import evaluating
from recipes.compose.remedies import usual_learning_rate
from recipes.data.batch import Batch
from recipes.data.batching import by_length
from recipes.doctor.alone import only_tricks, step_tricks, weaken
from recipes.doctor.findings import CheckResult, Skip
from recipes.doctor.memorize import MOST_UPDATES, SECONDS, Memorized, make_step, memorize, small_batch
from recipes.doctor.registry import check
from recipes.doctor.stages import is_trained_before_updates
from recipes.doctor.subject import Subject
from recipes.guards import Diverged
from recipes.loop import TrainingRun
from recipes.metrics import is_lower_better, measure
from recipes.runtime.memory import PeakMemory
from recipes.trick import Trick

FEWEST_UPDATES = 50
RATES = 20
METRIC_ROWS, SHUFFLES = 256, 20
"""Validation rows that are predicted before training, and how often their labels are shuffled."""


def _require_updates(subject: Subject) -> None:
    """Skip a check of the updates where a stage before them is all of training."""
    if is_trained_before_updates(subject.config):
        raise Skip("train.learning_rate=0: no update changes the model, and stages are not tried")


@check("learning")
def overfitting_one_batch(subject: Subject, result: CheckResult) -> None:
    """The model can memorize one small batch with every label in it."""
    _require_updates(subject)
    batch = small_batch(subject)
    result.add_inspected(len(batch), "rows")

    def try_with(tricks: Mapping[str, Trick]) -> Memorized:
        with subject.restore_after() as run, only_tricks(run, tricks):
            # Tricks that soften targets or mix rows have a lowest loss above 0.
            return memorize(run, batch, 0.1 if run.is_plain else 0.5)

    run = subject.run
    got = try_with(run.tricks)
    most, count = max(0.1, got.start * (0.1 if run.is_plain else 0.5)), len(got.losses)
    if got.accuracy >= 0.9 and got.loss <= most:
        result.note(f"{count} updates: accuracy {got.accuracy:.0%}, loss {got.loss:.2f}; in training {got.curve}.")
        return
    is_finite = bool(np.isfinite(got.losses[-1:]).all())
    if is_finite and count < (FEWEST_UPDATES if got.accuracy < 0.9 else MOST_UPDATES):
        raise Skip(f"{SECONDS:g} s are {count} updates, too few to judge; loss {got.curve}")
    harmful = _harmful_alone(run, lambda tricks: try_with(tricks).accuracy < 0.9)
    remedies = [weaken(trick, subject.config) for trick in harmful]
    blame = f" Without {', '.join(trick.name for trick in harmful)} they are learned." if harmful else ""
    if not is_finite:
        result.fail(
            f"the loss is NaN or inf after {count} updates on {len(batch)} rows ({got.curve}).{blame}",
            "training diverges",
            "; ".join(remedies) or "lower train.learning_rate",
        )
    elif got.accuracy >= 0.9:
        result.warn(
            f"after {count} updates on {len(batch)} rows they are predicted, but the loss on them is still "
            f"{got.loss:.2f}, not near 0 ({got.start:.2f} at the start).",
            "the model separates these rows, and cannot become sure of them",
            "check in this order: what limits the logits, the loss, the frozen weights, train.weight_decay, "
            "model.dropout, the learning rate",
            batch.ids,
        )
    else:
        result.fail(
            f"after {count} updates on {len(batch)} rows, accuracy on them is only {got.accuracy:.0%}; loss "
            f"{got.curve}.{blame}",
            "a model that cannot memorize 16 rows does not learn from thousands",
            "; ".join(remedies)
            or "check the learning rate, the frozen weights, the loss and the decoded inputs, in this order",
            batch.ids,
        )


def _harmful_alone(run: TrainingRun, fails: Callable[[Mapping[str, Trick]], bool]) -> list[Trick]:
    """The tricks with which alone something fails that works without any trick on the step."""
    candidates = step_tricks(run)
    if not candidates or fails({}):
        return []
    return [trick for name, trick in candidates.items() if fails({name: trick})]


@check("learning")
def learning_rate_range(subject: Subject, result: CheckResult) -> None:
    """The learning rate is below those at which the loss explodes (one update each from 1e-7 to 1)."""
    _require_updates(subject)
    rates = np.geomspace(1e-7, 1.0, RATES)
    losses = _losses_by_rate(subject, rates, subject.run.tricks)
    result.add_inspected(len(losses), "rates")
    start, configured = float(np.mean(losses[:5])), subject.config.train.learning_rate
    exploding = _first_exploding(rates, losses)
    if exploding is None or configured < 0.5 * exploding:
        message = (
            f"the loss explodes from {exploding:.1e} on"
            if exploding
            else f"the loss does not explode up to {rates[len(losses) - 1]:.1e}"
        )
        result.note(f"{message}; train.learning_rate={configured:g}.")
        return

    def explodes(tricks: Mapping[str, Trick]) -> bool:
        rate = _first_exploding(rates, _losses_by_rate(subject, rates, tricks))
        return rate is not None and configured >= 0.5 * rate

    harmful = _harmful_alone(subject.run, explodes)
    blame = f" Without {', '.join(trick.name for trick in harmful)} it does not." if harmful else ""
    result.warn(
        f"from a learning rate of {exploding:.1e} on, the loss rises above {start:.2f}; "
        f"train.learning_rate={configured:g}.{blame}",
        "training diverges or stalls",
        "; ".join(weaken(trick, subject.config) for trick in harmful)
        or f"train.learning_rate={min(usual_learning_rate(subject.config.model), exploding / 10):g}",
    )


def _losses_by_rate(subject: Subject, rates: np.ndarray, tricks: Mapping[str, Trick]) -> list[float]:
    """The loss before each of some updates at rising learning rates, with some of the tricks on the step."""
    losses: list[float] = []
    with subject.restore_after() as run, only_tricks(run, tricks):
        batches = run.seams.batches(run.train, 0)
        began = time.perf_counter()
        for number, rate in enumerate(rates):
            if time.perf_counter() - began > SECONDS:
                break
            for group in run.optimizer.param_groups:
                group["lr"] = rate
            losses.append(make_step(run, batches[number % len(batches)].to(run.accelerator.device)))
    return losses


def _first_exploding(rates: np.ndarray, losses: Sequence[float]) -> float | None:
    """The lowest rate after which the loss is far above its start; None if there is none."""
    start = float(np.mean(losses[:5]))
    return next(
        (float(rate) for rate, loss in zip(rates, losses, strict=False) if not np.isfinite(loss) or loss > 1.5 * start),
        None,
    )


@check("learning")
def speed(subject: Subject, result: CheckResult) -> None:
    """How long an update and the full run take, and which part of an update takes longest."""
    with subject.restore_after() as run:
        batches = run.seams.batches(run.train, 0)
        count = min(5, len(batches))
        seconds = {"data": 0.0, "gradient": 0.0, "update": 0.0}
        for number in range(count):
            marks = [time.perf_counter()]
            batch = batches[number].to(run.accelerator.device)
            marks.append(time.perf_counter())
            run.seams.gradient(batch)
            _synchronize(run)
            marks.append(time.perf_counter())
            run.seams.update()
            _synchronize(run)
            marks.append(time.perf_counter())
            for name, before, after in zip(seconds, marks, marks[1:], strict=False):
                seconds[name] += (after - before) / count
    result.add_inspected(count, "updates")
    total = sum(seconds.values())
    parts = ", ".join(f"{name} {value / total:.0%}" for name, value in seconds.items())
    result.note(f"{total:.3f} s per update ({parts}); {total * subject.run.total_updates / 60:.1f} min in total.")
    if seconds["data"] > 0.3 * total:
        result.warn(
            f"{seconds['data'] / total:.0%} of an update is spent on collating the batch.",
            "the model waits for data",
            "leave out the trick that forms the batches, or cache what it computes",
        )


@check("learning")
def longest_batch(subject: Subject, result: CheckResult) -> None:
    """A batch of the longest rows fits into memory, in training and in evaluation."""
    run, size = subject.run, subject.config.train.batch_size
    longest = np.sort(np.argsort(-run.train.lengths, kind="stable")[:size])
    predicted = np.sort(by_length(run.validation.lengths, run.validation.counts, 2 * size)[0])
    with subject.restore_after():
        _check_memory(result, subject, "training", run.train.collate(longest, 0, 0), run.seams.gradient)
    with evaluating(run.bare_model):
        _check_memory(result, subject, "evaluation", run.validation.collate(predicted, 0, 0), run.seams.predict)
    if run.accelerator.device.type == "cpu":
        result.note("on a CPU this cannot be measured: the system kills a process that takes too much memory.")


@check("learning")
def metric(subject: Subject, result: CheckResult) -> None:
    """Predictions are finite, and evaluate.metric is not already high before training."""
    subject.require_finite_values()
    run = subject.run
    name = run.config.evaluate.metric
    rows = run.validation.examples
    # At random: a file is often sorted by label.
    random = np.random.default_rng(0)
    sample = run.encode_rows(rows.select(_sample_with_all_labels(rows["label"][:], random)))
    result.add_inspected(len(sample), "validation rows")
    try:
        predictions = run.predictions(sample)
    except Diverged:
        names = " or ".join(seams.tricks_around("predict", run.tricks))
        result.fail(
            f"the predictions for {len(sample)} validation rows contain NaN or inf, though the logits do not.",
            "no evaluation can be scored, and the run ends at the first one",
            f"leave out {names}, which changes predictions" if names else "check the model's logits for these rows",
        )
        return
    scores = measure(predictions, [name])
    if name not in scores:
        raise Skip(f"{name} has no value before training")
    shuffled = (random.permutation(len(predictions.labels)) for _ in range(SHUFFLES))
    chance = [
        measure(replace(predictions, labels=[predictions.labels[row] for row in order]), [name]).get(name, scores[name])
        for order in shuffled
    ]
    usual = float(np.mean(chance))
    message = f"before training {name} is {scores[name]:.4f}; with shuffled labels {usual:.4f}"
    # Half of the way from chance to a perfect score.
    if not is_lower_better(name) and scores[name] > max(*chance, usual + 0.5 * (1 - usual)):
        result.warn(
            f"{message}.",
            "the input contains the label, or the model was trained on these rows before",
            "check the decoded inputs (`inputs`), and that model.name is no model that was trained on this data",
        )
    else:
        result.note(f"{message}.")


def _sample_with_all_labels(labels: Sequence[Any], random: np.random.Generator) -> np.ndarray:
    """Random rows, in their order, with one of each label: some metrics are not defined without."""
    order = random.permutation(len(labels))
    first = {str(labels[row]): row for row in order[::-1]}
    in_turn = dict.fromkeys([*list(first.values())[:METRIC_ROWS], *order])
    return np.sort(np.array(list(in_turn)[:METRIC_ROWS]))


@check("learning")
def resuming(subject: Subject, result: CheckResult) -> None:
    """A checkpoint restores exactly the weights that were saved."""
    run = subject.run
    if subject.scratch is None:
        raise Skip("the run has its own checkpoints")
    with subject.restore_after():
        batches = run.seams.batches(run.train, 0)
        run.seams.gradient(batches[0].to(run.accelerator.device))
        run.seams.update()
        run.batches_done += 1
        run.checkpoints.save(run.batches_done, *state.capture(run))
        before = {name: each.detach().clone() for name, each in run.bare_model.state_dict().items()}
        if len(batches) > 1:
            run.seams.gradient(batches[1].to(run.accelerator.device))
            run.seams.update()
        tensors, counters, _ = run.checkpoints.newest(run.history)
        if tensors is None:
            result.add_inspected(1, "checkpoint")
            result.fail("the checkpoint cannot be read.", "a run that was stopped starts again", "check the disk")
            return
        state.restore(run, tensors, counters)
        result.add_inspected(len(before), "weights")
        now = run.bare_model.state_dict()
        if differing := [name for name in before if not torch.equal(before[name], now[name])]:
            result.fail(
                f"{len(differing)} weights differ from the saved ones, first {differing[0]}.",
                "a resumed run differs from an uninterrupted one",
                "return all that a trick adds in its state()",
            )


def _check_memory(
    result: CheckResult, subject: Subject, phase: str, batch: Batch, use: Callable[[Batch], object]
) -> None:
    """Use a batch, and halve it to its longest rows until it fits into memory."""
    run = subject.run
    result.add_inspected(len(batch), f"longest rows in {phase}")
    longest = np.argsort(-batch.lengths.numpy(), kind="stable")
    fitting, memory = len(batch), PeakMemory()
    while fitting:
        try:
            use(batch.take(longest[:fitting], 0).to(run.accelerator.device))
            break
        except torch.OutOfMemoryError:
            fitting //= 2
            run.optimizer.zero_grad()
            torch.cuda.empty_cache()
    tokens = int(batch.lengths.max())
    message = f"{phase}: memory holds {fitting} of the {len(batch)} longest rows at once ({tokens} tokens)"
    if not fitting:
        result.fail(
            f"{phase}: memory does not hold one row of {tokens} tokens.",
            "the run fails when that row comes, perhaps after hours",
            "lower data.max_length, or model.gradient_checkpointing=true",
        )
    elif fitting == len(batch):
        peak = memory.cost(run.accelerator.device)["peak_memory_mb"]
        result.note(f"{message}; the peak memory of the process was {peak:,.0f} MB.")
    elif phase == "training":
        result.fail(
            f"{message}.",
            "training fails when such a batch comes, perhaps after hours",
            subject.remedies("batch_out_of_memory", otherwise=f"train.batch_size={fitting}", rows=fitting),
        )
    else:
        result.note(f"{message}.", "evaluation halves its batches by itself")


def _synchronize(run: TrainingRun) -> None:
    if run.accelerator.device.type == "cuda":
        torch.cuda.synchronize()
