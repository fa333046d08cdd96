"""TensorBoard: what its own reader finds in the event files of a run folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recipes.api import finetune_config
from recipes.runs.folder import RunFolder
from recipes.testing import in_child, kill_after, tiny_config
from recipes.trackers.identity import identify
from recipes.trackers.tensorboard import EVENTS, TensorBoard
from recipes.trackers.tracker import Point


def read_events(folder: Path) -> EventAccumulator:
    """All events in a folder, as TensorBoard shows them."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    return events


def read_scalars(folder: Path) -> list[tuple[str, int, float]]:
    events = read_events(folder)
    return sorted(
        (tag, event.step, round(event.value, 5)) for tag in events.Tags()["scalars"] for event in events.Scalars(tag)
    )


def scalars_of_history(folder: Path) -> list[tuple[str, int, float]]:
    return sorted(
        (f"{line.get('split', 'train')}/{name}", line["update"], pytest.approx(value, abs=1e-4, rel=1e-4))
        for line in RunFolder(folder).history
        for name, value in line.items()
        if name not in ("update", "split", "seconds")
    )


def without(scalars: list[tuple[str, int, float]], last: int) -> list[tuple[str, int, float]]:
    """The scalars up to an update, without what is not in the history and without times."""
    names = ("train/loss_smoothed", "train/seconds")
    return [(tag, step, value) for tag, step, value in scalars if step <= last and tag not in names]


def test_a_run_has_config_updates_results_and_pictures(tmp_path: Path, real_pictures: None) -> None:
    folder = tmp_path / "run"
    in_child(
        lambda: (
            finetune_config(tiny_config("tracker=tensorboard", "train.max_updates=4", "+tricks=[mixup]"), folder).folder
        )
    )
    scalars, metrics = read_scalars(folder), RunFolder(folder).metrics
    assert without(scalars, 4) == scalars_of_history(folder)
    assert ("test/accuracy", 5, round(metrics["test"]["accuracy"], 5)) in scalars
    events = read_events(folder)
    assert set(events.Tags()["images"]) == {"learning_curve", "confusion_matrix"}
    (image,) = events.Images("learning_curve")
    assert image.encoded_image_string == (folder / "learning_curve.png").read_bytes()
    assert (image.width, image.height) == (960, 540)
    assert events.Tensors("health/text_summary")[0].tensor_proto.string_val[0].decode() == metrics["health"]["headline"]
    (plugin,) = events.PluginTagToContent("hparams").keys() - {"_hparams_/experiment", "_hparams_/session_end_info"}
    assert plugin == "_hparams_/session_start_info"
    assert b"tricks.mixup.alpha" in events.PluginTagToContent("hparams")[plugin]


@pytest.mark.slow
def test_a_killed_run_shows_each_update_once(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def train(prepare: Callable[[], object]) -> Any:
        prepare()
        return finetune_config(tiny_config("tracker=tensorboard"), folder).folder

    with pytest.raises(ChildProcessError):
        in_child(lambda: train(lambda: kill_after(11)))
    in_child(lambda: train(lambda: None))
    assert len(list(folder.glob(EVENTS))) == 2
    assert without(read_scalars(folder), 20) == scalars_of_history(folder)


def test_nothing_is_written_before_the_first_numbers(tmp_path: Path) -> None:
    tracker = TensorBoard(identify(tiny_config(), tmp_path), 1)
    tracker.start()
    tracker.store_init_configuration({"seed": 0, "group": None})
    tracker.end("finished")
    assert list(tmp_path.iterdir()) == []


def test_nan_is_written_as_such(tmp_path: Path) -> None:
    tracker = TensorBoard(identify(tiny_config(), tmp_path), 1)
    tracker.start()
    tracker.log_points([Point(1, {"train/loss": float("nan")})])
    tracker.log_results({}, {"reason": "training diverged"}, 2)
    tracker.end("failed")
    (event,) = read_events(tmp_path).Scalars("train/loss")
    assert event.value != event.value
