"""Learning: whether the whole of it can, and what it takes."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from recipes import state
from recipes.base import evaluating
from recipes.data.batch import Batch
from recipes.data.batching import by_length
from recipes.doctor.findings import CheckResult, Skip
from recipes.doctor.registry import check
from recipes.doctor.subject import Subject
from recipes.loop import TrainingRun
from recipes.metrics import LOWER_IS_BETTER, measure
from recipes.runtime.memory import PeakMemory

FEWEST_UPDATES, MOST_UPDATES = 50, 300
SECONDS = 60.0
RATES = 20


@check("learning")
def overfitting_one_batch(subject: Subject, result: CheckResult) -> None:
    """Learning one small batch, with every label in it, by heart."""
    rows = _one_batch(subject)
    batch = subject.batch(rows)
    result.at(len(rows), "rows")
    curve: list[float] = []
    with subject.kept() as run:
        began = time.perf_counter()
        for group in run.optimizer.param_groups:
            group["lr"] = max(group["lr"], 1e-4) if group["lr"] else 0.0
        shares = [0.0]
        while len(curve) < MOST_UPDATES and time.perf_counter() - began < SECONDS and shares[-1] < 1:
            # Another place in the epoch is another draw of dropout: one mask alone could be learnt by heart too.
            curve.append(_stepped(run, replace(batch, index=len(curve))))
            if len(curve) % 5 == 0:
                shares.append(_right(run, batch))
    told = " ".join(f"{value:.2f}" for value in curve[:: max(1, len(curve) // 8)])
    if shares[-1] >= 0.9:
        result.note(f"{len(curve)} updates: {shares[-1]:.0%} right; the loss went {told}.")
    elif not np.isfinite(curve[-1]):
        result.fail(
            f"the loss is no number after {len(curve)} updates on {len(rows)} rows ({told}).",
            "training diverges",
            "lower train.learning_rate",
        )
    elif len(curve) < FEWEST_UPDATES:
        raise Skip(f"{SECONDS:g} s are {len(curve)} updates, too few to tell; the loss went {told}")
    else:
        result.fail(
            f"after {len(curve)} updates on {len(rows)} rows {shares[-1]:.0%} of them are right; the loss went {told}.",
            "what cannot learn 16 rows by heart learns nothing of thousands",
            "look at the learning rate, at what is frozen, at the loss and at the decoded inputs, in this order",
            batch.ids,
        )


@check("learning")
def learning_rate_range(subject: Subject, result: CheckResult) -> None:
    """At which rates the loss falls, from 1e-7 to 1, one update each."""
    rates = np.geomspace(1e-7, 1.0, RATES)
    losses: list[float] = []
    with subject.kept() as run:
        batches = run.seams.batches(run.train, 0)
        began = time.perf_counter()
        for number, rate in enumerate(rates):
            if time.perf_counter() - began > SECONDS:
                break
            for group in run.optimizer.param_groups:
                group["lr"] = rate
            losses.append(_stepped(run, batches[number % len(batches)].to(run.accelerator.device)))
    result.at(len(losses), "rates")
    start = float(np.mean(losses[:5]))
    broken = [rate for rate, loss in zip(rates, losses, strict=False) if not np.isfinite(loss) or loss > 1.5 * start]
    own = subject.config.train.learning_rate
    if broken and own >= 0.5 * broken[0]:
        result.warn(
            f"from a rate of {broken[0]:.1e} on the loss leaves {start:.2f} upwards; train.learning_rate={own:g}.",
            "training diverges or stalls",
            f"train.learning_rate={broken[0] / 10:.1e}",
        )
    else:
        said = (
            f"the loss explodes from {broken[0]:.1e} on"
            if broken
            else f"no rate up to {rates[len(losses) - 1]:.1e} made it explode"
        )
        result.note(f"{said}; train.learning_rate={own:g}.")


@check("learning")
def speed(subject: Subject, result: CheckResult) -> None:
    """Where the time of an update goes, and what the whole run will take."""
    with subject.kept() as run:
        batches = run.seams.batches(run.train, 0)
        count = min(5, len(batches))
        spent = {"data": 0.0, "gradient": 0.0, "update": 0.0}
        for number in range(count):
            marks = [time.perf_counter()]
            batch = batches[number].to(run.accelerator.device)
            marks.append(time.perf_counter())
            run.seams.gradient(batch)
            _wait(run)
            marks.append(time.perf_counter())
            run.seams.update()
            _wait(run)
            marks.append(time.perf_counter())
            for name, before, after in zip(spent, marks, marks[1:], strict=False):
                spent[name] += (after - before) / count
    result.at(count, "updates")
    whole = sum(spent.values())
    parts = ", ".join(f"{name} {value / whole:.0%}" for name, value in spent.items())
    result.note(f"{whole:.3f} s an update ({parts}); all of them {whole * subject.run.total_updates / 60:.1f} min.")
    if spent["data"] > 0.3 * whole:
        result.warn(
            f"{spent['data'] / whole:.0%} of an update is spent on making the batch.",
            "the model waits",
            "leave out what deals the batches, or make what it computes once",
        )


@check("learning")
def longest_batch(subject: Subject, result: CheckResult) -> None:
    """The longest rows of all, trained and predicted: as many as memory holds at once."""
    run, size = subject.run, subject.config.train.batch_size
    longest = np.sort(np.argsort(-run.train.lengths, kind="stable")[:size])
    held = np.sort(by_length(run.validation.lengths, run.validation.counts, 2 * size)[0])
    with subject.kept():
        _look_at_fitting(result, subject, "training", run.train.collate(longest, 0, 0), run.seams.gradient)
    with evaluating(run.bare_model):
        _look_at_fitting(result, subject, "evaluation", run.validation.collate(held, 0, 0), run.seams.predict)
    if run.accelerator.device.type == "cpu":
        result.note("on a CPU nothing says how much fits: the system ends a process that takes too much.")


@check("learning")
def metric(subject: Subject, result: CheckResult) -> None:
    """The metric that chooses, on what the model says before training."""
    run = subject.run
    name = run.config.evaluate.metric
    rows = run.validation.examples
    few = run.encode_rows(rows.select(range(min(256, len(rows)))))
    found = run.predictions(few)
    result.at(len(few), "validation rows")
    scores = measure(found)
    if name not in scores or not np.isfinite(scores[name]):
        result.fail(
            f"evaluate.metric={name} gives no number on {len(few)} validation rows.",
            "no weights can be chosen",
            f"evaluate.metric={next(iter(scores), 'accuracy')}",
        )
        return
    result.note(f"before training {name} is {scores[name]:.4f}.")
    if name not in LOWER_IS_BETTER and scores[name] > 0.9:
        result.warn(
            f"before training {name} is {scores[name]:.4f} already.",
            "the label is given away, or known before",
            "look at the decoded inputs",
        )


@check("learning")
def resuming(subject: Subject, result: CheckResult) -> None:
    """A checkpoint that brings back exactly what was saved."""
    run = subject.run
    if subject.scratch is None:
        raise Skip("the run is under way")
    with subject.kept():
        batches = run.seams.batches(run.train, 0)
        run.seams.gradient(batches[0].to(run.accelerator.device))
        run.seams.update()
        run.batches_done += 1
        run.checkpoints.save(run.batches_done, *state.capture(run))
        before = {name: each.detach().clone() for name, each in run.bare_model.state_dict().items()}
        if len(batches) > 1:
            run.seams.gradient(batches[1].to(run.accelerator.device))
            run.seams.update()
        tensors, counters, _ = run.checkpoints.newest()
        if tensors is None:
            result.at(1, "checkpoint")
            result.fail("the checkpoint cannot be read back.", "a stopped run starts over", "look at the disk")
            return
        state.restore(run, tensors, counters)
        result.at(len(before), "weights")
        now = run.bare_model.state_dict()
        if differing := [name for name in before if not torch.equal(before[name], now[name])]:
            result.fail(
                f"{len(differing)} weights are not what was saved, first {differing[0]}.",
                "a run that was stopped goes on as another one",
                "keep what a trick adds in its state()",
            )


def _stepped(run: TrainingRun, batch: Batch) -> float:
    """Make a step at the rate that the optimizer has now, and give the loss before it."""
    run.optimizer.zero_grad()
    loss = run.seams.gradient(batch)
    torch.nn.utils.clip_grad_norm_(run.parameters, 1.0)
    run.optimizer.optimizer.step()
    return float(loss.cross_entropy)


def _look_at_fitting(
    result: CheckResult, subject: Subject, what: str, batch: Batch, use: Callable[[Batch], object]
) -> None:
    """Use a batch, or the longest half of its rows, and so on, until memory holds them."""
    run = subject.run
    result.at(len(batch), f"longest rows in {what}")
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
    told = f"{what}: memory holds {fitting} of the {len(batch)} longest rows at once ({tokens} tokens)"
    if not fitting:
        result.fail(
            f"{what}: memory does not hold one row of {tokens} tokens.",
            "the run ends when that row comes, perhaps after hours",
            "lower data.max_length, or model.gradient_checkpointing=true",
        )
    elif fitting == len(batch):
        result.note(
            f"{told}; the process held {memory.cost(run.accelerator.device)['peak_memory_mb']:,.0f} MB at most."
        )
    elif what == "training":
        result.fail(
            f"{told}.",
            "training ends when their batch comes, perhaps after hours",
            subject.remedies("batch_out_of_memory", otherwise=f"train.batch_size={fitting}", rows=fitting),
        )
    else:
        result.note(f"{told}.", "evaluation halves its batches by itself")


def _one_batch(subject: Subject) -> np.ndarray:
    """Up to 16 rows, or one of each label if there are more labels: the shortest of each."""
    run = subject.run
    labels = run.train.labels
    classes = labels.argmax(1) if labels.ndim == 2 else labels
    by_length = np.argsort(run.train.lengths, kind="stable")
    by_length = by_length[classes[by_length] >= 0]
    found = [by_length[classes[by_length] == number] for number in np.unique(classes[by_length])]
    most = max(1, 16 // max(1, len(found)))
    # Not the very shortest: two empty texts with two labels cannot be told apart.
    return np.sort(np.concatenate([rows[len(rows) // 3 :][:most] for rows in found])[:32])


def _right(run: TrainingRun, batch: Batch) -> float:
    with evaluating(run.bare_model):
        logits = run.bare_model(**batch.inputs).logits
    if run.multi_label:
        return float(((logits > 0) == (batch.targets > 0.5)).float().mean())
    return float((logits.argmax(1) == batch.targets.argmax(1)).float().mean())


def _wait(run: TrainingRun) -> None:
    if run.accelerator.device.type == "cuda":
        torch.cuda.synchronize()
