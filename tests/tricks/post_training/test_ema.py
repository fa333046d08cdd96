"""EMA: the average by hand and by torch-ema's own loop, its moments, giving the weights back, going on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn
from torch_ema import ExponentialMovingAverage

from tricks.post_training.ema import Ema


def ema(**values: Any) -> Ema:
    return Ema(**{"decay": 0.5, "warmup": False, "every_updates": 1, **values})


class Training:
    """The run, and an inner update after which the weight is twice the number of the update; it begins at 0."""

    def __init__(self, skipped: tuple[int, ...] = ()) -> None:
        self.updates, self.calls, self.skipped = 0, 0, skipped
        self.weight = nn.Parameter(torch.zeros(1))
        self.parameters = [self.weight]

    def go(self, trick: Ema, calls: int) -> list[float]:
        """Train on; the average after each call."""
        run: Any = self
        result = []
        for _ in range(calls):
            trick.update(run, self.step)
            assert trick.average is not None
            result.append(trick.average.shadow_params[0].item())
        return result

    def step(self) -> None:
        self.calls += 1
        if self.calls not in self.skipped:
            self.updates += 1
            self.weight.data.fill_(2.0 * self.updates)

    def after_step(self, action: Callable[[int], None]) -> None:
        if self.calls not in self.skipped:
            action(self.updates)


@contextmanager
def own() -> Iterator[bool]:
    yield False


def test_by_hand() -> None:
    # From 0: (0 + 2) / 2, (1 + 4) / 2, (2.5 + 6) / 2.
    assert Training().go(ema(), 3) == [1.0, 2.5, 4.25]


def test_the_decay_warms_up() -> None:
    # Decays 2 / 11, then 3 / 12, then no more than 0.25.
    first = 2 * 9 / 11
    second = first * 0.25 + 4 * 0.75
    assert Training().go(ema(decay=0.25, warmup=True), 3) == pytest.approx([first, second, second * 0.25 + 6 * 0.75])


@pytest.mark.parametrize("warmup", [True, False])
def test_it_is_torch_emas(warmup: bool) -> None:
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(2))]
    theirs, trick = ExponentialMovingAverage(weights, 0.9, warmup), ema(decay=0.9, warmup=warmup)
    run: Any = Training()
    run.parameters = weights

    def step() -> None:
        run.updates += 1
        for each in weights:
            each.data += torch.randn_like(each)

    for _ in range(20):
        trick.update(run, step)
        theirs.update(weights)
    assert trick.average is not None
    for ours, other in zip(trick.average.shadow_params, theirs.shadow_params, strict=True):
        torch.testing.assert_close(ours, other)


def test_every_second_update() -> None:
    assert Training().go(ema(every_updates=2), 4) == [0.0, 2.0, 2.0, 5.0]


def test_before_anything_is_collected_the_model_is_its_own() -> None:
    trick, training = ema(every_updates=5), Training()
    run: Any = training
    training.go(trick, 4)
    with trick.weights(run, own) as owned:
        assert not owned and training.weight.item() == 8.0
    training.go(trick, 1)
    with trick.weights(run, own) as owned:
        assert owned and training.weight.item() == 5.0


def test_a_skipped_step_is_no_update() -> None:
    assert Training(skipped=(2, 3)).go(ema(), 4) == [1.0, 1.0, 1.0, 2.5]


def test_the_average_is_what_is_evaluated_and_the_weights_come_back() -> None:
    trick, training = ema(), Training()
    run: Any = training
    with trick.weights(run, own) as owned:
        assert not owned
    training.go(trick, 3)
    index = training.weight.data_ptr()
    with pytest.raises(RuntimeError), trick.weights(run, own) as owned:
        assert owned and training.weight.item() == 4.25
        training.weight.data.zero_()
        raise RuntimeError
    assert (training.weight.item(), training.weight.data_ptr()) == (6.0, index)
    assert trick.average is not None
    assert trick.average.collected_params is None
    assert trick.average.shadow_params[0].item() == 4.25


@pytest.mark.parametrize("warmup", [True, False])
def test_goes_on_as_if_never_stopped(warmup: bool) -> None:
    full = Training().go(ema(warmup=warmup, decay=0.9), 5)
    first, second, training = ema(warmup=warmup, decay=0.9), ema(warmup=warmup, decay=0.9), Training()
    training.go(first, 3)
    second.load({name: each.clone() if hasattr(each, "clone") else each for name, each in first.state().items()})
    assert training.go(second, 2) == full[3:]


def test_nothing_is_saved_of_nothing() -> None:
    trick = ema()
    trick.load(ema().state())
    assert trick.average is None


@pytest.mark.parametrize(("field", "value"), [("decay", 1.0), ("decay", -0.1), ("every_updates", -1)])
def test_ranges(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{field} must be "):
        ema(**{field: value})
