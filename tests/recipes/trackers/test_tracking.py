"""All trackers of a run: they get a copy of the history and the results, and none can stop the run."""

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from recipes.api import finetune_config
from recipes.errors import UserError
from recipes.loop import TrainingRun
from recipes.runs.claim import TRACKERS
from recipes.runs.folder import RunFolder
from recipes.runs.history import History
from recipes.runtime.signals import Interrupted
from recipes.testing import comparable_contents, in_child, kill_after, on_ranks, tiny_config
from recipes.trackers.tracker import Point, RunTracker
from recipes.trackers.tracking import Trackers
from tests.recipes.trackers.fakes import Failing, Recorder, use


def run_with(
    make: Callable[[str | None], RunTracker],
    folder: Path,
    *overrides: str,
    prepare: Callable[[], object] = lambda: None,
    error: type[BaseException] | None = None,
) -> tuple[list[Any], str]:
    """Train a tiny run with a tracker, in a child.

    Returns:
        The calls of each tracker that was made, and the lines about trackers.
    """
    config = tiny_config("tracker=tensorboard", *overrides)

    def work() -> tuple[list[Any], str]:
        trackers: list[Any] = []
        said: list[str] = []

        def make_and_keep(run_id: str | None) -> RunTracker:
            trackers.append(make(run_id))
            return trackers[-1]

        use(make_and_keep)
        TrainingRun.say = lambda run, text: said.append(text)  # type: ignore[method-assign]
        prepare()
        with pytest.raises(error) if error else nullcontext():
            finetune_config(config, folder)
        return trackers, "\n".join(line for line in said if line.startswith("tracker="))

    trackers, said = in_child(work)
    return trackers, said


