"""Which precision is fast: by what the hardware says of itself."""

import pytest
import torch

from recipes.runtime.precision import fast


@pytest.mark.parametrize(("native", "wanted"), [(True, "bf16"), (False, "fp16")])
def test_on_a_gpu(native: bool, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert fast(on_gpu=True) == wanted


@pytest.mark.parametrize(("tiles", "wanted"), [(True, "bf16"), (False, "fp32")])
def test_on_a_cpu(tiles: bool, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    assert fast(on_gpu=False) == wanted
