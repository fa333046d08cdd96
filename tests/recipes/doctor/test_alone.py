"""Tricks alone: which wrap the step, and which of their values are not the default."""

from pathlib import Path

from recipes.compose.tricks import build
from recipes.doctor.alone import changed_settings, describe_settings, only_tricks, step_tricks, weaken
from recipes.testing import in_child, names, tiny_config, tiny_run


def test_no_setting_of_a_trick_at_its_default_has_changed() -> None:
    config = tiny_config(f"+tricks=[{','.join(names())}]")
    for name in names():
        assert changed_settings(config, build({name: config.tricks[name]})[name]) == {}, name


def test_changed_settings_are_described_and_undone() -> None:
    config = tiny_config("+tricks=[mixup]", "tricks.mixup.alpha=9", "tricks.mixup.fraction=0.5")
    trick = build(config.tricks)["mixup"]
    assert describe_settings(trick, config) == "mixup (tricks.mixup.alpha=9.0, tricks.mixup.fraction=0.5)"
    remedy = "tricks.mixup.alpha=0.4 tricks.mixup.fraction=1.0, the defaults; or leave out mixup"
    assert weaken(trick, config) == remedy


def test_a_trick_at_its_defaults_is_left_out() -> None:
    config = tiny_config("+tricks=[focal]")
    trick = build(config.tricks)["focal"]
    assert (describe_settings(trick, config), weaken(trick, config)) == ("focal", "leave out focal")


def test_only_the_selected_tricks_wrap_the_step_and_all_come_back(tmp_path: Path) -> None:
    def wrapped() -> tuple[list[str], list[bool], bool]:
        run = tiny_run(tiny_config("+tricks=[focal,normalize,r_drop]"), tmp_path, tmp_path / "run")
        before, plain = run.seams, [run.is_plain]
        for selected in ({}, {"focal": run.tricks["focal"]}):
            with only_tricks(run, selected):
                plain.append(run.is_plain)
        return sorted(step_tricks(run)), plain, run.seams is before

    assert in_child(wrapped) == (["focal", "r_drop"], [False, True, False], True)
