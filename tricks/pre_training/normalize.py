"""Normalize: write the same text in one way, in every split and when predicting.

`form`: NFC writes é as one character instead of two and changes no text's look. NFKC also undoes formatting: ﬁ -> fi,
① -> 1, ㎏ -> kg, … -> ..., ² -> 2, ½ -> 1⁄2, ｶﾞ -> ガ, Ａ -> A. Of Chinese punctuation it turns ，！？：；（） into
,!?:;() while 。、《》“”— stay, so a text has a mixture of both. `half_width` alone does that to full-width
letters, digits, ASCII punctuation and the space, and does not change ① and …. `drop_control`: control and zero-width
characters, directional marks and soft hyphens are removed, line breaks and tabs become a space; the joiners of 👩‍🚀
stay.

Source: Unicode Standard Annex 15 (forms), Technical Standard 51 (joiners in emoji).
Cost: none in training; a million short texts take 1 to 13 seconds on one core.
Use when: texts come from several keyboards, web pages or PDF files and the tokenizer keeps every byte (roberta,
    modernbert). Avoid when: the tokenizer does it already (bert drops control characters, xlm-roberta and deberta-v3
    apply NFKC). NFKC where ² or ½ carry meaning, or where a Chinese model (bert-base-chinese) has learnt ，and … as
    separate tokens. `drop_control` for Persian and Indic scripts, which spell words with joiners.
Composes: clean/clean: before everything else, including deduplicate and augmentation.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from recipes import Context, ModelContext, Trick, allowed

HALF_WIDTH = {0x3000: " ", **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}}

BREAKS = "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\u2028\u2029"
CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]
# Soft hyphen, Arabic letter mark, Mongolian vowel separator, zero-width space and non-joiner, directional marks,
# invisible operators, byte order mark, annotation marks. The joiner is handled separately.
INVISIBLE = [
    0xAD,
    0x61C,
    0x180E,
    0x200B,
    0x200C,
    0x200E,
    0x200F,
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    0xFEFF,
    0xFFF9,
    0xFFFA,
    0xFFFB,
]
CLEAN = {**dict.fromkeys([*CONTROLS, *INVISIBLE], ""), **dict.fromkeys(map(ord, BREAKS), " ")}

PICTURE = "\u2190-\u21ff\u2600-\u27bf\u2b00-\u2bff\U0001f300-\U0001faff"
STRAY_JOINER = re.compile(f"(?<![{PICTURE}\ufe0f])\u200d|\u200d(?![{PICTURE}])")


@dataclass
class Normalize(Trick):
    """Rewrite each text. Characters are removed before composition, so that the ones around them compose."""

    form: str = allowed("NFC | NFKC | none")
    """Unicode normal form."""
    half_width: bool = allowed("")
    """Whether full-width Latin letters, digits and ASCII punctuation become half-width; under NFKC they always do."""
    drop_control: bool = allowed("")
    """Whether control, zero-width and directional characters are removed and line breaks become spaces."""

    slots = {"clean": "clean"}
    neutral = {"form": "none", "half_width": False, "drop_control": False}
    remedies = {"control_characters": "+tricks=[{name}]"}

    def clean(self, run: Context, inner: Callable[[str], str], text: str) -> str:
        """Rewrite a text; printable and ASCII texts, which are most, skip the slow steps."""
        if self.drop_control and not text.isprintable():
            text = STRAY_JOINER.sub("", text.replace("\r\n", "\n").translate(CLEAN))
        if not text.isascii():
            if self.half_width:
                text = text.translate(HALF_WIDTH)
            if self.form != "none":
                text = unicodedata.normalize(cast(Literal["NFC", "NFKC"], self.form), text)
        return inner(text)

    def export(self, run: ModelContext, in_pairs: bool) -> Mapping[str, Any]:
        """The same steps, without the tests that only save time."""
        steps: list[dict[str, Any]] = []
        if self.drop_control:
            steps += [
                {"pattern": "\r\n", "replacement": "\n"},
                {"characters": {chr(code): character for code, character in CLEAN.items()}},
                {"pattern": STRAY_JOINER.pattern, "replacement": ""},
            ]
        if self.half_width:
            steps.append({"characters": {chr(code): character for code, character in HALF_WIDTH.items()}})
        return {"clean": steps + ([] if self.form == "none" else [{"form": self.form}])}
