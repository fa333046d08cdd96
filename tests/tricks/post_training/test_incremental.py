"""Incremental: labels, the head's rows, replayed rows and forgetting by hand, and runs from end to end."""

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from datasets import Dataset
from safetensors.torch import load_file, save_file

from recipes import UserError
from recipes.api import FinishedRun, finetune_config
from recipes.config import Config
from recipes.data.splits import Splits, read_splits
from recipes.prediction.predictors import Predictor
from recipes.runs import manifest
from recipes.testing import TrickLaws, copy_weights, finished_run, in_child, temporary_folder, tiny_config, tiny_run
from tests.sampling import slow
from tricks.post_training.incremental import Incremental, draw_rows, forgetting, summarize

ON = "+tricks=[incremental]"
STILL = "train.learning_rate=0", "train.max_updates=1"


def incremental(folder: Path | None = None, replay: float = 0.0, new_labels: str = "refuse") -> Incremental:
    return Incremental(str(folder or finished_run()), replay, new_labels)


def after(*overrides: str, folder: Path | None = None) -> Config:
    """The config of a run that starts from another, on texts of its own."""
    tricks = () if any(line.startswith("+tricks=") for line in overrides) else (ON,)
    return tiny_config(*tricks, f"tricks.incremental.folder={folder or finished_run()}", *overrides)


def finished(config: Config, folder: Path) -> FinishedRun:
    return in_child(partial(finetune_config, config, folder))


def table(folder: Path, name: str, *labels: str) -> str:
    """A file of rows `word word,label`."""
    path = folder / f"{name}.csv"
    path.write_text("text,label\n" + "".join(f"w{row} {label}{row},{label}\n" for row, label in enumerate(labels)))
    return f"data.{name}={path}"


def copy(folder: Path) -> Path:
    """The old run, where a test may change it."""
    shutil.copytree(finished_run(), folder, ignore=shutil.ignore_patterns(".lock"))
    return folder


def message_of(work: Callable[[], object]) -> list[str]:
    with pytest.raises(UserError) as error:
        work()
    return list(error.value.problems)


def examples(*labels: Any, first: int = 0) -> Dataset:
    ids = [str(first + position) for position in range(len(labels))]
    nothing = [None] * len(ids)
    return Dataset.from_dict({"id": ids, "source": ids, "text": ids, "text_pair": nothing, "label": list(labels)})


def splits(classes: Sequence[str], multi_label: bool = False, extra: Sequence[str] = ()) -> Splits:
    rows = examples(*classes)
    return Splits(rows, rows, rows, list(classes), multi_label, dict.fromkeys(extra, rows), ["a note."])


