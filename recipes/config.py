"""The configuration: its schema, and its values as plain dictionaries.

Nothing here imports torch, so a misspelt override is refused within a second. The dataclasses hold types, meanings and
ranges, but no values: every value stands in `conf/`, where a user sees it.
"""

import copy
import functools
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recipes.errors import UserError, describe
from recipes.ranges import allowed, escape_interpolations
from recipes.runtime.program import ROOT

# Settings that change no number of a run. A run folder does not store them.
UNDECIDING = (
    "resume",
    "doctor",
    "trusted",
    "tracker",
    "checkpoint.min_seconds",
    "checkpoint.after_finish",
    "checkpoint.save_model",
)
# Inside the package where it is installed, next to it in a checkout.
CONF = next(folder for folder in (ROOT / "recipes" / "conf", ROOT / "conf") if folder.is_dir())
# What the names of files end in, and a folder's name leaves out.
ENDINGS = re.compile(r"(\.(csv|tsv|txt|jsonl?|ndjson|parquet))?(\.gz)?$", re.IGNORECASE)
MOST_BYTES = 60
# Settings that are newer than run folders of format 2, each with the value at which a run is what it was without it.
# conf/newer.yaml has those of tricks.
NEWER_SETTINGS: Mapping[str, Any] = {
    "data.header": True,
    "data.encoding": None,
    "data.fold": None,
    "train.cuda_graphs": "auto",
    "model.trim_vocabulary": False,
    "evaluate.metrics": [],
}


@dataclass
class Seeds:
    """A seed for each part of chance; all follow `seed` unless set."""

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
    header: bool = allowed("")
    """Whether the first row of CSV and TSV names the columns; if not, their names are 1, 2 and so on."""
    encoding: str | None = allowed("")
    """Encoding of files that are not UTF-8; null: detected."""
    text: str = allowed("")
    """Column with the text."""
    text_pair: str | None = allowed("")
    """Column with the second text of a pair."""
    label: Any = allowed("")
    """Column with the label: a name, a number, or a list of several; or a list of columns with 0 or 1."""
    id: str | None = allowed("")
    """Column with the record's own id; null: its number in its file."""
    group: str | None = allowed("")
    """Column whose equal values stay in one split."""
    label_separator: str | None = allowed("")
    """Separates the labels of one record, where they stand in one text."""
    validation_fraction: float = allowed("(0, 0.5]")
    """Fraction of the training rows that becomes the validation split where there is none."""
    test_fraction: float = allowed("(0, 0.5]")
    """The same for the test split, cut first."""
    split_seed: int = allowed("[0, inf)")
    fold: int | None = allowed("[0, inf)")
    """Which fold of the rows that are not test is the validation split, from 0; null: a split of its own."""
    max_length: int = allowed("[4, 1000000]")
    """Tokens of one input, special tokens counted; longer ones lose their tail."""

    @property
    def fold_count(self) -> int:
        """The number of folds whose size is nearest to `validation_fraction` of all rows.

        It follows from the settings alone, so that it is known before any row is read.
        """
        cuts_test = self.source == "pydocs" or not self.test
        return max(2, round((1 - self.test_fraction * cuts_test) / self.validation_fraction))


@dataclass
class Model:
    """What is fine-tuned."""

    source: str = allowed("minilm | e5 | mpnet | tiny | linear | hub")
    name: str | None = allowed("")
    """The hub's name, or a local folder."""
    dropout: float | None = allowed(
        "[0, 1)",
        advised="[0, 0.5]",
        source="0.1 is usual",
        above="most of what the encoder computes is dropped",
    )
    """Of every layer; null: as it was pretrained."""
    gradient_checkpointing: bool = allowed("")
    """Compute activations again in the backward pass: less memory, about a third more time."""
    trim_vocabulary: bool = allowed("")
    """Leave out the pieces of a SentencePiece vocabulary that no training or validation text uses."""


