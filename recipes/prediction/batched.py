"""Predict a split in batches that fit in memory."""

from collections.abc import Callable

import numpy as np
import torch
from accelerate import Accelerator

from recipes.base import evaluating
from recipes.data.batching import by_length
from recipes.data.encoding import Encoded
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.trick import ModelContext


def predict_split(
    run: ModelContext, dataset: Encoded, batch_size: int, accelerator: Accelerator | None = None
) -> Predictions:
    """Predict a split with the weights that the model has now, in the data's order.

    Args:
        run: the model and the seams.
        dataset: the rows.
        batch_size: windows to a batch.
        accelerator: deals the batches to the processes; each gets the whole result.
    """
    rank, processes = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    device = next(run.bare_model.parameters()).device
    probabilities = np.zeros((len(dataset), dataset.num_classes), dtype=np.float32)
    decisions = np.zeros_like(probabilities, dtype=np.int8)
    plan = by_length(dataset.lengths, dataset.counts, batch_size)
    with evaluating(run.bare_model):
        for number in range(rank, len(plan), processes):
            batch = dataset.collate(plan[number], -1, number).to(device)
            predicted = run.seams.predict(batch)
            probabilities[plan[number]] = predicted.cpu().numpy()
            decisions[plan[number]] = run.seams.decide(predicted).cpu().numpy()
    if accelerator and processes > 1:  # a row is zero but on the process that predicted it
        for values in (probabilities, decisions):
            values[:] = accelerator.reduce(torch.from_numpy(values).to(device)).cpu().numpy()
    labels = dataset.examples["label"]
    return Predictions(dataset.ids, labels, probabilities, decisions, run.classes, run.multi_label)


def halve_until_it_fits(
    predict: Callable[[int], Predictions], batch_size: int, told: str, smallest: int = 1
) -> tuple[Predictions, int]:
    """Predict in batches half as large wherever memory runs out.

    Args:
        predict: with batches of so many windows.
        batch_size: to begin with.
        told: what to say where memory does not hold the smallest batch.
        smallest: windows below which it does not go.

    Returns:
        The predictions, and how many windows fitted.

    Raises:
        UserError: not even the smallest batch fits.
    """
    while True:
        try:
            return predict(batch_size), batch_size
        except torch.OutOfMemoryError as error:
            if batch_size <= smallest:
                raise UserError(told) from error
        batch_size //= 2
        torch.cuda.empty_cache()
