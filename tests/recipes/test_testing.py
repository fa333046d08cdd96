"""The helpers under the laws: children, ranks, tiny runs."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from accelerate import PartialState
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from recipes import testing
from recipes.compose.overrides import compose_config
from recipes.data.batch import Batch
from recipes.errors import UserError
from recipes.loop import TrainingRun
from tests.sampling import slow


def test_a_child_returns_its_result_or_its_error() -> None:
    parent = os.getpid()
    assert testing.in_child(os.getpid) != parent
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        testing.in_child(lambda: 1 // 0)
    with pytest.raises(ChildProcessError, match="no answer"):
        testing.in_child(lambda: os._exit(3))


def test_laws_share_a_child_until_those_of_another_trick_need_one() -> None:
    class Laws(testing.TrickLaws):
        trick = "focal"

        def process(self) -> int:
            return os.getpid()

    class Others(Laws):
        trick = "gce"

    first = Laws().in_common_child("process")
    assert first not in (os.getpid(), testing.in_child(lambda: Others().in_common_child("process")))
    assert Laws().in_common_child("process") == first
    with pytest.raises(AssertionError, match="TypeError"):
        Laws().in_common_child("own_values")
    assert Laws().in_common_child("process") == first != Others().in_common_child("process")
    testing.end_common_child()


def test_ranks_know_each_other() -> None:
    assert testing.on_ranks(2, lambda: PartialState(cpu=True).num_processes) == 2


def test_the_temporary_folder_is_removed() -> None:
    with testing.temporary_folder() as folder:
        (folder / "file").write_text("x")
    assert not folder.exists()


def test_differences_are_the_largest_ones() -> None:
    one, other = {"a": np.array([1.0, 2.0])}, {"a": np.array([1.0, 2.5])}
    assert testing.difference(one, other) == 0.5 and testing.largest_distance([1, 2], [4, 2]) == 3
    with pytest.raises(AssertionError):
        testing.difference(one, {"b": np.array([1.0])})


def test_every_pair_is_in_one_of_the_two_tests_of_pairs() -> None:
    class Laws(testing.TrickLaws):
        trick = "focal"

    first = [name for name in testing.names() if name > "focal" and Laws()._is_tried_first(name)]
    assert "label_smoothing" in first and len(first) < len([name for name in testing.names() if name > "focal"])


def test_draws_that_depend_on_other_tricks_break_the_law_of_isolation(monkeypatch: pytest.MonkeyPatch) -> None:
    class Laws(testing.TrickLaws):
        trick = "fgm"

    draw = TrainingRun.generator

    def draw_by_count(run: TrainingRun, purpose: str, batch: Batch) -> np.random.Generator:
        return draw(run, f"{purpose}{len(run.config.tricks)}", batch)

    monkeypatch.setattr(testing, "REMEMBERED", {})
    Laws().test_isolation()
    testing.end_common_child()
    monkeypatch.setattr(testing, "REMEMBERED", {})
    monkeypatch.setattr(TrainingRun, "generator", draw_by_count)
    with pytest.raises(AssertionError):
        Laws().test_isolation()


def test_generated_texts_are_read_once_and_other_files_each_time(tmp_path: Path) -> None:
    config = testing.tiny_config()
    assert testing.tiny_splits(config) is testing.tiny_splits(testing.tiny_config("model.dropout=0.0"))
    longer = testing.tiny_splits(testing.tiny_config(longest=30))
    assert max(map(len, longer.train["text"])) > max(map(len, testing.tiny_splits(config).train["text"]))
    file = tmp_path / "train.csv"
    for label in "xz":
        file.write_text("text,label\n" + f"one,{label}\ntwo,y\n" * 9)
        own = replace(config, data=replace(config.data, train=str(file), validation=str(file)))
        assert testing.tiny_splits(own).classes == sorted({label, "y"})


def test_a_child_finds_all_that_a_run_imports() -> None:
    def imports_of_a_run() -> set[str]:
        before = set(sys.modules)
        testing.finish(testing.tiny_config())
        return set(sys.modules) - before

    assert testing.in_child(imports_of_a_run) == set()


COMPOSED = [
    ("+tricks=[swa,mixup,threshold]", "tricks.mixup.depths=[0.1,0.5]", "tricks.swa.start=0.5"),
    (
        "+tricks=[class_weights]",
        "+tricks.class_weights.values.x=2.0",
        "data.text='my text'",
        "data.label=[a,b]",
        "seeds.dropout=5",
        "train.clip_norm=null",
        "seed=3",
        "doctor=cheap",
    ),
    ("recipe=cutmix", "+tricks=[amp]", "tricks.mixup.alpha=0.7", "model=linear"),
    ("hydra.searchpath=[docs/third_party/conf]", "+tricks=[cutoff]", "tricks.cutoff.fraction=0.5"),
]


@pytest.mark.parametrize("overrides", COMPOSED)
def test_a_config_is_composed_again_as_hydra_composes_it(overrides: tuple[str, ...]) -> None:
    overrides = (*testing.TINY, *overrides)
    expected = compose_config(overrides)[0]
    sources = HydraConfig.get().runtime.config_sources
    again = testing.compose_again(overrides)
    assert OmegaConf.to_yaml(again) == OmegaConf.to_yaml(expected)
    assert list(again.tricks) == list(expected.tricks)
    assert HydraConfig.get().runtime.config_sources == sources


@pytest.mark.parametrize(
    "override",
    [slow("train.lr=1"), "tricks.focal.values={x: 2.0}", slow("seed=1,2")],
)
def test_what_hydra_refuses_is_refused(override: str) -> None:
    with pytest.raises(UserError) as expected:
        compose_config([override])
    with pytest.raises(UserError) as caught:
        testing.compose_again([override])
    assert caught.value.problems == expected.value.problems


def test_a_run_is_finished_once_for_each_config() -> None:
    first, again = (testing.finish_once(testing.tiny_config("train.max_updates=1")) for _ in range(2))
    assert first is again and (first["folder"] / "metrics.json").exists()
    assert len(first["losses"]) == 1 and first["weights"].keys()
    assert testing.finish_once(testing.tiny_config("train.max_updates=2"))["folder"] != first["folder"]