@dataclass
class Train:
    """The plain recipe that a trick must beat."""

    batch_size: int = allowed(
        "[1, 1000000]",
        advised="[8, 512]",
        source="16 or 32 in Devlin et al. 2019, arXiv 1810.04805",
        below="the loss fluctuates from update to update, and the learning rate is too high for so noisy a gradient",
        above="an epoch has few updates, and the usual learning rates are too low",
    )
    """Documents of one update, over all processes."""
    epochs: float = allowed(
        "(0, inf)",
        advised="(0, 200]",
        source="2 to 20 in Mosbach et al. 2021, arXiv 2006.04884",
        above="the rows are memorized long before the end",
    )
    max_updates: int | None = allowed("[1, inf)")
    """Updates of the whole run; null: as `epochs` says."""
    learning_rate: float = allowed("[0, inf)")
    schedule: str = allowed("linear | cosine | constant")
    """How the learning rate falls after the warm-up: to 0, or not at all."""
    warmup: float = allowed(
        "[0, 1]",
        advised="[0.01, 0.5]",
        source="0.1 in Mosbach et al. 2021, arXiv 2006.04884",
        below="the first updates of a new head run at the full rate, and for some seeds the model stays at one class",
        above="the learning rate rises for most of training, and the decay is too short",
    )
    """Fraction of all updates over which the learning rate rises."""
    weight_decay: float = allowed(
        "[0, inf)",
        advised="[0, 0.1]",
        source="0.01 to 0.1 are usual",
        above="weights shrink faster than they are trained",
    )
    """Not on biases and normalization."""
    clip_norm: float | None = allowed(
        "(0, inf)",
        advised="[0.1, 10]",
        source="1 is usual",
        below="every gradient is scaled down to almost nothing",
        above="an update with an odd row can undo many others",
    )
    """Largest norm of the gradient; null: no limit."""
    device: str = allowed("auto | cpu | cuda | mps")
    cuda_graphs: str = allowed("auto | on | off")
    """Whether forward and backward passes are recorded once for each shape and replayed, on a CUDA card."""
    threads: int | None = allowed("[1, 1024]")
    """Threads of each process; null: torch's default."""


@dataclass
class Evaluate:
    """When to evaluate, by which metric, and which weights are final."""

    every: float = allowed("(0, inf)")
    """Epochs between evaluations on validation; 0.5 is twice an epoch."""
    metric: str = allowed("")
    """Chooses the best checkpoint, and is the value that train.py returns."""
    metrics: list[Any] = allowed("")
    """Metrics in addition to the usual ones: names of built-in ones, and functions by `_target_`."""
    weights: str = allowed("best | last")
    """Which weights are tested and saved, unless a trick owns them."""
    early_stopping: int | None = allowed(
        "[1, inf)",
        advised="[2, inf)",
        below="one evaluation that is worse by chance ends training",
    )
    """Evaluations without a better metric after which training stops; null: never."""
    test: bool = allowed("")
    """Open the test split at the end."""
    extra: dict[str, str] = allowed("")
    """More files (or hub splits) to score at the end, by name."""


@dataclass
class Checkpoint:
    """The states from which a stopped run resumes."""

    every: float = allowed("(0, inf)")
    """Epochs between checkpoints."""
    keep: int = allowed("[1, inf)")
    """Number of checkpoints that stay, in addition to the best weights."""
    min_seconds: float = allowed("[0, inf)")
    """Seconds of training between checkpoints, where `every` is shorter; a run that is stopped saves one at once."""
    after_finish: str = allowed("remove | keep")
    """What becomes of the checkpoints of a finished run; with keep it can be trained further."""
    save_model: bool = allowed("")
    """Whether a finished run has its model; without one it has scores and predictions alone."""


@dataclass
class Tracker:
    """Who shows the run while it trains, and under which names."""

    tensorboard: bool
    """Event files in the run folder."""
    wandb: bool
    """Weights & Biases."""
    mlflow: bool
    swanlab: bool
    project: str
    """Project of W&B and SwanLab, experiment of MLflow."""
    group: str | None = allowed("")
    """Runs that belong together; null: of a sweep, the name of its folder."""
    name: str | None = allowed("")
    """Of the run; null: the name of its folder, and in a sweep its tricks and seed."""
    tags: list[str] = allowed("")
    """Further tags; `name=value` is a tag with a value where a tracker has such."""
    entity: str | None = allowed("")
    """User or team of W&B, workspace of SwanLab."""
    tracking_uri: str | None = allowed("")
    """Server or store of MLflow; null: as its environment variable says."""
    offline: bool = allowed("")
    """Whether W&B and SwanLab write files to upload later."""


