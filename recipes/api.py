"""The whole of it, for a notebook as for the command line: `finetune(overrides)`, `load(folder)`."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import cast

from accelerate import PartialState

from recipes import order
from recipes.config import Config, as_values, compose_config, read
from recipes.data import read as read_data
from recipes.errors import UserError
from recipes.folder import FinishedRun, claim, is_finished
from recipes.training import train
from recipes.tricks import build


def finetune(overrides: Sequence[str] = ()) -> FinishedRun:
    """Fine-tune as `python train.py <overrides>` does, or take the finished run of the same config.

    Args:
        overrides: as on the command line: `["+tricks=[mixup,amp]", "train.epochs=1"]`.

    Returns:
        The finished run: `.metrics`, `.history`, `.folder`, `.predict(texts)`.

    Raises:
        UserError: something in the overrides, the values or the data is wrong.
    """
    composed, folder = compose_config(overrides)
    return finetune_config(read(composed), folder)


def finetune_config(config: Config, folder: Path) -> FinishedRun:
    """The same from a typed config."""
    tricks = build(config.tricks)
    with _one_process_first(config):
        claim(folder, as_values(config))
        if is_finished(folder):
            if os.environ.get("RANK", "0") == "0":
                print(f"{folder} is finished already; resume=false starts over.")
            return FinishedRun(folder)
    splits = read_data(config.data, config.evaluate.extra, config.evaluate.test)
    procedure = order.compose("train", partial(train, tricks=tricks, folder=folder), tricks, None)
    finished: FinishedRun = procedure(config, splits)
    return finished


def _one_process_first(config: Config) -> AbstractContextManager[None]:
    """Under torchrun the first process claims the folder before the others look at it."""
    if "RANK" not in os.environ:
        return nullcontext()
    state = PartialState(cpu=config.train.device == "cpu")
    return cast(AbstractContextManager[None], state.main_process_first())


def load(folder: str | Path) -> FinishedRun:
    """A finished run from its folder.

    Raises:
        UserError: there is none.
    """
    if not is_finished(Path(folder)):
        raise UserError(f"{folder} holds no finished run (there is no metrics.json).")
    return FinishedRun(Path(folder))
