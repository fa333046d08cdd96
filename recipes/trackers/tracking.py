"""All trackers of one run: they get a copy of its history and its results, and none of them can stop it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from recipes.compose.tracker_packages import chosen_trackers
from recipes.config import Config
from recipes.errors import DIVERGED, UserError
from recipes.reports.health import describe_health
from recipes.runs.claim import TRACKERS
from recipes.runs.files import read_json, write_json
from recipes.runs.folder import RunFolder
from recipes.runtime.distributed import connect, is_first
from recipes.trackers.identity import flatten, identify
from recipes.trackers.mlflow import MLflow
from recipes.trackers.swanlab import SwanLab
from recipes.trackers.tail import Tail, count_lines, is_number
from recipes.trackers.tensorboard import EVENTS, TensorBoard
from recipes.trackers.tracker import RunTracker, State
from recipes.trackers.wandb import WandB

NO_SCORES = ("format", "seed", "labels", "versions", "candidates")
"""Parts of `metrics.json` that are no scores of the final weights, and no costs."""
LONGEST_REASON = 300
"""Characters of a tracker's error that are printed."""


class Trackers:
    """The trackers of a run. In a `with` they are closed with the state in which the run ends.

    Nothing happens before `start`, so a start that is refused leaves no trace in any tracker.

    Args:
        config: of the run.
        folder: the run folder. It must still have the history of an earlier start.
        say: prints a line.
    """

    def __init__(self, config: Config, folder: Path, say: Callable[[str], None]) -> None:
        self.config, self.folder, self.say = config, folder, say
        self.history = folder / "history.jsonl"
        record = read_json(folder / TRACKERS) if (folder / TRACKERS).exists() else None
        self.record: dict[str, Any] = record if isinstance(record, dict) else {}
        # An earlier start may have got further than its last checkpoint, and its trackers have these updates.
        self.lines_before = count_lines(self.history) if self.record else 0
        self.deliveries: list[Delivery] = []
        self.scores: dict[str, float] = {}
        self.texts: dict[str, str] = {}

    def start(self, next_update: int = 1) -> None:
        """Open the trackers, in the first process only, and send what the history has already.

        Args:
            next_update: the first update that this start makes.
        """
        if not is_first() or not (names := chosen_trackers(self.config.tracker)):
            return
        connect(self.config.train.device)  # accelerate's trackers ask which process they are in
        for name in names:
            delivery = Delivery(self, self.make(name, next_update))
            self.deliveries.append(delivery)
            with delivery:
                delivery.open()
                delivery.send()

    def make(self, name: str, next_update: int) -> RunTracker:
        """Make a tracker; nothing is opened yet."""
        settings, identity = self.config.tracker, identify(self.config, self.folder)
        run_id = self.record.get(name, {}).get("id")
        if name == "tensorboard":
            return TensorBoard(identity, next_update)
        if name == "mlflow":
            return MLflow(identity, settings.tracking_uri, run_id)
        kind = {"wandb": WandB, "swanlab": SwanLab}[name]
        return kind(identity, settings.entity, settings.offline, run_id, self.say)

    def send(self) -> None:
        """Send what is new in the history. A tracker that has failed is left out until the end."""
        for delivery in self.deliveries:
            if not delivery.has_failed:
                with delivery:
                    delivery.send()

    def add_results(self, run: RunFolder) -> None:
        """Note the results of the run, which are sent when the trackers are closed.

        Args:
            run: the finished run.
        """
        metrics = run.metrics
        leaves = flatten({name: value for name, value in metrics.items() if name not in NO_SCORES}, "/")
        self.scores = {name: leaf for name, leaf in leaves if is_number(leaf)}
        self.texts = {
            "health": str(metrics["health"]["headline"]),
            "health_report": "\n\n".join(describe_health(metrics)),
            "weights": str(metrics["weights"]),
        }

    def __enter__(self) -> "Trackers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Interrupted and KeyboardInterrupt are no `Exception`.
        state: State = "finished" if error is None else "failed" if isinstance(error, Exception) else "killed"
        if state == "failed":
            has_diverged = isinstance(error, UserError) and str(error).startswith(DIVERGED)
            self.texts = {"health": "diverged"} if has_diverged else {}
            self.texts["reason"] = f"{'' if isinstance(error, UserError) else f'{type(error).__name__}: '}{error}"
        pictures = sorted(self.folder.glob("*.png")) if state == "finished" else []
        for delivery in self.deliveries:
            with delivery:
                delivery.send_rest(self.scores, self.texts, pictures)
            with delivery:
                if delivery.is_open:
                    delivery.tracker.end(state)
        self.deliveries = []


