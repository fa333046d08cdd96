"""The last stage of a study: the recommended recipe must beat its controls with fresh seeds, and is scored on test.

A trick that adds rows may help only because there are more of them, and a trick that costs two passes only because it
computes twice as much. A control has that advantage and nothing else: for augmentation the trick that adds unchanged
copies (its `controls` say so), and longer training
without the trick for everything that costs more passes. All are compared with the recommended recipe, on seeds that had
no part in its choice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datasets import Dataset

from recipes.ablation.design import Arm, Design, Effect
from recipes.ablation.factors import NONE, Factor, Level, Space
from recipes.ablation.findings import Findings
from recipes.ablation.observations import build_block, load_blocks, score_run
from recipes.ablation.runs import FINISHED, Row
from recipes.ablation.verdicts import Verdict, judge
from recipes.api import FinishedRun
from recipes.compose.remedies import available_tricks
from recipes.compose.tricks import build
from recipes.config import Config, digest, saved_config
from recipes.data.splits import read_splits
from recipes.errors import UserError
from recipes.runs.files import atomic_write

LONGER = 1.05
"""A trick that costs more passes than this, relative to the recipe without it, must beat longer training."""
RECIPE, BASE = 0, 1


@dataclass(frozen=True)
class ConfirmationPlan:
    """The runs that the recommended recipe is compared with."""

    space: Space
    """The space of the study, with the controls as levels of one more factor."""
    arms: Sequence[Arm]
    """The recipe, the base, and the recipe with a control in place of each trick that has one."""
    names: Sequence[str]
    """Each arm in words."""


def plan_confirmation(findings: Findings, config: Config) -> ConfirmationPlan:
    """Plan the runs that confirm the recommended recipe.

    Args:
        findings: of the study.
        config: of a run of the recommended recipe.
    """
    recipe = findings.recommended_arm
    names, control_arms, levels = ["the recipe", "the base"], list[Arm](), list[Level]()
    for factor, level in enumerate(recipe):
        controls = _controls(findings, Effect(((factor, level),)), config) if level else ()
        for control in controls:
            levels.append(control)
            names.append(control.name)
            # The recipe without this trick, and with the control.
            control_arms.append((*recipe[:factor], 0, *recipe[factor + 1 :], len(levels)))
    space = replace(findings.space, factors=(*findings.space.factors, Factor("control", (NONE, *levels))))
    return ConfirmationPlan(space, [(*recipe, 0), (*findings.space.base, 0), *control_arms], names)


def _controls(findings: Findings, effect: Effect, config: Config) -> Iterator[Level]:
    """The controls of one level of the recipe."""
    ((factor, number),) = effect.terms
    name, trick = findings.name(effect), findings.space.factors[factor].choices[number].trick
    if trick is None:
        return
    tricks = build(config.tricks)
    more = findings.ratios(_rows_of_an_epoch).get(effect)
    if tricks[trick].control == "more_rows" and more is not None:
        control, setting = _control("more_rows")
        # What the recipe copies anyway stays.
        own = config.tricks.get(control, {}).get(setting, 0)
        count = round((1 + own) * more) - 1
        line = f"tricks.{control}.{setting}={count}"
        yield Level(f"{count} copies of each row in place of {name}", (line,), control)
    passes = findings.costs[effect].get("passes", 1.0)
    if tricks[trick].control == "train_longer" or passes > LONGER:
        updates = config.train.max_updates
        longer = f"max_updates={round(updates * passes)}" if updates else f"epochs={config.train.epochs * passes:.4g}"
        yield Level(f"{passes:.2g} times the updates in place of {name}", (f"train.{longer}",))


def _control(kind: str) -> tuple[str, str]:
    """The first trick by name that is a control of this kind, and its setting that says how much.

    Raises:
        UserError: there is none, and without it a trick would be recommended that may help by its further rows alone.
    """
    controls = [(name, trick.controls[kind]) for name, _, trick in available_tricks() if kind in trick.controls]
    if not controls:
        raise UserError(f"no trick in the config folders is a control of the kind {kind} (Trick.controls).")
    return controls[0]


def _rows_of_an_epoch(row: Row) -> float | None:
    """Compute the training rows per epoch from a run's updates; None for a run that logged no updates."""
    updates = FinishedRun(row.folder).updates
    return sum(line["examples"] for line in updates) / updates[-1]["epoch"] if updates else None


