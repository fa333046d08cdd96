"""Attention over real tokens only: does it pay on long text?

Batches of long text are padded to their longest row. Here the encoder of a shape runs forward and backward over the
batches of a run, once padded, as in training, and once packed: real tokens alone in one row, with the kernel of
FlashAttention for sequences of any length, which has dropout (`aten::_flash_attention_forward`). The number of tokens
is rounded up with dummy sequences, as replayed graphs would need it. Both ways are also replayed as CUDA graphs, where
kernels take the time and not the host. The packed way is only worth its code if it is 1.5 times as fast.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface, BertModel

from recipes.base import COST_OF_PASS_ON_GPU
from recipes.data.batch import Batch
from recipes.data.batching import cut_by_length, group, padding_waste
from scripts.gpu import work
from scripts.gpu.work import LENGTHS, SHAPES, make_config, make_model_folder, make_run, table, time_calls, verdict

PAYS = 1.5
ROUNDED_TO = 1024
"""Tokens to a multiple of which a packed batch is filled."""
BATCHES = 4
ROWS = 25_000
"""Of the training split of imdb."""
PEAK = {"H100": 990e12, "H200": 990e12, "A100": 312e12}
"""Dense bf16 operations a second, by a word of the card's name; of the SXM version."""


@dataclass(frozen=True)
class Packed:
    """The real tokens of a batch in one row, and where each sequence ends."""

    inputs: dict[str, Tensor]
    """Each (1, token)."""
    ends: Tensor
    """Tokens before each sequence, and all of them, (sequence + 1), int32."""
    longest: int


BOUNDS: list[Packed] = []
"""The batch that runs now: an attention function is given tensors only."""


def describe(seconds: float) -> Iterator[str]:
    """Compare padded and packed passes.

    Args:
        seconds: of all measurements.
    """
    yield from describe_bound()
    AttentionInterface.register("packed", attend)
    yield from check_gradients()
    run = make_run(make_config("BERT-base", "long", rows=1600 if work.DEVICE == "cuda" else 40))
    batches = list(run.seams.batches(run.train, 0))[:BATCHES]
    parts = [
        batch.take(rows, 0) for batch in batches for rows in cut_by_length(batch.lengths.numpy(), run.cost_of_pass)
    ]
    real = sum(int(part.lengths.sum()) for part in parts)
    computed = sum(part.inputs["input_ids"].numel() for part in parts)
    yield f"{BATCHES} batches have {real:,} real tokens; padded, {computed / real:.3f} times as many are computed."
    ways = {"padded": make_padded(parts), "packed": make_packed(parts)}
    if work.DEVICE == "cuda":
        ways |= {f"{name}, replayed": record(run_once) for name, run_once in list(ways.items())}
    start, rows, times = monotonic(), [], {}
    for number, (name, run_once) in enumerate(ways.items()):
        left = 0.8 * seconds - (monotonic() - start)
        times[name] = time_calls(run_once, max(1.0, left / (len(ways) - number)))
        rate = count_operations(run.bare_model, real) / (times[name] / 1000)
        rows.append([name, f"{times[name] / BATCHES:.2f}", f"{rate / 1e12:.1f}", describe_fraction(rate)])
    yield from table(["forward and backward", "ms a batch", "TFLOP/s of real tokens", "of the card's bf16 rate"], rows)
    for suffix in ("", ", replayed"):
        if f"packed{suffix}" in times:
            gain = times[f"padded{suffix}"] / times[f"packed{suffix}"]
            answer = "pays" if gain >= PAYS else f"does not pay (below {PAYS})"
            yield f"Packed{suffix}: {gain:.2f} times as fast as padded; it {answer}."


