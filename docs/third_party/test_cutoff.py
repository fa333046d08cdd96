"""The shipped laws, inherited."""

from pathlib import Path

from recipes.testing import TrickLaws


class TestCutoff(TrickLaws):
    trick = "cutoff"
    overrides = (f"hydra.searchpath=[{Path(__file__).parent / 'conf'}]",)
