"""The stored rows: what they encode comes back, and a line that a kill has cut off is written again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scripts.survey.rows import (
    Result,
    append_result,
    decode_losses,
    decode_right,
    encode_losses,
    encode_right,
    read_results,
)

RESULT = Result(
    encoder="minilm",
    data="eda_cr",
    updates=300,
    tricks="fgm+swa",
    seed=0,
    digest="abcd",
    validation="1234",
    health="learned",
    accuracy=0.9,
    macro_f1=0.8,
    loss=0.3,
    seconds=10.0,
    wall=12.5,
    passes=1.5,
    memory=700.0,
    device="cpu",
    graphs="false",
    right="gA==",
    losses="AB==",
)


def test_bits_come_back() -> None:
    right = np.array([1, 0, 0, 1, 1, 1, 0, 1, 0, 1])
    assert decode_right(encode_right(right), 10).tolist() == right.tolist()


@pytest.mark.parametrize("count", [1000, 1001])
def test_losses_come_back_rounded_with_their_exact_mean(count: int) -> None:
    losses = np.exp(np.random.default_rng(0).uniform(np.log(2e-3), np.log(10), count))
    decoded = decode_losses(encode_losses(losses), count, float(losses.mean()))
    assert decoded.mean() == pytest.approx(losses.mean())
    # Half a step of the logarithm is a third.
    assert np.corrcoef(decoded, losses)[0, 1] > 0.98
    assert np.abs(np.log(np.maximum(decoded, 1e-3) / losses))[losses > 0.1].max() < 0.5


def test_losses_out_of_range_are_clipped() -> None:
    decoded = decode_losses(encode_losses(np.array([0.0, 1e-9, 100.0, 100.0])), 4, 50.0)
    assert decoded[0] == decoded[1] < decoded[2] == decoded[3]


def test_rows_are_stored_in_files_of_encoders(tmp_path: Path) -> None:
    other = replace(RESULT, encoder="e5", accuracy=float("nan"), right="", losses="")
    for result in (RESULT, replace(RESULT, seed=1), other):
        append_result(tmp_path / "rows", result, tmp_path)
    stored = read_results(tmp_path / "rows")
    assert len(stored) == 3 and stored[RESULT.key] == RESULT
    assert np.isnan(stored[other.key].accuracy)
    assert sorted(path.name for path in (tmp_path / "rows").iterdir()) == ["e5.csv", "minilm.csv"]


def test_a_line_that_was_cut_off_does_not_count(tmp_path: Path) -> None:
    append_result(tmp_path, RESULT, tmp_path)
    whole = (tmp_path / "minilm.csv").read_bytes()
    # Cut at every byte of the line: what is left never has half a row, and the row is written again in full.
    header = whole.index(b"\n") + 1
    for end in (0, 5, header - 1, header, header + 1, header + 20, len(whole) - 1):
        (tmp_path / "minilm.csv").write_bytes(whole[:end])
        assert read_results(tmp_path) == {}
        append_result(tmp_path, RESULT, tmp_path)
        assert (tmp_path / "minilm.csv").read_bytes() == whole
