"""Whether a run replays its parts: the setting `train.cuda_graphs`, and what it needs.

`auto` is settled at the first start of a run: on where `scripts/gpu_check.py` has passed on this model of card with
this version of torch, else off. `conf/checked_gpus.yaml` lists where it has. From then on the answer belongs to the
run: padding to planned shapes moves the draws of dropout, so a run that changed its mode would not resume to the bit.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
import yaml
from torch import nn

from recipes.config import CONF
from recipes.data.batching import cut_by_length
from recipes.graphs.cuda import CudaRecorder
from recipes.graphs.parts import PaddedParts, Parts
from recipes.graphs.recording import Recorder
from recipes.graphs.shapes import LAUNCH, Shape, plan_shapes
from recipes.trick import INSIDE_A_PASS

if TYPE_CHECKING:
    from recipes.trick import Run

CHECKED = CONF / "checked_gpus.yaml"


def find_card(device: str) -> str | None:
    """The model of the CUDA card that `train.device` stands for here; None if it is none."""
    return torch.cuda.get_device_name() if device in ("auto", "cuda") and torch.cuda.is_available() else None


def settle_mode(card: str) -> tuple[str, str]:
    """What `auto` means on a model of card: `on` or `off`, and a line for the header."""
    version = torch.__version__.split("+")[0]
    where = f"{card} with torch {version}"
    if {"card": card, "torch": version} in _read_checked_cards():
        return "on", f"train.cuda_graphs=auto is on: scripts/gpu_check.py has passed on {where}."
    return "off", (
        f"train.cuda_graphs=auto is off, since scripts/gpu_check.py has not passed on {where}; train.cuda_graphs=on "
        "trains faster where passes are short."
    )


def _read_checked_cards() -> Sequence[dict[str, str]]:
    cards: Sequence[dict[str, str]] = yaml.safe_load(CHECKED.read_text(encoding="utf-8"))
    return cards


def set_up_parts(run: "Run", cost_of_pass: float) -> Parts:
    """Make what runs the parts of a run, and note in the header what it does.

    Args:
        run: the run, set up and resumed.
        cost_of_pass: what one more pass costs, in tokens; it decides how batches are cut into parts.
    """
    if run.config.train.cuda_graphs != "on":
        return Parts()
    device = run.accelerator.device.type
    if device != "cuda":
        run.note(f"train.cuda_graphs=on changes nothing here: the run is trained on {device}.")
        return Parts()
    return make_padded_parts(run, cost_of_pass, CudaRecorder(run.parameters))


def make_padded_parts(run: "Run", cost_of_pass: float, recorder: Recorder) -> PaddedParts:
    """Plan the shapes of a run, and note what is replayed or why nothing is."""
    reasons = list(_obstacles(run))
    plan = plan_shapes(count_shapes(run, cost_of_pass), run.max_length, launch_in_tokens(run.bare_model))
    if reasons:
        run.note(f"train.cuda_graphs=on: parts are launched kernel by kernel, since {'; '.join(reasons)}.")
        return PaddedParts(run, plan.without_recordings(), None)
    run.note(
        f"train.cuda_graphs=on: parts are padded to multiples of {plan.rows} rows and {plan.step} tokens; "
        f"{len(plan.recorded)} of these shapes, with {plan.fraction:.0%} of all parts, are recorded and replayed."
    )
    return PaddedParts(run, plan, recorder)


def _obstacles(run: "Run") -> Iterator[str]:
    """Why passes of this run cannot be replayed."""
    if run.accelerator.num_processes > 1:
        yield "several processes average their gradients during a pass"
    if run.config.model.gradient_checkpointing:
        yield "model.gradient_checkpointing=true restores random states during a pass"
    for name, trick in run.tricks.items():
        if set(trick.slots) & set(INSIDE_A_PASS) and trick.replays is not True:
            yield f"tricks.{name}: {trick.replays}"


def launch_in_tokens(model: nn.Module) -> int:
    """The tokens that a GPU computes while the CPU launches a pass: many where layers are small.

    Launches go with the number of weights, and computation with their size. Looking up an embedding computes nothing.
    """
    modules = [module for module in model.modules() if not isinstance(module, nn.Embedding)]
    sizes = [weight.numel() for module in modules for weight in module.parameters(recurse=False)]
    return round(LAUNCH * len(sizes) / sum(sizes))


def count_shapes(run: "Run", cost_of_pass: float) -> Counter[Shape]:
    """Count how often each shape of a part occurs in the whole run, as the base cuts batches into parts."""
    counts, train = Counter[Shape](), run.train
    for epoch in range(-(-run.total_updates // run.updates_per_epoch)):
        left = run.total_updates - epoch * run.updates_per_epoch
        for batch in run.seams.batches(train, epoch).plan[:left]:
            lengths = train.window_lengths[train.windows_of(batch)]
            for rows in cut_by_length(lengths, cost_of_pass):
                counts[len(rows), train.padding.width or int(lengths[rows].max())] += 1
    return counts
