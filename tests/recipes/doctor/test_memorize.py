"""Memorizing one batch: which rows it has, and when it ends."""

from pathlib import Path

import pytest

from recipes.doctor import memorize as module
from recipes.doctor.memorize import memorize, small_batch
from recipes.doctor.subject import Subject
from recipes.testing import in_child, tiny_config, tiny_run, tiny_splits


@pytest.mark.slow
def test_a_batch_is_memorized_until_its_loss_is_low(tmp_path: Path) -> None:
    def losses() -> tuple[float, float, int]:
        run = tiny_run(tiny_config(), tmp_path, tmp_path / "run")
        batch = small_batch(Subject(run.config, run=run, splits=tiny_splits(run.config)))
        got = memorize(run, batch, 0.5, least_accuracy=0.0, every=1)
        return got.loss / got.start, got.losses[0], len(got.losses)

    fraction, first, count = in_child(losses)
    assert 0.3 < fraction <= 0.5 and 0.5 < first < 2 and 1 < count < module.MOST_UPDATES


def test_it_ends_after_the_largest_number_of_updates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_UPDATES", 3)

    def count() -> int:
        run = tiny_run(tiny_config("train.learning_rate=0.0"), tmp_path, tmp_path / "run")
        batch = small_batch(Subject(run.config, run=run, splits=tiny_splits(run.config)))
        return len(memorize(run, batch, 0.5).losses)

    assert in_child(count) == 3
