"""Texts from outside that must not be in other splits, and are of no use if they are training rows already."""

from datasets import Dataset

from recipes.data import duplicates
from recipes.data.unlabelled import leave_out_evaluated
from recipes.errors import UserError
from recipes.trick import Run

NEEDS_PACKAGE = "near-duplicates need the package datasketch: pip install 'trickbook[deduplicate]'"


def leave_out_known(run: Run, rows: Dataset, examples: Dataset, threshold: float, setting: str) -> Dataset:
    """Clean rows, and leave out those that repeat one another or a training row, or that are nearly in another split.

    Args:
        run: the run whose splits they are compared with.
        rows: the rows as they were read.
        examples: the training rows, cleaned.
        threshold: Jaccard similarity of near-duplicates; 1: exact duplicates only.
        setting: dotted path of the threshold.

    Raises:
        UserError: near-duplicates need a package that is missing.
    """
    try:
        unseen = leave_out_evaluated(run.clean_rows(rows), run.splits, run.clean_rows, threshold)
    except ImportError as error:
        raise UserError(
            f"{setting}={threshold:g}: {NEEDS_PACKAGE}, or leave out only equal texts with {setting}=1.0."
        ) from error
    training = set(duplicates.fold_rows(examples))
    return unseen.select([row for row, text in enumerate(duplicates.fold_rows(unseen)) if text not in training])


def note_unread_test(run: Run, name: str) -> None:
    """Note that texts of the test split are not found where it is not read.

    Args:
        run: the run.
        name: of the trick.
    """
    # A fold does not score test either, but knows its rows as hidden ones.
    if not run.config.evaluate.test and not run.splits.is_fold:
        run.note(f"{name}: with evaluate.test=false test is not read, so texts that are in it are not found.")
