"""The laws for every cell of level and mask, and that there are no others."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from recipes.compose.overrides import compose_config, mistakes
from recipes.compose.reading import read
from recipes.compose.tricks import build
from recipes.config import CONF
from recipes.errors import UserError
from recipes.testing import TWO_UPDATES, TrickLaws, compose_again, in_child, names, tiny_run
from tests.sampling import every, only

CELLS: dict[str, dict[str, Any]] = {
    "embedding-whole": {"level": "embedding", "mask": "whole"},
    "embedding-span": {"level": "embedding", "mask": "span"},
    "embedding-fourier": {"level": "embedding", "mask": "fourier"},
    "embedding-saliency": {"level": "embedding", "mask": "saliency"},
    "embedding-puzzle": {"level": "embedding", "mask": "puzzle"},
    "embedding-co": {"level": "embedding", "mask": "co"},
    "hidden-whole": {"level": "hidden", "mask": "whole", "depths": [0.0, 0.5]},
    "hidden-block": {"level": "hidden", "mask": "block", "depths": [0.0, 0.5], "block": 2},
    "sentence-whole": {"level": "sentence", "mask": "whole"},
}
LAWS = sorted(name for name in dir(TrickLaws) if name.startswith("test_"))
FAST = {"test_neutral_is_off", "test_splitting_is_invisible"}
# Each mask once, and so each level. The default cell is the first one of all, in tests/test_laws.py.
FAST_CELLS = [name for name in CELLS if name not in ("embedding-whole", "hidden-whole")]


@cache
def laws_of(cell: str) -> TrickLaws:
    attributes = {"trick": "mixup", "settings": {"alpha": 1.0, **CELLS[cell]}}
    laws: TrickLaws = type("Cell", (TrickLaws,), attributes)()
    return laws


@pytest.mark.parametrize("cell", only(FAST_CELLS, CELLS))
@pytest.mark.parametrize("law", only(FAST, LAWS))
def test_every_cell_is_under_the_laws(cell: str, law: str) -> None:
    getattr(laws_of(cell), law)()


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_meets_every_trick(cell: str) -> None:
    """Law 8 for all pairs; that of another trick tries it with the default cell alone."""
    laws_of(cell)._try_pairs([name for name in names() if name != "mixup"])


def test_parts_of_one_row_take_words_of_three_partners() -> None:
    """Law 4 where a row carries more than one text; the fast law has parts of three rows."""
    laws_of("embedding-co")._compare_divided([1], *TWO_UPDATES)


@pytest.mark.parametrize("cell", CELLS)
def test_the_passes_of_an_update_are_those_that_the_trick_declares(cell: str, tmp_path: Path) -> None:
    config = laws_of(cell).config("mixup")

    def count_passes() -> tuple[float, float]:
        run = tiny_run(config, tmp_path)
        passes = []
        for index in range(4):
            batch, before = run.seams.batches(run.train, 0)[index], run.rows_passed
            run.seams.gradient(batch)
            passes.append((run.rows_passed - before) / len(batch))
        return sum(passes) / 4, run.tricks["mixup"].passes

    measured, declared = in_child(count_passes)
    # A layer is drawn for each batch.
    assert measured == pytest.approx(declared, abs=0.5 if cell.startswith("hidden") else 0)


def test_every_cell_has_its_laws() -> None:
    assert len(LAWS) == 20 and FAST < set(LAWS)
    for field in ("mask", "level"):
        assert {CELLS[name][field] for name in FAST_CELLS} == {cell[field] for cell in CELLS.values()}


def refusal(*overrides: str) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        build(read(compose_again(["+tricks=[mixup]", *overrides])).tricks)
    return caught.value.problems


@pytest.mark.parametrize("mask", ["whole", "span", "block", "fourier", "saliency", "puzzle", "co"])
@pytest.mark.parametrize("level", ["embedding", "hidden", "sentence"])
def test_there_are_no_other_cells(level: str, mask: str) -> None:
    overrides = f"tricks.mixup.level={level}", f"tricks.mixup.mask={mask}"
    if f"{level}-{mask}" in CELLS:
        built = build(read(compose_again(["+tricks=[mixup]", *overrides])).tricks)["mixup"]
        assert (built.level, built.mask) == (level, mask)  # type: ignore[attr-defined]
        return
    (problem,) = refusal(*overrides)
    masks = " | ".join(cell.partition("-")[2] for cell in CELLS if cell.startswith(level))
    assert problem.startswith(f"tricks.mixup.mask must be one of {masks} at level={level}, got {mask}: ")


def test_other_values_that_are_refused() -> None:
    assert refusal("tricks.mixup.level=word") == (
        "tricks.mixup.level must be one of embedding | hidden | sentence, got word.",
    )
    for depths in ("[]", "[0.5,1.0]", "[-0.1]"):
        (problem,) = refusal(f"tricks.mixup.depths={depths}")
        assert problem.startswith("tricks.mixup.depths must be a list of numbers in [0, 1), got [")
    (problem,) = refusal("tricks.mixup.depths=0.5")
    assert problem == "tricks.mixup.depths must be a list in brackets, such as [a,b], got 0.5."


# Presets: recipes by their published names.

PRESETS = {
    "manifold_mixup": ("hidden", "whole"),
    "sentence_mixup": ("sentence", "whole"),
    "cutmix": ("embedding", "span"),
    "patchup": ("hidden", "block"),
    "fmix": ("embedding", "fourier"),
    "ssmix": ("embedding", "saliency"),
    "puzzle_mix": ("embedding", "puzzle"),
    "co_mixup": ("embedding", "co"),
}


@pytest.mark.parametrize("name", every(3, PRESETS))
def test_a_preset_is_a_recipe(name: str) -> None:
    assert (CONF / "recipe" / f"{name}.yaml").read_text(encoding="utf-8").startswith("# @package _global_\n")
    alone, folder = compose_config([f"recipe={name}", "model=tiny", "seed=3"])
    assert set(alone.tricks) == {"mixup"}
    assert (alone.tricks.mixup.level, alone.tricks.mixup.mask) == PRESETS[name]
    assert folder.name.startswith("pydocs-tiny-mixup-s3-")
    values = [f"tricks.mixup.{field}={alone.tricks.mixup[field]}" for field in alone.tricks.mixup if field[0] != "_"]
    assert read(alone) == read(compose_again(["+tricks=[mixup]", *values, "model=tiny", "seed=3"]))
    others = compose_again(["+tricks=[amp]", f"recipe={name}", "tricks.mixup.alpha=0.7", "model=tiny"])
    assert set(build(read(others).tricks)) == {"amp", "mixup"}
    assert others.tricks.mixup.mask == PRESETS[name][1]
    assert others.tricks.mixup.alpha == 0.7


def test_a_misspelt_recipe_is_reported() -> None:
    (problem,) = mistakes(["recipe=ssmxi"])
    assert problem.startswith("recipe=ssmxi: there is no such recipe; did you mean ssmix? There are: ")
