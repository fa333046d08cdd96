"""Claims tried again: the verdict follows from interval, published difference and seeds; runs have their own rows."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recipes.compose.overrides import compose_config
from recipes.errors import UserError
from scripts.survey.blocks import Run, Selection
from scripts.survey.claims import (
    CANNOT_TELL,
    DOES_NOT,
    HOLDS,
    Claim,
    ClaimArm,
    Comparison,
    find,
    judge,
    list_claim_blocks,
    read_claims,
)
from scripts.survey.declaration import Atlas, read_declaration
from scripts.survey.rows import Key, Result, encode_losses, encode_right

FOLDER = Path(__file__).parents[2] / "docs" / "atlas"


@pytest.fixture
def claim() -> Claim:
    arms = {"plain": ClaimArm(), "fgm": ClaimArm(["+tricks=[fgm]"]), "longer": ClaimArm(updates=8, rows=60)}
    comparisons = [Comparison("fgm", "plain", 0.02), Comparison("fgm", "longer")]
    return Claim("", "", ["one"], 50, 4, arms, comparisons)


def score(run: Run, right_rows: int) -> Result:
    right = (np.arange(500) + 37 * run.seed) % 500 < right_rows
    numbers = {"accuracy": float(right.mean()), "macro_f1": 0.0, "loss": 0.5}
    numbers |= {"seconds": 1.0, "wall": 1.0, "passes": 1.0, "memory": 1.0}
    texts = {"validation": "1", "health": "learned", "device": "cpu", "graphs": "false"}
    return Result(*run.key, **texts, **numbers, right=encode_right(right), losses=encode_losses(1.0 - right))


def run_all(atlas: Atlas, claim: Claim, seeds: int, effect: int) -> dict[Key, Result]:
    runs = [run for block in list_claim_blocks(atlas, {"a": claim}, Selection(seeds=seeds)) for run in block.runs]
    return {run.key: score(run, 400 + run.seed % 3 + effect * (run.tricks == "fgm")) for run in runs}


@pytest.mark.parametrize(
    ("interval", "published", "verdict"),
    [
        ((0.015, 0.03), 0.02, HOLDS),
        ((0.005, 0.03), 0.02, CANNOT_TELL),
        ((0.001, 0.012), 0.02, DOES_NOT),
        ((-0.02, 0.001), 0.02, DOES_NOT),
        ((0.0005, 0.001), 0.002, HOLDS),
        ((-0.001, 0.004), 0.002, CANNOT_TELL),
        ((-0.004, -0.001), -0.002, HOLDS),
        ((-0.001, 0.004), -0.002, DOES_NOT),
        ((-0.005, 0.004), 0.0, HOLDS),
        ((-0.03, -0.02), 0.0, DOES_NOT),
        ((-0.03, 0.02), 0.0, CANNOT_TELL),
    ],
)
def test_a_verdict_follows_from_the_interval(interval: tuple[float, float], published: float, verdict: str) -> None:
    assert judge(interval, published) == verdict


def test_arms_have_their_own_rows_and_updates(atlas: Atlas, claim: Claim) -> None:
    (block,) = list_claim_blocks(atlas, {"a": claim}, Selection())
    plain, _, longer = block.runs
    assert (plain.rows, plain.updates, longer.rows, longer.updates) == (50, 4, 60, 8)
    assert plain.overrides[-1] == "train.max_updates=4" and longer.overrides[-1] == "train.max_updates=8"
    more = Run(*plain.key[:5], plain.overrides, 51)
    assert more.key != plain.key and Run(*plain.key[:5], plain.overrides).key != plain.key


def test_five_paired_seeds_decide(atlas: Atlas, claim: Claim) -> None:
    published, control = find(atlas, claim, run_all(atlas, claim, 5, 10))
    assert published.data == {"one": 5} and published.value == pytest.approx(0.02)
    low, high = published.interval or (0, 0)
    assert low < 0.02 < high and low > 0
    assert published.verdict in (HOLDS, CANNOT_TELL) and control.verdict == ""
    assert find(atlas, claim, run_all(atlas, claim, 5, 0))[0].interval == (0.0, 0.0)


def test_fewer_seeds_cannot_tell(atlas: Atlas, claim: Claim) -> None:
    few, none = find(atlas, claim, run_all(atlas, claim, 4, 10))[0], find(atlas, claim, {})[0]
    assert few.data == {"one": 4} and few.verdict == CANNOT_TELL
    assert none.data == {} and none.interval is None and none.verdict == CANNOT_TELL


def test_the_claims_of_the_repository_are_declared() -> None:
    atlas = read_declaration(FOLDER / "atlas.yaml")
    claims = read_claims(FOLDER / "claims.yaml", atlas)
    assert len(claims) == 5
    blocks = list(list_claim_blocks(atlas, claims, Selection()))
    assert {block.study for block in blocks} == claims.keys()
    for claim in claims.values():
        # Each has a published difference, and a control or figures of its source alone.
        assert any(each.published is not None for each in claim.comparisons)


def test_the_name_of_a_run_is_a_folder_that_an_override_can_have(atlas: Atlas, claim: Claim) -> None:
    named = replace(claim, arms={"plain, twice the updates": ClaimArm(updates=8)}, comparisons=[])
    ((run,),) = (block.runs for block in list_claim_blocks(atlas, {"a": named}, Selection()))
    assert run.tricks == "plain, twice the updates" and run.name.startswith("small-one-8-plain_twice_the_updates-0-")
    config, _ = compose_config(["data=files", "data.train=a.csv", f"hydra.run.dir=runs/{run.name}"])
    assert config


def test_an_arm_that_is_not_declared_is_refused(write: Callable[[str, str], Path]) -> None:
    text = (FOLDER / "claims.yaml").read_text(encoding="utf-8").replace("arm: words", "arm: word")
    with pytest.raises(UserError, match=r"mixup_text\.comparisons: 'word' is not declared; did you mean words"):
        read_claims(write("claims.yaml", text), read_declaration(FOLDER / "atlas.yaml"))
