"""Synonyms: from a WordNet of a few words, from files of both kinds, and from vectors laid out by hand."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from recipes.errors import UserError
from recipes.toolkit.synonyms import (
    MOST,
    NEIGHBOURS,
    digest,
    find_wordnet,
    find_words,
    from_embeddings,
    is_wordnet,
    read_file,
    read_wordnet,
)

LICENCE = "  1 This software and database is being provided to you, the LICENSEE, by Princeton University  \n"
# data: offset file type count(base 16) word id ... pointers | gloss. index: lemma type synsets pointers ... offsets.
WORDNET = {
    "data.noun": [
        "00000100 06 n 03 film 0 movie 0 motion_picture 0 001 @ 00000200 n 0000 | a story in pictures  ",
        "00000200 06 n 02 film 1 Cellulose 0 000 | a thin layer  ",
        "00000300 06 n 01 turkey 0 000 | a bird  ",
        "00000400 06 n 0b big 0 a1 0 a2 0 a3 0 a4 0 a5 0 a6 0 a7 0 a8 0 a9 0 aa 0 000 | eleven words  ",
    ],
    "index.noun": [
        "big n 1 0 1 0 00000400  ",
        "film n 2 2 @ ~ 2 1 00000100 00000200  ",
        "motion_picture n 1 1 @ 1 0 00000100  ",
        "turkey n 1 0 1 0 00000300  ",
    ],
    "data.verb": ["00000100 31 v 02 film 0 shoot 0 001 + 00000100 n 0101 01 + 08 00 | record  "],
    "index.verb": ["film v 1 1 + 1 0 00000100  "],
    "data.adj": ["00000100 00 s 03 good(p) 0 Film 0 fine(a) 0 000 | well  "],
    "index.adj": ["good a 1 0 1 0 00000100  "],
    "data.adv": [],
    "index.adv": [],
}


def wordnet(folder: Path, but: str = "") -> Path:
    folder.mkdir(parents=True)
    for name, lines in WORDNET.items():
        if name != but:
            (folder / name).write_text(LICENCE + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


class TestWordnet:
    def test_the_first_senses_of_all_parts_of_speech_come_first(self, tmp_path: Path) -> None:
        result = read_wordnet(wordnet(tmp_path / "wordnet"))
        # film: noun 1, verb 1, then noun 2.
        assert result["film"] == ("movie", "motion picture", "shoot", "Cellulose")
        assert result["motion picture"] == ("film", "movie")
        assert result["good"] == ("Film", "fine")

    def test_a_word_without_others_has_none(self, tmp_path: Path) -> None:
        result = read_wordnet(wordnet(tmp_path / "wordnet"))
        assert set(result) == {"film", "motion picture", "good", "big"}

    def test_rare_senses_are_left_out(self, tmp_path: Path) -> None:
        result = read_wordnet(wordnet(tmp_path / "wordnet"))
        assert result["big"] == tuple(f"a{number}" for number in range(1, MOST + 1))

    def test_a_zip_file_as_nltk_keeps_it(self, tmp_path: Path) -> None:
        folder, file = wordnet(tmp_path / "wordnet"), tmp_path / "corpora" / "wordnet.zip"
        file.parent.mkdir()
        with zipfile.ZipFile(file, "w") as archive:
            for path in folder.iterdir():
                archive.write(path, f"wordnet/{path.name}")
        assert is_wordnet(file)
        assert read_wordnet(file) == read_wordnet(folder)

    def test_half_a_database_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="data.verb"):
            read_wordnet(wordnet(tmp_path / "wordnet", but="data.verb"))
        damaged = wordnet(tmp_path / "damaged")
        (damaged / "index.noun").write_text("film n 1 0 1 0 00000999\n")
        with pytest.raises(UserError, match="not a complete WordNet database"):
            read_wordnet(damaged)
        (tmp_path / "wordnet.zip").write_text("no zip")
        with pytest.raises(UserError, match="not a complete WordNet database"):
            read_wordnet(tmp_path / "wordnet.zip")

    def test_it_is_found_where_nltk_and_wordnet_install_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        of_nltk = wordnet(tmp_path / "nltk" / "corpora" / "wordnet")
        monkeypatch.setenv("NLTK_DATA", f"{tmp_path / 'none'}:{tmp_path / 'nltk'}")
        assert find_wordnet() == of_nltk
        own = wordnet(tmp_path / "dict")
        monkeypatch.setenv("WNSEARCHDIR", str(own))
        assert find_wordnet() == own
        assert not is_wordnet(tmp_path)


class TestFile:
    def test_words_and_tabs(self, write: Callable[[str, str], Path]) -> None:
        lines = "\ufeffFilm\tmovie\tmotion picture\n\n好\t棒\t不错\nfilm\tMovie\tfilm\tshow\t\n"
        result = read_file(write("a.tsv", lines))
        assert result == {"film": ("movie", "motion picture", "show"), "好": ("棒", "不错")}

    def test_cilin(self, write: Callable[[str, str], Path]) -> None:
        lines = "Aa01A01= 人 士 人物\nAa01A02= 人类 人\r\nAa01A03# 相关 有关\nAa01A04@ 孤独\n"
        assert read_file(write("cilin.txt", lines)) == {
            "人": ("士", "人物", "人类"),
            "士": ("人", "人物"),
            "人物": ("人", "士"),
            "人类": ("人",),
        }

    @pytest.mark.parametrize(
        ("content", "summary"),
        [
            ("film\tmovie\nfilm movie\n", "line 2: 'film movie'"),
            ("film\t\n", "line 1"),
            ("\tfilm\n", "line 1"),
            ("", "contains no synonyms"),
            ("Aa01A04@ 孤独\n", "contains no synonyms"),
            ("Aa01A01= 人 士".encode("gb18030"), "iconv -f GB18030"),
        ],
    )
    def test_errors_are_explained(
        self, write: Callable[[str, str | bytes], Path], content: str | bytes, summary: str
    ) -> None:
        with pytest.raises(UserError, match=summary):
            read_file(write("a.tsv", content))

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="none.tsv: No such file"):
            read_file(tmp_path / "none.tsv")


def tokenizer(vocabulary: Mapping[str, int], *special: str) -> Any:
    return SimpleNamespace(get_vocab=lambda: dict(vocabulary), all_special_tokens=list(special))


def numbered(tokens: str) -> dict[str, int]:
    return {token: number for number, token in enumerate(tokens.split())}


class TestFindWords:
    def test_wordpiece(self) -> None:
        vocabulary = numbered("[PAD] [unused1] the x film ##s movie 1990 , 人 的 Film don")
        assert find_words(tokenizer(vocabulary, "[PAD]")) == {"film": 4, "movie": 6, "人": 9}

    def test_sentencepiece(self) -> None:
        vocabulary = numbered("<s> ▁the ▁Film s ▁movie ▁ 人 电影 ▁2 ▁film pad")
        assert find_words(tokenizer(vocabulary, "<s>", "pad")) == {"film": 2, "movie": 4, "人": 6, "电影": 7}

    def test_byte_level(self) -> None:
        vocabulary = numbered("<s> Ġfilm film Ġmovie ĠÃ© Ġthe Ġ")
        assert find_words(tokenizer(vocabulary, "<s>")) == {"film": 1, "movie": 3}

    def test_special_tokens_are_no_words(self) -> None:
        assert find_words(tokenizer(numbered("mask film"), "mask")) == {"film": 1}


class TestEmbeddings:
    # Eight words in a plane, by their angle; their mean is 0.
    ANGLES = {"zero": 0, "ten": 10, "thirty": 30, "eighty": 80, "back": 180, "left": 190, "west": 210, "south": 260}

    def result(self, *words: str, scale: float = 1.0) -> Mapping[str, Any]:
        angles = torch.deg2rad(torch.tensor([0.0, *map(float, self.ANGLES.values())]))
        weight = scale * torch.stack([angles.cos(), angles.sin()], 1)
        weight[0] = 100.0  # a special token's vector has no part in it
        vocabulary = numbered(" ".join(["[PAD]", *self.ANGLES]))
        return from_embeddings(weight.half(), tokenizer(vocabulary, "[PAD]"), words)

    def test_neighbours_by_cosine_the_nearest_first(self) -> None:
        assert self.result("zero", "west") == {"zero": ["ten", "thirty"], "west": ["left", "back", "south"]}

    def test_lengths_do_not_matter(self) -> None:
        assert self.result("zero", scale=7.0) == self.result("zero")

    def test_only_requested_words_of_the_vocabulary(self) -> None:
        assert self.result("film") == {}
        assert self.result("eighty", "eighty", "film") == {"eighty": ["thirty"]}

    def test_so_many_at_most(self) -> None:
        words = {f"w{chr(97 + index)}": index for index in range(20)}
        weight = torch.eye(20)[:, :3] * 0 + torch.tensor([1.0, 2.0, 3.0]) + 1e-3 * torch.arange(20.0)[:, None]
        result = from_embeddings(weight, tokenizer(words), words)
        assert {len(others) for others in result.values()} <= set(range(NEIGHBOURS + 1))
        assert all(word not in others for word, others in result.items())


def test_a_digest_follows_the_content() -> None:
    ways = [{"a": ["b", "c"]}, {"a": ["b"]}, {"a": ["bc"]}, {"a": ["b"], "c": ["d"]}, {}]
    assert len({digest(each) for each in ways}) == len(ways)
    assert digest({"a": ["b", "c"]}) == digest({"a": ("b", "c")})
