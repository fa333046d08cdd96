"""Names and prose use the words of the field, and the sentences of the documents are short.

`docs/glossary.md` has the words to use. A word goes into `RETIRED` when the project has a better one for every use.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]

# A name may not contain the word on the left. Most of them stay ordinary English in prose.
RETIRED = {
    "place": "index, path, rank or position",
    "places": "indices, paths, ranks or positions",
    "told": "message or report",
    "said": "message",
    "saying": "message",
    "held": "loaded, or the noun",
    "kept": "the noun",
    "given": "the noun",
    "made": "a verb for a function, the noun for a value",
    "opened": "open_... for a function, the noun for a value",
    "answered": "predict_... for a function, predictions for a value",
    "claimed": "claim",
    "written": "write_... for a function, the noun for a value",
    "several": "multi_label or many",
    "commonest": "majority",
    "copies": "duplicates",
    "share": "probability, log_probability or fraction",
    "shares": "probabilities, log_probabilities or fractions",
    "patient": "subject",
    "ward": "harness",
    "examination": "checks or report",
    "look": "check, inspect or interim analysis",
    "looks": "checks or interim analyses",
    "whole": "fused, total, full or all_rows",
    "earlier": "warm_start or previous",
    "floor": "linear_baseline or linear_probe",
    "onion": "order of tricks, or seams",
    "beside": "with or next_to",
    "anew": "again",
    "dear": "cost or expensive",
    "dearest": "slowest",
    "mend": "fix",
    "sought": "target or query",
    "foretold": "predicted",
    "borne": "carried",
    "strangers": "unseen",
    "shut": "hidden",
    "apart": "the noun: how it differs",
    "so_many": "count",
}
# A name may not be one of these alone: a function is a verb, a value is a noun.
BARE = {"taken", "chosen", "drawn", "asked", "found"}
# Names that contain a retired word and are terms of the field.
ALLOWED_NAMES = {
    "held_out": "rows that a model was not trained on",
    "look_ahead": "rows that are read before they are needed",
}
# Retired words that are allowed in some files: the files, and the reason.
ALLOWED_WORDS = {
    "copies": (("conf/tricks/duplicate.yaml", "tricks/pre_training/duplicate.py"), "a setting that users have"),
}
# No text says this.
RETIRED_PHRASES = {
    r"commonest": "most frequent, or the majority class",
    r"anew": "again",
    r"sought": "looked for",
    r"borne": "carried",
    r"foretold": "predicted",
    r"learnt by heart|learned by heart": "memorized",
    r"(?:is|are|was|were) no numbers?": "is NaN or inf",
    r"onion": "order of tricks",
    r"of one's own": "custom",
    r"so many(?! that\b)": "N, or the name of the number",
}
LONGEST_SENTENCE, LONGEST_MEAN = 35, 20
"""In words."""

PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"))
    if path.name != "tricks.md"  # made by scripts/tricks.py from the cards
)


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def syntax_tree(path: Path) -> ast.Module:
    return ast.parse(read_text(path))


def words_of(name: str) -> list[str]:
    """The words of a name in snake case or camel case."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_").split("_")


@cache
def retired_in(name: str, where: str = "") -> str | None:
    """The word of a name that is retired, with the one to use; None where all are fine.

    Args:
        name: of a function, a value, a module or a setting.
        where: the path of its file.
    """
    plain = "_".join(words_of(name))
    for allowed in ALLOWED_NAMES:
        plain = re.sub(rf"(?:^|_){allowed}(?=_|$)", "", plain)
    if plain in BARE:
        return f"{plain}: a verb for a function, the noun for a value"
    for word, instead in RETIRED.items():
        files, _ = ALLOWED_WORDS.get(word, ((), ""))
        if re.search(rf"(?:^|_){word}(?:_|$)", plain) and not where.startswith(tuple(files)):
            return f"{word}: {instead}"
    return None


