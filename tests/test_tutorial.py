"""The tutorial notebook: small, without paths of a machine, and it runs as it stands."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs" / "tutorial.ipynb"
CELLS: list[dict[str, Any]] = json.loads(TUTORIAL.read_text(encoding="utf-8"))["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]
# Control characters of a terminal: a bar that was drawn again and again.
CONTROL = "\x1b["


def texts_of(cells: list[Any]) -> str:
    """What code cells have printed."""
    outputs = [output for cell in cells for output in cell["outputs"] if output["output_type"] == "stream"]
    return "".join("".join(output["text"]) for output in outputs)


def test_its_outputs_are_small_and_of_no_machine() -> None:
    text = TUTORIAL.read_text(encoding="utf-8")
    assert len(text) < 50_000 and len(CODE) >= 10
    assert not re.search(r"/(root|home|tmp|Users)/", text) and CONTROL not in texts_of(CODE)
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    assert not [cell for cell in CODE if any(output["output_type"] == "error" for output in cell["outputs"])]


def test_its_links_lead_to_pages() -> None:
    prose = "".join("".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "markdown")
    links = re.findall(r"\]\(([^)]+)\)", prose)
    assert len(links) >= 4 and all((TUTORIAL.parent / link).exists() for link in links)


@pytest.mark.slow
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    # The kernel is another process, which finds the checkout.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(TUTORIAL, 4)
    for cell in notebook.cells:
        cell.pop("outputs", None)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    (trains,) = [cell for cell in cells if cell.source.startswith("run = recipes.finetune")]
    assert len(texts_of([trains]).splitlines()) < 40 and CONTROL not in texts_of(cells)
    assert "against the linear baseline" in str(trains.outputs)
