"""Which classes and functions a config may name. One is imported only if it is trusted, since importing runs code.

Trusted are, exactly:

- the classes of this project's own `tricks` package;
- classes that an installed distribution registers as entry points of the group `trickbook.tricks`;
- each `_target_` in the YAML files of the `--config-dir` on this command line;
- the names in `trusted=[...]`, in Python or on this command line;
- as a metric, the public functions of `sklearn.metrics`.

Nothing in a run folder extends this list: somebody else may have written it.
"""

import importlib.util
import site
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.utils import _locate  # `get_class` and `get_method` log what they raise
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException

from recipes.compose.folders import GROUPS, explain_unusable
from recipes.errors import UserError
from recipes.runtime.program import ROOT

ENTRY_POINTS = "trickbook.tricks"
TRICKS = ROOT / "tricks"
# The module whose functions may score, whoever names them.
SCORES = "sklearn.metrics"

_trusted: ContextVar[frozenset[str]] = ContextVar("trusted", default=frozenset())


@contextmanager
def trusting(targets: Iterable[str]) -> Iterator[None]:
    """Inside this context these classes are trusted too; each name must be complete, such as `package.module.Class`.

    So are those of the `--config-dir`, also while other configs are composed inside, such as those of members.
    """
    token = _trusted.set(_trusted.get() | frozenset(targets) | _configured())
    try:
        yield
    finally:
        _trusted.reset(token)


def import_class(target: object, setting: str, package: str | None = None) -> type:
    """Import a class that a config names, if it is trusted.

    Args:
        target: the name, `module.Class`.
        setting: where the config names it, for messages.
        package: an installed package whose classes are trusted too.

    Raises:
        UserError: the name is not trusted, or it cannot be imported, or it is not a class.
    """
    if not isinstance(target, str) or not is_trusted(target, package):
        raise UserError(explain_distrust(target, setting))
    with _explained_import(target, setting):
        imported = _locate(target)
        if not isinstance(imported, type):
            raise TypeError(f"it is no class: {imported!r}")
    # A module of the package also holds what it imports, such as subprocess.Popen.
    is_of_package = target.partition(".")[0] == package and not is_listed(target)
    if is_of_package and not imported.__module__.startswith(f"{package}."):
        raise UserError(f"{setting}={target} is not a class of {package}.")
    return imported


def import_function(target: str, setting: str) -> Callable[..., Any]:
    """Import a function that a config names, if it is trusted; also each public function of `sklearn.metrics`.

    Args:
        target: the name, `module.function`.
        setting: where the config names it, for messages.

    Raises:
        UserError: the name is not trusted, or it cannot be imported, or it is not a function.
    """
    module, _, name = target.rpartition(".")
    is_of_sklearn = module == SCORES and _is_installed(SCORES.partition(".")[0])
    if not is_of_sklearn and not is_trusted(target):
        raise UserError(explain_distrust(target, setting))
    with _explained_import(target, setting):
        function: Callable[..., Any] = _locate(target)
        if not callable(function):
            raise TypeError(f"it is no function: {function!r}")
    if is_of_sklearn and name not in sys.modules[SCORES].__all__:
        raise UserError(f"{setting}={target} is not a public function of {SCORES}.")
    return function


@contextmanager
def _explained_import(target: str, setting: str) -> Iterator[None]:
    """Inside this context an import that fails is an error of the user."""
    try:
        _search_working_folder(target)
        yield
    except (HydraException, ImportError, ValueError, TypeError) as error:
        reason = str(error.__cause__ or error).split("\n")[0].rstrip(".")
        raise UserError(
            f"{setting}={target} cannot be imported ({reason}); is its file in this folder, or on PYTHONPATH?"
        ) from error


def _search_working_folder(target: str) -> None:
    """Let Python find a class that the user trusts in the working folder too.

    The folder comes last, so that no file in it hides a package, and only where nothing else has the module.
    """
    top, folder = target.partition(".")[0], str(Path.cwd())
    if _find_spec(top) is None and is_listed(target) and PathFinder.find_spec(top, [folder]) is not None:
        sys.path.append(folder)


def is_trusted(target: str, package: str | None = None) -> bool:
    """Whether this class may be imported. To find out, nothing is imported."""
    top = target.partition(".")[0]
    if top == TRICKS.name:
        # Most classes are these, and it takes longer to read what is listed.
        is_own = _names_module(target, TRICKS) and _origin(_find_spec(top)) == _initial_file(TRICKS)
        return is_own or is_listed(target)
    if is_listed(target):
        return True
    if top == package:
        spec = _find_spec(top)
        # If there is no such package, nothing can be imported; the trick that needs it says how to install it.
        return spec is None or (_is_installed(top) and _names_module(target, Path(str(spec.origin)).parent))
    return target in _registered() and _is_installed(top)


def is_listed(target: str) -> bool:
    """Whether this command line, or the Python code that called, names the class as trusted."""
    return target in _trusted.get() or target in _configured()


