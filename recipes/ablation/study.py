"""A study from its command line to its verdicts: choose the arms, run them, judge the effects, confirm the recipe."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from statistics import fmean
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from recipes.ablation import plan
from recipes.ablation.base_check import LONGER, check_base, run_base
from recipes.ablation.by_length import measure_differences
from recipes.ablation.composer import Composer
from recipes.ablation.confirmation import BASE, RECIPE, confirm, plan_confirmation
from recipes.ablation.design import Arm, Design, Effect, choose
from recipes.ablation.effects import estimate_by_data, measure_spreads, restrict_to_finished
from recipes.ablation.endpoints import SecondEndpoint, count_unscored, estimate_second_endpoint
from recipes.ablation.factors import Space, build_space
from recipes.ablation.failures import (
    BaseHealth,
    examine_base,
    explain_no_verdict,
    find_breaking,
    find_doubted,
    leave_out,
    mark,
)
from recipes.ablation.feasibility import find_admissible_arms
from recipes.ablation.findings import Findings
from recipes.ablation.observations import ScoredRun, are_alike, load_blocks
from recipes.ablation.order import describe_order, order_arms, predict_effects
from recipes.ablation.preflight import (
    check_disk,
    check_rotation,
    check_tricks,
    count_validation_rows,
    describe_faster_launcher,
    describe_rotation,
    describe_sets,
    estimate_duration,
    find_warnings,
)
from recipes.ablation.progress import Progress, show_progress
from recipes.ablation.report import write_report
from recipes.ablation.runs import FINISHED, Launch, Row, finish_runs, write_csv
from recipes.ablation.sequential import Rounds, expect_runs, schedule_analyses
from recipes.ablation.settings import Settings, read_settings
from recipes.ablation.spread import PRIOR
from recipes.ablation.verdicts import IDENTICAL, NO_EVIDENCE, NO_VERDICT, NOT_LEARNED, NOTHING, Verdict
from recipes.compose.reading import read
from recipes.data.inputs import check_data, compare_inputs
from recipes.errors import UserError, list_names
from recipes.runtime.workers import visible_gpus


def run_study(
    arguments: Sequence[str], values: Mapping[str, Any], master: DictConfig, loader: ConfigLoader, launch: Launch
) -> Findings | None:
    """Run a study, or print its plan.

    Args:
        arguments: the overrides of the sweep, without those of Hydra.
        values: of `hydra.sweeper`.
        master: the sweep's own config.
        loader: composes the configs of its runs.
        launch: the launcher's function.

    Returns:
        The findings; None for a plan.

    Raises:
        UserError: with everything that is wrong, before anything runs.
    """
    # Check everything before the first run.
    settings = read_settings(values)
    check_tricks(settings.always, loader)
    composer = Composer(master, loader, settings.rotate)
    requested = build_space(arguments, settings.always, str(master.hydra.runtime.choices.data), loader)
    space, admissible = find_admissible_arms(requested, composer)
    row_counts = count_validation_rows(space, composer, settings.confirm)
    if settings.rotate:
        row_counts = check_rotation(space, composer, settings.seeds)
    warnings, sets = list(find_warnings(space, composer)), list(describe_sets(space, composer))
    # The budget is for all lengths together.
    settings = replace(settings, budget=settings.budget // len(settings.lengths))
    most_arms = settings.budget // (settings.seeds * len(space.data))
    design = choose([len(factor.choices) for factor in space.factors], admissible, settings.design, most_arms)
    if settings.seeds == 1 and len(design.arms) <= 1 + len(design.contrasts()):
        raise UserError(
            f"hydra.sweeper.seeds=1: {len(design.arms)} arms and {len(design.contrasts())} effects leave nothing to "
            "measure chance by; take hydra.sweeper.seeds=2 or more."
        )
    plan.print_plan(plan.describe_plan(space, design, settings.seeds, row_counts, warnings, settings.lengths))
    plan.print_plan([("sets", sentence) for sentence in sets])
    if settings.rotate:
        plan.print_plan([("rotates", describe_rotation(composer.count_folds(space)))])
    plan.print_plan(_describe_analyses(settings, design, row_counts))
    predicted = predict_effects(space, composer, settings.margin)
    if predicted:
        plan.print_plan([("order", describe_order(predicted))])
    plan.print_plan(describe_faster_launcher(str(master.hydra.launcher.get("_target_")), visible_gpus()))
    longest = replace(space, length=settings.lengths[-1])
    if settings.plan:
        runs_of_arm = settings.seeds * sum(settings.lengths)
        base_runs = LONGER * longest.length * settings.check_base
        duration = estimate_duration(space, admissible, design, runs_of_arm, composer, base_runs)
        plan.print_plan([("takes", duration)])
        return None

    # Look at the base before anything is spent on the other arms.
    study_runs = StudyRuns(settings, composer, launch, predicted)
    metric = str(composer.master.evaluate.metric)
    checks: list[tuple[str, str]] = []
    base_rows: Sequence[Row] = ()
    if admissible(space.base):
        base = run_base(longest, design, settings.seeds, metric, study_runs.run)
        plan.print_plan([("detects", plan.describe_range(design, settings.seeds, row_counts, base.spreads))])
        finished = [row.folder for rows in base.finished.values() for row in rows]
        runs = settings.seeds * len(space.data) * len(design.arms) * len(settings.lengths) - len(finished)
        if finished:
            plan.print_plan([("disk", check_disk(composer.sweep, finished, runs))])
        if settings.check_base:
            checks = check_base(base, settings.margin, settings.lengths, study_runs.run)
            plan.print_plan(checks)
        base_rows = () if space.base in design.arms else base.rows

    by_length: dict[float, Findings] = {}
    for length in settings.lengths:
        at_length = longest if length == longest.length else replace(space, length=length)
        outside = base_rows if at_length is longest else ()
        findings, seeds = _run_in_rounds(at_length, admissible, design, study_runs, outside)
        by_length[length] = findings
    findings = replace(
        findings,
        rotates=settings.rotate,
        warnings=[*warnings, *(text for name, text in checks if name == "warning")],
        sets=sets,
        length_checks=[text for name, text in checks if name == "length"],
        search_path=composer.search_path,
        trusted=composer.trusted,
        by_length=by_length,
        differences=measure_differences(by_length[settings.lengths[0]], findings) if len(by_length) > 1 else {},
        length=composer.find_length(longest, findings.recommended_arm),
    )
    write_report(findings, composer.sweep)

    # Confirm the recommendation with seeds that had no part in it.
    if settings.confirm and any(findings.recommended_arm):
        config = read(composer(space.overrides_of(findings.recommended_arm, 0, next(iter(space.data)))))
        confirmation = plan_confirmation(findings, config)
        fresh_seeds = range(seeds, seeds + settings.seeds)
        # The recipe and the base predict the test split.
        compared = [confirmation.arms[each] for each in (RECIPE, BASE)]
        fresh = study_runs.run(confirmation.space, confirmation.arms, fresh_seeds, with_model=compared)
        findings = confirm(findings, confirmation, fresh, composer.sweep)
        write_report(findings, composer.sweep)
    return findings


def _run_in_rounds(
    space: Space,
    admissible: Callable[[Arm], bool],
    design: Design,
    study_runs: "StudyRuns",
    base_rows: Sequence[Row] = (),
) -> tuple[Findings, int]:
    """Run and judge; with `stop=when_clear` repeat with more seeds until the recipe is decided.

    Args:
        space: what varies.
        admissible: whether an arm can run.
        design: the arms.
        study_runs: makes the runs.
        base_rows: the runs of a base that is no arm of the design; none if it is one, or never ran at this length.

    Returns:
        The findings, and the largest number of seeds of an arm.
    """
    settings, metric = study_runs.settings, str(study_runs.composer.master.evaluate.metric)
    rounds = Rounds(design, list_analyses(settings, design, len(space.data)), settings.margin)
    scored: dict[Path, ScoredRun] = {}
    for analysis, seeds in enumerate(rounds.analyses):
        study_runs.run(space, rounds.arms, range(seeds))
        rows = study_runs.rows_of(space)
        base = examine_base([*base_rows, *rows], metric)
        if explain_no_verdict(base):
            return _refuse_verdicts(space, admissible, design, rows, base, settings.margin), seeds
        blocks = load_blocks(design, rows, metric, scored)
        # A level that breaks training ends the study: further seeds would be spent on its arms too.
        outcomes = [(row.arm, row.is_broken) for row in rows if row.is_broken is not None]
        breaking = find_breaking(design, outcomes, analysis + 1)
        doubted = find_doubted(leave_out(design, breaking), outcomes)
        rounds.doubted = [each.effect for each in doubted]
        rounds.judge(analysis, blocks, is_last=bool(breaking))
        so_far = Findings(space, admissible, design, rows, [], [], metric, settings.margin, {})
        rounds.choose_arms(so_far.ratios(attrgetter("passes")))
        if not rounds.arms:
            break
    planned, over_all_runs = design, rounds.mains
    if breaking:
        design = leave_out(planned, breaking)
        blocks = load_blocks(design, rows, metric, scored)
        rounds.restrict_to(design, blocks)
    # A trick without a clear effect may change nothing at all.
    unclear = [
        verdict.effect
        for verdict in rounds.mains.values()
        if verdict.has_estimate and verdict.word in (NO_EVIDENCE, NOTHING)
    ]
    if idle := _find_idle_effects(space, admissible, design, unclear, study_runs):
        rounds.judge(analysis, blocks, idle)
    mains, pairs = list(rounds.mains.values()), list(rounds.pairs.values())
    identical = [verdict.effect for verdict in mains if verdict.word == IDENTICAL]
    by_data = {
        data: {effect: value for effect, value in effects.items() if effect not in rounds.doubted}
        for data, effects in estimate_by_data(design, blocks, identical).items()
    }
    findings = Findings(
        space=space,
        admissible=admissible,
        design=restrict_to_finished(design, blocks),
        rows=rows,
        mains=mark(mains, breaking, doubted, planned),
        pairs=mark(pairs, breaking, doubted, planned),
        metric=metric,
        margin=settings.margin,
        by_data=by_data,
        deviations=measure_spreads(design, blocks),
        rounds=list(rounds.describe(lambda effect: space.name_effect(effect.terms))),
        base=base,
        breaking=breaking,
        doubted=doubted,
        planned=planned,
        over_all_runs=over_all_runs,
        second=_measure_second_endpoint(design, rows, study_runs, rounds, identical),
    )
    return findings, seeds


def _refuse_verdicts(
    space: Space,
    admissible: Callable[[Arm], bool],
    design: Design,
    rows: Sequence[Row],
    base: Sequence[BaseHealth],
    margin: float,
) -> Findings:
    """The findings of a study whose base did not learn: its runs, and no verdict."""
    metric = base[0].metric
    finished = design.restrict_to({row.arm for row in rows if row.status == FINISHED})
    mains = [Verdict(effect, NO_VERDICT, NOT_LEARNED) for effect in design.mains]
    return Findings(space, admissible, finished, rows, mains, [], metric, margin, {}, base=base)


def _describe_analyses(settings: Settings, design: Design, rows: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Describe the looks of a study in rounds in a line of its plan, with the runs that it takes.

    Args:
        settings: of the study.
        design: the arms.
        rows: number of labelled validation rows of each data set.
    """
    analyses, sets = list_analyses(settings, design, len(rows)), len(rows)
    if len(analyses) == 1:
        return
    run_variance = PRIOR.deviation**2 / sets
    row_variance = plan.CHANGED_FRACTION * fmean(1 / count for count in rows.values()) / sets
    studies = sets * len(settings.lengths)
    expected = studies * expect_runs(design, analyses, settings.margin, run_variance, row_variance)
    least, most = (studies * len(design.arms) * seeds for seeds in (analyses[0], analyses[-1]))
    yield (
        "looks",
        f"{list_names(list(map(str, analyses)), quoted=False, last=' and ')} seeds, until the recipe is decided: "
        f"{least} to {most} runs, about {expected:.0f} if no trick has an effect",
    )


