"""Nlpaug: how variants are drawn, that nothing is left behind, what is told, and which augmenters work."""

import os
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import transformers
from datasets import Dataset
from transformers import PreTrainedTokenizerFast

from recipes.compose.trust import trusting
from recipes.errors import UserError
from recipes.models.loading import load_tokenizer
from recipes.testing import tiny_config
from tricks.pre_training.nlpaug import RENAMED, Augment, Nlpaug, list_file_times, load_augmenter, seed_generators, words

FEATURES = {name: datasets.Value("string") for name in ("id", "source", "text", "text_pair", "label")}
TEXTS = ["The plot of this good movie is quite different.", "They received their beautiful house because of it!"]


@pytest.fixture(autouse=True)
def trust_the_stubs() -> Iterator[None]:
    with trusting(f"{__name__}.{kind.__name__}" for kind in (Answers, Adds, Draws, Reads, Fails)):
        yield


class Answers:
    """An augmenter that gives what it was told to, one answer after the other, then the last one for ever."""

    def __init__(self, answers: list[Any]) -> None:
        self.answers, self.requested = answers, list[str]()

    def augment(self, text: str) -> Any:
        self.requested.append(text)
        return self.answers[min(len(self.requested), len(self.answers)) - 1]


class Adds:
    """An augmenter that puts a word behind the text."""

    def __init__(self, word: str) -> None:
        self.word = word

    def augment(self, text: str) -> list[str]:
        return [f"{text} {self.word}"]


class Draws:
    """An augmenter that draws from everything there is, also while it is made."""

    def __init__(self) -> None:
        draw()

    def augment(self, text: str) -> list[str]:
        return [f"{text} {draw()}"]


class Reads:
    """An augmenter that puts what a file says behind the text."""

    def __init__(self, path: str) -> None:
        self.message = Path(path).read_text()

    def augment(self, text: str) -> list[str]:
        return [f"{text} {self.message}"]


class Fails:
    """An augmenter that fails on a text."""

    def __init__(self, on: str, error: str) -> None:
        self.on, self.error = on, error

    def augment(self, text: str) -> list[str]:
        if text == self.on:
            raise {"attribute": AttributeError, "division": ZeroDivisionError}[self.error]("no such name\n  details")
        return [f"{text}!x"]


def draw() -> str:
    return f"{random.random()} {np.random.random()} {float(torch.rand(()))}"


def stub(kind: type, **settings: Any) -> dict[str, Any]:
    return {"_target_": f"{__name__}.{kind.__name__}", **settings}


def output(text: str, *augmenters: Mapping[str, Any], variants: int = 1, seed: int = 1) -> list[str]:
    return Augment(augmenters, variants, "tricks.nlpaug.augmenters")(text, random.Random(seed))


def rows(*texts: str) -> Dataset:
    ids = [str(number) for number in range(len(texts))]
    none = [None] * len(texts)
    columns = {"id": ids, "source": ids, "text": texts, "text_pair": none, "label": ["x"] * len(texts)}
    return Dataset.from_dict(columns, datasets.Features(FEATURES))


def added(
    examples: Dataset, *augmenters: dict[str, Any], variants: int = 1, workers: int = 1
) -> tuple[list[tuple[str, str]], list[str]]:
    """Ids and texts behind the originals, and what is told."""
    notes: list[str] = []
    run: Any = SimpleNamespace(config=SimpleNamespace(seed=1), note=notes.append)
    trick = Nlpaug(augmenters=list(augmenters), variants=variants, workers=workers)
    result = trick.examples(run, lambda each: each, examples)
    assert result.select(range(len(examples))).to_list() == examples.to_list()
    return [(row["id"], row["text"]) for row in result.select(range(len(examples), len(result)))], notes


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRICKBOOK_CACHE", str(tmp_path / "cache"))


