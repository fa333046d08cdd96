"""Run the parts of updates: each as it comes, or padded to a planned shape and replayed where the shape is recorded."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from recipes.data.batch import Batch, Loss
from recipes.graphs.padding import pad_part, tensors_of
from recipes.graphs.recording import Pass, Recorder, as_if_captured
from recipes.graphs.shapes import Plan

if TYPE_CHECKING:
    from recipes.trick import Run

NEARLY_ALL = 0.9
"""From this fraction of replayed parts on, the time of a run is that of replayed parts."""


class Parts:
    """Runs every part as it comes."""

    def run(self, part: Batch, work: Pass, seed: Callable[[], None]) -> Loss:
        """Run one part.

        Args:
            part: the part.
            work: its forward and backward pass.
            seed: seeds the draws of the part; called once, right before the pass.
        """
        seed()
        return work(part)

    def close(self) -> None:
        """Free what belongs to the run."""

    def cost(self) -> dict[str, Any]:
        """For `metrics.json`: whether parts were replayed, as true, false or `partial`."""
        return {"graphs": False}


class PaddedParts(Parts):
    """Pads every part to its planned shape, and replays it if the shape is one of those that are recorded.

    Padding and draws are the same for a part that is replayed and one that is not.

    Args:
        run: the run; its padding is used, and its count of rows is kept right.
        plan: the shapes.
        recorder: records passes; None: nothing is replayed.
    """

    def __init__(self, run: "Run", plan: Plan, recorder: Recorder | None) -> None:
        self.host, self.plan, self.recorder = run, plan, recorder
        self.replays: dict[Any, tuple[Pass, float]] = {}
        self.passed = self.replayed = self.recordings = 0

    def run(self, part: Batch, work: Pass, seed: Callable[[], None]) -> Loss:
        """Pad one part, and replay or run it."""
        run, before = self.host, self.host.rows_passed
        shape = self.plan.pad((len(part), part.inputs["input_ids"].shape[1]))
        padded = pad_part(part, *shape, run.train.padding.values)
        with as_if_captured():
            replay = self._find(padded, work) if self.recorder and shape in self.plan.recorded else None
            seed()
            if replay is None:
                loss = work(padded)
                passes = (run.rows_passed - before) / len(padded)
            else:
                pass_again, passes = replay
                loss = pass_again(padded)
        # Rows that were added do not count, and a replay counts nothing by itself.
        run.rows_passed = before + passes * len(part)
        self.passed += 1
        self.replayed += replay is not None
        return loss

    def _find(self, padded: Batch, work: Pass) -> tuple[Pass, float] | None:
        """The replay of such a part, and how often it passes each row; recorded now if it is the first one."""
        tensors = tensors_of(padded)
        # One shape may have several kinds of parts, such as those with and without partners.
        signature = [(name, each.shape, each.dtype, each.requires_grad) for name, each in tensors.items()]
        key = (*signature, *(each.requires_grad for each in self.host.parameters))
        if key not in self.replays and (failure := self._record(key, padded, work)):
            # Only here, outside of `except`, are the tensors of the failed attempt free.
            self.close()
            self.host.say(
                f"train.cuda_graphs: a pass of {len(padded)} rows cannot be recorded ({failure}), so from here on "
                "passes are launched kernel by kernel: slower, with the same padding and draws."
            )
        return self.replays.get(key)

    def _record(self, key: Any, padded: Batch, work: Pass) -> str:
        """Record a pass; return why it failed, or nothing."""
        assert self.recorder is not None
        run, counts = self.host, (self.host.rows_passed, self.host.parts_passed)
        passes: list[float] = []

        def count(part: Batch) -> Loss:
            before = run.rows_passed
            loss = work(part)
            passes.append((run.rows_passed - before) / len(part))
            return loss

        try:
            self.replays[key] = self.recorder(count, padded), passes[-1]
            self.recordings += 1
        # Whatever CUDA does not allow in a capture is one, such as an operation that waits for the device.
        except RuntimeError as error:
            return str(error).strip().split("\n")[0].rstrip(". ") or type(error).__name__
        finally:
            run.rows_passed, run.parts_passed = counts
        return ""

    def close(self) -> None:
        """Free all recordings; from here on nothing is replayed."""
        self.recorder = None
        self.replays.clear()
        if self.host.accelerator.device.type == "cuda":
            torch.cuda.empty_cache()

    def cost(self) -> dict[str, Any]:
        """Whether parts were replayed, and how many kinds of parts were recorded."""
        fraction = self.replayed / max(1, self.passed)
        graphs = True if fraction >= NEARLY_ALL else "partial" if fraction else False
        return {"graphs": graphs, "recordings": self.recordings}
