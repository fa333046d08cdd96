"""Export a finished run to ONNX: a folder that predicts without torch, transformers or Trickbook."""

import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recipes import seams
from recipes.errors import UserError
from recipes.export import reader
from recipes.export.agreement import Agreement, compare
from recipes.export.kinds import refuse_other_kinds
from recipes.export.reader import Classifier
from recipes.models.inputs import fixed_width
from recipes.prediction.precision import in_precision
from recipes.prediction.predictors import Predictor, load_predictor
from recipes.runs.files import atomic_write, remove_empty, write_json
from recipes.runs.folder import RunFolder

OPSET = 18
"""Version of the ONNX operators. onnxruntime reads it since 1.14."""
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
UNRUNNABLE = ("Fail", "InvalidArgument", "InvalidGraph", "NotImplemented", "RuntimeException")
"""The errors of onnxruntime for a model; they have no base class of their own."""
TOKENIZER = "tokenizer.json"
MOST_BYTES = 1_500_000_000
"""Of the weights in `model.onnx`; more go to `model.onnx.data`, since a protobuf file ends at 2 GB."""
NOT_COPIED = ("README.md", "*.safetensors", "config.yaml", "metrics.json", "manifest.json", ".*", "onnx")
"""Files next to a model that an export does not need; a folder from the hub has some of a run too."""
README = """# {title}

This folder predicts without torch, transformers or Trickbook: `pip install numpy onnxruntime tokenizers`.
Run this in the folder:

```python
from predict import Classifier

classifier = Classifier(".")
{texts}
print(classifier.labels)
print(classifier.probabilities({arguments}))
print(classifier.predict({arguments}))
```

`model.onnx` (opset {opset}) maps {inputs}, each (row, token),
to `logits`, (row, class), for any number of rows and {tokens}.
`settings.json` has the labels and all that happens before and after the model; `predict.py` does it.

Compared with Trickbook's own `predict`, in 32 bits, on {agreement.texts} texts: no probability differs by more than
{agreement.largest_difference:.1e}.
"""


class Logits(nn.Module):
    """A classifier that takes its inputs one by one, and returns the logits alone.

    Args:
        model: the classifier.
        names: of its inputs.
    """

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Tensor:
        """The logits, (row, class)."""
        logits: Tensor = self.model(**dict(zip(self.names, inputs, strict=True))).logits
        return logits


def export_onnx(run: RunFolder, folder: Path | None = None) -> tuple[Path, Agreement]:
    """Export a finished run to ONNX, and compare the result with `predict`.

    Args:
        run: the finished run.
        folder: to write into, new or empty; None: `onnx/` in the run folder.

    Returns:
        The folder, and how well it agrees.

    Raises:
        UserError: a package is missing, the run cannot be exported, the folder has files, or the exported model does
            not agree with `predict`. Nothing is left behind.
    """
    target = folder or run.folder / "onnx"
    _check_packages()
    if target.parent.name in ("model", "predictions"):
        raise UserError(f"{target}: name a folder outside model/ and predictions/ of a run, which are for its files.")
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UserError(f"{target} exists already; remove it, or name another folder: --onnx FOLDER.")
    _check_kind(run)
    with in_precision("fp32"):
        predictor = load_predictor(run)
    assert isinstance(predictor, Predictor)  # `_check_kind` has refused the others
    # On a CPU and in 32 bits, as onnxruntime computes.
    predictor.device = "cpu"
    predictor.bare_model.float().to("cpu").eval()
    settings = describe_steps(run, predictor)
    try:
        with atomic_write(target) as draft:
            write_reader(run, settings, draft)
            _write_graph(predictor, settings, draft / "model.onnx")
            with _refuse_unrunnable(predictor):
                agreement = compare(Classifier(draft), predictor)
            (draft / "README.md").write_text(_readme(run, settings, agreement), encoding="utf-8")
    finally:
        remove_empty(target.parent)
    return target, agreement


def write_reader(run: RunFolder, settings: Mapping[str, Any], folder: Path) -> None:
    """Write everything of an export except the model: the tokenizer, the settings, and the program that reads them.

    Raises:
        UserError: the tokenizer has no file that `tokenizers` can read.
    """
    shutil.copytree(run.model_folder, folder, ignore=shutil.ignore_patterns(*NOT_COPIED))
    if not (folder / TOKENIZER).is_file():
        raise UserError(
            f"{run.folder}: its tokenizer is written in Python and has no {TOKENIZER}, so only transformers can run "
            "it; use recipes.load(<run folder>)."
        )
    write_json(folder / "settings.json", settings)
    shutil.copyfile(reader.__file__, folder / "predict.py")


def _check_packages() -> None:
    try:
        for name in PACKAGES:
            version(name)
    except PackageNotFoundError as error:
        raise UserError(f"--onnx needs the package {error.name}: pip install 'trickbook[onnx]'.") from error


