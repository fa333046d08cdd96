"""Sliding window: the windows, what a document weighs and answers, and the laws where texts really are split."""

import csv
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

import recipes
from recipes import testing
from recipes.base import Base
from recipes.prediction.batched import predict_split
from recipes.testing import TrickLaws, in_child, temporary_folder, tiny_config, tiny_run
from tricks.post_training.sliding_window import SlidingWindow

LETTERS = "abcdefghijklmnopqrstuvwxyz"
BERT = {piece: number for number, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS])}
SHORT_WINDOWS = "data.max_length=9"


def sliding(
    size: int | None = None, stride: int | None = None, max_windows: int | None = None, merge: str = "mean_logits"
) -> SlidingWindow:
    return SlidingWindow(size=size, stride=stride, max_windows=max_windows, merge=merge)


def run_of(max_length: int) -> Any:
    return SimpleNamespace(tokenizer=transformers.BertTokenizer(vocab=BERT), max_length=max_length)


def never(*_: Any) -> Any:
    raise AssertionError("texts are tokenized once")


def split(trick: SlidingWindow, max_length: int, *sides: str) -> list[str]:
    """A text's windows, or a pair's, as words."""
    run = run_of(max_length)
    spaced = [[" ".join(side)] for side in sides]
    result = trick.encode(run, never, spaced[0], spaced[1] if len(spaced) > 1 else None)
    ids, segments = result["input_ids"][0], result["token_type_ids"][0]
    assert [len(each) for each in ids] == [len(each) for each in segments]
    combined = [" ".join(run.tokenizer.convert_ids_to_tokens(window)) for window in ids]
    return [window.replace("[CLS] ", "").removesuffix(" [SEP]").replace(" [SEP] ", " | ") for window in combined]


