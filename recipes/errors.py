"""Errors of the user, as opposed to bugs.

The command line shows them without a traceback and ends with exit code 2 (`recipes.cli`); a bug keeps its traceback.
"""

import difflib
import errno
import os
import unicodedata
from collections.abc import Iterable, Sequence

# Errors of the disk, or of permissions on it. ENOENT is not among them: a missing file may be a bug.
DISK_ERRORS = (
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

DIVERGED = "training diverged"
"""Begins the message of a run that diverged; a study recognises its failed runs by it."""


class UserError(Exception):
    """One or more mistakes of the user; all mistakes that are found in one phase are raised together.

    Args:
        problems: messages of one or two sentences, each with the setting, its value, what is allowed and what to do.
            Equal messages are merged.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(self.problems))


class InputsChanged(UserError):
    """A file or folder that a run has read is another one now, under the same name. It ends a whole sweep."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Suggest the names closest to a misspelt one and list all names, as the end of a sentence.

    Example:
        >>> nearest("mixpu", ["swa", "mixup"])
        'did you mean mixup? There are: mixup, swa.'
    """
    valid = sorted(names)
    # ｔｅｘｔ looks like text, and shares no character with it.
    same = [each for each in valid if _fold(each) == _fold(name)]
    close = same or difflib.get_close_matches(name, valid, n=3, cutoff=0.6)
    suggestion = f"did you mean {' or '.join(map(_show, close))}? There" if close else "there"
    hidden = [each for each in close if not each.isprintable()]
    advice = f" {_show(hidden[0])} has characters that no font shows; remove them in its source." if hidden else ""
    return f"{suggestion} are: {', '.join(map(_show, valid)) or 'none'}.{advice}"


def _fold(name: str) -> str:
    """A name in small letters, with full-width characters as half-width ones."""
    return unicodedata.normalize("NFKC", name).casefold()


def _show(name: str) -> str:
    """A name as it is, or with escapes where it has characters that cannot be seen."""
    return name if name.isprintable() else repr(name)


def list_names(names: Sequence[str], most: int | None = None, quoted: bool = True, last: str = ", ") -> str:
    """Join names for a message.

    Args:
        names: the names, at least one.
        most: the most names to list; None for all. The rest are counted.
        quoted: whether each name is put in quotes.
        last: separator before the last name, if all names are listed.

    Example:
        >>> list_names(["a", "b", "c"], most=2)
        "'a', 'b' and 1 more"
        >>> list_names(["a", "b", "c"], quoted=False, last=" and ")
        'a, b and c'
    """
    shown = [repr(name) if quoted else name for name in names[:most]]
    if len(shown) < len(names):
        return f"{', '.join(shown)} and {len(names) - len(shown)} more"
    return last.join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


def unreadable(path: str, error: OSError) -> UserError:
    """Convert an error of the operating system into a `UserError` about this path."""
    return disk_error(path, os_error_reason(error))


def disk_error(path: str, reason: str) -> UserError:
    """The error for a file that cannot be read or written, with what to do."""
    is_full = any(os.strerror(number) in reason for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
    again = "Free some space and start the same command again; what was saved before is used."
    return UserError(f"{path}: {reason}. {again if is_full else 'Correct that, or name another path.'}")


def os_error_reason(error: OSError) -> str:
    """The reason of an error of the operating system, without its number and path."""
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return "a file stands where a folder should be"
    return error.strerror or str(error)


def describe(error: BaseException) -> str:
    """Shorten an error of Hydra or OmegaConf to one sentence, without its indented details but with its setting."""
    lines = [line.rstrip(".:") for line in str(error).strip().splitlines() if line.strip() and not line.startswith(" ")]
    reason = f"{'; '.join(lines)}."
    setting = getattr(error, "full_key", None)
    return reason if not setting or setting in reason else f"{setting}: {reason}"
