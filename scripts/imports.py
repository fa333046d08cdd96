"""Read who imports whom from the source alone; nothing is imported.

modules(Path("recipes"))           # {"recipes.api": Path("recipes/api.py"), ...}
arrows(Path("recipes"))            # [Arrow("recipes.api", "recipes.config", "start", 12), ...]
circles(arrows(Path("recipes")))   # [] as long as imports run one way
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

START, CALL, TYPES = "start", "call", "types"
"""When an import runs: with its module, when a function is called, or never, for annotations alone."""


@dataclass(frozen=True, order=True)
class Arrow:
    """One module imports another one, or an object from it."""

    source: str
    target: str
    kind: str
    """`START`, `CALL` or `TYPES`."""
    line: int


def modules(root: Path) -> dict[str, Path]:
    """Every module of a package, or the one module that a file is, by its dotted name."""
    if root.is_file():
        return {root.stem: root}
    files = (path for path in sorted(root.rglob("*.py")) if "__pycache__" not in path.parts)
    return {".".join(_parts(path.relative_to(root.parent))): path for path in files}


def arrows(root: Path) -> list[Arrow]:
    """Every import of a package's modules, or of one file, that leads to a module next to or below `root`.

    `from recipes import seams` leads to `recipes.seams`, which is a module, and `from recipes import Trick` to
    `recipes`. That importing `recipes.seams` runs `recipes/__init__.py` first is no arrow.

    Raises:
        ValueError: an import is relative.
    """
    imports = []
    for name, path in modules(root).items():
        for target, kind, line in _imports(ast.parse(path.read_text(encoding="utf-8")), START):
            if target.startswith("."):
                raise ValueError(f"{path}:{line}: relative import")
            if module := _module(root.parent, target):
                imports.append(Arrow(name, module, kind, line))
    return sorted(set(imports))


def circles(arrows: Iterable[Arrow]) -> list[list[str]]:
    """The groups of modules that import each other in a circle, whenever the imports run.

    They are the strongly connected components of more than one module, and modules that import themselves. Tarjan 1972,
    Depth-First Search and Linear Graph Algorithms.
    """
    following: dict[str, set[str]] = {}
    for arrow in arrows:
        following.setdefault(arrow.source, set()).add(arrow.target)
        following.setdefault(arrow.target, set())
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    groups = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        stack.append(module)
        for target in sorted(following[module]):
            if target not in number:
                visit(target)
                lowest[module] = min(lowest[module], lowest[target])
            elif target in stack:
                lowest[module] = min(lowest[module], number[target])
        if lowest[module] == number[module]:
            group = stack[stack.index(module) :]
            del stack[-len(group) :]
            if len(group) > 1 or module in following[module]:
                groups.append(sorted(group))

    for module in sorted(following):
        if module not in number:
            visit(module)
    return sorted(groups)


def _parts(path: Path) -> tuple[str, ...]:
    parts = path.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def _imports(node: ast.AST, kind: str) -> Iterator[tuple[str, str, int]]:
    """The dotted name of what each import names, when the import runs, and its line."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, kind, node.lineno) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        package = "." * node.level + (node.module or "")
        yield from ((f"{package}.{alias.name}", kind, node.lineno) for alias in node.names)
    elif isinstance(node, ast.If) and _is_for_types(node.test):
        for inner in node.body:
            yield from _imports(inner, TYPES)
        for inner in node.orelse:
            yield from _imports(inner, kind)
    else:
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and kind == START
        for inner in ast.iter_child_nodes(node):
            # An expression contains no statement.
            if not isinstance(inner, ast.expr):
                yield from _imports(inner, CALL if inside else kind)


def _is_for_types(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _module(folder: Path, target: str) -> str | None:
    """The longest beginning of a dotted name that is a module or a package in a folder; None: it is installed."""
    parts = target.split(".")
    for end in range(len(parts), 0, -1):
        path = folder.joinpath(*parts[:end])
        if path.with_suffix(".py").is_file() or next(path.glob("*.py"), None) is not None:
            return ".".join(parts[:end])
    return None
