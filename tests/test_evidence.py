"""The script that runs the studies of `docs/evidence`: its arithmetic, the sampled rows, a small study end to end."""

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
    results = {
        "nothing": [evidence.Result(0.5, 10.0, 1.0), evidence.Result(0.7, 10.0, 1.0), evidence.Result(0.6, 10.0, 1.0)],
        "something": [
            evidence.Result(0.6, 20.0, 2.0),
            evidence.Result(0.7, 30.0, 2.0),
            evidence.Result(0.8, 10.0, 2.0),
        ],
    }
    # 0.1, 0 and 0.2: mean 0.1, deviation 0.1; t of 2 degrees of freedom is 4.3027, over the root of 3.
    assert evidence.summarize_arms(results) == [
        ["nothing", "0.6000", "", "1.00", "1.00"],
        ["something", "0.7000", "+0.1000 ± 0.2484", "2.00", "2.00"],
    ]


def test_contrasts_are_sums_of_arms_seed_by_seed(evidence: ModuleType) -> None:
    scores = {"nothing": (0.5, 0.6), "one": (0.6, 0.8), "other": (0.7, 0.6), "both": (0.7, 0.9)}
    results = {name: [evidence.Result(score, 1.0, 1.0) for score in two] for name, two in scores.items()}
    study = evidence.Study([], {}, contrasts={"interaction": {"both": 1, "one": -1, "other": -1, "nothing": 1}})
    # -0.1 and 0.1: mean 0, deviation 0.1414; t of 1 degree of freedom is 12.7062, over the root of 2.
    assert evidence.summarize_contrasts(study, results) == [["interaction", "+0.0000 ± 1.2706"]]


def test_sampled_rows_are_stratified_and_the_same_for_a_seed(
    evidence: ModuleType, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def draw(seed: int) -> list[tuple[str, str]]:
        with evidence.draw_rows(data, 30, seed).open(encoding="utf-8") as lines:
            return [(line["text"], line["label"]) for line in csv.DictReader(lines)]

    first = draw(0)
    assert Counter(label for _, label in first) == {"yes": 20, "no": 10}
    assert draw(0) == first != draw(1)


def test_a_missing_split_is_an_error(evidence: ModuleType, data: Path) -> None:
    (data / "validation.csv").unlink()
    with pytest.raises(UserError, match=r"--data=.*set: one validation file must be there, such as validation\.csv"):
        evidence.files_of(data)


def test_a_study_prints_a_table_and_does_not_repeat_runs(
    evidence: ModuleType,
    data: Path,
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arms = {"nothing": [], "mixup": ["+tricks=[mixup]"]}
    study = {"overrides": ["model=tiny", "train.max_updates=2"], "rows": [30], "arms": arms}
    study_file = write("study.yaml", yaml.safe_dump(study, sort_keys=False))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["evidence.py", str(study_file), "--data", str(data), "--seeds", "2"])
    evidence.main()
    output = capsys.readouterr().out
    assert "\nset, 30 rows, 2 seeds\n" in output
    assert [line.split(" | ")[0] for line in output.splitlines()[-4:]] == ["| arm", "| ---", "| nothing", "| mixup"]
    evidence.main()  # finished runs are read again
    assert capsys.readouterr().out == output


@pytest.mark.parametrize("study", sorted(path.stem for path in (ROOT / "docs" / "evidence").glob("*.yaml")))
def test_the_studies_in_the_docs_compose(evidence: ModuleType, study: str) -> None:
    text = (ROOT / "docs" / "evidence" / f"{study}.yaml").read_text(encoding="utf-8")
    content = evidence.Study(**yaml.safe_load(text))
    assert len(content.arms) > 1
    for own in content.arms.values():
        compose_config([*content.overrides, "data=files", "data.train=x.csv", *own])
