"""What a line of overrides makes of a run: its own values where the model is the same, the advised ones elsewhere."""

import pytest
from hydra.core.global_hydra import GlobalHydra

from recipes.compose.members import member_config
from recipes.config import Config
from recipes.errors import UserError
from recipes.testing import tiny_config
from tests.sampling import slow


@pytest.fixture
def config() -> Config:
    return tiny_config("+tricks=[mixup]", "seed=7", "train.learning_rate=0.02", "tricks.mixup.alpha=0.3")


@pytest.mark.parametrize("line", ["", slow("tiny"), slow("model=tiny"), slow(" tiny ")])
def test_the_same_model_is_the_run_itself(config: Config, line: str) -> None:
    assert member_config(line, config) == config


def test_what_is_said_comes_on_top(config: Config) -> None:
    found = member_config("tiny train.learning_rate=0.01 +tricks=[amp] tricks.amp.precision=bf16", config)
    assert found.train.learning_rate == 0.01 and found.train.max_updates == 20
    assert found.tricks["mixup"] == config.tricks["mixup"] and found.tricks["amp"]["precision"] == "bf16"
    assert found.seed == 7 and found.data == config.data


def test_a_value_that_is_the_default_still_counts(config: Config) -> None:
    default = tiny_config().train.learning_rate
    assert member_config(f"train.learning_rate={default}", config).train.learning_rate == default


def test_a_seed_takes_the_others_along(config: Config) -> None:
    found = member_config("seed=0", config)
    assert (found.seed, found.seeds.order, found.seeds.init, found.seeds.dropout) == (0, 0, 0, 0)
    assert member_config("seeds.init=3", config).seeds.order == 7


@pytest.mark.slow
def test_another_model_has_its_own_rate_and_no_tricks(config: Config) -> None:
    found = member_config("minilm +tricks=[swa]", config)
    assert found.model.source == "minilm" and list(found.tricks) == ["swa"]
    assert found.train.learning_rate == 3e-4 and found.train.epochs == 6
    assert found.train.max_updates == 20 and found.train.batch_size == config.train.batch_size
    assert member_config("linear", config).tricks == {}
    assert member_config("hub model.name=some/model", config).model.name == "some/model"


def test_a_recipe(config: Config) -> None:
    found = member_config("recipe=mixup_amp_swa", tiny_config())
    assert set(found.tricks) == {"mixup", "amp", "swa"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("tiny data.text=title", "data.text cannot be a member's own"),
        slow("tiny resume=false evaluate.metric=mcc", "evaluate.metric, resume cannot be a member's own"),
        slow("tinny", "model=tinny"),
        slow("tiny trian.epochs=1", "trian"),
        ("tiny train.learning_rate=-1", "train.learning_rate"),
        slow("tiny +tricks=[mixup] tricks.mixup.alhpa=1", "alhpa"),
    ],
)
def test_wrong_lines(config: Config, line: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        member_config(line, config)


@pytest.mark.slow
def test_one_value_of_a_trick_leaves_the_others(config: Config) -> None:
    found = member_config("tiny tricks.mixup.level=sentence", config)
    assert found.tricks["mixup"] == {**config.tricks["mixup"], "level": "sentence"}
    again = member_config("tiny +tricks=[mixup] tricks.mixup.level=sentence", config)
    assert again.tricks["mixup"] == found.tricks["mixup"]
    assert member_config("tiny +tricks=[]", config).tricks == config.tricks


def test_a_seed_that_was_set_apart_stays() -> None:
    config = tiny_config("seeds.order=9")
    found = member_config("seed=1", config)
    assert (found.seeds.order, found.seeds.init) == (9, 1)


def test_what_the_run_has_too_may_be_said() -> None:
    assert member_config("recipe=imbalanced", tiny_config("evaluate.metric=macro_f1")).tricks


def test_the_command_line_is_left_alone(config: Config) -> None:
    before = GlobalHydra.instance().hydra
    with pytest.raises(UserError):
        member_config("tinny", config)
    assert GlobalHydra.instance().hydra is before
