"""`trickbook judge`, in a checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from recipes.commands.trickbook import main

if __name__ == "__main__":
    main(["judge", *sys.argv[1:]])
