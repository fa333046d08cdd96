"""The encoding of a file."""

import codecs
import io

import pytest

from recipes.data.encodings import find_encoding, is_encoding, marked_encoding
from recipes.data.formats import FormatError
from tests.recipes.data.helpers import Write


@pytest.mark.parametrize(
    ("start", "encoding"),
    [
        (b"", None),
        (b"a,b", None),
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE + b"a\0", "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
    ],
)
def test_a_byte_order_mark_names_the_encoding(start: bytes, encoding: str | None) -> None:
    assert marked_encoding(io.BufferedReader(io.BytesIO(start))) == encoding  # type: ignore[arg-type]


FRENCH = "Le film était très décevant.|Où est ma commande ?|J'ai adoré l'hôtel, ça change.|Une œuvre déjà géniale."
GERMAN = "Größe stimmt überhaupt nicht.|Das Frühstück war großartig.|Schöner Film für Anfänger, sehr verständlich."
POLISH = (
    "Książka mnie rozczarowała, szkoda pieniędzy.|Żółta łódź płynęła rzeką.|Jestem zadowolony, ale zimne śniadanie."
)
RUSSIAN = "Фильм оказался скучным и слишком длинным.|Доставка опоздала на три недели.|Всё пришло вовремя, спасибо."
JAPANESE = "この映画はとても面白かったです。|配送が三週間も遅れました。|もう二度と買いません。"
KOREAN = "이 영화는 정말 재미있었어요.|배송이 삼 주나 늦어졌습니다.|다시는 사지 않겠습니다."
TRADITIONAL = "這部電影非常好看，強烈推薦給大家。|飯店的房間太小，而且很髒。|物超所值，下次還會再來。"
SIMPLIFIED = "这部电影非常好看，强烈推荐给大家。|酒店的房间太小，而且很脏。|物超所值，下次还会再来。"
ENGLISH = "I don’t like it.|It’s “great” – really.|A naïve film, but the café was nice, and so was the piñata."


@pytest.mark.parametrize(
    ("texts", "written", "found"),
    [
        (FRENCH, "cp1252", "cp1252"),
        (FRENCH.replace("œ", "oe"), "latin-1", "cp1252"),
        (GERMAN, "latin-1", "cp1252"),
        (ENGLISH, "cp1252", "cp1252"),
        (POLISH, "cp1250", "cp1250"),
        (POLISH, "iso8859-2", "iso8859_2"),
        (RUSSIAN, "cp1251", "cp1251"),
        (RUSSIAN, "koi8-r", "koi8_r"),
        (JAPANESE, "shift_jis", "cp932"),
        (JAPANESE, "euc-jp", "euc_jp"),
        (KOREAN, "euc-kr", "cp949"),
        (TRADITIONAL, "big5", "big5"),
        (SIMPLIFIED, "gbk", "gb18030"),
        (SIMPLIFIED, "utf-16-le", "utf-16-le"),
        (SIMPLIFIED, "utf-16-be", "utf-16-be"),
        (ENGLISH, "utf-16-le", "utf-16-le"),
    ],
)
def test_the_encoding_of_a_text_is_detected(texts: str, written: str, found: str, write: Write) -> None:
    rows = "text,label\n" + "".join(f'"{text}",{row % 2}\n' for row, text in enumerate(texts.split("|") * 3))
    path = write("a.csv", rows.encode(written))
    assert find_encoding(path, None) == (found, f"a.csv is read as {found.upper()}.")
    assert path.read_bytes().decode(found) == rows


def test_utf_8_is_never_read_otherwise(write: Write) -> None:
    for text in ("text\n中文\n", "text\ncafé\n", "text\na\0b\n"):
        assert find_encoding(write("a.csv", text), None) == ("utf-8", "")
    assert find_encoding(write("a.csv", "text\n中文\n"), "gb18030") == ("utf-8", "")
    assert find_encoding(write("a.csv", "text\nplain\n"), "gb18030")[0] == "gb18030"


def test_a_few_damaged_bytes_do_not_make_another_encoding(write: Write) -> None:
    for content in ("text\n这部电影\n".encode() * 9 + b"caf\xe9\n", b"text\nplain\n" * 99 + b"\xff\xfe\x00\n"):
        assert find_encoding(write("a.csv", content), None) == ("utf-8", "")


