"""Freeze layers: what is frozen when, for good and for a while."""

from pathlib import Path

from recipes.testing import copy_weights, in_child, tiny_config, tiny_run

PARTS = ("embeddings", "layer.0.", "layer.1.", "classifier")


def moved(folder: Path, updates: int, *overrides: str) -> list[list[str]]:
    """The parts whose weights each update changes."""
    config = tiny_config("+tricks=[freeze_layers]", f"train.max_updates={updates}", "train.warmup=0", *overrides)
    run = tiny_run(config, folder)
    result = []
    for index in range(min(updates, 5)):
        before = copy_weights(run)
        run._step(run.seams.batches(run.train, 0)[index])
        changed = [name for name, values in copy_weights(run).items() if (values != before[name]).any()]
        result.append([part for part in PARTS if any(part in name for name in changed)])
    return result


def test_for_good(tmp_path: Path) -> None:
    assert in_child(lambda: moved(tmp_path, 3, "tricks.freeze_layers.fraction=0.5")) == [["layer.1.", "classifier"]] * 3
    assert in_child(lambda: moved(tmp_path, 2, "tricks.freeze_layers.fraction=1")) == [["classifier"]] * 2


def test_from_the_top_down(tmp_path: Path) -> None:
    """Two layers and the embeddings, and all have thawed after 3 of 4 updates: one at each."""
    values = ["tricks.freeze_layers.fraction=1", "tricks.freeze_layers.until=0.75"]
    assert in_child(lambda: moved(tmp_path, 4, *values)) == [
        ["classifier"],
        ["layer.1.", "classifier"],
        ["layer.0.", "layer.1.", "classifier"],
        list(PARTS),
    ]


def test_what_is_frozen_for_good_is_not_in_the_optimizer(tmp_path: Path) -> None:
    def trained() -> int:
        run = tiny_run(tiny_config("+tricks=[freeze_layers]", "tricks.freeze_layers.fraction=1"), tmp_path)
        optimizer = run.optimizer
        return sum(len(group["params"]) for group in optimizer.param_groups)  # type: ignore[attr-defined]

    assert in_child(trained) == 4  # pooler and classifier
