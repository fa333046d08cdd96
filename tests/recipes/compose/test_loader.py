"""What a trick sets outside of itself: who gave a value, what is applied, and what is refused with which sentence."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from recipes import finetune
from recipes.ablation.factors import build_space
from recipes.ablation.feasibility import find_admissible_arms
from recipes.compose.loader import find_sets, read_sets
from recipes.compose.members import member_config
from recipes.compose.overrides import _composing_conf, compose_config, start_sweep
from recipes.compose.reading import read
from recipes.compose.requirements import unmet
from recipes.compose.tricks import build
from recipes.compose.trust import trusting
from recipes.config import CONF, as_values
from recipes.errors import UserError
from recipes.testing import in_child, make_text_file, names
from recipes.testing import tiny_config as make_config
from tests.sampling import slow

ROOT = Path(__file__).parents[3]
CLIP = "+tricks=[clip_gradient]"
DATA = {"text": ["a", "b"] * 20, "label": ["x", "y"] * 20}
Write = Callable[[str, str], Path]
CLASS = """
from dataclasses import dataclass
from recipes import Trick


@dataclass
class {name}(Trick):
    slots = {{"clean": "clean"}}
    neutral = "it is for a test only, and does nothing"
    sets = {sets}

    def clean(self, run, inner, text):
        return inner(text)
"""


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Writes a trick of the user's own, and returns the override that finds it."""

    def add(name: str, sets: str) -> str:
        module = f"module_{name}_{tmp_path.name.replace('-', '_')}"
        text = CLASS.format(name=name.title(), sets=sets)
        (tmp_path / f"{module}.py").write_text(text)
        (tmp_path / "conf" / "tricks").mkdir(parents=True, exist_ok=True)
        values = f"# @package tricks.{name}\n_target_: {module}.{name.title()}\n"
        (tmp_path / "conf" / "tricks" / f"{name}.yaml").write_text(values)
        monkeypatch.syspath_prepend(tmp_path)
        return str(tmp_path / "conf")

    return add


def clip_norm(overrides: Sequence[str], config_dir: str | None = None) -> float | None:
    composed, _ = compose_config(["model=tiny", *overrides], config_dir)
    value: float | None = composed.train.clip_norm
    return value


def problems(overrides: Sequence[str], config_dir: str | None = None) -> list[str]:
    config = read(compose_config(["model=tiny", *overrides], config_dir)[0])
    return list(unmet(as_values(config), build(config.tricks)))


def test_what_a_trick_sets_is_in_the_config_and_in_the_name_of_the_folder() -> None:
    alone, folder = compose_config(["model=tiny", CLIP])
    typed, same_folder = compose_config(["model=tiny", CLIP, "train.clip_norm=null"])
    assert alone == typed and alone.train.clip_norm is None
    assert folder == same_folder
    assert clip_norm([]) == 1.0
    assert problems([CLIP]) == []


@pytest.mark.parametrize("line", ["train.clip_norm=1.0", slow("++train.clip_norm=1.0"), slow("train={clip_norm: 1.0}")])
def test_a_value_on_the_command_line_stays_and_is_refused_even_if_it_is_the_default(line: str) -> None:
    assert clip_norm([CLIP, line]) == 1.0
    assert problems([CLIP, line]) == [
        "train.clip_norm=1.0: clip_gradient needs train.clip_norm=null; set it, or leave out clip_gradient."
    ]


def test_a_value_from_python_stays() -> None:
    with pytest.raises(UserError, match=r"^train.clip_norm=1.0: clip_gradient needs train.clip_norm=null"):
        finetune(train=DATA, model="tiny", tricks=["clip_gradient"], clip_norm=1.0)


@pytest.mark.parametrize(
    ("path", "text", "overrides"),
    [
        ("recipe/mine.yaml", "# @package _global_\ntrain:\n  clip_norm: 0.7\n", ["recipe=mine"]),
        slow("model/mine.yaml", "# @package _global_\ntrain:\n  clip_norm: 0.7\n", ["model=mine", "model.source=tiny"]),
        slow("search/mine.yaml", "# @package _global_\ntrain:\n  clip_norm: 0.7\n", ["search=mine"]),
    ],
)
def test_a_value_in_a_file_of_a_config_folder_stays(tmp_path: Path, path: str, text: str, overrides: list[str]) -> None:
    (tmp_path / path).parent.mkdir()
    (tmp_path / path).write_text(text)
    assert clip_norm([CLIP, *overrides], str(tmp_path)) == 0.7
    assert clip_norm([CLIP, *overrides, f"hydra.searchpath=[{tmp_path}]"]) == 0.7
    (problem,) = problems([CLIP, *overrides], str(tmp_path))
    assert problem.startswith("train.clip_norm=0.7: clip_gradient needs train.clip_norm=null")


