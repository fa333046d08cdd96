"""Normalize: a table of texts, worked out by hand."""

import unicodedata
from typing import Any

import pytest

from tests.sampling import slow
from tricks.pre_training.normalize import Normalize

RUN: Any = None
ASTRONAUT = "\U0001f469\u200d\U0001f680"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
RAINBOW_FLAG = "\U0001f3f3\ufe0f\u200d\U0001f308"
DARK_HEALTH_WORKER = "\U0001f9d1\U0001f3ff\u200d\u2695\ufe0f"
ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"


def normalized(text: str, form: str = "none", half_width: bool = False, drop_control: bool = False) -> str:
    return Normalize(form=form, half_width=half_width, drop_control=drop_control).clean(RUN, lambda each: each, text)


@pytest.mark.parametrize(
    ("text", "composed", "compatible"),
    [
        ("", "", ""),
        ("plain text, 100 %", "plain text, 100 %", "plain text, 100 %"),
        ("cafe\u0301", "café", "café"),
        ("ﬁne ① ㎏ … x² ½ ™ ℃", "ﬁne ① ㎏ … x² ½ ™ ℃", "fine 1 kg ... x2 1⁄2 TM °C"),
        ("a\u00a0b", "a\u00a0b", "a b"),
        ("你好，世界！（１００％）", "你好，世界！（１００％）", "你好,世界!(100%)"),
        ("。、《》“”—", "。、《》“”—", "。、《》“”—"),
        ("中文　空格", "中文　空格", "中文 空格"),
        ("ﾊﾝｶｸ ｶﾞｷﾞ ﾊﾟ", "ﾊﾝｶｸ ｶﾞｷﾞ ﾊﾟ", "ハンカク ガギ パ"),
        ("か\u3099", "が", "が"),
        (FAMILY, FAMILY, FAMILY),
    ],
)
def test_forms(text: str, composed: str, compatible: str) -> None:
    assert normalized(text, form="none") == text
    assert normalized(text, form="NFC") == composed
    assert normalized(text, form="NFKC") == compatible


@pytest.mark.parametrize(
    ("text", "half"),
    [
        ("Ａｚ０９！～", "Az09!~"),
        ("你好，世界。", "你好,世界。"),
        ("（Ａ）［Ｂ］｛Ｃ｝＠＃＄％＆＊", "(A)[B]{C}@#$%&*"),
        ("全角　空格", "全角 空格"),
        ("①…²ﾊﾝｶｸ￥｡", "①…²ﾊﾝｶｸ￥｡"),
        ("café, 100", "café, 100"),
    ],
)
def test_half_width(text: str, half: str) -> None:
    assert normalized(text, half_width=True) == half
    assert normalized(text, half_width=True, form="NFC") == half


def test_half_width_covers_every_ascii_character_that_has_a_full_width_one() -> None:
    full = "".join(chr(code) for code in range(0xFF01, 0xFF5F))
    assert normalized(full, half_width=True) == "".join(chr(code) for code in range(0x21, 0x7F))
    assert normalized(full, half_width=True) == unicodedata.normalize("NFKC", full)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\ntwo\r\nthree\rfour\tfive\u2028six\x85seven", "one two three four five six seven"),
        ("two\n\nlines", "two  lines"),
        ("nul\x00, bell\x07, escape\x1b[0m, delete\x7f, c1\x9f", "nul, bell, escape[0m, delete, c1"),
        ("soft\u00adhyphen zero\u200bwidth word\u2060joiner", "softhyphen zerowidth wordjoiner"),
        ("\ufeffa mark at the start, and in\ufeffside", "a mark at the start, and inside"),
        ("left\u200eright\u200f\u202aembedded\u202c\u2066isolated\u2069", "leftrightembeddedisolated"),
        ("你\u200b好\ufeff，\u200d世界", "你好，世界"),
        ("no\u00a0break　space", "no\u00a0break　space"),
        ("a joiner\u200d alone, between\u200dletters", "a joiner alone, betweenletters"),
        ("\u200d", ""),
    ],
)
def test_control(text: str, expected: str) -> None:
    assert normalized(text) == text
    assert normalized(text, drop_control=True) == expected


@pytest.mark.parametrize("emoji", [ASTRONAUT, FAMILY, RAINBOW_FLAG, DARK_HEALTH_WORKER, ENGLAND, "❤\ufe0f\u200d🔥"])
def test_emoji_are_not_split(emoji: str) -> None:
    text = f"so \u200b{emoji}{emoji}\u200d!"
    assert normalized(text, drop_control=True) == f"so {emoji}{emoji}!"
    assert normalized(emoji, form="NFKC", half_width=True, drop_control=True) == emoji


def test_what_goes_no_longer_parts_what_belongs_together() -> None:
    assert normalized("cafe\u200b\u0301", form="NFC", drop_control=True) == "café"
    assert normalized("ｃａｆｅ\u0301", form="NFC", half_width=True) == "café"


@pytest.mark.parametrize("form", [slow("NFC"), slow("NFKC"), slow("none")])
def test_twice_is_once(form: str) -> None:
    for plane in range(0, 0x110000, 0x1000):
        codes = (code for code in range(plane, plane + 0x1000) if not 0xD800 <= code < 0xE000)
        once = normalized("".join(f"a{chr(code)}\u0301" for code in codes), form, half_width=True, drop_control=True)
        assert normalized(once, form, half_width=True, drop_control=True) == once, hex(plane)


def test_is_outside_what_follows() -> None:
    trick = Normalize(form="NFC", half_width=False, drop_control=True)
    assert trick.clean(RUN, lambda text: f"<{text}>", "a\nb") == "<a b>"


def test_the_form_is_one_of_three() -> None:
    with pytest.raises(ValueError, match="^form must be one of NFC | NFKC | none, got NFD.$"):
        Normalize(form="NFD", half_width=False, drop_control=False)
