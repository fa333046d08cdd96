"""Nothing is imported before it is trusted, and nothing in a run folder says whom to trust."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from recipes.api import FinishedRun, load
from recipes.compose import trust
from recipes.compose.overrides import compose_config
from recipes.compose.trust import import_class, is_trusted, trusting
from recipes.doctor import examine
from recipes.errors import UserError
from recipes.runs import manifest
from recipes.testing import finished_run, make_text_file, tiny_config
from recipes.toolkit.warm_start import WarmStart
from tricks.in_training.mixup import Mixup
from tricks.post_training.incremental import read_text_tricks

ROOT = Path(__file__).parents[3]
Write = Callable[[str, str | bytes], Path]
# Leaves a file behind as soon as it is imported; its class is a proper trick.
PAYLOAD = """
from dataclasses import dataclass
from pathlib import Path

from recipes import Trick

Path({marker!r}).touch()


@dataclass
class Payload(Trick):
    slots = {{"clean": "clean"}}
    neutral = "it is for a test only, and does nothing"

    def clean(self, run, inner, texts):
        return inner(texts)
"""


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """A file that exists once a stranger's code has run."""
    path = tmp_path / "marker"
    yield path
    assert not path.exists(), "a stranger's code has run"


@pytest.fixture
def evil(tmp_path: Path, marker: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder from somebody else: a namespace package below a folder on the import path, with its own code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    shutil.copytree(finished_run(), tmp_path / "evil")
    for name in ("payload", "tricks/in_training/payload", "conf/tricks/payload"):
        write(f"evil/{name}.py", PAYLOAD.format(marker=str(marker)))
    write("evil/conf/tricks/payload.yaml", "# @package tricks.payload\n_target_: evil.payload.Payload\n")
    write("evil/.hydra/config.yaml", "trusted: [evil.payload.Payload]\n")
    write("evil/.hydra/hydra.yaml", "hydra: {searchpath: [evil/conf]}\n")
    write("evil/x.egg-info/entry_points.txt", "[trickbook.tricks]\npayload = evil.payload:Payload\n")
    return tmp_path / "evil"


def name_class(folder: Path, target: str, **values: Any) -> None:
    """Let the saved config of a run name a class."""
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["tricks"] = {"payload": {"_target_": target, **values}}
    config["trusted"] = [target]  # no run folder holds this, and nobody reads it
    path.write_text(yaml.safe_dump(config))
    manifest.write(folder)


TARGETS = ("evil.payload.Payload", "this", "evil.tricks.in_training.payload.Payload", "os.system", "tricks.os.system")


@pytest.mark.parametrize("target", TARGETS)
def test_a_loaded_run_executes_nothing(target: str, evil: Path) -> None:
    name_class(evil, target)
    before = set(sys.modules)
    with pytest.raises(UserError, match=rf"tricks\.payload\._target_={target} is not trusted, so it is not imported"):
        load(evil).predict(["a1 a2"])
    assert not {name for name in set(sys.modules) - before if name.partition(".")[0] in ("evil", "this")}


def test_a_class_that_the_caller_trusts_is_used(evil: Path, write: Write) -> None:
    write("mine.py", PAYLOAD.format(marker=str(evil / "used")))
    name_class(evil, "mine.Payload")
    assert len(load(evil, trusted=["mine.Payload"]).predict(["a1 a2", "b1"]).ids) == 2
    assert (evil / "used").exists()
    with pytest.raises(UserError, match="is not trusted"):
        load(evil).predict(["a1 a2"])


def test_the_working_folder_has_classes_of_the_user(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("work/tricks_of_mine.py", PAYLOAD.format(marker=str(tmp_path / "used")))
    write("work/json.py", "raise AssertionError('it hides a module of Python')")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(UserError, match="is not trusted"):
        import_class("tricks_of_mine.Payload", "x")
    with trusting(["json.JSONDecoder"]):
        assert import_class("json.JSONDecoder", "x") is json.JSONDecoder
    assert str(tmp_path / "work") not in sys.path and not (tmp_path / "used").exists()
    with trusting(["tricks_of_mine.Payload"]):
        assert import_class("tricks_of_mine.Payload", "x").__name__ == "Payload"
    assert sys.path[-1] == str(tmp_path / "work")


def test_a_member_of_an_ensemble_executes_nothing(evil: Path) -> None:
    name_class(evil, "evil.payload.Payload")
    shutil.copytree(evil, evil / "members" / "1")
    path = evil / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "tricks": {}}))
    members = {"classes": ["x", "y", "z"], "multi_label": False, "weights": {"members/1": 1.0}}
    (evil / "model" / "ensemble.json").write_text(json.dumps(members))
    manifest.write(evil)
    with pytest.raises(UserError, match=r"evil\.payload\.Payload is not trusted"):
        load(evil).predict(["a1 a2"])


