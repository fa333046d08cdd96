"""Loading models of every family: dropout, gradient checkpointing, shipping, and refused models."""

import ast
import json
import pickle
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
import yaml
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, AutoTokenizer, pipeline

from recipes.api import FinishedRun
from recipes.base import Base
from recipes.config import Model
from recipes.errors import UserError
from recipes.models import loading, packages
from recipes.models.anatomy import layers, word_embeddings
from recipes.models.inputs import fit_tokenizer
from recipes.models.loading import load_model, load_tokenizer
from recipes.runs import manifest
from recipes.runtime.randomness import seed_forward
from recipes.testing import finished_run
from tests.recipes.models.families import (
    CLASSES,
    FAMILIES,
    FAMILY,
    TEXTS,
    batch_of,
    load_classifier,
    logits_of,
    modernbert_tokenizer,
    settings,
)
from tests.sampling import every


class Runs:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


class TestDropout:
    @FAMILY
    def test_there_is_none_at_rate_0(self, folders: dict[str, str], family: str) -> None:
        model, batch = load_classifier(folders[family], dropout=0.0).train(), batch_of(folders[family])
        seed_forward(0, 0, 0)
        first = logits_of(model, batch)
        seed_forward(0, 0, 1)
        assert torch.equal(logits_of(model, batch), first)
        # Every rate is 0, also in modules that this batch did not pass.
        assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} <= {0.0}

    @FAMILY
    def test_above_0_it_depends_on_the_forward_pass(self, folders: dict[str, str], family: str) -> None:
        model, batch = load_classifier(folders[family], dropout=0.3).train(), batch_of(folders[family])
        logits = []
        for index in (0, 1, 0):
            seed_forward(0, 0, index)
            logits.append(logits_of(model, batch))
        assert torch.equal(logits[0], logits[2])
        assert not torch.allclose(logits[0], logits[1], atol=1e-3)
        assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} <= {0.3}

    def test_null_leaves_the_pretrained_rates(self, folders: dict[str, str]) -> None:
        assert load_classifier(folders["bert"]).config.hidden_dropout_prob == 0.1
        assert load_classifier(folders["modernbert"]).config.mlp_dropout == 0.0


@pytest.mark.parametrize("family", every(4, [name for name in FAMILIES if name != "mpnet"]))
def test_gradient_checkpointing_changes_no_gradient(folders: dict[str, str], family: str) -> None:
    batch = batch_of(folders[family])
    gradients = []
    runs: list[list[nn.Module]] = [[], []]
    for checkpointing in (False, True):
        model = load_classifier(folders[family], 0.2, checkpointing).train()
        inside = next(module for module in layers(model)[0].modules() if isinstance(module, nn.Linear))
        inside.register_forward_pre_hook(lambda module, inputs, on=checkpointing: runs[on].append(module))
        seed_forward(0, 0, 0)
        functional.cross_entropy(logits_of(model, batch), batch.targets).backward()
        gradients.append({name: each.grad for name, each in model.named_parameters() if each.grad is not None})
    assert len(runs[True]) == 2 * len(runs[False]) > 0  # or no memory was saved
    assert gradients[0].keys() == gradients[1].keys()
    assert len(gradients[0]) > 15
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-7), name


def test_gradient_checkpointing_is_refused_if_a_family_has_none(folders: dict[str, str]) -> None:
    with pytest.raises(UserError, match="gradient_checkpointing=true: MPNetForSequenceClassification cannot; set it"):
        load_classifier(folders["mpnet"], checkpointing=True)


