"""Synonyms from WordNet, from a user's file, or from a model's word vectors.

Each source becomes a dictionary from a word in lower case to its synonyms, the best ones first.
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

# The last senses in WordNet are rare ones, so a word gets at most this many synonyms.
MOST = 8
PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
# Codes of Cilin: "=" marks a line of synonyms, "#" a line of related words, "@" a single word.
SAME_MEANING, OTHER_LINE = re.compile(r"[A-Z][a-z]\d\d[A-Z]\d\d=$"), re.compile(r"[A-Z][a-z]\d\d[A-Z]\d\d[#@]$")
NEIGHBOURS, NEAR = 5, 0.5
GET_WORDNET = "`apt-get install wordnet-base` or `python -m nltk.downloader wordnet`"
CHUNK = 1024


# WordNet.


def find_wordnet() -> Path | None:
    """Find the first WordNet database where WordNet itself, NLTK and Debian install it."""
    nltk_folders = [Path(path) for path in os.environ.get("NLTK_DATA", "").split(os.pathsep) if path]
    prefixes = [Path(path) for path in (sys.prefix, f"{sys.prefix}/share", "/usr/share", "/usr/local/share")]
    nltk = [*nltk_folders, *(path / "nltk_data" for path in (Path.home(), *prefixes))]
    paths = [folder / "corpora" / name for folder in nltk for name in ("wordnet", "wordnet.zip")]
    if "WNSEARCHDIR" in os.environ:
        paths.insert(0, Path(os.environ["WNSEARCHDIR"]))
    return next((path for path in (*paths, Path("/usr/share/wordnet")) if is_wordnet(path)), None)


def is_wordnet(path: Path) -> bool:
    """Whether a folder, or a zip file of NLTK, contains a WordNet database."""
    return path.suffix == ".zip" and path.is_file() or (path / "index.noun").is_file()


@functools.cache
def read_wordnet(path: Path) -> Synonyms:
    """Read the synonyms of each lemma; the first senses of all parts of speech come first.

    Args:
        path: a folder with index.* and data.*, or a zip file of one.

    Raises:
        UserError: the database is missing or damaged.
    """
    # Tuples of strings are not tracked by the garbage collector; lists made this a quarter slower.
    senses: dict[str, list[tuple[tuple[str, ...], ...]]] = {}
    try:
        for part in PARTS_OF_SPEECH:
            synsets = dict(_synsets(_lines(path, f"data.{part}")))
            for lemma, offsets in _index(_lines(path, f"index.{part}")):
                senses.setdefault(lemma, []).append(tuple([synsets[offset] for offset in offsets]))
    except OSError as error:
        raise unreadable(error.filename or str(path), error) from error
    except (KeyError, ValueError, IndexError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: this is not a complete WordNet database ({type(error).__name__}: {error}). Get it again: "
            f"{GET_WORDNET}."
        ) from error
    synonyms = {}
    for lemma, parts in senses.items():
        ranks = chain.from_iterable(zip_longest(*parts, fillvalue=()))
        if others := _others(lemma, chain.from_iterable(ranks), MOST):
            synonyms[lemma] = others
    return synonyms


def _lines(path: Path, name: str) -> Iterator[str]:
    """The lines of a database file, without the licence at its top, whose lines begin with spaces."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            text = archive.read(f"{path.stem}/{name}").decode()
    else:
        text = (path / name).read_text(encoding="utf-8")
    return (line for line in text.splitlines() if line and line[0] != " ")


