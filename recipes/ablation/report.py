"""The report of a study: an HTML page without external files, the same as Markdown, and the recommended recipe."""

import shlex
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import rich.table
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.markup import escape

from recipes.ablation.by_data import build_data_parts, describe_open_populations
from recipes.ablation.by_length import build_length_parts
from recipes.ablation.design import Effect
from recipes.ablation.endpoints import SecondEndpoint, describe_disagreement
from recipes.ablation.failures import (
    MAKE_IT_LEARN,
    describe_base,
    describe_breaking,
    describe_doubted,
    describe_rule,
    explain_no_verdict,
)
from recipes.ablation.findings import COSTS, Findings
from recipes.ablation.plan import POWER, estimate_detectable
from recipes.ablation.plots import chart_effects, chart_pairs, plot_costs
from recipes.ablation.runs import FINISHED
from recipes.ablation.verdicts import ADDS_UP, FIGHTS, HELPS, HURTS, IDENTICAL, NO_EVIDENCE, NOTHING, TOGETHER, Verdict
from recipes.config import put_at
from recipes.errors import list_names
from recipes.metrics import is_lower_better
from recipes.reports.document import (
    Answer,
    Charts,
    Code,
    Folded,
    Heading,
    Items,
    Part,
    Step,
    Steps,
    Table,
    as_html,
    as_markdown,
)
from recipes.reports.formats import begin_upper, format_score
from recipes.reports.tables import console_for_tables
from recipes.runs.files import atomic_write
from recipes.runtime.program import name_command

RECOMMENDED = "recommended"
# For one trick, and for more than one.
MAIN_PHRASES = {
    HELPS: ("helps", "help"),
    HURTS: ("hurts", "hurt"),
    NOTHING: ("makes no difference above {margin:g}", "make no difference above {margin:g}"),
    IDENTICAL: ("changes nothing at all", "change nothing at all"),
    NO_EVIDENCE: ("is not settled by these runs", "are not settled by these runs"),
}
PAIR_PHRASES = {FIGHTS: "get in each other's way", TOGETHER: "are worth more together than their sum"}


def write_report(findings: Findings, folder: Path) -> None:
    """Write `report.html`, `report.md` and the recommended recipe, if there is one; print the verdicts."""
    texts = {
        "report.html": as_html("Ablation", build_parts(findings), _describe_study(findings)),
        "report.md": as_markdown("Ablation", build_parts(findings)),
    }
    if any(findings.recommended_arm):
        texts[f"conf/recipe/{RECOMMENDED}.yaml"] = render_recipe(findings, folder)
    else:
        # An old recommendation that no longer holds; a user's own file does not have its command.
        old = folder / "conf" / "recipe" / f"{RECOMMENDED}.yaml"
        if old.is_file() and f"recipe={RECOMMENDED}" in old.read_text(encoding="utf-8"):
            old.unlink()
    for name, text in texts.items():
        with atomic_write(folder / name) as draft:
            draft.write_text(text, encoding="utf-8")
    console = console_for_tables()
    table = rich.table.Table(title=escape(f"{findings.metric}, {findings.design.estimand}"), title_justify="left")
    header = ["", "verdict", "effect", "interval", *second_header(findings), *(f"x {word}" for word in COSTS.values())]
    for name in header:
        table.add_column(name, justify="right" if name not in ("", "verdict") else "left")
    for verdict in findings.mains:
        table.add_row(*map(escape, _main_row(findings, verdict)[: len(table.columns)]))
    console.print(table)
    for sentence in summarize(findings):
        console.print(sentence, markup=False, soft_wrap=True)
    console.print(str(folder / "report.html"), markup=False, soft_wrap=True)


