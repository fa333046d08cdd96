"""What is said of a history: each thing once, and nothing where all is well."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from recipes.api import finetune_config
from recipes.reports.monitor import Watch
from recipes.reports.run_page import page
from recipes.testing import in_child, tiny_config

CHANCE = math.log(3)


def said(
    losses: Sequence[float | None], norms: Sequence[float | None] = (), evaluations: Sequence[dict[str, float]] = ()
) -> list[str]:
    watch = Watch(3, False, {})
    found = []
    for place, loss in enumerate(losses):
        norm = norms[place] if place < len(norms) else 1.0
        found += watch.see({"update": place + 1, "loss": loss, "grad_norm": norm})
    for place, line in enumerate(evaluations):
        found += watch.see({"update": len(losses) + place, "split": "validation", **line})
    return found


def falling(count: int) -> list[float]:
    return [CHANCE * 0.97**place + 0.02 * (place % 3) for place in range(count)]


def test_nothing_is_said_of_a_good_run() -> None:
    well = [{"loss": 0.5 - place / 100, "mcc": 0.5} for place in range(5)]
    assert said(falling(300), evaluations=well) == []


def test_a_spike() -> None:
    (found,) = said([*falling(60), 5.0, *falling(20), 7.0])
    assert "jumped to 5.00 at update 61" in found and "train.clip_norm" in found


def test_small_steps_of_a_small_loss_are_no_spike() -> None:
    assert said([*falling(200), 0.05, 0.1]) == []


def test_a_plateau_at_chance() -> None:
    (found,) = said([CHANCE + 0.01 * (place % 2) for place in range(200)])
    assert "nothing is learnt" in found and "overfitting_one_batch" in found


@pytest.mark.parametrize("bad", [None, math.nan, math.inf])
def test_skipped_updates(bad: float | None) -> None:
    assert ["skipped.jsonl" in each for each in said([1.0, bad, 1.0, bad])] == [True]
    assert ["skipped.jsonl" in each for each in said([1.0] * 3, [1.0, bad, 1.0])] == [True]


def test_an_exploding_gradient() -> None:
    (found,) = said(falling(60), [*[0.5] * 50, 900.0, *[0.5] * 9])
    assert "900 at update 51, 1800 times" in found


def test_one_class_only() -> None:
    assert said(falling(10), evaluations=[{"loss": 1.0, "mcc": 0.0}]) == []
    (found,) = said(falling(10), evaluations=[{"loss": 1.0, "mcc": 0.0}] * 3)
    assert "one class only" in found


def test_rows_learnt_by_heart() -> None:
    losses = [{"loss": value, "mcc": 0.9} for value in (0.8, 0.6, 0.9, 1.0)]
    (found,) = said([0.05] * 40, evaluations=losses)
    assert "learnt by heart" in found and "was 0.600" in found


def test_a_loss_that_fluctuates() -> None:
    (found,) = said([0.2 if place % 2 else 1.4 for place in range(200)])
    assert "+tricks=[noise_scale]" in found


def test_a_run_says_it_and_its_page_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = tiny_config("train.max_updates=20", "train.learning_rate=0.0", "evaluate.every=0.5")
    shown = in_child(lambda: page([finetune_config(config, tmp_path / "run")]))
    assert capfd.readouterr().out.count("watch: validation after") == 1
    assert "Seen while training" in shown and "one class only" in shown
