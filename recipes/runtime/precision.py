"""The precision that the hardware computes fastest."""

import torch


def fast(on_gpu: bool) -> str:
    """Return bf16 or fp16 if the hardware multiplies matrices faster in it than in fp32, else fp32."""
    if on_gpu:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.cpu._is_amx_tile_supported() else "fp32"
