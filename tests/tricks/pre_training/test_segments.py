"""Segments: the pieces and the pools by hand, the laws where texts really are cut, and a run from end to end."""

import csv
from collections.abc import Collection, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors import safe_open
from torch import Tensor, nn
from transformers import pipeline

import recipes
from recipes import testing
from recipes.base import Base
from recipes.data.batch import Loss
from recipes.models import hidden_states
from recipes.models.anatomy import head
from recipes.prediction.batched import predict_split
from recipes.seams import SEAMS
from recipes.testing import TrickLaws, in_child, temporary_folder, tiny_config, tiny_run
from tests.sampling import every
from tricks.pre_training.segments import Pool, Segments

LETTERS = "abcdefghijklmnopqrstuvwxyz"
BERT = {piece: number for number, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS])}
SHORT_SEGMENTS = "data.max_length=9"
POOLINGS = ["concat", "mean", "mean_sqrt", "max", "attention", "lstm"]


def segments(size: int | None = None, max_segments: int | None = None, pooling: str = "mean") -> Segments:
    return Segments(size=size, max_segments=max_segments, pooling=pooling)


def run_of(max_length: int) -> Any:
    return SimpleNamespace(tokenizer=transformers.BertTokenizer(vocab=BERT), max_length=max_length)


def never(*_: Any) -> Any:
    raise AssertionError("texts are tokenized once")


def cut(trick: Segments, max_length: int, *sides: str) -> str:
    """A text's pieces, or a pair's, as words."""
    run = run_of(max_length)
    spaced = [[" ".join(side)] for side in sides]
    result = trick.encode(run, never, spaced[0], spaced[1] if len(spaced) > 1 else None)
    (ids,), (of_which_text,) = result["input_ids"], result["token_type_ids"]
    assert len(ids) == len(of_which_text)
    return " ".join(run.tokenizer.convert_ids_to_tokens(ids)).replace("[CLS]", "<").replace("[SEP]", ">")


class TestSegmentsOfTexts:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("abcdefgh", "< a b c d > < e f g h >"),
            ("abcdefghi", "< a b c d > < e f g h > < i >"),
            ("abcd", "< a b c d >"),
            ("a", "< a >"),
            ("", "< >"),
        ],
    )
    def test_by_hand(self, text: str, expected: str) -> None:
        assert cut(segments(size=6), 20, text) == expected

    def test_the_default_size_is_that_of_the_data(self) -> None:
        assert cut(segments(), 7, "abcdefg") == "< a b c d e > < f g >"

    def test_at_most_so_many(self) -> None:
        assert cut(segments(size=6, max_segments=2), 6, LETTERS) == "< a b c d > < e f g h >"

    def test_of_a_pair_the_longer_text_is_cut(self) -> None:
        assert cut(segments(size=8), 8, "abcdefg", "z") == "< a b c d > z > < e f g > z >"
        assert cut(segments(size=8), 8, "xyz", "abcde") == "< x y > a b c > < x y > d e >"

    def test_which_text_a_token_is_of(self) -> None:
        result = segments(size=8).encode(run_of(8), never, ["x y"], ["a b c d"])
        assert result["token_type_ids"] == [[0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1]]

    @pytest.mark.parametrize("max_length", [6, 7, 20])
    def test_one_segment_equals_the_default_encoding(self, max_length: int) -> None:
        texts = [" ".join(LETTERS[:count]) for count in range(9)]
        first, second = [one for one in texts for _ in texts], [other for _ in texts for other in texts]
        run = run_of(max_length)
        for pairs in (None, second):
            expected = Base(run).encode(first, pairs)
            result = segments(max_segments=1).encode(run, never, first, pairs)
            assert result == {name: expected[name] for name in ("input_ids", "token_type_ids")}

    def test_a_segment_longer_than_the_input_is_refused(self) -> None:
        with pytest.raises(recipes.UserError, match=r"tricks.segments.size=9: .* choose 3 to 8\."):
            cut(segments(size=9), 8, "abc")

    def test_concat_needs_a_number(self) -> None:
        with pytest.raises(ValueError, match="max_segments must be a number at pooling=concat, got null"):
            segments(pooling="concat")


