"""The folder of everything that runs share on this machine: tokens of texts, and fingerprints of files."""

import os
from pathlib import Path

from huggingface_hub.constants import HF_HOME


def cache_folder() -> Path:
    """The folder `trickbook` below `TRICKBOOK_CACHE`, or below the cache of `datasets`."""
    # As in `datasets.config`, whose import takes half a second; a file that has not changed is recognized without it.
    of_datasets = os.environ.get("HF_DATASETS_CACHE", os.path.join(HF_HOME, "datasets"))
    return Path(os.environ.get("TRICKBOOK_CACHE", of_datasets)) / "trickbook"
