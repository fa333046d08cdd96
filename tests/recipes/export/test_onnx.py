"""Export to ONNX: the folder, its example, what is refused, and that nothing is left behind."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel

import recipes
from recipes.api import FinishedRun, finetune_config
from recipes.compose.trust import trusting
from recipes.errors import UserError
from recipes.export import onnx
from recipes.export.onnx import describe_steps, export_onnx
from recipes.models.inputs import fit_tokenizer
from recipes.models.loading import load_model, load_tokenizer
from recipes.prediction.predictors import Predictor
from recipes.runs import manifest
from recipes.runs.folder import RunFolder
from recipes.testing import finished_run, in_child, tiny_config
from tests.recipes.export.helpers import load_with
from tests.recipes.models.families import CLASSES, FAMILIES, TEXTS, config_of, settings


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A copy of the tiny run."""
    shutil.copytree(finished_run(), tmp_path / "run")
    return RunFolder(tmp_path / "run")


@pytest.mark.slow
class TestWithThePackages:
    """What needs the extra `onnx`."""

    @pytest.fixture(autouse=True)
    def packages(self) -> None:
        for name in onnx.PACKAGES:
            pytest.importorskip(name)

    def test_the_example_of_the_folder_gives_the_probabilities_of_predict(self, run: RunFolder) -> None:
        folder = in_child(lambda: recipes.load(run.folder).export_onnx())
        assert folder == run.folder / "onnx"
        readme = (folder / "README.md").read_text(encoding="utf-8")
        example = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[0]
        check = "import sys; print({name.split('.')[0] for name in sys.modules} & {'torch', 'transformers', 'recipes'})"
        command = [sys.executable, "-c", f"{example}\n{check}"]
        answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
        texts = ["a first text", "a second one"]
        expected = Predictor(run).predict(texts, None, ["0", "1"])
        numbers = re.findall(r"\d\.\d+(?:e-\d+)?", answer)
        assert np.array(numbers, dtype=float).reshape(2, 3) == pytest.approx(expected.probabilities, abs=1e-6)
        assert answer.endswith(f"{expected.names()}\nset()\n")
        assert json.loads((folder / "settings.json").read_text(encoding="utf-8"))["opset"] == 18
        assert str(Path(torch.__file__).parents[2]).encode() not in (folder / "model.onnx").read_bytes()
        with pytest.raises(UserError, match="onnx exists already; remove it, or name another folder"):
            export_onnx(run)
        recipes.load(run.folder).predict(["the run folder is as it was"])

    def test_a_model_without_a_graph_leaves_nothing_behind(self, run: RunFolder, monkeypatch: Any) -> None:
        def branch(self: Any, *inputs: Any) -> Any:
            return inputs[0] if inputs[0].sum() > 0 else inputs[1]

        monkeypatch.setattr(onnx.Logits, "forward", branch)

        def export() -> None:
            with pytest.raises(UserError, match="BertForSequenceClassification cannot be exported to ONNX by torch"):
                export_onnx(run, run.folder / "new" / "folder")

        in_child(export)
        assert not (run.folder / "new").exists()

    @pytest.mark.parametrize("pooling", ["mean", "own"])
    def test_a_model_whose_head_reads_the_mean(self, pooling: str, tmp_path: Path) -> None:
        """The mean is over the tokens of each row, whatever their number; `compare` refuses what does not agree."""
        overrides = (f"tricks.contrastive.pooling={pooling}", "tricks.contrastive.epochs=5", "train.max_updates=2")

        def export() -> tuple[int, float]:
            run = finetune_config(tiny_config("+tricks=[contrastive]", *overrides), tmp_path / "run")
            _, found = export_onnx(run)
            return found.texts, found.largest_difference

        texts, difference = in_child(export)
        assert texts == 200 and difference < 1e-5

    @pytest.mark.parametrize("family", ["roberta", "deberta-v2", "longformer"])
    def test_families(self, family: str, run: RunFolder) -> None:
        """Longformer is refused: what its attention computes depends on the length of the text."""

        def export() -> None:
            make_tokenizer, options = FAMILIES[family]
            tokenizer = make_tokenizer()
            torch.manual_seed(0)
            source = run.folder.parent / "source"
            AutoModel.from_config(config_of(family, tokenizer, options)).save_pretrained(source)
            tokenizer.save_pretrained(source)
            values = settings(str(source))
            tokenizer = load_tokenizer(values, TEXTS)
            model = load_model(values, tokenizer, CLASSES, False)
            fit_tokenizer(tokenizer, model, 60, family)
            tokenizer.model_max_length = 60
            # In 16 bits, as somebody may have saved it.
            model.half().save_pretrained(run.folder / "model")
            tokenizer.save_pretrained(run.folder / "model")
            manifest.write(run.folder)
            if family == "longformer":
                with pytest.raises(UserError, match="LongformerForSequenceClassification cannot be exported"):
                    export_onnx(run)
            else:
                folder, found = export_onnx(run)
                assert (folder / "model.onnx").is_file() and found.texts == 200

        in_child(export)