class TestPool:
    # A text of three pieces, and one of two; what is not there is 0.
    VECTORS = torch.tensor([[[1.0, 2.0], [3.0, -1.0], [5.0, 5.0]], [[-2.0, 4.0], [-4.0, 0.0], [0.0, 0.0]]])
    PRESENT = torch.tensor([[True, True, True], [True, True, False]])

    def pooled(self, pool: Pool) -> Any:
        result: Tensor = pool(self.VECTORS, self.PRESENT)
        return result.detach().numpy()

    def test_mean(self) -> None:
        assert self.pooled(Pool("mean", 2, 0)) == pytest.approx(np.array([[3, 2], [-3, 2]]))

    def test_mean_sqrt(self) -> None:
        expected = np.array([[9 / 3**0.5, 6 / 3**0.5], [-6 / 2**0.5, 4 / 2**0.5]])
        assert self.pooled(Pool("mean_sqrt", 2, 0)) == pytest.approx(expected)

    def test_max_ignores_missing_segments(self) -> None:
        assert self.pooled(Pool("max", 2, 0)).tolist() == [[5, 5], [-2, 4]]

    def test_attention(self) -> None:
        pool = Pool("attention", 2, 0)
        nn.init.constant_(pool.score.weight, 0.5)
        # Scores 1.5, 1 and 5; 1 and -2.
        fractions = np.exp([1.5, 1, 5]) / np.exp([1.5, 1, 5]).sum()
        other = 1 / (1 + np.exp(-3))
        expected = [fractions @ self.VECTORS[0].numpy(), other * np.array([-2, 4]) + (1 - other) * np.array([-4, 0])]
        assert self.pooled(pool) == pytest.approx(np.array(expected), abs=1e-6)

    def test_lstm_ends_at_the_last_present_segment(self) -> None:
        torch.manual_seed(0)
        pool = Pool("lstm", 2, 0)
        states = [pool.lstm(self.VECTORS[:1])[1][0], pool.lstm(self.VECTORS[1:, :2])[1][0]]
        expected = torch.cat([state[0] for state in states]).detach().numpy()
        assert self.pooled(pool) == pytest.approx(expected, abs=1e-6)

    def test_concat(self) -> None:
        pool = Pool("concat", 2, 4)
        with torch.no_grad():  # (out, in, piece)
            pool.joined.weight.zero_()
            pool.joined.weight[0, 1, 0] = 10  # ten times the second dimension of the first piece
            pool.joined.weight[1, 0, 2] = 1  # and the first one of the third
            pool.joined.bias.copy_(torch.tensor([0.5, 0.25]))
        assert self.pooled(pool).tolist() == [[20.5, 5.25], [40.5, 0.25]]

    @pytest.mark.parametrize("kind", POOLINGS)
    def test_a_longer_text_in_the_batch_does_not_change_a_prediction(self, kind: str) -> None:
        torch.manual_seed(0)
        pool = Pool(kind, 2, 3)
        alone: Tensor = pool(self.VECTORS[1:, :2], self.PRESENT[1:, :2])
        assert self.pooled(pool)[1] == pytest.approx(alone[0].detach().numpy(), abs=1e-6)

    @pytest.mark.parametrize("kind", ["mean", "mean_sqrt", "max", "attention"])
    def test_pooling_one_segment_returns_it(self, kind: str) -> None:
        assert torch.equal(Pool(kind, 2, 0)(self.VECTORS[:, :1], self.PRESENT[:, :1]), self.VECTORS[:, 0])

    @pytest.mark.parametrize("kind", POOLINGS)
    def test_the_pool_is_not_mistaken_for_the_head(self, kind: str) -> None:
        config = transformers.BertConfig(
            vocab_size=20, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, num_labels=4
        )
        model = transformers.BertForSequenceClassification(config)
        reshaped = segments(max_segments=3, pooling=kind).model(run_of(9), lambda: model)
        assert head(reshaped) is model.classifier


def cut_config(*overrides: str, pooling: str = "mean", longest: int = 30) -> Any:
    most = "tricks.segments.max_segments=3" if pooling == "concat" else "tricks.segments.max_segments=null"
    tricks = () if any(line.startswith("+tricks=") for line in overrides) else ("+tricks=[segments]",)
    pooled = (*tricks, f"tricks.segments.pooling={pooling}", most)
    return tiny_config(SHORT_SEGMENTS, *pooled, *overrides, longest=longest)


