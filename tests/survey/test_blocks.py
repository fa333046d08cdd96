"""The blocks of the atlas: their order, and what makes two runs the same."""

from dataclasses import replace

import pytest

from recipes.errors import UserError
from scripts.survey.blocks import Selection, list_blocks
from scripts.survey.declaration import Atlas, Encoder, Study, check_names


def test_every_data_set_has_its_first_seed_before_any_has_a_second(atlas: Atlas) -> None:
    blocks = list(list_blocks(atlas, Selection(seeds=2)))
    assert [(block.seed, block.study, block.data) for block in blocks] == [
        (seed, study, data) for seed in (0, 1) for study in ("both", "longer") for data in ("one", "two", "three")
    ]
    assert [len(block.runs) for block in blocks[:4]] == [4, 4, 4, 1]
    assert {run.tricks for run in blocks[0].runs} == {"base", "fgm", "mixup", "fgm+mixup"}


def test_a_run_of_two_studies_is_one_run(atlas: Atlas) -> None:
    alone = Study("", ["one"], [4], {"swa": None}, design="one_at_a_time")
    more = replace(atlas, studies={**atlas.studies, "alone": alone})
    blocks = list(list_blocks(more, Selection(studies=["both", "alone"], data=["one"])))
    keys = [{run.key for run in block.runs} for block in blocks]
    (shared,) = keys[0] & keys[1]
    assert shared[3] == "base"


def test_other_overrides_make_another_run(atlas: Atlas) -> None:
    changed = replace(atlas, overrides=["doctor=off", "train.batch_size=8"])
    one, other = (next(list_blocks(each, Selection())).runs[0] for each in (atlas, changed))
    assert one.key[:-1] == other.key[:-1] and one.key != other.key


def test_a_trick_of_the_encoder_is_on_in_every_run_and_in_no_name(atlas: Atlas) -> None:
    encoder = Encoder("en", ["model=tiny"], {"amp": ["tricks.amp.precision=bf16"]})
    block = next(list_blocks(replace(atlas, encoders={"small": encoder}), Selection()))
    assert {run.tricks for run in block.runs} == {"base", "fgm", "mixup", "fgm+mixup"}
    for run in block.runs:
        tricks = {"amp"} | {*run.tricks.split("+")} - {"base"}
        assert f"+tricks=[{','.join(sorted(tricks))}]" in run.overrides
        assert "tricks.amp.precision=bf16" in run.overrides


def test_a_selection_leaves_out_the_others(atlas: Atlas) -> None:
    blocks = list(list_blocks(atlas, Selection(["both"], ["small"], ["two"], [6, 7])))
    assert [(block.data, block.updates) for block in blocks] == [("two", 6), ("two", 7)]
    with pytest.raises(UserError, match="--sets: 'tow' is not declared; did you mean two"):
        check_names("--sets", ["tow"], atlas.data)
