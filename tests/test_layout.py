"""The shape of the tree: imports run one way, files are named after what is in them, the loop stays small."""

import ast
import importlib
from pathlib import Path

import pytest

from recipes import seams
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.compose.tricks import build
from recipes.testing import names
from recipes.trick import Trick

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "recipes": {"recipes"},
    "tricks": {"recipes"},
    "train.py": {"recipes"},
    "scripts": {"recipes", "scripts"},
    "hydra_plugins": {"recipes"},
}
OURS = {"recipes", "tricks", "scripts", "train", "tests"}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add((node.module or "").partition(".")[0])
    return found & OURS


def test_imports_run_one_way() -> None:
    seen = 0
    for top, allowed in MAY_IMPORT.items():
        place = ROOT / top
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            assert imported(path) <= allowed, path
            seen += 1
    assert seen > 30


def test_the_loop_and_the_command_stay_small() -> None:
    assert len((ROOT / "recipes" / "loop.py").read_text().splitlines()) < 250
    assert len((ROOT / "train.py").read_text().splitlines()) < 40


def test_recipes_know_no_trick() -> None:
    for path in sorted((ROOT / "recipes").glob("*.py")):
        strings = [
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value
        ]
        if path.name != "testing.py":
            assert not set(strings) & set(names()), path


@pytest.mark.parametrize("name", names())
def test_a_trick_is_where_its_name_says(name: str) -> None:
    trick = build(read(compose_config([f"+tricks=[{name}]"])[0]).tricks)[name]
    stage = seams.stage_of(trick.slots)
    assert type(trick).__module__ == f"tricks.{stage}.{name}"
    assert type(trick).__name__ == "".join(word.title() for word in name.split("_"))
    assert (ROOT / "tests" / "tricks" / stage / f"test_{name}.py").is_file()


@pytest.mark.parametrize("name", names())
def test_a_trick_has_a_card_and_every_value_a_comment(name: str) -> None:
    trick = build(read(compose_config([f"+tricks=[{name}]"])[0]).tricks)[name]
    card = importlib.import_module(type(trick).__module__).__doc__ or ""
    for heading in ("Source: ", "Cost: ", "Use when: ", "Avoid when: ", "Composes: "):
        assert heading in card, heading
    lines = (ROOT / "conf" / "tricks" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"# @package tricks.{name}"
    for place, line in enumerate(lines):
        if ":" in line and not line.startswith(("#", "_target_")):
            assert "#" in line or lines[place - 1].startswith("#"), line


def test_every_trick_file_has_a_config() -> None:
    files = {path.stem for path in (ROOT / "tricks").rglob("*.py")} - {"__init__"}
    assert files == set(names())
    kinds = {type(build(read(compose_config([f"+tricks=[{name}]"])[0]).tricks)[name]) for name in names()}
    assert len(kinds) == len(files) and all(issubclass(kind, Trick) for kind in kinds)