def test_a_recipe_brings_tricks_and_what_they_set(tmp_path: Path) -> None:
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "mine.yaml").write_text("# @package _global_\ndefaults:\n  - /tricks: [clip_gradient]\n")
    assert clip_norm(["recipe=mine"], str(tmp_path)) is None
    assert clip_norm(["recipe=few_shot", CLIP]) is None  # a recipe that says nothing about it


@pytest.mark.parametrize("selection", ["+tricks=[mixup]", "+tricks=[ema,mixup]"])
def test_a_trick_of_a_recipe_is_refused_in_tricks(selection: str) -> None:
    with pytest.raises(UserError, match=r"\+tricks=\[mixup\] is in recipe=puzzle_mix already, and would have its def"):
        compose_config(["model=tiny", "recipe=puzzle_mix", selection])
    composed = compose_config(["model=tiny", "recipe=puzzle_mix", "+tricks=[ema]", "tricks.mixup.alpha=0.3"])[0]
    assert (composed.tricks.mixup["mask"], composed.tricks.mixup.alpha) == ("puzzle", 0.3)


@pytest.mark.slow
def test_a_shipped_recipe_counts_as_given(theirs: Callable[..., str]) -> None:
    folder = theirs("longer", '{"train.epochs": 7}')
    assert compose_config(["model=tiny", "+tricks=[longer]"], folder)[0].train.epochs == 7
    assert compose_config(["model=tiny", "+tricks=[longer]", "recipe=few_shot"], folder)[0].train.epochs == 1
    # The epochs of a model are defaults.
    assert compose_config(["model=minilm", "+tricks=[longer]"], folder)[0].train.epochs == 7


def test_two_tricks_that_want_different_values_are_refused_with_both_names(theirs: Callable[..., str]) -> None:
    theirs("longer", '{"train.epochs": 3, "train.warmup": 0.2}')
    folder = theirs("shorter", '{"train.epochs": 1, "train.warmup": 0.2}')
    composed, _ = compose_config(["model=tiny", "+tricks=[longer,shorter]"], folder)
    with pytest.raises(UserError) as raised, trusting([values["_target_"] for values in composed.tricks.values()]):
        build(read(composed).tricks)
    assert raised.value.problems == (
        "tricks longer and shorter set train.epochs to different values; keep one of them: +tricks=[longer] or "
        "+tricks=[shorter].",
    )


def start(lines: list[str], folder: str) -> None:
    """Start a run as from Python."""
    finetune([*lines, f"hydra.searchpath=[{folder}]"], trusted=find_targets(folder), train=DATA, model="tiny")


def find_targets(folder: str) -> list[str]:
    """The classes of the user's own tricks."""
    files = (Path(folder) / "tricks").glob("*.yaml")
    return [file.read_text().split("_target_: ")[1].strip() for file in files]


@pytest.mark.parametrize("further", [[], slow(["train.epochs=3"])])
@pytest.mark.parametrize("selection", ["+tricks=[longer,shorter]", "recipe=mine"])
def test_two_such_tricks_are_refused_from_python_and_in_a_recipe(
    selection: str, further: list[str], theirs: Callable[..., str]
) -> None:
    """Also where the user has chosen the value of one of them."""
    theirs("longer", '{"train.epochs": 3}')
    folder = theirs("shorter", '{"train.epochs": 1}')
    (Path(folder) / "recipe").mkdir()
    lines = "# @package _global_\ndefaults:\n  - /tricks: [longer, shorter]\n"
    (Path(folder) / "recipe" / "mine.yaml").write_text(lines)
    with pytest.raises(UserError) as raised:
        start([selection, *further], folder)
    assert raised.value.problems == (
        "tricks longer and shorter set train.epochs to different values; keep one of them: +tricks=[longer] or "
        "+tricks=[shorter].",
    )


def test_two_tricks_that_want_one_value_make_a_run_with_it(theirs: Callable[..., str]) -> None:
    folder = theirs("unclipped", '{"train.clip_norm": None}')
    assert clip_norm(["+tricks=[clip_gradient,unclipped]"], folder) is None
    with trusting(find_targets(folder)):
        assert problems(["+tricks=[clip_gradient,unclipped]"], folder) == []