class TestDocuments:
    @pytest.mark.parametrize("pooling", every(3, POOLINGS))
    def test_trains_end_to_end(self, pooling: str) -> None:
        """Every weight of encoder, pool and head has its gradient."""

        def result() -> None:
            with temporary_folder() as folder:
                run = tiny_run(cut_config("model.dropout=0.0", pooling=pooling), folder)
                batch = run.seams.batches(run.train, 0)[0]
                assert batch.examples == len(batch) == testing.BATCH_SIZE
                assert int(batch.lengths.max()) > 2 * 9
                gradients = testing.compute_gradients(run, batch)
                assert gradients.keys() == dict(run.bare_model.named_parameters()).keys()
                assert [name for name, each in gradients.items() if not each.any()] == []
                added = [name for name in gradients if name.startswith("segments.")]
                assert bool(added) == (pooling in ("concat", "attention", "lstm"))

        in_child(result)

    @pytest.mark.slow
    def test_texts_that_fit_train_as_without_it(self) -> None:
        def both() -> tuple[dict[str, Any], dict[str, Any]]:
            return testing.train_tiny(tiny_config("+tricks=[segments]")), testing.train_tiny(tiny_config())

        on, off = in_child(both)
        assert testing.difference(on["weights"], off["weights"]) == 0
        assert on["losses"] == off["losses"]

    @pytest.mark.parametrize("longest", [30, 5])
    def test_passes_are_counted_by_segments(self, longest: int) -> None:
        """Each segment is read once, and its forward pass, a third, again; a batch of single segments is read once."""

        def count() -> tuple[float, list[int]]:
            with temporary_folder() as folder:
                run = tiny_run(cut_config(longest=longest), folder)
                batch = run.seams.batches(run.train, 0)[0]
                run._step(batch)
                counted = run.rows_passed
                run._evaluate()
                assert run.rows_passed == counted
                return counted, batch.lengths.tolist()

        counted, lengths = in_child(count)
        segments_read = sum(-(-length // 9) for length in lengths)
        assert (segments_read > len(lengths)) == (longest == 30)
        assert counted == pytest.approx(segments_read * (4 / 3 if longest == 30 else 1))

    def test_in_16_bits(self) -> None:
        def result() -> None:
            with temporary_folder() as folder:
                config = cut_config("+tricks=[amp,segments]", "tricks.amp.precision=bf16", pooling="attention")
                run = tiny_run(config, folder)
                run._step(run.seams.batches(run.train, 0)[0])
                assert run.updates == 1
                run._evaluate()

        in_child(result)

    @pytest.mark.slow
    def test_parts_of_other_sizes_predict_the_same(self) -> None:
        def predicted(batch_size: int) -> np.ndarray:
            with temporary_folder() as folder:
                run = tiny_run(cut_config(pooling="lstm"), folder)
                return predict_split(run, run.validation, batch_size).probabilities

        result = in_child(lambda: [predicted(size) for size in (1, 3, 1000)])
        assert np.abs(result[0] - result[1]).max() < 1e-6
        assert np.abs(result[0] - result[2]).max() < 1e-6


class Laws(TrickLaws):
    """The laws where nearly every text has several pieces, and the pool has weights."""

    trick = "segments"
    overrides = (SHORT_SEGMENTS,)
    pooling = "attention"

    def config(self, *tricks: str, **settings: Any) -> Any:
        """Pool by attention wherever the law says nothing else."""
        return super().config(*tricks, **({"pooling": self.pooling} | settings))

    def compatible(self, around: Collection[str] = SEAMS) -> list[str]:
        """Not incremental: the run that it starts from has no such pool."""
        return [name for name in super().compatible(around) if name != "incremental"]


@pytest.mark.parametrize(
    "law",
    ["splitting_is_invisible", "splitting_is_invisible_in_32_bits", "stopping_is_invisible", "restore", "isolation"],
)
def test_law(law: str) -> None:
    getattr(Laws(), f"test_{law}")()


def write(path: Path, rows: Sequence[tuple[str, str]]) -> str:
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows), encoding="utf-8")
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["max", "lstm"])
def test_a_word_anywhere_is_learned_saved_and_predicted(tmp_path: Path, pooling: str) -> None:
    """The word that decides stands behind what the base reads; the loaded run says what the live one said."""
    random = np.random.default_rng(0)

    def rows(count: int) -> list[tuple[str, str]]:
        output = []
        for _ in range(count):
            word, label = (("good", "yes"), ("bad", "no"))[random.integers(2)]
            output.append((" ".join(["x"] * int(random.integers(8, 20)) + [word] * 3), label))
        return output

    files = {split: rows(count) for split, count in (("train", 40), ("validation", 12), ("test", 20))}
    run = recipes.finetune(
        [
            "data=files",
            *(f"data.{split}={write(tmp_path / f'{split}.csv', each)}" for split, each in files.items()),
            "model=tiny",
            "data.max_length=8",
            "train.max_updates=120",
            "train.batch_size=8",
            "train.learning_rate=0.01",
            "train.device=cpu",
            "evaluate.every=12",
            "checkpoint.every=12",
            "doctor=off",
            "+tricks=[segments]",
            f"tricks.segments.pooling={pooling}",
            f"hydra.run.dir={tmp_path / 'run'}",
        ]
    )
    with (run.folder / "predictions" / "test.csv").open(encoding="utf-8") as lines:
        summary = list(csv.DictReader(lines))
    assert np.mean([line["label"] == line["prediction"] for line in summary]) > 0.9
    again = recipes.load(run.folder).predict([text for text, _ in files["test"]])
    fractions = [[float(line["p_no"]), float(line["p_yes"])] for line in summary]
    assert again.probabilities == pytest.approx(np.array(fractions), abs=2e-6)
    with safe_open(run.folder / "model" / "model.safetensors", framework="pt") as weights:
        pooled = {name for name in weights.keys() if name.startswith("segments.")}  # noqa: SIM118  (not a dict)
    assert bool(pooled) == (pooling == "lstm")
    result = pipeline("text-classification", model=str(run.folder / "model"))("good")
    assert result[0]["label"] in ("yes", "no")


