"""The order of a study's arms: by what the atlas predicts of their tricks, and unchanged where it predicts nothing."""

from typing import Any

import pytest

from recipes.ablation import order
from recipes.ablation.design import Arm
from recipes.ablation.expectations import Features, Measured
from recipes.ablation.factors import NONE, Factor, Level, Space
from recipes.ablation.order import describe_order, order_arms, predict_effects
from recipes.testing import compose_again

SPACE = Space(
    tuple(Factor(name, (NONE, Level(name, (), name))) for name in ("eda", "fgm")), {"a": ("model=tiny",), "b": ()}
)
ARMS: list[Arm] = [(0, 0), (0, 1), (1, 0), (1, 1)]
EFFECTS = {"fgm": 0.02, "eda": -0.01}


def measure(data_sets: int, language: str = "en") -> list[Measured]:
    return [
        Measured(
            trick, "everyday", language, "minilm", 300, f"set{number}", effect, 0.0, 1.0, 1000, 2, 0.5, 10 + number, 0.9
        )
        for trick, effect in EFFECTS.items()
        for number in range(data_sets)
    ]


def predict(monkeypatch: pytest.MonkeyPatch, measured: list[Measured], language: str = "en") -> dict[str, float]:
    composer: Any = compose_again
    monkeypatch.setattr(order, "read_measured", lambda: measured)
    monkeypatch.setattr(order, "describe_data", lambda config: (Features(1000, 2, 0.5, 12), language))
    return predict_effects(SPACE, composer, 0.01)


def test_arms_with_the_largest_predicted_effects_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    predicted = predict(monkeypatch, measure(8))
    assert predicted == pytest.approx(EFFECTS)
    assert order_arms(SPACE, ARMS, predicted) == [(0, 1), (1, 1), (0, 0), (1, 0)]
    assert "come first: fgm +0.0200, eda -0.0100" in describe_order(predicted)


def test_without_a_prediction_the_order_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert predict(monkeypatch, measure(7)) == {} == predict(monkeypatch, measure(8), "zh")
    assert order_arms(SPACE, ARMS[::-1], {}) == ARMS[::-1]


def test_a_trick_must_be_predicted_on_every_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    partly = [each for each in measure(8) if each.trick == "fgm" or each.data != "set0"]
    assert predict(monkeypatch, partly).keys() == {"fgm"}


def test_rows_with_more_than_one_label_are_not_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    predict(monkeypatch, measure(8))
    monkeypatch.setattr(order, "describe_data", lambda config: (None, "en"))
    composer: Any = compose_again
    assert predict_effects(SPACE, composer, 0.01) == {}
