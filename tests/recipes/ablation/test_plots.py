"""The pictures of a study show the names and verdicts that they should, as SVG text."""

from dataclasses import replace
from io import StringIO

import matplotlib as mpl
import pytest

from recipes.ablation import plots
from recipes.ablation.findings import Findings
from recipes.ablation.plots import COLORS, draw_costs, draw_effects, draw_pairs
from recipes.ablation.verdicts import (
    FIGHTS,
    HELPS,
    HURTS,
    IDENTICAL,
    NO_EVIDENCE,
    NOTHING,
    RUNS_MISSING,
    TOGETHER,
    Verdict,
)
from tests.recipes.ablation.test_findings import TRUTH, simulate_findings


@pytest.fixture(scope="module")
def study() -> Findings:
    return simulate_findings(TRUTH)


@pytest.fixture(autouse=True)
def _svg_with_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep text as text instead of outlines."""
    monkeypatch.setitem(mpl.rcParams, "svg.fonttype", "none")


def test_every_verdict_with_an_interval_has_a_color() -> None:
    assert set(COLORS) == {HELPS, HURTS, NOTHING, IDENTICAL, NO_EVIDENCE, TOGETHER, FIGHTS}


def test_effects_are_drawn_with_name_and_verdict(study: Findings) -> None:
    picture = StringIO()
    draw_effects(study, picture)
    text = picture.getvalue()
    for verdict in study.mains:
        assert f">{study.name(verdict.effect)}<" in text and f">{verdict.word}<" in text
    assert "accuracy, average over the other tricks; gray: the margin of ±0.01" in text


def test_an_effect_without_an_estimate_is_not_drawn(study: Findings) -> None:
    first, *others = study.mains
    picture = StringIO()
    draw_effects(replace(study, mains=[Verdict(first.effect, NO_EVIDENCE, RUNS_MISSING), *others]), picture)
    assert f">{study.name(first.effect)}<" not in picture.getvalue()


def test_pairs_are_drawn_with_their_values(study: Findings) -> None:
    picture = StringIO()
    draw_pairs(study, picture)
    text = picture.getvalue()
    estimated = [verdict for verdict in study.pairs if verdict.has_estimate]
    assert estimated
    for verdict in estimated:
        assert f">{verdict.value:+.3f}<" in text


def test_costs_name_only_the_arms_of_the_pareto_front(study: Findings) -> None:
    picture = StringIO()
    draw_costs(study, picture)
    text = picture.getvalue()
    for arm in study.means():
        is_named = f">{plots._shorten(study.space.name_arm(arm))}<" in text
        assert is_named == (arm in study.pareto_front())


def test_a_long_name_is_shortened() -> None:
    assert plots._shorten("a" * 48) == "a" * 48
    assert plots._shorten("a" * 49) == "a" * 45 + "..."
