"""The script that runs the studies of `docs/evidence`: its arithmetic, the sampled rows, a small study end to end."""

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from recipes.compose.reading import read
from recipes.errors import UserError
from recipes.guards import Diverged
from recipes.testing import compose_again
from tests.sampling import only

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


def result(evidence: ModuleType, score: float, seconds: float = 1.0, passes: float = 1.0, **others: Any) -> Any:
    fields = {"data": "set", "rows": "all", "arm": "", "seed": 0, "digest": "", "health": "learned", "validation": 0.0}
    return evidence.Result(**{**fields, "score": score, "seconds": seconds, "passes": passes, **others})


def test_differences_are_paired_by_seed(evidence: ModuleType) -> None:
    results = {
        "nothing": {seed: result(evidence, score, 10.0) for seed, score in enumerate([0.5, 0.7, 0.6])},
        "something": {
            0: result(evidence, 0.6, 20.0, 2.0),
            1: result(evidence, 0.7, 30.0, 2.0),
            2: result(evidence, 0.8, 10.0, 2.0, health="collapsed"),
        },
        "begun": {1: result(evidence, 0.9, 20.0)},
        "other": {},
    }
    # 0.1, 0 and 0.2: mean 0.1, deviation 0.1; t of 2 degrees of freedom is 4.3027, over the root of 3.
    assert evidence.summarize_arms(results) == [
        ["nothing", "3", "0.6000", "", "1.00", "1.00", ""],
        ["something", "3", "0.7000", "+0.1000 ± 0.2484", "2.00", "2.00", "1 of 3"],
        ["begun", "1", "0.9000", "+0.2000", "2.00", "1.00", ""],
        ["other", "0", "", "", "", "", ""],
    ]


def test_a_run_is_broken_if_it_collapsed_or_diverged_alone(evidence: ModuleType) -> None:
    """Other headlines, which lines of earlier versions do not have, are of runs that trained."""
    words = ["learned", "collapsed", "diverged", "not_better", "memorized", "best_at_end"]
    runs = {seed: result(evidence, 0.5, health=word) for seed, word in enumerate(words)}
    ((*_, broken),) = evidence.summarize_arms({"base": runs})
    assert broken == "2 of 6"


def test_contrasts_are_sums_of_arms_seed_by_seed(evidence: ModuleType) -> None:
    scores = {"nothing": (0.5, 0.6), "one": (0.6, 0.8), "other": (0.7, 0.6), "both": (0.7, 0.9, 0.4)}
    results = {
        name: {seed: result(evidence, score) for seed, score in enumerate(values)} for name, values in scores.items()
    }
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


def test_variants_of_the_drawn_rows_come_from_a_file_that_another_script_makes(
    evidence: ModuleType,
    script: Callable[[str], ModuleType],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)

    def translate(texts: Sequence[str], pair: str) -> list[str]:
        return [f"{text} {pair}" for text in texts]

    script("translate_back").make(data, tmp_path / "translated", "eng", ["spa", "cat"], translate)
    sample = evidence.draw_rows(tmp_path / "translated", 30, 0)
    with sample.open(encoding="utf-8") as lines:
        drawn = [(line["id"], line["text"]) for line in csv.DictReader(lines)]
    with evidence.variants_of(sample).open(encoding="utf-8") as lines:
        variants = [(line["id"], line["text"]) for line in csv.DictReader(lines)]
    assert sorted(variants) == sorted(
        (row, f"{text} eng-{other} {other}-eng") for row, text in drawn for other in ("spa", "cat")
    )


@pytest.mark.parametrize(("returned", "reason"), [(0, "returned 1 texts for 2"), (1, "no such mode")])
def test_a_translation_that_fails_is_an_error(
    script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, returned: int, reason: str
) -> None:
    translate_back = script("translate_back")
    done = SimpleNamespace(returncode=returned, stdout="one .\n", stderr="no such mode" if returned else "")
    monkeypatch.setattr(translate_back.subprocess, "run", lambda *arguments, **options: done)
    monkeypatch.setattr(translate_back.shutil, "which", lambda name: name)
    with pytest.raises(UserError, match=f"apertium eng-xyz: .*{reason}"):
        translate_back.translate(["one", "two"], "eng-xyz")
    monkeypatch.setattr(translate_back.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="apertium: no such program"):
        translate_back.translate(["one", "two"], "eng-xyz")


