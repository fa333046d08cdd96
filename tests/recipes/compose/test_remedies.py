"""Remedies come from all tricks that are not selected, third-party ones too, under the names that select them."""

import importlib
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from recipes import Trick
from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.compose.remedies import available_tricks, remedies_for
from recipes.compose.trust import trusting
from recipes.config import CONF
from recipes.findings import FINDINGS, values_in
from recipes.testing import in_child, names
from tests.sampling import slow

Write = Callable[[str, str | bytes], Path]
THEIRS = """
from dataclasses import dataclass

from recipes import Trick


@dataclass
class Theirs(Trick):
    neutral = "it is for a test only"
    remedies = {"duplicates": "+tricks=[{name}] merges them", "batch_out_of_memory": "{name} takes {rows}"}
"""


@pytest.fixture
def folder(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A third party's config folder, with its module on the import path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    write("someone_else.py", THEIRS)
    write("conf/tricks/merge.yaml", "# @package tricks.merge\n_target_: someone_else.Theirs\n")
    compose_config([], str(tmp_path / "conf"))
    return tmp_path


def test_every_trick_is_available() -> None:
    compose_config([])
    assert [name for name, _, _ in available_tricks()] == names()


def test_every_finding_has_a_remedy_and_every_remedy_a_finding() -> None:
    compose_config([])
    assert {finding for _, _, trick in available_tricks() for finding in trick.remedies} == set(FINDINGS)
    for finding, meaning in FINDINGS.items():
        values = dict.fromkeys(values_in(meaning), 7)
        for remedy in remedies_for(finding, {}, **values):
            assert "tricks=[" in remedy and "{" not in remedy


def test_a_third_party_s_trick_is_offered_next_to_ours(folder: Path) -> None:
    assert remedies_for("duplicates", {}) == ["+tricks=[deduplicate]", "+tricks=[merge] merges them"]
    assert "merge takes 3" in remedies_for("batch_out_of_memory", {}, rows=3)
    compose_config([])
    assert remedies_for("duplicates", {}) == ["+tricks=[deduplicate]"]


def test_a_trick_of_another_search_path_is_offered_only_if_it_is_trusted(folder: Path) -> None:
    compose_config([f"hydra.searchpath=[{folder / 'conf'}]"])
    assert remedies_for("duplicates", {}) == ["+tricks=[deduplicate]"]
    with trusting(["someone_else.Theirs"]):
        assert remedies_for("duplicates", {}) == ["+tricks=[deduplicate]", "+tricks=[merge] merges them"]


def test_a_selected_trick_is_not_offered_under_another_name(folder: Path) -> None:
    assert remedies_for("duplicates", {"merge": {}}) == ["+tricks=[deduplicate]"]
    shutil.copy(CONF / "tricks" / "deduplicate.yaml", folder / "conf" / "tricks" / "drop_twins.yaml")
    remedies = remedies_for("duplicates", {})
    assert remedies == ["+tricks=[deduplicate]", "+tricks=[drop_twins]", "+tricks=[merge] merges them"]
    on = {"drop_twins": {"_target_": "tricks.pre_training.deduplicate.Deduplicate"}}
    assert remedies_for("duplicates", on) == ["+tricks=[merge] merges them"]


def selection(*names: str) -> dict[str, dict[str, Any]]:
    """The settings of these tricks, as a config has them."""
    composed, _ = compose_config([f"+tricks=[{','.join(names)}]"])
    return dict(read(composed).tricks)


@pytest.mark.parametrize("selected", [slow("segments"), "sliding_window"])
def test_a_trick_that_a_selected_one_excludes_is_not_offered(selected: str) -> None:
    assert remedies_for("cut_texts", {}) and remedies_for("label_in_cut_part", {})
    assert [remedies_for(name, selection(selected)) for name in ("cut_texts", "label_in_cut_part", "long_texts")] == [
        [],
        [],
        [],
    ]


def test_windows_are_not_offered_next_to_mixing() -> None:
    assert not [each for each in remedies_for("long_texts", selection("mixup")) if "sliding_window" in each]


@pytest.mark.parametrize("selected", ["logit_adjustment", "class_weights", "balanced_batches"])
def test_class_imbalance_is_corrected_once(selected: str) -> None:
    assert remedies_for("class_imbalance", selection(selected)) == []
    assert len(remedies_for("class_imbalance", {})) == 3


@pytest.mark.parametrize(
    "text",
    [
        "_target_: nowhere.Thing\n",
        slow("_target_: someone_else.missing\n"),
        slow("_target_: breaks_on_import.Thing\n"),
        slow("_target_: pathlib.Path\n"),
        "_target_: ''\n",
        slow("_target_: 3\n"),
        slow("values: 1\n"),
        slow("- a\n"),
        "a: [\n",
        slow(""),
    ],
)
def test_a_file_that_is_no_trick_is_ignored(folder: Path, write: Write, text: str) -> None:
    write("breaks_on_import.py", "raise SystemError('no')\n")
    write("conf/tricks/aside.yaml", text)
    assert remedies_for("duplicates", {}) == ["+tricks=[deduplicate]", "+tricks=[merge] merges them"]


def test_trick_classes_are_imported_only_when_remedies_are_requested() -> None:
    def import_ours_again() -> tuple[list[str], bool]:
        for name in [name for name in sys.modules if name.split(".")[0] in ("recipes", "tricks")]:
            del sys.modules[name]
        importlib.import_module("recipes.pipeline")
        imported = [name for name in sys.modules if name.startswith("tricks.")]
        assert importlib.import_module("recipes.compose.remedies").remedies_for("duplicates", {})
        return imported, "tricks.pre_training.deduplicate" in sys.modules

    assert in_child(import_ours_again) == ([], True)


def define_trick(**members: Any) -> type[Trick]:
    return dataclass(type("ManyWords", (Trick,), members))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"remedies": {"duplicate": "x"}}, "ManyWords: there is no finding 'duplicate'; did you mean duplicates?"),
        ({"remedies": {"duplicates": "{rows} of {name}"}}, r"the remedy for duplicates has no value \['rows'\]"),
        ({"control": "duplicate"}, r"ManyWords: there is no control \['duplicate'\], only \['more_rows'"),
        ({"controls": {"fewer_rows": "x"}}, r"ManyWords: there is no control \['fewer_rows'\]"),
        ({"__annotations__": {"name": str}}, "ManyWords: name is what the trick is selected by"),
        ({"name": "x"}, "ManyWords: name is what the trick is selected by"),
    ],
)
def test_unknown_findings_values_and_controls_are_refused(members: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        define_trick(**members)


def test_a_remedy_may_use_the_finding_s_values() -> None:
    assert define_trick(remedies={"batch_out_of_memory": "{name} {rows}"}).name == "many_words"
