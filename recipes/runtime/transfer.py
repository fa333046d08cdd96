"""Copies between the host and a GPU that neither side waits for."""

import torch
from torch import Tensor


def send(values: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device. A GPU reads pinned memory while the host goes on."""
    if device.type == "cuda" and not values.is_cuda:
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


class ReadBack:
    """A number on its way from a device to the host.

    The copy is queued right behind the work that computes the number. So `read` waits for that work alone, and the
    device goes on with whatever was queued after it.

    Args:
        value: one number on any device.
    """

    def __init__(self, value: Tensor) -> None:
        # From CUDA, a copy that does not block goes to pinned memory; the event says when it is there.
        self._value = value.detach().to("cpu", non_blocking=value.is_cuda)
        self._copied = torch.cuda.current_stream().record_event() if value.is_cuda else None

    def read(self) -> float:
        """Return the number, as soon as it is there."""
        if self._copied is not None:
            self._copied.synchronize()
        return float(self._value)
