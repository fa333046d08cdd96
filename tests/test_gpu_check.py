"""scripts/gpu_check.py: which sections there are, what a section may do to the page, and a rehearsal on the CPU."""

import ast
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from recipes.errors import UserError
from recipes.testing import in_child
from scripts import gpu_check

ROOT = Path(__file__).parents[1]
SECTIONS = sorted(path for path in gpu_check.FOLDER.glob("*.py") if path.stem != "work")


@pytest.mark.parametrize("path", SECTIONS, ids=lambda path: str(path.stem))
def test_a_section_has_a_title_and_describes_itself_within_its_seconds(path: Path) -> None:
    functions = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)]
    (describe,) = [each for each in functions if each.name == "describe"]
    assert [argument.arg for argument in describe.args.args] == ["seconds"]
    assert 10 < len(gpu_check.read_title(path.stem)) < 100


def test_an_unknown_section_is_refused() -> None:
    with pytest.raises(UserError, match="there is no section fast; the sections are .*laws"):
        gpu_check.read_arguments(["fast", "--device", "cpu"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_command_says_what_to_do() -> None:
    with pytest.raises(UserError, match="finds no GPU on this machine; --device cpu"):
        gpu_check.read_arguments([])


@pytest.mark.parametrize(
    ("body", "fails", "shown"),
    [
        ("yield 'passed: it holds'", False, "passed: it holds"),
        ("yield '**FAILED**: it does not'", True, "**FAILED**: it does not"),
        ("yield str(1 / 0)", True, "ZeroDivisionError"),
        ("import time; yield 'begun'; time.sleep(60)", True, "**FAILED**: the section was ended by signal 9"),
    ],
)
def test_a_section_that_fails_is_named_and_the_others_go_on(
    body: str, fails: bool, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each section is a process, here a short one in place of the command itself."""
    for name, line in (("first", body), ("second", "yield 'second line'")):
        source = f'"""Title of {name}."""\n\n\ndef describe(seconds):\n    {line}\n'
        (tmp_path / f"{name}.py").write_text(source)
    (tmp_path / "command.py").write_text(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from importlib import import_module\n"
        "for line in import_module(sys.argv[1]).describe(1.0): print(line, flush=True)\n"
    )
    monkeypatch.setattr(gpu_check, "FOLDER", tmp_path)
    monkeypatch.setattr(gpu_check, "__file__", str(tmp_path / "command.py"))
    monkeypatch.setattr(gpu_check, "GRACE", 2.0)
    failed: list[str] = []
    arguments = Namespace(sections=["first", "second"], device="cpu", seconds=2, data=None)
    page = "\n".join(gpu_check.make_page(arguments, failed))
    assert failed == (["first"] if fails else [])
    assert shown in page and "## Title of first" in page and "second line" in page
    assert page.endswith("**FAILED**: first" if fails else "All checks passed.")


def test_packed_gradients_are_the_padded_ones() -> None:
    """Attention over real tokens only, with a dummy sequence, against the padded batch."""

    def work() -> list[str]:
        from scripts.gpu import long_text, work

        work.DEVICE = "cpu"
        torch.set_num_threads(1)
        long_text.AttentionInterface.register("packed", long_text.attend)
        return list(long_text.check_gradients())

    (line,) = in_child(work)
    assert line.startswith("passed: packed gradients differ from padded ones by "), line
    assert float(line.split(" by ")[1].split()[0]) < 1e-5


@pytest.mark.slow
def test_the_page_can_be_rehearsed_on_a_cpu(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    command = [sys.executable, "scripts/gpu_check.py", "--device", "cpu", "--seconds", "400", "--output", str(page)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    text = page.read_text(encoding="utf-8")
    assert all(f"## {gpu_check.read_title(path.stem)}" in text for path in SECTIONS)
    assert text.rstrip().endswith("All checks passed.") and "**FAILED**" not in text


def test_the_fastest_number_of_processes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from scripts.gpu import processes, work

    def describe(device: str, measured: dict[int, float]) -> list[str]:
        monkeypatch.setattr(work, "DEVICE", device)
        monkeypatch.setattr(processes, "measure", lambda seconds: measured.items())
        return list(processes.describe(1.0))

    page = describe("cuda", {1: 3.0, 2: 5.6, 4: 11.2})
    assert "| 4 | 11.20 | 2.80 |" in page and "Left out for lack of time: 8 processes." in page
    assert page[-1].startswith("passed: 2 at a time are fastest: 1.07 times as fast as one, 1.00 times as 4")
    slow = describe("cuda", {1: 4.0, 2: 6.0, 4: 8.0, 8: 8.0})
    assert slow[-1] == "**FAILED**: 8 at a time are fastest: 4.00 times as fast as one, 2.00 times as 4."
    assert describe("cpu", {1: 4.0, 2: 4.0})[-1].startswith("2 at a time are fastest")
