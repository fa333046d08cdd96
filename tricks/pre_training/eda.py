"""EDA: add variants of every training row, each with a few words replaced, inserted, swapped or deleted.

Each variant uses one operation, in turn: `replace` words by synonyms, `insert` synonyms of words in the text or `swap`
two words, each n = max(1, round(rate * words)) times; or `delete` each word with probability rate. Synonyms of stop
words are not used. Case, punctuation, emoji, URLs, @names, #tags and numbers stay. Variants of a text differ if the
draws allow it; if nothing can change, they are copies. Chinese is split into words by jieba.

Source: Wei, Zou 2019, EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification Tasks,
    arXiv 1901.11196. Their code lowers case and removes punctuation.
Cost: one pass over `variants` + 1 times the rows an epoch; variants are made once and cached. At every start, synonyms
    by embeddings need a product of the texts' words and the vocabulary; reading WordNet takes two seconds.
Use when: there are a few hundred rows and the model is small. Avoid when: the encoder is pretrained, unless it beats
    `duplicate`: Longpre, Wang, DuBois 2020, arXiv 2010.01764, find no consistent gain; with 1,000 rows of eda_trec,
    MiniLM and five seeds it is -0.0280 (-0.0439 to -0.0121) to `duplicate` (docs/atlas.md). Without a file, and without
    WordNet for English, variants are only swapped and deleted words. Warning: source=embeddings treats opposites as
    synonyms, such as "bad" for "good", "worst" for "best". Do not use it where that reverses the label.
Composes: examples/add, after tricks that drop or rewrite rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import cast

from datasets import Dataset
from torch import Tensor

from recipes import Run, Trick, UserError, allowed
from recipes.models.anatomy import word_embeddings
from recipes.models.linear import is_chinese
from recipes.runs.files import expand_home
from recipes.toolkit.augmentation import with_variants
from recipes.toolkit.synonyms import (
    GET_WORDNET,
    Synonyms,
    digest,
    find_wordnet,
    from_embeddings,
    is_wordnet,
    read_file,
    read_wordnet,
)
from recipes.toolkit.words import is_content, join, match_case, merge_gaps, split

Operation = Callable[["Sentence", Random], str]

# Table 3 of the paper: up to this number of rows, the rate and the number of variants.
ADVISED = ((500, 0.05, 16), (2000, 0.05, 8), (float("inf"), 0.1, 4))
# Draws of an operation until it makes a new variant.
TRIES = 4


@dataclass
class Eda(Trick):
    """Add variants of every row."""

    replace: float | None = allowed(
        "[0, 1]",
        advised="[0, 0.2]",
        source="0.05 to 0.1 in Wei, Zou 2019, arXiv 1901.11196, table 3",
        above="variants no longer mean what their label says",
    )
    """Fraction of the words that synonyms replace; null: as the paper advises; 0: never."""
    insert: float | None = allowed(
        "[0, 1]",
        advised="[0, 0.2]",
        source="0.05 to 0.1 in Wei, Zou 2019, arXiv 1901.11196, table 3",
        above="variants no longer mean what their label says",
    )
    """Inserted synonyms, as a fraction of the words."""
    swap: float | None = allowed(
        "[0, 1]",
        advised="[0, 0.2]",
        source="0.05 to 0.1 in Wei, Zou 2019, arXiv 1901.11196, table 3",
        above="variants no longer mean what their label says",
    )
    """Pairs of words that are swapped, as a fraction of the words."""
    delete: float | None = allowed(
        "[0, 1]",
        advised="[0, 0.2]",
        source="0.05 to 0.1 in Wei, Zou 2019, arXiv 1901.11196, table 3",
        above="variants no longer mean what their label says",
    )
    """Probability of deleting each word."""
    variants: int | None = allowed(
        "[0, inf)",
        advised="[1, 16]",
        source="4 to 16 in Wei, Zou 2019, arXiv 1901.11196",
        above="training takes many times as long, on texts that repeat one another",
    )
    """Variants of each row; null: as the paper advises."""
    language: str = allowed("auto | en | zh")
    """Language of the words that change."""
    source: str = allowed("auto | wordnet | file | embeddings")
    """Source of the synonyms."""
    file: str | None = allowed("")
    """A file of synonyms, or a WordNet folder."""
    workers: int = allowed("[1, inf)")
    """Processes that make variants."""

    slots = {"examples": "add"}
    neutral = {"variants": 0}
    control = "more_rows"

    def __post_init__(self) -> None:
        """Refuse a file that is not read, and a missing file that is."""
        super().__post_init__()
        if self.source == "file" and self.file is None:
            raise ValueError(f"source=file needs the file; set it with tricks.{self.name}.file=<path>.")
        if self.source in ("wordnet", "embeddings") and self.file is not None:
            raise ValueError(f"file={self.file} is not read with source={self.source}; leave out one of the two.")
        if self.source == "wordnet" and self.language == "zh":
            raise ValueError("source=wordnet has no Chinese words, but language=zh is set; use a file or embeddings.")

    def examples(self, run: Run, inner: Callable[[Dataset], Dataset], examples: Dataset) -> Dataset:
        """Add the variants after the rows."""
        advised, count = next((rate, count) for most, rate, count in ADVISED if len(examples) <= most)
        settings_by_name = {"replace": self.replace, "insert": self.insert, "swap": self.swap, "delete": self.delete}
        rates = {name: advised if own is None else own for name, own in settings_by_name.items()}
        count = count if self.variants is None else self.variants
        if not count or not any(rates.values()):
            return inner(examples)
        synonyms = self._synonyms(run, examples) if rates["replace"] or rates["insert"] else {}
        if synonyms is None:
            rates = self._without_synonyms(run, rates, self._is_chinese(_texts_of(examples)))
            synonyms = {}
        rates_text = ", ".join(f"{name} {rate:g}" for name, rate in rates.items())
        run.note(f"{self.name}: {count} variants of each row; {rates_text}.")
        make = partial(make_variants, rates=rates, count=count, language=self.language, synonyms=synonyms)
        settings = [rates, count, self.language, digest(synonyms)]
        return inner(with_variants(examples, make, run.config.seed, "eda", settings, self.workers))

    def _is_chinese(self, texts: Sequence[str]) -> bool:
        return self.language == "zh" or (self.language == "auto" and is_chinese(texts))

    def _synonyms(self, run: Run, examples: Dataset) -> Synonyms | None:
        """The synonyms, or None where source=auto finds none."""
        texts = _texts_of(examples)
        chinese = self._is_chinese(texts)
        wordnet = find_wordnet() if self.source == "wordnet" or (self.source == "auto" and not chinese) else None
        if self.file is not None:
            path = expand_home(self.file)
            if not path.exists():
                raise UserError(
                    f"tricks.{self.name}.file={self.file}: there is no such file or folder; give a file of synonyms, "
                    f"or a WordNet database ({GET_WORDNET})."
                )
            try:
                origin, synonyms = str(path), read_wordnet(path) if is_wordnet(path) else read_file(path)
            except UserError as error:
                raise UserError(f"tricks.{self.name}.file={self.file}: {error}") from error
        elif wordnet is not None:
            origin, synonyms = f"WordNet in {wordnet}", read_wordnet(wordnet)
        elif self.source == "wordnet":
            raise UserError(
                f"tricks.{self.name}.source=wordnet: no WordNet database was found; get it with {GET_WORDNET}, or give "
                f"tricks.{self.name}.file=<path>."
            )
        elif self.source == "embeddings":
            words = {word.lower() for text in texts for word in split(text, self.language).words}
            weight = cast(Tensor, word_embeddings(run.bare_model).weight)
            origin = f"the model's vectors of the texts' {len(words):,} words, where opposites are near"
            synonyms = from_embeddings(weight, run.tokenizer, words)
        else:
            return None
        run.note(f"{self.name}: synonyms from {origin}; {len(synonyms):,} words have some.")
        return synonyms

    def _without_synonyms(self, run: Run, rates: Mapping[str, float], chinese: bool) -> dict[str, float]:
        """The rates without replacement and insertion, unless the user asks for one, or nothing else is on."""
        file = "<path>, such as Cilin" if chinese else f"<path>; for English, WordNet ({GET_WORDNET})"
        remedy = (
            f"give tricks.{self.name}.file={file}; or tricks.{self.name}.source=embeddings, where opposites count as "
            "synonyms"
        )
        rest = {**rates, "replace": 0.0, "insert": 0.0}
        for name, setting in (("replace", self.replace), ("insert", self.insert)):
            if setting or (rates[name] and not any(rest.values())):
                value = "null" if setting is None else f"{setting:g}"
                raise UserError(f"tricks.{self.name}.{name}={value}: no synonyms were found; {remedy}.")
        run.note(f"{self.name}: no synonyms were found, so replace and insert are off; {remedy}.")
        return rest


def _texts_of(examples: Dataset) -> list[str]:
    rows = examples[:]  # at once: a column alone is read row by row
    return [text for column in ("text", "text_pair") for text in rows[column] if text is not None]


@dataclass(frozen=True)
class Sentence:
    """A text split into words, with their synonyms, from which variants are made."""

    text: str
    words: list[str]
    gaps: list[str]
    spaced: bool
    replaceable: list[tuple[int, Sequence[str]]]
    """Index and synonyms of each word that has some."""

    def changes(self, rate: float) -> int:
        """Number of changes in one variant."""
        return max(1, round(rate * len(self.words)))


def make_variants(
    text: str, draws: Random, rates: Mapping[str, float], count: int, language: str, synonyms: Synonyms
) -> list[str]:
    """Make variants of a text by the operations with a rate above 0, in turn.

    Args:
        text: any text.
        draws: random generator of this text.
        rates: rates of the operations, by name.
        count: number of variants.
        language: language of the words that change.
        synonyms: synonyms of words in lower case.
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
    """Split a text into words and look up their synonyms."""
    words, gaps, spaced = split(text, language)
    replaceable = [
        (index, others)
        for index, word in enumerate(words)
        if (others := synonyms.get(word.lower())) and is_content(word)
    ]
    return Sentence(text, words, gaps, spaced, replaceable)


