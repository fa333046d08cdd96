"""The user's own config folders, those of `--config-dir` and `hydra.searchpath`."""

from pathlib import Path

GROUPS = ("data", "model", "recipe", "search", "tracker", "tricks")
"""The folders of a config folder that a run composes from."""


def explain_unusable(folder: str | Path, setting: str) -> str | None:
    """Explain why a folder has no configs that can be chosen; None if it has some.

    Args:
        folder: the folder.
        setting: the option or setting that names it.
    """
    path = Path(folder)
    if not path.is_dir():
        return f"{setting}={folder}: there is no such folder."
    if any(next(path.glob(f"{group}/**/*.yaml"), None) for group in (*GROUPS, "hydra")):
        return None
    inside = f"; write {setting}={path.parent}" if path.absolute().name in GROUPS else ""
    groups = ", ".join(f"{group}/" for group in GROUPS)
    return f"{setting}={folder}: it holds none of the folders {groups} with a YAML file, so nothing to choose{inside}."