class TestLabels:
    def trained_on(self, trick: Incremental, given: Splits, *overrides: str) -> Splits:
        """The splits that the inner procedure gets."""
        result: list[Splits] = []
        trick.train(None, lambda _, splits, __: result.append(splits), after(*overrides), given, Path())  # type: ignore[arg-type, return-value]
        return result[0]

    def test_another_order_is_that_of_the_new_data(self) -> None:
        assert self.trained_on(incremental(), splits("zxy")).classes == ["z", "x", "y"]

    def test_refused_by_name(self) -> None:
        assert message_of(lambda: self.trained_on(incremental(), splits(["y", "new", "x", "other"]))) == [
            f"tricks.incremental.folder={finished_run()}: the labels differ: only the new data has 'new', 'other'; "
            "only the old run has 'z'. Spell them alike, or let the model have old and new ones with "
            "tricks.incremental.new_labels=extend."
        ]

    def test_missing_ones_alone(self) -> None:
        (message,) = message_of(lambda: self.trained_on(incremental(), splits("y")))
        assert ": the labels differ: only the old run has 'x', 'z'. Spell" in message

    def test_extended_behind_the_old_ones(self) -> None:
        result = self.trained_on(incremental(new_labels="extend"), splits(["a", "y", "b"]))
        assert result.classes == ["x", "y", "z", "a", "b"]
        assert result.notes[2] == "incremental: the head grows from 3 labels by 'a', 'b'."

    def test_missing_ones_stay_when_extended(self) -> None:
        assert self.trained_on(incremental(new_labels="extend"), splits("zy")).classes == ["x", "y", "z"]

    def test_what_cannot_go_together_all_at_once(self) -> None:
        given = splits("xyz", multi_label=True, extra=["old_test"])
        config = after("data.text_pair=other")
        assert message_of(lambda: incremental().train(None, lambda *_: None, config, given, Path())) == [  # type: ignore[arg-type, return-value]
            f"tricks.incremental.folder={finished_run()}: its rows have one label each, those of the new data several "
            "labels; give the folder of a run on such data.",
            f"data.text_pair=other: the run of tricks.incremental.folder={finished_run()} was trained on single texts; "
            "give the folder of a run on such data.",
            "evaluate.extra.old_test: incremental uses this name for the old run's test split; choose another.",
        ]

    def test_the_old_test_split_is_scored_with_the_other_splits(self) -> None:
        result = self.trained_on(incremental(), splits("xyz", extra=["mine"]))
        assert list(result.extra) == ["mine", "old_test"]
        assert list(result.extra["old_test"]["id"]) == FinishedRun(finished_run()).predictions("test")["id"]
        assert result.notes == ["a note.", f"incremental: training starts from the weights of {finished_run()}."]

    def test_a_hidden_test_split_stays_hidden(self) -> None:
        result = self.trained_on(incremental(), splits("xyz"), "evaluate.test=false")
        assert result.extra == {}
        assert result.notes[-1] == "incremental: forgetting is not measured (evaluate.test=false)."

    def test_another_pooling_is_noted(self) -> None:
        result = self.trained_on(incremental(), splits("xyz"), "+tricks=[contrastive,incremental]")
        (message,) = [note for note in result.notes if "texts" in note]
        assert message.startswith(
            "incremental: the old run read texts unchanged, this one reads them with Contrastive("
        )

    def test_texts_that_were_read_otherwise(self) -> None:
        result = self.trained_on(
            incremental(), splits("xyz"), "+tricks=[incremental,truncate]", "tricks.truncate.head_fraction=0.5"
        )
        (message,) = [note for note in result.notes if "texts" in note]
        assert message.startswith("incremental: the old run read texts unchanged, this one reads them with Truncate(")
        assert "head_fraction=0.5" in message

    def test_old_data_that_is_gone(self, tmp_path: Path) -> None:
        old = copy(tmp_path / "old")
        values = yaml.safe_load((old / "config.yaml").read_text())
        values["data"]["train"] = str(tmp_path / "gone.csv")
        (old / "config.yaml").write_text(yaml.safe_dump(values))
        manifest.write(old)
        result = self.trained_on(incremental(old), splits("xyz"))
        assert result.extra == {}
        assert result.notes[-1].startswith(
            "incremental: forgetting is not measured. "
            f"tricks.incremental.folder={old}: its data cannot be read again: data.train="
        )
        (message,) = message_of(lambda: self.trained_on(incremental(old, replay=0.5), splits("xyz")))
        assert "its data cannot be read again" in message

    def test_an_old_run_without_test_scores(self, tmp_path: Path) -> None:
        old = copy(tmp_path / "old")
        metrics = json.loads((old / "metrics.json").read_text())
        (old / "metrics.json").write_text(json.dumps({**metrics, "test": {}}))
        manifest.write(old)
        result = self.trained_on(incremental(old), splits("xyz"))
        assert result.extra == {}
        assert result.notes[-1] == "incremental: forgetting is not measured (the old run has no test scores)."


