"""The page: what must be on it, that nothing on it is markup of the data's, and that a browser opens it."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from recipes.api import FinishedRun, finetune_config
from recipes.metrics import Predictions, answers, marks
from recipes.reports.run_page import page
from recipes.testing import in_child, tiny_config


def made(folder: Path, *overrides: str) -> FinishedRun:
    in_child(lambda: finetune_config(tiny_config(*overrides), folder))
    return FinishedRun(folder)


class Tags(HTMLParser):
    """The tags of a page; those that stay open are listed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(text: str) -> list[str]:
    parser = Tags()
    parser.feed(text)
    assert parser.open == []
    return parser.seen


def test_one_run(tmp_path: Path) -> None:
    text = page([made(tmp_path / "run", "+tricks=[swa]")])
    seen = tags(text)
    assert seen.count("svg") == 3 and "script" not in seen and "link" not in seen and "img" not in seen
    assert not re.findall(r'(?:src|href)="https?:', text)
    for words in ("swa; averaged weights", "test accuracy", "Class by class, test", "Most suspicious", "Hardest"):
        assert words in text
    assert re.search(r"<td>c\d|<span>[abcw]", text)  # a text of the data
    assert "Side by side" not in text


def test_several_runs(tmp_path: Path) -> None:
    runs = [made(tmp_path / "one"), made(tmp_path / "two", "model=linear")]
    text = page(runs)
    assert tags(text).count("svg") == 1 + 3 + 2  # linear has no curve
    assert "Side by side" in text and 'href="#two"' in text and 'id="two"' in text


def test_runs_of_one_name_and_one_without_a_history(tmp_path: Path) -> None:
    whole = made(tmp_path / "whole", "+tricks=[fusion]", "tricks.fusion.members=[tiny,linear]", "tricks.fusion.folds=2")
    one, other = (FinishedRun(whole.folder / "members" / name / "fold-1") for name in ("1-tiny", "2-linear"))
    shown = page([whole, one, other])
    assert all(f'<a href="#{name}/fold-1">{name}/fold-1</a>' in shown for name in ("1-tiny", "2-linear"))
    assert shown.count("<h2 ") == 3 and "out_of_fold accuracy" in shown
    drawn = re.findall(r"<text[^>]*>([^<]*fold-1|[^<]*whole)<", shown)
    assert drawn == ["1-tiny/fold-1"]  # the one with a curve


def test_what_the_data_says_is_no_markup(tmp_path: Path) -> None:
    rows = "".join(
        f'"<script>{word} & {row}</script>",{"<b>" if row % 2 else "中文"}\n' for row, word in enumerate("ab" * 20)
    )
    (tmp_path / "data.csv").write_text("text,label\n" + rows, encoding="utf-8")
    file = tmp_path / "data.csv"
    splits = [f"data.{split}={file}" for split in ("train", "validation", "test")]
    text = page([made(tmp_path / "run", *splits, "train.max_updates=2")])
    assert "script" not in tags(text)
    assert "&lt;script&gt;" in text and "&lt;b&gt;" in text and "中文" in text


def test_where_the_texts_are_gone_the_page_says_so(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    file.write_text("text,label\n" + "".join(f"a{row},{'xy'[row % 2]}\n" for row in range(40)), encoding="utf-8")
    splits = [f"data.{split}={file}" for split in ("train", "validation", "test")]
    run = made(tmp_path / "run", *splits, "train.max_updates=2")
    file.unlink()
    assert "The texts cannot be read again" in page([run])


def test_what_is_held_is_what_was_predicted(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    held = run.load_predictions("test")
    wanted = run.metrics["test"]
    from recipes.metrics import measure

    assert measure(held) == pytest.approx(wanted, abs=1e-5)
    several = made(tmp_path / "several", "data.label_separator=|", "evaluate.metric=micro_f1")
    assert measure(several.load_predictions("test")) == pytest.approx(several.metrics["test"], abs=1e-5)


def test_marks_and_answers_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.2, 0.8]])
    decisions = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], dtype=np.int8)
    one = Predictions(list("1234"), ["x", "x", None, "new"], probabilities, decisions, ["x", "y"], False)
    true, chosen, strangers = marks(one)
    assert true.tolist() == [[1, 0], [1, 0], [0, 0]] and chosen.tolist() == [[1, 0], [0, 1], [0, 1]]
    assert strangers.tolist() == [0, 0, 1]
    sure, right = answers(one)
    assert sure.tolist() == [0.9, 0.6, 0.8] and right.tolist() == [True, False, False]
    several = Predictions(["1"], [["y"]], np.array([[0.9, 0.1]]), np.array([[1, 0]]), ["x", "y"], True)
    sure, right = answers(several)
    assert sure.tolist() == [0.9, 0.9] and right.tolist() == [False, False]


@pytest.mark.slow
def test_a_browser_shows_it(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium here (apt-get install chromium)")
    file = tmp_path / "page.html"
    file.write_text(page([made(tmp_path / "run")]), encoding="utf-8")
    shown = tmp_path / "page.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--screenshot={shown}", "--window-size=1200,3000"]
    done = subprocess.run([browser, *options, file.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    assert shown.stat().st_size > 20_000 and "ERROR:CONSOLE" not in done.stderr
