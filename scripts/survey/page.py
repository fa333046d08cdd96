"""The page of the atlas, as Markdown and HTML, and the table that predictions read; all of it from the stored rows."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from recipes.ablation.expectations import MIN_DATA_SETS, Measured, hold_out, select
from recipes.ablation.plots import STYLES
from recipes.ablation.populations import MIN_FOR_PREDICTION, Population
from recipes.ablation.verdicts import HELPS, HURTS, NO_EVIDENCE, NOTHING
from recipes.reports.charts import Estimate, Intervals, fit_axis
from recipes.reports.document import Charts, Code, Heading, Items, Part, Table
from scripts.survey.blocks import Selection, list_blocks
from scripts.survey.claims import CANNOT_TELL, DOES_NOT, HOLDS, MIN_SEEDS, TOLERANCE, Claim, find
from scripts.survey.declaration import Atlas
from scripts.survey.effects import DataEffect, Panel
from scripts.survey.rows import Key, Result
from scripts.survey.samples import FEWEST_OF_CLASS, MOST_POOLED
from scripts.survey.seen import judge

TITLE = "The trick atlas"
LEVEL = 0.95
ENDPOINT_NAMES = {"accuracy": "accuracy", "loss": "log loss, by how much it falls", "macro_f1": "macro-F1"}
LANGUAGES = {"en": "English", "zh": "Chinese"}
WORDS = (HELPS, HURTS, NOTHING, NO_EVIDENCE)
FIELDS = ("data", "language", "rows", "classes", "majority", "length")
"""Columns of docs/atlas/data.csv."""
REMAKE = """python scripts/atlas.py run --data <folder of data sets> --studies everyday longer --seeds 5
python scripts/atlas.py page"""


def judge_panel(panel: Panel, margin: float) -> dict[tuple[str, str], str]:
    """Judge each effect of a panel on each endpoint."""
    return {
        (trick, endpoint): judge(population, margin)
        for endpoint in panel.endpoints
        for trick, population in estimate_together(panel, endpoint).items()
    }


def estimate_together(panel: Panel, endpoint: str) -> dict[str, Population]:
    """Estimate each effect over data sets; by Bonferroni, the intervals hold for all tricks of the study at once."""
    return panel.populations(endpoint, 1 - (1 - LEVEL) / max(1, len(panel.tricks)))


def build_parts(
    atlas: Atlas,
    claims: Mapping[str, Claim],
    panels: Sequence[Panel],
    results: Mapping[Key, Result],
    data: Path,
) -> Iterator[Part]:
    """Build the whole page.

    Args:
        atlas: the declaration.
        claims: that are tried again.
        panels: all with finished blocks.
        results: all stored rows.
        data: the file with the properties of the data sets.
    """
    yield (
        "Which tricks help, measured by runs that differ in their tricks only. All figures are computed from the rows "
        "in docs/atlas/rows; a test checks that this page matches them. An effect above 0 is an improvement: of the "
        "accuracy, by how much it rises with the trick; of the log loss, by how much it falls."
    )
    if not panels:
        yield "No block has finished yet."
        return
    yield Heading("What to try")
    yield from _build_summary(atlas, panels)
    yield Heading("What was run")
    yield from _describe_runs(atlas, panels, results)
    for panel in panels:
        yield from _build_panel(atlas, panel)
    yield from _build_lengths(atlas, results)
    yield Heading("Published claims, tried again")
    yield from _build_claims(atlas, claims, panels, results)
    yield Heading("Predictions for new data")
    yield from _describe_predictions(measure(atlas, panels, data))


def _build_summary(atlas: Atlas, panels: Sequence[Panel]) -> Iterator[Part]:
    """What a practitioner can act on: for each study and language a sentence, and a line for each trick."""
    yield (
        f"± is half of an interval of {LEVEL:.0%}; over data sets it is for all tricks of a study together, separately "
        f"for each score. Inside ±{atlas.margin:g} a trick does {NOTHING}; else above 0 it {HELPS}, below 0 it "
        f"{HURTS}; else there is {NO_EVIDENCE}. One data set gives no verdict, and its interval does not cover others. "
        "Passes are the cost: with 2.00 an update takes twice the compute. A run broke if its training diverged, or if "
        "it answers one class for all rows."
    )
    for panel in _main_panels(panels):
        words = judge_panel(panel, atlas.margin)
        yield _conclude(atlas, panel, words)
        header, columns = ["trick"], []
        for endpoint, name in ((panel.endpoints[0], ENDPOINT_NAMES[panel.endpoints[0]]), ("loss", "loss falls by")):
            effects = _list_effects(panel, endpoint)
            header.append(name)
            columns.append({trick: format_effect(*effect) for trick, effect in effects.items()})
            if words:
                header.append("verdict")
                columns.append({trick: words[trick, endpoint] for trick in effects})
        first = _list_effects(panel, panel.endpoints[0])
        rows = []
        for trick in sorted(first, key=lambda each: -first[each][0]):
            broken, runs = panel.count_broken(trick)
            cost = [f"{panel.measure_passes(trick):.2f}", f"{broken} of {runs}"]
            rows.append([trick, *(column[trick] for column in columns), *cost])
        yield Table([*header, "x passes", "broke"], rows)


def _conclude(atlas: Atlas, panel: Panel, words: Mapping[tuple[str, str], str]) -> str:
    """Say in words what the verdicts on the first endpoint are."""
    seeds = " to ".join(map(str, sorted({min(panel.seeds.values()), max(panel.seeds.values())})))
    sets = f"{len(panel.runs)} data sets" if len(panel.runs) > 1 else f"{''.join(panel.runs)} alone"
    endpoint = panel.endpoints[0]
    where = f"{panel.study}, {_name_language(atlas, panel)} ({panel.encoder}; {sets}; seeds of each: {seeds})"
    if not words:
        return f"{where}: no verdict from one data set."
    tricks = {word: [trick for trick in panel.tricks if words.get((trick, endpoint)) == word] for word in WORDS}
    verdicts = "; ".join(f"{word}: {', '.join(own) or 'none'}" for word, own in tricks.items())
    return f"{where}, {ENDPOINT_NAMES[endpoint]}. {verdicts[0].upper()}{verdicts[1:]}."


def _list_effects(panel: Panel, endpoint: str) -> dict[str, tuple[float, tuple[float, float] | None]]:
    """List each trick's effect with its interval: over data sets, or on a single one."""
    if len(panel.runs) > 1:
        return {trick: (each.mean, each.interval) for trick, each in estimate_together(panel, endpoint).items()}
    return {each.trick: (each.value, each.interval) for each in panel.effects if each.endpoint == endpoint}


