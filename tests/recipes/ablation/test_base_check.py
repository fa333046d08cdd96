"""Whether the base has learned, and whether twice the updates improve it. Run folders are written by hand."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from recipes.ablation import failures
from recipes.ablation.base_check import Comparison, check_base, compare_lengths, run_base
from recipes.ablation.design import Arm, Design
from recipes.ablation.factors import NONE, Factor, Level, Space
from recipes.ablation.runs import FAILED, FINISHED, Row
from recipes.ablation.spread import PRIOR, Spread
from recipes.errors import UserError

SPACE = Space((Factor("mixup", (NONE, Level("mixup", (), "mixup"))),), {"one": ("data=one",), "two": ("data=two",)})
DESIGN = Design("full", (2,), ((0,), (1,)))


def write_run(folder: Path, score: float, updates: int = 20, **metrics: Any) -> None:
    folder.mkdir(parents=True)
    config = {"train": {"max_updates": updates or None, "epochs": 3.0}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "metrics.json").write_text(json.dumps({"validation": {"accuracy": score}, **metrics}))
    (folder / "history.jsonl").write_text("".join(f'{{"update": {updates}}}\n' for _ in range(updates > 0)))


class Runs:
    """Makes runs whose scores depend on the data set, the length and the seed."""

    def __init__(self, folder: Path, scores: dict[tuple[str, float], Sequence[float | None]], **how: Any) -> None:
        self.folder, self.scores, self.how = folder, scores, how
        self.rotates = False
        self.requests: list[tuple[bool, float, list[str], list[Arm], list[int]]] = []

    def __call__(self, space: Space, arms: Sequence[Arm], seeds: Sequence[int]) -> list[Row]:
        self.requests.append((space is SPACE, space.length, list(space.data), list(arms), list(seeds)))
        rows = []
        for data in space.data:
            for seed in seeds:
                score, run = self.scores[data, space.length][seed], self.folder / f"{data}-{space.length}-{seed}"
                has_collapsed = None if score is None else score == 0.5
                status = FAILED if score is None else FINISHED
                fold = seed if self.rotates else None
                row = Row(data, arms[0], seed, run, status, score=score, fold=fold, collapsed=has_collapsed)
                if score is not None and not run.exists():
                    write_run(run, score, **{"updates": int(20 * space.length), **self.how})
                rows.append(row)
        return rows


def test_the_gain_and_its_interval_by_hand() -> None:
    compared = compare_lengths([0.80, 0.84], 0.90, Spread(0.01, 3), 0.01, 1)
    assert (compared.score, compared.gain) == pytest.approx((0.82, 0.08))
    # The updated deviation; t with 4 degrees of freedom is 1.5332; two runs against one.
    half = 1.533206 * math.sqrt((3 * 0.01**2 + 2 * 0.02**2) / 4) * math.sqrt(1.5)
    assert (compared.low, compared.high) == pytest.approx((0.08 - half, 0.08 + half), rel=1e-5)
    # Two data sets: each has half of the error.
    half *= 2.131847 / 1.533206
    assert compare_lengths([0.80, 0.84], 0.90, Spread(0.01, 3), 0.01, 2).low == pytest.approx(0.08 - half, rel=1e-5)


def test_where_folds_rotate_only_runs_on_the_first_fold_are_compared(tmp_path: Path) -> None:
    """Fold 1 is harder by 0.3, which is neither noise of the seed nor a reason to train longer."""
    scores: dict[tuple[str, float], Sequence[float | None]] = {("one", 1): [0.9, 0.6], ("one", 2): [0.9]}
    space = Space(SPACE.factors, {"one": ("data=one",)})
    runs = Runs(tmp_path, scores)
    runs.rotates = True
    base = run_base(space, DESIGN, 3, "accuracy", runs)
    assert base.spreads == {"one": PRIOR}
    ((name, text),) = check_base(base, 0.01, [1], runs)
    assert name == "length" and "twice the updates improve accuracy by +0.0000" in text


@pytest.mark.parametrize(
    ("gain", "low", "is_improving", "is_unclear"),
    [(0.05, 0.01, True, False), (0.05, -0.01, False, True), (0.009, 0.001, False, False), (-0.1, -0.2, False, False)],
)
def test_improving_is_above_the_margin_and_above_chance(
    gain: float, low: float, is_improving: bool, is_unclear: bool
) -> None:
    compared = Comparison(0.8, gain, low, 2 * gain - low, 0.01)
    assert (compared.is_improving, compared.is_unclear) == (is_improving, is_unclear)


def test_the_first_seeds_of_the_base_are_runs_of_the_study(tmp_path: Path) -> None:
    runs = Runs(tmp_path, {("one", 1): [0.80, 0.84], ("two", 1): [0.9, None]})
    base = run_base(SPACE, DESIGN, 3, "accuracy", runs)
    assert runs.requests == [(True, 1, ["one", "two"], [(0,)], [0, 1])]
    assert base.spreads == {"one": PRIOR.update([0.80, 0.84]), "two": PRIOR}
    # If the base is no arm of the study, its rows are not among those of the study.
    run_base(SPACE, Design("leave_one_out", (2,), ((1,),)), 1, "accuracy", runs)
    assert runs.requests[1] == (False, 1, ["one", "two"], [(0,)], [0])


def test_a_base_that_still_improves_ends_the_study(tmp_path: Path) -> None:
    scores = {("one", 1): [0.80, 0.80], ("two", 1): [0.80, 0.81], ("one", 2): [0.80], ("two", 2): [0.95]}
    runs = Runs(tmp_path, scores)
    with pytest.raises(UserError) as raised:
        check_base(run_base(SPACE, DESIGN, 3, "accuracy", runs), 0.01, [1], runs)
    message = str(raised.value)
    assert message.startswith("Train longer first: 40 updates (train.max_updates=40). two: twice the updates improve")
    assert "accuracy by +0.1450 (80% interval +0.0" in message and "one:" not in message
    assert message.endswith("To study this base nevertheless: hydra.sweeper.check_base=false.")
    assert runs.requests[1] == (False, 2, ["one", "two"], [(0,)], [0])


def test_the_advice_names_the_setting_that_sets_the_length(tmp_path: Path) -> None:
    scores = {(data, length): [0.5 + length / 5] * 2 for data in SPACE.data for length in (1, 2)}
    runs = Runs(tmp_path, scores)
    with pytest.raises(UserError, match=r"first: 40 updates \(hydra\.sweeper\.lengths=\[1,2\]\)\."):
        check_base(run_base(SPACE, DESIGN, 2, "accuracy", runs), 0.01, [0.5, 1], runs)
    for data in SPACE.data:
        (tmp_path / f"{data}-2.0-0" / "config.yaml").write_text("train: {max_updates: null, epochs: 6.0}\n")
    with pytest.raises(UserError, match=r"first: 40 updates \(train\.epochs=6\)\."):
        check_base(run_base(SPACE, DESIGN, 2, "accuracy", runs), 0.01, [1], runs)


def test_a_base_that_is_long_enough_or_unclear_goes_on(tmp_path: Path) -> None:
    scores = {("one", 1): [0.80, 0.81], ("two", 1): [0.80, 0.82], ("one", 2): [0.81], ("two", 2): [0.83]}
    runs = Runs(tmp_path, scores)
    lines = check_base(run_base(SPACE, DESIGN, 3, "accuracy", runs), 0.01, [1], runs)
    assert [name for name, _ in lines] == ["length", "warning"]
    assert lines[0][1].startswith("one: twice the updates improve accuracy by +0.0050")
    assert "a seed may do as much" in lines[1][1]


def test_less_of_a_loss_is_better(tmp_path: Path) -> None:
    scores = {(data, length): [1.0 / length] * 2 for data in SPACE.data for length in (1, 2)}
    runs = Runs(tmp_path, scores)
    with pytest.raises(UserError, match=r"improve loss by \+0\.5000"):
        check_base(run_base(SPACE, DESIGN, 2, "loss", runs), 0.01, [1], runs)


def test_a_base_that_has_not_learned_ends_the_study(tmp_path: Path) -> None:
    scores = {(data, length): [0.5, 0.5] for data in SPACE.data for length in (1, 2)}
    runs = Runs(tmp_path, scores)
    with pytest.raises(UserError) as raised:
        check_base(run_base(SPACE, DESIGN, 2, "accuracy", runs), 0.01, [1], runs)
    assert "the base did not learn on one (2 of 2 runs answer one class or diverged) and on two" in str(raised.value)
    assert "two: twice the updates improve accuracy by +0.0000" in str(raised.value)
    assert "hydra.sweeper.check_base=false" in str(raised.value)


def test_a_base_that_is_not_better_than_its_baseline_has_not_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "_find_low_end", lambda predictions, metric: 0.7)
    monkeypatch.setattr(failures.RunFolder, "load_predictions", lambda folder, split: None)
    scores = {(data, length): [0.8, 0.8] for data in SPACE.data for length in (1, 2)}
    health = {"headline": "not_better", "baselines": {"majority": {"accuracy": 0.5}, "linear": {"accuracy": 0.81}}}
    runs = Runs(tmp_path, scores, health=health)
    with pytest.raises(UserError, match=r"did not learn on one \(accuracy 0\.8000; the linear baseline has 0\.8100\)"):
        check_base(run_base(SPACE, DESIGN, 2, "accuracy", runs), 0.01, [1], runs)


def test_a_model_without_a_training_loop_has_no_length(tmp_path: Path) -> None:
    runs = Runs(tmp_path, {("one", 1): [0.8, 0.8], ("two", 1): [None, None]}, updates=0)
    assert check_base(run_base(SPACE, DESIGN, 2, "accuracy", runs), 0.01, [1], runs) == []
    assert len(runs.requests) == 1
