"""The part of a report on single data sets, and on data sets like these."""

from dataclasses import replace

from recipes.ablation.by_data import build_data_parts, describe_open_populations, estimate_populations
from recipes.ablation.verdicts import HELPS, HURTS
from recipes.reports.document import as_markdown
from tests.recipes.ablation.test_findings import TRUTH, simulate_findings

STUDY = simulate_findings(TRUTH)


def test_two_data_sets_are_too_few_for_a_prediction() -> None:
    text = as_markdown("", build_data_parts(STUDY))
    assert "## Data set by data set" in text and "| one | two |" in text
    assert "1 degrees of freedom" in text and "2 data sets are too few to predict the effect on a new one" in text
    assert "a new data set |" not in text


def test_five_data_sets_have_a_prediction() -> None:
    by_data = {f"{number}": STUDY.by_data["one" if number % 2 else "two"] for number in range(5)}
    text = as_markdown("", build_data_parts(replace(STUDY, by_data=by_data)))
    assert "4 degrees of freedom" in text and "a new data set |" in text and "too few" not in text


def test_an_effect_that_is_zero_by_identity_is_left_out() -> None:
    first = STUDY.mains[0].effect
    by_data = {name: {each: 0.1 for each in effects if each != first} for name, effects in STUDY.by_data.items()}
    populations = estimate_populations(replace(STUDY, by_data=by_data))
    assert first not in populations and len(populations) == len(STUDY.mains) - 1
    assert {each.interval for each in populations.values()} == {(0.1, 0.1)}


def test_a_clear_verdict_on_these_data_sets_may_be_open_on_others() -> None:
    clear = [verdict for verdict in STUDY.mains if verdict.word in (HELPS, HURTS)]
    assert clear
    by_data = {"one": {each.effect: 0.0 for each in clear}, "two": {each.effect: 0.02 for each in clear}}
    sentences = list(describe_open_populations(replace(STUDY, by_data=by_data)))
    assert len(sentences) == len(clear)
    # t with 1 degree of freedom is 12.706, and the standard error 0.01.
    assert "on these 2 data sets; its mean effect on data sets like these is open (-0.1171" in sentences[0]
    agreed = {name: {each.effect: 0.02 for each in clear} for name in ("one", "two")}
    assert list(describe_open_populations(replace(STUDY, by_data=agreed))) == []


def test_one_data_set_has_no_such_part() -> None:
    alone = replace(STUDY, by_data={"one": STUDY.by_data["one"]})
    assert list(build_data_parts(alone)) == [] and list(describe_open_populations(alone)) == []