def _check_kind(run: RunFolder) -> None:
    """Refuse a run that is no single transformer."""
    run.require_model()
    refuse_other_kinds(run, "export", "which has no ONNX export here; use recipes.load(<run folder>).")


def describe_steps(run: RunFolder, predictor: Predictor) -> dict[str, Any]:
    """Describe what happens to a text before and after the model, for `settings.json`.

    Raises:
        UserError: a trick does something that the export cannot.
    """
    tokenizer, in_pairs = predictor.tokenizer, bool(run.config["data"]["text_pair"])
    calibration = run.metrics.get("calibration", {})
    settings: dict[str, Any] = {
        "task": "multi-label classification" if predictor.multi_label else "single-label classification",
        "labels": predictor.classes,
        "multi_label": predictor.multi_label,
        "pairs": in_pairs,
        "max_length": predictor.max_length,
        "inputs": list(tokenizer.model_input_names),
        "padding": {
            "input_ids": tokenizer.pad_token_id or 0,
            "token_type_ids": tokenizer.pad_token_type_id,
            "side": tokenizer.padding_side,
            "width": fixed_width(predictor.bare_model),
        },
        # Only for the record: it is folded into the weights.
        "calibration": {name: value for name, value in calibration.items() if isinstance(value, float)},
        "clean": [],
        "cut": None,
        "windows": None,
        "merge": None,
        "thresholds": None,
        "opset": OPSET,
    }
    names = [name for seam in seams.PREDICTING for name in seams.tricks_around(seam, predictor.tricks)]
    names += [name for name, trick in predictor.tricks.items() if trick.slots.get("model") == "reshape"]
    for name in dict.fromkeys(names):
        steps = predictor.tricks[name].export(predictor, in_pairs)
        if steps is None:
            raise UserError(
                f"{run.folder}: the trick {name} acts when texts are predicted, and does not say how another program "
                "could do the same (Trick.export); use recipes.load(<run folder>)."
            )
        settings |= {**steps, "clean": [*settings["clean"], *steps.get("clean", ())]}
    return settings


def _write_graph(predictor: Predictor, settings: Mapping[str, Any], path: Path) -> None:
    """Write the model as an ONNX file with any number of rows, and of tokens unless the model reads one width."""
    names, width = settings["inputs"], settings["padding"]["width"]
    mask = torch.ones(2, width or 7, dtype=torch.int64)
    mask[1, : mask.shape[1] // 2] = 0
    mask = mask if settings["padding"]["side"] == "left" else mask.flip(1)
    inputs = tuple(mask if name == "attention_mask" else torch.zeros_like(mask) for name in names)
    axes = {0: "rows"} if width else {0: "rows", 1: "tokens"}
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                Logits(predictor.bare_model, names).eval(),
                inputs,
                dynamo=True,
                dynamic_shapes=(tuple(axes for _ in names),),
                input_names=names,
                output_names=["logits"],
                opset_version=OPSET,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().split("\n")[0].rstrip(". ")
        raise UserError(
            f"{type(predictor.bare_model).__name__} cannot be exported to ONNX by torch {torch.__version__} "
            f"({reason}). Encoders such as BERT, RoBERTa, DeBERTa and ModernBERT can. Nothing was written."
        ) from error
    assert program is not None
    # The exporter notes on every node the lines of code that made it, with folders of this machine.
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()
    size = sum(each.numel() * each.element_size() for each in predictor.bare_model.parameters())
    with _quiet():
        program.save(path, external_data=size > MOST_BYTES)


@contextmanager
def _refuse_unrunnable(predictor: Predictor) -> Iterator[None]:
    """Inside this context an error of onnxruntime is one of the model."""
    from onnxruntime.capi import onnxruntime_pybind11_state

    try:
        yield
    except tuple(getattr(onnxruntime_pybind11_state, name) for name in UNRUNNABLE) as error:
        raise UserError(
            f"onnxruntime {version('onnxruntime')} cannot run the exported {type(predictor.bare_model).__name__} "
            f"({str(error).strip()}). Nothing was written."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside this context nothing is logged or printed: the exporter reports its own workings at length."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _readme(run: RunFolder, settings: Mapping[str, Any], agreement: Agreement) -> str:
    texts, width = 'texts = ["a first text", "a second one"]', settings["padding"]["width"]
    return README.format(
        title=run.folder.name,
        texts=f'{texts}\npairs = ["its pair", "another pair"]' if settings["pairs"] else texts,
        arguments="texts, pairs" if settings["pairs"] else "texts",
        opset=settings["opset"],
        tokens=f"{width} tokens" if width else "tokens",
        inputs=", ".join(f"`{name}`" for name in settings["inputs"]),
        agreement=agreement,
    )
