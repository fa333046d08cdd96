"""The page of the atlas: verdicts and figures come from the rows, and the stored page is that of the stored rows."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from recipes.ablation.expectations import read_measured, write_measured
from recipes.config import CONF
from recipes.reports.document import Table, as_html, as_markdown
from scripts.survey.declaration import Atlas, read_declaration
from scripts.survey.effects import list_panels
from scripts.survey.page import build_parts, measure
from scripts.survey.rows import Key, Result

ROOT = Path(__file__).parents[2]


def test_the_first_table_has_every_trick_with_verdict_cost_and_health(
    atlas: Atlas, with_broken: dict[Key, Result], tmp_path: Path
) -> None:
    parts = list(build_parts(atlas, {}, list_panels(atlas, with_broken), with_broken, tmp_path / "none.csv"))
    first = next(part for part in parts if isinstance(part, Table))
    fgm, mixup = ([str(cell) for cell in row] for row in first.rows)
    assert fgm == ["fgm", "+0.040 ± 0.000", "helps", "+0.076 ± 0.000", "helps", "2.00", "0 of 12"]
    assert mixup[0] == "mixup" and mixup[2] == "practically nothing" and mixup[-2:] == ["1.00", "2 of 12"]
    markdown, page = as_markdown("The atlas", parts), as_html("The atlas", parts)
    found = (
        "both, English (small; 3 data sets; seeds of each: 2), accuracy. Helps: fgm; hurts: none; practically nothing: "
    )
    assert f"{found}mixup; no evidence: none." in markdown
    assert "one, 8" not in markdown and "| small, one | 0.805, 0.471 (2) | 0.805, 0.471 (2) |" in markdown
    assert "fgm" in page and "<svg" in page


def test_a_single_data_set_has_effects_and_no_verdict(atlas: Atlas, results: dict[Key, Result], tmp_path: Path) -> None:
    own = {key: each for key, each in results.items() if key[1] == "two"}
    parts = list(build_parts(atlas, {}, list_panels(atlas, own), own, tmp_path / "none.csv"))
    first = next(part for part in parts if isinstance(part, Table))
    fgm = [str(cell) for cell in first.rows[0]]
    assert "both, English (small; two alone; seeds of each: 2): no verdict from one data set." in as_markdown("", parts)
    assert first.header == ["trick", "accuracy", "loss falls by", "x passes", "broke"]
    assert fgm[0] == "fgm" and fgm[1].startswith("+0.040 ± ") and fgm[3:] == ["2.00", "0 of 4"]


def test_an_empty_atlas_has_a_page(atlas: Atlas, tmp_path: Path) -> None:
    assert "No block has finished yet." in list(build_parts(atlas, {}, [], {}, tmp_path / "none.csv"))


def test_effects_for_predictions_have_the_properties_of_the_data(
    atlas: Atlas, results: dict[Key, Result], tmp_path: Path
) -> None:
    (tmp_path / "data.csv").write_text("data,language,rows,classes,majority,length\none,en,30,2,0.6,9\n")
    measured = measure(atlas, list_panels(atlas, results), tmp_path / "data.csv")
    assert [(each.trick, each.data, round(each.accuracy, 4), each.passes) for each in measured] == [
        ("fgm", "one", 0.04, pytest.approx(2)),
        ("mixup", "one", pytest.approx(0, abs=1e-9), 1),
    ]
    assert measured[0].base == pytest.approx(0.805) and measured[0].features.length == 9
    write_measured(measured, tmp_path / "atlas.csv")
    assert [each.trick for each in read_measured(tmp_path / "atlas.csv")] == ["fgm", "mixup"]


def test_the_pages_in_the_repository_are_those_of_its_rows(script: Callable[[str], ModuleType], tmp_path: Path) -> None:
    program = script("atlas")
    declared = read_declaration(ROOT / "docs" / "atlas" / "atlas.yaml")
    panels, pages = program.make_pages(declared)
    for path, text in pages.items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run `python scripts/atlas.py page`"
    write_measured(measure(declared, panels, ROOT / "docs" / "atlas" / "data.csv"), tmp_path / "atlas.csv")
    assert (tmp_path / "atlas.csv").read_bytes() == (CONF / "atlas.csv").read_bytes()
    stored = [*(ROOT / "docs" / "atlas").rglob("*"), CONF / "atlas.csv"]
    assert sum(path.stat().st_size for path in stored if path.is_file()) < 2e6
