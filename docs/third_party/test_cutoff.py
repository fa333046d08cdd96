"""The laws that every trick must satisfy, inherited from `recipes.testing`."""

from pathlib import Path

from recipes.testing import TrickLaws


class TestCutoff(TrickLaws):
    trick = "cutoff"
    overrides = (f"hydra.searchpath=[{Path(__file__).parent / 'conf'}]",)
