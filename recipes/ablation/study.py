"""A study from its command line to its verdicts: what is asked, which arms answer it, the runs, what they say."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from recipes.ablation import plan
from recipes.ablation.admission import admitted
from recipes.ablation.blocks import blocks_of
from recipes.ablation.confirmation import confirmed, contest
from recipes.ablation.design import Arm, Design, Effect, choose
from recipes.ablation.effects import by_data, present
from recipes.ablation.factors import Space, space_of
from recipes.ablation.findings import Findings
from recipes.ablation.progress import Progress, in_words, shown
from recipes.ablation.report import write
from recipes.ablation.rounds import kept, level_at, looks, still_open
from recipes.ablation.runs import Launch, Row, Run, finish, write_csv
from recipes.ablation.settings import Settings, settings_of
from recipes.ablation.verdicts import IDENTICAL, Verdict, judge
from recipes.config import read
from recipes.data import read_splits
from recipes.errors import UserError, nearest
from recipes.preconditions import check
from recipes.tricks import build


def study(
    arguments: Sequence[str], values: Mapping[str, Any], master: DictConfig, loader: ConfigLoader, launch: Launch
) -> None:
    """Run a study, or say what it would be.

    Args:
        arguments: the overrides of the sweep, without those of Hydra.
        values: of `hydra.sweeper`.
        master: the sweep's own config.
        loader: composes the configs of its runs.
        launch: the launcher's.

    Raises:
        UserError: with all that is wrong, before anything runs.
    """
    settings = settings_of(values)
    _check_tricks(settings.always, loader)
    composer = Composer(master, loader)
    asked = space_of(arguments, settings.always, str(master.hydra.runtime.choices.data), loader)
    space, admissible = admitted(asked, composer)
    rows = _validation_rows(space, composer, settings.confirm)
    most = settings.budget // (settings.seeds * len(space.data))
    design = choose([len(factor.choices) for factor in space.factors], admissible, settings.design, most)
    if settings.seeds == 1 and len(design.arms) <= 1 + len(design.contrasts()):
        raise UserError(
            f"hydra.sweeper.seeds=1: {len(design.arms)} arms and {len(design.contrasts())} effects leave nothing to "
            "measure chance by; take hydra.sweeper.seeds=2 or more."
        )
    plan.show(plan.told(space, design, settings.seeds, rows))
    if settings.plan:
        plan.show([("takes", _duration(space, design, settings.seeds, composer))])
        return
    made = Made(settings, composer, launch)
    findings, seeds = _in_rounds(space, admissible, design, made)
    write(findings, composer.sweep)
    if settings.confirm and any(findings.recommended):
        config = read(composer(space.overrides_of(findings.recommended, 0, next(iter(space.data)))))
        asked_again = contest(findings, config)
        fresh = made.rows(asked_again.space, asked_again.arms, range(seeds, seeds + settings.seeds))
        write(confirmed(findings, asked_again, fresh, composer.sweep), composer.sweep)


def _in_rounds(space: Space, admissible: Callable[[Arm], bool], design: Design, made: "Made") -> tuple[Findings, int]:
    """Run and judge; with `stop=when_clear` again with more seeds, where a verdict is still open.

    Returns:
        What was found, and how many seeds there are at most.
    """
    settings, metric = made.settings, str(made.composer.master.evaluate.metric)
    most = settings.budget // (len(design.arms) * len(space.data))
    plan_of_seeds = looks(settings.seeds, most if settings.stop == "when_clear" else settings.seeds)
    arms: Sequence[Arm] = design.arms
    mains: dict[Effect, Verdict] = {}
    pairs: dict[Effect, Verdict] = {}
    for look, seeds in enumerate(plan_of_seeds):
        made.rows(space, arms, range(seeds))
        rows = made.of(space)
        blocks = blocks_of(design, rows, metric)
        now = judge(design, blocks, settings.margin, level_at(look, plan_of_seeds))
        mains, pairs = kept(mains, now[0]), kept(pairs, now[1])
        arms = still_open(design, mains.values())
        if not arms:
            break
    findings = Findings(
        space=space,
        admissible=admissible,
        design=present(design, blocks),
        rows=rows,
        mains=list(mains.values()),
        pairs=list(pairs.values()),
        metric=metric,
        margin=settings.margin,
        by_data=by_data(design, blocks, [verdict.effect for verdict in mains.values() if verdict.word == IDENTICAL]),
        searched=made.composer.searched,
    )
    return findings, seeds


def _validation_rows(space: Space, composer: "Composer", with_test: bool) -> dict[str, int]:
    """The labelled validation rows of each data set, read to see that it can be trained on, and tested in the end.

    Raises:
        UserError: with all that is wrong with any of them.
    """
    problems: list[str] = []
    found = {}
    for data in space.data:
        config = read(composer(space.overrides_of(space.base, 0, data)))
        try:
            splits = read_splits(config.data, config.evaluate.extra, with_test)
            check(config, splits, build(config.tricks))
        except UserError as error:
            problems += error.problems
        else:
            found[data] = sum(label is not None for label in splits.validation["label"])
    if problems:
        raise UserError(*problems)
    return found


def _duration(space: Space, design: Design, seeds: int, composer: "Composer") -> str:
    """How long all runs take, by a trial of the base and the passes that tricks make."""
    seconds = 0.0
    for data in space.data:
        base = read(composer(space.overrides_of(space.base, 0, data)))
        one = plan.seconds_of(base) / plan.passes_of(build(base.tricks))
        for arm in design.arms:
            config = read(composer(space.overrides_of(arm, 0, data)))
            seconds += seeds * one * plan.passes_of(build(config.tricks))
    return f"about {in_words(seconds)} one after another, by a trial of the base and the passes of each trick"


def _check_tricks(names: Sequence[str], loader: ConfigLoader) -> None:
    known = loader.get_group_options("tricks")
    problems = [f"hydra.sweeper.always: there is no trick {name}; {nearest(name, known)}"
                for name in names if name not in known]  # fmt: skip
    if problems:
        raise UserError(*problems)


class Composer:
    """Composes the configs of a sweep's runs, as its launcher will.

    Args:
        master: the sweep's own config.
        loader: that of the sweep, which knows its further config folders.
    """

    def __init__(self, master: DictConfig, loader: ConfigLoader) -> None:
        """Nothing is composed yet."""
        self.master, self.loader = master, loader
        self.sweep = Path(master.hydra.sweep.dir)

    def whole(self, overrides: Sequence[str]) -> DictConfig:
        """With what Hydra has to say of it."""
        return self.loader.load_sweep_config(self.master, list(overrides))

    @property
    def searched(self) -> list[str]:
        """The folders that `--config-dir` and `hydra.searchpath` of the command name."""
        sources = [each for each in self.master.hydra.runtime.config_sources if "command-line" in each.provider]
        return [
            f"file://{Path(each.path).resolve()}" if each.schema == "file" else f"{each.schema}://{each.path}"
            for each in sources
        ]

    def __call__(self, overrides: Sequence[str]) -> DictConfig:
        """The run's own config."""
        composed = self.whole(overrides)
        OmegaConf.set_struct(composed, False)
        del composed["hydra"]
        return composed

    def runs(self, space: Space, arms: Sequence[Arm], seeds: Sequence[int]) -> Iterator[Run]:
        """The runs of some arms: seed by seed, so that what is there early on can be compared."""
        composed = {(data, arm): self.whole(space.overrides_of(arm, 0, data)) for data in space.data for arm in arms}
        for seed in seeds:
            for (data, arm), config in composed.items():
                config.seed = seed
                yield Run(space, data, arm, seed, self.sweep / str(config.hydra.sweep.subdir))