def python_names(path: Path) -> Iterator[tuple[int, str]]:
    """Yield every name that a module defines, with its line."""
    yield 1, path.stem
    for node in ast.walk(syntax_tree(path)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.alias(asname=str(name)):
                yield node.lineno, name
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield node.lineno, name


def config_keys(values: Any) -> Iterator[str]:
    """Yield every key of a YAML file, at any depth."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield str(key)
            yield from config_keys(value)
    elif isinstance(values, list):
        for value in values:
            yield from config_keys(value)


@cache
def all_names() -> Sequence[tuple[str, str]]:
    """List the location and the name of everything that the project names."""
    return list(_find_names())


def _find_names() -> Iterator[tuple[str, str]]:
    for path in python_files("recipes", "tricks", "scripts"):
        for line, name in python_names(path):
            yield f"{path.relative_to(ROOT)}:{line}", name
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        values = yaml.safe_load(read_text(path))
        # The keys of renamed.yaml are the old names.
        names = list(values.values()) if path.name == "renamed.yaml" else [path.stem, *config_keys(values)]
        for name in names:
            for part in re.split(r"[./@-]", name):
                yield str(path.relative_to(ROOT)), part


def comments(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the comments of a module; consecutive lines are one comment."""
    block: list[str] = []
    first = last = 0
    for token in tokenize.generate_tokens(io.StringIO(read_text(path)).readline):
        if token.type != tokenize.COMMENT:
            continue
        if block and token.start[0] > last + 1:
            yield first, " ".join(block)
            block = []
        first = token.start[0] if not block else first
        last = token.start[0]
        block.append(token.string.lstrip("# "))
    if block:
        yield first, " ".join(block)


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of a module and all other strings of more than one word."""
    for node in ast.walk(syntax_tree(path)):
        if isinstance(node, ast.JoinedStr):
            parts = (str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def prose_files() -> list[Path]:
    """List the files with prose that are not Python."""
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.yaml")]
    configs = [*(ROOT / "conf").rglob("*.yaml"), ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / ".ci" / "run"]
    return sorted(documents + configs)


def texts_of_modules(*folders: str) -> Iterator[tuple[str, str]]:
    """Yield the location and the text of every comment, docstring and message."""
    for path in python_files(*folders):
        if path != Path(__file__):
            for line, text in (*comments(path), *messages(path)):
                yield f"{path.relative_to(ROOT)}:{line}", text


def texts_of_documents() -> Iterator[tuple[str, str]]:
    """Yield the file and the text of every paragraph that is not Python."""
    for path in prose_files():
        text = read_text(path)
        if path.suffix == ".md":
            text = re.sub(r"`[^`\n]*`", "code", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        # One paragraph at a time, so that a phrase may run over a line.
        for paragraph in re.split(r"\n\s*\n", re.sub(r"(?m)^\s*#+ ?", "", text)):
            yield str(path.relative_to(ROOT)), paragraph


def paragraphs(text: str) -> Iterator[str]:
    """Yield the prose of a Markdown page without code, tables, headings and pictures; a list item is a paragraph."""
    text = re.sub(r"<!--.*?-->|```.*?```|!\[[^\]]*\]\([^)]*\)", "", text, flags=re.DOTALL)
    lines = [line for line in text.splitlines() if not re.match(r"\s*(\||#|---$)", line)]
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", "\n".join(lines)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "Code", block))
        if plain.strip():
            yield " ".join(re.sub(r"^\s*(?:[-*]|\d+\.) ", "", plain).replace("*", "").split())


def sentences(text: str) -> list[str]:
    result: list[str] = []
    for paragraph in paragraphs(text):
        result += re.split(r"(?<=[.!?])[)\"]? +(?=[A-Z(\"“])", paragraph)
    return result


def count_words(sentence: str) -> int:
    return sum(bool(re.search(r"\w", word)) for word in sentence.split())


@pytest.mark.slow
def test_no_name_contains_a_retired_word() -> None:
    names = all_names()
    # Most names have no retired word: those are not asked about once for each line.
    suspects = {name for name in {name for _, name in names} if retired_in(name)}
    refused = sorted(
        f"{where} {name} -> {why}"
        for where, name in set(names)
        if name in suspects and (why := retired_in(name, where))
    )
    assert len(python_files("recipes", "tricks", "scripts")) > 120 and len(names) > 8000
    assert not refused, "\n".join(refused)


def find_retired_phrases(texts: Iterable[tuple[str, str]]) -> list[str]:
    any_phrase = re.compile(rf"\b(?:{'|'.join(RETIRED_PHRASES)})\b", re.IGNORECASE)
    return sorted(
        f"{where} {match[0]!r} -> {instead}"
        for where, text in texts
        if any_phrase.search(plain := " ".join(text.split()))
        for phrase, instead in RETIRED_PHRASES.items()
        for match in re.finditer(rf"\b(?:{phrase})\b", plain, re.IGNORECASE)
    )


def test_no_text_contains_a_retired_phrase() -> None:
    folders = ("recipes", "tricks", "scripts", "hydra_plugins", "docs")
    modules = [*texts_of_modules(*folders), *comments(ROOT / "train.py"), *messages(ROOT / "train.py")]
    documents = list(texts_of_documents())
    refused = find_retired_phrases((str(where), text) for where, text in (*modules, *documents))
    assert len(prose_files()) > 90 and len(modules) + len(documents) > 6000
    assert not refused, "\n".join(refused)


@pytest.mark.slow
def test_no_text_of_a_test_contains_a_retired_phrase() -> None:
    texts = list(texts_of_modules("tests"))
    assert len(texts) > 3000 and find_retired_phrases(texts) == []


@pytest.mark.parametrize("page", PAGES)
def test_sentences_are_short(page: str) -> None:
    lengths = {sentence: count_words(sentence) for sentence in sentences(read_text(ROOT / page))}
    too_long = [f"{length} words: {sentence}" for sentence, length in lengths.items() if length > LONGEST_SENTENCE]
    assert not too_long, "\n".join(too_long)
    assert sum(lengths.values()) / len(lengths) <= LONGEST_MEAN


def test_the_pages_are_read() -> None:
    assert {"README.md", "CONTRIBUTING.md", "docs/glossary.md", "docs/README.md", "docs/doctor.md"} <= set(PAGES)
    assert sum(len(sentences(read_text(ROOT / page))) for page in PAGES) > 400


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("place", "place"),
        ("log_shares", "shares"),
        ("_held", "held"),
        ("HeldModel", "held"),
        ("MOST_LOOKS", "looks"),
        ("by_so_many_rows", "so_many"),
        ("found", "found"),
    ],
)
def test_a_retired_word_is_refused_anywhere_in_a_name(name: str, word: str) -> None:
    assert (retired_in(name) or "").startswith(f"{word}:")


@pytest.mark.parametrize("name", ["placebo", "held_out", "_held_out_rows", "shared", "found_rows"])
def test_other_names_are_not_refused(name: str) -> None:
    assert retired_in(name) is None


def test_a_word_is_allowed_only_in_its_files() -> None:
    assert retired_in("copies", "tricks/pre_training/duplicate.py:3") is None
    assert retired_in("copies", "recipes/doctor/runner.py:3") is not None
    assert retired_in("place_of_copies", "tricks/pre_training/duplicate.py:3") is not None


def test_every_exception_is_needed() -> None:
    """An exception that no name uses would hide the next retired name."""
    used = {"_".join(words_of(name)) for _, name in all_names()}
    for allowed in ALLOWED_NAMES:
        assert any(re.search(rf"(?:^|_){allowed}(?:_|$)", name) for name in used), allowed
    for word, (files, _) in ALLOWED_WORDS.items():
        for file in files:
            assert any(where.startswith(file) and word in words_of(name) for where, name in all_names()), (word, file)


def test_sentences_come_only_from_prose() -> None:
    page = "# A title\n\nOne `two three` [four](five) six. Is it?\n\n| a | b |\n\n```\ncode\n```\n- An item:\n- Two.\n"
    assert sentences(page) == ["One Code four six.", "Is it?", "An item:", "Two."]
    assert [count_words(sentence) for sentence in sentences(page)] == [4, 2, 2, 1]