def build_parts(findings: Findings) -> Iterator[Part]:
    """Build the parts of the report, in order: the answer first."""
    answer = _answer(findings)
    yield answer
    if any(verdict.has_estimate for verdict in findings.mains):
        yield Charts([chart_effects(findings)])
    # What the answer says already is not repeated.
    yield Items([sentence for sentence in summarize(findings) if sentence not in (f"{answer.headline}.", answer.text)])
    yield Heading("What to do next")
    yield Steps(list(_next_steps(findings)))
    yield Heading("What each does")
    reversed_note = f" Less {findings.metric} is better: + is less of it." if is_lower_better(findings.metric) else ""
    yield (
        f"The effect is {findings.design.estimand}; intervals hold for all of them at once, in 95 % of studies."
        f"{reversed_note}"
    )
    costs = [f"x {word}" for word in COSTS.values()]
    yield Table(
        [
            "level",
            "verdict",
            findings.metric,
            "interval",
            *second_header(findings),
            *costs,
            "gain for each extra pass",
            "why",
        ],
        [_main_row(findings, verdict) for verdict in findings.mains],
    )
    yield from findings.sets
    yield from describe_second(findings.second)
    yield from _health_parts(findings)
    yield from build_length_parts(findings)
    yield from build_data_parts(findings)
    yield from _pair_parts(findings)
    yield from _cost_parts(findings)
    yield from _recipe_parts(findings)
    yield from _assumption_parts(findings)
    yield from _run_parts(findings)


def _answer(findings: Findings) -> Answer:
    """The recommendation, or why there is none."""
    if reason := explain_no_verdict(findings.base):
        return Answer("error", "The base did not learn", reason)
    compared = _describe_runs(findings)
    if any(findings.recommended_arm):
        return Answer("good", f"Recommended: {findings.space.name_arm(findings.recommended_arm)}", compared)
    return Answer("note", "Nothing is recommended: no trick is shown to improve the base", compared)


def _next_steps(findings: Findings) -> Iterator[Step]:
    """What to do next: train with what is recommended, leave out what hurts, settle what is open."""
    if explain_no_verdict(findings.base):
        yield Step(MAKE_IT_LEARN, "Nothing can be compared with a base that did not learn.")
        return
    if any(findings.recommended_arm):
        command = _recipe_command(findings, Path("FOLDER"))
        yield Step("Train with the recommended recipe.", "FOLDER is the folder of this study.", command)
    else:
        yield Step("Keep the base.", "Nothing here is shown to be better.")
    for verdict in findings.mains:
        name = findings.name(verdict.effect)
        if verdict.word == HURTS:
            yield Step(f"Leave out {name}.", f"Its effect is {_format_signed(verdict.value)}.")
        elif verdict.word == NO_EVIDENCE and verdict.why:
            yield Step(f"Decide whether {name} is worth more runs.", f"{begin_upper(verdict.why)}.")


def _describe_study(findings: Findings) -> str:
    return f"A study by Trickbook on {list_names(list(findings.space.data), quoted=False, last=' and ')}"


def summarize(findings: Findings) -> Iterator[str]:
    """Summarize the study in sentences, for readers who read nothing else."""
    if reason := explain_no_verdict(findings.base):
        yield reason
    yield _describe_runs(findings)
    yield from findings.rounds
    yield from (describe_base(each) for each in findings.base if each.baselines)
    if findings.breaking:
        yield from describe_breaking(findings.breaking, findings.planned or findings.design, findings.space)
    yield from describe_doubted(findings.doubted, findings.space)
    for word, (singular, plural) in MAIN_PHRASES.items():
        verdicts = [verdict for verdict in findings.mains if verdict.word == word]
        if not verdicts:
            continue
        names = [findings.name(verdict.effect) for verdict in verdicts]
        if word in (HELPS, HURTS):
            values = [_format_signed(verdict.value) for verdict in verdicts]
            names = [f"{name} ({value})" for name, value in zip(names, values, strict=True)]
        phrase = singular if len(names) == 1 else plural
        yield f"{list_names(names, quoted=False, last=' and ')} {phrase.format(margin=findings.margin)}."
    for word, phrase in PAIR_PHRASES.items():
        for verdict in findings.pairs:
            if verdict.word == word:
                yield f"{findings.name(verdict.effect)} {phrase} ({_format_signed(verdict.value)})."
    if findings.second:
        for verdict in findings.mains:
            if text := describe_disagreement(findings.name(verdict.effect), findings.metric, verdict, findings.second):
                yield text
    yield from describe_open_populations(findings)
    if any(findings.recommended_arm):
        yield from _summarize_recommendation(findings)
    elif not explain_no_verdict(findings.base):
        yield "Nothing is recommended: no trick is shown to improve the base."


