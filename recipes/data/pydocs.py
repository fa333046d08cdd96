"""The embedded data set: docstrings of the standard library, labelled with their package."""

import ast
import functools
import hashlib
import json
import sys
import sysconfig
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from datasets import Dataset

from recipes.data.cache import cache_folder
from recipes.errors import UserError
from recipes.runs.files import write_json

VERSION = 1
"""Of the rows. A change of how they are made needs another number, so that no old rows are read."""
# Classes of the data set, and the words that a docstring must have.
CLASSES = 12
WORDS = 8
# The fields of a node that hold statements. Only statements contain others, so no expression is visited.
BLOCKS = {"body", "handlers", "orelse", "finalbody", "cases"}


@functools.cache
def read_pydocs() -> Dataset:
    """Collect docstrings of the standard library, labelled with their package.

    The 12 packages with the most docstrings are the classes. Each text occurs once and has at least 8 words. Rows are
    cached on disk, by the Python version and the library's files: parsing them takes two seconds.
    """
    files = list(_library_files(Path(sysconfig.get_paths()["stdlib"])))
    path = _cache_path(files)
    with suppress(OSError, ValueError, KeyError, TypeError):  # no entry, or a damaged one
        return Dataset.from_dict(json.loads(path.read_text(encoding="utf-8")))
    columns = _collect(files)
    with suppress(UserError):  # a cache that cannot be written costs time only
        write_json(path, columns)
    return Dataset.from_dict(columns)


def _library_files(root: Path) -> Iterator[tuple[str, Path]]:
    """The modules of each package, in order of their names: the package and the file."""
    for package in sorted(entry for entry in root.iterdir() if (entry / "__init__.py").is_file()):
        if package.name in ("test", "site-packages", "lib2to3") or package.name.startswith("_"):
            continue
        for file in sorted(package.rglob("*.py")):
            if not {"test", "tests"} & set(file.parts):
                yield package.name, file


def _cache_path(files: Sequence[tuple[str, Path]]) -> Path:
    times = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for _, file in files]
    key = json.dumps([VERSION, sys.version, times])
    return cache_folder() / "pydocs" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _collect(files: Sequence[tuple[str, Path]]) -> dict[str, list[str]]:
    """Collect texts and labels as two columns."""
    packages: dict[str, str] = {}
    for package, file in files:
        for text in find_docstrings(file.read_bytes()):
            packages.setdefault(text, package)
    by_size = sorted(Counter(packages.values()).items(), key=lambda item: (-item[1], item[0]))
    classes = {name for name, _ in by_size[:CLASSES]}
    rows = {text: package for text, package in packages.items() if package in classes}
    return {"text": list(rows), "label": list(rows.values())}


def find_docstrings(source: bytes) -> list[str]:
    """Find the docstrings of a module that have enough words, breadth first."""
    texts, nodes = [], deque[ast.AST]([ast.parse(source)])
    while nodes:
        node = nodes.popleft()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            texts.append(ast.get_docstring(node) or "")
        for name in node._fields:
            if name in BLOCKS and isinstance(block := getattr(node, name), list):
                nodes.extend(block)
    return [text for text in texts if len(text.split()) >= WORDS]
