"""MLM: which tokens are hidden, the loss against transformers' own, and files of unlabelled texts."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from recipes.api import finetune_config
from recipes.data.records import records
from recipes.errors import UserError
from recipes.models.masked_head import predict_tokens
from recipes.runtime.randomness import generator
from recipes.testing import in_child, make_text_file, temporary_folder, tiny_config, tiny_run
from tricks.pre_training.mlm import Mlm, mask_tokens

TOKENIZER: Any = SimpleNamespace(all_special_ids=[0, 1, 2], mask_token_id=1)
VOCABULARY = 1000


def hide(ids: torch.Tensor, probability: float = 0.15) -> tuple[torch.Tensor, torch.Tensor]:
    class Tokenizer(SimpleNamespace):
        def __len__(self) -> int:
            return VOCABULARY

    tokenizer: Any = Tokenizer(**vars(TOKENIZER))
    return mask_tokens(ids, tokenizer, probability, generator(0, "test"))


def test_fifteen_percent_are_chosen_and_most_of_them_hidden() -> None:
    ids = torch.full((200, 500), 7)
    ids[:, 0] = 2
    hidden, positions = hide(ids)
    assert not positions[:, 0].any()
    assert torch.equal(hidden[~positions], ids[~positions])
    assert positions[:, 1:].float().mean().item() == pytest.approx(0.15, abs=0.005)
    of_hidden = hidden[positions]
    assert (of_hidden == 1).float().mean().item() == pytest.approx(0.8, abs=0.01)
    assert (of_hidden == 7).float().mean().item() == pytest.approx(0.1, abs=0.01)
    others = of_hidden[(of_hidden != 1) & (of_hidden != 7)]
    assert len(others) / len(of_hidden) == pytest.approx(0.1, abs=0.01)
    assert len(set(others.tolist())) > 0.5 * VOCABULARY


def test_at_least_one_token_is_chosen() -> None:
    _, positions = hide(torch.tensor([[2, 7, 8, 0]]), probability=1e-9)
    assert positions.sum() == 1 and positions[0, 1:3].any()
    _, positions = hide(torch.tensor([[2, 0]]), probability=1e-9)  # an empty text
    assert positions.sum() == 1


def test_the_loss_is_that_of_transformers() -> None:
    """Their model computes logits of all tokens; -100 marks those that do not count."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertForMaskedLM(BertConfig(vocab_size=VOCABULARY, **sizes)).eval()  # type: ignore[arg-type]
    ids = torch.randint(3, VOCABULARY, (4, 9))
    hidden, positions = hide(ids, 0.4)
    expected = model(input_ids=hidden, labels=torch.where(positions, ids, -100)).loss
    logits = predict_tokens(model, {"input_ids": hidden}, positions)
    assert torch.nn.functional.cross_entropy(logits, ids[positions]).item() == pytest.approx(expected.item(), abs=1e-5)


def texts_of(name: str, content: str, *overrides: str) -> tuple[list[str], list[str]]:
    """The texts that a tiny run with a file of unlabelled texts would train on, and what it reports."""

    def read() -> tuple[list[str], list[str]]:
        with temporary_folder() as folder:
            (folder / name).write_text(content, encoding="utf-8")
            config = tiny_config("+tricks=[mlm]", f"tricks.mlm.file={folder / name}", *overrides)
            run = tiny_run(config, folder)
            trick: Any = run.tricks["mlm"]
            return list(trick.texts["text"]), [note for note in run.notes if note.startswith("mlm:")]

    return in_child(read)


def file_texts(seed: int) -> list[str]:
    return [record.values["text"] for record in records(str(make_text_file(12, seed)), "csv")]