def test_an_encoding_that_is_not_clear_is_refused(write: Write) -> None:
    with pytest.raises(FormatError, match=r"^line 2 is not UTF-8, and both cp1252 and cp1250 fit; name the right "):
        find_encoding(write("a.csv", "text\nnaïve résumé\n".encode("latin-1")), None)
    dos = "text\n" + "Mädchen schön\n" * 20
    with pytest.raises(FormatError, match=r"^line 2 is not UTF-8, and no other encoding fits; name the right "):
        find_encoding(write("a.csv", dos.encode("cp850")), None)


def test_signs_of_chinese_are_not_read_as_latin(write: Write) -> None:
    content = "text\n" + "“great” – really\n" * 20
    for encoding in ("gb18030", "big5"):
        try:
            found, _ = find_encoding(write("a.csv", content.encode(encoding, "ignore")), None)
        except FormatError:
            continue
        assert content.encode(encoding, "ignore").decode(found) == content.encode(encoding, "ignore").decode(encoding)


def test_bytes_of_another_encoding_are_refused_with_their_line(write: Write) -> None:
    content = f"text\n{SIMPLIFIED}\n".encode("gb18030") * 19 + b"a\xff,b\n"
    with pytest.raises(FormatError, match=r"^line 39 is not gb18030 \(byte 0xFF\); name another "):
        find_encoding(write("a.csv", content), "gb18030")
    with pytest.raises(FormatError, match="^line 2 is not UTF-8, and no other encoding fits; "):
        find_encoding(write("a.csv", content), None)


def test_names_of_encodings() -> None:
    assert is_encoding("GB18030") and is_encoding("utf_8")
    assert not is_encoding("utf-7000") and not is_encoding("base64")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("I like it, 12345 хорошо", "cp1251"),
        ("a good one, חיובי", "cp1255"),
        ("It’s “good” – café £5 ½", "cp1252"),
        ("very good 非常", "big5"),
        ("12345,正面", "gbk"),
        ("いい", "euc_jp"),
    ],
)
def test_a_few_characters_are_never_read_in_silence_as_others(text: str, encoding: str, write: Write) -> None:
    path = write("a.csv", b"text,label\n" + b"".join(f"{text} {row},a\n".encode(encoding) for row in range(40)))
    try:
        found, _ = find_encoding(path, None)
    except FormatError:
        return
    assert path.read_bytes().decode(found) == path.read_bytes().decode(encoding)


def test_a_requested_encoding_wins_where_utf8_may_be_chance(write: Write) -> None:
    path = write("a.csv", "text,label\nprice 100元,a\n".encode("gbk"))
    assert find_encoding(path, "gb18030")[0] == "gb18030"
    assert find_encoding(write("b.csv", "text,label\n非常好,a\n".encode()), "gb18030")[0] == "utf-8"


def test_escape_sequences_are_refused(write: Write) -> None:
    path = write("a.csv", "text,label\nいい,a\n".encode("iso2022_jp"))
    with pytest.raises(FormatError, match="escape sequences of ISO-2022-JP"):
        find_encoding(path, None)
    assert find_encoding(path, "iso2022_jp")[0] == "iso2022_jp"


def test_names_of_columns_decide_where_texts_do_not(write: Write) -> None:
    path = write("a.csv", "评论\n房间很干净，服务也好\n太差了！再也不来\n".encode("gbk"))
    with pytest.raises(FormatError, match="^line 1 is not UTF-8, and both gb18030 and cp949 fit; "):
        find_encoding(path, None)
    assert find_encoding(path, None, ["评论", "label"]) == ("gb18030", "a.csv is read as GB18030.")
    with pytest.raises(FormatError, match="^line 1 is not UTF-8, and both gb18030 and cp949 fit; "):
        find_encoding(path, None, ["内容"])
    korean = write("b.csv", "감상,label\n정말 좋다,a\n".encode("cp949"))
    assert find_encoding(korean, None, ["감상", "label"])[0] == "cp949"
    assert find_encoding(write("c.csv", "评论,情感\n好,正\n".encode()), None, ["评论"]) == ("utf-8", "")


def test_utf_8_is_not_taken_for_another_encoding_by_request(write: Write) -> None:
    path = write("a.csv", "评论,情感\n太差了,负面\n".encode("gbk"))
    with pytest.raises(FormatError, match="^line 1 is not UTF-8, but gb18030; leave out the encoding, which is detect"):
        find_encoding(path, "UTF-8", ["评论"])
