"""Where parts are replayed: the table of cards, what stands against it, and the shapes that a run will have."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from transformers import BertConfig, BertForSequenceClassification

from recipes.compose.measured import settle_measured
from recipes.config import as_values, digest
from recipes.graphs import mode
from recipes.graphs.frozen import FrozenRecorder
from recipes.graphs.parts import PaddedParts, Parts
from recipes.testing import (
    UNSAVED,
    copy_weights,
    difference,
    in_child,
    kill_after,
    temporary_folder,
    tiny_config,
    tiny_run,
)

CARD = "NVIDIA H100 80GB HBM3"


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA card, as far as anybody asks for its name."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: CARD)
    monkeypatch.setattr(torch, "__version__", "2.13.0+cu130")


@pytest.fixture
def checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of cards in which this one has passed."""
    table = tmp_path / "checked_gpus.yaml"
    table.write_text(yaml.safe_dump([{"card": CARD, "torch": "2.13.0"}, {"card": "other", "torch": "2.13.0"}]))
    monkeypatch.setattr(mode, "CHECKED", table)


def test_a_cpu_is_no_card(card: None) -> None:
    assert [mode.find_card(device) for device in ("auto", "cuda", "cpu", "mps")] == [CARD, CARD, None, None]


def test_auto_is_on_where_the_check_has_passed(card: None, checked: None, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, note = mode.settle_mode(CARD)
    assert answer == "on" and f"has passed on {CARD} with torch 2.13.0." in note
    monkeypatch.setattr(torch, "__version__", "2.14.0")
    answer, note = mode.settle_mode(CARD)
    assert answer == "off" and "has not passed" in note and "train.cuda_graphs=on" in note


def test_the_table_of_the_repository_is_a_list_of_cards_and_versions() -> None:
    cards = yaml.safe_load(mode.CHECKED.read_text(encoding="utf-8"))
    assert isinstance(cards, list)
    assert all(each.keys() == {"card", "torch"} and "+" not in each["torch"] for each in cards)


def test_the_first_start_settles_auto_and_a_resumed_run_goes_on_in_its_mode(
    card: None, checked: None, tmp_path: Path
) -> None:
    config = tiny_config("train.device=auto")
    settled, (note,) = settle_measured(config, {}, tmp_path / "new")
    assert settled.train.cuda_graphs == "on" and "is on" in note
    for stored, expected in (("off", "off"), ("on", "on"), (None, "auto")):  # the last is of an earlier version
        values = as_values(config)
        values["train"] = {**values["train"], "cuda_graphs": stored}
        if stored is None:
            del values["train"]["cuda_graphs"]
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
        settled, (note,) = settle_measured(config, {}, tmp_path)
        assert settled.train.cuda_graphs == expected
        assert f"is {'on' if expected == 'on' else 'off'}, as at the first start" in note


def test_nothing_is_said_on_a_cpu_and_what_the_user_typed_stays(card: None, checked: None, tmp_path: Path) -> None:
    for overrides in (["train.device=cpu"], ["train.device=auto", "train.cuda_graphs=off"]):
        config = tiny_config(*overrides)
        assert settle_measured(config, {}, tmp_path) == (config, [])


def test_the_mode_is_part_of_the_identity_of_a_run() -> None:
    """Padding moves the draws of dropout. With `auto` a run has the folder that it had before there was a mode."""
    values = {setting: as_values(tiny_config(f"train.cuda_graphs={setting}")) for setting in ("auto", "on", "off")}
    assert len({digest(each) for each in values.values()}) == 3
    old = as_values(tiny_config())
    del old["train"]["cuda_graphs"]
    assert digest(old) == digest(values["auto"])


def set_up(*overrides: str) -> tuple[type, list[str]]:
    """The parts of a run on the CPU, and the notes about them."""

    def work() -> tuple[type, list[str]]:
        with temporary_folder() as folder:
            run = tiny_run(tiny_config(*overrides), folder)
            parts = mode.set_up_parts(run, run.cost_of_pass)
            return type(parts), [note for note in run.notes if "cuda_graphs" in note]

    return in_child(work)


def test_without_a_card_parts_run_as_they_come() -> None:
    assert set_up() == set_up("train.cuda_graphs=off") == (Parts, [])
    kind, (note,) = set_up("train.cuda_graphs=on")
    assert kind is Parts and "changes nothing here: the run is trained on cpu" in note


def test_what_cannot_be_replayed_is_named() -> None:
    def work() -> tuple[list[str], Any]:
        with temporary_folder() as folder:
            config = tiny_config("+tricks=[segments,accumulate,swa,focal]", "model.gradient_checkpointing=true")
            run = tiny_run(config, folder)
            parts = mode.make_padded_parts(run, run.cost_of_pass, FrozenRecorder(run.parameters))
            return run.notes, (parts.recorder, parts.plan.rows, len(parts.plan.recorded))

    notes, plan = in_child(work)
    note = next(note for note in notes if "cuda_graphs" in note)
    assert "launched kernel by kernel, since" in note
    assert all(f"{name}" in note for name in ("tricks.segments: ", "tricks.accumulate: ", "gradient_checkpointing"))
    assert "swa" not in note and "focal" not in note
    assert plan == (None, 1, 0)  # no row is added where memory is short


def test_mixup_of_hidden_states_says_that_it_cannot_be_replayed() -> None:
    def obstacles(level: str) -> list[str]:
        with temporary_folder() as folder:
            run = tiny_run(tiny_config("+tricks=[mixup]", f"tricks.mixup.level={level}"), folder)
            return list(mode._obstacles(run))

    assert in_child(lambda: obstacles("embedding")) == []
    assert "level=hidden" in in_child(lambda: obstacles("hidden"))[0]


def test_planned_shapes_are_those_of_the_run_and_no_others() -> None:
    """15 updates of a run with 6 updates an epoch, cut into parts as in training."""

    def work() -> tuple[Counter[Any], Counter[Any]]:
        with temporary_folder() as folder:
            run = tiny_run(tiny_config("train.max_updates=15"), folder)
            actual: Counter[Any] = Counter()

            class Watch(Parts):
                def run(self, part: Any, work: Any, seed: Any) -> Any:
                    actual[len(part), part.inputs["input_ids"].shape[1]] += 1
                    return super().run(part, work, seed)

            planned = mode.count_shapes(run, 10.0)
            run.cost_of_pass, run.graphs = 10.0, Watch()
            for number in range(15):
                run._step(run.seams.batches(run.train, number // 6)[number % 6])
            return planned, actual

    planned, actual = in_child(work)
    assert planned == actual and planned.total() > 15


@pytest.mark.slow
def test_a_whole_run_is_replayed_and_reports_it() -> None:
    """A run whose parts are replayed has the weights of one whose padded parts run, and a resumed plan is the same."""

    def train(is_replayed: bool) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
        with temporary_folder() as folder, pytest.MonkeyPatch.context() as patch:
            run = tiny_run(tiny_config("+tricks=[mixup,swa]", "train.max_updates=10", *UNSAVED), folder)

            def set_up_parts(*arguments: Any) -> PaddedParts:
                parts = mode.make_padded_parts(run, run.cost_of_pass, FrozenRecorder(run.parameters))
                return parts if is_replayed else PaddedParts(run, parts.plan, None)

            patch.setattr("recipes.loop.set_up_parts", set_up_parts)
            run.fit()
            assert isinstance(run.graphs, PaddedParts) and not run.graphs.replays
            return copy_weights(run), run.graphs.cost(), run.notes

    (one, eager, _), (other, replayed, notes) = (in_child(lambda mode=each: train(mode)) for each in (False, True))
    assert difference(one, other) == 0
    assert eager == {"graphs": False, "recordings": 0}
    assert replayed["graphs"] is True and 1 <= replayed["recordings"] <= 4
    assert any("are recorded and replayed" in note for note in notes)


@pytest.mark.parametrize(("layers", "width", "thousands"), [(12, 768, 16), (6, 384, 65)])
def test_small_layers_take_as_long_to_launch_as_many_tokens_to_compute(layers: int, width: int, thousands: int) -> None:
    """BERT-base and MiniLM, whose layers are a quarter as large."""
    with torch.device("meta"):
        config = BertConfig(hidden_size=width, num_hidden_layers=layers, intermediate_size=4 * width)
        model = BertForSequenceClassification(config)
    assert round(mode.launch_in_tokens(model) / 1000) == pytest.approx(thousands, rel=0.1)


@pytest.mark.slow
def test_a_replayed_run_that_is_killed_goes_on_as_it_would_have() -> None:
    """The plan is the same after each start, so the same parts are recorded and replayed."""
    config = tiny_config("+tricks=[fgm,swa]")

    def train(folder: Path, dies_at: int = 0) -> dict[str, Any]:
        with pytest.MonkeyPatch.context() as patch:
            run = tiny_run(config, folder, folder)
            kill_after(dies_at)

            def set_up_parts(*arguments: Any) -> PaddedParts:
                return mode.make_padded_parts(run, run.cost_of_pass, FrozenRecorder(run.parameters))

            patch.setattr("recipes.loop.set_up_parts", set_up_parts)
            run.fit()
            return {**copy_weights(run), "losses": np.array([line.get("loss") or 0.0 for line in run.history.read()])}

    with temporary_folder() as folder:
        for name in ("whole", "killed"):
            (folder / name).mkdir()
        whole = in_child(lambda: train(folder / "whole"))
        with pytest.raises(ChildProcessError):
            in_child(lambda: train(folder / "killed", dies_at=9))
        assert difference(whole, in_child(lambda: train(folder / "killed"))) == 0
