"""The report of a study with a known truth: the summary, the page, the recommended recipe."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

from recipes.ablation.factors import Factor, Level
from recipes.ablation.failures import BaseHealth
from recipes.ablation.findings import Findings
from recipes.ablation.report import _group_overrides, build_parts, render_recipe, summarize
from recipes.ablation.verdicts import RUNS_MISSING, Verdict
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.reports.document import Answer, Steps, as_html, as_markdown
from tests.recipes.ablation.test_findings import FACTORS, TRUTH, simulate_findings, single, value
from tests.recipes.reports.pages import check_page, tags
from tests.recipes.reports.test_run_page import ATTACK


@pytest.fixture(scope="module")
def study() -> Findings:
    return simulate_findings(TRUTH)


def test_the_summary_has_a_sentence_for_each_verdict(study: Findings) -> None:
    sentences = list(summarize(study))
    assert sentences[0] == "215 runs (36 combinations, 3 seeds, 2 data sets) were compared by accuracy on validation."
    assert any(each.startswith("ema (-0.0") and each.endswith(" hurts.") for each in sentences)
    assert any("swa" in each and each.endswith(" no difference above 0.01.") for each in sentences)
    assert any(each.startswith("mixup alpha=1.0 × fgm get in each other's way (-0.0") for each in sentences)
    nothing = list(summarize(simulate_findings({})))
    assert nothing[-1] == "Nothing is recommended: no trick is shown to improve the base."


def test_the_report_says_if_less_of_the_metric_is_better(study: Findings) -> None:
    text = as_markdown("Ablation", build_parts(replace(study, metric="loss")))
    assert "Less loss is better: + is less of it." in text


def test_the_report_says_what_tricks_set_in_their_own_arms(study: Findings) -> None:
    sentence = "fgm sets train.clip_norm=null in the arms that have it, and in no others."
    assert sentence in as_markdown("Ablation", build_parts(replace(study, sets=[sentence])))


def test_the_recipe_is_a_file_that_hydra_can_read() -> None:
    findings = simulate_findings({single(0, 2): 0.03, single(3): 0.04})
    text = render_recipe(findings, Path("study"))
    assert text.startswith("# @package _global_\n# ") and max(map(len, text.splitlines())) < 120
    assert "#   python train.py --config-dir study/conf recipe=recommended model=tiny data=one\n" in text
    assert yaml.safe_load(text) == {
        "defaults": [{"/tricks": ["amp", "mixup"]}, "_self_"],
        "tricks": {"mixup": {"alpha": 1.0}},
        "train": {"learning_rate": 1e-4},
    }


def test_the_recipe_composes_with_a_model_and_with_another_recipe(tmp_path: Path) -> None:
    findings = simulate_findings({single(0, 2): 0.03, single(3): 0.04})
    model = Factor("model", (Level("minilm", ("model=minilm",)), Level("tiny", ("model=tiny",))))
    space = replace(
        findings.space, factors=(*FACTORS[:3], model), always=(), shared=("recipe=robust", "train.max_updates=7")
    )
    text = render_recipe(replace(findings, space=space), tmp_path)
    assert text.splitlines()[-9].endswith("recipe=recommended train.max_updates=7 data=one"), text
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "recommended.yaml").write_text(text, encoding="utf-8")
    config = read(compose_config([f"hydra.searchpath=[file://{tmp_path}]", "recipe=recommended"])[0])
    assert set(config.tricks) == {"normalize", "deduplicate", "label_smoothing", "fgm", "mixup"}
    assert config.model.source == "tiny" and config.tricks["mixup"]["alpha"] == 1.0


def test_the_recommendation_includes_a_swept_recipe_and_the_user_s_config_folders(tmp_path: Path) -> None:
    findings = simulate_findings({single(0, 2): 0.03, single(3): 0.04})
    swept = Factor("recipe", (value("recipe", "plain"), value("recipe", "robust")))
    space = replace(findings.space, factors=(*FACTORS[:3], swept), always=())
    further = {"search_path": ["file:///my/conf"], "trusted": ["my.Trick", "my.Other"]}
    space = replace(space, shared=(*space.shared, "trusted=[my.Trick]"))
    text = render_recipe(replace(findings, space=space, **further), tmp_path)
    options = "'hydra.searchpath=[file:///my/conf]' 'trusted=[my.Trick,my.Other]'"
    assert f"recipe=recommended model=tiny data=one {options}\n" in text
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "recommended.yaml").write_text(text, encoding="utf-8")
    config = read(compose_config([f"hydra.searchpath=[file://{tmp_path}]", "recipe=recommended"])[0])
    assert set(config.tricks) == {"normalize", "deduplicate", "label_smoothing", "fgm", "mixup"}


def test_a_model_is_a_choice_of_a_group() -> None:
    assert _group_overrides(["model=tiny", "train.batch_size=16", "train.schedule=cosine"]) == (
        {"model": "tiny"},
        {"train": {"batch_size": 16, "schedule": "cosine"}},
    )


def test_the_page_has_all_sections_and_escapes_names(study: Findings) -> None:
    confirmations = (
        ("duplicate in place of eda", Verdict(single(0), "hurts", "", -0.02, (-0.03, -0.01), (-0.025, -0.015))),
    )
    full = replace(
        study,
        confirmations=confirmations,
        test_verdicts={"one": Verdict(single(0), "no evidence", "", -0.01, (-0.03, 0.01))},
        tested_recipes=1,
    )
    text = as_html("Ablation", build_parts(full))
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
    page = check_page(text)
    assert len([values for values in page.all("svg") if values.get("role") == "img"]) == 3
    assert "beats duplicate in place of eda (+0.0200)" in text
    assert "On the test rows of one it scores +0.0100 compared with the base (-0.0100 to +0.0300)." in text
    assert "The test split was scored once, for this recipe." in text
    two = as_html("Ablation", build_parts(replace(full, tested_recipes=2)))
    assert "2 recipes have been scored on a test split so far" in two
    without_runs = Verdict(single(0), "no evidence", RUNS_MISSING)
    text = as_html("Ablation", build_parts(replace(study, confirmations=(("the base", without_runs),))))
    assert f"There is no verdict on whether it beats the base: {RUNS_MISSING}." in text
    markdown = as_markdown("Ablation", build_parts(full))
    assert "## What each does" in markdown and "<svg" not in markdown and "| fgm | " in markdown


def test_the_answer_comes_first_and_once(study: Findings) -> None:
    recommended = list(build_parts(simulate_findings({single(0, 2): 0.03, single(3): 0.04})))
    answer, steps = recommended[0], next(part for part in recommended if isinstance(part, Steps))
    assert isinstance(answer, Answer) and answer.tone == "good"
    assert answer.headline == "Recommended: mixup alpha=1.0 + train.learning_rate=1e-4"
    assert "--config-dir FOLDER/conf recipe=recommended" in steps.items[0].command
    assert as_markdown("Ablation", recommended).count("Recommended: mixup") == 2  # and in the recipe's own file
    nothing = list(build_parts(simulate_findings({})))
    assert isinstance(nothing[0], Answer) and nothing[0].headline.startswith("Nothing is recommended")
    idle = replace(study, base=[BaseHealth("one", 3, 3, 0.5, {}, "accuracy")])
    broken = next(build_parts(idle))
    assert isinstance(broken, Answer) and broken.tone == "error"
    check_page(as_html("Ablation", build_parts(idle)))


def test_the_assumptions_say_whether_seeds_have_their_validation_rows_in_common(study: Findings) -> None:
    same = "compared on the same seeds and the same validation rows."
    assert same in as_markdown("Ablation", build_parts(study))
    text = as_markdown("Ablation", build_parts(replace(study, rotates=True)))
    assert same not in text and "Each seed is validated on another fold of the rows and trained on the others" in text
    assert "The effects are over training samples of this size." in text


def test_nothing_that_somebody_else_wrote_is_markup(study: Findings) -> None:
    renamed = [
        replace(factor, name=ATTACK, choices=tuple(replace(level, name=ATTACK) for level in factor.choices))
        for factor in study.space.factors
    ]
    rows = [replace(row, reason=row.reason and ATTACK, folder=Path(ATTACK)) for row in study.rows]
    foreign = replace(
        study,
        space=replace(study.space, factors=tuple(renamed), always=(ATTACK,)),
        rows=rows,
        metric="<b>$x</b>",
        warnings=[ATTACK],
        mains=[replace(verdict, why=ATTACK) for verdict in study.mains],
        by_data={ATTACK: {}, "one": {}},
    )
    plain = set(tags(as_html("Ablation", build_parts(study))))
    assert set(tags(as_html("Ablation", build_parts(foreign)))) <= plain
    markdown = MarkdownIt().enable("table")
    elements = set(tags(markdown.render(as_markdown("Ablation", build_parts(study)))))
    assert set(tags(markdown.render(as_markdown("Ablation", build_parts(foreign))))) <= elements


def test_the_report_names_inseparable_pairs_and_aliases() -> None:
    small = simulate_findings({}, kind="auto", most=12)
    text = as_markdown("Ablation", build_parts(small))
    assert "Not separable in this design" in text and "Effects that also include part of a pair" in text
    one_at_a_time = as_markdown("Ablation", build_parts(simulate_findings({}, kind="one_at_a_time")))
    assert "alone on the base" in one_at_a_time and "What pairs do" not in one_at_a_time


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium")
def test_a_browser_can_open_the_page(study: Findings, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(as_html("Ablation", build_parts(study)), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    dom = subprocess.run(
        ["chromium", *options, "--dump-dom", (tmp_path / "report.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert "What each does" in dom and dom.count('role="img"') == 3


def test_the_recipe_has_the_length_at_which_it_was_found() -> None:
    findings = simulate_findings({single(0, 2): 0.03})
    space = replace(findings.space, shared=("train.max_updates=20", "train.batch_size=8"))
    text = render_recipe(replace(findings, space=space, length=["train.max_updates=40"]), Path("study"))
    assert "recipe=recommended train.batch_size=8 data=one\n" in text
    assert yaml.safe_load(text)["train"]["max_updates"] == 40


def test_the_report_replaces_the_plan_s_range_by_the_measured_spread(study: Findings) -> None:
    measured = replace(study, deviations={"one": 0.0123, "two": 0.0456}, length_checks=["one: it is long enough."])
    text = as_markdown("Ablation", build_parts(measured))
    assert "moves the accuracy of a run by 0.0123 on one and 0.0456 on two (standard deviation" in text
    assert "this study detects effects of 0.0" in text and "one: it is long enough." in text
