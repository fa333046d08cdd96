from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore

from recipes.compose.overrides import compose_config, mistakes
from recipes.compose.reading import read
from recipes.config import Config
from recipes.errors import UserError
from recipes.testing import in_child
from tests.sampling import every

Write = Callable[[str, str], Path]


def config(*overrides: str) -> Config:
    return read(compose_config(overrides)[0])


def problems(*overrides: str) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        config(*overrides)
    return caught.value.problems


MISTAKES = [
    ("data.trian=x", "data.trian does not exist; did you mean train? There are: encoding, fold, group, "),
    ("trian.epochs=2", "trian does not exist; did you mean train? There are: checkpoint, data, "),
    ("train.epochs=abc", "train.epochs must be a number in (0, inf), got abc."),
    ("train.epochs=null", "train.epochs must be a number in (0, inf), got null."),
    ("train.max_updates=1.5", "train.max_updates must be an integer in [1, inf) or null, got 1.5."),
    ("resume=perhaps", "resume must be true or false, got perhaps."),
    ("data.text=null", "data.text must be text, got null."),
    ("model=bret", "model=bret: there is no such model; did you mean bert? There are: bert, bert_chinese, "),
    ("data=base", "data=base: there is no such data; there are: ag_news, "),
    ("data=null", "data=null: there is no such data; there are: ag_news, "),
    ("+tricks=[mixup,swap]", "tricks=swap: there is no such trick; did you mean swa? There are: accumulate, "),
    ("tricks=[mixup]", "tricks=[mixup]: tricks are chosen by one list without spaces; write '+tricks=[mixup]', in"),
    ("++tricks=[mixup]", "++tricks=[mixup]: tricks are chosen by one list without spaces; write '+tricks=[mixup]'"),
    (
        "+tricks=mixup,amp",
        "+tricks=mixup,amp: tricks are chosen by one list without spaces; write '+tricks=[mixup,",
    ),
    (
        "+tricks=[null]",
        "+tricks=[null]: tricks are chosen by one list without spaces; write '+tricks=[<name>,<name>]",
    ),
    ("recipe=[null]", "recipe=null: there is no such recipe; there are: "),
    ("lr=1e-5", "lr does not exist; write train.learning_rate=1e-5."),
    ("train.lr=1e-5", "train.lr does not exist; write train.learning_rate=1e-5."),
    ("metric=f1", "metric does not exist; write evaluate.metric=macro_f1."),
    ("seeds=5", "seeds must be settings of its own, such as seeds.order=<value>, got 5."),
    ("seeds=${seed}", "seeds must be a mapping of settings, got 0; set them one by one."),
    ("trusted=${seed}", "trusted must be a list in brackets, such as [a,b], got 0."),
    ("evaluate.extra=${seed}", "evaluate.extra must be a mapping of settings, got 0; set them one by one."),
    ("seed=${seed}", "seed: Recursive interpolation detected."),
    ("=5", "=5 is not an override; write it as name=value, such as train.epochs=2."),
    ("文=5", "文=5: a name has only the letters a-z, digits, "),
    ("train.threads=100000", "train.threads must be an integer in [1, 1024] or null, got 100000."),
    ("train.batch_size=99999999999999999999", "train.batch_size must be an integer in [1, 1000000], got 99999"),
    ("+recipe=cutmix", "+recipe=cutmix: recipe is chosen, not added; write recipe=cutmix."),
    ("+model=bret", "model=bret: there is no such model; did you mean bert? "),
    (
        "tricks.swa.rate_factor=1",
        "tricks.swa.rate_factor=1: tricks.swa has values but is not selected; add '+tricks=[swa]'.",
    ),
    ("tricks.mixpu.alpha=1", "tricks.mixpu: there is no such trick; did you mean mixup? "),
    ("data.text＝评论", "data.text＝评论: its signs are full-width, as in Chinese text; write data.text=评论."),
    (
        "evaluate.extra={hard：难.csv}",
        "evaluate.extra={hard：难.csv}: its signs are full-width, as in Chinese text; write evaluate.extra={hard:",
    ),
    (
        "evaluate.extra={难: 难.csv}",
        "evaluate.extra={难: 难.csv}: 难 is a name, and a name has only the letters a-z",
    ),
    ("evaluate.extra.难=难.csv", "evaluate.extra.难=难.csv: a name has only the letters a-z, digits, "),
    (
        "+tricks=[mixup，amp]",
        "+tricks=[mixup，amp]: tricks are chosen by one list without spaces; write '+tricks=[mixup,amp]', in",
    ),
    ("train.epochs", "train.epochs is not an override; write it as name=value, "),
    ("data.train=[a", "data.train=[a cannot be read as an override; close every quote and bracket, and put "),
    ("~seed", "~seed: nothing can be taken away; "),
    ("hydra.run.dirr=x", "hydra.run.dirr does not exist; did you mean dir? "),
    ("model=tiny,linear", "model=tiny,linear: several values are a sweep, which needs -m; "),
]


