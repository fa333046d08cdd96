"""Every draw depends on its purpose alone."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from recipes.runtime.randomness import generator, key, seed_forward


def test_the_same_purpose_gives_the_same_key() -> None:
    assert key(0, "order", 3) == key(0, "order", 3)


def test_every_part_of_the_purpose_counts() -> None:
    purposes = [
        (0,),
        (1,),
        (0, "order"),
        (0, "mixup"),
        (0, "order", 0),
        (0, "order", 1),
        (0, "order", 0, 0),
        (0, "order", 0, 1),
        (0, "order", 1, 0),
        (0, "order", 11),
        (0, "order", 1, 1),
        (0, "order1", 1),
        (0, "", "order"),
    ]
    assert len({key(*purpose) for purpose in purposes}) == len(purposes)


def test_keys_fit_a_torch_seed_and_fill_it() -> None:
    keys = [key(seed, "any") for seed in range(500)]
    assert all(0 <= each < 2**63 for each in keys)
    assert len(set(keys)) == 500
    assert 0.4 < sum(each >= 2**62 for each in keys) / 500 < 0.6


def test_keys_are_those_of_all_releases() -> None:
    """Another key would be another run."""
    assert key(7, "order", 2, (1, 0)) == 842753384580935826


@pytest.mark.slow
def test_keys_do_not_change_from_process_to_process() -> None:
    code = "from recipes.runtime.randomness import key; print(key(7, 'order', 2, (1, 0)))"
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert int(output.stdout) == key(7, "order", 2, (1, 0))


def test_a_key_has_not_changed() -> None:
    # blake2b of "0", "order", "0" joined by 0x1f. Another key would break the pairing with older runs.
    assert key(0, "order", 0) == 1370560536841482319


def test_generators_of_neighbouring_epochs_are_uncorrelated() -> None:
    draws = np.array([generator(0, "order", epoch).random(1000) for epoch in range(20)])
    correlations = np.corrcoef(draws)[~np.eye(20, dtype=bool)]
    assert np.abs(correlations).max() < 0.15
    assert np.array_equal(generator(0, "order", 4).random(1000), draws[4])


def test_draws_of_one_generator_do_not_change_another() -> None:
    one, other = generator(0, "a"), generator(0, "b")
    one.random(100)
    assert other.random() == generator(0, "b").random()


def test_dropout_depends_on_epoch_batch_and_part() -> None:
    def draw_mask(*key_parts: object) -> list[float]:
        seed_forward(*key_parts)  # type: ignore[arg-type]
        return torch.nn.functional.dropout(torch.ones(64)).tolist()

    keys = [(0, 1, 2), (0, 1, 2, (0,)), (0, 1, 2, (1,)), (0, 1, 2, (1, 0)), (0, 1, 3), (0, 2, 2), (1, 1, 2)]
    masks = [draw_mask(*parts) for parts in keys]
    assert len({tuple(each) for each in masks}) == len(keys)
    assert masks == [draw_mask(*parts) for parts in keys]