class TestModel:
    def weights(self, config: Config) -> dict[str, np.ndarray]:
        def output() -> dict[str, np.ndarray]:
            with temporary_folder() as folder:
                return copy_weights(tiny_run(config, folder))

        return in_child(output)

    def test_is_the_old_one_whatever_the_order_of_its_labels(self, tmp_path: Path) -> None:
        old = copy(tmp_path / "old")
        weights = load_file(old / "model" / "model.safetensors")
        settings = json.loads((old / "model" / "config.json").read_text())
        turned = {name: each[[2, 0, 1]] if name.startswith("classifier.") else each for name, each in weights.items()}
        save_file({name: each.contiguous() for name, each in turned.items()}, old / "model" / "model.safetensors")
        settings |= {"id2label": {"0": "z", "1": "x", "2": "y"}, "label2id": {"z": 0, "x": 1, "y": 2}}
        (old / "model" / "config.json").write_text(json.dumps(settings))
        manifest.write(old)
        result = self.weights(after(folder=old))
        for name, expected in weights.items():
            assert (result[name] == expected.numpy()).all(), name

    def test_texts_have_the_old_tokens(self) -> None:
        def tokens(config: Config) -> tuple[list[int], int, int]:
            with temporary_folder() as folder:
                run = tiny_run(config, folder)
                return run.tokenizer("w1 a2 w3")["input_ids"], run.max_length, run.tokenizer.model_max_length

        plain, result = (in_child(partial(tokens, config)) for config in (tiny_config(), after()))
        assert result[0] != plain[0] and result[1:] == plain[1:]
        assert result[0] == Predictor(FinishedRun(finished_run())).tokenizer("w1 a2 w3")["input_ids"]

    def test_new_rows_are_drawn_from_the_seed_of_new_weights(self, tmp_path: Path) -> None:
        labels = [table(tmp_path, name, *"xyzu" * 6) for name in ("train", "validation", "test")]
        rows = {
            seed: self.weights(after(*labels, "tricks.incremental.new_labels=extend", f"seeds.init={seed}"))
            for seed in (0, 5)
        }
        head = {seed: result["classifier.weight"] for seed, result in rows.items()}  # u, x, y, z: no train seam here
        old = load_file(finished_run() / "model" / "model.safetensors")["classifier.weight"].numpy()
        assert (head[0][1:] == old).all() and (head[5][1:] == old).all()
        assert (head[0][0] != head[5][0]).any() and 0.005 < head[0][0].std() < 0.05


class TestReplay:
    ROWS = examples(*"aaaaaaaaaa", *"bbbbb", "c")

    def classes(self, indices: Sequence[int]) -> str:
        return "".join(self.ROWS["label"][position] for position in indices)

    @pytest.mark.parametrize(
        ("fraction", "expected"), [(1.0, "aaaaaaaaaabbbbbc"), (0.4, "aaaabbc"), (0.1, "abc"), (0.001, "abc")]
    )
    def test_each_class_gives_its_fraction_and_at_least_one_row(self, fraction: float, expected: str) -> None:
        assert self.classes(draw_rows(self.ROWS, fraction, 0)) == expected

    def test_the_seed_decides_which(self) -> None:
        assert draw_rows(self.ROWS, 0.4, 0) == draw_rows(self.ROWS, 0.4, 0) != draw_rows(self.ROWS, 0.4, 1)

    def test_a_larger_fraction_has_the_rows_of_a_smaller_one(self) -> None:
        assert set(draw_rows(self.ROWS, 0.2, 3)) < set(draw_rows(self.ROWS, 0.7, 3))

    def test_other_rows_do_not_change_the_draw(self) -> None:
        order = list(reversed(range(len(self.ROWS))))
        turned = [order[position] for position in draw_rows(self.ROWS.select(order), 0.4, 0)]
        assert sorted(turned) == draw_rows(self.ROWS, 0.4, 0)

    def test_with_multiple_labels_the_rarest_counts(self) -> None:
        rows = examples(["a"], ["a", "b"], ["a"], ["a"], ["a"])
        assert (
            draw_rows(rows, 0.25, 0)[0] in (0, 1)
            and 1 in draw_rows(rows, 0.25, 0)
            and len(draw_rows(rows, 0.25, 0)) == 2
        )

    def test_old_rows_stand_behind_the_new_ones_cleaned(self) -> None:
        old = read_splits(after(folder=finished_run()).data, {}, True).train
        trick, notes = incremental(replay=0.5), list[str]()
        trick.old.splits = SimpleNamespace(train=old)  # type: ignore[misc, assignment]

        def clean(rows: Dataset) -> Dataset:
            return Dataset.from_dict({**rows.to_dict(), "text": [f"<{text}>" for text in rows["text"]]}, rows.features)

        run: Any = SimpleNamespace(config=SimpleNamespace(seed=3), note=notes.append, clean_rows=clean)
        result = trick.examples(run, lambda rows: rows, old.select([0, 1]))
        indices = draw_rows(old, 0.5, 3)
        assert list(result["id"]) == ["0", "1", *(f"old:{position}" for position in indices)]
        assert list(result["source"])[2:] == list(result["id"])[2:]
        assert list(result["text"])[:3] == [*old["text"][:2], f"<{old['text'][indices[0]]}>"]
        assert list(result["label"])[2:] == [old["label"][position] for position in indices]
        assert notes == [f"incremental: {len(indices)} of 44 old training rows are trained on again."]

    def test_none_reads_nothing(self) -> None:
        nothing: Any = SimpleNamespace()
        rows = examples("a")
        assert Incremental("no folder", 0.0, "refuse").examples(nothing, lambda rows: rows, rows) is rows

    def test_other_old_rows_after_a_stop_are_refused(self) -> None:
        trick = incremental(replay=0.5)
        trick.replayed = "now"
        trick.load({"replayed": "now"})
        assert trick.state() == {"replayed": "now"}
        assert message_of(lambda: trick.load({"replayed": "before"})) == [
            f"tricks.incremental.folder={finished_run()}: its training rows have changed since this run started; "
            "start over with resume=false."
        ]


