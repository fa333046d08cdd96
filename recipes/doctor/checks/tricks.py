"""The tricks: what makes them do nothing or harm, which do not gain from each other, and what they will cost."""

import math
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations

from recipes import seams
from recipes.base import training_seams
from recipes.data.batch import Batch
from recipes.data.batching import Batches
from recipes.doctor.findings import CheckResult, Skip
from recipes.doctor.registry import check
from recipes.doctor.subject import Subject
from recipes.loop import TrainingRun
from recipes.runtime.memory import measure_saved_tensors

# Two layers whose tricks work together and yet are seldom worth it: what comes of it, and what to do, with the source;
# and the finding whose remedies do too, if probabilities are to be read.
# What cannot work together is refused (`recipes.seams`), what does nothing is said by the trick itself.
SELDOM_TOGETHER: Mapping[tuple[str, str], tuple[str, str, str | None]] = {
    ("gradient/attack", "objective/compare"): (
        "passes multiply; on two data sets the same passes spent on more updates with one of them gave as much or more",
        "one of them, with more updates (docs/evidence/in-training.md)",
        None,
    ),
    ("examples/add", "examples/add"): (
        "the one makes variants of the other's variants too, so rows multiply, and an ablation cannot tell them apart",
        "one of them (docs/evidence/pre-training.md: at equal updates neither variants nor copies were seen to help)",
        None,
    ),
    ("objective/mix", "loss/targets"): (
        "targets are softened twice, for mixing alone acts as label smoothing does (Carratino et al. 2022, On "
        "Mixup Regularization, arXiv 2006.06049)",
        "one of them",
        "overconfidence",
    ),
    ("train/train", "objective/mix"): (
        "averages of models with soft targets are too unsure: better answers, worse probabilities (Wen et al. 2021, "
        "Combining Ensembles and Data Augmentation Can Harm Your Calibration, arXiv 2010.09875)",
        "one of them, if probabilities are to be read",
        None,
    ),
}
UPDATES_TIMED = 4


@check("tricks", cheap=True)
def sense(subject: Subject, result: CheckResult) -> None:
    """What each trick says against its own settings in this run."""
    run = subject.run
    if not run.tricks:
        raise Skip("no trick is on")
    result.at(len(run.tricks), "tricks")
    for name, trick in run.tricks.items():
        neutral = trick.neutral
        if not isinstance(neutral, str) and all(
            getattr(trick, field, None) == value for field, value in neutral.items() if "." not in field
        ):
            values = ", ".join(f"tricks.{name}.{field}={value}" for field, value in neutral.items() if "." not in field)
            result.warn(f"{name} does nothing at {values}.", "it is on and changes nothing", f"leave out {name}")
        for sentence in trick.check(run):
            message, _, remedy = sentence.partition("; ")
            result.warn(f"{message.rstrip('.')}.", f"{name} does nothing, or harms", remedy.rstrip("."))


@check("tricks", cheap=True)
def seldom_together(subject: Subject, result: CheckResult) -> None:
    """Pairs of tricks that are known to cost more than they bring."""
    tricks = subject.run.tricks
    if len(tricks) < 2:
        raise Skip("there are no two tricks")
    pairs = list(combinations(sorted(tricks), 2))
    result.at(len(pairs), "pairs")
    for one, other in pairs:
        ours, theirs = ({"/".join(place) for place in tricks[name].slots.items()} for name in (one, other))
        for (first, second), (consequence, remedy, finding) in SELDOM_TOGETHER.items():
            if (first in ours and second in theirs) or (second in ours and first in theirs):
                if finding and (tricks_for_it := subject.remedies(finding)):
                    remedy = f"{remedy}; or {tricks_for_it}, if probabilities are to be read"
                result.note(f"{one} and {other} are seldom worth it together.", consequence, remedy)


@check("tricks", cheap=True)
def cost(subject: Subject, result: CheckResult) -> None:
    """Passes that an update will cost."""
    run = subject.run
    if not run.tricks:
        raise Skip("no trick is on")
    result.at(len(run.tricks), "tricks")
    dear = {name: trick.passes for name, trick in run.tricks.items() if trick.passes != 1}
    if dear:
        product = math.prod(dear.values())
        each = ", ".join(f"{name} {passes:g}" for name, passes in dear.items())
        result.note(f"{product:g} forward and backward passes an update at the values of their YAML files ({each}).")
    wrapped = seams.wrapped_seams(run.tricks)
    result.note("; ".join(f"{seam}: {' > '.join([*names, 'base'])}" for seam, names in wrapped.items()))


@check("tricks")
def price(subject: Subject, result: CheckResult) -> None:
    """Passes, time and memory of an update, beside those of the same batches without what wraps the step."""
    if not subject.run.tricks:
        raise Skip("no trick is on")
    with subject.kept() as run:
        batches = run.seams.batches(run.train, 0)
        ours = _cost_of(run, batches)
        with _without_tricks(run):
            plain = _cost_of(run, batches)
    result.at(UPDATES_TIMED, "updates with the tricks, and as many without")
    result.note(
        f"an update takes {ours.passes / plain.passes:.1f} times the passes, {ours.seconds / plain.seconds:.1f} times "
        f"the time ({ours.seconds:.3g} s) and {ours.kept / plain.kept:.1f} times the memory for what waits for the "
        f"backward pass ({ours.kept / 2**20:,.1f} MB)."
    )


@dataclass(frozen=True)
class _Cost:
    """Of an update: rows passed through the model, the median seconds, and the most bytes kept for backward passes."""

    passes: float
    seconds: float
    kept: int


def _cost_of(run: TrainingRun, batches: Batches) -> _Cost:
    passed = run.rows_passed
    with measure_saved_tensors(run.parameters) as most:
        _seconds_of_update(run, batches[0])  # the first one warms up, and what counts memory takes time
    seconds = [_seconds_of_update(run, batches[number % len(batches)]) for number in range(UPDATES_TIMED)]
    return _Cost(run.rows_passed - passed, statistics.median(seconds), most())


def _seconds_of_update(run: TrainingRun, batch: Batch) -> float:
    began = time.perf_counter()
    run.seams.gradient(batch.to(run.accelerator.device))
    run.seams.update()
    float(run.grad_norm)  # a GPU has to be waited for
    return time.perf_counter() - began


@contextmanager
def _without_tricks(run: TrainingRun) -> Iterator[None]:
    """Inside this context no trick wraps a seam; what they made of the data and the model stays."""
    own, is_plain = run.seams, run.is_plain
    run.seams, run.is_plain = training_seams(run, {}), True
    try:
        yield
    finally:
        run.seams, run.is_plain = own, is_plain
