"""Settings whose value is measured at the first start of a run, and then belongs to its config."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipes.config import Config, as_values, digest, value_at
from recipes.runs.claim import differences
from recipes.runs.folder import read_config


def settle_measured(config: Config, folder: Path) -> tuple[Config, list[str]]:
    """Replace each setting of a trick that asks for a measurement by the measured value.

    A run that is resumed, or is finished, has the values in the `config.yaml` of its folder, whatever a measurement
    would say now. The folder's name is not concerned: it is made of what the user typed.

    Args:
        config: of the run, with its `_target_`s trusted.
        folder: of the run; it may not exist.

    Returns:
        The config, and a line of the header for each value.

    Raises:
        UserError: the folder's `config.yaml` is damaged.
    """
    if not config.tricks:
        return config, []
    before = read_config(folder) if config.resume else None
    stored = (before or {}).get("tricks")
    # Where the folder has all answers, no trick is imported: that would import torch, and a finished run is shown.
    if stored == config.tricks:
        return config, []
    # A folder with the name of this very config differs from it by what was measured alone.
    if stored and folder.name.endswith(f"-{digest(as_values(config))}"):
        changes = [path for path, _, _ in differences(config.tricks, stored, "tricks")]
        notes = [_describe_stored(path, value_at(before, path)) for path in changes]
        return replace(config, tricks=stored), notes
    from recipes.compose.tricks import build

    tricks = build(config.tricks)
    asking = {name: _asking(vars(trick), trick.measurable) for name, trick in tricks.items()}
    if not any(asking.values()):
        return config, []
    values, notes = {name: dict(settings) for name, settings in config.tricks.items()}, []
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
    return replace(config, tricks=values), notes


def _describe_stored(setting: str, value: Any) -> str:
    return f"{setting}={value}, as was measured at the first start of this run."


def _asking(values: Mapping[str, Any], measurable: Mapping[str, Any]) -> list[str]:
    """The settings whose value asks for a measurement."""
    return [setting for setting, request in measurable.items() if values[setting] == request]