class TestForgetting:
    def test_change_of_what_both_have(self) -> None:
        before = {"accuracy": 0.75, "loss": 0.5, "roc_auc": 0.9, "unseen": 2}
        assert forgetting(before, {"accuracy": 0.5, "loss": 1.25, "unseen": 2}, {}) == {
            "accuracy": {"before": 0.75, "after": 0.5, "change": -0.25},
            "loss": {"before": 0.5, "after": 1.25, "change": 0.75},
        }

    def test_a_mean_over_more_classes(self) -> None:
        result = forgetting({"macro_f1": 0.8}, {"macro_f1": 0.4}, {"macro_f1": 1.5})
        assert result["macro_f1"] == {"before": 0.8, "after": pytest.approx(0.6), "change": pytest.approx(-0.2)}

    @pytest.mark.parametrize(
        ("metric", "change", "expected"),
        [
            ("accuracy", -0.25, "accuracy was 0.5000 and is 0.2500 now: 0.2500 is forgotten."),
            ("accuracy", 0.25, "accuracy was 0.5000 and is 0.7500 now: nothing is forgotten."),
            ("accuracy", 0.0, "accuracy was 0.5000 and is 0.5000 now: nothing is forgotten."),
            ("loss", 0.25, "loss was 0.5000 and is 0.7500 now: 0.2500 is forgotten."),
            ("loss", -0.25, "loss was 0.5000 and is 0.2500 now: nothing is forgotten."),
        ],
    )
    def test_in_words(self, metric: str, change: float, expected: str) -> None:
        result = {metric: {"before": 0.5, "after": 0.5 + change, "change": change}}
        assert summarize(result, metric) == f"on the old test split {expected}"
        assert summarize(result, "roc_auc") == summarize(result, metric)  # which the grown head has not

    @pytest.mark.parametrize(
        ("multi", "expected"), [(False, {"macro_f1": 0.6, "loss": 1.0}), (True, {"macro_f1": 0.6, "loss": 1.5})]
    )
    def test_of_a_run_whose_head_has_grown(self, multi: bool, expected: dict[str, float]) -> None:
        trick, message = incremental(), list[str]()
        trick.old.metrics, trick.old.classes = {"test": {"macro_f1": 0.9, "loss": 0.5}}, list("wxyz")
        run: Any = SimpleNamespace(
            classes=list("wxyzab"),
            multi_label=multi,
            config=SimpleNamespace(evaluate=SimpleNamespace(metric="macro_f1")),
            say=message.append,
        )
        measure_difference = {"test": {"loss": 9.0}, "old_test": {"macro_f1": 0.4, "loss": 1.0}}
        result = trick.results(run, lambda scored: measure_difference, {})
        assert {name: each["after"] for name, each in result["forgetting"].items()} == pytest.approx(expected)
        assert {name: result[name] for name in measure_difference} == measure_difference
        assert message == [
            "incremental: on the old test split macro_f1 was 0.9000 and is 0.6000 now: 0.3000 is forgotten."
        ]

    def test_nothing_to_compare(self) -> None:
        run: Any = SimpleNamespace()
        assert incremental().results(run, lambda scored: {"test": {}}, {}) == {"test": {}}


