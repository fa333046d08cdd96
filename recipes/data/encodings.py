"""The encoding of a text file: UTF-8 first, then as requested, then as detected.

Alphabets tell Latin encodings apart, because they differ in a few letters only. All others are left to
charset-normalizer. Where two encodings fit about equally well, neither is chosen.
"""

import codecs
import re
from collections.abc import Collection, Iterator
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import IO

from charset_normalizer import from_bytes

from recipes.data.formats import FormatError, open_bytes

OTHER_ENCODING = (
    "name another encoding (data.encoding; for trickbook predict --encoding), or none, or convert the file to UTF-8."
)
"""The end of a message about a file that is not of an encoding."""
# The longer marks first: that of UTF-16 is the beginning of one of UTF-32.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
BYTES_AT_ONCE = 1 << 20
SAMPLE_BYTES = 1 << 15
# Of so few different characters beyond ASCII nothing can be told, where more than one encoding has them.
FEW_CHARACTERS = 12
# A file in which so few lines are not UTF-8, and in no other encoding, is damaged.
FEW_LINES = 10
# What stands between quotes or on a line. No encoding here has these bytes inside a character.
WITH_FOREIGN_BYTES = re.compile(rb'[^\n\r"]*[\x80-\xff][^\n\r"]*')

# The letters beyond ASCII of languages, by the encoding in which they are written. English has those of its loan words.
WESTERN = (
    "àáâäãåæçéèêëíìîïñóòôöõøœßúùûü àâæçèéêëîïôœùûüÿ äöüß áéíñóúü ãáàâçéêíóôõúü "
    "àèéìíîòóùú åäöéæøàè áðéíóúýþæö ëéèïöüáíóê"
).split()
CENTRAL = "ąćęłńóśźż áčďéěíňóřšťúůýž áäčďéíĺľňóôŕšťúýž áéíóöőúüű čćđšž ăâîşţ".split()
SIGNS = "‚„“”‘’‹›«»–—…•€£©®™°§´·\xa0×±"
ALPHABETS = {
    "cp1252": (WESTERN, SIGNS + "¿¡²³"),
    "cp1250": (CENTRAL, SIGNS),
    "cp1254": (["çğıöşüâîû"], SIGNS),
    "cp1257": ("ąčęėįšųūž āčēģīķļņšūž äöõüšž".split(), SIGNS),
    "iso8859_2": (CENTRAL, SIGNS),
    "iso8859_15": (WESTERN, SIGNS + "¿¡²³"),
}
LETTERS_IN_A_ROW = re.compile(r"[^\W\d_\x00-\x7f]{3}")
# Where the frequent characters of an encoding stand: the character set, and the first bytes.
FREQUENT = {
    "gb18030": ("gb2312", 0xA1, 0xD7),
    "big5": ("big5", 0xA1, 0xC6),
    "cp932": ("cp932", 0x81, 0x97),
    "euc_jp": ("euc_jp", 0xA1, 0xCF),
    "cp949": ("euc_kr", 0xB0, 0xC8),
}
OTHERS = "gb18030 big5 cp932 euc_jp cp949 cp1251 koi8_r cp866 cp1253 cp1255 cp1256 cp874".split()
# Of a Latin text, the fraction of characters beyond ASCII that its language has; a lead that decides.
ENOUGH_LETTERS, LEAD = 0.9, 0.05
# Of a text in Chinese, Japanese or Korean, the fraction of characters that are frequent.
ENOUGH_FREQUENT = 0.6
# Of a Latin text, the fraction of letters beyond ASCII.
MOST_BEYOND_ASCII = 0.4
# charset-normalizer's measure of disorder, and of likeness to a language.
MOST_CHAOS, LEAD_IN_COHERENCE = 0.1, 0.1
# Other scripts stand next to Latin letters now and then; a wrong reading of Latin text has them inside words.
MOST_INSIDE_WORDS = 0.3


def marked_encoding(raw: IO[bytes]) -> str | None:
    """The encoding that a byte order mark at the beginning of a file names, if it has one."""
    start = raw.peek(4)  # type: ignore[attr-defined]
    return next((encoding for mark, encoding in MARKS if start.startswith(mark)), None)


def is_encoding(name: str) -> bool:
    """Whether there is a text encoding of this name."""
    try:
        return bool(codecs.lookup(name)._is_text_encoding)
    except (LookupError, ValueError):  # unknown, or no name at all
        return False


def explain_encoding(error: UnicodeDecodeError) -> str:
    """The end of a message about a file that cannot be decoded."""
    return f"the file is not {error.encoding} ({error.reason}); {OTHER_ENCODING}"


