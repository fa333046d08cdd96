"""What a study says, as one HTML page that needs nothing else, as Markdown, and as the recipe that follows from it."""

import shlex
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import rich.table
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from recipes.ablation.design import Effect
from recipes.ablation.findings import COSTS, Findings
from recipes.ablation.plots import draw_costs, draw_effects, draw_pairs
from recipes.ablation.runs import FINISHED
from recipes.ablation.verdicts import FIGHTS, HELPS, HURTS, IDENTICAL, NO_EVIDENCE, NOTHING, TOGETHER, Verdict
from recipes.config import put_at
from recipes.errors import list_names
from recipes.metrics import LOWER_IS_BETTER
from recipes.reports.document import Code, Heading, Part, Table, as_html, as_markdown
from recipes.reports.tables import console_for_tables
from recipes.runs.files import atomic_write

RECOMMENDED = "recommended"
# Of one trick, and of several.
SAID = {
    HELPS: ("helps", "help"),
    HURTS: ("hurts", "hurt"),
    NOTHING: ("makes no difference above {margin:g}", "make no difference above {margin:g}"),
    IDENTICAL: ("changes nothing at all", "change nothing at all"),
    NO_EVIDENCE: ("is not settled by these runs", "are not settled by these runs"),
}


def write(findings: Findings, folder: Path) -> None:
    """Leave `report.html`, `report.md` and, where something is recommended, its recipe; print the verdicts."""
    said = {
        "report.html": as_html("Ablation", parts(findings)),
        "report.md": as_markdown("Ablation", parts(findings)),
    }
    if any(findings.recommended):
        said[f"conf/recipe/{RECOMMENDED}.yaml"] = recipe(findings, folder)
    else:
        (folder / "conf" / "recipe" / f"{RECOMMENDED}.yaml").unlink(missing_ok=True)
    for name, text in said.items():
        with atomic_write(folder / name) as draft:
            draft.write_text(text, encoding="utf-8")
    console = console_for_tables()
    table = rich.table.Table(title=f"{findings.metric}, {findings.design.estimand}", title_justify="left")
    for name in ("", "verdict", "effect", "interval", *(f"x {word}" for word in COSTS.values())):
        table.add_column(name, justify="right" if name not in ("", "verdict") else "left")
    for verdict in findings.mains:
        table.add_row(*_line(findings, verdict)[: len(table.columns)])
    console.print(table)
    for sentence in in_a_paragraph(findings):
        console.print(sentence, markup=False, soft_wrap=True)
    console.print(str(folder / "report.html"), markup=False, soft_wrap=True)


def parts(findings: Findings) -> Iterator[Part]:
    """All that is told, in order."""
    yield " ".join(in_a_paragraph(findings))
    yield Heading("What each does")
    turned = f" Less {findings.metric} is better: + is less of it." if findings.metric in LOWER_IS_BETTER else ""
    yield (
        f"The effect is {findings.design.estimand}; intervals hold for all of them at once, in 95 % of studies.{turned}"
    )
    costs = [f"x {word}" for word in COSTS.values()]
    yield Table(
        ["", "verdict", findings.metric, "interval", *costs, "gain for each extra pass", ""],
        [_line(findings, verdict) for verdict in findings.mains],
    )
    yield lambda to: draw_effects(findings, to)
    if len(findings.by_data) > 1:
        yield Heading("Data set by data set")
        yield Table(
            ["", *findings.by_data],
            [
                [
                    findings.name(verdict.effect),
                    *(_number(own.get(verdict.effect)) for own in findings.by_data.values()),
                ]
                for verdict in findings.mains
            ],
        )
    yield from _pairs(findings)
    yield from _costs(findings)
    yield from _recipe(findings)
    yield from _assumed(findings)
    yield from _runs(findings)


