"""Every recipe composes, trains, and says in its header how to run it and the measured results."""

from pathlib import Path

import pytest

from recipes.ablation.expectations import read_measured
from recipes.ablation.verdicts import HELPS
from recipes.compose.overrides import compose_config
from recipes.config import CONF
from recipes.testing import in_child, tiny_config, tiny_run
from scripts.survey.seen import judge_tricks
from tests.sampling import every

RECIPES = {path.stem: path for path in sorted((CONF / "recipe").glob("*.yaml"))}


def test_the_expected_recipes_exist() -> None:
    assert set(RECIPES) == {
        "plain",
        "mixup_amp_swa",
        "robust",
        "imbalanced",
        "few_shot",
        "long_documents",
        "competition",
        "autogluon_like",
        "co_mixup",
        "cutmix",
        "fmix",
        "manifold_mixup",
        "patchup",
        "puzzle_mix",
        "sentence_mixup",
        "ssmix",
    }


@pytest.mark.parametrize("name", every(6, RECIPES))
def test_every_recipe_trains(name: str, tmp_path: Path) -> None:
    def updates() -> int:
        run = tiny_run(tiny_config(f"recipe={name}"), tmp_path)
        run._step(run.seams.batches(run.train, 0)[0])
        return run.updates

    assert in_child(updates) == 1


@pytest.mark.parametrize("name", RECIPES)
def test_the_header_has_the_command_and_the_measured_results(name: str) -> None:
    header = RECIPES[name].read_text(encoding="utf-8").partition("\ndefaults:")[0].partition("\ntricks:")[0]
    assert f"#   python train.py recipe={name} " in header
    assert "# Measured on " in header or "# Not measured yet; docs/evidence has the study." in header


@pytest.mark.parametrize("name", ["autogluon_like", "competition", "few_shot", "imbalanced", "mixup_amp_swa", "robust"])
def test_the_header_says_what_the_atlas_has_seen(name: str) -> None:
    header = RECIPES[name].read_text(encoding="utf-8").partition("\ndefaults:")[0]
    tricks = compose_config([f"recipe={name}"])[0].tricks
    seen = [each for each in judge_tricks(read_measured(), 0.01) if each.trick in tricks]
    if seen:
        assert all(each.verdict != HELPS for each in seen)
        assert "\n# In the atlas (docs/atlas.md) no trick of it is seen to raise accuracy." in header
    else:
        assert "\n# The atlas (docs/atlas.md) has not measured it yet." in header
