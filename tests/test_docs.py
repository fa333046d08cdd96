"""The documents are correct: commands parse, generated pages are up to date, and examples run."""

import importlib
import re
import runpy
import shlex
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import recipes
from recipes.commands.tricks import INSIDE
from recipes.compose import tracker_packages
from recipes.compose.overrides import mistakes
from recipes.compose.reading import read
from recipes.compose.tricks import build
from recipes.seams import SEAMS
from recipes.testing import compose_again, in_child, make_text_file, names
from tests.sampling import every
from tests.test_laws import TRICKS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@cache
def run_tricks_script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "tricks.py"))


def read_page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["README.md", "README_zh.md"])
def test_the_list_of_tricks_is_up_to_date(page: str) -> None:
    script = run_tricks_script()
    inside = read_page(page).split(script["MARKS"][0])[1].split(script["MARKS"][1])[0]
    assert inside.strip() == script["list_by_stage"]().strip(), "run python scripts/tricks.py --write"
    assert names() == TRICKS and sorted(re.findall(r"\[`(\w+)`\]", inside)) == TRICKS


@pytest.mark.parametrize("page", ["README.md", "README_zh.md"])
def test_the_readme_is_short_and_leads_to_the_choice_first(page: str) -> None:
    text = read_page(page)
    assert len(text.splitlines()) <= 120
    choose = "docs/choose.md" if page == "README.md" else "docs/choose_zh.md"
    order = ["docs/ablation.md", choose, "docs/symptoms.md", "docs/evidence/short_runs.md", "docs/tricks.md)"]
    indices = [text.index(f"]({link}" if link.endswith(")") else f"]({link})") for link in order]
    assert indices == sorted(indices)


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    *lines, export = block.splitlines()
    assert re.fullmatch(r"run\.(\w+)\(.*\)", export) and hasattr(recipes.FinishedRun, export[4:].partition("(")[0])
    monkeypatch.chdir(tmp_path)
    finetune = partial(recipes.finetune, model="tiny", max_updates=2, doctor="off")
    frame = pd.read_csv(make_text_file(12)).rename(columns={"text": "review", "label": "stars"})

    def work() -> list[str]:
        namespace = {"recipes": SimpleNamespace(finetune=finetune), "df": frame}
        exec("\n".join([*lines[:-1], f"predictions = {lines[-1]}"]), namespace)
        return [str(name) for name in namespace["predictions"].columns[:2]]  # type: ignore[attr-defined]

    assert len(in_child(work)) == 2


INTERVAL = re.compile(r"[+-]\d\.\d{4} ± \d\.\d{4}")
NUMBER = re.compile(r"[+-]?\d[\d,]*\.\d+|\d,\d{3}")


@pytest.mark.parametrize(
    ("english", "chinese"), [("README.md", "README_zh.md"), ("docs/choose.md", "docs/choose_zh.md")]
)
def test_the_chinese_page_is_in_step(english: str, chinese: str) -> None:
    pages = [read_page(english), read_page(chinese)]
    for pattern in (
        r"```\w*\n(.*?)```",
        INTERVAL.pattern,
        NUMBER.pattern,
        r"arXiv [\d.]+\d",
        r"(?m)^(#+) ",
        r"(?m)^(?:\||-|\d\.) ?",
    ):
        first, second = (sorted(re.findall(pattern, page, re.DOTALL)) for page in pages)
        assert first == second, pattern
    links = [set(re.findall(r"\]\(([^)]+)\)", page.replace("_zh", ""))) - {"README.md"} for page in pages]
    assert links[0] == links[1]
    # Settings and tricks; Chinese has more, where it is about Chinese files.
    code = [set(re.findall(r"`([^`\n]+)`", re.sub("```.*?```", "", page, flags=re.DOTALL))) for page in pages]
    assert not code[0] - code[1]


