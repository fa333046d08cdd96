"""Distill: learn from the probabilities of a finished run, a teacher, next to the labels.

loss = (1 - w) l + w T^2 CE(softmax(z' / T), softmax(z / T)) per row, with logits z, the teacher's logits z', weight w
and temperature T; with multiple labels per row, the mean of the classes' binary cross-entropies. T^2 keeps the size of
the gradient. The teacher reads each training row once, added ones too, as this run cleans it. Its probabilities are
cached.

Any finished run of the same classes can teach: a fused one, one of another model, or one of the same config. The latter
is born-again distillation, and takes two commands: `python train.py hydra.run.dir=runs/first`, then
`python train.py +tricks=[distill] tricks.distill.teacher=runs/first`. The second run can teach a third one.

Source: Hinton, Vinyals, Dean 2015, Distilling the Knowledge in a Neural Network, arXiv 1503.02531 (T from 1 to 20, most
    weight on the teacher); born-again: Furlanello et al. 2018, arXiv 1805.04770 (T = 1).
Cost: one pass, and one pass of the teacher over the rows before training, for a fused run one of each member. The
    teacher is in memory only then.
Use when: a fused run is too expensive to predict with, and you can measure what one model keeps of its gain. It may
    keep nothing: in four draws of 200 rows of eda_trec (50 updates, MiniLM) five folds gained 0.0140 ± 0.0101 in
    accuracy. One model kept 0.0005 ± 0.0084, with 2,000 unlabelled texts (`pseudo_label`) -0.010 ± 0.025, with a
    teacher of its own config -0.003 ± 0.009 (docs/evidence/distillation.md).
Avoid when: there are only the rows that the teacher was trained on; or it was trained on rows that evaluate this run:
    scores are then too good, and the start warns where the settings show it.
Composes: examples/annotate: after all tricks that add rows; loss/weighting (the labels' part) and objective/term (the
    teacher's part). Mixing mixes the teacher's probabilities like the targets. Class weights, smoothing and other
    criteria act on the labels' part only.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from datasets import Dataset
from torch import Tensor
from torch.nn import functional

from recipes import Batch, Outcome, Run, Trick, allowed
from recipes.data.encoding import TEACHER, with_distributions
from recipes.prediction.teacher import Teacher, soften


@dataclass
class Distill(Trick):
    """Add the cross-entropy between the probabilities of a teacher and those of the model."""

    teacher: str | None = allowed("")
    """Folder of the finished run."""
    temperature: float = allowed(
        "(0, inf)",
        advised="[1, 20]",
        source="1 to 20 in Hinton et al. 2015, arXiv 1503.02531",
        below="the teacher says little more than a label",
        above="all classes are nearly equal, and rounding decides",
    )
    """Divides the logits of both."""
    weight: float = allowed("[0, 1]")
    """Of the teacher; the labels have the rest."""

    slots = {"examples": "annotate", "loss": "weighting", "objective": "term"}
    neutral = {"weight": 0.0}
    replays = True

    def check(self, run: Run) -> Iterable[str]:
        """Warn if the teacher learned nothing, or may have been trained on rows that evaluate this run."""
        return self._teacher().check(run) if self.weight else ()

    def _teacher(self) -> Teacher:
        return Teacher(self.teacher, f"tricks.{self.name}.teacher")

    def examples(self, run: Run, inner: Callable[[Dataset], Dataset], examples: Dataset) -> Dataset:
        """Add the teacher's probabilities at this temperature to each row."""
        if not self.weight:
            return inner(examples)
        teacher = self._teacher()
        teacher.require_task(run.classes, run.multi_label, bool(run.config.data.text_pair))
        softened = soften(teacher.predict(examples, run.classes), self.temperature)
        return inner(with_distributions(examples, TEACHER, softened))

    def loss(self, run: Run, inner: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
        """Scale the labels' part."""
        return (1 - self.weight) * inner(logits, targets)

    def objective(self, run: Run, inner: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
        """Add the teacher's part, in at least 32 bits."""
        outcome = inner(batch)
        if batch.teacher is None:
            return outcome
        kind = torch.promote_types(outcome.logits.dtype, torch.float32)
        logits, soft_targets = outcome.logits.to(kind) / self.temperature, batch.teacher.to(kind)
        if run.multi_label:
            distance = functional.binary_cross_entropy_with_logits(logits, soft_targets, reduction="none").mean(-1)
        else:
            distance = functional.cross_entropy(logits, soft_targets, reduction="none")
        return replace(outcome, loss=outcome.loss + self.weight * self.temperature**2 * distance)
