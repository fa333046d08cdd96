"""Read labels, weights, tokenizer and data of a finished run that another run starts from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import SAFE_WEIGHTS_NAME

from recipes.config import Data, saved_config
from recipes.data.inputs import check_data
from recipes.data.splits import Splits, read_splits
from recipes.errors import UserError
from recipes.models.adapters import adapted_modules
from recipes.models.anatomy import head
from recipes.models.loading import load_saved
from recipes.prediction import ensemble
from recipes.ranges import as_yaml
from recipes.runs.files import expand_home
from recipes.runs.folder import RunFolder, require_finished
from recipes.runs.predictions import label_cell


class WarmStart:
    """A finished run to start from. Weights and data are read when they are used.

    Args:
        folder: folder of the finished run, as the user wrote it.
        setting: dotted path of the setting that names the folder.

    Raises:
        UserError: the folder has no finished run, or the run has no weights to start from.
    """

    def __init__(self, folder: str | None, setting: str) -> None:
        if folder is None:
            raise UserError(f"{setting} is not set; give it the folder of a finished run: {setting}=runs/<name>.")
        self.setting = f"{setting}={folder}"
        self.run = RunFolder(expand_home(folder))
        require_finished(self.run.folder, self.setting)
        self.config, self.metrics = self.run.config, self.run.metrics
        if self.config["model"]["source"] == "linear":
            raise UserError(
                f"{self.setting} is a run of model=linear, which has no weights to start from; give the folder of a "
                "run of an encoder."
            )
        self.run.require_model(self.setting)
        self.run.check_model()
        if ensemble.read(self.run.folder):
            raise UserError(
                f"{self.setting} holds an ensemble of several runs, which has no weights of its own; give the folder "
                "of a run with one model."
            )
        self._require("model/config.json", "model/tokenizer_config.json", f"model/{SAFE_WEIGHTS_NAME}")
        settings = load_saved(AutoConfig, self.run.model_folder)
        self.architecture: str = settings.architectures[0]
        self.classes: list[str] = [settings.id2label[number] for number in range(settings.num_labels)]
        self.multi_label = settings.problem_type == "multi_label_classification"
        self.in_pairs = bool(self.config["data"]["text_pair"])

    def _require(self, *files: str) -> None:
        for name in files:
            if not (self.run.folder / name).is_file():
                raise UserError(
                    f"{self.setting} holds no finished run (there is no {name}). If the folder is a copy, copy it "
                    "again; or give the folder of another run."
                )

    @property
    def choice(self) -> str:
        """The overrides that choose the same model."""
        model = self.config["model"]
        return f"model=hub model.name={model['name']}" if model["name"] else f"model={model['source']}"

    def tokenizer(self, longest: int) -> PreTrainedTokenizerBase:
        """Load the tokenizer.

        Args:
            longest: the most tokens that the model can read; the saved tokenizer has the length used in training.
        """
        tokenizer = cast(PreTrainedTokenizerBase, load_saved(AutoTokenizer, self.run.model_folder))
        tokenizer.model_max_length = longest
        return tokenizer

    def load_weights(self, model: nn.Module, classes: Sequence[str]) -> None:
        """Load the weights into a model. In the head, a class that the old run did not have keeps its current row.

        Args:
            model: a model of the same architecture and size.
            classes: the classes of the model, in order.

        Raises:
            UserError: the models differ, or the weights are damaged.
        """
        if any(adapted_modules(model)):
            raise UserError(
                f"{self.setting}: the model of this run has low-rank adapters, and in a finished run they are merged "
                "into its weights; leave out this folder, or the adapters."
            )
        try:
            weights = load_file(self.run.model_folder / SAFE_WEIGHTS_NAME)
        except SafetensorError as error:
            raise UserError(
                f"{self.setting}: model/{SAFE_WEIGHTS_NAME} is damaged. If the folder is a copy, copy it again; or "
                "give the folder of another run."
            ) from error
        own = model.state_dict()
        rows = {id(each) for each in head(model).parameters()}
        of_the_head = {name for name, each in model.named_parameters() if id(each) in rows}

        # Rows of the head may differ in number, so only the rest of its shape is compared.
        def shape(name: str, tensors: Mapping[str, Tensor]) -> str:
            size = tensors[name].shape if name in tensors else None
            return "missing" if size is None else str(tuple(size[1:] if name in of_the_head else size))

        shapes = [(name, shape(name, weights), shape(name, own)) for name in sorted({*weights, *own})]
        if differing := [f"{name} is {old} there, {new} here" for name, old, new in shapes if old != new]:
            kinds = [self.architecture, type(model).__name__]
            first = differing[0] if kinds[0] == kinds[1] else f"{kinds[0]} there, {kinds[1]} here"
            raise UserError(
                f"{self.setting}: its model differs from this one ({first}). Use {self.choice}, with the tricks that "
                "changed its shape."
            )
        for name in of_the_head:
            weights[name] = align_rows(weights[name], self.classes, own[name], classes)
        model.load_state_dict(weights)

    @cached_property
    def splits(self) -> Splits:
        """The data of the run, read again.

        Raises:
            UserError: the data cannot be read, or has changed since the run.
        """
        try:
            splits = read_splits(saved_config(self.config).data, {}, self.config["evaluate"]["test"])
            check_data(self.run.folder)
        except UserError as error:
            raise UserError(
                f"{self.setting}: its data cannot be read again: {' '.join(error.problems)} Restore the data, or give "
                "the folder of another run."
            ) from error
        for name, rows in (("validation", splits.validation), ("test", splits.test)):
            if rows is None:
                continue
            predictions = self.run.load_predictions(name)
            # As cells, since runs of earlier versions wrote no label and the empty list alike.
            cells = [list(map(label_cell, labels)) for labels in (predictions.labels, rows["label"])]
            if predictions.ids != list(rows["id"]) or cells[0] != cells[1]:
                raise UserError(
                    f"{self.setting}: its data has changed since ({name} has other rows or labels). Restore the data, "
                    "or give the folder of another run."
                )
        return splits


def align_rows(old: Tensor, old_classes: Sequence[str], fresh: Tensor, classes: Sequence[str]) -> Tensor:
    """One row for each class: the old row of that class, or the fresh row if the class is new."""
    index_of = {name: index for index, name in enumerate(old_classes)}
    rows = [old[index_of[name]] if name in index_of else row for name, row in zip(classes, fresh, strict=True)]
    return torch.stack([row.to(fresh) for row in rows])


def check_same_data(run: RunFolder, data: Data, setting: str) -> None:
    """Check that a finished run has the data of this one, so that it was not trained on rows that evaluate this one.

    Args:
        run: the finished run.
        data: the config's `data` of this run.
        setting: the setting that names the folder, and its value, for messages.

    Raises:
        UserError: settings of the data differ, or its files have changed since.
    """
    own, theirs = asdict(data), run.config["data"]
    if differing := [name for name in own if name != "max_length" and own[name] != theirs.get(name)]:
        raise UserError(
            f"{setting}: it has data.{differing[0]}={as_yaml(theirs.get(differing[0]))}, this run "
            f"{as_yaml(own[differing[0]])}, so it may have been trained on rows that evaluate this one; use runs on "
            "the same data."
        )
    try:
        check_data(run.folder)
    except UserError as error:
        raise UserError(f"{setting}: {' '.join(error.problems)} Use runs on the same data.") from error