class Made:
    """The runs that a study has made so far.

    Args:
        settings: of the study.
        composer: of its runs.
        launch: the launcher's.
    """

    def __init__(self, settings: Settings, composer: Composer, launch: Launch) -> None:
        """None so far."""
        self.settings, self.composer, self.launch = settings, composer, launch
        self.by_space: dict[Space, dict[Path, Row]] = {}

    def rows(self, space: Space, arms: Sequence[Arm], seeds: Sequence[int]) -> list[Row]:
        """Make all runs of these arms that are not finished; gives them."""
        runs = list(self.composer.runs(space, arms, seeds))
        metric = str(self.composer.master.evaluate.metric)
        progress = Progress(runs, metric, lambda rows: self._keep(space, rows))
        with shown(progress):
            finish(runs, self.launch, self.settings.max_batch_size or most_at_once(self.composer.master))
        return progress.rows

    def of(self, space: Space) -> list[Row]:
        """All runs of a space so far."""
        return list(self.by_space[space].values())

    def _keep(self, space: Space, rows: Sequence[Row]) -> None:
        self.by_space.setdefault(space, {}).update({row.folder: row for row in rows})
        write_csv(self.composer.sweep / "runs.csv", {each: list(own.values()) for each, own in self.by_space.items()})


def most_at_once(master: DictConfig) -> int | None:
    """How many runs a launcher can be given: submitit's local one starts all that it is given at the same time."""
    launcher = master.hydra.launcher
    if not str(launcher.get("_target_")).endswith("submitit_launcher.LocalLauncher"):
        return None
    from joblib import cpu_count

    return max(1, int(cpu_count()) // int(launcher.cpus_per_task or 1))
