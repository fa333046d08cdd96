"""The arguments of a call as overrides: files are named, and rows in memory are written."""

from pathlib import Path
from typing import Any

import datasets
import pytest

from recipes.compose.calls import write_overrides
from recipes.data.paths import find_file
from recipes.errors import UserError

ROWS = [{"review": "a", "stars": 1}, {"review": "b", "stars": 2}]


def test_without_rows_nothing_is_added() -> None:
    rows = dict.fromkeys(("train", "validation", "test"))
    assert write_overrides(["seed=1"], {"epochs": 2, "tricks": ()}, rows, None) == ["seed=1", "train.epochs=2"]


def test_files_are_named() -> None:
    rows = {"train": "my reviews.csv", "validation": None, "test": Path("data/test.csv")}
    assert write_overrides([], {}, rows, {"hard": "hard.csv"}) == [
        "data=files",
        "data.train='my reviews.csv'",
        "data.test=data/test.csv",
        "evaluate.extra.hard=hard.csv",
    ]
    # On the hub these are names of splits.
    assert write_overrides(["data=hub"], {}, {"train": "train"}, None) == ["data=hub", "data.train=train"]


@pytest.mark.parametrize("columns", [{"text": "review", "label": "stars"}, {}])
def test_rows_are_written_with_the_columns_that_the_config_names(
    columns: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [] if columns else ["data.text=review", "data.label=stars"]
    both = datasets.DatasetDict(
        {"train": datasets.Dataset.from_list(ROWS), "test": datasets.Dataset.from_list(ROWS[:1])}
    )
    first, *_, train, test, hard = write_overrides(overrides, columns, {"train": both}, {"hard": ROWS})
    assert first == "data=files"
    path = Path(train.partition("=")[2].strip("'"))
    assert path.read_text() == '{"review": "a", "stars": 1}\n{"review": "b", "stars": 2}\n'
    assert train.startswith("data.train=") and hard == f"evaluate.extra.hard='{path}'" and test.startswith("data.test=")
    assert capsys.readouterr().out.splitlines()[0] == f"train: 2 rows in memory, written to {path}"


def test_the_problems_of_all_splits_come_at_once() -> None:
    with pytest.raises(UserError) as caught:
        write_overrides([], {"text": "reviw", "label": "stars"}, {"train": ROWS, "test": ROWS}, None)
    assert [problem.partition(":")[2][:12] for problem in caught.value.problems] == [" train has n", " test has no"]


def test_rows_in_memory_exclude_another_data_set() -> None:
    with pytest.raises(UserError, match="data=pydocs: the rows of train are in memory; leave it out"):
        write_overrides(["data=pydocs"], {}, {"train": ROWS}, None)
    with pytest.raises(UserError, match=r"write a list, overrides=\['seed=1'\]"):
        write_overrides("seed=1", {}, {}, None)


def test_further_rows_have_names_of_their_own() -> None:
    with pytest.raises(UserError, match="'validation' is the name of a split; write validation=<rows>"):
        write_overrides([], {}, {"train": "a.csv"}, {"validation": "b.csv"})
    with pytest.raises(UserError, match="extra is of type list; give its rows a name, extra={'<name>': <rows>}"):
        write_overrides([], {}, {"train": "a.csv"}, ROWS)  # type: ignore[arg-type]


def test_a_file_below_the_home_folder_is_named_without_its_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRICKBOOK_CACHE", str(tmp_path / "cache"))
    *_, line = write_overrides([], {"text": "review", "label": "stars"}, {"train": ROWS}, None)
    assert line.startswith("data.train='~/cache/trickbook/rows/rows-")
    assert find_file("train", line.partition("=")[2].strip("'")).parent == tmp_path / "cache" / "trickbook" / "rows"
