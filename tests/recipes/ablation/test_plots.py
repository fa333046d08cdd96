"""The charts of a study have the names, the numbers and the verdicts that they should."""

from dataclasses import replace

import pytest

from recipes.ablation.findings import Findings
from recipes.ablation.plots import MAX_LENGTHS, STYLES, chart_effects, chart_pairs, plot_costs, plot_lengths
from recipes.ablation.verdicts import (
    ADDS_UP,
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


def test_every_verdict_with_an_interval_has_a_style_that_no_opposite_verdict_has() -> None:
    assert set(STYLES) == {HELPS, HURTS, NOTHING, IDENTICAL, NO_EVIDENCE, TOGETHER, FIGHTS}
    assert len({STYLES[word] for word in (HELPS, HURTS, NOTHING, IDENTICAL, NO_EVIDENCE)}) == 5


def test_effects_are_drawn_with_name_verdict_and_interval(study: Findings) -> None:
    chart = chart_effects(study)
    assert [(row.label, row.value, row.interval) for row in chart.rows] == [
        (study.name(verdict.effect), verdict.value, verdict.interval) for verdict in study.mains
    ]
    assert {meaning for _, _, meaning in chart.legend} == {verdict.word for verdict in study.mains}
    assert chart.axis.label == "accuracy, average over the other tricks" and chart.band == (-0.01, 0.01)


def test_an_effect_without_an_estimate_is_not_drawn(study: Findings) -> None:
    first, *others = study.mains
    chart = chart_effects(replace(study, mains=[Verdict(first.effect, NO_EVIDENCE, RUNS_MISSING), *others]))
    assert [row.label for row in chart.rows] == [study.name(verdict.effect) for verdict in others]


def test_pairs_that_do_not_add_up_are_drawn_the_largest_first(study: Findings) -> None:
    chart = chart_pairs(study)
    sizes = [abs(row.value) for row in chart.rows]
    assert sizes == sorted(sizes, reverse=True)
    assert chart.rows[0].label == "mixup alpha=1.0 × fgm"
    clear = {study.name(verdict.effect) for verdict in study.pairs if verdict.has_estimate and verdict.word != ADDS_UP}
    assert {row.label for row in chart.rows} <= clear


def test_effects_by_length_are_split_into_plots_that_can_be_read(study: Findings) -> None:
    both = replace(study, by_length={1.0: study, 2.0: study})
    (plot,) = plot_lengths(both)
    assert len(plot.series) == len(study.mains) <= MAX_LENGTHS
    (x, value), (other, _) = plot.series[0].points
    assert value == study.mains[0].value and other - x == 1
    assert plot.series[0].intervals == [study.mains[0].interval] * 2


def test_costs_join_the_arms_of_the_pareto_front(study: Findings) -> None:
    arms, front = plot_costs(study).series
    means = study.means()
    assert list(arms.points) == [(seconds, score) for score, seconds in means.values()]
    assert list(front.points) == [(means[arm][1], means[arm][0]) for arm in study.pareto_front()]
