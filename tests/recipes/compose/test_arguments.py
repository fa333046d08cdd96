import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from recipes.compose.arguments import counterpart, field_at, prepare_arguments, prepare_overrides, quote, with_new_names
from recipes.compose.overrides import compose_config
from recipes.config import CONF, renamed_settings, value_at
from recipes.errors import UserError


def value_of(override: str) -> object:
    """The value that Hydra reads from an override after it was quoted."""
    parsed = OverridesParser.create().parse_override(quote(override))
    return list(parsed.sweep_string_iterator()) if parsed.is_sweep_override() else parsed.value()


@pytest.mark.parametrize(
    "text",
    [
        "文本",
        "/数据/外卖 评论.csv",
        "~/x.csv",
        "a=b.csv",
        "数据=1/é.csv",
        "my data (1).csv",
        "f(1)",
        "x[1].csv",
        "x{1}.csv",
        "#1; a & b < c > d ! ^.csv",
        "it's.csv",
        '它\'s "这".csv',
        "C:\\数据\\x.csv",
        "C:\\数据\\",
        "\\\\server\\数据's\\",
        "👍",
        "100%纯",
        "a|文",
    ],
)
def test_text_in_any_letters_is_read_as_it_is(text: str) -> None:
    assert value_of(f"data.train={text}") == text
    # A backslash before a comma takes the comma's meaning away.
    text = text.rstrip("\\")
    assert value_of(f"evaluate.extra={{hard:{text},soft:b}}") == {"hard": text, "soft": "b"}
    assert value_of(f"x=[a,{text}]") == ["a", text]


@pytest.mark.parametrize(
    "line",
    ["train.epochs=2", "+tricks=[mixup,amp]", "data.id=null", "-m", "x=choice(1,2)", "data.text='文本'", "x=1e3", "x"],
)
def test_what_hydra_can_parse_stays(line: str) -> None:
    assert quote(line) == line


@pytest.mark.parametrize("text", ["1e3", "true", "1_000", "1.50", "+5"])
def test_text_that_looks_like_a_number_stays_text(text: str) -> None:
    assert value_of(f"data.text={text}") == text
    assert value_of(f"data.label={text}") == text
    assert value_of(f"data.label=[a,{text}]") == ["a", text]


def test_lists_and_sweeps_keep_their_commas() -> None:
    assert value_of("data.text=文本,标题") == ["'文本'", "'标题'"]
    assert value_of("x=choice(文本,b)") == ["'文本'", "b"]  # never without the quotes
    assert value_of("x=[['文',b],c]") == [["文", "b"], "c"]


@pytest.mark.parametrize("line", ["data.text=[文本", "data.text={文本", "+tricks=[mixup,"])
def test_a_bracket_that_is_never_closed_is_not_quoted(line: str) -> None:
    assert quote(line) == line


def test_overrides_may_stand_after_options() -> None:
    assert prepare_arguments(["seed=1", "-m", "data.text=文本"]) == ["seed=1", "data.text='文本'", "-m"]
    assert prepare_arguments(["--config-dir", "mine", "seed=1"]) == ["seed=1", "--config-dir", "mine"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--tricks", "mixup"],
            "--tricks mixup: tricks are chosen by one list without spaces; write '+tricks=[mixup]'",
        ),
        (["--tricks=mixup,amp"], "--tricks=mixup,amp: tricks are chosen by one list without spaces; write '+tricks=["),
        (
            ["--lr", "1e-5"],
            "--lr: there is no such option; settings are written without dashes, as train.learning",
        ),
        (["--batch-size=8"], "--batch-size=8: there is no such option; settings are written without dashes, as train."),
        (["--seed", "8"], "--seed: there is no such option; settings are written without dashes, as seed=8."),
        (["--fast"], "--fast: there is no such option; --help and --hydra-help list all."),
        (["--resolve"], "--resolve is about the config that --cfg prints; write --cfg=job --resolve."),
        (
            ["hydra.verbose=inf"],
            "hydra.verbose=inf: hydra.verbose must be true, false, the name of a logger, or a list",
        ),
        (["--config-dir"], "--config-dir/-cd: expected one argument; --hydra-help lists all."),
    ],
)
def test_an_option_that_does_not_exist(arguments: Sequence[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        prepare_arguments(arguments)
    assert caught.value.problems[0].startswith(message)


def test_tricks_that_are_chosen_twice_are_refused() -> None:
    with pytest.raises(UserError, match=r"write '\+tricks=\[mixup,amp\]', in quotes"):
        prepare_overrides(["+tricks=[mixup]", "seed=1", "+tricks=amp"])


def test_a_run_folder_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert prepare_overrides(["hydra.run.dir=~/run"]) == [f"hydra.run.dir={tmp_path}/run"]


@pytest.mark.parametrize("line", ["hydra.run.dir=", "hydra.run.dir=.", "hydra.sweep.dir='.'", "hydra.sweep.dir=~"])
def test_a_folder_that_holds_other_things_is_no_folder_of_runs(line: str) -> None:
    with pytest.raises(UserError, match="runs need a folder of their own; name a new one, such as hydra"):
        prepare_overrides([line])


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("lr", "1e-5", "train.learning_rate=1e-5"),
        ("epochs", "3", "train.epochs=3"),
        ("num_train_epochs", "3", "train.epochs=3"),
        ("batch_size", "8", "train.batch_size=8"),
        ("per_device_train_batch_size", "8", "train.batch_size=8"),
        ("metric", "f1", "evaluate.metric=macro_f1"),
        ("metric", "mcc", "evaluate.metric=mcc"),
        ("fp16", "true", "'+tricks=[amp]'"),
        ("learning_rate", None, "train.learning_rate=<value>"),
        ("trian", "1", None),
    ],
)
def test_names_of_other_programs(name: str, value: str | None, line: str | None) -> None:
    assert counterpart(name, value) == line


def test_every_name_of_another_program_leads_to_a_setting() -> None:
    lines = yaml.safe_load((CONF / "elsewhere.yaml").read_text())
    assert len(lines) > 50
    for name, line in lines.items():
        for path in re.findall(r"[\w.]+(?==)", line):
            assert field_at(path.split(".")) or path in ("data", "hydra.run.dir"), name
        assert field_at([name]) is None, f"{name} is a setting of this project"


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
