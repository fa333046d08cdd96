"""`python train.py -m hydra/sweeper=ablation ...` as a user runs it, and through every launcher with real workers."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from recipes.ablation import study
from recipes.config import threads_of_each
from recipes.runs.folder import RunFolder
from recipes.testing import make_text_file
from tests.sampling import slow
from tests.test_command_line import TEXT, run_refused, run_to_end, run_train

ROOT = Path(__file__).parents[1]
SPLITS = ("train", "validation", "test")
# 8 updates an epoch
STUDY = (
    "-m",
    "hydra/sweeper=ablation",
    "hydra.sweep.dir=study",
    "hydra.sweeper.confirm=false",
    "hydra.sweeper.check_base=false",
    "data=files",
    "data.train=text.csv",
    "model=tiny",
    "train.device=cpu",
    "train.batch_size=7",
)
SHORT = ("train.max_updates=2", "doctor=off")


# What the children of this process need not import again.
IMPORTED = (study,)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder in which the command runs; it has a `text.csv`."""
    (tmp_path / "text.csv").write_text("text,label\n" + TEXT)
    return tmp_path


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "study" / "runs.csv").read_text().splitlines()))


def results(folder: Path) -> dict[str, int]:
    """The time at which each run finished."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("study/*/metrics.json")}


def test_a_plan_runs_nothing(folder: Path) -> None:
    result = run_to_end(folder, *STUDY, "+tricks=[ema,swa]", "hydra.sweeper.plan=true")
    assert "ema|swa: none, ema, swa" in result.out
    assert re.search(r"runs      9: 3 arms \(auto\), 3 seeds, on files \(\d+ validation rows\)", result.out)
    assert re.search(r"takes     about \d+ ", result.out)
    assert re.search(r"warning   evaluate.weights=best: .* not those of ema and swa", result.out)
    assert not (folder / "study").exists()


@pytest.mark.slow
def test_a_study_runs_only_unfinished_runs_and_writes_their_rows(folder: Path) -> None:
    arguments = (*STUDY, *SHORT, "model=tiny,bert", "hydra.sweeper.seeds=2")
    first = run_train(folder, *arguments)
    assert first.code == 0, first
    assert "2 of 4 runs done" in first.err and "2 failed" in first.err
    runs = [(row["model"], row["seed"], row["status"], row["reason"].partition(":")[0]) for row in rows(folder)]
    assert runs == [
        (model, seed, status, reason)
        for seed in "01"
        for model, status, reason in (
            ("tiny", "finished", ""),
            ("bert", "failed", "model.name=google-bert/bert-base-uncased"),
        )
    ]
    before = results(folder)
    assert len(before) == 2
    run_train(folder, *arguments)
    assert results(folder) == before


@pytest.mark.slow
def test_an_idle_trick_is_detected_even_if_no_two_arms_differ_in_it_only(folder: Path) -> None:
    arguments = (
        *STUDY,
        "train.max_updates=40",
        "train.learning_rate=3e-3",
        "+tricks=[mixup,normalize,label_smoothing]",
        "hydra.sweeper.seeds=2",
        "hydra.sweeper.budget=8",
    )
    done = run_train(folder, *arguments)
    assert done.code == 0, done
    assert "8: 4 arms (auto), 2 seeds" in done.out
    assert "normalize changes nothing at all." in done.out  # these texts are clean already
    # Each trick is alone in an arm, and no verdict is clear: one run of the base serves all three,
    # of the two that the plan made.
    assert len(rows(folder)) == len(results(folder)) == 8 + 2
    before = results(folder)
    assert run_train(folder, *arguments).code == 0 and results(folder) == before


@pytest.mark.slow
def test_a_base_that_has_not_learned_ends_the_study_before_the_other_arms(folder: Path) -> None:
    arguments = (*STUDY, *SHORT, "+tricks=[mixup]", "train.learning_rate=0", "hydra.sweeper.check_base=true")
    done = run_train(folder, *arguments)
    assert done.code == 2 and "detects   effects from" in done.out, done
    message = done.err.strip().splitlines()[-1]
    assert "the base did not learn" in message and "hydra.sweeper.check_base=false" in message
    # Two seeds of the base, and one with twice the updates, which is not a run of the study.
    assert [(row["mixup"], row["seed"]) for row in rows(folder)] == [("none", "0"), ("none", "1")]
    assert len(results(folder)) == 3


@pytest.mark.slow
def test_a_study_at_two_lengths_has_the_runs_of_both(folder: Path) -> None:
    settings = ("train.learning_rate=3e-3,1e-2", "hydra.sweeper.seeds=2", "hydra.sweeper.lengths=[2,1]", "doctor=off")
    texts = [f"data.train={make_text_file(20, 0)}", f"data.validation={make_text_file(12, 1)}"]
    done = run_train(folder, *STUDY, *settings, *texts, "train.max_updates=15")
    assert done.code == 0, done
    lengths = [row["length"] for row in rows(folder)]
    assert (lengths.count("1"), lengths.count("2"), len(lengths)) == (4, 4, 8)
    assert "## By training length" in (folder / "study" / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        slow(["+tricks=[mixup]", "hydra.sweeper.sedes=3"], "hydra.sweeper.sedes does not exist; did you mean seeds?"),
        slow(
            ["+tricks=[mixup]", "hydra.sweeper.seeds=0"], "hydra.sweeper.seeds must be an integer in [1, inf), got 0."
        ),
        (
            ["+tricks=[mixup]", "hydra.sweeper.always=[swo]"],
            "hydra.sweeper.always: there is no trick swo; did",
        ),
        slow(["+tricks=[mixup]", "hydra.sweeper.seeds=1"], "1 effects leave nothing to measure chance by; take"),
        (["+tricks=[mixup]", "data.label=lable"], "data.label=lable: train has no such column; did you mean label?"),
        slow(["data.label=label,lable"], "data.label=lable: train has no such column; did you mean label?"),
        slow(
            ["data.test_fraction=0.1,0.2"], "data.test_fraction=0.2: its validation rows differ from those of the base"
        ),
    ],
)
def test_errors_are_reported_before_anything_runs(arguments: list[str], message: str, folder: Path) -> None:
    assert message in run_refused(folder, *STUDY, *SHORT, *arguments)
    assert not (folder / "study").exists()


# Workers.


class Study:
    """A study in a separate process, whose workers can be killed."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        # Workers must not take the number of threads from the environment.
        environment = {**os.environ, "OMP_NUM_THREADS": "7", "RAY_USAGE_STATS_ENABLED": "0"}
        line = [sys.executable, str(ROOT / "train.py"), *STUDY, "hydra.sweeper.seeds=2", *arguments]
        with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
            self.process = subprocess.Popen(line, cwd=folder, env=environment, stdout=out, stderr=err)

    def wait_for_checkpoint(self) -> tuple[Path, int]:
        """Return a run that has written a checkpoint, and the process id of its worker."""
        for _ in range(1800):
            assert self.process.poll() is None, (self.folder / "err").read_text()
            for checkpoint in self.folder.glob("study/*/checkpoints/0*.safetensors"):
                run = checkpoint.parents[1]
                if not (run / "metrics.json").exists():
                    board = max(run.glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime)
                    return run, int(board.name.split(".")[-2])
            time.sleep(0.1)
        raise AssertionError("no checkpoint after three minutes")

    def finish(self) -> list[dict[str, str]]:
        assert self.process.wait(timeout=300) == 0, (self.folder / "err").read_text()
        runs = rows(self.folder)
        assert {row["status"] for row in runs} == {"finished"}
        return runs


