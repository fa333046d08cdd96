"""Ranges of settings: what is inside, and how problems are reported."""

import dataclasses

import pytest

from recipes.ranges import allowed, describe_field, is_allowed, make_settings, out_of_range


@dataclasses.dataclass
class Inner:
    fraction: float = allowed("(0, 1]")


@dataclasses.dataclass
class Outer:
    count: int = allowed("[1, inf)")
    word: str = allowed("best | last")
    optional: float | None = allowed("[0, 1)")
    inner: Inner = allowed("")
    free: bool = allowed("")
    mapping: dict[str, str] = allowed("")


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
def test_values_are_inside_or_outside_a_range(values: str, inside: list[object], outside: list[object]) -> None:
    assert [value for value in inside if not is_allowed(value, values)] == []
    assert [value for value in outside if is_allowed(value, values)] == []


def test_every_field_out_of_range_is_reported_with_its_path() -> None:
    settings = Outer(count=0, word="worst", optional=1.0, inner=Inner(fraction=0.0), free=True, mapping={})
    assert list(out_of_range(settings, "train.")) == [
        "train.count must be an integer in [1, inf), got 0.",
        "train.word must be one of best | last, got worst.",
        "train.optional must be a number in [0, 1) or null, got 1.0.",
        "train.inner.fraction must be a number in (0, 1], got 0.0.",
    ]


def test_null_is_in_every_range() -> None:
    assert not list(out_of_range(Outer(1, "best", None, Inner(1.0), False, {}), ""))


def test_fields_are_described_in_words() -> None:
    descriptions = {item.name: describe_field(item) for item in dataclasses.fields(Outer)}
    assert descriptions == {
        "count": "an integer in [1, inf)",
        "word": "one of best | last",
        "optional": "a number in [0, 1) or null",
        "inner": "settings of its own, such as inner.fraction=<value>",
        "free": "true or false",
        "mapping": "a mapping",
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
    instance, problems = make_settings(Settings, {"alpha": 1, "steps": 2, "note": None}, "tricks.x")
    assert problems == []
    assert instance == Settings(alpha=1.0, steps=2, note=None)
    assert type(instance.alpha) is float


def test_unknown_missing_and_mistyped_values_are_reported_together() -> None:
    values = {"alhpa": 1, "steps": 1.5, "note": "???"}
    instance, problems = make_settings(Settings, values, "tricks.x")
    assert instance is None
    assert problems == [
        "tricks.x.alhpa does not exist; did you mean alpha? There are: alpha, note, steps.",
        "tricks.x.steps must be an integer in [1, inf), got 1.5.",
        "tricks.x.alpha has no value; set it in the YAML file that selects it.",
        "tricks.x.note has no value; set it in the YAML file that selects it.",
    ]


def test_all_values_out_of_range_are_reported_together() -> None:
    instance, problems = make_settings(Settings, {"alpha": 0, "steps": 0, "note": "x"}, "tricks.x")
    assert instance is None
    assert problems == [
        "tricks.x.alpha must be a number in (0, inf), got 0.0.",
        "tricks.x.steps must be an integer in [1, inf), got 0.",
    ]


def test_null_is_refused_where_a_value_is_required() -> None:
    instance, problems = make_settings(Settings, {"alpha": None, "steps": 1, "note": None}, "tricks.x")
    assert instance is None
    assert problems == ["tricks.x.alpha must be a number in (0, inf), got null."]
