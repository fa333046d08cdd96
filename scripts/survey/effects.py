"""From stored rows to effects: of each trick on each data set, over data sets, and of pairs.

The estimates on one data set are those of the ablation (recipes/ablation/effects.py): their intervals are about other
seeds, other training rows and other validation rows, which rotate with the seeds. Over data sets the interval of the
mean and the prediction for a new data set are those of recipes/ablation/populations.py: what differs between data sets
is all that they need.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recipes.ablation.design import Design, Effect, design_matrix
from recipes.ablation.effects import Block as ScoredBlock
from recipes.ablation.effects import estimate
from recipes.ablation.factors import Space
from recipes.ablation.populations import Population, estimate_population
from recipes.doctor.health import HEADLINES
from recipes.errors import UserError
from scripts.survey.blocks import design_study, make_run
from scripts.survey.declaration import Atlas
from scripts.survey.rows import Key, Result, decode_losses, decode_right

BROKEN = HEADLINES[:2]
"""Headlines of a run that learned nothing: it diverged, or collapsed."""
ENDPOINTS = ("accuracy", "loss")
"""Of all studies; a study whose metric is another one has that too. Above 0 is better: an effect on the loss is by how
much it falls."""


@dataclass(frozen=True)
class DataEffect:
    """The effect of a trick on one data set."""

    trick: str
    data: str
    endpoint: str
    value: float
    interval: tuple[float, float] | None
    """Of 95 %; None if nothing measures chance: one seed, and as many effects as arms."""


@dataclass(frozen=True)
class Panel:
    """All finished blocks of a study with one encoder at one length."""

    study: str
    encoder: str
    updates: int
    space: Space
    design: Design
    runs: Mapping[str, Mapping[int, Sequence[Result]]]
    """The runs of all arms, in their order, by data set and seed."""
    atlas: Atlas

    @property
    def tricks(self) -> list[str]:
        """The names of the effects."""
        return [self.space.name_effect(effect.terms) for effect in self.design.mains]

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The metric of the study first."""
        return tuple(dict.fromkeys([self.atlas.studies[self.study].metric, *ENDPOINTS]))

    @property
    def seeds(self) -> dict[str, int]:
        """The number of seeds on each data set."""
        return {data: len(by_seed) for data, by_seed in self.runs.items()}

    @property
    def results(self) -> list[Result]:
        """All runs."""
        return [run for by_seed in self.runs.values() for runs in by_seed.values() for run in runs]

    @cached_property
    def effects(self) -> list[DataEffect]:
        """The effect of each trick on each data set, for each endpoint."""
        return [
            effect for data in self.runs for endpoint in self.endpoints for effect in self.estimate_on(data, endpoint)
        ]

    def estimate_on(self, data: str, endpoint: str) -> Iterator[DataEffect]:
        """Estimate the effects on one data set; runs that diverged have no score and are left out."""
        try:
            mains, _ = estimate(self.design, [self.score(data, endpoint)])
        except UserError:
            # One seed and as many effects as arms, or a score that is no mean of rows: nothing measures chance.
            means = self.average_arms(data, endpoint)
            for effect, weights in self.design.contrasts().items():
                if len(effect.terms) == 1 and not np.isnan(means).any():
                    yield DataEffect(self.space.name_effect(effect.terms), data, endpoint, float(weights @ means), None)
            return
        lows, highs = mains.interval(0.95)
        for effect, value, low, high in zip(mains.effects, mains.values, lows, highs, strict=True):
            name = self.space.name_effect(effect.terms)
            yield DataEffect(name, data, endpoint, float(value), (float(low), float(high)))

    def score(self, data: str, endpoint: str) -> ScoredBlock:
        """Read the scores of all runs on a data set, except those that diverged."""
        arms = [(arm, run) for runs in self.runs[data].values() for arm, run in enumerate(runs) if run.right]
        return score_runs(self.atlas, arms, endpoint)

    def average_arms(self, data: str, endpoint: str) -> np.ndarray:
        """Average the scores of each arm over seeds, (arm); NaN if all its runs have diverged."""
        scores = np.array([[getattr(run, endpoint) for run in runs] for runs in self.runs[data].values()])
        counts = (~np.isnan(scores)).sum(0)
        means = np.divide(np.nansum(scores, axis=0), counts, where=counts > 0, out=np.full(counts.shape, np.nan))
        return np.asarray(-means if endpoint == "loss" else means)

    def populations(self, endpoint: str, level: float = 0.95) -> dict[str, Population]:
        """Estimate each effect over data sets like these; none from a single data set."""
        if len(self.runs) < 2:
            return {}
        return {
            trick: estimate_population(self.values(trick, endpoint), level)
            for trick in self.tricks
            if len(self.values(trick, endpoint)) == len(self.runs)
        }

    def values(self, trick: str, endpoint: str) -> list[float]:
        """The effects of a trick on the data sets."""
        return [each.value for each in self.effects if (each.trick, each.endpoint) == (trick, endpoint)]

    def list_groups(self) -> list[list[Effect]]:
        """List the pairs in groups that the arms cannot tell apart; a pair that they can tell is alone."""
        estimable = [[pair] for pair in self.design.pairs if pair in self.design.contrasts()]
        return estimable + self.design.inseparable_pairs()

    def estimate_groups(self, endpoint: str) -> list[tuple[str, Population]]:
        """Estimate the sum of the pairs of each group over data sets like these."""
        means = [self.average_arms(data, endpoint) for data in self.runs]
        means = [each for each in means if not np.isnan(each).any()]
        if len(means) < 2:
            return []
        estimates = []
        for group in self.list_groups():
            # A pair is the effect of one trick with the other one minus that without.
            columns = design_matrix(self.design.arms, self.design.levels, [*self.design.mains, group[0]])
            model = np.column_stack([np.ones(len(columns)), columns])
            weights = np.linalg.pinv(model)[-1]
            values = [float(weights @ each) for each in means]
            name = ", ".join(self.space.name_effect(pair.terms) for pair in group)
            estimates.append((name, estimate_population(values)))
        return estimates

    def measure_passes(self, trick: str) -> float:
        """Measure by how much a trick multiplies the passes, on average over the arms.

        Seconds are not compared: runs that share a machine slow each other down.
        """
        effect = next(each for each in self.design.mains if self.space.name_effect(each.terms) == trick)
        weights = self.design.contrasts()[effect]
        logarithms = [
            weights @ np.log([run.passes for run in runs])
            for by_seed in self.runs.values()
            for runs in by_seed.values()
            if all(run.right for run in runs)
        ]
        return float(np.exp(np.mean(logarithms))) if logarithms else float("nan")

    def count_broken(self, trick: str) -> tuple[int, int]:
        """Count the runs with a trick that broke, and all runs with it."""
        own = [run.health in BROKEN for run in self.results if trick.split(" ")[0] in run.tricks.split("+")]
        return sum(own), len(own)


