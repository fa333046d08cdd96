"""Noise scale: measure how much of an update's gradient is noise, and which batch size would smooth the loss.

Let G be the gradient over all rows and Sigma the covariance of single-row gradients. A batch of B rows has E|g|^2 =
|G|^2 + tr(Sigma) / B. Two random halves with fractions s_1 and s_2 of the rows give unbiased estimates of both terms:
|G|^2 = (|g|^2 - |s_1 g_1|^2 - |s_2 g_2|^2) / (1 - s_1^2 - s_2^2), tr(Sigma) / B = |g|^2 - |G|^2. Each is averaged over
measurements. The noise scale tr(Sigma) / |G|^2 is the batch size at which signal and noise are equal. Its 95 % interval
is Fieller's for a ratio of two correlated means. Where |G|^2 is not distinguishable from 0, it has no upper end; then
the noise scale is at least the lower end.

Source: McCandlish, Kaplan, Amodei et al. 2018, An Empirical Model of Large-Batch Training, arXiv 1812.06162 (the simple
    noise scale, appendix A.1; to reach the same loss, batches of B take S (1 + scale / B) updates). Fieller 1954, Some
    Problems in Interval Estimation.
Cost: one pass; a measured update runs as two halves. No update is changed.
Use when: the loss fluctuates and you need to know whether that is a problem. Avoid when: memory is short: the gradient
    is stored twice.
Composes: gradient/plan, after mixing. Mixing makes rows slightly similar, so the scale comes out slightly low. Excludes
    tricks that move weights by the gradient of the full batch (gradient/sharpen).
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
from recipes.toolkit.gradients import add_gradients, take_gradients


@dataclass
class NoiseScale(Trick):
    """Run some batches in two random halves and compare the gradients."""

    every_updates: int = allowed("[0, inf)")
    """Updates between measurements; 0: never."""
    memory: int = allowed("[1, inf)")
    """Measurements over which the figures are smoothed."""

    slots = {"gradient": "plan"}
    neutral = {"every_updates": 0}
    remedies = {"noisy_loss": "+tricks=[{name}] reports whether it is noise and which batch size would reduce it"}
    replays = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.measured = 0
        self.means = dict.fromkeys(("signal", "noise", "signal_squared", "noise_squared", "product"), 0.0)
        self.squared_weights = 0.0

    def excludes(self) -> Mapping[str, str]:
        """Exclude tricks that would move the weights differently for each half."""
        return {"gradient/sharpen": "one measures halves of a batch, the other moves weights by the full batch"}

    def gradient(self, run: Run, inner: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """Run the halves, whose gradients add up to that of the batch."""
        halves = self._halves(run, batch) if self.every_updates and run.batches_done % self.every_updates == 0 else []
        if len(halves) < 2:
            return inner(batch)
        scaler = run.accelerator.scaler
        unit = 1.0 if scaler is None else scaler.get_scale() ** 2
        before, loss, lengths, fractions = take_gradients(run.parameters), Loss(), [], []
        for number, rows in enumerate(halves):
            half, previous = batch.take(rows, number), take_gradients(run.parameters)
            loss += inner(half)
            lengths.append(squared_length(run.parameters) / unit)
            fractions.append(float(half.weights.sum()) / float(batch.total))
            add_gradients(run.parameters, previous)
        self.measure(lengths, fractions, squared_length(run.parameters) / unit, batch.examples)
        add_gradients(run.parameters, before)
        run.log(**self.figures())
        if run.batches_done + self.every_updates >= run.total_updates:
            fitting = remedies_for("large_batch", run.config.tricks)
            run.say(self.summarize(run.config.train.batch_size, run.total_updates, fitting))
        return loss

    def _halves(self, run: Run, batch: Batch) -> list[np.ndarray]:
        """The rows of two random halves, without halves of weight 0; windows of a document stay together."""
        documents = np.arange(len(batch)) if batch.documents is None else batch.documents.numpy()
        names = run.generator("noise_scale", batch).permutation(np.unique(documents))
        middle = len(names) // 2
        halves = [np.flatnonzero(np.isin(documents, part)) for part in (names[:middle], names[middle:])]
        return [rows for rows in halves if float(batch.weights[torch.from_numpy(rows)].sum()) > 0]

    def measure(self, lengths: Sequence[float], fractions: Sequence[float], squared_total: float, rows: int) -> None:
        """Add a measurement to the averages; one with NaN or inf is ignored.

        Args:
            lengths: the squared norm of each half's contribution to the gradient.
            fractions: the fraction of the batch's weight in each half.
            squared_total: the squared norm of the total gradient.
            rows: number of rows of the batch.
        """
        if not math.isfinite(squared_total + sum(lengths)):
            return
        # A half has the expectation fraction^2 |G|^2 + fraction tr / rows: the noise of both sums to the total noise.
        signal = (squared_total - sum(lengths)) / (1 - sum(fraction**2 for fraction in fractions))
        noise = (squared_total - signal) * rows
        self.measured += 1
        new = 1 / min(self.memory, self.measured)
        sample = {
            "signal": signal,
            "noise": noise,
            "signal_squared": signal**2,
            "noise_squared": noise**2,
            "product": signal * noise,
        }
        self.means = {name: (1 - new) * self.means[name] + new * value for name, value in sample.items()}
        self.squared_weights = (1 - new) ** 2 * self.squared_weights + new**2

    def figures(self) -> dict[str, float]:
        """The smoothed noise scale and its 95 % interval, for the history; the ends that the data has."""
        signal, noise = self.means["signal"], self.means["noise"]
        if min(self.measured, self.memory) < 2 or noise <= 0:
            return {}
        freedom = 1 / self.squared_weights - 1
        # Squared half widths of intervals: the quantile squared times the (co)variances of both means.
        from scipy.stats import t as student  # late: the doctor imports every trick at a start, and this takes long

        unit = student.ppf(0.975, freedom) ** 2 / freedom
        signal_width = unit * (self.means["signal_squared"] - signal**2)
        noise_width = unit * (self.means["noise_squared"] - noise**2)
        joint = unit * (self.means["product"] - signal * noise)
        # All scales x for which noise - x signal is not distinguishable from 0: a x^2 - 2 b x + c <= 0.
        a, b, c = signal**2 - signal_width, noise * signal - joint, noise**2 - noise_width
        if a > 0 and signal < 0:
            return {}
        larger = b + math.sqrt(max(0.0, b**2 - a * c))
        figures = {"noise_scale": noise / signal} if signal > 0 else {}
        figures["noise_scale_low"] = c / larger if c > 0 else 0.0
        return figures | ({"noise_scale_high": larger / a} if a > 0 else {})

    def summarize(self, batch_size: int, updates: int, fitting: Sequence[str] = ()) -> str:
        """Explain the noise scale for this run.

        Args:
            batch_size: batch size of the run.
            updates: number of updates of the run.
            fitting: overrides that let larger batches fit in memory.
        """
        figures = self.figures()
        low, high = figures.get("noise_scale_low", 0.0), figures.get("noise_scale_high")
        if high is None and low < 1:
            return f"{self.name}: measurements are too few to tell signal from noise; take more, or train longer."
        if high is None:
            return (
                f"{self.name}: at least {low:,.0f} rows; with batches of {batch_size}, at least "
                f"{low / (low + batch_size):.0%} of an update's squared gradient is noise. The signal is too small for "
                f"an upper bound. Measure more often (tricks.{self.name}.every_updates), average over more "
                f"(tricks.{self.name}.memory), or train longer."
            )
        scale = figures["noise_scale"]
        summary = (
            f"{self.name}: about {scale:,.0f} rows ({low:,.0f} to {high:,.0f}); with batches of {batch_size}, "
            f"{scale / (scale + batch_size):.0%} of an update's squared gradient is noise."
        )
        if batch_size >= scale:
            return f"{summary} Batches are large enough: larger ones would hardly smooth the loss."
        fewer = 2 * updates / (1 + scale / batch_size)
        return (
            f"{summary} So fluctuation of the loss is expected. With batches of {scale:,.0f} it would be 50%, and "
            f"training would get as far in about {fewer:,.0f} updates instead of {updates:,}, over "
            f"{fewer * scale / (updates * batch_size):.1f} times the rows; set train.batch_size"
            f"{', and ' if fitting else ''}{' or '.join(fitting)}."
        )

    def state(self) -> dict[str, Any]:
        """The averages."""
        return {"measured": self.measured, "squared_weights": self.squared_weights, **self.means}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore the averages."""
        self.measured, self.squared_weights = state["measured"], state["squared_weights"]
        self.means = {name: state[name] for name in self.means}


def squared_length(parameters: Sequence[nn.Parameter]) -> float:
    """The squared norm of all gradients as one vector."""
    gradients = [each.grad for each in parameters if each.grad is not None]
    return float(torch.stack(torch._foreach_norm(gradients)).square().sum()) if gradients else 0.0
