"""Packages import only those before them in a table of all packages; the source is parsed and not run."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]

# A package of recipes may import those before it, and itself.
ORDER = (
    *(
        "errors",
        "findings",
        "ranges",
        "metrics",
        "runtime",
        "config",
        "runs",
        "data",
        "models",
        "seams",
        "trick",
        "graphs",
        "compose",
    ),
    *(
        "state",
        "base",
        "guards",
        "prediction",
        "reports",
        "export",
        "trackers",
        "loop",
        "doctor",
        "toolkit",
        "pipeline",
        "api",
    ),
)
# These may import all of them, and none of them imports these.
ON_TOP = ("testing", "ablation", "cli")
# May import everything, and is imported by the files that start it.
COMMANDS = "commands"

# Beside recipes/, everything may import recipes alone.
OUTSIDE = ("tricks", "scripts", "hydra_plugins", "train.py")
# Who may use the parts that tricks are made of.
USES_TOOLKIT = {
    "tricks": "what the parts are for",
    "scripts.bench": "times a part against its peers",
}

# Calls that import what a string names.
BY_STRING = ("import_module", "find_spec", "spec_from_file_location", "__import__", "instantiate", "call", "_locate")
BY_STRING += (
    "get_class",
    "get_method",
    "get_object",
    "get_static_method",
    "instantiate_launcher",
    "instantiate_sweeper",
)
CALLS_BY_STRING = {
    ("recipes/__init__.py", "import_module"): "a public name is imported when first asked for: start-up time",
    ("recipes/commands/trickbook.py", "import_module"): "only the chosen command is imported: start-up time",
    ("recipes/compose/trust.py", "_locate"): "a class or function that a config names and somebody trusts",
    ("recipes/compose/trust.py", "find_spec"): "where a class would come from, before it is imported",
    ("recipes/models/packages.py", "find_spec"): "weights that come as a package, which may be missing",
    ("recipes/testing.py", "import_module"): "packages of tricks that may be missing, before children are forked",
    ("scripts/calibrate.py", "import_module"): "only the chosen simulation is imported: start-up time",
    ("scripts/gpu_check.py", "import_module"): "each section is imported in its own process",
    ("scripts/bench/__main__.py", "import_module"): "only the chosen benchmark is imported: start-up time",
    ("scripts/bench/loop.py", "import_module"): "peers that may be missing",
    ("scripts/bench/eda_peers.py", "find_spec"): "peers that may be missing",
    ("scripts/bench/eda_peers.py", "spec_from_file_location"): "a peer's module, read from its own file",
    ("hydra_plugins/trickbook_ablation.py", "instantiate_launcher"): "the launcher that the command line chooses",
}
TARGETS = {
    (
        "conf/hydra/sweeper/ablation.yaml",
        "hydra_plugins.trickbook_ablation.AblationSweeper",
    ): "how Hydra finds a sweeper",
    (
        "conf/train.yaml",
        "recipes.compose.baseline.MissingBaseline",
    ): "how Hydra finds what it calls when a sweep starts",
    ("conf/tricks/nlpaug.yaml", "nlpaug.augmenter.word.SpellingAug"): "an augmenter, as nlpaug's users write it",
}


@pytest.fixture(scope="module")
def imports(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("imports")


@pytest.fixture(scope="module")
def inside(imports: ModuleType) -> list[Any]:
    """The imports of recipes/, as arrows."""
    return list(imports.arrows(ROOT / "recipes"))


@pytest.fixture(scope="module")
def outside(imports: ModuleType) -> list[Any]:
    """The imports of all other code except tests, as arrows."""
    return [arrow for name in OUTSIDE for arrow in imports.arrows(ROOT / name)]


def package(module: str) -> str:
    """Return the package below `recipes` that a module belongs to; empty for `recipes` itself."""
    return module.partition(".")[2].partition(".")[0]


def test_every_module_is_read(imports: ModuleType) -> None:
    read = imports.modules(ROOT / "recipes")
    files = [path for path in (ROOT / "recipes").rglob("*.py") if path.is_file()]
    assert len(read) == len(files) > 100
    assert {"recipes", "recipes.doctor", "recipes.doctor.checks.data", "recipes.api"} <= set(read)
    expected = {*ORDER, *ON_TOP, COMMANDS, ""}
    assert {package(module) for module in read} == expected, "a name is not in the table, or is gone"


def test_imports_of_every_kind_are_read(inside: list[Any]) -> None:
    kinds = {(arrow.source, arrow.target): arrow.kind for arrow in inside}
    assert kinds["recipes.loop", "recipes.seams"] == "start"  # from recipes import seams
    assert kinds["recipes.compose.reading", "recipes.compose.tricks"] == "call"
    assert kinds["recipes.trick", "recipes.config"] == "types"
    assert len(inside) > 400


def test_imports_have_no_circles(imports: ModuleType, inside: list[Any]) -> None:
    assert imports.circles(inside) == []


def test_a_package_imports_those_before_it(inside: list[Any]) -> None:
    ranks = {name: rank for rank, name in enumerate(ORDER)}
    for arrow in inside:
        one, other = package(arrow.source), package(arrow.target)
        if one in ("", COMMANDS, other):  # the public names may come from anywhere
            continue
        assert other, f"{arrow}: a public name of recipes; import it from its module"
        assert other not in (*ON_TOP, COMMANDS), arrow
        assert one in ON_TOP or ranks[other] < ranks[one], arrow


def test_everything_else_imports_recipes(outside: list[Any]) -> None:
    assert {arrow.source.partition(".")[0] for arrow in outside} == {"tricks", "scripts", "hydra_plugins", "train"}
    for arrow in outside:
        # A script may use the parts of another one; a trick never uses another trick.
        own = {"scripts"} if arrow.source.startswith("scripts") else set()
        assert arrow.target.partition(".")[0] in {"recipes", *own}, arrow


def test_the_toolkit_is_for_tricks(inside: list[Any], outside: list[Any]) -> None:
    users = {
        arrow.source for arrow in [*inside, *outside] if package(arrow.target) == "toolkit" != package(arrow.source)
    }
    for user in users:
        assert user.startswith(tuple(USES_TOOLKIT)), user
    assert len(users) > 10


def test_every_import_by_a_string_has_its_reason(imports: ModuleType) -> None:
    string_imports = set()
    for name in ("recipes", *OUTSIDE):
        for path in imports.modules(ROOT / name).values():
            string_imports |= {(str(path.relative_to(ROOT)), call) for call in calls(path) if call in BY_STRING}
    assert string_imports == set(CALLS_BY_STRING)


def calls(path: Path) -> Iterator[str]:
    """Yield the last name of every function that a module calls."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield node.func.id if isinstance(node.func, ast.Name) else node.func.attr


