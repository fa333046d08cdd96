"""The seams: which functions a trick may wrap, in which order, and which tricks exclude each other.

The training step is one nested call: `update` after `gradient`, which calls `objective`, which calls `loss`. A trick
wraps the function that it is about, so most questions of order are answered by *which* function is wrapped. The order
of two tricks inside one seam stands in `SEAMS` and nowhere else. Outer slots choose *what* is optimized, inner slots
choose *how* it is computed:

- `examples`: join other data first, so that it is treated like the rest. Then drop rows, so that no variant is made of
  a dropped row, and judge labels, which duplicates would confirm. Add after that, so that added rows are not rewritten.
  Annotate last, so that added rows are too.
- `model`: measure what every other trick leaves of it. Load first, then reshape, then change what is trained. Adapters
  are attached outside them: a loaded model has none.
- `pretrain`: adapt to the language of the texts first, then pull classes apart, which is closer to the task.
- `objective`: mix once, and compare two passes over the same mixture. Extra terms see each pass.
- `loss`: draw samples of the prediction, then change the targets, then weigh them, then measure.
- `gradient`: plan for the whole batch, then choose the point where the gradient is taken, then split to fit in memory.
  An attack outside the split takes its direction from the whole batch. Inside, it would be another algorithm for every
  part size.
- `update`: clip right before the step; average the weights after it.
- `weights`: one owner, otherwise one average silently discards the other.
- `settle`: calibrate first, so that decisions are fitted to calibrated probabilities.
- `train`: choose the data first, then how many models are trained on it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any, ClassVar, Protocol, TypeVar, cast

from recipes.errors import UserError


class Wrapper(Protocol):
    """The part of a trick that decides its order and what it excludes (`recipes.trick.Trick`)."""

    slots: ClassVar[Mapping[str, str]]
    sets: ClassVar[Mapping[str, Any]]

    def excludes(self) -> Mapping[str, str]:
        """Slots that must stay empty next to this trick, each as `seam/slot`, and why."""


Kind = TypeVar("Kind", bound=Wrapper)
Seam = TypeVar("Seam", bound=Callable[..., Any])

# Outermost slot first. A star means that one trick at a time may fill the slot. In a slot without a star tricks commute
# and apply in name order, so the order of `+tricks=[...]` never matters.
SEAMS: Mapping[str, Sequence[str]] = {
    "clean": ["clean"],
    "examples": ["join", "drop", "judge", "rewrite", "add", "annotate"],
    "encode": ["cut*"],
    "batches": ["batches*"],
    "model": ["measure", "attach*", "load", "reshape", "adapt", "freeze"],
    "optimizer": ["optimizer"],
    "schedule": ["schedule"],
    "pretrain": ["classes", "language"],
    "accelerator": ["accelerator"],
    "loss": ["sample", "targets", "weighting", "criterion*"],
    "objective": ["mix*", "compare", "term"],
    "gradient": ["plan", "sharpen*", "attack*", "split*"],
    "update": ["average", "slow", "clip"],
    "weights": ["final*"],
    "settle": ["decide*", "calibrate*"],
    "predict": ["vote"],
    "decide": ["decide*"],
    "results": ["results"],
    "train": ["data", "train*"],
}

# The seams that act whenever texts are predicted, long after training too.
PREDICTING = ("clean", "encode", "predict", "decide")

STAGES: Mapping[str, Sequence[str]] = {
    "pre_training": ["clean", "examples", "encode", "batches", "model", "optimizer", "schedule", "pretrain"],
    "in_training": ["accelerator", "loss", "objective", "gradient", "update"],
    "post_training": ["weights", "settle", "predict", "decide", "results", "train"],
}


def slots_of(seam: str) -> dict[str, bool]:
    """The slots of a seam, outermost first, and whether only one trick at a time may fill each."""
    return {slot.rstrip("*"): slot.endswith("*") for slot in SEAMS[seam]}


def tricks_around(seam: str, tricks: Mapping[str, Wrapper]) -> list[str]:
    """The names of the tricks that wrap a seam, outermost first."""
    ranks = list(slots_of(seam))
    wrapping = [name for name in tricks if seam in tricks[name].slots]
    return sorted(wrapping, key=lambda name: (ranks.index(tricks[name].slots[seam]), name))


def is_plain(tricks: Mapping[str, Wrapper]) -> bool:
    """Whether no trick changes what is minimized, so that the loss is the cross-entropy of the model's output."""
    return not (tricks_around("loss", tricks) or tricks_around("objective", tricks))


def compose(seam: str, base: Seam, tricks: Mapping[str, Wrapper], run: object) -> Seam:
    """Wrap the base function of a seam in every trick that overrides it.

    Args:
        seam: its name.
        base: its function without tricks, which is returned as it is where no trick wraps it.
        tricks: the selected tricks by name.
        run: what each trick is given as its first argument.
    """
    function: Any = base
    for name in reversed(tricks_around(seam, tricks)):
        function = partial(getattr(tricks[name], seam), run, function)
    return cast(Seam, function)


def deciding_tricks(tricks: Mapping[str, Kind]) -> dict[str, Kind]:
    """The tricks that decide the answer. In an ensemble they decide for all models together, not for each."""
    return {
        name: trick
        for name, trick in tricks.items()
        if "decide" in trick.slots or trick.slots.get("settle") == "decide"
    }


def wrapped_seams(tricks: Mapping[str, Wrapper]) -> dict[str, list[str]]:
    """The tricks around each seam that has any, outermost first."""
    return {seam: names for seam in SEAMS if (names := tricks_around(seam, tricks))}


def stage_of(slots: Iterable[str]) -> str:
    """The folder of a trick: that of the last stage it acts in."""
    return [stage for stage, seams in STAGES.items() if set(seams) & set(slots)][-1]


def refusals(tricks: Mapping[str, Wrapper]) -> list[str]:
    """One sentence, with the remedy, for each pair of tricks that cannot be on together."""
    sentences = []
    for seam in SEAMS:
        for slot, single in slots_of(seam).items():
            names = _filling(seam, slot, tricks)
            if single and len(names) > 1:
                sentences.append(_refusal(names, f"both fill {seam}/{slot}, which holds one trick at a time"))
    for name in sorted(tricks):
        for address, why in tricks[name].excludes().items():
            seam, _, slot = address.partition("/")
            pairs = [sorted((name, other)) for other in _filling(seam, slot, tricks) if other != name]
            sentences += [_refusal(pair, f"exclude each other: {why}") for pair in pairs]
    for pair in combinations(sorted(tricks), 2):
        one, other = (tricks[name].sets for name in pair)
        different = [path for path in one if path in other and one[path] != other[path]]
        sentences += [_refusal(pair, f"set {path} to different values") for path in different]
    return sentences


def _filling(seam: str, slot: str, tricks: Mapping[str, Wrapper]) -> list[str]:
    """The tricks in a slot of a seam."""
    return sorted(name for name in tricks if tricks[name].slots.get(seam) == slot)


def _refusal(names: Sequence[str], why: str) -> str:
    remedy = " or ".join(f"+tricks=[{name}]" for name in names)
    return f"tricks {' and '.join(names)} {why}; keep one of them: {remedy}."


def check(tricks: Mapping[str, Wrapper]) -> None:
    """Raise `UserError` when tricks exclude each other."""
    if sentences := refusals(tricks):
        raise UserError(*sentences)
