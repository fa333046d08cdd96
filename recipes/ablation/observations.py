"""From finished runs to the blocks that effects are estimated from."""

import hashlib
from collections.abc import Sequence

import numpy as np

from recipes.ablation.design import Design
from recipes.ablation.effects import Block
from recipes.ablation.runs import FINISHED, Row
from recipes.doctor.pseudo_values import score_rows
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.runs.folder import RunFolder


def load_blocks(design: Design, rows: Sequence[Row], metric: str) -> list[Block]:
    """Load a block of validation scores for each data set that has finished runs.

    Raises:
        UserError: runs on one data set were scored on different rows.
    """
    finished = [row for row in rows if row.status == FINISHED and row.arm in design.arms]
    blocks = []
    for data in dict.fromkeys(row.data for row in finished):
        of_data = [row for row in finished if row.data == data]
        predictions = [_load_validation(row) for row in of_data]
        blocks.append(build_block(design, of_data, predictions, metric))
    return blocks


def build_block(design: Design, rows: Sequence[Row], predictions: Sequence[Predictions], metric: str) -> Block:
    """Build the block of the runs on one data set.

    Args:
        design: the design that the runs' arms belong to.
        rows: the runs.
        predictions: of each run, on the same rows.
        metric: the score.

    Raises:
        UserError: the predictions are not of the same rows.
    """
    first = predictions[0]
    for row, each in zip(rows, predictions, strict=True):
        if each.ids != first.ids or each.labels != first.labels:
            raise UserError(
                f"{row.folder} was scored on other validation rows than {rows[0].folder}; an ablation compares runs "
                "row by row. Has a file of the data changed since?"
            )
    return Block(
        name=rows[0].data,
        arms=np.array([design.arms.index(row.arm) for row in rows]),
        seeds=np.array([row.seed for row in rows]),
        rows=np.stack([score_rows(each, metric) for each in predictions]),
        fingerprints=[_fingerprint(each) for each in predictions],
        validation=hashlib.sha256(repr((first.ids, first.labels)).encode()).hexdigest(),
    )


def are_alike(one: Row, other: Row) -> bool:
    """Whether two finished runs predict the same on validation, to the last stored digit."""
    return _fingerprint(_load_validation(one)) == _fingerprint(_load_validation(other))


def _load_validation(row: Row) -> Predictions:
    return RunFolder(row.folder).load_predictions("validation")


def _fingerprint(predictions: Predictions) -> str:
    """Hash probabilities and decisions: a threshold changes decisions only."""
    return hashlib.sha256(predictions.probabilities.tobytes() + predictions.decisions.tobytes()).hexdigest()
