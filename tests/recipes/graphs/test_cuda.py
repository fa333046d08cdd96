"""The recorder of CUDA graphs, on a graph that repeats operations on the CPU at the addresses of the capture."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recipes.data.batch import Batch, Loss
from recipes.graphs.cuda import WARM_UPS, CudaRecorder
from recipes.graphs.padding import pad_part
from recipes.testing import (
    compute_gradients,
    difference,
    float64,
    freeze_parts,
    in_child,
    pad_parts,
    temporary_folder,
    tiny_config,
    tiny_run,
)
from tests.recipes.graphs.test_padding import make_part


class MemoryGraph:
    """Repeats operations; each writes its results to the memory that it wrote to in the capture."""

    def __init__(self) -> None:
        self.operations: list[tuple[Callable[..., Any], Any, Any, Any]] = []

    def replay(self) -> None:
        with torch.no_grad():
            for operation, arguments, options, results in self.operations:
                again = operation(*arguments, **options)
                for old, new in zip(tree_leaves(results), tree_leaves(again), strict=True):
                    if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


class Capture(TorchDispatchMode):
    """Adds every operation to a graph."""

    def __init__(self, graph: MemoryGraph) -> None:
        super().__init__()
        self.graph = graph

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        results = operation(*arguments, **(options or {}))
        self.graph.operations.append((operation, arguments, options or {}, results))
        return results


Make = Callable[[list[nn.Parameter]], CudaRecorder]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[nn.Parameter]], CudaRecorder]:
    """Make a recorder, with the CPU in the place of a card."""

    @contextmanager
    def capture(graph: MemoryGraph, pool: object, capture_error_mode: str) -> Iterator[None]:
        assert (pool, capture_error_mode) == ("pool", "thread_local")
        with Capture(graph):
            yield

    @contextmanager
    def on_stream(stream: object) -> Iterator[None]:
        yield

    stream = SimpleNamespace(wait_stream=lambda other: None)
    fakes = {
        "graph_pool_handle": lambda: "pool",
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
        "stream": on_stream,
        "CUDAGraph": MemoryGraph,
        "graph": capture,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return CudaRecorder


def test_after_a_failed_capture_the_generator_can_be_used(recorder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise every later dropout would fail: "Offset increment outside graph capture encountered unexpectedly"."""
    states: list[torch.Generator] = []
    generator = SimpleNamespace(device="cpu", graphsafe_set_state=states.append)
    monkeypatch.setattr(torch.cuda, "default_generators", (generator,))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    weight, calls = nn.Parameter(torch.ones(2)), list[Batch]()
    weight.grad = own = torch.ones(2)

    def work(part: Batch) -> Loss:
        calls.append(part)
        weight.sum().backward()
        if len(calls) > WARM_UPS:
            raise RuntimeError("operation not permitted when stream is capturing")
        return Loss()

    with pytest.raises(RuntimeError, match="not permitted"):
        recorder([weight])(work, pad_part(make_part(), 2, 3, {}))
    assert len(states) == 1 and isinstance(states[0], torch.Generator)
    assert weight.grad is own and own.tolist() == [1, 1]


def test_a_replay_adds_its_gradients_to_whatever_is_there(recorder: Make) -> None:
    weight, unreached, calls = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2)), list[Batch]()

    def work(part: Batch) -> Loss:
        calls.append(part)
        loss = (part.targets @ weight * part.weights).sum() / part.total
        loss.backward()
        return Loss(loss.detach(), loss.detach())

    part = pad_part(make_part(), 2, 3, {})
    weight.grad = own = torch.tensor([100.0, 100.0])
    pass_again = recorder([weight, unreached])(work, part)
    assert len(calls) == WARM_UPS + 1
    assert weight.grad is own and own.tolist() == [100, 100]
    heavier = pad_part(replace(make_part(), weights=torch.tensor([4.0, 8.0]), total=2.0), 2, 3, {})
    losses = [pass_again(each) for each in (heavier, part)]
    assert [float(loss.composed) for loss in losses] == [6.0, 0.5]  # a later replay leaves the first loss as it is
    assert own.tolist() == [100 + 2 + 0.125, 100 + 4 + 0.375] and unreached.grad is None
    weight.grad = None
    pass_again(part)
    taken = weight.grad
    weight.grad = None
    pass_again(heavier)
    assert taken is not None and taken.tolist() == [0.125, 0.375]  # whoever has taken gradients keeps them
    assert weight.grad is not None and weight.grad.tolist() == [2, 4]  # type: ignore[unreachable]
    assert len(calls) == WARM_UPS + 1


def test_the_gradient_of_a_tensor_of_the_part_is_handed_over(recorder: Make) -> None:
    def work(part: Batch) -> Loss:
        loss = (part.carried["vectors"] ** 2).sum()
        loss.backward()
        return Loss(loss.detach(), loss.detach())

    def part_with(vectors: Tensor) -> Batch:
        return pad_part(replace(make_part(), partners=(), carried={"vectors": vectors}), 3, 4, {})

    pass_again = recorder([])(work, part_with(torch.ones(2, 3, 2, requires_grad=True)))
    for value in (5.0, 7.0):
        vectors = torch.full((2, 3, 2), value, requires_grad=True)
        pass_again(part_with(vectors))
        assert vectors.grad is not None
        assert vectors.grad[:, 0, 0].tolist() == [4 * value, 2 * value]  # the padded part has the first row twice


@pytest.mark.parametrize("tricks", ["", "+tricks=[fgm,mixup,r_drop]"])
def test_a_run_is_replayed_bit_for_bit(recorder: Make, tricks: str) -> None:
    """Two updates of five shapes and kinds, with dropout; gradients are those of padded parts that run."""

    def compare() -> float:
        with float64(), temporary_folder() as folder:
            run = tiny_run(tiny_config(*filter(None, [tricks])), folder)
            run.updates = 15
            batches = [run.seams.batches(run.train, 0)[index] for index in range(4)]
            pad_parts(run)
            expected = [compute_gradients(run, batch) for batch in batches]
            parts = freeze_parts(run, batches)
            parts.recorder = recorder(run.parameters)
            actual = [compute_gradients(run, batch) for batch in batches]
            assert parts.replayed == parts.passed > parts.recordings
            return max(map(difference, expected, actual))

    assert in_child(compare) == 0
