"""What the doctor says of tricks that are on together, and of what they cost."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from recipes import seams
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.compose.tricks import build
from recipes.config import CONF
from recipes.doctor.checks.tricks import SELDOM_TOGETHER, _cost_of, _without_tricks, price, seldom_together
from recipes.doctor.findings import CheckResult
from recipes.doctor.subject import Subject
from recipes.testing import in_child, names, tiny_config, tiny_run, tiny_splits


def said_of(*tricks: str) -> list[str]:
    built = build(read(compose_config([f"+tricks=[{','.join(tricks)}]"])[0]).tricks)
    look = CheckResult("tricks", "seldom_together", "")
    offers = {"overconfidence": "what calibrates"}
    subject = SimpleNamespace(run=SimpleNamespace(tricks=built), remedies=lambda finding: offers[finding])
    seldom_together(cast(Subject, subject), look)
    assert all(("what calibrates" in each.remedy) == ("label_smoothing" in each.message) for each in look.findings)
    return [finding.message for finding in look.findings]


def test_every_pair_of_layers_is_one_that_tricks_fill() -> None:
    classes = [get_class(OmegaConf.load(CONF / "tricks" / f"{name}.yaml")["_target_"]) for name in names()]
    filled = {"/".join(place) for each in classes for place in each.slots.items()}
    assert {layer for pair in SELDOM_TOGETHER for layer in pair} <= filled
    for pair in SELDOM_TOGETHER:
        assert all(layer in seams.slots_of(seam) for seam, _, layer in (place.partition("/") for place in pair))


@pytest.mark.parametrize("pair", [("fgm", "r_drop"), ("eda", "nlpaug"), ("label_smoothing", "mixup")])
def test_a_pair_is_noted_once_whichever_comes_first(pair: tuple[str, str]) -> None:
    assert said_of(*pair) == said_of(*reversed(pair)) == [f"{pair[0]} and {pair[1]} are seldom worth it together."]


def test_other_pairs_are_not() -> None:
    assert said_of("fgm", "mixup", "swa") == []


def test_what_an_update_costs_beside_none(tmp_path: Path) -> None:
    def costs() -> tuple[Any, Any, str, bool]:
        run = tiny_run(tiny_config("+tricks=[r_drop]"), tmp_path, tmp_path / "run")
        own, batches = run.seams, run.seams.batches(run.train, 0)
        ours = _cost_of(run, batches)
        with _without_tricks(run):
            plain = _cost_of(run, batches)
        look = CheckResult("tricks", "price", "")
        price(Subject(run.config, run=run, splits=tiny_splits(run.config)), look)
        return ours, plain, look.findings[0].message, run.seams is own

    ours, plain, message, restored = in_child(costs)
    # r_drop passes each row twice and keeps both passes until the backward one.
    assert ours.passes == 2 * plain.passes
    assert 1.9 < ours.kept / plain.kept < 2.1
    assert message.startswith("an update takes 2.0 times the passes, ") and " 2.0 times the memory" in message
    assert restored