class TestWindows:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("abcdefghij", ["a b c d", "d e f g", "g h i j"]),
            ("abcdefghijk", ["a b c d", "d e f g", "g h i j", "j k"]),
            ("abcde", ["a b c d", "d e"]),
            ("abcd", ["a b c d"]),
            ("a", ["a"]),
        ],
    )
    def test_by_hand(self, text: str, expected: list[str]) -> None:
        assert split(sliding(size=6, stride=3), 20, text) == expected

    def test_every_window_has_special_tokens_and_every_text_a_window(self) -> None:
        result = sliding(size=6, stride=4).encode(run_of(6), never, ["a b c d e", "", "z"], None)
        assert result["input_ids"] == [[[2, 5, 6, 7, 8, 3], [2, 9, 3]], [[2, 3]], [[2, 30, 3]]]
        assert result["token_type_ids"] == [[[0] * 6, [0] * 3], [[0, 0]], [[0] * 3]]

    def test_the_default_size_is_that_of_the_data(self) -> None:
        assert split(sliding(stride=5), 7, "abcdefg") == ["a b c d e", "f g"]

    @pytest.mark.parametrize(("max_length", "stride"), [(12, 8), (7, 4), (3, 1)])
    def test_the_default_stride_is_four_fifths(self, max_length: int, stride: int) -> None:
        assert split(sliding(), max_length, LETTERS)[1].startswith(LETTERS[stride])

    def test_at_most_so_many(self) -> None:
        assert split(sliding(size=6, stride=3, max_windows=2), 6, LETTERS) == ["a b c d", "d e f g"]

    @pytest.mark.parametrize("length", range(1, 27))
    @pytest.mark.parametrize("stride", [1, 3, 4])
    def test_all_of_a_text_is_read(self, length: int, stride: int) -> None:
        windows = split(sliding(size=6, stride=stride), 6, LETTERS[:length])
        assert sorted(set("".join(windows)) - {" "}) == list(LETTERS[:length])
        assert len(windows) == 1 + max(0, -(-(length - 4) // stride))


class TestPairs:
    def test_the_longer_text_slides(self) -> None:
        # Room for 5; the shorter text keeps all it has up to 2.
        assert split(sliding(size=8, stride=3), 8, "abcdefg", "z") == ["a b c d | z", "d e f g | z"]
        assert split(sliding(size=8, stride=3), 8, "xyz", "abcde") == ["x y | a b c", "x y | d e"]

    def test_nothing_is_lost_between_windows_that_the_pair_makes_narrow(self) -> None:
        assert split(sliding(size=8, stride=5), 8, "abcdefg", "yz") == ["a b c | y z", "d e f | y z", "g | y z"]

    def test_segments(self) -> None:
        result = sliding(size=8, stride=3).encode(run_of(8), never, ["x y"], ["a b c d"])
        assert result["token_type_ids"] == [[[0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1]]]

    @pytest.mark.parametrize("max_length", [6, 7, 8, 9, 20])
    def test_one_window_is_what_the_base_reads(self, max_length: int) -> None:
        texts = [" ".join(LETTERS[:count]) for count in range(9)]
        first, second = [one for one in texts for _ in texts], [other for _ in texts for other in texts]
        run = run_of(max_length)
        for pairs in (None, second):
            expected = Base(run).encode(first, pairs)
            result = sliding(max_windows=1).encode(run, never, first, pairs)
            assert [row for (row,) in result["input_ids"]] == expected["input_ids"]
            assert [row for (row,) in result["token_type_ids"]] == expected["token_type_ids"]


class TestRefused:
    def test_a_window_longer_than_the_input(self) -> None:
        with pytest.raises(recipes.UserError, match=r"size=9: .* at most data.max_length=8 tokens; choose 3 to 8\."):
            split(sliding(size=9), 8, "abc")

    def test_a_window_without_text(self) -> None:
        with pytest.raises(recipes.UserError, match=r"size=4: .* choose 5 to 8\."):
            tokenizer = SimpleNamespace(num_special_tokens_to_add=lambda pair: 4)
            sliding(size=4).encode(SimpleNamespace(tokenizer=tokenizer, max_length=8), never, ["a"], None)  # type: ignore[arg-type]

    def test_gaps(self) -> None:
        with pytest.raises(recipes.UserError, match=r"stride=7: a window holds 6 text tokens, .*; choose 1 to 6\."):
            split(sliding(stride=7), 8, "abc")


class TestMerge:
    WINDOWS = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.2, 0.4, 0.4]])

    def merge_windows(self, merge: str, windows: Tensor = WINDOWS, multi: bool = False) -> list[float]:
        result = sliding(merge=merge).merge_windows(windows, multi)
        if not multi:
            assert float(result.sum()) == pytest.approx(1.0, abs=1e-6)
        return result.tolist()

    def test_mean_probabilities(self) -> None:
        assert self.merge_windows("mean_probabilities") == pytest.approx([0.4, 1 / 3, 0.8 / 3])

    def test_mean_logits(self) -> None:
        logits = torch.tensor([[3.0, -1.0, 0.5], [-2.0, 4.0, 1.0]])
        expected = torch.tensor([0.5, 1.5, 0.75]).softmax(-1)
        assert self.merge_windows("mean_logits", logits.softmax(-1)) == pytest.approx(expected.tolist(), abs=1e-6)

    def test_mean_logits_of_a_probability_of_0(self) -> None:
        windows = torch.tensor([[1.0, 0.0], [0.3, 0.7]])
        assert self.merge_windows("mean_logits", windows) == pytest.approx([1.0, 0.0], abs=1e-6)

    def test_max(self) -> None:
        assert self.merge_windows("max") == pytest.approx([0.8 / 1.7, 0.5 / 1.7, 0.4 / 1.7])

    def test_vote(self) -> None:
        # One vote for the first class, two for the second, where the third window has a tie; the mean is a fourth one.
        windows = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.2, 0.6, 0.2]])
        assert self.merge_windows("vote", windows) == pytest.approx([1.4 / 4, 2.4 / 4, 0.2 / 4])

    def test_a_tie_goes_to_the_higher_mean_probability(self) -> None:
        windows = torch.tensor([[0.45, 0.55], [0.9, 0.1]])
        assert int(np.argmax(self.merge_windows("vote", windows))) == 0
        assert int(np.argmax(self.merge_windows("vote", windows.flip(1)))) == 1

    def test_a_vote_is_not_outvoted_by_the_mean(self) -> None:
        windows = torch.tensor([[0.51, 0.49], [0.51, 0.49], [0.0, 1.0]])
        assert int(np.argmax(self.merge_windows("vote", windows))) == 0

    def test_multi_label(self) -> None:
        windows = torch.tensor([[0.9, 0.2], [0.6, 0.4], [0.1, 0.3]])
        assert self.merge_windows("mean_probabilities", windows, True) == pytest.approx([1.6 / 3, 0.3])
        assert self.merge_windows("max", windows, True) == pytest.approx([0.9, 0.4])
        assert self.merge_windows("vote", windows, True) == pytest.approx([(2 + 1.6 / 3) / 4, 0.3 / 4])
        logits = torch.tensor([[2.0, -1.0], [-1.0, -3.0]])
        expected = torch.tensor([0.5, -2.0]).sigmoid().tolist()
        assert self.merge_windows("mean_logits", logits.sigmoid(), True) == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("merge", ["mean_logits", "mean_probabilities", "max", "vote"])
    def test_one_window_answers_as_it_is(self, merge: str) -> None:
        for multi in (False, True):
            assert torch.equal(sliding(merge=merge).merge_windows(self.WINDOWS[:1], multi), self.WINDOWS[0])

    @pytest.mark.parametrize("merge", ["mean_logits", "mean_probabilities", "max", "vote"])
    def test_no_number_stays_none(self, merge: str) -> None:
        windows = torch.tensor([[0.5, 0.5], [float("nan"), 0.5]])
        assert np.isnan(self.merged_raw(merge, windows)).any()

    def merged_raw(self, merge: str, windows: Tensor) -> Any:
        return sliding(merge=merge).merge_windows(windows, False).numpy()

    def test_documents_by_hand(self) -> None:
        run: Any = SimpleNamespace(multi_label=False)
        trick = sliding(merge="mean_probabilities")
        batch: Any = SimpleNamespace(documents=torch.tensor([0, 0, 1]))
        result = trick.predict(run, lambda _: self.WINDOWS, batch)
        assert result[0].tolist() == pytest.approx([0.5, 0.3, 0.2])
        assert result[1].tolist() == self.WINDOWS[2].tolist()
        batch.documents = None
        assert trick.predict(run, lambda _: self.WINDOWS, batch) is self.WINDOWS


