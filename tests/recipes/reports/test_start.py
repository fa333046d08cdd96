"""The first line of a run, from its config alone."""

from pathlib import Path

import pytest

from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.reports.start import describe_start


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], "pydocs · minilm · no tricks · seed 0 · 6 epochs"),
        (["+tricks=[swa,amp]", "seed=3", "train.epochs=1.5"], "pydocs · minilm · amp, swa · seed 3 · 1.5 epochs"),
        (["data=files", "data.train=a.csv", "train.max_updates=2"], "a.csv · minilm · no tricks · seed 0 · 2 updates"),
        (["data=sst2", "model=bert"], "nyu-mll/glue · google-bert/bert-base-uncased · no tricks · seed 0 · 3 epochs"),
    ],
)
def test_it_names_data_model_tricks_seed_and_length(overrides: list[str], expected: str) -> None:
    composed, _ = compose_config(overrides)
    assert describe_start(read(composed), Path("runs/mine")) == f"run: {expected} -> runs/mine"
