"""Ranges of settings: what is inside, and how problems are reported."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from omegaconf import OmegaConf

from recipes.compose.overrides import compose_config
from recipes.compose.reading import read
from recipes.compose.tricks import build
from recipes.config import CONF
from recipes.ranges import (
    advised_fields,
    allowed,
    describe_field,
    ends,
    is_allowed,
    make_settings,
    out_of_range,
    outside_advice,
)
from recipes.testing import names


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


@dataclasses.dataclass
class Advised:
    rate: float = allowed("(0, inf)", advised="[0.1, 1]", source="Ada 1843", below="it is slow", above="it breaks")
    plain: float | None = allowed("[0, inf)", advised="(1, 2)")
    free: float = allowed("[0, inf)")


@dataclasses.dataclass
class Around:
    inner: Advised
    count: int = allowed("[0, inf)", advised="[1, inf)")


def test_values_outside_their_advised_range_are_described() -> None:
    low, high, plain = (
        outside_advice(Advised(0.01, None, 9.0), ""),
        outside_advice(Advised(2, None, 9.0), "x."),
        [2.0, 1.0],
    )
    (low_rate,), (high_rate,) = low, high
    assert str(low_rate) == "rate=0.01 is below the advised range [0.1, 1] (Ada 1843)."
    assert str(high_rate) == "x.rate=2 is above the advised range [0.1, 1] (Ada 1843)."
    assert (low_rate.consequence, high_rate.consequence) == ("it is slow", "it breaks")
    assert (low_rate.nearest, high_rate.nearest) == (0.1, 1.0)
    for value in plain:
        (each,) = outside_advice(Advised(0.5, value, 9.0), "")
        assert each.path == "plain" and each.consequence == "nobody is known to train well with it"


def test_advice_inside_other_dataclasses_is_found_with_its_path() -> None:
    settings = Around(Advised(2, 1.5, 0.0), 0)
    assert [each.path for each in outside_advice(settings, "a.")] == ["a.inner.rate", "a.count"]
    assert [name for name, _, _ in advised_fields(settings)] == ["inner.rate", "inner.plain", "count"]


# Numbers whose right value depends on the data or the machine, or for which nobody states a range.
UNADVISED = {
    "awp.start",
    "balanced_batches.balance",
    "contrastive.batch_size",
    "contrastive.max_updates",
    "contrastive.warmup",
    "distill.weight",
    "duplicate.copies",
    "eda.workers",
    "ema.every_updates",
    "fgm.start",
    "freeze_layers.until",
    "incremental.replay",
    "lora.alpha",
    "lora.dropout",
    "mixup.block",
    "mixup.cooldown",
    "mixup.fraction",
    "mixup.partners",
    "mixup.prior",
    "mixup.smoothness",
    "mixup.warmup",
    "mlm.batch_size",
    "mlm.max_updates",
    "mlm.warmup",
    "nlpaug.workers",
    "noise_scale.every_updates",
    "noise_scale.memory",
    "pgd.start",
    "pseudo_label.most_per_class",
    "sam.eta",
    "sam.start",
    "segments.max_segments",
    "segments.size",
    "sliding_window.max_windows",
    "sliding_window.size",
    "sliding_window.stride",
    "soup.every_fraction",
    "soup.start",
    "swa.cycle",
    "swa.every_updates",
    "temperature.limit",
    "threshold.candidates",
    "threshold.rounds",
    "truncate.head_fraction",
}


def tricks_and_run() -> Iterator[tuple[str, Any]]:
    """Every trick, and all settings of a run, at the values of the YAML files."""
    for name in names():
        values = OmegaConf.to_container(OmegaConf.load(CONF / "tricks" / f"{name}.yaml"))
        yield name, build({name: values})[name]
    yield "run", read(compose_config([])[0])


def test_every_number_is_advised_or_listed_and_every_default_is_inside_its_advised_range() -> None:
    advised, unadvised, outside = 0, set(), []
    for name, settings in tricks_and_run():
        outside += [str(each) for each in outside_advice(settings, f"{name}.")]
        for _, _, advice in advised_fields(settings):
            advised += 1
            low, high = ends(advice.values)
            assert low < high and (advice.below or advice.above)
        if name != "run":
            kinds = {item.name: str(item.type) for item in dataclasses.fields(settings) if not item.metadata["advice"]}
            unadvised |= {f"{name}.{field}" for field, kind in kinds.items() if "int" in kind or "float" in kind}
    assert outside == []
    assert {each for each in unadvised if not each.endswith((".values", ".depths"))} == UNADVISED
    assert advised == 55
