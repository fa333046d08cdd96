"""Words and gaps: what is a word, that all else stays, and how texts are put together again."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.toolkit.words import (
    STOP_WORDS,
    chinese_cutter,
    has_han,
    is_content,
    join,
    match_case,
    merge_gaps,
    split,
)

TEXTS = [
    "",
    " ",
    "word",
    "  two   words\n",
    "The film -- a well-made one -- isn't bad.",
    "it 's n't ' good ' , do n't go",
    "See https://a.b/c?d=e&f#g, www.x.org/y or mail Joe_1@mail.example.com!",
    "@anna #topic 3.5/10 1,000, 90s :D ;-P",
    "<br /><b>bold</b> &amp; U.S. e.g. this 😀 film 👩‍👩‍👧 1️⃣",
    "我喜欢这部电影，真的！",
    "买iPhone和Mac on taobao.com上",
    "@张三 #双十一# 快来https://t.cn/abc看",
    "Ünïcode café naïve e\u0301te\u0301",
    "हिन्दी फिल्म अच्छी है",
    "snake_case a_b",
    "3-year-old 5月1日 covid19 2nd",
    "rock'n'roll don’t",
    "한국어 영화",
    "русский фильм 5ж",
    "日々〇",
    "#a#b#",
]


@pytest.mark.parametrize("language", ["auto", "en", "zh"])
@pytest.mark.parametrize("text", TEXTS)
def test_words_and_gaps_make_the_text_again(text: str, language: str) -> None:
    words, gaps, spaced = split(text, language)
    assert len(gaps) == len(words) + 1
    assert join(words, gaps, spaced) == text
    assert all(words)


def test_random_characters_make_the_text_again() -> None:
    draws = random.Random(0)
    for _ in range(3000):
        text = "".join(draws.choices("aBé'’-._ @#:/<>&;,0139wcomD我们买的，。！😀\n\u0301", k=draws.randrange(25)))
        for language in ("auto", "en", "zh"):
            words, gaps, spaced = split(text, language)
            assert join(words, gaps, spaced) == text, (text, language)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The film -- a well-made one -- isn't bad.", "The film a well-made one isn't bad"),
        ("it 's good , they do n't say 'm", "it 's good they do n't say 'm"),
        ("don’t rock'n'roll", "don’t rock'n'roll"),
        ("the U.S. army, e.g. this", "the U.S. army e.g. this"),
        ("see https://a.b/c?d=e or www.x.org now", "see or now"),
        ("mail joe_1@mail.example.com or example.com/a today", "mail or today"),
        ("@anna_b likes #good-film by 3 of 1,000.5 in the 90s", "likes by of in the"),
        ("a 3-year-old on the 2nd at 10:30, covid19", "a on the at covid19"),
        ("fine<br />but &amp; so <3 :D ;-P O:-) o:)", "fine but so"),
        ("café e\u0301te\u0301 हिन्दी", "café e\u0301te\u0301 हिन्दी"),
        ("5月1日19点开战，3.5万元的450-650平米，100亿男子，2个小时", "开战 的 男子 小时"),
    ],
)
def test_what_is_a_word(text: str, words: str) -> None:
    assert split(text).words == words.split()


def test_chinese_words_are_those_of_jieba() -> None:
    words, gaps, spaced = split("他喜欢苹果手机，也喜欢电影！")
    assert words == ["他", "喜欢", "苹果", "手机", "也", "喜欢", "电影"]
    assert gaps == ["", "", "", "", "，", "", "", "！"]
    assert not spaced


def test_mixed_text_and_languages() -> None:
    text = "他买iPhone了 today，@张三 3月https://t.cn/ab喜欢"
    assert split(text).words == ["他", "买", "iPhone", "了", "today", "喜欢"]
    assert split(text, "zh").words == ["他", "买", "了", "喜欢"]
    assert split(text, "en") == (["iPhone", "today"], ["他买", "了 ", "，@张三 3月https://t.cn/ab喜欢"], True)


@pytest.mark.parametrize(
    ("words", "gaps", "text"),
    [
        (["买", "Mac", "了"], ["", "", "", "。"], "买Mac了。"),
        (["iPhone", "Mac", "买"], ["", "", "", "。"], "iPhone Mac买。"),
        (["Mac", "买"], ["", "5s", ""], "Mac 5s买"),
    ],
)
def test_chinese_needs_spaces_only_where_others_would_fuse(words: list[str], gaps: list[str], text: str) -> None:
    assert join(words, gaps, spaced=False) == text


@pytest.mark.parametrize(
    ("before", "after", "first", "left"),
    [
        (" ", " ", False, " "),  # a [b] c
        ("", " ", True, ""),  # [a] b
        (" ", "", False, ""),  # a [b]
        (" ", ".", False, "."),  # a [b].
        (" ", " .", False, " ."),  # a [b] .
        (", ", " ", False, ", "),  # a, [b] c
        (' "', " ", False, ' "'),  # a "[b] c"
        ("", " ", False, " "),  # 我[们] b
        (" ", "😀 ", False, " 😀 "),  # a [b]😀 c
        (" @anna ", "_", False, " @anna _"),
        ("，", "", False, "，"),  # 我，[你]们
        (".\n\n", " ", False, ".\n\n"),
        (" ", "\n", False, "\n"),
        ("https://a.b/ ", " ", False, "https://a.b/ "),
    ],
)
def test_the_gap_of_a_word_that_went(before: str, after: str, first: bool, left: str) -> None:
    assert merge_gaps(before, after, first) == left


@pytest.mark.parametrize(
    ("new", "old", "written"),
    [
        ("movie", "film", "movie"),
        ("movie", "Film", "Movie"),
        ("movie", "FILM", "MOVIE"),
        ("Paris", "town", "paris"),
        ("new york", "Town", "New york"),
        ("movie", "A", "Movie"),
        ("phone", "iPhone", "phone"),
        ("人物", "人", "人物"),
        ("straße", "WEG", "STRASSE"),
        ("the States", "U.S.", "the States"),
    ],
)
def test_case(new: str, old: str, written: str) -> None:
    assert match_case(new, old) == written


def test_content_words() -> None:
    assert all(map(is_content, ["film", "Good", "人物", "人", "好", "okay"]))
    assert not any(map(is_content, ["the", "THE", "Don’t", "n't", "x", "I", "的", "不", "没有", "'s"]))
    assert len(STOP_WORDS) > 400


def test_chinese_characters() -> None:
    assert has_han("a中") and has_han("々") and has_han("\U00020000")
    assert not any(map(has_han, ["", "abc", "，。", "かな", "한국"]))


def test_nothing_slow_hides_in_the_pattern() -> None:
    for part in ("-", ".", "a-", "a.", "1,", "a_", "<", "@", "#", "'", "&a", ":", "1-a"):
        text = part * 3000
        assert join(*split(text)) == text


def test_jieba_keeps_its_dictionary_in_the_cache_and_says_nothing(tmp_path: Path) -> None:
    code = "from recipes.toolkit.words import split; print(split('房间很干净').words)"
    environment = {**os.environ, "TRICKBOOK_CACHE": str(tmp_path)}
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert finished.stdout == "['房间', '很', '干净']\n" and finished.stderr == ""
    assert (tmp_path / "trickbook" / "jieba.cache").is_file()


def test_jieba_is_imported_late_and_named_if_missing() -> None:
    code = (
        "import sys; sys.modules['jieba'] = None\n"
        "from recipes.errors import UserError; from recipes.toolkit.words import split\n"
        "assert split('a b').words == ['a', 'b']\n"
        "try: split('我')\nexcept UserError as error: print(type(error).__name__, error)"
    )
    summary = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert summary.startswith("UserError") and "pip install 'trickbook[chinese]'" in summary
    assert chinese_cutter() is chinese_cutter()