@dataclass
class Config:
    """All settings of a run."""

    seed: int
    seeds: Seeds
    resume: bool
    data: Data
    model: Model
    train: Train
    evaluate: Evaluate
    checkpoint: Checkpoint
    tracker: Tracker
    tricks: dict[str, Any]
    doctor: str = allowed("cheap | off")
    """Which of the doctor's checks run before training."""
    trusted: list[str] = allowed("")
    """Further classes and functions that `_target_` may name, each as `package.module.Class`."""


def _run_name(*, _root_: DictConfig) -> str:
    """`<data>-<model>-<tricks>-s<seed>-<hash of the resolved config>`: no clock, so a run finds its folder.

    The hash alone makes it unique. The name of a file, or of a data set or model on the hub, says what a run is of; a
    folder that an earlier version has named by `files` or `hub` is found again.
    """
    values = {name: _root_[name] for name in _root_ if name != "hydra"}
    plain: Any = OmegaConf.to_container(OmegaConf.create(values, parent=_root_._get_parent()), resolve=True)  # type: ignore[arg-type]
    plain["data"]["label"] = label_setting(plain["data"]["label"])
    choices = _root_.hydra.runtime.choices
    tricks = "+".join(sorted(values["tricks"])) or "base"
    end = f"{tricks[:100]}-s{values['seed']}-{digest(plain)}"
    data, model = plain["data"], plain["model"]
    of_data = data["train"] if choices.data == "files" else data["name"] if choices.data == "hub" else None
    of_model = model["name"] if choices.model == "hub" else None
    previous = f"{choices.data}-{choices.model}-{end}"
    name = f"{_folder_name(of_data) or choices.data}-{_folder_name(of_model) or choices.model}-{end}"
    # The folder of runs has this name, unless the user has given another: then nothing is looked for.
    parents = ["runs", str(_root_.hydra.sweep.dir)]
    is_found = any(Path(parent, previous).is_dir() and not Path(parent, name).exists() for parent in parents)
    return previous if is_found else name


def _folder_name(path: Any) -> str:
    r"""The name of a file, or the last part of a name on the hub, as every file system allows it in a folder's name.

    Letters of every script stay. Windows allows neither <>:"/\|?* nor a dot at the end.
    """
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", str(path or "").rstrip("/\\"))[-1])
    stem = ENDINGS.sub("", name)
    is_legal = [each.isalnum() or each in "_.+-" or unicodedata.category(each)[0] == "M" for each in stem]
    legal = "".join(each if keep else "-" for each, keep in zip(stem, is_legal, strict=True)).strip("-.")
    # Most file systems allow 255 bytes; the rest of the name takes less than 150.
    return legal.encode()[:MOST_BYTES].decode(errors="ignore")


def label_setting(value: Any) -> Any:
    """`data.label` as text, or as a list of texts.

    OmegaConf has no type for text or list, so it lets any value pass. Here it is converted as OmegaConf converts text.
    """
    if isinstance(value, str) and value[:1] == "[" and value[-1:] == "]":
        with suppress(yaml.YAMLError):
            value = yaml.safe_load(value)
    if isinstance(value, list):
        return [str(name) for name in value]
    return value if value is None or isinstance(value, dict) else str(value)


def digest(values: Mapping[str, Any]) -> str:
    """A short hash of everything that decides a run's numbers."""
    deciding = deciding_values(values)
    # With the old names of settings: a run that an earlier version has begun is found again.
    named = rename_settings(deciding, {new: old for old, new in renamed_settings().items()})
    for path, as_before in newer_settings().items():
        *parents, name = path.split(".")
        holder = value_at(named, ".".join(parents))
        if isinstance(holder, dict) and holder.get(name) == as_before:
            holder.pop(name, None)
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:8]


