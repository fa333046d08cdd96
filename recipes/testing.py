"""The laws that every trick keeps, ready to be inherited.

    from recipes.testing import TrickLaws

    class TestMine(TrickLaws):
        trick = "mine"
        overrides = ("hydra.searchpath=[path/to/conf]",)

Each law trains a tiny model on made-up text in a forked child of the test process (0.2 s where a fresh one costs 7),
so nothing leaks from one to the next. Set `torch.set_num_threads(1)` before anything is computed: a child of a process
that has used several threads hangs.
"""

import json
import os
import pickle
import random
import shutil
import signal
import socket
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from accelerate.state import AcceleratorState, GradientState

from recipes import base, order
from recipes.api import finetune_config
from recipes.batch import Batch
from recipes.config import Config, compose_config, mistakes, read
from recipes.data import read as read_data
from recipes.errors import UserError
from recipes.folder import FinishedRun
from recipes.loop import Run
from recipes.tricks import build

Result = TypeVar("Result")

UPDATES = 20
ROWS, BATCH_SIZE = 44, 8
TINY = (
    "data=files", "model=tiny", f"train.batch_size={BATCH_SIZE}", f"train.max_updates={UPDATES}", "train.device=cpu",
    "evaluate.every=1.5", "checkpoint.every=0.7",
)  # fmt: skip
NO_DROPOUT = ("model.dropout=0.0",)


# A tiny run, and a child process to make it in.


def in_child(work: Callable[[], Result]) -> Result:
    """Run a function in a forked child and give back what it returns; what it raises is raised here."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "wb") as answer:
            try:
                pickle.dump((True, work()), answer)
            except BaseException:
                pickle.dump((False, traceback.format_exc()), answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        told = answer.read()
    _, status = os.waitpid(child, 0)
    if not told:
        raise ChildProcessError(f"the child ended with status {status} and no answer")
    fine, result = pickle.loads(told)
    if not fine:
        raise AssertionError(f"in the child:\n{result}")
    return result  # type: ignore[no-any-return]


def forget_accelerator() -> None:
    """Accelerate's state is global: a second run of a process starts from none."""
    AcceleratorState._reset_state(True)
    GradientState._reset_state()


def made_up_text(folder: Path, seed: int = 0, longest: int = 12) -> Path:
    """Write a small labelled CSV: three classes that differ in their words and a little in length."""
    chance = random.Random(seed)
    lines = ["text,label"]
    for row in range(ROWS):
        label = row % 3
        words = [f"{'abc'[label]}{chance.randrange(9)}" if chance.random() < 0.6 else f"w{chance.randrange(20)}"
                 for _ in range(chance.randrange(2, longest + label))]  # fmt: skip
        lines.append(f"{' '.join(words)},{'xyz'[label]}")
    path = folder / f"text{longest}.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def tiny_config(folder: Path, *overrides: str, longest: int = 12) -> Config:
    """The config of a tiny run on made-up text."""
    source = made_up_text(folder, longest=longest)
    files = [f"data.{split}={source}" for split in ("train", "validation", "test")]
    return read(compose_config([*TINY, *files, *overrides])[0])


def tiny_run(folder: Path, *overrides: str, longest: int = 12) -> Run:
    """A run that is set up and not yet trained."""
    forget_accelerator()
    config = tiny_config(folder, *overrides, longest=longest)
    place = Path(tempfile.mkdtemp(dir=folder))
    return Run(config, build(config.tricks), read_data(config.data, {}, False), place)


def trained(folder: Path, *overrides: str, longest: int = 12) -> dict[str, Any]:
    """Train a tiny run to its end: weights as they are evaluated, and the losses."""
    run = tiny_run(folder, *overrides, longest=longest)
    run.fit()
    with run.seams.weights():
        weights = copied(run)
    return {"weights": weights, "losses": [line["loss"] for line in run.history.read() if "loss" in line
                                           and "split" not in line]}  # fmt: skip


def copied(run: Run) -> dict[str, np.ndarray]:
    """The model's weights, apart from it."""
    return {name: tensor.detach().numpy().copy() for name, tensor in run.bare_model.state_dict().items()}