def _synsets(lines: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Parse offset and words from `offset file type count word id word id ...`, with the count in base 16."""
    for line in lines:
        offset, _, _, count, rest = line.split(" ", 4)
        words = rest.split(" ", 2 * int(count, 16))[: 2 * int(count, 16) : 2]
        # An adjective may have a syntactic marker: "out(p)".
        yield offset, tuple([word.partition("(")[0].replace("_", " ") for word in words])


def _index(lines: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Parse a lemma and its synsets' offsets: `lemma type count pointers pointer ... senses tagged offset ...`."""
    for line in lines:
        fields = line.split()
        yield fields[0].replace("_", " "), fields[-int(fields[2]) :]


def _others(word: str, synonyms: Iterable[str], most: int | None = None) -> tuple[str, ...]:
    """The synonyms other than the word itself, without duplicates."""
    distinct: dict[str, str] = {}
    for other in synonyms:
        distinct.setdefault(other.lower(), other)
    distinct.pop(word, None)
    return tuple(distinct.values())[:most]


# A user's file.


def read_file(path: Path) -> Synonyms:
    """Read a user's file: `word<TAB>synonym<TAB>synonym...`, or lines of Cilin (`Aa01A01= 人 士 人物`).

    Raises:
        UserError: the file is missing, is not UTF-8, or has a line in another format.
    """
    synonyms_of: dict[str, list[str]] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise unreadable(str(path), error) from error
    except UnicodeDecodeError as error:
        name = path.name
        raise UserError(f"{path} is not UTF-8; convert it: iconv -f GB18030 -t UTF-8 {name} > utf8-{name}.") from error
    for number, line in enumerate(lines, 1):
        code, *words = line.split() or [""]
        if SAME_MEANING.match(code):
            for word in words:
                synonyms_of.setdefault(word.lower(), []).extend(words)
        elif code and not OTHER_LINE.match(code):
            word, *synonyms = [field.strip() for field in line.split("\t")]
            if not word or not any(synonyms):
                raise UserError(
                    f"{path}, line {number}: {line!r} is neither word<TAB>synonym<TAB>synonym... nor a line of Cilin "
                    "such as: Aa01A01= 人 士 人物"
                )
            synonyms_of.setdefault(word.lower(), []).extend(filter(None, synonyms))
    synonyms_by_word = {word: others for word, synonyms in synonyms_of.items() if (others := _others(word, synonyms))}
    if not synonyms_by_word:
        raise UserError(f"{path} contains no synonyms; the format of a line is word<TAB>synonym<TAB>synonym...")
    return synonyms_by_word


# A model's word vectors.


def from_embeddings(weight: Tensor, tokenizer: PreTrainedTokenizerBase, words: Iterable[str]) -> Synonyms:
    """Find the nearest words by cosine, for words that are single tokens of the vocabulary.

    Args:
        weight: the word vectors, (token, hidden).
        tokenizer: the tokenizer of these word vectors.
        words: words to find synonyms for; words that are not a single token are skipped.
    """
    tokens = find_words(tokenizer)
    vocabulary_words = list(tokens)
    index_of = {word: index for index, word in enumerate(vocabulary_words)}
    queries = sorted({word for word in words if word in index_of})
    vectors = weight.detach().float().cpu()[list(tokens.values())]
    vectors = torch.nn.functional.normalize(vectors - vectors.mean(0), dim=1)
    synonyms = {}
    for begin in range(0, len(queries), CHUNK):
        chunk = queries[begin : begin + CHUNK]
        rows = torch.tensor([index_of[word] for word in chunk])
        cosines = vectors[rows] @ vectors.T
        cosines[torch.arange(len(chunk)), rows] = -1.0
        values, columns = cosines.topk(min(NEIGHBOURS, len(vocabulary_words)))
        for word, near, others in zip(chunk, (values >= NEAR).tolist(), columns.tolist(), strict=True):
            if any(near):
                synonyms[word] = [
                    vocabulary_words[other] for other, is_near in zip(others, near, strict=True) if is_near
                ]
    return synonyms


def find_words(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """List the tokens that are words, in lower case, with their ids; no word pieces, stop words or special tokens.

    SentencePiece (▁) and byte-level BPE (Ġ) mark the first token of a word, WordPiece (##) the others. Chinese has no
    spaces, so there a token without a mark is a word too.
    """
    special = set(tokenizer.all_special_tokens)
    vocabulary = {token: number for token, number in tokenizer.get_vocab().items() if token not in special}
    marks = [mark for mark in "▁Ġ" if sum(token.startswith(mark) for token in vocabulary) > len(vocabulary) / 20]
    token_of: dict[str, int] = {}
    for token, number in sorted(vocabulary.items(), key=lambda item: item[1]):
        word = token[1:] if marks and token[0] == marks[0] else token
        if not word.isalpha() or (marks == ["Ġ"] and not word.isascii()):
            continue
        if word is not token or not marks or has_han(word):
            if is_content(word):
                token_of.setdefault(word.lower(), number)
    return token_of


def digest(synonyms: Synonyms) -> str:
    """A hash of the content of a dictionary."""
    state = hashlib.blake2b(digest_size=8)
    for word, others in synonyms.items():
        state.update("\t".join((word, *others, "\n")).encode())
    return state.hexdigest()