@pytest.fixture
def no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "_check_packages", lambda: None)
    monkeypatch.setattr(onnx, "_write_graph", lambda predictor, settings, path: path.write_bytes(b""))
    monkeypatch.setattr(onnx, "_refuse_unrunnable", lambda predictor: nullcontext())


@pytest.mark.usefixtures("no_graph")
def test_what_does_not_agree_leaves_nothing_behind(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    names = sorted(path.name for path in run.folder.iterdir())
    monkeypatch.setattr(onnx, "Classifier", lambda folder: folder)

    def refuse(classifier: Path, predictor: Predictor) -> None:
        assert {"predict.py", "settings.json", "tokenizer.json", "model.onnx"} <= {
            each.name for each in classifier.iterdir()
        }
        raise UserError("it differs by 0.5")

    monkeypatch.setattr(onnx, "compare", refuse)
    for folder in (None, run.folder / "new" / "folder"):
        with pytest.raises(UserError, match="it differs by 0.5"):
            export_onnx(run, folder)
    assert sorted(path.name for path in run.folder.iterdir()) == names


@pytest.mark.usefixtures("no_graph")
def test_only_a_new_or_an_empty_folder_is_written(run: RunFolder, tmp_path: Path) -> None:
    file = tmp_path / "full" / "mine.txt"
    file.parent.mkdir()
    file.write_text("mine", encoding="utf-8")
    for target in (file.parent, file):
        with pytest.raises(UserError, match="exists already"):
            export_onnx(run, target)
    assert file.read_text(encoding="utf-8") == "mine"
    with pytest.raises(UserError, match="name a folder outside model/ and predictions/"):
        export_onnx(run, run.folder / "model" / "onnx")


@pytest.mark.usefixtures("no_graph")
def test_a_tokenizer_in_python_is_refused(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "TOKENIZER", "other.json")
    with pytest.raises(UserError, match="its tokenizer is written in Python"):
        export_onnx(run)
    assert not (run.folder / "onnx").exists()


def test_a_missing_package_is_named(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "PACKAGES", ("numpy", "no-such-package"))
    with pytest.raises(UserError, match=r"needs the package no-such-package: pip install 'trickbook\[onnx\]'"):
        export_onnx(run)


@pytest.fixture
def refused(tmp_path: Path) -> Iterator[FinishedRun]:
    """A run whose config is to be changed."""
    shutil.copytree(finished_run(), tmp_path / "run")
    yield recipes.load(tmp_path / "run")


@pytest.mark.usefixtures("no_graph")
def test_linear_and_fused_runs_are_refused(refused: FinishedRun) -> None:
    refused.config["model"]["source"] = "linear"
    with pytest.raises(UserError, match="model=linear is TF-IDF and a linear model of scikit-learn"):
        export_onnx(refused)
    members = {"classes": ["x"], "multi_label": False, "weights": {"members/1-tiny/fold-1": 1.0}}
    (refused.folder / "model" / "ensemble.json").write_text(json.dumps(members), encoding="utf-8")
    with pytest.raises(UserError, match=r"is fused from 1 runs; export each of them: '.*members/1-tiny/fold-1'"):
        export_onnx(refused)


def test_a_trick_that_reshapes_the_model_is_refused_unless_the_graph_does_it() -> None:
    run, predictor = load_with()
    predictor.tricks = {"segments": onnx_trick("segments")}
    with pytest.raises(UserError, match="the trick segments acts when texts are predicted, and does not say how"):
        describe_steps(run, predictor)
    predictor.tricks = {}
    expected = describe_steps(run, predictor)
    predictor.tricks = {"contrastive": onnx_trick("contrastive")}
    assert describe_steps(run, predictor) == expected


def test_a_trick_that_does_not_say_how_is_refused() -> None:
    run, predictor = load_with()
    trick = onnx_trick("threshold")
    type(trick).export, original = recipes.Trick.export, type(trick).export  # type: ignore[method-assign]
    predictor.tricks = {"mine": trick}
    try:
        with pytest.raises(UserError, match="the trick mine acts when texts are predicted, and does not say"):
            describe_steps(run, predictor)
    finally:
        type(trick).export = original  # type: ignore[method-assign]


def onnx_trick(name: str) -> recipes.Trick:
    from recipes.compose.tricks import build

    with trusting([]):
        return build(tiny_config(f"+tricks=[{name}]").tricks)[name]


def test_the_temperature_is_on_record(run: RunFolder) -> None:
    run.metrics["calibration"] = {"temperature": 1.7, "before": {"loss": 0.1}}
    assert describe_steps(run, Predictor(run))["calibration"] == {"temperature": 1.7}
