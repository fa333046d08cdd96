"""The configuration: its schema, how it is composed from `conf/`, and every complaint about it.

Nothing here imports torch, so a misspelt override is answered in a moment. The dataclasses hold types, meanings and
ranges and no values: every value stands in `conf/`, where a user sees it.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recipes.errors import UserError, nearest
from recipes.ranges import allowed, out_of_range

CONF = Path(__file__).parents[1] / "conf"


@dataclass
class Seeds:
    """What chance decides, each apart; all follow `seed` unless set."""

    order: int
    """The order of the rows, epoch by epoch."""
    init: int
    """New weights: the head of a pretrained model, all of a random one."""
    dropout: int
    """Dropout."""


@dataclass
class Data:
    """Where the examples come from and which columns they stand in."""

    source: str = allowed("pydocs | files | hub")
    name: str | None = allowed("")
    """The hub's name of a data set."""
    subset: str | None = allowed("")
    """The hub's name of one of its configurations."""
    train: str | None = allowed("")
    """A file, or on the hub a split; cut into the splits that are null."""
    validation: str | None = allowed("")
    test: str | None = allowed("")
    """The same; rows without labels get predictions only."""
    text: str = allowed("")
    """Column with the text."""
    text_pair: str | None = allowed("")
    """Column with the second text of a pair."""
    label: str = allowed("")
    """Column with the label: a name, a number, or a list of several."""
    id: str | None = allowed("")
    """Column with the record's own id; null: its number in its file."""
    group: str | None = allowed("")
    """Column whose equal values stay in one split."""
    separator: str | None = allowed("")
    """What parts the labels of one record, where several stand in one text."""
    validation_share: float = allowed("(0, 0.5]")
    """Share of the training rows that becomes the validation split where there is none."""
    test_share: float = allowed("(0, 0.5]")
    """The same for the test split, cut first."""
    split_seed: int = allowed("[0, inf)")
    max_length: int = allowed("[4, inf)")
    """Tokens of one input, special tokens counted; longer ones lose their tail."""


@dataclass
class Model:
    """What is fine-tuned."""

    source: str = allowed("minilm | tiny | linear | hub")
    name: str | None = allowed("")
    """The hub's name, or a local folder."""
    dropout: float | None = allowed("[0, 1)")
    """Of every layer; null: as it was pretrained."""
    gradient_checkpointing: bool = allowed("")
    """Compute activations again in the backward pass: less memory, about a third more time."""


@dataclass
class Train:
    """The plain recipe that a trick must beat."""

    batch_size: int = allowed("[1, inf)")
    """Documents to an update, over all processes."""
    epochs: float = allowed("(0, inf)")
    max_updates: int | None = allowed("[1, inf)")
    """Updates in all; null: as many as the epochs hold."""
    learning_rate: float = allowed("[0, inf)")
    schedule: str = allowed("linear | cosine | constant")
    """How the rate falls after the warm-up: to 0, or not at all."""
    warmup: float = allowed("[0, 1]")
    """Share of all updates over which the rate rises."""
    weight_decay: float = allowed("[0, inf)")
    """Not on biases and normalization."""
    clip_norm: float | None = allowed("(0, inf)")
    """Largest norm of the gradient; null: no limit."""
    device: str = allowed("auto | cpu | cuda | mps")
    threads: int | None = allowed("[1, inf)")
    """Threads of one process; null: as torch finds."""


@dataclass
class Evaluate:
    """When to look, at what, and which weights to keep."""

    every: float = allowed("(0, inf)")
    """Epochs between evaluations on validation; 0.5 is twice an epoch."""
    metric: str = allowed("")
    """Chooses the best checkpoint, and is what train.py returns."""
    keep: str = allowed("best | last")
    """Which weights are tested and saved, unless a trick owns them."""
    early_stopping: int | None = allowed("[1, inf)")
    """Evaluations without a better metric after which training stops; null: never."""
    test: bool = allowed("")
    """Open the test split at the end."""
    extra: dict[str, str] = allowed("")
    """More files (or hub splits) to score at the end, by name."""


@dataclass
class Checkpoint:
    """What a killed run goes on from."""

    every: float = allowed("(0, inf)")
    """Epochs between checkpoints."""
    keep: int = allowed("[1, inf)")
    """How many stay, beside the best weights."""


@dataclass
class Config:
    """All that decides a run."""

    seed: int
    seeds: Seeds
    resume: bool
    data: Data
    model: Model
    train: Train
    evaluate: Evaluate
    checkpoint: Checkpoint
    tricks: dict[str, Any]


def _run_name(*, _root_: DictConfig) -> str:
    """`<data>-<model>-<tricks>-s<seed>-<hash of the resolved config>`: no clock, so the same run finds its folder."""
    values = {name: _root_[name] for name in _root_ if name != "hydra"}
    plain = OmegaConf.to_container(OmegaConf.create(values, parent=_root_._get_parent()), resolve=True)  # type: ignore
    choices = _root_.hydra.runtime.choices
    tricks = "+".join(sorted(values["tricks"])) or "base"
    return f"{choices.data}-{choices.model}-{tricks[:100]}-s{values['seed']}-{digest(plain)}"  # type: ignore[arg-type]


