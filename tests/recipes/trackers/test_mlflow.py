"""MLflow: what a real local store holds after a run, read by MLflow's own client."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlflow", reason="needs the extra mlflow")

from recipes.api import finetune_config
from recipes.config import Config
from recipes.errors import UserError
from recipes.runs.folder import RunFolder
from recipes.testing import in_child, kill_after, tiny_config
from recipes.trackers.identity import Identity
from recipes.trackers.mlflow import MLflow
from recipes.trackers.tracker import Point

# MLflow's own use of other packages is not our code.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store; making its tables takes most of the time of these tests."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def config_with(uri: str, project: str, *overrides: str) -> Config:
    return tiny_config("tracker=mlflow", f"tracker.tracking_uri={uri}", f"tracker.project={project}", *overrides)


def train(config: Config, folder: Path, prepare: Callable[[], object] = lambda: None) -> None:
    def work() -> None:
        prepare()
        finetune_config(config, folder)

    in_child(work)


def runs_of(uri: str, project: str) -> list[Any]:
    """The runs of an experiment."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    return list(client.search_runs([client.get_experiment_by_name(project).experiment_id]))


def series_of(uri: str, run: Any, last: int) -> dict[str, list[tuple[int, float]]]:
    """All points of the history by name."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    series = {
        name: [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
        if name.startswith(("train/", "validation/")) and name != "train/loss_smoothed"
    }
    return {name: [point for point in sorted(points) if point[0] <= last] for name, points in series.items()}


def series_of_history(folder: Path) -> dict[str, list[tuple[int, float]]]:
    series: dict[str, list[tuple[int, float]]] = {}
    for line in RunFolder(folder).history:
        for name, value in line.items():
            if name not in ("update", "split"):
                series.setdefault(f"{line.get('split', 'train')}/{name}", []).append((line["update"], value))
    return series


def test_a_run_is_stored_with_config_series_results_and_files(tmp_path: Path, uri: str) -> None:
    folder = tmp_path / "run"
    names = ("tracker.name=mixup s0", "tracker.group=three", "tracker.tags=[draft,mixup=on]")
    train(config_with(uri, "whole", "+tricks=[mixup]", *names), folder)
    (run,) = runs_of(uri, "whole")
    assert (run.info.run_name, run.info.status) == ("mixup s0", "FINISHED")
    assert series_of(uri, run, 20) == series_of_history(folder)
    metrics = RunFolder(folder).metrics
    for split in ("validation", "test"):
        assert {name: run.data.metrics[f"{split}/{name}"] for name in metrics[split]} == metrics[split]
    assert run.data.params["tricks.mixup.alpha"] == "0.4" and run.data.params["tricks"] == "mixup"
    tags = {name: run.data.tags[name] for name in ("group", "draft", "mixup", "tricks", "seed", "health", "weights")}
    expected = {"group": "three", "draft": "", "mixup": "on", "tricks": "mixup", "seed": "0"}
    assert tags == {**expected, "health": metrics["health"]["headline"], "weights": metrics["weights"]}
    assert run.data.tags["mlflow.note.content"].startswith("health: ")
    from mlflow import MlflowClient

    files = [file.path for file in MlflowClient(uri).list_artifacts(run.info.run_id)]
    assert files == ["config.yaml", "confusion_matrix.png", "learning_curve.png", "metrics.json"]


def test_a_killed_run_goes_on_in_one_run_with_each_update_once(tmp_path: Path, uri: str) -> None:
    config, folder = config_with(uri, "killed"), tmp_path / "run"
    for update in (6, 11):
        with pytest.raises(ChildProcessError):
            train(config, folder, lambda: kill_after(update))  # noqa: B023
    train(config, folder)
    (run,) = runs_of(uri, "killed")
    times = "train/seconds"
    stored, expected = series_of(uri, run, 20), series_of_history(folder)
    assert run.info.status == "FINISHED" and len(stored.pop(times)) == len(expected.pop(times))
    assert stored == expected


def test_a_run_that_diverges_is_failed(tmp_path: Path, uri: str) -> None:
    def diverge() -> None:
        with pytest.raises(UserError):
            finetune_config(config_with(uri, "diverged", "train.learning_rate=1e30"), tmp_path / "run")

    in_child(diverge)
    (run,) = runs_of(uri, "diverged")
    assert run.info.status == "FAILED" and run.data.tags["health"] == "diverged"
    assert run.data.tags["reason"].startswith("training diverged: ")


def test_a_run_that_the_store_has_lost_is_a_new_one(tmp_path: Path, uri: str) -> None:
    def work() -> tuple[str, bool]:
        from accelerate import PartialState

        PartialState(cpu=True)
        identity = Identity("lost", None, "first", {}, [], tmp_path, {"seed": 0, "tricks": "none", "a, b?": 1})
        tracker = MLflow(identity, uri, "0" * 32)
        tracker.start()
        tracker.store_init_configuration(identity.settings)
        # Names may have any letters, and a call takes at most 1,000 numbers.
        tracker.log_points([Point(update, {"train/loss": 0.5, "classes/好, ja/f1": 1.0}) for update in range(1, 700)])
        tracker.end("killed")
        return str(tracker.run_id), tracker.is_new

    run_id, is_new = in_child(work)
    (run,) = runs_of(uri, "lost")
    assert is_new and run.info.run_id == run_id and run.info.status == "KILLED"
    assert run.data.params["a_ b_"] == "1" and run.data.metrics["classes/好_ ja/f1"] == 1.0
    assert len(series_of(uri, run, 700)["train/loss"]) == 699


def test_a_server_that_is_gone_is_explained_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train(config_with("http://127.0.0.1:9", "gone", "train.max_updates=2"), tmp_path / "run")
    assert capfd.readouterr().out.count("tracker=mlflow does not work (MlflowException: API request to ") == 1
    assert RunFolder(tmp_path / "run").metrics["test"]
