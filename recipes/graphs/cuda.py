"""Record passes as CUDA graphs. All graphs of a run share their memory and the buffers of their gradients."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from recipes.data.batch import Batch, Loss
from recipes.graphs.padding import tensors_of, with_tensors
from recipes.graphs.recording import Pass, clear_gradients, empty_gradients, hand_over

WARM_UPS = 2
"""Passes before a capture, in which libraries choose their kernels and tricks make what they use again."""


IN_THIS_THREAD = "thread_local"
"""What a capture forbids. In other threads batches may be copied to the device meanwhile."""


class CudaRecorder:
    """Records passes of one run.

    A graph adds up gradients in buffers of its own, and every replay hands them over. So whoever takes gradients out
    of the parameters, or sets them to None, never holds a buffer that the next replay overwrites.

    Args:
        parameters: all parameters of the model.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = parameters
        self.pool: Any = None
        self.buffers: dict[nn.Parameter, Tensor] = {}

    def __call__(self, work: Pass, part: Batch) -> Pass:
        """Capture one pass, after two that warm up. The parameters' gradients stay as they are."""
        inputs = {name: _as_leaf(tensor) for name, tensor in tensors_of(part).items()}
        static = with_tensors(part, inputs)
        with empty_gradients(self.parameters):
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UPS):
                    clear_gradients(self.parameters)
                    work(static)
            torch.cuda.current_stream().wait_stream(side)
            # Parameters that a pass does not reach keep no gradient, as without graphs.
            reached = [each for each in self.parameters if each.grad is not None]
            for each in reached:
                each.grad = self.buffers.setdefault(each, torch.zeros_like(each))
            buffers = [self.buffers[each] for each in reached]
            sources = {name: each for name, each in inputs.items() if each.grad is not None}
            of_sources = [each.grad for each in sources.values() if each.grad is not None]
            # Not before: a device without graphs fails here, where the run can go on without them.
            self.pool = self.pool or torch.cuda.graph_pool_handle()
            graph = torch.cuda.CUDAGraph()
            with _usable_generator(), torch.cuda.graph(graph, pool=self.pool, capture_error_mode=IN_THIS_THREAD):
                if buffers or of_sources:
                    torch._foreach_zero_([*buffers, *of_sources])
                captured = work(static)

        def replay(other: Batch) -> Loss:
            tensors = tensors_of(other)
            with torch.no_grad():
                torch._foreach_copy_(list(inputs.values()), [tensors[name] for name in inputs])
            graph.replay()
            hand_over(reached, buffers)
            if sources:
                torch.autograd.backward([tensors[name] for name in sources], [each.clone() for each in of_sources])
            return Loss(_copy(captured.composed), _copy(captured.cross_entropy))

        return replay


@contextmanager
def _usable_generator() -> Iterator[None]:
    """If a capture fails in this context, the device's generator of random numbers can be used afterwards.

    torch leaves it waiting for the end of the capture, and every later dropout would fail.
    """
    try:
        yield
    except RuntimeError:
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        generator.graphsafe_set_state(torch.Generator(generator.device))
        raise


def _as_leaf(tensor: Tensor) -> Tensor:
    """A copy at an address of its own, which requires a gradient where the tensor does."""
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)


def _copy(value: Tensor | float) -> Tensor | float:
    """The next replay overwrites what this one has computed."""
    return value.clone() if isinstance(value, Tensor) else value