@pytest.mark.slow
def test_two_tricks_that_want_different_values_are_one_factor_of_an_ablation(theirs: Callable[..., str]) -> None:
    theirs("longer", '{"train.epochs": 3}')
    folder = theirs("shorter", '{"train.epochs": 1}')
    arguments = ["+tricks=[longer,shorter,mixup]", "model=tiny", f"hydra.searchpath=[{folder}]"]
    with trusting(find_targets(folder)):
        space, _ = find_admissible_arms(
            build_space(arguments, [], "pydocs"), lambda overrides: compose_config(overrides)[0]
        )
    assert [(factor.name, factor.levels) for factor in space.factors] == [
        ("longer|shorter", ("none", "longer", "shorter")),
        ("mixup", ("none", "mixup")),
    ]


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ('{"train.epoch": 3}', "tricks.odd: its class sets train.epoch=3, which cannot be. "),
        ('{"train.epochs": "many"}', "tricks.odd: its class sets train.epochs=many, which cannot be. "),
    ],
)
def test_what_no_setting_can_be_is_refused(theirs: Callable[..., str], sets: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        compose_config(["model=tiny", "+tricks=[odd]"], theirs("odd", sets))
    assert str(raised.value).startswith(message)


def test_what_is_not_written_in_plain_values_is_refused_at_the_start(theirs: Callable[..., str]) -> None:
    folder = theirs("computed", 'dict([("train.epochs", 7)])')
    composed, _ = compose_config(["model=tiny", "+tricks=[computed]"], folder)
    config = read(composed)
    with trusting([composed.tricks.computed._target_]):
        (problem,) = unmet(as_values(config), build(config.tricks))
    assert problem.startswith("train.epochs=") and "computed needs train.epochs=7; set it" in problem


def test_the_source_says_what_the_class_has() -> None:
    tricks = {name: read(compose_config([f"+tricks=[{name}]", "model=tiny"])[0]).tricks[name] for name in ("swa",)}
    assert list(find_sets(tricks)) == []
    for name in names():
        target = f"{(CONF / 'tricks' / f'{name}.yaml').read_text().partition('_target_: ')[2].split()[0]}"
        module, _, kind = target.rpartition(".")
        declared = getattr(__import__(module, fromlist=[kind]), kind).sets
        assert read_sets(target) == declared, name
    assert read_sets("nowhere.at_all.Trick") == read_sets(None) == read_sets("train.sets.X") == {}


def test_nothing_is_imported_to_find_out() -> None:
    program = (
        "import sys; from recipes.compose.overrides import compose_config\n"
        "assert compose_config(['+tricks=[clip_gradient]'])[0].train.clip_norm is None\n"
        "assert 'torch' not in sys.modules and 'tricks' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.slow
def test_runs_of_a_sweep_have_what_their_own_tricks_set(tmp_path: Path) -> None:
    norms: list[float | None] = []

    def task(composed: DictConfig) -> float:
        norms.append(composed.train.clip_norm)
        return 0.0

    start_sweep(["model=tiny", "+tricks=[],[clip_gradient],[focal]", f"hydra.sweep.dir={tmp_path}"], task)
    assert norms == [1.0, None, 1.0]


def test_the_config_of_a_sweep_itself_is_that_of_no_run() -> None:
    from hydra.types import RunMode

    with _composing_conf():
        loader = GlobalHydra.instance().config_loader()
        overrides = ["model=tiny", CLIP]
        norms = [loader.load_configuration("train", overrides, mode).train.clip_norm for mode in RunMode]
    assert dict(zip(RunMode, norms, strict=True)) == {RunMode.RUN: None, RunMode.MULTIRUN: 1.0}


@pytest.mark.slow
def test_a_member_has_what_its_own_tricks_set() -> None:
    assert member_config("tiny +tricks=[clip_gradient]", make_config()).train.clip_norm is None
    assert member_config("seed=1", make_config(CLIP)).train.clip_norm is None
    # A member of another model has none of the run's tricks.
    assert member_config("minilm", make_config(CLIP)).train.clip_norm == 1.0


@pytest.mark.slow
def test_a_member_does_not_change_what_the_run_was_given() -> None:
    config = member_config("tiny +tricks=[clip_gradient]", make_config("train.clip_norm=0.5"))
    (problem,) = unmet(as_values(config), build(config.tricks))
    assert problem.startswith("train.clip_norm=0.5: clip_gradient needs train.clip_norm=null")


@pytest.mark.slow
def test_the_header_says_what_is_set(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = ["data=files", f"data.train={make_text_file(9)}", "model=tiny", "train.max_updates=2", "doctor=off"]
    lines = [*files, CLIP, f"hydra.run.dir={tmp_path / 'run'}", "train.device=cpu"]
    in_child(lambda: finetune(lines) and None)
    assert "clip_gradient sets train.clip_norm=null." in capfd.readouterr().out
    assert "clip_norm: null" in (tmp_path / "run" / "config.yaml").read_text()
