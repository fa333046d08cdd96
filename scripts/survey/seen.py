"""What the atlas has seen of each trick, in a few words, for the tables of README and docs/tricks.md."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from recipes.ablation.expectations import LEVEL, Measured
from recipes.ablation.populations import Population, estimate_population
from recipes.ablation.verdicts import HELPS, HURTS, NO_EVIDENCE, NOTHING


@dataclass(frozen=True)
class Seen:
    """The effect of a trick on accuracy, over the data sets of a language."""

    trick: str
    language: str
    data_sets: int
    population: Population
    """With an interval of 95 %."""
    verdict: str

    def __str__(self) -> str:
        """The effect and its verdict."""
        return f"{self.population.mean:+z.4f} ({self.language}, {self.data_sets} sets: {self.verdict})"


def judge(population: Population, margin: float) -> str:
    """Judge an effect by an interval that holds for all effects of its study at once."""
    low, high = population.interval
    if -margin < low and high < margin:
        return NOTHING
    if low > 0:
        return HELPS
    return HURTS if high < 0 else NO_EVIDENCE


def judge_tricks(measured: Iterable[Measured], margin: float) -> list[Seen]:
    """Judge each trick in each language, by the study with the most data sets.

    Args:
        measured: the atlas.
        margin: effects below it do not matter.
    """
    studies: dict[tuple[str, str, str, int], dict[str, list[float]]] = {}
    for each in measured:
        key = (each.language, each.study, each.encoder, each.updates)
        studies.setdefault(key, {}).setdefault(each.trick, []).append(each.accuracy)
    seen: dict[tuple[str, str], Seen] = {}
    for (language, *_), effects in sorted(studies.items(), key=lambda item: item[0][3]):
        level = 1 - (1 - LEVEL) / len(effects)
        for trick, values in effects.items():
            other = seen.get((trick, language))
            if len(values) > 1 and (other is None or len(values) >= other.data_sets):
                verdict = judge(estimate_population(values, level), margin)
                seen[trick, language] = Seen(trick, language, len(values), estimate_population(values), verdict)
    return list(seen.values())


def describe_stage(tricks: Sequence[str], seen: Sequence[Seen]) -> str:
    """Describe which tricks of a stage were seen to help, of those that were measured."""
    own = [each for each in seen if each.trick in tricks]
    helping = [f"`{each.trick}` {each.population.mean:+.4f} ({each.language})" for each in own if each.verdict == HELPS]
    measured = len({each.trick for each in own})
    if helping:
        return f"{', '.join(helping)}; of {measured} measured"
    return f"none of {measured} measured" if measured else "none measured yet"


def describe_recipe(tricks: Sequence[str], seen: Sequence[Seen]) -> str:
    """Describe what the atlas has measured of the tricks of a recipe."""
    by_trick: Mapping[str, list[Seen]] = {trick: [each for each in seen if each.trick == trick] for trick in tricks}
    return "; ".join(f"{trick} {', '.join(map(str, own)) or 'not measured'}" for trick, own in by_trick.items())
