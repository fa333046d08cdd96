"""A study from its command line to its verdicts: what is asked, which arms answer it, the runs, what they say."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from recipes.ablation import plan
from recipes.ablation.composer import Composer
from recipes.ablation.confirmation import confirmed, contest
from recipes.ablation.design import Arm, Design, Effect, choose
from recipes.ablation.effects import by_data, present
from recipes.ablation.factors import Space, space_of
from recipes.ablation.feasibility import admitted
from recipes.ablation.findings import Findings
from recipes.ablation.observations import are_alike, blocks_of
from recipes.ablation.preflight import check_tricks, doubts, duration, validation_rows
from recipes.ablation.progress import Progress, shown
from recipes.ablation.report import write
from recipes.ablation.runs import FINISHED, Launch, Row, finish, write_csv
from recipes.ablation.sequential import kept, level_at, looks, still_open
from recipes.ablation.settings import Settings, settings_of
from recipes.ablation.verdicts import IDENTICAL, NO_EVIDENCE, NOTHING, Verdict, judge
from recipes.compose.reading import read
from recipes.errors import UserError


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
    check_tricks(settings.always, loader)
    composer = Composer(master, loader)
    asked = space_of(arguments, settings.always, str(master.hydra.runtime.choices.data), loader)
    space, admissible = admitted(asked, composer)
    rows = validation_rows(space, composer, settings.confirm)
    unlike = list(doubts(space, composer))
    most = settings.budget // (settings.seeds * len(space.data))
    design = choose([len(factor.choices) for factor in space.factors], admissible, settings.design, most)
    if settings.seeds == 1 and len(design.arms) <= 1 + len(design.contrasts()):
        raise UserError(
            f"hydra.sweeper.seeds=1: {len(design.arms)} arms and {len(design.contrasts())} effects leave nothing to "
            "measure chance by; take hydra.sweeper.seeds=2 or more."
        )
    plan.show(plan.told(space, design, settings.seeds, rows, unlike))
    if settings.plan:
        plan.show([("takes", duration(space, admissible, design, settings.seeds, composer))])
        return
    made = Made(settings, composer, launch)
    findings, seeds = _in_rounds(space, admissible, design, made)
    findings = replace(findings, doubts=unlike, searched=composer.searched)
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
        judged = partial(judge, design, blocks, settings.margin, level_at(look, plan_of_seeds))
        before = mains, pairs
        mains, pairs = map(kept, before, judged())
        arms = still_open(design, mains.values())
        if not arms:
            break
    unclear = [
        verdict.effect for verdict in mains.values() if verdict.is_told and verdict.word in (NO_EVIDENCE, NOTHING)
    ]
    if idle := _idle(space, admissible, design, unclear, made):
        mains, pairs = map(kept, before, judged(idle))
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
    )
    return findings, seeds


def _idle(
    space: Space, admissible: Callable[[Arm], bool], design: Design, effects: Sequence[Effect], made: "Made"
) -> list[Effect]:
    """The levels that change nothing, of those of which no two arms of the design could say so.

    One more run each, with the first seed, differs in the level alone from a run that is there; on a further data set
    only while nothing has changed on those before.
    """
    twins = {effect: pair for effect in effects if (pair := design.twin(effect, admissible))}
    for data, overrides in space.data.items():
        if not twins:
            break
        asked = list(dict.fromkeys(new for new, _ in twins.values()))
        more = made.rows(replace(space, data={data: overrides}), asked, range(1))
        there = {
            row.arm: row for row in (*made.of(space), *more) if (row.data, row.seed, row.status) == (data, 0, FINISHED)
        }
        twins = {
            effect: (new, old)
            for effect, (new, old) in twins.items()
            if {new, old} <= there.keys() and are_alike(there[new], there[old])
        }
    return list(twins)


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