class TestShipping:
    @pytest.mark.parametrize("multi_label", [False, True])
    @FAMILY
    def test_pipeline_predict_and_the_live_model_agree(
        self, folders: dict[str, str], tmp_path: Path, family: str, multi_label: bool
    ) -> None:
        model = load_classifier(folders[family], multi_label=multi_label)
        tokenizer = load_tokenizer(settings(folders[family]), [])
        model.save_pretrained(tmp_path / "model")
        tokenizer.model_max_length = 12
        tokenizer.save_pretrained(tmp_path / "model")
        (tmp_path / "config.yaml").write_text(
            yaml.safe_dump({"tricks": {}, "model": {"source": "hub"}, "data": {"text_pair": None}})
        )
        texts = [*TEXTS, "one that is much longer than twelve tokens"]
        ours = FinishedRun(tmp_path).predict(texts)
        theirs = pipeline("text-classification", model=str(tmp_path / "model"))(texts, top_k=None, truncation=True)
        for row, scores in enumerate(theirs):
            expected = {each["label"]: each["score"] for each in scores}
            probabilities = dict(zip(CLASSES, ours.probabilities[row].tolist(), strict=True))
            assert probabilities == pytest.approx(expected, abs=1e-5)
        if not multi_label:
            assert ours.names() == [scores[0]["label"] for scores in theirs]
        # The model in memory predicts the same.
        batch, run = batch_of(folders[family]), SimpleNamespace(bare_model=model.eval())
        run.multi_label = multi_label
        live: Any = Base(run)  # type: ignore[arg-type]
        short = [row for row in range(len(TEXTS)) if batch.lengths[row] <= 12]
        assert len(short) > 2
        with torch.no_grad():
            assert np.allclose(live.predict(batch).numpy()[short], ours.probabilities[short], atol=1e-5)


class TestLoading:
    def test_the_seed_changes_the_head_and_not_the_encoder(self, folders: dict[str, str]) -> None:
        bert = settings(folders["bert"])
        tokenizer = load_tokenizer(bert, [])
        models = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            models.append(load_model(bert, tokenizer, CLASSES, False))
        assert torch.equal(models[0].classifier.weight, models[1].classifier.weight)
        assert not torch.equal(models[0].classifier.weight, models[2].classifier.weight)
        assert torch.equal(word_embeddings(models[0]).weight, word_embeddings(models[2]).weight)

    def test_the_config_maps_labels_to_indices_and_back(self, folders: dict[str, str]) -> None:
        config = load_classifier(folders["bert"], multi_label=True).config
        assert config.id2label == {0: "left", 1: "right", 2: "up"}
        assert config.label2id == {"left": 0, "right": 1, "up": 2}
        assert config.problem_type == "multi_label_classification"

    def test_a_head_of_another_size_is_replaced(self, folders: dict[str, str], tmp_path: Path) -> None:
        bert = settings(folders["bert"])
        tokenizer = load_tokenizer(bert, [])
        load_model(bert, tokenizer, ["yes", "no"], False).save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        assert load_classifier(str(tmp_path)).classifier.out_features == 3

    @pytest.mark.parametrize(
        ("family", "limit"), [("bert", 66), ("roberta", 64), ("mpnet", 64), ("distilbert", 66), ("longformer", 64)]
    )
    def test_there_are_no_more_tokens_than_positions(self, folders: dict[str, str], family: str, limit: int) -> None:
        tokenizer, model = load_tokenizer(settings(folders[family]), []), load_classifier(folders[family]).eval()
        fit_tokenizer(tokenizer, model, 128, "model")
        assert tokenizer.model_max_length == limit
        inputs = tokenizer(["a " * 100], truncation=True, return_tensors="pt")
        assert inputs["input_ids"].shape[1] == limit
        assert model(**inputs).logits.isfinite().all()
        # Without this the model might take one more token, and the test would prove nothing.
        table = next(each for name, each in model.named_modules() if name.endswith("position_embeddings"))
        assert table.num_embeddings - (table.padding_idx + 1 if table.padding_idx is not None else 0) == limit

    def test_a_lower_limit_of_the_tokenizer_stays(self, folders: dict[str, str], tmp_path: Path) -> None:
        AutoModel.from_pretrained(folders["bert"]).save_pretrained(tmp_path)
        tokenizer = AutoTokenizer.from_pretrained(folders["bert"])
        tokenizer.model_max_length = 20
        tokenizer.save_pretrained(tmp_path)
        assert load_tokenizer(settings(str(tmp_path)), []).model_max_length == 20

    @pytest.mark.parametrize("family", ["deberta-v2", "modernbert"])
    def test_relative_positions_set_no_limit(self, folders: dict[str, str], family: str) -> None:
        tokenizer, model = load_tokenizer(settings(folders[family]), []), load_classifier(folders[family]).eval()
        fit_tokenizer(tokenizer, model, 128, "model")
        assert tokenizer.model_max_length == 128  # all that this run asked for
        inputs = tokenizer(["a " * 100], return_tensors="pt")
        assert inputs["input_ids"].shape[1] > 66
        assert model(**inputs).logits.isfinite().all()


