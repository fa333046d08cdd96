"""The laws that every trick keeps, ready to be inherited.

from recipes.testing import TrickLaws

    class TestMine(TrickLaws):
        trick = "mine"
        overrides = ("hydra.searchpath=[path/to/conf]",)

Each law trains a tiny model on made-up text in a forked child of the test process (0.2 s where a fresh one costs 7).
What must be as in a fresh process has a child of its own; the other laws of a trick share one. `warm_up` finishes one
run in the test process itself, before the first child. Set `torch.set_num_threads(1)` before anything is computed: a
child of a process that has used several threads hangs.
"""

import atexit
import copy
import gc
import io
import json
import multiprocessing
import os
import pickle
import random
import re
import shutil
import signal
import socket
import tempfile
import traceback
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import torch
from accelerate.state import AcceleratorState, PartialState
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recipes import base, seams
from recipes.api import FinishedRun, finetune_config
from recipes.compose.arguments import prepare_overrides
from recipes.compose.loader import read_sets
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.compose.remedies import available_tricks
from recipes.compose.requirements import unmet
from recipes.compose.tricks import build
from recipes.compose.trust import find_targets, trusting
from recipes.config import CONF, Config, as_values
from recipes.data.batch import Batch
from recipes.data.cache import cache_folder
from recipes.data.splits import Splits, read_splits
from recipes.doctor.runner import check_at_start
from recipes.errors import UserError
from recipes.graphs.frozen import FrozenRecorder
from recipes.graphs.parts import PaddedParts
from recipes.graphs.shapes import Plan
from recipes.loop import TrainingRun
from recipes.ranges import as_yaml
from recipes.runs.folder import RunFolder
from recipes.runtime.randomness import key
from recipes.trick import INSIDE_A_PASS, Trick

Result = TypeVar("Result")

UPDATES = 20
ROWS, BATCH_SIZE = 44, 8
PADDED_WIDTH = 16
"""Tokens to a multiple of which the laws about replays pad: texts of `make_text_file` then have one or two widths."""
LONGER_THAN_THE_MODEL = 600
"""Words of a text; model=tiny has 512 positions."""
TINY = (
    "data=files",
    "model=tiny",
    f"train.batch_size={BATCH_SIZE}",
    f"train.max_updates={UPDATES}",
    "train.device=cpu",
    "evaluate.every=1.5",
    "checkpoint.every=0.7",
    "checkpoint.min_seconds=0",
    "tracker=none",
    "doctor=off",
)
NO_DROPOUT = ("model.dropout=0.0",)
UNSAVED = ("checkpoint.min_seconds=3600",)
"""A run without checkpoints, for laws that are not about stopping."""
SHORT = ("train.max_updates=4", *UNSAVED)
"""A run that is evaluated once, at its end, for laws that are not about when something happens."""
TWO_UPDATES = ("train.max_updates=2", *UNSAVED)
"""The shortest run in which an update meets what another one has left."""
TWO_EPOCHS = ("train.max_updates=7", "evaluate.every=1", *UNSAVED)
"""A run that ends in its second epoch and is evaluated twice."""
KILLS = (2, 9, 13, UPDATES)
"""Updates after which a run is killed: before, at and after an evaluation, and at its end."""
FREE_OF_ORDER: set[tuple[frozenset[str], tuple[str, ...]]] = set()


# Tiny runs, and child processes to make them in.


