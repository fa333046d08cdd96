"""The part of a page on errors: texts whose label may be wrong, and texts that are hard."""

from collections.abc import Iterator, Sequence

import numpy as np

from recipes.config import saved_config
from recipes.data.splits import read_splits
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.reports.document import Heading, Part, Quotes
from recipes.reports.formats import shorten_text
from recipes.runs.folder import RunFolder

MAX_EXAMPLES = 20
"""Rows of each list of examples."""
MAX_CHARACTERS = 400
"""Characters that are shown of a text."""
SURE = 0.9
"""Probability from which on a wrong prediction makes its label suspicious."""


def error_parts(run: RunFolder, predictions: Predictions, level: int) -> Iterator[Part]:
    """The errors with the highest loss: first those whose label may be wrong, as the model is sure of another one."""
    if predictions.multi_label:
        return
    losses, names, probabilities = _losses(predictions), predictions.names(), predictions.probabilities
    by_loss = [row for row in np.argsort(-losses, kind="stable") if losses[row] > 0]
    errors = [row for row in by_loss if names[row] != predictions.labels[row]]
    suspicious = [row for row in errors if probabilities[row].max() >= SURE][:MAX_EXAMPLES]
    hardest = [row for row in errors if row not in suspicious][:MAX_EXAMPLES]
    texts = _texts(run, predictions)
    yield Heading("Errors to read, on validation", level)
    # Whoever reads test rows and then changes the run has a test score that is too good.
    yield "These are validation rows: test rows stay unread, so that the test score stays honest."
    if isinstance(texts, str) and errors:
        yield texts
    for title, rows in (
        (f"Check the label: the model is at least {SURE:.0%} sure of another one", suspicious),
        ("The highest loss of the other errors", hardest),
    ):
        yield Heading(title, level + 1)
        quotes = [
            (
                "" if isinstance(texts, str) else shorten_text(texts[row], MAX_CHARACTERS),
                [
                    ("label", str(predictions.labels[row])),
                    ("prediction", str(names[row])),
                    ("probability", f"{probabilities[row].max():.3f}"),
                    ("loss", f"{losses[row]:.2f}"),
                    ("id", str(predictions.ids[row])),
                ],
            )
            for row in rows
        ]
        yield Quotes(quotes) if quotes else "None."


def _losses(predictions: Predictions) -> np.ndarray:
    """The loss of each row, (row); -1 where its label is missing or not one of the classes."""
    index = {name: column for column, name in enumerate(predictions.classes)}
    losses = [
        -np.log(max(float(probabilities[index[label]]), 1e-12)) if label in index else -1.0
        for label, probabilities in zip(predictions.labels, predictions.probabilities, strict=True)
    ]
    return np.array(losses)


def _texts(run: RunFolder, predictions: Predictions) -> Sequence[str] | str:
    """The texts of the validation split, or why they cannot be shown."""
    try:
        splits = read_splits(saved_config(run.config).data, run.config["evaluate"]["extra"], test=False)
    except UserError as error:
        return f"The texts cannot be read again: {' '.join(error.problems)}"
    rows = splits.validation
    if list(rows["id"]) != list(predictions.ids):
        return "The texts cannot be shown: the data has changed since."
    pairs = rows["text_pair"]
    return [text if pair is None else f"{text} ⟂ {pair}" for text, pair in zip(rows["text"], pairs, strict=True)]