def _main_panels(panels: Sequence[Panel]) -> list[Panel]:
    """The panels of the summary: for each study and encoder that with the most data sets, or else the longest."""
    best: dict[tuple[str, str], Panel] = {}
    for panel in panels:
        other = best.get((panel.study, panel.encoder))
        if other is None or (len(panel.runs), panel.updates) > (len(other.runs), other.updates):
            best[panel.study, panel.encoder] = panel
    return list(best.values())


def _describe_runs(atlas: Atlas, panels: Sequence[Panel], results: Mapping[Key, Result]) -> Iterator[Part]:
    yield (
        f"{len(results):,} runs. Each trains on {atlas.rows:,} rows, other ones for each seed, the same for all arms. "
        f"It is scored on {atlas.validation_rows:,} others, which change with the seed too. The official splits are "
        f"merged. Equal texts count once; texts with two labels, and classes with fewer than {FEWEST_OF_CLASS} "
        f"rows, are left out; of the rest at most {MOST_POOLED:,} rows are drawn from. The last weights count: nothing "
        "is chosen on validation. All settings are in docs/atlas/atlas.yaml. Several runs shared a machine, so their "
        "seconds say how long the atlas took, not what a trick costs."
    )
    for name, encoder in atlas.encoders.items():
        if encoder.always and any(panel.encoder == name for panel in panels):
            yield f"All runs of studies with {name} have {', '.join(encoder.always)}."
    rows = []
    for panel in panels:
        own = panel.results
        rows.append(
            [
                panel.study,
                panel.encoder,
                str(panel.updates),
                ", ".join(f"{data} ({seeds})" for data, seeds in panel.seeds.items()),
                f"{panel.design.kind}, {len(panel.design.arms)}",
                str(len(own)),
                ", ".join(sorted({run.device for run in own})),
                f"{fmean(run.seconds for run in own if run.right):.1f}",
                f"{fmean(run.wall for run in own):.1f}",
            ]
        )
    yield Table(
        ["study", "encoder", "updates", "data sets (seeds)", "arms", "runs", "on", "s training", "s whole run"], rows
    )
    others = len(results) - len({run.key for panel in panels for run in panel.results})
    yield (
        f"{others} of the runs are not in this table: other lengths of the base, runs of claims, and blocks that are "
        "not complete. This makes what is missing:"
    )
    yield Code(REMAKE)


