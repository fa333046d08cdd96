"""Predict texts with a run folder: load its model, its tokenizer and its tricks."""

import gc
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from datasets import Dataset
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME

from recipes import seams
from recipes.base import COST_OF_PASS, COST_OF_PASS_ON_GPU, ContextBase, prediction_seams
from recipes.compose.tricks import build
from recipes.config import saved_config
from recipes.data.batching import by_cost
from recipes.data.encoding import encode
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.models.inputs import check_token_ids, fixed_width
from recipes.models.linear import Linear, join_pairs
from recipes.models.loading import load_saved, setting_of
from recipes.prediction import ensemble
from recipes.prediction.batched import halve_until_it_fits, predict_split
from recipes.prediction.precision import autocast, choose_precision
from recipes.runs.folder import RunFolder, finished_run
from recipes.runtime.distributed import say
from recipes.state import read_tricks
from recipes.trick import Context, ModelContext, Trick

MOST_TOKENS = {"cpu": 4096, "cuda": 32_768}
"""Tokens in a batch: what stays in the caches of a CPU, and what fills a GPU."""


class LinearPredictor:
    """The predictor of a run of model=linear.

    Args:
        run: the finished run.
    """

    def __init__(self, run: RunFolder) -> None:
        self.model = Linear.load(run.folder / "model")
        self.classes, self.multi_label = self.model.classes, self.model.multi_label

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None, ids: Sequence[str]) -> Predictions:
        """Predict texts, or pairs of texts."""
        return self.model.predict(join_pairs(texts, pairs), ids, [None] * len(ids))


class Predictor(ModelContext):
    """The predictor of a run of one transformer: its model, its tokenizer, and the seams that act in prediction.

    Args:
        run: the finished run.
    """

    def __init__(self, run: RunFolder) -> None:
        self.config = saved_config(run.config)
        self.tricks = build(self.config.tricks)
        self.tokenizer = load_saved(AutoTokenizer, run.model_folder)
        self.max_length = self.tokenizer.model_max_length
        self.bare_model = _load_model(run.model_folder, self.tricks, self)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.precision = choose_precision(self.device, self._trained_in())
        self.bare_model.to(self.device)
        model_config = cast(PreTrainedModel, self.bare_model).config
        labels = cast(dict[int, str], model_config.id2label)
        self.classes = [labels[number] for number in range(len(labels))]
        self.multi_label = model_config.problem_type == "multi_label_classification"
        self.most_tokens = MOST_TOKENS[self.device]
        self.seams = prediction_seams(self, self.tricks)
        read_tricks(run.model_folder, self.tricks)

    def say(self, text: str) -> None:
        """Print a line, once for all processes."""
        say(text)

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None, ids: Sequence[str]) -> Predictions:
        """Predict texts, or pairs of texts; each time that memory runs out, batches are halved for good."""
        empty, clean = [None] * len(ids), self.seams.clean
        second = empty if pairs is None else [clean(text) for text in pairs]
        first = [clean(text) for text in texts]
        rows = Dataset.from_dict({"id": ids, "source": ids, "text": first, "text_pair": second, "label": empty})
        width = fixed_width(self.bare_model)
        encoded = encode(rows, self.seams.encode, self.tokenizer, self.classes, None, width)
        check_token_ids(self.bare_model, self.tokenizer, encoded, setting_of(self.config.model))
        group = partial(by_cost, cost_of_pass=COST_OF_PASS.get(self.device, COST_OF_PASS_ON_GPU))
        message = "one text does not fit in memory; allow more memory, or train with a smaller data.max_length."
        with autocast(self.device, self.precision):
            predictions, self.most_tokens = halve_until_it_fits(
                partial(predict_split, self, encoded, group=group),
                self.most_tokens,
                message,
                int(encoded.window_lengths.max()),
            )
        return predictions

    def _trained_in(self) -> str:
        """The precision that training measured on a CPU, or was asked for: bf16 or fp32."""
        outside = seams.tricks_around("accelerator", self.tricks)
        return "bf16" if any(getattr(self.tricks[name], "precision", None) == "bf16" for name in outside) else "fp32"


