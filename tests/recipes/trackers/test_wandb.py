"""Weights & Biases: what the file of an offline run holds."""

import json
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("wandb", reason="needs the extra wandb")

from recipes.api import finetune_config
from recipes.errors import UserError
from recipes.runs.folder import RunFolder
from recipes.testing import in_child, kill_after, tiny_config

# W&B's own use of other packages is not our code.
pytestmark = pytest.mark.filterwarnings("ignore")
BLOCK = 32768


@pytest.fixture(autouse=True)
def nobody_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_pictures: None) -> None:
    """No credentials, files in this test's folder, and pictures that W&B can read."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))


def read_records(path: Path) -> Iterator[Any]:
    """The records of a `.wandb` file: blocks of LevelDB's log format after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, record = path.read_bytes(), 7, b""
    while position + 7 <= len(data):
        if (left := BLOCK - position % BLOCK) < 7:
            position += left
            continue
        length, kind = struct.unpack("<HB", data[position + 4 : position + 7])
        record += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(record)
            record = b""


def read_run(path: Path) -> dict[str, Any]:
    """The run in a `.wandb` file."""
    content: dict[str, Any] = {"history": [], "summary": {}, "config": {}}
    for record in read_records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            content["run"] = record.run
        elif kind == "history":
            items = record.history.item
            content["history"].append(
                {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
            )
        elif kind == "exit":
            content["exit"] = record.exit.exit_code
        elif kind == "summary":
            content["summary"] |= {item.key: json.loads(item.value_json) for item in record.summary.update}
        for part in ("config", "run"):
            items = getattr(record, part).config.update if part == "run" else getattr(record, part).update
            content["config"] |= {item.key: json.loads(item.value_json) for item in items}
    return content


def train(
    folder: Path, *overrides: str, prepare: Callable[[], object] = lambda: None, error: type[Exception] | None = None
) -> None:
    config = tiny_config("tracker=wandb", *overrides)

    def work() -> None:
        prepare()
        with pytest.raises(error) if error else nullcontext():
            finetune_config(config, folder)

    in_child(work)


def runs_in(folder: Path) -> list[dict[str, Any]]:
    return [read_run(path) for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))]


def test_without_credentials_a_run_is_written_offline(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    names = ("tracker.name=mixup s0", "tracker.group=three", "tracker.tags=[draft,mixup=on]", "tracker.project=mine")
    train(folder, "+tricks=[mixup]", *names)
    (content,) = runs_in(tmp_path)
    run = content["run"]
    assert (run.project, run.run_group, run.display_name) == ("mine", "three", "mixup s0")
    assert list(run.tags) == ["draft", "mixup=on", "mixup"] and content["exit"] == 0
    assert content["config"]["tricks.mixup.alpha"] == 0.4 and content["config"]["train.max_updates"] == 20
    rows = [row for row in content["history"] if row["_step"] <= 20]
    assert [row["_step"] for row in rows] == list(range(1, 21))
    for line in RunFolder(folder).history:
        row, split = rows[line["update"] - 1], line.get("split", "train")
        numbers = {name: value for name, value in line.items() if name not in ("update", "split")}
        assert {name: row[f"{split}/{name}"] for name in numbers} == numbers
    metrics, summary = RunFolder(folder).metrics, content["summary"]
    for split in ("validation", "test"):
        assert {name: summary[f"{split}/{name}"] for name in metrics[split]} == metrics[split]
    assert summary["health"] == metrics["health"]["headline"]
    pictures = {name.partition("/")[0] for row in content["history"] for name in row if name.endswith("/path")}
    assert pictures == {"learning_curve", "confusion_matrix"}
    output = capfd.readouterr().out
    assert output.count("nobody is logged in (wandb login, or WANDB_API_KEY), so it works offline.") == 1
    assert "to upload it: wandb sync" in output


def test_a_killed_run_goes_on_under_the_same_id(tmp_path: Path) -> None:
    with pytest.raises(ChildProcessError):
        train(tmp_path / "run", "tracker.offline=true", prepare=lambda: kill_after(11))
    train(tmp_path / "run", "tracker.offline=true")
    first, second = runs_in(tmp_path)
    assert second["run"].run_id == json.loads((tmp_path / "run" / "trackers.json").read_text())["wandb"]["id"]
    assert [row["_step"] for row in second["history"]] == list(range(12, 22)) and second["exit"] == 0


def test_a_run_that_diverges_has_failed(tmp_path: Path) -> None:
    train(tmp_path / "run", "train.learning_rate=1e30", error=UserError)
    (content,) = runs_in(tmp_path)
    assert content["exit"] == 1 and content["summary"]["health"] == "diverged"


def test_a_server_that_does_not_answer_is_explained_and_the_run_goes_on_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("recipes.trackers.wandb.SECONDS_TO_CONNECT", 2)
    train(tmp_path / "run", "train.max_updates=2")
    (content,) = runs_in(tmp_path)
    assert content["exit"] == 0 and "So it works offline." in capfd.readouterr().out
    assert os.environ["WANDB_API_KEY"] not in (tmp_path / "run" / "trackers.json").read_text()
