"""Every model family: anatomy, dropout, checkpointing, mixing, pieces and shipping, on a tiny random model of it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
import yaml
from datasets import Dataset
from safetensors.torch import save_file
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers import models as tokenizer_models
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerBase, pipeline

from recipes.api import FinishedRun
from recipes.base import Base
from recipes.config import Model
from recipes.data.batch import Batch, Outcome
from recipes.data.encoding import encode
from recipes.errors import UserError
from recipes.models import loading, segmented, word_vectors
from recipes.models.anatomy import head, layers, pooled_vectors, word_embeddings
from recipes.models.loading import load_model, load_tokenizer
from recipes.models.segmented import read_in_segments
from recipes.prediction.predictors import predict
from recipes.runtime.randomness import seed_forward
from tricks.in_training.mixup import LAYER, TAKEN, Mixup, plan
from tricks.pre_training.segments import Pool, Segments

LETTERS = [chr(ord("a") + place) for place in range(26)]
SIGNS = [*LETTERS, *map(str, range(10))]
TEXTS = ["a cab", "zebra 12 crossing the road", "no", "seven quick foxes", "what is 3 and 4", "end"]
CLASSES = ["left", "right", "up"]
WIDTH = 32
NOTHING: Mapping[str, Tensor] = {}


def word_pieces(*special: str) -> dict[str, int]:
    return {piece: number for number, piece in enumerate([*special, *SIGNS, *(f"##{sign}" for sign in SIGNS)])}


def unigrams(*special: str) -> list[tuple[str, float]]:
    return [*((piece, 0.0) for piece in special), ("▁", -2.0), *((sign, -3.0) for sign in SIGNS)]


def bytes_of(*special: str) -> dict[str, int]:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return {piece: number for number, piece in enumerate([*special, *alphabet])}


def modernbert_tokenizer() -> PreTrainedTokenizerBase:
    segmented = bytes_of("[PAD]", "[CLS]", "[SEP]", "[UNK]")
    backend = Tokenizer(tokenizer_models.BPE(segmented, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        model_input_names=["input_ids", "attention_mask"],
    )


BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
FAMILIES: Mapping[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "bert": (lambda: transformers.BertTokenizer(vocab=word_pieces(*BERT)), {}),
    "roberta": (lambda: transformers.RobertaTokenizer(vocab=bytes_of(*ROBERTA), merges=[]), {}),
    "distilbert": (
        lambda: transformers.DistilBertTokenizer(vocab=word_pieces(*BERT)),
        {"dim": WIDTH, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    ),
    "deberta-v2": (
        lambda: transformers.DebertaV2Tokenizer(vocab=unigrams("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")),
        # As deberta-v3 has them.
        {
            "relative_attention": True,
            "position_biased_input": False,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 16,
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "type_vocab_size": 0,
        },
    ),
    "modernbert": (
        modernbert_tokenizer,
        {
            "global_attn_every_n_layers": 2,
            "local_attention": 8,
            "cls_token_id": 1,
            "bos_token_id": 1,
            "sep_token_id": 2,
            "eos_token_id": 2,
        },
    ),
    "longformer": (
        lambda: transformers.LongformerTokenizer(vocab=bytes_of(*ROBERTA), merges=[]),
        {"attention_window": 16},
    ),
    "xlm-roberta": (lambda: transformers.XLMRobertaTokenizer(vocab=unigrams(*ROBERTA)), {}),
    "electra": (lambda: transformers.ElectraTokenizer(vocab=word_pieces(*BERT)), {"embedding_size": WIDTH}),
    "mpnet": (
        lambda: transformers.MPNetTokenizer(vocab=word_pieces("<s>", "<pad>", "</s>", "[UNK]", "<unk>", "<mask>")),
        {},
    ),
}
FAMILY = pytest.mark.parametrize("family", FAMILIES)
COUNTING_FROM_PADDING = ("roberta", "longformer", "xlm-roberta", "mpnet")


def tiny(family: str, tokenizer: PreTrainedTokenizerBase, options: Mapping[str, Any]) -> transformers.PretrainedConfig:
    sizes = {
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 66,
    }
    if "dim" in options:  # distilbert's own names
        sizes = {"max_position_embeddings": 66}
    return AutoConfig.for_model(
        family,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.3,
        **{**sizes, **options},
    )


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An encoder without a head of each family, as the hub has them."""
    found = {}
    for family, (make_tokenizer, options) in FAMILIES.items():
        folder = tmp_path_factory.mktemp(family)
        tokenizer = make_tokenizer()
        torch.manual_seed(0)
        AutoModel.from_config(tiny(family, tokenizer, options)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        found[family] = str(folder)
    return found


def settings(name: str, dropout: float | None = None, checkpointing: bool = False) -> Model:
    return Model(source="hub", name=name, dropout=dropout, gradient_checkpointing=checkpointing)


def loaded(name: str, dropout: float | None = None, checkpointing: bool = False, several: bool = False) -> nn.Module:
    chosen = settings(name, dropout, checkpointing)
    torch.manual_seed(1)
    return load_model(chosen, load_tokenizer(chosen, []), CLASSES, several)


def batch_of(folder: str, texts: list[str] = TEXTS) -> Batch:
    tokenizer = load_tokenizer(settings(folder), [])
    ids, nothing = [str(place) for place in range(len(texts))], [None] * len(texts)
    labels = [CLASSES[place % len(CLASSES)] for place in range(len(texts))]
    rows = Dataset.from_dict({"id": ids, "source": ids, "text": texts, "text_pair": nothing, "label": labels})
    encoded = encode(rows, lambda first, second: tokenizer(list(first), second), tokenizer, CLASSES, None)
    return encoded.collate(np.arange(len(texts)), 0, 0)


def logits_of(model: nn.Module, batch: Batch) -> Tensor:
    found: Tensor = model(**batch.inputs).logits
    return found


class TestAnatomy:
    @FAMILY
    def test_layers_are_those_that_run(self, folders: dict[str, str], family: str) -> None:
        model = loaded(folders[family])
        found = layers(model)
        assert len(found) == model.config.num_hidden_layers == 2
        ran: list[nn.Module] = []
        for layer in found:
            layer.register_forward_hook(lambda module, inputs, output: ran.append(module))
        logits_of(model.eval(), batch_of(folders[family]))
        assert ran == list(found)

    @FAMILY
    def test_the_model_uses_its_word_vectors(self, folders: dict[str, str], family: str) -> None:
        model, batch = loaded(folders[family]).eval(), batch_of(folders[family])
        plain = logits_of(model, batch)
        seen: list[Tensor] = []

        def mirrored(vectors: Tensor) -> Tensor:  # not scaled: deberta normalizes right behind
            seen.append(vectors)
            return vectors.flip(-1)

        with word_vectors.changed(model, batch.inputs["input_ids"].shape[1], mirrored):
            changed = logits_of(model, batch)
        own = word_vectors.of(model, batch.inputs["input_ids"])
        assert torch.equal(seen[0], own)
        assert own.shape == (*batch.inputs["input_ids"].shape, word_embeddings(model).weight.shape[1])
        assert not torch.allclose(changed, plain, atol=1e-3)
        assert torch.equal(logits_of(model, batch), plain)

    @FAMILY
    def test_the_head_makes_the_logits_of_the_pooled_vectors(self, folders: dict[str, str], family: str) -> None:
        model, batch = loaded(folders[family]).eval(), batch_of(folders[family])
        with pooled_vectors(head(model)) as seen:
            logits = logits_of(model, batch)
        assert len(seen) == 1
        assert seen[0].shape == (len(TEXTS), WIDTH)
        assert torch.equal(head(model)(seen[0]), logits)
        assert not head(model)._forward_pre_hooks

    def test_a_head_as_wide_as_the_model_is_still_the_last_one(self, folders: dict[str, str]) -> None:
        chosen = settings(folders["roberta"])
        classes = [f"class {place:02}" for place in range(WIDTH)]
        model = load_model(chosen, load_tokenizer(chosen, []), classes, False)
        assert head(model) is model.classifier.out_proj

    def test_albert_shares_one_layer_and_is_refused(self) -> None:
        config = transformers.AlbertConfig(
            vocab_size=20,
            embedding_size=8,
            hidden_size=8,
            num_hidden_layers=3,
            num_attention_heads=1,
            intermediate_size=8,
            max_position_embeddings=16,
        )
        model = transformers.AlbertForSequenceClassification(config)
        with pytest.raises(ValueError, match="AlbertForSequenceClassification has no list of 3 layers"):
            layers(model)
        assert head(model) is model.classifier

    def test_no_head(self) -> None:
        config = transformers.BertConfig(
            vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16, num_labels=3
        )
        with pytest.raises(ValueError, match="BertModel has no linear head with 3 outputs"):
            head(transformers.BertModel(config))


class TestDropout:
    @FAMILY
    def test_none_of_it_at_zero(self, folders: dict[str, str], family: str) -> None:
        model, batch = loaded(folders[family], dropout=0.0).train(), batch_of(folders[family])
        seed_forward(0, 0, 0)
        first = logits_of(model, batch)
        seed_forward(0, 0, 1)
        assert torch.equal(logits_of(model, batch), first)
        # Every rate is 0, also of what this batch did not pass.
        assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} <= {0.0}

    @FAMILY
    def test_all_of_it_above_zero_and_keyed_by_the_forward_pass(self, folders: dict[str, str], family: str) -> None:
        model, batch = loaded(folders[family], dropout=0.3).train(), batch_of(folders[family])
        found = []
        for index in (0, 1, 0):
            seed_forward(0, 0, index)
            found.append(logits_of(model, batch))
        assert torch.equal(found[0], found[2])
        assert not torch.allclose(found[0], found[1], atol=1e-3)
        assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} <= {0.3}

    def test_null_leaves_what_was_pretrained(self, folders: dict[str, str]) -> None:
        assert loaded(folders["bert"]).config.hidden_dropout_prob == 0.1
        assert loaded(folders["modernbert"]).config.mlp_dropout == 0.0


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "mpnet"])
def test_gradient_checkpointing_changes_no_gradient(folders: dict[str, str], family: str) -> None:
    batch = batch_of(folders[family])
    gradients = []
    runs: list[list[nn.Module]] = [[], []]
    for checkpointing in (False, True):
        model = loaded(folders[family], 0.2, checkpointing).train()
        inside = next(module for module in layers(model)[0].modules() if isinstance(module, nn.Linear))
        inside.register_forward_pre_hook(lambda module, inputs, on=checkpointing: runs[on].append(module))
        seed_forward(0, 0, 0)
        functional.cross_entropy(logits_of(model, batch), batch.targets).backward()
        gradients.append({name: each.grad for name, each in model.named_parameters() if each.grad is not None})
    assert len(runs[True]) == 2 * len(runs[False]) > 0  # or no memory was saved
    assert gradients[0].keys() == gradients[1].keys()
    assert len(gradients[0]) > 15
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-7), name


