"""The page of runs: its content, that text from the data is escaped, and that a browser opens it."""

import re
import shutil
import subprocess
from html import escape
from pathlib import Path

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt

from recipes.api import FinishedRun, finetune_config
from recipes.metrics import Predictions, confidences, label_matrices, measure
from recipes.reports.run_page import page
from recipes.testing import UNSAVED, in_child, tiny_config
from tests.recipes.reports.pages import check_page, tags


def train(folder: Path, *overrides: str) -> FinishedRun:
    in_child(lambda: finetune_config(tiny_config(*UNSAVED, *overrides), folder))
    return FinishedRun(folder)


# Tries to leave an element, an attribute, a title, a style, a comment, a cell and a line.
ATTACK = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)></title></style>--></td>|&lt;i&gt;\n\n# $x$ [a](b:c)"


def test_the_page_of_one_run_has_its_figures_tables_and_texts(tmp_path: Path) -> None:
    text = page([train(tmp_path / "run", "+tricks=[swa]")])
    written = check_page(text)
    assert len([values for values in written.all("svg") if values.get("role") == "img"]) == 4
    for words in ("averaged", "accuracy on", "Classes, on test", "Check the label", "The highest loss"):
        assert words in text
    assert re.search(r"<blockquote>[abcw]", text)  # a text of the data
    assert "Side by side" not in text


@pytest.mark.slow
def test_the_page_of_two_runs_compares_them(tmp_path: Path) -> None:
    runs = [train(tmp_path / "one"), train(tmp_path / "two", "model=linear")]
    text = page(runs)
    written = check_page(text)
    # The difference and the curves of both; of each run its baselines and its reliability; linear has no curves.
    assert len([values for values in written.all("svg") if values.get("role") == "img"]) == 2 + 4 + 2
    assert "Side by side" in text and 'href="#run-2">two<' in text and 'id="run-2"' in text


@pytest.mark.slow
def test_members_of_an_ensemble_are_compared_with_it(tmp_path: Path) -> None:
    ensemble = train(
        tmp_path / "ensemble", "+tricks=[fusion]", "tricks.fusion.members=[tiny,linear]", "tricks.fusion.folds=2"
    )
    one, other = (FinishedRun(ensemble.folder / "members" / name / "fold-1") for name in ("1-tiny", "2-linear"))
    text = page([ensemble, one, other])
    check_page(text)
    assert all(f">{name}/fold-1</h2>" in text for name in ("1-tiny", "2-linear"))
    assert ">out_of_fold</th>" in text


def test_markup_in_the_data_is_escaped(tmp_path: Path) -> None:
    rows = "".join(
        f'"<script>{word} & {row}</script>",{"<b>" if row % 2 else "中文"}\n' for row, word in enumerate("ab" * 20)
    )
    (tmp_path / "data.csv").write_text("text,label\n" + rows, encoding="utf-8")
    file = tmp_path / "data.csv"
    splits = [f"data.{split}={file}" for split in ("train", "validation", "test")]
    text = page([train(tmp_path / "run", *splits, "train.max_updates=2")])
    assert "script" not in check_page(text).tags
    assert "&lt;script&gt;" in text and "&lt;b&gt;" in text and "中文" in text


def test_nothing_that_somebody_else_wrote_is_markup(tmp_path: Path) -> None:
    quoted = ATTACK.replace('"', '""')
    rows = "".join(f'"{quoted} {row}","{quoted if row % 2 else "x"}","{quoted} {row}"\n' for row in range(40))
    (tmp_path / "data.csv").write_text("text,label,id\n" + rows, encoding="utf-8")
    splits = [f"data.{split}={tmp_path / 'data.csv'}" for split in ("train", "validation", "test")]
    run = train(tmp_path / "<img src=x onerror=alert(1)> $x", *splits, "data.id=id", "train.max_updates=2")
    card = (run.folder / "model" / "README.md").read_text(encoding="utf-8")
    assert not {"script", "img", "a"} & set(tags(MarkdownIt().enable("table").render(card)))
    assert yaml.safe_load(card.split("---")[1])["tags"] == ["trickbook"]
    plain = tags(page([run, run]))

    metrics, config = run.metrics, run.config
    cost = dict.fromkeys(metrics["cost"], ATTACK)
    scores = {**metrics["test"], ATTACK: ATTACK}
    foreign = {**metrics, "test": scores, "tricks": [ATTACK, 3], "weights": ATTACK, "cost": cost}
    lines = [{**line, ATTACK: ATTACK} for line in run.history]
    for line in lines:
        if "split" in line:
            line[ATTACK] = 0.5
    run.__dict__ |= {"metrics": foreign, "history": lines}
    run.__dict__["config"] = {**config, "evaluate": {**config["evaluate"], "metric": ATTACK}}
    names = tags(page([run, run]))
    assert not {"script", "img", "i"} & set(names) and set(names) == set(plain)