class Delivery:
    """What one tracker has got so far. In a `with` an error of the tracker is explained once, and goes no further.

    Args:
        trackers: all of the run.
        tracker: the one.
    """

    def __init__(self, trackers: Trackers, tracker: RunTracker) -> None:
        self.trackers, self.tracker = trackers, tracker
        self.tail = Tail(trackers.history)
        self.is_open = self.is_described = self.is_recorded = self.has_failed = False

    def open(self) -> None:
        """Open the tracker's run, a new one or that of an earlier start of this run, and describe it."""
        if not self.is_open:
            self._start()
        self.tracker.store_init_configuration(identify(self.trackers.config, self.trackers.folder).settings)
        self.is_described = True

    def _start(self) -> None:
        trackers, tracker = self.trackers, self.tracker
        had_events = any(trackers.folder.glob(EVENTS))
        tracker.start()
        self.is_open = True
        before, sent = trackers.record.get(tracker.name, {}), 0
        if tracker.replaces:
            sent = count_lines(trackers.history) if had_events else 0
        elif before and before["id"] == tracker.run_id and not tracker.drops_known:
            sent = trackers.lines_before if before["lines"] is None else before["lines"]
        self.tail = Tail(trackers.history, sent)
        self.record(sent)
        if tracker.address:
            trackers.say(f"tracker={tracker.name}: {tracker.address}")

    def send(self) -> None:
        """Send the points that the tracker does not have yet."""
        sent = self.tail.sent
        try:
            if points := self.tail.read():
                self.tracker.log_points(points)
                sent = self.tail.sent
        finally:
            # Points that did not arrive are read again.
            if sent < self.tail.sent:
                self.tail = Tail(self.tail.path, sent)
        if not self.is_recorded:
            self.record(None)
            self.is_recorded = True

    def send_rest(self, scores: Mapping[str, float], texts: Mapping[str, str], pictures: Sequence[Path]) -> None:
        """Send everything that is missing, and the results. A tracker that has failed gets another chance.

        Args:
            scores: by name.
            texts: by name.
            pictures: files.
        """
        if not self.is_described:
            self.open()
        self.send()
        update = self.tail.last_update + 1
        if pictures:
            self.tracker.log_pictures(pictures, update)
        # After the last point: some trackers show the latest number of a name as its result.
        self.tracker.log_results(scores, texts, update)
        if self.has_failed:
            self.trackers.say(f"tracker={self.tracker.name} works again, and has everything.")

    def record(self, lines: int | None) -> None:
        """Record by which id a later start finds this run, and how many lines it has; None: all of them."""
        trackers, tracker = self.trackers, self.tracker
        if tracker.run_id is not None:
            trackers.record[tracker.name] = {"id": tracker.run_id, "lines": lines}
            write_json(trackers.folder / TRACKERS, trackers.record)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        # Whatever a tracker raises: no credentials, no network, a bug. Ctrl-C is no `Exception`.
        if not isinstance(error, Exception):
            return False
        name = self.tracker.name
        if not self.has_failed:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_REASON]
            self.trackers.say(
                f"tracker={name} does not work ({reason}). Training goes on without it, and the run folder has "
                "everything; at the end it is tried again."
            )
            if self.is_open:
                with suppress(UserError):  # the disk may be full too, and the run will say so itself
                    self.record(self.tail.sent)
        self.has_failed, self.is_recorded = True, False
        return True
