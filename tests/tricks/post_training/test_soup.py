"""Soup: the moments, the mean, the greedy choice by hand, other runs that join, going on."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file

from recipes.api import FinishedRun, finetune_config
from recipes.errors import UserError
from recipes.runtime.steps import StepCount
from recipes.testing import difference, in_child, tiny_config, tiny_run
from tricks.post_training.soup import Soup, choose_greedily, mean


def soup(**values: Any) -> Soup:
    return Soup(**{"folders": [], "start": 0.5, "every_fraction": 0.1, "choose": "greedy", **values})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, [12, 14, 16, 18]),  # the last weights join without being taken
        ({"start": 0.0, "every_fraction": 0.25}, [5, 10, 15]),
        ({"start": 0.8, "every_fraction": 0.01}, [17, 18, 19]),
        ({"start": 1.0}, []),
    ],
)
def test_moments(values: dict[str, Any], expected: list[int]) -> None:
    trick = soup(**values)
    steps = StepCount()
    run: Any = SimpleNamespace(total_updates=20, bare_model=torch.nn.Linear(1, 1), after_step=steps.follow)
    for call in range(25):  # some steps are skipped
        trick.update(run, partial(steps.add, torch.tensor(call % 5 > 0)))
    assert list(trick.moments) == expected


def test_the_mean_by_hand_and_a_counter_has_none() -> None:
    one = {"weight": torch.tensor([1.0, 2.0]), "count": torch.tensor(3)}
    other = {"weight": torch.tensor([2.0, 6.0]), "count": torch.tensor(5)}
    result = mean([one, other])
    assert result["weight"].tolist() == [1.5, 4.0]
    assert result["count"].item() == 5


def test_greedy_by_hand() -> None:
    scores = {"a": 0.7, "b": 0.9, "c": 0.8, "d": 0.6, "bc": 0.85, "ba": 0.9, "bad": 0.95}
    requested = []

    def score(names: list[str]) -> float:
        requested.append("".join(names))
        return scores[requested[-1]]

    # b is best; c makes it worse and goes; a makes it no worse and stays, d makes it better.
    assert choose_greedily(["a", "b", "c", "d"], score) == ["b", "a", "d"]
    assert requested == ["a", "b", "c", "d", "bc", "ba", "bad"]


def test_greedy_compares_with_the_current_best_not_with_the_first() -> None:
    """The mean of all three is better than the first ingredient and worse than the first two: the third goes."""
    scores = {"a": 0.9, "b": 0.8, "c": 0.7, "ab": 0.95, "abc": 0.92}
    assert choose_greedily(["a", "b", "c"], lambda names: scores["".join(names)]) == ["a", "b"]


def test_over_a_run_the_average_is_owned_only_at_the_end(tmp_path: Path) -> None:
    def owned() -> list[bool]:
        run = tiny_run(tiny_config("+tricks=[soup]", "tricks.soup.choose=uniform"), tmp_path)
        result = []
        evaluate = run._evaluate

        def watched() -> None:
            with run.seams.weights() as mine:
                result.append(mine)
            evaluate()

        run._evaluate = watched  # type: ignore[method-assign]
        run.fit()
        return result

    assert in_child(owned) == [False, False, True]


def weights_of(run: FinishedRun) -> Any:
    return load_file(run.folder / "model" / "model.safetensors")


@pytest.mark.slow
def test_runs_that_join(tmp_path: Path) -> None:
    """With no moments and uniform: the mean of this run's last weights and those of the two folders."""

    def output() -> list[dict[str, Any]]:
        alone = [
            finetune_config(tiny_config(f"seeds.order={seed}", "evaluate.weights=last"), tmp_path / str(seed))
            for seed in (1, 2, 3)
        ]
        combined = f"tricks.soup.folders=[{tmp_path / '2'},{tmp_path / '3'}]"
        both = tiny_config(
            "seeds.order=1", "+tricks=[soup]", "tricks.soup.start=1", "tricks.soup.choose=uniform", combined
        )
        return [weights_of(each) for each in (*alone, finetune_config(both, tmp_path / "soup"))]

    *alone, mixed = in_child(output)
    expected = {name: sum(each[name].astype("float64") for each in alone) / 3 for name in mixed}
    assert difference(expected, mixed) < 1e-6
    assert difference(alone[0], mixed) > 1e-4


def test_a_run_that_was_judged_on_other_rows_is_refused(tmp_path: Path) -> None:
    def refusal() -> str:
        finetune_config(tiny_config("train.max_updates=2", "data.validation=null"), tmp_path / "other")
        config = tiny_config("+tricks=[soup]", f"tricks.soup.folders=[{tmp_path / 'other'}]")
        with pytest.raises(UserError) as summary:
            finetune_config(config, tmp_path / "soup")
        assert not (tmp_path / "soup").exists()
        return str(summary.value)

    assert "it has data.validation=null, this run " in in_child(refusal)


def test_a_run_that_was_trained_on_the_rows_of_evaluation_is_refused(tmp_path: Path) -> None:
    def refusal() -> str:
        cut = ["train.max_updates=2", "data.test=null"]
        finetune_config(tiny_config(*cut), tmp_path / "other")
        combined = f"tricks.soup.folders=[{tmp_path / 'other'}]"
        with pytest.raises(UserError) as summary:
            finetune_config(tiny_config(*cut, "data.split_seed=1", "+tricks=[soup]", combined), tmp_path / "soup")
        return str(summary.value)

    assert "it has data.split_seed=0, this run 1" in in_child(refusal)


@pytest.mark.slow
def test_the_greedy_average_is_no_worse_on_validation_than_any_ingredient(tmp_path: Path) -> None:
    def scores() -> tuple[float, float, list[str], str]:
        run = finetune_config(tiny_config("+tricks=[soup]", "train.learning_rate=3e-3"), tmp_path / "run")
        candidates, card = run.metrics["candidates"], (run.folder / "model" / "README.md").read_text()
        return candidates["averaged"]["accuracy"], candidates["last"]["accuracy"], run.metrics["ingredients"], card

    mixed, last, ingredients, card = in_child(scores)
    assert mixed >= last
    # What validation chose is told where scores are.
    assert ingredients and all(name == "the last" or name.startswith("update ") for name in ingredients)
    assert "because on that split the averaged weights were chosen" in card


def test_moments_come_back() -> None:
    trick, other = soup(), soup()
    trick.moments = {1: {"a": torch.ones(2)}, 11: {"a": torch.zeros(2)}}
    other.load(trick.state())
    assert {name: each["a"].tolist() for name, each in other.moments.items()} == {1: [1.0, 1.0], 11: [0.0, 0.0]}
