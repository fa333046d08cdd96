"""`trickbook train` reads the command line as `python train.py` does; what workers get can be pickled."""

import os
import pickle
from pathlib import Path

import pytest

from recipes.commands import train, trickbook
from recipes.commands.train import Training
from recipes.runs.folder import is_finished
from recipes.testing import TINY, in_child, make_text_file


def test_a_worker_knows_the_process_that_started_the_sweep() -> None:
    assert pickle.loads(pickle.dumps(Training())).start == os.getpid()


def test_it_trains(tmp_path: Path) -> None:
    data = [f"data.train={make_text_file(9)}", "train.max_updates=1", f"hydra.run.dir={tmp_path}/run"]
    in_child(lambda: train.main([*TINY, *data]))
    assert is_finished(tmp_path / "run")


def test_a_misspelt_setting_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["trickbook"])
    with pytest.raises(SystemExit, match="2"):
        trickbook.main(["train", "trian.epochs=1"])
    assert "trian does not exist; did you mean train" in capsys.readouterr().err
