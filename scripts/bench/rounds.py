"""Contestants that run in turns, and the ratios of their times."""

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

OURS, HANDWRITTEN = "Trickbook", "hand-written loop"

Input = TypeVar("Input")


def run_in_turns(
    contestants: Mapping[str, Callable[[Input], float]], warm_up: Input, task: Input, rounds: int
) -> dict[str, list[float]]:
    """Run every contestant once a round; each round starts with another one.

    Args:
        contestants: functions that return the seconds of a task.
        warm_up: a small task that each contestant runs first.
        task: the task to time.
        rounds: how often each contestant runs.

    Returns:
        The seconds of each contestant, by round.
    """
    for contestant in contestants.values():
        contestant(warm_up)
    names = list(contestants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for index in range(rounds):
        first = index % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(contestants[name](task))
            print(f"round {index + 1}/{rounds}: {name} {seconds[name][-1]:.2f} s", file=sys.stderr, flush=True)
    return seconds


def format_ratio(seconds: Sequence[float], reference: Sequence[float]) -> str:
    """The median of the ratios within a round; over two or more rounds also the smallest and the largest."""
    ratios = [one / other for one, other in zip(seconds, reference, strict=True)]
    spread = f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
    return f"{statistics.median(ratios):.2f}{spread}"
