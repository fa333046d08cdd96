"""A healthy run, a fault planted in it, and the findings of the doctor."""

import csv
import random
import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from recipes.compose.reading import read
from recipes.compose.trust import trusting
from recipes.config import Config
from recipes.doctor import Finding
from recipes.doctor.registry import CHECKS, Check
from recipes.doctor.runner import run_checks
from recipes.doctor.subject import Subject
from recipes.testing import compose_again, in_child

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
    """A fault, the check that must find it, and its remedy."""

    name: str
    check: str
    message: str
    """Part of the finding's message."""
    severity: str = "warning"
    overrides: Sequence[str] = ()
    rows: Callable[[Rows], None] | None = None
    """Changes the data in place."""
    planted: str | None = None
    """A class of `planted.py` that is added as a trick."""
    remedy: Sequence[str] | None = None
    """Overrides that fix it; None: removing the fault fixes it."""
    instead: Sequence[str] | None = None
    """Overrides that fix it in place of `overrides`."""
    model: Callable[[Path], None] | None = None
    """Saves a model into a folder, to be used in place of the tiny one."""


def healthy_rows() -> Rows:
    """Distinct synthetic texts of three labels, most of which a linear model predicts."""
    return {split: [dict(row) for row in rows] for split, rows in _make_rows().items()}


@cache
def _make_rows() -> Rows:
    chance = random.Random(0)
    rows: Rows = {}
    for split, count in COUNTS.items():
        rows[split] = []
        for index in range(count):
            label = "xyz"[index % 3]
            words = [
                f"{label}{_word(chance)}" if chance.random() < 0.5 else f"common{_word(chance)}"
                for _ in range(chance.randrange(6, 14))
            ]
            rows[split].append({"text": " ".join(words), "label": label, "other": f"pair {index} {_word(chance)}"})
    return rows


def _word(chance: random.Random) -> str:
    return "".join(chance.choice("aeioubdgklmnprst") for _ in range(2))


def write_splits(rows: Rows, folder: Path) -> list[str]:
    """Write a file for each split, and return the overrides that select them."""
    overrides = []
    for split, lines in rows.items():
        path = folder / f"{split}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)
        overrides.append(f"data.{split}={path}")
    return overrides


def make_config(fault: Fault, folder: Path, with_fault: bool, *further: str) -> Config:
    """The config of a run with the fault, or with its overrides alone."""
    folder.mkdir(exist_ok=True)
    rows = healthy_rows()
    if with_fault and fault.rows:
        fault.rows(rows)
    write_splits(rows, folder)
    overrides = [*HEALTHY, *(f"data.{split}={split}.csv" for split in rows)]
    if fault.model:
        (folder / "model").mkdir(exist_ok=True)
        fault.model(folder / "model")
        overrides += ["model=hub", f"model.name={folder / 'model'}", "train.epochs=6"]
    config = deepcopy(_compose(*overrides, *fault.overrides, *further))
    for split in rows:
        if getattr(config.data, split) == f"{split}.csv":
            setattr(config.data, split, str(folder / f"{split}.csv"))
    if with_fault and fault.planted:
        config.trusted.append(f"tests.recipes.doctor.faults.planted.{fault.planted}")
        config.tricks["planted"] = {"_target_": config.trusted[-1]}
    return config


@cache
def _compose(*overrides: str) -> Config:
    """Many faults differ in their rows alone."""
    return read(compose_again(overrides))


def find_problems(config: Config, checks: Sequence[Check], folder: Path | None = None) -> list[Finding]:
    """Run checks on a config, in a child process."""
    return in_child(lambda: _run_checks(config, checks, folder))


def find_problems_of_both(configs: tuple[Config, Config], checks: Sequence[Check]) -> list[list[Finding]]:
    """Run checks on a config with a fault and on one without, in a child process."""
    return in_child(lambda: [_run_checks(config, checks) for config in configs])


def _run_checks(config: Config, checks: Sequence[Check], folder: Path | None = None) -> list[Finding]:
    with trusting(config.trusted):
        return run_checks(Subject(config, folder), checks).findings


def checks_named(name: str) -> list[Check]:
    """The checks with this name."""
    return [each for each in CHECKS if each.name == name]


def checks_in(*sections: str) -> list[Check]:
    """All checks in these sections."""
    return [each for each in CHECKS if each.section in sections]


def matches(finding: Finding, fault: Fault) -> bool:
    """Whether a finding reports this fault."""
    return finding.check == fault.check and fault.message in finding.message and finding.severity == fault.severity


def overrides_in(remedy: str, config: Config) -> set[str]:
    """The overrides that a remedy names.

    Those that the config has already are only mentioned, and other models would have to be downloaded.
    """
    found = re.findall(r"(?:^|(?<=[\s(]))\+?[a-z_]+(?:\.[a-z_]+)*=(?:\[[^\]]*\]|[^\s,:;()<]+)", remedy)
    present = {f"data.{name}={value}" for name, value in vars(config.data).items()}
    return {each.rstrip(".") for each in found if not each.startswith("model=")} - present


def list_findings(findings: Sequence[Any]) -> str:
    """Findings as one text, for the message of a failed test."""
    return "\n".join(f"{finding.check} {finding.severity}: {finding.message}" for finding in findings) or "nothing"
