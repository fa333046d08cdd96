"""A healthy run, what is planted in it, and what the doctor says of it."""

import csv
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.config import Config
from recipes.doctor import Finding
from recipes.doctor.registry import CHECKS, Check
from recipes.doctor.runner import run_checks
from recipes.doctor.subject import Subject
from recipes.testing import in_child

Row = dict[str, str]
Rows = dict[str, list[Row]]

COUNTS = {"train": 240, "validation": 120, "test": 120}
HEALTHY = (
    "data=files",
    "model=tiny",
    "train.batch_size=16",
    "train.epochs=6",
    "train.device=cpu",
    "doctor=off",
    "data.max_length=32",
)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, who must find it, and what mends it."""

    name: str
    check: str
    message: str
    """Part of what the finding says."""
    severity: str = "warning"
    overrides: Sequence[str] = ()
    rows: Callable[[Rows], None] | None = None
    """Spoils the data, in place."""
    planted: str | None = None
    """A class of `planted.py` that is put on as a trick."""
    remedy: Sequence[str] | None = None
    """Overrides that mend it; None: taking the planted thing out does."""
    instead: Sequence[str] | None = None
    """What mends it in place of `overrides`."""
    model: Callable[[Path], None] | None = None
    """Makes the folder of a model that is used in place of the tiny one."""


def healthy_rows() -> Rows:
    """Made-up texts of three labels, no two alike, that a linear model tells apart mostly."""
    chance = random.Random(0)
    made: Rows = {}
    for split, count in COUNTS.items():
        made[split] = []
        for row in range(count):
            label = "xyz"[row % 3]
            words = [
                f"{label}{_word(chance)}" if chance.random() < 0.5 else f"common{_word(chance)}"
                for _ in range(chance.randrange(6, 14))
            ]
            made[split].append({"text": " ".join(words), "label": label, "other": f"pair {row} {_word(chance)}"})
    return made


def _word(chance: random.Random) -> str:
    return "".join(chance.choice("aeioubdgklmnprst") for _ in range(2))


def written(rows: Rows, folder: Path) -> list[str]:
    """Write each split, and say so to the config."""
    overrides = []
    for split, lines in rows.items():
        path = folder / f"{split}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)
        overrides.append(f"data.{split}={path}")
    return overrides


def config_of(fault: Fault, folder: Path, sick: bool, *further: str) -> Config:
    """The config of a run with the fault, or without what was planted."""
    rows = healthy_rows()
    if sick and fault.rows:
        fault.rows(rows)
    overrides = [*HEALTHY, *written(rows, folder)]
    if fault.model:
        (folder / "model").mkdir(exist_ok=True)
        fault.model(folder / "model")
        overrides += ["model=hub", f"model.name={folder / 'model'}", "train.epochs=6"]
    config = read(compose_config([*overrides, *fault.overrides, *further])[0])
    if sick and fault.planted:
        config.tricks["planted"] = {"_target_": f"tests.recipes.doctor.faults.planted.{fault.planted}"}
    return config


def found(config: Config, checks: Sequence[Check], folder: Path | None = None) -> list[Finding]:
    """What these checks find in a run of this config."""

    def work() -> list[Finding]:
        return run_checks(Subject(config, folder), checks).findings

    return in_child(work)


def named(check: str) -> list[Check]:
    """The check of this name."""
    return [each for each in CHECKS if each.name == check]


def in_sections(*sections: str) -> list[Check]:
    """All checks of some sections."""
    return [each for each in CHECKS if each.section in sections]


def is_it(finding: Finding, fault: Fault) -> bool:
    """Whether a finding is about this fault."""
    return finding.check == fault.check and fault.message in finding.message and finding.severity == fault.severity


def told(findings: Sequence[Any]) -> str:
    """Findings as one text, for a failed test."""
    return "\n".join(f"{finding.check} {finding.severity}: {finding.message}" for finding in findings) or "nothing"
