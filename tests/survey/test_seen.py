"""What the atlas has seen of each trick, in a few words."""

import pytest

from recipes.ablation.expectations import Measured
from recipes.ablation.populations import Population
from recipes.ablation.verdicts import HELPS, HURTS, NO_EVIDENCE, NOTHING
from scripts.survey.seen import describe_recipe, describe_stage, judge, judge_tricks


def measure(trick: str, *effects: float, updates: int = 300, language: str = "en") -> list[Measured]:
    return [
        Measured(trick, "everyday", language, "minilm", updates, f"set{number}", effect, 0.0, *(1.0,) * 6)
        for number, effect in enumerate(effects)
    ]


@pytest.mark.parametrize(
    ("interval", "word"),
    [
        ((0.001, 0.02), HELPS),
        ((-0.02, -0.001), HURTS),
        ((-0.009, 0.009), NOTHING),
        ((-0.001, 0.02), NO_EVIDENCE),
        ((0.0, 0.005), NOTHING),
        ((0.001, 0.005), NOTHING),
    ],
)
def test_verdicts_follow_from_the_interval(interval: tuple[float, float], word: str) -> None:
    assert judge(Population(0.0, interval, None), 0.01) == word


def test_the_study_with_most_data_sets_counts() -> None:
    short = measure("fgm", 0.0, 0.0, 0.0, updates=100)
    seen = judge_tricks([*short, *measure("fgm", 0.02, 0.02), *measure("swa", 0.01)], 0.01)
    assert [(each.trick, each.data_sets, each.verdict) for each in seen] == [("fgm", 3, NOTHING)]
    # Among equally many the longest.
    (longest,) = judge_tricks([*short, *measure("fgm", 0.02, 0.0201, 0.0202)], 0.01)
    assert longest.verdict == HELPS and str(longest) == "+0.0201 (en, 3 sets: helps)"


def test_more_tricks_in_a_study_make_its_verdicts_more_careful() -> None:
    effects = (0.01, 0.02, 0.02)
    (alone,) = judge_tricks(measure("fgm", *effects), 0.01)
    among = judge_tricks([*measure("fgm", *effects), *measure("swa", *effects), *measure("ema", *effects)], 0.01)
    assert alone.verdict == HELPS and {each.verdict for each in among} == {NO_EVIDENCE}
    assert among[0].population == alone.population


def test_a_stage_and_a_recipe_are_described() -> None:
    seen = judge_tricks([*measure("fgm", 0.02, 0.0201, 0.0202), *measure("swa", 0.0, 0.001, 0.001)], 0.01)
    assert describe_stage(["fgm", "pgd"], seen) == "`fgm` +0.0201 (en); of 1 measured"
    assert describe_stage(["swa"], seen) == "none of 1 measured"
    assert describe_stage(["eda"], seen) == "none measured yet"
    assert describe_recipe(["amp", "swa"], seen) == ("amp not measured; swa +0.0007 (en, 3 sets: practically nothing)")
