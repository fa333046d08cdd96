"""Checks before a study runs: whether its data can be compared, what may bias the verdicts, how long it takes."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from datasets import Dataset
from hydra.core.config_loader import ConfigLoader

from recipes import seams
from recipes.ablation import plan
from recipes.ablation.composer import Composer
from recipes.ablation.design import Arm, Design
from recipes.ablation.factors import Space
from recipes.ablation.progress import format_duration
from recipes.compose.reading import read
from recipes.compose.requirements import check
from recipes.compose.tricks import build
from recipes.config import Config, as_values, value_at
from recipes.data.splits import read_splits
from recipes.errors import UserError, nearest
from recipes.ranges import as_yaml
from recipes.runs.space import describe_bytes, free_bytes, size_of
from recipes.runtime.workers import RUNS_ON_A_GPU
from recipes.trick import Trick


def find_warnings(space: Space, composer: Composer) -> Iterator[str]:
    """Find what biases the comparison: arms that use the validation split for more choices than others."""
    data = next(iter(space.data))
    tricks: dict[str, Trick] = {}
    for factor, level in space.singles:
        if name := space.factors[factor].choices[level].trick:
            config = read(composer(space.overrides_of(space.single_arm(factor, level), 0, data)))
            tricks[name] = build(config.tricks)[name]
    if fitted := seams.tricks_around("settle", tricks):
        yield (
            f"{' and '.join(fitted)} learn from the validation rows that also judge them, so they look a little too "
            "good. Only the test split, scored for the recommended recipe, is unbiased."
        )
    weights = read(composer(space.overrides_of(space.base, 0, data))).evaluate.weights
    if weights == "best" and (averaging := seams.tricks_around("weights", tricks)):
        yield (
            "evaluate.weights=best: weights are chosen on the rows that judge them, but not those of "
            f"{' and '.join(averaging)}, which favours the other arms. Use evaluate.weights=last for a fair comparison."
        )


def describe_sets(space: Space, composer: Composer) -> Iterator[str]:
    """Describe the settings that tricks set in the arms that have them, where the base has another value."""
    data = next(iter(space.data))
    base = as_values(read(composer(space.overrides_of(space.base, 0, data))))
    for factor, level in space.singles:
        choice = space.factors[factor].choices[level]
        if choice.trick:
            config = read(composer(space.overrides_of(space.single_arm(factor, level), 0, data)))
            values = as_values(config)
            for path in build(config.tricks)[choice.trick].sets:
                if (value := value_at(values, path)) != value_at(base, path):
                    yield (
                        f"{choice.trick} sets {path}={as_yaml(value)} in the arms that have it, and in no others: the "
                        f"base has {as_yaml(value_at(base, path))}. Its effect includes that of this setting."
                    )


def count_validation_rows(space: Space, composer: Composer, with_test: bool) -> dict[str, int]:
    """Count the labelled validation rows of each data set, and check that it can be trained on.

    Args:
        space: the factors and data sets.
        composer: of the study's configs.
        with_test: whether to read the test split too.

    Raises:
        UserError: with everything that is wrong with any data set, or with a level that changes the validation rows.
    """
    problems: list[str] = []
    counts = {}
    for data in space.data:
        config = read(composer(space.overrides_of(space.base, 0, data)))
        try:
            splits = read_splits(config.data, config.evaluate.extra, with_test)
            check(config, splits, build(config.tricks))
            for name, validation in _read_other_validation_splits(space, composer, config, data):
                if any(list(validation[column]) != list(splits.validation[column]) for column in ("id", "label")):
                    problems.append(
                        f"{name}: its validation rows differ from those of the base, and runs are compared row by row. "
                        "To compare data sets, sweep data=one,two, which are files of conf/data."
                    )
        except UserError as error:
            problems += error.problems
        else:
            counts[data] = sum(label is not None for label in splits.validation["label"])
    if problems:
        raise UserError(*dict.fromkeys(problems))
    return counts


def _read_other_validation_splits(
    space: Space, composer: Composer, base: Config, data: str
) -> Iterator[tuple[str, Dataset]]:
    """Read the validation split at each level whose data settings differ from the base's."""
    for factor, level in space.singles:
        if not space.factors[factor].choices[level].trick:
            config = read(composer(space.overrides_of(space.single_arm(factor, level), 0, data)))
            if config.data != base.data:
                yield space.name_effect([(factor, level)]), read_splits(config.data, {}, False).validation


