"""The configuration: its schema, how it is composed from `conf/`, and every complaint about it.

Nothing here imports torch, so a misspelt override is answered in a moment. The dataclasses hold types, meanings and
ranges and no values: every value stands in `conf/`, where a user sees it.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import Field, asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recipes.errors import UserError, nearest
from recipes.ranges import allowed, out_of_range, wanted

CONF = Path(__file__).parents[1] / "conf"
# What metrics.json and the run folder already call by these names.
TAKEN = ("train", "validation", "test", "format", "candidates", "kept", "cost", "onion", "versions", "seed", "tricks")


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
    plain = OmegaConf.to_container(OmegaConf.create(values, parent=_root_._get_parent()), resolve=True)  # type: ignore[arg-type]
    choices = _root_.hydra.runtime.choices
    tricks = "+".join(sorted(values["tricks"])) or "base"
    return f"{choices.data}-{choices.model}-{tricks[:100]}-s{values['seed']}-{digest(plain)}"  # type: ignore[arg-type]


def digest(values: dict[str, Any]) -> str:
    """A short hash of everything that decides a run's numbers."""
    deciding = {name: value for name, value in values.items() if name != "resume"}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:8]


def _schema() -> DictConfig:
    """The types of every value; only `evaluate.extra` takes names of the user's own."""
    schema = OmegaConf.structured(Config)
    schema.evaluate = OmegaConf.structured(Evaluate)
    schema.evaluate.extra = {}
    OmegaConf.set_struct(schema.evaluate.extra, False)
    return cast(DictConfig, schema)


OmegaConf.register_new_resolver("run_name", _run_name, replace=True)
ConfigStore.instance().store(name="schema", node=_schema())


def read(composed: DictConfig) -> Config:
    """Turn a composed config into the typed one.

    Raises:
        UserError: with every value that is unknown, out of range, missing, or read by nobody.
    """
    if unknown := list(_unknown(composed, Config, "")):
        raise UserError(*unknown)
    try:
        config = cast(Config, OmegaConf.to_object(composed))
    except OmegaConfBaseException as error:
        raise UserError(_told(error)) from error
    if problems := [*out_of_range(config, ""), *_incomplete(config), *_unread(config), *_badly_named(config)]:
        # Loads torch, which is worth it to tell all that is wrong at once.
        from recipes.tricks import build

        try:
            build(config.tricks)
        except UserError as error:
            problems += error.problems
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


def _incomplete(config: Config) -> Iterator[str]:
    """What the chosen source cannot do without."""
    data, model = config.data, config.model
    if data.source == "files" and not data.train:
        yield "data.train is not set; data=files needs data.train=<path of a CSV, TSV, JSONL or Parquet file>."
    if data.source == "hub" and not data.train:
        yield "data.train is not set; data=hub needs data.train=<a split's name>."
    if data.source == "hub" and not data.name:
        yield "data.name is not set; data=hub needs data.name=<owner/name>."
    if model.source == "hub" and not model.name:
        yield "model.name is not set; model=hub needs model.name=<owner/name, or a local folder>."


def _unread(config: Config) -> Iterator[str]:
    """What is set and read by nobody under the chosen source: a forgotten `data=files` would train on other texts."""
    data, model = config.data, config.model
    both = ("train", "validation", "test", "text_pair", "id", "group", "separator")
    readers = {"name": ["hub"], "subset": ["hub"], **dict.fromkeys(both, ["files", "hub"])}
    for name, sources in readers.items():
        value = getattr(data, name)
        if value is not None and data.source in ("pydocs", "files") and data.source not in sources:
            choices = " or ".join(f"data={source}" for source in sources)
            yield f"data.{name}={value}: data={data.source} does not read it; choose {choices}, or leave it out."
    if model.name is not None and model.source in ("minilm", "tiny", "linear"):
        yield f"model.name={model.name}: model={model.source} does not read it; choose model=hub, or leave it out."


def _badly_named(config: Config) -> Iterator[str]:
    for name in config.evaluate.extra:
        if name in TAKEN or not re.fullmatch(r"\w[\w-]*", name):
            yield f"evaluate.extra.{name}: a name must be of letters, digits, - and _, and none of {', '.join(TAKEN)}."


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
        raise UserError(*(mistakes(arguments) or [_told(error)])) from error
    except yaml.YAMLError as error:
        raise UserError(f"a YAML file cannot be read: {' '.join(str(error).split())}.") from error
    except ValueError as error:
        # Hydra lets a few of its own pass as this, such as that of `data=null`.
        if sentences := mistakes(arguments):
            raise UserError(*sentences) from error
        raise