def in_a_paragraph(findings: Findings) -> Iterator[str]:
    """Sentences for somebody who reads nothing else."""
    seeds = len({row.seed for row in findings.finished})
    sets = len({row.data for row in findings.finished})
    of_sets = f", {sets} data sets" if sets > 1 else ""
    yield (
        f"{len(findings.finished)} runs ({len(findings.design.arms)} combinations, {seeds} seeds{of_sets}) were "
        f"compared by {findings.metric} on validation."
    )
    for word, (of_one, of_several) in SAID.items():
        if verdicts := [verdict for verdict in findings.mains if verdict.word == word]:
            clear = word in (HELPS, HURTS)
            names = [findings.name(verdict.effect) + f" ({_number(verdict.value)})" * clear for verdict in verdicts]
            said = of_one if len(names) == 1 else of_several
            yield f"{list_names(names, quoted=False, last=' and ')} {said.format(margin=findings.margin)}."
    for word, said in ((FIGHTS, "get in each other's way"), (TOGETHER, "are worth more together than their sum")):
        for verdict in findings.pairs:
            if verdict.word == word:
                yield f"{findings.name(verdict.effect)} {said} ({_number(verdict.value)})."
    if not any(findings.recommended):
        yield "Nothing is recommended beside the base."
    else:
        yield f"Recommended: {findings.space.name(findings.recommended)}."
        yield from findings.doubts
        yield from (_confirmed(name, verdict) for name, verdict in findings.confirmed)
        for data, verdict in findings.tested.items():
            low, high = -verdict.outer[1], -verdict.outer[0]
            yield (
                f"On the test rows of {data} it is {_number(-verdict.value)} beside the base ({_number(low)} to "
                f"{_number(high)})."
            )
        if findings.tested:
            opened = findings.opened
            yield (
                "The test split was opened once, for this."
                if opened == 1
                else f"A test split has been opened for {opened} recipes by now: "
                "the best of them looks better than it is."
            )


def _confirmed(name: str, verdict: Verdict) -> str:
    if not verdict.is_told:
        return f"Whether it beats {name} cannot be said: {verdict.why}."
    said = {
        HURTS: f"it beats {name} ({_number(-verdict.value)})",
        HELPS: f"{name} does better than it ({_number(verdict.value)})",
        NOTHING: f"it beats {name} by no more than the margin ({_number(-verdict.value)})",
        IDENTICAL: f"it is the same as {name}",
        NO_EVIDENCE: f"it is not shown to beat {name} ({_number(-verdict.value)})",
    }
    return f"With fresh seeds {said[verdict.word]}."


def _judged(verdict: Verdict) -> list[str]:
    numbers = [_number(verdict.value), _between(verdict)] if verdict.is_told else ["", ""]
    return [verdict.word, *numbers, verdict.why]


def _line(findings: Findings, verdict: Verdict) -> list[str]:
    costs = findings.costs[verdict.effect]
    shown = [f"{costs[what]:.2f}" if what in costs else "" for what in COSTS]
    extra = costs.get("passes", 1.0) - 1
    gain = _number(verdict.value / extra) if extra > 0.05 and verdict.is_told else ""
    *judged, why = _judged(verdict)
    return [findings.name(verdict.effect), *judged, *shown, gain, why]


def _pairs(findings: Findings) -> Iterator[Part]:
    told = [verdict for verdict in findings.pairs if verdict.is_told]
    groups = findings.design.inseparable()
    if not told and not groups:
        return
    yield Heading("What pairs do beyond their sum")
    if told:
        yield lambda to: draw_pairs(findings, to)
        yield Table(
            ["", "verdict", findings.metric, "interval", ""],
            [
                [findings.name(verdict.effect), *_judged(verdict)]
                for verdict in sorted(told, key=lambda verdict: -abs(verdict.value))
            ],
        )
    if groups:
        yield (
            "Not separable in this design, so that nothing is said of them (joined by = are those that look alike in "
            f"these arms): {'; '.join(' = '.join(map(findings.name, group)) for group in groups)}. A larger "
            "hydra.sweeper.budget tells them apart."
        )


def _costs(findings: Findings) -> Iterator[Part]:
    means = findings.means()
    if not means:
        return
    yield Heading("What it costs")
    yield "Nothing scores above these without taking more time (means of the seeds, chance not counted)."
    yield Table(
        ["", f"validation {findings.metric}", "seconds"],
        [[findings.space.name(arm), f"{means[arm][0]:.4f}", f"{means[arm][1]:,.1f}"] for arm in findings.front()],
    )
    yield lambda to: draw_costs(findings, to)


def _recipe(findings: Findings) -> Iterator[Part]:
    if any(findings.recommended):
        yield Heading("The recommended recipe")
        yield Code(recipe(findings, Path("FOLDER")))
    if findings.confirmed:
        yield Heading("Confirmed with fresh seeds")
        yield "Each line is compared with the recommended recipe; below 0 the recipe is better."
        yield Table(
            ["", "beside the recipe", findings.metric, "interval", ""],
            [[name, *_judged(verdict)] for name, verdict in findings.confirmed],
        )
    if findings.tested:
        yield Table(
            ["test split", f"base beside the recipe, {findings.metric}", "interval"],
            [[data, _number(verdict.value), _between(verdict)] for data, verdict in findings.tested.items()],
        )