def find_encoding(path: Path, requested: str | None, names: Collection[str] = ()) -> tuple[str, str]:
    """Find the encoding of a file.

    A file that is UTF-8 and not only ASCII is not read otherwise, since no longer text looks like UTF-8 by chance.

    Args:
        path: of the file, which may be gzip.
        requested: the encoding of a file that is not UTF-8; None: detected.
        names: of columns, which the beginning of the file should have; they decide where the texts do not.

    Returns:
        The encoding, and a note for the user where it is another than UTF-8.

    Raises:
        FormatError: none fits, two fit about equally well, or the file has other bytes too.
    """
    with open_bytes(path) as raw:
        if marked := marked_encoding(raw):
            return marked, ""
        first, sample, is_utf8, is_ascii = raw.peek(SAMPLE_BYTES)[:SAMPLE_BYTES], bytearray(), True, True  # type: ignore[attr-defined]
        decoder, line, has_escapes = codecs.getincrementaldecoder("utf-8")(), 1, False
        for block in _blocks(raw):
            is_ascii = is_ascii and block.isascii()
            has_escapes = has_escapes or bool(re.search(rb"\x1b[$(]", block))
            for part in WITH_FOREIGN_BYTES.finditer(block) if not is_ascii else ():
                if len(sample) > SAMPLE_BYTES:
                    break
                sample += part[0] + b"\n"
            try:
                line += decoder.decode(block).count("\n")
            except UnicodeDecodeError as error:
                is_utf8 = False
                line += error.object[: error.start].count(b"\n")
                break
    if is_ascii and not requested and has_escapes:
        raise FormatError(
            "it has the escape sequences of ISO-2022-JP or a similar encoding; name it (data.encoding=iso2022_jp; for "
            "trickbook predict --encoding=iso2022_jp), or convert the file to UTF-8."
        )
    if is_utf8 and requested in FREQUENT and _may_be_chance(bytes(sample)):
        is_utf8 = is_ascii
    if is_utf8 and not is_ascii:
        return "utf-8", ""
    named = _with_names(first, names)
    if requested and codecs.lookup(requested).name == "utf-8":
        if len(named) == 1:
            raise FormatError(f"line {line} is not UTF-8, but {named[0]}; leave out the encoding, which is detected.")
        return "utf-8", ""
    encoding = requested or _wide_encoding(first, is_utf8)
    if encoding is None:
        if is_utf8 or _is_mostly_utf8(bytes(sample)):
            return "utf-8", ""
        fitting = named if len(named) == 1 else _detect(bytes(sample))
        if not fitting and sample.count(b"\n") <= FEW_LINES:
            return "utf-8", ""  # damaged in a few places
        if len(fitting) != 1:
            fit = f"both {fitting[0]} and {fitting[1]} fit" if fitting else "no other encoding fits"
            one = fitting[0] if fitting else "cp1252"
            raise FormatError(
                f"line {line} is not UTF-8, and {fit}; name the right encoding (data.encoding={one}; for trickbook "
                f"predict --encoding={one}), or convert the file to UTF-8."
            )
        encoding = fitting[0]
    _check(path, encoding)
    return encoding, f"{path.name} is read as {encoding.upper()}."


def _blocks(raw: IO[bytes]) -> Iterator[bytes]:
    """Read blocks that end with a line, where the file has lines."""
    rest = b""
    while block := raw.read(BYTES_AT_ONCE):
        cut = block.rfind(b"\n") + 1 or len(block)
        yield rest + block[:cut]
        rest = block[cut:]
    yield rest


