"""What is read and tried before a study runs: that its data can be judged on, what to beware of, how long it takes."""

import math
from collections.abc import Callable, Iterator, Sequence

from datasets import Dataset
from hydra.core.config_loader import ConfigLoader

from recipes import seams
from recipes.ablation import plan
from recipes.ablation.composer import Composer
from recipes.ablation.design import Arm, Design
from recipes.ablation.factors import Space
from recipes.ablation.progress import in_words
from recipes.compose.reading import read
from recipes.compose.requirements import check
from recipes.compose.tricks import build
from recipes.config import Config
from recipes.data.splits import read_splits
from recipes.errors import UserError, nearest


def doubts(space: Space, composer: Composer) -> Iterator[str]:
    """What makes arms unlike to be judged: validation chooses more in one than in another."""
    data, tricks = next(iter(space.data)), {}
    for place, number in space.singles:
        if name := space.factors[place].choices[number].trick:
            config = read(composer(space.overrides_of(space.alone(place, number), 0, data)))
            tricks[name] = build(config.tricks)[name]
    if fitted := seams.tricks_around("settle", tricks):
        yield (
            f"Validation rows that {' and '.join(fitted)} learned from also judge what it does, which makes it look a "
            "little too good; only the test split, opened for what is recommended, has not been learned from."
        )
    keep = read(composer(space.overrides_of(space.base, 0, data))).evaluate.weights
    if keep == "best" and (averaging := seams.tricks_around("weights", tricks)):
        yield (
            "evaluate.weights=best: weights are chosen by the rows that judge them, but not those of "
            f"{' and '.join(averaging)}, to the others' advantage; evaluate.weights=last compares like with like."
        )


def validation_rows(space: Space, composer: Composer, with_test: bool) -> dict[str, int]:
    """The labelled validation rows of each data set, read to see that it can be trained on, and tested in the end.

    Raises:
        UserError: with all that is wrong with any of them, or at a level that reads the data in another way.
    """
    problems: list[str] = []
    found = {}
    for data in space.data:
        config = read(composer(space.overrides_of(space.base, 0, data)))
        try:
            splits = read_splits(config.data, config.evaluate.extra, with_test)
            check(config, splits, build(config.tricks))
            for name, others in _read_otherwise(space, composer, config, data):
                if any(list(others[column]) != list(splits.validation[column]) for column in ("id", "label")):
                    problems.append(
                        f"{name}: other validation rows than the base's judge it, and runs are compared row by row; "
                        "data sets are swept as data=one,two, files of conf/data."
                    )
        except UserError as error:
            problems += error.problems
        else:
            found[data] = sum(label is not None for label in splits.validation["label"])
    if problems:
        raise UserError(*dict.fromkeys(problems))
    return found


def _read_otherwise(space: Space, composer: Composer, base: Config, data: str) -> Iterator[tuple[str, Dataset]]:
    """The validation split at each level that has another say on the data than the base."""
    for place, number in space.singles:
        if not space.factors[place].choices[number].trick:
            config = read(composer(space.overrides_of(space.alone(place, number), 0, data)))
            if config.data != base.data:
                yield space.effect([(place, number)]), read_splits(config.data, {}, False).validation


def duration(space: Space, admissible: Callable[[Arm], bool], design: Design, seeds: int, composer: Composer) -> str:
    """How long all runs take, by a trial of the base on each data set, and of each level on the first."""

    def trial(arm: Arm, data: str) -> float:
        return plan.seconds_of(read(composer(space.overrides_of(arm, 0, data))))

    bases = {data: trial(space.base, data) for data in space.data}
    first = next(iter(space.data))
    # A level that cannot be alone on the base is taken to cost nothing.
    times = {
        single: trial(space.alone(*single), first) / bases[first] if admissible(space.alone(*single)) else 1.0
        for single in space.singles
    }
    bases_in_all = sum(math.prod(times.get(level, 1.0) for level in enumerate(arm)) for arm in design.arms)
    told = in_words(sum(bases.values()) * bases_in_all * seeds)
    return f"about {told} one after another, by short trials"


def check_tricks(names: Sequence[str], loader: ConfigLoader) -> None:
    """See that what is always on is a trick.

    Raises:
        UserError: with every name that is none.
    """
    known = loader.get_group_options("tricks")
    problems = [
        f"hydra.sweeper.always: there is no trick {name}; {nearest(name, known)}" for name in names if name not in known
    ]
    if problems:
        raise UserError(*problems)
