"""AMP: compute matrix products in 16 bits; weights and sums stay in 32 bits.

Under autocast, matrix products run in bf16 or fp16; softmax, normalization, the loss and the optimizer stay in fp32.
With fp16 the loss is scaled up so that small gradients do not underflow. A step whose gradient overflows is skipped and
not counted.

Source: Micikevicius et al. 2018, Mixed Precision Training, arXiv 1710.03740.
Cost: one pass; less memory and time on hardware with 16-bit arithmetic. A CPU that only emulates bf16 was 2 to 3.5
    times slower than with fp32; one with avx512_bf16 took 0.66 of the time (docs/evidence/ablation.md). On a CPU `auto`
    is measured at the first start: bf16 if it takes less than 0.85 of the time of fp32. The answer is in the run's
    config.yaml, so a resumed run and its predictions have the same precision. All runs on a machine share it.
Use when: a GPU is available. Avoid when: the hardware has no 16-bit arithmetic.
Composes: accelerator/accelerator; everything inside runs under it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator

from recipes import Run, Trick, UserError, allowed
from recipes.config import Config
from recipes.data.cache import cache_folder
from recipes.runtime.distributed import on_threads, uses_cpu
from recipes.runtime.precision import LIMIT, fastest_on_gpu, measure_once


@dataclass
class Amp(Trick):
    """Choose the precision of the accelerator."""

    precision: str = allowed("auto | bf16 | fp16 | fp32")
    """Data type of matrix products."""

    slots = {"accelerator": "accelerator"}
    neutral = {"precision": "fp32"}
    measurable = {"precision": "auto"}
    replays = True

    def measure_settings(self, config: Config) -> Mapping[str, tuple[Any, str]]:
        """Measure which precision the CPU computes faster; a GPU has a rule."""
        device = config.train.device
        has_no_accelerator = torch.accelerator.current_accelerator(check_available=True) is None
        if not (uses_cpu(device) or (device == "auto" and has_no_accelerator)):
            return {}
        with on_threads(config.train.threads):
            measured, threads = measure_once(cache_folder() / "precision"), torch.get_num_threads()
        note = (
            f"{self.name}: this CPU computes bf16 in {measured.ratio:.2f} of the time of fp32 (measured, threads: "
            f"{threads}), so the run trains in {measured.fastest}; bf16 is chosen below {LIMIT:g}. "
            f"tricks.{self.name}.precision=bf16 or fp32 forces one."
        )
        return {"precision": (measured.fastest, note)}

    def accelerator(self, run: Run, inner: Callable[..., Accelerator], **options: Any) -> Accelerator:
        """Pass the precision to the accelerator."""
        on_gpu = torch.cuda.is_available() and run.config.train.device in ("auto", "cuda")
        if self.precision == "fp16" and not on_gpu:
            raise UserError(f"tricks.{self.name}.precision=fp16 needs a CUDA GPU; use auto or bf16.")
        precision = self.precision
        if precision == "auto":
            precision = fastest_on_gpu() if on_gpu else "fp32"
        if self.precision == "auto" and not on_gpu:
            run.note(
                f"{self.name}: precision=auto was not measured at the start of this run, so it stays in fp32 "
                f"(tricks.{self.name}.precision=bf16 forces it)."
            )
        return inner(mixed_precision="no" if precision == "fp32" else precision, **options)
