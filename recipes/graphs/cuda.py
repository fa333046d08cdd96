"""Record passes as CUDA graphs. All graphs of a run share their memory and the buffers of their gradients."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recipes.data.batch import Batch, Loss
from recipes.graphs.padding import tensors_of, with_tensors
from recipes.graphs.recording import Pass, clear_gradients, empty_gradients, hand_over

WARM_UPS = 2
"""Passes before a capture, in which libraries choose their kernels and tricks make what they use again."""


class CudaRecorder:
    """Records passes of one run.

    A graph adds up gradients in buffers of its own, and every replay hands them over. So whoever takes gradients out
    of the parameters, or sets them to None, never holds a buffer that the next replay overwrites.

    Args:
        parameters: all parameters of the model.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = parameters
        self.pool = torch.cuda.graph_pool_handle()
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
            graph = torch.cuda.CUDAGraph()
            # Another thread may copy batches to the device meanwhile.
            with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
                for buffer in (*buffers, *of_sources):
                    buffer.zero_()
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


def _as_leaf(tensor: Tensor) -> Tensor:
    """A copy at an address of its own, which requires a gradient where the tensor does."""
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)


def _copy(value: Tensor | float) -> Tensor | float:
    """The next replay overwrites what this one has computed."""
    return value.clone() if isinstance(value, Tensor) else value