def test_every_class_that_a_config_names_has_its_reason() -> None:
    custom_targets = set()
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        for depth, target in targets(yaml.safe_load(path.read_text(encoding="utf-8")), 0):
            is_trick = path.parent.name == "tricks" and depth == 0
            if not (is_trick and target.startswith("tricks.")):
                custom_targets.add((str(path.relative_to(ROOT)), target))
    assert custom_targets == set(TARGETS)


def targets(node: Any, depth: int) -> Iterator[tuple[int, str]]:
    """Yield the depth and the value of every `_target_` of a config."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield depth, node["_target_"]
        for each in node.values():
            yield from targets(each, depth + 1)
    elif isinstance(node, list):
        for each in node:
            yield from targets(each, depth + 1)


# The script that parses the source.

EXAMPLE_PACKAGE = {
    "pack/__init__.py": "from pack.a import one\n",
    "pack/a.py": "import numpy\nfrom pack import b\n\none = 1\n",
    "pack/b.py": "def late() -> None:\n    from pack.deep import c\n    from pack import one\n",
    "pack/deep/__init__.py": "",
    "pack/deep/c.py": "import typing\n\nif typing.TYPE_CHECKING:\n    import pack.a\nelse:\n    import pack.b\n",
    "beside.py": "",
    "pack/d.py": "import beside\nfrom pack.d import itself\n",
}


def test_arrows_of_an_example_package(imports: ModuleType, write: Callable[[str, str], Path], tmp_path: Path) -> None:
    for name, text in EXAMPLE_PACKAGE.items():
        write(name, text)
    arrows = imports.arrows(tmp_path / "pack")
    assert [(arrow.source, arrow.target, arrow.kind, arrow.line) for arrow in arrows] == [
        ("pack", "pack.a", "start", 1),
        ("pack.a", "pack.b", "start", 2),
        ("pack.b", "pack", "call", 3),
        ("pack.b", "pack.deep.c", "call", 2),
        ("pack.d", "beside", "start", 1),
        ("pack.d", "pack.d", "start", 2),
        ("pack.deep.c", "pack.a", "types", 4),
        ("pack.deep.c", "pack.b", "start", 6),
    ]
    assert imports.circles(arrows) == [["pack", "pack.a", "pack.b", "pack.deep.c"], ["pack.d"]]
    assert imports.circles(arrow for arrow in arrows if arrow.source not in ("pack.b", "pack.d")) == []
    assert imports.modules(tmp_path / "beside.py") == {"beside": tmp_path / "beside.py"}


def test_a_relative_import_is_refused(imports: ModuleType, write: Callable[[str, str], Path], tmp_path: Path) -> None:
    write("pack/a.py", "from . import b\n")
    with pytest.raises(ValueError, match=r"a\.py:1: relative import"):
        imports.arrows(tmp_path / "pack")