def split_config(*overrides: str, longest: int = 30) -> Any:
    return tiny_config(SHORT_WINDOWS, "+tricks=[sliding_window]", *overrides, longest=longest)


class TestDocuments:
    """A document of several windows counts as one."""

    def test_the_weights_of_its_windows_sum_to_1(self) -> None:
        def result() -> None:
            with temporary_folder() as folder:
                run = tiny_run(split_config("model.dropout=0.0"), folder)
                batch = run.seams.batches(run.train, 0)[0]
                assert batch.examples == testing.BATCH_SIZE < len(batch)
                assert batch.total == testing.BATCH_SIZE
                loss = float(run.seams.gradient(batch).composed)
                logits = run.bare_model(**batch.inputs).logits
                each = torch.nn.functional.cross_entropy(logits, batch.targets, reduction="none")
                assert batch.documents is not None
                documents = [each[batch.documents == index].mean() for index in range(testing.BATCH_SIZE)]
                assert loss == pytest.approx(torch.stack(documents).mean().item(), abs=1e-6)

        in_child(result)

    def test_history_counts_documents_and_batches_deal_each_once(self) -> None:
        def result() -> None:
            with temporary_folder() as folder:
                run = tiny_run(split_config(), folder)
                parts = [name for batch in run.seams.batches(run.train, 0) for name in dict.fromkeys(batch.ids)]
                assert sorted(parts) == sorted(run.train.ids)
                run.fit()
                updates = [line for line in run.history.read() if "split" not in line]
                assert {line["examples"] for line in updates} == {testing.BATCH_SIZE, testing.ROWS % testing.BATCH_SIZE}

        in_child(result)

    @pytest.mark.slow
    def test_texts_that_fit_train_as_without_it(self) -> None:
        def both() -> tuple[dict[str, Any], dict[str, Any]]:
            return testing.train_tiny(tiny_config("+tricks=[sliding_window]")), testing.train_tiny(tiny_config())

        on, off = in_child(both)
        assert testing.difference(on["weights"], off["weights"]) == 0
        assert on["losses"] == off["losses"]


