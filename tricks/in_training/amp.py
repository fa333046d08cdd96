"""AMP: compute matrix products in 16 bits; weights and sums stay in 32 bits.

Under autocast, matrix products run in bf16 or fp16; softmax, normalization, the loss and the optimizer stay in fp32.
With fp16 the loss is scaled up so that small gradients do not underflow. A step whose gradient overflows is skipped and
not counted.

Source: Micikevicius et al. 2018, Mixed Precision Training, arXiv 1710.03740.
Cost: one pass; less memory and time on hardware with 16-bit arithmetic. A CPU that only emulates bf16 was 2 to 3.5
    times slower than with fp32, so `auto` stays in fp32 there and reports it. `auto` detects only CPUs with AMX: one
    with avx512_bf16 took 0.66 of the time of fp32 when bf16 was forced (docs/evidence/ablation.md).
Use when: a GPU is available. Avoid when: the hardware has no 16-bit arithmetic.
Composes: accelerator/accelerator; everything inside runs under it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator

from recipes import Run, Trick, UserError, allowed
from recipes.runtime.precision import fast


@dataclass
class Amp(Trick):
    """Choose the precision of the accelerator."""

    precision: str = allowed("auto | bf16 | fp16 | fp32")
    """Data type of matrix products."""

    slots = {"accelerator": "accelerator"}
    neutral = {"precision": "fp32"}

    def accelerator(self, run: Run, inner: Callable[..., Accelerator], **options: Any) -> Accelerator:
        """Pass the precision to the accelerator."""
        on_gpu = torch.cuda.is_available() and run.config.train.device in ("auto", "cuda")
        if self.precision == "fp16" and not on_gpu:
            raise UserError(f"tricks.{self.name}.precision=fp16 needs a CUDA GPU; use auto or bf16.")
        precision = fast(on_gpu) if self.precision == "auto" else self.precision
        if self.precision == "auto" and precision == "fp32":
            run.note(
                f"{self.name}: this hardware does not compute bf16 at speed, so training stays in fp32 "
                f"(tricks.{self.name}.precision=bf16 forces it)."
            )
        return inner(mixed_precision="no" if precision == "fp32" else precision, **options)
