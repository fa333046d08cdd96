"""A run to start from: what is read of it, what is refused, and which weights go where."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification, BertConfig

from recipes import UserError
from recipes.runs import manifest
from recipes.testing import finished_run
from recipes.toolkit.warm_start import WarmStart, align_rows

IN_MODEL = "model/config.json", "model/tokenizer_config.json", "model/model.safetensors"
COPY_AGAIN = "If the folder is a copy, copy it again; or give the folder of another run."


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A finished run that a test may spoil."""
    return shutil.copytree(finished_run(), tmp_path / "old")


def reconfigured(folder: Path, change: Callable[[dict[str, dict[str, object]]], None]) -> None:
    values = yaml.safe_load((folder / "config.yaml").read_text())
    change(values)
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    manifest.write(folder)


def forget_manifest(folder: Path) -> None:
    """Make a finished run look like one of a version that wrote no manifest."""
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({**metrics, "format": 2}))
    manifest.remove(folder)


def of(folder: Path | None) -> WarmStart:
    return WarmStart(None if folder is None else str(folder), "tricks.mine.from")


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(UserError) as error:
        work()
    return str(error.value)


def fresh_model(labels: int, hidden: int = 32) -> torch.nn.Module:
    torch.manual_seed(7)
    vocabulary = load_file(finished_run() / "model" / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=labels,
    )
    model: torch.nn.Module = AutoModelForSequenceClassification.from_config(config)
    return model


class TestByName:
    OLD = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])  # a, b, c
    FRESH = torch.tensor([[10.0, 20.0], [30.0, 40.0], [50.0, 60.0]])

    def test_rows_follow_their_names(self) -> None:
        assert align_rows(self.OLD, "abc", self.FRESH, "cab").tolist() == [[5, 6], [1, 2], [3, 4]]

    def test_a_new_class_keeps_the_fresh_row_and_a_missing_one_goes(self) -> None:
        assert align_rows(self.OLD, "abc", self.FRESH, "cxa").tolist() == [[5, 6], [30, 40], [1, 2]]

    def test_a_bias(self) -> None:
        result = align_rows(torch.tensor([1.0, 2.0]), "ab", torch.tensor([7.0, 8.0, 9.0]), "bxa")
        assert result.tolist() == [2, 8, 1]

    def test_in_the_precision_of_the_model(self) -> None:
        assert align_rows(self.OLD, "abc", self.FRESH.double(), "abx").dtype == torch.float64


class TestWeights:
    def test_weights_are_loaded_and_the_head_matched_by_class_name(self) -> None:
        model, saved = fresh_model(4), load_file(finished_run() / "model" / "model.safetensors")
        fresh = {name: each.clone() for name, each in model.state_dict().items()}
        of(finished_run()).load_weights(model, ["z", "new", "y", "x"])
        for name, given in model.state_dict().items():
            expected: Tensor = saved[name]
            if name.startswith("classifier."):
                expected = torch.stack([saved[name][2], fresh[name][1], saved[name][1], saved[name][0]])
            assert torch.equal(given, expected), name

    def test_another_size(self) -> None:
        message = refusal(lambda: of(finished_run()).load_weights(fresh_model(3, hidden=64), "xyz"))
        assert message == (
            f"tricks.mine.from={finished_run()}: its model differs from this one (bert.embeddings.LayerNorm.bias is "
            "(32,) there, (64,) here). Use model=tiny, with the tricks that changed its shape."
        )

    def test_a_head_on_vectors_of_another_width(self, old: Path) -> None:
        weights = load_file(old / "model" / "model.safetensors")
        weights["classifier.weight"] = torch.zeros(3, 8)
        save_file(weights, old / "model" / "model.safetensors")
        manifest.write(old)
        message = refusal(lambda: of(old).load_weights(fresh_model(5), "xyzuv"))
        assert "(classifier.weight is (8,) there, (32,) here)" in message

    def test_a_weight_that_only_one_has(self, old: Path) -> None:
        weights = load_file(old / "model" / "model.safetensors")
        weights["segments.score.weight"] = torch.zeros(1, 32)
        save_file(weights, old / "model" / "model.safetensors")
        manifest.write(old)
        message = refusal(lambda: of(old).load_weights(fresh_model(3), "xyz"))
        assert "(segments.score.weight is (1, 32) there, missing here)" in message

    def test_another_family(self, old: Path) -> None:
        settings = json.loads((old / "model" / "config.json").read_text())
        settings["architectures"] = ["ElectraForSequenceClassification"]
        (old / "model" / "config.json").write_text(json.dumps(settings))
        weights = load_file(old / "model" / "model.safetensors")
        save_file(
            {name.replace("bert.", "electra."): each for name, each in weights.items()},
            old / "model" / "model.safetensors",
        )
        manifest.write(old)
        message = refusal(lambda: of(old).load_weights(fresh_model(3), "xyz"))
        assert "(ElectraForSequenceClassification there, BertForSequenceClassification here)" in message

    def test_damaged(self, old: Path) -> None:
        path = old / "model" / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
        assert f"{path} is damaged: it has changed since the run was finished" in refusal(lambda: of(old))

    def test_damaged_in_a_folder_of_an_earlier_version(self, old: Path) -> None:
        path = old / "model" / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
        forget_manifest(old)
        message = refusal(lambda: of(old).load_weights(fresh_model(3), "xyz"))
        assert message.startswith(f"tricks.mine.from={old}: model/model.safetensors is damaged. {COPY_AGAIN}")


