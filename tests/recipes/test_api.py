"""Fine-tuning from a config: the splits that are read, and a run that is finished already."""

from pathlib import Path
from typing import Any

import pytest

from recipes import api
from recipes.api import finetune_config
from recipes.testing import tiny_config, tiny_splits


@pytest.mark.parametrize("test", [True, False])
def test_the_test_split_is_read_only_if_it_is_scored(
    test: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def read_splits(*arguments: Any) -> None:
        calls.append(arguments)
        raise InterruptedError

    monkeypatch.setattr(api, "read_splits", read_splits)
    config = tiny_config(f"evaluate.test={str(test).lower()}")
    with pytest.raises(InterruptedError):
        finetune_config(config, tmp_path / "run")
    assert calls == [(config.data, config.evaluate.extra, test)]


def test_a_finished_run_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config()
    monkeypatch.setattr(api, "read_splits", lambda *arguments: tiny_splits(config))
    monkeypatch.setattr(api, "train", lambda config, splits, folder: (folder / "metrics.json").write_text("{}"))
    run = finetune_config(config, tmp_path / "run")
    monkeypatch.setattr(api, "train", None)
    assert finetune_config(config, tmp_path / "run") == run
