"""An atlas with a study of two tricks on three data sets, and made results whose effects are known."""

from dataclasses import replace

import numpy as np
import pytest

from scripts.survey.blocks import Selection, list_blocks
from scripts.survey.declaration import Atlas, DataSet, Encoder, Study
from scripts.survey.rows import Key, Result, encode_losses, encode_right

NAMES = ("one", "two", "three")


@pytest.fixture(scope="session")
def atlas() -> Atlas:
    study = Study("Which helps?", NAMES, [4], {"fgm": None, "mixup": None})
    length = Study("Has the base finished?", NAMES, [8])
    data = {name: DataSet("en") for name in NAMES}
    encoders = {"small": Encoder("en", ["model=tiny"])}
    return Atlas(30, 500, 0.01, ["doctor=off"], encoders, data, {"both": study, "longer": length}, {})


@pytest.fixture(scope="session")
def results(atlas: Atlas) -> dict[Key, Result]:
    """Two seeds of all blocks: fgm makes 20 of 500 rows right, and costs two passes; mixup changes ten either way."""
    made: dict[Key, Result] = {}
    for block in list_blocks(atlas, Selection(seeds=2)):
        for run in block.runs:
            right = np.arange(500) < 400 + 5 * run.seed
            if "fgm" in run.tricks:
                right[450:470] = True
            if "mixup" in run.tricks:
                right[470:480], right[:10] = True, False
            losses = np.where(right, 0.1, 2.0)
            made[run.key] = Result(
                *run.key,
                validation="1234",
                health="learned",
                accuracy=float(right.mean()),
                macro_f1=0.5,
                loss=float(losses.mean()),
                seconds=3.0 if "fgm" in run.tricks else 1.5,
                wall=4.0,
                passes=2.0 if "fgm" in run.tricks else 1.0,
                memory=100.0,
                device="cpu",
                graphs="false",
                right=encode_right(right),
                losses=encode_losses(losses),
            )
    return made


@pytest.fixture
def with_broken(results: dict[Key, Result]) -> dict[Key, Result]:
    """The same, but one run with mixup has diverged, and one has collapsed."""
    first, second, *_ = (key for key in results if key[3] == "mixup")
    nothing = {"right": "", "losses": "", "accuracy": float("nan"), "loss": float("nan")}
    return {
        **results,
        first: replace(results[first], health="diverged", **nothing),
        second: replace(results[second], health="collapsed"),
    }