def mistakes(arguments: Sequence[str]) -> list[str]:
    """A sentence for each override that cannot be composed with those before it."""
    parsed = get_args_parser().parse_args(list(arguments))
    name = parsed.config_name or "train"
    sweeps = parsed.multirun or any(line.startswith("hydra.mode=") for line in parsed.overrides)
    sentences: list[str] = []
    accepted: list[str] = []
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        if parsed.config_dir:
            sentences += _look_also_in([parsed.config_dir], "--config-dir")
        for line in sorted(parsed.overrides, key=_turn):
            try:
                override = OverridesParser.create().parse_override(line)
                choices = list(_single(override))
            except HydraException:
                sentences.append(
                    f"{line} cannot be read as an override; write it as name=value, and put quotes around a value that "
                    "holds one of =,:[]{}() or a space: 'name=\"a, b\"'."
                )
                continue
            if override.key_or_group == "hydra.searchpath":
                sentences += _look_also_in(override.value(), "hydra.searchpath")
                continue
            if override.is_delete():
                sentences.append(f"{line}: nothing can be taken away; set another value (null, where it may be empty).")
                continue
            if len(choices) > 1 and not sweeps:
                sentences.append(
                    f"{line}: several values are a sweep, which needs -m; one value that holds a comma needs quotes: "
                    f"'{_key(line)}=\"a, b\"'."
                )
            for choice in choices:
                try:
                    compose(name, [*accepted, choice], return_hydra_config=True)
                except (HydraException, OmegaConfBaseException, ValueError) as error:
                    sentences.append(_explain(choice, name, accepted, error))
                    break
            else:
                accepted.append(choices[0])
    return sentences


def _look_also_in(places: Any, setting: str) -> Iterator[str]:
    """Let Hydra find configs in more folders; a sentence for each that is not there."""
    if not isinstance(places, list):
        yield f"{setting} must be a list of folders, got {places}."
        return
    loader: Any = GlobalHydra.instance().config_loader()
    for place in places:
        if "://" not in place and not Path(place).is_dir():
            yield f"{setting}={place}: there is no such folder."
            continue
        path = place if "://" in place else f"file://{Path(place).resolve()}"
        loader.config_search_path.prepend(setting, path, SearchPathQuery(provider="schema"))
    loader.repository.initialize_sources(loader.config_search_path)


def _key(line: str) -> str:
    return line.partition("=")[0].lstrip("+~")


def _turn(line: str) -> int:
    """Where to look for groups, then groups, then values, so that a value finds the group that it belongs to."""
    return 0 if _key(line) == "hydra.searchpath" else 2 if "." in _key(line) else 1


def _single(override: Override) -> Iterator[str]:
    """An override, or each of the overrides that it sweeps over."""
    if override.is_sweep_override():
        prefix = (override.input_line or "").partition("=")[0]
        yield from (f"{prefix}={value}" for value in override.sweep_string_iterator())
    else:
        yield override.input_line or ""


def _explain(line: str, config_name: str, accepted: Sequence[str], error: Exception) -> str:
    override = OverridesParser.create().parse_override(line)
    name, value = override.key_or_group, override.value()
    loader = GlobalHydra.instance().config_loader()
    if options := loader.get_group_options(name):
        if name == "tricks" and not line.startswith("+"):
            return f"{line}: tricks are added to what is chosen so far; write +{line}."
        kind = "trick" if name == "tricks" else name
        chosen = ["null" if each is None else str(each) for each in (value if isinstance(value, list) else [value])]
        if unknown := [each for each in chosen if each not in options]:
            return " ".join(f"{name}={each}: there is no such {kind}; {nearest(each, options)}" for each in unknown)
        return f"{line}: {_told(error)}"
    composed = compose(config_name, list(accepted), return_hydra_config=True)
    path = name.split(".")
    if path[0] == "tricks" and len(path) > 1 and path[1] not in composed.tricks:
        if path[1] not in loader.get_group_options("tricks"):
            return f"tricks.{path[1]}: there is no such trick; {nearest(path[1], loader.get_group_options('tricks'))}"
        return f"{line}: tricks.{path[1]} has values but is not selected; add +tricks=[{path[1]}]."
    node: Any = composed
    for depth, part in enumerate(path):
        if not isinstance(node, DictConfig) or part not in node:
            known = [key for key in map(str, node) if key != "hydra"] if isinstance(node, DictConfig) else []
            return f"{'.'.join(path[: depth + 1])} does not exist; {nearest(part, known)}"
        node = node[part]
    if item := _field(path):
        return f"{name} must be {wanted(item)}, got {'null' if value is None else value}."
    return f"{line}: {_told(error.__cause__ or error)}"


def _field(path: Sequence[str]) -> Field[Any] | None:
    """The field of the schema that a dotted path names."""
    kind: Any = Config
    item: Field[Any] | None = None
    for part in path:
        if not is_dataclass(kind):
            return None
        item = next((each for each in fields(kind) if each.name == part), None)
        kind = item and item.type
    return item


def _told(error: BaseException) -> str:
    """What Hydra or OmegaConf says, as one sentence, without its indented details."""
    lines = [line.rstrip(".:") for line in str(error).strip().splitlines() if line.strip() and not line.startswith(" ")]
    return f"{'; '.join(lines)}."