def test_gradient_checkpointing_where_a_family_has_none(folders: dict[str, str]) -> None:
    with pytest.raises(UserError, match="gradient_checkpointing=true: MPNetForSequenceClassification cannot; set it"):
        loaded(folders["mpnet"], checkpointing=True)


class TestPieces:
    """Rows that are read in pieces of 8 tokens, the last one shorter: what each piece says alone, pooled."""

    SIZE = 8
    TEXTS = ["seven quick foxes cross the long road", "no", "a zebra 12", "what is 3 and 4 and 5"]

    def batch(self, folder: str) -> Batch:
        tokenizer = load_tokenizer(settings(folder), [])
        run: Any = SimpleNamespace(tokenizer=tokenizer, max_length=self.SIZE)
        cut = partial(Segments(None, None, "mean").encode, run, None)
        ids, nothing = [str(place) for place in range(len(self.TEXTS))], [None] * len(self.TEXTS)
        columns = {"id": ids, "source": ids, "text": self.TEXTS, "text_pair": nothing, "label": ["left"] * len(ids)}
        encoded = encode(Dataset.from_dict(columns), cut, tokenizer, CLASSES, None)
        return encoded.collate(np.arange(len(ids)), 0, 0)

    def alone(self, model: nn.Module, batch: Batch) -> Tensor:
        """The logits, each piece run by itself through the model as it was loaded."""
        pooled = []
        for row, length in enumerate(batch.lengths.tolist()):
            vectors = []
            for begin in range(0, length, self.SIZE):
                stretch = slice(begin, min(begin + self.SIZE, length))
                with pooled_vectors(head(model)) as seen:
                    model(**{name: values[row : row + 1, stretch] for name, values in batch.inputs.items()})
                vectors.append(seen[0][0])
            pooled.append(torch.stack(vectors).mean(0))
        found: Tensor = head(model)(torch.stack(pooled))
        return found

    def in_pieces(self, folder: str, dropout: float | None = None) -> nn.Module:
        model: Any = loaded(folder, dropout)
        read_in_segments(model, self.SIZE, Pool("mean", WIDTH, 0))
        return model  # type: ignore[no-any-return]

    @FAMILY
    def test_is_what_the_pieces_say_alone(self, folders: dict[str, str], family: str) -> None:
        batch = self.batch(folders[family])
        counts = [-(-length // self.SIZE) for length in batch.lengths.tolist()]
        assert max(counts) > 3 and min(counts) < 3
        wanted, found = (make(folders[family], 0.0).train() for make in (loaded, self.in_pieces))
        ran: list[nn.Module] = []
        layers(found)[0].register_forward_pre_hook(lambda module, inputs: ran.append(module))
        gradients = []
        for logits, model in ((self.alone(wanted, batch), wanted), (logits_of(found, batch), found)):
            functional.cross_entropy(logits, batch.targets).backward()
            gradients.append({name: each.grad for name, each in model.named_parameters() if each.grad is not None})
        assert torch.allclose(logits_of(found, batch), self.alone(wanted, batch), atol=1e-5)
        assert gradients[0].keys() == gradients[1].keys()
        assert len(gradients[0]) > 15
        for name, gradient in gradients[0].items():
            assert torch.allclose(gradient, gradients[1][name], atol=1e-5), name
        # There and back, then once more above: or no memory was saved.
        assert len(ran) == 3 * max(counts)

    def test_padding_behind_the_longest_row_is_not_read(self, folders: dict[str, str]) -> None:
        model, batch = self.in_pieces(folders["bert"], 0.0), self.batch(folders["bert"])
        wider = {name: functional.pad(values, (0, 20)) for name, values in batch.inputs.items()}
        ran: list[nn.Module] = []
        layers(model)[0].register_forward_pre_hook(lambda module, inputs: ran.append(module))
        assert torch.allclose(model(**wider).logits, logits_of(model, batch), atol=1e-6)
        assert len(ran) == 2 * -(-int(batch.lengths.max()) // self.SIZE)

    @FAMILY
    def test_dropout_is_the_same_when_computed_again(
        self, folders: dict[str, str], family: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        batch, gradients = self.batch(folders[family]), []
        for again in (True, False):
            model = self.in_pieces(folders[family], 0.3).train()
            if not again:
                held: Any = SimpleNamespace(save_for_backward=lambda vectors: None)
                monkeypatch.setattr(segmented.ReadAgain, "apply", partial(segmented.ReadAgain.forward, held))
            seed_forward(0, 0, 0)
            functional.cross_entropy(logits_of(model, batch), batch.targets).backward()
            gradients.append({name: each.grad for name, each in model.named_parameters() if each.grad is not None})
        assert gradients[0].keys() == gradients[1].keys()
        for name, gradient in gradients[0].items():
            assert torch.allclose(gradient, gradients[1][name], atol=1e-7), name

    def test_so_is_the_precision(self, folders: dict[str, str]) -> None:
        model, batch = self.in_pieces(folders["bert"]).train(), self.batch(folders["bert"])
        seen: list[torch.dtype] = []
        inside = next(module for module in layers(model)[0].modules() if isinstance(module, nn.Linear))
        inside.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
        with torch.autocast("cpu", torch.bfloat16):
            logits = logits_of(model, batch)
        functional.cross_entropy(logits.float(), batch.targets).backward()
        assert len(seen) > 4 and set(seen) == {torch.bfloat16}
        assert {each.grad.dtype for each in model.parameters() if each.grad is not None} == {torch.float32}

    @FAMILY
    def test_what_changes_word_vectors_sees_the_whole_row_once(self, folders: dict[str, str], family: str) -> None:
        model, batch = self.in_pieces(folders[family], 0.0).train(), self.batch(folders[family])
        plain = logits_of(model, batch)
        width, own = batch.inputs["input_ids"].shape[1], word_embeddings(model)
        added = torch.zeros(*batch.inputs["input_ids"].shape, own.weight.shape[1], requires_grad=True)
        seen: list[Tensor] = []

        def change(vectors: Tensor) -> Tensor:
            seen.append(vectors)
            return vectors + added

        with word_vectors.changed(model, width, change):
            changed = logits_of(model, batch)
        functional.cross_entropy(changed, batch.targets).backward()
        assert torch.allclose(changed, plain, atol=1e-6)
        assert [each.shape for each in seen] == [added.shape]
        assert added.grad is not None
        # Every word of every piece has its part, padding has none.
        assert torch.equal(added.grad.abs().sum(-1) > 0, batch.inputs["attention_mask"] == 1)
        assert word_embeddings(model) is own and not own._forward_hooks

    @FAMILY
    def test_what_changes_pooled_vectors_sees_them_once(self, folders: dict[str, str], family: str) -> None:
        model, batch = self.in_pieces(folders[family], 0.0).train(), self.batch(folders[family])
        last, plain = head(model), logits_of(model, batch)
        with pooled_vectors(last) as seen:
            handle = last.register_forward_pre_hook(lambda _, inputs: (0.3 * inputs[0] + 0.7 * inputs[0].flip(0),))
            mixed = logits_of(model, batch)
            handle.remove()
        functional.cross_entropy(mixed, batch.targets).backward()
        assert [each.shape for each in seen] == [(len(self.TEXTS), WIDTH)]
        assert torch.allclose(mixed, 0.3 * plain + 0.7 * plain.flip(0), atol=1e-5)
        assert head(model) is last

    @pytest.mark.parametrize("family", [name for name in FAMILIES if name != "mpnet"])
    def test_with_the_models_own_checkpointing(self, folders: dict[str, str], family: str) -> None:
        batch = self.batch(folders[family])
        gradients = []
        for checkpointing in (False, True):
            model: Any = loaded(folders[family], 0.2, checkpointing).train()
            read_in_segments(model, self.SIZE, Pool("mean", WIDTH, 0))
            seed_forward(0, 0, 0)
            functional.cross_entropy(logits_of(model, batch), batch.targets).backward()
            gradients.append({name: each.grad for name, each in model.named_parameters() if each.grad is not None})
        for name, gradient in gradients[0].items():
            assert torch.allclose(gradient, gradients[1][name], atol=1e-6), name

    def test_the_models_parts_come_back_whatever_happens(self, folders: dict[str, str]) -> None:
        model, batch = self.in_pieces(folders["roberta"]), self.batch(folders["roberta"])
        own = list(model.modules())
        handle = layers(model)[1].register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            logits_of(model, batch)
        handle.remove()
        assert all(one is other for one, other in zip(model.modules(), own, strict=True))


class TestMixup:
    """The whole way of `mixup` on every family: plan, hook, masks, positions, backward."""

    LAMBDAS = np.array([0.7, 1.0, 0.4, 0.5, 1.0, 0.9])
    PARTNER = np.array([1, 0, 1, 4, 2, 3])  # shorter and longer ones than the row itself

    def objective(
        self, model: nn.Module, batch: Batch, seen: list[Batch], carried: Mapping[str, Tensor] = NOTHING, **values: Any
    ) -> Outcome:
        def inner(mixed: Batch) -> Outcome:
            seen.append(mixed)
            with pooled_vectors(head(model)) as features:
                logits = logits_of(model, mixed)
            loss = functional.cross_entropy(logits, mixed.targets, reduction="none")
            return Outcome(loss, logits, mixed.targets, features[-1])

        run: Any = SimpleNamespace(bare_model=model, head=head(model), rows_passed=0.0)
        settings = {"level": "embedding", "mask": "whole", "depths": [0.5], "block": 2, **values}
        trick = Mixup(alpha=1.0, fraction=1.0, warmup=0.0, cooldown=0.0, **settings)
        planned = plan(batch, self.PARTNER, self.LAMBDAS)
        return trick.objective(run, inner, replace(planned, carried={**planned.carried, **carried}))

    @FAMILY
    def test_mixes_forward_and_backward(self, folders: dict[str, str], family: str) -> None:
        model, batch = loaded(folders[family]).eval(), batch_of(folders[family])
        plain = logits_of(model, batch)
        outcome = self.objective(model, batch, [])
        alone = self.LAMBDAS == 1.0
        assert torch.allclose(outcome.logits[alone], plain[alone], atol=1e-5)
        assert not torch.isclose(outcome.logits[~alone], plain[~alone], atol=1e-3).all(-1).any()
        outcome.loss.sum().backward()
        gradient = word_embeddings(model).weight.grad
        assert gradient is not None and gradient.isfinite().all() and gradient.abs().sum() > 0
        # Both texts of a mixture have their share in it.
        rows = [0, int(self.PARTNER[0])]
        both = {int(token) for row in rows for token in batch.inputs["input_ids"][row, : batch.lengths[row]]}
        assert all(gradient[token].abs().sum() > 0 for token in both)
        assert not word_embeddings(model)._forward_hooks

    @pytest.mark.parametrize("family", [name for name in FAMILIES if name != "longformer"])
    def test_equals_the_mixture_given_as_vectors(self, folders: dict[str, str], family: str) -> None:
        model, batch = loaded(folders[family]).eval(), batch_of(folders[family])
        ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
        vectors = word_embeddings(model)(ids) * mask[..., None]
        shares = torch.tensor(self.LAMBDAS, dtype=torch.float32)[:, None, None]
        mixed = shares * vectors + (1 - shares) * vectors[self.PARTNER]
        union = torch.where(shares[..., 0] == 1.0, mask, mask | mask[self.PARTNER])
        # Given vectors, roberta and its like count positions without a gap.
        wanted = model(inputs_embeds=mixed, attention_mask=union).logits
        assert torch.allclose(self.objective(model, batch, []).logits, wanted, atol=1e-5)

    @pytest.mark.parametrize("family", COUNTING_FROM_PADDING)
    def test_positions_go_on_behind_the_shorter_text(self, folders: dict[str, str], family: str) -> None:
        model, batch = loaded(folders[family]).eval(), batch_of(folders[family])
        table = next(each for name, each in model.named_modules() if name.endswith("position_embeddings"))
        positions: list[Tensor] = []
        table.register_forward_hook(lambda module, inputs, output: positions.append(inputs[0]))
        seen: list[Batch] = []
        self.objective(model, batch, seen)
        lengths = seen[0].inputs["attention_mask"].sum(1)
        assert int(lengths[0]) == int(batch.lengths[1]) > int(batch.lengths[0])
        for row, length in enumerate(lengths):
            assert positions[0][row, :length].tolist() == list(range(2, 2 + int(length)))

    def test_longformer_pads_further_than_the_batch(self, folders: dict[str, str]) -> None:
        model, batch = loaded(folders["longformer"]).eval(), batch_of(folders["longformer"])
        widths: list[int] = []
        layers(model)[0].register_forward_hook(lambda module, inputs, output: widths.append(inputs[0].shape[1]))
        self.objective(model, batch, [])
        assert widths[0] % 16 == 0 and widths[0] > batch.inputs["input_ids"].shape[1]

    @FAMILY
    def test_hidden_states_are_of_each_text_alone_and_then_of_both(self, folders: dict[str, str], family: str) -> None:
        """Against one row at a time without any padding, so that no mask is needed."""
        model, batch = loaded(folders[family]).eval(), batch_of(folders[family])
        layer = layers(model)[1]

        def run(ids: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
            hook = layer.register_forward_pre_hook(lambda module, inputs: (change(inputs[0]), *inputs[1:]))
            logits: Tensor = model(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None]).logits[0]
            hook.remove()
            return logits

        def states_of(ids: Tensor) -> Tensor:
            seen: list[Tensor] = []
            run(ids, lambda states: seen.append(states) or states)  # type: ignore[func-returns-value]
            return seen[0][:, : len(ids)]

        def given(states: Tensor) -> Callable[[Tensor], Tensor]:
            return lambda found: torch.cat([states, found[:, states.shape[1] :]], dim=1)

        texts = [batch.inputs["input_ids"][row, : batch.lengths[row]] for row in range(len(TEXTS))]
        whole, blocks = [], []
        taken = torch.zeros_like(batch.inputs["input_ids"], dtype=torch.bool)
        for row, share in enumerate(self.LAMBDAS):
            own, other = texts[row], texts[row if share == 1.0 else int(self.PARTNER[row])]
            one, two = states_of(own), states_of(other)
            longer = max(own, other, key=len)
            sides = [functional.pad(states, (0, 0, 0, len(longer) - states.shape[1])) for states in (one, two)]
            whole.append(run(longer, given(share * sides[0] + (1 - share) * sides[1])))
            taken[row, 1] = True
            blocks.append(run(own, given(torch.cat([one[:, :1], two[:, 1:2], one[:, 2:]], dim=1))))
        carried = {LAYER: torch.ones(len(TEXTS), dtype=torch.int64), TAKEN: taken}
        for mask, wanted in (("whole", whole), ("block", blocks)):
            found = self.objective(model, batch, [], carried, level="hidden", mask=mask).logits
            assert torch.allclose(found, torch.stack(wanted), atol=2e-5), mask
            assert not torch.isclose(found, logits_of(model, batch), atol=1e-3).all(-1)[self.LAMBDAS != 1.0].any(), mask
        assert not any(each._forward_pre_hooks for each in model.modules())

    @FAMILY
    def test_pooled_vectors_are_mixed_before_the_head(self, folders: dict[str, str], family: str) -> None:
        model, batch = loaded(folders[family]).eval(), batch_of(folders[family])
        with pooled_vectors(head(model)) as seen:
            logits_of(model, batch)
        share = torch.tensor(self.LAMBDAS, dtype=torch.float32)[:, None]
        other = torch.where(share == 1.0, seen[0], seen[0][self.PARTNER])
        wanted = head(model)(share * seen[0] + (1 - share) * other)
        assert torch.allclose(self.objective(model, batch, [], level="sentence").logits, wanted, atol=1e-5)

    @pytest.mark.parametrize("mask", ["whole", "block"])
    @pytest.mark.parametrize("family", [name for name in FAMILIES if name != "mpnet"])
    def test_hidden_goes_with_gradient_checkpointing(self, folders: dict[str, str], family: str, mask: str) -> None:
        batch, gradients = batch_of(folders[family]), []
        taken = (torch.arange(batch.inputs["input_ids"].shape[1]) == 1).expand_as(batch.inputs["input_ids"])
        carried = {LAYER: torch.ones(len(TEXTS), dtype=torch.int64), TAKEN: taken}
        for checkpointing in (False, True):
            model = loaded(folders[family], 0.2, checkpointing).train()
            seed_forward(0, 0, 0)
            self.objective(model, batch, [], carried, level="hidden", mask=mask).loss.sum().backward()
            gradients.append({name: each.grad for name, each in model.named_parameters() if each.grad is not None})
        assert gradients[0].keys() == gradients[1].keys()
        for name, gradient in gradients[0].items():
            assert torch.allclose(gradient, gradients[1][name], atol=1e-6), name


class TestShipping:
    @pytest.mark.parametrize("several", [False, True])
    @FAMILY
    def test_pipeline_and_our_own_predictions_agree(
        self, folders: dict[str, str], tmp_path: Path, family: str, several: bool
    ) -> None:
        model, tokenizer = loaded(folders[family], several=several), load_tokenizer(settings(folders[family]), [])
        model.save_pretrained(tmp_path / "model")
        tokenizer.model_max_length = 12
        tokenizer.save_pretrained(tmp_path / "model")
        (tmp_path / "config.yaml").write_text(
            yaml.safe_dump({"tricks": {}, "model": {"source": "hub"}, "data": {"text_pair": None}})
        )
        texts = [*TEXTS, "one that is much longer than twelve tokens"]
        ours = predict(FinishedRun(tmp_path), texts, None)
        theirs = pipeline("text-classification", model=str(tmp_path / "model"))(texts, top_k=None, truncation=True)
        for row, found in enumerate(theirs):
            wanted = {each["label"]: each["score"] for each in found}
            assert dict(zip(CLASSES, ours.probabilities[row].tolist(), strict=True)) == pytest.approx(wanted, abs=1e-5)
        if not several:
            assert ours.names() == [found[0]["label"] for found in theirs]
        # The live model says the same.
        batch, run = batch_of(folders[family]), SimpleNamespace(bare_model=model.eval())
        run.multi_label = several
        live: Any = Base(run)  # type: ignore[arg-type]
        kept = [row for row in range(len(TEXTS)) if batch.lengths[row] <= 12]
        assert len(kept) > 2
        with torch.no_grad():
            assert np.allclose(live.predict(batch).numpy()[kept], ours.probabilities[kept], atol=1e-5)


class TestLoading:
    def test_the_head_follows_the_seed_and_the_encoder_does_not(self, folders: dict[str, str]) -> None:
        chosen = settings(folders["bert"])
        tokenizer = load_tokenizer(chosen, [])
        models = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            models.append(load_model(chosen, tokenizer, CLASSES, False))
        assert torch.equal(models[0].classifier.weight, models[1].classifier.weight)
        assert not torch.equal(models[0].classifier.weight, models[2].classifier.weight)
        assert torch.equal(word_embeddings(models[0]).weight, word_embeddings(models[2]).weight)

    def test_names_and_numbers_of_the_classes(self, folders: dict[str, str]) -> None:
        config = loaded(folders["bert"], several=True).config
        assert config.id2label == {0: "left", 1: "right", 2: "up"}
        assert config.label2id == {"left": 0, "right": 1, "up": 2}
        assert config.problem_type == "multi_label_classification"

    def test_a_head_of_another_size_is_replaced(self, folders: dict[str, str], tmp_path: Path) -> None:
        chosen = settings(folders["bert"])
        tokenizer = load_tokenizer(chosen, [])
        load_model(chosen, tokenizer, ["yes", "no"], False).save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        assert loaded(str(tmp_path)).classifier.out_features == 3

    @pytest.mark.parametrize(
        ("family", "most"), [("bert", 66), ("roberta", 64), ("mpnet", 64), ("distilbert", 66), ("longformer", 64)]
    )
    def test_no_more_tokens_than_the_model_has_positions(self, folders: dict[str, str], family: str, most: int) -> None:
        tokenizer = load_tokenizer(settings(folders[family]), [])
        assert tokenizer.model_max_length == most
        inputs = tokenizer(["a " * 100], truncation=True, return_tensors="pt")
        assert inputs["input_ids"].shape[1] == most
        model = loaded(folders[family]).eval()
        assert model(**inputs).logits.isfinite().all()
        # The test would prove nothing if the model took one more.
        table = next(each for name, each in model.named_modules() if name.endswith("position_embeddings"))
        assert table.num_embeddings - (table.padding_idx + 1 if table.padding_idx is not None else 0) == most

    def test_a_tokenizer_that_knows_its_limit_keeps_it(self, folders: dict[str, str], tmp_path: Path) -> None:
        AutoModel.from_pretrained(folders["bert"]).save_pretrained(tmp_path)
        tokenizer = AutoTokenizer.from_pretrained(folders["bert"])
        tokenizer.model_max_length = 20
        tokenizer.save_pretrained(tmp_path)
        assert load_tokenizer(settings(str(tmp_path)), []).model_max_length == 20

    @pytest.mark.parametrize("family", ["deberta-v2", "modernbert"])
    def test_relative_positions_set_no_limit(self, folders: dict[str, str], family: str) -> None:
        tokenizer = load_tokenizer(settings(folders[family]), [])
        assert tokenizer.model_max_length > 10_000
        inputs = tokenizer(["a " * 100], return_tensors="pt")
        assert loaded(folders[family]).eval()(**inputs).logits.isfinite().all()


class TestRefused:
    def both(self, name: str, pattern: str) -> None:
        with pytest.raises(UserError, match=pattern):
            load_tokenizer(settings(name), [])
        with pytest.raises(UserError, match=pattern):
            load_model(settings(name), modernbert_tokenizer(), CLASSES, False)

    def test_no_name(self) -> None:
        self.both("", "model=hub needs model.name=owner/name, or a local folder")

    @pytest.mark.parametrize("name", ["/no/such/folder", "./folder", "~/no such folder", "one/too/many"])
    def test_no_such_folder(self, name: str) -> None:
        self.both(name, f"model.name={name}: there is no such folder")

    def test_not_on_the_hub_without_a_network(self) -> None:
        self.both("nobody/nothing", "model.name=nobody/nothing: .* model=minilm needs none")

    @pytest.mark.parametrize("config", ["{broken", '{"model_type": "martian"}', '{"model_type": "clip_vision_model"}'])
    def test_no_classifier(self, tmp_path: Path, config: str) -> None:
        (tmp_path / "config.json").write_text(config)
        self.both(str(tmp_path), "cannot be loaded as a sequence classifier")

    def test_code_from_the_hub_is_never_run_nor_asked_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        code = {"AutoConfig": "theirs.Theirs", "AutoModelForSequenceClassification": "theirs.Theirs"}
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "theirs", "auto_map": code}))
        (tmp_path / "theirs.py").write_text("raise SystemExit('ran')")
        monkeypatch.setattr("builtins.input", lambda *_: "y")
        self.both(str(tmp_path), "cannot be loaded")

    @pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
    def test_damaged_weights(self, folders: dict[str, str], tmp_path: Path, name: str) -> None:
        AutoConfig.from_pretrained(folders["bert"]).save_pretrained(tmp_path)
        (tmp_path / name).write_bytes(b"neither tensors nor a pickle")
        with pytest.raises(UserError, match="cannot be loaded as a sequence classifier"):
            load_model(settings(str(tmp_path)), modernbert_tokenizer(), CLASSES, False)

    def test_weights_of_another_model_do_not_become_random_ones(self, folders: dict[str, str], tmp_path: Path) -> None:
        AutoConfig.from_pretrained(folders["bert"]).save_pretrained(tmp_path)
        save_file({"something": torch.zeros(2)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(UserError, match=r"lack \d+ weights of BertForSequenceClassification .*random"):
            load_model(settings(str(tmp_path)), modernbert_tokenizer(), CLASSES, False)

    def test_a_missing_pooler_is_no_reason(self, folders: dict[str, str], tmp_path: Path) -> None:
        config = AutoConfig.from_pretrained(folders["bert"])
        transformers.BertForMaskedLM(config).save_pretrained(tmp_path)  # has none
        load_tokenizer(settings(folders["bert"]), []).save_pretrained(tmp_path)
        assert loaded(str(tmp_path)).bert.pooler is not None

    def test_a_model_without_a_tokenizer(self, folders: dict[str, str], tmp_path: Path) -> None:
        AutoModel.from_pretrained(folders["bert"]).save_pretrained(tmp_path)
        with pytest.raises(UserError, match="there is no tokenizer beside the model"):
            load_tokenizer(settings(str(tmp_path)), [])

    def test_a_tokenizer_that_needs_a_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise ValueError("`tiktoken` is required to read a `tiktoken` file. Install it.")

        monkeypatch.setattr(AutoTokenizer, "from_pretrained", refuse)
        with pytest.raises(UserError, match=r"SentencePiece file, which needs: pip install -e '\.\[sentencepiece\]'"):
            load_tokenizer(settings(str(tmp_path)), [])


class TestTiny:
    CHOSEN = Model(source="tiny", name=None, dropout=None, gradient_checkpointing=False)

    def test_is_the_same_whatever_the_order_of_the_texts(self) -> None:
        texts = ["The cat sat", "on the mat", "THE end"]
        first = load_tokenizer(self.CHOSEN, texts)
        again = load_tokenizer(self.CHOSEN, texts[::-1])
        assert first.get_vocab() == again.get_vocab()
        assert first("the cat ended").input_ids == again("the cat ended").input_ids

    def test_words_are_whole_and_others_are_spelt(self) -> None:
        tokenizer = load_tokenizer(self.CHOSEN, ["The cat sat on the mat"])
        assert tokenizer.tokenize("the CAT tat") == ["the", "cat", "t", "##a", "##t"]
        assert tokenizer.tokenize("dog") == ["[UNK]"]

    def test_chinese_is_one_token_a_character(self) -> None:
        tokenizer = load_tokenizer(self.CHOSEN, ["股票上涨了", "球队 win 比赛"])
        assert tokenizer.tokenize("股票比赛 win") == ["股", "票", "比", "赛", "win"]
        assert len(tokenizer("股票上涨了").input_ids) == 7

    def test_the_vocabulary_has_an_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loading, "TINY_VOCABULARY", 2)
        tokenizer = load_tokenizer(self.CHOSEN, ["bb bb bb", "aa aa", "ab"])
        assert {"bb", "aa"} <= tokenizer.get_vocab().keys()
        assert "ab" not in tokenizer.get_vocab()

    def test_pairs_have_two_segments(self) -> None:
        tokenizer = load_tokenizer(self.CHOSEN, ["one two"])
        assert tokenizer(["one"], ["two"]).token_type_ids == [[0, 0, 0, 1, 1]]

    def test_saved_and_read_back(self, tmp_path: Path) -> None:
        texts = ["The café, naïve; 股票 [MASK]", "Straße"]
        tokenizer = load_tokenizer(self.CHOSEN, texts)
        load_model(self.CHOSEN, tokenizer, CLASSES, False).save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        again = AutoTokenizer.from_pretrained(tmp_path)
        assert dict(again(texts, ["b", "caf"])) == dict(tokenizer(texts, ["b", "caf"]))
        assert again.model_max_length == 512

    def test_reads_as_many_tokens_as_it_has_positions(self) -> None:
        tokenizer = load_tokenizer(self.CHOSEN, ["a b"])
        model = load_model(self.CHOSEN, tokenizer, CLASSES, False)
        inputs = tokenizer(["a " * 600], truncation=True, return_tensors="pt")
        assert inputs["input_ids"].shape == (1, 512)
        assert model(**inputs).logits.shape == (1, 3)


class TestMinilm:
    CHOSEN = Model(source="minilm", name=None, dropout=None, gradient_checkpointing=False)

    def test_loads(self) -> None:
        tokenizer = load_tokenizer(self.CHOSEN, [])
        model = load_model(self.CHOSEN, tokenizer, CLASSES, False)
        assert sum(each.numel() for each in model.bert.parameters()) == 22_713_216
        assert tokenizer.model_max_length == 512
        assert len(layers(model)) == 6
        # Pretrained, not random: a paraphrase is nearer than another sentence.
        inputs = tokenizer(
            ["a man eats bread", "someone is eating food", "stocks fell"], padding=True, return_tensors="pt"
        )
        with torch.no_grad():
            states = model.bert(**inputs).last_hidden_state * inputs["attention_mask"][..., None]
        vectors = functional.normalize(states.sum(1) / inputs["attention_mask"].sum(1, keepdim=True), dim=-1)
        assert float(vectors[0] @ vectors[1]) > float(vectors[0] @ vectors[2]) + 0.3

    def test_other_weights_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "model.safetensors").write_bytes(b"other weights")
        package = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
        monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: package)
        with pytest.raises(UserError, match="holds other weights than all-MiniLM-L6-v2 .SHA-256 [0-9a-f]{64}"):
            load_model(self.CHOSEN, modernbert_tokenizer(), CLASSES, False)
        with pytest.raises(UserError, match="holds other weights"):
            load_tokenizer(self.CHOSEN, [])

    def test_a_missing_package_is_named_with_its_command(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(UserError, match=r"pip install -e '\.\[demo\]'"):
            load_tokenizer(self.CHOSEN, [])
