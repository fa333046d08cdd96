"""Split a text into words and the gaps between them, to change words and nothing else.

English words are runs of letters; Chinese words are cut by jieba. Everything else is a gap: spaces, punctuation and
emoji, and also URLs, e-mail addresses, @names, #tags, markup, numbers and emoticons, which must not be changed.
"""

import contextlib
import functools
import logging
import re
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

from recipes.data.cache import cache_folder
from recipes.errors import UserError

HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Combining accents, and Indic and Thai vowel signs, which are part of a word.
MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0dff\u0e31-\u0e4e"
LETTER, CHARACTER = rf"[^\W\d_{HAN}]", rf"(?:[^\W_{HAN}]|[{MARKS}])"
URL_END = rf"[^\s<>\"“”{HAN}，。！？；：、（）《》]"
# Chinese measure words after a number, which belong to it.
UNIT = "[百千万亿]*(?:平方?米|公里|公斤|小时|分钟|[美欧日]元|[年月日号点时分秒个名位人岁折元米吨层届度倍次种款台块])?"

HAS_HAN = re.compile(f"[{HAN}]")
TOKENS = re.compile(
    rf"""
    (?P<fixed>
        (?i:https?://|www\.){URL_END}+
      | [a-zA-Z0-9._+-]++@[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)+
      | (?:[a-zA-Z0-9-]++\.)+(?:com|org|net|edu|gov|io|cn|uk|de|fr|co)(?!{CHARACTER}|-)(?:/{URL_END}*)?
      | \#[^\#\s]{{1,40}}\#                         # a topic of Weibo
      | [@\#]\w+(?:-\w+)*
      | </?[a-zA-Z][^<>]*> | &\#?\w+;               # markup
      | \d{CHARACTER}*(?:[-.,:/'’]\d{CHARACTER}*|-{CHARACTER}+)*{UNIT}   # 1,000.5, 3rd, 10:30, 3-year-old, 5月
      | (?<!\w)(?:[:;=][-'^o]?[dDpPoO](?!\w)|[oO][:;=]-?\))   # an emoticon: :D, O:-)
    )
  | (?P<han>[{HAN}]+)
  | (?P<word>
        (?<!\S)['’](?i:s|m|d|re|ve|ll|em|tis|twas)(?!{CHARACTER}) # as treebanks cut "it 's"
      | {LETTER}(?:\.{LETTER})+(?!{CHARACTER})\.?                # U.S.
      | {LETTER}{CHARACTER}*(?:['’-]{CHARACTER}+)*
    )
    """,
    re.VERBOSE,
)
OPENING, CLOSING = frozenset("([{<\"'“‘«¿¡"), frozenset(")]}>\"'”’».,;:!?%…")


class Words(NamedTuple):
    """A text as gap, word, gap, word, ..., gap."""

    words: list[str]
    gaps: list[str]
    """Before, between and after the words: one more than there are words."""
    spaced: bool
    """Whether words are separated by spaces; False if some are Chinese."""


def split(text: str, language: str = "auto") -> Words:
    """Cut a text into words and gaps.

    Args:
        text: any text.
        language: `en` treats Chinese characters as gaps, `zh` everything else; `auto` finds words of both.

    Raises:
        UserError: the text has Chinese words, and jieba is not installed.
    """
    words: list[str] = []
    gaps: list[str] = []
    end = 0
    spaced = True
    for match in TOKENS.finditer(text):
        kind = match.lastgroup
        if kind == "word" and language != "zh":
            gaps.append(text[end : match.start()])
            words.append(match[0])
            end = match.end()
        elif kind == "han" and language != "en":
            spaced = False
            cut = chinese_cutter()(match[0])
            gaps += [text[end : match.start()], *[""] * (len(cut) - 1)]
            words += cut
            end = match.end()
    gaps.append(text[end:])
    return Words(words, gaps, spaced)


def join(words: Sequence[str], gaps: Sequence[str], spaced: bool) -> str:
    """Join words and gaps; if not spaced, put a space only where two non-Chinese words would run together."""
    parts = [""] * (2 * len(words) + 1)
    parts[::2] = gaps
    parts[1::2] = words
    if spaced:
        return "".join(parts)
    text = ""
    for part in parts:
        text += f" {part}" if text and part and _fuse(text[-1], part[0]) else part
    return text


def has_han(text: str) -> bool:
    """Whether a text has a Chinese character."""
    return HAS_HAN.search(text) is not None


def _fuse(before: str, after: str) -> bool:
    return before.isalnum() and after.isalnum() and not has_han(before + after)


def merge_gaps(before: str, after: str, first: bool) -> str:
    """Merge the gaps around a deleted word; one of the spaces around it goes too.

    Args:
        before: the gap before the word.
        after: the gap after the word.
        first: whether it is the first word of the text.
    """
    if after[:1] == " " and (before[-1:].isspace() or before[-1:] in OPENING or (first and not before)):
        return before + after[1:]
    if before[-1:] == " " and (not after or after[0].isspace() or after[0] in CLOSING):
        return before[:-1] + after
    return before + after