def _wide_encoding(start: bytes, is_utf8: bool) -> str | None:
    """UTF-16 without its mark: read in the right order of bytes, it has line ends and separators of ASCII."""
    # ASCII text may hold a few zeros.
    if start.count(0) < (len(start) * 0.3 if is_utf8 else 2):
        return None
    counts = {}
    for encoding in ("utf-16-le", "utf-16-be"):
        text = start[: len(start) // 2 * 2].decode(encoding, "replace")
        counts[sum(map(text.count, '\n\r\t,"'))] = encoding
    return counts[max(counts)] if len(counts) > 1 and min(counts) < max(counts) / 10 else None


def _with_names(start: bytes, names: Collection[str]) -> list[str]:
    """The encodings in which the beginning of a file has the names of its columns, where these are not ASCII."""
    foreign = [name for name in names if not name.isascii()]
    if not foreign or all(name.encode() in start for name in foreign):
        return []
    encodings = [*ALPHABETS, *OTHERS]
    return [each for each in encodings if all(name in start.decode(each, "replace") for name in foreign)]


def _is_mostly_utf8(sample: bytes) -> bool:
    """Whether a few bytes are damaged in a text that is UTF-8."""
    text = sample.decode("utf-8", "surrogateescape")
    bad = len(re.findall(r"[\udc80-\udcff]", text))
    return sum(not character.isascii() for character in text) - bad > bad


def _detect(sample: bytes) -> list[str]:
    """Detect encodings other than UTF-8: the one that fits best, or two that fit about equally well, or none."""
    # Encodings that give the same text are one. A better fit is a larger number.
    fits: dict[str, tuple[float, str]] = {}
    for encoding in ALPHABETS:
        try:
            text = sample.decode(encoding)
        except UnicodeDecodeError:
            continue
        if text not in fits and (fit := _latin_fit(text, encoding)) >= ENOUGH_LETTERS:
            fits[text] = (fit, encoding)
    lead = LEAD
    if not fits:
        lead = LEAD_IN_COHERENCE
        for match in from_bytes(sample, cp_isolation=OTHERS, threshold=MOST_CHAOS):
            text = sample.decode(match.encoding)
            if match.encoding in OTHERS and _can_be(text, match.encoding):
                fits[text] = (match.coherence - match.chaos, match.encoding)
    ranked = sorted(fits.values(), key=itemgetter(0), reverse=True)
    is_clear = len(ranked) < 2 or ranked[0][0] - ranked[1][0] >= lead
    return [encoding for _, encoding in ranked[: 1 if is_clear else 2]]


def _may_be_chance(sample: bytes) -> bool:
    """Whether a text is UTF-8 only because few pairs of bytes happen to be; 元 in GBK is one."""
    foreign = set(re.findall(r"[^\x00-\x7f]", sample.decode("utf-8", "ignore")))
    return len(foreign) <= FEW_CHARACTERS and all(character < "\u0800" for character in foreign)


def _latin_fit(text: str, encoding: str) -> float:
    """The fraction of characters beyond ASCII that are those of one language, and stand where they may."""
    languages, signs = ALPHABETS[encoding]
    beyond = sum(map(str.isalpha, re.findall(r"[^\x00-\x7f]", text)))
    is_latin = beyond <= MOST_BEYOND_ASCII * sum(map(str.isalpha, text))
    # No text has control characters beyond ASCII, and no language of the West has three such letters in a row.
    if not is_latin or re.search(r"[\x80-\x84\x86-\x9f]|[€£©®™°§´·×±]{2}", text):
        return 0.0
    if languages is WESTERN and LETTERS_IN_A_ROW.search(text):
        return 0.0
    letters, good_signs, total = list[str](), 0, 0
    for match in re.finditer(r"[^\x00-\x7f]", text):
        character, before, after = (
            match[0],
            text[match.start() - 1 : match.start()],
            text[match.end() : match.end() + 1],
        )
        total += 1
        if character in signs:
            good_signs += _may_stand(character, before, after)
        elif not (character.isupper() and (before.islower() or not after.isascii())):
            letters.append(character.lower())
    best = max(sum(letter in language for letter in letters) for language in languages)
    return (best + good_signs) / max(1, total)


def _may_stand(sign: str, before: str, after: str) -> bool:
    """Whether a sign may stand between two characters of a Latin text."""
    if sign in "¡¿":
        return after.isalpha() and not before.isalpha()
    if sign in "×±" and before.isalpha():
        return False
    # Only an apostrophe stands inside a word. Signs of other scripts seem to begin with these two.
    return (sign in "’´" or not (before.isalpha() and after.isalpha())) and before not in ("¡", "¿")


def _can_be(text: str, encoding: str) -> bool:
    """Whether characters beyond ASCII stand between words, and those of Eastern Asia are mostly frequent ones."""
    foreign = re.findall(r"[^\x00-\x7f]", text)
    next_to_letters = re.findall(r"(?<=[A-Za-z])[^\x00-\x7f]|[^\x00-\x7f](?=[A-Za-z])", text)
    between_letters = re.findall(r"(?<=[A-Za-z])[^\x00-\x7f’](?=[A-Za-z])", text)
    # Signs may stand next to a word, but not inside it.
    inside = max(sum(map(str.isalpha, next_to_letters)), len(between_letters))
    if inside > MOST_INSIDE_WORDS * len(foreign):
        return False
    if encoding not in FREQUENT:
        return _has_words(text)
    if len(set(foreign)) < FEW_CHARACTERS and sum(_decodes(text.encode(encoding), other) for other in FREQUENT) > 1:
        return False
    charset, first, last = FREQUENT[encoding]
    leads = [character.encode(charset, "ignore")[:1] for character in foreign]
    frequent = [lead for lead in leads if bytes([first]) <= lead <= bytes([last])]
    return len(frequent) >= ENOUGH_FREQUENT * len(foreign)


def _has_words(text: str) -> bool:
    """Whether letters beyond ASCII form words of their own script, in which no capital follows a small letter."""
    words = re.findall(r"[^\W\d_]+", text)
    foreign = [word for word in words if not word.isascii()]
    good = [
        word
        for word in foreign
        if not re.search(r"[A-Za-z]", word)
        and not any(one.islower() and other.isupper() for one, other in pairwise(word))
    ]
    letters = sum(map(len, good))
    beyond = len(re.findall(r"[^\x00-\x7f]", text))
    return letters >= 2 * len(good) and len(good) >= 0.9 * len(foreign) and letters >= 0.6 * beyond


def _decodes(sample: bytes, encoding: str) -> bool:
    try:
        sample.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _check(path: Path, encoding: str) -> None:
    """Check that all of a file can be decoded.

    Raises:
        FormatError: it has other bytes; with the line.
    """
    decoder, line = codecs.getincrementaldecoder(encoding)(), 1
    with open_bytes(path) as raw:
        for block in _blocks(raw):
            try:
                line += decoder.decode(block).count("\n")
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                byte = error.object[error.start]
                raise FormatError(f"line {line} is not {encoding} (byte 0x{byte:02X}); {OTHER_ENCODING}") from None
