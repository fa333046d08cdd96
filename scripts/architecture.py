"""Keep docs/architecture.md in step with the source: its picture of the imports, and its links to lines.

    python scripts/architecture.py            # writes docs/import_map.svg and the line numbers
    python scripts/architecture.py --check    # writes nothing; exit code 1 if something is not up to date

In the picture a package stands above all that it imports. An arrow that follows from others is left out: where `loop`
imports `state` and `state` imports `trick`, no arrow leads from `loop` to `trick`. A link such as
[`Base.gradient`](../recipes/base.py#L1) gets the line where that class or function begins.
"""

import argparse
import ast
import re
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from scripts.imports import arrows

PICTURE, PAGE = ROOT / "docs" / "import_map.svg", ROOT / "docs" / "architecture.md"
LINK = re.compile(r"\[`([\w.]+)`\]\((\.\./[\w/]+\.py)#L\d+\)")
BOX_WIDTH, BOX_HEIGHT, GAP, ROW_HEIGHT, MARGIN = 92, 28, 18, 64, 20
STYLE = """
  text { font: 13px sans-serif; text-anchor: middle; dominant-baseline: central; fill: #1f2328; }
  rect { fill: #f6f8fa; stroke: #59636e; rx: 5px; }
  path { stroke: #818b98; fill: none; marker-end: url(#head); }
  marker path { fill: #818b98; stroke: none; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    rect { fill: #212830; stroke: #9198a1; }
  }
"""
Graph = Mapping[str, set[str]]


def read_packages() -> dict[str, set[str]]:
    """The packages and single modules at the top of recipes/, each with those that it imports."""
    graph: dict[str, set[str]] = {}
    for arrow in arrows(ROOT / "recipes"):
        source, target = (name.split(".")[1] if "." in name else "" for name in (arrow.source, arrow.target))
        if source and target:
            graph.setdefault(source, set())
            graph.setdefault(target, set())
            if source != target:
                graph[source].add(target)
    return graph


def find_reachable(graph: Graph, start: str) -> set[str]:
    """All packages that one imports, itself or through others."""
    reached: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        package = waiting.pop()
        if package not in reached:
            reached.add(package)
            waiting += graph[package]
    return reached


def drop_implied(graph: Graph) -> dict[str, set[str]]:
    """The same graph without the arrows that follow from others (its transitive reduction)."""
    reachable = {package: find_reachable(graph, package) for package in graph}
    return {
        package: {target for target in targets if not any(target in reachable[other] for other in targets)}
        for package, targets in graph.items()
    }


def find_rows(graph: Graph) -> list[list[str]]:
    """The packages by row, lowest first: each one row above the highest package that it imports."""
    row: dict[str, int] = {}

    def find_row(package: str) -> int:
        if package not in row:
            row[package] = 1 + max((find_row(target) for target in graph[package]), default=-1)
        return row[package]

    for package in graph:
        find_row(package)
    return [sorted(package for package in graph if row[package] == number) for number in range(max(row.values()) + 1)]


def order_rows(rows: list[list[str]], graph: Graph) -> dict[str, tuple[float, float]]:
    """The center of each box. Within a row boxes are ordered by the mean of those that they point to."""
    widest = max(map(len, rows))
    width = widest * (BOX_WIDTH + GAP) - GAP
    centers: dict[str, tuple[float, float]] = {}
    for number, packages in enumerate(rows):

        def mean_below(package: str) -> tuple[float, str]:
            below = [centers[target][0] for target in graph[package]]
            return sum(below) / len(below) if below else width / 2, package

        packages = sorted(packages, key=mean_below)
        left = MARGIN + (width - len(packages) * (BOX_WIDTH + GAP) + GAP) / 2
        y = MARGIN + (len(rows) - 1 - number) * ROW_HEIGHT + BOX_HEIGHT / 2
        for index, package in enumerate(packages):
            centers[package] = (left + index * (BOX_WIDTH + GAP) + BOX_WIDTH / 2, y)
    return centers


def draw() -> str:
    """The picture as SVG."""
    graph = drop_implied(read_packages())
    rows = find_rows(graph)
    centers = order_rows(rows, graph)
    width = 2 * MARGIN + max(map(len, rows)) * (BOX_WIDTH + GAP) - GAP
    height = 2 * MARGIN + (len(rows) - 1) * ROW_HEIGHT + BOX_HEIGHT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">',
        "<title>The packages of recipes/, each above those that it imports</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z"/></marker></defs>',
    ]
    for source in sorted(graph):
        for target in sorted(graph[source]):
            (x1, y1), (x2, y2) = centers[source], centers[target]
            start, end = y1 + BOX_HEIGHT / 2, y2 - BOX_HEIGHT / 2
            # A curve leaves and reaches its box vertically, so that arrows over several rows pass between boxes.
            bend = min(40.0, (end - start) / 2)
            lines.append(
                f'<path d="M{x1:.0f},{start:.0f} C{x1:.0f},{start + bend:.0f} {x2:.0f},{end - bend:.0f} '
                f'{x2:.0f},{end:.0f}"/>'
            )
    for package, (x, y) in sorted(centers.items()):
        left, top = x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2
        lines.append(f'<rect x="{left:.0f}" y="{top:.0f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}"/>')
        lines.append(f'<text x="{x:.0f}" y="{y:.0f}">{package}</text>')
    return "\n".join([*lines, "</svg>", ""])


def find_line(path: Path, name: str) -> int:
    """The line where a class, a function, a method (`Class.method`) or a constant of a file begins.

    Raises:
        LookupError: there is none of this name.
    """
    body: list[ast.stmt] = ast.parse(path.read_text(encoding="utf-8")).body
    for part in name.split("."):
        for node in body:
            if part in _names(node):
                break
        else:
            raise LookupError(f"{path} defines no {name}; rename it in {PAGE}")
        line, body = node.lineno, getattr(node, "body", [])
    return line


def _names(node: ast.stmt) -> set[str]:
    """The names that a statement defines."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


def refresh_links(page: str) -> str:
    """The same page with the present line in each link to a definition."""
    return LINK.sub(lambda link: f"[`{link[1]}`]({link[2]}#L{find_line(PAGE.parent / link[2], link[1])})", page)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 if something is not up to date"
    )
    arguments = parser.parse_args()
    fresh = {PICTURE: draw(), PAGE: refresh_links(PAGE.read_text(encoding="utf-8"))}
    if arguments.check:
        return int(any(path.read_text(encoding="utf-8") != content for path, content in fresh.items()))
    for path, content in fresh.items():
        path.write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
