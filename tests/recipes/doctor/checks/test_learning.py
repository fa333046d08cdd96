"""Checks that train or score: too few updates are skipped, and high scores before training are found."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset

from recipes.doctor.checks import learning
from recipes.doctor.findings import CheckResult, Skip
from recipes.doctor.subject import Subject
from recipes.testing import in_child, tiny_config, tiny_run, tiny_splits


def test_overfitting_is_skipped_after_too_few_updates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "SECONDS", 0.05)

    def skip_reason() -> str:
        run = tiny_run(tiny_config("train.learning_rate=0.0"), tmp_path, tmp_path / "run")
        with pytest.raises(Skip) as reason:
            learning.overfitting_one_batch(
                Subject(run.config, run=run, splits=tiny_splits(run.config)), CheckResult("", "", "")
            )
        return str(reason.value)

    assert in_child(skip_reason).startswith("0.05 s are ")


@pytest.mark.parametrize(
    ("metric", "score", "severities"),
    [("loss", 1.1, ["note"]), ("accuracy", 0.91, ["note", "warning"]), ("accuracy", 0.9, ["note"])],
)
def test_a_high_score_before_training_is_suspicious_only_if_higher_is_better(
    metric: str, score: float, severities: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "measure", lambda predictions: {metric: score})
    run = SimpleNamespace(
        config=SimpleNamespace(evaluate=SimpleNamespace(metric=metric)),
        validation=SimpleNamespace(examples=Dataset.from_dict({"id": ["a", "b"]})),
        encode_rows=lambda rows: rows,
        predictions=lambda rows: None,
    )
    subject: Any = SimpleNamespace(run=run, require_finite_values=lambda: None)
    result = CheckResult("learning", "metric", "")
    learning.metric(subject, result)
    assert [finding.severity for finding in result.findings] == severities
