"""Measured settings: once for a run, in its config.yaml, and never again when it is resumed."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from recipes.api import finetune_config
from recipes.compose.measured import settle_measured
from recipes.compose.tricks import build
from recipes.config import Config
from recipes.loop import TrainingRun
from recipes.runtime.precision import Measurement
from recipes.testing import in_child, tiny_config
from tricks.in_training import amp


def measuring(seconds_of_bf16: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that fp32 takes a second on this CPU."""
    monkeypatch.setattr(amp, "measure_once", lambda folder: Measurement(fp32=1.0, bf16=seconds_of_bf16))


def config_with_amp(precision: str = "auto") -> Config:
    return tiny_config("+tricks=[amp]", f"tricks.amp.precision={precision}", "train.max_updates=4")


def settle(config: Config, folder: Path) -> tuple[Config, list[str]]:
    """Settle a config and its tricks, which get the same values."""
    tricks = build(config.tricks)
    settled, notes = settle_measured(config, tricks, folder)
    assert {name: vars(trick) for name, trick in tricks.items()} == {
        name: vars(trick) for name, trick in build(settled.tricks).items()
    }
    return settled, notes


def precision_of(config: Config) -> Any:
    return config.tricks["amp"]["precision"]


def write_config(folder: Path, **values: Any) -> None:
    (folder / "config.yaml").write_text(yaml.safe_dump(values))


@pytest.mark.parametrize(("seconds", "expected"), [(0.66, "bf16"), (0.9, "fp32")])
def test_the_first_start_measures_and_says_what(
    seconds: float, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring(seconds, monkeypatch)
    typed = config_with_amp()
    settled, (note,) = settle(typed, tmp_path / "new")
    assert precision_of(settled) == expected
    assert precision_of(typed) == "auto"
    assert replace(settled, tricks=typed.tricks) == typed
    assert f"amp: this CPU computes bf16 in {seconds:.2f} of the time of fp32" in note
    assert f"so the run trains in {expected}" in note
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_what_the_user_typed_is_not_measured(precision: str, tmp_path: Path) -> None:
    typed = config_with_amp(precision)
    assert settle(typed, tmp_path) == (typed, [])


def test_another_device_is_not_measured(tmp_path: Path) -> None:
    typed = config_with_amp()
    typed = replace(typed, train=replace(typed.train, device="cuda"))
    assert settle(typed, tmp_path) == (typed, [])


@pytest.mark.parametrize("stored", ["bf16", "fp32", "auto"])
def test_a_run_that_goes_on_has_what_its_folder_says(
    stored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Auto is in a folder of a GPU, or of an earlier version, which trained in fp32."""
    measuring(0.1 if stored == "fp32" else 9.0, monkeypatch)
    write_config(tmp_path, tricks={"amp": {"precision": stored}})
    settled, notes = settle(config_with_amp(), tmp_path)
    assert precision_of(settled) == stored
    note = f"tricks.amp.precision={stored}, as was measured at the first start of this run."
    assert notes == ([] if stored == "auto" else [note])


def test_starting_over_measures_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measuring(0.1, monkeypatch)
    write_config(tmp_path, tricks={"amp": {"precision": "fp32"}})
    settled, _ = settle(replace(config_with_amp(), resume=False), tmp_path)
    assert precision_of(settled) == "bf16"


@pytest.mark.slow
def test_a_run_keeps_its_precision_through_a_stop_and_predicts_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the second start would measure the opposite, the run ends in the same weights, and predicts as trained."""

    def train(folder: Path, stops: bool) -> tuple[bytes, str, bool]:
        typed, texts = config_with_amp(), ["a1 b2 w3", "c4"]
        measuring(0.5, monkeypatch)
        if stops:
            step = TrainingRun._step

            def fail(run: TrainingRun, batch: Any) -> None:
                step(run, batch)
                if run.batches_done == 2:
                    run._save()
                    raise ZeroDivisionError

            with pytest.MonkeyPatch.context() as patch, pytest.raises(ZeroDivisionError):
                patch.setattr(TrainingRun, "_step", fail)
                finetune_config(typed, folder)
            measuring(5.0, monkeypatch)
        finetune_config(typed, folder)
        run = finetune_config(typed, folder)  # it is finished, and found by what the user typed
        stored = yaml.safe_load((folder / "config.yaml").read_text())["tricks"]["amp"]["precision"]
        probabilities = {}
        for precision in ("auto", "bf16", "fp32"):
            probabilities[precision] = replace(run, precision=precision).predict(texts).probabilities.tolist()
        assert probabilities["auto"] != probabilities["fp32"]
        is_same = probabilities["auto"] == probabilities["bf16"]
        return (folder / "model" / "model.safetensors").read_bytes(), stored, is_same

    whole, stopped = (in_child(partial(train, tmp_path / str(stops), stops)) for stops in (False, True))
    assert whole[1:] == ("bf16", True)
    assert whole == stopped
