"""Which arms answer the question with the fewest runs, and what they cannot tell apart.

An arm says the level of each factor, 0 being what the others are compared with. A design is chosen among the arms that
are admissible, and everything that is said of it (contrasts, aliases) is computed from the arms that are really there,
so that it holds for failed runs and refused pairs as well.

- `one_at_a_time`: the base, and each level alone on it. What a trick does *alone on the base*.
- `leave_one_out`: all together, and all but one. What a trick does *beside all others*.
- `full`: every admissible arm. What a trick does on *average over the other tricks*, and every pair.
- `auto`: the same question with few arms. A regular two-level fraction (Box and Hunter 1961) where every factor has two
  levels and no arm is refused; else the rows of largest determinant (Fedorov 1972), pairs being terms that might matter
  (DuMouchel and Jones 1994).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, product
from types import MappingProxyType

import numpy as np

from recipes.errors import UserError

Arm = tuple[int, ...]
"""The level of each factor."""

DIFFERENCES = ("one_at_a_time", "leave_one_out")
KINDS = ("auto", "full", *DIFFERENCES)
MOST_CANDIDATES = 2**12
STARTS = 10
CLEAR = 0.25
"""Of a pair, this share inside a main effect is still borne; 0.5 cannot be told from the effect at all."""
ROUNDING = 1e-9


@dataclass(frozen=True, order=True)
class Effect:
    """What is asked of a design: what a level does beside level 0, or what two do beyond their sum."""

    places: tuple[tuple[int, int], ...]
    """(factor, level), of one or two factors."""


@dataclass(frozen=True)
class Design:
    """The arms of a study, and what is read from them."""

    kind: str
    levels: tuple[int, ...]
    """How many each factor has."""
    arms: tuple[Arm, ...]

    @property
    def estimand(self) -> str:
        """What an effect of this design is, in words."""
        alone = {"one_at_a_time": "alone on the base", "leave_one_out": "beside all others"}
        return alone.get(self.kind, "average over the other tricks")

    @property
    def mains(self) -> list[Effect]:
        """Each level but the first of each factor."""
        return [Effect(((factor, level),)) for factor, count in enumerate(self.levels) for level in range(1, count)]

    @property
    def pairs(self) -> list[Effect]:
        """Two such levels of two factors that some arm has together; none where arms differ in one factor only."""
        if self.kind in DIFFERENCES:
            return []
        together = {
            pair for arm in self.arms for pair in combinations([place for place in enumerate(arm) if place[1]], 2)
        }
        return sorted(map(Effect, together))

    def of(self, arms: Iterable[Arm]) -> "Design":
        """The same design with these of its arms only."""
        kept = set(arms)
        return replace(self, arms=tuple(arm for arm in self.arms if arm in kept))

    def contrasts(self) -> Mapping[Effect, np.ndarray]:
        """How each effect that these arms can tell is made of the arms' scores: weights that sum to 0, (arm)."""
        return _contrasts(self)

    def twin(self, effect: Effect, admissible: Callable[[Arm], bool]) -> tuple[Arm, Arm] | None:
        """An arm beside those of the design, and one of these that differs from it in a single level alone.

        As little else as can be is on in them. None where two arms of the design differ so, or no other can be run.
        """
        ((factor, level),) = effect.places
        near = [(_at(arm, factor, level - arm[factor]), arm) for arm in self.arms if arm[factor] in (0, level)]
        if any(new in self.arms for new, _ in near):
            return None
        allowed = [pair for pair in near if admissible(pair[0])]
        return min(allowed, key=lambda pair: (np.count_nonzero(pair), pair), default=None)

    def aliases(self) -> dict[Effect, dict[Effect, float]]:
        """The pairs that stand inside a main effect of this design, each with how much of it does."""
        effects = columns(self.arms, self.levels, self.pairs)
        found = {}
        for effect, weights in self.contrasts().items():
            if len(effect.places) == 1:
                inside = dict(zip(self.pairs, (weights @ effects).tolist(), strict=True))
                found[effect] = {pair: share for pair, share in inside.items() if abs(share) > 1e-6}
        return {effect: pairs for effect, pairs in found.items() if pairs}

    def inseparable(self) -> list[list[Effect]]:
        """Pairs that are not told: those in a group look alike in these arms, single ones stand inside others."""
        contrasts = self.contrasts()
        left = [pair for pair in self.pairs if pair not in contrasts]
        found = columns(self.arms, self.levels, left)
        apart = found - _span(columns(self.arms, self.levels, self.mains)) @ found
        groups: list[list[int]] = []
        for place in range(len(left)):
            for group in groups:
                if _parallel(apart[:, place], apart[:, group[0]]):
                    group.append(place)
                    break
            else:
                groups.append([place])
        return [[left[place] for place in group] for group in groups]


