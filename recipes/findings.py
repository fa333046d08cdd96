"""The findings that tricks can remedy. A trick declares its remedies under these keys (`Trick.remedies`).

The doctor, the guards, the reports and the tricks raise these findings. They print the remedies of all available
tricks, which `recipes.compose.remedies` collects. A meaning may name values in braces, and its remedies may use them.
"""

import string
from collections.abc import Mapping

SEVERITIES = ("error", "warning", "note")
"""Of findings, the worst first."""

FINDINGS: Mapping[str, str] = {
    "batch_out_of_memory": "memory holds only {rows} of the longest rows of a training batch",
    "class_imbalance": "some labels have far fewer rows than others",
    "contradictory_labels": "the same text occurs in several training rows with different labels",
    "control_characters": "texts contain control characters",
    "cut_texts": "texts are longer than the model's input and are truncated",
    "duplicates": "training rows repeat others",
    "label_in_cut_part": "the truncated part of a text predicts the label",
    "large_batch": "a larger batch is advised, which may not fit into memory",
    "leaked_near_duplicates": "validation or test rows are near-duplicates of training rows",
    "leaked_rows": "validation or test rows are also training rows",
    "long_texts": "texts are longer than the longest input of the model",
    "noisy_loss": "the loss fluctuates from update to update",
    "overconfidence": "predicted probabilities are higher than the accuracy",
    "rare_labels": "rows have several labels, some of which are rare",
    "removed_checkpoints": "the run in {folder} is finished, and cannot be trained further without its checkpoints",
    "update_out_of_memory": "an update does not fit into memory",
}

REMEDIED_ONCE = {"class_imbalance"}
"""Findings that a second trick would correct twice: where a trick with a remedy is on, no other is advised."""


def values_in(text: str) -> set[str]:
    """The names in braces in a text."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