def _describe_runs(findings: Findings) -> str:
    """Describe how many runs were compared, in a sentence."""
    seeds = len({row.seed for row in findings.finished_rows})
    sets = len({row.data for row in findings.finished_rows})
    of_sets = f", {sets} data sets" if sets > 1 else ""
    return (
        f"{len(findings.finished_rows)} runs ({len(findings.design.arms)} combinations, {seeds} seeds{of_sets}) were "
        f"compared by {findings.metric} on validation."
    )


def _summarize_recommendation(findings: Findings) -> Iterator[str]:
    yield f"Recommended: {findings.space.name_arm(findings.recommended_arm)}."
    yield from findings.warnings
    yield from (_describe_confirmation(name, verdict) for name, verdict in findings.confirmations)
    for data, verdict in findings.test_verdicts.items():
        # The verdict is on the base against the recipe; the sentence is about the recipe against the base.
        value, low, high = map(_format_signed, (-verdict.value, -verdict.interval[1], -verdict.interval[0]))
        yield f"On the test rows of {data} it scores {value} compared with the base ({low} to {high})."
    if findings.test_verdicts:
        yield (
            "The test split was scored once, for this recipe."
            if findings.tested_recipes == 1
            else f"{findings.tested_recipes} recipes have been scored on a test split so far: the best of them looks "
            "better than it is."
        )


def _describe_confirmation(name: str, verdict: Verdict) -> str:
    """Describe how the recommended recipe compares with an alternative.

    Args:
        name: of the alternative.
        verdict: on the alternative against the recipe.
    """
    if not verdict.has_estimate:
        return f"There is no verdict on whether it beats {name}: {verdict.why}."
    gain, loss = _format_signed(-verdict.value), _format_signed(verdict.value)
    phrases = {
        HURTS: f"it beats {name} ({gain})",
        HELPS: f"{name} does better ({loss})",
        NOTHING: f"it beats {name} by no more than the margin ({gain})",
        IDENTICAL: f"it is the same as {name}",
        NO_EVIDENCE: f"it is not shown to beat {name} ({gain})",
    }
    return f"With fresh seeds {phrases[verdict.word]}."


def verdict_cells(verdict: Verdict) -> list[str]:
    """The cells of a verdict in a table: its word, value and interval, and why there is no more."""
    numbers = [_format_signed(verdict.value), _format_interval(verdict)] if verdict.has_estimate else ["", ""]
    return [verdict.word, *numbers, verdict.why]


def _main_row(findings: Findings, verdict: Verdict) -> list[str]:
    costs = findings.costs[verdict.effect]
    cost_cells = [f"{costs[cost]:.2f}" if cost in costs else "" for cost in COSTS]
    extra_passes = costs.get("passes", 1.0) - 1
    gain = _format_signed(verdict.value / extra_passes) if extra_passes > 0.05 and verdict.has_estimate else ""
    *cells, why = verdict_cells(verdict)
    return [
        findings.name(verdict.effect),
        *cells,
        *second_cells(findings.second, verdict.effect),
        *cost_cells,
        gain,
        why,
    ]


def second_header(findings: Findings) -> list[str]:
    """The headers of the cells of the second endpoint; none if there is none."""
    return [f"{findings.second.metric} (second endpoint)", "its interval"] if findings.second else []


def describe_second(second: SecondEndpoint | None) -> Iterator[str]:
    """Describe the second endpoint in sentences."""
    if second:
        yield (
            f"The second endpoint is the {second.name}: + is less of it. Its intervals hold for all of its effects at "
            "once. It recommends nothing."
        )
        yield from second.unscored


def second_cells(second: SecondEndpoint | None, effect: Effect) -> list[str]:
    """The cells of an effect on the second endpoint: its value and interval; none if there is no second endpoint."""
    if second is None:
        return []
    if (interval := second.effects.get(effect)) is None:
        return ["", ""]
    return [_format_signed(interval.value), _format_range(interval.low, interval.high)]


