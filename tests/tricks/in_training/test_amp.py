"""AMP: which precision is chosen where, what stays in 32 bits, and what a skipped step leaves alone."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from recipes.base import Base
from recipes.errors import UserError
from recipes.runtime.precision import Measurement
from recipes.testing import in_child, tiny_config, tiny_run
from tricks.in_training import amp
from tricks.in_training.amp import Amp


class Machine:
    """A pretended machine, and the run on it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, gpu: str = "none") -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu != "none")
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or gpu == "new"
        )
        device = None if gpu == "none" else torch.device("cuda")
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: device)
        self.notes: list[str] = []

    def requested(self, precision: str, device: str = "auto", **options: Any) -> dict[str, Any]:
        config = SimpleNamespace(train=SimpleNamespace(device=device))
        run: Any = SimpleNamespace(config=config, note=self.notes.append)
        inner: Any = dict
        result: Any = Amp(precision=precision).accelerator(run, inner, **options)
        return dict(result)


class TestAuto:
    @pytest.mark.parametrize(
        ("gpu", "device", "expected"),
        [
            ("new", "auto", "bf16"),
            ("new", "cuda", "bf16"),
            ("old", "auto", "fp16"),
            ("old", "cuda", "fp16"),
            ("new", "cpu", "no"),
            ("none", "auto", "no"),
            ("none", "cpu", "no"),
        ],
    )
    def test_a_gpu_has_a_rule_and_a_cpu_without_a_measurement_is_in_fp32(
        self, monkeypatch: pytest.MonkeyPatch, gpu: str, device: str, expected: str
    ) -> None:
        machine = Machine(monkeypatch, gpu)
        assert machine.requested("auto", device) == {"mixed_precision": expected}
        assert bool(machine.notes) == (expected == "no")

    def test_a_note_explains_fp32_and_how_to_force_bf16(self, monkeypatch: pytest.MonkeyPatch) -> None:
        machine = Machine(monkeypatch)
        machine.requested("auto")
        (note,) = machine.notes
        assert "stays in fp32" in note
        assert "tricks.amp.precision=bf16" in note

    @pytest.mark.parametrize(
        ("gpu", "device", "is_measured"),
        [
            ("none", "auto", True),
            ("none", "cpu", True),
            ("new", "cpu", True),
            ("new", "auto", False),
            ("old", "cuda", False),
        ],
    )
    def test_only_a_cpu_that_trains_is_measured(
        self, monkeypatch: pytest.MonkeyPatch, gpu: str, device: str, is_measured: bool
    ) -> None:
        Machine(monkeypatch, gpu)
        monkeypatch.setattr(amp, "measure_once", lambda folder: Measurement(fp32=1.0, bf16=0.5))
        config: Any = SimpleNamespace(train=SimpleNamespace(device=device, threads=None))
        measured = Amp(precision="auto").measure_settings(config)
        assert {name: value for name, (value, _) in measured.items()} == ({"precision": "bf16"} if is_measured else {})

    def test_the_measurement_is_on_the_threads_of_the_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Machine(monkeypatch)
        set_threads: list[int] = []
        monkeypatch.setattr(torch, "set_num_threads", set_threads.append)
        monkeypatch.setattr(amp, "measure_once", lambda folder: Measurement(fp32=float(len(set_threads)), bf16=0.5))
        config: Any = SimpleNamespace(train=SimpleNamespace(device="cpu", threads=3))
        assert Amp(precision="auto").measure_settings(config)["precision"][0] == "bf16"
        assert set_threads == [3]


class TestForced:
    @pytest.mark.parametrize(("precision", "expected"), [("bf16", "bf16"), ("fp32", "no")])
    def test_whatever_the_hardware(self, monkeypatch: pytest.MonkeyPatch, precision: str, expected: str) -> None:
        machine = Machine(monkeypatch)
        assert machine.requested(precision) == {"mixed_precision": expected}
        assert not machine.notes

    def test_fp16_needs_a_gpu_that_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert Machine(monkeypatch, "old").requested("fp16") == {"mixed_precision": "fp16"}
        with pytest.raises(UserError, match="tricks.amp.precision=fp16 needs a CUDA GPU; use auto or bf16"):
            Machine(monkeypatch, "old").requested("fp16", "cpu")
        with pytest.raises(UserError, match="needs a CUDA GPU"):
            Machine(monkeypatch).requested("fp16")

    def test_other_options_pass_through(self, monkeypatch: pytest.MonkeyPatch) -> None:
        result = Machine(monkeypatch).requested("bf16", step_scheduler_with_optimizer=False)
        assert result == {"mixed_precision": "bf16", "step_scheduler_with_optimizer": False}

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


@pytest.mark.slow
def test_a_run_in_16_bits_is_close_to_one_in_32(tmp_path: Path) -> None:
    def losses(precision: str) -> np.ndarray:
        longer = ["train.learning_rate=3e-3", "train.max_updates=60"]
        run = tiny_run(tiny_config("+tricks=[amp]", f"tricks.amp.precision={precision}", *longer), tmp_path)
        run.fit()
        return np.array([line["loss"] for line in run.history.read() if "loss" in line and "split" not in line])

    full, half = in_child(lambda: losses("fp32")), in_child(lambda: losses("bf16"))
    assert full[0] - full[-1] > 0.2  # it learns
    assert np.abs(full - half).max() < 0.05
    assert (full != half).any()


def test_a_step_that_overflows_is_skipped_and_not_counted_scheduled_or_averaged(tmp_path: Path) -> None:
    """A real loss scale, so large that the first gradients overflow; it is halved until they do not."""

    def trained() -> tuple[list[int], list[float], int, list[float]]:
        plain = Base.accelerator

        def scaling(base: Base, **options: Any) -> Accelerator:
            accelerator = plain(base, **options)
            accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
            return accelerator

        Base.accelerator = scaling  # type: ignore[method-assign]
        run = tiny_run(tiny_config("+tricks=[swa]", "tricks.swa.start=0.1"), tmp_path)
        loss = run.seams.loss
        run.seams.loss = lambda logits, targets: 30 * loss(logits, targets)
        counts, rates, weights = [0], [], [float(run.head.weight.detach().sum())]
        for batch in run.seams.batches(run.train, 0):
            run._step(batch)
            counts.append(run.updates)
            rates.append(run.factor)
            weights.append(float(run.head.weight.detach().sum()))
        trick: Any = run.tricks["swa"]
        return counts, rates, trick.collections, weights

    counts, rates, collected, weights = in_child(trained)
    happened = np.diff(counts)
    assert set(happened) == {0, 1}
    assert (happened == (np.diff(weights) != 0)).all()
    assert collected == counts[-1] - 2
    for before, after, step in zip(rates, rates[1:], happened, strict=False):
        assert step or before == after
    assert rates[0] < rates[-1]
