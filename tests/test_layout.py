"""The layout of the repository: recipes/ names no trick, and files are named after their contents."""

import ast
import importlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from recipes import seams
from recipes.testing import declared_trick, names
from recipes.trick import Trick

ROOT = Path(__file__).parents[1]


# A trick's name as a full word, alone or in `tricks.<name>`; a part of a longer word or of a file name does not match.
TRICK = re.compile(rf"(?<![\w-])(?:{'|'.join(names())})(?![\w-])")
NO_TRICKS = {
    r"&(?:amp|lt|gt|quot|nbsp|#\d{2,5});": "an HTML entity",
    " texts contain HTML entities such as &amp;.": "an HTML entity",
    "(.*_)?(file|folder|path|teacher|fusion)s?": "settings that name a file or a folder",
    "near-duplicates need the package datasketch: pip install 'trickbook[deduplicate]'": "an extra of pyproject.toml",
}


@cache
def strings(path: Path) -> Sequence[str]:
    """List every string of a module except docstrings, including the parts of f-strings."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    prose = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    constants = (node for node in nodes if isinstance(node, ast.Constant) and id(node) not in prose)
    return [node.value for node in constants if isinstance(node.value, str)]


def test_every_module_has_its_test_file() -> None:
    modules = [path.relative_to(ROOT) for path in sorted((ROOT / "recipes").rglob("*.py"))]
    modules = [path for path in modules if path.name != "__init__.py"]
    assert len(modules) > 90
    tests = {path: ROOT / "tests" / path.parent / f"test_{path.name}" for path in modules}
    assert [str(path) for path, test in tests.items() if not test.is_file()] == []


def test_the_top_of_recipes_stays_small() -> None:
    assert len(list((ROOT / "recipes").glob("*.py"))) <= 16


def test_recipes_name_no_trick() -> None:
    paths = sorted((ROOT / "recipes").rglob("*.py"))
    assert len(paths) > 100
    mentions = {(path.name, text) for path in paths for text in strings(path) if TRICK.search(text)}
    assert {text for _, text in mentions} == set(NO_TRICKS), mentions


def test_messages_of_tricks_use_the_selected_name() -> None:
    settings = re.compile(rf"tricks\.(?:{'|'.join(names())})(?![\w-])|\+tricks=\[[a-z]|^(?:{'|'.join(names())}): ")
    paths = [*sorted((ROOT / "tricks").rglob("*.py")), *sorted((ROOT / "recipes" / "toolkit").rglob("*.py"))]
    assert len(paths) > 40
    assert not [(path.name, text) for path in paths for text in strings(path) if settings.search(text)]


@pytest.mark.parametrize("name", names())
def test_the_module_of_a_trick_follows_its_stage_and_name(name: str) -> None:
    trick = declared_trick(name)
    stage = seams.stage_of(trick.slots)
    assert type(trick).__module__ == f"tricks.{stage}.{name}"
    assert type(trick).__name__ == "".join(word.title() for word in name.split("_"))
    assert (ROOT / "tests" / "tricks" / stage / f"test_{name}.py").is_file()


@pytest.mark.parametrize("name", names())
def test_every_trick_has_a_card_and_every_setting_a_comment(name: str) -> None:
    trick = declared_trick(name)
    card = importlib.import_module(type(trick).__module__).__doc__ or ""
    for heading in ("Source: ", "Cost: ", "Use when: ", "Avoid when: ", "Composes: "):
        assert heading in card, heading
    lines = (ROOT / "conf" / "tricks" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"# @package tricks.{name}"
    for index, line in enumerate(lines):
        if ":" in line and not line.startswith(("#", "_target_")):
            assert "#" in line or lines[index - 1].startswith("#"), line


def test_every_trick_file_has_a_config() -> None:
    files = {path.stem for path in (ROOT / "tricks").rglob("*.py")} - {"__init__"}
    assert files == set(names())
    kinds = {type(declared_trick(name)) for name in names()}
    assert len(kinds) == len(files) and all(issubclass(kind, Trick) for kind in kinds)
