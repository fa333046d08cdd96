from pathlib import Path

import datasets
import pytest

from recipes.data.cache import cache_folder


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRICKBOOK_CACHE", "/somewhere")
    assert cache_folder() == Path("/somewhere/trickbook")
    monkeypatch.delenv("TRICKBOOK_CACHE")
    assert cache_folder() == Path(datasets.config.HF_DATASETS_CACHE) / "trickbook"