def test_a_run_to_start_from_executes_nothing(evil: Path) -> None:
    name_class(evil, "evil.payload.Payload")
    with pytest.raises(UserError, match=r"evil\.payload\.Payload is not trusted"):
        read_text_tricks(WarmStart(str(evil), "tricks.incremental.folder").config["tricks"])


@pytest.mark.parametrize(
    "augmenter",
    [
        {"_target_": "evil.payload.Payload"},
        {"_target_": "nlpaug.flow.Sequential", "flow": [{"_target_": "evil.payload.Payload"}]},
        {"_target_": "nlpaug.augmenter.word.spelling.os.system", "command": "false"},
        {"_target_": "os.system", "command": "false", "_partial_": True},
    ],
)
def test_an_augmenter_executes_nothing(augmenter: dict[str, Any], evil: Path) -> None:
    name_class(evil, "tricks.pre_training.nlpaug.Nlpaug", augmenters=[augmenter], variants=1, workers=1)
    with pytest.raises(UserError, match=r"tricks\.payload\.augmenters: _target_=.* is not trusted"):
        load(evil).predict(["a1 a2"])


def test_a_class_that_a_package_imports_is_not_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlpaug.base_augmenter.Popen", subprocess.Popen, raising=False)
    with pytest.raises(UserError, match="^x=nlpaug.base_augmenter.Popen is not a class of nlpaug"):
        import_class("nlpaug.base_augmenter.Popen", "x", "nlpaug")


def test_the_texts_of_a_saved_config_are_not_evaluated(evil: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    text = "${oc.env:SECRET}"
    name_class(evil, "tricks.pre_training.eda.Eda", lexicon=text)
    with pytest.raises(UserError) as caught:
        load(evil).predict(["a1 a2"])
    assert "hunter2" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["predict", "report", "doctor", "incremental"])
