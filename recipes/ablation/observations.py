"""From finished runs to the blocks that effects are estimated from."""

import hashlib
from collections.abc import Sequence

import numpy as np

from recipes.ablation.design import Design
from recipes.ablation.effects import Block
from recipes.ablation.runs import FINISHED, Row
from recipes.config import saved_config, value_at
from recipes.doctor.pseudo_values import score_rows
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.runs.folder import RunFolder


def load_blocks(design: Design, rows: Sequence[Row], metric: str) -> list[Block]:
    """Load a block of validation scores for each data set that has finished runs.

    Raises:
        UserError: runs on one data set and fold were scored on different rows.
    """
    finished = [row for row in rows if row.status == FINISHED and row.arm in design.arms]
    blocks = []
    for data in dict.fromkeys(row.data for row in finished):
        of_data = [row for row in finished if row.data == data]
        by_fold: dict[int | None, list[Row]] = {}
        for row in of_data:
            by_fold.setdefault(value_at(RunFolder(row.folder).config, "data.fold"), []).append(row)
        of_folds = [
            build_block(design, of_fold, [_load_validation(row) for row in of_fold], metric)
            for of_fold in by_fold.values()
        ]
        if len(of_folds) > 1:
            fold_count = saved_config(RunFolder(of_data[0].folder).config).data.fold_count
            of_folds = [combine_folds(of_folds, fold_count)]
        blocks += of_folds
    return blocks


def combine_folds(blocks: Sequence[Block], fold_count: int) -> Block:
    """Combine the blocks of the folds of a data set into one, in which each fold has its own rows.

    Args:
        blocks: one for each fold that runs are scored on.
        fold_count: number of folds of the partition.
    """
    run_counts = [len(block.arms) for block in blocks]
    rows = np.full((sum(run_counts), sum(block.rows.shape[1] for block in blocks)), np.nan)
    run, row = 0, 0
    for block in blocks:
        rows[run : run + block.rows.shape[0], row : row + block.rows.shape[1]] = block.rows
        run, row = run + block.rows.shape[0], row + block.rows.shape[1]
    return Block(
        name=blocks[0].name,
        arms=np.concatenate([block.arms for block in blocks]),
        seeds=np.concatenate([block.seeds for block in blocks]),
        rows=rows,
        fingerprints=[fingerprint for block in blocks for fingerprint in block.fingerprints],
        validation=hashlib.sha256(repr([block.validation for block in blocks]).encode()).hexdigest(),
        folds=np.repeat(np.arange(len(blocks)), run_counts),
        fold_count=fold_count,
    )


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