class EnsemblePredictor(Context):
    """The predictor of a fused run; one model at a time is in memory, however many members there are.

    Args:
        run: the finished run.
        members: its members and their weights.
    """

    def __init__(self, run: RunFolder, members: ensemble.Ensemble) -> None:
        self.config, self.folder, self.weights = saved_config(run.config), run.folder, members.weights
        self.classes, self.multi_label = members.classes, members.multi_label
        self.tricks = seams.deciding_tricks(build(self.config.tricks))
        self.decide = seams.compose("decide", ContextBase(self).decide, self.tricks, self)
        read_tricks(run.folder / "model", self.tricks)

    def say(self, text: str) -> None:
        """Print a line, once for all processes."""
        say(text)

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None, ids: Sequence[str]) -> Predictions:
        """Predict texts, or pairs of texts."""
        mean = sum(
            weight * ensemble.log_probabilities(predict_once(self.folder / member, texts, pairs, ids))
            for member, weight in self.weights.items()
            if weight
        )
        probabilities = ensemble.probabilities(np.asarray(mean), self.multi_label)
        decisions = self.decide(torch.from_numpy(probabilities)).numpy()
        return Predictions(ids, [None] * len(ids), probabilities, decisions, self.classes, self.multi_label)


AnyPredictor = LinearPredictor | Predictor | EnsemblePredictor


def load_predictor(run: RunFolder) -> AnyPredictor:
    """Load the predictor of a finished run.

    Raises:
        UserError: its folder, or the folder of one of its members, is incomplete or damaged, or it has no model.
    """
    run.require_model()
    run.check_model()
    if not (run.folder / "config.yaml").is_file() or not run.model_folder.is_dir():
        raise UserError(
            f"{run.folder} is incomplete: it has no config.yaml or no model folder; copy all of it, or train again."
        )
    try:
        return _load_predictor(run)
    except (OSError, SafetensorError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"{run.model_folder} is damaged ({reason}); copy all of it, or train again.") from error


def _load_predictor(run: RunFolder) -> AnyPredictor:
    if members := ensemble.read(run.folder):
        return EnsemblePredictor(run, members)
    return LinearPredictor(run) if run.config["model"]["source"] == "linear" else Predictor(run)


def predict_once(folder: Path, texts: Sequence[str], pairs: Sequence[str] | None, ids: Sequence[str]) -> Predictions:
    """Load the model of a finished run, predict, and free the model's memory."""
    predictions = load_predictor(finished_run(folder)).predict(texts, pairs, ids)
    gc.collect()  # a model and its seams refer to each other, so only the garbage collector frees them
    return predictions


def _load_model(folder: Path, tricks: Mapping[str, Trick], run: ModelContext) -> nn.Module:
    """Load the saved model, let the tricks reshape it as in training, and load the weights that they added."""
    model: nn.Module = load_saved(AutoModelForSequenceClassification, folder, use_safetensors=True)
    own_names = model.state_dict().keys()
    reshaping = {name: trick for name, trick in tricks.items() if trick.slots.get("model") == "reshape"}
    load: Callable[[], nn.Module] = lambda: model  # noqa: E731
    reshaped = seams.compose("model", load, reshaping, run)()
    with safe_open(folder / SAFE_WEIGHTS_NAME, framework="pt") as weights:
        added = {name: weights.get_tensor(name) for name in reshaped.state_dict().keys() - own_names}
    reshaped.load_state_dict(added, strict=False)
    return reshaped


def as_column(cells: Any, name: str) -> list[Any]:
    """The cells of a column that predictions are asked for.

    Args:
        cells: a list, a column of a frame, an array.
        name: of the argument.

    Raises:
        UserError: it is a whole frame, or no column at all, or empty.
    """
    kind = type(cells).__name__
    if isinstance(cells, Mapping) or hasattr(cells, "columns") or hasattr(cells, "column_names"):
        raise UserError(f"predict: {name} is a {kind}, which has columns; give the one with the texts: rows['text'].")
    if isinstance(cells, str) or not hasattr(cells, "__iter__"):
        raise UserError(f"predict: {name} is of type {kind}; give a list of texts: predict(['a text']).")
    column = list(cells)
    if not column:
        raise UserError(f"predict: {name} is empty; give at least one text: predict(['a text']).")
    return column


def check_arguments(run: RunFolder, texts: Sequence[Any], pairs: Sequence[Any] | None) -> None:
    """Check that a run can predict these texts, or pairs of texts.

    Raises:
        UserError: a text has no pair though the run was trained on pairs, or the other way round; or one is no text.
    """
    for name, column in (("texts", texts), ("pairs", pairs or ())):
        if odd := next(((row, text) for row, text in enumerate(column) if not isinstance(text, str)), None):
            row, text = odd
            raise UserError(
                f"predict: row {row} of {name} (counted from 0) holds {text!r:.40}, of type {type(text).__name__} and "
                "no text; leave it out, or write str(...)."
            )
    if pairs is not None and len(pairs) != len(texts):
        raise UserError(f"predict was given {len(texts)} texts and {len(pairs)} pairs; each text needs its own.")
    if (pairs is None) == bool(run.config["data"]["text_pair"]):
        trained = "on pairs of texts: predict(texts, pairs)" if pairs is None else "on single texts: predict(texts)"
        raise UserError(f"{run.folder} was trained {trained}.")