@pytest.mark.parametrize("recipe", ["manifold_mixup", "cutmix"])
def test_mixing_parts_of_texts_is_refused(recipe: str) -> None:
    message = r"mixup and segments .*mixes before pooling .*keep one of them"
    with pytest.raises(recipes.UserError, match=message):
        recipes.finetune(["data=pydocs", "model=tiny", "+tricks=[segments]", f"recipe={recipe}"])


def test_texts_are_mixed_after_pooling(tmp_path: Path) -> None:
    """What enters the head is lambda times a text's pool, and the rest its partner's."""

    def mixed() -> tuple[np.ndarray, np.ndarray]:
        tricks = ["+tricks=[segments]", "recipe=sentence_mixup", "tricks.mixup.cooldown=0"]
        run = tiny_run(tiny_config(SHORT_SEGMENTS, *testing.NO_DROPOUT, *tricks, longest=30), tmp_path)
        batch, planned = run.seams.batches(run.train, 0)[0], []
        run.tricks["mixup"].gradient(run, lambda each: planned.append(each) or Loss(), batch)  # type: ignore[func-returns-value]
        outcome = run.seams.objective(planned[0])
        own, other = (
            hidden_states.capture(run.bare_model, run.head, each.inputs) for each in (batch, *planned[0].partners)
        )
        fraction = planned[0].carried["mixup.lambda"].float()[:, None]
        assert batch.lengths.max() > 9
        return outcome.features.detach().numpy(), (fraction * own + (1 - fraction) * other).detach().numpy()

    result, expected = in_child(mixed)
    np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("other", ["sliding_window", "truncate"])
def test_another_way_to_cut_is_refused(other: str) -> None:
    with pytest.raises(recipes.UserError, match=r"both fill encode/cut, which holds one trick at a time"):
        recipes.finetune(["data=pydocs", "model=tiny", f"+tricks=[segments,{other}]"])


def test_concat_without_a_number_is_refused_with_its_path() -> None:
    with pytest.raises(recipes.UserError, match="tricks.segments.*max_segments must be a number at pooling=concat"):
        recipes.finetune(["data=pydocs", "model=tiny", "+tricks=[segments]", "tricks.segments.pooling=concat"])
