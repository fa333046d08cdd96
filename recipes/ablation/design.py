"""Which arms answer the question with the fewest runs, and which effects they cannot separate.

An arm is a level of each factor; the other levels are compared with level 0. A design is chosen among the admissible
arms. Its contrasts and aliases are computed from the arms that really ran, so they hold for failed runs and refused
pairs as well.

- `one_at_a_time`: the base, and each level alone on it. The effect of a trick *alone on the base*.
- `leave_one_out`: all tricks together, and all but one. The effect of a trick *added to all others*.
- `full`: every admissible arm. The effect of a trick on *average over the other tricks*, and every pair.
- `auto`: the same question as `full` with fewer arms. A regular two-level fraction (Box and Hunter 1961) if every
  factor has two levels and no arm is refused; else a D-optimal design (Fedorov 1972) that treats pairs as terms that
  may matter (DuMouchel and Jones 1994).
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
MAX_CANDIDATES = 2**12
STARTS = 10
MAX_ALIAS = 0.25
"""The largest acceptable coefficient of a pair in a main effect; at 0.5 the two cannot be separated at all."""
TOLERANCE = 1e-9


@dataclass(frozen=True, order=True)
class Effect:
    """The effect of one level against level 0 (main effect), or of two levels beyond their sum (pair)."""

    terms: tuple[tuple[int, int], ...]
    """(factor, level), of one or two factors."""


@dataclass(frozen=True)
class Design:
    """The arms of a study, and the effects that they can estimate."""

    kind: str
    levels: tuple[int, ...]
    """Number of levels of each factor."""
    arms: tuple[Arm, ...]

    @property
    def estimand(self) -> str:
        """What an effect of this design means, in words."""
        of_differences = {"one_at_a_time": "alone on the base", "leave_one_out": "added to all others"}
        return of_differences.get(self.kind, "average over the other tricks")

    @property
    def mains(self) -> list[Effect]:
        """Main effects: each level of each factor, except the first."""
        return [Effect(((factor, level),)) for factor, count in enumerate(self.levels) for level in range(1, count)]

    @property
    def pairs(self) -> list[Effect]:
        """Pairs of levels of two factors that occur together in some arm; none if arms differ in one factor only."""
        if self.kind in DIFFERENCES:
            return []
        together = set()
        for arm in self.arms:
            terms = [(factor, level) for factor, level in enumerate(arm) if level]
            together |= set(combinations(terms, 2))
        return sorted(map(Effect, together))

    def restrict_to(self, arms: Iterable[Arm]) -> "Design":
        """Return the same design with only these of its arms."""
        remaining = set(arms)
        return replace(self, arms=tuple(arm for arm in self.arms if arm in remaining))

    def contrasts(self) -> Mapping[Effect, np.ndarray]:
        """The weights of the arms' scores in each effect that can be estimated; they sum to 0, (arm)."""
        return _compute_contrasts(self)

    def find_twin(self, effect: Effect, admissible: Callable[[Arm], bool]) -> tuple[Arm, Arm] | None:
        """Find an arm outside the design that differs from an arm of the design in one level only.

        Returns:
            The new arm and the arm of the design, with as few other levels on as possible. None if two arms of the
            design already differ in this level only, or if no such arm can be run.
        """
        ((factor, level),) = effect.terms
        # The other one of 0 and the level.
        candidates = [
            (_with_level(arm, factor, level - arm[factor]), arm) for arm in self.arms if arm[factor] in (0, level)
        ]
        if any(new in self.arms for new, _ in candidates):
            return None
        runnable = [pair for pair in candidates if admissible(pair[0])]
        return min(runnable, key=lambda pair: (np.count_nonzero(pair), pair), default=None)

    def aliases(self) -> dict[Effect, dict[Effect, float]]:
        """The pairs that each main effect includes, with their coefficients.

        The estimate of a main effect is the true effect plus the sum of coefficient times true pair effect. In the
        literature this is the alias matrix: contrasts (main effect, arm) times the columns of the pairs (arm, pair).
        """
        pairs = self.pairs
        pair_columns = design_matrix(self.arms, self.levels, pairs)
        aliases = {}
        for effect, weights in self.contrasts().items():
            if len(effect.terms) != 1:
                continue
            coefficients = (weights @ pair_columns).tolist()
            included = {pair: each for pair, each in zip(pairs, coefficients, strict=True) if abs(each) > 1e-6}
            if included:
                aliases[effect] = included
        return aliases

    def inseparable_pairs(self) -> list[list[Effect]]:
        """The pairs that cannot be estimated, in groups.

        The arms cannot tell the pairs of one group from each other: their columns are parallel once the main effects
        are projected out. A pair that is alone in its group is aliased with main effects.
        """
        contrasts = self.contrasts()
        pairs = [pair for pair in self.pairs if pair not in contrasts]
        pair_columns = design_matrix(self.arms, self.levels, pairs)
        on_mains = _projection(design_matrix(self.arms, self.levels, self.mains))
        residuals = pair_columns - on_mains @ pair_columns
        # Each group is a list of column indices; its first column stands for all of them.
        groups: list[list[int]] = []
        for column in range(len(pairs)):
            group = next((each for each in groups if _are_parallel(residuals[:, column], residuals[:, each[0]])), None)
            if group is None:
                groups.append([column])
            else:
                group.append(column)
        return [[pairs[column] for column in group] for group in groups]


