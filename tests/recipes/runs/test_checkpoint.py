"""Checkpoint files, and which of them a run keeps and reads."""

import json
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from recipes.errors import UserError
from recipes.runs.checkpoint import Checkpoints, _checksum, inside, read, write
from recipes.runs.history import History
from recipes.state import capture, flatten_optimizer, restore, restore_optimizer
from recipes.testing import in_child, tiny_config, tiny_run
from tests.sampling import slow

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3, dtype=torch.int64), "empty": torch.zeros(0)}


def are_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.bool]
)
def test_a_file_is_read_as_it_was_written(dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = {**WEIGHTS, "c": torch.tensor([[1.5, 0.0], [-2.25, 1.0]]).to(dtype)}
    write(tmp_path / "a.safetensors", tensors, {"updates": 3, "best": None, "名": [1.5]})
    checkpoint = read(tmp_path / "a.safetensors")
    assert checkpoint is not None
    assert are_equal(checkpoint[0], tensors)
    assert checkpoint[1] == {"updates": 3, "best": None, "名": [1.5]}


def test_tensors_that_share_memory_are_written_separately(tmp_path: Path) -> None:
    shared = torch.arange(4.0)
    write(
        tmp_path / "a.safetensors",
        {"one": shared, "two": shared, "part": shared[:2], "turned": shared.view(2, 2).T},
        {},
    )
    checkpoint = read(tmp_path / "a.safetensors")
    assert checkpoint is not None
    assert are_equal(
        checkpoint[0],
        {"one": shared, "two": shared, "part": shared[:2], "turned": torch.tensor([[0.0, 2.0], [1.0, 3.0]])},
    )


@pytest.mark.parametrize("where", ["header", "tensors", "last"])
def test_a_changed_byte_is_noticed(where: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write(path, WEIGHTS, {})
    content = bytearray(path.read_bytes())
    content[{"header": 12, "tensors": len(content) - 10, "last": len(content) - 1}[where]] ^= 1
    path.write_bytes(content)
    assert read(path) is None


@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_file_is_noticed(fraction: float, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write(path, WEIGHTS, {})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    assert read(path) is None


def test_tensors_under_each_other_s_names_are_noticed(tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    one, other = torch.zeros(3), torch.ones(3)
    path = tmp_path / "a.safetensors"
    write(path, {"one": one, "other": other}, {})
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    save_file({"one": other, "other": one}, path, metadata=header)
    assert read(path) is None
    save_file({"onf": one, "other": other}, path, metadata=header)
    assert read(path) is None
    save_file({"one": one, "other": other}, path)
    assert read(path) is None


def test_a_missing_file_is_none() -> None:
    assert read(Path("nowhere.safetensors")) is None


def test_a_folder_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a file stands where a folder should be"):
        write(tmp_path / "file" / "a.safetensors", WEIGHTS, {})


def test_the_newest_checkpoints_and_the_best_weights_stay(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save_best(3, WEIGHTS)
    for updates in (9, 10, 100, 1000):
        checkpoints.save(updates, {"a": torch.tensor([float(updates)])}, {"updates": updates})
    assert [path.stem for path in checkpoints.all()] == ["00000100", "00001000"]
    tensors, counters, notes = checkpoints.newest(History(tmp_path / "history.jsonl"))
    assert tensors is not None
    assert (tensors["a"].item(), counters, notes) == (1000.0, {"updates": 1000}, [])
    assert are_equal(checkpoints.best(), WEIGHTS)


def test_a_damaged_checkpoint_is_skipped_with_a_note(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=3)
    for updates in (1, 2, 3):
        checkpoints.save(updates, {"a": torch.tensor([float(updates)])}, {"updates": updates})
    for updates in (2, 3):
        path = tmp_path / f"{updates:08d}.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
    tensors, counters, notes = checkpoints.newest(History(tmp_path / "history.jsonl"))
    assert counters == {"updates": 1}
    assert notes == [
        f"checkpoint {updates:08d}.safetensors is damaged and was removed; going on from the one before."
        for updates in (3, 2)
    ]
    assert [path.stem for path in checkpoints.all()] == ["00000001"]


def test_without_an_undamaged_checkpoint_newest_gives_none(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "none", keep=1)
    assert checkpoints.newest(History(tmp_path / "history.jsonl")) == (None, {}, [])
    with pytest.raises(UserError, match=r"best\.safetensors is damaged or missing; start over with resume=false\."):
        checkpoints.best()
    checkpoints.save(1, WEIGHTS, {})
    (tmp_path / "none" / "00000001.safetensors").write_bytes(b"")
    tensors, counters, notes = checkpoints.newest(History(tmp_path / "history.jsonl"))
    assert (tensors, counters, len(notes)) == (None, {}, 1)


def test_a_file_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    counters = json.dumps({"updates": 3})
    header = {"counters": counters, "checksum": str(_checksum(WEIGHTS, counters))}
    save_file(WEIGHTS, tmp_path / "00000003.safetensors", metadata=header)
    tensors, counters_read, notes = Checkpoints(tmp_path, keep=1).newest(History(tmp_path / "history.jsonl"))
    assert tensors is not None and are_equal(tensors, WEIGHTS)
    assert (counters_read, notes) == ({"updates": 3}, [])


def test_equal_contents_make_equal_bytes(tmp_path: Path) -> None:
    for number in range(8):
        write(tmp_path / str(number), WEIGHTS, {"a": 1, "b": [2]})
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def save_with_history(folder: Path, updates: int) -> tuple[Checkpoints, History]:
    """A checkpoint after each update, with the mark of a line of the history for each of them."""
    checkpoints, history = Checkpoints(folder, keep=9), History(folder / "history.jsonl")
    for number in range(1, updates + 1):
        history.append([{"update": number}])
        checkpoints.save(number, {"a": torch.tensor([float(number)])}, {"history": history.mark()})
    return checkpoints, history


@pytest.mark.parametrize(("damage_of", "usable"), [(3, 2), (2, 1)])
def test_a_checkpoint_whose_history_is_damaged_is_skipped_with_a_note(
    damage_of: int, usable: int, tmp_path: Path
) -> None:
    checkpoints, history = save_with_history(tmp_path, 3)
    lines = history.path.read_text().splitlines(keepends=True)
    lines[damage_of - 1] = '{"update": 7}\n'
    history.path.write_text("".join(lines))
    tensors, counters, notes = checkpoints.newest(history)
    assert tensors is not None and tensors["a"].item() == usable
    assert [path.stem for path in checkpoints.all()] == [f"{number:08d}" for number in range(1, usable + 1)]
    assert len(notes) == 3 - usable
    assert "history.jsonl is damaged before the end of checkpoint 00000003.safetensors" in notes[0]
    history.go_back(counters["history"])
    assert history.read() == [{"update": number} for number in range(1, usable + 1)]


@pytest.mark.parametrize("text", ["", '{"update": 9}\n', "half of"])
def test_a_history_that_fits_no_checkpoint_is_refused_and_nothing_is_removed(text: str, tmp_path: Path) -> None:
    checkpoints, history = save_with_history(tmp_path, 2)
    history.path.write_text(text)
    with pytest.raises(UserError, match=r"history\.jsonl is damaged before the end of every checkpoint\. Restore"):
        checkpoints.newest(history)
    history.path.unlink()
    with pytest.raises(UserError, match="damaged before the end of every checkpoint"):
        checkpoints.newest(history)
    assert len(checkpoints.all()) == 2


def test_best_weights_are_usable_if_the_run_has_made_or_will_repeat_them(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    assert not checkpoints.has_best(update=6, position=8)
    checkpoints.save_best(6, WEIGHTS)
    assert checkpoints.has_best(update=6, position=8)
    assert not checkpoints.has_best(update=4, position=8)  # update 6 is neither the best one nor repeated
    checkpoints.save_best(9, WEIGHTS)
    assert checkpoints.has_best(update=6, position=8)
    assert not checkpoints.has_best(update=6, position=9)


def take_steps(optimizer: torch.optim.Optimizer, weight: torch.Tensor, count: int) -> None:
    for number in range(count):
        weight.grad = torch.full_like(weight, 0.5 + number)
        optimizer.step()


@pytest.mark.parametrize("fused", [True, slow(False)])
def test_a_restored_optimizer_goes_on_as_the_old_one(fused: bool, tmp_path: Path) -> None:
    uninterrupted = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.AdamW([uninterrupted], lr=0.1, fused=fused)
    take_steps(optimizer, uninterrupted, 3)
    write(
        tmp_path / "a.safetensors",
        {f"optimizer.{name}": each for name, each in flatten_optimizer(optimizer).items()},
        {},
    )
    resumed = uninterrupted.detach().clone().requires_grad_()
    take_steps(optimizer, uninterrupted, 2)

    checkpoint = read(tmp_path / "a.safetensors")
    assert checkpoint is not None
    new_optimizer = torch.optim.AdamW([resumed], lr=0.1, fused=fused)
    restore_optimizer(new_optimizer, inside(checkpoint[0], "optimizer."))
    take_steps(new_optimizer, resumed, 2)
    assert torch.equal(resumed, uninterrupted)


def test_an_optimizer_before_its_first_step_has_no_tensors() -> None:
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.AdamW([weight])
    assert flatten_optimizer(optimizer) == {}
    restore_optimizer(optimizer, {})
    take_steps(optimizer, weight, 1)


def test_inside_selects_by_prefix_and_removes_it() -> None:
    tensors = {"model.a": WEIGHTS["a"], "models.a": WEIGHTS["b"], "model.model.b": WEIGHTS["b"]}
    assert list(inside(tensors, "model.")) == ["a", "model.b"]


@pytest.mark.parametrize("trick", ["ema", "swa"])
def test_tensors_of_tricks_are_restored_on_the_training_device(trick: str, tmp_path: Path) -> None:
    def restore_devices() -> set[str]:
        start = ["tricks.swa.start=0"] if trick == "swa" else []
        run = tiny_run(tiny_config(f"+tricks=[{trick}]", *start), tmp_path)
        run._step(run.seams.batches(run.train, 0)[0])
        Accelerator.device = torch.device("meta")
        restore(run, *capture(run))
        return {each.device.type for each in run.tricks[trick].state().values() if isinstance(each, torch.Tensor)}

    assert in_child(restore_devices) == {"meta"}
