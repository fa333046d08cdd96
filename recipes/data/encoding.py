"""Tokenizing once: examples become flat arrays of token ids, kept in a cache on disk."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from datasets.fingerprint import Hasher
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from recipes.data.batch import Batch
from recipes.errors import unreadable

Encode = Callable[[Sequence[str], Sequence[str] | None], Mapping[str, Any]]


@dataclass(frozen=True)
class Encoded:
    """A split as the model sees it, in the data's own order: a row is a document, read as one window or several."""

    examples: Dataset
    columns: Mapping[str, np.ndarray]
    """Each model input, the windows' tokens one after the other, (all tokens)."""
    offsets: np.ndarray
    """Where each window's tokens begin, (window + 1)."""
    labels: np.ndarray
    """Class number, (row), -1 where training has no such label; with several labels 0/1, (row, class)."""
    num_classes: int
    padding: Mapping[str, int]
    """What fills each model input behind a window's end."""
    window_offsets: np.ndarray | None = None
    """Where each row's windows begin, (row + 1); None where each row is one window."""

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.labels)

    @cached_property
    def window_lengths(self) -> np.ndarray:
        """Tokens of each window, (window)."""
        return np.diff(self.offsets)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, those of all its windows, (row)."""
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
        """The windows of these rows, row by row."""
        if self.window_offsets is None:
            return rows
        counts = self.counts[rows]
        before = np.cumsum(counts) - counts
        return np.repeat(self.window_offsets[rows] - before, counts) + np.arange(counts.sum())

    def collate(self, rows: np.ndarray, epoch: int, index: int) -> Batch:
        """Make the batch of these rows, padded to the longest window of them."""
        windows = self.windows_of(rows)
        lengths = self.window_lengths[windows]
        width = int(lengths.max())
        places = np.arange(width) < lengths[:, None]
        inputs = {}
        tokens = np.where(places, self.offsets[windows, None] + np.arange(width), 0)
        for name, flat in self.columns.items():
            values = np.where(places, flat[tokens], self.padding[name])
            inputs[name] = torch.from_numpy(values.astype(np.int64, copy=False))
        inputs["attention_mask"] = torch.from_numpy(places.astype(np.int64))
        ids = [self.ids[row] for row in rows]
        targets, weights = self._targets(rows)
        total, documents = float(weights.sum()) or 1.0, None
        if self.window_offsets is not None:  # a row's windows share its weight
            counts = torch.from_numpy(self.counts[rows])
            documents = torch.arange(len(rows)).repeat_interleave(counts)
            ids = [ids[place] for place in documents.tolist()]
            targets, weights = targets[documents], (weights / counts)[documents]
        return Batch(
            ids=ids,
            inputs=inputs,
            lengths=torch.from_numpy(lengths),
            targets=targets,
            weights=weights,
            total=total,
            epoch=epoch,
            index=index,
            documents=documents,
        )

    def _targets(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        labels, precision = self.labels[rows], torch.get_default_dtype()
        if labels.ndim == 2:
            return torch.from_numpy(labels).to(precision), torch.ones(len(rows))
        targets = np.zeros((len(rows), self.num_classes), dtype=np.float32)
        known = labels >= 0
        targets[known, labels[known]] = 1
        return torch.from_numpy(targets).to(precision), torch.from_numpy(known).to(precision)


def clean_rows(examples: Dataset, clean: Callable[[str], str]) -> Dataset:
    """The same rows with every text, and every text of a pair, cleaned."""
    columns = examples.to_dict()
    for name in ("text", "text_pair"):
        columns[name] = [None if text is None else clean(text) for text in columns[name]]
    return Dataset.from_dict(columns, examples.features)


def map_cached(
    examples: Dataset, make: Callable[..., dict[str, Any]], key: Sequence[object], **options: Any
) -> Dataset:
    """Map rows once; another run that would make the same takes them from the cache.

    Processes that make the same at once do no harm: each writes a file of its own, and the last one to be done gives it
    the common name.

    Args:
        examples: rows of any kind.
        make: from a batch of them to a batch of others, as `Dataset.map` wants it.
        key: everything but the rows that the result depends on.
        **options: of `Dataset.map`.

    Raises:
        UserError: the cache cannot be written.
    """
    fingerprint = Hasher.hash((examples._fingerprint, [str(part) for part in key]))
    folder = Path(os.environ.get("TRICKBOOK_CACHE", datasets.config.HF_DATASETS_CACHE)) / "trickbook"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = str(folder / f"{fingerprint}.arrow")
        return examples.map(make, cache_file_name=file, new_fingerprint=fingerprint, batched=True, **options)
    except OSError as error:
        raise unreadable(str(folder), error) from error


def encode(
    examples: Dataset,
    encode_texts: Encode,
    tokenizer: PreTrainedTokenizerBase,
    classes: Sequence[str],
    key: Sequence[object] | None,
) -> Encoded:
    """Tokenize a split, or take it from the cache.

    Args:
        examples: rows (id, source, text, text_pair, label).
        encode_texts: the `encode` seam; for each text it gives the tokens, or a list of windows, each with its tokens.
        tokenizer: whose padding the batches use.
        classes: the labels, in the model's order.
        key: everything but texts and tokenizer that the tokens depend on; None keeps them out of the cache.

    Raises:
        UserError: the cache cannot be written.
    """

    def tokens(rows: Mapping[str, list[Any]]) -> dict[str, Any]:
        pairs = None if rows["text_pair"][0] is None else rows["text_pair"]
        encoded = encode_texts(rows["text"], pairs)
        return {name: values for name, values in encoded.items() if name != "attention_mask"}

    options: dict[str, Any] = {"remove_columns": examples.column_names}
    if key is None:
        encoded = examples.map(tokens, keep_in_memory=True, new_fingerprint="uncached", batched=True, **options)
    else:
        encoded = map_cached(examples, tokens, (_identity(tokenizer), *key), **options)
    columns, offsets, window_offsets = {}, np.zeros(1, dtype=np.int64), None
    table = encoded.with_format("arrow")[:]
    for name in encoded.column_names:
        lists = table[name].combine_chunks()
        if pa.types.is_list(lists.type.value_type):
            window_offsets, lists = np.asarray(lists.offsets, dtype=np.int64), lists.values
        offsets = np.asarray(lists.offsets, dtype=np.int64)
        columns[name] = np.asarray(lists.values)
    if window_offsets is not None and len(window_offsets) == len(offsets):
        window_offsets = None
    padding = {
        "input_ids": tokenizer.pad_token_id or 0,
        "token_type_ids": getattr(tokenizer, "pad_token_type_id", 0),
    }
    return Encoded(
        examples,
        columns,
        offsets,
        _numbers(examples["label"], classes),
        len(classes),
        {name: padding.get(name, 0) for name in columns},
        window_offsets,
    )


def _identity(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """All of a tokenizer that decides its tokens.

    Its settings count beside its vocabulary: bert and distilbert share one, but only bert takes segment ids.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        vocabulary = str(sorted(tokenizer.get_vocab().items()))
    else:
        backend.no_truncation()  # what the last call left behind; each call sets its own
        backend.no_padding()
        vocabulary = backend.to_str()
    settings = (type(tokenizer).__name__, tokenizer.model_input_names, tokenizer.truncation_side)
    return [*map(str, settings), vocabulary]


def _numbers(labels: Sequence[Any], classes: Sequence[str]) -> np.ndarray:
    number = {name: place for place, name in enumerate(classes)}
    if any(isinstance(label, list) for label in labels):
        matrix = np.zeros((len(labels), len(classes)), dtype=np.int8)
        for row, names in enumerate(labels):
            matrix[row, [number[name] for name in names or () if name in number]] = 1
        return matrix
    return np.fromiter((number.get(label, -1) for label in labels), dtype=np.int64, count=len(labels))


def class_counts(dataset: Encoded) -> np.ndarray:
    """Rows of each class, (class).

    A row with several labels counts for each of them, one whose label training does not know for none.
    """
    if dataset.labels.ndim == 2:
        counts: np.ndarray = dataset.labels.sum(0)
        return counts
    return np.bincount(dataset.labels[dataset.labels >= 0], minlength=dataset.num_classes)