def choose(levels: Sequence[int], admissible: Callable[[Arm], bool], kind: str, most_arms: int) -> Design:
    """Choose the arms of a design.

    Args:
        levels: number of levels of each factor, 2 or more.
        admissible: whether an arm can be run.
        kind: one of `KINDS`.
        most_arms: the most arms that the budget allows for each seed and data set.

    Raises:
        UserError: no such design fits the budget, or the arms that it needs are refused.
    """
    counts = tuple(levels)
    if kind in DIFFERENCES:
        arms = _arms_around(_center_arm(kind, counts), counts, admissible, kind)
    elif kind == "full":
        arms = _list_admissible_arms(counts, admissible)
    else:
        arms = _choose_auto(counts, admissible, most_arms)
    if len(arms) < 2:
        raise UserError(f"hydra.sweeper.design={kind}: no two arms that it compares can be run; choose design=auto.")
    if len(arms) > most_arms:
        raise UserError(
            f"hydra.sweeper.design={kind} needs {len(arms)} arms, and hydra.sweeper.budget allows {most_arms} for each "
            "seed and data set; raise the budget, take fewer seeds, or choose design=auto."
        )
    return Design(kind, counts, tuple(sorted(arms)))


def design_matrix(arms: Sequence[Arm], levels: Sequence[int], effects: Sequence[Effect]) -> np.ndarray:
    """Return the model's columns, without a constant, (arm, effect).

    An indicator of a level is centered over all its factor's levels, so that a coefficient is the difference to level
    0, averaged over the other factors. A pair is the product of two such columns.
    """
    matrix = np.ones((len(arms), len(effects)))
    arm_levels = np.array(arms)
    for column, effect in enumerate(effects):
        for factor, level in effect.terms:
            matrix[:, column] *= (arm_levels[:, factor] == level) - 1 / levels[factor]
    return matrix


@lru_cache
def _compute_contrasts(design: Design) -> Mapping[Effect, np.ndarray]:
    if design.kind in DIFFERENCES:
        return MappingProxyType(dict(_pairwise_contrasts(design)))
    effects = [*design.mains, *design.pairs]
    with_pairs = _estimable_contrasts(effects, design_matrix(design.arms, design.levels, effects))
    # A main effect that is aliased with pairs is estimated as if there were none; `aliases` reports which.
    without_pairs = _estimable_contrasts(design.mains, design_matrix(design.arms, design.levels, design.mains))
    return MappingProxyType({**without_pairs, **with_pairs})


def _pairwise_contrasts(design: Design) -> Iterator[tuple[Effect, np.ndarray]]:
    """The contrasts of one arm with another that differs from it in one factor."""
    index = {arm: number for number, arm in enumerate(design.arms)}
    center = _center_arm(design.kind, design.levels)
    for effect in design.mains:
        ((factor, level),) = effect.terms
        with_level, without = _with_level(center, factor, level), _with_level(center, factor, 0)
        if with_level in index and without in index:
            weights = np.zeros(len(design.arms))
            weights[index[with_level]], weights[index[without]] = 1.0, -1.0
            yield effect, weights


