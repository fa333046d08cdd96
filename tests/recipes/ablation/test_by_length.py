"""Effects at two lengths of training, and the part of a report on them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recipes.ablation import by_length
from recipes.ablation.by_length import build_length_parts, measure_differences, subtract_block
from recipes.ablation.design import Design, Effect
from recipes.ablation.effects import Block
from recipes.ablation.endpoints import Interval
from recipes.ablation.findings import Findings
from recipes.ablation.runs import FINISHED, Row
from recipes.ablation.verdicts import RUNS_LEFT_OUT, Verdict, judge
from recipes.reports.document import as_html, as_markdown
from tests.recipes.ablation.test_findings import TRUTH, simulate_findings

STUDY = simulate_findings(TRUTH)


def test_each_effect_has_its_verdict_at_each_length() -> None:
    short = replace(STUDY, mains=[replace(each, word="no evidence", value=0.5) for each in STUDY.mains])
    effect = STUDY.mains[0].effect
    both = replace(STUDY, by_length={1.0: short, 2.0: STUDY}, differences={effect: Interval(0.01, -0.02, 0.04)})
    text = as_markdown("", build_length_parts(both))
    assert (
        "repeated at 1 and 2 times the updates" in text and "| 1 x the updates | 2 x the updates | difference |" in text
    )
    assert "| +0.0100 (-0.0200 to +0.0400) |" in text
    first = STUDY.mains[0]
    line = next(line for line in text.splitlines() if line.startswith(f"| {STUDY.name(first.effect)} |"))
    assert (
        f"no evidence: +0.5000 ({first.interval[0]:+z.4f} to " in line and f"{first.word}: {first.value:+z.4f}" in line
    )
    assert as_html("", build_length_parts(both)).count('role="img"') == 1


def test_a_study_of_one_length_has_no_such_part() -> None:
    assert list(build_length_parts(replace(STUDY, by_length={2.0: STUDY}))) == []


DESIGN = Design("full", (2, 2), ((0, 0), (0, 1), (1, 0), (1, 1)))
FIRST, SECOND = (Effect(((factor, 1),)) for factor in range(2))


def make_rows(seeds: int) -> list[Row]:
    """One run more than the other length has."""
    return [Row("set", arm, seed, Path(f"{arm}{seed}"), FINISHED) for seed in range(seeds) for arm in DESIGN.arms]


def simulate_block(rows: Sequence[Row], effect: float, shift: float) -> Block:
    """The first trick has an effect. Runs of one arm and seed have their noise in common at all lengths."""
    scores, values = [], []
    for row in rows:
        noise = np.random.default_rng([row.seed, *row.arm])
        scores.append(0.7 + shift + effect * row.arm[0] + noise.normal(0, 0.02))
        values.append(noise.normal(0, 0.3, 50) + noise.normal(0, 0.01 * (1 + shift), 50))
    rows_of_runs = np.array(values)
    return Block(
        "set",
        np.array([DESIGN.arms.index(row.arm) for row in rows]),
        np.array([row.seed for row in rows]),
        np.array(scores)[:, None] + rows_of_runs - rows_of_runs.mean(1, keepdims=True),
        [f"{shift}{number}" for number in range(len(rows))],
    )


def simulate_length(rows: list[Row], effect: float, shift: float) -> Findings:
    mains, pairs = judge(DESIGN, [simulate_block(rows, effect, shift)], 0.01)
    return replace(STUDY, design=DESIGN, rows=rows, mains=mains, pairs=pairs)


def test_the_difference_of_two_lengths_is_paired_by_run(monkeypatch: pytest.MonkeyPatch) -> None:
    short, long = simulate_length(make_rows(5), 0.01, 0.0), simulate_length(make_rows(4)[::-1], 0.05, 0.1)
    truth = {id(short): (0.01, 0.0), id(long): (0.05, 0.1)}
    arguments = iter([truth[id(short)], truth[id(long)]] * 2)
    monkeypatch.setattr(by_length, "load_blocks", lambda design, rows, metric: [simulate_block(rows, *next(arguments))])
    differences = measure_differences(short, long)
    assert differences[FIRST].value == pytest.approx(0.04) and differences[SECOND].value == pytest.approx(0, abs=1e-9)
    # The runs of one arm and seed have their noise in common, so that the difference is far surer than either effect.
    assert 0 < differences[FIRST].low < 0.04 < differences[FIRST].high < 0.06
    low, high = next(each.interval for each in short.mains if each.effect == FIRST)
    assert differences[FIRST].high - differences[FIRST].low < 0.5 * (high - low)
    # The effect of a level that breaks training at one length has no difference.
    broken = replace(long, mains=[Verdict(FIRST, "breaks training (8 of 8 runs)", RUNS_LEFT_OUT), long.mains[1]])
    assert list(measure_differences(short, broken)) == [SECOND]


def test_runs_are_subtracted_by_arm_and_seed() -> None:
    rows = make_rows(2)
    long, short = simulate_block(rows[::-1], 0.05, 0.1), simulate_block(rows, 0.01, 0.0)
    block = subtract_block(long, short)
    np.testing.assert_allclose(block.rows, long.rows - short.rows[::-1])
    assert block.fingerprints[0] == "0.10 0.07"
