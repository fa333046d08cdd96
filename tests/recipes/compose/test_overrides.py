from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from recipes.compose.overrides import compose_config, mistakes, with_new_names
from recipes.compose.reading import read
from recipes.config import Config, renamed_settings, value_at
from recipes.errors import UserError
from recipes.testing import in_child

Write = Callable[[str, str], Path]


def config(*overrides: str) -> Config:
    return read(compose_config(overrides)[0])


def problems(*overrides: str) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        config(*overrides)
    return caught.value.problems


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("data.trian=x", "data.trian does not exist; did you mean train? There are: encoding, group, "),
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
        ("tricks=[mixup]", "tricks=[mixup]: tricks are added to what is chosen so far; write +tricks=[mixup]."),
        ("+recipe=cutmix", "+recipe=cutmix: recipe is chosen, not added; write recipe=cutmix."),
        ("+model=bret", "model=bret: there is no such model; did you mean bert? "),
        (
            "tricks.swa.rate_factor=1",
            "tricks.swa.rate_factor=1: tricks.swa has values but is not selected; add +tricks=[swa].",
        ),
        ("tricks.mixpu.alpha=1", "tricks.mixpu: there is no such trick; did you mean mixup? "),
        ("train.epochs", "train.epochs cannot be read as an override; write it as name=value, "),
        ("data.train=a=b.csv", "data.train=a=b.csv cannot be read as an override; "),
        ("data.train=a;b.csv", "data.train=a;b.csv cannot be read as an override; write it as name=value, and put "),
        ("~seed", "~seed: nothing can be taken away; "),
        ("hydra.run.dirr=x", "hydra.run.dirr does not exist; did you mean dir? "),
        ("model=tiny,linear", "model=tiny,linear: several values are a sweep, which needs -m; "),
    ],
)
def test_an_override_that_cannot_be_composed(line: str, message: str) -> None:
    (problem,) = problems(line)
    assert problem.startswith(message)
    assert problem.endswith(".")


def test_all_wrong_overrides_are_reported_at_once() -> None:
    lines = ("trian.epochs=2", "model=bret", "tricks.mixup.alpha=1", "train.epochs=abc", "x=[1", "+tricks=[amp,mixpu]")
    reports = problems("train.batch_size=8", *lines)
    assert len(reports) == len(lines)
    for word in ("trian does", "bert?", "+tricks=[mixup]", "train.epochs must", "x=[1 cannot", "mixup?"):
        assert sum(word in problem for problem in reports) == 1, word


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
        "hydra/launcher=slurm_workers needs a plug-in of Hydra: pip install -e '.[submitit]'.",
        "search=tricks needs a plug-in of Hydra: pip install -e '.[optuna]'.",
        "hydra/launcher=submitit_slurm needs a plug-in of Hydra: pip install -e '.[submitit]'.",
    ]


class TestNewNames:
    def test_an_old_name_works_and_prints_the_new_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        composed, _ = compose_config(["data=files", "data.train=a.csv", "data.separator=|"])
        assert composed.data.label_separator == "|" and "separator" not in composed.data
        assert capsys.readouterr().err.startswith("note: data.separator is called data.label_separator now;")

    def test_every_new_name_is_a_setting(self) -> None:
        tricks = sorted({new.split(".")[1] for new in renamed_settings().values() if new.startswith("tricks.")})
        selected = ["+tricks=[" + ",".join(tricks) + "]"]
        composed, _ = compose_config(selected)
        values = OmegaConf.to_container(composed, resolve=True)
        absent = [new for new in renamed_settings().values() if value_at(values, new.rpartition(".")[0]) is None]
        assert len(tricks) == 8 and not absent
        for old, new in renamed_settings().items():
            parent = value_at(values, new.rpartition(".")[0])
            assert new.rpartition(".")[2] in parent and old.rpartition(".")[2] not in parent, new

    def test_other_arguments_stay_as_they_are(self, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ["-m", "+tricks=[swa]", "data.text=data.separator", "evaluate.every=1"]
        assert with_new_names(arguments) == arguments and capsys.readouterr().err == ""

    def test_values_and_prefixes_stay(self) -> None:
        assert with_new_names(["++tricks.swa.rate=0.1,0.2"]) == ["++tricks.swa.rate_factor=0.1,0.2"]