def deciding_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same tree of values without the settings that change no number of a run."""
    deciding = copy.deepcopy(dict(values))
    for path in UNDECIDING:
        *parents, name = path.split(".")
        holder = value_at(deciding, ".".join(parents)) if parents else deciding
        if isinstance(holder, dict):
            holder.pop(name, None)
    return deciding


@functools.cache
def renamed_settings() -> Mapping[str, str]:
    """The settings that have a new name: from the old dotted path to the new one."""
    names: dict[str, str] = yaml.safe_load((CONF / "renamed.yaml").read_text(encoding="utf-8"))
    return names


@functools.cache
def newer_settings() -> Mapping[str, Any]:
    """The newer settings of the base and of tricks: dotted path and value without which a run is the same."""
    of_tricks: dict[str, Any] = yaml.safe_load((CONF / "newer.yaml").read_text(encoding="utf-8"))
    return {**NEWER_SETTINGS, **of_tricks}


def rename_settings(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The same tree of values with settings under other dotted paths; where both stand there, the new one counts."""
    renamed = copy.deepcopy(dict(values))
    for old, new in names.items():
        *parents, name = old.split(".")
        holder = value_at(renamed, ".".join(parents))
        if isinstance(holder, dict) and name in holder:
            value = holder.pop(name)
            if value_at(renamed, new) is None:
                put_at(renamed, new, value)
    return renamed


def add_newer_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same tree of values, in which settings that an earlier version did not have are as before."""
    complete = copy.deepcopy(dict(values))
    for path, as_before in newer_settings().items():
        *parents, name = path.split(".")
        holder = value_at(complete, ".".join(parents))
        if isinstance(holder, dict):
            holder.setdefault(name, as_before)
    return complete


def value_at(values: Any, path: str) -> Any:
    """The value at a dotted path of nested dictionaries; None where there is none."""
    for name in path.split("."):
        values = values.get(name) if isinstance(values, Mapping) else None
    return values


def put_at(values: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a dotted path of nested dictionaries, which are made where they are missing."""
    *parents, name = path.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
    values[name] = value


def _schema() -> DictConfig:
    """The types of all values. Only `evaluate.extra` takes names that the user chooses."""
    schema = OmegaConf.structured(Config)
    schema.evaluate = OmegaConf.structured(Evaluate)
    schema.evaluate.extra = {}
    OmegaConf.set_struct(schema.evaluate.extra, False)
    return cast(DictConfig, schema)


def threads_of_each(workers: int) -> str:
    """Threads of each of `workers` processes on this machine; -1 means one worker for each core, as in joblib."""
    from joblib import cpu_count

    cores = int(cpu_count())
    return str(max(1, cores // (workers if workers > 0 else cores)))


def runs_at_a_time() -> int:
    """Runs that joblib makes at a time: 4 for each GPU if there are as many cores; 2 without a GPU."""
    from joblib import cpu_count

    from recipes.runtime.workers import RUNS_ON_A_GPU, visible_gpus

    gpus = len(visible_gpus())
    return max(gpus, min(RUNS_ON_A_GPU * gpus, int(cpu_count()))) or 2


OmegaConf.register_new_resolver("run_name", _run_name, replace=True)
OmegaConf.register_new_resolver("threads_of_each", threads_of_each, replace=True)
OmegaConf.register_new_resolver("runs_at_a_time", runs_at_a_time, replace=True)
ConfigStore.instance().store(name="schema", node=_schema())


def as_values(config: Config) -> dict[str, Any]:
    """The resolved config as plain values, as `config.yaml` holds it."""
    return asdict(config)


def saved_config(values: Mapping[str, Any]) -> Config:
    """The typed config from what `config.yaml` of a run folder holds.

    A folder that an earlier version wrote lacks the settings that are newer; they have the value of `conf/train.yaml`.
    Somebody else may have written the folder: it cannot say whom to trust, and its texts are not evaluated.

    Raises:
        UserError: it holds a setting that there is not.
    """
    known = {item.name for item in fields(Config)}
    stored = escape_interpolations(deciding_values(values))
    defaults = cast(DictConfig, OmegaConf.load(CONF / "train.yaml"))
    newest = OmegaConf.create({name: defaults[name] for name in map(str, defaults) if name in known})
    try:
        return cast(Config, OmegaConf.to_object(OmegaConf.merge(_schema(), newest, stored)))
    except OmegaConfBaseException as error:
        raise UserError(f"config.yaml: {describe(error)} A newer version may have written it.") from error
