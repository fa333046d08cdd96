"""Trickbook's framework: the loop, data, models, and the contract of a trick. Knows no trick.

import recipes
run = recipes.finetune(["+tricks=[mixup,amp,swa]", "train.epochs=1"])
run.metrics["test"]["accuracy"], run.predict(["a text"]).names()
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recipes.ablation.result import Study
    from recipes.api import FinishedRun, diagnose, finetune, load
    from recipes.commands.study import ablate
    from recipes.data.batch import Batch, Loss, Outcome
    from recipes.errors import UserError
    from recipes.ranges import allowed
    from recipes.trick import Context, ModelContext, Run, Trick

# Imported when first asked for: a misspelt override is answered before torch is loaded.
_HOMES = {
    "Batch": "data.batch",
    "Context": "trick",
    "FinishedRun": "api",
    "Loss": "data.batch",
    "ModelContext": "trick",
    "Outcome": "data.batch",
    "Run": "trick",
    "Study": "ablation.result",
    "Trick": "trick",
    "UserError": "errors",
    "ablate": "commands.study",
    "allowed": "ranges",
    "diagnose": "api",
    "finetune": "api",
    "load": "api",
}

__all__ = [
    "Batch",
    "Context",
    "FinishedRun",
    "Loss",
    "ModelContext",
    "Outcome",
    "Run",
    "Study",
    "Trick",
    "UserError",
    "ablate",
    "allowed",
    "diagnose",
    "finetune",
    "load",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"recipes.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'recipes' has no attribute {name!r}")
