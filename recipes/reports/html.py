"""The one design of all pages: `templates/page.html` and `templates/style.css`, as a file that loads nothing else.

All text is escaped.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from recipes.data.language import SCRIPTS
from recipes.reports.charts import shorten

if TYPE_CHECKING:
    from jinja2 import Template

PAGE_START = "<!doctype html>"
"""How every page begins; a file that begins otherwise is not overwritten."""
# A browser chooses the shapes of Chinese characters by language; they differ in Japan.
LANGUAGES = {language: re.compile(f"[{letters}]") for language, letters in SCRIPTS.items()}


def render_page(title: str, sections: Sequence[tuple[Any, Sequence[Any]]], about: str) -> str:
    """A complete page.

    Args:
        title: of the page, as plain text.
        sections: of `recipes.reports.document`, in order.
        about: what the page is about, in a few words above the title.
    """
    return _template().render(title=title, about=about, sections=sections).strip() + "\n"


def find_language(text: str) -> str:
    """The language of a text that is not English, if its characters show it: ja, ko or zh; else empty."""
    return next((language for language, letters in LANGUAGES.items() if letters.search(text)), "")


@cache
def _template() -> "Template":
    from jinja2 import Environment, PackageLoader, StrictUndefined  # late: a run that makes no page does without

    environment = Environment(
        loader=PackageLoader("recipes.reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"language": find_language, "shorten": shorten}
    return environment.get_template("page.html")