def digest(values: dict[str, Any]) -> str:
    """A short hash of everything that decides a run's numbers."""
    deciding = {name: value for name, value in values.items() if name != "resume"}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:8]


OmegaConf.register_new_resolver("run_name", _run_name, replace=True)
ConfigStore.instance().store(name="schema", node=Config)


def read(composed: DictConfig) -> Config:
    """Turn a composed config into the typed one.

    Raises:
        UserError: with every value that is out of range.
    """
    if unknown := list(_unknown(composed, Config, "")):
        raise UserError(*unknown)
    try:
        config = cast(Config, OmegaConf.to_object(composed))
    except OmegaConfBaseException as error:
        raise UserError(_first_line(error)) from error
    if problems := list(out_of_range(config, "")):
        raise UserError(*problems)
    return config


def _unknown(node: DictConfig, kind: type, path: str) -> Iterator[str]:
    """A setting that nobody reads is an error: Hydra lets `+name=value` add one to any schema."""
    known = {item.name: item.type for item in fields(kind)}
    for key in map(str, node):
        if key not in known:
            yield f"{path}{key} does not exist; {nearest(key, known)}"
        elif is_dataclass(known[key]):
            yield from _unknown(node[key], cast(type, known[key]), f"{path}{key}.")


def as_values(config: Config) -> dict[str, Any]:
    """The resolved config as plain values, as `config.yaml` holds it."""
    return asdict(config)


def compose_config(overrides: Sequence[str]) -> tuple[DictConfig, Path]:
    """Compose `conf/train.yaml` with overrides, as the command line does.

    Returns:
        The config and the run folder.

    Raises:
        UserError: with every override that is wrong.
    """
    GlobalHydra.instance().clear()
    with explained(overrides), initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("train", list(overrides), return_hydra_config=True)
        folder = Path(composed.hydra.run.dir)
    OmegaConf.set_struct(composed, False)
    del composed["hydra"]
    return composed, folder


@contextmanager
def explained(arguments: Sequence[str]) -> Iterator[None]:
    """Turn what Hydra says of a command line into our own words, all mistakes at once."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(*(mistakes(arguments) or [_first_line(error)])) from error


def mistakes(arguments: Sequence[str]) -> list[str]:
    """A sentence for each override that cannot be composed with those before it."""
    parsed = get_args_parser().parse_args(list(arguments))
    GlobalHydra.instance().clear()
    sentences: list[str] = []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        accepted = [f"hydra.searchpath=[{Path(parsed.config_dir).resolve()}]"] if parsed.config_dir else []
        for line in sorted(parsed.overrides, key=_chooses_values):
            try:
                choices = list(_single(OverridesParser.create().parse_override(line)))
            except HydraException:
                sentences.append(f"{line!r} cannot be read as an override; write it as name=value.")
                continue
            for choice in choices:
                try:
                    compose("train", [*accepted, choice], return_hydra_config=True)
                except (HydraException, OmegaConfBaseException) as error:
                    sentences.append(_explain(choice, accepted, error))
                    break
            else:
                accepted.append(choices[0])
    return sentences


def _chooses_values(line: str) -> bool:
    """Groups before values, so that a value finds the group that it belongs to."""
    return "." in line.partition("=")[0]


def _single(override: Override) -> Iterator[str]:
    """An override, or each of the overrides that it sweeps over."""
    if override.is_sweep_override():
        prefix = (override.input_line or "").partition("=")[0]
        yield from (f"{prefix}={value}" for value in override.sweep_string_iterator())
    else:
        yield override.input_line or ""


def _explain(line: str, accepted: Sequence[str], error: Exception) -> str:
    override = OverridesParser.create().parse_override(line)
    name, value = override.key_or_group, override.value()
    loader = GlobalHydra.instance().config_loader()
    if options := loader.get_group_options(name):
        if name == "tricks" and not line.startswith("+"):
            return f"{line}: tricks are added to what is chosen so far; write +{line}."
        unknown = [str(choice) for choice in (value if isinstance(value, list) else [value]) if str(choice) not in options]
        if unknown:
            return " ".join(f"{name}={choice}: there is no such {name}; {nearest(choice, options)}" for choice in unknown)
    composed = compose("train", list(accepted))
    path = name.split(".")
    if path[0] == "tricks" and len(path) > 1 and path[1] not in composed.tricks:
        if path[1] not in loader.get_group_options("tricks"):
            return f"tricks.{path[1]}: no such trick; {nearest(path[1], loader.get_group_options('tricks'))}"
        return f"{line}: tricks.{path[1]} has values but is not selected; add +tricks=[{path[1]}]."
    node: Any = composed
    for depth, part in enumerate(path):
        if not isinstance(node, DictConfig) or part not in node:
            known = list(map(str, node)) if isinstance(node, DictConfig) else []
            return f"{'.'.join(path[: depth + 1])} does not exist; {nearest(part, known)}"
        node = node[part]
    return f"{line}: {_first_line(error.__cause__ or error)}."


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
