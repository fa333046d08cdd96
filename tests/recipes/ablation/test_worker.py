"""A job writes its output and the reason of its failure to its folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from recipes.ablation.worker import FAILURE, OUTPUT, Job, describe_failure
from recipes.errors import UserError


def run_job(folder: Path, task: Callable[..., object]) -> object:
    HydraConfig.instance().cfg = OmegaConf.create({"hydra": {"runtime": {"output_dir": str(folder)}}})
    try:
        return Job(task)(OmegaConf.create())
    finally:
        HydraConfig.instance().cfg = None


def raising(error: BaseException) -> Callable[..., object]:
    def task(composed: object) -> object:
        raise error

    return task


def test_a_job_prints_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_job(tmp_path, lambda composed: print("text") or 0.5) == 0.5
    assert capsys.readouterr().out == ""
    assert (tmp_path / OUTPUT).read_text() == "text\n"
    assert not (tmp_path / FAILURE).exists()


def test_a_job_that_fails_leaves_its_reason(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        run_job(tmp_path, raising(UserError("this", "and that")))
    assert (tmp_path / FAILURE).read_text() == "this\nand that\n"
    assert "Traceback" in (tmp_path / OUTPUT).read_text()
    assert describe_failure(ValueError("bad\nindeed")) == "ValueError: bad\nindeed"


def test_a_job_that_is_interrupted_has_not_failed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_job(tmp_path, raising(KeyboardInterrupt()))
    assert not (tmp_path / FAILURE).exists()
