"""Warnings about a training run while it runs: each once, in one line, with what to do."""

import math
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from recipes.compose.remedies import remedies_for

WINDOW = 30
"""Updates that a new one is compared with."""
FLUCTUATION = 0.38
"""Noise of the loss, relative to its mean, that is reported. Batches of 8 short texts reach it after about 130 updates.

Simulated: a loss that falls smoothly, with noise of up to 0.25 of its mean, is reported in none of 1,200 runs of 2,000
updates, and with 0.3 in 0.8 % of 600.
"""
Findings = Iterator[tuple[str, str]]
"""A kind, of which only the first warning is shown, and its sentence."""


class Monitor:
    """Reads a history line by line and warns of what looks wrong.

    The same lines give the same warnings, so a resumed run that reads its history first repeats none.

    Args:
        num_classes: classes of the data.
        multi_label: whether a row may have more than one label.
        tricks: the config's; those that are on are not recommended.
    """

    def __init__(self, num_classes: int, multi_label: bool, tricks: Mapping[str, Mapping[str, Any]]) -> None:
        self.tricks = tricks
        self.chance_loss = math.log(2) if multi_label else math.log(num_classes)
        self.losses: deque[float] = deque(maxlen=WINDOW)
        self.norms: deque[float] = deque(maxlen=WINDOW)
        self.recent: deque[float] = deque(maxlen=2 * WINDOW)
        self.updates = self.rows = 0
        self.lowest: float | None = None
        self.times_higher = self.times_constant = 0
        self.reported: set[str] = set()

    def read_line(self, line: Mapping[str, Any]) -> list[str]:
        """Read one more line of the history.

        Args:
            line: of an update, or of an evaluation, which has a `split`.

        Returns:
            The warnings that are new with this line.
        """
        findings = self._check_evaluation(line) if "split" in line else self._check_update(line)
        new = [(kind, sentence) for kind, sentence in findings if kind not in self.reported]
        self.reported |= {kind for kind, _ in new}
        return [sentence for _, sentence in new]

    def _check_update(self, line: Mapping[str, Any]) -> Findings:
        composed, norm, update = line.get("loss"), line.get("grad_norm"), line["update"]
        self.updates += 1
        if composed is None or norm is None or not math.isfinite(composed) or not math.isfinite(norm):
            yield (
                "skipped",
                f"the loss or the gradient of update {update} is NaN or inf. With a loss scale (fp16) a few such "
                "updates are normal. If skipped.jsonl lists it, trickbook doctor finds the module or the rows that "
                "cause it.",
            )
            return
        # Not the loss as tricks compose it: only cross-entropy compares with chance and with the validation loss.
        loss = line.get("cross_entropy", composed)
        if loss is None or not math.isfinite(loss):
            return
        # This update against the window before it.
        if len(self.losses) == WINDOW:
            yield from self._check_jump(update, loss, norm)
        self.losses.append(loss)
        self.recent.append(loss)
        self.norms.append(norm)
        self.rows = max(self.rows, line.get("examples", 0))
        if len(self.recent) == self.recent.maxlen and "fluctuation" not in self.reported:
            yield from self._check_fluctuation(update)
        # Once, when training has had time to leave its start behind.
        if self.updates == 4 * WINDOW:
            yield from self._check_window()

    def _check_jump(self, update: int, loss: float, norm: float) -> Findings:
        mean, spread = self._mean_and_spread()
        if loss > mean + 8 * spread and loss > 2 * mean and loss > 0.5 * self.chance_loss:
            yield (
                "spike",
                f"the loss jumped to {loss:.2f} at update {update}; the mean of the {WINDOW} updates before is "
                f"{mean:.2f}. If it stays there, lower train.learning_rate or set train.clip_norm=1.0; a single jump "
                "is harmless.",
            )
        median = sorted(self.norms)[WINDOW // 2]
        if norm > 100 * median and norm > 10:
            yield (
                "explosion",
                f"the gradient norm is {norm:.3g} at update {update}, {norm / max(median, 1e-12):.0f} times its "
                "recent median; set train.clip_norm=1.0, or lower train.learning_rate.",
            )

    def _check_window(self) -> Findings:
        mean, _ = self._mean_and_spread()
        if 0.97 * self.chance_loss < mean < 1.03 * self.chance_loss:
            yield (
                "plateau",
                f"after {self.updates} updates the loss is {mean:.3f}, and predicting every class with the same "
                f"probability gives {self.chance_loss:.3f}: nothing is learned. Check train.learning_rate, then run "
                "trickbook doctor, whose check overfitting_one_batch tests whether the model can learn.",
            )

    def _check_fluctuation(self, update: int) -> Findings:
        losses = list(self.recent)
        mean = sum(losses) / len(losses)
        # From differences of neighbors, which a smooth fall hardly changes; without those around two jumps.
        squares = sorted((after - before) ** 2 for before, after in pairwise(losses))[:-4]
        noise = (sum(squares) / len(squares) / 2) ** 0.5
        if noise > FLUCTUATION * mean and mean > 0.25 * self.chance_loss:
            calming = [f"train.batch_size={4 * self.rows} about halves it"] if self.rows else []
            advice = "; ".join(["which alone is harmless", *calming, *remedies_for("noisy_loss", self.tricks)])
            yield (
                "fluctuation",
                f"the loss varies by {noise / mean:.0%} of its mean from update to update, seen over {len(losses)} "
                f"updates up to {update}, {advice}.",
            )

    def _mean_and_spread(self) -> tuple[float, float]:
        """The mean and the standard deviation of the losses in the window."""
        mean = sum(self.losses) / len(self.losses)
        return mean, (sum((each - mean) ** 2 for each in self.losses) / len(self.losses)) ** 0.5

    def _check_evaluation(self, line: Mapping[str, Any]) -> Findings:
        update, loss = line["update"], line.get("loss")
        # The Matthews correlation is 0 where all predictions are of one class.
        self.times_constant = self.times_constant + 1 if line.get("mcc") == 0 else 0
        if self.times_constant == 2:
            weighting = remedies_for("class_imbalance", self.tricks)
            advice = f", or weight rare classes more: {' or '.join(weighting)}" if weighting else ""
            yield (
                "collapse",
                f"validation after update {update} is predicted as one class only, for the second time in a row; if "
                f"it stays so, lower train.learning_rate{advice}.",
            )
        if loss is None:
            return
        # Overfitting: validation loss is well above its lowest while training loss is well below that.
        if self.lowest is None or loss < self.lowest:
            self.lowest, self.times_higher = loss, 0
        elif loss > 1.2 * self.lowest and self.losses and sum(self.losses) / len(self.losses) < 0.7 * self.lowest:
            self.times_higher += 1
        if self.times_higher == 2:
            mean, _ = self._mean_and_spread()
            yield (
                "overfitting",
                f"validation loss is {loss:.3f} after update {update}, up from {self.lowest:.3f}, while training "
                f"cross-entropy is {mean:.3f}: the training rows are memorized. evaluate.weights=best uses the better "
                "weights, evaluate.early_stopping=2 saves the time.",
            )
