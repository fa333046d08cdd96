"""The state of a run and of its tricks in a checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from recipes.errors import UserError
from recipes.state import COUNTERS, TRICKS, capture, read_tricks, restore, write_tricks


class StatefulTrick:
    """A trick with this state."""

    def __init__(self, **state: Any) -> None:
        self.values = state

    def state(self) -> dict[str, Any]:
        return self.values

    def load(self, state: Mapping[str, Any]) -> None:
        self.values = dict(state)


def make_run(number: float, **tricks: Any) -> Any:
    """A run with one weight; the weight and every counter are this number."""
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, number)
    return SimpleNamespace(
        bare_model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        tricks=tricks,
        fingerprint=["rows"],
        folder=Path("run"),
        accelerator=SimpleNamespace(scaler=None, device=torch.device("cpu")),
        settle_step=lambda: None,
        **{name: number for name in COUNTERS},
    )


def test_every_counter_of_a_run_is_restored() -> None:
    names = ("updates", "skipped", "batches_done", "rows_passed", "parts_passed", "since_best", "best", "seconds")
    saved, run = make_run(7.0), make_run(1.0)
    restore(run, *capture(saved))
    assert {name: getattr(run, name) for name in names} == dict.fromkeys(names, 7.0)
    assert run.bare_model.weight.item() == 7.0


def test_each_trick_gets_its_own_state_back() -> None:
    saved = make_run(
        0.0,
        one=StatefulTrick(mean=torch.ones(2), count=3),
        two=StatefulTrick(mean=torch.zeros(1)),
        three=StatefulTrick(),
    )
    run = make_run(0.0, one=StatefulTrick(), two=StatefulTrick(), three=StatefulTrick())
    restore(run, *capture(saved))
    assert run.tricks["one"].values["mean"].tolist() == [1, 1] and run.tricks["one"].values["count"] == 3
    assert run.tricks["two"].values["mean"].tolist() == [0] and run.tricks["three"].values == {}


def test_a_checkpoint_of_other_rows_is_refused() -> None:
    saved, run = make_run(7.0), make_run(1.0)
    run.fingerprint = ["other rows"]
    with pytest.raises(UserError, match="the data has changed since run was begun"):
        restore(run, *capture(saved))
    assert run.updates == 1.0


@pytest.mark.parametrize(
    "state", [{"temperature": 1.5}, {"favour": torch.ones(2)}, {"favour": torch.ones(2), "times": 2}]
)
def test_numbers_and_tensors_of_tricks_are_saved_with_the_model(state: dict[str, Any], tmp_path: Path) -> None:
    write_tricks(tmp_path, {"one": StatefulTrick(**state), "two": StatefulTrick()})  # type: ignore[dict-item]
    tricks = {"one": StatefulTrick(), "two": StatefulTrick()}
    read_tricks(tmp_path, tricks)  # type: ignore[arg-type]
    assert tricks["one"].values.keys() == state.keys() and tricks["two"].values == {}
    for name, value in state.items():
        assert torch.equal(torch.as_tensor(tricks["one"].values[name]), torch.as_tensor(value))


def test_tricks_without_state_write_no_file(tmp_path: Path) -> None:
    write_tricks(tmp_path, {"one": StatefulTrick()})  # type: ignore[dict-item]
    assert not (tmp_path / TRICKS).exists()
