"""Words of like meaning: from WordNet, from a user's file, or from a model's own word vectors.

Each source becomes one plain dictionary, lower-case word -> synonyms, the best ones first.
"""

import functools
import hashlib
import os
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from recipes.errors import UserError, unreadable
from recipes.toolkit.words import has_han, is_content

Synonyms = Mapping[str, Sequence[str]]

# WordNet's late senses are rare ones: "film" ends as a cinematic pellicle.
MOST = 8
PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
# Cilin's code of a line whose words mean the same; "#" is a line of related words, "@" one of a lone word.
SAME, OTHER = re.compile(r"[A-Z][a-z]\d\d[A-Z]\d\d=$"), re.compile(r"[A-Z][a-z]\d\d[A-Z]\d\d[#@]$")
NEIGHBOURS, NEAR = 5, 0.5
CHUNK = 1024


# WordNet.


def find_wordnet() -> Path | None:
    """The first WordNet database of this machine, where its own programs, NLTK and Debian keep it."""
    named = [Path(place) for place in os.environ.get("NLTK_DATA", "").split(os.pathsep) if place]
    share = [Path(place) for place in (sys.prefix, f"{sys.prefix}/share", "/usr/share", "/usr/local/share")]
    nltk = [*named, *(place / "nltk_data" for place in (Path.home(), *share))]
    places = [folder / "corpora" / name for folder in nltk for name in ("wordnet", "wordnet.zip")]
    if "WNSEARCHDIR" in os.environ:
        places.insert(0, Path(os.environ["WNSEARCHDIR"]))
    return next((place for place in (*places, Path("/usr/share/wordnet")) if is_wordnet(place)), None)


def is_wordnet(place: Path) -> bool:
    """Whether a folder, or NLTK's zip file of one, holds a WordNet database."""
    return place.suffix == ".zip" and place.is_file() or (place / "index.noun").is_file()


@functools.cache
def read_wordnet(place: Path) -> Synonyms:
    """Lemmas and the others of their synsets, the first senses of all parts of speech first.

    Args:
        place: a folder with index.* and data.*, or a zip file of one.

    Raises:
        UserError: it is none.
    """
    # Tuples of strings cost the garbage collector nothing; with lists this took a quarter longer.
    senses: dict[str, list[tuple[tuple[str, ...], ...]]] = {}
    try:
        for part in PARTS_OF_SPEECH:
            synsets = dict(_synsets(_lines(place, f"data.{part}")))
            for lemma, offsets in _index(_lines(place, f"index.{part}")):
                senses.setdefault(lemma, []).append(tuple([synsets[offset] for offset in offsets]))
    except OSError as error:
        raise unreadable(error.filename or str(place), error) from error
    except (KeyError, ValueError, IndexError, zipfile.BadZipFile) as error:
        raise UserError(f"{place}: this is no whole WordNet database ({type(error).__name__}: {error}).") from error
    found = {}
    for lemma, parts in senses.items():
        ranks = chain.from_iterable(zip_longest(*parts, fillvalue=()))
        if others := _others(lemma, chain.from_iterable(ranks), MOST):
            found[lemma] = others
    return found


def _lines(place: Path, name: str) -> Iterator[str]:
    """The lines of a database file, without the licence at its head, whose lines begin with spaces."""
    if place.suffix == ".zip":
        with zipfile.ZipFile(place) as archive:
            text = archive.read(f"{place.stem}/{name}").decode()
    else:
        text = (place / name).read_text(encoding="utf-8")
    return (line for line in text.splitlines() if line and line[0] != " ")