def test_commands_execute_nothing(command: str, evil: Path, write: Write) -> None:
    target = "evil.payload.Payload"
    name_class(evil, target)
    texts = str(write("in.csv", "text\na1 a2\n"))
    data = ["model=tiny", f"data.train={make_text_file(12)}", "data=files", "train.max_updates=2", "train.threads=1"]
    start = ["+tricks=[incremental]", f"tricks.incremental.folder={evil}", "hydra.run.dir=new"]
    words = {
        "predict": ["scripts/predict.py", "evil", texts, "out.csv"],
        "report": ["scripts/report.py", "evil"],
        "doctor": ["scripts/doctor.py", "--cheap", *data, "hydra.searchpath=[evil/conf]", "+tricks=[payload]"],
        "incremental": ["train.py", *data, *start],
    }[command]
    environment = {**os.environ, "PYTHONPATH": str(evil.parent)}
    done = subprocess.run(
        [sys.executable, str(ROOT / words[0]), *words[1:]], env=environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    if command == "report":  # it imports no class, so it has nothing to refuse
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 2 and f"{target} is not trusted" in done.stderr + done.stdout


# What is trusted.


def test_the_tricks_of_this_project_are_trusted() -> None:
    assert import_class("tricks.in_training.mixup.Mixup", "x") is Mixup
    assert not is_trusted("tricks.in_training.nothing.Mixup")
    assert not is_trusted("tricks.in_training.mixup.os.system")
    assert not is_trusted("recipes.api.FinishedRun") and FinishedRun
    assert not is_trusted("tricks/../evil.Payload") and not is_trusted("tricks..in_training.mixup.Mixup")


def test_another_folder_called_tricks_hides_nothing(tmp_path: Path, marker: Path, write: Write) -> None:
    write("tricks/__init__.py", f"open({str(marker)!r}, 'w')")
    write("tricks/in_training/mixup.py", f"open({str(marker)!r}, 'w')")
    code = """
        import sys
        sys.path.append(sys.argv[1])
        from recipes.compose.trust import import_class
        from recipes.errors import UserError
        try:
            import_class("tricks.in_training.mixup.Mixup", "x")
        except UserError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(ROOT)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{tmp_path / 'tricks' / '__init__.py'} hides the tricks of this project" in done.stdout, done.stderr


def test_a_config_folder_on_the_command_line_is_trusted(tmp_path: Path, write: Write) -> None:
    write("conf/tricks/mine.yaml", "_target_: mine.Trick\nparts: [{_target_: mine.Part}]\n")
    write("conf/recipe/mine.yaml", "tricks: {x: {_target_: mine.Other}}\n")
    write("conf/tricks/broken.yaml", "a: [\n")
    write("conf/runs/evil/config.yaml", "tricks: {x: {_target_: evil.Payload}}\n")
    write("conf/config.yaml", "tricks: {x: {_target_: evil.Payload}}\n")
    compose_config([], str(tmp_path / "conf"))
    assert is_trusted("mine.Trick") and is_trusted("mine.Part") and is_trusted("mine.Other")
    assert not is_trusted("mine.Trick2") and not is_trusted("mine") and not is_trusted("evil.Payload")
    with trusting([]):
        compose_config(["seed=1"])
        assert is_trusted("mine.Trick"), "a member of the same command"
    compose_config([f"hydra.searchpath=[{tmp_path / 'conf'}]"])
    assert not is_trusted("mine.Trick"), "another command line"


def make_distribution(folder: Path, write: Write, value: str) -> None:
    write(f"{folder.name}/theirs-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    write(f"{folder.name}/theirs-1.0.dist-info/entry_points.txt", f"[trickbook.tricks]\ntheirs = {value}\n")
    write(f"{folder.name}/theirs_package/__init__.py", "")
    write(f"{folder.name}/theirs_package/trick.py", "class Trick: pass\n")


@pytest.fixture
def site_folder(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip installs into."""
    make_distribution(tmp_path / "site", write, "theirs_package.trick:Trick")
    monkeypatch.setattr(trust, "_site_folders", lambda: [str(tmp_path / "site")])
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path / "site"


def test_an_entry_point_of_an_installed_distribution_is_trusted(site_folder: Path) -> None:
    assert is_trusted("theirs_package.trick.Trick")
    assert not is_trusted("theirs_package.trick.Other")


def test_a_folder_that_hides_an_installed_package_is_not_trusted(
    site_folder: Path, tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("cwd/theirs_package/__init__.py", "")
    monkeypatch.syspath_prepend(str(tmp_path / "cwd"))
    assert not is_trusted("theirs_package.trick.Trick")


def test_an_editable_install_is_trusted(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    make_distribution(tmp_path / "project", write, "theirs_package.trick:Trick")
    (tmp_path / "site").mkdir()
    shutil.move(tmp_path / "project" / "theirs-1.0.dist-info", tmp_path / "site")
    write("site/theirs.pth", f"# a comment\nimport os\n{tmp_path / 'project'}\n")
    monkeypatch.setattr(trust, "_site_folders", lambda: [str(tmp_path / "site")])
    monkeypatch.syspath_prepend(str(tmp_path / "project"))
    assert is_trusted("theirs_package.trick.Trick")


def test_a_distribution_in_the_working_directory_is_not_installed(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_distribution(tmp_path / "evil", write, "theirs_package.trick:Trick")
    monkeypatch.chdir(tmp_path / "evil")
    monkeypatch.syspath_prepend("")
    assert not is_trusted("theirs_package.trick.Trick")


def test_trust_ends_with_its_context() -> None:
    with trusting(["a.B"]):
        with trusting(["c.D"]):
            assert is_trusted("a.B") and is_trusted("c.D")
        assert not is_trusted("c.D")
    assert not is_trusted("a.B")


@pytest.mark.parametrize("target", [None, 3, ["tricks.in_training.mixup.Mixup"], "", ".", "tricks", "tricks."])
def test_what_is_no_class_is_refused(target: object) -> None:
    with pytest.raises(UserError, match="^x="):
        import_class(target, "x")


def test_the_setting_decides_no_number_and_is_not_stored(tmp_path: Path) -> None:
    with_trust = compose_config(["data.train=a.csv", "data=files", "trusted=[a.B]"])[1]
    assert with_trust == compose_config(["data.train=a.csv", "data=files"])[1]
    assert tiny_config("trusted=[a.B]").trusted == ["a.B"]
    assert "trusted" not in yaml.safe_load((finished_run() / "config.yaml").read_text())


def test_the_doctor_takes_a_config_folder(write: Write, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="^--config-dir=nowhere: there is no such folder"):
        examine([], config_dir="nowhere")


def find(settings: Mapping[str, Any]) -> list[str]:
    return list(trust.find_targets(settings))


def test_targets_are_found_at_any_depth() -> None:
    assert find({"a": [{"_target_": "x"}, {"b": {"_target_": "y", "c": [[{"_target_": "z"}]]}}], "_target_": 3}) == [
        *("x", "y", "z")
    ]
