"""Settings whose value is found at the first start of a run, and then belongs to its config."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.config import Config, as_values, digest, value_at
from recipes.runs.claim import differences
from recipes.runs.folder import is_finished, read_config

if TYPE_CHECKING:
    from recipes.trick import Trick

# The settings that a measurement may replace.
SETTLED = ("tricks", "train.cuda_graphs")


def find_settled(config: Config, folder: Path) -> tuple[Config, list[str]] | None:
    """The settled config of a finished run, and a line for each measured value; None if its tricks must be asked.

    No trick is imported for it: that would import torch, and a finished run is shown at once.
    """
    before = read_config(folder) if config.resume and is_finished(folder) else None
    if before is None:
        return None
    values, stored = ({name: value_at(each, name) for name in SETTLED} for each in (as_values(config), before))
    if stored != values and not folder.name.endswith(f"-{digest(as_values(config))}"):
        return None
    # A folder with the name of this very config differs from it by what was measured alone.
    notes = [
        _describe_stored(path, new)
        for name in SETTLED
        for path, _, new in differences(values[name], stored[name], name)
    ]
    train = replace(config.train, cuda_graphs=stored["train.cuda_graphs"] or config.train.cuda_graphs)
    return replace(config, train=train, tricks=stored["tricks"]), notes


def settle_measured(config: Config, tricks: Mapping[str, "Trick"], folder: Path) -> tuple[Config, list[str]]:
    """Replace each setting of a trick that asks for a measurement by the measured value, and settle the CUDA graphs.

    A run that is resumed, or is finished, has the values in the `config.yaml` of its folder, whatever a measurement
    would say now. The folder's name is not concerned: it is made of what the user typed.

    Args:
        config: of the run.
        tricks: built from it; they get the values too.
        folder: of the run; it may not exist.

    Returns:
        The config, and a line of the header for each value.

    Raises:
        UserError: the folder's `config.yaml` is damaged.
    """
    from recipes.graphs.mode import find_card, settle_mode  # late: it imports torch

    asking = {name: _asking(vars(trick), trick.measurable) for name, trick in tricks.items()}
    card = find_card(config.train.device) if config.train.cuda_graphs == "auto" else None
    if not any(asking.values()) and card is None:
        return config, []
    before = read_config(folder) if config.resume else None
    values, notes = {name: dict(settings) for name, settings in config.tricks.items()}, list[str]()
    if card is not None:
        mode, note = settle_mode(card) if before is None else _stored_mode(before)
        config = replace(config, train=replace(config.train, cuda_graphs=mode))
        notes.append(note)
    for name, settings in asking.items():
        if not settings:
            continue
        measured = tricks[name].measure_settings(config) if before is None else {}
        for setting in settings:
            stored = value_at(before, f"tricks.{name}.{setting}")
            if setting in measured:
                values[name][setting], note = measured[setting]
                notes.append(note)
            elif stored is not None and stored != values[name][setting]:
                values[name][setting] = stored
                notes.append(_describe_stored(f"tricks.{name}.{setting}", stored))
            setattr(tricks[name], setting, values[name][setting])
    return replace(config, tricks=values), notes


def _describe_stored(path: str, value: Any) -> str:
    return f"{path}={value}, as was measured at the first start of this run."


def _stored_mode(before: Mapping[str, Any]) -> tuple[str, str]:
    """How the run was begun. One of an earlier version, or without a CUDA card, has `auto`, which then means off."""
    mode = value_at(before, "train.cuda_graphs") or "auto"
    return mode, f"train.cuda_graphs is {'on' if mode == 'on' else 'off'}, as at the first start of this run."


def _asking(values: Mapping[str, Any], measurable: Mapping[str, Any]) -> list[str]:
    """The settings whose value asks for a measurement."""
    return [setting for setting, request in measurable.items() if values[setting] == request]
