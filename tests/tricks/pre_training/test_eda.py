"""EDA: each operation on texts whose only outcomes are written down, and whole variants of texts of all kinds."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset

from recipes.errors import UserError
from recipes.toolkit import words
from tricks.pre_training import eda
from tricks.pre_training.eda import Eda, Sentence, delete, insert, make_variants, prepare, replace, swap

SYNONYMS = {
    "film": ["movie", "motion picture"],
    "good": ["fine"],
    "great": ["grand"],
    "love": ["adore"],
    "phone": ["handset"],
    "not": ["never"],
    "is": ["be"],
    "电影": ["影片"],
    "喜欢": ["喜爱"],
    "的": ["之"],
    "好看": ["精彩"],
}
ALL = {"replace": 0.1, "insert": 0.1, "swap": 0.1, "delete": 0.1}
OFF = dict.fromkeys(ALL, 0.0)
MANY = 300


def outcomes(operation: eda.Operation, text: str, rate: float, language: str = "auto") -> set[str]:
    """All that an operation makes of a text."""
    sentence = prepare(text, language, SYNONYMS)
    return {operation(sentence, random.Random(seed), rate) for seed in range(MANY)}


def variants(text: str, rates: Mapping[str, float] = ALL, count: int = 16, language: str = "auto") -> list[str]:
    return make_variants(text, random.Random(0), rates, count, language, SYNONYMS)


class TestReplace:
    def test_one_word_by_one_of_its_synonyms(self) -> None:
        result = outcomes(replace, "A good film, not that film.", 0.1)
        assert result == {
            "A fine film, not that film.",
            "A good movie, not that film.",
            "A good motion picture, not that film.",
            "A good film, not that movie.",
            "A good film, not that motion picture.",
        }

    def test_the_rate_sets_the_number_of_words(self) -> None:
        text = "good " * 20
        for rate, count in [(0.05, 1), (0.1, 2), (0.5, 10), (1.0, 20)]:
            assert {result.split().count("fine") for result in outcomes(replace, text, rate)} == {count}

    def test_no_more_than_have_synonyms(self) -> None:
        assert outcomes(replace, "a good day", 1.0) == {"a fine day"}

    def test_stop_words_stay(self) -> None:
        assert outcomes(replace, "it is not 的", 1.0) == {"it is not 的"}

    def test_in_the_case_of_the_word(self) -> None:
        assert outcomes(replace, "Good GREAT love", 1.0) == {"Fine GRAND adore"}

    def test_chinese_without_spaces(self) -> None:
        assert outcomes(replace, "我喜欢电影！", 0.1) == {"我喜爱电影！", "我喜欢影片！"}

    def test_both_languages_or_one(self) -> None:
        text = "我喜欢good电影"
        assert outcomes(replace, text, 1.0) == {"我喜爱fine影片"}
        assert outcomes(replace, text, 1.0, "zh") == {"我喜爱good影片"}
        assert outcomes(replace, text, 1.0, "en") == {"我喜欢fine电影"}


class TestInsert:
    def test_a_synonym_at_every_position(self) -> None:
        assert outcomes(insert, "the good day.", 0.1) == {
            "fine the good day.",
            "the fine good day.",
            "the good fine day.",
            "the good day fine.",
        }

    def test_the_rate_sets_the_number_of_changes(self) -> None:
        assert {len(result.split()) for result in outcomes(insert, "good day " * 5, 0.3)} == {13}

    def test_nothing_for_stop_words(self) -> None:
        assert outcomes(insert, "it is not", 1.0) == {"it is not"}

    def test_chinese_without_spaces(self) -> None:
        assert outcomes(insert, "看电影。", 0.1) == {"影片看电影。", "看影片电影。", "看电影影片。"}


class TestSwap:
    def test_two_words_with_the_gaps_where_they_were(self) -> None:
        assert outcomes(swap, "One, two - six!", 0.1) == {"two, One - six!", "six, two - One!", "One, six - two!"}

    def test_the_rate_sets_the_frequency(self) -> None:
        text = " ".join("abcdefghijklmnopqrst")
        for rate, most in [(0.05, 2), (0.1, 4), (0.25, 10)]:
            moved = {
                sum(a != b for a, b in zip(result[::2], text[::2], strict=True))
                for result in outcomes(swap, text, rate)
            }
            assert max(moved) == most and min(moved) >= 2

    def test_never_back_to_the_text(self) -> None:
        assert outcomes(swap, "one two", 1.0) == {"two one"}

    def test_equal_words_are_no_pair(self) -> None:
        assert outcomes(swap, "no no no", 0.5) == {"no no no"}
        assert outcomes(swap, "no no yes", 0.1) == {"yes no no", "no yes no"}

    def test_chinese_without_spaces_and_no_two_words_fused(self) -> None:
        assert outcomes(swap, "我喜欢。", 0.1) == {"喜欢我。"}
        assert outcomes(swap, "iPhone和Mac", 0.1) == {"和iPhone Mac", "Mac和iPhone", "iPhone Mac和"}


class TestDelete:
    def test_each_word_with_its_space(self) -> None:
        assert outcomes(delete, "One, (two) three!", 0.01) == {", (two) three!", "One, () three!", "One, (two)!"}

    def test_each_word_by_chance(self) -> None:
        sentence = prepare("word " * 1000, "auto", SYNONYMS)
        left = [len(delete(sentence, random.Random(seed), 0.1).split()) for seed in range(20)]
        # 20,000 words, of which 18,000 should stay; the standard deviation is 42.
        assert abs(sum(left) - 18_000) < 200

    def test_one_at_least_and_never_all(self) -> None:
        assert outcomes(delete, "one two", 1e-9) == {"one", "two"}
        assert outcomes(delete, "one two", 1.0) == {"one", "two"}

    def test_a_lone_word_stays(self) -> None:
        assert outcomes(delete, " Good! ", 1.0) == {" Good! "}

    def test_chinese_without_spaces(self) -> None:
        assert outcomes(delete, "我喜欢电影", 0.01) == {"喜欢电影", "我电影", "我喜欢"}


class TestVariants:
    def test_operations_take_turns(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def naming(name: str) -> eda.Operation:
            numbers = iter(range(MANY))
            return lambda sentence, draws, rate: f"{name} {rate} {next(numbers)}"

        monkeypatch.setattr(eda, "OPERATIONS", {name: naming(name) for name in ALL})
        rates = {"replace": 0.1, "insert": 0.0, "swap": 0.3, "delete": 0.2}
        result = variants("some text", rates, 7)
        names = ["replace 0.1", "swap 0.3", "delete 0.2"]
        first = names.index(result[0].rpartition(" ")[0])
        assert [text.rpartition(" ")[0] for text in result] == [names[(first + turn) % 3] for turn in range(7)]
        starts = {make_variants("a b", random.Random(seed), rates, 1, "en", {})[0].split()[0] for seed in range(MANY)}
        assert starts == {"replace", "swap", "delete"}

    def test_none_is_alike(self) -> None:
        for seed in range(100):
            result = make_variants("a good film is great", random.Random(seed), ALL, 16, "auto", SYNONYMS)
            assert len({"a good film is great", *result}) == 17

    def test_variants_repeat_before_the_text_does(self) -> None:
        assert variants("one two", {"swap": 0.1}, 3) == ["two one"] * 3
        assert set(variants("good", count=8)) >= {"fine", "fine good", "good fine"}
        assert "good" not in variants("good", count=8)

    @pytest.mark.parametrize("text", ["", " ", "xyzzy", "!?", "😀", "https://a.b/c", "123", "no no no no", "的"])
    def test_variants_are_copies_if_nothing_can_change(self, text: str) -> None:
        rates = {**ALL, "delete": 0.0} if text.startswith("no") else ALL
        assert variants(text, rates, 5) == [text] * 5

    def test_another_operation_takes_the_turn_of_one_that_can_do_nothing(self) -> None:
        assert "xyzzy plugh" not in variants("xyzzy plugh")

    def test_none_is_its_source_in_random_texts(self) -> None:
        draws = random.Random(0)
        pieces = ["good", "film", "the", "not", "xyzzy", "我", "喜欢", "电影", "，", "!", "😀", "#a", "3", "中", "中中"]
        for _ in range(1000):
            text = "".join(piece + draws.choice([" ", ""]) for piece in draws.choices(pieces, k=draws.randrange(9)))
            if len(words.split(text).words) > 1:
                assert text not in variants(text, count=4)

    @pytest.mark.parametrize("rates", [{name: rate} for name in ALL for rate in (0.1, 0.5, 1.0)])
    def test_all_but_words_survives(self, rates: Mapping[str, float]) -> None:
        remaining = ["https://t.co/Ab?x=1", "@bob_smith", "#MustSee", "👩‍👩‍👧", "👍🏽", "1,000.5", "<br />", "&amp;"]
        text = f"GREAT film, {' good '.join(remaining)} not {remaining[0]}... 是好看的电影！！"
        for result in variants(text, rates):
            indices = [result.index(each) for each in remaining]
            assert indices == sorted(indices)
            assert result.count(remaining[0]) == 2 and "..." in result and result.endswith("！！")

    def test_no_spaces_come_into_chinese(self) -> None:
        for rates in ({name: 0.5} for name in ALL):
            assert not any(" " in result for result in variants("我喜欢好看的电影，不喜欢的电影不看。", rates))


def rows(texts: Sequence[str], pairs: Sequence[str] | None = None) -> Dataset:
    ids = [str(position) for position in range(len(texts))]
    columns = {
        "id": ids,
        "source": ids,
        "text": list(texts),
        "text_pair": list(pairs or [None] * len(texts)),
        "label": ["x"] * len(texts),
    }
    return Dataset.from_dict(columns)


def trick(**settings: Any) -> Eda:
    values = dict.fromkeys(("replace", "insert", "swap", "delete", "variants", "file"))
    return Eda(**{**values, "language": "auto", "source": "auto", "workers": 1, **settings})


@pytest.fixture(autouse=True)
def indices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own, and no WordNet whatever this machine has."""
    monkeypatch.setenv("TRICKBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(eda, "find_wordnet", lambda: None)


@pytest.fixture
def file(write: Callable[[str, str], Path]) -> str:
    return str(write("own.tsv", "".join("\t".join((word, *others)) + "\n" for word, others in SYNONYMS.items())))


def a_run(notes: list[str], seed: int = 0) -> Any:
    """A run whose model knows that day is near night, and film near movie."""
    vocabulary = {"[PAD]": 0, "day": 1, "night": 2, "film": 3, "movie": 4, "other": 5, "rest": 6}
    weight = torch.tensor([[9.0, 9], [1, 0], [1, 0], [0, 1], [0, 1], [-2, 0], [0, -2]])
    return SimpleNamespace(
        config=SimpleNamespace(seed=seed),
        note=notes.append,
        tokenizer=SimpleNamespace(get_vocab=lambda: vocabulary, all_special_tokens=["[PAD]"]),
        bare_model=SimpleNamespace(get_input_embeddings=lambda: SimpleNamespace(weight=weight)),
    )


def added(setting: Eda, examples: Dataset, notes: list[str] | None = None, seed: int = 0) -> dict[str, str]:
    """The texts of the rows that came, by their id; those that were there are as they were."""
    run = a_run([] if notes is None else notes, seed)
    result = setting.examples(run, lambda examples: examples, examples)
    assert result[: len(examples)] == examples[:]
    new = result.select(range(len(examples), len(result)))
    return dict(zip(new["id"], new["text"], strict=True))


class TestSettings:
    @pytest.mark.parametrize(
        ("count", "rate", "advised"), [(1, 0.05, 16), (500, 0.05, 16), (501, 0.05, 8), (2000, 0.05, 8), (2001, 0.1, 4)]
    )
    def test_null_is_what_the_paper_advises(
        self, monkeypatch: pytest.MonkeyPatch, count: int, rate: float, advised: int
    ) -> None:
        requested: list[Any] = []

        def noted(examples: Dataset, make: Any, *_: Any) -> Dataset:
            requested.append((make.keywords["rates"], make.keywords["count"]))
            return examples

        monkeypatch.setattr(eda, "with_variants", noted)
        notes: list[str] = []
        for setting in (trick(source="embeddings"), trick(source="embeddings", swap=0.0, variants=3)):
            setting.examples(a_run(notes), lambda given: given, rows(["film"] * count))
        assert requested == [(dict.fromkeys(ALL, rate), advised), ({**dict.fromkeys(ALL, rate), "swap": 0.0}, 3)]
        assert notes[1] == (
            f"eda: {advised} variants of each row; replace {rate}, insert {rate}, swap {rate}, delete {rate}."
        )

    def test_no_operation_returns_the_same_rows(self) -> None:
        examples = rows(["a good film"])
        for setting in (trick(variants=0), trick(**OFF)):
            assert setting.examples(a_run([]), lambda given: given, examples) is examples

    def test_refuses_what_does_not_go_together(self) -> None:
        for settings, summary in [
            ({"source": "file"}, "tricks.eda.file=<path>"),
            ({"source": "wordnet", "file": "a.tsv"}, "leave out one of the two"),
            ({"source": "embeddings", "file": "a.tsv"}, "leave out one of the two"),
            ({"source": "wordnet", "language": "zh"}, "no Chinese words"),
            ({"replace": 1.5}, "replace must be a number in"),
        ]:
            with pytest.raises(ValueError, match=summary):
                trick(**settings)

    def test_a_pair_changes_in_both_texts(self, file: str) -> None:
        setting = trick(file=file, **{**OFF, "replace": 1.0}, variants=1)
        result = setting.examples(a_run([]), lambda given: given, rows(["good day"], ["I love it"]))
        assert (result["text"][1], result["text_pair"][1], result["id"][1]) == ("fine day", "I adore it", "0+1")


class TestSources:
    REPLACE = {**OFF, "replace": 1.0, "variants": 1}

    def test_a_file(self, file: str) -> None:
        notes: list[str] = []
        for source in ("auto", "file"):
            assert added(trick(source=source, file=file, **self.REPLACE), rows(["love"]), notes) == {"0+1": "adore"}
        assert notes[0] == f"eda: synonyms from {file}; {len(SYNONYMS)} words have some."

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="tricks.eda.file=.*none.tsv: there is no such file or folder; give a file"):
            added(trick(file=str(tmp_path / "none.tsv")), rows(["love"]))

    def test_a_file_of_another_format(self, tmp_path: Path) -> None:
        (tmp_path / "bad.tsv").write_text("good,fine\n", encoding="utf-8")
        with pytest.raises(UserError, match="^tricks.eda.file=.*bad.tsv, line 1: 'good,fine' is neither word<TAB>syn"):
            added(trick(file=str(tmp_path / "bad.tsv")), rows(["love"]))

    def test_wordnet_where_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(eda, "find_wordnet", lambda: Path("there"))
        monkeypatch.setattr(eda, "read_wordnet", lambda path: {"film": ["flick"]} if path == Path("there") else {})
        notes: list[str] = []
        for source in ("auto", "wordnet"):
            assert added(trick(source=source, **self.REPLACE), rows(["film"]), notes) == {"0+1": "flick"}
        assert notes[0] == "eda: synonyms from WordNet in there; 1 words have some."

    def test_a_wordnet_folder_as_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "index.noun").touch()
        monkeypatch.setattr(eda, "read_wordnet", lambda path: {"film": ["flick"]} if path == tmp_path else {})
        assert added(trick(file=str(tmp_path), **self.REPLACE), rows(["film"])) == {"0+1": "flick"}

    def test_no_wordnet_names_the_commands_that_get_it(self) -> None:
        with pytest.raises(UserError, match="tricks.eda.source=wordnet") as raised:
            added(trick(source="wordnet"), rows(["film"]))
        assert "apt-get install wordnet-base" in str(raised.value)
        assert "python -m nltk.downloader wordnet" in str(raised.value)

    def test_the_models_own_vectors(self) -> None:
        notes: list[str] = []
        result = added(trick(source="embeddings", **self.REPLACE), rows(["film", "This day"]), notes)
        assert result == {"0+1": "movie", "1+1": "This night"}
        assert notes[0] == (
            "eda: synonyms from the model's vectors of the texts' 3 words, where opposites are near; 2 words have some."
        )

    @pytest.mark.parametrize("texts", [["film day"], ["film 电影很好看 day"]])
    def test_without_wordnet_or_file_nothing_is_replaced(self, texts: list[str]) -> None:
        """The model's own vectors are used only where they are asked for: opposites are near in them."""
        notes: list[str] = []
        result = added(trick(), rows(texts), notes)
        words_by_text = [set(words.split(text, "auto").words) for text in (*texts, *result.values())]
        assert all(each <= words_by_text[0] for each in words_by_text)
        assert notes[0].startswith("eda: no synonyms were found, so replace and insert are off; give tricks.eda.file=")
        assert notes[1] == "eda: 16 variants of each row; replace 0, insert 0, swap 0.05, delete 0.05."

    @pytest.mark.parametrize(
        ("settings", "named"),
        [
            ({"replace": 0.1}, "replace=0.1"),
            ({"insert": 0.2, "replace": 0.0}, "insert=0.2"),
            ({"swap": 0.0, "delete": 0.0}, "replace=null"),
        ],
    )
    def test_synonyms_that_are_asked_for_must_be_there(self, settings: dict[str, float], named: str) -> None:
        with pytest.raises(UserError, match=f"tricks.eda.{named}: no synonyms were found; give tricks.eda.file=<path>"):
            added(trick(**settings), rows(["film day"]))

    def test_the_models_own_vectors_for_both_texts_of_a_pair(self) -> None:
        setting = trick(source="embeddings", **self.REPLACE)
        result = setting.examples(a_run([]), lambda given: given, rows(["a film"], ["that day"]))
        assert (result["text"][1], result["text_pair"][1]) == ("a movie", "that night")

    def test_wordnet_is_not_used_for_chinese(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(eda, "find_wordnet", lambda: Path("there"))
        monkeypatch.setattr(eda, "read_wordnet", lambda path: {"film": ["flick"]})
        texts = ["电影很好看", "喜欢 film 电影吗", "film"]
        with pytest.raises(UserError, match=r"replace=1: no synonyms were found"):
            added(trick(**self.REPLACE), rows(texts))
        assert added(trick(**self.REPLACE), rows(texts[1:]))["1+1"] == "flick"

    def test_wordnet_is_not_advised_for_chinese(self) -> None:
        notes: list[str] = []
        added(trick(), rows(["房间很干净", "太差了"]), notes)
        assert "give tricks.eda.file=<path>, such as Cilin; or tricks.eda.source=embeddings" in notes[0]

    def test_none_is_looked_for_where_none_is_used(self) -> None:
        settings = {**OFF, "swap": 0.1, "variants": 1}
        assert added(trick(source="wordnet", **settings), rows(["one two"])) == {"0+1": "two one"}


class TestRows:
    TEXTS = ["A good film, not that film.", "great phone 😀", "我喜欢好看的电影", "xyzzy", "love this not that"] * 3

    def output(self, file: str, order: Iterable[int], **settings: Any) -> dict[str, str]:
        examples = rows(self.TEXTS).select(list(order))
        return added(trick(file=file, variants=6, **settings), examples, seed=settings.pop("seed", 0))

    def test_are_the_same_in_any_order_and_company(self, file: str) -> None:
        full = self.output(file, range(15))
        assert len(full) == 15 * 6
        assert self.output(file, [3, 14, 0, 7, 1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13]) == full
        assert self.output(file, [7]).items() <= full.items()

    @pytest.mark.slow
    def test_are_the_same_with_any_number_of_workers(
        self, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        alone = self.output(file, range(15))
        for workers in (2, 3):
            monkeypatch.setenv("TRICKBOOK_CACHE", str(tmp_path / str(workers)))
            assert list(self.output(file, range(15), workers=workers).items()) == list(alone.items())

    def test_equal_texts_of_two_rows_change_otherwise(self, file: str) -> None:
        result = self.output(file, range(15))
        assert [result[f"0+{number}"] for number in range(1, 7)] != [result[f"5+{number}"] for number in range(1, 7)]

    def test_another_seed_draws_otherwise(self, file: str) -> None:
        setting = trick(file=file, variants=6)
        assert added(setting, rows(self.TEXTS), seed=1) != added(setting, rows(self.TEXTS), seed=0)

    def test_other_synonyms_do_not_meet_in_the_cache(self, file: str, write: Callable[[str, str], Path]) -> None:
        settings = {**OFF, "replace": 1.0, "variants": 1}
        one = added(trick(file=file, **settings), rows(["love"]))
        other = added(trick(file=str(write("other.tsv", "love\tcherish\n")), **settings), rows(["love"]))
        assert (one, other) == ({"0+1": "adore"}, {"0+1": "cherish"})


def test_a_sentence_counts_its_changes() -> None:
    ten = Sentence("", ["w"] * 10, [], True, [])
    assert [ten.changes(rate) for rate in (0.01, 0.1, 0.14, 0.16, 1.0)] == [1, 1, 1, 2, 10]
