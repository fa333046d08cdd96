"""A stand-in for CUDA graphs on the CPU: it freezes Python as a capture does.

It traces the operations of a pass once, and replays them on the tensors of other parts. Numbers that the pass read from
Python, drew on the host or counted are frozen. So a test sees on any machine what a CUDA graph would do to a trick.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch._guards import TracingContext, tracing
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from recipes.data.batch import Batch, Loss
from recipes.graphs.padding import tensors_of, with_tensors
from recipes.graphs.recording import Pass, clear_gradients, empty_gradients, hand_over


class FrozenRecorder:
    """Records passes of one run as traced operations.

    Args:
        parameters: all parameters of the model.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = parameters

    def __call__(self, work: Pass, part: Batch) -> Pass:
        """Trace one pass, after one in which tricks make what they use again."""
        names, examples = zip(*tensors_of(part).items(), strict=True)
        required = [each.requires_grad for each in examples]
        reached: list[nn.Parameter] = []

        def run(*tensors: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
            """The loss in both forms, the gradients of the parameters, and those of the tensors."""
            clear_gradients(self.parameters)
            leaves = [each.detach().requires_grad_(needed) for each, needed in zip(tensors, required, strict=True)]
            loss = work(with_tensors(part, dict(zip(names, leaves, strict=True))))
            reached[:] = [each for each in self.parameters if each.grad is not None]
            gradients = [each.grad for each in reached if each.grad is not None]
            losses = [torch.as_tensor(each) for each in (loss.composed, loss.cross_entropy)]
            return losses, gradients, [each.grad for each in leaves if each.grad is not None]

        with empty_gradients(self.parameters):
            detached = [each.detach() for each in examples]
            run(*detached)
            # One mode for the shapes of all operations; otherwise each would make its own, half of the tracing time.
            with tracing(TracingContext(FakeTensorMode(allow_fallback_kernels=True))):
                traced = make_fx(run)(*detached)

        def replay(other: Batch) -> Loss:
            tensors = list(tensors_of(other).values())
            losses, gradients, of_inputs = traced(*(each.detach() for each in tensors))
            hand_over(reached, gradients)
            if of_inputs:
                torch.autograd.backward([each for each in tensors if each.requires_grad], of_inputs)
            return Loss(*losses)

        return replay
