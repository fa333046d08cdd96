"""The precision of predictors: what is chosen, and how far the answers of a run move."""

from pathlib import Path

import numpy as np
import pytest

import recipes
from recipes.prediction import precision
from recipes.prediction.precision import PRECISIONS, choose_precision, in_precision
from recipes.runtime.precision import Measurement
from recipes.testing import finished_run, in_child, warm_up

TEXTS = ["a1 b2 w3", "c4", "w1 w2 w3 w4 w5 w6", "b7 a9"]


@pytest.mark.parametrize(
    ("requested", "device", "expected"),
    [
        ("auto", "cpu", "trained"),
        ("auto", "cuda", "fp32"),
        ("fastest", "cpu", "bf16"),
        ("fastest", "cuda", "fp16"),
        ("fp32", "cpu", "fp32"),
        ("bf16", "cuda", "bf16"),
    ],
)
def test_the_precision_that_is_chosen(
    requested: str, device: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "measure_once", lambda folder: Measurement(fp32=1.0, bf16=0.7))
    monkeypatch.setattr(precision, "fastest_on_gpu", lambda: "fp16")
    with in_precision(requested):
        assert choose_precision(device, "trained") == expected


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(recipes.UserError, match="precision=int4: choose one of auto, fastest, fp32, bf16, fp16"):
        recipes.load(warm_up(), precision="int4")


def test_the_command_line_has_all_precisions() -> None:
    script = Path(__file__).parents[3] / "recipes" / "commands" / "predict.py"
    assert f"choices={list(PRECISIONS)}".replace("'", '"') in script.read_text(encoding="utf-8")


def test_bf16_moves_the_probabilities_of_a_run_a_little() -> None:
    def measure() -> dict[str, float]:
        probabilities = {
            name: recipes.load(finished_run(), precision=name).predict(TEXTS).probabilities
            for name in ("auto", "fp32", "bf16")
        }
        return {name: float(np.abs(each - probabilities["fp32"]).max()) for name, each in probabilities.items()}

    moved = in_child(measure)
    assert moved["auto"] == 0 < moved["bf16"] < 0.01
