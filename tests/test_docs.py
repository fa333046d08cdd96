"""The documents are correct: commands parse, generated pages are up to date, and examples run."""

import importlib
import re
import runpy
import shlex
from pathlib import Path

import pytest

import recipes
from recipes.compose import tracker_packages
from recipes.compose.overrides import compose_config, mistakes
from recipes.compose.reading import read
from recipes.compose.tricks import build
from recipes.seams import SEAMS
from recipes.testing import in_child, make_text_file, names
from tests.test_laws import TRICKS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_trick_table_is_up_to_date() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "tricks.py"))
    inside = README.split(script["MARKS"][0])[1].split(script["MARKS"][1])[0]
    assert inside.strip() == script["table"]().strip(), "run python scripts/tricks.py --write"
    assert names() == TRICKS and len(inside.strip().splitlines()) == 2 + len(TRICKS)


def test_the_catalogue_is_up_to_date() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "tricks.py"))
    page = script["CATALOGUE"].read_text(encoding="utf-8")
    assert page == script["catalogue"](), "run python scripts/tricks.py --write"
    for name in names():
        assert page.count(f"\n### [`{name}`]") == 1
    assert set(script["INSIDE"]) == set(SEAMS)


def test_pairs_are_listed_unless_they_wrap_different_seams() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "tricks.py"))
    lines = list(script["pairs"](script["tricks"]()))
    assert sum("refused." in line for line in lines) > 5 and sum("refused." not in line for line in lines) > 20
    assert "- `mixup` and `r_drop`: objective: every pass that `mixup` makes goes through `r_drop`." in lines
    assert not [line for line in lines if line.startswith("- `amp` and `eda`")]


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
)
def test_link_targets_exist(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)#:]+)[^)]*\)", text):
        assert ((ROOT / page).parent / link).exists(), link


def find_commands() -> list[str]:
    train_lines = []
    for document in (README, *((path.read_text(encoding="utf-8")) for path in sorted((ROOT / "docs").glob("*.md")))):
        blocks = re.findall(r"```bash\n(.*?)```", document, re.DOTALL)
        inline = re.findall(r"`((?:python|torchrun)[^`]*train\.py[^`]*)`", document)
        lines = [line for block in blocks for line in block.splitlines()] + inline
        train_lines += [line.partition("#")[0].strip() for line in lines if "train.py" in line]
    return train_lines


@pytest.mark.parametrize("command", find_commands())
def test_a_documented_command_composes(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A tracker's package need not be installed here.
    monkeypatch.setattr(tracker_packages, "_is_installed", lambda package: True)
    words = shlex.split(command)
    arguments = words[words.index("train.py") + 1 :]
    if "--config-dir" in arguments:
        arguments[arguments.index("--config-dir") + 1] = str(ROOT / "docs" / "third_party" / "conf")
    assert mistakes(arguments) == []
    if not {"-m", "--config-dir"} & set(arguments):
        build(read(compose_config(arguments)[0]).tricks)


BENCHES = re.findall(r"^python scripts/bench (.*)$", (ROOT / "docs" / "benchmarks.md").read_text("utf-8"), re.M)


@pytest.mark.parametrize("command", BENCHES)
def test_a_documented_benchmark_command_parses(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    script = importlib.import_module("scripts.bench.__main__")
    words = shlex.split(re.sub(r"<.*?>( \.\.\.)?", "folder", command))
    benchmark, _ = script.read_arguments(words)
    assert callable(benchmark.run)


def test_the_documents_have_commands() -> None:
    assert len(find_commands()) == 21 and len(BENCHES) > 5


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 4
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
