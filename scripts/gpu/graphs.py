"""CUDA graphs: replayed passes against eager ones, and the speed of both next to their peers.

Exactness is measured on the same padded parts, in fp32 and with dropout. Speed is measured in bf16, in turns within one
run of this section, over the second half of each training. So captures, warm-up and the first batches do not count.
"""

import gc
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW
from torch.utils.data import DataLoader
from transformers import (
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    get_linear_schedule_with_warmup,
)

from recipes import loop
from recipes.config import Config
from recipes.data.encoding import Encoded
from recipes.graphs.cuda import CudaRecorder
from recipes.graphs.frozen import FrozenRecorder
from recipes.graphs.mode import make_padded_parts
from recipes.graphs.parts import PaddedParts
from recipes.loop import TrainingRun
from scripts.bench.peer_batches import sort_in_pools
from scripts.bench.peer_transformers import make_arguments
from scripts.gpu import work
from scripts.gpu.work import table, verdict

TRICKS = ("", "mixup,swa", "r_drop", "fgm", "awp")
"""Tricks with which replayed and eager passes are compared."""
GRADIENT, LOSS = 1e-6, 1e-5
"""The largest allowed differences: of a gradient, relative to the largest one, and of a loss."""
EAGER, REPLAYED, HANDWRITTEN, TRAINER = "eager", "replayed", "hand-written", "Trainer, grouped"
WORKLOADS = (("MiniLM", "short", 3.0), ("BERT-base", "short", 3.0), ("BERT-base", "long", 2.0), ("MiniLM", "long", 2.0))
"""Shape, texts, and how many times as fast as Trainer replayed passes must be."""


def describe(seconds: float) -> Iterator[str]:
    """Compare results, then speeds.

    Args:
        seconds: after which no further comparison begins.
    """
    start = monotonic()
    yield from compare_results(lambda: monotonic() - start < 0.4 * seconds)
    yield from compare_speeds(lambda: monotonic() - start < 0.75 * seconds)


# Results.


def compare_results(has_time: Callable[[], bool]) -> Iterator[str]:
    """Gradients of single parts, losses over a short run, and its last weights."""
    rows, gradients, losses, identical = [], [], [], []
    for tricks in TRICKS:
        if rows and not has_time():
            break
        config = _config("MiniLM", "short", 50, tricks)
        gradients.append(compare_gradients(config))
        (expected, weights, _), (actual, others, parts) = (train(config, is_replayed) for is_replayed in (False, True))
        losses.append(float(np.abs(np.array(expected) - np.array(actual)).max()))
        identical.append(expected == actual and all(bool((weights[name] == others[name]).all()) for name in weights))
        replayed = f"{parts.replayed} of {parts.passed}"
        cells = [f"{gradients[-1]:.1e}", f"{losses[-1]:.1e}", "yes" if identical[-1] else "no", replayed]
        rows.append([tricks or "none", *cells, parts.recordings])
    updates = len(expected)
    yield f"Replayed passes against eager ones on the same padded parts: MiniLM, short texts, fp32, {updates} updates."
    yield from table(["tricks", "gradient", "loss", "bit-identical", "replayed", "recordings"], rows)
    yield verdict(max(gradients) <= GRADIENT, f"gradients differ by at most {max(gradients):.1e} of the largest one")
    yield verdict(max(losses) <= LOSS, f"losses over {updates} updates differ by at most {max(losses):.1e}")
    if work.DEVICE == "cuda" and max(gradients) <= GRADIENT and max(losses) <= LOSS:
        card, version = torch.cuda.get_device_name(), torch.__version__.split("+")[0]
        yield f"conf/checked_gpus.yaml may have: `- {{card: {card}, torch: {version}}}`"
    yield f"Bit-identical: {sum(identical)} of {len(identical)} runs. The mode is part of a run's identity either way."


def compare_gradients(config: Config) -> float:
    """The largest difference of a gradient between both modes, relative to the largest gradient of its batch."""
    run, ratios = work.make_run(config), []
    batches = [run.seams.batches(run.train, 0)[index].to(run.accelerator.device) for index in range(4)]
    gradients: dict[bool, list[list[Tensor]]] = {False: [], True: []}
    for is_replayed in gradients:
        run.graphs = make_parts(run, is_replayed)
        for batch in batches:
            run.seams.gradient(batch)
            gradients[is_replayed].append([each.grad.clone() for each in run.parameters if each.grad is not None])
            run.optimizer.optimizer.zero_grad()
        run.graphs.close()
    for expected, actual in zip(gradients[False], gradients[True], strict=True):
        pairs = list(zip(expected, actual, strict=True))
        largest = max(float(one.abs().max()) for one, _ in pairs)
        ratios.append(max(float((one - other).abs().max()) for one, other in pairs) / largest)
    return max(ratios)


