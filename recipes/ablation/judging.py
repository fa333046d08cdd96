"""The verdicts of an ablation on runs that other programs made (`recipes/ablation/logs.py` reads them).

- Scores without predictions have no variance over rows. Their intervals hold for these validation rows only.
- Runs are compared seed by seed if each arm has at least half of its seeds in common with the base, and else as
  independent runs.
- No run is left out because of its own score. Levels that break training, and a base that did not learn, are found by
  the rules of a study (`recipes/ablation/failures.py`). A run is broken there if it failed or did not learn.
- A log with probabilities has a second endpoint.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from scipy.stats import bartlett

from recipes.ablation.design import Arm, Design
from recipes.ablation.effects import Block
from recipes.ablation.endpoints import SecondEndpoint, describe_unscored, estimate_second_endpoint
from recipes.ablation.factors import NONE, Factor, Level, Space
from recipes.ablation.failures import (
    MAKE_IT_LEARN,
    MAX_CHANCE,
    NO_VERDICT,
    BrokenLevel,
    find_breaking,
    find_doubted,
    is_mostly_broken,
    leave_out,
    mark,
)
from recipes.ablation.findings import Findings
from recipes.ablation.logs import ARM, LoggedRun
from recipes.ablation.report import (
    describe_second,
    second_cells,
    second_header,
    summarize,
    verdict_cells,
    with_and_without_parts,
)
from recipes.ablation.runs import FAILED, FINISHED, Row
from recipes.ablation.verdicts import IDENTICAL, NO_EVIDENCE, Verdict, judge
from recipes.errors import UserError, list_names, nearest
from recipes.prediction.pseudo_values import score_rows
from recipes.reports.document import Heading, Part, Table
from recipes.reports.tables import figure_table

BASES = ("base", "baseline")
"""Names of the arm that the others are compared with, unless the user names another."""
OFF, ON = ("none", "false", "0", "off", "no", ""), ("true", "1", "on", "yes")
"""Levels of a factor that mean that it is off, with which the others are compared, and that it is on."""
CONFIDENCE = 0.95
SMALLEST_DEVIATION = 1e-12
"""Below it, scores differ by rounding only."""


@dataclass(frozen=True)
class Question:
    """What is asked of a log."""

    factors: Sequence[str] = ()
    """The columns that vary; none if each run names its arm."""
    bases: Sequence[str] = ()
    """The arm to compare with; of a log with factors, `model=minilm` for each factor that has no level in `OFF`."""
    metric: str = "score"
    margin: float = 0.01
    """Effects smaller than this do not matter, and nor does a score that is less than this above the majority class."""
    lower_is_better: bool = False
    second_endpoint: str = "loss"
    """The proper score of a log with probabilities: loss, brier or none."""


@dataclass(frozen=True)
class _Run:
    """A run in its arm, with a score of which more is better."""

    logged: LoggedRun
    arm: Arm
    score: float | None
    has_learned: bool
    """Whether it has a score, above the majority class if that is known."""


@dataclass(frozen=True)
class Judgement:
    """The answer to a question."""

    findings: Findings | None
    """None if there is no verdict."""
    health: Sequence[str]
    """What is wrong with the runs, in sentences; the first says why there is no verdict, if there is none."""
    noise: Sequence[str]
    """How much chance moves a score, in sentences."""


def judge_log(logged: Sequence[LoggedRun], question: Question) -> Judgement:
    """Judge each arm against the base, or each level of each factor.

    Raises:
        UserError: there is nothing to compare, nothing to compare with, or nothing to measure chance by.
    """
    space, arms = _arrange(logged, question)
    runs = [_assess(run, arm, question) for run, arm in zip(logged, arms, strict=True)]
    design = Design(
        _choose_kind(arms), tuple(len(factor.choices) for factor in space.factors), tuple(sorted(set(arms)))
    )
    _refuse_gaps(runs, design, space)
    health = list(_describe_health(runs, space, question))
    if reason := _find_reason_for_no_verdict(runs, space):
        return Judgement(None, [NO_VERDICT + reason, *health], [])
    planned, scored_at_all = design, [run for run in runs if run.score is not None]
    outcomes = [(run.arm, not run.has_learned) for run in runs]
    breaking = find_breaking(planned, outcomes)
    design = leave_out(planned, breaking)
    doubted = find_doubted(design, outcomes)
    scored = [run for run in scored_at_all if run.arm in design.arms]
    deviation = _measure_deviation(scored)
    if deviation < SMALLEST_DEVIATION:
        reason = (
            "in each arm every seed has the same score, so nothing measures chance. Check that the seed reaches the "
            "training, and that scores are not rounded."
        )
        return Judgement(None, [NO_VERDICT + reason, *health], [])
    is_paired = _is_paired(scored, space.base)
    blocks = _build_blocks(design, space, scored, is_paired)
    mains, pairs = judge(design, blocks, question.margin)
    mains = [_require_digits(verdict, scored) for verdict in mains]
    over_all_runs = mains
    if breaking:
        all_blocks = _build_blocks(planned, space, scored_at_all, _is_paired(scored_at_all, space.base))
        over_all_runs, _ = judge(planned, all_blocks, question.margin)
    seeds = list(dict.fromkeys(run.seed for run in logged))
    findings = Findings(
        space=space,
        admissible=lambda arm: True,
        design=design,
        rows=[
            Row(
                run.logged.data,
                run.arm,
                seeds.index(run.logged.seed),
                Path(),
                FAILED if run.score is None else FINISHED,
            )
            for run in runs
        ],
        mains=mark(mains, breaking, doubted, planned),
        pairs=mark([_require_digits(verdict, scored) for verdict in pairs], breaking, doubted, planned),
        metric=question.metric,
        margin=question.margin,
        by_data={},
        breaking=breaking,
        doubted=doubted,
        planned=planned,
        over_all_runs={verdict.effect: verdict for verdict in over_all_runs},
        second=_measure_second_endpoint(design, space, scored, is_paired, question, mains, doubted),
    )
    noise = list(_describe_noise(mains, scored, deviation, is_paired, question))
    return Judgement(findings, health, noise)


def _arrange(runs: Sequence[LoggedRun], question: Question) -> tuple[Space, list[Arm]]:
    """Find the levels of each factor, the base first, and the arm of each run."""
    if question.lower_is_better and any(run.rows is not None for run in runs):
        raise UserError("--lower-is-better: predictions are scored by metrics of which more is better; leave it out.")
    bases = _read_bases(question)
    factors, numbers = [], []
    for index, name in enumerate(question.factors or [ARM]):
        levels = list(dict.fromkeys(run.levels[index] for run in runs))
        if len(levels) < 2:
            raise UserError(f"{name}: every run has {levels[0]!r}, so there is nothing to compare it with.")
        base = _find_base(name, levels, bases.get(name), OFF if question.factors else BASES)
        levels = [base, *(level for level in levels if level != base)]
        numbers.append([levels.index(run.levels[index]) for run in runs])
        if not question.factors:
            choices = [NONE, *map(Level, levels[1:])]
        elif base.lower() in OFF:
            choices = [NONE, *(Level(_name_level(name, level)) for level in levels[1:])]
        else:
            choices = list(map(Level, levels))
        factors.append(Factor(name, tuple(choices)))
    data = {run.data: () for run in runs}
    return Space(tuple(factors), data), list(zip(*numbers, strict=True))


def _read_bases(question: Question) -> dict[str, str]:
    """The base of each factor that the user names one of."""
    if not question.factors:
        if len(question.bases) > 1:
            raise UserError(f"--base: {list_names(question.bases)} are more than one arm; compare with one.")
        return dict.fromkeys([ARM] if question.bases else [], *question.bases)
    named = {}
    for text in question.bases:
        name, sign, level = text.partition("=")
        if not sign or name not in question.factors:
            raise UserError(f"--base={text}: write <factor>=<level>; {nearest(name, question.factors)}")
        named[name] = level
    return named


def _find_base(name: str, levels: Sequence[str], requested: str | None, known: Sequence[str]) -> str:
    if requested is not None:
        if requested not in levels:
            raise UserError(f"--base: no run has {name}={requested}; {nearest(requested, levels)}")
        return requested
    candidates = [level for level in levels if level.lower() in known]
    if len(candidates) != 1:
        option = "--base=<arm>" if name == ARM else f"--base={name}=<level>"
        raise UserError(
            f"{name}: which of {list_names(sorted(levels), most=8)} are the others compared with? Name it: {option}."
        )
    return candidates[0]


def _name_level(factor: str, level: str) -> str:
    """Name a level of a factor that can be off: `mixup`, `mixup alpha=0.2` or `alpha=0.2`."""
    if level.lower() in ON:
        return factor
    return level if level.startswith(factor) else f"{factor}={level}"


def _assess(run: LoggedRun, arm: Arm, question: Question) -> _Run:
    sign = -1 if question.lower_is_better else 1
    score = None if run.score is None else sign * run.score
    at_majority = score is not None and run.majority is not None and score <= sign * run.majority + question.margin
    return _Run(run, arm, score, score is not None and not at_majority and not run.predicts_one_class)


def _choose_kind(arms: Sequence[Arm]) -> str:
    """`one_at_a_time` if every arm is the base, or the base with one level changed."""
    is_single = all(np.count_nonzero(arm) <= 1 for arm in arms)
    return "one_at_a_time" if is_single else "full"


def _refuse_gaps(runs: Sequence[_Run], design: Design, space: Space) -> None:
    """Refuse a log whose arms cannot be compared, or that has a single seed."""
    if design.kind == "one_at_a_time":
        has_base = {run.logged.data for run in runs if run.arm == space.base}
        if without := [data for data in space.data if data not in has_base]:
            raise UserError(
                f"On data {list_names(without)} there is no run of the base, which the others are compared with."
            )
    counts = Counter((run.logged.data, run.arm) for run in runs)
    for data in space.data:
        if max(count for (of_data, _), count in counts.items() if of_data == data) < 2:
            raise UserError(
                f"On data {data!r} every arm has a single seed, so nothing measures chance. Run each arm with at least "
                "two seeds, better five."
            )


def _describe_health(runs: Sequence[_Run], space: Space, question: Question) -> Iterator[str]:
    for arm in sorted({run.arm for run in runs}):
        name, of_arm = space.name_arm(arm), [run for run in runs if run.arm == arm]
        count = len(of_arm)
        if missing := sum(run.score is None for run in of_arm):
            yield (
                f"{name}: {missing} of {count} runs failed or have no finite score. They cannot be compared, so "
                f"{name} may look better than it is."
            )
        if idle := sum(run.score is not None and not run.has_learned for run in of_arm):
            yield f"{name}: {idle} of {count} runs did not learn: they are at the level of the majority class."
        for data in space.data:
            scores = [run.score for run in of_arm if run.logged.data == data and run.has_learned]
            if len(scores) > 1 and len(set(scores)) == 1 and of_arm[0].logged.rows is None:
                yield (
                    f"{name}: every seed has the same score. Do all answers go to one class, or does the seed not "
                    "reach the training?"
                )
    if all(run.logged.majority is None and run.logged.rows is None for run in runs):
        yield "Whether the runs learned is unknown: give the majority class's score, --majority=<score>."


def _find_reason_for_no_verdict(runs: Sequence[_Run], space: Space) -> str:
    of_base = [run for run in runs if run.arm == space.base]
    failed = sum(not run.has_learned for run in of_base)
    if not of_base or not is_mostly_broken(failed, len(of_base)):
        return ""
    return (
        f"{failed} of {len(of_base)} runs of the base failed or did not learn, so nothing can be compared with it. "
        f"{MAKE_IT_LEARN}"
    )


def _is_paired(runs: Sequence[_Run], base: Arm) -> bool:
    """Whether the arms have their seeds in common: each at least half of its own with the base, on every data set.

    Without runs of the base, the first arm stands in for it.
    """
    seeds: dict[tuple[str, Arm], set[str]] = {}
    for run in sorted(runs, key=lambda run: run.arm):
        seeds.setdefault((run.logged.data, run.arm), set()).add(run.logged.seed)
    first = {data: of_arm for (data, _), of_arm in reversed(seeds.items())}
    return all(
        len(of_arm & seeds.get((data, base), first[data])) >= len(of_arm) / 2 for (data, _), of_arm in seeds.items()
    )


def _build_blocks(
    design: Design, space: Space, runs: Sequence[_Run], is_paired: bool, second: str | None = None
) -> list[Block]:
    """Build a block for each data set that has runs, of the scores or of the second endpoint."""
    by_data = {name: [run for run in runs if run.logged.data == name] for name in space.data}
    return [_build_block(design, name, of_data, is_paired, second) for name, of_data in by_data.items() if of_data]


def _measure_second_endpoint(
    design: Design,
    space: Space,
    runs: Sequence[_Run],
    is_paired: bool,
    question: Question,
    mains: Sequence[Verdict],
    doubted: Sequence[BrokenLevel],
) -> SecondEndpoint | None:
    """Measure the effects on the second endpoint; None if the log has no probabilities, or none is wanted."""
    predictions, metric = [run.logged.predictions for run in runs if run.logged.predictions], question.second_endpoint
    if metric == "none" or not predictions:
        return None
    identical = [verdict.effect for verdict in mains if verdict.word == IDENTICAL]
    blocks = _build_blocks(design, space, runs, is_paired, metric)
    effects = estimate_second_endpoint(design, blocks, CONFIDENCE, identical, [each.effect for each in doubted])
    return SecondEndpoint(metric, effects, list(describe_unscored(predictions, metric)))


def _build_block(design: Design, name: str, runs: Sequence[_Run], is_paired: bool, second: str | None) -> Block:
    """Build the block of a data set."""
    seeds = list(dict.fromkeys(run.logged.seed for run in runs))
    rows = [_rows_of(run, second) for run in runs]
    return Block(
        name=name,
        arms=np.array([design.arms.index(run.arm) for run in runs]),
        # One number for all seeds leaves only the arms in the model.
        seeds=np.array([seeds.index(run.logged.seed) if is_paired else 0 for run in runs]),
        rows=np.stack(rows),
        # Equal scores are no sign of equal predictions, and runs of two seeds are two runs.
        fingerprints=[f"{run.logged.seed} {run.logged.fingerprint or number}" for number, run in enumerate(runs)],
    )


def _rows_of(run: _Run, second: str | None) -> np.ndarray:
    """What each row contributes. A score without rows counts as two equal rows, which have no variance."""
    if second and run.logged.predictions:
        return score_rows(run.logged.predictions, second)
    return np.full(2, run.score) if run.logged.rows is None else run.logged.rows


def _require_digits(verdict: Verdict, runs: Sequence[_Run]) -> Verdict:
    """Take back a verdict whose interval is narrower than the last digit of the scores: rounding hides the noise."""
    digits = max(_count_digits(run.score or 0.0) for run in runs)
    half = (verdict.interval[1] - verdict.interval[0]) / 2
    if runs[0].logged.rows is not None or not verdict.has_estimate or half >= 10.0**-digits:
        return verdict
    return replace(verdict, word=NO_EVIDENCE, why=f"the scores have {digits} digits, which hide the noise; write more")


def _count_digits(score: float) -> int:
    return next(digits for digits in range(20) if round(score, digits) == score)


def _group_scores(runs: Sequence[_Run]) -> dict[tuple[str, Arm], list[float]]:
    """The scores of each arm on each data set."""
    groups: dict[tuple[str, Arm], list[float]] = {}
    for run in runs:
        groups.setdefault((run.logged.data, run.arm), []).append(run.score or 0.0)
    return groups


def _measure_deviation(runs: Sequence[_Run]) -> float:
    """The standard deviation of a score over the seeds of one arm, over all arms and data sets."""
    groups = _group_scores(runs)
    squares = sum(float(np.var(scores)) * len(scores) for scores in groups.values())
    degrees_of_freedom = len(runs) - len(groups)
    return (squares / degrees_of_freedom) ** 0.5 if degrees_of_freedom else 0.0


def _describe_unequal_noise(runs: Sequence[_Run]) -> Iterator[str]:
    """Warn of data sets on which seeds move some arms more than others (Bartlett's test)."""
    groups = _group_scores(runs)
    for data in dict.fromkeys(data for data, _ in groups):
        scores = [each for (of_data, _), each in groups.items() if of_data == data and len(set(each)) > 1]
        if len(scores) > 1 and bartlett(*scores).pvalue < MAX_CHANCE:
            deviations = [float(np.std(each, ddof=1)) for each in scores]
            yield (
                f"On data {data!r} seeds move some arms more than others (by {min(deviations):.4f} to "
                f"{max(deviations):.4f}). The intervals assume that they move all equally, so take more seeds before "
                "you rely on a verdict."
            )


def _describe_noise(
    verdicts: Sequence[Verdict], runs: Sequence[_Run], deviation: float, is_paired: bool, question: Question
) -> Iterator[str]:
    yield f"Noise floor: another seed moves the score of one arm by {deviation:.4f} (standard deviation)."
    halves = [(verdict.interval[1] - verdict.interval[0]) / 2 for verdict in verdicts if verdict.interval != (0.0, 0.0)]
    if halves:
        yield f"These runs can tell effects above about {np.median(halves):.4f} from chance."
    if not is_paired:
        yield (
            "The arms do not have their seeds in common, so runs are compared as independent. With the same seeds in "
            "every arm, fewer runs may be enough."
        )
    yield from _describe_unequal_noise(runs)
    if runs[0].logged.rows is None:
        yield (
            "Without predictions of single rows, the intervals hold for these validation rows only: on other rows an "
            "effect varies more."
        )
        if max(abs(run.score or 0.0) for run in runs) > 1 and not question.lower_is_better:
            yield f"The margin is {question.margin:g} in the unit of the score; if that is percent, take --margin=1."


def build_parts(judgement: Judgement, question: Question) -> Iterator[Part]:
    """Build the parts of the report, in order: the summary, the verdicts, what would settle the rest, and health."""
    findings = judgement.findings
    if findings is None:
        yield " ".join(judgement.health)
        return
    yield " ".join(summarize(findings))
    less = f" Less {findings.metric} is better: + is less of it." if question.lower_is_better else ""
    estimand = "compared with the base" if not question.factors else findings.design.estimand
    yield f"The effect is {estimand}; intervals hold for all of them at once, in 95 % of studies.{less}"
    header = ["level", "verdict", findings.metric, "interval", *second_header(findings)]
    yield Table(header, [_cells(findings, verdict) for verdict in findings.mains])
    yield from describe_second(findings.second)
    yield from with_and_without_parts(findings)
    if pairs := [verdict for verdict in findings.pairs if verdict.has_estimate]:
        yield Heading("What pairs do beyond their sum")
        yield Table(header, [_cells(findings, verdict) for verdict in pairs])
    yield Heading("Noise, and how many more runs")
    yield from judgement.noise
    yield from (
        f"{findings.name(verdict.effect)}: {verdict.why}."
        for verdict in [*findings.mains, *pairs]
        if verdict.why and verdict.word == NO_EVIDENCE
    )
    yield Heading("Health of the runs")
    yield from judgement.health or ["Every run learned, as far as the log shows."]


def _cells(findings: Findings, verdict: Verdict) -> list[str]:
    return [findings.name(verdict.effect), *verdict_cells(verdict)[:-1], *second_cells(findings.second, verdict.effect)]


def print_parts(parts: Iterable[Part], console: Console) -> None:
    """Print a report in a terminal."""
    for part in parts:
        match part:
            case Heading(text):
                console.print(f"\n{text}", markup=False)
            case Table(header, rows):
                console.print(figure_table(header, [list(map(str, row)) for row in rows]))
            case str():
                console.print(part, markup=False)
