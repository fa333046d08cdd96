"""Predictors with any tricks, without training: the weights of a tiny run, with a larger head."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from recipes.config import as_values
from recipes.export.onnx import describe_steps, write_reader
from recipes.export.reader import Classifier, RunModel
from recipes.models.anatomy import head
from recipes.prediction.predictors import Predictor
from recipes.runs.folder import RunFolder
from recipes.testing import finished_run, tiny_config


def load_with(*overrides: str, multi_label: bool = False) -> tuple[RunFolder, Predictor]:
    """The tiny run, as if it had been trained with these overrides."""
    run = RunFolder(finished_run())
    run.__dict__["config"] = as_values(tiny_config(*overrides, longest=9))
    predictor = Predictor(run)
    predictor.multi_label = multi_label
    length = predictor.config.data.max_length
    predictor.max_length = min(predictor.max_length, length)
    classifier = head(predictor.bare_model)
    with torch.no_grad():
        # Texts differ clearly in their probabilities, which lie around those of chance.
        classifier.weight.mul_(3000)
        inputs = predictor.tokenizer(["a1 a2 b3", "c1"], return_tensors="pt", padding=True)
        classifier.bias.sub_(predictor.bare_model.eval()(**inputs).logits.mean(0))
    return run, predictor


def run_by_torch(predictor: Predictor) -> RunModel:
    """The model itself in place of its ONNX file."""

    def run_model(inputs: Any) -> np.ndarray:
        with torch.no_grad():
            tensors = {name: torch.from_numpy(values) for name, values in inputs.items()}
            return cast(np.ndarray, predictor.bare_model.eval()(**tensors).logits.numpy())

    return run_model


def export_without_graph(run: RunFolder, predictor: Predictor, folder: Path) -> Classifier:
    """All of an export, with the model of torch in place of the ONNX file."""
    write_reader(run, describe_steps(run, predictor), folder)
    return Classifier(folder, run_by_torch(predictor))
