"""Effects from stored rows: those that were put in come out, and broken runs are counted."""

from dataclasses import replace

import numpy as np
import pytest

from recipes.ablation.design import Design
from recipes.ablation.factors import Space
from recipes.ablation.populations import estimate_population
from recipes.errors import UserError
from scripts.survey import blocks, effects
from scripts.survey.declaration import Atlas
from scripts.survey.effects import list_panels
from scripts.survey.rows import Key, Result


def test_effects_are_those_of_the_made_rows(atlas: Atlas, results: dict[Key, Result]) -> None:
    (panel,) = list_panels(atlas, results)
    assert (panel.study, panel.seeds, len(panel.results)) == ("both", {"one": 2, "two": 2, "three": 2}, 24)
    by_name = {(each.trick, each.data, each.endpoint): each for each in panel.effects}
    effect = by_name["fgm", "one", "accuracy"]
    assert effect.value == pytest.approx(20 / 500)
    assert effect.interval and effect.interval[0] < 0.04 < effect.interval[1]
    # A row that becomes right loses 1.9 of its loss.
    assert by_name["fgm", "two", "loss"].value == pytest.approx(20 / 500 * 1.9, rel=1e-3)
    assert by_name["mixup", "three", "accuracy"].value == pytest.approx(0, abs=1e-12)
    population = panel.populations("accuracy")["fgm"]
    assert population.mean == pytest.approx(0.04) and population.interval == pytest.approx((0.04, 0.04))
    low, high = estimate_population(panel.values("mixup", "loss"), 0.99).interval
    assert panel.populations("loss", 0.99)["mixup"].interval == (low, high)
    assert panel.measure_passes("fgm") == pytest.approx(2) and panel.measure_passes("mixup") == pytest.approx(1)


def test_seeds_on_other_folds_are_other_rows(atlas: Atlas, results: dict[Key, Result]) -> None:
    (panel,) = list_panels(atlas, results)
    block = panel.score("one", "accuracy")
    assert block.rows.shape == (8, 1000) and block.fold_count == 5
    for seed, rows, fold in zip(block.seeds, block.rows, block.folds, strict=True):
        assert fold == seed and np.isnan(rows).reshape(2, 500).all(1).tolist() == [seed == 1, seed == 0]
    same = replace(atlas, data={name: replace(each, folds=1) for name, each in atlas.data.items()})
    (panel,) = list_panels(same, results)
    assert panel.score("one", "accuracy").rows.shape == (8, 500) and panel.score("one", "loss").folds is None


def test_runs_on_other_rows_than_their_seed_are_refused(atlas: Atlas, results: dict[Key, Result]) -> None:
    key = next(key for key in results if key[1] == "one" and key[4] == 1)
    (panel,) = list_panels(atlas, {**results, key: replace(results[key], validation="other")})
    with pytest.raises(UserError, match="small, one: the stored rows were scored on different validation rows"):
        panel.score("one", "accuracy")


def test_another_metric_is_an_endpoint_too(atlas: Atlas, results: dict[Key, Result]) -> None:
    study = replace(atlas.studies["both"], metric="macro_f1")
    changed = {key: replace(each, macro_f1=0.5 + 0.03 * ("fgm" in key[3])) for key, each in results.items()}
    (panel,) = list_panels(replace(atlas, studies={"both": study}), changed)
    assert panel.endpoints == ("macro_f1", "accuracy", "loss")
    effect = next(each for each in panel.effects if (each.trick, each.endpoint) == ("fgm", "macro_f1"))
    assert effect.value == pytest.approx(0.03) and effect.interval is None
    assert panel.populations("macro_f1")["fgm"].mean == pytest.approx(0.03)


def test_data_sets_with_other_arms_are_refused(
    atlas: Atlas, results: dict[Key, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def design_other_arms(atlas: Atlas, name: str, encoder: str, data: str) -> tuple[Space, Design]:
        space, design = blocks.design_study(atlas, name, encoder, data)
        return space, design if data == "one" else replace(design, arms=design.arms[:-1])

    monkeypatch.setattr(effects, "design_study", design_other_arms)
    with pytest.raises(UserError, match=r"studies\.both: its data sets allow different arms with small"):
        list_panels(atlas, results)


def test_an_arm_that_diverged_with_all_seeds_leaves_the_other_effects(atlas: Atlas, results: dict[Key, Result]) -> None:
    nothing = {"right": "", "losses": "", "accuracy": float("nan"), "loss": float("nan"), "health": "diverged"}
    lost = {key: replace(each, **nothing) for key, each in results.items() if key[1] == "one"}
    (panel,) = list_panels(atlas, {**results, **lost})
    assert {each.data for each in panel.effects} == {"two", "three"} and not panel.populations("accuracy")
    ((_, population),) = panel.estimate_groups("accuracy")
    assert population.mean == pytest.approx(0, abs=1e-12)


def test_pairs_add_up(atlas: Atlas, results: dict[Key, Result]) -> None:
    (panel,) = list_panels(atlas, results)
    ((name, population),) = panel.estimate_groups("accuracy")
    assert name == "fgm × mixup" and population.mean == pytest.approx(0, abs=1e-12)


def test_incomplete_blocks_are_left_out(atlas: Atlas, results: dict[Key, Result]) -> None:
    missing = next(key for key in results if key[1] == "two" and key[3] == "fgm" and key[4] == 1)
    (panel,) = list_panels(atlas, {key: each for key, each in results.items() if key != missing})
    assert panel.seeds == {"one": 2, "two": 1, "three": 2}


def test_broken_runs_are_counted_and_a_diverged_one_has_no_score(atlas: Atlas, with_broken: dict[Key, Result]) -> None:
    (panel,) = list_panels(atlas, with_broken)
    assert panel.count_broken("mixup") == (2, 12) and panel.count_broken("fgm") == (0, 12)
    assert len(panel.score("one", "accuracy").arms) == 7
    assert all(
        each.value == pytest.approx(0.04)
        for each in panel.effects
        if each.trick == "fgm" and each.endpoint == "accuracy"
    )
