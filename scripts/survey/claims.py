"""Claims that people repeat, tried again: the arms that decide each of them (docs/atlas/claims.yaml), and the verdict.

A claim names its arms, each with overrides and, where they differ, its own number of training rows or updates. So a
control can have the compute of the arm that it controls. A comparison is an arm minus another one, seed by seed, with
the difference that was published.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from recipes.ablation.design import Design
from recipes.ablation.effects import estimate
from recipes.ablation.populations import estimate_population
from recipes.errors import UserError
from scripts.survey.blocks import Block, Run, Selection, is_asked, list_pairs
from scripts.survey.declaration import Atlas, build, check_names
from scripts.survey.effects import score_runs
from scripts.survey.rows import Key, Result

HOLDS, DOES_NOT, CANNOT_TELL = "holds", "does not hold", "cannot tell"
TOLERANCE = 0.01
"""A difference that falls short of a larger published one by less than this still holds."""
MIN_SEEDS = 5
PAIR = Design("one_at_a_time", (2,), ((0,), (1,)))


@dataclass(frozen=True)
class ClaimArm:
    """An arm of a claim."""

    overrides: Sequence[str] = ()
    rows: int | None = None
    """Training rows; None: those of the claim."""
    updates: int | None = None
    """None: those of the claim."""


@dataclass(frozen=True)
class Comparison:
    """An arm minus another one."""

    arm: str
    control: str
    published: float | None = None
    """The difference of accuracies; None for a control that the source does not have."""


@dataclass(frozen=True)
class Claim:
    """A published claim."""

    says: str
    source: str
    data: Sequence[str]
    rows: int
    updates: int
    arms: Mapping[str, ClaimArm]
    comparisons: Sequence[Comparison]
    overrides: Sequence[str] = ()
    atlas: Mapping[str, float] = field(default_factory=dict)
    """Tricks whose effect in the atlas speaks of the claim, each with the published difference."""


@dataclass(frozen=True)
class Finding:
    """What was measured of a comparison."""

    comparison: Comparison
    data: Mapping[str, int]
    """The data sets with their number of seeds."""
    value: float = float("nan")
    interval: tuple[float, float] | None = None

    @property
    def verdict(self) -> str:
        """Whether the published difference holds; empty for a control."""
        if self.comparison.published is None:
            return ""
        if self.interval is None or min(self.data.values()) < MIN_SEEDS:
            return CANNOT_TELL
        return judge(self.interval, self.comparison.published)


def judge(interval: tuple[float, float], published: float) -> str:
    """Judge a published difference by an interval.

    It holds if the whole interval has its sign and falls short of it by less than a point, also if there was to be no
    difference. It does not if the whole interval falls short of it. Else nobody can tell.
    """
    low, high = interval if published >= 0 else (-interval[1], -interval[0])
    size = abs(published)
    if low > size - (min(size, TOLERANCE) or TOLERANCE):
        return HOLDS
    return DOES_NOT if high < size else CANNOT_TELL


def read_claims(path: Path, atlas: Atlas) -> dict[str, Claim]:
    """Read the claims.

    Raises:
        UserError: a claim names an arm or a data set that is not declared.
    """
    values: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    claims = {}
    for name, each in values.items():
        arms = {arm: build(ClaimArm, f"{path}: {name}.arms.{arm}", own) for arm, own in each["arms"].items()}
        comparisons = [build(Comparison, f"{path}: {name}.comparisons", own) for own in each["comparisons"]]
        claim = claims[name] = build(Claim, f"{path}: {name}", {**each, "arms": arms, "comparisons": comparisons})
        compared = [arm for own in claim.comparisons for arm in (own.arm, own.control)]
        check_names(f"{path}: {name}.comparisons", compared, claim.arms)
        check_names(f"{path}: {name}.data", claim.data, atlas.data)
    return claims


def list_claim_blocks(atlas: Atlas, claims: Mapping[str, Claim], selection: Selection) -> Iterator[Block]:
    """List the blocks of claims: all arms on one data set with one seed, seed by seed."""
    for seed in range(selection.seeds):
        for name, claim in claims.items():
            if is_asked(name, selection.studies):
                for encoder, data in list_pairs(atlas, claim.data, selection):
                    runs = [make_claim_run(atlas, claim, arm, encoder, data, seed) for arm in claim.arms]
                    yield Block(name, encoder, data, claim.updates, seed, runs)


def make_claim_run(atlas: Atlas, claim: Claim, arm: str, encoder: str, data: str, seed: int) -> Run:
    """Make the run of an arm of a claim."""
    own = claim.arms[arm]
    updates = own.updates or claim.updates
    overrides = (
        *atlas.encoders[encoder].overrides,
        *atlas.overrides,
        "data=files",
        *atlas.data[data].overrides,
        *claim.overrides,
        *own.overrides,
        "evaluate.test=false",
        f"seed={seed}",
        f"train.max_updates={updates}",
    )
    return Run(encoder, data, updates, arm, seed, overrides, own.rows or claim.rows)


def find(atlas: Atlas, claim: Claim, results: Mapping[Key, Result]) -> list[Finding]:
    """Measure each comparison of a claim on the data sets that have both arms."""
    return [find_comparison(atlas, claim, comparison, results) for comparison in claim.comparisons]


def find_comparison(atlas: Atlas, claim: Claim, comparison: Comparison, results: Mapping[Key, Result]) -> Finding:
    """Measure a comparison: paired by seed on each data set, and averaged over data sets."""
    values, intervals, seeds = [], [], {}
    for encoder, data in list_pairs(atlas, claim.data, Selection()):
        pairs = list(_list_paired(atlas, claim, comparison, encoder, data, results))
        if not pairs:
            continue
        seeds[data] = len(pairs)
        block = score_runs(atlas, [(arm, run) for pair in pairs for arm, run in enumerate(pair)], "accuracy")
        means = [block.scores[block.arms == arm].mean() for arm in (0, 1)]
        values.append(float(means[1] - means[0]))
        if len(pairs) > 1:
            try:
                mains, _ = estimate(PAIR, [block])
            except UserError:  # both arms of each seed answer the same
                intervals.append((0.0, 0.0))
            else:
                low, high = mains.interval(0.95)
                intervals.append((float(low[0]), float(high[0])))
    if not values:
        return Finding(comparison, seeds)
    if len(values) > 1:
        interval: tuple[float, float] | None = estimate_population(values).interval
    else:
        interval = intervals[0] if intervals else None
    return Finding(comparison, seeds, float(np.mean(values)), interval)


def _list_paired(
    atlas: Atlas, claim: Claim, comparison: Comparison, encoder: str, data: str, results: Mapping[Key, Result]
) -> Iterator[tuple[Result, Result]]:
    """List the control and the arm of each seed that has both, except runs that diverged."""
    for seed in sorted({key[4] for key in results if key[:2] == (encoder, data)}):
        keys = [
            make_claim_run(atlas, claim, arm, encoder, data, seed).key for arm in (comparison.control, comparison.arm)
        ]
        if all(key in results and results[key].right for key in keys):
            yield results[keys[0]], results[keys[1]]
