"""A trick with a new name, and a third-party trick: messages use the name, and the doctor offers the trick."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from recipes.api import finetune_config
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.compose.remedies import remedies_for
from recipes.compose.requirements import unmet
from recipes.compose.tricks import build
from recipes.config import CONF, Config, as_values
from recipes.doctor import examine
from recipes.errors import UserError
from recipes.testing import TINY, in_child, make_text_file, names, tiny_run, yaml_values
from tests.sampling import every, slow

NEW = "quagga"
Write = Callable[[str, str | bytes], Path]
Rename = Callable[[str], str]


@pytest.fixture
def rename(write: Write, tmp_path: Path) -> Rename:
    """Copy a trick's YAML file under the new name; return the override that adds its folder."""

    def copy_config(old: str) -> str:
        text = (CONF / "tricks" / f"{old}.yaml").read_text(encoding="utf-8")
        write(f"conf/tricks/{NEW}.yaml", text.replace(f"# @package tricks.{old}\n", f"# @package tricks.{NEW}\n"))
        return f"hydra.searchpath=[{tmp_path / 'conf'}]"

    return copy_config


@pytest.fixture
def files() -> list[str]:
    splits = enumerate(("train", "validation", "test"))
    return [*TINY, *(f"data.{split}={make_text_file(12, seed)}" for seed, split in splits)]


def config_of(*overrides: str) -> Config:
    return read(compose_config(overrides)[0])


def read_refusal(*overrides: str) -> str:
    """Build the tricks of a command line that must be refused; return the message."""
    with pytest.raises(UserError) as caught:
        build(config_of(*overrides).tricks)
    return str(caught.value)


def test_the_name_is_set_before_post_init_and_is_not_a_setting() -> None:
    for name in names():
        assert "name" not in yaml_values(name)
        trick = build({NEW: yaml_values(name)})[NEW]
        assert trick.name == NEW and f"name={NEW!r}" not in repr(trick)
        assert type(trick).name == name


@pytest.mark.parametrize(
    ("old", "overrides", "message"),
    [
        ("fgm", [f"+tricks=[pgd,{NEW}]"], f"keep one of them: +tricks=[pgd] or +tricks=[{NEW}]."),
        (
            "focal",
            [f"+tricks=[class_weights,{NEW}]", f"tricks.{NEW}.scheme=balanced"],
            f"class_weights and {NEW} exclude",
        ),
        ("mixup", [f"+tricks=[segments,{NEW}]"], f"(with tricks.{NEW}.level=sentence after it)"),
        ("eda", [f"+tricks=[{NEW}]", f"tricks.{NEW}.source=file"], f"set it with tricks.{NEW}.file=<path>"),
        (
            "swa",
            [f"+tricks=[{NEW}]", f"tricks.{NEW}.every_updates=0"],
            f"tricks.{NEW}.every_updates must be an integer",
        ),
    ],
)
def test_refusals_use_the_new_name(rename: Rename, old: str, overrides: list[str], message: str) -> None:
    refusal = read_refusal(rename(old), *overrides)
    assert message in refusal and f"tricks.{old}" not in refusal and f"[{old}]" not in refusal


@pytest.mark.parametrize(
    ("old", "override", "message"),
    [
        ("clip_gradient", "train.clip_norm=1.0", f"train.clip_norm=1.0: {NEW} needs train.clip_norm=null"),
        ("swa", "evaluate.early_stopping=2", f"evaluate.early_stopping=2: {NEW} averages the end of training"),
        ("mixup", "model=linear", f"+tricks=[{NEW}] cannot act"),
    ],
)
def test_requirements_use_the_new_name(rename: Rename, old: str, override: str, message: str) -> None:
    config = config_of(rename(old), f"+tricks=[{NEW}]", override)
    (problem,) = unmet(as_values(config), build(config.tricks))
    assert message in problem and old not in problem


@pytest.mark.parametrize(
    ("old", "overrides", "message"),
    [
        slow("deduplicate", [], f"{NEW}: "),
        slow("eda", [f"tricks.{NEW}.source=embeddings", f"tricks.{NEW}.variants=1"], f"{NEW}: synonyms from"),
        slow("nlpaug", [], f"{NEW}: "),
        slow("noise_scale", [f"tricks.{NEW}.every_updates=1"], f"{NEW}: "),
        ("temperature", [], f"{NEW}: "),
        slow("threshold", [], f"{NEW}: "),
        slow("soup", [], f"{NEW}: "),
        slow("fusion", [f"tricks.{NEW}.folds=2"], f"{NEW}: 1-tiny, fold 1 of 2"),
    ],
)
def test_output_of_training_uses_the_new_name(
    rename: Rename, files: list[str], tmp_path: Path, old: str, overrides: list[str], message: str
) -> None:
    more = [f"+tricks=[{NEW}]", "train.max_updates=6", *overrides]
    config, folder = config_of(*files, rename(old), *more), tmp_path / "run"

    def train_and_capture() -> str:
        import contextlib
        import io

        with contextlib.redirect_stdout(io.StringIO()) as caught:
            finetune_config(config, folder)
        return caught.getvalue()

    output = in_child(train_and_capture)
    assert message in output, output
    assert f"{old}: " not in output and f"tricks.{old}" not in output, output