def check_rotation(space: Space, composer: Composer, seeds: int) -> dict[str, int]:
    """Check that each data set has the folds that the seeds use.

    Returns:
        The number of labelled validation rows of all these folds, for each data set.

    Raises:
        UserError: a data set has a validation split of its own, or too few rows; with all of these.
    """
    problems: list[str] = []
    counts = {}
    for name in space.data:
        data = read(composer(space.overrides_of(space.base, 0, name))).data
        if data.fold is not None:
            problems.append(
                f"data.fold={data.fold}: hydra.sweeper.rotate sets it for each seed; leave one of them out."
            )
        elif data.validation and data.source != "pydocs":
            problems.append(
                f"hydra.sweeper.rotate=true: {name} has a validation split of its own (data.validation="
                f"{data.validation}), so there are no folds; set data.validation=null to cut folds from the training "
                "rows, or leave rotate out."
            )
        else:
            try:
                folds = [
                    read_splits(replace(data, fold=fold), {}, False) for fold in range(min(seeds, data.fold_count))
                ]
            except UserError as error:
                problems += error.problems
            else:
                counts[name] = sum(label is not None for each in folds for label in each.validation["label"])
    if problems:
        raise UserError(*problems)
    return counts


def describe_rotation(fold_counts: Mapping[str, int]) -> str:
    """Describe which rows each seed is validated on."""
    counts = ", ".join(f"K = {count} on {data}" for data, count in fold_counts.items())
    return f"seed s is validated on fold s mod K of the rows that are not test, and trained on the others; {counts}"


def estimate_duration(
    space: Space,
    admissible: Callable[[Arm], bool],
    design: Design,
    runs_of_arm: float,
    composer: Composer,
    base_runs: float = 0,
) -> str:
    """Estimate how long all runs take, from trials of the base on each data set and of each level on the first.

    Args:
        space: what varies.
        admissible: whether an arm can be run.
        design: the arms.
        runs_of_arm: on each data set, counted in runs with the config's own updates.
        composer: of the configs.
        base_runs: further runs of the base on each data set, counted in the same way.
    """

    def time_run(arm: Arm, data: str) -> float:
        return plan.measure_run_seconds(read(composer(space.overrides_of(arm, 0, data))))

    base_seconds = {data: time_run(space.base, data) for data in space.data}
    first = next(iter(space.data))
    ratios = {}
    for single in space.singles:
        arm = space.single_arm(*single)
        # A level that cannot run alone on the base is assumed to cost nothing.
        ratios[single] = time_run(arm, first) / base_seconds[first] if admissible(arm) else 1.0
    # The time of an arm is the base's time, multiplied by the ratio of each of its levels.
    bases_in_total = sum(math.prod(ratios.get(level, 1.0) for level in enumerate(arm)) for arm in design.arms)
    duration = format_duration(sum(base_seconds.values()) * (bases_in_total * runs_of_arm + base_runs))
    return f"about {duration} one after another, by short trials"


def check_disk(sweep: Path, finished: Sequence[Path], runs: int) -> str:
    """Describe the disk that the runs of a study will need, as measured on its first ones.

    Args:
        sweep: the folder of the study.
        finished: folders of finished runs, at least one.
        runs: number of runs that may still be made.

    Raises:
        UserError: they will not fit.
    """
    of_a_run, free = max(map(size_of, finished)), free_bytes(sweep)
    needed = f"{describe_bytes(of_a_run)} for each run, {describe_bytes(runs * of_a_run)} for {runs} more"
    if runs * of_a_run > free:
        raise UserError(
            f"hydra.sweep.dir={sweep}: the study needs {needed}, and {describe_bytes(free)} are free. Free some space, "
            "or name a folder on another disk; what is finished is used again. Without checkpoint.save_model=true runs "
            "are small."
        )
    return f"{needed}; {describe_bytes(free)} are free"


def check_tricks(names: Sequence[str], loader: ConfigLoader) -> None:
    """Check that the names in `hydra.sweeper.always` are tricks.

    Raises:
        UserError: with every name that is not a trick.
    """
    known = loader.get_group_options("tricks")
    problems = [
        f"hydra.sweeper.always: there is no trick {name}; {nearest(name, known)}" for name in names if name not in known
    ]
    if problems:
        raise UserError(*problems)


def describe_faster_launcher(target: str, gpus: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The line of a plan whose runs are made one after another on a machine with GPUs.

    Args:
        target: the class of the launcher.
        gpus: their names.
    """
    if gpus and target.endswith("BasicLauncher"):
        yield (
            "faster",
            f"hydra/launcher=joblib_workers makes {RUNS_ON_A_GPU} runs at a time on each GPU, if there are as many "
            "cores; on an H100 that was 1.8 times as fast as one after another",
        )
