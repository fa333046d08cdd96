"""The second endpoint: intervals of its own, rows that are clipped, and disagreements in words."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recipes.ablation.design import Design, Effect
from recipes.ablation.effects import Block
from recipes.ablation.endpoints import (
    Interval,
    SecondEndpoint,
    count_unscored,
    describe_disagreement,
    describe_unscored,
    estimate_second_endpoint,
)
from recipes.ablation.runs import FAILED, Row
from recipes.ablation.verdicts import NO_EVIDENCE, RUNS_MISSING, Verdict
from recipes.metrics import Predictions
from tests.recipes.ablation.test_observations import write_run

DESIGN = Design("full", (2, 2), ((0, 0), (0, 1), (1, 0), (1, 1)))
FIRST, SECOND = (Effect(((factor, 1),)) for factor in range(2))


def test_each_effect_has_an_interval_of_its_family() -> None:
    random = np.random.default_rng(0)
    arms, seeds = np.repeat(np.arange(4), 3), np.tile(np.arange(3), 4)
    losses = -0.5 + 0.1 * np.array(DESIGN.arms)[arms, 0] + random.normal(0, 0.01, 12)
    block = Block("set", arms, seeds, losses[:, None] + random.normal(0, 0.02, (12, 100)), list(map(str, range(12))))
    effects = estimate_second_endpoint(DESIGN, [block], 0.95, [])
    assert list(effects) == [FIRST, SECOND, Effect(((0, 1), (1, 1)))]
    means = block.rows.mean(1).reshape(4, 3).mean(1)
    assert effects[FIRST].value == pytest.approx((means[2] + means[3] - means[0] - means[1]) / 2)
    assert effects[FIRST].leaves_out_zero and not effects[SECOND].leaves_out_zero
    narrower = estimate_second_endpoint(DESIGN, [block], 0.5, [])
    assert effects[FIRST].low < narrower[FIRST].low < effects[FIRST].value < narrower[FIRST].high < effects[FIRST].high
    assert list(estimate_second_endpoint(DESIGN, [block], 0.95, [SECOND])) == [FIRST]


def test_clipped_rows_and_unseen_labels_are_counted() -> None:
    rows = np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]], np.float32)
    sure = Predictions(["0", "1", "2"], ["b", "a", "new"], rows, rows.round(), ["a", "b"], False)
    unsure = replace(sure, probabilities=np.full((3, 2), 0.5, np.float32))
    assert list(describe_unscored([sure, unsure], "loss")) == [
        "The log loss is clipped at 1e-7 on 1 of 6 rows of all runs, in 1 of 2 runs. These answers are sure and wrong.",
        "Validation rows with a label that training does not have, which the log loss leaves out: 1.",
    ]
    assert list(describe_unscored([sure], "brier")) == [
        "Validation rows with a label that training does not have, which the Brier score leaves out: 1."
    ]
    seen = replace(unsure, labels=["a", "b", "a"])
    assert list(describe_unscored([seen], "loss")) == ["The log loss is clipped at 1e-7; no row of any run is below."]
    assert list(describe_unscored([seen], "brier")) == list(describe_unscored([], "loss")) == []


def test_the_runs_on_disk_are_counted(tmp_path: Path) -> None:
    rows = [write_run(tmp_path, "one", 0, [True, False]), Row("one", (1,), 0, tmp_path, FAILED)]
    assert list(count_unscored(rows, "loss")) == ["The log loss is clipped at 1e-7; no row of any run is below."]


@pytest.mark.parametrize(
    ("metric", "verdict", "interval", "text"),
    [
        (
            "accuracy",
            Verdict(FIRST, NO_EVIDENCE, "", -0.003, (-0.01, 0.004)),
            Interval(0.02, 0.01, 0.03),
            "smooth lowers accuracy by 0.0030 (its interval includes 0) and improves the log loss by 0.0200.",
        ),
        (
            "macro_f1",
            Verdict(FIRST, "helps", "", 0.03, (0.01, 0.05)),
            Interval(-0.02, -0.05, 0.01),
            "smooth raises macro_f1 by 0.0300 and worsens the log loss by 0.0200 (its interval includes 0).",
        ),
        (
            "ece",
            Verdict(FIRST, "helps", "", 0.03, (0.01, 0.05)),
            Interval(-0.02, -0.03, -0.01),
            "smooth improves ece by 0.0300 and worsens the log loss by 0.0200.",
        ),
        ("accuracy", Verdict(FIRST, "helps", "", 0.03, (0.01, 0.05)), Interval(0.02, 0.01, 0.03), ""),
        ("accuracy", Verdict(FIRST, NO_EVIDENCE, "", 0.03, (-0.01, 0.05)), Interval(-0.02, -0.1, 0.03), ""),
        ("accuracy", Verdict(FIRST, NO_EVIDENCE, RUNS_MISSING), Interval(-0.02, -0.03, -0.01), ""),
    ],
)
def test_a_disagreement_is_described(metric: str, verdict: Verdict, interval: Interval, text: str) -> None:
    second = SecondEndpoint("loss", {FIRST: interval})
    assert describe_disagreement("smooth", metric, verdict, second) == text
