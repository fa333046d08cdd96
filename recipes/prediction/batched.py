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
    run: ModelContext,
    dataset: Encoded,
    batch_size: int,
    accelerator: Accelerator | None = None,
    group: Callable[[np.ndarray, np.ndarray, int], list[np.ndarray]] = by_length,
) -> Predictions:
    """Predict a split with the present weights of the model, in the order of the data.

    Args:
        run: the model and the seams.
        dataset: the rows.
        batch_size: windows in a batch, or what `group` takes it for.
        accelerator: if given, each process predicts every n-th batch, and all of them get the full result.
        group: makes batches from the tokens and windows of each row, and the batch size.
    """
    rank, processes = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    device = next(run.bare_model.parameters()).device
    probabilities = np.zeros((len(dataset), dataset.num_classes), dtype=np.float32)
    decisions = np.zeros_like(probabilities, dtype=np.int8)
    plan = group(dataset.lengths, dataset.counts, batch_size)
    with evaluating(run.bare_model):
        for number in range(rank, len(plan), processes):
            batch = dataset.collate(plan[number], -1, number).to(device)
            predicted = run.seams.predict(batch)
            probabilities[plan[number]] = predicted.cpu().numpy()
            decisions[plan[number]] = run.seams.decide(predicted).cpu().numpy()
    # A row is zero in all processes but the one that predicted it, so the sum over processes is the full result.
    if accelerator and processes > 1:
        for values in (probabilities, decisions):
            values[:] = accelerator.reduce(torch.from_numpy(values).to(device)).cpu().numpy()
    labels = dataset.examples["label"][:]
    return Predictions(dataset.ids, labels, probabilities, decisions, run.classes, run.multi_label)


def halve_until_it_fits(
    predict: Callable[[int], Predictions], batch_size: int, message: str, smallest: int = 1
) -> tuple[Predictions, int]:
    """Predict, and halve the batch size each time that memory runs out.

    Args:
        predict: predicts with a batch size, in windows.
        batch_size: the batch size to start with.
        message: the error message if even the smallest batch does not fit.
        smallest: the batch size that is not halved any more.

    Returns:
        The predictions, and the batch size that fits.

    Raises:
        UserError: not even the smallest batch fits.
    """
    while True:
        try:
            return predict(batch_size), batch_size
        except torch.OutOfMemoryError as error:
            if batch_size <= smallest:
                raise UserError(message) from error
        # Only here, outside of `except`, are the tensors of the failed attempt free.
        batch_size //= 2
        torch.cuda.empty_cache()
