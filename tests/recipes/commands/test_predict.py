"""`trickbook predict` writes a prediction for each row, in order."""

import csv
from pathlib import Path

import pytest

from recipes.commands.predict import main
from recipes.testing import finished_run, in_child, make_text_file


def test_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, target = make_text_file(5), tmp_path / "out.csv"
    in_child(lambda: main([str(finished_run()), str(source), str(target), "--metrics"]))
    with target.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    with source.open(encoding="utf-8", newline="") as lines:
        assert len(rows) == len(list(csv.DictReader(lines)))
    assert [row["id"] for row in rows] == [str(number) for number in range(len(rows))]
    assert "accuracy" in capfd.readouterr().err
