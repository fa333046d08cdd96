"""Distill: the loss by hand, what the teacher answers for, and a teacher that goes away."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from recipes import UserError
from recipes.api import finetune_config
from recipes.data.batch import Batch, Outcome
from recipes.errors import InputsChanged
from recipes.prediction.teacher import Teacher, soften
from recipes.testing import finished_run, in_child, kill_after, temporary_folder, tiny_config, tiny_run
from tests.sampling import only
from tricks.in_training.distill import Distill
from tricks.in_training.mixup import MASKS

LOGITS = torch.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0]], dtype=torch.float64)
TEACHER = torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]], dtype=torch.float64)
HARD = torch.tensor([0.7, 0.3], dtype=torch.float64)


def term(trick: Distill, multi_label: bool = False, teacher: Tensor | None = TEACHER) -> Tensor:
    """The loss of two rows whose loss without the trick is HARD."""
    ones = torch.ones(2, 3, dtype=torch.long)
    batch = Batch(["a", "b"], {"input_ids": ones}, torch.tensor([3, 3]), torch.eye(3)[:2], torch.ones(2), 2.0, 0, 0)
    run: Any = SimpleNamespace(multi_label=multi_label)
    targets = torch.zeros(2, 3)
    loss = trick.loss(run, lambda logits, targets: HARD, LOGITS, targets)
    return trick.objective(run, lambda _: Outcome(loss, LOGITS, targets, LOGITS), replace(batch, teacher=teacher)).loss


def test_the_loss_by_hand() -> None:
    log_p = (LOGITS / 2).log_softmax(-1)
    distance = torch.stack([-(TEACHER[0] * log_p[0]).sum(), -log_p[1, 2]])
    torch.testing.assert_close(term(Distill(None, 2.0, 0.25)), 0.75 * HARD + 0.25 * 4 * distance)


def test_classes_are_separate_where_rows_may_have_more_than_one_label() -> None:
    p = (LOGITS / 4).sigmoid()
    distance = -(TEACHER * p.log() + (1 - TEACHER) * (1 - p).log()).mean(-1)
    torch.testing.assert_close(term(Distill(None, 4.0, 0.5), multi_label=True), 0.5 * HARD + 0.5 * 16 * distance)


def test_the_gradient_is_that_of_hinton() -> None:
    """T times the difference of the softened probabilities, (p - q)."""
    logits = LOGITS.clone().requires_grad_()
    trick = Distill(None, 3.0, 1.0)
    batch: Any = SimpleNamespace(teacher=TEACHER)
    run: Any = SimpleNamespace(multi_label=False)
    outcome = trick.objective(run, lambda _: Outcome(torch.zeros(2), logits, TEACHER, logits), batch)
    outcome.loss.sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(logits.grad, 3.0 * ((LOGITS / 3).softmax(-1) - TEACHER))


def test_at_temperature_1_it_is_the_cross_entropy_with_mixed_targets() -> None:
    labels = torch.eye(3, dtype=torch.float64)[:2]
    trick, run, batch = Distill(None, 1.0, 0.3), SimpleNamespace(multi_label=False), SimpleNamespace(teacher=TEACHER)

    def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(logits, targets, reduction="none")

    def inner(_: Any) -> Outcome:
        return Outcome(trick.loss(run, cross_entropy, LOGITS, labels), LOGITS, labels, LOGITS)  # type: ignore[arg-type]

    loss = trick.objective(run, inner, batch).loss  # type: ignore[arg-type]
    torch.testing.assert_close(loss, cross_entropy(LOGITS, 0.7 * labels + 0.3 * TEACHER))


def test_half_precision_does_not_reach_the_logarithm() -> None:
    batch, run = SimpleNamespace(teacher=TEACHER.bfloat16()), SimpleNamespace(multi_label=False)
    outcome = Outcome(HARD.float(), LOGITS.bfloat16(), TEACHER, LOGITS)
    loss = Distill(None, 2.0, 0.5).objective(run, lambda _: outcome, batch).loss  # type: ignore[arg-type]
    assert loss.dtype == torch.float32


def distilled(*overrides: str, tricks: str = "distill") -> Any:
    return tiny_config(f"+tricks=[{tricks}]", f"tricks.distill.teacher={finished_run()}", *overrides)


def test_the_teacher_answers_for_added_rows_too() -> None:
    def answers() -> tuple[np.ndarray, np.ndarray, int]:
        with temporary_folder() as folder:
            run = tiny_run(
                distilled("tricks.eda.variants=1", "tricks.distill.temperature=3", tricks="distill,eda"), folder
            )
        expected = Teacher(str(finished_run()), "").predict(run.train.examples, run.classes)
        assert run.train.teacher is not None
        return run.train.teacher, soften(expected, 3.0), len(run.splits.train)

    given, expected, rows = in_child(answers)
    assert given == pytest.approx(expected)
    assert len(given) == 2 * rows


@pytest.mark.parametrize("level", only(["hidden", "sentence"], MASKS))
@pytest.mark.slow
def test_every_mixture_mixes_the_teachers_answers_like_the_targets(level: str) -> None:
    """If the teacher answers with the targets, its part of a mixture is that of the labels."""

    def compare(mask: str) -> None:
        seen: list[Outcome] = []
        objective = Distill.objective

        def watch(self: Distill, run: Any, inner: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
            assert batch.teacher is not None and torch.equal(batch.teacher, batch.targets)
            seen.append(objective(self, run, inner, batch))
            return seen[-1]

        Distill.objective = watch  # type: ignore[method-assign]
        overrides = [f"tricks.mixup.level={level}", f"tricks.mixup.mask={mask}"]
        with temporary_folder() as folder:
            run = tiny_run(distilled(*overrides, tricks="distill,mixup"), folder)
            for batch in run.seams.batches(run.train, 0):
                run.seams.gradient(replace(batch, teacher=batch.targets))
        mixed = torch.cat([each.targets for each in seen])
        assert ((mixed > 0) & (mixed < 1)).any(), mask

    for mask in MASKS[level][0].split(" | "):
        in_child(partial(compare, mask))


def test_a_teacher_of_other_classes_is_refused_at_the_start(tmp_path: Path) -> None:
    rows = "".join(f"word{row} text,{label}\n" for row in range(9) for label in ("p", "q"))
    (tmp_path / "rows.csv").write_text(f"text,label\n{rows}")
    files = [f"data.{name}={tmp_path}/rows.csv" for name in ("train", "validation", "test")]
    with pytest.raises(UserError, match="its classes are x, y, z, those of this data are p, q"):
        tiny_run(distilled(*files), tmp_path)


@pytest.mark.parametrize("change", ["removed", "changed"])
def test_a_run_does_not_go_on_with_another_teacher(change: str, tmp_path: Path) -> None:
    teacher, folder = tmp_path / "teacher", tmp_path / "run"
    shutil.copytree(finished_run(), teacher, ignore=shutil.ignore_patterns(".lock"))
    config = tiny_config("+tricks=[distill]", f"tricks.distill.teacher={teacher}", "train.max_updates=8")

    def stop_midway() -> None:
        kill_after(7)
        finetune_config(config, folder)

    with pytest.raises(ChildProcessError):
        in_child(stop_midway)
    if change == "removed":
        shutil.rmtree(teacher)
    else:
        (teacher / "model" / "config.json").write_text("{}")
    with pytest.raises(InputsChanged, match=f"teacher={teacher} has {'gone' if change == 'removed' else 'changed'}"):
        finetune_config(config, folder)