def _build_panel(atlas: Atlas, panel: Panel) -> Iterator[Part]:
    """A section for a study with one encoder at one length."""
    study = atlas.studies[panel.study]
    yield Heading(f"{panel.study}: {_name_language(atlas, panel)}, {panel.encoder}, {panel.updates} updates")
    yield f"{study.question} Effects are {panel.design.estimand}."
    yield "The base: " + "; ".join(_describe_base(data, by_seed) for data, by_seed in panel.runs.items()) + "."
    yield (
        "Where the base has memorized its rows, a fall of the log loss may only repair that. ± is half of a 95 % "
        "interval on one data set. With one seed it is made of the validation rows and of what tricks do together, and "
        "does not have the variance over training rows."
    )
    for endpoint in panel.endpoints:
        yield Heading(f"{ENDPOINT_NAMES[endpoint]}", 3)
        yield from _build_effects(atlas, panel, endpoint)
    yield from _build_pairs(panel)
    yield Heading("cost and health", 3)
    yield Table(
        ["trick", "x passes", "broke", "of runs"],
        [[trick, f"{panel.measure_passes(trick):.2f}", *map(str, panel.count_broken(trick))] for trick in panel.tricks],
    )


def _build_effects(atlas: Atlas, panel: Panel, endpoint: str) -> Iterator[Part]:
    """The effects on one endpoint: over data sets, and on each of them."""
    populations = estimate_together(panel, endpoint)
    words = judge_panel(panel, atlas.margin)
    if populations:
        is_predicted = len(panel.runs) >= MIN_FOR_PREDICTION
        rows = [
            [
                trick,
                words[trick, endpoint],
                f"{each.mean:+.4f}",
                format_interval(each.interval),
                *([format_interval(each.prediction)] if each.prediction else []),
            ]
            for trick, each in sorted(populations.items(), key=lambda item: -item[1].mean)
        ]
        prediction = ["a new data set"] if is_predicted else []
        yield Table(["trick", "verdict", "mean", "interval of the mean", *prediction], rows)
        if not is_predicted:
            yield f"A prediction for a new data set needs {MIN_FOR_PREDICTION} data sets; there are {len(panel.runs)}."
        if endpoint == "accuracy":
            yield Charts([_chart(atlas, panel, populations, words)])
    by_trick: dict[str, dict[str, DataEffect]] = {}
    for effect in panel.effects:
        if effect.endpoint == endpoint:
            by_trick.setdefault(effect.trick, {})[effect.data] = effect
    yield Table(
        ["trick", *panel.runs],
        [
            [trick, *(format_effect(own[data].value, own[data].interval) if data in own else "" for data in panel.runs)]
            for trick, own in by_trick.items()
        ],
    )


def _chart(
    atlas: Atlas, panel: Panel, populations: Mapping[str, Population], words: Mapping[tuple[str, str], str]
) -> Intervals:
    ends = [end for each in populations.values() for end in each.interval]
    rows = [
        Estimate(trick, each.mean, each.interval, f"{each.mean:+.4f}", STYLES[words[trick, "accuracy"]])
        for trick, each in sorted(populations.items(), key=lambda item: -item[1].mean)
    ]
    return Intervals(
        "Mean effect on accuracy over data sets like these",
        fit_axis("accuracy", [*ends, -atlas.margin, atlas.margin]),
        rows,
        band=(-atlas.margin, atlas.margin),
        styles=[(STYLES[word], word) for word in WORDS],
    )