def recipe(findings: Findings, folder: Path) -> str:
    """The recommended levels as a file of `conf/recipe` in a folder."""
    space = findings.space
    levels = space.levels_of(findings.recommended)
    tricks = sorted({*space.always, *(level.trick for level in levels if level.trick)})
    groups, values = _settled([line for level in levels for line in level.overrides])
    swept = groups.pop("recipe", None)
    said = textwrap.wrap(" ".join(in_a_paragraph(findings)), 110)
    shared = [*space.shared, *next(iter(space.data.values()))]
    # A file chooses one recipe, so that of the study goes into this one.
    before = [swept] if swept else [line.partition("=")[2] for line in shared if line.startswith("recipe=")]
    kept = [line for line in shared if not line.startswith(("recipe=", "search="))]
    # --config-dir names one folder only.
    kept += [f"hydra.searchpath=[{','.join(findings.searched)}]"] if findings.searched else []
    command = shlex.join(["python", "train.py", "--config-dir", str(folder / "conf"), f"recipe={RECOMMENDED}", *kept])
    lines = ["# @package _global_", *(f"# {line}" for line in said), f"#   {command}"]
    lines += ["defaults:", *(f"  - {name}" for name in before)]
    lines += [f"  - /tricks: [{', '.join(tricks)}]"] if tricks else []
    lines += [f"  - override /{name}: {value}" for name, value in groups.items()]
    return "\n".join([*lines, "  - _self_", ""]) + (yaml.safe_dump(values, sort_keys=False) if values else "")


def _settled(lines: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Overrides as a file says them: choices of groups, such as `model`, and nested values."""
    groups: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for override in OverridesParser.create().parse_overrides(list(lines)):
        path = override.key_or_group
        put_at(values if "." in path else groups, path, override.value())
    return groups, values


def _assumed(findings: Findings) -> Iterator[Part]:
    design = findings.design
    yield Heading("What was assumed")
    yield (
        f"Design {design.kind}: {len(design.arms)} arms of {len(findings.space.factors)} factors, compared on the same "
        "seeds and the same validation rows. An interval carries the chance of seeds (the spread of equal arms over "
        "seeds, taken to be alike in all arms) and that of rows (other rows of the same kind, each drawn for itself), "
        "and is widened so that all of its family hold at once. Data sets count alike."
    )
    yield from findings.doubts
    if aliases := design.aliases():
        yield (
            "Effects that also hold part of what a pair does, if pairs do anything: "
            f"{'; '.join(_alias(findings, effect, pairs) for effect, pairs in aliases.items())}."
        )
    if lost := [row for row in findings.rows if row.status != FINISHED]:
        said = "1 run is missing or has" if len(lost) == 1 else f"{len(lost)} runs are missing or have"
        yield f"{said} failed; where others of the same arm and data set have finished, they stand for them."
    if gone := sorted({row.arm for row in findings.rows} - set(design.arms)):
        yield f"No run on some data set, so left out everywhere: {', '.join(map(findings.space.name, gone))}."
    if bare := sorted({row.data for row in findings.rows} - {row.data for row in findings.finished}):
        yield f"No run has finished on {list_names(bare, quoted=False, last=' and ')}: nothing here is about it."


def _alias(findings: Findings, effect: Effect, pairs: dict[Effect, float]) -> str:
    inside = sorted(pairs.items(), key=lambda pair: -abs(pair[1]))[:3]
    return f"{findings.name(effect)} ({', '.join(f'{share:+.2f} {findings.name(pair)}' for pair, share in inside)})"


def _runs(findings: Findings) -> Iterator[Part]:
    yield Heading("All runs")
    yield Table(
        ["data", "arm", "seed", findings.metric, "passes", "seconds", "MB", "folder", ""],
        [
            [
                row.data,
                findings.space.name(row.arm),
                str(row.seed),
                _score(row.score),
                *map(_plain, (row.passes, row.seconds, row.memory)),
                row.folder.name,
                "" if row.status == FINISHED else f"{row.status}: {row.reason}",
            ]
            for row in findings.rows
        ],
    )


def _between(verdict: Verdict) -> str:
    return f"{_number(verdict.outer[0])}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{_number(verdict.outer[1])}"


def _number(value: float | None) -> str:
    # Nothing is +0, whatever the rounding of its last digits.
    return "" if value is None else f"{round(value, 4) + 0.0:+.4f}"


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}"
