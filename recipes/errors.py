"""What a user did wrong, told in one paragraph and ended with exit code 2; a bug keeps its traceback."""

import difflib
import errno
from collections.abc import Iterable

# What a disk or its owner refuses. That a file is missing may be a bug of ours, and keeps its traceback.
NOT_OUR_FAULT = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EIO,
)


class UserError(Exception):
    """One or more mistakes of the user, all those of one phase together.

    Args:
        problems: a sentence or two each: dotted path, value, what is allowed, what to do.
    """

    def __init__(self, *problems: str) -> None:
        """Keep the problems in the order found, each once."""
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(self.problems))


def nearest(name: str, names: Iterable[str]) -> str:
    """The names closest to a misspelt one and all that there are, as the end of a sentence."""
    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    guess = f"did you mean {' or '.join(close)}? There" if close else "there"
    return f"{guess} are: {', '.join(known) or 'none'}."


def unreadable(path: str, error: OSError) -> UserError:
    """An operating system's refusal, as a user's error."""
    return UserError(f"{path}: {_reason(error)}.")


def _reason(error: OSError) -> str:
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return "a file stands where a folder should be"
    return error.strerror or str(error)


def describe(error: BaseException) -> str:
    """What Hydra or OmegaConf says, as one sentence, without its indented details."""
    lines = [line.rstrip(".:") for line in str(error).strip().splitlines() if line.strip() and not line.startswith(" ")]
    return f"{'; '.join(lines)}."
