"""Tokenize examples once, into flat arrays of token ids that are cached on disk."""

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tokenizers
import torch
import transformers
from datasets import Dataset, concatenate_datasets
from datasets.fingerprint import Hasher
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from recipes.data.batch import Batch
from recipes.data.cache import cache_folder
from recipes.data.columns import hash_cells
from recipes.errors import unreadable

AT_ONCE = 1000
"""Rows that are tokenized together."""

TEACHER = "teacher"
"""An optional column of examples: the probabilities of a teacher, by class."""
SOFT_TARGETS = "soft_targets"
"""An optional column of examples: a distribution over the classes; null where the label counts."""

Encode = Callable[[Sequence[str], Sequence[str] | None], Mapping[str, Any]]


@dataclass(frozen=True)
class Padding:
    """How the rows of a batch are filled up to one width."""

    values: Mapping[str, int]
    """The padding value of each model input."""
    side: str = "right"
    """Where the padding goes: right or left."""
    width: int | None = None
    """Tokens of every row; None: those of the longest row."""


@dataclass(frozen=True)
class Encoded:
    """A tokenized split, in the order of the data. A row is a document, which is read as one window or several."""

    examples: Dataset
    columns: Mapping[str, np.ndarray]
    """Each model input, as the concatenated tokens of all windows, (all tokens)."""
    offsets: np.ndarray
    """Index of each window's first token, and the number of tokens, (window + 1)."""
    labels: np.ndarray
    """Class number, (row), -1 for a label that training does not have; if multi-label 0 and 1, (row, class)."""
    num_classes: int
    padding: Padding
    window_offsets: np.ndarray | None = None
    """Index of each row's first window, and the number of windows, (row + 1); None if each row is one window."""
    teacher: np.ndarray | None = None
    """The probabilities of a teacher, (row, class); None without a teacher."""
    soft_targets: np.ndarray | None = None
    """Distributions in place of labels, (row, class), NaN where the label counts; None if every label counts."""

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.labels)

    @cached_property
    def window_lengths(self) -> np.ndarray:
        """Tokens of each window, (window)."""
        return np.diff(self.offsets)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, over all its windows, (row)."""
        if self.window_offsets is None:
            return self.window_lengths
        return np.add.reduceat(self.window_lengths, self.window_offsets[:-1])

    @cached_property
    def counts(self) -> np.ndarray:
        """Windows of each row, (row)."""
        return np.ones(len(self), dtype=np.int64) if self.window_offsets is None else np.diff(self.window_offsets)

    @cached_property
    def ids(self) -> Sequence[str]:
        """The records' ids."""
        ids: Sequence[str] = self.examples["id"][:]
        return ids

    def windows_of(self, rows: np.ndarray) -> np.ndarray:
        """Indices of the windows of these rows, row by row."""
        if self.window_offsets is None:
            return rows
        counts = self.counts[rows]
        before = np.cumsum(counts) - counts
        return np.repeat(self.window_offsets[rows] - before, counts) + np.arange(counts.sum())

    def pad(self, windows: np.ndarray) -> dict[str, Tensor]:
        """The model inputs of these windows, (window, token), padded."""
        lengths = self.window_lengths[windows]
        width = self.padding.width or int(lengths.max())
        # The index of each token in its window; padding is outside 0 ... length - 1.
        index = np.arange(width) - (0 if self.padding.side == "right" else width - lengths[:, None])
        is_token = (index >= 0) & (index < lengths[:, None])
        inputs = {}
        # Indices into the flat columns; padding points at index 0 and is overwritten below.
        tokens = np.where(is_token, self.offsets[windows, None] + index, 0)
        for name, flat in self.columns.items():
            values = np.where(is_token, flat[tokens], self.padding.values[name])
            inputs[name] = torch.from_numpy(values.astype(np.int64, copy=False))
        inputs["attention_mask"] = torch.from_numpy(is_token.astype(np.int64))
        return inputs

    def collate(self, rows: np.ndarray, epoch: int, index: int) -> Batch:
        """Make the batch of these rows, padded to their longest window.

        Args:
            rows: indices, (row).
            epoch: number of the epoch.
            index: of the batch in the epoch.
        """
        windows = self.windows_of(rows)
        ids = [self.ids[row] for row in rows]
        targets, weights = self._make_targets(rows)
        teacher = None if self.teacher is None else torch.from_numpy(self.teacher[rows]).to(targets.dtype)
        # A batch without any label has weight 0; 1 avoids a division by 0.
        total, documents = float(weights.sum()) or 1.0, None
        # The windows of a document repeat its id and targets and divide its weight.
        if self.window_offsets is not None:
            counts = torch.from_numpy(self.counts[rows])
            documents = torch.arange(len(rows)).repeat_interleave(counts)
            ids = [ids[document] for document in documents.tolist()]
            targets, weights = targets[documents], (weights / counts)[documents]
            teacher = None if teacher is None else teacher[documents]
        return Batch(
            ids=ids,
            inputs=self.pad(windows),
            lengths=torch.from_numpy(self.window_lengths[windows]),
            targets=targets,
            teacher=teacher,
            weights=weights,
            total=total,
            epoch=epoch,
            index=index,
            documents=documents,
            padding_side=self.padding.side,
            has_fixed_width=self.padding.width is not None,
        )

    def _make_targets(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        labels, precision = self.labels[rows], torch.get_default_dtype()
        if labels.ndim == 2:
            targets, is_known = labels.astype(np.float32), np.ones(len(rows), dtype=bool)
        else:
            targets = np.zeros((len(rows), self.num_classes), dtype=np.float32)
            # A label that training does not have gets no target and no weight.
            is_known = labels >= 0
            targets[is_known, labels[is_known]] = 1
        if self.soft_targets is not None:
            soft = self.soft_targets[rows]
            targets = np.where(np.isnan(soft), targets, soft)
        return torch.from_numpy(targets).to(precision), torch.from_numpy(is_known).to(precision)


def clean_rows(examples: Dataset, clean: Callable[[str], str]) -> Dataset:
    """Clean every text, and every second text of a pair."""
    columns = examples.to_dict()
    for name in ("text", "text_pair"):
        columns[name] = [None if text is None else clean(text) for text in columns[name]]
    return Dataset.from_dict(columns, examples.features)


def map_cached(
    examples: Dataset, make: Callable[..., dict[str, Any]], key: Sequence[object], **options: Any
) -> Dataset:
    """Map rows, or read the result of the same mapping from the cache.

    Concurrent processes are safe: each writes its own temporary file, and the last to finish renames it to the final
    name.

    Args:
        examples: rows with any columns.
        make: maps a batch of rows to a batch of new rows, as in `Dataset.map`.
        key: everything except the rows that the result depends on.
        **options: passed to `Dataset.map`.

    Raises:
        UserError: the cache cannot be written.
    """
    fingerprint = Hasher.hash((_contents(examples), [str(part) for part in key]))
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = str(folder / f"{fingerprint}.arrow")
        return examples.map(make, cache_file_name=file, new_fingerprint=fingerprint, batched=True, **options)
    except OSError as error:
        raise unreadable(str(folder), error) from error


def _contents(examples: Dataset) -> str:
    """A checksum of all cells. The fingerprint of `datasets` may go by the path of a file, whatever it holds now."""
    tables = examples.with_format("arrow").iter(batch_size=10_000)
    return hash_cells(examples.features, (batch for each in tables for batch in each.combine_chunks().to_batches()))


def encode(
    examples: Dataset,
    encode_texts: Encode,
    tokenizer: PreTrainedTokenizerBase,
    classes: Sequence[str],
    key: Sequence[object] | None,
    width: int | None = None,
) -> Encoded:
    """Tokenize a split, or read its tokens from the cache.

    Args:
        examples: rows with the columns id, source, text, text_pair and label.
        encode_texts: the `encode` seam. For each text it returns the tokens, or a list of windows of tokens.
        tokenizer: gives the padding, and is part of the cache key.
        classes: the labels, in the model's order.
        key: everything except texts and tokenizer that the tokens depend on; None: do not cache.
        width: tokens to which every row is padded; None: those of the longest row of its batch.

    Raises:
        UserError: the cache cannot be written.
    """

    def tokenize(rows: Mapping[str, list[Any]]) -> dict[str, Any]:
        pairs = None if rows["text_pair"][0] is None else rows["text_pair"]
        encoded = encode_texts(rows["text"], pairs)
        # The mask follows from the lengths (`Encoded.pad`).
        return {
            name: [_at_least_one(tokens, padding.get(name, 0)) for tokens in values]
            for name, values in encoded.items()
            if name != "attention_mask"
        }

    padding = {
        "input_ids": tokenizer.pad_token_id or 0,
        "token_type_ids": getattr(tokenizer, "pad_token_type_id", 0),
    }

    columns, offsets, window_offsets = {}, np.zeros(1, dtype=np.int64), None
    teacher, soft_targets = (read_distributions(examples, name) for name in (TEACHER, SOFT_TARGETS))
    # Tokens are cached by the rows, and do not depend on distributions.
    if distributions := [name for name in (TEACHER, SOFT_TARGETS) if name in examples.column_names]:
        examples = examples.remove_columns(distributions)
    if key is None:
        # Not by `Dataset.map`, which takes 2 % of the time of MiniLM on short texts.
        starts = range(0, len(examples), AT_ONCE)
        table = pa.concat_tables([pa.table(tokenize(examples[start : start + AT_ONCE])) for start in starts])
    else:
        full_key = (_tokenizer_key(tokenizer), *key)
        encoded = map_cached(examples, tokenize, full_key, remove_columns=examples.column_names)
        table = encoded.with_format("arrow")[:]
    for name in table.column_names:
        lists = table[name].combine_chunks()
        # Lists of lists: a row is a list of windows, and a window a list of tokens.
        if pa.types.is_list(lists.type.value_type):
            window_offsets, lists = np.asarray(lists.offsets, dtype=np.int64), lists.values
        offsets = np.asarray(lists.offsets, dtype=np.int64)
        values = np.asarray(lists.values)
        # What was not cached has 64 bits.
        columns[name] = values.astype(np.int32) if values.itemsize > 4 else values
    # If each row has one window, it is not a split into windows.
    if window_offsets is not None and len(window_offsets) == len(offsets):
        window_offsets = None
    return Encoded(
        examples,
        columns,
        offsets,
        _encode_labels(examples["label"][:], classes),
        len(classes),
        Padding({name: padding.get(name, 0) for name in columns}, tokenizer.padding_side, width),
        window_offsets,
        teacher,
        soft_targets,
    )


def with_distributions(examples: Dataset, name: str, values: np.ndarray) -> Dataset:
    """Add a column of distributions over the classes, (row, class)."""
    rows, classes = values.shape
    flat = pa.array(values.astype(np.float32).ravel())
    lists = pa.LargeListArray.from_arrays(pa.array(np.arange(rows + 1) * classes), flat)
    return concatenate_datasets([examples, Dataset(pa.table({name: lists}))], axis=1)


def read_distributions(examples: Dataset, name: str) -> np.ndarray | None:
    """Read a column of distributions, (row, class), NaN where there is null; None if the rows do not have it."""
    if name not in examples.column_names:
        return None
    lists = examples.with_format("arrow")[:][name].combine_chunks()
    is_valid = lists.is_valid().to_numpy(zero_copy_only=False)
    present = lists.flatten().to_numpy().reshape(is_valid.sum(), -1)
    values = np.full((len(examples), present.shape[1]), np.nan, dtype=np.float32)
    values[is_valid] = present
    return values


def _at_least_one(tokens: list[Any], padding: int) -> list[Any]:
    """The tokens of a row, or of each of its windows; where there are none, one of padding, for a model to read."""
    if tokens and isinstance(tokens[0], list):
        return [_at_least_one(window, padding) for window in tokens]
    return tokens or [padding]


def _tokenizer_key(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Everything in a tokenizer that its tokens depend on.

    The vocabulary is not enough: bert and distilbert have the same one, but only bert uses segment ids. And a tokenizer
    in Python decides much in its code, by settings that it saves next to the vocabulary.
    """
    kind, backend = type(tokenizer), getattr(tokenizer, "backend_tokenizer", None)
    rules = _saved_files(tokenizer) if backend is None else _backend_rules(backend)
    versions = transformers.__version__, tokenizers.__version__
    # Where it was loaded from, and which side is padded, changes no token.
    settings = {
        name: value
        for name, value in vars(tokenizer).items()
        if isinstance(value, bool | int | float | str | list | tuple | None)
        and name not in ("name_or_path", "padding_side")
    }
    special = sorted((name, str(token)) for name, token in tokenizer.special_tokens_map.items())
    added = sorted((number, repr(token)) for number, token in tokenizer.added_tokens_decoder.items())
    parts = (kind.__module__, kind.__qualname__, versions, sorted(settings.items()), special, added)
    return [*map(str, parts), rules]


def _backend_rules(backend: Tokenizer) -> str:
    """All that a tokenizer in Rust goes by, but for truncation and padding: each call sets its own."""
    truncation, padding = backend.truncation, backend.padding
    backend.no_truncation()
    backend.no_padding()
    rules: str = backend.to_str()
    if truncation:
        backend.enable_truncation(**truncation)
    if padding:
        backend.enable_padding(**padding)
    return rules


def _saved_files(tokenizer: PreTrainedTokenizerBase) -> str:
    """The contents of all files that a tokenizer saves, as a checksum."""
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        for path in sorted(Path(folder).iterdir()):
            digest.update(f"{path.name} {path.stat().st_size} ".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _encode_labels(labels: Sequence[Any], classes: Sequence[str]) -> np.ndarray:
    number = {name: index for index, name in enumerate(classes)}
    if any(isinstance(label, list) for label in labels):
        matrix = np.zeros((len(labels), len(classes)), dtype=np.int8)
        for row, names in enumerate(labels):
            matrix[row, [number[name] for name in names or () if name in number]] = 1
        return matrix
    return np.fromiter((number.get(label, -1) for label in labels), dtype=np.int64, count=len(labels))


def class_counts(dataset: Encoded) -> np.ndarray:
    """Count the rows of each class, (class).

    A row with several labels counts for each of them, and a row with a label that training does not have for none.
    """
    if dataset.labels.ndim == 2:
        counts: np.ndarray = dataset.labels.sum(0)
        return counts
    return np.bincount(dataset.labels[dataset.labels >= 0], minlength=dataset.num_classes)