def test_the_page_explains_that_texts_cannot_be_read_again(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    file.write_text("text,label\n" + "".join(f"a{row},{'xy'[row % 2]}\n" for row in range(40)), encoding="utf-8")
    splits = [f"data.{split}={file}" for split in ("train", "validation", "test")]
    run = train(tmp_path / "run", *splits, "train.max_updates=2")
    file.unlink()
    assert "The texts cannot be read again" in page([run])


@pytest.mark.slow
def test_loaded_predictions_have_the_scores_of_the_run(tmp_path: Path) -> None:
    run = train(tmp_path / "run")
    assert measure(run.load_predictions("test")) == pytest.approx(run.metrics["test"], abs=1e-5)
    multi_label = train(tmp_path / "multi_label", "data.label_separator=|", "evaluate.metric=micro_f1")
    assert measure(multi_label.load_predictions("test")) == pytest.approx(multi_label.metrics["test"], abs=1e-5)


def test_marks_and_answers_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.2, 0.8]])
    decisions = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], dtype=np.int8)
    single_label = Predictions(list("1234"), ["x", "x", None, "new"], probabilities, decisions, ["x", "y"], False)
    labels, predicted, unseen = label_matrices(single_label)
    assert labels.tolist() == [[1, 0], [1, 0], [0, 0]] and predicted.tolist() == [[1, 0], [0, 1], [0, 1]]
    assert unseen.tolist() == [0, 0, 1]
    confidence, right = confidences(single_label)
    assert confidence.tolist() == [0.9, 0.6, 0.8] and right.tolist() == [True, False, False]
    multi_label = Predictions(["1"], [["y"]], np.array([[0.9, 0.1]]), np.array([[1, 0]]), ["x", "y"], True)
    confidence, right = confidences(multi_label)
    assert confidence.tolist() == [0.9, 0.9] and right.tolist() == [False, False]


# A phone of 360 pixels: what is wider than its screen, apart from what scrolls in a box of its own.
FRAME = """<body><iframe style="width:360px" srcdoc="{}"></iframe><script>
const frame = document.querySelector("iframe");
frame.onload = () => {{
  const page = frame.contentDocument, width = frame.contentWindow.innerWidth;
  const boxes = [...page.querySelectorAll("body *")].filter((each) => !each.closest(".scroll, pre"));
  const wide = boxes.filter((each) => each.getBoundingClientRect().right > width + 1);
  document.body.dataset.wide = `${{boxes.length}} boxes, wide: ${{wide.map((each) => each.tagName)}}`;
}};
</script></body>"""


@pytest.mark.slow
def test_a_browser_shows_it_without_scrolling_sideways_on_a_phone(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium here (apt-get install chromium)")
    file = tmp_path / "page.html"
    runs = [train(tmp_path / "run"), train(tmp_path / ("a_long_name" * 8), "model=linear")]
    file.write_text(FRAME.format(escape(page(runs))), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom"]
    options.append(f"--user-data-dir={tmp_path / 'profile'}")
    shown = subprocess.run([browser, *options, file.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    assert re.search(r'data-wide="\d{3,} boxes, wide: "', shown.stdout), re.findall('data-wide="[^"]*"', shown.stdout)
    assert "ERROR:CONSOLE" not in shown.stderr