@pytest.mark.parametrize(
    ("old", "setting", "message"),
    [
        ("accumulate", "part_size=100", f"tricks.{NEW}.part_size=100 holds all"),
        slow("ema", "every_updates=100", f"tricks.{NEW}.every_updates=1"),
        slow("mixup", "warmup=0.9", f"tricks.{NEW}.warmup=0.0"),
        slow("swa", "every_updates=1000", f"tricks.{NEW}.start=0.75, tricks.{NEW}.every_updates=1"),
        slow("truncate", "part=tail", f"tricks.{NEW}: no text is longer"),
        slow("sliding_window", "max_windows=2", f"tricks.{NEW}: no text is longer"),
        slow("class_weights", "scheme=balanced", f"tricks.{NEW}: every class has about as many rows"),
        slow("temperature", "limit=2", f"tricks.{NEW} is fitted on"),
        slow("threshold", "rounds=1", f"tricks.{NEW} is fitted on"),
    ],
)
def test_warnings_of_a_trick_use_the_new_name(
    rename: Rename, files: list[str], tmp_path: Path, old: str, setting: str, message: str
) -> None:
    config = config_of(*files, rename(old), f"+tricks=[{NEW}]", f"tricks.{NEW}.{setting}", "data.max_length=64")

    def check_trick() -> list[str]:
        run = tiny_run(config, tmp_path)
        return [*run.tricks[NEW].check(run)]

    sentences = "\n".join(in_child(check_trick))
    assert message in sentences and f"tricks.{old}" not in sentences, sentences


REMEDIES = [(name, finding) for name in names() for finding in build({name: yaml_values(name)})[name].remedies]


@pytest.mark.parametrize(("old", "finding"), every(8, REMEDIES))
def test_remedies_use_the_new_name(rename: Rename, old: str, finding: str) -> None:
    compose_config([rename(old)])
    values: dict[str, Any] = {"batch_out_of_memory": {"rows": 4}, "removed_checkpoints": {"folder": "runs/old"}}.get(
        finding, {}
    )
    ours = [remedy for remedy in remedies_for(finding, {}, **values) if NEW in remedy]
    theirs = [remedy for remedy in remedies_for(finding, {}, **values) if f"[{old}]" in remedy]
    assert [remedy.replace(NEW, old) for remedy in ours] == theirs != []


REPEATED = ["text,label", *(f"word{row % 20} and more,{'xy'[row % 2]}" for row in range(60))]


def remedies_for_duplicates(overrides: list[str]) -> str:
    report = examine(overrides, cheap=True)
    return "\n".join(finding.remedy for finding in report.findings if finding.check == "duplicates")


@pytest.mark.slow
def test_the_doctor_uses_the_new_name(rename: Rename, write: Write, files: list[str]) -> None:
    train = f"data.train={write('train.csv', chr(10).join(REPEATED))}"
    remedies = in_child(partial(remedies_for_duplicates, [*files, train, rename("deduplicate")]))
    assert f"+tricks=[deduplicate] or +tricks=[{NEW}]" in remedies
    on = [*files, train, rename("deduplicate"), f"+tricks=[{NEW}]", f"tricks.{NEW}.inside=false"]
    remedies = in_child(partial(remedies_for_duplicates, on))
    assert remedies and "tricks=" not in remedies  # it is selected already


@pytest.mark.slow
def test_the_doctor_offers_a_third_party_trick(
    write: Write, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    write(
        "merging.py",
        "from recipes import Trick\n\n\nclass Merge(Trick):\n"
        "    remedies = {'duplicates': '+tricks=[{name}] tricks.{name}.how=mean'}\n",
    )
    write("theirs/tricks/merge.yaml", "# @package tricks.merge\n_target_: merging.Merge\n")
    train = f"data.train={write('train.csv', chr(10).join(REPEATED))}"
    theirs = [f"hydra.searchpath=[{tmp_path / 'theirs'}]", "trusted=[merging.Merge]"]
    remedies = in_child(partial(remedies_for_duplicates, [*files, train, *theirs]))
    assert "+tricks=[deduplicate] or +tricks=[merge] tricks.merge.how=mean" in remedies
    assert "merge" not in in_child(partial(remedies_for_duplicates, [*files, train]))
