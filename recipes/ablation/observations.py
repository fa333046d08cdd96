"""From finished runs to what effects are estimated from."""

import hashlib
from collections.abc import Sequence

import numpy as np

from recipes.ablation.design import Design
from recipes.ablation.effects import Block
from recipes.ablation.pseudo_values import row_scores
from recipes.ablation.runs import FINISHED, Row
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.runs.folder import RunFolder


def blocks_of(design: Design, rows: Sequence[Row], metric: str) -> list[Block]:
    """A block for each data set that has finished runs, of their validation rows.

    Raises:
        UserError: runs on one data set were scored on different rows.
    """
    finished = [row for row in rows if row.status == FINISHED and row.arm in design.arms]
    blocks = []
    for data in dict.fromkeys(row.data for row in finished):
        own = [row for row in finished if row.data == data]
        blocks.append(
            block_of(design, own, [RunFolder(row.folder).load_predictions("validation") for row in own], metric)
        )
    return blocks


def block_of(design: Design, rows: Sequence[Row], said: Sequence[Predictions], metric: str) -> Block:
    """The runs on one data set.

    Args:
        design: whose arms they are.
        rows: the runs.
        said: what each says of the same rows.
        metric: what they are scored by.

    Raises:
        UserError: they are not the same rows.
    """
    for row, each in zip(rows, said, strict=True):
        if each.ids != said[0].ids or each.labels != said[0].labels:
            raise UserError(
                f"{row.folder} was scored on other validation rows than {rows[0].folder}; an ablation compares runs "
                "row by row. Has a file of the data changed since?"
            )
    return Block(
        name=rows[0].data,
        arms=np.array([design.arms.index(row.arm) for row in rows]),
        seeds=np.array([row.seed for row in rows]),
        rows=np.stack([row_scores(each, metric) for each in said]),
        fingerprints=[_fingerprint(each) for each in said],
        validation=hashlib.sha256(repr((said[0].ids, said[0].labels)).encode()).hexdigest(),
    )


def are_alike(one: Row, other: Row) -> bool:
    """Whether two finished runs predict the same on validation, to the last digit."""
    return len({_fingerprint(RunFolder(row.folder).load_predictions("validation")) for row in (one, other)}) == 1


def _fingerprint(said: Predictions) -> str:
    """Of what is answered too: a threshold changes that and no probability."""
    return hashlib.sha256(said.probabilities.tobytes() + said.decisions.tobytes()).hexdigest()
