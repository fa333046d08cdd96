"""Hydra's config loader, which also applies what the selected tricks set outside of themselves (`Trick.sets`).

They are applied when the config of a run is composed, so the name of its folder, `--cfg job` and each run of a sweep
have them. A value that the user gave stays: on the command line, in Python, in a recipe or a search, or in a file of a
config folder. If it is another than a trick sets, `recipes.compose.requirements` refuses the start.
"""

import ast
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recipes.compose.trust import find_source
from recipes.errors import UserError, describe
from recipes.ranges import as_yaml

if TYPE_CHECKING:
    from recipes.trick import Trick

# The sources of configs that are not the user's: `conf/`, Hydra, and the schema.
SHIPPED = ("main", "hydra", "schema")
# The groups of `conf/` that a user chooses for the values in them. Those of a model or of a data set are defaults.
USERS_GROUPS = ("recipe", "search")


class Loader(ConfigLoaderImpl):
    """Composes configs as Hydra does; that of a run gets what its tricks set.

    Hydra 1.4 has a callback for this, `on_compose_config`.
    """

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Compose a config.

        Raises:
            UserError: a trick sets what no setting can be.
        """
        composed = super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        if run_mode == RunMode.RUN and all(
            any(override.startswith(start) for override in overrides) for start in ("recipe=", "+tricks=")
        ):
            self._refuse_repeated_tricks(config_name, overrides)
        # The config of a sweep is that of no run: each run is composed with its own tricks.
        wanted = list(find_sets(composed.get("tricks"))) if run_mode == RunMode.RUN else []
        if wanted:
            user_values = list(self._load_user_values(config_name, overrides))
            for name, path, value in wanted:
                if not any(_has(each, path) for each in user_values):
                    _set(composed, name, path, value)
        return composed

    def _refuse_repeated_tricks(self, config_name: str | None, overrides: list[str]) -> None:
        """Refuse a trick of a recipe in `+tricks`: its file, loaded again, would undo the recipe's values."""
        defaults = self.compute_defaults_list(config_name, overrides, RunMode.RUN).defaults
        tricks = [
            path.removeprefix("tricks/") for each in defaults if (path := str(each.config_path)).startswith("tricks/")
        ]
        if repeated := sorted({name for name in tricks if tricks.count(name) > 1}):
            (recipe,) = {override for override in overrides if override.startswith("recipe=")}
            raise UserError(
                f"+tricks=[{','.join(repeated)}] is in {recipe} already, and would have its default values again; "
                "leave it out. To study it, leave out the recipe and give its values."
            )

    def _load_user_values(self, config_name: str | None, overrides: list[str]) -> Iterator[Any]:
        """Load what the user gave, as trees of plain values: from files, and from overrides."""
        _, repository = self._parse_overrides_and_create_caching_repo(config_name, overrides)
        defaults = self.compute_defaults_list(config_name, overrides, RunMode.RUN)
        for default in defaults.defaults:
            loaded = self._load_single_config(default, repository)
            if loaded.provider not in SHIPPED or str(default.config_path).partition("/")[0] in USERS_GROUPS:
                yield OmegaConf.to_container(loaded.config)
        typed = OmegaConf.create()
        for override in defaults.config_overrides:
            OmegaConf.update(typed, override.key_or_group, override.value(), force_add=True)
        yield OmegaConf.to_container(typed)


def find_sets(tricks: Any) -> Iterator[tuple[str, str, Any]]:
    """Find what tricks set outside of themselves.

    Args:
        tricks: the settings of each by its name, `_target_` among them.

    Returns:
        The trick's name, the setting's path and its value, one by one.
    """
    for name, values in tricks.items() if isinstance(tricks, Mapping | DictConfig) else ():
        if isinstance(values, Mapping | DictConfig):
            yield from ((str(name), path, value) for path, value in read_sets(values.get("_target_")).items())


def read_sets(target: Any) -> Mapping[str, Any]:
    """Read the `sets` of a class from its source: nothing is imported, since that would load PyTorch.

    Args:
        target: the name of the class, `module.Class`.

    Returns:
        Values by dotted path; none if the class does not say so itself, in plain values. What it has from elsewhere is
        not applied, and a start without these values is refused.
    """
    module, _, name = str(target).rpartition(".")
    source = find_source(module)
    if source is None or "sets" not in (text := source.read_text(encoding="utf-8", errors="replace")):
        return {}
    try:
        classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == name]
        values = [ast.literal_eval(value) for each in classes for value in _find_assigned(each, "sets")]
    except (SyntaxError, ValueError):
        return {}
    return values[-1] if values and isinstance(values[-1], dict) else {}


def _find_assigned(kind: ast.ClassDef, name: str) -> Iterator[ast.expr]:
    """Find the values that the body of a class assigns to a name."""
    for statement in kind.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=target)], value=value):
                if target == name:
                    yield value
            case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value):
                if target == name:
                    yield value


def _has(values: Any, path: str) -> bool:
    """Whether nested values have one at a dotted path; an interpolation in place of a mapping may have any."""
    for part in path.split("."):
        if not isinstance(values, dict):
            return isinstance(values, str)
        if part not in values:
            return False
        values = values[part]
    return True


def _set(composed: DictConfig, name: str, path: str, value: Any) -> None:
    try:
        OmegaConf.update(composed, path, value)
    except OmegaConfBaseException as error:
        problem = f"tricks.{name}: its class sets {path}={as_yaml(value)}, which cannot be. {describe(error)}"
        raise UserError(problem) from error


def describe_sets(tricks: "Mapping[str, Trick]") -> Iterator[str]:
    """Describe what tricks set outside of themselves, in a sentence for each setting."""
    for name in sorted(tricks):
        yield from (f"{name} sets {path}={as_yaml(value)}." for path, value in tricks[name].sets.items())
