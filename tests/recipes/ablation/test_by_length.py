"""The part of a report on the length of training."""

from dataclasses import replace

from recipes.ablation.by_length import build_length_parts
from recipes.reports.document import as_html, as_markdown
from tests.recipes.ablation.test_findings import TRUTH, simulate_findings

STUDY = simulate_findings(TRUTH)


def test_each_effect_has_its_verdict_at_each_length() -> None:
    short = replace(STUDY, mains=[replace(each, word="no evidence", value=0.5) for each in STUDY.mains])
    both = replace(STUDY, by_length={1.0: short, 2.0: STUDY})
    text = as_markdown("", build_length_parts(both))
    assert "repeated at 1 and 2 times the updates" in text and "| 1 x the updates | 2 x the updates |" in text
    first = STUDY.mains[0]
    line = next(line for line in text.splitlines() if line.startswith(f"| {STUDY.name(first.effect)} |"))
    assert (
        f"no evidence: +0.5000 ({first.interval[0]:+z.4f} to " in line and f"{first.word}: {first.value:+z.4f}" in line
    )
    assert as_html("", build_length_parts(both)).count("<svg") == 1


def test_a_study_of_one_length_has_no_such_part() -> None:
    assert list(build_length_parts(replace(STUDY, by_length={2.0: STUDY}))) == []
