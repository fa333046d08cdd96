"""A finished run that another one starts from: its labels, weights, tokenizer and data."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import SAFE_WEIGHTS_NAME

from recipes.config import Data
from recipes.data.splits import Splits, read_splits
from recipes.errors import UserError
from recipes.models.anatomy import head
from recipes.prediction import ensemble
from recipes.runs.folder import RunFolder, label_cell


class WarmStart:
    """What a run folder holds for those who come after.

    Args:
        folder: of the finished run, as the user named it.
        setting: the dotted path of the setting that names it.

    Raises:
        UserError: there is no finished run, or none with weights to go on from.
    """

    def __init__(self, folder: str | None, setting: str) -> None:
        """Read what is small; weights and data wait until they are asked for."""
        if folder is None:
            raise UserError(f"{setting} is not set; give it the folder of a finished run: {setting}=runs/<name>.")
        self.named = f"{setting}={folder}"
        self.run = RunFolder(Path(folder).expanduser())
        self._see("config.yaml", "metrics.json")
        self.config, self.metrics = self.run.config, self.run.metrics
        if self.config["model"]["source"] == "linear":
            raise UserError(f"{self.named} holds a run of model=linear, which has no weights to go on from.")
        if ensemble.read(self.run.folder):
            raise UserError(
                f"{self.named} holds several runs that answer as one, which has no weights of its own; name the "
                "folder of a run of one model."
            )
        self._see("model/config.json", "model/tokenizer_config.json", f"model/{SAFE_WEIGHTS_NAME}")
        settings = AutoConfig.from_pretrained(self.run.folder / "model")
        self.architecture: str = settings.architectures[0]
        self.classes: list[str] = [settings.id2label[number] for number in range(settings.num_labels)]
        self.multi_label = settings.problem_type == "multi_label_classification"
        self.in_pairs = bool(self.config["data"]["text_pair"])

    def _see(self, *files: str) -> None:
        for name in files:
            if not (self.run.folder / name).is_file():
                raise UserError(f"{self.named} holds no finished run (there is no {name}).")

    @property
    def choice(self) -> str:
        """The overrides that choose the same model."""
        model = self.config["model"]
        return f"model=hub model.name={model['name']}" if model["name"] else f"model={model['source']}"

    def tokenizer(self, longest: int) -> PreTrainedTokenizerBase:
        """Its tokenizer; the saved one knows the length that was trained, `longest` is what the model can read."""
        found = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(self.run.folder / "model"))
        found.model_max_length = longest
        return found

    def load_weights(self, model: nn.Module, classes: Sequence[str]) -> None:
        """Put its weights into a model; in the head a class that it does not know keeps the row that is there.

        Args:
            model: of the same kind and size.
            classes: the model's, in order.

        Raises:
            UserError: the model is another, or the weights are damaged.
        """
        try:
            weights = load_file(self.run.folder / "model" / SAFE_WEIGHTS_NAME)
        except SafetensorError as error:
            raise UserError(f"{self.named}: model/{SAFE_WEIGHTS_NAME} is damaged.") from error
        own = model.state_dict()
        rows = {id(each) for each in head(model).parameters()}
        of_the_head = {name for name, each in model.named_parameters() if id(each) in rows}

        def shape(name: str, tensors: Mapping[str, Tensor]) -> str:
            whole = tensors[name].shape if name in tensors else None
            return "missing" if whole is None else str(tuple(whole[1:] if name in of_the_head else whole))

        shapes = [(name, shape(name, weights), shape(name, own)) for name in sorted({*weights, *own})]
        if differing := [f"{name} is {there} there, {here} here" for name, there, here in shapes if there != here]:
            kinds = [self.architecture, type(model).__name__]
            first = differing[0] if kinds[0] == kinds[1] else f"{kinds[0]} there, {kinds[1]} here"
            raise UserError(
                f"{self.named}: its model is another than this one ({first}). Take {self.choice}, with the tricks that "
                "reshaped it."
            )
        for name in of_the_head:
            weights[name] = by_name(weights[name], self.classes, own[name], classes)
        model.load_state_dict(weights)

    @cached_property
    def splits(self) -> Splits:
        """Its data, read again.

        Raises:
            UserError: it cannot be read, or is no longer what it was trained on.
        """
        settings = self.config["data"]
        try:
            found = read_splits(Data(**settings), {}, self.config["evaluate"]["test"])
        except UserError as error:
            raise UserError(f"{self.named}: its data cannot be read again: {' '.join(error.problems)}") from error
        for name, rows in (("validation", found.validation), ("test", found.test)):
            if rows is None:
                continue
            held = self.run.predictions(name)
            if (held["id"], held["label"]) != (list(rows["id"]), list(map(label_cell, rows["label"]))):
                raise UserError(f"{self.named}: its data has changed since ({name} has other rows or labels).")
        return found


def by_name(old: Tensor, old_classes: Sequence[str], fresh: Tensor, classes: Sequence[str]) -> Tensor:
    """A row for each class: the old one of its name, or where there is none the fresh one."""
    place_of = {name: place for place, name in enumerate(old_classes)}
    rows = [old[place_of[name]] if name in place_of else row for name, row in zip(classes, fresh, strict=True)]
    return torch.stack([row.to(fresh) for row in rows])
