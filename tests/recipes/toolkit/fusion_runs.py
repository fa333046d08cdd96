"""Runs with the trick fusion: their configs, and how they end. For the tests of the trick and of the fused run."""

from functools import partial
from pathlib import Path

from recipes.api import FinishedRun, finetune_config
from recipes.config import Config
from recipes.errors import UserError
from recipes.testing import in_child, tiny_config

TWO = "tricks.fusion.folds=2"


def config(*overrides: str, tricks: str = "fusion") -> Config:
    return tiny_config(f"+tricks=[{tricks}]", "train.max_updates=12", *overrides)


def members(*lines: str) -> str:
    return f"tricks.fusion.members={list(lines)}"


def finished(settings: Config, folder: Path) -> FinishedRun:
    return in_child(partial(finetune_config, settings, folder))


def refusal(settings: Config, folder: Path) -> str:
    def requested() -> str:
        try:
            finetune_config(settings, folder)
        except UserError as error:
            return "\n".join(error.problems)
        return ""

    return in_child(requested)