class TestRefused:
    def assert_both_refuse(self, name: str, pattern: str) -> None:
        with pytest.raises(UserError, match=pattern):
            load_tokenizer(settings(name), [])
        with pytest.raises(UserError, match=pattern):
            load_model(settings(name), modernbert_tokenizer(), CLASSES, False)

    def test_a_missing_name(self) -> None:
        self.assert_both_refuse("", "model=hub needs model.name=owner/name, or a local folder")

    @pytest.mark.parametrize("name", ["/no/such/folder", "./folder", "~/no such folder", "one/too/many"])
    def test_a_missing_folder(self, name: str) -> None:
        self.assert_both_refuse(name, f"model.name={name}: there is no such folder")

    def test_a_model_of_the_hub_without_a_network(self) -> None:
        self.assert_both_refuse("nobody/nothing", "model.name=nobody/nothing: .* model=minilm needs none")

    @pytest.mark.parametrize("config", ["{broken", '{"model_type": "martian"}', '{"model_type": "clip_vision_model"}'])
    def test_a_config_without_a_classifier(self, tmp_path: Path, config: str) -> None:
        (tmp_path / "config.json").write_text(config)
        self.assert_both_refuse(str(tmp_path), "cannot be loaded as a sequence classifier")

    def test_code_of_a_model_is_never_run_nor_asked_about(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        code = {"AutoConfig": "theirs.Theirs", "AutoModelForSequenceClassification": "theirs.Theirs"}
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "theirs", "auto_map": code}))
        (tmp_path / "theirs.py").write_text("raise SystemExit('ran')")
        monkeypatch.setattr("builtins.input", lambda *_: "y")
        self.assert_both_refuse(str(tmp_path), "cannot be loaded")

    @pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
    def test_damaged_weights(self, folders: dict[str, str], tmp_path: Path, name: str) -> None:
        AutoConfig.from_pretrained(folders["bert"]).save_pretrained(tmp_path)
        (tmp_path / name).write_bytes(b"neither tensors nor a pickle")
        with pytest.raises(UserError, match="cannot be loaded as a sequence classifier"):
            load_model(settings(str(tmp_path)), modernbert_tokenizer(), CLASSES, False)

    @pytest.mark.parametrize("kind", ["objects", "plain", "empty", "cut", "list"])
    def test_a_pickle_runs_no_code_and_is_explained(self, folders: dict[str, str], tmp_path: Path, kind: str) -> None:
        AutoConfig.from_pretrained(folders["bert"]).save_pretrained(tmp_path)
        path, weights = tmp_path / "pytorch_model.bin", {"x": torch.zeros(3)}
        if kind in ("plain", "empty"):
            path.write_bytes(pickle.dumps(Runs(tmp_path / "marker"), protocol=2) if kind == "plain" else b"")
        else:
            torch.save({"objects": {**weights, "y": Runs(tmp_path / "marker")}, "list": [1]}.get(kind, weights), path)
        if kind == "cut":
            path.write_bytes(path.read_bytes()[:99])
        with pytest.raises(UserError, match="pickled objects other than tensors, .*; ask for model.safetensors"):
            load_model(settings(str(tmp_path)), modernbert_tokenizer(), CLASSES, False)
        assert not (tmp_path / "marker").exists()

    @pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
    def test_code_in_a_run_folder_is_never_run_nor_asked_about(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
    ) -> None:
        shutil.copytree(finished_run(), tmp_path / "run")
        path = tmp_path / "run" / "model" / file
        code = {"AutoConfig": "theirs.Theirs", "AutoTokenizer": ["theirs.Theirs", None]}
        kinds = {"model_type": "theirs", "tokenizer_class": "Theirs"}
        path.write_text(json.dumps({**json.loads(path.read_text()), **kinds, "auto_map": code}))
        (path.parent / "theirs.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w')")
        (path.parent / "tokenizer.json").rename(path.parent / "other.json")
        manifest.write(tmp_path / "run")
        monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
        with pytest.raises(UserError, match=r"run/model is damaged \(.*; copy all of it, or train again"):
            FinishedRun(tmp_path / "run").predict(["a1"])
        assert not (tmp_path / "marker").exists()

    def test_the_pickle_of_a_run_folder_is_not_opened(self, tmp_path: Path) -> None:
        shutil.copytree(finished_run(), tmp_path / "run")
        (tmp_path / "run" / "model" / "model.safetensors").unlink()
        torch.save({"x": torch.zeros(3)}, tmp_path / "run" / "model" / "pytorch_model.bin")
        manifest.write(tmp_path / "run")
        with pytest.raises(UserError, match=r"run/model is damaged \(.*model\.safetensors"):
            FinishedRun(tmp_path / "run").predict(["a1"])

    def test_weights_of_another_model_are_refused(self, folders: dict[str, str], tmp_path: Path) -> None:
        AutoConfig.from_pretrained(folders["bert"]).save_pretrained(tmp_path)
        save_file({"something": torch.zeros(2)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(UserError, match=r"lack \d+ weights of BertForSequenceClassification .*random"):
            load_model(settings(str(tmp_path)), modernbert_tokenizer(), CLASSES, False)

    def test_a_missing_pooler_is_not_refused(self, folders: dict[str, str], tmp_path: Path) -> None:
        config = AutoConfig.from_pretrained(folders["bert"])
        transformers.BertForMaskedLM(config).save_pretrained(tmp_path)  # has none
        load_tokenizer(settings(folders["bert"]), []).save_pretrained(tmp_path)
        assert load_classifier(str(tmp_path)).bert.pooler is not None

    def test_a_model_without_a_tokenizer(self, folders: dict[str, str], tmp_path: Path) -> None:
        AutoModel.from_pretrained(folders["bert"]).save_pretrained(tmp_path)
        with pytest.raises(UserError, match="the model has no tokenizer"):
            load_tokenizer(settings(str(tmp_path)), [])

    def test_a_tokenizer_that_needs_a_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise ValueError("`tiktoken` is required to read a `tiktoken` file. Install it.")

        monkeypatch.setattr(AutoTokenizer, "from_pretrained", refuse)
        with pytest.raises(UserError, match=r"which needs: pip install 'trickbook\[sentencepiece\]'"):
            load_tokenizer(settings(str(tmp_path)), [])


class TestTiny:
    SETTINGS = Model(source="tiny", name=None, dropout=None, gradient_checkpointing=False, trim_vocabulary=False)

    def test_the_vocabulary_does_not_depend_on_the_order_of_the_texts(self) -> None:
        texts = ["The cat sat", "on the mat", "THE end"]
        first = load_tokenizer(self.SETTINGS, texts)
        second = load_tokenizer(self.SETTINGS, texts[::-1])
        assert first.get_vocab() == second.get_vocab()
        assert first("the cat ended").input_ids == second("the cat ended").input_ids

    def test_unknown_words_are_spelled(self) -> None:
        tokenizer = load_tokenizer(self.SETTINGS, ["The cat sat on the mat"])
        assert tokenizer.tokenize("the CAT tat") == ["the", "cat", "t", "##a", "##t"]
        assert tokenizer.tokenize("dog") == ["[UNK]"]

    def test_each_chinese_character_is_a_token(self) -> None:
        tokenizer = load_tokenizer(self.SETTINGS, ["股票上涨了", "球队 win 比赛"])
        assert tokenizer.tokenize("股票比赛 win") == ["股", "票", "比", "赛", "win"]
        assert len(tokenizer("股票上涨了").input_ids) == 7

    def test_the_vocabulary_has_a_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loading, "TINY_VOCABULARY", 2)
        tokenizer = load_tokenizer(self.SETTINGS, ["bb bb bb", "aa aa", "ab"])
        assert {"bb", "aa"} <= tokenizer.get_vocab().keys()
        assert "ab" not in tokenizer.get_vocab()

    def test_pairs_have_two_segments(self) -> None:
        tokenizer = load_tokenizer(self.SETTINGS, ["one two"])
        assert tokenizer(["one"], ["two"]).token_type_ids == [[0, 0, 0, 1, 1]]

    def test_a_saved_tokenizer_is_read_back(self, tmp_path: Path) -> None:
        texts = ["The café, naïve; 股票 [MASK]", "Straße"]
        tokenizer = load_tokenizer(self.SETTINGS, texts)
        load_model(self.SETTINGS, tokenizer, CLASSES, False).save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        loaded = AutoTokenizer.from_pretrained(tmp_path)
        assert dict(loaded(texts, ["b", "caf"])) == dict(tokenizer(texts, ["b", "caf"]))
        assert loaded.model_max_length == 512

    def test_a_long_text_is_cut_to_the_positions(self) -> None:
        tokenizer = load_tokenizer(self.SETTINGS, ["a b"])
        model = load_model(self.SETTINGS, tokenizer, CLASSES, False)
        inputs = tokenizer(["a " * 600], truncation=True, return_tensors="pt")
        assert inputs["input_ids"].shape == (1, 512)
        assert model(**inputs).logits.shape == (1, 3)


class TestMinilm:
    SETTINGS = Model(source="minilm", name=None, dropout=None, gradient_checkpointing=False, trim_vocabulary=False)

    def test_it_loads_pretrained_weights(self) -> None:
        tokenizer = load_tokenizer(self.SETTINGS, [])
        model = load_model(self.SETTINGS, tokenizer, CLASSES, False)
        assert sum(each.numel() for each in model.bert.parameters()) == 22_713_216
        assert tokenizer.model_max_length == 512
        assert len(layers(model)) == 6
        # With random weights a paraphrase would not be closer than another sentence.
        inputs = tokenizer(
            ["a man eats bread", "someone is eating food", "stocks fell"], padding=True, return_tensors="pt"
        )
        with torch.no_grad():
            states = model.bert(**inputs).last_hidden_state * inputs["attention_mask"][..., None]
        vectors = functional.normalize(states.sum(1) / inputs["attention_mask"].sum(1, keepdim=True), dim=-1)
        assert float(vectors[0] @ vectors[1]) > float(vectors[0] @ vectors[2]) + 0.3

    def test_other_weights_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "model.safetensors").write_bytes(b"other weights")
        package = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
        monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: package)
        with pytest.raises(UserError, match="holds other weights than all-MiniLM-L6-v2 .SHA-256 [0-9a-f]{64}"):
            load_model(self.SETTINGS, modernbert_tokenizer(), CLASSES, False)
        with pytest.raises(UserError, match="holds other weights"):
            load_tokenizer(self.SETTINGS, [])


def test_every_call_that_loads_says_that_no_code_of_a_model_runs() -> None:
    """A prompt that times out refuses too, but only this keyword is the promise of transformers."""
    root = Path(__file__).parents[3]
    calls = [
        node
        for name in ("recipes", "tricks", "scripts")
        for path in (root / name).rglob("*.py")
        if re.search(r"\bfrom_(pretrained|config)\b", text := path.read_text(encoding="utf-8"))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith((".from_pretrained", ".from_config"))
    ]
    assert len(calls) == 10
    for call in calls:
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert keywords.get("trust_remote_code") == "False", ast.unparse(call)