def test_a_missing_split_is_an_error(evidence: ModuleType, data: Path) -> None:
    (data / "validation.csv").unlink()
    with pytest.raises(UserError, match=r"--data=.*set: one validation file must be there, such as validation\.csv"):
        evidence.files_of(data)


@pytest.fixture
def study_file(evidence: ModuleType, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of two arms, run from an empty folder."""
    arms = {"nothing": [], "mixup": ["+tricks=[mixup]"]}
    study = {"overrides": ["model=tiny", "train.max_updates=2"], "rows": [30], "arms": arms}
    monkeypatch.chdir(tmp_path)
    return write("study.yaml", yaml.safe_dump(study, sort_keys=False))


def run_script(evidence: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["evidence.py", *map(str, arguments)])
    evidence.main()


@pytest.mark.slow
def test_a_study_keeps_lines_and_predictions_and_does_not_repeat_runs(
    evidence: ModuleType,
    data: Path,
    study_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_script(evidence, monkeypatch, study_file, "--data", data, "--seeds", 1, "--arms", "nothing")
    capsys.readouterr()
    run_script(evidence, monkeypatch, study_file, "--data", data, "--seeds", 2)
    output, progress = capsys.readouterr()
    assert "\nset, 30 rows\n" in output and len(progress.splitlines()) == 3
    assert [line.split(" | ")[0] for line in output.splitlines()[-4:]] == ["| arm", "| ---", "| nothing", "| mixup"]
    assert len(evidence.read_results(study_file.with_suffix(".csv"))) == 4
    assert not list(Path("runs").rglob("*.safetensors"))
    assert len(list(Path("runs/evidence/study").glob("*/validation.csv"))) == 4
    for line in evidence.read_results(study_file.with_suffix(".csv")):
        name = "-".join(map(str, (line.data, line.rows, line.arm, line.seed, line.digest)))
        metrics = json.loads(Path(f"runs/evidence/study/{name}/metrics.json").read_text(encoding="utf-8"))
        assert line.health == metrics["health"]["headline"]
    # Only the tables, from the lines.
    run_script(evidence, monkeypatch, study_file)
    assert capsys.readouterr() == (output, "")


@pytest.mark.slow
def test_an_arm_may_refer_to_the_run_of_another_arm_and_to_the_rows_that_were_not_drawn(
    evidence: ModuleType, data: Path, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = {
        "nothing": [],
        "taught": [
            "+tricks=[pseudo_label]",
            "tricks.pseudo_label.teacher=@nothing",
            "tricks.pseudo_label.unlabelled_file=@other_rows",
            "tricks.pseudo_label.threshold=1.0",
        ],
    }
    study = {**yaml.safe_load(study_file.read_text()), "arms": arms}
    study_file.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    train = "".join(f"text number {row},{'no' if row % 3 else 'yes'}\n" for row in range(60))
    (data / "train.csv").write_text(f"text,label\n{train}", encoding="utf-8")
    run_script(evidence, monkeypatch, study_file, "--data", data, "--seeds", 2)
    nothing, taught, *second_seed = evidence.read_results(study_file.with_suffix(".csv"))
    assert (nothing.arm, taught.arm) == ("nothing", "taught")
    assert [(each.arm, each.seed) for each in second_seed] == [("nothing", 1), ("taught", 1)]
    (drawn, others) = (set(path.read_text().splitlines()[1:]) for path in sorted(Path("runs/drawn").glob("*s0*")))
    assert len(drawn) == len(others) == 30
    assert not list(Path("runs").rglob("*.safetensors"))
    # Another teacher makes another run.
    other = evidence.Study([], {**arms, "nothing": ["seed=1"]})
    assert other.digest("taught") != evidence.Study([], arms).digest("taught")
    # Once the teacher's folder is removed, it is trained again for an arm that has no line.
    study_file.with_suffix(".csv").unlink()
    run_script(evidence, monkeypatch, study_file, "--data", data, "--seeds", 1, "--arms", "taught")
    (again,) = evidence.read_results(study_file.with_suffix(".csv"))
    assert (again.score, again.digest) == (taught.score, taught.digest)


def test_a_run_that_diverges_is_a_line_without_scores(
    evidence: ModuleType, data: Path, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(overrides: list[str]) -> None:
        raise Diverged(SimpleNamespace(config=read(compose_again([]))), "the predictions contain NaN")

    monkeypatch.setattr(evidence.recipes, "finetune", diverge)
    monkeypatch.setattr(evidence.shutil, "rmtree", lambda folder: None)
    run_script(evidence, monkeypatch, study_file, "--data", data, "--seeds", 1)
    assert [each.health for each in evidence.read_results(study_file.with_suffix(".csv"))] == ["diverged"] * 2


def test_an_unknown_arm_is_an_error(evidence: ModuleType, study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="'mixpu': no such arm"):
        run_script(evidence, monkeypatch, study_file, "--arms", "mixpu")


# The others have recipes, which Hydra composes, in many arms.
STUDIES = sorted(path.stem for path in (ROOT / "docs" / "evidence").glob("*.yaml"))
QUICK = set(STUDIES) - {"defaults", "mixup-masks", "recipes"}


@pytest.mark.parametrize("study", only(QUICK, STUDIES))
def test_the_studies_in_the_docs_compose(evidence: ModuleType, study: str) -> None:
    text = (ROOT / "docs" / "evidence" / f"{study}.yaml").read_text(encoding="utf-8")
    content = evidence.Study(**yaml.safe_load(text))
    assert len(content.arms) > 1
    for own in content.arms.values():
        compose_again([*content.overrides, "data=files", "data.train=x.csv", *own])


@pytest.mark.parametrize("study", sorted(path.stem for path in (ROOT / "docs" / "evidence").glob("*.yaml")))
def test_a_page_has_the_tables_of_a_study(evidence: ModuleType, script: Any, study: str) -> None:
    """Studies from before the CSV files have none."""
    lines = ROOT / "docs" / "evidence" / f"{study}.csv"
    if not lines.exists():
        return
    if study == "few-shot":
        few_shot = script("few_shot")
        texts = list(few_shot.describe(few_shot.read_results(lines), "setfit"))
    else:
        content = evidence.Study(**yaml.safe_load(lines.with_suffix(".yaml").read_text(encoding="utf-8")))
        texts = list(evidence.describe(content, evidence.read_results(lines)))
    tables = [text for text in texts if text.startswith("|")]
    pages = "".join(page.read_text(encoding="utf-8") for page in lines.parent.glob("*.md"))
    assert tables and all(table in pages for table in tables)


class TestFlippedLabels:
    """The data of the study of label noise."""

    def test_a_fraction_of_the_rows_has_another_label(self, script: Callable[[str], ModuleType]) -> None:
        labels = ["a", "b", "c", "a"] * 5
        flipped = script("flip_labels").flip(labels, 0.3, np.random.default_rng(0))
        assert sum(one != other for one, other in zip(labels, flipped, strict=True)) == 6
        assert set(flipped) == {"a", "b", "c"}

    def test_what_is_found(self, script: Callable[[str], ModuleType], tmp_path: Path) -> None:
        # Rows 0 and 2 are wrong; rows 0, 1 and 3 are doubted, and row 1 gets a wrong label.
        rows = "text,label,true_label\na,x,y\nb,y,y\nc,x,y\nd,y,y\ne,x,x\n"
        (tmp_path / "train.csv").write_text(rows, encoding="utf-8")
        (tmp_path / "found.csv").write_text("id,suggested\n0,y\n1,x\n3,y\n", encoding="utf-8")
        assert script("flip_labels").count_found(tmp_path, tmp_path / "found.csv") == {
            **{"rows": 5, "wrong": 2, "doubtful": 3},
            **{"precision": 0.333, "recall": 0.5, "wrong_after_drop": 0.5, "wrong_after_relabel": 0.4},
        }