def _build_pairs(panel: Panel) -> Iterator[Part]:
    """What tricks do together beyond their sum."""
    groups = panel.estimate_groups("accuracy")
    if not groups:
        return
    yield Heading("pairs", 3)
    yield (
        "By how much two tricks together move the accuracy beyond the sum of both. These arms cannot tell the pairs of "
        f"one line apart: the figure is of their sum. Each interval of {LEVEL:.0%} is for its line alone."
    )
    ordered = sorted(groups, key=lambda group: -abs(group[1].mean))
    yield Table(
        ["pairs", "mean", "interval of the mean"],
        [[name, f"{each.mean:+.4f}", format_interval(each.interval)] for name, each in ordered],
    )


def _describe_base(data: str, by_seed: Mapping[int, Sequence[Result]]) -> str:
    """Describe the base on a data set: its accuracy, and how its training ended."""
    runs = [run for runs in by_seed.values() for run in runs if run.tricks == "base"]
    ends = ", ".join(sorted({run.health.replace("_", " ") for run in runs}))
    return f"{data} {fmean(run.accuracy for run in runs):.3f} ({ends})"


def _build_lengths(atlas: Atlas, results: Mapping[Key, Result]) -> Iterator[Part]:
    """Whether the base has finished: its scores at each length, on data sets that have two."""
    studies = [name for name, study in atlas.studies.items() if not study.tricks]
    lengths = sorted({key[2] for key in results})
    seeds = 1 + max((key[4] for key in results), default=0)
    scores: dict[tuple[str, str], dict[int, list[Result]]] = {}
    for block in list_blocks(atlas, Selection(studies, updates=lengths, seeds=seeds)):
        for run in block.runs:
            if run.key in results and results[run.key].right:
                by_length = scores.setdefault((run.encoder, run.data), {})
                by_length.setdefault(run.updates, []).append(results[run.key])
    scores = {pair: by_length for pair, by_length in scores.items() if len(by_length) > 1}
    if not scores:
        return
    lengths = sorted({updates for by_length in scores.values() for updates in by_length})
    yield Heading("Has the base finished?")
    yield "Accuracy and log loss of the base at each number of updates, and the number of seeds."
    yield Table(
        ["encoder, data set", *map(str, lengths)],
        [
            [f"{encoder}, {data}", *(_describe_length(own.get(updates, [])) for updates in lengths)]
            for (encoder, data), own in scores.items()
        ],
    )


def _describe_length(runs: Sequence[Result]) -> str:
    if not runs:
        return ""
    return f"{fmean(run.accuracy for run in runs):.3f}, {fmean(run.loss for run in runs):.3f} ({len(runs)})"


def _build_claims(
    atlas: Atlas, claims: Mapping[str, Claim], panels: Sequence[Panel], results: Mapping[Key, Result]
) -> Iterator[Part]:
    """What was measured of each claim."""
    yield (
        f"A claim {HOLDS} if the whole interval is above 0 and above the published difference less {TOLERANCE:g}; it "
        f"{DOES_NOT} if the whole interval is below the published difference. In all other cases, and with fewer than "
        f"{MIN_SEEDS} paired seeds, one {CANNOT_TELL}. For a negative difference the signs turn. A published 0 "
        f"{HOLDS} if the interval is above -{TOLERANCE:g}. Lines without a published figure are controls."
    )
    for name, claim in claims.items():
        yield Heading(name, 3)
        yield f"{claim.says}. Source: {claim.source}."
        rows = [
            [
                f"{finding.comparison.arm} - {finding.comparison.control}",
                "" if finding.comparison.published is None else f"{finding.comparison.published:+.4f}",
                f"{finding.value:+.4f}" if finding.data else "",
                format_interval(finding.interval) if finding.interval else "",
                ", ".join(f"{data} ({seeds})" for data, seeds in finding.data.items()) or "none yet",
                finding.verdict,
            ]
            for finding in find(atlas, claim, results)
        ]
        yield Table(["comparison", "published", "measured", "interval", "data sets (seeds)", "verdict"], rows)
        yield from _compare_with_atlas(atlas, claim, panels)
    yield "The runs of all claims:"
    yield Code("python scripts/atlas.py run --claims --data <folder of data sets> --seeds 5")


