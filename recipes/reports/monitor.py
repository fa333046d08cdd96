"""What a training run shows while it runs: each thing once, in a line, with what to do."""

import math
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from recipes.compose.remedies import remedies_for

WINDOW = 30
"""Updates that are looked back on."""


class Watch:
    """Reads a history line by line; the same lines give the same sentences, so a resumed run says nothing twice.

    Args:
        num_classes: of the data.
        several: whether a row may have several labels.
        tricks: the config's; those that are on are not advised.
    """

    def __init__(self, num_classes: int, multi_label: bool, tricks: Mapping[str, Mapping[str, Any]]) -> None:
        self.tricks = tricks
        self.chance = math.log(2) if multi_label else math.log(num_classes)
        self.losses: deque[float] = deque(maxlen=WINDOW)
        self.norms: deque[float] = deque(maxlen=WINDOW)
        self.updates = 0
        self.lowest: float | None = None
        self.higher = self.constant = 0
        self.said: set[str] = set()

    def see(self, line: Mapping[str, Any]) -> list[str]:
        """What a further line of the history gives reason to say."""
        found = self._evaluation(line) if "split" in line else self._update(line)
        new = [(kind, sentence) for kind, sentence in found if kind not in self.said]
        self.said |= {kind for kind, _ in new}
        return [sentence for _, sentence in new]

    def _update(self, line: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        loss, norm, update = line.get("loss"), line.get("grad_norm"), line["update"]
        self.updates += 1
        if loss is None or norm is None or not math.isfinite(loss) or not math.isfinite(norm):
            yield (
                "skipped",
                f"update {update} had no finite loss or gradient. With a loss scale (fp16) a few are no fault; where "
                "it stands in skipped.jsonl, scripts/doctor.py says which module, or which rows, make it so.",
            )
            return
        if len(self.losses) == WINDOW:
            mean = sum(self.losses) / WINDOW
            spread = (sum((each - mean) ** 2 for each in self.losses) / WINDOW) ** 0.5
            if loss > mean + 8 * spread and loss > 2 * mean and loss > 0.5 * self.chance:
                yield (
                    "spike",
                    f"the loss jumped to {loss:.2f} at update {update}; the {WINDOW} before had {mean:.2f}. If it "
                    "stays there, lower train.learning_rate or set train.clip_norm=1.0; once is no harm.",
                )
            middle = sorted(self.norms)[WINDOW // 2]
            if norm > 100 * middle and norm > 10:
                yield (
                    "explosion",
                    f"the gradient's norm is {norm:.3g} at update {update}, {norm / max(middle, 1e-12):.0f} times what "
                    "it was; set train.clip_norm=1.0, or lower train.learning_rate.",
                )
        self.losses.append(loss)
        self.norms.append(norm)
        if self.updates == 4 * WINDOW:
            mean = sum(self.losses) / len(self.losses)
            if 0.97 * self.chance < mean < 1.03 * self.chance:
                yield (
                    "plateau",
                    f"after {self.updates} updates the loss is {mean:.3f}, that of answering every class alike "
                    f"({self.chance:.3f}): nothing is learnt. Look at train.learning_rate, then run scripts/doctor.py, "
                    "whose check overfitting_one_batch says whether it can learn.",
                )
            spread = (sum((each - mean) ** 2 for each in self.losses) / len(self.losses)) ** 0.5
            if spread > 0.5 * mean and mean > 0.1 * self.chance:
                alone = "which alone is no fault"
                advice = "; ".join([alone, *remedies_for("noisy_loss", self.tricks)])
                yield (
                    "fluctuation",
                    f"the loss moves by {spread / mean:.0%} of itself from update to update, {advice}.",
                )

    def _evaluation(self, line: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        update, loss = line["update"], line.get("loss")
        self.constant = self.constant + 1 if line.get("mcc") == 0 else 0
        if self.constant == 2:
            yield (
                "collapse",
                f"validation after update {update} is answered with one class only, for the second time; if it "
                "stays so, lower train.learning_rate, or weigh rare classes (recipe=imbalanced).",
            )
        if loss is None:
            return
        if self.lowest is None or loss < self.lowest:
            self.lowest, self.higher = loss, 0
        elif loss > 1.2 * self.lowest and self.losses and sum(self.losses) / len(self.losses) < 0.7 * self.lowest:
            self.higher += 1
        if self.higher == 2:
            average = sum(self.losses) / len(self.losses)
            yield (
                "overfitting",
                f"validation loss is {loss:.3f} after update {update} and was {self.lowest:.3f}, while training's "
                f"is {average:.3f}: the rows are learnt by heart. evaluate.weights=best keeps "
                "the better weights, evaluate.early_stopping=2 saves the time.",
            )
