"""The blocks of the atlas: all arms of a study on one data set with one seed, in the order in which they are run.

A block is the smallest part that effects can be estimated from. Blocks are ordered by seed, then by study, so that
after each round all data sets of all studies have as many seeds.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain

from omegaconf import DictConfig

from recipes.ablation.design import Arm, Design, choose
from recipes.ablation.factors import NONE, Factor, Level, Space
from recipes.ablation.feasibility import find_admissible_arms
from recipes.compose.overrides import compose_config
from scripts.survey.declaration import Atlas
from scripts.survey.rows import Key

DATA = "data"
"""The name of the data set inside a space: that of the run is in its key."""


@dataclass(frozen=True)
class Run:
    """A run of the atlas."""

    encoder: str
    data: str
    updates: int
    tricks: str
    seed: int
    overrides: tuple[str, ...]
    """All that decide the result, except the training rows, which the seed draws."""
    rows: int | None = None
    """The number of training rows; None: as of the whole atlas."""

    @property
    def key(self) -> Key:
        """As of its result."""
        rows = [] if self.rows is None else [f"rows={self.rows}"]
        digest = hashlib.sha256("\0".join([*self.overrides, *rows]).encode()).hexdigest()[:8]
        return (self.encoder, self.data, self.updates, self.tricks, self.seed, digest)

    @property
    def name(self) -> str:
        """For files and messages; an override of a folder may have no comma, and arms of claims have some."""
        return "-".join(map(str, self.key)).replace(", ", "_").replace(" ", "_")


@dataclass(frozen=True)
class Block:
    """All arms of a study on one data set with one seed."""

    study: str
    encoder: str
    data: str
    updates: int
    seed: int
    runs: Sequence[Run]

    @property
    def name(self) -> str:
        """For files and messages."""
        return f"{self.study}-{self.encoder}-{self.data}-{self.updates}-s{self.seed}"


@dataclass(frozen=True)
class Selection:
    """The part of the atlas that a command asks for; None: all."""

    studies: Sequence[str] | None = None
    encoders: Sequence[str] | None = None
    data: Sequence[str] | None = None
    updates: Sequence[int] | None = None
    seeds: int = 1


def list_blocks(atlas: Atlas, selection: Selection) -> Iterator[Block]:
    """List the blocks of a selection, in their order."""
    for seed in range(selection.seeds):
        for name, study in atlas.studies.items():
            if not is_asked(name, selection.studies):
                continue
            for updates in study.updates if selection.updates is None else selection.updates:
                for encoder, data in list_pairs(atlas, study.data, selection):
                    space, design = design_study(atlas, name, encoder, data)
                    runs = [make_run(space, arm, encoder, data, updates, seed) for arm in design.arms]
                    yield Block(name, encoder, data, updates, seed, runs)


def is_asked(name: str, selected: Sequence[str] | None) -> bool:
    """Whether a name is among the selected ones."""
    return selected is None or name in selected


def list_pairs(atlas: Atlas, names: Sequence[str], selection: Selection) -> Iterator[tuple[str, str]]:
    """List each of these data sets with the encoders of its language."""
    for data in names:
        for encoder, each in atlas.encoders.items():
            are_asked = is_asked(encoder, selection.encoders) and is_asked(data, selection.data)
            if are_asked and each.language == atlas.data[data].language:
                yield encoder, data


def make_run(space: Space, arm: Arm, encoder: str, data: str, updates: int, seed: int) -> Run:
    """Make the run of an arm."""
    tricks = sorted(level.trick for level in space.levels_of(arm) if level.trick)
    overrides = (*space.overrides_of(arm, seed, DATA), f"train.max_updates={updates}")
    return Run(encoder, data, updates, "+".join(tricks) or "base", seed, overrides)


def design_study(atlas: Atlas, name: str, encoder: str, data: str) -> tuple[Space, Design]:
    """Choose the arms of a study with an encoder on a data set."""
    study, model = atlas.studies[name], atlas.encoders[encoder]
    of_always = chain.from_iterable(overrides or () for overrides in model.always.values())
    shared = (*model.overrides, *of_always, *atlas.overrides, *study.overrides)
    tricks = tuple((trick, tuple(overrides or ())) for trick, overrides in study.tricks.items())
    own = ("data=files", *atlas.data[data].overrides)
    return choose_arms(shared, own, tricks, (*study.always, *model.always), study.design, study.arms)


@cache
def choose_arms(
    shared: tuple[str, ...],
    data: tuple[str, ...],
    tricks: tuple[tuple[str, tuple[str, ...]], ...],
    always: tuple[str, ...],
    kind: str,
    most: int,
) -> tuple[Space, Design]:
    """Choose the arms of a study; its tricks that exclude each other become levels of one factor.

    Args:
        shared: overrides of all runs.
        data: overrides of the data set.
        tricks: each with its overrides.
        always: tricks that are on in every run.
        kind: of the design.
        most: the largest number of arms.
    """
    factors = tuple(Factor(trick, (NONE, Level(trick, overrides, trick))) for trick, overrides in tricks)
    space = Space(factors, {DATA: data}, shared, always)
    if not tricks:
        return space, Design("full", (), ((),))
    space, admissible = find_admissible_arms(space, compose)
    return space, choose([len(factor.choices) for factor in space.factors], admissible, kind, most)


def compose(overrides: Sequence[str]) -> DictConfig:
    """Compose a run's config, to find which arms can be run; that does not depend on the rows."""
    return compose_config([*overrides, "data.train=train.csv"])[0]
