import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from recipes.api import finetune
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.config import CONF, Config, as_values, threads_of_each
from recipes.errors import UserError
from recipes.testing import compose_again
from tests.sampling import every, slow

Write = Callable[[str, str], Path]

DATA = {
    "ag_news",
    "chnsenticorp",
    "cola",
    "files",
    "hub",
    "imdb",
    "mrpc",
    "pydocs",
    "rte",
    "sst2",
    "thucnews",
    "tnews",
    "trec",
}
MODELS = {
    "bert",
    "bert_chinese",
    "deberta_v3",
    "distilbert",
    "e5",
    "hub",
    "linear",
    "longformer",
    "macbert",
    "minilm",
    "modernbert",
    "mpnet",
    "roberta",
    "tiny",
    "xlm_roberta",
}
# What such a choice cannot do without.
NEEDED = {
    "data=files": ["data.train=a.csv"],
    "data=hub": ["data.name=owner/name"],
    "model=hub": ["model.name=owner/name"],
}


def config(*overrides: str) -> Config:
    return read(compose_again(overrides))


def problems(*overrides: str) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        config(*overrides)
    return caught.value.problems


def names(group: str) -> set[str]:
    return {path.stem for path in (CONF / group).glob("*.yaml")}


def test_every_known_choice_is_there() -> None:
    assert names("data") >= DATA
    assert names("model") >= MODELS


@pytest.mark.parametrize(
    "choice",
    every(
        3,
        sorted(
            {*(f"data={name}" for name in names("data") | DATA), *(f"model={name}" for name in names("model") | MODELS)}
        ),
    ),
)
def test_every_choice_composes_and_is_whole(choice: str) -> None:
    found = config(choice, *NEEDED.get(choice, []))
    group, _, name = choice.partition("=")
    if group == "data":
        assert found.data.source == (name if name in ("pydocs", "files") else "hub")
        assert found.data.text
    else:
        assert found.model.source == (name if name in ("minilm", "e5", "mpnet", "tiny", "linear") else "hub")
        assert found.train.epochs > 0


def test_the_yaml_files_hold_every_value_and_the_class_none() -> None:
    assert as_values(config())["train"] == {
        "batch_size": 32,
        "epochs": 6.0,
        "max_updates": None,
        "learning_rate": 3e-4,
        "schedule": "linear",
        "warmup": 0.1,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
        "device": "auto",
        "threads": None,
        "cuda_graphs": "auto",
    }
    with pytest.raises(TypeError):
        Config()  # type: ignore[call-arg]


def test_a_model_sets_its_rate_and_epochs_and_the_command_line_has_the_last_word() -> None:
    assert config("model=modernbert").train.learning_rate == 8e-5
    assert config("model=modernbert", "train.learning_rate=1e-3").train.learning_rate == 1e-3
    assert config("train.learning_rate=1e-3", "model=modernbert").train.learning_rate == 1e-3


def test_seeds_follow_the_seed() -> None:
    found = config("seed=7", "seeds.order=3")
    assert (found.seeds.order, found.seeds.init, found.seeds.dropout) == (3, 7, 7)


def test_every_wrong_value_is_told_in_one_go_the_tricks_too() -> None:
    found = problems(
        "train.warmup=1.5",
        "train.schedule=step",
        "+tricks=[mixup,swa]",
        "tricks.mixup.alpha=0",
        "tricks.mixup.fraction=much",
        "tricks.swa.every_updates=0",
    )
    assert found == (
        "train.schedule must be one of linear | cosine | constant, got step.",
        "train.warmup must be a number in [0, 1], got 1.5.",
        "tricks.mixup.fraction must be a number in [0, 1], got 'much'.",
        "tricks.swa.every_updates must be an integer in [1, inf), got 0.",
    )


@pytest.mark.parametrize("value", ["nan", "inf", "0", "-1"])
def test_numbers_that_are_none(value: str) -> None:
    assert problems(f"train.epochs={value}")[0].startswith("train.epochs must be a number in (0, inf), got ")


def test_a_setting_that_nobody_reads_is_an_error() -> None:
    assert problems("+foo=1")[0].startswith("foo does not exist; there are: checkpoint, ")
    assert problems("+train.epoch=1", "+foo=1") == (
        "train.epoch does not exist; did you mean epochs? There are: batch_size, clip_norm, cuda_graphs, device, "
        "epochs, learning_rate, max_updates, schedule, threads, warmup, weight_decay.",
        *problems("+foo=1"),
    )


def test_values_of_a_trick_that_is_not_selected_are_refused_also_when_added() -> None:
    with pytest.raises(UserError, match=r"tricks\.mixup has values but is not selected; add '\+tricks=\[mixup\]'\."):
        finetune(["+tricks.mixup.alpha=1"])


def test_what_the_source_of_the_data_cannot_do_without() -> None:
    assert problems("data=files", "model=hub", "train.epochs=0") == (
        "train.epochs must be a number in (0, inf), got 0.0.",
        "data.train is not set; data=files needs data.train=<path of a CSV, TSV, JSONL or Parquet file>.",
        "model.name is not set; model=hub needs model.name=<owner/name, or a local folder>.",
    )
    assert problems("data=hub", "data.train=null") == (
        "data.train is not set; data=hub needs data.train=<a split's name>.",
        "data.name is not set; data=hub needs data.name=<owner/name>.",
    )