@cache
def temporary_root() -> Path:
    """The folder for all files of tests. This process removes it at its end; forked children remove nothing."""
    folder = Path(tempfile.mkdtemp(prefix="trickbook-laws-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def in_child(work: Callable[[], Result]) -> Result:
    """Run a function in a forked child process, and return its result or raise its error here."""
    warm_up()
    return fork(work)


@cache
def warm_up() -> Path:
    """Finish a tiny run in this process, so that no child imports or compiles the same again.

    Returns:
        The run folder.
    """
    folder = _new_run_folder()
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        finetune_config(tiny_config("train.max_updates=2", longest=9), folder)
    list(available_tricks())  # reads their files once
    for longest in (12, 30):
        tiny_splits(tiny_config(longest=longest))
    # The children may be one of several processes.
    AcceleratorState._reset_state(reset_partial_state=True)
    return folder


# What tricks and their parts import late.
LATE_PACKAGES = ("cleanlab.filter", "datasketch", "peft")


@cache
def import_late_packages() -> None:
    """Import what tricks import late, where it is installed: each child that makes them all would need a second."""
    for name in LATE_PACKAGES:
        with suppress(ImportError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import_module(name)


def fork(work: Callable[[], Result]) -> Result:
    """Run a function in a child of this process as it is now."""
    child = Child(work)
    try:
        return child.run()  # type: ignore[no-any-return]
    finally:
        child.close()


class Child:
    """A forked child of this process as it is now, which calls a function until it is closed.

    Args:
        work: the function. It needs no pickling; its arguments and results do.
    """

    def __init__(self, work: Callable[..., Any]) -> None:
        temporary_root()
        self.connection, theirs = multiprocessing.Pipe()
        self.process = os.fork()
        if self.process == 0:
            gc.freeze()  # otherwise each collection would touch, and so copy, every page that both processes use
            self.connection.close()
            COMMON.clear()  # that child belongs to the parent process
            _answer_calls(theirs, work)
            os._exit(0)
        theirs.close()

    def run(self, *arguments: Any) -> Any:
        """Call the function.

        Raises:
            AssertionError: it raised an error, whose traceback is in the message.
            ChildProcessError: the child has ended.
        """
        try:
            self.connection.send(arguments)
            has_returned, result = self.connection.recv()
        except (EOFError, ConnectionError):
            _, status = os.waitpid(self.process, 0)
            self.process = 0
            raise ChildProcessError(f"the child ended with status {status} and no answer") from None
        if not has_returned:
            raise AssertionError(f"in the child:\n{result}")
        return result

    def close(self) -> None:
        """End the child."""
        self.connection.close()
        if self.process:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
            self.process = 0


def _answer_calls(connection: Connection, work: Callable[..., Any]) -> None:
    """In the child: call the function, until the parent process closes the connection."""
    while True:
        try:
            arguments = connection.recv()
        except EOFError:
            return
        try:
            answer = (True, work(*arguments))
        except BaseException:
            answer = (False, traceback.format_exc())
        try:
            connection.send(answer)
        except (pickle.PicklingError, AttributeError, TypeError):
            connection.send((False, traceback.format_exc()))


@cache
def make_text_file(longest: int, seed: int = 0) -> Path:
    """A small labelled CSV: three classes that differ in their words and a little in length."""
    chance = random.Random(seed)
    lines = ["text,label"]
    for row in range(ROWS):
        label = row % 3
        words = [
            f"{'abc'[label]}{chance.randrange(9)}" if chance.random() < 0.6 else f"w{chance.randrange(20)}"
            for _ in range(chance.randrange(2, longest + label))
        ]
        lines.append(f"{' '.join(words)},{'xyz'[label]}")
    path = Path(tempfile.mkdtemp(dir=temporary_root())) / "text.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@cache
def tiny_config(*overrides: str, longest: int = 12) -> Config:
    """The config of a tiny run on generated texts of at most `longest` words."""
    return read(compose_again(_on_texts(overrides, longest)))


def _on_texts(overrides: Iterable[str], longest: int = 12) -> list[str]:
    """All overrides of a tiny run on generated texts."""
    splits = enumerate(("train", "validation", "test"))
    files = [f"data.{split}={make_text_file(longest, seed)}" for seed, split in splits]
    return [*TINY, *files, *overrides]


# What Hydra would merge into a config without choosing another file than one of a trick.
VALUE = re.compile(r"(?:(?!hydra\.)\w+\.[\w.]+|seed|doctor|resume)=")
SELECTION = re.compile(r"\+tricks=\[([\w,]+)\]")


def compose_again(overrides: Sequence[str]) -> DictConfig:
    """What `compose_config` returns, in a tenth of its time.

    Tricks and values are set in a copy of a config that was composed without them. Whatever is not as simple, or is
    wrong, is composed by Hydra.
    """
    values = [override for override in overrides if VALUE.match(override)]
    selections = [override for override in overrides if SELECTION.fullmatch(override)]
    others = tuple(override for override in overrides if override not in (*values, *selections))
    tricks = [name for selection in selections for name in selection[len("+tricks=[") : -1].split(",")]
    is_simple = len(selections) < 2 and all(re.match(r"(?!hydra\.)\w", each) for each in others)
    is_simple &= set(tricks) <= set(names())
    if not is_simple or any(read_sets(_load_trick(name)._target_) for name in tricks):
        return compose_config(overrides)[0]
    base_config, HydraConfig.instance().cfg = _compose_once(others)
    composed = copy.deepcopy(base_config)
    for name in tricks:
        composed.tricks[name] = copy.deepcopy(_load_trick(name))
    OmegaConf.set_struct(composed, True)
    try:
        for path, value in map(_parse_value, values):
            OmegaConf.update(composed, path, value)
    except (UserError, HydraException, OmegaConfBaseException):
        return compose_config(overrides)[0]
    OmegaConf.set_struct(composed, False)
    return composed


@cache
def _compose_once(overrides: tuple[str, ...]) -> tuple[DictConfig, Any]:
    return compose_config(overrides)[0], HydraConfig.instance().cfg


@cache
def _load_trick(name: str) -> DictConfig:
    return cast(DictConfig, OmegaConf.load(CONF / "tricks" / f"{name}.yaml"))


@cache
def _parse_value(override: str) -> tuple[str, Any]:
    (prepared,) = prepare_overrides([override])
    parsed = OverridesParser.create().parse_override(prepared)
    return parsed.key_or_group, parsed.value()


def finished_run() -> Path:
    """The folder of a tiny finished run, on other texts than the runs under test."""
    return warm_up()


def values_to_supply(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a user must give a trick, so that its YAML file does not have it: a finished run, or a file."""
    makers: dict[str, Callable[[], Path]] = {
        "folder": finished_run,
        "teacher": finished_run,
        "unlabelled_file": make_unlabelled_file,
        "variants_file": make_variants_file,
    }
    return {name: str(makers[name]()) for name in values if name in makers and values[name] is None}


def with_supplied_values(config: Config) -> Config:
    """The config with what a user must give its tricks."""
    tricks = {name: {**own, **values_to_supply(own)} for name, own in config.tricks.items()}
    return replace(config, tricks=tricks)


@cache
def make_unlabelled_file() -> Path:
    """The texts of a labelled file that no other test reads, without their labels."""
    lines = make_text_file(longest=12, seed=9).read_text(encoding="utf-8").splitlines()
    path = Path(tempfile.mkdtemp(dir=temporary_root())) / "texts.csv"
    path.write_text("".join(f"{line.partition(',')[0]}\n" for line in lines), encoding="utf-8")
    return path


@cache
def make_variants_file() -> Path:
    """A new text for every second row of the training file of a tiny run, two for the first one."""
    texts = make_text_file(longest=12, seed=8).read_text(encoding="utf-8").splitlines()[1:]
    lines = [f"{row},{texts[row].partition(',')[0]} new" for row in range(0, ROWS, 2)]
    path = Path(tempfile.mkdtemp(dir=temporary_root())) / "variants.csv"
    path.write_text("\n".join(["id,text", *lines, "0,another new text"]) + "\n", encoding="utf-8")
    return path


READ: dict[str, Splits] = {}


def tiny_splits(config: Config) -> Splits:
    """The data of a tiny run, without a test split. Generated texts never change, so a process reads them once."""
    if not Path(str(config.data.train)).is_relative_to(temporary_root()):
        return read_splits(config.data, {}, False)
    name = repr(config.data)
    if name not in READ:
        READ[name] = read_splits(config.data, {}, False)
    return READ[name]


def tiny_run(config: Config, folder: Path, run_folder: Path | None = None) -> TrainingRun:
    """Set up a run without training it, in `run_folder` or a new folder inside `folder`."""
    run_folder = run_folder or Path(tempfile.mkdtemp(dir=folder))
    return TrainingRun(config, build_tricks(config.tricks), tiny_splits(config), run_folder)


def build_tricks(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Trick]:
    """Make the tricks under test; whoever tests a class trusts it."""
    with trusting(find_targets(values)):
        return build(values)


def train_tiny(config: Config) -> dict[str, Any]:
    """Train a tiny run to its end, and return its final weights and its losses."""
    with temporary_folder() as folder:
        run = tiny_run(config, folder)
        run.fit()
        return _results_of(run)


def _results_of(run: TrainingRun) -> dict[str, Any]:
    with run.seams.weights():
        weights = copy_weights(run)
    return {"weights": weights, "losses": [line["loss"] for line in run.history.read() if "split" not in line]}


def kill_after(update: int) -> None:
    """Kill this process right after an update of the run that it trains: only in a child process."""
    step = TrainingRun._step

    def step_or_die(run: TrainingRun, batch: Batch) -> None:
        step(run, batch)
        if run.batches_done == update:
            run.console.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    TrainingRun._step = step_or_die  # type: ignore[method-assign, assignment]


def train_once(config: Config) -> dict[str, Any]:
    """`train_tiny` in a child process, once for each config: many tests compare with the same plain run."""
    return _remember("train", config, lambda: in_child(partial(train_tiny, config)))


def _new_run_folder() -> Path:
    return Path(tempfile.mkdtemp(dir=temporary_root())) / "run"


def finish(config: Config) -> dict[str, Any]:
    """Finish a run, and return what `train_tiny` does and its `folder`, which stays until the process ends."""
    folder = _new_run_folder()
    trained: dict[str, Any] = {"folder": folder}
    fit = TrainingRun.fit

    def fit_and_copy(run: TrainingRun) -> None:
        fit(run)
        trained.update(_results_of(run))

    TrainingRun.fit = fit_and_copy  # type: ignore[method-assign, assignment]
    try:
        finetune_config(config, folder)
    finally:
        TrainingRun.fit = fit  # type: ignore[method-assign]
    return trained


def finish_once(config: Config) -> dict[str, Any]:
    """`finish` in a child process, once for each config."""
    return _remember("finish", config, lambda: in_child(partial(finish, config)))


REMEMBERED: dict[tuple[str, str], Any] = {}


def _remember(name: str, config: Config, make: Callable[[], Result]) -> Result:
    """What is made of a config, made once."""
    identity = (name, json.dumps(as_values(config), sort_keys=True))
    if identity not in REMEMBERED:
        REMEMBERED[identity] = make()
    return cast(Result, REMEMBERED[identity])


def copy_weights(run: TrainingRun) -> dict[str, np.ndarray]:
    """A copy of the model's weights by name."""
    return {name: tensor.detach().numpy().copy() for name, tensor in run.bare_model.state_dict().items()}


def compute_gradients(run: TrainingRun, batch: Batch) -> dict[str, np.ndarray]:
    """The gradient of a batch by parameter name."""
    run.optimizer.zero_grad()
    run.seams.gradient(batch)
    parameters = run.bare_model.named_parameters()
    gradients = {name: each.grad.numpy().copy() for name, each in parameters if each.grad is not None}
    run.optimizer.zero_grad()
    return gradients


def pad_parts(run: TrainingRun) -> PaddedParts:
    """Let a run pad its parts as far as `train.cuda_graphs` may, and replay nothing."""
    run.graphs = PaddedParts(run, Plan(PADDED_WIDTH, run.max_length), None)
    return run.graphs


def freeze_parts(run: TrainingRun, batches: Iterable[Batch]) -> PaddedParts:
    """Let a run on the CPU replay its parts, with Python frozen as in a CUDA graph, wherever these batches may lead."""
    plan = Plan(PADDED_WIDTH, run.max_length)
    shapes = {
        plan.pad((rows, each.inputs["input_ids"].shape[1])) for each in batches for rows in range(1, len(each) + 1)
    }
    run.graphs = PaddedParts(run, replace(plan, recorded=frozenset(shapes)), FrozenRecorder(run.parameters))
    return run.graphs


def replay_difference(run: TrainingRun) -> float:
    """The largest distance between gradients of four batches, run and replayed; the first of each kind is recorded.

    Raises:
        AssertionError: a part could not be recorded, or nothing was replayed.
    """
    run.updates = int(0.8 * UPDATES)  # far enough for tricks that start late
    batches = [run.seams.batches(run.train, 0)[index] for index in range(4)]
    pad_parts(run)
    expected = [compute_gradients(run, batch) for batch in batches]
    parts = freeze_parts(run, batches)
    actual = [compute_gradients(run, batch) for batch in batches]
    assert parts.replayed == parts.passed, "a part was not replayed"
    assert parts.recordings < parts.passed, "nothing was replayed on another part than the recorded one"
    return max(map(difference, expected, actual))


def difference(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    """The largest distance between two sets of arrays by name."""
    assert one.keys() == other.keys(), one.keys() ^ other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


def largest_distance(one: Sequence[float], other: Sequence[float]) -> float:
    """The largest distance between two lists of numbers."""
    return float(np.abs(np.array(one) - np.array(other)).max())


@contextmanager
def float64() -> Iterator[None]:
    """Inside this context models are made and trained in 64 bits."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is removed at the end of the context."""
    folder = Path(tempfile.mkdtemp(dir=temporary_root()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def on_ranks(count: int, work: Callable[[], Result]) -> Result:
    """Run a function on several gloo processes at once, and return the first one's result."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def rank(number: int) -> Result:
        os.environ |= {
            "RANK": str(number),
            "LOCAL_RANK": str(number),
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        # Training in the parent process has set accelerate's global state to one process.
        AcceleratorState._reset_state(reset_partial_state=True)
        result = work()
        assert PartialState().num_processes == count
        return result

    temporary_root()
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


@dataclass(frozen=True)
class FullRun:
    """A finished run with one trick."""

    folder: Path
    reached: set[str]
    """The trick's seams that were called in it."""
    plain_run_afterwards: dict[str, Any]
    """What `train_tiny` returns for a run without the trick, in the same process."""
    distance: float
    """The largest distance of its own probabilities to those that its folder answers."""
    has_same_decisions: bool
    """Whether its folder decides as it did."""


COMMON: dict[str, Any] = {}
"""The class of laws that has a child process now, and that child."""


def end_common_child() -> None:
    """End the child process that the laws of a trick share: the next one has this process as it is then."""
    if COMMON:
        COMMON["child"].close()
        COMMON.clear()


atexit.register(end_common_child)


class TrickLaws:
    """Laws 2 to 13 for one trick; law 1 is about the loop alone."""

    trick: ClassVar[str]
    """The trick's name: that of its YAML file."""
    overrides: ClassVar[Sequence[str]] = ()
    """Further overrides for composing, such as the search path of the trick's YAML file."""
    settings: ClassVar[Mapping[str, Any]] = {}
    """Values of the trick under the laws that differ from those of its YAML file."""
    company: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Values of other tricks that differ from those of their YAML files, to save time."""
    tolerance: ClassVar[float] = 0.0
    """The largest distance from the base at neutral values, where arithmetic does not allow 0; at most 1e-6."""

    def config(self, *tricks: str, overrides: Sequence[str] = (), longest: int = 12, **settings: Any) -> Config:
        """A tiny run's config with these tricks on, each at its YAML file's values but for `settings` and `company`.

        Args:
            *tricks: their names.
            overrides: settings of the base.
            longest: words of the longest text.
            **settings: fields of this trick that differ.
        """
        import_late_packages()
        sets = required_overrides({self.trick, *tricks}, self.overrides)
        base_config = tiny_config(*self.overrides, *sets, *overrides, longest=longest)
        values = {name: {**yaml_values(name, tuple(self.overrides)), **self.own_values(name)} for name in tricks}
        if self.trick in values:
            values[self.trick] |= settings
        return replace(base_config, tricks=values, trusted=list(find_targets(values)))

    def own_values(self, name: str) -> Mapping[str, Any]:
        """The values of a trick under these laws that differ from those of its YAML file."""
        return self.settings if name == self.trick else self.company.get(name, {})

    def in_common_child(self, method: str, *arguments: Any) -> Any:
        """Call one of these methods in a child process that this trick's laws share.

        There is one such process at a time. It saves each law the time of a fork and of a first run. Configs are made
        here and passed, since only this process remembers them for the next trick.
        """
        if COMMON.get("laws") is not type(self):
            end_common_child()
            warm_up()
            COMMON.update(laws=type(self), child=Child(lambda name, *others: getattr(self, name)(*others)))
        try:
            return COMMON["child"].run(method, *arguments)
        except ChildProcessError:
            end_common_child()
            raise

    def declared(self) -> Trick:
        """The trick, with the values that are under the laws."""
        values = {**yaml_values(self.trick, tuple(self.overrides)), **self.settings}
        return build_tricks({self.trick: values})[self.trick]

    def compatible(self, around: Collection[str] = seams.SEAMS) -> list[str]:
        """Other tricks around some of these seams that can be on together with this one and with each other."""
        tricks = {self.trick: self.declared()}
        for other in names():
            trick = declared_trick(other, tuple(self.overrides))
            if set(around) & set(trick.slots) and not seams.refusals({**tricks, other: trick}):
                tricks[other] = trick
        return [name for name in tricks if name != self.trick]

    def test_neutral_is_off(self) -> None:
        """Law 2: at its neutral values a trick changes nothing."""
        self._compare_neutral(*TWO_EPOCHS)

    def test_neutral_is_off_in_a_longer_run(self) -> None:
        """Law 2 over a longer run."""
        self._compare_neutral(*UNSAVED)

    def _compare_neutral(self, *length: str) -> None:
        neutral = self.declared().neutral
        if isinstance(neutral, str):
            assert len(neutral.split()) > 3, f"{self.trick} has no neutral values and does not say why: {neutral!r}"
            return
        # A name with a dot is a setting of the base, such as model.dropout, that the neutral values need.
        base_settings = [f"{name}={value}" for name, value in neutral.items() if "." in name]
        overrides = [*base_settings, *length]
        values = {name: value for name, value in neutral.items() if "." not in name}
        off = self.config(overrides=overrides)
        on = self.config(self.trick, overrides=overrides, **values)
        without, neutralized = finish_once(off), self.in_common_child("_finish", on)
        assert difference(without["weights"], neutralized["weights"]) <= self.tolerance <= 1e-6
        assert largest_distance(without["losses"], neutralized["losses"]) <= self.tolerance
        if not self.tolerance:  # and so are all files of a finished run
            # A trick that is neutral only together with settings of the base still makes its passes.
            passes = ("passes_per_update",) if base_settings else ()
            _assert_same(without["folder"], neutralized["folder"], ("tricks", "seams", *passes))

    def _finish(self, config: Config) -> dict[str, Any]:
        return finish(config)

    def full_run(self) -> FullRun:
        """A finished run with the values of the YAML file.

        Several laws are about this run, so it is made once.
        """
        plain = self.short_config()

        def finish_and_count(config: Config) -> FullRun:
            folder, reached = _new_run_folder(), set[str]()
            kind = type(self.declared())
            for seam in kind.slots:
                setattr(kind, seam, _count_calls(getattr(kind, seam), seam, reached))
            with temporary_folder() as cache:
                baselines = cache_folder() / "baselines"
                os.environ["TRICKBOOK_CACHE"] = str(cache)  # cached rows would not be encoded again
                cache_folder().mkdir()
                (cache_folder() / "baselines").symlink_to(baselines)  # but fitted once
                finetune_config(config, folder)
                return FullRun(folder, reached, train_tiny(plain), *_compare_predictions(config, folder))

        config = self.config(self.trick)
        return _remember("finish and count", config, lambda: in_child(partial(finish_and_count, config)))

    def short_config(self) -> Config:
        """A short run without the trick, which shows that the process is as it was."""
        return self.config(overrides=SHORT)

    def test_leaves_no_trace(self) -> None:
        """A run of the same process without the trick, afterwards, is as it would have been before."""
        alone, second = train_once(self.short_config()), self.full_run().plain_run_afterwards
        assert difference(alone["weights"], second["weights"]) == 0
        assert alone["losses"] == second["losses"]

    def test_is_reached(self) -> None:
        """In a whole run with the values of its YAML file, every seam that the trick names is called."""
        assert self.full_run().reached == set(self.declared().slots)

    def test_order_is_free(self) -> None:
        """Law 3: the order of `+tricks=[...]` changes nothing."""
        selected = [self.trick, *self.compatible()]
        values = sorted(
            f"tricks.{trick}.{name}={as_yaml(value)}"
            for trick in selected
            for name, value in self.own_values(trick).items()
        )
        # Many tricks have the same compatible tricks: each set needs to be tried once.
        attempt = (frozenset(selected), (*self.overrides, *values))
        if attempt in FREE_OF_ORDER:
            return
        one, other = (
            self.in_common_child("_train", self._compose(f"+tricks=[{','.join(arrangement)}]", *values, *TWO_UPDATES))
            for arrangement in (selected, selected[::-1])
        )
        assert difference(one["weights"], other["weights"]) == 0
        assert one["losses"] == other["losses"]
        FREE_OF_ORDER.add(attempt)

    def _compose(self, *overrides: str) -> Config:
        return with_supplied_values(read(compose_again(_on_texts((*self.overrides, *overrides)))))

    def _train(self, config: Config) -> dict[str, Any]:
        return train_tiny(config)

    def test_splitting_is_invisible(self) -> None:
        """Law 4: parts of any sizes and several processes make the same run as one whole batch.

        The sizes are by length, and 1 or 3; `test_splitting_is_invisible_in_two_epochs` has both.
        """
        self._compare_divided([(1, 3)[key(0, "sizes", self.trick) % 2]], *TWO_UPDATES)

    def test_splitting_is_invisible_in_two_epochs(self) -> None:
        """Law 4 over a longer run."""
        self._compare_divided((1, 3), *TWO_EPOCHS)

    def _compare_divided(self, sizes: Iterable[int], *length: str) -> None:
        splits = self.declared().slots.get("gradient") == "split"

        def config(*tricks: str, **settings: Any) -> Config:
            return self.config(*tricks, overrides=[*NO_DROPOUT, *length], longest=30, **settings)

        alone, undivided = config(self.trick), 1e9
        attempts = {"whole": (config() if splits else alone, undivided), "parts by length": (alone, 0)}
        splitter = next(name for name in names() if declared_trick(name).slots.get("gradient") == "split")
        setting = next(iter(declared_trick(splitter).neutral))
        for size in sizes:
            in_parts = config(*{self.trick, splitter})
            in_parts.tricks[splitter][setting] = size
            if not splits or self.trick == splitter:
                attempts[f"parts of {size}"] = (in_parts, undivided)
        runs = {division: self.in_common_child("_train_in_64_bits", *each) for division, each in attempts.items()}
        expected = runs.pop("whole")
        runs["two processes"] = on_ranks(2, partial(self._train_in_64_bits, alone, undivided))
        for division, other in runs.items():
            assert difference(expected["weights"], other["weights"]) < 1e-10, division
            assert largest_distance(expected["losses"], other["losses"]) < 1e-10, division

    def _train_in_64_bits(self, config: Config, cost: float) -> dict[str, Any]:
        with float64(), cost_of_pass(cost):
            return train_tiny(config)

    def test_splitting_is_invisible_in_32_bits(self) -> None:
        """Law 4, in the precision that people train in: the loss of the first update."""
        config = self.config(self.trick, overrides=[*NO_DROPOUT, "train.max_updates=1"], longest=30)
        undivided, parts = (self.in_common_child("_measure_first_loss", config, cost) for cost in (1e9, 0))
        assert abs(undivided - parts) < 1e-6

    def _measure_first_loss(self, config: Config, cost: float) -> float:
        with cost_of_pass(cost), temporary_folder() as folder:
            run = tiny_run(config, folder)
            return float(run.seams.gradient(run.seams.batches(run.train, 0)[0]).composed)

    def test_padding_is_invisible(self) -> None:
        """Law 11: rows of weight 0 and further padding change no gradient and no update."""
        self._compare_padded(updates=2)

    def test_padding_is_invisible_in_all_updates(self) -> None:
        """Law 11 over a whole run."""
        self._compare_padded(updates=UPDATES)

    def _compare_padded(self, updates: int) -> None:
        config = self.config(self.trick, overrides=NO_DROPOUT)
        runs = [self.in_common_child("_train_padded", config, updates, is_padded) for is_padded in (False, True)]
        for plain, padded in zip(*runs, strict=True):
            assert difference(plain, padded) < 1e-10

    def _train_padded(
        self, config: Config, updates: int, is_padded: bool
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        with float64(), temporary_folder() as folder:
            run = tiny_run(config, folder)
            # Far enough for tricks that start late.
            run.updates = run.batches_done = UPDATES - updates
            if is_padded:
                pad_parts(run)
            batches = run.seams.batches(run.train, 0)
            gradients = compute_gradients(run, batches[len(batches) - 1])  # the smallest
            for index in range(updates):
                run._step(run.seams.batches(run.train, index // len(batches))[index % len(batches)])
            return gradients, copy_weights(run)

    def test_replays_are_exact(self) -> None:
        """Law 12: replayed with Python frozen, passes have the gradients of passes that run, dropout included."""
        trick = self.declared()
        is_inside = bool(set(trick.slots) & set(INSIDE_A_PASS))
        if not is_inside or trick.replays is not True:
            assert not is_inside or len(str(trick.replays).split()) > 3, f"{self.trick} does not say why not"
            return
        assert self.in_common_child("_measure_replays", self.config(self.trick)) < 1e-10

    def _measure_replays(self, config: Config) -> float:
        with float64(), temporary_folder() as folder:
            return replay_difference(tiny_run(config, folder))

    def test_stopping_is_invisible(self) -> None:
        """Law 5: killed and started again, a run ends the same to the bit.

        Where it is killed differs from trick to trick. A trick with a state is killed at the end too, when late ones
        have it.
        """
        *early, last = KILLS
        has_state = type(self.declared()).state is not Trick.state
        self._compare_killed((early[key(0, "kills", self.trick) % len(early)], *([last] if has_state else [])))

    def test_stopping_anywhere_is_invisible(self) -> None:
        """Law 5 with all `KILLS`."""
        self._compare_killed(KILLS)

    def _compare_killed(self, kills: Sequence[int]) -> None:
        config = self.config(self.trick)

        def killed(folder: Path, updates: int) -> None:
            kill_after(updates)
            finetune_config(config, folder)

        uninterrupted = self.full_run().folder
        with temporary_folder() as folder:
            for updates in kills:
                try:
                    in_child(partial(killed, folder / "killed", updates))
                except ChildProcessError:
                    continue
                raise AssertionError(f"the run was not killed at update {updates}")
            in_child(lambda: finetune_config(config, folder / "killed"))
            _assert_same(uninterrupted, folder / "killed")
            first, second = saved_files(uninterrupted), saved_files(folder / "killed")
            assert [name for name in first if first[name] != second.get(name)] == []
            assert first.keys() == second.keys()

    def test_isolation(self) -> None:
        """Law 6: a trick moves no batch, no new head and no other trick's draws, unless it is about them."""
        slots = set(self.declared().slots)
        # Only tricks around these seams can draw in the pass that is observed.
        others = self.compatible(around=("loss", "objective", "gradient"))
        selections = ((), (self.trick,), others, (self.trick, *others))
        configs = [self.config(*tricks) for tricks in selections]
        base_run, with_it, with_others, with_all = (
            _remember("observe", each, partial(self.in_common_child, "_observe", each)) for each in configs
        )
        if not slots & {"clean", "examples", "encode", "batches"}:
            assert base_run["batches"] == with_it["batches"]
        if "model" not in slots:
            assert difference(base_run["weights"], with_it["weights"]) == 0
        assert with_others["draws"].items() <= with_all["draws"].items()

    def _observe(self, config: Config) -> dict[str, Any]:
        """Set a run up, and return the batches of two epochs, its first weights, and the draws of its first pass."""
        with temporary_folder() as folder:
            run = tiny_run(config, folder)
            batches = [
                (batch.ids, batch.inputs["input_ids"].tolist())
                for epoch in range(2)
                for batch in run.seams.batches(run.train, epoch)
            ]
            weights = copy_weights(run)
            draws: dict[str, float] = {}
            inner = run.generator

            def logged(purpose: str, batch: Batch) -> np.random.Generator:
                position = f"{purpose}/{batch.epoch}/{batch.index}/{batch.part}"
                draws[position] = float(inner(purpose, batch).random())
                return inner(purpose, batch)

            run.generator = logged  # type: ignore[method-assign]
            run.seams.gradient(run.seams.batches(run.train, 0)[0])
            return {"batches": batches, "weights": weights, "draws": draws}

    def test_restore(self) -> None:
        """Law 7: after an exception inside any seam, weights, hooks and modes are as before.

        Seams that set a run up are tried where the trick wraps them: they call no other seam.
        """
        in_the_loop = ("loss", "objective", "gradient", "schedule", "update", "weights", "predict", "decide")
        while_training = ("pretrain", *in_the_loop)
        at_the_end = ("settle", "results")
        config, plain = self.config(self.trick), self.short_config()
        self.in_common_child("_raise_while_training", config, (*while_training, *at_the_end))
        setting_up = ("clean", "examples", "encode", "batches", "model", "optimizer", "accelerator", "train")
        assert {*while_training, *at_the_end, *setting_up} == set(seams.SEAMS)
        for seam in set(setting_up) & set(self.declared().slots):
            actual = self.in_common_child("_raise_while_setting_up", config, plain, seam)
            assert difference(train_once(plain)["weights"], actual["weights"]) == 0, seam
            assert train_once(plain)["losses"] == actual["losses"], seam

    def _raise_while_training(self, config: Config, seams_to_break: Sequence[str]) -> None:
        """Raise inside the base of one seam after the other, and compare the model before and after."""
        with breakable(seams_to_break) as broken, temporary_folder() as folder:
            run = tiny_run(config, folder)
            run.updates = int(0.8 * UPDATES)  # far enough for tricks that start late
            batches = run.seams.batches(run.train, 0)
            for index in range(2):
                run._step(batches[index])
            predictions = run.predictions(run.validation)
            calls: dict[str, Callable[[], object]] = {
                "pretrain": run.seams.pretrain,
                "weights": run._evaluate,
                "predict": run._evaluate,
                "decide": run._evaluate,
                "settle": partial(run.seams.settle, predictions),
                "results": partial(run.seams.results, {"validation": predictions}),
            }
            for seam in seams_to_break:
                before = _describe_state(run)
                broken.add(seam)
                try:
                    calls.get(seam, partial(run._step, batches[2]))()
                except ZeroDivisionError:
                    pass
                else:
                    # A trick that owns the final weights, or decides by itself, need not call the base.
                    assert seam in self.declared().slots, f"nothing was raised inside {seam}"
                    continue
                finally:
                    broken.clear()
                after = _describe_state(run)
                assert difference(before["weights"], after["weights"]) == 0, seam
                assert before["hooks"] == after["hooks"], seam
                assert before["modes"] == after["modes"], seam

    def _raise_while_setting_up(self, config: Config, plain: Config, seam: str) -> dict[str, Any]:
        """Raise inside the base of a seam; a plain run in the same process is afterwards as it always is."""

        def breaking(*arguments: Any) -> Any:
            raise ZeroDivisionError(seam)

        # `encode` is called only for what is not cached.
        with breakable([seam] if seam != "train" else []) as broken, empty_cache() as folder:
            broken.add(seam)
            try:
                if seam == "train":
                    trick = build_tricks(config.tricks)[self.trick]
                    trick.train(None, breaking, config, tiny_splits(config), folder / "run")
                else:
                    tiny_run(config, folder)
            except ZeroDivisionError:
                pass  # a trick may also take the base's place and never call it
            broken.clear()
            return train_tiny(plain)

    def test_a_finished_run_predicts_the_same(self) -> None:
        """Law 9: the finished folder answers as the run did in training.

        In float32 a probability depends on the batch in its last digits, and `predictions/test.csv` has six digits.
        """
        run = self.full_run()
        assert run.distance < 2e-6 and run.has_same_decisions
        # The majority class has its scores, so the run was judged.
        health = RunFolder(run.folder).metrics["health"]
        assert health["headline"] and health["baselines"]["majority"]

    def test_the_doctor_lets_it_start(self) -> None:
        """Law 10: the checks at every start find no error, with texts that are longer than the model's input too."""
        self.in_common_child("_check_at_start", self.config(self.trick, longest=LONGER_THAN_THE_MODEL))

    def _check_at_start(self, config: Config) -> None:
        with temporary_folder() as folder:
            check_at_start(tiny_run(config, folder), tiny_splits(config))

    def test_it_runs_with_its_own_defaults(self) -> None:
        """Law 13: selected alone it needs no further setting, unless it is an input that only the user can give.

        The other laws are about the very config that the selection alone makes.
        """
        values = yaml_values(self.trick, tuple(self.overrides))
        config = read(compose_again(_on_texts([*self.overrides, f"+tricks=[{self.trick}]"])))
        under_laws = self.config(self.trick)
        assert replace(config, tricks={}, trusted=[]) == replace(under_laws, tricks={}, trusted=[])
        missing = {name for name, value in config.tricks[self.trick].items() if value != values[name]}
        if not missing:
            assert not list(unmet(as_values(config), build_tricks(config.tricks)))
            return
        message = self.in_common_child("_start", config)
        assert any(f"tricks.{self.trick}.{name}" in message for name in missing), message

    def _start(self, config: Config) -> str:
        """The error that refuses to start a run."""
        with temporary_folder() as folder:
            try:
                finetune_config(config, folder / "run")
            except UserError as error:
                return str(error)
        return ""

    def test_pairs(self) -> None:
        """Law 8: with another trick it runs an update, or the two are refused with the remedy.

        Every pair that has a seam in common, and a fixed eighth of the others; `test_remaining_pairs` has the rest.
        """
        self._try_pairs([name for name in names() if name > self.trick and self._is_tried_first(name)])

    def test_remaining_pairs(self) -> None:
        """Law 8 for the pairs that `test_pairs` leaves out."""
        self._try_pairs([name for name in names() if name > self.trick and not self._is_tried_first(name)])

    def _is_tried_first(self, other: str) -> bool:
        has_common_seam = set(self.declared().slots) & set(declared_trick(other, tuple(self.overrides)).slots)
        return bool(has_common_seam) or key(0, "pairs", self.trick, other) % 8 == 0

    def _try_pairs(self, others: Sequence[str]) -> None:
        configs = {other: self.config(self.trick, other) for other in others}
        for other, message in self.in_common_child("_meet", configs).items():
            assert self.trick in message and other in message and "keep one" in message, message

    def _meet(self, configs: Mapping[str, Config]) -> dict[str, str]:
        """Make an update with each of these tricks, and return the refusals."""
        refusals = {}
        with temporary_folder() as folder:
            for other, config in configs.items():
                try:
                    run = tiny_run(config, folder)
                except UserError as error:
                    refusals[other] = str(error)
                    continue
                run._step(run.seams.batches(run.train, 0)[0])
                assert run.updates == 1, other
        return refusals


@contextmanager
def cost_of_pass(cost: float) -> Iterator[None]:
    """Inside this context a pass has another cost: 0 makes parts of one length each, a high cost makes one part."""
    own = base.COST_OF_PASS["cpu"]
    base.COST_OF_PASS["cpu"] = cost
    try:
        yield
    finally:
        base.COST_OF_PASS["cpu"] = own


@contextmanager
def empty_cache() -> Iterator[Path]:
    """Inside this context nothing is cached; its folder, which is removed at the end, may be used for more."""
    own = os.environ.get("TRICKBOOK_CACHE")
    with temporary_folder() as folder:
        os.environ["TRICKBOOK_CACHE"] = str(folder / "cache")
        try:
            yield folder
        finally:
            del os.environ["TRICKBOOK_CACHE"]
            if own is not None:
                os.environ["TRICKBOOK_CACHE"] = own


def _compare_predictions(config: Config, folder: Path) -> tuple[float, bool]:
    """The distance of a finished run's probabilities to those that its folder answers, and whether decisions agree."""
    run, rows = FinishedRun(folder, tuple(config.trusted)), read_splits(config.data, {}, True).test
    assert rows is not None
    pairs = list(rows["text_pair"]) if config.data.text_pair else None
    predicted, saved = run.predict(list(rows["text"]), pairs), run.load_predictions("test")
    distance = float(np.abs(predicted.probabilities - saved.probabilities).max())
    return distance, bool((predicted.decisions == saved.decisions).all())


def names() -> list[str]:
    """Every trick of `conf/tricks`."""
    return sorted(path.stem for path in (CONF / "tricks").glob("*.yaml"))


@cache
def yaml_values(trick: str, overrides: tuple[str, ...] = ()) -> Mapping[str, Any]:
    """What a trick's YAML file says, and what it leaves to the user."""
    values = _compose_tricks(tuple(names()) if trick in names() else (trick,), overrides)[trick]
    return {**values, **values_to_supply(values)}


@cache
def _compose_tricks(tricks: tuple[str, ...], overrides: tuple[str, ...]) -> Mapping[str, Mapping[str, Any]]:
    return tiny_config(*overrides, f"+tricks=[{','.join(tricks)}]").tricks


@cache
def declared_trick(trick: str, overrides: tuple[str, ...] = ()) -> Trick:
    """A trick with the values of its YAML file."""
    return build_tricks({trick: yaml_values(trick, overrides)})[trick]


def required_overrides(tricks: Iterable[str], overrides: Sequence[str] = ()) -> list[str]:
    """The overrides that set what these tricks set outside of themselves."""
    sets = [each for name in tricks for each in declared_trick(name, tuple(overrides)).sets.items()]
    return [f"{path}={as_yaml(value)}" for path, value in sets]


def _assert_same(one: Path, other: Path, but: Sequence[str] = ()) -> None:
    first, second = comparable_contents(one, but), comparable_contents(other, but)
    for name in first:
        assert first[name] == second[name], name


def comparable_contents(folder: Path, but: Sequence[str] = ()) -> dict[str, Any]:
    """All of a finished run that a clock does not change: history, metrics (but some), predictions, weights."""
    run = RunFolder(folder)
    counted = {"passes_per_update": run.metrics["cost"]["passes_per_update"]}
    metrics = {name: value for name, value in {**run.metrics, **counted}.items() if name not in ("cost", *but)}
    if "tricks" in but and "health" in metrics:
        # A remedy may be to leave out a trick of the run.
        findings = [{name: each[name] for name in each if name != "remedy"} for each in metrics["health"]["findings"]]
        metrics["health"] = {**metrics["health"], "findings": findings}
    history = [{name: value for name, value in line.items() if name != "seconds"} for line in run.history]
    files = {path.name: path.read_bytes() for path in sorted((folder / "predictions").iterdir())}
    weights = [*folder.glob("model/model.safetensors"), *folder.glob("members/*/*/model/model.safetensors")]
    assert weights
    files |= {str(path.relative_to(folder)): path.read_bytes() for path in sorted(weights)}
    return {"history": json.dumps(history), "metrics": json.dumps(metrics), "files": files}


def saved_files(folder: Path) -> dict[str, bytes]:
    """The contents of the files in which a finished run has neither times nor costs: config, predictions, model."""
    paths = [folder / "config.yaml", *(folder / "predictions").rglob("*"), *(folder / "model").rglob("*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths) if path.is_file()}


@contextmanager
def breakable(seams_to_break: Iterable[str]) -> Iterator[set[str]]:
    """Let the bases of these seams raise `ZeroDivisionError` as long as their names are in the set that is yielded."""
    broken: set[str] = set()

    def breaking(seam: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def base_function(*arguments: Any, **options: Any) -> Any:
            if seam in broken:
                raise ZeroDivisionError(seam)
            return inner(*arguments, **options)

        return base_function

    own = {seam: getattr(base.Base, seam) for seam in seams_to_break}
    for seam, inner in own.items():
        setattr(base.Base, seam, breaking(seam, inner))
    try:
        yield broken
    finally:
        for seam, inner in own.items():
            setattr(base.Base, seam, inner)


def _describe_state(run: TrainingRun) -> dict[str, Any]:
    modules = list(run.bare_model.modules())
    return {
        "weights": copy_weights(run),
        "hooks": sum(
            len(each._forward_hooks) + len(each._forward_pre_hooks) + len(each._backward_hooks) for each in modules
        ),
        "modes": [each.training for each in modules],
    }


def _count_calls(method: Callable[..., Any], seam: str, reached: set[str]) -> Callable[..., Any]:
    def wrapper(*arguments: Any, **options: Any) -> Any:
        reached.add(seam)
        return method(*arguments, **options)

    return wrapper
