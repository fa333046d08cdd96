"""Every package that the code imports is declared, and every required one is imported."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Modules that come with Python or are in this repository; a relative import names none.
IN_PLACE = sys.stdlib_module_names | {"docs", "hydra_plugins", "recipes", "scripts", "tests", "tricks", ""}


def names_of(requirements: Iterable[str]) -> set[str]:
    return {re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;]", line)[0]).lower() for line in requirements}


REQUIRED = names_of(PROJECT["dependencies"])
# Used only inside a notebook, which has it.
PRESENT = {"ipython"}
# Where a package that is not installed has another name than its module.
NAMES = {"mlflow": "mlflow-skinny"}
DECLARED = REQUIRED.union(*map(names_of, PROJECT["optional-dependencies"].values()))


@cache
def imported_packages(*folders: str) -> set[str]:
    """The distributions whose modules the files of some folders import."""
    distributions = metadata.packages_distributions()
    modules = set()
    for path in (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))):
        modules |= {name.partition(".")[0] for name in imported_modules(ast.parse(path.read_text(encoding="utf-8")))}
    names = (distributions.get(module, [NAMES.get(module, module)])[:1] for module in modules - IN_PLACE)
    return set().union(*map(names_of, names))


def imported_modules(node: ast.AST) -> Iterator[str]:
    """The modules that a statement imports, or the statements in it; an expression contains none."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield node.module or ""
    else:
        for inner in ast.iter_child_nodes(node):
            if not isinstance(inner, ast.expr):
                yield from imported_modules(inner)


def test_what_is_imported_is_declared() -> None:
    used = imported_packages("recipes", "tricks", "hydra_plugins")
    assert len(used) > 20
    assert used - DECLARED - PRESENT == set()


@pytest.mark.slow
def test_what_anything_else_imports_is_declared() -> None:
    assert imported_packages("scripts", "tests", "docs") - DECLARED == set()


def test_what_is_required_is_imported() -> None:
    assert REQUIRED - imported_packages("recipes", "tricks", "hydra_plugins") == set()


def test_every_declared_package_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = names_of(line for line in lines if "==" in line and not line.startswith("#"))
    assert DECLARED - {"trickbook"} - pinned == set()


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_versions_of_python_are_declared(version: str) -> None:
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]