class TestDrawing:
    @pytest.mark.parametrize("answer", [["a b."], ["A  B ."], [" a, b"], [], "", [""], ["?!"], [["a b"]]])
    def test_a_text_with_the_same_words_is_not_a_variant(self, answer: Any) -> None:
        assert output("a b.", stub(Answers, answers=[answer])) == []

    @pytest.mark.parametrize("answer", ["a c", ["a c"], [["a c"]]])
    def test_nested_results_of_flows_are_unpacked(self, answer: Any) -> None:
        assert output("a b", stub(Answers, answers=[answer])) == ["a c"]

    def test_no_variant_comes_twice(self) -> None:
        answers = [["c"], ["C."], ["a b"], ["d"], ["c"], ["e"]]
        assert output("a b", stub(Answers, answers=answers), variants=3) == ["c", "d", "e"]

    def test_three_draws_for_each_requested_variant(self) -> None:
        augment = Augment([stub(Answers, answers=[["a"]] * 5 + [["b"], ["c"]])], 2)
        assert augment("a", random.Random(1)) == ["b"]
        assert augment.chain[0].requested == ["a"] * 6
        augment = Augment([stub(Answers, answers=[["b"], ["c"]])], 2)
        assert augment("a", random.Random(1)) == ["b", "c"]
        assert augment.chain[0].requested == ["a"] * 2

    def test_augmenters_follow_one_another(self) -> None:
        assert output("a", stub(Adds, word="b"), stub(Adds, word="c")) == ["a b c"]
        assert output("a", stub(Answers, answers=[[]]), stub(Adds, word="c")) == [" c"]

    @pytest.mark.parametrize(
        ("text", "actual"),
        [
            ("Don't stop,  2 go", ("don", "t", "stop", "2", "go")),
            ("酒店 好ab，c", ("酒", "店", "好", "ab", "c")),
            ("?! 😀", ()),
            ("café STRASSE", ("café", "strasse")),
        ],
    )
    def test_words(self, text: str, actual: tuple[str, ...]) -> None:
        assert words(text) == actual


class TestRandomness:
    def test_a_text_has_its_own_draws(self) -> None:
        augment = Augment([stub(Draws)], 2)
        first = augment("a", random.Random(1))
        assert len(set(first)) == 2
        assert augment("b", random.Random(2)) != augment("b", random.Random(1))
        draw()
        assert augment("a", random.Random(1)) == first  # not the first text any more, so the augmenter is there
        assert output("a", stub(Draws), variants=2) == first

    @pytest.mark.parametrize("fails", [False, True])
    def test_generators_and_names_are_restored(self, fails: bool) -> None:
        def state() -> tuple[Any, ...]:
            numpy_state: Any = np.random.get_state()
            here = [hasattr(PreTrainedTokenizerFast, name) for name in RENAMED]
            return random.getstate(), numpy_state[1].tolist(), numpy_state[2:], torch.get_rng_state().tolist(), here

        before = state()
        try:
            with seed_generators(5):
                draw()
                assert all(state()[index] != before[index] for index in (0, 1, 3, 4))
                assert all(state()[4])
                assert 1 / (not fails)
        except ZeroDivisionError:
            assert fails
        assert state() == before
        output("a", stub(Draws))
        assert state() == before

    def test_a_forked_process_has_one_thread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        requested: list[int] = []
        monkeypatch.setattr(torch, "set_num_threads", requested.append)
        augment = Augment([stub(Draws)], 1)
        augment("a", random.Random(1))
        assert requested == []
        augment = Augment([stub(Draws)], 1)
        augment.process = -1
        augment("a", random.Random(1))
        assert requested == [1]

    def test_misspellings_have_one_order(self) -> None:
        """They are read from a set, whose order is another one in each process."""
        inner = {"_target_": "nlpaug.augmenter.word.SpellingAug"}
        flow = load_augmenter({"_target_": "nlpaug.flow.Sequential", "flow": [inner]}, "")
        lists = list(flow[0].model.dict.values())
        assert len(lists) > 10_000 and all(each == sorted(each) for each in lists)