def confirm(findings: Findings, plan: ConfirmationPlan, rows: Sequence[Row], folder: Path) -> Findings:
    """Add the verdicts of the fresh runs, and the test scores of the base and the recipe, to the findings.

    Args:
        findings: of the study.
        plan: the planned runs.
        rows: their results.
        folder: of the sweep; its `opened.txt` lists the recipes that were scored on a test split.
    """
    # The arms of the plan become the levels of a single factor.
    level_of_arm = {arm: (number,) for number, arm in enumerate(plan.arms)}
    rows = [replace(row, arm=level_of_arm[row.arm]) for row in rows]
    design = Design("one_at_a_time", (len(plan.arms),), tuple(level_of_arm.values()))
    verdicts, _ = judge(design, load_blocks(design, rows, findings.metric), findings.margin)
    test_verdicts: dict[str, Verdict] = {}
    tested_recipes = 0
    for data in dict.fromkeys(row.data for row in rows):
        finished = [row for row in rows if row.data == data and row.status == FINISHED]
        compared = [row for row in finished if row.arm in ((RECIPE,), (BASE,))]
        if len({row.arm for row in compared}) == 2 and (test := _load_test_split(compared[0])):
            tested_recipes = max(tested_recipes, _count_tested_recipes(test, compared, folder / "opened.txt"))
            test_verdicts[data] = _judge_on_test(compared, test, findings)
    return replace(
        findings,
        confirmations=list(zip(plan.names[1:], verdicts, strict=True)),
        test_verdicts=test_verdicts,
        tested_recipes=tested_recipes,
    )


def _load_test_split(row: Row) -> Dataset | None:
    """Load the test split of a run's data; None if it has fewer than two classes, so that a score means nothing."""
    test = read_splits(saved_config(FinishedRun(row.folder).config).data, {}, True).test
    return test if test and len({str(label) for label in test["label"] if label is not None}) > 1 else None


def _count_tested_recipes(test: Dataset, rows: Sequence[Row], path: Path) -> int:
    """Record that a recipe will be scored on a test split, and count the recipes that have been so far.

    A recipe is identified by its config without the seeds, a test split by its texts and labels, whatever its name.
    """
    config = next(FinishedRun(row.folder).config for row in rows if row.arm == (RECIPE,))
    recipe = digest({name: value for name, value in config.items() if name not in ("seed", "seeds")})
    split = digest({name: list(test[name]) for name in ("text", "text_pair", "label")})
    line = f"{split} {recipe}"
    try:
        lines = {line, *(path.read_text(encoding="ascii").splitlines() if path.exists() else ())}
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is damaged: it counts the recipes that were scored on test. Restore it; or delete it, and the "
            "count begins again."
        ) from error
    with atomic_write(path) as draft:
        draft.write_text("\n".join(sorted(lines)) + "\n", encoding="utf-8")
    return sum(each.startswith(split) for each in lines)


def _judge_on_test(rows: Sequence[Row], test: Dataset, findings: Findings) -> Verdict:
    """Judge the base against the recipe on a test split."""
    pairs = list(test["text_pair"]) if FinishedRun(rows[0].folder).config["data"]["text_pair"] else None
    predictions = [FinishedRun(row.folder).predict(list(test["text"]), pairs) for row in rows]
    labelled = [replace(each, labels=list(test["label"])) for each in predictions]
    design = Design("one_at_a_time", (2,), ((RECIPE,), (BASE,)))
    block = build_block(design, rows, [score_run(each, findings.metric) for each in labelled])
    ((verdict,), _) = judge(design, [block], findings.margin)
    return verdict