def _synsets(lines: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Offset and words: `offset file type count word id word id ...`, the count in base 16."""
    for line in lines:
        offset, _, _, count, rest = line.split(" ", 4)
        words = rest.split(" ", 2 * int(count, 16))[: 2 * int(count, 16) : 2]
        # An adjective may say where it stands: "out(p)".
        yield offset, tuple([word.partition("(")[0].replace("_", " ") for word in words])


def _index(lines: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Lemma and its synsets' offsets: `lemma type count pointers pointer ... senses tagged offset ...`."""
    for line in lines:
        fields = line.split()
        yield fields[0].replace("_", " "), fields[-int(fields[2]) :]


def _others(word: str, synonyms: Iterable[str], most: int | None = None) -> tuple[str, ...]:
    """The synonyms that are other words, each once."""
    distinct: dict[str, str] = {}
    for other in synonyms:
        distinct.setdefault(other.lower(), other)
    distinct.pop(word, None)
    return tuple(distinct.values())[:most]


# A user's file.


def read_file(path: Path) -> Synonyms:
    """A file of the user's: `word<TAB>synonym<TAB>synonym...`, or lines of Cilin (`Aa01A01= 人 士 人物`).

    Raises:
        UserError: there is no such file, it is not UTF-8, or has no line of that kind.
    """
    found: dict[str, list[str]] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise unreadable(str(path), error) from error
    except UnicodeDecodeError as error:
        name = path.name
        raise UserError(f"{path} is not UTF-8; convert it: iconv -f GB18030 -t UTF-8 {name} > utf8-{name}.") from error
    for number, line in enumerate(lines, 1):
        code, *words = line.split() or [""]
        if SAME.match(code):
            for word in words:
                found.setdefault(word.lower(), []).extend(words)
        elif code and not OTHER.match(code):
            word, *synonyms = [field.strip() for field in line.split("\t")]
            if not word or not any(synonyms):
                raise UserError(
                    f"{path}, line {number}: {line!r} is neither word<TAB>synonym<TAB>synonym... nor a line of Cilin "
                    "such as: Aa01A01= 人 士 人物"
                )
            found.setdefault(word.lower(), []).extend(filter(None, synonyms))
    kept = {word: others for word, synonyms in found.items() if (others := _others(word, synonyms))}
    if not kept:
        raise UserError(f"{path} holds no synonyms; a line is word<TAB>synonym<TAB>synonym...")
    return kept


# A model's own word vectors.


def from_embeddings(weight: Tensor, tokenizer: PreTrainedTokenizerBase, words: Iterable[str]) -> Synonyms:
    """The nearest whole words by cosine, of those words that the vocabulary holds whole.

    Args:
        weight: the word vectors, (token, hidden).
        tokenizer: whose vocabulary they belong to.
        words: those that are asked for.
    """
    tokens = whole_words(tokenizer)
    known = list(tokens)
    place = {word: number for number, word in enumerate(known)}
    asked = sorted({word for word in words if word in place})
    vectors = weight.detach().float().cpu()[list(tokens.values())]
    vectors = torch.nn.functional.normalize(vectors - vectors.mean(0), dim=1)
    found = {}
    for begin in range(0, len(asked), CHUNK):
        chunk = asked[begin : begin + CHUNK]
        rows = torch.tensor([place[word] for word in chunk])
        cosines = vectors[rows] @ vectors.T
        cosines[torch.arange(len(chunk)), rows] = -1.0
        values, columns = cosines.topk(min(NEIGHBOURS, len(known)))
        for word, near, others in zip(chunk, (values >= NEAR).tolist(), columns.tolist(), strict=True):
            if any(near):
                found[word] = [known[other] for other, is_near in zip(others, near, strict=True) if is_near]
    return found


def whole_words(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The tokens that are words, in lower case, and their ids: no pieces of words, no stop words, nothing special.

    A word's first token is marked by SentencePiece (▁) and by byte-level BPE (Ġ), the others by WordPiece (##). In
    Chinese, which has no spaces, a token without a mark is a word too.
    """
    special = set(tokenizer.all_special_tokens)
    vocabulary = {token: number for token, number in tokenizer.get_vocab().items() if token not in special}
    marks = [mark for mark in "▁Ġ" if sum(token.startswith(mark) for token in vocabulary) > len(vocabulary) / 20]
    found: dict[str, int] = {}
    for token, number in sorted(vocabulary.items(), key=lambda item: item[1]):
        word = token[1:] if marks and token[0] == marks[0] else token
        if not word.isalpha() or (marks == ["Ġ"] and not word.isascii()):
            continue
        if word is not token or not marks or has_han(word):
            if is_content(word):
                found.setdefault(word.lower(), number)
    return found


def digest(synonyms: Synonyms) -> str:
    """A name for a dictionary that changes with its content."""
    found = hashlib.blake2b(digest_size=8)
    for word, others in synonyms.items():
        found.update("\t".join((word, *others, "\n")).encode())
    return found.hexdigest()