def train(config: Config, is_replayed: bool) -> tuple[list[float], Mapping[str, Tensor], PaddedParts]:
    """The losses of a run, its last weights, and how its parts were run."""
    run = work.make_run(config)
    with running_parts(is_replayed), redirect_stdout(io.StringIO()):
        run.fit()
    assert isinstance(run.graphs, PaddedParts)
    losses = [line["loss"] for line in run.history.read() if "split" not in line]
    return losses, {name: values.clone() for name, values in run.bare_model.state_dict().items()}, run.graphs


def make_parts(run: TrainingRun, is_replayed: bool) -> PaddedParts:
    """Padded parts, replayed or not. On a CPU the stand-in takes the place of CUDA graphs."""
    recorder = (CudaRecorder if work.DEVICE == "cuda" else FrozenRecorder)(run.parameters)
    parts = make_padded_parts(run, run.cost_of_pass, recorder)
    return parts if is_replayed else PaddedParts(run, parts.plan, None)


@contextmanager
def running_parts(is_replayed: bool) -> Iterator[None]:
    """Inside this context runs pad their parts, and replay them or not."""
    set_up = loop.set_up_parts
    loop.set_up_parts = lambda run, cost_of_pass: make_parts(run, is_replayed)  # type: ignore[arg-type]
    try:
        yield
    finally:
        loop.set_up_parts = set_up


# Speeds.


@dataclass
class Timing:
    """What a training took."""

    milliseconds: float
    """Of an update."""
    megabytes: float
    """The peak of its memory."""
    recordings: int = 0


