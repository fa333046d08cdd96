"""Calls that wait for the GPU in an update: of the base, and of each trick.

torch reports each synchronizing call while `torch.cuda.set_sync_debug_mode` is on. An update begins with a batch on the
host and ends before the console reads its numbers. The outcome of a step is read one update later, from pinned memory
and behind an event. torch does not count that, and the GPU has the next gradient to compute meanwhile.
"""

import io
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stdout
from pathlib import Path
from time import monotonic

import torch

from recipes.errors import UserError
from recipes.graphs.mode import set_up_parts
from recipes.testing import names
from scripts.gpu import work
from scripts.gpu.work import make_config, make_run, table, verdict, without_flushes

BATCHES, ROUNDS = 3, 2
"""Batches of each arm, and how often they come again: before and while calls are counted."""
UPDATES = BATCHES * ROUNDS
EXPECTED = {
    "noise_scale": "the two halves of a measured update are compared on the host",
    "segments": "the segments of a batch are counted on the host",
    "mixup, words": "which words are exchanged is planned on the host",
    "mixup, texts": "which words are exchanged is planned on the host",
}
"""Arms that may wait, and why."""
ARMS = {
    "base": (),
    "replayed": ("train.cuda_graphs=on",),
    "fp16": ("+tricks=[amp]", "tricks.amp.precision=fp16"),
    "mixup, hidden": ("+tricks=[mixup]", "tricks.mixup.level=hidden"),
    "mixup, words": ("+tricks=[mixup]", "tricks.mixup.mask=span"),
    "mixup, texts": ("+tricks=[mixup]", "tricks.mixup.mask=co"),
    "swa from the start": ("+tricks=[swa]", "tricks.swa.start=0.0"),
    "soup": ("+tricks=[soup]", "tricks.soup.start=0.9"),
}
"""Settings of the base, and of tricks whose defaults would not show what they do."""


def describe(seconds: float) -> Iterator[str]:
    """Run a few updates of each arm in bf16, and list what waited.

    Args:
        seconds: after which no further arm begins.
    """
    start, rows, refused, left_out = monotonic(), [], [], []
    tricks = {name: (f"+tricks=[{name}]",) for name in names() if name not in ("amp", *ARMS)}
    waits: Counter[str] = Counter()
    for arm, overrides in {**ARMS, **tricks}.items():
        if monotonic() - start > 0.85 * seconds:
            left_out.append(arm)
            continue
        try:
            calls = count_waits(overrides)
        except (UserError, ImportError) as error:
            refused.append(f"{arm} ({str(error).splitlines()[0][:80]})")
            continue
        waits[arm] = calls.total()
        if calls:
            lines = ", ".join(f"{line} ({count / UPDATES:g})" for line, count in calls.most_common(3))
            rows.append([arm, f"{calls.total() / UPDATES:g}", lines, EXPECTED.get(arm, "")])
    if work.DEVICE == "cpu":
        yield "Nothing is counted on a CPU."
    yield f"{len(waits)} arms, {UPDATES} updates each; {len(waits) - len(rows)} of them wait in none."
    if rows:
        yield from table(["arm", "calls an update", "where", "why"], rows)
    if refused:
        yield f"Not run: {'; '.join(refused)}."
    if left_out:
        yield f"Left out for lack of time: {', '.join(left_out)}."
    surprising = [arm for arm, count in waits.items() if count and arm not in EXPECTED]
    yield verdict(not surprising, f"updates that wait for the GPU without a reason: {', '.join(surprising) or 'none'}")


def count_waits(overrides: Sequence[str]) -> Counter[str]:
    """Count the synchronizing calls of some updates, by the line that makes them."""
    is_mixed = any("amp" in override for override in overrides)
    options = overrides if is_mixed or work.DEVICE == "cpu" else _with_amp(overrides)
    run = make_run(make_config("MiniLM", "short", *options, "train.max_updates=20", rows=400))
    run.graphs = set_up_parts(run, run.cost_of_pass)
    # The same batches before and while calls are counted, so that all graphs have been recorded by then.
    batches = list(run.seams.batches(run.train, 0))[:BATCHES] * ROUNDS
    with without_flushes(run), closing(run.graphs), redirect_stdout(io.StringIO()):
        for batch in batches:
            run._step(batch)
        with warnings.catch_warnings(record=True) as caught, counting():
            warnings.simplefilter("always")
            for batch in batches:
                run._step(batch)
    return Counter(_line_of(each) for each in caught if "synchronizing CUDA operation" in str(each.message))


def _with_amp(overrides: Sequence[str]) -> list[str]:
    """The same overrides with amp on as well."""
    selected = next((each for each in overrides if each.startswith("+tricks=")), "+tricks=[]")
    others = [each for each in overrides if each != selected]
    return [selected.replace("]", ",amp]").replace("[,", "["), *others, "tricks.amp.precision=bf16"]


@contextmanager
def counting() -> Iterator[None]:
    """Inside this context torch warns of each call that waits for the GPU."""
    if work.DEVICE == "cpu":
        yield
        return
    torch.cuda.set_sync_debug_mode("warn")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _line_of(message: warnings.WarningMessage) -> str:
    return f"{'/'.join(Path(message.filename).parts[-2:])}:{message.lineno}"