def match_case(new: str, old: str) -> str:
    """Give a word the case of the word that it replaces: upper case, capitalized or lower case."""
    if old.islower():
        return new.lower()
    if old.isupper() and len(old) > 1:
        return new.upper() if new.islower() else new
    return new[:1].upper() + new[1:] if old[:1].isupper() else new


def is_content(word: str) -> bool:
    """Whether a word can have synonyms: it is neither a stop word nor a single letter."""
    return word.lower().replace("’", "'") not in STOP_WORDS and (len(word) > 1 or has_han(word))


@functools.cache
def chinese_cutter() -> Callable[[str], list[str]]:
    """The function that cuts a run of Chinese characters into words.

    Raises:
        UserError: jieba is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # jieba uses old syntax
            import jieba
    except ImportError as error:
        raise UserError(
            "Chinese text is cut into words by the package jieba, which is missing: pip install 'trickbook[chinese]'."
        ) from error
    jieba.setLogLevel(logging.WARNING)
    # Its own place is the folder of temporary files, where the cache may be another user's: then it prints a traceback.
    with contextlib.suppress(OSError):
        cache_folder().mkdir(parents=True, exist_ok=True)
        jieba.dt.tmp_dir = str(cache_folder())
    cut: Callable[[str], list[str]] = jieba.lcut
    return cut


# Function words: replacing one breaks the sentence or reverses its meaning.
STOP_WORDS = frozenset(
    """
    a an the this that these those such some any each every either neither both all none another other others
    i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers
    herself it its itself they them their theirs themselves one ones oneself who whom whose which what whatever whoever
    someone somebody something anyone anybody anything everyone everybody everything nobody nothing there here
    am is are was were be been being do does did doing done have has had having will would shall should can could may
    might must ought need dare used let
    not no nor never n't cannot don't doesn't didn't isn't aren't wasn't weren't haven't hasn't hadn't won't wouldn't
    shan't shouldn't can't couldn't mightn't mustn't needn't ain't ca wo sha ai don doesn didn isn aren wasn weren haven
    hasn hadn wouldn shouldn couldn
    's 'm 'd 're 've 'll 'em s t m d re ve ll nt i'm you're he's she's it's we're they're that's there's what's who's
    i've you've we've they've i'd you'd he'd she'd we'd they'd i'll you'll he'll she'll it'll we'll they'll let's
    dont doesnt didnt isnt arent wasnt werent cant wont couldnt wouldnt shouldnt im ive youre theyre thats
    in on at by for from of off to into onto upon out over under above below up down with within without about against
    across after before behind beneath beside besides between beyond despite during except inside like near outside
    per since through throughout till toward towards until unlike via than as amid among around along
    and or but if then else so yet because although though while whereas unless whether when whenever where wherever
    why how however therefore thus hence also too very just only even still again once ever more most less least much
    many few fewer little several own same quite rather almost already now well oh ok
    mr mrs ms dr vs etc e.g. i.e. e.g i.e
    的 地 得 了 着 过 吗 呢 吧 啊 呀 哦 嘛 啦 么 哇 哈 嗯 唉 哎 之 所 者 们 第
    我 你 您 他 她 它 我们 你们 他们 她们 它们 咱 咱们 自己 人家 大家 别人
    谁 某 各 每 该 本 此 其 这 那 哪
    这个 那个 哪个 这些 那些 哪些 这样 那样 怎样
    这么 那么 怎么 什么 为什么 如何 这里 那里 哪里 这儿 那儿 这种 那种
    是 有 在 为 被 把 将 使 让 给 叫 对 对于 关于 由 由于 从 自 向 往 到
    于 以 用 跟 和 与 同 及 以及 或 或者 还是 并
    并且 而 而且 但 但是 可 可是 却 不过 然而 虽 虽然 尽管 即使 如果 要是
    若 只要 只有 因为 因此 所以 于是
    既 既然 无论 不管 除 除了
    按 按照 根据 通过 随着 比 当 就 才 又 也 都 还 再 更 最 很 太 非常 十分 挺 较 比较 更加 已 已经
    曾 曾经 正在 正 刚 刚刚
    没 没有 无 不 不是 别 未 勿 莫 非 会 能 能够 可以 可能 应 应该 应当 必须 得 要 想 肯 敢 需 需要
    个 只 条 件 位 名 张 次 种 些 一些 一个 一种 一样 一下 一点 有点 有些 几 多 少 多少
    两 一 二 三 四 五 六 七 八 九 十 百 千 万 亿 来 去 起来 出来 下来 上去 下去
    上 下 里 中 内 外 前 后 间 时 时候 之后 之前 以后 以前 之间 之中 等 等等
    """.split()
)
