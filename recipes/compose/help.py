"""The page of `train.py --help`, made of the comments of `conf/train.yaml`, the ranges of the schema and the groups."""

import re
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, fields

from hydra.core.global_hydra import GlobalHydra

from recipes.compose.arguments import field_at
from recipes.config import CONF, Config
from recipes.runtime.program import name_command

MOST_WIDTH = 120
COLUMN, COLUMN_OF_GROUPS = 34, 12
"""Where the meaning of a setting begins, and that of a group."""
LINE = re.compile(r"(?P<indent> *)(?P<name>\w+):(?: (?P<value>[^#]*?))?(?: *# (?P<comment>.*))?")
EXAMPLE = re.compile(r"#   (python train\.py .*)")
RANGE, HARD_SPACE = re.compile(r"[\[(][\w.]+, [\w.]+[\])]"), "\N{NO-BREAK SPACE}"
GROUPS = {
    "data": "the data set",
    "model": "the model",
    "recipe": "tricks and values by name; in their own evidence most are no better than plain",
    "search": "what a sweep (-m) tries",
    "tracker": "where runs are shown",
}


@dataclass(frozen=True)
class Setting:
    """A setting of `conf/train.yaml`."""

    path: str
    value: str
    comment: str

    @property
    def meaning(self) -> str:
        """Its comment, and the values that the schema allows where the comment does not name them."""
        item = field_at(self.path.split("."))
        allowed = item.metadata.get("allowed", "") if item else ""
        words = [word.strip() for word in allowed.split("|")] if "|" in allowed else [allowed]
        is_named = all(word in self.comment for word in words)
        return self.comment if is_named else f"{self.comment}; allowed: {' or '.join(words)}"


def read_settings() -> list[Setting]:
    """Read the settings of `conf/train.yaml`, each with the comment at its end, or those on the lines above it."""
    sections = {item.name for item in fields(Config)}
    settings: list[Setting] = []
    parents: list[str] = []
    above: list[str] = []
    for line in (CONF / "train.yaml").read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("#"):
            above.append(line.strip("# "))
            continue
        match = LINE.fullmatch(line)
        if match:
            parents = [*parents[: len(match["indent"]) // 2], match["name"]]
            comment = match["comment"] or " ".join(above)
            if parents[0] in sections and match["value"]:
                settings.append(Setting(".".join(parents), match["value"].strip(), comment))
        above = []
    return settings


def read_examples() -> list[str]:
    """Read the commands in the comment at the top of `conf/train.yaml`."""
    lines = (CONF / "train.yaml").read_text(encoding="utf-8").splitlines()
    return [match[1] for line in lines if (match := EXAMPLE.fullmatch(line))]


def list_choices(group: str) -> list[str]:
    """List the choices of a group, also those of the user's config folders once Hydra has found them."""
    hydra = GlobalHydra.instance()
    if hydra.is_initialized():
        return hydra.config_loader().get_group_options(group)
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def describe_settings(width: int) -> str:
    """The page, in lines of at most this width."""
    return "\n".join(_describe(width))


def _describe(width: int) -> Iterator[str]:
    command = name_command("train")
    yield "Fine-tune a text classifier, with tricks to toggle."
    yield f"\nusage: {command} [group=choice ...] [setting=value ...] [options]"
    yield "\nExamples"
    for example in read_examples():
        yield f"  {example.replace('python train.py', command)}"
    yield "\nGroups"
    for group, meaning in GROUPS.items():
        yield from _wrap(f"{group}=", f"{meaning}: {', '.join(list_choices(group))}", width, COLUMN_OF_GROUPS)
    yield from _wrap("+tricks=[]", f"the tricks: {', '.join(list_choices('tricks'))}", width, COLUMN_OF_GROUPS)
    yield f"  {name_command('tricks')} <name> shows the settings of a trick."
    settings = [each for each in read_settings() if each.path != "tricks"]
    section = None
    for setting in sorted(settings, key=lambda each: "." in each.path):
        if (title := f"Settings of {setting.path.partition('.')[0]}" if "." in setting.path else "Settings") != section:
            section = title
            yield f"\n{title}"
        yield from _wrap(f"{setting.path}={setting.value}", setting.meaning, width, COLUMN)
    yield "\nOptions"
    for option, meaning in (
        ("-m", "a sweep: a run for each combination of values such as seed=0,1,2"),
        ("--config-dir <folder>", "your own configs, next to those of Trickbook"),
        ("--cfg job", "print the config and stop"),
        ("--hydra-help", "all options of Hydra"),
        ("-sc install=bash", f'completion by the Tab key: eval "$({command} -sc install=bash)"'),
    ):
        yield from _wrap(option, meaning, width, COLUMN)


def _wrap(name: str, meaning: str, width: int, column: int) -> Iterator[str]:
    """A name and its meaning next to it, or below where the name is too long."""
    first = f"  {name}"
    if len(first) > column:
        yield first
        first = ""
    # A range such as [0, inf) stays in one line.
    text = RANGE.sub(lambda match: match[0].replace(" ", HARD_SPACE), meaning)
    start, indent = f"{first:{column}}  ", " " * (column + 2)
    lines = textwrap.wrap(text, width, initial_indent=start, subsequent_indent=indent, break_on_hyphens=False)
    yield from (line.replace(HARD_SPACE, " ") for line in lines or [first])


def fill_template() -> str:
    """The page for this terminal, as a template of Hydra, in which a dollar is written twice."""
    width = min(shutil.get_terminal_size().columns, MOST_WIDTH)
    return describe_settings(width).replace("$", "$$")
