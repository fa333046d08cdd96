"""The monitor: each warning once, and none where all is well."""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from recipes.api import finetune_config
from recipes.reports.monitor import Monitor
from recipes.reports.run_page import page
from recipes.testing import in_child, tiny_config

CHANCE = math.log(3)


def warnings_of(
    losses: Sequence[float | None], norms: Sequence[float | None] = (), evaluations: Sequence[dict[str, float]] = ()
) -> list[str]:
    """The warnings over updates with these losses, and gradient norms of 1 unless given, then over evaluations."""
    monitor = Monitor(3, False, {})
    sentences = []
    for index, loss in enumerate(losses):
        norm = norms[index] if index < len(norms) else 1.0
        sentences += monitor.read_line({"update": index + 1, "loss": loss, "grad_norm": norm})
    for index, scores in enumerate(evaluations):
        sentences += monitor.read_line({"update": len(losses) + index, "split": "validation", **scores})
    return sentences


def falling_losses(count: int) -> list[float]:
    return [CHANCE * 0.97**index + 0.02 * (index % 3) for index in range(count)]


def test_a_good_run_has_no_warning() -> None:
    evaluations = [{"loss": 0.5 - index / 100, "mcc": 0.5} for index in range(5)]
    assert warnings_of(falling_losses(300), evaluations=evaluations) == []


def test_a_spike_is_reported_once() -> None:
    (warning,) = warnings_of([*falling_losses(60), 5.0, *falling_losses(20), 7.0])
    assert "jumped to 5.00 at update 61" in warning and "train.clip_norm" in warning


def test_small_steps_of_a_small_loss_are_no_spike() -> None:
    assert warnings_of([*falling_losses(200), 0.05, 0.1]) == []


def test_a_plateau_at_chance_is_reported() -> None:
    (warning,) = warnings_of([CHANCE + 0.01 * (index % 2) for index in range(200)])
    assert "nothing is learned" in warning and "overfitting_one_batch" in warning
    assert "gives 1.099" in warning


def test_chance_of_many_labels_is_that_of_each_yes_or_no() -> None:
    assert Monitor(3, True, {}).chance_loss == math.log(2)


@pytest.mark.parametrize("bad", [None, math.nan, math.inf])
def test_skipped_updates_are_reported_once(bad: float | None) -> None:
    assert ["skipped.jsonl" in each for each in warnings_of([1.0, bad, 1.0, bad])] == [True]
    assert ["skipped.jsonl" in each for each in warnings_of([1.0] * 3, [1.0, bad, 1.0])] == [True]


def test_an_exploding_gradient_is_reported() -> None:
    (warning,) = warnings_of(falling_losses(60), [*[0.5] * 50, 900.0, *[0.5] * 9])
    assert "900 at update 51, 1800 times" in warning


def test_one_class_only_is_reported_at_the_second_time() -> None:
    assert warnings_of(falling_losses(10), evaluations=[{"loss": 1.0, "mcc": 0.0}]) == []
    (warning,) = warnings_of(falling_losses(10), evaluations=[{"loss": 1.0, "mcc": 0.0}] * 3)
    assert "one class only" in warning


def test_memorized_rows_are_reported() -> None:
    evaluations = [{"loss": value, "mcc": 0.9} for value in (0.8, 0.6, 0.9, 1.0)]
    (warning,) = warnings_of([0.05] * 40, evaluations=evaluations)
    assert "memorized" in warning and "up from 0.600" in warning


def warnings_of_composed(loss: float, cross_entropy: float, evaluations: Sequence[dict[str, float]] = ()) -> list[str]:
    """The warnings over 200 updates with this loss, as tricks compose it, and then over evaluations."""
    monitor = Monitor(3, False, {})
    lines: list[dict[str, Any]] = [
        {"update": update, "loss": loss, "cross_entropy": cross_entropy, "grad_norm": 1.0} for update in range(1, 201)
    ]
    lines += [{"update": 200, "split": "validation", "mcc": 0.9, **scores} for scores in evaluations]
    return [sentence for line in lines for sentence in monitor.read_line(line)]


def test_memorizing_is_judged_by_cross_entropy() -> None:
    """Focal loss is a fraction of cross-entropy, so its own value says nothing about memorizing."""
    rising = [{"loss": value} for value in (0.6, 0.8, 0.9)]
    assert warnings_of_composed(0.05, 0.5, rising) == []
    (warning,) = warnings_of_composed(0.7, 0.05, rising)
    assert "training cross-entropy is 0.050" in warning


def test_a_plateau_at_chance_is_judged_by_cross_entropy() -> None:
    (warning,) = warnings_of_composed(0.49, CHANCE)
    assert "nothing is learned" in warning
    assert warnings_of_composed(CHANCE, 0.4) == []


def test_a_loss_that_fluctuates_is_reported_with_what_calms_it() -> None:
    (warning,) = warnings_of([0.2 if index % 2 else 1.4 for index in range(200)])
    assert "varies by 106%" in warning and "+tricks=[noise_scale]" in warning
    monitor = Monitor(3, False, {})
    lines = [
        {"update": index, "loss": 0.2 if index % 2 else 1.4, "grad_norm": 1.0, "examples": 8} for index in range(60)
    ]
    (warning,) = (sentence for line in lines for sentence in monitor.read_line(line))
    assert "train.batch_size=32 about halves it" in warning


def noisy_losses(seed: int, noise: float, count: int) -> list[float]:
    """A loss that falls exponentially to a tenth of chance, with noise relative to its mean."""
    chance = random.Random(seed)
    means = (CHANCE * (0.1 + 0.9 * math.exp(-index / 400)) for index in range(count))
    return [mean * chance.gammavariate(noise**-2, noise**2) for mean in means]


def test_a_loss_that_begins_to_fluctuate_late_is_reported() -> None:
    calm, noisy = noisy_losses(0, 0.2, 150), [0.5 if index % 2 else 1.2 for index in range(60)]
    (warning,) = warnings_of([*calm, *noisy])
    assert "varies by" in warning


@pytest.mark.slow
def test_a_loss_that_falls_smoothly_is_hardly_ever_reported() -> None:
    """At most 5 % of runs of 2,000 updates."""
    reported = [any("varies by" in each for each in warnings_of(noisy_losses(seed, 0.25, 2000))) for seed in range(20)]
    assert sum(reported) <= 1


def test_the_loss_of_batches_of_eight_is_reported_within_260_updates() -> None:
    """The noise of real batches of 8 short texts, about half of the mean."""
    reported = [any("varies by" in each for each in warnings_of(noisy_losses(seed, 0.55, 260))) for seed in range(20)]
    assert sum(reported) >= 19


@pytest.mark.slow
def test_a_run_prints_a_warning_and_its_page_shows_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = tiny_config("train.max_updates=20", "train.learning_rate=0.0", "evaluate.every=0.5")
    text = in_child(lambda: page([finetune_config(config, tmp_path / "run")]))
    assert capfd.readouterr().out.count("watch: validation after") == 1
    assert "Warnings during training" in text and "one class only" in text