def _health_parts(findings: Findings) -> Iterator[Part]:
    if findings.base:
        yield Heading("The base, next to its baselines")
        yield Table(
            ["data", "runs", "one class", findings.metric, "low end", "linear baseline", "majority class"],
            [
                [
                    each.data,
                    str(each.count),
                    str(each.broken),
                    format_score(each.score),
                    format_score(each.low if each.baselines else None),
                    *(format_score(each.baselines.get(name)) for name in ("linear", "majority")),
                ]
                for each in findings.base
            ],
        )
        yield (
            "The base did not learn if half of its runs answer one class or diverged, if the low end of its 95 % "
            "interval is not better than the majority class, or if its score is worse than the linear baseline."
        )
    yield from with_and_without_parts(findings)


def with_and_without_parts(findings: Findings) -> Iterator[Part]:
    """The main effects by the rules on levels that break training or may do so, and over all runs."""
    if not (findings.breaking or findings.doubted):
        return
    yield Heading("With and without the rule on levels that break training")
    yield describe_rule(len(findings.mains))
    yield Table(
        ["level", "verdict", findings.metric, "interval", "over all runs", "interval over all runs"],
        [
            [
                findings.name(verdict.effect),
                *verdict_cells(verdict)[:-1],
                *verdict_cells(findings.over_all_runs[verdict.effect])[1:3],
            ]
            for verdict in findings.mains
        ],
    )


def _pair_parts(findings: Findings) -> Iterator[Part]:
    estimated = [verdict for verdict in findings.pairs if verdict.has_estimate]
    groups = findings.design.inseparable_pairs()
    if not estimated and not groups:
        return
    yield Heading("What pairs do beyond their sum")
    if any(verdict.word != ADDS_UP for verdict in estimated):
        yield Charts([chart_pairs(findings)])
    if estimated:
        largest_first = sorted(estimated, key=lambda verdict: -abs(verdict.value))
        yield Table(
            ["pair", "verdict", findings.metric, "interval", *second_header(findings), "why"],
            [
                [
                    findings.name(verdict.effect),
                    *(cells := verdict_cells(verdict))[:-1],
                    *second_cells(findings.second, verdict.effect),
                    cells[-1],
                ]
                for verdict in largest_first
            ],
        )
    if groups:
        names = "; ".join(" = ".join(map(findings.name, group)) for group in groups)
        yield (
            "Not separable in this design, so there is no verdict (pairs joined by = cannot be told from each other in "
            f"these arms): {names}. A larger hydra.sweeper.budget separates them."
        )


def _cost_parts(findings: Findings) -> Iterator[Part]:
    means = findings.means()
    if not means:
        return
    yield Heading("What it costs")
    if others := findings.arms_in_other_modes:
        mode = "were replayed as CUDA graphs" if findings.compares_replays else "were not replayed as CUDA graphs"
        yield (
            f"Time and memory are compared between runs whose passes {mode}. These arms have other runs, which are "
            f"left out: {'; '.join(map(findings.space.name_arm, others))}."
        )
    yield "No other arm scores above these without taking more time. Scores are means over the seeds, noise included."
    yield Table(
        ["arm", f"validation {findings.metric}", "seconds"],
        [
            [findings.space.name_arm(arm), f"{means[arm][0]:.4f}", f"{means[arm][1]:,.1f}"]
            for arm in findings.pareto_front()
        ],
    )
    yield Charts([plot_costs(findings)])


def _recipe_parts(findings: Findings) -> Iterator[Part]:
    if any(findings.recommended_arm):
        yield Heading("The recommended recipe")
        yield Code(render_recipe(findings, Path("FOLDER")))
    if findings.confirmations:
        yield Heading("Confirmed with fresh seeds")
        yield "Each line is compared with the recommended recipe; below 0 the recipe is better."
        yield Table(
            ["alternative", "compared with the recipe", findings.metric, "interval", "why"],
            [[name, *verdict_cells(verdict)] for name, verdict in findings.confirmations],
        )
    if findings.test_verdicts:
        yield Table(
            ["test split", f"base compared with the recipe, {findings.metric}", "interval"],
            [
                [data, _format_signed(verdict.value), _format_interval(verdict)]
                for data, verdict in findings.test_verdicts.items()
            ],
        )