class Stopwatch:
    """Times the second half of a training.

    Args:
        updates: of the whole training.
    """

    def __init__(self, updates: int) -> None:
        self.updates, self.count, self.start, self.milliseconds = updates, 0, 0.0, 0.0
        if work.DEVICE == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def tick(self) -> None:
        """Count an update."""
        self.count += 1
        if self.count == self.updates // 2:
            work.wait()
            self.start = perf_counter()
        if self.count == self.updates:
            work.wait()
            self.milliseconds = 1000 * (perf_counter() - self.start) / (self.updates - self.updates // 2)

    def read(self, recordings: int = 0) -> Timing:
        """What was measured."""
        peak = torch.cuda.max_memory_allocated() / 2**20 if work.DEVICE == "cuda" else 0.0
        return Timing(self.milliseconds, peak, recordings)


def compare_speeds(has_time: Callable[[], bool]) -> Iterator[str]:
    """Milliseconds of an update: ours in both modes, a loop written by hand, and the Trainer of transformers."""
    contestants: dict[str, Callable[[Config], Timing]] = {
        EAGER: train_eager,
        REPLAYED: train_replayed,
        HANDWRITTEN: train_by_hand,
        TRAINER: train_with_transformers,
    }
    rows, results = [], []
    for shape, kind, goal in WORKLOADS:
        if rows and not has_time():
            break
        config = _config(shape, kind, 100, "amp")
        # The first call of a shape chooses and loads its kernels. In a second round that is done for all contestants.
        for _ in range(2):
            times = {name: measure_alone(contestant, config) for name, contestant in contestants.items()}
        ratio = times[TRAINER].milliseconds / times[REPLAYED].milliseconds
        work_name, replayed = f"{shape}, {kind} texts", times[REPLAYED]
        cells = [f"{times[name].milliseconds:.1f}" for name in contestants]
        memory = [f"{times[name].megabytes:,.0f}" for name in (EAGER, REPLAYED)]
        rows.append([work_name, *cells, f"{ratio:.1f}", replayed.recordings, *memory])
        reached = "reached" if ratio >= goal else "missed"
        results.append(f"- goal {reached}: {work_name}, {ratio:.1f} times as fast as the Trainer; the goal is {goal:g}")
    yield ""
    yield "Milliseconds of an update in batches of 32, bf16, and MB of memory at the peak:"
    ours = ["Trainer / replayed", "recordings", f"MB {EAGER}", f"MB {REPLAYED}"]
    yield from table(["", *contestants, *ours], rows)
    yield from results


def measure_alone(contestant: Callable[[Config], Timing], config: Config) -> Timing:
    """Measure a contestant after the memory of earlier runs is free."""
    gc.collect()
    return contestant(config)


def train_eager(config: Config) -> Timing:
    """Our loop without padding to planned shapes."""
    run = work.make_run(config)
    return _time_run(run)


def train_replayed(config: Config) -> Timing:
    """Our loop with replayed parts."""
    run = work.make_run(config)
    with running_parts(True):
        return _time_run(run)


def _time_run(run: TrainingRun) -> Timing:
    watch, step = Stopwatch(run.total_updates), run._step

    def step_and_tick(batch: Any) -> None:
        step(batch)
        watch.tick()

    run._step = step_and_tick  # type: ignore[method-assign]
    with redirect_stdout(io.StringIO()):
        run.fit()
    return watch.read(run.graphs.cost().get("recordings", 0))


def train_by_hand(config: Config) -> Timing:
    """The loop that everybody writes: batches of similar length, autocast, fused AdamW, clipping."""
    run = work.make_run(config)
    model, train = run.bare_model, run.config.train
    optimizer = AdamW(model.parameters(), lr=train.learning_rate, weight_decay=train.weight_decay, fused=True)
    schedule = get_linear_schedule_with_warmup(optimizer, int(train.warmup * run.total_updates), run.total_updates)
    plan = sort_in_pools(run.train.lengths, train.batch_size, np.random.default_rng(0))[: run.total_updates]
    batches: DataLoader[dict[str, Tensor]] = DataLoader(
        list_rows(run.train),  # type: ignore[arg-type]
        batch_sampler=[rows.tolist() for rows in plan],
        collate_fn=DataCollatorWithPadding(run.tokenizer),
        pin_memory=work.DEVICE == "cuda",
    )
    watch = Stopwatch(len(plan))
    for batch in batches:
        inputs = {name: values.to(work.DEVICE, non_blocking=True) for name, values in batch.items()}
        with torch.autocast(work.DEVICE, torch.bfloat16):
            loss = model(**inputs).loss
        loss.backward()
        clip_grad_norm_(model.parameters(), train.clip_norm or float("inf"))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        watch.tick()
    return watch.read()


class Ticker(TrainerCallback):
    """Tells a stopwatch of every update.

    Args:
        watch: the stopwatch.
    """

    def __init__(self, watch: Stopwatch) -> None:
        self.watch = watch

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Count an update."""
        self.watch.tick()


def train_with_transformers(config: Config) -> Timing:
    """The Trainer of transformers, in batches of similar length."""
    run = work.make_run(config)
    train, watch = run.config.train, Stopwatch(run.total_updates)
    folder = Path(tempfile.mkdtemp(dir=run.folder))
    use_cpu = work.DEVICE != "cuda"
    arguments = make_arguments(train, run.total_updates, folder, "group_by_length", use_cpu=use_cpu, bf16=True)
    model: nn.Module = run.bare_model
    collate, rows = DataCollatorWithPadding(run.tokenizer), list_rows(run.train)
    peer = Trainer(model, arguments, data_collator=collate, train_dataset=rows, callbacks=[Ticker(watch)])  # type: ignore[arg-type]
    with redirect_stdout(io.StringIO()):
        peer.train()
    return watch.read()


def list_rows(train: Encoded) -> list[dict[str, Any]]:
    """Rows as lists of different length."""
    bounds = zip(train.offsets[:-1], train.offsets[1:], train.labels, strict=True)
    return [
        {**{name: flat[begin:end].tolist() for name, flat in train.columns.items()}, "labels": int(label)}
        for begin, end, label in bounds
    ]


def _config(shape: str, kind: str, updates: int, tricks: str) -> Config:
    """The config of a run of this many updates; of few ones on a CPU."""
    updates = updates if work.DEVICE == "cuda" else min(updates, 8)
    selected = [f"+tricks=[{tricks}]"] if tricks else []
    precision = ["tricks.amp.precision=bf16"] if tricks == "amp" else []
    rows = 3200 if work.DEVICE == "cuda" else 64
    return work.make_config(shape, kind, *selected, *precision, f"train.max_updates={updates}", rows=rows)