def score_runs(atlas: Atlas, runs: Sequence[tuple[int, Result]], endpoint: str) -> ScoredBlock:
    """Read the scores of runs on one data set.

    Args:
        atlas: the declaration.
        runs: each with the number of its arm.
        endpoint: which score.

    Raises:
        UserError: there is no run, runs of one seed were scored on different rows, or the score is no mean of rows.
    """
    if not runs or endpoint not in ENDPOINTS:
        raise UserError(f"no rows have a score: {endpoint}.")
    encoder, data = runs[0][1].encoder, runs[0][1].data
    count, most = atlas.validation_rows, atlas.data[data].folds
    validations = sorted({(run.seed % most, run.validation) for _, run in runs})
    folds = [fold for fold, _ in validations]
    if len(set(folds)) < len(folds):
        raise UserError(f"{encoder}, {data}: the stored rows were scored on different validation rows.")
    # Rows of other folds are NaN: a run is not scored on them.
    rows, indices = np.full((len(runs), len(folds), count), np.nan), [folds.index(run.seed % most) for _, run in runs]
    for number, (index, (_, run)) in enumerate(zip(indices, runs, strict=True)):
        is_right = endpoint == "accuracy"
        rows[number, index] = (
            decode_right(run.right, count) if is_right else -decode_losses(run.losses, count, run.loss)
        )
    return ScoredBlock(
        name=data,
        arms=np.array([arm for arm, _ in runs]),
        seeds=np.array([run.seed for _, run in runs]),
        rows=rows.reshape(len(runs), -1),
        fingerprints=[hashlib.sha256(f"{run.right} {run.losses} {run.loss}".encode()).hexdigest() for _, run in runs],
        folds=np.array(indices) if len(folds) > 1 else None,
        fold_count=most,
    )


def list_panels(atlas: Atlas, results: Mapping[Key, Result]) -> list[Panel]:
    """List the panels that have finished blocks, in the order of the declaration."""
    panels = []
    lengths = sorted({key[2] for key in results}, reverse=True)
    for name, study in atlas.studies.items():
        for encoder, each in atlas.encoders.items():
            names = [data for data in study.data if atlas.data[data].language == each.language]
            # What the stored rows have at all is looked up first: choosing arms takes seconds.
            tried = {trick for key in results if key[0] == encoder and key[1] in names for trick in key[3].split("+")}
            if not study.tricks or not study.tricks.keys() <= tried:
                continue
            designed = [(data, *design_study(atlas, name, encoder, data)) for data in names]
            _, space, design = designed[0]
            if any(each.arms != design.arms for _, _, each in designed):
                raise UserError(
                    f"studies.{name}: its data sets allow different arms with {encoder}; make two studies of it."
                )
            for updates in lengths:
                runs: dict[str, dict[int, list[Result]]] = {}
                for data, own_space, _ in designed:
                    seeds = sorted({key[4] for key in results if key[:3] == (encoder, data, updates)})
                    for seed in seeds:
                        keys = [make_run(own_space, arm, encoder, data, updates, seed).key for arm in design.arms]
                        if all(key in results for key in keys):
                            runs.setdefault(data, {})[seed] = [results[key] for key in keys]
                if runs:
                    panels.append(Panel(name, encoder, updates, space, design, runs, atlas))
    return panels