def render_recipe(findings: Findings, folder: Path) -> str:
    """Render the recommended levels as a file of `conf/recipe`, which begins with the command that runs it.

    Args:
        findings: of the study.
        folder: of the sweep.
    """
    space = findings.space
    levels = space.levels_of(findings.recommended_arm)
    tricks = sorted({*space.always, *(level.trick for level in levels if level.trick)})
    groups, values = _group_overrides([*(line for level in levels for line in level.overrides), *findings.length])
    swept_recipe = groups.pop("recipe", None)
    shared = [*space.shared, *next(iter(space.data.values()))]
    # A command chooses one recipe, so the recipe of the study is included in this file.
    shared_recipes = [line.partition("=")[2] for line in shared if line.startswith("recipe=")]
    included = [swept_recipe] if swept_recipe else shared_recipes

    summary = textwrap.wrap(" ".join(summarize(findings)), 110)
    lines = ["# @package _global_", *(f"# {line}" for line in summary), f"#   {_recipe_command(findings, folder)}"]
    lines += ["defaults:", *(f"  - {name}" for name in included)]
    lines += [f"  - /tricks: [{', '.join(tricks)}]"] if tricks else []
    lines += [f"  - override /{name}: {value}" for name, value in groups.items()]
    return "\n".join([*lines, "  - _self_", ""]) + (yaml.safe_dump(values, sort_keys=False) if values else "")


def _recipe_command(findings: Findings, folder: Path) -> str:
    """The command that trains with the recommended recipe, on the first data set."""
    shared = [*findings.space.shared, *next(iter(findings.space.data.values()))]
    overrides = [line for line in shared if not line.startswith(("recipe=", "search=", "trusted="))]
    # The length is in the file already, as a multiple of what the study's command sets.
    lengths = tuple(line.partition("=")[0] + "=" for line in findings.length)
    overrides = [line for line in overrides if not line.startswith(lengths)] if lengths else overrides
    # --config-dir names one folder only, and trusts the classes in that one only.
    overrides += [f"hydra.searchpath=[{','.join(findings.search_path)}]"] if findings.search_path else []
    overrides += [f"trusted=[{','.join(findings.trusted)}]"] if findings.trusted else []
    config_dir = str(folder / "conf")
    arguments = shlex.join(["--config-dir", config_dir, f"recipe={RECOMMENDED}", *overrides])
    return f"{name_command('train')} {arguments}"