class Laws(TrickLaws):
    """The laws where nearly every text has several windows."""

    trick = "sliding_window"
    overrides = (SHORT_WINDOWS,)


@pytest.mark.parametrize(
    "law", ["splitting_is_invisible", "splitting_is_invisible_in_32_bits", "stopping_is_invisible"]
)
def test_law(law: str) -> None:
    getattr(Laws(), f"test_{law}")()


def write(path: Path, rows: Sequence[tuple[str, str]]) -> str:
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows), encoding="utf-8")
    return str(path)


@pytest.mark.slow
def test_a_word_anywhere_is_learned_and_predicted_per_document(tmp_path: Path) -> None:
    """The word that decides stands behind what the base reads; predictions come out one a text, in the data's order."""
    random = np.random.default_rng(0)

    def rows(count: int) -> list[tuple[str, str]]:
        output = []
        for _ in range(count):
            word, label = (("good", "yes"), ("bad", "no"))[random.integers(2)]
            output.append((" ".join(["x"] * 8 + [word] * int(random.integers(9, 30))), label))
        return output

    files = {split: rows(count) for split, count in (("train", 40), ("validation", 12), ("test", 20))}
    run = recipes.finetune(
        [
            "data=files",
            *(f"data.{split}={write(tmp_path / f'{split}.csv', each)}" for split, each in files.items()),
            "model=tiny",
            "data.max_length=8",
            "train.max_updates=40",
            "train.batch_size=8",
            "train.learning_rate=0.01",
            "train.device=cpu",
            "evaluate.every=4",
            "checkpoint.every=4",
            "doctor=off",
            "+tricks=[sliding_window]",
            f"hydra.run.dir={tmp_path / 'run'}",
        ]
    )
    with (run.folder / "predictions" / "test.csv").open(encoding="utf-8") as lines:
        summary = list(csv.DictReader(lines))
    assert [line["label"] for line in summary] == [label for _, label in files["test"]]
    right = np.mean([line["label"] == line["prediction"] for line in summary])
    assert run.metrics["test"]["accuracy"] == pytest.approx(right)
    assert right > 0.9
    again = run.predict([text for text, _ in files["test"]])
    fractions = [[float(line["p_no"]), float(line["p_yes"])] for line in summary]
    assert again.probabilities == pytest.approx(np.array(fractions), abs=2e-6)


def test_two_processes_predict_what_one_does() -> None:
    def predicted() -> np.ndarray:
        with temporary_folder() as folder:
            run = tiny_run(split_config(), folder)
            return run.predictions(run.validation).probabilities

    alone = in_child(predicted)
    assert np.abs(alone - testing.on_ranks(2, predicted)).max() < 1e-6


def test_the_batch_size_does_not_change_predictions() -> None:
    def predicted(batch_size: int) -> np.ndarray:
        with temporary_folder() as folder:
            run = tiny_run(split_config(), folder)
            return predict_split(run, run.validation, batch_size).probabilities

    result = in_child(lambda: [predicted(size) for size in (1, 3, 1000)])
    assert np.abs(result[0] - result[1]).max() < 1e-6
    assert np.abs(result[0] - result[2]).max() < 1e-6


def test_mixing_is_refused() -> None:
    with pytest.raises(recipes.UserError, match=r"mixup and sliding_window .*windows of different texts.*keep one"):
        recipes.finetune(["data=pydocs", "model=tiny", "+tricks=[sliding_window,mixup]"])