def _estimable_contrasts(effects: Sequence[Effect], columns: np.ndarray) -> dict[Effect, np.ndarray]:
    """The least-squares weights of the effects that can be estimated next to a constant.

    Args:
        effects: the effects.
        columns: a column for each of them, (arm, effect).
    """
    model = _add_constant(columns)
    pseudo_inverse = np.linalg.pinv(model, rtol=TOLERANCE)
    # A coefficient can be estimated if its row of the resolution matrix is that of the identity.
    is_estimable = np.isclose(np.diag(pseudo_inverse @ model), 1, atol=1e-6)
    weights = np.where(np.abs(pseudo_inverse) < TOLERANCE, 0, pseudo_inverse)
    rows = zip(effects, weights[1:], is_estimable[1:], strict=True)
    return {effect: row for effect, row, estimable in rows if estimable}


def _projection(columns: np.ndarray) -> np.ndarray:
    """The projection on a constant and these columns, (arm, arm)."""
    model = _add_constant(columns)
    projection: np.ndarray = model @ np.linalg.pinv(model, rtol=TOLERANCE)
    return projection


def _add_constant(columns: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(columns)), columns])


def _are_parallel(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether one column is a multiple of the other. A zero column is parallel to nothing."""
    product_of_lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    if product_of_lengths <= 1e-6:
        return False
    cosine = one @ other / product_of_lengths
    return bool(abs(abs(cosine) - 1) < 1e-6)


def _with_level(arm: Arm, factor: int, level: int) -> Arm:
    return (*arm[:factor], level, *arm[factor + 1 :])


def _center_arm(kind: str, levels: Sequence[int]) -> Arm:
    """The arm from which the others differ in one factor."""
    return tuple(int(kind == "leave_one_out") for _ in levels)


def _arms_around(center: Arm, levels: tuple[int, ...], admissible: Callable[[Arm], bool], kind: str) -> list[Arm]:
    """An arm, and those that differ from it in one factor."""
    if not admissible(center):
        name = "all tricks together, and some of them are refused" if any(center) else "the base, which is refused"
        raise UserError(f"hydra.sweeper.design={kind} compares with {name}; vary less, or choose design=auto.")
    arms = {_with_level(center, factor, level) for factor, count in enumerate(levels) for level in range(count)}
    return [arm for arm in arms if admissible(arm)]


def _list_admissible_arms(levels: tuple[int, ...], admissible: Callable[[Arm], bool]) -> list[Arm]:
    if np.prod([float(count) for count in levels]) > MAX_CANDIDATES:
        raise UserError(
            f"{len(levels)} factors have more than {MAX_CANDIDATES:,} arms; take fewer factors, or "
            "hydra.sweeper.design=one_at_a_time."
        )
    return [arm for arm in product(*map(range, levels)) if admissible(arm)]


def _choose_auto(levels: tuple[int, ...], admissible: Callable[[Arm], bool], most: int) -> list[Arm]:
    if set(levels) == {2}:
        # First try a fraction whose pairs are separate from each other, then one whose main effects are unaliased.
        for strength in (4, 3):
            arms = build_regular_fraction(len(levels), strength)
            if len(arms) <= most and all(map(admissible, arms)):
                return arms
    return _choose_d_optimal(Design("full", levels, tuple(_list_admissible_arms(levels, admissible))), most)


def _choose_d_optimal(full: Design, most: int) -> list[Arm]:
    """Choose arms of a full design: enough for its pairs, or else the fewest whose main effects are hardly aliased."""
    contrasts = full.contrasts()
    mains = [effect for effect in full.mains if effect in contrasts]
    pairs = [effect for effect in full.pairs if effect in contrasts]
    model = _add_constant(design_matrix(full.arms, full.levels, [*mains, *pairs]))
    least = 1 + len(mains)
    enough_for_pairs = _count_rows_for(1 + len(mains) + len(pairs))
    if len(model) <= min(most, enough_for_pairs):
        return list(full.arms)
    if least > most:
        raise UserError(
            f"hydra.sweeper.budget allows {most} arms for each seed and data set, and {len(mains)} effects need "
            f"{least} at least; raise the budget, take fewer seeds, or vary less."
        )
    can_estimate_pairs = enough_for_pairs <= most
    counts = [enough_for_pairs] if can_estimate_pairs else [*range(min(most, _count_rows_for(least)), most, 4), most]
    # No prior on the constant and the main effects. Pairs that cannot be estimated have a prior: they are about as
    # large as noise.
    prior = np.array([0.0] * least + [float(not can_estimate_pairs)] * len(pairs))
    for count in counts:
        rows = choose_d_optimal_rows(model, prior, min(count, len(model)))
        arms = tuple(full.arms[row] for row in rows)
        aliases = Design(full.kind, full.levels, arms).aliases()
        coefficients = [abs(each) for included in aliases.values() for each in included.values()]
        if max(coefficients, default=0) <= MAX_ALIAS:
            break
    return list(arms)


def _count_rows_for(parameters: int) -> int:
    """The number of arms for a number of parameters: a quarter more, rounded up to a multiple of four."""
    return int(np.ceil(parameters * 1.25 / 4) * 4)


def build_regular_fraction(factors: int, strength: int) -> list[Arm]:
    """Build the smallest regular two-level fraction of a given strength.

    In a fraction of strength s, any s factors take all combinations of their levels equally often. Strengths 2, 3 and 4
    are resolutions III, IV and V.

    Each factor is a product of base factors, written as a word whose bits are the base factors. Any s factors are
    independent if no s or fewer of the words have an exclusive or of 0. Words are taken greedily in increasing order,
    which gives the largest possible fractions of every size in use here.

    Args:
        factors: number of factors.
        strength: number of factors that must be independent.
    """
    for base in range(1, factors + 1):
        words: list[int] = []
        # By size: the exclusive ors of that many words. The next word must not be among them.
        sums: list[set[int]] = [{0}] + [set() for _ in range(strength - 1)]
        for word in range(1, 2**base):
            if not any(word in each for each in sums):
                for size in range(strength - 1, 0, -1):
                    sums[size] |= {each ^ word for each in sums[size - 1]}
                words.append(word)
        if len(words) >= factors:
            # Words of a single bit, the base factors themselves, come first.
            words = sorted(words[:factors], key=lambda word: (word.bit_count(), word))
            return [tuple((row & word).bit_count() % 2 for word in words) for row in range(2**base)]
    return list(product(range(2), repeat=factors))


def choose_d_optimal_rows(model: np.ndarray, prior: np.ndarray, count: int) -> list[int]:
    """Choose rows of a model that maximize the determinant of their information matrix.

    Fedorov's exchange algorithm, from several random starts that are the same every time.

    Args:
        model: a row for each candidate, a column for each parameter.
        prior: prior information on each parameter, (parameter).
        count: number of rows to choose, each at most once.

    Returns:
        Their indices in increasing order.
    """
    best, best_rows = -np.inf, np.arange(count)
    for start in range(STARTS):
        rows = np.random.default_rng(start).choice(len(model), count, replace=False)
        while True:
            information = model[rows].T @ model[rows] + np.diag(prior + TOLERANCE)
            solved = np.linalg.solve(information, model.T)
            leverages = np.einsum("rp,pr->r", model, solved)
            # The factor by which exchanging a chosen row (down) for a candidate (across) changes the determinant.
            gain = (1 + leverages) * (1 - leverages[rows][:, None]) + (model[rows] @ solved) ** 2
            gain[:, rows] = 0
            out, into = np.unravel_index(gain.argmax(), gain.shape)
            if gain[out, into] < 1 + 1e-6:
                break
            rows[out] = into
        log_determinant = np.linalg.slogdet(information)[1]
        if log_determinant > best + 1e-6:
            best, best_rows = log_determinant, np.sort(rows)
    return [int(row) for row in best_rows]
