"""From finished runs to what effects are estimated from."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from recipes.ablation.design import Arm, Design
from recipes.ablation.effects import Block
from recipes.ablation.rows import row_scores
from recipes.ablation.runs import FINISHED, Row
from recipes.errors import UserError
from recipes.folder import FinishedRun


def blocks_of(design: Design, rows: Sequence[Row], metric: str) -> list[Block]:
    """A block for each data set that has finished runs.

    Raises:
        UserError: runs on one data set were scored on different validation rows.
    """
    numbers = {arm: number for number, arm in enumerate(design.arms)}
    finished = [row for row in rows if row.status == FINISHED and row.arm in numbers]
    return [
        _block([row for row in finished if row.data == data], numbers, metric)
        for data in dict.fromkeys(row.data for row in finished)
    ]


def _block(rows: Sequence[Row], numbers: Mapping[Arm, int], metric: str) -> Block:
    first = rows[0]
    held = [FinishedRun(row.folder).held("validation") for row in rows]
    for row, each in zip(rows, held, strict=True):
        if each.ids != held[0].ids or each.labels != held[0].labels:
            raise UserError(
                f"{row.folder} was scored on other validation rows than {first.folder}; an ablation compares runs row "
                "by row. Leave what varies data.split_seed or data.validation_share out of the overrides."
            )
    files = [row.folder / "predictions" / "validation.csv" for row in rows]
    return Block(
        name=first.data,
        arms=np.array([numbers[row.arm] for row in rows]),
        seeds=np.array([row.seed for row in rows]),
        rows=np.stack([row_scores(each, metric) for each in held]),
        fingerprints=[hashlib.sha256(file.read_bytes()).hexdigest() for file in files],
    )
