"""Plan the shapes of a run: to how many rows and tokens its parts are padded, and which shapes are recorded.

The plan follows from the lengths of all rows that the run will read, in every epoch. It never depends on what has
happened so far, so a resumed run has the same plan.

Wide steps make few shapes and much padding. The step is chosen that costs least. Costs are counted in tokens: those
that the GPU computes, and those that it could have computed while the CPU launched a pass kernel by kernel.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

ROWS = 8
"""Rows are padded to a multiple of this."""
STEPS = (8, 16, 32, 64, 128)
"""Widths are padded to a multiple of one of these."""
MOST = 16
"""Shapes that are recorded. Each takes memory for its inputs and activations."""
LAUNCH = 7e9
"""Weights times tokens that the GPU computes while the CPU launches the kernels of one weight.

An estimate from an H100: a pass of BERT-base, with 199 weights of 86 million values, takes as long to launch as to
compute 16,000 tokens; one of MiniLM, with as many kernels a layer and an eighth of the work, 60,000.
"""
RECORDING = 4
"""Passes that a recording costs: two to warm up, one that is recorded, and the work around them."""

Shape = tuple[int, int]
"""Rows and tokens of a part."""


@dataclass(frozen=True)
class Plan:
    """The shapes of a run."""

    step: int
    """Widths are padded to a multiple of it."""
    widest: int
    """But not beyond this, the most tokens that the model reads."""
    recorded: frozenset[Shape] = frozenset()
    """The padded shapes that are recorded; parts of other shapes are launched kernel by kernel."""
    rows: int = ROWS
    """Rows are padded to a multiple of it."""
    fraction: float = 0.0
    """Of the planned parts, those with a shape that is recorded."""

    def pad(self, shape: Shape) -> Shape:
        """The shape to which a part is padded."""
        rows, width = shape
        return _round_up(rows, self.rows), max(width, min(_round_up(width, self.step), self.widest))

    def without_recordings(self) -> "Plan":
        """The same widths where nothing is recorded. Rows need no padding then."""
        return replace(self, recorded=frozenset(), rows=1, fraction=0.0)


def plan_shapes(parts: Mapping[Shape, int], widest: int, launch: int) -> Plan:
    """Choose the step of the widths, and the shapes that are worth recording.

    Args:
        parts: how often each shape occurs in the whole run.
        widest: the most tokens that the model reads.
        launch: tokens that the GPU computes while the CPU launches a pass.
    """
    return min((_plan_with(step, parts, widest, launch) for step in STEPS), key=lambda planned: planned[0])[1]


def _plan_with(step: int, parts: Mapping[Shape, int], widest: int, launch: int) -> tuple[int, Plan]:
    """The cost, in tokens, and the plan with this step."""
    plan, counts = Plan(step, widest), Counter[Shape]()
    for shape, count in parts.items():
        counts[plan.pad(shape)] += count
    launched = {shape: max(shape[0] * shape[1], launch) for shape in counts}
    gains = {
        shape: count * (launched[shape] - shape[0] * shape[1]) - RECORDING * launched[shape]
        for shape, count in counts.items()
    }
    recorded = sorted((shape for shape in gains if gains[shape] > 0), key=lambda shape: (-gains[shape], shape))[:MOST]
    cost = sum(count * launched[shape] for shape, count in counts.items()) - sum(map(gains.__getitem__, recorded))
    fraction = sum(map(counts.__getitem__, recorded)) / max(1, counts.total())
    return cost, Plan(step, widest, frozenset(recorded), fraction=fraction)


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step
