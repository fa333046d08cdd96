"""The strength of a trick alone: what is too strong is named with its setting, and no default is."""

from pathlib import Path

import pytest
import torch

from recipes.doctor.checks import strength
from recipes.doctor.checks.strength import _redrawn_layers, trained_layers, trick_strength
from recipes.doctor.findings import CheckResult, Finding
from recipes.doctor.subject import Subject
from recipes.models.anatomy import layers
from recipes.testing import in_child, tiny_config, tiny_run, tiny_splits
from tests.sampling import slow

# Every trick that acts on the loss, the objective or the gradient; no two of a set exclude each other.
SETS = (
    ("accumulate", "awp", "class_weights", "fgm", "label_smoothing", "mixup", "r_drop"),
    ("focal", "pgd"),
    ("logit_adjustment", "noise_scale"),
)


def strengths(folder: Path, *overrides: str) -> list[Finding]:
    """The findings of the check for a tiny run."""

    def work() -> list[Finding]:
        run = tiny_run(tiny_config(*overrides), folder, folder / "run")
        result = CheckResult("tricks", "trick_strength", "")
        trick_strength(Subject(run.config, run=run, splits=tiny_splits(run.config)), result)
        return result.findings

    return in_child(work)


@pytest.mark.parametrize("names", [SETS[0], *map(slow, SETS[1:])], ids=[names[0] for names in SETS])
def test_no_trick_at_its_default_is_too_strong(names: tuple[str, ...], tmp_path: Path) -> None:
    findings = strengths(tmp_path, f"+tricks=[{','.join(names)}]")
    assert [(each.severity, each.message.partition(" alone")[0]) for each in findings] == [
        ("note", name) for name in sorted(names)
    ]
    # Had the model not learned the batch, half of the figures would be missing.
    assert all("worst pass" in each.message for each in findings), findings


@pytest.mark.slow
def test_tricks_that_are_too_strong_are_named_with_their_settings_and_defaults(tmp_path: Path) -> None:
    strong = {"awp.gamma": "10.0", "fgm.epsilon": "1000.0", "focal.gamma": "50.0", "r_drop.alpha": "1000.0"}
    overrides = [f"tricks.{path}={value}" for path, value in strong.items()]
    findings = strengths(tmp_path, "+tricks=[awp,fgm,focal,label_smoothing,r_drop]", *overrides)
    assert [each.severity for each in findings] == ["warning", "warning", "warning", "note", "warning"], findings
    warnings = [each for each in findings if each.severity == "warning"]
    for each, (path, value) in zip(warnings, strong.items(), strict=True):
        name = path.partition(".")[0]
        assert each.message.startswith(f"with {name} (tricks.{path}={value}) alone, ")
        assert each.remedy.startswith(f"tricks.{path}=") and each.remedy.endswith(f"leave out {name}")


def layers_found(folder: Path, *overrides: str) -> list[Finding]:
    """The findings of the check of layers for a tiny run."""

    def work() -> list[Finding]:
        run = tiny_run(tiny_config(*overrides), folder, folder / "run")
        result = CheckResult("tricks", "trained_layers", "")
        trained_layers(Subject(run.config, run=run, splits=tiny_splits(run.config)), result)
        assert result.inspected == ["2 layers"]
        return result.findings

    return in_child(work)


@pytest.mark.parametrize(
    ("setting", "value", "default", "slow"),
    [("freeze_layers.fraction", "1.0", "0.5", 2), ("layerwise_learning_rate.decay", "0.01", "0.9", 1)],
)
def test_a_trick_that_leaves_few_layers_to_train_is_named(
    setting: str, value: str, default: str, slow: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The last layer has the full rate, and the tiny model has two.
    monkeypatch.setattr(strength, "MOST_SLOW", 0.4)
    name = setting.partition(".")[0]
    (finding,) = layers_found(tmp_path, f"+tricks=[{name}]", f"tricks.{setting}={value}")
    assert finding.message == (
        f"with {name} (tricks.{setting}={value}) alone, {slow} of 2 layers learn at less than a tenth of the learning "
        "rate, or not at all."
    )
    assert finding.remedy == f"tricks.{setting}={default}, the default; or leave out {name}"


def test_defaults_leave_layers_to_train(tmp_path: Path) -> None:
    assert layers_found(tmp_path, "+tricks=[freeze_layers,layerwise_learning_rate,reinitialize_layers]") == []


def test_layers_with_new_weights_are_counted(tmp_path: Path) -> None:
    def count_redrawn() -> list[int]:
        model = tiny_run(tiny_config(), tmp_path, tmp_path / "run").bare_model
        loaded = {name: each.detach().clone() for name, each in model.named_parameters()}
        counts = [_redrawn_layers(model, loaded, 2)]
        with torch.no_grad():
            for layer in layers(model):
                next(each for each in layer.parameters() if each.dim() == 2).add_(1)
                counts.append(_redrawn_layers(model, loaded, 2))
        return counts

    assert in_child(count_redrawn) == [0, 1, 2]