def points_of_history(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """The numbers of each line of the history, by the names that trackers use."""
    lines = []
    for line in RunFolder(folder).history:
        split = line.get("split", "train")
        numbers = {f"{split}/{name}": value for name, value in line.items() if name not in ("update", "split")}
        lines.append((line["update"], numbers))
    return lines


def without_smoothing(recorder: Recorder) -> list[tuple[int, dict[str, float]]]:
    """The points of a tracker without the loss that is not in the history."""
    return [
        (point.update, {name: value for name, value in point.values.items() if name != "train/loss_smoothed"})
        for point in recorder.points
    ]


def test_a_tracker_gets_the_config_the_history_and_the_results_under_the_same_names(tmp_path: Path) -> None:
    (recorder,), said = run_with(Recorder, tmp_path / "run", "+tricks=[mixup]", "tracker.name=first")
    assert recorder.names() == ["start", "config", "points", "pictures", "results", "end"]
    settings = recorder.calls[1][1]
    assert settings["tricks.mixup.alpha"] == 0.4 and settings["train.max_updates"] == 20
    assert without_smoothing(recorder) == points_of_history(tmp_path / "run")
    metrics = RunFolder(tmp_path / "run").metrics
    pictures, (_, scores, texts, update), end = recorder.calls[-3:]
    assert pictures == ("pictures", ["confusion_matrix.png", "learning_curve.png"], 21) and update == 21
    for split in ("validation", "test"):
        assert {name: scores[f"{split}/{name}"] for name in metrics[split]} == metrics[split]
    assert scores["cost/train_seconds"] == metrics["cost"]["train_seconds"] and "seed" not in scores
    assert not [name for name in scores if name.startswith("candidates/")]
    assert texts["health"] == metrics["health"]["headline"] and texts["weights"] == metrics["weights"]
    assert "health: " in texts["health_report"] and end == ("end", "finished") and said == ""


@pytest.mark.slow
def test_a_tracker_that_always_fails_is_explained_once_and_changes_no_number(tmp_path: Path) -> None:
    (tracker,), said = run_with(Failing, tmp_path / "failing")
    assert [call[0] for call in tracker.calls] == ["start", "start"]  # and once more at the end
    assert said == (
        "tracker=failing does not work (RuntimeError: start is impossible). Training goes on without it, and the run "
        "folder has everything; at the end it is tried again."
    )
    in_child(lambda: finetune_config(tiny_config("tracker=none"), tmp_path / "none").folder)
    assert comparable_contents(tmp_path / "failing") == comparable_contents(tmp_path / "none")


# Without training: a history that grows by hand.


class Rig:
    """The trackers of a run whose history is written by hand.

    Args:
        folder: of the run.
        recorder: its tracker.
    """

    def __init__(self, folder: Path, recorder: Recorder) -> None:
        self.folder, self.recorder, self.said = folder, recorder, list[str]()
        self.trackers = Trackers(tiny_config("tracker=tensorboard"), folder, self.said.append)
        self.trackers.make = lambda name, next_update: recorder  # type: ignore[method-assign]

    def write(self, *updates: int) -> None:
        """Add updates to the history."""
        History(self.folder / "history.jsonl").append([{"update": update, "loss": 1 / update} for update in updates])

    @property
    def record(self) -> Any:
        """What a later start finds."""
        return json.loads((self.folder / TRACKERS).read_text())[self.recorder.name]

    def train(self, *updates: int, results: bool = True) -> None:
        """Start, make updates, and end with results."""
        with self.trackers:
            self.trackers.start()
            for update in updates:
                self.write(update)
                self.trackers.send()
            if results:
                self.trackers.scores, self.trackers.texts = {"test/accuracy": 0.5}, {"health": "learned"}
                (self.folder / "learning_curve.png").touch()


@pytest.mark.parametrize("method", ["config", "points", "pictures", "results", "end"])
def test_each_method_may_fail(tmp_path: Path, method: str) -> None:
    rig = Rig(tmp_path, Recorder())
    rig.recorder.failing = {method}
    rig.train(1, 2)
    assert len(rig.said) == 1 and rig.said[0].startswith(
        "tracker=recorder does not work (ConnectionError: no route to host). Training goes on without it"
    )
    assert rig.recorder.calls[-1] == ("end", "finished")


def test_a_tracker_that_recovers_gets_what_it_missed(tmp_path: Path) -> None:
    class Recovering(Recorder):
        def log_points(self, points: Sequence[Point]) -> None:
            super().log_points(points)
            if len(self.points) == 3:
                del self.points[-1]
                raise ConnectionError("gone")

    rig = Rig(tmp_path, Recovering())
    rig.train(1, 2, 3, 4, 5)
    sent = [call[1] for call in rig.recorder.calls if call[0] == "points"]
    assert sent == [[1], [2], [3], [3, 4, 5]]
    assert [point.values["train/loss"] for point in rig.recorder.points] == [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
    assert rig.said[1:] == ["tracker=recorder works again, and has everything."] and rig.record["lines"] is None


def test_after_a_failure_a_later_start_sends_the_rest(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Recorder())
    with rig.trackers:
        rig.trackers.start()
        rig.write(1, 2)
        rig.trackers.send()
        rig.recorder.failing = {"points", "results", "end"}
        rig.write(3, 4)
        rig.trackers.send()
    assert rig.record == {"id": "new", "lines": 2}
    later = Rig(tmp_path, Recorder("new"))
    later.train(5)
    assert [point.update for point in later.recorder.points] == [3, 4, 5] and later.record["lines"] is None


@pytest.mark.parametrize(("run_id", "sent"), [("new", [5]), ("other", [1, 2, 3, 4, 5])])
def test_a_tracker_that_does_not_find_its_run_gets_all(tmp_path: Path, run_id: str, sent: list[int]) -> None:
    Rig(tmp_path, Recorder()).train(1, 2, 3, 4)
    rig = Rig(tmp_path, Recorder(run_id))
    rig.train(5)
    assert [point.update for point in rig.recorder.points] == sent and rig.record["id"] == run_id


def test_updates_that_are_made_again_are_not_sent_again(tmp_path: Path) -> None:
    Rig(tmp_path, Recorder()).train(1, 2, 3, 4, results=False)
    rig = Rig(tmp_path, Recorder("new"))
    # The run goes back to its checkpoint after update 2.
    History(tmp_path / "history.jsonl").cut(2)
    rig.train(3, 4, 5)
    assert [point.update for point in rig.recorder.points] == [5]


def test_what_the_address_says_is_printed(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Recorder())
    rig.recorder.address = "http://server/run"
    rig.train(1)
    assert rig.said == ["tracker=recorder: http://server/run"]


@pytest.mark.parametrize(
    ("error", "state", "texts"),
    [
        (KeyboardInterrupt(2), "killed", {}),
        (Interrupted(15, "Stopped."), "killed", {}),
        (UserError("memory is full"), "failed", {"reason": "memory is full"}),
        (UserError("training diverged: NaN."), "failed", {"reason": "training diverged: NaN.", "health": "diverged"}),
        (ZeroDivisionError("a bug"), "failed", {"reason": "ZeroDivisionError: a bug"}),
    ],
)
def test_a_run_that_ends_early_is_closed_with_its_state(
    tmp_path: Path, error: BaseException, state: str, texts: dict[str, str]
) -> None:
    rig = Rig(tmp_path, Recorder())
    with pytest.raises(type(error)), rig.trackers:
        rig.trackers.start()
        rig.write(1, 2)
        raise error
    # What was not sent yet comes first.
    assert rig.recorder.calls[-3:] == [("points", [1, 2]), ("results", {}, texts, 3), ("end", state)]


def test_ctrl_c_inside_a_tracker_ends_the_run(tmp_path: Path) -> None:
    class Interrupting(Recorder):
        def start(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Rig(tmp_path, Interrupting()).trackers.start()


# With training.


@pytest.mark.slow
@pytest.mark.parametrize("drops_known", [False, True])
def test_a_killed_run_goes_on_in_the_same_run_of_the_tracker(tmp_path: Path, drops_known: bool) -> None:
    folder = tmp_path / "run"

    def make(run_id: str | None) -> Recorder:
        return Recorder(run_id, drops_known)

    with pytest.raises(ChildProcessError):
        run_with(make, folder, prepare=lambda: kill_after(11))
    assert json.loads((folder / TRACKERS).read_text()) == {"recorder": {"id": "new", "lines": None}}
    (recorder,), _ = run_with(make, folder)
    assert recorder.run_id == "new"
    history = points_of_history(folder)
    # 11 updates and one evaluation were sent before; a tracker that drops what it has gets them again.
    assert without_smoothing(recorder) == (history if drops_known else history[12:])


def test_a_start_that_is_refused_leaves_no_trace(tmp_path: Path) -> None:
    overrides = ("evaluate.metric=nothing", "doctor=cheap")
    trackers, _ = run_with(Recorder, tmp_path / "run", *overrides, error=UserError)
    assert trackers == [] and not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_linear_baseline_and_an_ensemble_have_results_too(tmp_path: Path) -> None:
    (linear,), _ = run_with(Recorder, tmp_path / "linear", "model=linear")
    assert linear.names() == ["start", "config", "pictures", "results", "end"]
    fusion = ("+tricks=[fusion]", "tricks.fusion.folds=2", "train.max_updates=2", "data.validation=null")
    trackers, _ = run_with(Recorder, tmp_path / "fused", *fusion)
    assert [recorder.names()[-2:] for recorder in trackers] == [["results", "end"]] * 3
    assert [bool(recorder.points) for recorder in trackers] == [True, True, False]


@pytest.mark.slow
def test_only_the_first_process_tracks(tmp_path: Path) -> None:
    def work() -> int:
        made = []

        def make(run_id: str | None) -> Recorder:
            made.append(run_id)
            return Recorder(run_id)

        use(make)
        finetune_config(tiny_config("tracker=tensorboard", "train.max_updates=2"), tmp_path / "run")
        return len(made)

    assert on_ranks(2, work) == 1
    assert (tmp_path / "run" / TRACKERS).exists()
