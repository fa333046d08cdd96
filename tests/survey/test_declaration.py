"""The declaration of the atlas: every study of the repository can be run, and a wrong name is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from recipes.errors import UserError
from recipes.testing import names
from scripts.survey.blocks import design_study
from scripts.survey.declaration import read_declaration

ROOT = Path(__file__).parents[2]
DECLARATION = ROOT / "docs" / "atlas" / "atlas.yaml"


def test_every_trick_is_in_a_study_or_left_out_with_a_reason() -> None:
    atlas = read_declaration(DECLARATION)
    in_studies = {trick for study in atlas.studies.values() for trick in study.tricks}
    assert in_studies.isdisjoint(atlas.left_out) and all(atlas.left_out.values())
    assert in_studies | atlas.left_out.keys() == set(names())


def test_a_data_set_that_is_not_declared_is_refused(write: Callable[[str, str], Path]) -> None:
    text = DECLARATION.read_text(encoding="utf-8").replace("data: [newsgroups20, imdb]", "data: [newsgroup20, imdb]")
    with pytest.raises(UserError, match=r"studies\.long_texts\.data: 'newsgroup20' is not declared; did you mean"):
        read_declaration(write("atlas.yaml", text))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("eda_cr: {language: en, fold: 4}", r"data\.eda_cr: 'fold' is not declared; did you mean folds"),
        ("eda_cr: {folds: 4}", r"data\.eda_cr: missing 1 required positional argument: 'language'"),
    ],
)
def test_a_value_with_another_name_is_refused(wrong: str, message: str, write: Callable[[str, str], Path]) -> None:
    text = DECLARATION.read_text(encoding="utf-8").replace("eda_cr: {language: en, folds: 4}", wrong)
    with pytest.raises(UserError, match=message):
        read_declaration(write("atlas.yaml", text))


@pytest.mark.slow
@pytest.mark.parametrize("name", read_declaration(DECLARATION).studies)
def test_the_studies_of_the_repository_compose(name: str) -> None:
    atlas = read_declaration(DECLARATION)
    study = atlas.studies[name]
    _, design = design_study(atlas, name, "minilm", study.data[0])
    assert len(design.arms) <= study.arms
    assert len(design.contrasts()) >= len(study.tricks)