def choose(levels: Sequence[int], admissible: Callable[[Arm], bool], kind: str, most_arms: int) -> Design:
    """Choose the arms.

    Args:
        levels: how many each factor has, 2 or more.
        admissible: whether an arm can be run.
        kind: one of `KINDS`.
        most_arms: what the budget allows for each seed and data set.

    Raises:
        UserError: no such design fits the budget, or the arms that it needs are refused.
    """
    counts = tuple(levels)
    if kind in DIFFERENCES:
        arms = _around(_middle(kind, counts), counts, admissible, kind)
    elif kind == "full":
        arms = _all(counts, admissible)
    else:
        arms = _auto(counts, admissible, most_arms)
    if len(arms) < 2:
        raise UserError(f"hydra.sweeper.design={kind}: no two arms that it compares can be run; choose design=auto.")
    if len(arms) > most_arms:
        raise UserError(
            f"hydra.sweeper.design={kind} needs {len(arms)} arms, and hydra.sweeper.budget allows {most_arms} for each "
            "seed and data set; raise the budget, take fewer seeds, or choose design=auto."
        )
    return Design(kind, counts, tuple(sorted(arms)))


def columns(arms: Sequence[Arm], levels: Sequence[int], effects: Sequence[Effect]) -> np.ndarray:
    """The model's columns, (arm, effect): coefficients are differences to level 0, averaged over the other factors."""
    found = np.ones((len(arms), len(effects)))
    chosen = np.array(arms)
    for column, effect in enumerate(effects):
        for factor, level in effect.places:
            found[:, column] *= (chosen[:, factor] == level) - 1 / levels[factor]
    return found


@lru_cache
def _contrasts(design: Design) -> Mapping[Effect, np.ndarray]:
    if design.kind in DIFFERENCES:
        return MappingProxyType(dict(_differences(design)))
    both = [*design.mains, *design.pairs]
    weights, told = _weights(columns(design.arms, design.levels, both))
    found = {effect: row for effect, row, known in zip(both, weights, told, strict=True) if known}
    # What pairs stand in the way of is told as if there were none of them; `aliases` says of which.
    weights, told = _weights(columns(design.arms, design.levels, design.mains))
    alone = {effect: row for effect, row, known in zip(design.mains, weights, told, strict=True) if known}
    return MappingProxyType({**alone, **found})


def _differences(design: Design) -> Iterator[tuple[Effect, np.ndarray]]:
    """Of one arm and another that differs from it in one factor."""
    place = {arm: number for number, arm in enumerate(design.arms)}
    middle = _middle(design.kind, design.levels)
    for effect in design.mains:
        ((factor, level),) = effect.places
        with_it, without = _at(middle, factor, level), _at(middle, factor, 0)
        if with_it in place and without in place:
            weights = np.zeros(len(design.arms))
            weights[place[with_it]], weights[place[without]] = 1.0, -1.0
            yield effect, weights


