"""A config folder without configs is refused, and one level too deep is recognized."""

from collections.abc import Callable
from pathlib import Path

import pytest

from recipes.compose.arguments import prepare_arguments
from recipes.compose.folders import GROUPS, explain_unusable
from recipes.compose.overrides import compose_config
from recipes.config import CONF
from recipes.errors import UserError


def test_the_groups_are_those_of_conf() -> None:
    assert {*GROUPS, "hydra"} == {path.name for path in CONF.iterdir() if path.is_dir()}


def test_a_folder_with_a_group(write: Callable[[str, str], Path], tmp_path: Path) -> None:
    write("conf/data/mine.yaml", "source: files\n")
    assert explain_unusable(tmp_path / "conf", "--config-dir") is None
    assert prepare_arguments(["--config-dir", str(tmp_path / "conf")]) == ["--config-dir", str(tmp_path / "conf")]
    assert compose_config(["data=mine"], str(tmp_path / "conf"))[0].data.source == "files"


def test_a_folder_without_one(write: Callable[[str, str], Path], tmp_path: Path) -> None:
    write("conf/tricks/mine.yaml", "a: 1\n")
    for folder, end in ((tmp_path, "so nothing to choose."), (tmp_path / "conf" / "tricks", f"={tmp_path}/conf.")):
        sentence = explain_unusable(folder, "--config-dir")
        assert sentence is not None and sentence.startswith(
            f"--config-dir={folder}: it holds none of the folders data/, "
        )
        assert sentence.endswith(end)
        for call in (lambda f: prepare_arguments([f"--config-dir={f}"]), lambda f: compose_config([], str(f))):
            with pytest.raises(UserError) as caught:
                call(folder)
            assert caught.value.problems == (sentence,)
    assert explain_unusable(tmp_path / "none", "hydra.searchpath") == (
        f"hydra.searchpath={tmp_path}/none: there is no such folder."
    )
