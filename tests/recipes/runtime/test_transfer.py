"""Copies between host and device; on a CPU there is nothing to copy."""

import torch

from recipes.runtime.transfer import ReadBack, send


def test_what_is_on_the_device_already_is_not_copied() -> None:
    values = torch.arange(3)
    assert send(values, torch.device("cpu")) is values


def test_a_number_is_read_as_it_was_when_it_was_sent() -> None:
    assert ReadBack(torch.tensor(2.5, requires_grad=True)).read() == 2.5
    assert ReadBack(torch.tensor(True)).read() == 1
