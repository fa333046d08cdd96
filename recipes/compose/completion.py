"""Completion of a command line by the Tab key, where Hydra's own does not reach: lists of tricks, and `trickbook`."""

import os
import re
from collections.abc import MutableMapping, Sequence

from recipes.compose.help import list_choices

OPTIONS = ("-sc", "--shell-completion")
QUERY = "query="
# A list of tricks that is not closed yet; its last name may be incomplete.
OPEN_LIST = re.compile(r"(\+tricks=\[(?:\w+,)*)(\w*)")
TRAIN = "trickbook train "


def complete(arguments: Sequence[str], environment: MutableMapping[str, str] = os.environ) -> list[str] | None:
    """Complete the line that a shell asks about.

    Args:
        arguments: of this program.
        environment: has the line as `COMP_LINE`. The line of `trickbook train` is rewritten as Hydra expects it: the
            name of a program, then overrides.

    Returns:
        The words that may stand there; None if this is no question of a shell, or if Hydra answers it.
    """
    if not arguments or arguments[0] not in OPTIONS or not any(each.startswith(QUERY) for each in arguments):
        return None
    line = environment.get("COMP_LINE", "")
    if not line:  # Hydra cannot read it
        return []
    if match := OPEN_LIST.fullmatch(line.rpartition(" ")[2]):
        names = set(list_choices("tricks")) - set(re.findall(r"\w+", match[1])[1:])
        return [match[1] + name for name in sorted(names) if name.startswith(match[2])]
    if line.startswith(TRAIN):
        environment["COMP_LINE"] = line.replace(TRAIN, "trickbook ", 1)
        point = int(environment.get("COMP_POINT", len(line)))
        environment["COMP_POINT"] = str(point - len(TRAIN) + len("trickbook "))
    return None
