"""A study for Python: the verdicts as a frame, the overrides of the recommended recipe, the page."""

from dataclasses import replace
from pathlib import Path

import pytest

from recipes.ablation.endpoints import Interval, SecondEndpoint
from recipes.ablation.findings import Findings
from recipes.ablation.report import summarize
from recipes.ablation.result import Study
from recipes.errors import UserError
from tests.recipes.ablation.test_findings import TRUTH, simulate_findings, single


@pytest.fixture(scope="module")
def findings() -> Findings:
    return simulate_findings(TRUTH)


def test_the_frame_has_the_numbers_of_the_verdicts(findings: Findings, tmp_path: Path) -> None:
    second = SecondEndpoint("loss", {single(1): Interval(0.25, 0.125, 0.5)}, [])
    frame = Study(tmp_path, replace(findings, second=second)).verdicts.set_index("name")
    assert list(frame.index) == [findings.name(verdict.effect) for verdict in findings.mains]
    verdict = next(each for each in findings.mains if each.effect == single(1))
    row = frame.loc["fgm"]
    assert (
        row["verdict"] == "helps"
        and [row["low"], row["high"]] == list(verdict.interval)
        and row["passes"] == pytest.approx(2)
    )
    assert row["effect"] == verdict.value and [row["loss_effect"], row["loss_low"], row["loss_high"]] == [
        0.25,
        0.125,
        0.5,
    ]
    assert frame["effect"].dtype == float and frame["loss_low"].isna().sum() == len(frame) - 1


def test_the_best_recipe_is_written_as_overrides(findings: Findings, tmp_path: Path) -> None:
    study = Study(tmp_path, findings)
    assert findings.space.name_arm(findings.recommended_arm) == "mixup alpha=1.0"
    assert study.best == ["+tricks=[amp,mixup]", "tricks.mixup.alpha=1.0", "train.learning_rate=1e-5"]
    assert Study(tmp_path, replace(findings, length=("train.epochs=6",))).best[-1] == "train.epochs=6"
    assert study.summary == list(summarize(findings)) == str(study).splitlines()


def test_it_is_shown_as_html_and_by_its_page(
    findings: Findings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, shown = Study(tmp_path, findings), list[Path]()
    html = study._repr_html_()
    assert "Recommended: mixup alpha=1.0." in html and html.count("<tr>") == 1 + len(findings.mains)
    monkeypatch.setattr("recipes.ablation.result.show_page", shown.append)
    study.show()
    assert shown == [study.page] == [tmp_path / "report.html"]


def test_a_plan_has_no_verdicts(tmp_path: Path) -> None:
    plan = Study(tmp_path, None)
    assert "plan" in repr(plan) and "plan" in plan._repr_html_()
    for read in (lambda: plan.verdicts, lambda: plan.best, lambda: plan.page, lambda: plan.summary):
        with pytest.raises(UserError, match="this study is a plan"):
            read()
