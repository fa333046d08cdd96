"""`python train.py ...` as a user runs it, in forked children (a fresh process would take 7 seconds to start)."""

import errno
import json
import os
import resource
import runpy
import shlex
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from recipes.testing import warm_up
from tests.sampling import slow

ROOT = Path(__file__).parents[1]
TEXT = "".join(
    f"{word} number {number},{label}\n" for number in range(40) for word, label in (("good", "pos"), ("bad", "neg"))
)
# 8 updates an epoch
TINY = (
    "model=tiny",
    "train.device=cpu",
    "train.batch_size=7",
    "train.epochs=1",
    "evaluate.every=1",
    "checkpoint.min_seconds=0",
)


@dataclass
class Result:
    code: int
    out: str
    err: str


class TrainProcess:
    """A child that runs train.py in a folder."""

    def __init__(self, folder: Path, *arguments: str, prepare: Callable[[], None] = lambda: None) -> None:
        self.folder = folder
        warm_up()
        self.process = os.fork()
        if self.process == 0:
            os._exit(self._run(arguments, prepare))

    def _run(self, arguments: tuple[str, ...], prepare: Callable[[], None]) -> int:
        os.chdir(self.folder)
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        sys.argv = [str(ROOT / "train.py"), *arguments]
        warnings.resetwarnings()
        warnings.simplefilter("ignore", DeprecationWarning)
        GlobalHydra.instance().clear()
        try:
            prepare()
            runpy.run_path(sys.argv[0], run_name="__main__")
            code: object = 0
        except SystemExit as caught:
            code = caught.code
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        return code if isinstance(code, int) else 0 if code is None else 1

    def wait(self) -> Result:
        _, status = os.waitpid(self.process, 0)
        code = os.waitstatus_to_exitcode(status)
        return Result(code, (self.folder / "out").read_text(), (self.folder / "err").read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder in which the command runs; it contains `text.csv`."""
    (tmp_path / "text.csv").write_text("text,label\n" + TEXT)
    return tmp_path


FILE = ("data=files", "data.train=text.csv")


def run_train(folder: Path, *arguments: str, prepare: Callable[[], None] = lambda: None) -> Result:
    return TrainProcess(folder, *arguments, prepare=prepare).wait()


def _files(folder: Path) -> set[Path]:
    """All paths in a folder, without the byte code that Python writes next to a module that it imports."""
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


def run_refused(folder: Path, *arguments: str, prepare: Callable[[], None] = lambda: None) -> str:
    """Run a command that must be refused; return its message. It must leave nothing that was not there before."""
    before = {*_files(folder), folder / "out", folder / "err"}
    result = run_train(folder, *arguments, prepare=prepare)
    assert result.code == 2, result
    paragraph = result.err.strip()
    assert paragraph
    assert "\n\n" not in paragraph
    assert "Traceback" not in result.out + result.err
    assert "Error executing job" not in result.err
    assert _files(folder) == before
    return paragraph


def run_to_end(folder: Path, *arguments: str, prepare: Callable[[], None] = lambda: None) -> Result:
    result = run_train(folder, *arguments, prepare=prepare)
    assert result.code == 0, result
    assert result.err == ""
    return result


def metrics(folder: Path, name: str = "run") -> dict[str, object]:
    values: dict[str, object] = json.loads((folder / name / "metrics.json").read_text())
    return values


def updates(folder: Path, name: str = "run") -> list[int]:
    lines = map(json.loads, (folder / name / "history.jsonl").read_text().splitlines())
    return [line["update"] for line in lines if "split" not in line]


# A run.


def test_a_run_leaves_its_folder_and_its_table(folder: Path) -> None:
    result = run_to_end(folder, *FILE, *TINY, "+tricks=[mixup]")
    (run,) = (folder / "runs").iterdir()
    assert run.name.startswith("text-tiny-mixup-s0-")
    assert result.out.strip().splitlines()[-1].endswith(f"runs/{run.name}")
    assert "accuracy" in result.out
    expected = {
        ".lock",
        "config.yaml",
        "confusion_matrix.png",
        "history.jsonl",
        "inputs.json",
        "learning_curve.png",
        "manifest.json",
        "metrics.json",
        "model",
        "predictions",
    }
    names = {path.name for path in run.iterdir()}
    assert expected == {name for name in names if not name.startswith("events.")}
    assert not list(folder.rglob("*.trickbook-draft"))


@pytest.mark.slow
def test_a_finished_run_that_is_started_again_prints_its_table(folder: Path) -> None:
    first = run_to_end(folder, *FILE, *TINY, "hydra.run.dir=run")
    stamp = (folder / "run" / "metrics.json").stat().st_mtime_ns
    began = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime  # other processes cannot slow it down
    again = run_to_end(folder, *FILE, *TINY, "hydra.run.dir=run")
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - began < 2
    assert "finished already" in again.out
    assert "finished already" not in first.out
    assert "accuracy" in again.out
    assert (folder / "run" / "metrics.json").stat().st_mtime_ns == stamp


@pytest.mark.slow
def test_starting_over_renames_the_old_folder(folder: Path) -> None:
    for _ in range(2):
        run_to_end(folder, *FILE, *TINY, "hydra.run.dir=run", "resume=false")
    assert metrics(folder)["test"] == metrics(folder, "run.old1")["test"]
    assert updates(folder) == updates(folder, "run.old1") == list(range(1, 9))


@pytest.mark.slow
def test_other_settings_in_an_existing_run_folder_are_refused(folder: Path) -> None:
    run_to_end(folder, *FILE, *TINY, "hydra.run.dir=run")
    before = (folder / "run" / "metrics.json").read_bytes()
    result = run_train(folder, *FILE, *TINY, "hydra.run.dir=run", "seed=1", "train.epochs=2")
    assert result.code == 2
    assert "train.epochs: 1.0 there, 2.0 here" in result.err
    assert "seed: 0 there, 1 here" in result.err
    assert (folder / "run" / "metrics.json").read_bytes() == before


SAME_RATE = (*FILE, *TINY, "train.schedule=constant", "train.warmup=0", "hydra.run.dir=run")
CONSTANT = ("checkpoint.after_finish=keep", *SAME_RATE)


@pytest.mark.slow
def test_the_corrected_command_works_in_the_same_folder(folder: Path) -> None:
    run = (*TINY, "hydra.run.dir=run", "train.max_updates=1")
    run_refused(folder, *run, "data=files", "data.train=txt.csv")
    run_refused(folder, *run, *FILE, "data.label=lable")
    run_refused(folder, *run, *FILE, "model=hub", "model.name=nowhere/none")
    run_to_end(folder, *run, *FILE)


@pytest.mark.slow
def test_a_changed_file_is_noticed(folder: Path) -> None:
    run_to_end(folder, *FILE, *TINY, "hydra.run.dir=run", "train.max_updates=1")
    (folder / "text.csv").write_text((folder / "text.csv").read_text().replace("good", "fine"))
    paragraph = run_refused(folder, *FILE, *TINY, "hydra.run.dir=run", "train.max_updates=1")
    assert f"{folder / 'run'}: since this run data.train=text.csv has changed. To see the old result: " in paragraph
    command = paragraph.partition("what is there now: python train.py ")[2].partition(", which renames")[0]
    assert command.endswith(f" hydra.run.dir={folder / 'run'} resume=false")
    run_to_end(folder, *shlex.split(command))
    inputs = [(folder / name / "inputs.json").read_text() for name in ("run", "run.old1")]
    assert inputs[0] != inputs[1]


@pytest.mark.slow
def test_a_sweep_never_mixes_old_and_new_files(folder: Path) -> None:
    run_to_end(folder, "-m", *FILE, *TINY, "seed=0,1", "train.max_updates=1")
    (folder / "text.csv").write_text((folder / "text.csv").read_text().replace("good", "fine"))
    paragraph = run_refused(folder, "-m", *FILE, *TINY, "seed=0,1,2", "train.max_updates=1")
    assert "data.train=text.csv has changed" in paragraph


@pytest.mark.slow
def test_any_letters_in_columns_labels_and_paths(folder: Path) -> None:
    (folder / "数据").mkdir()
    path = folder / "数据" / "外卖=1 评论.csv"
    path.write_text("文本,标签\n" + TEXT.replace("pos", "好评").replace("neg", "差评"), encoding="utf-8")
    arguments = ("data=files", f"data.train={path}", "data.text=文本", "data.label=标签", *TINY, "train.max_updates=1")
    run_to_end(folder, *arguments, "hydra.run.dir=运行")
    assert "好评" in (folder / "运行" / "predictions" / "test.csv").read_text(encoding="utf-8")
    run_to_end(folder, "-m", *arguments, "seed=0,1", "evaluate.extra={hard:" + str(path) + "}")
    assert len(list(folder.glob("runs/*/predictions/hard.csv"))) == 2


@pytest.mark.slow
def test_more_epochs_of_a_constant_schedule_resume_the_run(folder: Path) -> None:
    run_to_end(folder, *CONSTANT)
    result = run_to_end(folder, *CONSTANT, "train.epochs=2")
    assert "going on after update 8" in result.out
    assert updates(folder) == list(range(1, 17))
    run_to_end(folder, *CONSTANT[:-1], "train.epochs=2", "hydra.run.dir=uninterrupted")
    assert metrics(folder)["test"] == metrics(folder, "uninterrupted")["test"]


@pytest.mark.slow
def test_more_epochs_need_the_checkpoints_of_the_run(folder: Path) -> None:
    run_to_end(folder, *SAME_RATE)
    assert not (folder / "run" / "checkpoints").exists()
    before = (folder / "run" / "manifest.json").read_bytes()
    # That it asks to keep them now is too late.
    refused = run_refused(folder, *CONSTANT, "train.epochs=2")
    assert f"hydra.run.dir={folder / 'run'}: this run is finished, and its checkpoints are removed" in refused
    assert "Start over with resume=false and checkpoint.after_finish=keep" in refused
    assert f"+tricks=[incremental] tricks.incremental.folder={folder / 'run'}" in refused
    assert (folder / "run" / "manifest.json").read_bytes() == before


@pytest.mark.slow
def test_a_sweep_over_tricks(folder: Path) -> None:
    run_to_end(folder, "-m", *FILE, *TINY, "+tricks=[],[mixup],[mixup,amp]")
    runs = sorted(path.parent.name.rpartition("-s0-")[0] for path in folder.glob("runs/*/metrics.json"))
    assert runs == ["text-tiny-amp+mixup", "text-tiny-base", "text-tiny-mixup"]


@pytest.mark.slow
def test_a_sweep_goes_on_after_a_run_that_fails(folder: Path) -> None:
    result = run_train(folder, "-m", *FILE, *TINY, "data.label=lable,label", "train.max_updates=1")
    assert result.code == 2
    assert "Traceback" not in result.err
    assert "The run with data=files data.train=text.csv" in result.err
    assert "data.label=lable: train has no such column; did you mean label? There are: label, text." in result.err
    assert len(list(folder.glob("runs/*/metrics.json"))) == 1


# Mistakes in the command.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        slow(["+tricks=[mixpu]"], "tricks=mixpu: there is no such trick; did you mean mixup?"),
        slow(["train.lerning_rate=1"], "train.lerning_rate does not exist; did you mean learning_rate?"),
        (["trian.epochs=1"], "trian does not exist; did you mean train?"),
        slow(["modle=tiny"], "modle does not exist; did you mean model?"),
        slow(["model=tniy"], "model=tniy: there is no such model; did you mean tiny?"),
        slow(["train.warmup=2"], "train.warmup must be a number in [0, 1], got 2.0."),
        (["+tricks=[mixup]", "tricks.mixup.alpha=-1"], "tricks.mixup.alpha must be a number in (0, inf), got -1.0."),
        slow(["+tricks=[mixup]", "tricks.mixup.alhpa=1"], "tricks.mixup.alhpa does not exist; did you mean alpha?"),
        slow(["tricks.mixup.alpha=1"], "tricks.mixup has values but is not selected; add '+tricks=[mixup]'."),
        slow(["+tricks.mixup.alpha=1"], "tricks.mixup has values but is not selected; add '+tricks=[mixup]'."),
        slow(["+foo=1"], "foo does not exist; there are: "),
        (["data=files"], "data.train is not set; data=files needs data.train=<path"),
        slow(["model=tiny,linear"], "model=tiny,linear: several values are a sweep, which needs -m"),
        slow(["--config-dir=nowhere"], "--config-dir=nowhere: there is no such folder."),
        slow(["data=null"], "data=null: there is no such data"),
    ],
)
def test_a_wrong_override_is_refused(arguments: list[str], message: str, folder: Path) -> None:
    paragraph = run_refused(folder, *arguments)
    assert message in paragraph
    assert len(paragraph.splitlines()) == 1


@pytest.mark.slow
def test_all_mistakes_are_reported_at_once(folder: Path) -> None:
    paragraph = run_refused(folder, "trian=1", "model=tniy", "+tricks=[mixpu]", "train.epochs=many")
    assert len(paragraph.splitlines()) == 4
    assert all(line.startswith("- ") for line in paragraph.splitlines())


# Mistakes in the data.

GOOD = "text,label\n" + TEXT


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "data.train=train.csv: there is no such file; there are: text.csv."),
        slow(
            {"train": ""},
            "data.train=train.csv: the file is empty; write column names and rows into it, or name another file.",
        ),
        slow({"train": "text,lable\n" + TEXT}, "data.label=label: train has no such column; did you mean lable?"),
        slow({"train": GOOD.replace("neg", "pos")}, "train has only one class, 'pos'"),
        slow({"train": GOOD, "validation": GOOD.replace("pos", "positive")}, "(40); is 'positive' train's 'pos'?"),
        ({"train": GOOD, "test": "text,label\nx,good\ny,bad\n"}, "'good' (1), and none of train's: neg, pos."),
        slow(
            {"train": GOOD.replace("good", "好").encode() + b"caf\xe9,pos\n"},
            "data.train=train.csv: line 82: 'text' is not UTF-8 (byte 0xE9)",
        ),
        slow(
            {"train": GOOD + '"never closed,pos\n'}, "data.train=train.csv: line 82: a quote is opened and never closed"
        ),
        slow(
            {"train": GOOD + "well, yes,pos\n"},
            "data.train=train.csv: line 82: 3 cells, but the header names 2; put quo",
        ),
        ({"train": GOOD + "unlabelled,\n"}, "train: 1 of 81 rows have no label (first: id 80)"),
    ],
)
def test_wrong_data_are_refused(files: Mapping[str, str | bytes], message: str, folder: Path) -> None:
    for name, content in files.items():
        (folder / f"{name}.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    paths = [f"data.{name}={name}.csv" for name in {"train": "", **files}]
    assert message in run_refused(folder, "data=files", *paths, *TINY)


def test_all_mistakes_in_the_data_are_reported_at_once(folder: Path) -> None:
    paragraph = run_refused(folder, *FILE, *TINY, "data.text=txet", "data.label=lable", "data.id=key")
    assert len(paragraph.splitlines()) == 3


def test_a_label_typo_between_splits(folder: Path) -> None:
    (folder / "dev.csv").write_text("text,label\nx,neg\ny,poss\n")
    paragraph = run_refused(folder, *FILE, *TINY, "data.validation=dev.csv")
    assert paragraph == (
        "validation has labels that train does not: 'poss' (1); is 'poss' train's 'pos'? Spell them alike, or rename "
        "one if they are two labels."
    )


def test_a_dataset_of_the_hub_that_cannot_be_loaded(folder: Path) -> None:
    paragraph = run_refused(folder, "data=hub", "data.name=owner/none", *TINY)
    assert paragraph.startswith("data.name=owner/none: split train cannot be loaded (")
    assert len(paragraph.splitlines()) == 1


# Mistakes in model, metric and tricks.


@pytest.mark.parametrize("name", ["owner/none", slow("./empty"), slow("./nowhere")])
def test_an_unknown_model_is_refused(name: str, folder: Path) -> None:
    (folder / "empty").mkdir()
    tiny = [each for each in TINY if not each.startswith("model")]
    paragraph = run_refused(folder, *FILE, *tiny, "model=hub", f"model.name={name}")
    assert f"model.name={name}" in paragraph
    assert len(paragraph.splitlines()) == 1


def test_an_unknown_metric_is_refused(folder: Path) -> None:
    paragraph = run_refused(folder, *FILE, *TINY, "evaluate.metric=acuracy")
    assert "evaluate.metric=acuracy" in paragraph
    assert "macro_f1" in paragraph


def write_trick(folder: Path) -> Callable[[], None]:
    """Write a custom trick that fills the slot of swa; return the code that puts it on the path."""
    (folder / "mine" / "tricks").mkdir(parents=True)
    (folder / "mine" / "tricks" / "mine.yaml").write_text(
        "# @package tricks.mine\n_target_: mine_trick.Mine\nsize: 1\n"
    )
    (folder / "mine_trick.py").write_text(
        "from dataclasses import dataclass\n"
        "from recipes import Trick, allowed\n"
        "@dataclass\n"
        "class Mine(Trick):\n"
        "    size: int = allowed('[1, inf)')\n"
        "    slots = {'weights': 'final'}\n"
        "    def weights(self, run, inner):\n"
        "        return inner()\n"
    )
    return lambda: sys.path.insert(0, str(folder))


@pytest.mark.slow
def test_two_tricks_in_a_slot_for_one_are_refused(folder: Path) -> None:
    prepare = write_trick(folder)
    config_dir = ["--config-dir", "mine"]
    paragraph = run_refused(folder, *config_dir, *FILE, *TINY, "+tricks=[swa,mine]", prepare=prepare)
    assert "tricks mine and swa both fill weights/final" in paragraph
    assert "+tricks=[mine] or +tricks=[swa]" in paragraph
    assert "tricks.mine.size must be an integer in [1, inf), got 0." in run_refused(
        folder, *config_dir, *FILE, *TINY, "+tricks=[mine]", "tricks.mine.size=0", prepare=prepare
    )
    run_to_end(folder, *config_dir, *FILE, *TINY, "+tricks=[mine]", prepare=prepare)


def test_a_trick_whose_class_cannot_be_imported(folder: Path) -> None:
    write_trick(folder)
    (folder / "mine_trick.py").unlink()
    paragraph = run_refused(folder, "--config-dir", "mine", *FILE, *TINY, "+tricks=[mine]")
    assert "tricks.mine._target_=mine_trick.Mine cannot be imported" in paragraph


# Errors of the file system.


@pytest.mark.parametrize("path", ["text.csv", slow("text.csv/run")])
def test_a_run_folder_that_is_a_file_or_inside_one(path: str, folder: Path) -> None:
    paragraph = run_refused(folder, *FILE, *TINY, f"hydra.run.dir={path}")
    assert "text.csv" in paragraph
    assert "a file stands where a folder should be" in paragraph
    assert "hydra.run.dir=" in paragraph


def limit_file_size() -> None:
    """Limit the size of files: a write past the limit fails like one to a full disk, with another error number."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))


@pytest.mark.slow
def test_a_disk_that_fills_up_while_a_checkpoint_is_saved(folder: Path) -> None:
    run_to_end(folder, *CONSTANT)
    before = {path: path.read_bytes() for path in (folder / "run" / "checkpoints").iterdir()}
    assert all(len(content) > 50_000 for content in before.values())
    refused = run_train(folder, *CONSTANT, "train.epochs=2", prepare=limit_file_size)
    assert refused.code == 2
    assert "run/checkpoints/" in refused.err and os.strerror(errno.EFBIG) in refused.err
    assert not list(folder.rglob(".*.trickbook-draft"))
    assert before == {path: path.read_bytes() for path in (folder / "run" / "checkpoints").iterdir()}
    run_to_end(folder, *CONSTANT, "train.epochs=2")
    assert updates(folder) == list(range(1, 17))


@pytest.mark.slow
def test_a_damaged_checkpoint_is_skipped(folder: Path) -> None:
    often = (*CONSTANT, "checkpoint.every=0.5")
    run_to_end(folder, *often)
    newest = folder / "run" / "checkpoints" / "00000008.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    result = run_to_end(folder, *often, "train.epochs=2")
    assert "checkpoint 00000008.safetensors is damaged and was removed; going on from the one before." in result.out
    assert "going on after update 4" in result.out
    assert updates(folder) == list(range(1, 17))


# Stopping.

LONG = (*FILE, *TINY, "train.epochs=20", "checkpoint.every=1", "evaluate.every=20", "hydra.run.dir=run")


def run_and_signal(folder: Path, number: int, *arguments: str) -> Result:
    """Start a run and send it a signal as soon as its first checkpoint exists."""
    child = TrainProcess(folder, *arguments)
    deadline = time.monotonic() + 60
    while not list(folder.glob("run*/**/checkpoints/0*.safetensors")):
        assert time.monotonic() < deadline
        assert os.waitpid(child.process, os.WNOHANG) == (0, 0), (folder / "err").read_text()
        time.sleep(0.005)
    os.kill(child.process, number)
    return child.wait()


@pytest.mark.parametrize("number", [slow(signal.SIGINT), signal.SIGTERM])
def test_a_signal_stops_with_a_checkpoint_and_the_same_command_finishes(number: int, folder: Path) -> None:
    result = run_and_signal(folder, number, *LONG)
    assert result.code == 128 + number
    assert "the same command goes on" in result.err
    assert len(result.err.strip().splitlines()) == 1
    done = updates(folder)
    assert done == list(range(1, len(done) + 1))
    assert len(done) < 160
    assert (folder / "run" / "checkpoints" / f"{len(done):08d}.safetensors").exists()
    assert not (folder / "run" / "metrics.json").exists()
    assert not list(folder.rglob("*.trickbook-draft"))
    again = run_to_end(folder, *LONG)
    assert f"going on after update {len(done)}" in again.out
    assert updates(folder) == list(range(1, 161))


@pytest.mark.slow
def test_a_signal_stops_the_full_sweep(folder: Path) -> None:
    result = run_and_signal(folder, signal.SIGTERM, "-m", *(each for each in LONG if "run.dir" not in each), "seed=0,1")
    assert result.code == 143
    assert len(list(folder.glob("runs/*/config.yaml"))) == 1


# Tracebacks.


@pytest.mark.slow
def test_hydra_full_error_prints_a_traceback(folder: Path) -> None:
    def enable_tracebacks() -> None:
        os.environ["HYDRA_FULL_ERROR"] = "1"

    result = run_train(folder, *TINY, "data=files", "data.train=none.csv", prepare=enable_tracebacks)
    assert result.code == 1
    assert "Traceback" in result.err
    assert "recipes.errors.UserError: data.train=none.csv: there is no such file" in result.err
    result = run_train(folder, "trian=1", prepare=enable_tracebacks)
    assert result.code == 1
    assert "Traceback" in result.err


@pytest.mark.slow
def test_a_bug_keeps_its_traceback(folder: Path) -> None:
    def break_training() -> None:
        import recipes.pipeline

        recipes.pipeline.train = None  # type: ignore[assignment]

    result = run_train(folder, *FILE, *TINY, prepare=break_training)
    assert result.code == 1
    assert "TypeError" in result.err


# A separate process.


@pytest.mark.slow
def test_help_and_a_mistake_in_a_fresh_process(tmp_path: Path) -> None:
    def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, str(ROOT / "train.py"), *arguments]
        return subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    help_page = run_command("--help")
    assert help_page.returncode == 0
    assert "mixup" in help_page.stdout
    assert "base" not in help_page.stdout.split("== Config ==")[0]
    began = time.perf_counter()
    refusal = run_command("trian.epochs=1")
    assert (refusal.returncode, refusal.stdout) == (2, "")
    assert refusal.stderr.startswith("trian does not exist; did you mean train? ")
    assert time.perf_counter() - began < 20


@pytest.mark.slow
def test_any_letters_as_typed_in_a_shell(tmp_path: Path) -> None:
    (tmp_path / "数据").mkdir()
    (tmp_path / "数据" / "外卖=1.csv").write_text("文本,标签\n" + TEXT.replace("pos", "好评"), encoding="utf-8")
    settings = f"data.text=文本 data.label=标签 train.threads=1 train.max_updates=1 {' '.join(TINY)}"
    typed = (
        f"{shlex.quote(sys.executable)} {shlex.quote(str(ROOT / 'train.py'))} data=files data.train=~/数据/外卖=1.csv "
        f"{settings} hydra.run.dir=~/运行"
    )
    environment = {**os.environ, "HOME": str(tmp_path)}
    for line in (typed, f"{typed} -m hydra.sweep.dir=~/扫描 seed=0,1"):
        shell = ["bash", "-c", line]
        result = subprocess.run(shell, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert (result.returncode, result.stderr) == (0, ""), result
    assert "好评" in (tmp_path / "运行" / "predictions" / "test.csv").read_text(encoding="utf-8")
    assert len(list(tmp_path.glob("扫描/*/metrics.json"))) == 2