@pytest.mark.parametrize(("line", "message"), every(6, MISTAKES))
def test_an_override_that_cannot_be_composed(line: str, message: str) -> None:
    (problem,) = problems(line)
    assert problem.startswith(message)
    assert problem.endswith(".")


@pytest.mark.slow
def test_all_wrong_overrides_are_reported_at_once() -> None:
    lines = ("trian.epochs=2", "model=bret", "tricks.mixup.alpha=1", "train.epochs=abc", "x=[1", "+tricks=[amp,mixpu]")
    reports = problems("train.batch_size=8", *lines)
    assert len(reports) == len(lines)
    for word in ("trian does", "bert?", "+tricks=[mixup]", "train.epochs must", "x=[1 cannot", "mixup?"):
        assert sum(word in problem for problem in reports) == 1, word


def test_a_trick_has_settings() -> None:
    (problem,) = problems("+tricks=[mixup]", "tricks.mixup=5")
    assert problem == "tricks.mixup=5: a trick has settings; write tricks.mixup.<setting>=<value>."


def test_a_list_of_tricks_that_the_shell_split() -> None:
    (problem,) = problems("+tricks=[mixup,", "amp]")
    assert problem.startswith("+tricks=[mixup, amp]: tricks are chosen by one list without spaces; write '+tricks=[mix")


@pytest.mark.slow
def test_a_value_may_come_before_the_group_that_it_belongs_to() -> None:
    assert config("tricks.mixup.alpha=2", "+tricks=[mixup]").tricks["mixup"]["alpha"] == 2
    reports = problems("tricks.mixup.alpha=2", "+tricks=[mixup]", "trian=1")
    assert len(reports) == 1
    assert reports[0].startswith("trian does not exist")


# Config files outside conf/.


def test_a_config_folder_of_the_user(write: Write) -> None:
    write("conf/data/mine.yaml", "source: files\ntrain: mine.csv\n")
    search_path = f"hydra.searchpath=[{write('conf/model/mine.yaml', 'source: tiny').parents[1]}]"
    assert config(search_path, "data=mine", "model=mine").data.train == "mine.csv"
    reports = problems("data=mien", "trian=1", search_path)
    assert "did you mean mine?" in reports[0]
    assert reports[1].startswith("trian does not exist")
    assert len(reports) == 2


def test_a_wrong_file_in_a_config_folder_of_the_user(write: Write) -> None:
    search_path = f"hydra.searchpath=[{write('conf/data/mine.yaml', 'txet: body').parents[1]}]"
    assert problems("data=mine", search_path) == (
        "data=mine: In 'data/mine': ConfigKeyError raised while composing config; Key 'txet' not in 'Data'.",
    )
    write("conf/data/mine.yaml", "text: [a\nlabel")
    (problem,) = problems("data=mine", search_path)
    assert problem.startswith("a YAML file cannot be read: ")
    assert "mine.yaml" in problem


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["--config-dir", "nowhere", "seed=1"], ["--config-dir=nowhere: there is no such folder."]),
        (["--config-name", "trian", "seed=1"], ["--config-name=trian: there is no such config; leave the option out."]),
        (["hydra.searchpath=[1]"], ["hydra.searchpath=1: there is no such folder."]),
        (["-m", "model=tiny,linear", "+tricks=[],[mixup],[mixup,amp]"], []),
        (["-m", "model=tiny,linaer"], ["model=linaer: there is no such model; did you mean linear? "]),
        (["hydra.mode=MULTIRUN", "model=tiny,linear"], []),
        (["seed=0,1"], ["seed=0,1: several values are a sweep, which needs -m; "]),
    ],
)
def test_a_command_line(arguments: Sequence[str], messages: Sequence[str]) -> None:
    reports = mistakes(arguments)
    assert len(reports) == len(messages)
    assert all(sentence.startswith(start) for sentence, start in zip(reports, messages, strict=True))


def test_a_missing_plug_in_is_reported_with_its_install_command() -> None:
    def remove_from_store(group: str, name: str) -> None:
        ConfigStore.instance().repo["hydra"][group].pop(f"{name}.yaml", None)

    def find_mistakes() -> list[str]:
        compose_config([])
        remove_from_store("launcher", "submitit_slurm")
        remove_from_store("sweeper", "optuna")
        return mistakes(["-m", "hydra/launcher=slurm_workers", "search=tricks", "hydra/launcher=submitit_slurm"])

    assert in_child(find_mistakes) == [
        "hydra/launcher=slurm_workers needs a plug-in of Hydra: pip install 'trickbook[submitit]'.",
        "search=tricks needs a plug-in of Hydra: pip install 'trickbook[optuna]'.",
        "hydra/launcher=submitit_slurm needs a plug-in of Hydra: pip install 'trickbook[submitit]'.",
    ]
