"""The contract: what a class of a trick may declare, and what a trick may ask of a run in each phase."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recipes.api import finetune_config, load
from recipes.config import Config
from recipes.seams import SEAMS
from recipes.testing import in_child, tiny_config
from recipes.trick import PredictionSeams, Seams, Trick

ROOT = Path(__file__).parents[2]


def loss(self: Trick, run: Any, inner: Callable[..., Any], logits: Any, targets: Any) -> Any:
    return inner(logits, targets)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"loss": loss}, r"Mine overrides \['loss'\], its slots name \[\]"),
        ({"slots": {"loss": "weighting"}}, r"Mine overrides \[\], its slots name \['loss'\]"),
        ({"loss": loss, "slots": {"loss": "mix"}}, "Mine: loss has no slot 'mix', only"),
        ({"layers": {"loss": "weighting"}}, "Mine.layers is called slots now; rename it."),
        ({"name": "other"}, "Mine: name is what the trick is selected by"),
        ({"control": "placebo"}, r"Mine: there is no control \['placebo'\]"),
    ],
)
def test_a_class_that_would_do_nothing_is_refused(members: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        type("Mine", (Trick,), members)


def test_a_run_has_every_seam_except_train() -> None:
    assert {field.name for field in dataclasses.fields(Seams)} == set(SEAMS) - {"train"}
    assert {field.name for field in dataclasses.fields(PredictionSeams)} == {"clean", "encode", "predict", "decide"}


CURIOUS = '''
from dataclasses import dataclass

from recipes import Trick


@dataclass
class Curious(Trick):
    """Asks for everything that each phase offers when a run predicts."""

    slots = {"clean": "clean", "encode": "cut", "predict": "vote", "decide": "decide"}

    def clean(self, run, inner, text):
        assert run.config.data.max_length == 128 and len(run.classes) == 3 and not run.multi_label
        return inner(text)

    def encode(self, run, inner, texts, pairs):
        assert run.config.model.source == "tiny" and run.max_length <= run.config.data.max_length
        assert run.tokenizer.model_max_length >= run.max_length
        return inner(texts, pairs)

    def predict(self, run, inner, batch):
        assert run.config.seed == 7 and run.tricks == {"curious": self}
        assert run.bare_model.config.num_labels == len(run.classes)
        return inner(batch)

    def decide(self, run, inner, probabilities):
        assert run.config.train.batch_size == 8 and probabilities.shape[1] == len(run.classes)
        return inner(probabilities)
'''


def test_a_custom_trick_may_read_the_config_when_a_loaded_run_predicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "curious_trick.py").write_text(CURIOUS)
    monkeypatch.syspath_prepend(tmp_path)
    config = tiny_config("seed=7", "train.max_updates=2")
    trusted = ["curious_trick.Curious"]
    config = dataclasses.replace(config, tricks={"curious": {"_target_": trusted[0]}}, trusted=trusted)

    def train_and_predict(config: Config) -> list[Any]:
        finetune_config(config, tmp_path / "run")
        return load(tmp_path / "run", trusted).predict(["a1 a2", "b3"]).names()

    assert len(in_child(lambda: train_and_predict(config))) == 2


@pytest.mark.slow
def test_mypy_refuses_what_a_phase_does_not_offer(tmp_path: Path) -> None:
    """A trick cannot reach the test split, nor the model while texts are cleaned, nor the loop's own state."""
    (tmp_path / "asks.py").write_text(
        "from recipes import Context, ModelContext, Run\n\n\n"
        "def ask(context: Context, model: ModelContext, run: Run) -> None:\n"
        "    print(context.config.seed, model.tokenizer, run.train, run.splits.validation)\n"
        "    context.tokenizer\n"
        "    context.bare_model\n"
        "    model.train\n"
        "    run.splits.test\n"
        "    run.checkpoints\n"
        "    run.since_best\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=pyproject.toml", str(tmp_path / "asks.py")]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    refused = sorted(line.split('"')[3] for line in checked.stdout.splitlines() if "[attr-defined]" in line)
    assert refused == ["bare_model", "checkpoints", "since_best", "test", "tokenizer", "train"], checked.stdout
