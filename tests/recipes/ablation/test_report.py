"""What is told of a study: names, costs, the recipe, the page; of a study that is made up."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from recipes.ablation.design import Arm, Effect, choose, columns
from recipes.ablation.effects import Block, by_data
from recipes.ablation.factors import NONE, Factor, Level, Space
from recipes.ablation.findings import Findings
from recipes.ablation.report import _settled, in_a_paragraph, parts, recipe
from recipes.ablation.runs import FAILED, FINISHED, Row
from recipes.ablation.verdicts import LOST, Verdict, judge
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.reports.document import as_html, as_markdown


def trick(name: str, *overrides: str) -> Level:
    return Level(name, overrides, name.split()[0])


def value(name: str, setting: str) -> Level:
    return Level(setting, (f"{name}={setting}",))


FACTORS = (
    Factor("mixup", (NONE, *(trick(f"mixup alpha={alpha}", f"tricks.mixup.alpha={alpha}") for alpha in (0.2, 1.0)))),
    Factor("fgm", (NONE, trick("fgm"))),
    Factor("ema|swa", (NONE, trick("ema"), trick("swa"))),
    Factor("train.learning_rate", tuple(value("train.learning_rate", setting) for setting in ("1e-5", "1e-4"))),
)


def found(
    truth: dict[Effect, float],
    admissible: Callable[[Arm], bool] = lambda arm: True,
    kind: str = "full",
    most: int = 100,
) -> Findings:
    """A study of two data sets whose truth is known, with one failed run."""
    space = Space(FACTORS, {"one": ("data=one",), "two": ("data=two",)}, ("model=tiny",), ("amp",))
    design = choose([len(factor.levels) for factor in FACTORS], admissible, kind, most)
    chance = np.random.default_rng(0)
    means = 0.8 + columns(design.arms, design.levels, list(truth)) @ np.array(list(truth.values()))
    rows, blocks = [], []
    for data in space.data:
        arms, seeds, scores = [], [], []
        for number, arm in enumerate(design.arms):
            for seed in range(3):
                run = (data, arm, seed, Path(f"study/{data}-{number}-{seed}"))
                if (data, number, seed) == ("two", 1, 2):
                    rows.append(Row(*run, FAILED, "data.train=<b>: no such file"))
                    continue
                score = means[number] + chance.normal(0, 0.003)
                seconds = 10.0 * (2 if arm[1] else 1)
                rows.append(Row(*run, FINISHED, None, score, seconds, 2.0 if arm[1] else 1.0, 900.0, "run"))
                arms, seeds, scores = [*arms, number], [*seeds, seed], [*scores, score]
        scattered = chance.normal(0, 0.02, (len(scores), 200))
        values = np.array(scores)[:, None] + scattered - scattered.mean(1, keepdims=True)
        blocks.append(
            Block(data, np.array(arms), np.array(seeds), values, [f"{data}{run}" for run in range(len(arms))])
        )
    mains, pairs = judge(design, blocks, 0.01)
    return Findings(space, admissible, design, rows, mains, pairs, "accuracy", 0.01, by_data(design, blocks))


def single(factor: int, level: int = 1) -> Effect:
    return Effect(((factor, level),))


TRUTH = {single(0, 2): 0.03, single(1): 0.04, single(2, 1): -0.05, Effect(((0, 2), (1, 1))): -0.08}


@pytest.fixture(scope="module")
def study() -> Findings:
    return found(TRUTH)


def test_effects_and_arms_have_names(study: Findings) -> None:
    assert [study.name(verdict.effect) for verdict in study.mains] == [
        "mixup alpha=0.2",
        "mixup alpha=1.0",
        "fgm",
        "ema",
        "swa",
        "train.learning_rate=1e-4",
    ]
    assert study.name(Effect(((0, 2), (1, 1)))) == "mixup alpha=1.0 × fgm"
    assert (
        study.space.name((0, 1, 2, 1)) == "fgm + swa + train.learning_rate=1e-4"
        and study.space.name((0, 0, 0, 0)) == "base"
    )


def test_costs_are_ratios_and_the_front_is_what_nothing_beats(study: Findings) -> None:
    assert study.costs[single(1)]["seconds"] == pytest.approx(2.0) and study.costs[single(1)][
        "passes"
    ] == pytest.approx(2)
    assert study.costs[single(0)] == pytest.approx({"passes": 1.0, "seconds": 1.0, "memory": 1.0})
    means = study.means()
    front = study.front()
    assert [means[arm][1] for arm in front] == sorted({means[arm][1] for arm in front})
    for arm in front:
        assert not any(score > means[arm][0] and seconds <= means[arm][1] for score, seconds in means.values())


def test_the_recipe_is_of_what_helps_and_leaves_out_what_fights(study: Findings) -> None:
    words = {study.name(verdict.effect): verdict.word for verdict in study.mains}
    assert words["fgm"] != "hurts" and words["ema"] == "hurts" and words["swa"] == "practically nothing"
    # Beside neither: mixup +0.09, fgm +0.08, both +0.05.
    alone = found({single(0, 2): 0.03, single(1): 0.04, Effect(((0, 2), (1, 1))): -0.12})
    assert alone.space.name(alone.recommended) == "mixup alpha=1.0"
    both = found({single(0, 2): 0.03, single(1): 0.04})
    assert both.space.name(both.recommended) == "mixup alpha=1.0 + fgm"
    apart = found({single(0, 2): 0.03, single(1): 0.04}, lambda arm: not (arm[0] and arm[1]))
    assert apart.space.name(apart.recommended) == "fgm"
    nothing = found({})
    assert nothing.recommended == (0, 0, 0, 0) and "Nothing is recommended beside the base." in in_a_paragraph(nothing)


def test_the_recipe_is_a_file_that_hydra_takes(study: Findings) -> None:
    both = found({single(0, 2): 0.03, single(3): 0.04})
    text = recipe(both, Path("study"))
    assert text.startswith("# @package _global_\n# ") and max(map(len, text.splitlines())) < 120
    assert "#   python train.py --config-dir study/conf recipe=recommended model=tiny data=one\n" in text
    assert yaml.safe_load(text) == {
        "defaults": [{"/tricks": ["amp", "mixup"]}, "_self_"],
        "tricks": {"mixup": {"alpha": 1.0}},
        "train": {"learning_rate": 1e-4},
    }


def test_the_recipe_composes_also_with_a_model_and_beside_another_recipe(tmp_path: Path) -> None:
    both = found({single(0, 2): 0.03, single(3): 0.04})
    model = Factor("model", (Level("minilm", ("model=minilm",)), Level("tiny", ("model=tiny",))))
    space = replace(
        both.space, factors=(*FACTORS[:3], model), always=(), shared=("recipe=robust", "train.max_updates=7")
    )
    text = recipe(replace(both, space=space), tmp_path)
    assert text.splitlines()[-9].endswith("recipe=recommended train.max_updates=7 data=one"), text
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "recommended.yaml").write_text(text, encoding="utf-8")
    config = read(compose_config([f"hydra.searchpath=[file://{tmp_path}]", "recipe=recommended"])[0])
    assert set(config.tricks) == {"normalize", "deduplicate", "label_smoothing", "fgm", "mixup"}
    assert config.model.source == "tiny" and config.tricks["mixup"]["alpha"] == 1.0


def test_a_swept_recipe_and_the_user_s_own_configs_are_in_the_recommendation(tmp_path: Path) -> None:
    both = found({single(0, 2): 0.03, single(3): 0.04})
    swept = Factor("recipe", (value("recipe", "plain"), value("recipe", "robust")))
    space = replace(both.space, factors=(*FACTORS[:3], swept), always=())
    text = recipe(replace(both, space=space, searched=["file:///my/conf"]), tmp_path)
    assert "recipe=recommended model=tiny data=one 'hydra.searchpath=[file:///my/conf]'\n" in text
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "recommended.yaml").write_text(text, encoding="utf-8")
    config = read(compose_config([f"hydra.searchpath=[file://{tmp_path}]", "recipe=recommended"])[0])
    assert set(config.tricks) == {"normalize", "deduplicate", "label_smoothing", "fgm", "mixup"}


def test_a_run_that_is_missing_on_a_dear_data_set_makes_nothing_cheap() -> None:
    design = choose([2], lambda arm: True, "full", 2)
    space = Space((Factor("fgm", (NONE, trick("fgm"))),), {"cheap": (), "dear": ()})
    rows = [
        Row(data, arm, seed, Path(f"{data}{arm}{seed}"), FINISHED, None, score, seconds, 1.0, 1.0)
        for data, score, seconds in (("cheap", 0.9, 10.0), ("dear", 0.5, 100.0))
        for arm in design.arms
        for seed in range(3)
        if (data, arm, seed) != ("dear", (1,), 2)
    ]
    study = Findings(space, lambda arm: True, design, rows, [], [], "accuracy", 0.01, {})
    assert study.costs[single(0)] == pytest.approx({"passes": 1.0, "seconds": 1.0, "memory": 1.0})
    assert study.means()[(0,)] == pytest.approx((0.7, 55.0)) == study.means()[(1,)]


def test_where_less_is_better_the_front_and_the_sentence_are_turned(study: Findings) -> None:
    arms = study.design.arms[:2]
    rows = [
        Row("one", arm, 0, Path(str(arm)), FINISHED, None, score, seconds, 1.0, 1.0)
        for arm, score, seconds in zip(arms, (0.9, 0.4), (10.0, 11.0), strict=True)
    ]
    loss = replace(study, rows=rows, metric="loss")
    assert loss.front() == list(arms) and replace(loss, metric="accuracy").front() == [arms[0]]
    assert "Less loss is better: + is less of it." in as_markdown("Ablation", parts(loss))


def test_a_model_is_chosen_as_a_group() -> None:
    assert _settled(["model=tiny", "train.batch_size=16", "train.schedule=cosine"]) == (
        {"model": "tiny"},
        {"train": {"batch_size": 16, "schedule": "cosine"}},
    )


def test_the_page_says_all_and_nothing_on_it_is_markup_of_names(study: Findings) -> None:
    confirmed = (
        ("duplicate in place of eda", Verdict(single(0), "hurts", "", -0.02, (-0.03, -0.01), (-0.025, -0.015))),
    )
    whole = replace(
        study,
        confirmed=confirmed,
        tested={"one": Verdict(single(0), "no evidence", "", -0.01, (-0.03, 0.01))},
        opened=1,
    )
    text = as_html("Ablation", parts(whole))
    for words in (
        "What each does",
        "average over the other tricks",
        "Data set by data set",
        "What pairs do beyond",
        "What it costs",
        "What was assumed",
        "All runs",
        "x passes",
        "1 run is missing",
    ):
        assert words in text, words
    assert "failed: data.train=&lt;b&gt;: no such file" in text and "<b>" not in text
    assert text.count("<svg") == 3 and "<script" not in text
    assert "beats duplicate in place of eda (+0.0200)" in text
    assert "On the test rows of one it is +0.0100 beside the base (-0.0100 to +0.0300)." in text
    assert "The test split was opened once, for this." in text
    assert "opened for 2 recipes by now" in as_html("Ablation", parts(replace(whole, opened=2)))
    lost = Verdict(single(0), "no evidence", LOST)
    unsaid = as_html("Ablation", parts(replace(study, confirmed=(("the base", lost),))))
    assert f"Whether it beats the base cannot be said: {LOST}." in unsaid
    told = as_markdown("Ablation", parts(whole))
    assert "## What each does" in told and "<svg" not in told and "| fgm | " in told


def test_what_a_small_design_cannot_tell_is_said() -> None:
    few = found({}, kind="auto", most=12)
    text = as_markdown("Ablation", parts(few))
    assert "Not separable in this design" in text and "Effects that also hold part of what a pair does" in text
    alone = as_markdown("Ablation", parts(found({}, kind="one_at_a_time")))
    assert "alone on the base" in alone and "What pairs do" not in alone


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium")
def test_a_browser_opens_it(study: Findings, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(as_html("Ablation", parts(study)), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    shown = subprocess.run(
        ["chromium", *options, "--dump-dom", (tmp_path / "report.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert "What each does" in shown and shown.count("<svg") == 3
