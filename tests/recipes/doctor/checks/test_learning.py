"""Checks that train: without time for enough updates they are skipped."""

from pathlib import Path

import pytest

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
