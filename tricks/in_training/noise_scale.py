"""Noise scale: how much of an update's gradient is chance, and what batch size would calm the loss.

With G the gradient of all rows and Sigma the covariance of a single row's, a batch of B rows has E|g|^2 = |G|^2 +
tr(Sigma) / B. Two random halves, with shares s_1 and s_2 of the rows, and their sum give both without bias:
|G|^2 = (|g|^2 - |s_1 g_1|^2 - |s_2 g_2|^2) / (1 - s_1^2 - s_2^2), tr(Sigma) / B = |g|^2 - |G|^2. Each is averaged over
measurements by itself; the noise scale is tr(Sigma) / |G|^2: the batch size at which signal and noise are alike.

Source: McCandlish, Kaplan, Amodei et al. 2018, An Empirical Model of Large-Batch Training, arXiv 1812.06162 (the simple
    noise scale, appendix A.1; to reach the same loss, batches of B take S (1 + scale / B) updates).
Cost: one pass; measured updates run as two halves, each of them in parts and on processes as batches are.
Use when: the loss fluctuates and one must know whether that is a problem. Avoid when: memory is short: the gradient is
    held twice. No update is changed.
Composes: gradient/plan, after mixing, whose partners make rows a little alike: the scale comes out a little low.
    Excludes what moves weights by the gradient of the whole batch (gradient/sharpen).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from recipes import Batch, Loss, Run, Trick, allowed
from recipes.compose.remedies import remedies_for
from recipes.toolkit.gradients import add, copy_gradients


@dataclass
class NoiseScale(Trick):
    """Run a batch in two random halves, now and then."""

    every_updates: int = allowed("[0, inf)")
    """Updates between measurements; 0: never."""
    memory: int = allowed("[1, inf)")
    """Measurements over which the figures are smoothed."""

    slots = {"gradient": "plan"}
    neutral = {"every_updates": 0}
    remedies = {"noisy_loss": "+tricks=[{name}] says whether it is chance and what batch would calm it"}

    def __post_init__(self) -> None:
        """Nothing is measured yet."""
        super().__post_init__()
        self.measured = 0
        self.means = dict.fromkeys(("signal", "noise", "signal_squared", "noise_squared"), 0.0)

    def excludes(self) -> Mapping[str, str]:
        """Halves would each move the weights in a direction of their own."""
        return {"gradient/sharpen": "one measures halves of a batch, the other moves weights by the whole of it"}

    def gradient(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """The halves' gradients add up to the batch's own."""
        halves = self._halves(run, batch) if self.every_updates and run.batches_done % self.every_updates == 0 else []
        if len(halves) < 2:
            return inner(batch)
        scaler = run.accelerator.scaler
        unit = 1.0 if scaler is None else scaler.get_scale() ** 2
        before, loss, lengths, shares = copy_gradients(run.parameters), Loss(), [], []
        for number, rows in enumerate(halves):
            half, earlier = batch.take(rows, number), copy_gradients(run.parameters)
            loss += inner(half)
            lengths.append(squared_length(run.parameters) / unit)
            shares.append(float(half.weights.sum()) / batch.total)
            add(run.parameters, earlier)
        self.measure(lengths, shares, squared_length(run.parameters) / unit, batch.examples)
        add(run.parameters, before)
        run.log(**self.figures())
        if run.batches_done + self.every_updates >= run.total_updates:
            fitting = remedies_for("large_batch", run.config.tricks)
            run.say(self.in_words(run.config.train.batch_size, run.total_updates, fitting))
        return loss

    def _halves(self, run: Run, batch: Batch) -> list[np.ndarray]:
        """The rows of two random halves that have weight; a document's windows stay together."""
        documents = np.arange(len(batch)) if batch.documents is None else batch.documents.numpy()
        names = run.generator("noise_scale", batch).permutation(np.unique(documents))
        middle = len(names) // 2
        halves = [np.flatnonzero(np.isin(documents, part)) for part in (names[:middle], names[middle:])]
        return [rows for rows in halves if float(batch.weights[torch.from_numpy(rows)].sum()) > 0]

    def measure(self, lengths: Sequence[float], shares: Sequence[float], whole: float, rows: int) -> None:
        """Take a measurement into the averages.

        Args:
            lengths: the squared length of each half's share of the gradient.
            shares: what each half has of the batch's weight.
            whole: the squared length of the whole gradient.
            rows: of the batch.
        """
        if not math.isfinite(whole + sum(lengths)):
            return
        # E of a half's is share^2 |G|^2 + share tr / rows, so their sum and the whole have the same noise.
        signal = (whole - sum(lengths)) / (1 - sum(share**2 for share in shares))
        noise = (whole - signal) * rows
        self.measured += 1
        new = 1 / min(self.memory, self.measured)
        found = {"signal": signal, "noise": noise, "signal_squared": signal**2, "noise_squared": noise**2}
        self.means = {name: (1 - new) * self.means[name] + new * value for name, value in found.items()}

    def figures(self) -> dict[str, float]:
        """The smoothed noise scale, and a band of two standard errors of its logarithm; for the history."""
        signal, noise = self.means["signal"], self.means["noise"]
        if self.measured < 2 or signal <= 0 or noise <= 0:
            return {}
        count = min(self.memory, self.measured)
        squares = (self.means[f"{name}_squared"] / self.means[name] ** 2 for name in ("signal", "noise"))
        error = math.sqrt(sum(max(0.0, square - 1) for square in squares) / (count - 1))
        band = math.exp(2 * error) if error < 100 else math.inf
        scale = noise / signal
        return {"noise_scale": scale, "noise_scale_low": scale / band, "noise_scale_high": scale * band}

    def in_words(self, batch_size: int, updates: int, fitting: Sequence[str] = ()) -> str:
        """What that means for this run.

        Args:
            batch_size: the run's.
            updates: all of the run.
            fitting: what lets larger batches fit in memory.
        """
        found = self.figures()
        if not found or found["noise_scale_high"] > 100 * found["noise_scale"]:
            return f"{self.name}: measurements are too few to tell signal from noise; take more, or train longer."
        scale = found["noise_scale"]
        low, high = found["noise_scale_low"], found["noise_scale_high"]
        said = (
            f"{self.name}: about {scale:,.0f} rows ({low:,.0f} to {high:,.0f}); with batches of {batch_size}, "
            f"{scale / (scale + batch_size):.0%} of an update's squared gradient is chance."
        )
        if batch_size >= scale:
            return f"{said} Batches are large enough: larger ones would hardly calm the loss."
        fewer = 2 * updates / (1 + scale / batch_size)
        return (
            f"{said} So the loss must fluctuate, which is no fault. With batches of {scale:,.0f} it would be 50%, and "
            f"training would get as far in about {fewer:,.0f} updates instead of {updates:,}, over "
            f"{fewer * scale / (updates * batch_size):.1f} times the rows; set train.batch_size"
            f"{', and ' if fitting else ''}{' or '.join(fitting)}."
        )

    def state(self) -> dict[str, Any]:
        """The averages."""
        return {"measured": self.measured, **self.means}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on with them."""
        self.measured = state["measured"]
        self.means = {name: state[name] for name in self.means}


def squared_length(parameters: Sequence[nn.Parameter]) -> float:
    """Of all gradients as one vector."""
    gradients = [each.grad for each in parameters if each.grad is not None]
    return float(torch.stack(torch._foreach_norm(gradients)).square().sum()) if gradients else 0.0
