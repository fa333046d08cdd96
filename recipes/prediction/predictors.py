"""Predicting: a split while a run is made, or texts with a run folder."""

import gc
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from json import JSONDecodeError
from pathlib import Path
from typing import cast

import numpy as np
import torch
from datasets import Dataset
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME

from recipes import seams
from recipes.base import ContextBase, prediction_seams
from recipes.compose.tricks import build
from recipes.config import saved_config
from recipes.data.encoding import clean_rows, encode
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.models.linear import Linear, join_pairs
from recipes.prediction import ensemble
from recipes.prediction.batched import halve_until_it_fits, predict_split
from recipes.runs.folder import RunFolder
from recipes.runtime.distributed import say
from recipes.state import read_tricks
from recipes.trick import Context, ModelContext, Trick

BATCH_SIZE = 64


class LinearPredictor:
    """A finished run of model=linear read back.

    Args:
        run: the finished run.
    """

    def __init__(self, run: RunFolder) -> None:
        """Load the model."""
        self.model = Linear.load(run.folder / "model")
        self.classes, self.multi_label = self.model.classes, self.model.multi_label

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None, ids: Sequence[str]) -> Predictions:
        """Predict texts, or pairs of texts."""
        return self.model.predict(join_pairs(texts, pairs), ids, [None] * len(ids))


class Predictor(ModelContext):
    """A finished run read back: its model, its tokenizer, and the seams that act when predicting.

    Args:
        run: the finished run.
    """

    def __init__(self, run: RunFolder) -> None:
        self.config = saved_config(run.config)
        self.tricks = build(self.config.tricks)
        self.tokenizer = AutoTokenizer.from_pretrained(run.folder / "model")
        self.max_length = self.tokenizer.model_max_length
        self.bare_model = _loaded(run.folder / "model", self.tricks, self)
        self.bare_model.to("cuda" if torch.cuda.is_available() else "cpu")
        settings = cast(PreTrainedModel, self.bare_model).config
        labels = cast(dict[int, str], settings.id2label)
        self.classes = [labels[number] for number in range(len(labels))]
        self.multi_label = settings.problem_type == "multi_label_classification"
        self.batch_size = BATCH_SIZE
        self.seams = prediction_seams(self, self.tricks)
        read_tricks(run.folder / "model", self.tricks)

    def say(self, text: str) -> None:
        """Print a line, once for all processes."""
        say(text)

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None, ids: Sequence[str]) -> Predictions:
        """Predict texts, or pairs of texts; where memory runs out, from then on in batches half as large."""
        nothing = [None] * len(ids)
        second = nothing if pairs is None else pairs
        rows = Dataset.from_dict({"id": ids, "source": ids, "text": texts, "text_pair": second, "label": nothing})
        rows = clean_rows(rows, self.seams.clean)
        encoded = encode(rows, self.seams.encode, self.tokenizer, self.classes, None)
        told = "memory does not hold one text; allow more, or train with a smaller input."
        found, self.batch_size = halve_until_it_fits(partial(predict_split, self, encoded), self.batch_size, told)
        return found


class EnsemblePredictor(Context):
    """A finished run of several models read back; one model at a time is in memory, whatever their number.

    Args:
        run: the finished run.
        members: what its folder says of them.
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
            weight * ensemble.log_shares(predict_once(self.folder / member, texts, pairs, ids))
            for member, weight in self.weights.items()
            if weight
        )
        shares = ensemble.probabilities(np.asarray(mean), self.multi_label)
        decisions = self.decide(torch.from_numpy(shares)).numpy()
        return Predictions(ids, [None] * len(ids), shares, decisions, self.classes, self.multi_label)


Reader = LinearPredictor | Predictor | EnsemblePredictor


def load_predictor(run: RunFolder) -> Reader:
    """A finished run, ready to answer.

    Raises:
        UserError: its folder, or that of one of its members, is not whole.
    """
    if not (run.folder / "config.yaml").is_file() or not (run.folder / "model").is_dir():
        raise UserError(
            f"{run.folder} is not whole: there is no run with a model in it; copy all of it, or train again."
        )
    try:
        return _load_predictor(run)
    except (OSError, SafetensorError, JSONDecodeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"{run.folder / 'model'} is damaged ({reason}); copy all of it, or train again.") from error


def _load_predictor(run: RunFolder) -> Reader:
    if members := ensemble.read(run.folder):
        return EnsemblePredictor(run, members)
    return LinearPredictor(run) if run.config["model"]["source"] == "linear" else Predictor(run)


def predict_once(folder: Path, texts: Sequence[str], pairs: Sequence[str] | None, ids: Sequence[str]) -> Predictions:
    """What a finished run says, whose model is in memory no longer than that."""
    found = load_predictor(RunFolder(folder)).predict(texts, pairs, ids)
    gc.collect()  # a model and its seams refer to each other
    return found


def _loaded(folder: Path, tricks: Mapping[str, Trick], run: ModelContext) -> nn.Module:
    """The saved model, in the shape that tricks gave it, with what they added."""
    model: nn.Module = AutoModelForSequenceClassification.from_pretrained(folder)
    own = model.state_dict().keys()
    reshaping = {name: trick for name, trick in tricks.items() if trick.slots.get("model") == "reshape"}
    load: Callable[[], nn.Module] = lambda: model  # noqa: E731
    reshaped = seams.compose("model", load, reshaping, run)()
    with safe_open(folder / SAFE_WEIGHTS_NAME, framework="pt") as weights:
        added = {name: weights.get_tensor(name) for name in reshaped.state_dict().keys() - own}
    reshaped.load_state_dict(added, strict=False)
    return reshaped


def predict(run: RunFolder, texts: Sequence[str], pairs: Sequence[str] | None) -> Predictions:
    """Predict texts, or pairs of texts, in the order given; ids are their places.

    Raises:
        UserError: a text has no pair though the run was trained on pairs, or the other way round.
    """
    _check(run, texts, pairs)
    ids = [str(number) for number in range(len(texts))]
    return load_predictor(run).predict(texts, pairs, ids)


def _check(run: RunFolder, texts: Sequence[str], pairs: Sequence[str] | None) -> None:
    if isinstance(texts, str) or not len(texts):
        raise UserError("predict takes a list of texts, at least one: predict(['a text']).")
    if pairs is not None and len(pairs) != len(texts):
        raise UserError(f"predict was given {len(texts)} texts and {len(pairs)} pairs; each text needs its own.")
    if (pairs is None) == bool(run.config["data"]["text_pair"]):
        trained = "on pairs of texts: predict(texts, pairs)" if pairs is None else "on single texts: predict(texts)"
        raise UserError(f"{run.folder} was trained {trained}.")
