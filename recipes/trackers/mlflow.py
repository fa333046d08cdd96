"""MLflow: a run in an experiment of a server or of a local store."""

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate.tracking import MLflowTracker
from filelock import FileLock

from recipes.data.cache import cache_folder
from recipes.trackers.identity import Identity
from recipes.trackers.tracker import Point, RunTracker, State

# A server that is gone must not stop training for minutes; and MLflow reports to its makers unless asked not to.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
STATUS: Mapping[State, str] = {"finished": "FINISHED", "killed": "KILLED", "failed": "FAILED"}
AT_ONCE = 1000
"""Numbers that MLflow takes in one call."""


class MLflow(RunTracker, MLflowTracker):  # type: ignore[misc]
    """Logs through accelerate's tracker, but many numbers in one call, and it can go on with a run.

    Args:
        identity: of the run.
        tracking_uri: the server or store; None: as MLflow is set up.
        run_id: of the run to go on with; None: a new one.
    """

    name = "mlflow"
    drops_known = True

    def __init__(self, identity: Identity, tracking_uri: str | None, run_id: str | None) -> None:
        self.identity, self.tracking_uri = identity, tracking_uri
        tags = {**identity.tags, "tricks": identity.settings["tricks"], "seed": str(identity.settings["seed"])}
        tags |= {"group": identity.group} if identity.group else {}
        # Nested, so that it does not matter whether the user has a run of his own open.
        super().__init__(identity.project, run_id=run_id, tags=tags, nested_run=True, run_name=identity.name)

    def start(self) -> None:
        """Open the run, or a new one where the store does not know it any more."""
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import mlflow

        if self.tracking_uri is not None:
            mlflow.set_tracking_uri(self.tracking_uri)
        # The first client makes the tables of a local store, and the first run its experiment: one process at a time.
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "mlflow.lock"):
            self.client: Any = mlflow.MlflowClient()
            self.is_new = self.run_id is None or not self._is_known(self.run_id)
            self.run_id = None if self.is_new else self.run_id
            self.last_updates = {} if self.is_new else self._find_last_updates()
            super().start()
        self.run_id = self.active_run.info.run_id
        self.address = f"run {self.identity.name} of experiment {self.experiment_name} in {mlflow.get_tracking_uri()}"

    def _is_known(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return bool(self.client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    def _find_last_updates(self) -> dict[str, int]:
        """Find the last update that the store has of each split."""
        names = self.client.get_run(self.run_id).data.metrics
        one_of_each = {name.partition("/")[0]: name for name in names}
        return {
            split: max(metric.step for metric in self.client.get_metric_history(self.run_id, name))
            for split, name in one_of_each.items()
        }

    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Log the settings of a new run. MLflow lets nobody change them later."""
        if self.is_new:
            super().store_init_configuration({_allowed(name): value for name, value in values.items()})

    def log_points(self, points: Sequence[Point]) -> None:
        """Log the numbers of many lines in few calls, since each call may cross a network."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(_allowed(name), float(value), now, point.update)
            for point in points
            for name, value in point.values.items()
            if point.update > self.last_updates.get(name.partition("/")[0], 0)
        ]
        for first in range(0, len(metrics), AT_ONCE):
            self.client.log_batch(self.run_id, metrics=metrics[first : first + AT_ONCE])

    def log_results(self, scores: Mapping[str, float], texts: Mapping[str, str], update: int) -> None:
        """Log the final scores, the texts as tags, and the files that hold all of them."""
        self.log_points([Point(update, scores)])
        for name, text in texts.items():
            # What the page of a run shows as its description.
            tag = "mlflow.note.content" if name == "health_report" else name
            self.client.set_tag(self.run_id, tag, text[:5000])
        for path in (self.identity.folder / name for name in ("config.yaml", "metrics.json")):
            if path.exists():
                self.client.log_artifact(self.run_id, str(path))

    def log_pictures(self, paths: Sequence[Path], update: int) -> None:
        """Log picture files as artifacts."""
        for path in paths:
            self.client.log_artifact(self.run_id, str(path))

    def end(self, state: State) -> None:
        """Close the run with its status."""
        import mlflow

        mlflow.end_run(STATUS[state])


def _allowed(name: str) -> str:
    """A name with the letters that MLflow allows."""
    return re.sub(r"[^\w/.\- :]", "_", name)[:250]
