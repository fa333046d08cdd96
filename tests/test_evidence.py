"""The script of the studies in `docs/evidence`: its arithmetic, the rows it draws, a small study from end to end."""

import csv
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from recipes.compose.overrides import compose_config
from recipes.errors import UserError

ROOT = Path(__file__).parents[1]
Write = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def evidence(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("evidence")


def rows(count: int) -> str:
    lines = [f'"word{row % 7}, {"good" if row % 3 else "bad"}",{"yes" if row % 3 else "no"}' for row in range(count)]
    return "\n".join(["text,label", *lines]) + "\n"


@pytest.fixture
def data(write: Write) -> Path:
    for split, count in (("train", 60), ("validation", 12), ("test", 12)):
        write(f"set/{split}.csv", rows(count))
    return write("set/unrelated.txt", "").parent


def test_differences_are_paired_by_seed(evidence: ModuleType) -> None:
    found = {
        "nothing": [evidence.Found(0.5, 10.0, 1.0), evidence.Found(0.7, 10.0, 1.0), evidence.Found(0.6, 10.0, 1.0)],
        "something": [evidence.Found(0.6, 20.0, 2.0), evidence.Found(0.7, 30.0, 2.0), evidence.Found(0.8, 10.0, 2.0)],
    }
    # 0.1, 0 and 0.2: mean 0.1, deviation 0.1; t of 2 degrees of freedom is 4.3027, over the root of 3.
    assert evidence.table(found) == [
        ["nothing", "0.6000", "", "1.00", "1.00"],
        ["something", "0.7000", "+0.1000 ± 0.2484", "2.00", "2.00"],
    ]


def test_contrasts_are_sums_of_arms_seed_by_seed(evidence: ModuleType) -> None:
    scores = {"nothing": (0.5, 0.6), "one": (0.6, 0.8), "other": (0.7, 0.6), "both": (0.7, 0.9)}
    found = {name: [evidence.Found(score, 1.0, 1.0) for score in two] for name, two in scores.items()}
    study = evidence.Study([], {}, contrasts={"interaction": {"both": 1, "one": -1, "other": -1, "nothing": 1}})
    # -0.1 and 0.1: mean 0, deviation 0.1414; t of 1 degree of freedom is 12.7062, over the root of 2.
    assert evidence.contrasts(study, found) == [["interaction", "+0.0000 ± 1.2706"]]


def test_rows_are_drawn_by_class_once_for_all_arms(
    evidence: ModuleType, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def drawn(seed: int) -> list[tuple[str, str]]:
        with evidence.drawn(data, 30, seed).open(encoding="utf-8") as lines:
            return [(line["text"], line["label"]) for line in csv.DictReader(lines)]

    first = drawn(0)
    assert Counter(label for _, label in first) == {"yes": 20, "no": 10}
    assert drawn(0) == first != drawn(1)


def test_a_split_that_is_missing_is_told(evidence: ModuleType, data: Path) -> None:
    (data / "validation.csv").unlink()
    with pytest.raises(UserError, match=r"--data=.*set: one validation file must be there, such as validation\.csv"):
        evidence.files_of(data)


def test_a_study(
    evidence: ModuleType,
    data: Path,
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arms = {"nothing": [], "mixup": ["+tricks=[mixup]"]}
    study = {"overrides": ["model=tiny", "train.max_updates=2"], "rows": [30], "arms": arms}
    place = write("study.yaml", yaml.safe_dump(study, sort_keys=False))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["evidence.py", str(place), "--data", str(data), "--seeds", "2"])
    evidence.main()
    told = capsys.readouterr().out
    assert "\nset, 30 rows, 2 seeds\n" in told
    assert [line.split(" | ")[0] for line in told.splitlines()[-4:]] == ["| arm", "| ---", "| nothing", "| mixup"]
    evidence.main()  # finished runs are found again
    assert capsys.readouterr().out == told


@pytest.mark.parametrize("study", sorted(path.stem for path in (ROOT / "docs" / "evidence").glob("*.yaml")))
def test_the_studies_that_are_shown_can_be_run(evidence: ModuleType, study: str) -> None:
    text = (ROOT / "docs" / "evidence" / f"{study}.yaml").read_text(encoding="utf-8")
    found = evidence.Study(**yaml.safe_load(text))
    assert len(found.arms) > 1
    for own in found.arms.values():
        compose_config([*found.overrides, "data=files", "data.train=x.csv", *own])