def test_a_forgotten_choice_of_data_or_model_is_told() -> None:
    assert problems("data.train=my.csv", "data.id=key") == (
        "data.train=my.csv: data=pydocs does not read it; choose data=files or data=hub, or leave it out.",
        "data.id=key: data=pydocs does not read it; choose data=files or data=hub, or leave it out.",
    )
    assert problems("data=files", "data.train=a.csv", "data.name=b/c") == (
        "data.name=b/c: data=files does not read it; choose data=hub, or leave it out.",
    )
    assert problems("model=linear", "model.trim_vocabulary=true") == (
        "model.trim_vocabulary=true: model=linear does not read it, since its vocabulary is made of the training "
        "texts; choose model=e5, or leave it out.",
    )
    assert problems("model=tiny", "model.name=b/c") == (
        "model.name=b/c: model=tiny does not read it; choose model=hub, or leave it out.",
    )


def test_more_files_to_score_are_named_by_the_user() -> None:
    either = config("evaluate.extra.hard=hard.csv").evaluate.extra
    assert either == config("evaluate.extra={hard: hard.csv}").evaluate.extra == {"hard": "hard.csv"}
    assert config("+evaluate.extra.hard=hard.csv").evaluate.extra == either
    for name in ("test", "train", "cost", "seed"):
        assert problems(f"evaluate.extra.{name}=a.csv")[0].startswith(
            f"evaluate.extra.{name}: a name must be of letters"
        )
    assert problems("evaluate.extra={../a: a.csv}")[0].startswith("evaluate.extra.../a: ")


# The run folder's name.


def folder(*overrides: str) -> str:
    return str(compose_config(overrides)[1])


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("stars", "stars"),
        slow("3", "3"),
        slow("1.5", "1.5"),
        ("[a,b]", ["a", "b"]),
        slow("[a, 2]", ["a", "2"]),
        slow("'[a, b]'", ["a", "b"]),
    ],
)
def test_the_label_is_a_column_or_a_list_of_columns(value: str, label: str | list[str]) -> None:
    overrides = ["data=files", "data.train=a.csv", f"data.label={value}"]
    composed, folder = compose_config(overrides)
    assert read(composed).data.label == label
    # A run of an earlier version, in which the label was always text, is found again.
    as_text = compose_config([*overrides[:2], f'data.label="{value}"'])[1]
    assert folder == as_text or isinstance(label, list)


@pytest.mark.parametrize("value", ["null", "[]", "{a:1}", "''", "[a,'']"])
def test_a_label_that_is_no_column_is_refused(value: str) -> None:
    (problem,) = problems("data=files", "data.train=a.csv", f"data.label={value}")
    assert problem.startswith("data.label must be a column, or a list of columns with 0 or 1 for one label each")
    assert problems("data=files", "data.train=a.csv", "data.label=[a,a]") == (
        "data.label=[a, a] names a column twice; name each once.",
    )
    (problem,) = problems("data=files", "data.train=a.csv", "data.label=[a,b]", "data.label_separator=|")
    assert problem.startswith("data.label_separator=|: with a column for each label, data.label=[a, b], nothing is")


def test_the_run_folder_is_named_by_its_choices_and_has_no_clock() -> None:
    name = folder("model=tiny", "+tricks=[swa,mixup]", "seed=3")
    assert re.fullmatch(r"runs/pydocs-tiny-mixup\+swa-s3-[0-9a-f]{8}", name)
    assert folder("seed=3", "+tricks=[mixup,swa]", "model=tiny") == name
    assert re.fullmatch(r"runs/pydocs-minilm-base-s0-[0-9a-f]{8}", folder())


CHANGES = (
    "seed=1",
    "seeds.init=1",
    "data.split_seed=1",
    "data.fold=0",
    "data.text=body",
    "data.max_length=32",
    "model=tiny",
    "model.dropout=0.2",
    "train.epochs=5",
    "train.max_updates=5",
    "train.clip_norm=null",
    "evaluate.every=0.5",
    "evaluate.extra.hard=a.csv",
    "checkpoint.keep=3",
    "+tricks=[mixup]",
)


@pytest.mark.parametrize("changes", [CHANGES[::4], slow(CHANGES)], ids=["some", "all"])
def test_every_value_but_resume_names_another_folder(changes: Sequence[str]) -> None:
    found = [folder(), *(folder(change) for change in changes)]
    assert len(set(found)) == len(changes) + 1
    assert folder("resume=false") == folder()
    one, other = (folder("+tricks=[mixup]", f"tricks.mixup.alpha={value}") for value in (1, 2))
    assert one != other


def test_a_value_as_it_stands_is_no_change() -> None:
    assert folder("train.epochs=6", "seeds.order=0") == folder()


@pytest.mark.parametrize(("workers", "threads"), [(1, "8"), (2, "4"), (3, "2"), (9, "1"), (-1, "1")])
def test_threads_of_each_worker(workers: int, threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    assert threads_of_each(workers) == threads


def test_a_fold_must_be_one_of_the_partition_and_has_no_validation_file_next_to_it() -> None:
    assert config("data.fold=7").data.fold == 7
    assert problems("data.fold=8") == (
        "data.fold=8: data.validation_fraction=0.1 makes 8 folds of the rows that are not test; allowed: 0 to 7.",
    )
    # A test file leaves all other rows to the folds.
    files = ("data=files", "data.train=a.csv", "data.test=b.csv")
    assert config(*files, "data.fold=9").data.fold_count == 10
    assert config(*files, "data.validation_fraction=0.3", "data.fold=2").data.fold_count == 3
    (problem,) = problems(*files, "data.validation=c.csv", "data.fold=0")
    assert problem.startswith("data.fold=0: data.validation=c.csv is a split of its own, so there are no folds; ")