def _weights(model: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least-squares weights of each of a model's columns beside a constant, and whether it can be told."""
    whole = np.column_stack([np.ones(len(model)), model])
    solved = np.linalg.pinv(whole, rtol=ROUNDING)
    told = np.isclose(np.diag(solved @ whole), 1, atol=1e-6)
    weights = np.where(np.abs(solved) < ROUNDING, 0, solved)
    return weights[1:], told[1:]


def _span(model: np.ndarray) -> np.ndarray:
    """Projects on a constant and a model's columns, (arm, arm)."""
    whole = np.column_stack([np.ones(len(model)), model])
    projected: np.ndarray = whole @ np.linalg.pinv(whole, rtol=ROUNDING)
    return projected


def _parallel(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether one column is a multiple of the other; one that is nothing beside the main effects is of no other."""
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return lengths > 1e-6 and bool(abs(abs(one @ other) / lengths - 1) < 1e-6)


def _at(arm: Arm, factor: int, level: int) -> Arm:
    return (*arm[:factor], level, *arm[factor + 1 :])


def _middle(kind: str, levels: Sequence[int]) -> Arm:
    """The arm that the others differ from in one factor."""
    return tuple(int(kind == "leave_one_out") for _ in levels)


def _around(middle: Arm, levels: tuple[int, ...], admissible: Callable[[Arm], bool], kind: str) -> list[Arm]:
    """An arm, and those that differ from it in one factor."""
    if not admissible(middle):
        what = "all tricks together, and some of them are refused" if any(middle) else "the base, which is refused"
        raise UserError(f"hydra.sweeper.design={kind} compares with {what}; vary less, or choose design=auto.")
    arms = {_at(middle, factor, level) for factor, count in enumerate(levels) for level in range(count)}
    return [arm for arm in arms if admissible(arm)]


def _all(levels: tuple[int, ...], admissible: Callable[[Arm], bool]) -> list[Arm]:
    if np.prod([float(count) for count in levels]) > MOST_CANDIDATES:
        raise UserError(
            f"{len(levels)} factors have more than {MOST_CANDIDATES:,} arms; take fewer factors, or "
            "hydra.sweeper.design=one_at_a_time."
        )
    return [arm for arm in product(*map(range, levels)) if admissible(arm)]


def _auto(levels: tuple[int, ...], admissible: Callable[[Arm], bool], most: int) -> list[Arm]:
    if set(levels) == {2}:
        # Pairs apart from each other; else main effects apart from pairs.
        for strength in (4, 3):
            arms = regular_fraction(len(levels), strength)
            if len(arms) <= most and all(map(admissible, arms)):
                return arms
    return _optimal(Design("full", levels, tuple(_all(levels, admissible))), most)


def _optimal(whole: Design, most: int) -> list[Arm]:
    """Rows of a full design: enough for its pairs, else the fewest whose main effects stand apart from them."""
    contrasts = whole.contrasts()
    mains = [effect for effect in whole.mains if effect in contrasts]
    pairs = [effect for effect in whole.pairs if effect in contrasts]
    model = columns(whole.arms, whole.levels, [*mains, *pairs])
    model = np.column_stack([np.ones(len(model)), model])
    least, all_told = 1 + len(mains), _roomy(1 + len(mains) + len(pairs))
    if len(model) <= min(most, all_told):
        return list(whole.arms)
    if least > most:
        raise UserError(
            f"hydra.sweeper.budget allows {most} arms for each seed and data set, and {len(mains)} effects need "
            f"{least} at least; raise the budget, take fewer seeds, or vary less."
        )
    counts = [all_told] if all_told <= most else [*range(min(most, _roomy(least)), most, 4), most]
    for count in counts:
        # Nothing is known of what is asked; of a pair that cannot be, that it is about as large as chance.
        prior = np.array([0.0] * least + [float(all_told > most)] * len(pairs))
        arms = tuple(whole.arms[row] for row in largest_determinant(model, prior, min(count, len(model))))
        inside = Design(whole.kind, whole.levels, arms).aliases().values()
        if all(abs(share) <= CLEAR for shares in inside for share in shares.values()):
            break
    return list(arms)


def _roomy(parameters: int) -> int:
    """Rows for so many parameters: a quarter more, in fours."""
    return int(np.ceil(parameters * 1.25 / 4) * 4)


def regular_fraction(factors: int, strength: int) -> list[Arm]:
    """The smallest regular two-level fraction in which so many factors vary independently of each other.

    Strength 2, 3 and 4 are resolution III, IV and V. Each factor is a product of base factors, told as a number whose
    bits are those; so many are independent where no so many of the numbers, or fewer, have the exclusive or 0. Numbers
    are taken greedily in order, which gives the largest possible fractions of every size in use here.
    """
    for base in range(1, factors + 1):
        words: list[int] = []
        # What the next number must not be: the exclusive or of fewer numbers than the strength.
        taken: list[set[int]] = [{0}] + [set() for _ in range(strength - 1)]
        for word in range(1, 2**base):
            if not any(word in sums for sums in taken):
                for size in range(strength - 1, 0, -1):
                    taken[size] |= {each ^ word for each in taken[size - 1]}
                words.append(word)
        if len(words) >= factors:
            # Single bits are among the numbers, and come first: the base factors themselves.
            words = sorted(words[:factors], key=lambda word: (word.bit_count(), word))
            return [tuple((row & word).bit_count() % 2 for word in words) for row in range(2**base)]
    return list(product(range(2), repeat=factors))


def largest_determinant(model: np.ndarray, prior: np.ndarray, count: int) -> list[int]:
    """Choose rows of a model so that the determinant of their information is the largest found.

    Args:
        model: a row for each candidate, a column for each parameter.
        prior: what is known of each parameter beforehand, as information, (parameter).
        count: rows to choose, each once.

    Returns:
        Their numbers, in order; the same ones every time.
    """
    best, chosen = -np.inf, np.arange(count)
    for start in range(STARTS):
        rows = np.random.default_rng(start).choice(len(model), count, replace=False)
        while True:
            information = model[rows].T @ model[rows] + np.diag(prior + ROUNDING)
            solved = np.linalg.solve(information, model.T)
            own = np.einsum("rp,pr->r", model, solved)
            # By how much each exchange of a chosen row (down) for a candidate (across) multiplies the determinant.
            gain = (1 + own) * (1 - own[rows][:, None]) + (model[rows] @ solved) ** 2
            gain[:, rows] = 0
            out, into = np.unravel_index(gain.argmax(), gain.shape)
            if gain[out, into] < 1 + 1e-6:
                break
            rows[out] = into
        size = np.linalg.slogdet(information)[1]
        if size > best + 1e-6:
            best, chosen = size, np.sort(rows)
    return [int(row) for row in chosen]
