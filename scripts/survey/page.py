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
from scripts.survey.claims import DOES_NOT, HOLDS, MIN_SEEDS, TOLERANCE, Claim, find
from scripts.survey.claims import judge as judge_claim
from scripts.survey.declaration import Atlas
from scripts.survey.effects import ENDPOINTS, DataEffect, Panel
from scripts.survey.rows import Key, Result
from scripts.survey.seen import judge

TITLE = "The trick atlas"
LEVEL = 0.95
ENDPOINT_NAMES = {"accuracy": "accuracy", "loss": "log loss, by how much it falls"}
LANGUAGES = {"en": "English", "zh": "Chinese"}
WORDS = (HELPS, HURTS, NOTHING, NO_EVIDENCE)
FIELDS = ("data", "language", "rows", "classes", "majority", "length")
"""Columns of docs/atlas/data.csv."""
REMAKE = """python scripts/atlas.py run --data <folder of data sets> --studies everyday longer --seeds 5
python scripts/atlas.py page"""


def judge_panel(panel: Panel, margin: float) -> dict[tuple[str, str], str]:
    """Judge each effect of a panel on each endpoint; by Bonferroni, the intervals hold for all tricks at once."""
    level = 1 - (1 - LEVEL) / max(1, len(panel.tricks))
    return {
        (trick, endpoint): judge(population, margin)
        for endpoint in ENDPOINTS
        for trick, population in panel.populations(endpoint, level).items()
    }


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
        "Which tricks help, measured by paired runs at real training length. Each figure is made of the stored rows in "
        "docs/atlas/rows by one command; a test makes this page again. An effect is the score with the trick minus the "
        "score without it: on average over the other tricks where a study combines them, alone on the base elsewhere."
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
    yield from _build_lengths(results)
    yield Heading("Published claims, tried again")
    yield from _build_claims(atlas, claims, panels, results)
    yield Heading("Predictions for new data")
    yield from _describe_predictions(measure(atlas, panels, data))


def _build_summary(atlas: Atlas, panels: Sequence[Panel]) -> Iterator[Part]:
    """The table that a practitioner can act on: a line for each trick and language."""
    yield (
        f"A verdict takes an interval that holds for all tricks of a study at once ({LEVEL:.0%}). Above 0 the trick "
        f"{HELPS}, below 0 it {HURTS}; inside ±{atlas.margin:g} it does {NOTHING}; else there is {NO_EVIDENCE}. The "
        "intervals in the table hold one by one, for the mean over data sets like these. Those of a single set are for "
        "it alone."
    )
    rows = []
    for panel in _main_panels(panels):
        sets = f"{len(panel.runs)} sets" if len(panel.runs) > 1 else "".join(panel.runs)
        texts = f"{_name_language(atlas, panel)}, {sets}"
        accuracy, loss = _list_effects(atlas, panel, "accuracy"), _list_effects(atlas, panel, "loss")
        for trick in sorted(accuracy, key=lambda each: -accuracy[each][0]):
            passes, seconds = panel.measure_cost(trick)
            broken, runs = panel.count_broken(trick)
            effects = [*accuracy[trick][1:], *(loss[trick][1:] if trick in loss else ("", ""))]
            rows.append([trick, texts, *effects, f"{passes:.2f}", f"{seconds:.2f}", f"{broken} of {runs}"])
    header = ["trick", "texts", "accuracy", "effect", "log loss", "effect", "x passes", "x time", "broke"]
    yield Table(header, rows)


def _list_effects(atlas: Atlas, panel: Panel, endpoint: str) -> dict[str, tuple[float, str, str]]:
    """List each trick's effect with its verdict and its words; a single data set has no verdict."""
    if len(panel.runs) > 1:
        words = judge_panel(panel, atlas.margin)
        populations = panel.populations(endpoint).items()
        return {trick: (each.mean, words[trick, endpoint], format_population(each)) for trick, each in populations}
    effects = [each for each in panel.effects if each.endpoint == endpoint]
    return {each.trick: (each.value, "one set", _format_effect(each)) for each in effects}


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
        f"It is scored on {atlas.validation_rows:,} other rows of the data set, which rotate over its folds with the "
        "seeds. Official splits are merged; repeated texts, and texts with two labels, are left out. The last weights "
        "count: nothing is chosen on validation. Weights are those of the encoders' packages, rounded to 16 bits."
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
    incomplete = len(results) - len({run.key for panel in panels for run in panel.results})
    yield (
        f"{incomplete} of the runs are of lengths of the base, or of blocks that are not complete. The same command "
        "makes what is missing:"
    )
    yield Code(REMAKE)


