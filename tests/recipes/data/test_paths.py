"""Data files that are missing are found before anything else is done."""

from pathlib import Path

import pytest

from recipes.data.paths import check_files
from recipes.errors import UserError
from recipes.testing import tiny_config


def test_every_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.csv").touch()
    files = (f"data.train={tmp_path}/trian.csv", f"data.test={tmp_path}", f"+evaluate.extra.hard={tmp_path}/x/hard.csv")
    with pytest.raises(UserError) as raised:
        check_files(tiny_config(*files))
    first, second, third = raised.value.problems
    assert first == (
        f"data.train={tmp_path}/trian.csv: there is no such file; did you mean train.csv? There are: train.csv."
    )
    assert second == f"data.test={tmp_path}: this is a folder; name a file in it."
    assert third == (
        f"evaluate.extra.hard={tmp_path}/x/hard.csv: there is no such file; {tmp_path}/x holds no data files; name "
        "another."
    )


def test_files_that_a_run_does_not_read_may_be_missing(tmp_path: Path) -> None:
    check_files(tiny_config(f"data.test={tmp_path}/none.csv", "evaluate.test=false"))
    check_files(tiny_config())
