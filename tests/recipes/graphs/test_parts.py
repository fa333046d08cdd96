"""The parts of updates: what is padded, recorded, replayed and counted, and what happens when recording fails."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from recipes.data.batch import Batch, Loss
from recipes.graphs.parts import PaddedParts, Parts
from recipes.graphs.recording import Pass
from recipes.graphs.shapes import Plan
from tests.recipes.graphs.test_padding import make_part


def make_run() -> Any:
    said: list[str] = []
    return SimpleNamespace(
        said=said,
        say=said.append,
        rows_passed=0.0,
        parts_passed=0,
        parameters=[],
        train=SimpleNamespace(padding=SimpleNamespace(values={"input_ids": 1})),
        accelerator=SimpleNamespace(device=torch.device("cpu")),
    )


def make_work(run: Any, events: list[str]) -> Pass:
    """A pass that is run twice over its rows, as with two forward passes."""

    def work(part: Batch) -> Loss:
        events.append(f"run {tuple(part.inputs['input_ids'].shape)}")
        run.rows_passed += 2 * len(part)
        return Loss(part.weights.sum(), 0.0)

    return work


def make_recorder(events: list[str], error: Exception | None = None) -> Callable[[Pass, Batch], Pass]:
    def record(work: Pass, part: Batch) -> Pass:
        events.append("record")
        loss = work(part)
        if error is not None:
            raise error

        def replay(other: Batch) -> Loss:
            events.append("replay")
            return loss

        return replay

    return record


PLAN = Plan(step=4, widest=8, recorded=frozenset({(8, 4)}))


def test_without_graphs_a_part_runs_as_it_comes() -> None:
    run, events = make_run(), list[str]()
    loss = Parts().run(make_part(), make_work(run, events), lambda: events.append("seed"))
    assert events == ["seed", "run (2, 3)"]
    assert float(loss.composed) == 2
    assert Parts().cost() == {"graphs": False}


def test_a_part_is_recorded_once_and_replayed_with_a_seed_right_before() -> None:
    run, events = make_run(), list[str]()
    parts = PaddedParts(run, PLAN, make_recorder(events))
    for _ in range(2):
        parts.run(make_part(), make_work(run, events), lambda: events.append("seed"))
    assert events == ["record", "run (8, 4)", "seed", "replay", "seed", "replay"]
    assert run.rows_passed == 8  # two rows, passed twice in two updates; neither padding nor the recording counts
    assert parts.cost() == {"graphs": True, "recordings": 1}


def test_another_shape_or_kind_of_part_is_another_matter() -> None:
    """A wide part is rare and runs; one without partners has a recording of its own."""
    run, events = make_run(), list[str]()
    parts = PaddedParts(run, PLAN, make_recorder(events))
    wide = replace(make_part(), partners=(), inputs={"input_ids": torch.ones(2, 5, dtype=torch.long)}, carried={})
    for part in (make_part(), replace(make_part(), partners=()), wide):
        parts.run(part, make_work(run, events), lambda: None)
    assert events == ["record", "run (8, 4)", "replay", "record", "run (8, 4)", "replay", "run (8, 8)"]
    assert run.rows_passed == 12
    assert parts.cost() == {"graphs": "partial", "recordings": 2}


@pytest.mark.parametrize(
    "error", [RuntimeError("operation not permitted when stream is capturing\nmore"), torch.OutOfMemoryError("full")]
)
def test_where_a_pass_cannot_be_recorded_all_go_on_without(error: Exception) -> None:
    run, events = make_run(), list[str]()
    parts = PaddedParts(run, PLAN, make_recorder(events, error))
    for _ in range(2):
        parts.run(make_part(), make_work(run, events), lambda: events.append("seed"))
    assert events == ["record", "run (8, 4)", "seed", "run (8, 4)", "seed", "run (8, 4)"]
    assert len(run.said) == 1 and str(error).split("\n")[0] in run.said[0] and "more" not in run.said[0]
    assert run.rows_passed == 8
    assert parts.cost() == {"graphs": False, "recordings": 0}


def test_a_bug_in_a_pass_is_no_failure_to_record() -> None:
    parts = PaddedParts(make_run(), PLAN, make_recorder([], ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        parts.run(make_part(), make_work(make_run(), []), lambda: None)


def test_nothing_of_a_closed_run_stays() -> None:
    run, events = make_run(), list[str]()
    parts = PaddedParts(run, PLAN, make_recorder(events))
    parts.run(make_part(), make_work(run, events), lambda: None)
    parts.close()
    assert not parts.replays and parts.recorder is None
    parts.run(make_part(), make_work(run, events), lambda: None)  # a diagnosis after the end
    assert events[-1] == "run (8, 4)"
    assert parts.cost()["recordings"] == 1
