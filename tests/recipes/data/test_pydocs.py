"""The embedded data set: which docstrings it has, and its cache."""

import ast
import json
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from recipes.data import pydocs
from recipes.data.pydocs import find_docstrings, read_pydocs

LONG = "One two three four five six seven eight."


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRICKBOOK_CACHE", str(tmp_path))
    return tmp_path / "trickbook" / "pydocs"


def test_docstrings_are_found_breadth_first_wherever_they_are() -> None:
    source = f"""
def outer():
    def inner():
        "inner {LONG}"
try:
    pass
except OSError:
    class Handled:
        "handled {LONG}"
else:
    async def other():
        "other {LONG}"
match outer:
    case 1:
        def matched():
            "matched {LONG}"
def short():
    "Too short."
"""
    texts = [text.split()[0] for text in find_docstrings(source.encode())]
    assert texts == ["inner", "other", "handled", "matched"]


def test_they_are_those_of_a_walk_over_every_node() -> None:
    root = Path(sysconfig.get_paths()["stdlib"])
    for name in ("json/decoder.py", "email/message.py", "asyncio/base_events.py"):
        source = (root / name).read_bytes()
        kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        walked = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
        assert find_docstrings(source) == [text for text in walked if len(text.split()) >= 8] != []


def test_the_library_is_parsed_once(
    cache: Path, write: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {"alpha": LONG, "beta": LONG.upper(), "_private": "private " + LONG}.items():
        write(f"lib/{name}/__init__.py", f'"""{text}"""\n')
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path / "lib")})
    parsed: list[bytes] = []
    monkeypatch.setattr(pydocs, "find_docstrings", lambda source: parsed.append(source) or find_docstrings(source))
    read = read_pydocs.__wrapped__
    first = read()
    assert list(first) == [{"text": LONG, "label": "alpha"}, {"text": LONG.upper(), "label": "beta"}]
    assert list(read()) == list(first) and len(parsed) == 2
    # A damaged entry, and a file that has changed, are read again.
    (entry,) = cache.iterdir()
    assert json.loads(entry.read_text(encoding="utf-8"))["label"] == ["alpha", "beta"]
    entry.write_text("{")
    assert list(read()) == list(first) and len(parsed) == 4
    write("lib/beta/__init__.py", f'"""{LONG} More."""\n')
    assert list(read())[1]["text"] == f"{LONG} More."
