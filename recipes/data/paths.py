"""Find the data files that a config names, before anything that takes seconds is imported."""

from pathlib import Path

from recipes.config import Config
from recipes.data.formats import FORMATS
from recipes.errors import UserError, nearest
from recipes.runs.files import expand_home

SPLITS = ("train", "validation", "test")


def setting_of_file(split: str, path: str) -> str:
    """The override that names the file of a split, for messages."""
    return f"data.{split}={path}" if split in SPLITS else f"evaluate.extra.{split}={path}"


def find_file(split: str, path: str, setting: str | None = None) -> Path:
    """Find the data file of a split.

    Args:
        split: train, validation, test, or a name in `evaluate.extra`.
        path: of the file, as in the config.
        setting: the override that names the file, for messages; None: that of the split.

    Raises:
        UserError: there is no such file.
    """
    file, setting = expand_home(path), setting or setting_of_file(split, path)
    if file.is_dir():
        raise UserError(f"{setting}: this is a folder; name a file in it.")
    if not file.is_file():
        raise UserError(f"{setting}: there is no such file; {suggest_files(file)}")
    return file


def suggest_files(missing: Path) -> str:
    """The end of a sentence that names data files in the folder of a missing one."""
    folder = missing.parent
    names = [entry.name for entry in folder.glob("*.*") if FORMATS.keys() & set(map(str.lower, entry.suffixes))]
    return nearest(missing.name, names[:50]) if names else f"{folder.resolve()} holds no data files; name another."


def check_files(config: Config) -> None:
    """Check that every data file that a run reads exists.

    Raises:
        UserError: with each file that does not.
    """
    if config.data.source != "files":
        return
    files = {name: getattr(config.data, name) for name in SPLITS} | config.evaluate.extra
    if not config.evaluate.test:
        del files["test"]
    problems: list[str] = []
    for name, path in files.items():
        try:
            if path:
                find_file(name, path)
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