@pytest.fixture
def studies(folder: Path) -> Iterator[list[Study]]:
    """The studies that a test starts; they are killed when it ends."""
    started: list[Study] = []
    yield started
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


LONG = ("train.epochs=20", "evaluate.every=20", "checkpoint.every=4", "checkpoint.min_seconds=0", "doctor=off")


def threads(folder: Path) -> set[str]:
    outputs = [path.read_text() for path in folder.glob("study/*/output.txt")]
    return {match[1] for text in outputs if (match := re.search(r"(\d+) threads", text))}


@pytest.mark.slow
def test_joblib_and_a_worker_that_is_killed(folder: Path, studies: list[Study]) -> None:
    arguments = ("hydra/launcher=joblib_workers", *LONG, "+tricks=[mixup]")
    studies.append(Study(folder, *arguments))
    run, worker = studies[0].wait_for_checkpoint()
    os.kill(worker, signal.SIGKILL)
    assert len(studies[0].finish()) == 4
    assert (run / "metrics.json").exists()
    assert threads(folder) == {threads_of_each(2)}
    before = results(folder)
    studies.append(Study(folder, *arguments))
    studies[1].finish()
    assert results(folder) == before


@pytest.mark.slow
def test_submitit_and_a_study_that_is_killed(folder: Path, studies: list[Study]) -> None:
    arguments = ("hydra/launcher=submitit_workers", "hydra.sweeper.max_batch_size=2", *LONG, "+tricks=[mixup]")
    studies.append(Study(folder, *arguments))
    _, worker = studies[0].wait_for_checkpoint()
    studies[0].process.kill()
    os.kill(worker, signal.SIGKILL)
    studies[0].process.wait()
    before = results(folder)
    studies.append(Study(folder, *arguments))
    assert len(studies[1].finish()) == 4
    assert before.items() <= results(folder).items()
    assert threads(folder) == {"1"}


