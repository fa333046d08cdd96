"""A fused and a linear run are refused with what to do; any other passes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recipes.errors import UserError
from recipes.export import kinds
from recipes.export.kinds import refuse_other_kinds


def make_run(source: str, tmp_path: Path) -> Any:
    return SimpleNamespace(folder=tmp_path, config={"model": {"source": source}})


def test_a_transformer_passes_and_a_linear_model_is_refused(tmp_path: Path) -> None:
    refuse_other_kinds(make_run("minilm", tmp_path), "export", "")
    with pytest.raises(UserError, match=r"linear model of scikit-learn, which has no graph\.$"):
        refuse_other_kinds(make_run("linear", tmp_path), "export", "which has no graph.")


def test_the_members_of_a_fused_run_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds.ensemble, "read", lambda folder: SimpleNamespace(weights={"members/1": 1.0}))
    with pytest.raises(UserError, match=r"fused from 1 runs; publish each of them: '.*members/1'\.$"):
        refuse_other_kinds(make_run("minilm", tmp_path), "publish", "")