def gradients(run: Run, batch: Batch) -> dict[str, np.ndarray]:
    """The gradient that the run makes of a batch."""
    run.optimizer.zero_grad()
    run.seams.gradient(batch)
    found = {name: each.grad.numpy().copy() for name, each in run.bare_model.named_parameters() if each.grad is not None}
    run.optimizer.zero_grad()
    return found


def difference(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    """The largest distance between two sets of arrays by name."""
    assert one.keys() == other.keys(), one.keys() ^ other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


@contextmanager
def float64() -> Iterator[None]:
    """Inside this context models are made and trained in 64 bits."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="trickbook-law-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def on_ranks(count: int, work: Callable[[], Result]) -> Result:
    """Run a function on several gloo processes at once; gives what the first one returns."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def rank(number: int) -> Result:
        os.environ |= {
            "RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        }  # fmt: skip
        return work()

    others = []
    for number in range(1, count):
        child = os.fork()
        if child == 0:
            try:
                rank(number)
            finally:
                os._exit(0)
        others.append(child)
    try:
        return in_child(lambda: rank(0))
    finally:
        for child in others:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


class TrickLaws:
    """Laws 2 to 8 for one trick; law 1 is about the loop alone."""

    trick: ClassVar[str]
    """The trick's name: that of its YAML file."""
    overrides: ClassVar[Sequence[str]] = ()
    """What composing needs beside, such as the search path of a config of one's own."""
    tolerance: ClassVar[float] = 0.0
    """How far neutral values may be from the base, where arithmetic does not allow 0; 1e-6 at most."""

    def on(self, *more: str) -> list[str]:
        """The overrides that select this trick, and others."""
        return [*self.overrides, f"+tricks=[{','.join((self.trick, *more))}]"]

    def declared(self) -> Any:
        """The trick, with the values of its YAML file."""
        with scratch() as folder:
            return build(tiny_config(folder, *self.on()).tricks)[self.trick]

    def test_neutral_is_off(self) -> None:
        """Law 2: at its neutral values a trick changes nothing."""
        neutral = self.declared().neutral
        if isinstance(neutral, str):
            assert len(neutral.split()) > 3, f"{self.trick} has no neutral values and does not say why: {neutral!r}"
            return
        # A name with a dot is a setting of the base, such as model.dropout, that the neutral values need.
        base = [f"{name}={value}" for name, value in neutral.items() if "." in name]
        values = [f"tricks.{self.trick}.{name}={value}" for name, value in neutral.items() if "." not in name]
        with scratch() as folder:
            off = in_child(lambda: trained(folder, *self.overrides, *base))
            on = in_child(lambda: trained(folder, *self.on(), *base, *values))
        assert difference(off["weights"], on["weights"]) <= self.tolerance <= 1e-6
        assert np.abs(np.array(off["losses"]) - np.array(on["losses"])).max() <= self.tolerance

    def test_trick_acts(self) -> None:
        """At the values of its YAML file, or some the test names, a trick is reached at all: its seams are called."""
        def calls() -> set[str]:
            with scratch() as folder:
                reached = set()
                run_class = type(self.declared())
                for seam in run_class.layers:
                    setattr(run_class, seam, _counted(getattr(run_class, seam), seam, reached))
                config = tiny_config(folder, *self.on())
                finetune_config(config, folder / "run")
                return reached

        assert in_child(calls) == set(self.declared().layers)

    def test_order_is_free(self) -> None:
        """Law 3: the order of `+tricks=[...]` changes nothing."""
        others = [name for name in compatible(self.trick, self.overrides)][:3]
        with scratch() as folder:
            names = [self.trick, *others]
            runs = []
            for arrangement in (names, names[::-1], names[1:] + names[:1]):
                selected = [*self.overrides, f"+tricks=[{','.join(arrangement)}]"]
                runs.append(in_child(lambda selected=selected: trained(folder, *selected)))  # type: ignore[misc]
        for other in runs[1:]:
            assert difference(runs[0]["weights"], other["weights"]) == 0
            assert runs[0]["losses"] == other["losses"]

    def test_splitting_is_invisible(self) -> None:
        """Law 4: parts of any sizes and several processes make the same run as one whole batch."""
        owner = self.declared().layers.get("gradient") == "split"

        def run(*overrides: str, cost_of_pass: float) -> dict[str, Any]:
            with scratch() as folder, float64():
                base.COST_OF_PASS["cpu"] = cost_of_pass  # type: ignore[assignment]
                return trained(folder, *overrides, *NO_DROPOUT, longest=30)

        whole = in_child(lambda: run(*(self.overrides if owner else self.on()), cost_of_pass=1e9))
        runs = {"by length": in_child(lambda: run(*self.on(), cost_of_pass=0))}
        runs["two processes"] = on_ranks(2, lambda: run(*self.on(), cost_of_pass=1e9))
        for size in (1, 3):
            parts = f"tricks.accumulate.part_size={size}"
            selected = [*self.overrides, f"+tricks=[{','.join(sorted({self.trick, 'accumulate'}))}]", parts]
            if not owner or self.trick == "accumulate":
                runs[f"parts of {size}"] = in_child(lambda selected=selected: run(*selected, cost_of_pass=1e9))  # type: ignore[misc]
        for how, other in runs.items():
            assert difference(whole["weights"], other["weights"]) < 1e-10, how
            assert np.abs(np.array(whole["losses"]) - np.array(other["losses"])).max() < 1e-10, how

    def test_splitting_is_invisible_in_32_bits(self) -> None:
        """Law 4, in the precision that people train in: the loss of the first update."""

        def loss(cost_of_pass: float) -> float:
            with scratch() as folder:
                base.COST_OF_PASS["cpu"] = cost_of_pass  # type: ignore[assignment]
                run = tiny_run(folder, *self.on(), *NO_DROPOUT, longest=30)
                return float(run.seams.gradient(run.seams.batches(run.train, 0)[0]).composed)

        assert abs(in_child(lambda: loss(1e9)) - in_child(lambda: loss(0))) < 1e-6

    def test_stopping_is_invisible(self) -> None:
        """Law 5: killed anywhere and started again, a run ends the same to the bit."""
        with scratch() as folder:
            config = tiny_config(folder, *self.on())

            def to_the_end() -> None:
                finetune_config(config, folder / "whole")

            def killed(updates: int) -> None:
                step = Run._step

                def fatal(run: Run, batch: Batch) -> None:
                    step(run, batch)
                    if run.done == updates:
                        run.report.flush()
                        os.kill(os.getpid(), signal.SIGKILL)

                Run._step = fatal  # type: ignore[method-assign]
                finetune_config(config, folder / "killed")

            in_child(to_the_end)
            for updates in (2, 9, 13, UPDATES):
                try:
                    in_child(lambda updates=updates: killed(updates))  # type: ignore[misc]
                except ChildProcessError:
                    continue
                raise AssertionError(f"the run was not killed at update {updates}")
            in_child(lambda: finetune_config(config, folder / "killed") and None)
            assert comparable(folder / "whole") == comparable(folder / "killed")

    def test_isolation(self) -> None:
        """Law 6: a trick moves no batch, no new head and no other trick's draws, unless it is about them."""
        layers = set(self.declared().layers)

        def seen(*overrides: str) -> dict[str, Any]:
            with scratch() as folder:
                run = tiny_run(folder, *overrides)
                dealt = [(batch.ids, batch.inputs["input_ids"].tolist()) for epoch in range(2)
                         for batch in run.seams.batches(run.train, epoch)]  # fmt: skip
                weights = copied(run)
                draws: list[tuple[str, float]] = []
                inner = run.generator

                def logged(purpose: str, batch: Batch) -> np.random.Generator:
                    place = f"{purpose}/{batch.epoch}/{batch.index}/{batch.part}"
                    draws.append((place, float(inner(purpose, batch).random())))
                    return inner(purpose, batch)

                run.generator = logged  # type: ignore[method-assign]
                run.seams.gradient(run.seams.batches(run.train, 0)[0])
                return {"batches": dealt, "weights": weights, "draws": dict(draws)}

        base_run = in_child(lambda: seen(*self.overrides))
        with_it = in_child(lambda: seen(*self.on()))
        if not layers & {"clean", "examples", "encode", "batches"}:
            assert base_run["batches"] == with_it["batches"]
        if "model" not in layers:
            assert difference(base_run["weights"], with_it["weights"]) == 0
        for other in compatible(self.trick, self.overrides):
            alone = in_child(lambda other=other: seen(*self.overrides, f"+tricks=[{other}]"))["draws"]  # type: ignore[misc]
            both = in_child(lambda other=other: seen(*self.on(other)))["draws"]  # type: ignore[misc]
            own = {place: value for place, value in alone.items() if place in both}
            assert own == {place: both[place] for place in own}
            assert {place.split("/")[0] for place in alone} <= {place.split("/")[0] for place in both}

    def test_restore(self) -> None:
        """Law 7: after an exception inside any seam, weights, hooks and modes are as before."""
        for seam in ("loss", "objective", "gradient", "predict", "decide", "update"):
            in_child(lambda seam=seam: self._raise_inside(seam))  # type: ignore[misc]

    def _raise_inside(self, seam: str) -> None:
        broken = False
        inner = getattr(base.Base, seam)

        def breaking(*arguments: Any, **options: Any) -> Any:
            if broken:
                raise ZeroDivisionError(seam)
            return inner(*arguments, **options)

        setattr(base.Base, seam, breaking)
        with scratch() as folder:
            run = tiny_run(folder, *self.on())
            run.updates = int(0.8 * UPDATES)  # far enough for what starts late
            batches = run.seams.batches(run.train, 0)
            for index in range(2):
                run._step(batches[index])
            before = _condition(run)
            broken = True
            try:
                if seam in ("predict", "decide"):
                    run._evaluate()
                else:
                    run._step(batches[2])
            except ZeroDivisionError:
                pass
            else:
                raise AssertionError(f"nothing was raised inside {seam}")
            after = _condition(run)
            assert difference(before["weights"], after["weights"]) == 0, seam
            assert before["hooks"] == after["hooks"], seam
            assert before["modes"] == after["modes"], seam

    def test_pairs(self) -> None:
        """Law 8: with every other trick it runs an update, or the two are refused with the remedy."""

        def meet(other: str) -> str:
            with scratch() as folder:
                try:
                    run = tiny_run(folder, *self.on(other))
                except UserError as error:
                    return str(error)
                run._step(run.seams.batches(run.train, 0)[0])
                return "" if run.updates == 1 else "no update"

        for other in names():
            if other != self.trick:
                told = in_child(lambda other=other: meet(other))  # type: ignore[misc]
                if told:
                    assert self.trick in told and other in told and "keep one" in told, told


def names() -> list[str]:
    """Every trick of `conf/tricks`."""
    from recipes.config import CONF

    return sorted(path.stem for path in (CONF / "tricks").glob("*.yaml"))


def compatible(trick: str, overrides: Sequence[str] = ()) -> list[str]:
    """The tricks that can be on together with one."""
    found = []
    with scratch() as folder:
        for other in names():
            if other != trick:
                values = tiny_config(folder, *overrides, f"+tricks=[{trick},{other}]").tricks
                kinds = {name: build({name: settings})[name] for name, settings in values.items()}
                if not order.refusals(kinds):
                    found.append(other)
    return found


def comparable(folder: Path) -> dict[str, Any]:
    """All of a finished run that a clock does not change: history, metrics, predictions, weights."""
    run = FinishedRun(folder)
    metrics = {name: value for name, value in run.metrics.items() if name != "cost"}
    metrics["passes"] = run.metrics["cost"]["passes_per_update"]
    history = [{name: value for name, value in line.items() if name != "seconds"} for line in run.history]
    files = {path.name: path.read_bytes() for path in sorted((folder / "predictions").iterdir())}
    files["weights"] = (folder / "model" / "model.safetensors").read_bytes()
    return {"history": json.dumps(history), "metrics": json.dumps(metrics), "files": files}


def _condition(run: Run) -> dict[str, Any]:
    modules = list(run.bare_model.modules())
    return {
        "weights": copied(run),
        "hooks": sum(len(each._forward_hooks) + len(each._forward_pre_hooks) + len(each._backward_hooks)
                     for each in modules),
        "modes": [each.training for each in modules],
    }  # fmt: skip


def _counted(method: Callable[..., Any], seam: str, reached: set[str]) -> Callable[..., Any]:
    def wrapper(*arguments: Any, **options: Any) -> Any:
        reached.add(seam)
        return method(*arguments, **options)

    return wrapper
