"""On a GPU the attention mask is made without a look at the device; on a CPU it is the one of transformers."""

import inspect
from typing import Any

import pytest
import torch
from transformers import BertConfig
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask, sdpa_mask

from recipes.models import masks
from recipes.testing import in_child


class OnGpu(torch.Tensor):
    """A tensor that claims to be on a GPU, and cannot be read."""

    is_cuda = True  # type: ignore[assignment]

    def __bool__(self) -> bool:
        """Refuse to be read."""
        raise AssertionError("the GPU was waited for")


@pytest.mark.parametrize("make", [create_bidirectional_mask, create_causal_mask])
@pytest.mark.parametrize("lengths", [[3, 3], [3, 1]])
def test_the_mask_on_a_gpu_is_made_and_not_read(make: Any, lengths: list[int]) -> None:
    real = torch.arange(3) < torch.tensor(lengths)[:, None]
    config = BertConfig(attn_implementation="sdpa")

    def work() -> tuple[torch.Tensor, bool]:
        def make_with(attention_mask: torch.Tensor) -> torch.Tensor | None:
            # Newer versions of transformers call the cache by another name.
            cache = "cache" if "cache" in inspect.signature(make).parameters else "past_key_values"
            inputs = {"inputs_embeds": torch.zeros(2, 3, 4), cache: None}
            return make(config, attention_mask=attention_mask, **inputs)  # type: ignore[no-any-return]

        theirs = make_with(real)
        masks.register()
        ours, on_gpu = make_with(real), make_with(real.as_subclass(OnGpu))
        assert on_gpu is not None
        unchanged = ours is None if theirs is None else ours is not None and torch.equal(ours, theirs)
        return on_gpu.as_subclass(torch.Tensor).clone(), unchanged

    mask, unchanged = in_child(work)
    assert unchanged
    expected = real[:, None, None, :].expand(2, 1, 3, 3)
    if make is create_causal_mask:
        expected = expected & torch.ones(3, 3, dtype=torch.bool).tril()
    assert torch.equal(mask, expected)


def test_a_pass_without_padding_has_no_mask_on_a_cpu() -> None:
    options: dict[str, Any] = {
        "batch_size": 2,
        "q_length": 3,
        "kv_length": 3,
        "allow_is_bidirectional_skip": True,
        "allow_is_causal_skip": False,
    }
    real = torch.ones(2, 3, dtype=torch.bool)
    assert sdpa_mask(attention_mask=real, **options) is None
    assert masks.make_mask(attention_mask=real, **options) is None
