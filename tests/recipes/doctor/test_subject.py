"""A subject restores the run after each check."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from recipes.doctor.registry import CHECKS
from recipes.doctor.runner import run_checks
from recipes.doctor.subject import Subject
from recipes.loop import TrainingRun
from recipes.testing import in_child, tiny_config, tiny_run, tiny_splits

TRAINING = {
    "gradients",
    "trick_strength",
    "update_cost",
    "overfitting_one_batch",
    "learning_rate_range",
    "speed",
    "longest_batch",
    "resuming",
}


def copy_optimizer(run: TrainingRun) -> dict[str, Any]:
    """Copy the state of an optimizer, and whether its weights have gradients, by name."""
    state_dict = run.optimizer.state_dict()
    state = {
        f"{number}.{name}": each for number, tensors in state_dict["state"].items() for name, each in tensors.items()
    }
    groups = {
        f"group {number}: {name}": value
        for number, group in enumerate(state_dict["param_groups"])
        for name, value in group.items()
    }
    gradients = {
        f"gradient {name}": each.grad is not None and bool(each.grad.any())
        for name, each in run.bare_model.named_parameters()
    }
    owned = {"owned": [id(each) for group in run.optimizer.param_groups for each in group["params"]]}
    return deepcopy({**state, **groups, **gradients, **owned, "base rates": list(run.base_rates)})


def find_changes(folder: Path, updates: int, uses: Mapping[str, Callable[[Subject], None]]) -> Mapping[str, list[str]]:
    """Use a run after some updates, and list what each use has changed of its optimizer."""

    def work() -> Mapping[str, list[str]]:
        run = tiny_run(tiny_config("+tricks=[layerwise_learning_rate,focal]"), folder, folder / "run")
        for index in range(updates):
            run._step(run.seams.batches(run.train, 0)[index])
        run.console.waiting.clear()
        subject = Subject(run.config, run=run, splits=tiny_splits(run.config))
        subject.scratch = folder / "scratch"
        changed = {}
        before = copy_optimizer(run)
        assert len(before) > 20 and (updates > 0) == any("exp_avg" in name for name in before)
        for use_name, use in uses.items():
            use(subject)
            after = copy_optimizer(run)
            names = [name for name in {**before, **after} if not _same(before.get(name), after.get(name))]
            if names:
                changed[use_name] = names
            before = after
        return changed

    return in_child(work)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    return type(one) is type(other) and bool(one == other)


@pytest.mark.slow
@pytest.mark.parametrize("updates", [0, 2])
def test_no_check_changes_the_optimizer(updates: int, tmp_path: Path) -> None:
    """Compared after each check, since one check may undo the changes of another."""

    def use(check: Any, subject: Subject) -> None:
        (result,) = run_checks(subject, [check]).results
        assert check.name not in TRAINING or result.outcome != "skipped", result

    assert {check.name for check in CHECKS} > TRAINING
    assert find_changes(tmp_path, updates, {check.name: partial(use, check) for check in CHECKS}) == {}


@pytest.mark.parametrize("updates", [0, 2])
def test_the_optimizer_is_restored_after_an_exception(updates: int, tmp_path: Path) -> None:
    def use(subject: Subject) -> None:
        with pytest.raises(ZeroDivisionError), subject.restore_after() as run:
            for group in run.optimizer.param_groups:
                group["lr"] = 1.0
            run.seams.gradient(run.seams.batches(run.train, 0)[0])
            run.optimizer.optimizer.step()
            raise ZeroDivisionError

    assert find_changes(tmp_path, updates, {"training": use}) == {}


@pytest.mark.parametrize(("sample", "rows"), [(4, [0, 2, 4, 6]), (2, [0, 2]), (100, [0, 2, 3, 4, 6])])
def test_a_sample_has_no_row_with_an_unseen_label(sample: int, rows: list[int]) -> None:
    labels = np.array([0, -1, 1, 1, 1, -1, 0])
    run: Any = SimpleNamespace(train=SimpleNamespace(labels=labels))
    assert Subject(tiny_config(), run=run, sample=sample).rows.tolist() == rows
