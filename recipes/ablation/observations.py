"""From finished runs to the blocks that effects are estimated from."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recipes.ablation.design import Design
from recipes.ablation.effects import Block
from recipes.ablation.runs import FINISHED, Row
from recipes.config import saved_config
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.prediction.pseudo_values import score_rows
from recipes.runs.folder import RunFolder


@dataclass(frozen=True)
class ScoredRun:
    """The validation scores of one run."""

    rows: np.ndarray
    """What each row contributes to the score, (row)."""
    fingerprint: str
    """A hash of the predictions."""
    validation: str
    """A hash of the rows and their labels."""


def score_run(predictions: Predictions, metric: str) -> ScoredRun:
    """Score a run row by row."""
    validation = hashlib.sha256(repr((predictions.ids, predictions.labels)).encode()).hexdigest()
    return ScoredRun(score_rows(predictions, metric), _fingerprint(predictions), validation)


def load_blocks(
    design: Design, rows: Sequence[Row], metric: str, scored: dict[Path, ScoredRun] | None = None
) -> list[Block]:
    """Load a block of validation scores for each data set that has finished runs.

    Args:
        design: the arms; other runs are left out.
        rows: the runs.
        metric: the score.
        scored: the runs that were scored before by this metric; the others are added. It takes as much memory as the
            blocks do.

    Raises:
        UserError: runs on one data set and fold were scored on different rows.
    """
    scored = {} if scored is None else scored
    finished = [row for row in rows if row.status == FINISHED and row.arm in design.arms]
    for row in finished:
        if row.folder not in scored:
            scored[row.folder] = score_run(_load_validation(row), metric)
    blocks = []
    for data in dict.fromkeys(row.data for row in finished):
        of_data = [row for row in finished if row.data == data]
        by_fold: dict[int | None, list[Row]] = {}
        for row in of_data:
            by_fold.setdefault(row.fold, []).append(row)
        of_folds = [
            build_block(design, of_fold, [scored[row.folder] for row in of_fold]) for of_fold in by_fold.values()
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


def build_block(design: Design, rows: Sequence[Row], scored: Sequence[ScoredRun]) -> Block:
    """Build the block of the runs on one data set.

    Args:
        design: the design that the runs' arms belong to.
        rows: the runs.
        scored: the scores of each run, on the same rows.

    Raises:
        UserError: the scores are not of the same rows.
    """
    for row, each in zip(rows, scored, strict=True):
        if each.validation != scored[0].validation:
            raise UserError(
                f"{row.folder} was scored on other validation rows than {rows[0].folder}; an ablation compares runs "
                "row by row. Has a file of the data changed since?"
            )
    return Block(
        name=rows[0].data,
        arms=np.array([design.arms.index(row.arm) for row in rows]),
        seeds=np.array([row.seed for row in rows]),
        rows=np.stack([each.rows for each in scored]),
        fingerprints=[each.fingerprint for each in scored],
        validation=scored[0].validation,
    )


def are_alike(one: Row, other: Row) -> bool:
    """Whether two finished runs predict the same on validation, to the last stored digit."""
    return _fingerprint(_load_validation(one)) == _fingerprint(_load_validation(other))


def _load_validation(row: Row) -> Predictions:
    return RunFolder(row.folder).load_predictions("validation")


def _fingerprint(predictions: Predictions) -> str:
    """Hash probabilities and decisions: a threshold changes decisions only."""
    return hashlib.sha256(predictions.probabilities.tobytes() + predictions.decisions.tobytes()).hexdigest()