def _variant(sentence: Sentence, operations: Sequence[Operation], draws: Random, variants_so_far: Sequence[str]) -> str:
    """The first new text that an operation makes, or else a repeated one, or else the text itself."""
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
    """Replace some words by synonyms."""
    words, candidates = list(sentence.words), sentence.replaceable
    for index, others in draws.sample(candidates, min(sentence.changes(rate), len(candidates))):
        words[index] = match_case(draws.choice(others), words[index])
    return join(words, sentence.gaps, sentence.spaced)


def insert(sentence: Sentence, draws: Random, rate: float) -> str:
    """Insert synonyms of some words at random positions."""
    if not sentence.replaceable:
        return sentence.text
    words, gaps = list(sentence.words), list(sentence.gaps)
    for _ in range(sentence.changes(rate)):
        _, others = draws.choice(sentence.replaceable)
        index = draws.randrange(len(words) + 1)
        words.insert(index, draws.choice(others))
        # The new gap follows the word. For a last word it precedes it, so that final punctuation stays at the end.
        gaps.insert(min(index + 1, len(gaps) - 1), " " if sentence.spaced else "")
    return join(words, gaps, sentence.spaced)


def swap(sentence: Sentence, draws: Random, rate: float) -> str:
    """Swap pairs of different words."""
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
    """Delete each word with probability `rate`: at least one, and never all."""
    count = len(sentence.words)
    if count < 2:
        return sentence.text
    deleted = {index for index in range(count) if draws.random() < rate} or {draws.randrange(count)}
    if len(deleted) == count:
        deleted.remove(draws.randrange(count))
    words, gaps = list[str](), [sentence.gaps[0]]
    for index, word in enumerate(sentence.words):
        after = sentence.gaps[index + 1]
        if index in deleted:
            gaps[-1] = merge_gaps(gaps[-1], after, first=not words)
        else:
            words.append(word)
            gaps.append(after)
    return join(words, gaps, sentence.spaced)


OPERATIONS = {"replace": replace, "insert": insert, "swap": swap, "delete": delete}