def list_analyses(settings: Settings, design: Design, data_sets: int) -> list[int]:
    """List the number of seeds at each look: one look, or all that the budget allows."""
    most = settings.budget // (len(design.arms) * data_sets) if settings.stop == "when_clear" else 0
    return schedule_analyses(settings.seeds, most)


def _measure_second_endpoint(
    design: Design, rows: Sequence[Row], study_runs: "StudyRuns", rounds: Rounds, identical: Sequence[Effect]
) -> SecondEndpoint | None:
    """Measure the effects on the second endpoint; None if there is none besides the chosen metric."""
    name = study_runs.settings.second_endpoint
    if name in ("none", str(study_runs.composer.master.evaluate.metric)):
        return None
    blocks = load_blocks(design, rows, name)
    effects = estimate_second_endpoint(design, blocks, rounds.level, identical, rounds.doubted)
    return SecondEndpoint(name, effects, list(count_unscored([row for row in rows if row.arm in design.arms], name)))


def _find_idle_effects(
    space: Space,
    admissible: Callable[[Arm], bool],
    design: Design,
    effects: Sequence[Effect],
    study_runs: "StudyRuns",
) -> list[Effect]:
    """Find the levels that change nothing, among those in which no two arms of the design differ alone.

    Each level gets one more run with the first seed, which differs in this level only from a run of the design. Further
    data sets are tried only while nothing has changed on the previous ones.
    """
    twins = {effect: pair for effect in effects if (pair := design.find_twin(effect, admissible))}
    for data, overrides in space.data.items():
        if not twins:
            break
        new_arms = list(dict.fromkeys(new for new, _ in twins.values()))
        new_rows = study_runs.run(replace(space, data={data: overrides}), new_arms, range(1))
        finished = {
            row.arm: row
            for row in (*study_runs.rows_of(space), *new_rows)
            if (row.data, row.seed, row.status) == (data, 0, FINISHED)
        }
        twins = {
            effect: (new, old)
            for effect, (new, old) in twins.items()
            if {new, old} <= finished.keys() and are_alike(finished[new], finished[old])
        }
    return list(twins)


