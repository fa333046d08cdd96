"""Whether a stage before the first update is all of training."""

import pytest

from recipes.doctor.stages import is_trained_before_updates
from recipes.testing import tiny_config


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["train.learning_rate=0"], True),
        (["train.learning_rate=1e-3"], False),
        (["train.learning_rate=0", "tricks.contrastive.epochs=0"], False),
        (["train.learning_rate=0", "tricks.contrastive.head=new"], False),
    ],
)
def test_a_stage_is_all_of_training_if_it_fits_the_head_and_no_update_follows(
    overrides: list[str], expected: bool
) -> None:
    assert is_trained_before_updates(tiny_config("+tricks=[contrastive]", *overrides)) == expected
