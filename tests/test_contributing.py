"""CONTRIBUTING.md: its examples run, its files exist, and its commands select something."""

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from recipes.doctor import registry
from recipes.doctor.findings import CheckResult
from recipes.testing import in_child, tiny_config, train_tiny

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
YAML = [text for language, text in BLOCKS if language == "yaml"]
PYTHON = [text for language, text in BLOCKS if language == "python"]
NAME = "tricks.in_training.confidence_penalty"


def load_example() -> ModuleType:
    """Import the trick of the page as the module that its YAML file names."""
    module = ModuleType(NAME)
    sys.modules[NAME] = module
    exec(compile(PYTHON[0], "CONTRIBUTING.md", "exec"), module.__dict__)
    return module


def test_the_page_has_its_examples() -> None:
    assert len(YAML) == 1 and len(PYTHON) == 4


@pytest.mark.slow
def test_the_trick_trains(tmp_path: Path) -> None:
    path = tmp_path / "conf" / "tricks" / "confidence_penalty.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(YAML[0], encoding="utf-8")

    def losses(*overrides: str) -> list[float]:
        load_example()
        search = f"hydra.searchpath=[{tmp_path / 'conf'}]"
        return train_tiny(tiny_config(search, "train.max_updates=3", *overrides))["losses"]  # type: ignore[no-any-return]

    plain = in_child(losses)
    off, on = (
        in_child(
            lambda value=value: losses("+tricks=[confidence_penalty]", f"tricks.confidence_penalty.strength={value}")
        )
        for value in (0, 0.1)
    )
    assert off == plain
    # A new head of three classes knows nothing: its entropy is nearly log 3.
    assert on[0] == pytest.approx(plain[0] - 0.1 * np.log(3), abs=1e-3)


def test_the_test_of_the_trick_passes() -> None:
    def run_tests() -> int:
        load_example()
        space: dict[str, Any] = {"__name__": "test_confidence_penalty"}
        exec(compile(PYTHON[1], "CONTRIBUTING.md", "exec"), space)
        tests = [value for name, value in space.items() if name.startswith("test_")]
        for test in tests:
            test()
        return len(tests)

    assert in_child(run_tests) == 3


def test_the_check_warns() -> None:
    def run_check(*texts: str) -> CheckResult:
        imports = "import re\nfrom recipes.doctor.registry import check\nfrom recipes.doctor.subject import Subject\n"
        imports += "from recipes.doctor.findings import CheckResult\n"
        exec(compile(imports + PYTHON[2], "CONTRIBUTING.md", "exec"), {"__name__": "example"})
        rows = Dataset.from_dict({"id": [str(row) for row in range(len(texts))], "text": list(texts)})
        subject: Any = SimpleNamespace(original_rows=rows, config=SimpleNamespace(data=SimpleNamespace(text="url")))
        added = registry.CHECKS[-1]
        result = CheckResult(added.section, added.name, added.description)
        added.function(subject, result)
        return result

    texts = ("a text", "see https://example.org", " https://example.org/1 ")
    outcome, findings = in_child(lambda: (run_check(*texts).outcome, run_check(*texts).findings))
    assert outcome == "warning" and findings[0].check == "web_addresses" and findings[0].rows == ["2"]
    assert in_child(lambda: run_check(*texts[:2]).outcome) == "ok"
    # The planted fault names the check, and part of its message.
    assert f'"{findings[0].check}"' in PYTHON[3] and '"a web address and nothing else"' in PYTHON[3]
    assert "a web address and nothing else" in findings[0].message


def test_its_files_exist() -> None:
    paths = set(re.findall(r"(?:conf|docs|recipes|scripts|tests|tricks)/[\w/]+\.(?:py|yaml|md)", PAGE))
    absent = {name for name in paths if not (ROOT / name).exists()}
    assert len(paths) > 20
    assert {name for name in absent if "confidence_penalty" not in name} == set()


def test_its_names_exist() -> None:
    """Each pair is in one sentence of the page, and a reader looks for the name in the file."""
    pairs = {
        "recipes/seams.py": ("SEAMS", "STAGES", "PREDICTING"),
        "recipes/trick.py": ("Seams", "PredictionSeams"),
        "recipes/base.py": ("training_seams", "prediction_seams"),
        "recipes/testing.py": ("test_restore",),
        "recipes/commands/tricks.py": ("INSIDE",),
        "recipes/commands/__init__.py": ("COMMANDS",),
        "recipes/commands/arguments.py": ("make_parser",),
        "recipes/data/formats.py": ("FORMATS", "SEPARATORS"),
        "recipes/data/records.py": ("records", "Record"),
        "recipes/data/pieces.py": ("write_piece", "join_pieces"),
        "tests/test_laws.py": ("TRICKS",),
        "tests/recipes/doctor/faults/test_faults.py": ("Fault",),
    }
    for path, names in pairs.items():
        source = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).exists() else ""
        for name in names:
            assert f"`{name}`" in PAGE, name
            assert re.search(rf"^(?:\s*(?:class|def) )?{name}\b|^ +{name},$", source, re.MULTILINE), (path, name)