def test_texts_of_validation_and_test_are_left_out_and_counted() -> None:
    train, validation = file_texts(0), file_texts(1)
    texts, lines = texts_of("more.txt", "\n".join(["quite new", validation[0].upper(), "quite new", train[0]]) + "\n")
    assert "quite new" in texts and texts.count("quite new") == 1
    assert len(set(texts)) == len(texts) and set(texts) - {"quite new"} <= set(train)
    assert not set(map(str.casefold, texts)) & set(map(str.casefold, validation))
    (line,) = lines
    assert "2 of the 4 texts" in line and "in validation or test" in line


def test_a_test_split_that_is_not_read_is_noted(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("one more text\n", encoding="utf-8")

    def notes(*overrides: str) -> list[str]:
        run = tiny_run(tiny_config("+tricks=[mlm]", f"tricks.mlm.file={tmp_path / 'more.txt'}", *overrides), tmp_path)
        return [note for note in run.notes if "test is not read" in note]

    assert len(in_child(lambda: notes("evaluate.test=false"))) == 1
    assert in_child(notes) == []


def test_the_file_is_trained_on() -> None:
    texts, _ = texts_of("more.jsonl", '{"text": "one more"}\n{"text": "another one"}\n')
    assert {"one more", "another one"} <= set(texts)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,label\none,x\n", "1 of its 1 rows have a label in data.label=label"),
        ("a.txt", "", "the file has no rows"),
        ("a.csv", "review\none\n", "the file of unlabelled texts has no such column"),
    ],
)
def test_a_wrong_file_is_refused(name: str, content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as caught:
        texts_of(name, content)
    assert message in str(caught.value) and "UserError" in str(caught.value)


def test_a_file_of_evaluated_texts_only_is_refused() -> None:
    with pytest.raises(AssertionError, match=r"is in validation or test; give other texts"):
        texts_of("a.txt", "\n".join(file_texts(1)) + "\n")


def test_a_tokenizer_without_a_token_that_hides_others_is_refused() -> None:
    run: Any = SimpleNamespace(tokenizer=SimpleNamespace(mask_token_id=None))
    values = {"file": None, "epochs": 1.0, "max_updates": None, "batch_size": 8, "learning_rate": 1e-4, "warmup": 0.1}
    trick = Mlm(**values, probability=0.15)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"tricks.mlm: the tokenizer has no mask token; leave mlm out"):
        trick.prepare(run)
    Mlm(**{**values, "epochs": 0.0}, probability=0.15).prepare(run)  # type: ignore[arg-type]


@pytest.mark.slow
def test_hidden_tokens_are_predicted_better_after_the_stage() -> None:
    def train() -> tuple[list[str], bool]:
        with temporary_folder() as folder:
            overrides = ("tricks.mlm.epochs=20", "tricks.mlm.learning_rate=3e-3", "tricks.mlm.batch_size=8")
            run, lines = tiny_run(tiny_config("+tricks=[mlm]", *overrides), folder), list[str]()
            run.say = lines.append  # type: ignore[method-assign]
            before = {name: each.clone() for name, each in run.bare_model.state_dict().items()}
            run.seams.pretrain()
            after = run.bare_model.state_dict()
            changed = {name for name in before if not torch.equal(before[name], after[name])}
            assert changed and not any(name.startswith(("classifier", "bert.pooler")) for name in changed)
            assert run.rows_passed == 20 * len(run.splits.train)
            return lines, bool(np.isfinite(run.predictions(run.validation).probabilities).all())

    lines, is_finite = in_child(train)
    assert is_finite
    assert "no masked-language-model head, so a new one is trained" in lines[0]
    losses = re.search(r"loss ([\d.]+) \(at first ([\d.]+)\)", lines[-1])
    assert losses and float(losses[1]) < 0.9 * float(losses[2])


def test_a_wrong_file_leaves_no_run_folder_behind(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It is refused before the header of the run, and so before the doctor and the first update."""
    config = tiny_config("+tricks=[mlm]", f"tricks.mlm.file={tmp_path / 'missing.txt'}")
    with pytest.raises(AssertionError, match="there is no such file"):
        in_child(lambda: finetune_config(config, tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    assert capfd.readouterr().out.count("\n") == 1
