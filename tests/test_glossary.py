"""docs/glossary.md explains each term once, and docs/README.md lists every page."""

import re
from pathlib import Path

import pytest

from recipes.ablation import verdicts
from recipes.doctor.findings import CheckResult
from recipes.seams import STAGES

ROOT = Path(__file__).parents[1]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
TERMS = re.findall(r"^\*\*(.+?)\*\*: ", GLOSSARY, re.MULTILINE)
# Pages that introduce a term in italics. Those that measure something have emphasis and columns of tables in italics.
DEFINING = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/ablation.md",
    "docs/architecture.md",
    "docs/doctor.md",
    "docs/third_party.md",
)
# In italics for emphasis, or a heading of the changelog or of a table; no term.
EMPHASIS = {"which", "your", "dependencies", "numbers changed", "found", "pytorch's error", "inside"}


def italics(text: str) -> set[str]:
    """Return the phrases in italics on a page, in lower case, without code and bold."""
    text = re.sub(r"```.*?```|`[^`]*`|\*\*.*?\*\*", "", text, flags=re.DOTALL)
    return {" ".join(match.split()).lower() for match in re.findall(r"(?<![*\w])\*(\w[^*|]*?\w)\*(?![*\w])", text)}


def has_entry(term: str) -> bool:
    """Return whether the glossary has a term as it is, in the singular, or without `on`."""
    term = term.removeprefix("on ")
    return bool({term, term.removesuffix("s"), term.removesuffix("es")} & set(TERMS))


def test_terms_are_unique_and_sorted() -> None:
    assert len(TERMS) > 70
    assert sorted(set(TERMS), key=str.casefold) == TERMS


def test_each_entry_is_one_paragraph_of_at_most_three_sentences() -> None:
    paragraphs = [" ".join(block.split()) for block in GLOSSARY.split("\n\n") if block.startswith("**")]
    assert len(paragraphs) == len(TERMS)
    for paragraph in paragraphs:
        assert len(re.findall(r"[.](?= [A-Z`]|$)", paragraph)) <= 3, paragraph


@pytest.mark.parametrize("page", DEFINING)
def test_a_term_in_italics_is_explained(page: str) -> None:
    terms = italics((ROOT / page).read_text(encoding="utf-8")) - EMPHASIS
    assert {term for term in terms if not has_entry(term)} == set()


def test_a_reference_inside_the_glossary_leads_to_an_entry() -> None:
    references = italics(GLOSSARY) - EMPHASIS - {"italics"}
    assert len(references) > 20
    assert {term for term in references if not has_entry(term)} == set()


def test_the_words_of_verdicts_are_explained() -> None:
    words = {verdicts.HELPS, verdicts.HURTS, verdicts.NOTHING, verdicts.IDENTICAL, verdicts.NO_EVIDENCE}
    words |= {
        verdicts.TOGETHER,
        verdicts.FIGHTS,
        verdicts.ADDS_UP,
        verdicts.INSEPARABLE,
        verdicts.NO_VERDICT,
    }
    assert len(words) == 10 and {word for word in words if not has_entry(word)} == set()


def test_the_words_of_the_code_are_explained() -> None:
    stages = {stage.replace("_", "-") for stage in STAGES}
    (stage,) = (block for block in GLOSSARY.split("\n\n") if block.startswith("**stage**"))
    assert all(name in stage for name in stages)
    (severity,) = (block for block in GLOSSARY.split("\n\n") if block.startswith("**severity**"))
    result = CheckResult("data", "example", "")
    result.fail("", "", "")
    result.warn("", "", "")
    result.note("")
    assert all(finding.severity in severity for finding in result.findings)


def test_the_index_lists_every_page_and_the_readme_links_to_it() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")} - {"README.md"}
    links = re.findall(r"^- \[([^]]+)\]\(\1\): \w", index, re.MULTILINE)
    assert len(links) == len(set(links)) and set(links) == pages | {"../CONTRIBUTING.md", "../CHANGELOG.md"}
    assert "(docs/README.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_italics_differ_from_bold_code_and_products() -> None:
    assert italics("a *new term*, **bold**, `*code*`, 2 * 3 * 4, (*arm*)\n*over two\nlines*") == {
        "new term",
        "arm",
        "over two lines",
    }
