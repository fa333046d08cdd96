"""Other runs beside a run's own, each a line of overrides as after `train.py`; a bare word is a model."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recipes.compose.overrides import compose_config, config_folders
from recipes.compose.reading import read
from recipes.config import Config, as_values, put_at, value_at
from recipes.errors import UserError

MAY_DIFFER = ("model", "train", "tricks", "seed", "seeds", "data.max_length")


def is_own(chosen: Mapping[str, Any], config: Config) -> bool:
    """Whether a config's model is this run's."""
    return (chosen["source"], chosen["name"]) == (config.model.source, config.model.name)


def member_config(line: str, config: Config) -> Config:
    """The config of a line.

    A member of this run's own model begins with this run's values and tricks, one of another model with the rate and
    the epochs that are advised for that, and no tricks. What the line says comes on top.

    Raises:
        UserError: an override is wrong, or about what all members share.
    """
    words = _words(line)
    of_model = [word for word in words if word.startswith(("model=", "model.name="))]
    values, advised = as_values(config), _values(_composed(of_model))
    if of_model and not is_own(advised["model"], config):
        values |= {"model": advised["model"], "tricks": {}}
        values["train"] |= {name: advised["train"][name] for name in ("learning_rate", "epochs")}
    # Composed twice, with the line and without: what differs is what the line says, whatever file it came from.
    own = [f"seed={config.seed}", *(f"+tricks={name}" for name in values["tricks"])]
    without, composed = _composed(_joined([*own, *of_model])), _composed(_joined([*own, *words]))
    before, after = _values(without), _values(composed)
    said = {word.partition("=")[0].lstrip("+") for word in words if word not in of_model}
    differing = {path: value for path, value in _leaves(after) if path in said or value != value_at(before, path)}
    for path in [path for path in differing if path.startswith("seeds.") and path not in said]:
        if value_at(values, path) != config.seed:  # one that was set apart
            del differing[path]
    shared = [path for path, value in differing.items() if not _may_differ(path) and value != value_at(values, path)]
    if shared:
        raise UserError(
            f"{', '.join(sorted(shared))} cannot be a member's own; all members share it. One member may differ from "
            f"another in {', '.join(MAY_DIFFER)}."
        )
    for path, value in differing.items():
        put_at(values, path, value)
    return read(OmegaConf.merge(composed, values))  # type: ignore[arg-type]


def _words(line: str) -> list[str]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UserError(f"it cannot be read ({str(error).lower()}); close every quote.") from error
    if wrong := [word for word in words if word.startswith(("-", "hydra."))]:
        raise UserError(f"{', '.join(wrong)} is about the command, not about a member; leave it out.")
    if words and "=" not in words[0]:
        words[0] = f"model={words[0]}"
    return words


def _joined(words: Sequence[str]) -> list[str]:
    """The same with all tricks in one override, which is what Hydra takes."""
    named = [word.partition("=")[2].strip("[]") for word in words if word.startswith("+tricks=")]
    tricks = dict.fromkeys(name.strip() for names in named for name in names.split(",") if name.strip())
    others = [word for word in words if not word.startswith("+tricks=")]
    return [f"+tricks=[{','.join(tricks)}]", *others] if tricks else others


def _composed(words: Sequence[str]) -> DictConfig:
    """Compose with the further folders of the run's own config."""
    folders = ",".join(f"'{folder}'" for folder in config_folders())
    return compose_config([*words, f"hydra.searchpath=[{folders}]"])[0]


def _values(composed: DictConfig) -> dict[str, Any]:
    values = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(values, dict)
    return {str(name): value for name, value in values.items()}


def _leaves(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        path = f"{before}{name}"
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{path}.")
        else:
            yield path, value


def _may_differ(path: str) -> bool:
    return any(path == each or path.startswith(f"{each}.") for each in MAY_DIFFER)
