"""SwanLab: what the file of an offline run holds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("swanlab", reason="needs the extra swanlab")

from recipes.api import finetune_config
from recipes.runs.folder import RunFolder
from recipes.testing import in_child, kill_after, tiny_config

# SwanLab's own use of other packages is not our code.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def nobody_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_pictures: None) -> None:
    """No credentials, files in this test's folder, and pictures that SwanLab can read."""
    for name in ("SWANLAB_API_KEY", "SWANLAB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SWANLAB_SAVE_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("SWANLAB_LOG_DIR", str(tmp_path / "swanlog"))


def read_records(path: Path) -> list[Any]:
    """The records of a run's file, read by SwanLab itself."""
    from swanlab.proto.swanlab.record.v1.record_pb2 import Record
    from swanlab.sdk.internal.core_python.store import DataStoreReader

    reader = DataStoreReader()
    reader.open(path)
    return [Record.FromString(record) for record in reader]


def read_scalars(path: Path) -> dict[tuple[str, int], float]:
    """The numbers of a run's file, by name and step."""
    scalars: dict[tuple[str, int], float] = {}
    for record in read_records(path):
        if record.WhichOneof("record_type") == "scalar":
            scalars[record.scalar.key, record.scalar.step] = record.scalar.value.number
    return scalars


def train(folder: Path, *overrides: str, prepare: Callable[[], object] = lambda: None) -> None:
    config = tiny_config("tracker=swanlab", *overrides)

    def work() -> None:
        prepare()
        finetune_config(config, folder)

    in_child(work)


def test_without_credentials_a_run_is_written_offline(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train(tmp_path / "run", "tracker.group=three", "train.max_updates=4")
    (path,) = (tmp_path / "swanlog").glob("run-*/run-*.swanlab")
    scalars = read_scalars(path)
    for line in RunFolder(tmp_path / "run").history:
        for name, value in line.items():
            if name not in ("update", "split"):
                assert scalars[f"{line.get('split', 'train')}/{name}", line["update"]] == pytest.approx(value, rel=1e-6)
    test = RunFolder(tmp_path / "run").metrics["test"]
    assert {name: scalars[f"test/{name}", 5] for name in test} == pytest.approx(test, rel=1e-6)
    assert len(list(path.parent.glob("media/image/*.png"))) == 2
    assert capfd.readouterr().out.count("So it works offline.") == 1


def test_a_killed_run_goes_on_under_the_same_id(tmp_path: Path) -> None:
    with pytest.raises(ChildProcessError):
        train(tmp_path / "run", "tracker.offline=true", prepare=lambda: kill_after(11))
    run_id = json.loads((tmp_path / "run" / "trackers.json").read_text())["swanlab"]["id"]
    train(tmp_path / "run", "tracker.offline=true")
    paths = sorted((tmp_path / "swanlog").glob("run-*/run-*.swanlab"))
    assert [path.name for path in paths] == [f"run-{run_id}.swanlab"] * 2
    assert {step for _, step in read_scalars(paths[1])} == set(range(12, 22))