@pytest.mark.slow
def test_a_local_ray_cluster(folder: Path, studies: list[Study]) -> None:
    studies.append(Study(folder, "hydra/launcher=ray_workers", *SHORT, "+tricks=[mixup]"))
    assert len(studies[0].finish()) == 4
    assert threads(folder) == {"1"}


def write_letters(path: Path, split: str) -> Path:
    """Write rows whose letters say their class. A letter is no word, so there is no linear baseline to beat."""
    random, letters = Random(split), "abcdefghijklmnopqrstuvwx"
    lines = ["text,label"]
    for row in range(240):
        of_class = letters[8 * (row % 3) : 8 * (row % 3) + 8]
        words = [random.choice(of_class if random.random() < 0.6 else letters) for _ in range(random.randrange(3, 12))]
        lines.append(f"{' '.join(words)},{'xyz'[row % 3]}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def letters_study(folder: Path, updates: int, rate: str) -> list[str]:
    """A study of short runs at two learning rates, of which the larger is better. The texts are clean already."""
    return [
        "-m",
        "hydra/sweeper=ablation",
        f"train.learning_rate={rate},5e-3",
        "data=files",
        *(f"data.{split}={write_letters(folder / f'{split}.csv', split)}" for split in SPLITS),
        "model=tiny",
        f"train.max_updates={updates}",
        "train.batch_size=16",
        "evaluate.weights=last",
        "doctor=off",
        "hydra.sweep.dir=study",
        "hydra.sweeper.check_base=false",
    ]


@pytest.mark.slow
def test_a_recipe_is_confirmed_at_the_longest_length(folder: Path) -> None:
    arguments = letters_study(folder, 15, "2.2e-3")
    done = run_train(folder, *arguments, "hydra.sweeper.lengths=[1,2]", "hydra.sweeper.seeds=4")
    assert done.code == 0, done
    assert "With fresh seeds" in done.out
    runs = rows(folder)
    # Two arms, four seeds, two lengths; then the recipe and the base at the longer length, with fresh seeds.
    lengths = [row["length"] for row in runs]
    assert (lengths.count("1"), lengths.count("2"), len(lengths)) == (8, 16, 24)
    updates = {
        (row["length"], int(row["seed"]) >= 4): RunFolder(folder / "study" / row["folder"]).config["train"][
            "max_updates"
        ]
        for row in runs
    }
    assert updates == {("1", False): 15, ("2", False): 30, ("2", True): 30}
    report = (folder / "study" / "report.md").read_text(encoding="utf-8")
    assert "| 1 x the updates | 2 x the updates | difference |" in report
    assert "max_updates: 30" in (folder / "study" / "conf" / "recipe" / "recommended.yaml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_study_in_rounds_to_its_end(folder: Path) -> None:
    """`normalize` changes nothing, so it leaves after the first round."""
    rounds = ("hydra.sweeper.stop=when_clear", "hydra.sweeper.seeds=2", "hydra.sweeper.budget=30")
    arguments = [
        *letters_study(folder, 60, "1.5e-3"),
        "+tricks=[normalize]",
        "hydra.sweeper.design=one_at_a_time",
        *rounds,
    ]
    done = run_train(folder, *arguments)
    assert done.code == 0, done
    assert "looks     2, 3, 4, 5, 6, 8 and 10 seeds, until the recipe is decided: 6 to 30 runs" in done.out
    assert re.search(r"It ended because the (recipe is decided|budget is used up)\.", done.out)
    assert "normalize changes nothing at all" in done.out
    assert "train.learning_rate=0.005 (+" in done.out and "helps" in done.out
    assert "Recommended: train.learning_rate=0.005." in done.out and "With fresh seeds" in done.out
    runs = rows(folder)
    seeds = {
        name: sorted(int(row["seed"]) for row in runs if (row["normalize"], row["train.learning_rate"]) == levels)
        for name, levels in {
            "base": ("none", "0.0015"),
            "faster": ("none", "0.005"),
            "normalize": ("normalize", "0.0015"),
        }.items()
    }
    # The recipe and the base are confirmed with two fresh seeds.
    assert seeds["normalize"] == [0, 1] and seeds["base"] == seeds["faster"] == list(range(len(seeds["base"])))
    judged = len(seeds["base"]) - 2
    assert judged in (2, 3, 4, 5, 6, 8, 10)
    assert ("Left early: normalize with 2 seeds." in done.out) == (judged > 2)
    before = results(folder)
    assert run_train(folder, *arguments).code == 0 and results(folder) == before


@pytest.mark.slow
def test_a_study_from_its_overrides_to_the_recipe(folder: Path) -> None:
    texts = [f"data.{split}={write_letters(folder / f'{split}.csv', split)}" for split in SPLITS]
    base = [
        "data=files",
        *texts,
        "model=tiny",
        "train.max_updates=30",
        "train.batch_size=16",
        "evaluate.weights=last",
        "doctor=off",
    ]
    arguments = [
        "-m",
        "hydra/sweeper=ablation",
        "+tricks=[normalize]",
        "train.learning_rate=2.2e-3,5e-3",
        *base,
        "hydra.sweep.dir=study",
        "hydra.sweeper.seeds=5",
        "hydra.sweeper.check_base=false",
    ]
    done = run_train(folder, *arguments)
    assert done.code == 0, done
    assert "normalize changes nothing at all" in done.out  # these texts are clean already
    assert "train.learning_rate=0.005 (+" in done.out and "helps" in done.out
    assert "With fresh seeds" in done.out and "scored once" in done.out
    # Four arms with five seeds; then the recipe and the base with fresh seeds.
    runs = rows(folder)
    assert len(runs) == 20 + 10 and {row["status"] for row in runs} == {"finished"}
    assert {row["seed"] for row in runs} == {str(seed) for seed in range(10)}
    # Only those that predict the test split have a model, and none has checkpoints.
    with_model = {path.parent.name for path in (folder / "study").glob("*/model")}
    assert with_model == {row["folder"] for row in runs if int(row["seed"]) >= 5}
    assert not list((folder / "study").glob("*/checkpoints")) and "disk      1 MB for each run" in done.out
    before = results(folder)
    assert len(before) == len(runs)
    assert "All runs" in (folder / "study" / "report.html").read_text(encoding="utf-8")
    assert run_train(folder, *arguments).code == 0 and results(folder) == before
    ready = ("--config-dir", str(folder / "study" / "conf"), "recipe=recommended", *base, "hydra.run.dir=run")
    done = run_train(folder, *ready, "train.max_updates=1")
    assert done.code == 0, done
    assert "learning_rate: 0.005" in (folder / "run" / "config.yaml").read_text(encoding="utf-8")
