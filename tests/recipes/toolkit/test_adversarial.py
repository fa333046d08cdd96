"""Attacks: the moves by hand."""

from typing import Any

import pytest
import torch
from torch import nn

from recipes.toolkit.adversarial import mean_word_norm, take_step


def test_each_row_moves_by_its_own_norm() -> None:
    direction = torch.tensor([[[3.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, -0.1]]])
    result, skipped = take_step(torch.zeros(2, 2, 2), direction, 2.0, 9.0)
    torch.testing.assert_close(result, torch.tensor([[[1.2, 0.0], [0.0, 1.6]], [[0.0, 0.0], [0.0, -2.0]]]))
    assert skipped.tolist() == [False, False]


def test_what_leads_out_of_the_ball_comes_back_to_its_edge() -> None:
    perturbation = torch.tensor([[[3.0, 0.0]], [[0.0, 0.1]]])
    result, _ = take_step(perturbation, torch.tensor([[[0.0, 7.0]], [[0.0, 1.0]]]), 4.0, 2.5)
    torch.testing.assert_close(result, torch.tensor([[[1.5, 2.0]], [[0.0, 2.5]]]))


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_rows_without_a_finite_direction_stay_and_are_counted(bad: float) -> None:
    perturbation = torch.tensor([[[0.5, 0.0]], [[0.0, 0.0]], [[0.0, 0.0]]])
    direction = torch.tensor([[[bad, 1.0]], [[0.0, 0.0]], [[1.0, 0.0]]])
    result, skipped = take_step(perturbation, direction, 1.0, 2.0)
    assert result.tolist() == [[[0.5, 0.0]], [[0.0, 0.0]], [[1.0, 0.0]]]
    assert skipped.tolist() == [True, False, False]


def test_the_mean_norm_leaves_out_special_tokens_and_rows_that_are_no_words() -> None:
    table = nn.Embedding.from_pretrained(torch.tensor([[9.0, 9.0], [3.0, 4.0], [0.0, 1.0], [7.0, 7.0]]))

    class Model(nn.Module):
        def get_input_embeddings(self) -> nn.Module:
            return table

    class Tokenizer:
        all_special_ids = (0, 5)

        def __len__(self) -> int:
            return 3

    tokenizer: Any = Tokenizer()
    assert mean_word_norm(Model(), tokenizer) == 3.0