class TestRuns:
    @pytest.mark.slow
    def test_equal_scores_are_not_forgetting(self, tmp_path: Path) -> None:
        run, old = finished(after(*STILL), tmp_path / "run"), FinishedRun(finished_run())
        summary = [
            (each.folder / "predictions" / f"{name}.csv").read_text()
            for each, name in ((run, "old_test"), (old, "test"))
        ]
        assert summary[0] == summary[1]
        assert run.metrics["old_test"] == old.metrics["test"]
        assert {name: each["change"] for name, each in run.metrics["forgetting"].items()} == dict.fromkeys(
            old.metrics["test"], 0.0
        )
        assert run.metrics["test"] != run.metrics["old_test"]  # other texts

    @pytest.mark.slow
    def test_extended_then_in_another_order(self, tmp_path: Path) -> None:
        """A head that has grown behind its old labels is the next run's old one, whose labels are in order."""
        grown = [table(tmp_path, name, *"aybz" * 6) for name in ("train", "validation", "test")]
        extended = finished(after(*grown, *STILL, "tricks.incremental.new_labels=extend"), tmp_path / "extended")
        assert [*extended.predictions("old_test")][3:] == ["p_x", "p_y", "p_z", "p_a", "p_b"]
        old = load_file(finished_run() / "model" / "model.safetensors")
        weights = load_file(extended.folder / "model" / "model.safetensors")
        assert torch.equal(weights["classifier.weight"][:3], old["classifier.weight"])
        assert torch.equal(weights["bert.pooler.dense.weight"], old["bert.pooler.dense.weight"])
        again = [table(tmp_path, name, *"xyzab" * 6) for name in ("train", "validation", "test")]
        last = finished(after(*again, *STILL, folder=extended.folder), tmp_path / "last")
        assert [*last.predictions("test")][3:] == ["p_a", "p_b", "p_x", "p_y", "p_z"]
        texts = ["w1 x1", "w2 b3"]
        before, now = (in_child(partial(run.predict, texts)) for run in (extended, last))
        indices = [list(now.classes).index(name) for name in before.classes]
        assert np.abs(now.probabilities[:, indices] - before.probabilities).max() < 1e-6
        rows = [load_file(run.folder / "model" / "model.safetensors")["classifier.weight"] for run in (extended, last)]
        assert torch.equal(rows[1][indices], rows[0])

    @pytest.mark.slow
    def test_replayed_rows_are_trained_on(self, tmp_path: Path) -> None:
        run = finished(after("tricks.incremental.replay=0.5"), tmp_path / "run")
        rows = sum(line.get("examples", 0) for line in run.history if line["update"] <= 9)
        assert rows == 44 + 23  # of 15, 15 and 14 rows 8, 8 and 7
        assert run.metrics["seams"] == {
            "examples": ["incremental"],
            "model": ["incremental"],
            "results": ["incremental"],
            "train": ["incremental"],
        }


class Laws(TrickLaws):
    """With replay, which reads the old data too."""

    trick = "incremental"
    settings = {"replay": 0.5}


@pytest.mark.parametrize("law", [slow("order_is_free"), "splitting_is_invisible", "stopping_is_invisible"])
def test_law(law: str) -> None:
    getattr(Laws(), f"test_{law}")()
