"""Predicting with a run folder says what the run itself said of its test split."""

import csv
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import recipes
from recipes.api import FinishedRun
from recipes.data.batching import by_length
from recipes.prediction.batched import predict_split

WORDS = {
    "good": "fine great lovely happy bright warm".split(),
    "bad": "awful poor broken sad cold grim".split(),
    "odd": "purple seven sideways maybe under lamp".split(),
}


def texts_of(count: int, seed: int) -> list[dict[str, str]]:
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
    "tiny several": ["model=tiny", "data.label=labels", 'data.label_separator=";"', "evaluate.metric=micro_f1"],
    "linear": ["model=linear"],
    "linear pairs": ["model=linear", "data.text_pair=pair"],
    "fusion": ["model=tiny", "+tricks=[fusion]", "tricks.fusion.folds=2", "tricks.fusion.members=[tiny,linear]"],
    "fusion several": [
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
    "linear several": ["model=linear", "data.label=labels", 'data.label_separator=";"', "evaluate.metric=micro_f1"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("runs")
    for name, count, seed in (("train", 60, 0), ("validation", 20, 1), ("test", 30, 2)):
        write_rows(found / f"{name}.csv", texts_of(count, seed))
    return found


@pytest.fixture(scope="module")
def made() -> dict[str, FinishedRun]:
    return {}


@pytest.fixture
def run(request: pytest.FixtureRequest, folder: Path, made: dict[str, FinishedRun]) -> FinishedRun:
    """A run of the kind asked for, made once."""
    kind: str = request.param
    if kind not in made:
        files = [f"data.{name}={folder / name}.csv" for name in ("train", "validation", "test")]
        short = (
            []
            if kind.startswith("linear")
            else ["train.max_updates=30", "train.batch_size=16", "train.learning_rate=0.01"]
        )
        where = f"hydra.run.dir={folder / kind.replace(' ', '_')}"
        made[kind] = recipes.finetune(["data=files", *files, *KINDS[kind], *short, "train.device=cpu", where])
    return recipes.load(made[kind].folder)


def split_of(folder: Path, name: str = "test") -> tuple[list[str], list[str]]:
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return [row["text"] for row in rows], [row["pair"] for row in rows]


def predictions_file(run: FinishedRun) -> tuple[list[dict[str, str]], np.ndarray]:
    with (run.folder / "predictions" / "test.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    shares = [[float(value) for name, value in row.items() if name.startswith("p_")] for row in rows]
    return rows, np.array(shares)


@pytest.mark.parametrize("run", KINDS, indirect=True)
def test_says_what_the_run_said_of_its_test_split(run: FinishedRun, folder: Path) -> None:
    texts, pairs = split_of(folder)
    found = run.predict(texts, pairs if run.config["data"]["text_pair"] else None)
    rows, shares = predictions_file(run)
    assert found.probabilities == pytest.approx(shares, abs=2e-6)
    assert np.ptp(shares, axis=0).min() > 1e-3  # the rows differ, so their order is tested
    names = ["|".join(name) if isinstance(name, list) else name for name in found.names()]
    assert names == [row["prediction"] for row in rows]
    assert list(found.ids) == [str(place) for place in range(30)] == [row["id"] for row in rows]
    assert found.classes == sorted(WORDS)
    assert list(found.labels) == [None] * 30


@pytest.mark.parametrize("run", ["tiny", "linear"], indirect=True)
class TestPredict:
    def test_one_text_says_the_same_as_among_others(self, run: FinishedRun, folder: Path) -> None:
        texts, _ = split_of(folder)
        among = run.predict(texts).probabilities
        assert run.predict([texts[7]]).probabilities[0] == pytest.approx(among[7], abs=1e-6)
        assert run.predict(texts[::-1]).probabilities[::-1] == pytest.approx(among, abs=1e-6)

    def test_takes_any_sequence(self, run: FinishedRun) -> None:
        wanted = run.predict(["fine", "grim"]).probabilities
        assert np.array_equal(run.predict(("fine", "grim")).probabilities, wanted)
        assert np.array_equal(run.predict(np.array(["fine", "grim"])).probabilities, wanted)  # type: ignore[arg-type]

    def test_empty_and_strange_texts(self, run: FinishedRun) -> None:
        found = run.predict(["", "\n", "完全不同", "word " * 3000])
        assert np.isfinite(found.probabilities).all()
        assert found.probabilities.sum(1) == pytest.approx(1.0)

    def test_leaves_nothing_in_the_cache(
        self, run: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TRICKBOOK_CACHE", str(tmp_path))
        run.predict(["fine"])
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("texts", ["a single text", []])
    def test_a_list_of_texts_is_wanted(self, run: FinishedRun, texts: Any) -> None:
        with pytest.raises(recipes.UserError, match=r"predict takes a list of texts, at least one"):
            run.predict(texts)

    def test_pairs_where_none_were_trained_on(self, run: FinishedRun) -> None:
        with pytest.raises(recipes.UserError, match=r"was trained on single texts: predict\(texts\)"):
            run.predict(["fine"], ["grim"])


@pytest.mark.parametrize("run", ["tiny pairs", "linear pairs"], indirect=True)
class TestPairs:
    def test_both_texts_count(self, run: FinishedRun) -> None:
        one, other = run.predict(["fine", "fine"], ["lovely", "grim"]).probabilities
        assert not np.allclose(one, other, atol=1e-4)

    def test_a_text_without_its_pair(self, run: FinishedRun) -> None:
        with pytest.raises(recipes.UserError, match=r"was trained on pairs of texts: predict\(texts, pairs\)"):
            run.predict(["fine"])
        with pytest.raises(recipes.UserError, match="2 texts and 1 pairs; each text needs its own"):
            run.predict(["fine", "grim"], ["fine"])


class Rows:
    """Five rows; a batch of them is their places and the batch's number."""

    lengths = np.array([3, 9, 4, 9, 1])
    counts = np.ones(5, int)
    num_classes = 2
    ids = list("abcde")
    examples = {"label": [None] * 5}

    def __len__(self) -> int:
        return 5

    def collate(self, rows: np.ndarray, epoch: int, index: int) -> torch.Tensor:
        return torch.tensor([[float(row), float(index)] for row in rows])


class Ranks:
    """One of several processes; what the others predict stays 0."""

    def __init__(self, process_index: int, num_processes: int) -> None:
        self.process_index, self.num_processes = process_index, num_processes

    def reduce(self, values: torch.Tensor) -> torch.Tensor:
        return values


class TestSplit:
    """Dealing a split to processes."""

    def dealt(self, rank: int, processes: int) -> tuple[np.ndarray, np.ndarray]:
        model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1).eval())

        def predict(batch: torch.Tensor) -> torch.Tensor:
            assert not model[0].training
            assert not torch.is_grad_enabled()
            return batch + 1

        seams = SimpleNamespace(predict=predict, decide=lambda found: found > 2)
        run: Any = SimpleNamespace(bare_model=model, seams=seams, classes=["x", "y"], multi_label=False)
        rows: Any = Rows()
        ranks: Any = Ranks(rank, processes)
        found = predict_split(run, rows, 2, ranks)
        assert [module.training for module in model.modules()] == [True, True, False]
        assert (list(found.ids), found.classes) == (Rows.ids, ["x", "y"])
        return found.probabilities, found.decisions

    def test_rows_come_back_in_the_datas_order(self) -> None:
        probabilities, decisions = self.dealt(0, 1)
        assert probabilities[:, 0].tolist() == [1, 2, 3, 4, 5]
        plan = by_length(Rows.lengths, Rows.counts, 2)
        for number, rows in enumerate(plan):
            assert (probabilities[rows, 1] == number + 1).all()
        assert decisions.tolist() == (probabilities > 2).astype(int).tolist()

    def test_every_process_predicts_its_own_rows_and_zeros_elsewhere(self) -> None:
        whole = self.dealt(0, 1)
        parts = [self.dealt(rank, 3) for rank in range(3)]
        assert np.array_equal(sum(part[0] for part in parts), whole[0])
        assert np.array_equal(sum(part[1] for part in parts), whole[1])
        assert all((part[0] == 0).any() for part in parts)
        assert not self.dealt(3, 4)[0].any()  # more processes than batches
