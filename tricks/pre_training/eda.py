"""EDA: add variants of every training row, each with a few words replaced, inserted, swapped or deleted.

A variant has one operation, dealt in turn: `replace` by synonyms, `insert` synonyms of words that are there, `swap` two
words; n = max(1, round(rate * words)) times each; or `delete` each word with a chance of rate. Stop words are neither
replaced nor inserted for. Case, punctuation, emoji, URLs, @names, #tags and numbers stay. No two variants of a text are
alike as long as draws make others; where nothing can change, they are copies. Chinese words are those of jieba.

Source: Wei, Zou 2019, EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification Tasks,
    arXiv 1901.11196. There all is put in lower case and loses its punctuation.
Cost: one pass over `variants` + 1 times the rows an epoch; variants are made once, into the cache. Synonyms by
    embeddings take a product of the texts' words and the vocabulary at every start, WordNet two seconds of reading.
Use when: there are a few hundred rows and the model is small. Avoid when: the encoder is pretrained, unless `duplicate`
    is beaten: Longpre, Wang, DuBois 2020, arXiv 2010.01764, see no consistent gain. Embeddings take opposites for
    synonyms, "bad" for "good": where that turns the label, give WordNet or a file. For Chinese, give a file.
Composes: examples/add, after what drops or rewrites rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import cast

from datasets import Dataset
from torch import Tensor

from recipes import Run, Trick, UserError, allowed
from recipes.models.anatomy import word_embeddings
from recipes.toolkit.augmentation import with_variants
from recipes.toolkit.synonyms import (
    Synonyms,
    digest,
    find_wordnet,
    from_embeddings,
    is_wordnet,
    read_file,
    read_wordnet,
)
from recipes.toolkit.words import has_han, is_content, join, match_case, merge_gaps, split

Operation = Callable[["Sentence", Random], str]

# The paper's table 3: up to so many rows, this rate and so many variants.
ADVISED = ((500, 0.05, 16), (2000, 0.05, 8), (float("inf"), 0.1, 4))
# Where an operation makes what is there already, another draw may not.
TRIES = 4


@dataclass
class Eda(Trick):
    """Add variants of every row."""

    replace: float | None = allowed("[0, 1]")
    """Share of the words that synonyms replace; null: as the paper advises; 0: never."""
    insert: float | None = allowed("[0, 1]")
    """Synonyms put in, as a share of the words."""
    swap: float | None = allowed("[0, 1]")
    """Pairs of words that change places, as a share of the words."""
    delete: float | None = allowed("[0, 1]")
    """Chance of each word to go."""
    variants: int | None = allowed("[0, inf)")
    """Of each row; null: as the paper advises."""
    language: str = allowed("auto | en | zh")
    """Whose words change."""
    source: str = allowed("auto | wordnet | file | embeddings")
    """Of the synonyms."""
    file: str | None = allowed("")
    """With synonyms, or a WordNet folder."""
    workers: int = allowed("[1, inf)")
    """Processes that make variants."""

    slots = {"examples": "add"}
    neutral = {"variants": 0}
    control = "more_rows"

    def __post_init__(self) -> None:
        """Refuse a file that nobody reads, and none where one is to be read."""
        super().__post_init__()
        if self.source == "file" and self.file is None:
            raise ValueError(f"source=file needs the file; set it with tricks.{self.name}.file=<path>.")
        if self.source in ("wordnet", "embeddings") and self.file is not None:
            raise ValueError(f"file={self.file} is not read where source={self.source}; leave out one of the two.")
        if self.source == "wordnet" and self.language == "zh":
            raise ValueError("source=wordnet has no Chinese words, as language=zh wants; take a file or embeddings.")

    def examples(self, run: Run, inner: Callable[[Dataset], Dataset], examples: Dataset) -> Dataset:
        """Add them behind the rows."""
        advised, count = next((rate, count) for most, rate, count in ADVISED if len(examples) <= most)
        settings_by_name = {"replace": self.replace, "insert": self.insert, "swap": self.swap, "delete": self.delete}
        rates = {name: advised if own is None else own for name, own in settings_by_name.items()}
        count = count if self.variants is None else self.variants
        if not count or not any(rates.values()):
            return inner(examples)
        rates_text = ", ".join(f"{name} {rate:g}" for name, rate in rates.items())
        run.note(f"{self.name}: {count} variants of each row; {rates_text}.")
        synonyms = self._synonyms(run, examples) if rates["replace"] or rates["insert"] else {}
        make = partial(make_variants, rates=rates, count=count, language=self.language, synonyms=synonyms)
        settings = [rates, count, self.language, digest(synonyms)]
        return inner(with_variants(examples, make, run.config.seed, "eda", settings, self.workers))

    def _synonyms(self, run: Run, examples: Dataset) -> Synonyms:
        rows = examples[:]  # at once: a column alone is read row by row
        texts = [text for column in ("text", "text_pair") for text in rows[column] if text is not None]
        chinese = self.language == "zh" or (self.language == "auto" and 2 * sum(map(has_han, texts)) > len(texts))
        wordnet = find_wordnet() if self.source == "wordnet" or (self.source == "auto" and not chinese) else None
        if self.file is not None:
            place = Path(self.file).expanduser()
            if not place.exists():
                raise UserError(f"tricks.{self.name}.file={self.file}: there is no such file or folder.")
            origin, found = str(place), read_wordnet(place) if is_wordnet(place) else read_file(place)
        elif wordnet is not None:
            origin, found = f"WordNet in {wordnet}", read_wordnet(wordnet)
        elif self.source == "wordnet":
            raise UserError(
                f"tricks.{self.name}.source=wordnet: there is none here; get it with `apt-get install wordnet-base` or "
                f"`python -m nltk.downloader wordnet`, or take tricks.{self.name}.source=embeddings."
            )
        else:
            words = {word.lower() for text in texts for word in split(text, self.language).words}
            weight = cast(Tensor, word_embeddings(run.bare_model).weight)
            origin = f"the model's vectors of the texts' {len(words):,} words"
            found = from_embeddings(weight, run.tokenizer, words)
        run.note(f"{self.name}: synonyms from {origin}; {len(found):,} words have some.")
        return found


@dataclass(frozen=True)
class Sentence:
    """A text, ready for any number of variants."""

    text: str
    words: list[str]
    gaps: list[str]
    spaced: bool
    replaceable: list[tuple[int, Sequence[str]]]
    """The places of words that have synonyms, with them."""

    def changes(self, rate: float) -> int:
        """How many changes one variant makes."""
        return max(1, round(rate * len(self.words)))


def make_variants(
    text: str, draws: Random, rates: Mapping[str, float], count: int, language: str, synonyms: Synonyms
) -> list[str]:
    """Variants of a text, the operations that have a rate in turn.

    Args:
        text: any.
        draws: for this text alone.
        rates: of the operations, by name.
        count: of variants.
        language: whose words change.
        synonyms: of words in lower case.
    """
    sentence = prepare(text, language, synonyms)
    operations = [partial(OPERATIONS[name], rate=rate) for name, rate in rates.items() if rate]
    first = draws.randrange(len(operations))
    variants_so_far = [text]
    for number in range(count):
        turn = (first + number) % len(operations)
        variants_so_far.append(_variant(sentence, operations[turn:] + operations[:turn], draws, variants_so_far))
    return variants_so_far[1:]


def prepare(text: str, language: str, synonyms: Synonyms) -> Sentence:
    """Cut a text into words and look up their synonyms, once."""
    words, gaps, spaced = split(text, language)
    replaceable = [
        (place, others)
        for place, word in enumerate(words)
        if (others := synonyms.get(word.lower())) and is_content(word)
    ]
    return Sentence(text, words, gaps, spaced, replaceable)


def _variant(sentence: Sentence, operations: Sequence[Operation], draws: Random, variants_so_far: Sequence[str]) -> str:
    """What the first operation makes that can make something new here, or else something at all."""
    last = sentence.text
    for operation in operations:
        for _ in range(TRIES):
            text = operation(sentence, draws)
            if text not in variants_so_far:
                return text
            if text != sentence.text:
                last = text
    return last


def replace(sentence: Sentence, draws: Random, rate: float) -> str:
    """Put synonyms in the places of some words."""
    words, places = list(sentence.words), sentence.replaceable
    for place, others in draws.sample(places, min(sentence.changes(rate), len(places))):
        words[place] = match_case(draws.choice(others), words[place])
    return join(words, sentence.gaps, sentence.spaced)


def insert(sentence: Sentence, draws: Random, rate: float) -> str:
    """Put synonyms of some words anywhere."""
    if not sentence.replaceable:
        return sentence.text
    words, gaps = list(sentence.words), list(sentence.gaps)
    for _ in range(sentence.changes(rate)):
        _, others = draws.choice(sentence.replaceable)
        place = draws.randrange(len(words) + 1)
        words.insert(place, draws.choice(others))
        # Behind the new word, unless it is the last one: what ends the text stays there.
        gaps.insert(min(place + 1, len(gaps) - 1), " " if sentence.spaced else "")
    return join(words, gaps, sentence.spaced)


def swap(sentence: Sentence, draws: Random, rate: float) -> str:
    """Let pairs of different words change places."""
    if len(set(sentence.words)) < 2:
        return sentence.text
    words = list(sentence.words)
    for _ in range(sentence.changes(rate)):
        _exchange(words, draws)
    if words == sentence.words:  # one swap has undone another
        _exchange(words, draws)
    return join(words, sentence.gaps, sentence.spaced)


def _exchange(words: list[str], draws: Random) -> None:
    one = other = 0
    while words[one] == words[other]:
        one, other = draws.randrange(len(words)), draws.randrange(len(words))
    words[one], words[other] = words[other], words[one]


def delete(sentence: Sentence, draws: Random, rate: float) -> str:
    """Leave out each word with a chance of `rate`: one at least, and never all."""
    count = len(sentence.words)
    if count < 2:
        return sentence.text
    gone = {place for place in range(count) if draws.random() < rate} or {draws.randrange(count)}
    if len(gone) == count:
        gone.remove(draws.randrange(count))
    words, gaps = list[str](), [sentence.gaps[0]]
    for place, word in enumerate(sentence.words):
        after = sentence.gaps[place + 1]
        if place in gone:
            gaps[-1] = merge_gaps(gaps[-1], after, first=not words)
        else:
            words.append(word)
            gaps.append(after)
    return join(words, gaps, sentence.spaced)


OPERATIONS = {"replace": replace, "insert": insert, "swap": swap, "delete": delete}
