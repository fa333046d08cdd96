"""The folder of everything that runs share on this machine: tokens of texts, and fingerprints of files."""

import os
from pathlib import Path

import datasets


def cache_folder() -> Path:
    """The folder `trickbook` below `TRICKBOOK_CACHE`, or below the cache of `datasets`."""
    return Path(os.environ.get("TRICKBOOK_CACHE", datasets.config.HF_DATASETS_CACHE)) / "trickbook"
