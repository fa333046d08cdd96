"""Checks of the tricks: settings without effect, combinations that rarely help, and the cost of an update."""

import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from recipes import seams
from recipes.data.batch import Batch
from recipes.data.batching import Batches
from recipes.doctor.alone import only_tricks
from recipes.doctor.findings import CheckResult, Skip
from recipes.doctor.registry import check
from recipes.doctor.stages import is_trained_before_updates
from recipes.doctor.subject import Subject
from recipes.loop import TrainingRun
from recipes.runtime.memory import measure_saved_tensors

# Two slots ("seam/slot") whose tricks work together but rarely help together, with the consequence and its source, the
# remedy, and a finding whose remedies help if calibrated probabilities are needed.
# `recipes.seams` refuses tricks that cannot work together; `Trick.check` reports settings without effect.
RARELY_HELPFUL: Mapping[tuple[str, str], tuple[str, str, str | None]] = {
    ("gradient/attack", "objective/compare"): (
        "passes multiply; on two data sets, one of them with the same number of passes scored as high or higher",
        "one of them, with more updates (docs/evidence/short_runs.md)",
        None,
    ),
    ("examples/add", "examples/add"): (
        "one makes variants of the other's variants, so rows multiply, and an ablation cannot separate their effects",
        "one of them (docs/evidence/short_runs.md: at equal updates neither variants nor repeated rows helped)",
        None,
    ),
    ("objective/mix", "loss/targets"): (
        "targets are softened twice, since mixing alone acts like label smoothing (Carratino et al. 2022, On "
        "Mixup Regularization, arXiv 2006.06049)",
        "one of them",
        "overconfidence",
    ),
    ("train/train", "objective/mix"): (
        "averages of models with soft targets are underconfident: higher accuracy, worse calibration (Wen et al. 2021, "
        "Combining Ensembles and Data Augmentation Can Harm Your Calibration, arXiv 2010.09875)",
        "one of them, if calibrated probabilities are needed",
        None,
    ),
}
IN_UPDATES = {"batches", "optimizer", "schedule", "loss", "objective", "gradient", "update", "weights"}
"""The seams that change nothing where no update changes a weight."""
UPDATES_TIMED = 4


@check("tricks", cheap=True)
def ineffective_tricks(subject: Subject, result: CheckResult) -> None:
    """Every trick has an effect with its settings in this run."""
    run = subject.run
    if not run.tricks:
        raise Skip("no trick is on")
    result.add_inspected(len(run.tricks), "tricks")
    has_updates = not is_trained_before_updates(subject.config)
    for name, trick in run.tricks.items():
        acting = {seam for seam, slot in trick.slots.items() if slot not in ("measure", "annotate")}
        if not has_updates and acting <= IN_UPDATES:
            result.warn(
                f"{name} does nothing at train.learning_rate=0.",
                "it acts in updates, and training is a stage before them",
                f"leave out {name}",
            )
        neutral = {} if isinstance(trick.neutral, str) else trick.neutral
        neutral = {field: value for field, value in neutral.items() if "." not in field}
        is_neutral = all(getattr(trick, field, None) == value for field, value in neutral.items())
        # What judges rows reports them also where it changes nothing.
        if is_neutral and not isinstance(trick.neutral, str) and "judge" not in trick.slots.values():
            values = ", ".join(f"tricks.{name}.{field}={value}" for field, value in neutral.items())
            result.warn(f"{name} does nothing at {values}.", "it is on and has no effect", f"leave out {name}")
        for sentence in trick.check(run):
            message, _, remedy = sentence.partition("; ")
            result.warn(f"{message.rstrip('.')}.", f"{name} has no effect, or a harmful one", remedy.rstrip("."))


@check("tricks", cheap=True)
def trick_pairs(subject: Subject, result: CheckResult) -> None:
    """No two tricks are on that rarely help together."""
    tricks = subject.run.tricks
    if len(tricks) < 2:
        raise Skip("there are fewer than two tricks")
    pairs = list(combinations(sorted(tricks), 2))
    result.add_inspected(len(pairs), "pairs")
    slots_of_trick = {name: {f"{seam}/{slot}" for seam, slot in trick.slots.items()} for name, trick in tricks.items()}
    for one, other in pairs:
        slots, other_slots = slots_of_trick[one], slots_of_trick[other]
        for (first, second), (consequence, remedy, finding) in RARELY_HELPFUL.items():
            if (first in slots and second in other_slots) or (second in slots and first in other_slots):
                if finding and (tricks_for_finding := subject.remedies(finding)):
                    remedy = f"{remedy}; or {tricks_for_finding}, if calibrated probabilities are needed"
                result.note(f"{one} and {other} rarely help together.", consequence, remedy)


@check("tricks", cheap=True)
def passes_per_update(subject: Subject, result: CheckResult) -> None:
    """How many forward and backward passes an update takes, and which tricks wrap each seam."""
    run = subject.run
    if not run.tricks:
        raise Skip("no trick is on")
    result.add_inspected(len(run.tricks), "tricks")
    passes = {name: trick.passes for name, trick in run.tricks.items() if trick.passes != 1}
    if passes:
        product = math.prod(passes.values())
        factors = ", ".join(f"{name} {count:g}" for name, count in passes.items())
        result.note(f"{product:g} forward and backward passes per update with the default settings ({factors}).")
    wrapped = seams.wrapped_seams(run.tricks)
    result.note("; ".join(f"{seam}: {' > '.join([*names, 'base'])}" for seam, names in wrapped.items()))


@check("tricks")
def update_cost(subject: Subject, result: CheckResult) -> None:
    """Passes, time and memory of an update, relative to the same batches without tricks on the step."""
    if not subject.run.tricks:
        raise Skip("no trick is on")
    with subject.restore_after() as run:
        # The middle of training: some tricks do nothing during warm-up, or before their start.
        run.updates = run.total_updates // 2
        batches = run.seams.batches(run.train, 0)
        cost = _measure_cost(run, batches)
        with only_tricks(run, {}):
            plain = _measure_cost(run, batches)
    result.add_inspected(UPDATES_TIMED, "updates with the tricks, and as many without")
    result.note(
        f"an update takes {cost.passes / plain.passes:.1f} times the passes, {cost.seconds / plain.seconds:.1f} times "
        f"the time ({cost.seconds:.3g} s) and {cost.saved_bytes / plain.saved_bytes:.1f} times the memory for tensors "
        f"saved for the backward pass ({cost.saved_bytes / 2**20:,.1f} MB)."
    )


@dataclass(frozen=True)
class _Cost:
    """The cost of an update: rows passed through the model, median seconds, and peak bytes saved for backward."""

    passes: float
    seconds: float
    saved_bytes: int


def _measure_cost(run: TrainingRun, batches: Batches) -> _Cost:
    rows_before = run.rows_passed
    with measure_saved_tensors(run.parameters) as peak_bytes:
        _time_update(run, batches[0])  # not timed: it warms up, and counting memory takes time
    seconds = [_time_update(run, batches[number % len(batches)]) for number in range(UPDATES_TIMED)]
    return _Cost(run.rows_passed - rows_before, statistics.median(seconds), peak_bytes())


def _time_update(run: TrainingRun, batch: Batch) -> float:
    began = time.perf_counter()
    run.seams.gradient(batch.to(run.accelerator.device))
    run.seams.update()
    float(run.grad_norm)  # wait for the GPU
    return time.perf_counter() - began
