"""Other runs beside a run's own, each a line of overrides as after `train.py`; a bare word is a model."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from recipes.config import Config, as_values, read
from recipes.errors import UserError
from recipes.overrides import compose_config, explained

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
    words = shlex.split(line)
    if words and "=" not in words[0]:
        words[0] = f"model={words[0]}"
    of_model = [word for word in words if word.startswith(("model=", "model.name="))]
    # So that a seed beside it follows, as it does on the command line.
    composed, plain = (_composed([f"seed={config.seed}", *each]) for each in (words, of_model))
    chosen, advised = _values(composed), _values(plain)
    values = as_values(config)
    if of_model and not is_own(advised["model"], config):
        values |= {"model": advised["model"], "tricks": {}}
        values["train"] |= {name: advised["train"][name] for name in ("learning_rate", "epochs")}
    said = {word.partition("=")[0].lstrip("+") for word in words if word not in of_model}
    differing = {path for path, value in _leaves(chosen) if path in said or value != _at(advised, path)}
    if shared := sorted(path for path in differing if not _may_differ(path)):
        raise UserError(
            f"{', '.join(shared)} cannot be a member's own; all members share it. One member may differ from another "
            f"in {', '.join(MAY_DIFFER)}."
        )
    for path in differing:
        _put(values, path, _at(chosen, path))
    return read(OmegaConf.merge(composed, values))  # type: ignore[arg-type]


def _composed(words: list[str]) -> DictConfig:
    """Compose beside a command line's own config, whose folders of further configs hold here too, or alone."""
    if not GlobalHydra.instance().is_initialized():
        return compose_config(words)[0]
    with explained(words):
        composed = compose("train", words)
    OmegaConf.set_struct(composed, False)
    return composed


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


def _at(values: Any, path: str) -> Any:
    for name in path.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _put(values: dict[str, Any], path: str, value: Any) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
    values[name] = value
