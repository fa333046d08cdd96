"""SWA: the schedule, the moments of collection, the average, and giving the weights back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from recipes.models.anatomy import with_weights
from tricks.post_training.swa import Swa


def run_of(total: int = 100) -> Any:
    return SimpleNamespace(total_updates=total)


def swa(**values: Any) -> Swa:
    return Swa(**{"start": 0.75, "rate_factor": 0.5, "cycle": 0.0, "every_updates": 1, **values})


class Counter(nn.Module):
    """A model with a weight, a buffer of numbers and a buffer that counts."""

    def __init__(self, value: float = 0.0, count: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([value, 2 * value]))
        self.register_buffer("mean", torch.tensor(10 * value))
        self.register_buffer("count", torch.tensor(count))

    def set(self, value: float, count: int) -> None:
        self.load_state_dict(Counter(value, count).state_dict())


class Training:
    """The run, and an inner update after which the weights are the number of the update."""

    def __init__(self, total: int, skipped: tuple[int, ...] = ()) -> None:
        self.updates, self.batches_done, self.total_updates = 0, 0, total
        self.bare_model, self.skipped, self.is_skipped = Counter(), skipped, False

    def go(self, trick: Swa) -> list[int]:
        """Train to the end; the updates after which something was collected."""
        run: Any = self
        result = []
        for number in range(1, self.total_updates + 1):
            before = trick.collections
            self.is_skipped = number in self.skipped
            trick.update(run, self.step)
            self.batches_done = number
            if trick.collections > before:
                result.append(self.updates)
        return result

    def step(self) -> None:
        if not self.is_skipped:
            self.updates += 1
            self.bare_model.set(float(self.updates), self.updates)

    def after_step(self, action: Callable[[int], None]) -> None:
        if not self.is_skipped:
            action(self.updates)


class TestSchedule:
    @staticmethod
    def inner(fraction: float) -> float:
        return 10 + fraction

    def test_is_the_plain_one_until_the_start(self) -> None:
        for fraction in (0.0, 0.3, 0.7499):
            assert swa().schedule(run_of(), self.inner, fraction) == 10 + fraction

    def test_constant_from_then_on(self) -> None:
        for fraction in (0.75, 0.8, 0.999):
            assert swa(rate_factor=0.3).schedule(run_of(), self.inner, fraction) == 0.3

    def test_cycles_fall_from_the_base_rate(self) -> None:
        trick = swa(start=0.5, rate_factor=0.2, cycle=0.25)
        fractions = [0.5, 0.5625, 0.625, 0.6875, 0.75, 0.8125]
        expected = [1.0, 0.8, 0.6, 0.4, 1.0, 0.8]
        assert [trick.schedule(run_of(16), self.inner, fraction) for fraction in fractions] == pytest.approx(expected)

    def test_weights_are_collected_at_the_lowest_rate_of_a_cycle(self) -> None:
        trick = swa(start=0.5, rate_factor=0.1, cycle=0.125)
        collected = Training(40).go(trick)
        rates = {update: trick.schedule(run_of(40), self.inner, (update - 0.5) / 40) for update in range(21, 41)}
        lowest = sorted(sorted(rates, key=rates.__getitem__)[:4])
        assert collected == lowest == [25, 30, 35, 40]

    @pytest.mark.parametrize("cycle", [0.07, 0.1, 0.13, 0.3])
    def test_cycle_and_collection_never_drift_apart(self, cycle: float) -> None:
        trick = swa(start=0.3, rate_factor=0.1, cycle=cycle)
        rates = [trick.schedule(run_of(97), self.inner, (update - 0.5) / 97) for update in range(1, 98)]
        turns = [update for update in range(30, 97) if rates[update] > rates[update - 1]]
        assert [update for update in Training(97).go(trick) if update < 97] == [turn for turn in turns if turn > 30]

    def test_start_one_leaves_the_schedule_alone(self) -> None:
        assert swa(start=1.0).schedule(run_of(), self.inner, 0.999) == 10.999


class TestCollection:
    @pytest.mark.parametrize(
        ("total", "values", "expected"),
        [
            (8, {}, [7, 8]),
            (8, {"start": 0.5, "every_updates": 2}, [6, 8]),
            (8, {"start": 0.5, "every_updates": 3}, [7, 8]),
            (8, {"start": 0.0}, [1, 2, 3, 4, 5, 6, 7, 8]),
            (8, {"start": 1.0}, []),
            (20, {"start": 0.98}, [20]),  # the last stretch is one update at least
            (40, {"start": 0.5, "cycle": 0.3}, [32, 40]),  # the end cuts the second cycle short
            (8, {"start": 0.5, "every_updates": 99}, [8]),  # too rare: the last weights at least
            (100, {"start": 0.9, "cycle": 0.05}, [95, 100]),
            (10, {"start": 0.5, "cycle": 0.01}, [6, 7, 8, 9, 10]),  # a cycle is one update at least
        ],
    )
    def test_moments(self, total: int, values: dict[str, Any], expected: list[int]) -> None:
        assert Training(total).go(swa(**values)) == expected

    def test_a_skipped_step_is_no_update(self) -> None:
        trick = swa(start=0.5)
        training = Training(8, skipped=(2, 7))
        assert training.go(trick) == [5, 6]
        assert trick.collections == 2

    def test_a_tail_after_skipped_steps_is_collected(self) -> None:
        assert Training(8, skipped=(2,)).go(swa(start=0.5, every_updates=2)) == [6, 7]

    def test_the_average_is_the_mean(self) -> None:
        trick = swa(start=0.5)
        Training(8).go(trick)
        assert trick.average["weight"].tolist() == pytest.approx([6.5, 13.0])
        assert trick.average["mean"].item() == pytest.approx(65.0)

    def test_a_counter_has_no_mean(self) -> None:
        trick = swa(start=0.5)
        Training(8).go(trick)
        assert trick.average["count"].item() == 8
        assert trick.average["count"].dtype == torch.int64

    def test_one_collection_is_the_weights_bit_for_bit_and_no_view_of_them(self) -> None:
        trick, model = swa(start=0.0), Counter(1 / 3, 5)
        run: Any = SimpleNamespace(
            batches_done=0, total_updates=1, bare_model=model, after_step=lambda action: action(1)
        )
        trick.update(run, lambda: None)
        assert torch.equal(trick.average["weight"], model.weight)
        model.set(7.0, 7)
        assert trick.average["weight"].tolist() == torch.tensor([1 / 3, 2 / 3]).tolist()
        assert trick.average["count"].item() == 5

    def test_a_later_counter_is_no_view_either(self) -> None:
        trick, training = swa(start=0.5), Training(4)
        training.go(trick)
        training.bare_model.count += 100
        assert trick.average["count"].item() == 4


class TestState:
    def test_goes_on_as_if_never_stopped(self) -> None:
        full, first = swa(start=0.5), swa(start=0.5)
        Training(8).go(full)
        training = Training(8)
        run: Any = training
        for _ in range(6):
            first.update(run, training.step)
        second = swa(start=0.5)
        second.load({name: each.clone() if hasattr(each, "clone") else each for name, each in first.state().items()})
        for _ in range(2):
            second.update(run, training.step)
        assert second.collections == full.collections == 4
        assert all(torch.equal(second.average[name], full.average[name]) for name in full.average)

    def test_nothing_collected(self) -> None:
        trick = swa()
        trick.load(swa().state())
        assert (trick.collections, trick.average) == (0, {})


class TestWeights:
    def entered(self, trick: Swa, model: nn.Module, body: Callable[[], None] = lambda: None) -> list[str]:
        calls: list[str] = []

        @contextmanager
        def inner() -> Iterator[None]:
            calls.append("inner")
            yield

        run: Any = SimpleNamespace(bare_model=model)
        with trick.weights(run, inner):
            body()
        return calls

    def test_the_average_once_there_is_one(self) -> None:
        trick, training = swa(start=0.5), Training(8)
        training.go(trick)
        model, batches_seen = training.bare_model, []
        assert self.entered(trick, model, lambda: batches_seen.append(model.weight.tolist())) == []
        assert batches_seen == [[6.5, 13.0]]
        assert model.weight.tolist() == [8.0, 16.0]

    def test_the_inner_ones_before(self) -> None:
        assert self.entered(swa(), Counter()) == ["inner"]

    def test_start_one_never_has_one(self) -> None:
        trick, training = swa(start=1.0), Training(5)
        training.go(trick)
        assert self.entered(trick, training.bare_model) == ["inner"]

    def test_weights_come_back_by_copy_into_the_same_memory(self) -> None:
        model = Counter(1 / 3, 4)
        indices = [each.data_ptr() for each in model.state_dict().values()]
        before = {name: each.clone() for name, each in model.state_dict().items()}
        with with_weights(model, Counter(5.0, 9).state_dict()):
            assert model.weight.tolist() == [5.0, 10.0]
            assert model.count.item() == 9
            assert [each.data_ptr() for each in model.state_dict().values()] == indices
            model.weight.data.add_(1)  # whatever happens inside
        assert [each.data_ptr() for each in model.state_dict().values()] == indices
        assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())

    def test_the_average_is_not_touched_by_what_happens_inside(self) -> None:
        model, average = Counter(1.0), Counter(5.0).state_dict()
        with with_weights(model, average):
            model.weight.data.zero_()
        assert average["weight"].tolist() == [5.0, 10.0]

    @pytest.mark.parametrize("weights", [Counter(5.0).state_dict(), {"weight": torch.ones(3)}])
    def test_after_an_exception_too(self, weights: dict[str, torch.Tensor]) -> None:
        model = Counter(1 / 3, 4)
        with pytest.raises(RuntimeError), with_weights(model, weights):
            raise RuntimeError("inside")
        assert torch.equal(model.weight, Counter(1 / 3).weight)
        assert model.count.item() == 4

    def test_optimizers_hold_the_same_parameters(self) -> None:
        model = Counter(1.0)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        with with_weights(model, Counter(5.0).state_dict()), nullcontext():
            pass
        model.weight.sum().backward()
        optimizer.step()
        assert model.weight.tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("field", "value"),
    [("start", 1.1), ("start", -0.1), ("rate_factor", 0.0), ("rate_factor", 1.5), ("cycle", 2.0), ("every_updates", 0)],
)
def test_ranges(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{field} must be "):
        swa(**{field: value})