def test_every_figure_of_the_choice_is_one_of_the_evidence() -> None:
    evidence = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "evidence").glob("*.md")))
    figures = INTERVAL.findall(read_page("docs/choose.md"))
    assert len(figures) > 30 and [figure for figure in figures if figure not in evidence] == []


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "recipe").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_that_is_not_better_says_so(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    (verdict,) = re.findall(r"(?m)^# Verdict: (.*)\.$", text)
    comments = " ".join(line[2:] for line in text.splitlines() if line.startswith("# "))
    differences = [tuple(map(float, figure.split(" ± "))) for figure in INTERVAL.findall(comments)]
    lower, upper = [mean - half for mean, half in differences], [mean + half for mean, half in differences]
    if not differences:
        assert verdict in ("not measured", "the baseline of the others")
    elif max(lower) > 0:
        assert verdict.startswith("better than ") and (min(lower) > 0 or " only where " in verdict)
    else:
        assert verdict.startswith("worse than plain" if max(upper) < 0 else "no better than plain")
    assert f"| [`{path.stem}`](../conf/recipe/{path.name}) |" in read_page("docs/tricks.md")


def test_the_catalogue_is_up_to_date() -> None:
    script = run_tricks_script()
    page = script["CATALOGUE"].read_text(encoding="utf-8")
    assert page == script["catalogue"](), "run python scripts/tricks.py --write"
    for name in names():
        assert page.count(f"\n### [`{name}`]") == 1
    assert set(INSIDE) == set(SEAMS)


def test_pairs_are_listed_unless_they_wrap_different_seams() -> None:
    script = run_tricks_script()
    lines = list(script["pairs"](script["tricks"]()))
    assert sum("refused." in line for line in lines) > 5 and sum("refused." not in line for line in lines) > 20
    assert "- `mixup` and `r_drop`: objective: every pass that `mixup` makes goes through `r_drop`." in lines
    assert not [line for line in lines if line.startswith("- `amp` and `eda`")]


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "README_zh.md",
        "CONTRIBUTING.md",
        *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
    ],
)
def test_link_targets_exist(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)#:]+)[^)]*\)", text):
        assert ((ROOT / page).parent / link).exists(), link


def find_commands() -> list[str]:
    train_lines = []
    for document in (README, *((path.read_text(encoding="utf-8")) for path in sorted((ROOT / "docs").glob("*.md")))):
        blocks = re.findall(r"```bash\n(.*?)```", document, re.DOTALL)
        inline = re.findall(r"`((?:python|torchrun|trickbook)[^`]*train(?:\.py)? [^`]*)`", document)
        lines = [line for block in blocks for line in block.splitlines()] + inline
        train_lines += [
            line.partition("#")[0].strip() for line in lines if re.search(r"train\.py|trickbook train ", line)
        ]
    return train_lines


@pytest.mark.parametrize("command", every(12, find_commands()))
def test_a_documented_command_composes(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A tracker's package need not be installed here.
    monkeypatch.setattr(tracker_packages, "_is_installed", lambda package: True)
    words = shlex.split(command)
    start = words.index("train.py") if "train.py" in words else words.index("trickbook") + 1
    arguments = words[start + 1 :]
    if "--config-dir" in arguments:
        arguments[arguments.index("--config-dir") + 1] = str(ROOT / "docs" / "third_party" / "conf")
    if {"-m", "--config-dir"} & set(arguments):
        assert mistakes(arguments) == []
    else:
        build(read(compose_again(arguments)).tricks)


BENCHES = re.findall(r"^python scripts/bench (.*)$", (ROOT / "docs" / "benchmarks.md").read_text("utf-8"), re.M)


@pytest.mark.parametrize("command", BENCHES)
def test_a_documented_benchmark_command_parses(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    script = importlib.import_module("scripts.bench.__main__")
    words = shlex.split(re.sub(r"<.*?>( \.\.\.)?", "folder", command))
    benchmark, _ = script.read_arguments(words)
    assert callable(benchmark.run)


def test_the_documents_have_commands() -> None:
    assert len(find_commands()) == 32 and len(BENCHES) > 5


@pytest.mark.slow
def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 6
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews.csv").write_bytes(make_text_file(12).read_bytes())

    def run_example() -> tuple[float, int, list[str]]:
        namespace: dict[str, object] = {"__name__": "notebook"}
        for block in blocks:
            exec(compile(block, "docs/python.md", "exec"), namespace)
        return namespace["run"].metrics["test"]["accuracy"], len(namespace["losses"]), namespace["predictions"].names()  # type: ignore

    accuracy, updates, predicted = in_child(run_example)
    assert 0 <= accuracy <= 1 and updates == 30 and len(predicted) == 2
    with pytest.raises(recipes.UserError, match=r"train\.warmup"):
        recipes.finetune(["train.epochs=-1", "train.warmup=2"])
