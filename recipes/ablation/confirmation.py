"""The last stage of a study: what helps must beat its control with fresh seeds, and then the test split is opened once.

A trick that adds rows may help because there are more of them, one that passes twice because it computes twice as much.
Its control has that and nothing else: for augmentation the trick that adds unchanged copies (it says so in its
`controls`), and for whatever costs more passes the recipe without it, trained longer by as much. All are compared with
the recommended recipe, on seeds that chose nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datasets import Dataset

from recipes.ablation.design import Arm, Design, Effect
from recipes.ablation.factors import NONE, Factor, Level, Space
from recipes.ablation.findings import Findings
from recipes.ablation.observations import block_of, blocks_of
from recipes.ablation.runs import FINISHED, Row
from recipes.ablation.verdicts import Verdict, judge
from recipes.api import FinishedRun
from recipes.compose.remedies import available_tricks
from recipes.compose.tricks import build
from recipes.config import Config, Data, digest
from recipes.data.splits import read_splits
from recipes.errors import UserError
from recipes.runs.files import atomic_write

LONGER = 1.05
"""Passes beside those of the rest, above which a trick must beat longer training."""
RECIPE, BASE = 0, 1


@dataclass(frozen=True)
class Contest:
    """What the recommended recipe is compared with."""

    space: Space
    """That of the study, with the controls as levels of one more factor."""
    arms: Sequence[Arm]
    """The recipe, the base, and the recipe with a control in place of each trick that has one."""
    names: Sequence[str]
    """What each arm is, in words."""


def contest(findings: Findings, config: Config) -> Contest:
    """What is to be run.

    Args:
        findings: what the study found.
        config: of a run of the recommended recipe.
    """
    recipe, names, arms = findings.recommended, ["the recipe", "the base"], []
    levels = []
    for factor, level in enumerate(recipe):
        for control in _controls(findings, Effect(((factor, level),)), config) if level else ():
            levels.append(control)
            names.append(control.name)
            arms.append((*recipe[:factor], 0, *recipe[factor + 1 :], len(levels)))
    space = replace(findings.space, factors=(*findings.space.factors, Factor("control", (NONE, *levels))))
    return Contest(space, [(*recipe, 0), (*findings.space.base, 0), *arms], names)


def _controls(findings: Findings, effect: Effect, config: Config) -> Iterator[Level]:
    """The controls of one level of the recipe."""
    ((factor, number),) = effect.places
    name, trick = findings.name(effect), findings.space.factors[factor].choices[number].trick
    if trick is None:
        return
    tricks = build(config.tricks)
    more = findings.ratios(_rows_of_an_epoch).get(effect)
    if tricks[trick].control == "more_rows" and more is not None:
        control, setting = _control("more_rows")
        # What the recipe copies anyway stays.
        own = config.tricks.get(control, {}).get(setting, 0)
        copies = round((1 + own) * more) - 1
        line = f"tricks.{control}.{setting}={copies}"
        yield Level(f"{copies} copies of each row in place of {name}", (line,), control)
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
    found = [(name, trick.controls[kind]) for name, _, trick in available_tricks() if kind in trick.controls]
    if not found:
        raise UserError(f"no trick in the config folders is a control of the kind {kind} (Trick.controls).")
    return found[0]


def _rows_of_an_epoch(row: Row) -> float | None:
    """Read from the updates; None where a run has none of its own."""
    updates = FinishedRun(row.folder).updates
    return sum(line["examples"] for line in updates) / updates[-1]["epoch"] if updates else None


def confirmed(findings: Findings, held: Contest, rows: Sequence[Row], folder: Path) -> Findings:
    """The findings with what the fresh runs say, and the test split opened for the base and the recipe.

    Args:
        findings: what the study found.
        held: what was run.
        rows: those runs.
        folder: of the sweep; `opened.txt` there keeps count of the recipes that a test split was opened for.
    """
    numbers = {arm: (number,) for number, arm in enumerate(held.arms)}
    rows = [replace(row, arm=numbers[row.arm]) for row in rows]
    design = Design("one_at_a_time", (len(held.arms),), tuple(numbers.values()))
    verdicts, _ = judge(design, blocks_of(design, rows, findings.metric), findings.margin)
    tested, opened = {}, 0
    for data in dict.fromkeys(row.data for row in rows):
        own = [row for row in rows if row.data == data and row.arm in ((RECIPE,), (BASE,)) and row.status == FINISHED]
        if len({row.arm for row in own}) == 2 and (test := _test_split(own[0])):
            opened = max(opened, _count(test, own, folder / "opened.txt"))
            tested[data] = _tested(own, test, findings)
    return replace(findings, confirmed=list(zip(held.names[1:], verdicts, strict=True)), tested=tested, opened=opened)


def _test_split(row: Row) -> Dataset | None:
    """The test split of a run's data; none where a score of it would say nothing."""
    test = read_splits(Data(**FinishedRun(row.folder).config["data"]), {}, True).test
    return test if test and len({str(label) for label in test["label"] if label is not None}) > 1 else None


def _count(test: Dataset, rows: Sequence[Row], path: Path) -> int:
    """Write down that a recipe is going to be scored on a test split; gives how many have been by now.

    A recipe is all that decides its runs but for the seed, and a test split is its texts and labels, by whatever name.
    """
    config = next(FinishedRun(row.folder).config for row in rows if row.arm == (RECIPE,))
    recipe = digest({name: value for name, value in config.items() if name not in ("seed", "seeds")})
    split = digest({name: list(test[name]) for name in ("text", "text_pair", "label")})
    line = f"{split} {recipe}"
    lines = {line, *(path.read_text(encoding="utf-8").splitlines() if path.exists() else ())}
    with atomic_write(path) as draft:
        draft.write_text("\n".join(sorted(lines)) + "\n", encoding="utf-8")
    return sum(each.startswith(split) for each in lines)


def _tested(rows: Sequence[Row], test: Dataset, findings: Findings) -> Verdict:
    """The base beside the recipe on a test split."""
    pairs = list(test["text_pair"]) if FinishedRun(rows[0].folder).config["data"]["text_pair"] else None
    said = [FinishedRun(row.folder).predict(list(test["text"]), pairs) for row in rows]
    said = [replace(each, labels=list(test["label"])) for each in said]
    design = Design("one_at_a_time", (2,), ((RECIPE,), (BASE,)))
    ((verdict,), _) = judge(design, [block_of(design, rows, said, findings.metric)], findings.margin)
    return verdict
