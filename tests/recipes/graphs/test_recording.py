"""What recorders have in common: gradients that are handed over, and masks as in a capture."""

import pytest
import torch
from torch import nn
from transformers.masking_utils import _ignore_bidirectional_mask_sdpa
from transformers.utils import import_utils

from recipes.graphs.recording import as_if_captured, empty_gradients, hand_over


def make_parameters() -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(2)) for _ in range(3)]


def test_gradients_are_added_and_the_buffers_stay_their_own() -> None:
    one, other, untouched = make_parameters()
    own = torch.ones(2)
    other.grad = own
    buffers = [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])]
    hand_over([one, other], buffers)
    assert one.grad is not None and one.grad.tolist() == [1, 2]
    assert other.grad is own and own.tolist() == [4, 5]
    assert untouched.grad is None
    for buffer in buffers:
        buffer.zero_()
    assert one.grad.tolist() == [1, 2]


def test_gradients_are_as_before_also_after_an_error() -> None:
    parameters = make_parameters()
    parameters[0].grad = own = torch.ones(2)
    with pytest.raises(ZeroDivisionError), empty_gradients(parameters):
        assert parameters[0].grad is None
        parameters[0].grad = parameters[1].grad = torch.zeros(2)
        raise ZeroDivisionError
    assert parameters[0].grad is own and own.tolist() == [1, 1]
    assert parameters[1].grad is None


def test_a_mask_that_hides_nothing_is_used_as_in_a_capture() -> None:
    """Where transformers skips it, another kernel of attention draws other dropout."""
    mask, before = torch.ones(2, 3, dtype=torch.bool), import_utils.is_cuda_stream_capturing
    assert _ignore_bidirectional_mask_sdpa(mask, 3)
    with as_if_captured():
        assert not _ignore_bidirectional_mask_sdpa(mask, 3)
    assert _ignore_bidirectional_mask_sdpa(mask, 3)
    assert import_utils.is_cuda_stream_capturing is before
