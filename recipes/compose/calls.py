"""The arguments of a call from Python, as overrides: rows in memory become files that the overrides name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from recipes.compose.keywords import as_overrides, as_text
from recipes.compose.overrides import compose_config
from recipes.config import label_setting
from recipes.data.frames import Rows, save_rows, split_rows
from recipes.data.paths import SPLITS
from recipes.errors import UserError
from recipes.runtime.distributed import say


def write_overrides(
    overrides: Sequence[str],
    settings: Mapping[str, Any],
    rows: Mapping[str, Rows],
    extra: Mapping[str, Rows] | None,
    columns: Mapping[str, Any] | None = None,
) -> list[str]:
    """Write the arguments of a call as the overrides of a command line.

    Args:
        overrides: as on the command line; they come first.
        settings: keyword arguments (`recipes.compose.keywords`).
        rows: of train, validation and test: the path of a file, rows in memory, or None.
        extra: more of them to score at the end, by name.
        columns: further keyword arguments, before the others; those that are None are left out.

    Raises:
        UserError: with everything that is wrong with the rows, or with the settings.
    """
    if isinstance(overrides, str):
        raise UserError(f"overrides={overrides!r}: write a list, overrides=[{overrides!r}].")
    named = {name: value for name, value in (columns or {}).items() if value is not None}
    lines = [*overrides, *as_overrides({**named, **settings})]
    further = _check_extra(extra)
    sources = split_rows({split: each for split, each in rows.items() if each is not None}) | further
    if not sources:
        return lines
    choices = [line for line in lines if line.startswith("data=")]
    in_memory = {split: each for split, each in sources.items() if not isinstance(each, str | Path)}
    if in_memory and choices not in ([], ["data=files"]):
        raise UserError(f"{choices[0]}: the rows of {next(iter(in_memory))} are in memory; leave it out.")
    if not choices:
        lines.insert(0, "data=files")
    problems = list[str]()
    used = _find_columns(lines) if in_memory else []
    for split, each in sources.items():
        path = each
        if split in in_memory:
            try:
                file, count = save_rows(each, split, used)
            except UserError as error:
                problems += error.problems
                continue
            path = _below_home(file)
            say(f"{split}: {count:,} rows in memory, written to {path}")
        lines.append(f"{'data' if split in SPLITS else 'evaluate.extra'}.{split}={as_text(path, split)}")
    if problems:
        raise UserError(*problems)
    return lines


def _check_extra(extra: Mapping[str, Rows] | None) -> dict[str, Rows]:
    """Check that further rows have names, and no name of a split: they would replace that split."""
    if extra is None:
        return {}
    if not isinstance(extra, Mapping):
        raise UserError(f"extra is of type {type(extra).__name__}; give its rows a name, extra={{'<name>': <rows>}}.")
    if reserved := [name for name in extra if name in SPLITS]:
        raise UserError(
            f"extra: {reserved[0]!r} is the name of a split; write {reserved[0]}=<rows>, or choose another name."
        )
    return dict(extra)


def _find_columns(lines: Sequence[str]) -> list[tuple[str, str]]:
    """Find the columns that overrides name, each with its setting before it."""
    from recipes.data.columns import used_columns  # late: it imports `datasets`, and files need none of it

    of_data = [line for line in lines if line.startswith(("data.", "data=", "+data.", "hydra.searchpath"))]
    composed, _ = compose_config(of_data)
    values: Any = OmegaConf.to_container(composed.data)
    return used_columns(values | {"label": label_setting(values["label"])})


def _below_home(path: Path) -> str:
    """A path that begins with `~` where it is below the home folder: the config then names no user."""
    home = Path.home()
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)
