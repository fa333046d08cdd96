"""Laws on the GPU: skipping, resuming, order, and padding.

Every trick is tested against these laws on a CPU. Here a few combinations are tested where kernels, draws and the count
of steps differ.
"""

import io
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from time import monotonic

import torch
from torch import Tensor
from torch.nn import functional

from recipes.config import Config
from recipes.data.batch import Batch, Loss
from recipes.loop import TrainingRun
from recipes.testing import NO_DROPOUT, float64, kill_after, temporary_root, tiny_config, tiny_run
from scripts.gpu import work
from scripts.gpu.work import table, verdict

COMBINATIONS = (
    ("amp", "mixup", "swa"),
    ("ema", "fgm", "amp"),
    ("pgd", "r_drop"),
    ("soup", "awp", "amp"),
    ("amp", "mixup", "focal"),
)
SKIPPED, DIES_AT = (3, 9, 10), 12
Weights = dict[str, Tensor]


def describe(seconds: float) -> Iterator[str]:
    """Train tiny runs, each in several circumstances.

    Args:
        seconds: after which no further combination begins.
    """
    start, rows, differing = monotonic(), [], []
    killed = kill_runs()
    for tricks, folder in zip(COMBINATIONS, killed, strict=True):
        if monotonic() - start > 0.8 * seconds:
            break
        results = compare(tricks, folder)
        rows.append([" + ".join(tricks), *(f"{value:g}" for value in results.values())])
        differing += [f"{' + '.join(tricks)}, {name}" for name, value in results.items() if value]
    names = ["the host waits", "killed and resumed", "reversed order"]
    yield "The largest difference of a weight from the same run in other circumstances, with three skipped updates:"
    yield from table(["tricks", *names], rows)
    yield verdict(bool(rows) and not differing, f"runs that differ: {'; '.join(differing) or 'none'}")
    distance, largest = compare_padding()
    yield verdict(
        distance <= 1e-10 * largest,
        "float64, no dropout: 5 columns of padding and 3 rows of weight 0 change a gradient by at most "
        f"{distance:.1e}; the largest is {largest:.1e}",
    )


def kill_runs() -> list[Path]:
    """The folders of runs that were killed, one for each combination.

    Raises:
        AssertionError: a run ended in another way.
    """
    # A process that has used the GPU cannot fork one that uses it. New ones start slowly, so all start at once.
    context, folders = multiprocessing.get_context("spawn"), [_folder() for _ in COMBINATIONS]
    processes = [
        context.Process(target=train_until_killed, args=(tricks, folder, work.DEVICE))
        for tricks, folder in zip(COMBINATIONS, folders, strict=True)
    ]
    for process in processes:
        process.start()
    for tricks, process in zip(COMBINATIONS, processes, strict=True):
        process.join()
        assert process.exitcode == -signal.SIGKILL, f"{' + '.join(tricks)}: the run was not killed"
    return folders


def train_until_killed(tricks: Sequence[str], folder: Path, device: str) -> None:
    """Train a run in a process of its own, which is killed on the way."""
    work.DEVICE = device
    train(_config(tricks), folder, dies_at=DIES_AT)


def compare(tricks: Sequence[str], killed: Path) -> dict[str, float]:
    """The largest difference of a weight between a run and the same run in other circumstances."""
    config, reversed_config = (_config(names) for names in (tricks, tricks[::-1]))
    expected = train(config, _folder())
    others = {
        "the host waits": train(config, _folder(), waits=True),
        "killed and resumed": train(config, killed),
        "reversed order": train(reversed_config, _folder()),
    }
    return {
        name: max(float((weights[key] - expected[key]).abs().max()) for key in expected)
        for name, weights in others.items()
    }


def train(config: Config, folder: Path, waits: bool = False, dies_at: int = 0) -> Weights:
    """Train a tiny run with some infinite gradients, and return the weights that it would save.

    Args:
        config: of the run.
        folder: of the run; it is resumed if there is a checkpoint.
        waits: whether the host waits for every step.
        dies_at: the update after which the process is killed; 0: none.
    """
    with redirect_stdout(io.StringIO()):
        run = tiny_run(config, folder, folder)
        run.steps.waits |= waits
        run.seams.gradient = _with_inf(run, run.seams.gradient)  # type: ignore[method-assign]
        if dies_at:
            kill_after(dies_at)
        run.fit()
    with run.seams.weights():
        return {name: values.detach().double().cpu() for name, values in run.bare_model.state_dict().items()}


def _with_inf(run: TrainingRun, gradient: Callable[[Batch], Loss]) -> Callable[[Batch], Loss]:
    def gradient_with_inf(batch: Batch) -> Loss:
        loss = gradient(batch)
        if run.batches_done + 1 in SKIPPED:
            run.head.weight.grad.fill_(torch.inf)  # type: ignore[union-attr]
        return loss

    return gradient_with_inf


def compare_padding() -> tuple[float, float]:
    """The largest difference between two gradients of a batch, one with more padding; and the largest gradient."""
    with float64(), redirect_stdout(io.StringIO()):
        run = tiny_run(tiny_config(f"train.device={work.DEVICE}", *NO_DROPOUT), _folder())
        batch = run.seams.batches(run.train, 0)[0].to(run.accelerator.device)
        gradients = []
        for each in (batch, add_padding(batch, 3, 5)):
            run.seams.gradient(each)
            gradients.append([weight.grad.clone() for weight in run.parameters if weight.grad is not None])
            run.optimizer.optimizer.zero_grad()
    pairs = list(zip(*gradients, strict=True))
    distance = max(float((one - other).abs().max()) for one, other in pairs)
    return distance, max(float(one.abs().max()) for one, _ in pairs)


def add_padding(batch: Batch, rows: int, columns: int) -> Batch:
    """The same batch with more columns of padding, and copies of its first row that have weight 0."""
    first = [0] * rows
    inputs = {name: functional.pad(values, (0, columns)) for name, values in batch.inputs.items()}
    return replace(
        batch,
        ids=[*batch.ids, *(batch.ids[row] for row in first)],
        inputs={name: torch.cat([values, values[first]]) for name, values in inputs.items()},
        lengths=torch.cat([batch.lengths, batch.lengths[first]]),
        targets=torch.cat([batch.targets, batch.targets[first]]),
        weights=torch.cat([batch.weights, torch.zeros_like(batch.weights[first])]),
        has_fixed_width=True,
    )


def _config(tricks: Sequence[str]) -> Config:
    settings = {"swa": "tricks.swa.start=0.3", "soup": "tricks.soup.start=0.2"}
    overrides = [settings[name] for name in tricks if name in settings]
    # On a CPU auto would measure the machine.
    precision = ["tricks.amp.precision=bf16"] if "amp" in tricks else []
    device = f"train.device={work.DEVICE}"
    return tiny_config(f"+tricks=[{','.join(tricks)}]", *overrides, *precision, device, "checkpoint.every=0.5")


def _folder() -> Path:
    return Path(mkdtemp(dir=temporary_root()))