def describe_bound() -> Iterator[str]:
    """What packing can save at most: the padding of the batches, and attention itself. Nothing is trained."""
    mean, deviation, longest = LENGTHS["long"]
    random = np.random.default_rng(0)
    words = np.maximum(1, random.lognormal(mean, deviation, ROWS).round()).astype(int)
    lengths = np.minimum(words + 2, longest)
    batches = group(lengths, random.integers(0, 2, ROWS), 32, 0.0, random)
    parts = [batch[rows] for batch in batches for rows in cut_by_length(lengths[batch], COST_OF_PASS_ON_GPU)]
    rounded = sum(-(-int(lengths[rows].max()) // 64) * 64 * (-(-len(rows) // 8) * 8) for rows in parts)
    shuffled = np.array_split(random.permutation(ROWS), len(batches))
    waste = {
        "random batches": padding_waste(lengths, shuffled),
        "batches as trained": padding_waste(lengths, parts),
        "the same, sizes rounded up for graphs (64 tokens, 8 rows)": rounded / lengths.sum(),
    }
    yield f"{ROWS:,} rows with the lengths of imdb, {lengths.mean():.0f} tokens on average, in batches of 32:"
    yield from table(["plan", "computed / real tokens"], [[name, f"{ratio:.3f}"] for name, ratio in waste.items()])
    # Of forward: 24 width^2 operations a token in matrices with weights, 4 length width in attention.
    attention = (lengths**2).sum() / lengths.sum() / 6 / SHAPES["BERT-base"][1]
    yield f"Attention has {attention / (1 + attention):.1%} of the encoder's operations at these lengths (BERT-base)."
    yield ""


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention of each sequence to itself alone; query, key and value are (1, head, token, width)."""
    ends, longest = BOUNDS[-1].ends, BOUNDS[-1].longest
    query, key, value = (each[0].transpose(0, 1) for each in (query, key, value))
    if query.is_cuda and query.dtype != torch.float32:
        forward = torch.ops.aten._flash_attention_forward
        attended = forward(query, key, value, ends, ends, longest, longest, dropout, False, False, scale=scaling)[0]
        return attended[None], None
    # The reference: sequence by sequence.
    pieces = []
    for begin, end in zip(ends.tolist(), ends.tolist()[1:], strict=False):
        own = (each[begin:end].transpose(0, 1)[None] for each in (query, key, value))
        attended = functional.scaled_dot_product_attention(*own, dropout_p=dropout, scale=scaling)
        pieces.append(attended[0].transpose(0, 1))
    return torch.cat(pieces)[None], None


def pack(part: Batch, rounded_to: int) -> Packed:
    """Leave the padding of a batch out; a dummy sequence fills it up to a round number of tokens."""
    real = part.inputs["attention_mask"].bool()
    lengths = part.lengths.tolist()
    filling = -sum(lengths) % rounded_to
    inputs = {name: values[real] for name, values in part.inputs.items() if name != "attention_mask"}
    inputs["position_ids"] = torch.cat([torch.arange(length) for length in lengths])
    # A sequence longer than the model's positions would need more than one dummy; it is cut into such.
    dummies = [min(512, filling - begin) for begin in range(0, filling, 512)]
    inputs = {name: functional.pad(values, (0, filling))[None].to(work.DEVICE) for name, values in inputs.items()}
    ends = np.cumsum([0, *lengths, *dummies])
    return Packed(inputs, torch.tensor(ends, dtype=torch.int32, device=work.DEVICE), max([*lengths, *dummies]))


def make_padded(parts: list[Batch]) -> Callable[[], None]:
    """Forward and backward over padded parts."""
    model, moved = _load("sdpa"), [part.to(torch.device(work.DEVICE)) for part in parts]

    def run() -> None:
        for part in moved:
            with torch.autocast(work.DEVICE, torch.bfloat16):
                states = model(**part.inputs).last_hidden_state
            (states * part.inputs["attention_mask"][..., None]).float().square().mean().backward()

    return run


def make_packed(parts: list[Batch]) -> Callable[[], None]:
    """Forward and backward over the same parts without padding."""
    model = _load("packed")
    packed = [pack(part, ROUNDED_TO if work.DEVICE == "cuda" else 64) for part in parts]

    def run() -> None:
        for part in packed:
            BOUNDS[:] = [part]
            with torch.autocast(work.DEVICE, torch.bfloat16):
                states = model(**part.inputs).last_hidden_state
            states.float().square().mean().backward()

    return run


def record(run_once: Callable[[], None]) -> Callable[[], None]:
    """The same work as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run_once()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run_once()
    return graph.replay


def check_gradients() -> Iterator[str]:
    """Whether packed gradients are the padded ones, in fp32 and, with the kernel of the GPU, in bf16."""
    run = make_run(make_config("MiniLM", "short", "model.dropout=0.0", rows=40))
    part = run.seams.batches(run.train, 0)[0]
    for dtype, allowed in ((torch.float32, 1e-4), (torch.bfloat16, 0.05)):
        if work.DEVICE == "cpu" and dtype == torch.bfloat16:
            continue
        gradients = [_gradients(way, part, dtype) for way in ("sdpa", "packed")]
        pairs = list(zip(*gradients, strict=True))
        distance = float(torch.stack([(one - other).norm() for one, other in pairs]).norm())
        size = float(torch.stack([one.norm() for one, _ in pairs]).norm())
        yield verdict(
            distance <= allowed * size, f"packed gradients differ from padded ones by {distance / size:.1e} ({dtype})"
        )


def _gradients(way: str, part: Batch, dtype: torch.dtype) -> list[Tensor]:
    """The gradients of a sum over the real tokens; in another dtype than fp32 under autocast."""
    model = _load(way, dropout=0.0)
    weights = torch.linspace(-1, 1, model.config.hidden_size, device=work.DEVICE)
    real, count = part.inputs["attention_mask"].bool().to(work.DEVICE), int(part.lengths.sum())
    with torch.autocast(work.DEVICE, dtype, enabled=dtype != torch.float32):
        if way == "packed":
            BOUNDS[:] = [pack(part, 64)]
            states = model(**BOUNDS[0].inputs).last_hidden_state[0, :count]
        else:
            states = model(**part.to(torch.device(work.DEVICE)).inputs).last_hidden_state[real]
    (states.float() * weights).sum().backward()
    return [each.grad.float() for each in model.parameters() if each.grad is not None]


def _load(way: str, dropout: float = 0.1) -> BertModel:
    """The encoder of a run's model, in training mode."""
    shape = "BERT-base" if dropout else "MiniLM"
    folder = make_model_folder(shape, dropout)
    model = BertModel.from_pretrained(folder, attn_implementation=way, add_pooling_layer=False, trust_remote_code=False)
    return model.to(work.DEVICE).train()


def count_operations(model: torch.nn.Module, tokens: int) -> float:
    """Operations of forward and backward in the encoder's matrices: six for each weight and token."""
    weights = sum(each.numel() for name, each in model.named_parameters() if ".encoder." in name and each.dim() == 2)
    return 6.0 * weights * tokens


def describe_fraction(rate: float) -> str:
    """The fraction of what the card can do, if it is known."""
    name = torch.cuda.get_device_name() if work.DEVICE == "cuda" else ""
    peak = next((each for card, each in PEAK.items() if card in name), None)
    return "" if peak is None else f"{rate / peak:.0%}"