def test_labels_and_tokenizer() -> None:
    run = of(finished_run())
    assert (run.classes, run.multi_label, run.in_pairs) == (["x", "y", "z"], False, False)
    tokenizer = run.tokenizer(77)
    assert tokenizer.model_max_length == 77
    assert tokenizer.convert_ids_to_tokens(tokenizer("w1")["input_ids"]) == ["[CLS]", "w1", "[SEP]"]


def test_a_hub_model_is_named(old: Path) -> None:
    reconfigured(old, lambda values: values["model"].update(source="hub", name="owner/name"))
    assert of(old).choice == "model=hub model.name=owner/name"


class TestRefusals:
    def test_no_folder(self) -> None:
        message = "tricks.mine.from is not set; give it the folder of a finished run: tricks.mine.from=runs/<name>."
        assert refusal(lambda: of(None)) == message

    def test_not_finished(self, old: Path) -> None:
        manifest.remove(old)
        message = f"tricks.mine.from={old} holds no finished run (there is no manifest.json); start its command again, "
        assert refusal(lambda: of(old)).startswith(message)

    def test_no_run(self, tmp_path: Path) -> None:
        message = f"tricks.mine.from={tmp_path} holds no finished run (there is no manifest.json); give the folder of "
        assert refusal(lambda: of(tmp_path)) == f"{message}one: tricks.mine.from=runs/<name>."

    @pytest.mark.parametrize("file", ["config.yaml", "metrics.json", *IN_MODEL])
    def test_incomplete(self, old: Path, file: str) -> None:
        (old / file).unlink()
        assert refusal(lambda: of(old)).startswith(f"{old / file} is missing. If the folder is a copy, copy it again.")

    @pytest.mark.parametrize("file", IN_MODEL)
    def test_incomplete_in_a_folder_of_an_earlier_version(self, old: Path, file: str) -> None:
        (old / file).unlink()
        forget_manifest(old)
        message = f"tricks.mine.from={old} holds no finished run (there is no {file}). {COPY_AGAIN}"
        assert refusal(lambda: of(old)).startswith(message)

    def test_a_model_without_weights(self, old: Path) -> None:
        reconfigured(old, lambda values: values["model"].update(source="linear"))
        message = (
            f"tricks.mine.from={old} is a run of model=linear, which has no weights to start from; give the folder"
        )
        assert refusal(lambda: of(old)).startswith(message)


class TestData:
    def test_is_read_again(self) -> None:
        splits = of(finished_run()).splits
        assert len(splits.train) == 44 and splits.test is not None and splits.classes == ["x", "y", "z"]

    def test_a_hidden_test_split_stays_hidden(self, old: Path) -> None:
        reconfigured(old, lambda values: values["evaluate"].update(test=False))
        assert of(old).splits.test is None

    def test_gone(self, old: Path) -> None:
        reconfigured(old, lambda values: values["data"].update(train=str(old / "gone.csv")))
        message = refusal(lambda: of(old).splits)
        assert message.startswith(
            f"tricks.mine.from={old}: its data cannot be read again: data.train={old}/gone.csv: there is no such file"
        )

    @pytest.mark.parametrize("column", [0, 1])
    def test_other_rows_or_labels(self, old: Path, column: int) -> None:
        lines = (old / "predictions" / "test.csv").read_text().splitlines()
        cells = lines[3].split(",")
        cells[column] = "other"
        lines[3] = ",".join(cells)
        (old / "predictions" / "test.csv").write_text("\n".join(lines) + "\n")
        manifest.write(old)
        message = (
            f"tricks.mine.from={old}: its data has changed since (test has other rows or labels). Restore the data, or "
            "give the folder of another run."
        )
        assert refusal(lambda: of(old).splits) == message
