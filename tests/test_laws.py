"""The laws over every trick of conf/tricks (2 to 8), and over the loop without any (1)."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest
import torch

from recipes.config import CONF
from recipes.runtime.randomness import seed_forward
from recipes.testing import (
    TrickLaws,
    copy_weights,
    difference,
    in_child,
    names,
    on_ranks,
    temporary_folder,
    tiny_config,
    tiny_run,
    train_tiny,
)

TRICKS = [
    "accumulate",
    "amp",
    "augment_from",
    "awp",
    "balanced_batches",
    "class_weights",
    "clean_labels",
    "clip_gradient",
    "contrastive",
    "deduplicate",
    "distill",
    "duplicate",
    "eda",
    "ema",
    "fgm",
    "focal",
    "freeze_layers",
    "fusion",
    "gce",
    "incremental",
    "label_smoothing",
    "layerwise_learning_rate",
    "logit_adjustment",
    "lora",
    "mixup",
    "mlm",
    "multi_sample_dropout",
    "nlpaug",
    "noise_scale",
    "normalize",
    "pgd",
    "pseudo_label",
    "r_drop",
    "reinitialize_layers",
    "sam",
    "segments",
    "sliding_window",
    "soup",
    "supervised_contrastive",
    "swa",
    "temperature",
    "threshold",
    "truncate",
]


def test_every_trick_is_under_the_laws() -> None:
    assert names() == TRICKS
    assert len(list((CONF / "tricks").glob("*.yaml"))) == len(TRICKS)
    assert {kind.trick for kind in TrickLaws.__subclasses__()} >= set(TRICKS)


# Most pairs are tested in the fast suite; these are the others.
pytest.mark.slow(TrickLaws.test_remaining_pairs)
# The fast suite has the same laws over fewer updates.
pytest.mark.slow(TrickLaws.test_neutral_is_off_in_a_longer_run)
pytest.mark.slow(TrickLaws.test_padding_is_invisible_in_all_updates)
pytest.mark.slow(TrickLaws.test_splitting_is_invisible_in_two_epochs)
# The fast suite has two of these kills for each trick.
pytest.mark.slow(TrickLaws.test_stopping_anywhere_is_invisible)

# Settings that do not matter to a law and save much time: with those of the YAML files, all tricks together would make
# 3,740 rows of 44, and read each of them 50 times before the first update.
TrickLaws.company = {
    "contrastive": {"epochs": 1},
    "duplicate": {"copies": 1},
    "eda": {"variants": 1},
    "mlm": {"epochs": 1},
}
SETTINGS = {"fusion": {"folds": 2}, **TrickLaws.company}

# Laws that the fast suite tries where they are harder to keep, in the test file of the trick: on texts that are really
# cut, with replayed rows, or at each level and mask.
CUT = ("splitting_is_invisible", "splitting_is_invisible_in_32_bits", "stopping_is_invisible")
TRIED_ELSEWHERE = {
    "incremental": ("splitting_is_invisible", "stopping_is_invisible"),
    "mixup": ("neutral_is_off", "splitting_is_invisible"),
    "segments": (*CUT, "restore", "isolation"),
    "sliding_window": CUT,
}

# The loop gets the tricks in the order of their names (`recipes.compose.tricks.build`). So the fast suite tries the law
# of order with two sets, of 33 and of 32 tricks, and `make slow` with all sets.
TRIED_FOR_ORDER = ("accumulate", "mixup")


def slow(law: str) -> Callable[[TrickLaws], None]:
    """The law, for `make slow` alone."""

    @pytest.mark.slow
    def test(self: TrickLaws) -> None:
        getattr(super(type(self), self), law)()

    return test


for name in TRICKS:
    tried_elsewhere = [*TRIED_ELSEWHERE.get(name, ()), *([] if name in TRIED_FOR_ORDER else ["order_is_free"])]
    attributes = {"trick": name, "settings": SETTINGS.get(name, {})}
    attributes |= {f"test_{law}": slow(f"test_{law}") for law in tried_elsewhere}
    globals()[f"Test{name.title()}"] = type(f"Test{name.title()}", (TrickLaws,), attributes)


@pytest.mark.slow
class TestCleanLabelsThatDrop(TrickLaws):
    trick = "clean_labels"
    settings: ClassVar = {"action": "drop"}


@pytest.mark.slow
class TestFgmOnTheMatrix(TrickLaws):
    trick = "fgm"
    settings: ClassVar = {"scope": "matrix", "epsilon": 1.0}


@pytest.mark.slow
class TestPgdOnTheMatrix(TrickLaws):
    trick = "pgd"
    settings: ClassVar = {"scope": "matrix", "epsilon": 1.0, "alpha": 0.3}


@pytest.mark.parametrize("overrides", [(), ("train.schedule=cosine", "train.clip_norm=null", "seeds.dropout=5")])
def test_no_trick_equals_a_plain_loop(overrides: tuple[str, ...]) -> None:
    """Law 1: without a trick, 20 updates with dropout equal those of a plain loop, bit for bit."""

    def train_with_trickbook() -> dict[str, np.ndarray]:
        result = train_tiny(tiny_config(*overrides))
        return {**result["weights"], "losses": np.array(result["losses"])}

    def train_plainly() -> dict[str, np.ndarray]:
        with temporary_folder() as folder:
            run = tiny_run(tiny_config(*overrides), folder)
            train, model = run.config.train, run.bare_model
            decayed = [each for each in model.parameters() if each.dim() > 1]
            others = [each for each in model.parameters() if each.dim() <= 1]
            optimizer = torch.optim.AdamW(
                [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}],
                lr=1e-3,
                fused=True,
            )
            losses, done, total = [], 0, 20
            for epoch in range(4):
                for batch in run.seams.batches(run.train, epoch):
                    if done == total:
                        break
                    seed_forward(run.config.seeds.dropout, epoch, batch.index)
                    logits = model(**batch.inputs).logits
                    loss = torch.nn.functional.cross_entropy(logits, batch.targets, reduction="none")
                    loss = (loss * batch.weights).sum() / batch.weights.sum()
                    loss.backward()
                    torch.nn.utils.clip_grad_norm_(model.parameters(), train.clip_norm or float("inf"))
                    fraction = (done + 0.5) / total
                    decay_fraction = (fraction - 0.1) / 0.9
                    factor = (
                        fraction / 0.1
                        if fraction < 0.1
                        else (
                            1 - decay_fraction
                            if train.schedule == "linear"
                            else (1 + np.cos(np.pi * decay_fraction)) / 2
                        )
                    )
                    for group in optimizer.param_groups:
                        group["lr"] = 1e-3 * factor
                    optimizer.step()
                    optimizer.zero_grad()
                    losses.append(loss.item())
                    done += 1
            return {**copy_weights(run), "losses": np.array(losses)}

    assert difference(in_child(train_with_trickbook), in_child(train_plainly)) == 0


def test_two_ranks_run_even_after_training_in_this_process() -> None:
    """Otherwise the law about many processes would compare a run with itself."""

    def after_training() -> float:
        train_tiny(tiny_config())

        def rows_passed() -> float:
            with temporary_folder() as folder:
                run = tiny_run(tiny_config(), folder)
                run._step(run.seams.batches(run.train, 0)[0])
                return run.rows_passed

        return on_ranks(2, rows_passed)

    assert in_child(after_training) == 4
