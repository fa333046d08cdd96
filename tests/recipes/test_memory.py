"""A limit on memory: what may be asked for, and when it is said to be passed."""

import pytest

from recipes.errors import UserError
from recipes.memory import in_bytes, in_use, limit


@pytest.mark.parametrize(("told", "wanted"), [("0.5", 500), ("1", 1000), ("2GB", 2 * 10**9), ("1.5 KiB", 1536)])
def test_a_share_or_bytes(told: str, wanted: int) -> None:
    assert in_bytes(told, 1000) == wanted


@pytest.mark.parametrize("wrong", ["0", "-1", "many", "3 bananas"])
def test_neither(wrong: str) -> None:
    with pytest.raises(UserError, match=f"--memory-limit={wrong}: give a share above 0"):
        in_bytes(wrong, 1000)


def test_what_is_held_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    with limit(str(in_use() + 2**30)) as check:
        check("lower it")
        monkeypatch.setattr("recipes.memory.in_use", lambda: 2**50)
        with pytest.raises(UserError, match=r"1,073,741,824 MB are held, [\d,]+ MB allowed; lower it\."):
            check("lower it")
    with limit(None) as check:
        check("lower it")


def test_less_than_the_program_takes() -> None:
    with (
        pytest.raises(UserError, match="that is what the program takes before it has read a row: allow more"),
        limit("1MB"),
    ):
        pass
