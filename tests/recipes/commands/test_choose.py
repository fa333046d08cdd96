"""`trickbook choose`: a line for each trick, or why there is none; and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from recipes.ablation import expectations
from recipes.ablation.expectations import Measured, write_measured
from recipes.commands.choose import main
from recipes.errors import UserError

Write = Callable[[str, str], Path]


def measure(data_sets: int) -> list[Measured]:
    """The effects of two tricks: of fgm 0.02 on average, of mixup -0.02."""
    effects = {"fgm": 0.02, "mixup": -0.02}
    return [
        Measured(
            trick,
            "everyday",
            "en",
            "minilm",
            300,
            f"set{number}",
            effect + (number % 2 - 0.5) / 100,
            0.0,
            2.0,
            *numbers,
        )
        for trick, effect in effects.items()
        for number in range(data_sets)
        for numbers in [(30.0, 2.0 + number % 2, 0.6, 5.0 + number, 0.8)]
    ]


@pytest.fixture
def rows(write: Write) -> str:
    lines = [f"this is the text number {row} of the {row % 7},{'yes' if row % 3 else 'no'}" for row in range(60)]
    return f"data.train={write('train.csv', chr(10).join(['text,label', *lines]) + chr(10))}"


@pytest.fixture
def atlas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "atlas.csv"
    write_measured(measure(8), path)
    monkeypatch.setattr(expectations.read_measured, "__defaults__", (path,))
    return path


def test_the_likeliest_trick_comes_first(rows: str, atlas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data=files", rows])
    output = capsys.readouterr().out
    lines = [line.split() for line in output.splitlines()]
    names = [line[0] for line in lines if line and line[0] in ("fgm", "mixup")]
    assert names == ["fgm", "mixup"]
    assert "Your data: 42 training rows, 2 classes, the largest 67%, 9 words a text (median), language en." in output
    assert "From 8 data sets." in output and "could not be tried" not in output
    assert "training rows 42 (the atlas has 30)" in output
    assert "+tricks=[fgm]" in output


def test_predictions_as_json(rows: str, atlas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data=files", rows, "--json", "--base", "0.8"])
    values = json.loads(capsys.readouterr().out)
    assert list(values["expected"]) == ["fgm", "mixup"] and values["features"]["base"] == 0.8
    low, high = values["expected"]["fgm"]["interval"]
    assert low < values["expected"]["fgm"]["mean"] < high
    coverage = values["coverage"]
    assert coverage["tried"] == 16 and coverage["interval"][0] < coverage["count"] / 16


def test_too_few_data_sets_give_no_prediction(rows: str, atlas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_measured(measure(7), atlas)
    main(["data=files", rows])
    output = capsys.readouterr().out
    assert "No prediction: it takes 8 data sets of this language" in output and "the atlas has 7" in output
    assert "fgm" not in output


def test_texts_of_another_language_give_no_prediction(
    write: Write, atlas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"这家酒店的房间很干净服务也好{row},{'好' if row % 3 else '差'}" for row in range(60)]
    main(["data=files", f"data.train={write('zh.csv', chr(10).join(['text,label', *lines]))}"])
    output = capsys.readouterr().out
    assert "characters a text (median), language zh." in output and "the atlas has 0" in output


def test_rows_with_more_than_one_label_are_refused(write: Write) -> None:
    lines = [f"text {row},{'a' if row % 2 else 'a|b'}" for row in range(60)]
    path = write("train.csv", "\n".join(["text,label", *lines]))
    with pytest.raises(UserError, match="rows with more than one label are not in the atlas"):
        main(["data=files", f"data.train={path}", "data.label_separator='|'"])


@pytest.mark.parametrize("base", ["0", "1", "87"])
def test_an_accuracy_is_a_fraction(base: str) -> None:
    with pytest.raises(UserError, match=r"an accuracy is above 0 and below 1, such as 0\.87"):
        main(["--base", base])