def _group_overrides(lines: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort overrides into the two parts of a config file: choices of groups, such as `model`, and nested values."""
    groups: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for override in OverridesParser.create().parse_overrides(list(lines)):
        path = override.key_or_group
        put_at(values if "." in path else groups, path, override.value())
    return groups, values


def _assumption_parts(findings: Findings) -> Iterator[Part]:
    design = findings.design
    yield Heading("What was assumed")
    yield (
        f"Design {design.kind}: {len(design.arms)} arms of {len(findings.space.factors)} factors, compared on the same "
        f"{_describe_compared_rows(findings)} The variance over seeds is assumed to be equal in all arms, and rows are "
        "assumed to be independent. Intervals are widened so that all of a family hold at once. Data sets have equal "
        "weights."
    )
    if findings.rounds:
        yield (
            "Intervals hold over all looks as well. The looks' joint law is that of t statistics which share the "
            "validation rows, and the errors of all looks add up to 5 %."
        )
    yield from findings.warnings
    yield from findings.length_checks
    yield from _describe_noise(findings)
    yield from _describe_unseen_failures(findings)
    if aliases := design.aliases():
        yield (
            "Effects that also include part of a pair's effect, if pairs have any: "
            f"{'; '.join(_describe_aliases(findings, effect, pairs) for effect, pairs in aliases.items())}."
        )
    if unfinished := [row for row in findings.rows if row.status != FINISHED]:
        subject = "1 run is missing or has" if len(unfinished) == 1 else f"{len(unfinished)} runs are missing or have"
        yield f"{subject} failed; where others of the same arm and data set have finished, they are used instead."
    left_out = set(findings.planned.arms) - set(design.arms) if findings.planned and findings.breaking else set()
    if excluded := sorted({row.arm for row in findings.rows} - set(design.arms) - left_out):
        names = ", ".join(map(findings.space.name_arm, excluded))
        yield f"Without a finished run on some data set, and so excluded from all: {names}."
    if unseen := sorted({row.data for row in findings.rows} - {row.data for row in findings.finished_rows}):
        yield f"No run has finished on {list_names(unseen, quoted=False, last=' and ')}: this report does not cover it."


def _describe_compared_rows(findings: Findings) -> str:
    if not findings.rotates:
        return "seeds and the same validation rows. An interval includes the variance over seeds and over rows."
    return (
        "seeds. Each seed is validated on another fold of the rows and trained on the others, the same in all arms, "
        "until the folds repeat. The effects are over training samples of this size. An interval includes the variance "
        "over seeds, over rows and over training samples, which have rows in common (Nadeau and Bengio 2003)."
    )


def _describe_noise(findings: Findings) -> Iterator[str]:
    """Describe the measured spread over seeds, and which effects these runs can detect."""
    intervals = [verdict.interval for verdict in findings.mains if verdict.has_estimate]
    if not findings.deviations or not intervals:
        return
    spreads = [f"{deviation:.4f} on {data}" for data, deviation in findings.deviations.items()]
    least = estimate_detectable(intervals)
    yield (
        f"Another seed moves the {findings.metric} of a run by {list_names(spreads, quoted=False, last=' and ')} "
        "(standard deviation, measured in these runs). With the variance over rows, this study detects effects of "
        f"{least:.3f} or more, {POWER:.0%} of the time; this replaces the range in the plan."
    )


def _describe_unseen_failures(findings: Findings) -> Iterator[str]:
    """Describe how often a level may break training without any broken run among these."""
    levels = [verdict.effect.terms[0] for verdict in findings.mains if verdict.has_estimate]
    known = [row.arm for row in findings.rows if row.is_broken is not None]
    fewest = min((sum(arm[factor] == level for arm in known) for factor, level in levels), default=0)
    if fewest:
        fraction = f"{1 - 0.05 ** (1 / fewest):.0%}".replace("%", " %")
        yield (
            f"A level has at least {fewest} runs here. One that breaks up to {fraction} of its runs can look healthy "
            "in as many: more seeds show it."
        )


def _describe_aliases(findings: Findings, effect: Effect, pairs: dict[Effect, float]) -> str:
    largest = sorted(pairs.items(), key=lambda item: -abs(item[1]))[:3]
    terms = ", ".join(f"{coefficient:+.2f} {findings.name(pair)}" for pair, coefficient in largest)
    return f"{findings.name(effect)} ({terms})"


def _run_parts(findings: Findings) -> Iterator[Part]:
    yield Heading("All runs")
    table = Table(
        ["data", "arm", "seed", findings.metric, "one class", "passes", "seconds", "MB", "folder", "status"],
        [
            [
                row.data,
                findings.space.name_arm(row.arm),
                str(row.seed),
                format_score(row.score),
                "yes" if row.collapsed else "",
                *map(_format_amount, (row.passes, row.seconds, row.memory)),
                row.folder.name,
                "" if row.status == FINISHED else f"{row.status}: {row.reason}",
            ]
            for row in findings.rows
        ],
    )
    yield Folded(f"{len(findings.rows)} runs", [table])


def _format_interval(verdict: Verdict) -> str:
    return _format_range(*verdict.interval)


def _format_range(least: float, most: float) -> str:
    low, high = map(_format_signed, (least, most))
    return f"{low}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{high}"


def _format_signed(value: float | None) -> str:
    # Adding 0.0 turns -0.0 into 0.0.
    return "" if value is None else f"{round(value, 4) + 0.0:+.4f}"


def _format_amount(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}"