class StudyRuns:
    """Makes the runs of a study, and remembers their rows.

    Args:
        settings: of the study.
        composer: of its runs.
        launch: the launcher's function.
        predicted: the effect of each trick by the atlas, which orders the arms.
    """

    def __init__(self, settings: Settings, composer: Composer, launch: Launch, predicted: Mapping[str, float]) -> None:
        self.settings, self.composer, self.launch, self.predicted = settings, composer, launch, predicted
        self.by_space: dict[Space, dict[Path, Row]] = {}

    def run(
        self, space: Space, arms: Sequence[Arm], seeds: Sequence[int], with_model: Collection[Arm] = ()
    ) -> list[Row]:
        """Make all runs of these arms that are not finished, and return the rows of all; some need a model."""
        ordered = order_arms(space, arms, self.predicted)
        runs = list(self.composer.list_runs(space, ordered, seeds, with_model))
        metric = str(self.composer.master.evaluate.metric)
        # A file that has changed since the first runs of the study would make two studies of it.
        for folder in compare_inputs(run.folder for run in runs):
            try:
                check_data(folder)
            except UserError as error:
                sweep = self.composer.sweep
                raise UserError(
                    f"{error} The report of the study so far is in {sweep}. To study what is there now, name another "
                    f"folder: hydra.sweep.dir={sweep}-2."
                ) from error
        # A study in rounds asks for its finished runs again at each look.
        finished = {row.folder: row for row in self.rows_of(space) if row.status == FINISHED}
        progress = Progress(runs, metric, lambda rows: self._record(space, rows), finished)
        with show_progress(progress):
            finish_runs(runs, self.launch, self.settings.max_batch_size or max_concurrent_runs(self.composer.master))
        compare_inputs(run.folder for run in runs)
        return progress.rows

    def rows_of(self, space: Space) -> list[Row]:
        """Return the rows of all runs of a space so far."""
        return list(self.by_space.get(space, {}).values())

    def _record(self, space: Space, rows: Sequence[Row]) -> None:
        # In the order of this request: the base's first seeds, which ran alone before, stand among the others.
        latest = {row.folder: row for row in rows}
        self.by_space[space] = {**latest, **self.by_space.get(space, {}), **latest}
        # The run that checks the length is of no arm of the study: it would be a second run of the base's first seed.
        lengths = self.settings.lengths
        spaces = [(each, by_folder) for each, by_folder in self.by_space.items() if each.length in lengths]
        # A run that serves two purposes, such as a run of the base outside the design, has one line.
        space_of = {folder: each for each, by_folder in spaces for folder in by_folder}
        rows_by_space = {
            each: [row for folder, row in by_folder.items() if space_of[folder] is each] for each, by_folder in spaces
        }
        write_csv(self.composer.sweep / "runs.csv", rows_by_space)


def max_concurrent_runs(master: DictConfig) -> int | None:
    """Return how many runs the launcher may get at once; None: all.

    Submitit's local launcher has no queue: it starts all runs that it gets at the same time.
    """
    launcher = master.hydra.launcher
    if not str(launcher.get("_target_")).endswith("submitit_launcher.LocalLauncher"):
        return None
    from joblib import cpu_count

    return max(1, int(cpu_count()) // int(launcher.cpus_per_task or 1))
