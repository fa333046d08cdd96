"""Which precision the hardware at hand computes fast."""

import torch


def fast(on_gpu: bool) -> str:
    """bf16 or fp16 where matrix products in them are faster than in fp32, else fp32."""
    if on_gpu:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.cpu._is_amx_tile_supported() else "fp32"
