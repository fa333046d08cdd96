"""AMP: which precision is chosen where, and what stays in 32 bits."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from recipes.base import Base
from recipes.errors import UserError
from tricks.in_training.amp import Amp


class Machine:
    """A pretended machine, and the run on it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, gpu: str = "none", amx: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu != "none")
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or gpu == "new"
        )
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
        self.notes: list[str] = []

    def asked(self, precision: str, device: str = "auto", **options: Any) -> dict[str, Any]:
        config = SimpleNamespace(train=SimpleNamespace(device=device))
        run: Any = SimpleNamespace(config=config, note=self.notes.append)
        inner: Any = dict
        found: Any = Amp(precision=precision).accelerator(run, inner, **options)
        return dict(found)


class TestAuto:
    @pytest.mark.parametrize(
        ("gpu", "amx", "device", "wanted"),
        [
            ("new", False, "auto", "bf16"), ("new", False, "cuda", "bf16"), ("old", False, "auto", "fp16"),
            ("old", True, "cuda", "fp16"), ("new", False, "cpu", "no"), ("none", True, "auto", "bf16"),
            ("new", True, "cpu", "bf16"), ("none", False, "auto", "no"), ("none", False, "cpu", "no"),
        ],
    )  # fmt: skip
    def test_takes_what_the_hardware_computes(
        self, monkeypatch: pytest.MonkeyPatch, gpu: str, amx: bool, device: str, wanted: str
    ) -> None:
        machine = Machine(monkeypatch, gpu, amx)
        assert machine.asked("auto", device) == {"mixed_precision": wanted}
        assert bool(machine.notes) == (wanted == "no")

    def test_says_that_it_stays_in_32_bits_and_how_to_force_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        machine = Machine(monkeypatch)
        machine.asked("auto")
        (note,) = machine.notes
        assert "stays in fp32" in note
        assert "tricks.amp.precision=bf16" in note


class TestForced:
    @pytest.mark.parametrize(("precision", "wanted"), [("bf16", "bf16"), ("fp32", "no")])
    def test_whatever_the_hardware(self, monkeypatch: pytest.MonkeyPatch, precision: str, wanted: str) -> None:
        machine = Machine(monkeypatch)
        assert machine.asked(precision) == {"mixed_precision": wanted}
        assert not machine.notes

    def test_fp16_needs_a_gpu_that_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert Machine(monkeypatch, "old").asked("fp16") == {"mixed_precision": "fp16"}
        with pytest.raises(UserError, match="tricks.amp.precision=fp16 needs a CUDA GPU; use auto or bf16"):
            Machine(monkeypatch, "old").asked("fp16", "cpu")
        with pytest.raises(UserError, match="needs a CUDA GPU"):
            Machine(monkeypatch).asked("fp16")

    def test_other_options_pass_through(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = Machine(monkeypatch).asked("bf16", step_scheduler_with_optimizer=False)
        assert found == {"mixed_precision": "bf16", "step_scheduler_with_optimizer": False}

    def test_no_other_word(self) -> None:
        with pytest.raises(ValueError, match="^precision must be "):
            Amp(precision="half")


def test_products_are_in_16_bits_and_weights_and_gradients_in_32(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch)
    config = SimpleNamespace(train=SimpleNamespace(device="cpu"))
    run: Any = SimpleNamespace(config=config, note=str)
    accelerator = Amp(precision="bf16").accelerator(run, Base(run).accelerator)
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data = torch.tensor([[1.0, 1.0]])
    inside: list[torch.dtype] = []
    layer.register_forward_hook(lambda module, inputs, output: inside.append(output.dtype))
    optimizer: Any = torch.optim.SGD(layer.parameters(), lr=1.0)
    prepared, optimizer = accelerator.prepare(nn.Sequential(layer), optimizer)
    # bf16 has 8 bits: 1 + 1/512 is 1 there, but not in fp32.
    output = prepared(torch.tensor([[1.0, 1 / 512]]))
    assert inside == [torch.bfloat16]
    assert output.dtype == torch.float32
    assert output.item() == 1.0
    accelerator.backward(output.sum() / 512)
    optimizer.step()
    assert layer.weight.dtype == layer.weight.grad.dtype == torch.float32
    assert layer.weight[0, 0].item() == 1 - 1 / 512