def find_source(module: str) -> Path | None:
    """Find the file of a module, in the working folder too; None if there is none. Nothing is imported."""
    top, *inner = module.split(".")
    if not all(part.isidentifier() for part in (top, *inner)):
        return None
    spec = _find_spec(top) or PathFinder.find_spec(top, [str(Path.cwd())])
    if spec is None:
        return None
    paths = [Path(folder, *inner) for folder in spec.submodule_search_locations or ()]
    files = [file for path in paths for file in (path.with_suffix(".py"), _initial_file(path))]
    if not inner and spec.origin:
        files.append(Path(spec.origin))
    return next((file for file in files if file.suffix == ".py" and file.is_file()), None)


def _names_module(target: str, folder: Path) -> bool:
    """Whether all but the last name of a target is a module of the package in this folder: not an import of one."""
    inner = target.split(".")[1:-1]
    path = folder.joinpath(*inner)
    are_names = all(name.isidentifier() for name in target.split("."))
    return are_names and (path.with_suffix(".py").is_file() or _initial_file(path).is_file())


def _initial_file(folder: Path) -> Path:
    return folder.resolve() / "__init__.py"


def _registered() -> set[str]:
    """The classes that installed distributions register.

    Only folders that `pip` installs into are searched: the working directory may hold a `*.dist-info` of anybody.
    """
    return {
        f"{entry.module}.{entry.attr}"
        for distribution in metadata.distributions(path=_site_folders())
        for entry in distribution.entry_points
        if entry.group == ENTRY_POINTS
    }


def _configured() -> frozenset[str]:
    """The classes that the `--config-dir` of this command line names."""
    return name_configured(HydraConfig.get().runtime.config_sources) if HydraConfig.initialized() else frozenset()


def name_configured(sources: Iterable[Any]) -> frozenset[str]:
    """Name the classes that stand in the `--config-dir` of a command line.

    Args:
        sources: where Hydra has found its configs, `hydra.runtime.config_sources`.
    """
    folders = [source.path for source in sources if source.provider == "command-line"]
    return frozenset(target for folder in folders for target in read_targets(folder))


def read_targets(folder: str | Path) -> Iterator[str]:
    """Yield each `_target_` in the YAML files of a config folder: of its groups, which a run folder does not have.

    Raises:
        UserError: there is no such folder.
    """
    if problem := explain_unusable(folder, "--config-dir"):
        raise UserError(problem)
    for group in GROUPS:
        for path in sorted(Path(folder, group).rglob("*.yaml")):
            try:
                yield from find_targets(yaml.safe_load(path.read_text(encoding="utf-8")))
            except (yaml.YAMLError, UnicodeDecodeError, OSError):
                continue  # Hydra reports it if it is selected


def find_targets(values: Any) -> Iterator[str]:
    """Yield each `_target_` of a tree of plain values."""
    if isinstance(values, dict):
        if isinstance(target := values.get("_target_"), str):
            yield target
        values = list(values.values())
    if isinstance(values, list):
        for each in values:
            yield from find_targets(each)


def _site_folders() -> list[str]:
    """The folders that `pip` installs into."""
    return [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]


def _is_installed(package: str) -> bool:
    """Whether an import finds the package where it is installed, not in a folder that hides it."""
    origin = _origin(_find_spec(package))
    return origin is not None and origin == _origin(_find_installed(package))


def _find_spec(package: str) -> ModuleSpec | None:
    """What `import` of a top-level package would find; it is not imported."""
    try:
        return importlib.util.find_spec(package)
    except ValueError:  # it is imported already, from no file
        return None


def _find_installed(package: str) -> ModuleSpec | None:
    """The same where only folders that `pip` has put on the path are searched."""
    path = [folder for site_folder in _site_folders() for folder in (site_folder, *_added_folders(Path(site_folder)))]
    specs = (finder.find_spec(package, path) for finder in sys.meta_path)
    return next((spec for spec in specs if spec is not None), None)


def _added_folders(site_folder: Path) -> Iterator[str]:
    """The folders that `*.pth` files add to the path, as editable installs do."""
    for file in sorted(site_folder.glob("*.pth")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.strip() and not line.startswith(("#", "import ", "import\t")):
                yield str(site_folder / line.strip())


def _origin(spec: ModuleSpec | None) -> Path | None:
    """The file of a module; None for a namespace package, which any folder on the path may extend."""
    return Path(spec.origin).resolve() if spec is not None and spec.origin and spec.has_location else None


def explain_distrust(target: object, setting: str) -> str:
    """Explain why a class is not imported, and how to trust it."""
    top = str(target).partition(".")[0]
    sentence = f"{setting}={target} is not trusted, so it is not imported: an import runs its code."
    if top == TRICKS.name and (origin := _origin(_find_spec(top))) != _initial_file(TRICKS):
        return f"{sentence} {origin or 'Another folder'} hides the tricks of this project; work in another folder."
    return (
        f"{sentence} If you wrote it, or trust whoever did, add 'trusted=[{target}]' (--trusted={target} for "
        "predict, export and judge), or --config-dir=<the folder of its YAML file>."
    )
