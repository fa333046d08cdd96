"""docs/architecture.md: its picture and its links follow the source, and it names every package."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def architecture(script: Callable[[str], ModuleType]) -> ModuleType:
    """The script, which reads the packages once."""
    module = script("architecture")
    module.read_packages = cache(module.read_packages)  # type: ignore[attr-defined]
    return module


def test_the_picture_shows_the_current_imports(architecture: ModuleType) -> None:
    assert (ROOT / "docs" / "import_map.svg").read_text(encoding="utf-8") == architecture.draw(), (
        "run python scripts/architecture.py"
    )


def test_every_link_leads_to_the_line_of_its_name(architecture: ModuleType) -> None:
    assert len(architecture.LINK.findall(PAGE)) > 25
    assert architecture.refresh_links(PAGE) == PAGE, "run python scripts/architecture.py"


def test_a_link_to_a_missing_name_is_refused(architecture: ModuleType) -> None:
    with pytest.raises(LookupError, match="defines no Base.gradients"):
        architecture.refresh_links("[`Base.gradients`](../recipes/base.py#L1)")


def test_the_page_names_every_package(architecture: ModuleType) -> None:
    packages = architecture.read_packages()
    assert len(packages) >= 22
    assert [package for package in sorted(packages) if f"| `{package}` |" not in PAGE] == []


def test_implied_arrows_are_left_out(architecture: ModuleType) -> None:
    graph = {"top": {"middle", "low"}, "middle": {"low"}, "low": set[str]()}
    assert architecture.drop_implied(graph) == {"top": {"middle"}, "middle": {"low"}, "low": set()}
    assert architecture.find_rows(graph) == [["low"], ["middle"], ["top"]]
