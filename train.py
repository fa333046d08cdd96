"""Fine-tune a text classifier: `python train.py '+tricks=[mixup,amp,swa]'`. In a checkout this is `trickbook train`."""

import sys

from recipes.commands.trickbook import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
