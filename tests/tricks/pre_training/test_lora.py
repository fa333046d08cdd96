"""LoRA: what is trained, what is saved, and the sentences where there is nothing to adapt."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from recipes import UserError
from recipes.models.adapters import adapted_modules, merged_weights
from recipes.runs.folder import RunFolder
from recipes.testing import finish, finished_run, in_child, tiny_config, tiny_run
from recipes.toolkit.warm_start import WarmStart
from tricks.pre_training.lora import Lora

# Further names of the same sizes, where a family has its own.
SIZES = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 16}
FAMILIES: Mapping[str, Mapping[str, int]] = {
    "bert": SIZES,
    "albert": {**SIZES, "embedding_size": 8},
    "gpt2": {"n_embd": 8, "n_layer": 2, "n_head": 1},
    "xlnet": {"d_model": 8, "n_layer": 2, "n_head": 1, "d_inner": 16},
    "bart": {
        "d_model": 8,
        **dict.fromkeys(("encoder_layers", "decoder_layers"), 1),
        **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 1),
        **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 8),
    },
}


def classifier(family: str = "bert") -> nn.Module:
    config = AutoConfig.for_model(family, vocab_size=20, num_labels=3, pad_token_id=0, **FAMILIES[family])
    model: nn.Module = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    return model


def adapt(model: nn.Module, **settings: Any) -> tuple[nn.Module, list[str]]:
    """The model with adapters, and the lines of the header."""
    notes: list[str] = []
    run: Any = SimpleNamespace(config=SimpleNamespace(seeds=SimpleNamespace(init=0)), note=notes.append)
    trick = Lora(**{"rank": 4, "alpha": 8.0, "dropout": 0.0, "targets": "linear", "rate_factor": 5.0, **settings})
    return trick.model(run, lambda: model), notes


def test_what_is_trained() -> None:
    model, notes = adapt(classifier())
    # Two layers of 4 matrices 8 x 8 and 2 of 8 x 16, each with rank 4; the pooler, 8 x 8 + 8; the head, 3 x 8 + 3.
    expected = 2 * 4 * (4 * 16 + 2 * 24) + 72 + 27
    assert sum(each.numel() for each in model.parameters() if each.requires_grad) == expected
    assert notes == ["lora: 12 linear layers have an adapter; their own weights are frozen."]
    assert adapt(classifier(), targets="attention")[1][0].startswith("lora: 8 linear")


def test_the_seed_of_new_weights_decides() -> None:
    def first(draws_before: int) -> torch.Tensor:
        model = classifier()
        torch.rand(draws_before)
        weight: torch.Tensor = next(adapted_modules(adapt(model)[0]))[1].lora_A["default"].weight
        return weight

    assert torch.equal(first(0), first(5))


@pytest.mark.parametrize(
    ("family", "targets", "message"),
    [
        ("albert", "linear", "tricks.lora: AlbertForSequenceClassification has no list of 2 layers whose modules"),
        ("gpt2", "linear", "tricks.lora.targets=linear: the layers of GPT2ForSequenceClassification have no trained"),
        ("bart", "linear", "BartForSequenceClassification has an encoder and a decoder, not one list of layers"),
        (
            "xlnet",
            "attention",
            "have no trained torch.nn.Linear in their attention, so there is nothing to adapt; try tricks.lora",
        ),
    ],
)
def test_a_model_that_has_nothing_to_adapt(family: str, targets: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        adapt(classifier(family), targets=targets)
    assert message in str(caught.value) and "leave" in str(caught.value)


def test_all_linear_layers_of_a_model_with_other_attention() -> None:
    assert "lora: 4 linear layers" in adapt(classifier("xlnet"))[1][0]


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"lora needs the package peft: pip install 'trickbook\[lora\]', or leave"):
        adapt(classifier())


def test_the_saved_model_is_plain() -> None:
    config = tiny_config("+tricks=[lora]", "train.max_updates=6")

    def compare() -> tuple[set[str], dict[str, list[str]], dict[str, float]]:
        folder = finish(config)["folder"]
        loaded, report = AutoModelForSequenceClassification.from_pretrained(folder / "model", output_loading_info=True)
        start = tiny_run(tiny_config(), folder).bare_model.state_dict()
        moved = {name for name, weight in loaded.state_dict().items() if not torch.equal(weight, start[name])}
        cost = RunFolder(folder).metrics["cost"]
        return moved, {name: list(report[name]) for name in ("missing_keys", "unexpected_keys")}, cost

    moved, report, cost = in_child(compare)
    # AdamW has two numbers for each trained parameter, of 4 bytes.
    assert cost["optimizer_mb"] == pytest.approx(8 * cost["trained_parameters"] / 2**20, abs=0.1)
    assert report == {"missing_keys": [], "unexpected_keys": []}
    assert "bert.encoder.layer.0.attention.self.query.weight" in moved
    # Frozen: the embeddings, and the biases and normalization of the layers.
    assert not any("embeddings" in name or "LayerNorm" in name for name in moved)
    assert not any(name.endswith("bias") for name in moved if ".layer." in name)


def test_the_optimizer_has_the_trained_parameters_alone(tmp_path: Path) -> None:
    run = tiny_run(tiny_config("+tricks=[lora]"), tmp_path)
    run._step(run.seams.batches(run.train, 0)[0])
    in_optimizer = sum(weight.numel() for group in run.optimizer.param_groups for weight in group["params"])
    assert in_optimizer == sum(each.numel() for each in run.parameters if each.requires_grad)
    assert in_optimizer < sum(each.numel() for each in run.parameters) / 4


def test_the_rate_of_the_adapters(tmp_path: Path) -> None:
    tricks = "+tricks=[lora,layerwise_learning_rate]"
    values = ("tricks.lora.rate_factor=5", "tricks.layerwise_learning_rate.decay=0.5", "train.learning_rate=0.01")
    run = tiny_run(tiny_config(tricks, *values), tmp_path)
    name_of = {weight: name for name, weight in run.bare_model.named_parameters()}
    rates = {name_of[each]: group["lr"] for group in run.optimizer.param_groups for each in group["params"]}
    assert rates["classifier.weight"] == rates["bert.pooler.dense.bias"] == 0.01
    adapters = {name: rate for name, rate in rates.items() if "lora_" in name}
    assert {rate for name, rate in adapters.items() if "layer.1" in name} == {0.05}
    assert {rate for name, rate in adapters.items() if "layer.0" in name} == {0.025}
    assert len(rates) == len(adapters) + 4


def trained_parts(folder: Path, *overrides: str) -> list[list[str]]:
    """The parts whose merged weights each of three updates changes, in a run that freezes layers too."""
    config = tiny_config("+tricks=[freeze_layers,lora]", "train.max_updates=4", "train.warmup=0", *overrides)
    run, result = tiny_run(config, folder), []
    for index in range(3):
        before = {name: weight.clone() for name, weight in (merged_weights(run.bare_model) or {}).items()}
        run._step(run.seams.batches(run.train, 0)[index])
        after = merged_weights(run.bare_model) or {}
        names = [name for name in after if not torch.equal(after[name], before[name])]
        result.append(
            [
                part
                for part in ("embeddings", "layer.0.", "layer.1.", "classifier")
                if any(part in name for name in names)
            ]
        )
    return result


def test_frozen_layers_get_no_adapters_and_stay_as_they_are(tmp_path: Path) -> None:
    assert (
        in_child(lambda: trained_parts(tmp_path, "tricks.freeze_layers.fraction=0.5"))
        == [["layer.1.", "classifier"]] * 3
    )


def test_adapters_of_layers_that_are_frozen_for_a_while_wait(tmp_path: Path) -> None:
    """Both layers and the embeddings are unfrozen one by one; under adapters the embeddings are never trained."""
    values = ["tricks.freeze_layers.fraction=1", "tricks.freeze_layers.until=0.75"]
    assert in_child(lambda: trained_parts(tmp_path, *values)) == [
        ["classifier"],
        ["layer.1.", "classifier"],
        ["layer.0.", "layer.1.", "classifier"],
    ]


def test_with_all_layers_frozen_there_is_nothing_to_adapt(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing to adapt; freeze fewer layers if they are frozen, or leave lora out"):
        tiny_run(tiny_config("+tricks=[freeze_layers,lora]", "tricks.freeze_layers.fraction=1"), tmp_path)


def test_reinitialized_layers_would_stay_random() -> None:
    with pytest.raises(UserError, match="tricks lora and reinitialize_layers exclude each other: .* keep one of them"):
        tiny_run(tiny_config("+tricks=[lora,reinitialize_layers]"), Path())


def test_a_soup_of_finished_runs_has_no_adapters() -> None:
    with pytest.raises(UserError, match="the model of this run has low-rank adapters, and in a finished run they are"):
        WarmStart(str(finished_run()), "tricks.soup.folders").load_weights(adapt(classifier())[0], ["x", "y", "z"])
