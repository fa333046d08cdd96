import dataclasses

import pytest
from omegaconf import OmegaConf

from recipes.ranges import allowed, describe_field, instantiate, is_allowed, out_of_range


@dataclasses.dataclass
class Inner:
    share: float = allowed("(0, 1]")


@dataclasses.dataclass
class Outer:
    count: int = allowed("[1, inf)")
    word: str = allowed("best | last")
    perhaps: float | None = allowed("[0, 1)")
    inner: Inner = allowed("")
    free: bool = allowed("")
    named: dict[str, str] = allowed("")


@pytest.mark.parametrize(
    ("values", "inside", "outside"),
    [
        ("(0, 1]", [0.001, 1, 1.0], [0, 1.001, -1, float("nan"), "0.5"]),
        ("[0, 1)", [0, 0.999], [1, -0.001]),
        ("[1, inf)", [1, 10**12], [0, float("inf")]),
        ("best | last", ["best", "last"], ["Best", "best ", ""]),
        ("", [None, 1, "x"], []),
    ],
)
def test_what_is_inside(values: str, inside: list[object], outside: list[object]) -> None:
    assert [value for value in inside if not is_allowed(value, values)] == []
    assert [value for value in outside if is_allowed(value, values)] == []


def test_every_field_out_of_range_is_told_with_its_path() -> None:
    settings = Outer(count=0, word="worst", perhaps=1.0, inner=Inner(share=0.0), free=True, named={})
    assert list(out_of_range(settings, "train.")) == [
        "train.count must be an integer in [1, inf), got 0.",
        "train.word must be one of best | last, got worst.",
        "train.perhaps must be a number in [0, 1) or null, got 1.0.",
        "train.inner.share must be a number in (0, 1], got 0.0.",
    ]


def test_null_is_in_every_range() -> None:
    assert not list(out_of_range(Outer(1, "best", None, Inner(1.0), False, {}), ""))


def test_a_field_in_words() -> None:
    told = {item.name: describe_field(item) for item in dataclasses.fields(Outer)}
    assert told == {
        "count": "an integer in [1, inf)",
        "word": "one of best | last",
        "perhaps": "a number in [0, 1) or null",
        "inner": "Inner",
        "free": "true or false",
        "named": "a mapping",
    }


@dataclasses.dataclass
class Settings:
    alpha: float = allowed("(0, inf)")
    steps: int = allowed("[1, inf)")
    note: str | None = allowed("")

    def __post_init__(self) -> None:
        if problems := list(out_of_range(self, "")):
            raise ValueError("\n".join(problems))


def test_values_become_an_instance_of_the_class() -> None:
    found, problems = instantiate(Settings, OmegaConf.create({"alpha": 1, "steps": 2, "note": None}), "tricks.x")
    assert problems == []
    assert found == Settings(alpha=1.0, steps=2, note=None)
    assert type(found.alpha) is float


def test_every_wrong_value_is_told_at_once() -> None:
    values = OmegaConf.create({"alhpa": 1, "steps": 1.5, "note": "???"})
    found, problems = instantiate(Settings, values, "tricks.x")
    assert found is None
    assert problems == [
        "tricks.x.alhpa does not exist; did you mean alpha? There are: alpha, note, steps.",
        "tricks.x.steps must be an integer in [1, inf), got 1.5.",
        "tricks.x.alpha has no value; set it in the YAML file that selects it.",
        "tricks.x.note has no value; set it in the YAML file that selects it.",
    ]


def test_every_value_out_of_range_is_told_at_once() -> None:
    found, problems = instantiate(Settings, OmegaConf.create({"alpha": 0, "steps": 0, "note": "x"}), "tricks.x")
    assert found is None
    assert problems == [
        "tricks.x.alpha must be a number in (0, inf), got 0.0.",
        "tricks.x.steps must be an integer in [1, inf), got 0.",
    ]


def test_null_where_there_must_be_a_value() -> None:
    found, problems = instantiate(Settings, OmegaConf.create({"alpha": None, "steps": 1, "note": None}), "tricks.x")
    assert found is None
    assert problems == ["tricks.x.alpha must be a number in (0, inf), got null."]
