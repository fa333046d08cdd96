"""Points from the lines of a history, read while it grows."""

import json
from pathlib import Path

import pytest

from recipes.trackers.tail import Tail, count_lines, is_number


def test_lines_become_points_with_their_split_and_the_smoothed_loss(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    tail = Tail(path)
    assert tail.read() == [] and tail.last_update == 0
    lines = [
        {"update": 1, "loss": 1.0, "parts": 2, "is_odd": True, "note": "text", "grad_norm": None},
        {"update": 2, "loss": 0.5},
        {"update": 2, "split": "validation", "accuracy": 0.75},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines[:1]))
    assert tail.read() == [(1, {"train/loss": 1.0, "train/parts": 2, "train/loss_smoothed": 1.0})]
    with path.open("a") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines[1:]) + '{"update": 3, "lo')
    smoothed = pytest.approx((0.98 * 1.0 + 0.5) / 1.98)
    assert tail.read() == [
        (2, {"train/loss": 0.5, "train/loss_smoothed": smoothed}),
        (2, {"validation/accuracy": 0.75}),
    ]
    # The torn line is read once it is complete.
    with path.open("a") as file:
        file.write('ss": 0.5}\n')
    assert [point.update for point in tail.read()] == [3] and tail.read() == []
    assert (tail.sent, tail.last_update) == (4, 3)


def test_lines_that_were_sent_before_are_skipped_but_smoothed(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text('{"update": 1, "loss": 1.0}\n{"update": 2, "loss": 0.5}\n')
    tail = Tail(path, skip=1)
    (point,) = tail.read()
    assert point.update == 2 and point.values["train/loss_smoothed"] == pytest.approx((0.98 * 1.0 + 0.5) / 1.98)
    # More may have been sent than a history has that went back to a checkpoint.
    tail = Tail(path, skip=5)
    assert tail.read() == [] and tail.sent == 5


def test_lines_are_counted_and_numbers_known(tmp_path: Path) -> None:
    assert count_lines(tmp_path / "none") == 0
    (tmp_path / "two").write_text("a\nb\nc")
    assert count_lines(tmp_path / "two") == 2
    assert [is_number(value) for value in (1, 0.5, float("nan"), True, None, "1")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
