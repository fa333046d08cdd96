"""The pipeline of one run: set up, train, choose the weights, score, save. The base of the `train` seam."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from recipes import seams, state
from recipes.compose.requirements import check
from recipes.compose.tricks import build
from recipes.config import Config
from recipes.data.splits import Splits
from recipes.doctor.health import describe_divergence
from recipes.doctor.runner import check_at_start, diagnose_rows, finish
from recipes.graphs.parts import Parts
from recipes.guards import Diverged
from recipes.loop import TrainingRun
from recipes.metrics import Predictions, measure
from recipes.models.adapters import merged_weights
from recipes.models.linear import Linear
from recipes.runs.files import atomic_write, write_json
from recipes.runs.folder import FORMAT, RunFolder
from recipes.runtime.distributed import is_first, on_threads, say, wait_for_all
from recipes.runtime.memory import PeakMemory
from recipes.trackers.tracking import Trackers


def train(config: Config, splits: Splits, folder: Path) -> RunFolder:
    """Train and score one model.

    Args:
        config: all settings.
        splits: the data. The test split is opened only when the weights are chosen.
        folder: the run folder, already claimed for this config.

    Raises:
        UserError: the metric does not fit the data, the model does not exist, training diverged, the disk is full.
        Interrupted: after Ctrl-C or SIGTERM.
    """
    tricks = build(config.tricks)
    check(config, splits, tricks)
    if config.model.source == "linear":
        return train_linear(config, splits, folder)
    memory = PeakMemory()
    with on_threads(config.train.threads), ExitStack() as stack:
        run = TrainingRun(config, tricks, splits, folder)
        stack.enter_context(run.trackers)
        # A resumed run has passed the checks already.
        if config.doctor == "cheap" and not run.checkpoints.all():
            check_at_start(run, splits)
        with recording_divergence(run):
            fit(run, splits)
            validation, candidates, weights = _choose_weights(run)
        with run.seams.weights():
            # What is fitted on validation must be fitted before the test split is opened.
            validation = run.seams.settle(validation)
            hidden = {
                name: run.predictions(run.encode_rows(run.clean_rows(rows)))
                for name, rows in splits.hidden_splits().items()
            }
            if run.accelerator.is_main_process and config.checkpoint.save_model:
                _save_model(run)
        metrics = {
            "candidates": candidates,
            "weights": weights,
            "early_stop": run.early_stop,
            "cost": _cost(run, memory),
            "seams": seams.wrapped_seams(tricks),
        }
        if run.accelerator.is_main_process:
            scored = {"validation": validation, **hidden}
            finished = finish(folder, config, splits, scored, {**run.seams.results(scored), **metrics})
            run.trackers.add_results(finished)
        run.accelerator.wait_for_everyone()
    return RunFolder(folder)


@contextmanager
def recording_divergence(run: TrainingRun) -> Iterator[None]:
    """If training diverges inside this context, `metrics.json` says so. Without a manifest the run is not finished."""
    if run.accelerator.is_main_process:
        # A run that goes on may get further than the one before.
        (run.folder / "metrics.json").unlink(missing_ok=True)
    try:
        yield
    except Diverged as error:
        if run.accelerator.is_main_process:
            health = describe_divergence(" ".join(error.problems))
            write_json(run.folder / "metrics.json", {"format": FORMAT, "health": health})
        raise


def fit(run: TrainingRun, splits: Splits) -> None:
    """Train. Where training diverges, add to the error what is wrong with the last rows."""
    try:
        run.fit()
    except Diverged as error:
        if not error.ids:
            raise
        raise error.with_diagnosis(diagnose_rows(run, splits, error.ids)) from error


def train_linear(config: Config, splits: Splits, folder: Path) -> RunFolder:
    """Fit, score and save the linear baseline."""
    for note in splits.notes:
        say(f"note: {note}")
    start, memory = time.perf_counter(), PeakMemory()
    model = Linear.fit(splits, config.seed)
    seconds = time.perf_counter() - start
    unseen = {"validation": splits.validation, **splits.hidden_splits()}
    scored = {name: model.predict_rows(rows) for name, rows in unseen.items()}
    metrics = {name: measure(predictions) for name, predictions in scored.items()}
    cost = {
        "train_seconds": round(seconds, 3),
        "examples_per_second": round(len(splits.train) / seconds, 3),
        **memory.cost(torch.device("cpu")),
        "passes_per_update": 1.0,
        **Parts().cost(),
    }
    details = {"candidates": {"last": metrics["validation"]}, "weights": "last", "cost": cost, "seams": {}}
    if is_first():
        if config.checkpoint.save_model:
            with atomic_write(folder / "model") as draft:
                model.save(draft)
        with Trackers(config, folder, say) as trackers:
            trackers.start()
            trackers.add_results(finish(folder, config, splits, scored, {**metrics, **details}))
    wait_for_all()
    return RunFolder(folder)


def _cost(run: TrainingRun, memory: PeakMemory) -> dict[str, Any]:
    """What training cost. Every process must call this: it adds up the rows that all of them passed."""
    rows = torch.tensor(run.rows_passed, device=run.accelerator.device)
    passed = float(run.accelerator.reduce(rows)) if run.accelerator.num_processes > 1 else run.rows_passed
    examples = max(1, sum(line.get("examples", 0) for line in run.history.read()))
    return {
        "train_seconds": round(run.seconds, 3),
        "examples_per_second": round(examples / max(run.seconds, 1e-9), 3),
        **memory.cost(run.accelerator.device),
        **_memory_of_training(run),
        "passes_per_update": round(passed / examples, 4),
        **run.graphs.cost(),
    }


def _memory_of_training(run: TrainingRun) -> dict[str, Any]:
    """How many parameters are trained, and the MB of 2**20 bytes that the optimizer holds for them."""
    state = [value for values in run.optimizer.state.values() for value in values.values()]
    optimizer_bytes = sum(each.nbytes for each in state if isinstance(each, torch.Tensor))
    trained = sum(each.numel() for each in run.parameters if each.requires_grad)
    return {"trained_parameters": trained, "optimizer_mb": round(optimizer_bytes / 2**20, 1)}


def _choose_weights(run: TrainingRun) -> tuple[Predictions, dict[str, Any], str]:
    """Compare the candidates on validation, and leave the model with the final weights.

    Returns:
        The final weights' predictions of the validation split, the scores of all candidates, and which one is final.
    """
    predictions = run.predict_validation()
    candidates: dict[str, Any] = {"last": measure(predictions)}
    if run.best is not None:
        candidates["best"] = {**run.best["metrics"], "update": run.best["update"]}
    # A trick that owns the final weights decides; otherwise `evaluate.weights` does.
    with run.seams.weights() as is_owned:
        if is_owned:
            predictions = run.predictions(run.validation)
            candidates["averaged"] = measure(predictions)
            return predictions, candidates, "averaged"
    if run.config.evaluate.weights == "last" or run.best is None:
        return predictions, candidates, "last"
    if run.best["update"] < run.batches_done:
        run.bare_model.load_state_dict(run.checkpoints.best())
        predictions = run.predictions(run.validation)
    return predictions, candidates, "best"


def _save_model(run: TrainingRun) -> None:
    """Write `model/` so that `transformers.pipeline` loads it."""
    with atomic_write(run.folder / "model") as draft:
        # Without adapters, so that plain transformers loads it.
        run.bare_model.save_pretrained(draft, state_dict=merged_weights(run.bare_model))  # type: ignore[operator]
        # pipeline() does not cut a text that is too long unless the tokenizer knows the length that was trained.
        run.tokenizer.model_max_length = run.max_length
        if backend := getattr(run.tokenizer, "backend_tokenizer", None):
            # The last call leaves its truncation and padding in the backend, and they would be saved.
            backend.no_truncation()
            backend.no_padding()
            # If there is no space for this file, this write says so; `save_pretrained` would raise a bare `Exception`.
            (draft / "tokenizer.json").write_text(backend.to_str(pretty=True), encoding="utf-8")
        run.tokenizer.save_pretrained(draft)
        names = {name for seam in seams.PREDICTING for name in seams.tricks_around(seam, run.tricks)}
        state.write_tricks(draft, {name: run.tricks[name] for name in sorted(names)})
