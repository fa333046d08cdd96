"""Checks of the tricks: pairs that rarely help together, and the cost of an update."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from recipes import seams
from recipes.compose.reading import read
from recipes.compose.tricks import build
from recipes.config import CONF
from recipes.doctor.alone import only_tricks
from recipes.doctor.checks.tricks import (
    RARELY_HELPFUL,
    _measure_cost,
    passes_per_update,
    trick_pairs,
    update_cost,
)
from recipes.doctor.findings import CheckResult
from recipes.doctor.subject import Subject
from recipes.testing import compose_again, in_child, names, tiny_config, tiny_run, tiny_splits


def messages_about(*tricks: str) -> list[str]:
    built = build(read(compose_again([f"+tricks=[{','.join(tricks)}]"])).tricks)
    result = CheckResult("tricks", "trick_pairs", "")
    subject = SimpleNamespace(run=SimpleNamespace(tricks=built), remedies=lambda finding: "a remedy")
    trick_pairs(cast(Subject, subject), result)
    return [finding.message for finding in result.findings]


def test_every_slot_of_a_pair_exists_and_is_used_by_a_trick() -> None:
    classes = [get_class(OmegaConf.load(CONF / "tricks" / f"{name}.yaml")["_target_"]) for name in names()]
    used = {f"{seam}/{slot}" for each in classes for seam, slot in each.slots.items()}
    assert {slot for pair in RARELY_HELPFUL for slot in pair} <= used
    for pair in RARELY_HELPFUL:
        assert all(slot in seams.slots_of(seam) for seam, _, slot in (each.partition("/") for each in pair))


@pytest.mark.parametrize("pair", [("fgm", "r_drop"), ("eda", "nlpaug"), ("label_smoothing", "mixup")])
def test_a_pair_is_noted_once_in_either_order(pair: tuple[str, str]) -> None:
    assert (
        messages_about(*pair) == messages_about(*reversed(pair)) == [f"{pair[0]} and {pair[1]} rarely help together."]
    )


def test_other_pairs_are_not_noted() -> None:
    assert messages_about("fgm", "mixup", "swa") == []


def test_the_cost_of_an_update_is_relative_to_one_without_tricks(tmp_path: Path) -> None:
    def costs() -> tuple[Any, Any, str, bool]:
        run = tiny_run(tiny_config("+tricks=[r_drop]"), tmp_path, tmp_path / "run")
        seams_before, batches = run.seams, run.seams.batches(run.train, 0)
        cost = _measure_cost(run, batches)
        with only_tricks(run, {}):
            plain = _measure_cost(run, batches)
        result = CheckResult("tricks", "update_cost", "")
        update_cost(Subject(run.config, run=run, splits=tiny_splits(run.config)), result)
        return cost, plain, result.findings[0].message, run.seams is seams_before

    cost, plain, message, restored = in_child(costs)
    # r_drop passes each row twice and keeps both passes until the backward pass.
    assert cost.passes == 2 * plain.passes
    assert 1.9 < cost.saved_bytes / plain.saved_bytes < 2.1
    assert message.startswith("an update takes 2.0 times the passes, ") and " 2.0 times the memory" in message
    assert restored


def test_the_cost_is_that_after_warm_up(tmp_path: Path) -> None:
    def explain_cost() -> tuple[str, int]:
        run = tiny_run(tiny_config("+tricks=[awp]"), tmp_path, tmp_path / "run")
        result = CheckResult("tricks", "update_cost", "")
        update_cost(Subject(run.config, run=run, splits=tiny_splits(run.config)), result)
        return result.findings[0].message, run.updates

    message, updates = in_child(explain_cost)
    assert message.startswith("an update takes 2.0 times the passes, ")
    assert updates == 0


def test_passes_of_tricks_multiply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seams, "wrapped_seams", lambda tricks: {})
    tricks = {name: SimpleNamespace(passes=passes) for name, passes in (("one", 2), ("two", 4), ("three", 1))}
    result = CheckResult("tricks", "passes_per_update", "")
    passes_per_update(cast(Subject, SimpleNamespace(run=SimpleNamespace(tricks=tricks))), result)
    message = "8 forward and backward passes per update with the default settings (one 2, two 4)."
    assert result.findings[0].message == message