def _compare_with_atlas(atlas: Atlas, claim: Claim, panels: Sequence[Panel]) -> Iterator[Part]:
    """The effects in the atlas, for comparison: they are of other data, and without a control of equal compute."""
    for trick, published in claim.atlas.items():
        for panel in _main_panels(panels):
            population = panel.populations("accuracy").get(trick)
            if population:
                yield (
                    f"For comparison: in the atlas ({panel.study}, {_name_language(atlas, panel)}, {len(panel.runs)} "
                    f"data sets, {panel.updates} updates) {trick} moves the accuracy by "
                    f"{format_population(population)}, {panel.design.estimand}. Published are {published:+.4f}. These "
                    "are other data and often another encoder, so it does not test the claim."
                )


def _describe_predictions(measured: Sequence[Measured]) -> Iterator[Part]:
    """Whether the atlas supports predictions, and how often they hold."""
    sentences = []
    for language in LANGUAGES:
        by_trick = select(measured, language)
        supported = {trick: own for trick, own in by_trick.items() if len(own) >= MIN_DATA_SETS}
        most = max(map(len, by_trick.values()), default=0)
        if supported:
            sentences.append(
                f"{LANGUAGES[language]}: {len(supported)} tricks on {most} data sets. Each data set left out in turn, "
                f"the intervals of {LEVEL:.0%} {hold_out(supported)}, with the interval of that rate."
            )
        else:
            sentences.append(
                f"{LANGUAGES[language]}: no trick has been measured on {MIN_DATA_SETS} data sets, so there is no "
                f"prediction; the most are {most}."
            )
    yield Items(sentences)
    yield "This prints what the atlas lets one expect of each trick:"
    yield Code("trickbook choose data=files data.train=my.csv")


def measure(atlas: Atlas, panels: Sequence[Panel], data: Path) -> list[Measured]:
    """List the effects on each data set with the properties of the data, for predictions."""
    properties = read_properties(data)
    measured = []
    for panel in panels:
        for name in panel.runs:
            if name not in properties:
                continue
            own = properties[name]
            base = fmean(run.accuracy for runs in panel.runs[name].values() for run in runs if run.tricks == "base")
            effects = {(each.trick, each.endpoint): each.value for each in panel.effects if each.data == name}
            measured += [
                Measured(
                    trick=trick,
                    study=panel.study,
                    language=atlas.data[name].language,
                    encoder=panel.encoder,
                    updates=panel.updates,
                    data=name,
                    accuracy=effects[trick, "accuracy"],
                    loss=effects[trick, "loss"],
                    passes=panel.measure_passes(trick),
                    base=base,
                    **{field: float(own[field]) for field in ("rows", "classes", "majority", "length")},
                )
                for trick in panel.tricks
                if (trick, "accuracy") in effects
            ]
    return measured


def read_properties(path: Path) -> dict[str, dict[str, str]]:
    """Read the properties of the data sets, by name."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as lines:
        return {line["data"]: line for line in csv.DictReader(lines)}


def _name_language(atlas: Atlas, panel: Panel) -> str:
    return LANGUAGES[atlas.encoders[panel.encoder].language]


def format_interval(interval: tuple[float, float]) -> str:
    """Format an interval."""
    return f"{interval[0]:+.4f} to {interval[1]:+.4f}"


def format_population(population: Population) -> str:
    """Format a mean with its interval."""
    return f"{population.mean:+.4f} ({format_interval(population.interval)})"


def format_effect(value: float, interval: tuple[float, float] | None) -> str:
    """Format an effect with half of its interval."""
    return f"{value:+z.3f}" + (f" ± {(interval[1] - interval[0]) / 2:.3f}" if interval else "")
