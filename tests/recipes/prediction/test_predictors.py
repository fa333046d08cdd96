"""Predicting with a run folder gives the predictions that the run itself runs of its test split."""

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

import recipes
from recipes.api import FinishedRun
from recipes.prediction.predictors import Predictor, load_predictor
from recipes.runs import manifest
from recipes.runs.folder import RunFolder
from recipes.testing import finished_run, in_child
from tests.sampling import only

WORDS = {
    "good": "fine great lovely happy bright warm".split(),
    "bad": "awful poor broken sad cold grim".split(),
    "odd": "purple seven sideways maybe under lamp".split(),
}


def make_rows(count: int, seed: int) -> list[dict[str, str]]:
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        label = str(random.choice(list(WORDS)))
        words = random.choice(WORDS[label], size=random.integers(1, 9)).tolist()
        second = random.choice(WORDS[label], size=2).tolist()
        other = str(random.choice(list(WORDS)))
        rows.append({"text": " ".join(words), "pair": " ".join(second), "label": label, "labels": f"{label};{other}"})
    return rows


def write_rows(path: Path, rows: Sequence[dict[str, str]]) -> str:
    with path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


KINDS: dict[str, list[str]] = {
    "tiny": ["model=tiny"],
    "tiny pairs": ["model=tiny", "data.text_pair=pair", "data.max_length=9"],
    "tiny multi-label": ["model=tiny", "data.label=labels", 'data.label_separator=";"', "evaluate.metric=micro_f1"],
    "linear": ["model=linear"],
    "linear pairs": ["model=linear", "data.text_pair=pair"],
    "fusion": ["model=tiny", "+tricks=[fusion]", "tricks.fusion.folds=2", "tricks.fusion.members=[tiny,linear]"],
    "fusion multi-label": [
        "model=tiny",
        "data.label=labels",
        'data.label_separator=";"',
        "evaluate.metric=micro_f1",
        "+tricks=[fusion,threshold]",
        "tricks.fusion.folds=1",
        "tricks.fusion.members=['tiny', 'tiny seed=1']",
        "tricks.fusion.scheme=fitted",
    ],
    "fusion pairs": ["model=linear", "data.text_pair=pair", "+tricks=[fusion]", "tricks.fusion.folds=2"],
    "linear multi-label": ["model=linear", "data.label=labels", 'data.label_separator=";"', "evaluate.metric=micro_f1"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, count, seed in (("train", 60, 0), ("validation", 20, 1), ("test", 30, 2)):
        write_rows(folder / f"{name}.csv", make_rows(count, seed))
    return folder


@pytest.fixture(scope="module")
def runs() -> dict[str, FinishedRun]:
    return {}


@pytest.fixture
def run(request: pytest.FixtureRequest, folder: Path, runs: dict[str, FinishedRun]) -> FinishedRun:
    """A finished run of the requested kind; each kind is trained once."""
    kind: str = request.param
    if kind not in runs:
        files = [f"data.{name}={folder / name}.csv" for name in ("train", "validation", "test")]
        training = ["train.max_updates=30", "train.batch_size=16", "train.learning_rate=0.01", "train.device=cpu"]
        training = ["train.device=cpu"] if kind.startswith("linear") else training
        run_folder = f"hydra.run.dir={folder / kind.replace(' ', '_')}"
        runs[kind] = recipes.finetune(["data=files", *files, *KINDS[kind], *training, run_folder])
    return recipes.load(runs[kind].folder)


def read_split(folder: Path, name: str = "test") -> tuple[list[str], list[str]]:
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return [row["text"] for row in rows], [row["pair"] for row in rows]


def read_predictions(run: FinishedRun) -> tuple[list[dict[str, str]], np.ndarray]:
    with (run.folder / "predictions" / "test.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    probabilities = [[float(value) for name, value in row.items() if name.startswith("p_")] for row in rows]
    return rows, np.array(probabilities)


@pytest.mark.parametrize("run", only(["tiny pairs", "linear multi-label"], KINDS), indirect=True)
def test_predictions_equal_the_run_s_own_of_its_test_split(run: FinishedRun, folder: Path) -> None:
    texts, pairs = read_split(folder)
    predictions = run.predict(texts, pairs if run.config["data"]["text_pair"] else None)
    rows, expected = read_predictions(run)
    assert predictions.probabilities == pytest.approx(expected, abs=2e-6)
    assert np.ptp(expected, axis=0).min() > 1e-3  # the rows differ, so their order is tested
    names = ["|".join(name) if isinstance(name, list) else name for name in predictions.names()]
    assert names == [row["prediction"] for row in rows]
    assert list(predictions.ids) == [str(row) for row in range(30)] == [row["id"] for row in rows]
    assert predictions.classes == sorted(WORDS)
    assert list(predictions.labels) == [None] * 30


@pytest.mark.parametrize("run", ["tiny", "linear"], indirect=True)
class TestPredict:
    def test_a_prediction_does_not_depend_on_the_other_texts(self, run: FinishedRun, folder: Path) -> None:
        texts, _ = read_split(folder)
        together = run.predict(texts).probabilities
        assert run.predict([texts[7]]).probabilities[0] == pytest.approx(together[7], abs=1e-6)
        assert run.predict(texts[::-1]).probabilities[::-1] == pytest.approx(together, abs=1e-6)

    def test_any_sequence_of_texts_is_accepted(self, run: FinishedRun) -> None:
        expected = run.predict(["fine", "grim"]).probabilities
        assert np.array_equal(run.predict(("fine", "grim")).probabilities, expected)
        assert np.array_equal(run.predict(np.array(["fine", "grim"])).probabilities, expected)  # type: ignore[arg-type]

    def test_empty_and_unusual_texts_have_finite_probabilities(self, run: FinishedRun) -> None:
        predictions = run.predict(["", "\n", "完全不同", "word " * 3000])
        assert np.isfinite(predictions.probabilities).all()
        assert predictions.probabilities.sum(1) == pytest.approx(1.0)

    def test_prediction_leaves_no_file_in_the_cache(
        self, run: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TRICKBOOK_CACHE", str(tmp_path))
        run.predict(["fine"])
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("texts", "message"),
        [
            ("a single text", "texts is of type str; give a list of texts"),
            (None, "texts is of type NoneType; give a list of texts"),
            ([], "texts is empty; give at least one text"),
            # These are iterated by the names of their columns, which are texts too.
            ({"review": ["a"]}, r"texts is a dict, which has columns; give the one with the texts: rows\['text'\]"),
            (pd.DataFrame({"review": ["a"]}), "texts is a DataFrame, which has columns"),
            (datasets.Dataset.from_dict({"review": ["a"]}), "texts is a Dataset, which has columns"),
        ],
    )
    def test_what_is_no_column_of_texts_is_refused(self, run: FinishedRun, texts: Any, message: str) -> None:
        with pytest.raises(recipes.UserError, match=f"predict: {message}"):
            run.predict(texts)

    def test_pairs_are_refused_by_a_run_of_single_texts(self, run: FinishedRun) -> None:
        with pytest.raises(recipes.UserError, match=r"was trained on single texts: predict\(texts\)"):
            run.predict(["fine"], ["grim"])


@pytest.mark.parametrize("run", ["tiny pairs", "linear pairs"], indirect=True)
class TestPairs:
    def test_both_texts_of_a_pair_matter(self, run: FinishedRun) -> None:
        one, other = run.predict(["fine", "fine"], ["lovely", "grim"]).probabilities
        assert not np.allclose(one, other, atol=1e-4)

    def test_texts_without_pairs_are_refused(self, run: FinishedRun) -> None:
        with pytest.raises(recipes.UserError, match=r"was trained on pairs of texts: predict\(texts, pairs\)"):
            run.predict(["fine"])
        with pytest.raises(recipes.UserError, match="2 texts and 1 pairs; each text needs its own"):
            run.predict(["fine", "grim"], ["fine"])


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_and_too_many_pairs_are_refused(count: int, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("data: {text_pair: other}", encoding="utf-8")
    with pytest.raises(recipes.UserError, match=f"was given 2 texts and {count} pairs"):
        FinishedRun(tmp_path).predict(["a", "b"], ["c"] * count)


@pytest.mark.parametrize("missing", ["config.yaml", "model"])
def test_an_incomplete_folder_is_refused(missing: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("data: {text_pair: null}")
    (tmp_path / "model").mkdir()
    (tmp_path / missing).rename(tmp_path / "renamed")
    with pytest.raises(recipes.UserError, match="is incomplete: it has no config.yaml or no model folder"):
        load_predictor(RunFolder(tmp_path))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_model_is_refused(name: str, tmp_path: Path) -> None:
    shutil.copytree(finished_run(), tmp_path / "run")
    (tmp_path / "run" / "model" / name).write_text("{")
    with pytest.raises(recipes.UserError, match=rf"run/model/{name} is damaged: it has changed since"):
        load_predictor(RunFolder(tmp_path / "run"))
    # As in a folder of a version that wrote no manifest.
    manifest.remove(tmp_path / "run")
    with pytest.raises(recipes.UserError, match=r"model is damaged \(.*\); copy all of it, or train again\."):
        load_predictor(RunFolder(tmp_path / "run"))


def test_a_run_loads_its_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def predict_twice() -> tuple[int, bool]:
        run, count = recipes.load(finished_run()), 0
        load = Predictor.__init__

        def counting(predictor: Predictor, folder: RunFolder) -> None:
            nonlocal count
            count += 1
            load(predictor, folder)

        monkeypatch.setattr(Predictor, "__init__", counting)
        one, other = (run.predict(["a1 b2", "c3"]).probabilities for _ in range(2))
        return count, np.array_equal(one, other)

    assert in_child(predict_twice) == (1, True)
