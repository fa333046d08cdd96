"""Attention masks that are made without reading the device.

transformers leaves the mask out where no token is padding. To know that, it reads the mask in every forward pass, which
waits for the GPU, and a pass that is captured in a CUDA graph cannot read at all. So on a GPU the mask is always made.
Then attention dropout draws the same in both cases: draws depend on the kernel, and the kernel depends on the mask.
"""

from typing import Any

from torch import Tensor
from transformers import AttentionMaskInterface
from transformers.masking_utils import sdpa_mask


def make_mask(*, attention_mask: Tensor | None = None, **options: Any) -> Tensor | None:
    """Do the same as `sdpa_mask` of transformers; on a GPU the mask is never left out.

    Args:
        attention_mask: which tokens are real, (row, token).
        **options: sizes and all else, passed on.
    """
    if attention_mask is not None and attention_mask.is_cuda:
        options |= {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    return sdpa_mask(attention_mask=attention_mask, **options)


def register() -> None:
    """Let all models of transformers make their masks like this."""
    AttentionMaskInterface.register("sdpa", make_mask)
