"""The members of an ensemble: each a line of overrides as after `train.py`; a bare first word is a model."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recipes.compose.loader import find_sets
from recipes.compose.overrides import compose_config, config_folders
from recipes.compose.reading import read
from recipes.config import Config, as_values, put_at, value_at
from recipes.errors import UserError

MAY_DIFFER = ("model", "train", "tricks", "seed", "seeds", "data.max_length")


def has_own_model(values: Mapping[str, Any], config: Config) -> bool:
    """Whether the `model` settings of a member name the run's own model."""
    return (values["source"], values["name"]) == (config.model.source, config.model.name)


def member_config(line: str, config: Config) -> Config:
    """The config of one member.

    A member of the run's own model starts from the run's values and tricks. A member of another model starts from the
    learning rate and the epochs that are advised for that model, without tricks. The overrides of the line come last.

    Args:
        line: overrides as after `train.py`; a bare first word is a model.
        config: of the run that the member belongs to.

    Raises:
        UserError: an override is wrong, or is about something that all members share.
    """
    words = _split_words(line)
    model_words = [word for word in words if word.startswith(("model=", "model.name="))]
    values = _start_values(model_words, config)
    composed, overridden = _overridden_values(words, model_words, values, config)
    for path in [path for path in overridden if path.startswith("seeds.") and path not in _names(words)]:
        # The line sets `seed`, and this seed would follow it; but the run has set this one to a value of its own.
        if value_at(values, path) != config.seed:
            del overridden[path]
    _refuse_shared(overridden, values)
    for path, value in overridden.items():
        put_at(values, path, value)
    return read(OmegaConf.merge(composed, values))  # type: ignore[arg-type]


def _start_values(model_words: Sequence[str], config: Config) -> dict[str, Any]:
    """The values that a member has before its own overrides."""
    values, advised = as_values(config), _as_values(_compose(model_words))
    if model_words and not has_own_model(advised["model"], config):
        for _, path, _ in find_sets(config.tricks):
            put_at(values, path, value_at(advised, path))
        values |= {"model": advised["model"], "tricks": {}}
        values["train"] |= {name: advised["train"][name] for name in ("learning_rate", "epochs")}
    return values


def _overridden_values(
    words: Sequence[str], model_words: Sequence[str], values: Mapping[str, Any], config: Config
) -> tuple[DictConfig, dict[str, Any]]:
    """The member's composed config, and the settings by path that its line changes.

    Composed twice, with the line and without: a group such as `recipe` may change any setting.
    """
    own = [f"seed={config.seed}", *(f"+tricks={name}" for name in values["tricks"])]
    before = _as_values(_compose(_join_tricks([*own, *model_words])))
    composed = _compose(_join_tricks([*own, *words]))
    named = _names([word for word in words if word not in model_words])
    leaves = _leaves(_as_values(composed))
    overridden = {path: value for path, value in leaves if path in named or value != value_at(before, path)}
    for _, path, _ in find_sets(composed.tricks):
        # A value that the run was given is not changed by a trick of the member: the two are refused.
        if path not in named and value_at(values, path) != value_at(before, path):
            overridden.pop(path, None)
    return composed, overridden


def _names(words: Sequence[str]) -> set[str]:
    """The names that overrides set."""
    return {word.partition("=")[0].lstrip("+") for word in words}


def _refuse_shared(overridden: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Raise `UserError` where a line changes what all members share."""
    shared = [path for path, value in overridden.items() if not _may_differ(path) and value != value_at(values, path)]
    if shared:
        raise UserError(
            f"{', '.join(sorted(shared))} cannot be a member's own; all members share it. One member may differ from "
            f"another in {', '.join(MAY_DIFFER)}."
        )


def _split_words(line: str) -> list[str]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UserError(f"it cannot be read ({str(error).lower()}); close every quote.") from error
    if wrong := [word for word in words if word.startswith(("-", "hydra."))]:
        raise UserError(f"{', '.join(wrong)} is about the command, not about a member; leave it out.")
    if words and "=" not in words[0]:
        words[0] = f"model={words[0]}"
    return words


def _join_tricks(words: Sequence[str]) -> list[str]:
    """The same overrides with all tricks in one, since Hydra takes only one for a group."""
    lists = [word.partition("=")[2].strip("[]") for word in words if word.startswith("+tricks=")]
    tricks = dict.fromkeys(name.strip() for names in lists for name in names.split(",") if name.strip())
    others = [word for word in words if not word.startswith("+tricks=")]
    return [f"+tricks=[{','.join(tricks)}]", *others] if tricks else others


def _compose(words: Sequence[str]) -> DictConfig:
    """Compose with the config folders of the run itself."""
    folders = ",".join(f"'{folder}'" for folder in config_folders())
    return compose_config([*words, f"hydra.searchpath=[{folders}]"])[0]


def _as_values(composed: DictConfig) -> dict[str, Any]:
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
