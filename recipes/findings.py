"""The findings that a trick may answer, by the key under which it declares a remedy (`Trick.remedies`).

Whoever gives one of them (the doctor, a guard, a report, a trick) prints the remedies of all tricks that there are:
`recipes.compose.remedies`. A meaning may name values in braces; a remedy for it may use them too.
"""

import string
from collections.abc import Mapping

FINDINGS: Mapping[str, str] = {
    "batch_out_of_memory": "memory holds only {rows} of the longest rows of a training batch",
    "class_imbalance": "some labels have far fewer rows than others",
    "contradictory_labels": "one text is there among the training rows with different labels",
    "control_characters": "texts hold control characters",
    "cut_texts": "texts are longer than the model's input, and a part of them is cut off",
    "duplicates": "training rows repeat others",
    "label_in_cut_part": "the part of a text that is cut off tells the label",
    "large_batch": "larger batches are advised, which memory may not hold",
    "leaked_near_duplicates": "held-out rows are nearly training rows",
    "leaked_rows": "held-out rows are there among the training rows too",
    "long_texts": "texts are longer than any input that the model can read",
    "noisy_loss": "the loss fluctuates from update to update",
    "overconfidence": "probabilities are not right as often as they say",
    "rare_labels": "rows have several labels, some of which are rare",
    "update_out_of_memory": "memory does not hold an update",
}


def values_in(text: str) -> set[str]:
    """The names in braces."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
