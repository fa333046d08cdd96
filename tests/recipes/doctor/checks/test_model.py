"""Checks of the model and the loss, on stand-ins for a run with exact logits and losses."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from recipes.doctor.checks import model
from recipes.doctor.checks.model import _class_losses, _row_losses, disk_space, loss_minimum, sizes, targets
from recipes.doctor.findings import CheckResult, Finding
from recipes.doctor.subject import Subject
from recipes.testing import finished_run, in_child, tiny_config
from recipes.trick import Trick


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return -(targets * logits.log_softmax(-1)).sum(-1)


def check_loss(
    loss: Callable[[Tensor, Tensor], Tensor], num_classes: int = 3, multi_label: bool = False
) -> list[Finding]:
    run = SimpleNamespace(
        classes=list(map(str, range(num_classes))),
        multi_label=multi_label,
        accelerator=SimpleNamespace(device=torch.device("cpu")),
        seams=SimpleNamespace(loss=loss),
        tricks={},
    )
    result, subject = CheckResult("model", "loss_minimum", ""), SimpleNamespace(run=run)
    loss_minimum(subject, result)  # type: ignore[arg-type]  (only `run` is used)
    return result.findings


def smoothed(logits: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(logits, 0.9 * targets + 0.1 / 3)


def test_cross_entropy_with_or_without_smoothing_is_fine() -> None:
    assert check_loss(cross_entropy) == check_loss(smoothed) == []


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda logits, targets: -cross_entropy(logits, targets), "for wrong ones"),
        (lambda logits, targets: cross_entropy(logits, targets.roll(1, -1)), "for wrong ones"),
        (lambda logits, targets: cross_entropy(logits.softmax(-1), targets), "probabilities where it expects logits"),
        (lambda logits, targets: -(targets * logits.softmax(-1).log()).sum(-1), "is NaN or inf"),
    ],
)
def test_a_wrong_loss_is_an_error(loss: Callable[[Tensor, Tensor], Tensor], message: str) -> None:
    (finding,) = check_loss(loss)
    assert finding.severity == "error" and message in finding.message


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(-1)


@pytest.mark.parametrize("num_classes", [2, 3, 9, 10, 200])
def test_any_number_of_labels_may_belong_to_one_row(num_classes: int) -> None:
    assert check_loss(binary_cross_entropy, num_classes, multi_label=True) == []
    for wrong in (
        lambda logits, targets: -binary_cross_entropy(logits, targets),
        lambda logits, targets: binary_cross_entropy(logits, targets.roll(1, -1)),
        lambda logits, targets: binary_cross_entropy(logits, 1 - targets),
    ):
        (finding,) = check_loss(wrong, num_classes, multi_label=True)
        assert "for wrong ones" in finding.message


def check_targets(
    rows: list[list[float]], weights: list[float], change: Callable[[Tensor], Tensor] = lambda targets: targets
) -> list[Finding]:
    """Check a batch, with a trick on the loss that changes its targets."""
    ids = [f"row {row}" for row in range(len(rows))]

    class Batch(SimpleNamespace):
        def __len__(self) -> int:
            return len(ids)

    class ChangedTargets(Trick):
        slots = {"loss": "targets"}

        def loss(self, run: Any, inner: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
            return inner(logits, change(targets))

    batch = Batch(ids=ids, targets=torch.tensor(rows), weights=torch.tensor(weights))
    run = SimpleNamespace(
        multi_label=False,
        train=None,
        tricks={"changed": ChangedTargets()},
        accelerator=SimpleNamespace(device=torch.device("cpu")),
        seams=SimpleNamespace(batches=lambda rows, epoch: [batch]),
    )
    subject: Any = SimpleNamespace(run=run)
    result = CheckResult("model", "targets", "")
    targets(subject, result)
    return result.findings


def test_targets_sum_to_one_on_rows_with_a_weight() -> None:
    assert check_targets([[1.0, 0.0], [0.3, 0.7], [0.0, 0.0]], [1.0, 1.0, 0.0]) == []
    (finding,) = check_targets([[1.0, 0.0], [0.3, 0.3], [0.0, 0.0]], [1.0, 1.0, 0.0])
    assert finding.message == "the targets of the first batch do not sum to 1 in 1 of 3 rows, but to 0.6."
    assert finding.rows == ["row 1"]
    (finding,) = check_targets([[1.0, 0.0]], [0.0])
    assert finding.message == "no row of the first batch has any weight."


def test_the_targets_that_a_trick_passes_on_sum_to_one() -> None:
    rows, weights = [[1.0, 0.0], [0.0, 1.0]], [1.0, 1.0]
    assert check_targets(rows, weights, lambda targets: 0.9 * targets + 0.05) == []
    (finding,) = check_targets(rows, weights, lambda targets: targets + 0.05)
    assert finding.message == "the targets that reach the loss do not sum to 1 in 2 of 2 rows, but to 1.1."


def test_row_losses_are_cross_entropies() -> None:
    logits, true = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1])
    one_hot = functional.one_hot(true, 3).float()
    expected = functional.cross_entropy(logits, true, reduction="none")
    assert torch.allclose(_row_losses(logits, one_hot, False), expected)
    expected = functional.binary_cross_entropy_with_logits(logits, one_hot, reduction="none").mean(1)
    assert torch.equal(_row_losses(logits, one_hot, True), expected)


def test_the_loss_is_infinite_exactly_for_labels_without_an_output() -> None:
    losses = _row_losses(torch.zeros(2, 2), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), False)
    assert losses.tolist() == [pytest.approx(math.log(2)), math.inf]


def test_rows_without_weight_count_for_no_class() -> None:
    """A row with an unseen label has targets of 0 only, and must not count for the first class."""
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    batch: Any = SimpleNamespace(targets=targets, weights=torch.tensor([1.0, 1.0, 0.0, 1.0]))
    run: Any = SimpleNamespace(classes=["x", "y"])
    assert _class_losses(run, torch.tensor([1.0, 5.0, 100.0, 3.0]), batch) == {"x": 2.0, "y": 5.0}


class TwoRows:
    """Two encoded rows."""

    def __init__(self, tokens: np.ndarray) -> None:
        self.columns = {"input_ids": tokens}

    def __len__(self) -> int:
        return 2


@pytest.mark.parametrize(
    ("token", "messages"), [(9, []), (10, ["the tokenizer gives token id 10, the model has 10 embeddings."])]
)
def test_the_last_embedding_may_be_used(token: int, messages: list[str]) -> None:
    """Ten embeddings are for tokens 0 to 9."""
    model = SimpleNamespace(get_input_embeddings=lambda: nn.Embedding(10, 2))
    run = SimpleNamespace(
        train=TwoRows(np.array([1, token])),
        head=SimpleNamespace(out_features=2),
        classes=["x", "y"],
        bare_model=model,
    )
    subject: Any = SimpleNamespace(run=run)
    result = CheckResult("model", "sizes", "")
    sizes(subject, result)
    assert [finding.message for finding in result.findings] == messages


@pytest.mark.parametrize(("megabytes", "fits"), [(6, True), (5, False)])
def test_a_disk_that_will_fill(megabytes: int, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """100 kB of weights: 3 checkpoints of 300 kB, the best weights and the model, and 4 MB of other files."""
    monkeypatch.setattr(model, "free_bytes", lambda folder: megabytes * 1_000_000)
    layer = nn.Linear(25_000, 1, bias=False)
    run = SimpleNamespace(
        bare_model=layer,
        parameters=list(layer.parameters()),
        validation=range(10),
        classes=["a", "b"],
        total_updates=10,
        folder=Path("runs/one"),
    )
    splits = SimpleNamespace(hidden_splits=lambda: {"test": range(20)})
    result = CheckResult("model", "disk_space", "")
    disk_space(SimpleNamespace(run=run, config=tiny_config(), splits=splits, folder=None), result)  # type: ignore[arg-type]
    assert len(result.findings) == (not fits)
    for finding in result.findings:
        assert finding.severity == "error" and finding.message.endswith("and 5 MB are free.")
        assert "runs/one: 6 MB are needed while the run trains (3 checkpoints of 1 MB), 5 MB when" in finding.message
        assert "checkpoint.keep=1, checkpoint.save_model=false, or another disk" in finding.remedy


def test_a_loss_that_a_term_replaces_is_not_judged(tmp_path: Path) -> None:
    """A teacher may be all of the objective; the loss of labels is then 0 for all logits."""

    def messages(weight: float) -> list[str]:
        overrides = ["+tricks=[distill]", f"tricks.distill.teacher={finished_run()}", f"tricks.distill.weight={weight}"]
        subject = Subject(tiny_config(*overrides), tmp_path)
        result = CheckResult("model", "loss_minimum", "")
        loss_minimum(subject, result)
        return [finding.message for finding in result.findings]

    assert in_child(lambda: messages(1.0)) == in_child(lambda: messages(0.5)) == []
