"""Reading rows in segments, in every family."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn import functional

from recipes.data.batch import Batch
from recipes.data.encoding import encode
from recipes.models import segmented, word_vectors
from recipes.models.anatomy import head, layers, pooled_vectors, word_embeddings
from recipes.models.loading import load_tokenizer
from recipes.models.segmented import move_padding, read_in_segments
from recipes.runtime.randomness import seed_forward
from tests.recipes.models.families import CLASSES, FAMILIES, FAMILY, WIDTH, load_classifier, logits_of, settings
from tests.recipes.models.test_inputs import rows_of, small_model, small_tokenizer
from tests.sampling import every
from tricks.pre_training.segments import Pool, Segments


class TestSegments:
    """Rows are read in segments of 8 tokens, the last one shorter; each equals a forward pass of its own."""

    SIZE = 8
    TEXTS = ["seven quick foxes cross the long road", "no", "a zebra 12", "what is 3 and 4 and 5"]

    def batch(self, folder: str) -> Batch:
        tokenizer = load_tokenizer(settings(folder), [])
        run: Any = SimpleNamespace(tokenizer=tokenizer, max_length=self.SIZE)
        encode_segments = partial(Segments(None, None, "mean").encode, run, None)
        ids, empty = [str(row) for row in range(len(self.TEXTS))], [None] * len(self.TEXTS)
        columns = {"id": ids, "source": ids, "text": self.TEXTS, "text_pair": empty, "label": ["left"] * len(ids)}
        encoded = encode(Dataset.from_dict(columns), encode_segments, tokenizer, CLASSES, None)
        return encoded.collate(np.arange(len(ids)), 0, 0)

    def logits_of_single_segments(self, model: nn.Module, batch: Batch) -> Tensor:
        """The logits of pooled vectors, each computed by an unsegmented model from one segment alone."""
        pooled = []
        for row, length in enumerate(batch.lengths.tolist()):
            vectors = []
            for begin in range(0, length, self.SIZE):
                span = slice(begin, min(begin + self.SIZE, length))
                with pooled_vectors(head(model)) as head_inputs:
                    model(**{name: values[row : row + 1, span] for name, values in batch.inputs.items()})
                vectors.append(head_inputs[0][0])
            pooled.append(torch.stack(vectors).mean(0))
        logits: Tensor = head(model)(torch.stack(pooled))
        return logits

    def load_segmented(self, folder: str, dropout: float | None = None) -> nn.Module:
        model: Any = load_classifier(folder, dropout)
        read_in_segments(model, self.SIZE, Pool("mean", WIDTH, 0))
        return model  # type: ignore[no-any-return]

    @FAMILY
    def test_logits_and_gradients_equal_those_of_single_segments(self, folders: dict[str, str], family: str) -> None:
        batch = self.batch(folders[family])
        counts = [-(-length // self.SIZE) for length in batch.lengths.tolist()]
        assert max(counts) > 3 and min(counts) < 3
        plain, segmented_model = (load(folders[family], 0.0).train() for load in (load_classifier, self.load_segmented))
        ran: list[nn.Module] = []
        layers(segmented_model)[0].register_forward_pre_hook(lambda module, inputs: ran.append(module))
        gradients = []
        expected, logits = self.logits_of_single_segments(plain, batch), logits_of(segmented_model, batch)
        for model_logits, model in ((expected, plain), (logits, segmented_model)):
            functional.cross_entropy(model_logits, batch.targets).backward()
            gradients.append({name: each.grad for name, each in model.named_parameters() if each.grad is not None})
        expected, logits = self.logits_of_single_segments(plain, batch), logits_of(segmented_model, batch)
        assert torch.allclose(logits, expected, atol=1e-5)
        assert gradients[0].keys() == gradients[1].keys()
        assert len(gradients[0]) > 15
        for name, gradient in gradients[0].items():
            assert torch.allclose(gradient, gradients[1][name], atol=1e-5), name
        # Forward, again in backward, and the second forward pass: with fewer runs no memory was saved.
        assert len(ran) == 3 * max(counts)

    def test_padding_after_the_longest_row_is_not_read(self, folders: dict[str, str]) -> None:
        model, batch = self.load_segmented(folders["bert"], 0.0), self.batch(folders["bert"])
        wider = {name: functional.pad(values, (0, 20)) for name, values in batch.inputs.items()}
        ran: list[nn.Module] = []
        layers(model)[0].register_forward_pre_hook(lambda module, inputs: ran.append(module))
        assert torch.allclose(model(**wider).logits, logits_of(model, batch), atol=1e-6)
        assert len(ran) == 2 * -(-int(batch.lengths.max()) // self.SIZE)

    @FAMILY
    def test_recomputed_dropout_is_the_same(
        self, folders: dict[str, str], family: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        batch, gradients = self.batch(folders[family]), []
        for recompute in (True, False):
            model = self.load_segmented(folders[family], 0.3).train()
            if not recompute:
                ctx: Any = SimpleNamespace(save_for_backward=lambda vectors: None)
                monkeypatch.setattr(segmented.ReadAgain, "apply", partial(segmented.ReadAgain.forward, ctx))
            seed_forward(0, 0, 0)
            functional.cross_entropy(logits_of(model, batch), batch.targets).backward()
            gradients.append({name: each.grad for name, each in model.named_parameters() if each.grad is not None})
        assert gradients[0].keys() == gradients[1].keys()
        for name, gradient in gradients[0].items():
            assert torch.allclose(gradient, gradients[1][name], atol=1e-7), name

    def test_recomputed_activations_have_the_same_precision(self, folders: dict[str, str]) -> None:
        model, batch = self.load_segmented(folders["bert"]).train(), self.batch(folders["bert"])
        dtypes: list[torch.dtype] = []
        linear = next(module for module in layers(model)[0].modules() if isinstance(module, nn.Linear))
        linear.register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))
        with torch.autocast("cpu", torch.bfloat16):
            logits = logits_of(model, batch)
        functional.cross_entropy(logits.float(), batch.targets).backward()
        assert len(dtypes) > 4 and set(dtypes) == {torch.bfloat16}
        assert {each.grad.dtype for each in model.parameters() if each.grad is not None} == {torch.float32}

    @FAMILY
    def test_a_hook_on_word_vectors_gets_all_segments_at_once(self, folders: dict[str, str], family: str) -> None:
        model, batch = self.load_segmented(folders[family], 0.0).train(), self.batch(folders[family])
        plain = logits_of(model, batch)
        width, own = batch.inputs["input_ids"].shape[1], word_embeddings(model)
        added = torch.zeros(*batch.inputs["input_ids"].shape, own.weight.shape[1], requires_grad=True)
        calls: list[Tensor] = []

        def change(vectors: Tensor) -> Tensor:
            calls.append(vectors)
            return vectors + added

        with word_vectors.modify(model, width, change):
            changed = logits_of(model, batch)
        functional.cross_entropy(changed, batch.targets).backward()
        assert torch.allclose(changed, plain, atol=1e-6)
        assert [each.shape for each in calls] == [added.shape]
        assert added.grad is not None
        # Every token of every segment has a gradient, padding has none.
        assert torch.equal(added.grad.abs().sum(-1) > 0, batch.inputs["attention_mask"] == 1)
        assert word_embeddings(model) is own and not own._forward_hooks

    @FAMILY
    def test_a_hook_on_the_head_gets_the_pooled_vectors_once(self, folders: dict[str, str], family: str) -> None:
        model, batch = self.load_segmented(folders[family], 0.0).train(), self.batch(folders[family])
        last, plain = head(model), logits_of(model, batch)
        with pooled_vectors(last) as pooled:
            handle = last.register_forward_pre_hook(lambda _, inputs: (0.3 * inputs[0] + 0.7 * inputs[0].flip(0),))
            mixed = logits_of(model, batch)
            handle.remove()
        functional.cross_entropy(mixed, batch.targets).backward()
        assert [each.shape for each in pooled] == [(len(self.TEXTS), WIDTH)]
        assert torch.allclose(mixed, 0.3 * plain + 0.7 * plain.flip(0), atol=1e-5)
        assert head(model) is last

    @pytest.mark.parametrize("family", every(4, [name for name in FAMILIES if name != "mpnet"]))
    def test_gradient_checkpointing_changes_no_gradient(self, folders: dict[str, str], family: str) -> None:
        batch = self.batch(folders[family])
        gradients = []
        for checkpointing in (False, True):
            model: Any = load_classifier(folders[family], 0.2, checkpointing).train()
            read_in_segments(model, self.SIZE, Pool("mean", WIDTH, 0))
            seed_forward(0, 0, 0)
            functional.cross_entropy(logits_of(model, batch), batch.targets).backward()
            gradients.append({name: each.grad for name, each in model.named_parameters() if each.grad is not None})
        for name, gradient in gradients[0].items():
            assert torch.allclose(gradient, gradients[1][name], atol=1e-6), name

    def test_an_exception_leaves_the_modules_of_the_model_as_they_were(self, folders: dict[str, str]) -> None:
        model, batch = self.load_segmented(folders["roberta"]), self.batch(folders["roberta"])
        own = list(model.modules())
        handle = layers(model)[1].register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            logits_of(model, batch)
        handle.remove()
        assert all(one is other for one, other in zip(model.modules(), own, strict=True))


@pytest.mark.parametrize("has_hook", [False, True])
def test_segments_are_padded_on_the_side_of_the_rows(has_hook: bool) -> None:
    """The head of xlnet reads the last token, so padding behind a segment would change its vector."""
    model, tokenizer = small_model("XLNet").eval(), small_tokenizer(padding_side="left")
    read_in_segments(model, 4, lambda vectors, present: vectors.sum(1))
    dataset = rows_of(tokenizer, ["a b c d e f g", "a", "a b c d"])
    # Some hook on the word embeddings lets the word vectors of all segments be computed at once.
    hook = word_embeddings(model).register_forward_hook(lambda *_: None) if has_hook else None
    with torch.no_grad():
        together = model(**dataset.pad(np.arange(3))).logits
        if hook:
            hook.remove()
        alone = torch.cat([model(**dataset.pad(np.array([row]))).logits for row in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_padding_is_moved_and_the_order_of_tokens_stays() -> None:
    values, mask = torch.tensor([[0, 0, 5, 6], [1, 2, 3, 4]]), torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    moved, moved_mask = move_padding(values, mask, "right"), move_padding(mask, mask, "right")
    assert moved.tolist() == [[5, 6, 0, 0], [1, 2, 3, 4]]
    assert torch.equal(move_padding(moved, moved_mask, "left"), values)
    vectors = values[..., None].expand(2, 4, 3)
    assert torch.equal(move_padding(vectors, mask, "right")[..., 0], moved)