class TestExamples:
    def test_variants_are_added_and_counted(self) -> None:
        actual, notes = added(rows("a", "b"), stub(Adds, word="c"))
        assert actual == [("0+1", "a c"), ("1+1", "b c")]
        assert notes == ["nlpaug: 2 variants of 2 training rows."]

    def test_fewer_than_requested_are_reported(self) -> None:
        actual, notes = added(rows("a", ""), stub(Answers, answers=[["a c"]]), variants=2)
        assert actual == [("0+1", "a c"), ("1+1", "a c")]
        assert notes == ["nlpaug: 2 variants of 2 training rows, 2 fewer than requested: too little changed."]

    def test_none(self) -> None:
        run: Any = None
        train = rows("a")
        off = Nlpaug(augmenters=[stub(Adds, word="c")], variants=0, workers=1)
        assert off.examples(run, lambda each: each, train) is train

    @pytest.mark.slow
    def test_workers_change_nothing(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        spelling = {"_target_": "nlpaug.augmenter.word.SpellingAug"}
        one = added(rows(*TEXTS * 3), spelling, stub(Draws), variants=2)
        monkeypatch.setenv("TRICKBOOK_CACHE", str(tmp_path / "other"))
        assert added(rows(*TEXTS * 3), spelling, stub(Draws), variants=2, workers=2) == one

    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_failure_names_the_text(self, workers: int) -> None:
        with pytest.raises(UserError) as caught:
            added(rows("a", "b", "c"), stub(Adds, word="d"), stub(Fails, on="b d", error="attribute"), workers=workers)
        assert str(caught.value).startswith(
            "tricks.nlpaug.augmenters[1]: Fails fails on 'b d' with AttributeError: no such name. The top of "
        )

    def test_other_errors_keep_their_traceback(self) -> None:
        with pytest.raises(ZeroDivisionError):
            added(rows("a"), stub(Fails, on="a", error="division"))

    def test_a_retrained_model_makes_other_variants(self, tmp_path: Path) -> None:
        message = []
        for date, word in enumerate(("one", "two", "three")):
            (tmp_path / "model").write_text(word)
            os.utime(tmp_path / "model", (date // 2, date // 2))  # "two" looks as if it had not been written
            message += added(rows("a"), stub(Reads, path=str(tmp_path / "model")))[0]
        assert [text for _, text in message] == ["a one", "a one", "a three"]

    def test_files_are_found_at_any_depth_of_the_settings(self, tmp_path: Path) -> None:
        for index, name in enumerate(("a.txt", "b.txt", "folder/c.txt", "folder/d.txt"), 1):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
            os.utime(tmp_path / name, (index, index))
        os.utime(tmp_path / "folder", (9, 9))
        a, b, folder = (str(tmp_path / name) for name in ("a.txt", "b.txt", "folder"))
        settings = [{"path": a, "aug_p": 0.1, "name": "none"}, {"flow": [{"path": folder}, {"path": b}]}]
        assert list_file_times(settings) == [1, 9, 3, 4, 2]


class TestErrors:
    @pytest.mark.parametrize("augmenters", [[], [{"aug_p": 0.1}]])
    def test_no_class(self, augmenters: list[dict[str, Any]]) -> None:
        with pytest.raises(ValueError, match="^augmenters must each name their class, such as "):
            Nlpaug(augmenters=augmenters, variants=1, workers=1)

    def test_without_the_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [each for each in sys.modules if each.partition(".")[0] == "nlpaug"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "nlpaug", None)
        with pytest.raises(
            UserError, match=r"^tricks.nlpaug.augmenters\[0\] needs .* nlpaug \(.*\); .*'trickbook\[nlpaug\]'\.$"
        ):
            output("a", stub(Draws))

    @pytest.mark.parametrize(
        ("settings", "reason"),
        [
            ({"_target_": "nlpaug.augmenter.word.Nothing"}, "Nothing cannot be imported "),
            ({"_target_": "nlpaug.augmenter.char.OcrAug", "aug_p": 1}, "OcrAug cannot be made: TypeError: .*'aug_p'"),
            ({"_target_": "nlpaug.augmenter.word.TfIdfAug", "model_path": "/none"}, "cannot be made: FileNotFoundErr"),
        ],
    )
    def test_invalid_augmenters_are_refused(self, settings: dict[str, Any], reason: str) -> None:
        with pytest.raises(UserError, match=rf"^tricks.nlpaug.augmenters\[1\]: .*nlpaug.augmenter.*{reason}"):
            output("a", stub(Draws), settings)

    def test_data_of_nltk_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import nltk

        monkeypatch.setattr(nltk.data, "path", [])
        monkeypatch.setattr(nltk, "download", lambda name: False)
        for name in ("SynonymAug", "AntonymAug"):
            with pytest.raises(UserError, match="python -m nltk.downloader wordnet omw-1.4 averaged_perceptron_tagger"):
                output("a good film", {"_target_": f"nlpaug.augmenter.word.{name}"})


def folder_of(model: str, folder: Path) -> dict[str, Any]:
    """A tiny language model, untrained."""
    tokenizer = load_tokenizer(tiny_config().model, [*TEXTS, "a b c d e f g h i j k l m n o p q r s t u v w x y z"])
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    if model == "distilbert":
        sizes = {"dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 8}
    kind = {"bert": "Bert", "distilbert": "DistilBert"}[model]
    config = getattr(transformers, f"{kind}Config")(vocab_size=len(tokenizer), **sizes)
    torch.manual_seed(0)
    getattr(transformers, f"{kind}ForMaskedLM")(config).save_pretrained(folder / model)
    tokenizer.save_pretrained(folder / model)
    return {"_target_": "nlpaug.augmenter.word.ContextualWordEmbsAug", "model_path": str(folder / model)}


def tfidf(folder: Path, texts: Sequence[str]) -> dict[str, Any]:
    from nlpaug.model.word_stats import TfIdf

    model = TfIdf()
    model.train([text.split() for text in texts])
    folder.mkdir()
    model.save(str(folder))
    return {"_target_": "nlpaug.augmenter.word.TfIdfAug", "model_path": str(folder)}


class TestRealOnes:
    @pytest.mark.parametrize(
        ("name", "settings"),
        [
            ("char.KeyboardAug", {}),
            ("char.OcrAug", {}),
            *[("char.RandomCharAug", {"action": action}) for action in ("insert", "substitute", "swap", "delete")],
            ("word.SpellingAug", {}),
            ("word.SplitAug", {}),
            *[("word.RandomWordAug", {"action": action}) for action in ("substitute", "swap", "delete", "crop")],
            ("word.ReservedAug", {"reserved_tokens": [["good", "fine"], ["house", "home"]]}),
        ],
    )
    def test_works(self, name: str, settings: dict[str, Any]) -> None:
        augmenter = {"_target_": f"nlpaug.augmenter.{name}", **settings}
        for text in TEXTS:
            (variant,) = output(text, augmenter)
            assert words(variant) != words(text) and 0.5 < len(variant) / len(text) < 1.5
            assert output(text, augmenter) == [variant]
        assert output("", augmenter) == [] == output(" ", augmenter)

    @pytest.mark.parametrize("flow", ["Sequential", "Sometimes"])
    def test_flows_work(self, flow: str) -> None:
        inner = {"_target_": "nlpaug.flow.Sequential", "flow": [{"_target_": "nlpaug.augmenter.char.OcrAug"}]}
        outer = {"_target_": f"nlpaug.flow.{flow}", "flow": [inner, {"_target_": "nlpaug.augmenter.word.SplitAug"}]}
        for text in [*TEXTS, "good"]:
            actual = output(text, outer, variants=2)
            assert len(actual) == 2 and actual == output(text, outer, variants=2)
            assert all(0.5 < len(variant) / len(text) < 2.5 for variant in actual), actual

    @pytest.mark.parametrize("model", ["bert", "distilbert"])
    @pytest.mark.parametrize("action", ["substitute", "insert"])
    def test_language_models_work(self, model: str, action: str, tmp_path: Path) -> None:
        augmenter = {**folder_of(model, tmp_path), "action": action}
        actual = output("the plot is good", augmenter, variants=2)
        assert len(actual) == 2 and output("the plot is good", augmenter, variants=2) == actual

    def test_each_model_is_its_own(self, tmp_path: Path) -> None:
        """Nlpaug would give the one that it loaded first."""
        first, second = tfidf(tmp_path / "1", ["a b", "a c"]), tfidf(tmp_path / "2", ["x y", "x z"])
        assert set(load_augmenter(first, "").model.tokens) == {"a", "b", "c"}
        assert set(load_augmenter(second, "").model.tokens) == {"x", "y", "z"}
        assert set(output("b c", first)[0].split()) <= {"a", "b", "c"}
