"""The part of a report on single data sets, and on data sets like these."""

from collections.abc import Iterator

from recipes.ablation.design import Effect
from recipes.ablation.findings import Findings
from recipes.ablation.populations import MIN_FOR_PREDICTION, Population, estimate_population
from recipes.ablation.verdicts import HELPS, HURTS
from recipes.reports.document import Heading, Part, Table


def estimate_populations(findings: Findings) -> dict[Effect, Population]:
    """Estimate each main effect over a population of data sets; none from a single data set."""
    if len(findings.by_data) < 2:
        return {}
    return {
        verdict.effect: estimate_population([effects[verdict.effect] for effects in findings.by_data.values()])
        for verdict in findings.mains
        if all(verdict.effect in effects for effects in findings.by_data.values())
    }


def describe_open_populations(findings: Findings) -> Iterator[str]:
    """Describe which clear verdicts on these data sets do not hold for data sets like these."""
    populations = estimate_populations(findings)
    for verdict in findings.mains:
        population = populations.get(verdict.effect)
        if verdict.word in (HELPS, HURTS) and population and population.interval[0] <= 0 <= population.interval[1]:
            yield (
                f"{findings.name(verdict.effect)} {verdict.word} on these {len(findings.by_data)} data sets; its mean "
                f"effect on data sets like these is open ({_format_interval(population.interval)})."
            )


def build_data_parts(findings: Findings) -> Iterator[Part]:
    """Build the tables of effects by data set; nothing for a single data set."""
    populations = estimate_populations(findings)
    if len(findings.by_data) < 2:
        return
    yield Heading("Data set by data set")
    rows = []
    for verdict in findings.mains:
        values = [effects.get(verdict.effect) for effects in findings.by_data.values()]
        rows.append([findings.name(verdict.effect), *("" if value is None else f"{value:+z.4f}" for value in values)])
    yield Table(["level", *findings.by_data], rows)
    if not populations:
        return
    yield Heading("On data sets like these")
    count = len(findings.by_data)
    yield (
        "The verdicts answer what a trick does on these data sets: their intervals are about other seeds and rows. "
        "This table answers what it does on average over a population that these data sets are a sample of. Its "
        f"intervals (Hartung and Knapp, {count - 1} degrees of freedom) hold one by one. They are wide where there are "
        "few data sets, and decide no verdict."
    )
    is_predicted = count >= MIN_FOR_PREDICTION
    yield (
        "The prediction is for the effect that this study would measure on one more data set."
        if is_predicted
        else f"{count} data sets are too few to predict the effect on a new one, which takes {MIN_FOR_PREDICTION}."
    )
    yield Table(
        ["level", "mean", "mean of data sets like these", *(["a new data set"] if is_predicted else [])],
        [
            [
                findings.name(effect),
                f"{each.mean:+z.4f}",
                _format_interval(each.interval),
                *([_format_interval(each.prediction)] if each.prediction else []),
            ]
            for effect, each in populations.items()
        ],
    )


def _format_interval(interval: tuple[float, float]) -> str:
    return "\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}".join(f"{end:+z.4f}" for end in interval)
