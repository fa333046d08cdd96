"""The command line: `python scripts/bench <benchmark> ...`."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[2])

from recipes.cli import exit_on_user_error
from scripts.bench.tasks import main

if __name__ == "__main__":
    with exit_on_user_error():
        main()