def _build_panel(atlas: Atlas, panel: Panel) -> Iterator[Part]:
    """A section for a study with one encoder at one length."""
    study = atlas.studies[panel.study]
    yield Heading(f"{panel.study}: {_name_language(atlas, panel)}, {panel.encoder}, {panel.updates} updates")
    design = "average over the other tricks" if panel.design.kind not in ("one_at_a_time",) else "alone on the base"
    yield f"{study.question} Effects are {design}."
    bases = {
        data: fmean(run.accuracy for runs in by_seed.values() for run in runs if run.tricks == "base")
        for data, by_seed in panel.runs.items()
    }
    yield "Accuracy of the base: " + ", ".join(f"{data} {score:.3f}" for data, score in bases.items()) + "."
    for endpoint in ENDPOINTS:
        yield Heading(f"{ENDPOINT_NAMES[endpoint]}", 3)
        yield from _build_effects(atlas, panel, endpoint)
    yield from _build_pairs(panel)
    yield Heading("cost and health", 3)
    yield Table(
        ["trick", "x passes", "x time of training", "broke", "of runs"],
        [
            [trick, *(f"{each:.2f}" for each in panel.measure_cost(trick)), *map(str, panel.count_broken(trick))]
            for trick in panel.tricks
        ],
    )


def _build_effects(atlas: Atlas, panel: Panel, endpoint: str) -> Iterator[Part]:
    """The effects on one endpoint: over data sets, and on each of them."""
    populations = panel.populations(endpoint)
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
            yield f"A prediction for a new data set takes {MIN_FOR_PREDICTION} data sets; these are {len(panel.runs)}."
        if endpoint == "accuracy":
            yield Charts([_chart(atlas, panel, populations, words)])
    by_trick: dict[str, dict[str, DataEffect]] = {}
    for effect in panel.effects:
        if effect.endpoint == endpoint:
            by_trick.setdefault(effect.trick, {})[effect.data] = effect
    yield Table(
        ["trick", *panel.runs],
        [
            [trick, *(_format_effect(own[data]) if data in own else "" for data in panel.runs)]
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
        "By how much two tricks together move the accuracy beyond the sum of both. Pairs in one line cannot be told "
        "apart by these arms: the figure is of their sum. Intervals hold one by one."
    )
    ordered = sorted(groups, key=lambda group: -abs(group[1].mean))
    yield Table(
        ["pairs", "mean", "interval of the mean"],
        [[name, f"{each.mean:+.4f}", format_interval(each.interval)] for name, each in ordered],
    )


def _build_lengths(results: Mapping[Key, Result]) -> Iterator[Part]:
    """Whether the base has finished: its score at each length."""
    scores: dict[tuple[str, str], dict[int, list[float]]] = {}
    for run in results.values():
        if run.tricks == "base" and run.right:
            scores.setdefault((run.encoder, run.data), {}).setdefault(run.updates, []).append(run.accuracy)
    lengths = sorted({updates for by_length in scores.values() for updates in by_length})
    if len(lengths) < 2:
        return
    yield Heading("Has the base finished?")
    yield "Accuracy of the base at each number of updates, the mean over its seeds, with their number."
    yield Table(
        ["encoder, data set", *map(str, lengths)],
        [
            [
                f"{encoder}, {data}",
                *(f"{fmean(own[each]):.3f} ({len(own[each])})" if each in own else "" for each in lengths),
            ]
            for (encoder, data), own in scores.items()
        ],
    )


def _build_claims(
    atlas: Atlas, claims: Mapping[str, Claim], panels: Sequence[Panel], results: Mapping[Key, Result]
) -> Iterator[Part]:
    """What was measured of each claim."""
    yield (
        f"A claim {HOLDS} if the whole interval has its sign and falls short of it by less than {TOLERANCE:g}; it "
        f"{DOES_NOT} if the whole interval falls short of it. With fewer than {MIN_SEEDS} paired seeds nobody can "
        "tell. Lines without a published figure are controls."
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
    """What the effects of the atlas say of a claim; they are of other data, and without a control of equal compute."""
    for trick, published in claim.atlas.items():
        for panel in _main_panels(panels):
            population = panel.populations("accuracy").get(trick)
            if population:
                yield (
                    f"In the atlas ({panel.study}, {_name_language(atlas, panel)}, {len(panel.runs)} data sets, "
                    f"{panel.updates} updates) {trick} moves the accuracy by {format_population(population)}, on "
                    f"average over other tricks. Of {published:+.4f} on data sets like these that says: "
                    f"{judge_claim(population.interval, published)}."
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
                    passes=panel.measure_cost(trick)[0],
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


def _format_effect(effect: DataEffect) -> str:
    if effect.interval is None:
        return f"{effect.value:+.3f}"
    return f"{effect.value:+.3f} ± {(effect.interval[1] - effect.interval[0]) / 2:.3f}"
