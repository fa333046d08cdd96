"""Predict with this exported model. It needs numpy, onnxruntime and tokenizers, and nothing else.

    from predict import Classifier

    classifier = Classifier(".")
    classifier.probabilities(["a text"])  # (row, class), in the order of classifier.labels
    classifier.predict(["a text"])  # the names of the labels

Trickbook wrote this file, and compared it with its own predictions when it exported the model. `settings.json` has the
labels, and what happens to a text before and after the model.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

WINDOWS_AT_ONCE = 32
"""Inputs that pass the model together; they are of similar length."""
PROBE = "a"
"""Any short text; its encoding shows where the tokenizer puts special tokens."""
# The model inputs of one window, by their names.
Window = dict[str, list[int]]
RunModel = Callable[[Mapping[str, np.ndarray]], np.ndarray]


class Classifier:
    """An exported classifier.

    Args:
        folder: the folder of the export.
        run_model: computes the logits, (window, class), of padded inputs, (window, token). None: by `model.onnx`.
    """

    def __init__(self, folder: str | Path = ".", run_model: RunModel | None = None) -> None:
        from tokenizers import Tokenizer

        folder = Path(folder)
        self.settings: dict[str, Any] = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        self.labels: list[str] = self.settings["labels"]
        self.multi_label: bool = self.settings["multi_label"]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.run_model = run_model or _load_model(folder / "model.onnx")

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[str] | list[list[str]]:
        """Predict the label of each text, or of each pair of texts; a list of labels where a text may have more."""
        answers = self.decide(self.probabilities(texts, pairs))
        if self.multi_label:
            return [[self.labels[number] for number in np.flatnonzero(row)] for row in answers]
        return [self.labels[number] for number in answers.argmax(1)]

    def probabilities(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> np.ndarray:
        """The probability of each label, (row, class), of texts, or of pairs of texts."""
        if isinstance(texts, str) or (pairs is None) == self.settings["pairs"]:
            raise ValueError("it takes a list of texts" + (", and a list of pairs" if self.settings["pairs"] else ""))
        rows = self._encode([self._clean(text) for text in texts], pairs and [self._clean(text) for text in pairs])
        windows = [window for row in rows for window in row]
        answers = np.zeros((len(windows), len(self.labels)), dtype=np.float32)
        order = np.argsort([len(window["input_ids"]) for window in windows], kind="stable")
        for begin in range(0, len(order), WINDOWS_AT_ONCE):
            numbers = order[begin : begin + WINDOWS_AT_ONCE]
            logits = self.run_model(self._pad([windows[number] for number in numbers])).astype(np.float32)
            answers[numbers] = _sigmoid(logits) if self.multi_label else _softmax(logits)
        ends = np.cumsum([len(row) for row in rows])
        merged = [self._merge(answers[end - len(row) : end]) for row, end in zip(rows, ends, strict=True)]
        return np.stack(merged) if merged else answers

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """The labels of each row as 0 and 1, (row, class)."""
        thresholds = self.settings["thresholds"]
        over = probabilities / np.array(thresholds) if thresholds else probabilities
        if self.multi_label:
            return (over >= (1 if thresholds else 0.5)).astype(np.int8)
        highest: np.ndarray = np.arange(len(self.labels)) == over.argmax(1)[:, None]
        return highest.astype(np.int8)

    def _clean(self, text: str) -> str:
        for step in self.settings["clean"]:
            if "pattern" in step:
                text = re.sub(step["pattern"], step["replacement"], text)
            if "characters" in step:
                text = text.translate(str.maketrans(step["characters"]))
            if "form" in step:
                text = unicodedata.normalize(step["form"], text)
        return text

    def _encode(self, texts: Sequence[str], pairs: Sequence[str] | None) -> list[list[Window]]:
        """The windows of each text; one, unless the text is longer than the model reads and was trained in windows."""
        cut, windows = self.settings["cut"], self.settings["windows"]
        if cut or windows:
            self.tokenizer.no_truncation()
        else:
            self.tokenizer.enable_truncation(self.settings["max_length"])
            inputs = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
            encodings = self.tokenizer.encode_batch(inputs)
            return [[self._fill({"input_ids": each.ids, "token_type_ids": each.type_ids})] for each in encodings]
        first, second = self._count(texts), None if pairs is None else self._count(pairs)
        if windows and second is None:
            return [[self._surround(window) for window in split(ids, **windows)] for ids in first]
        if windows:
            zipped = zip(first, second or [], strict=True)
            return [[self._surround(*window) for window in split_pair(*sides, **windows)] for sides in zipped]
        room, part, fraction = cut["room"], cut["part"], cut["head_fraction"]
        if second is None:
            return [[self._surround(cut_text(ids, room, part, fraction))] for ids in first]
        rows = []
        for one, other in zip(first, second, strict=True):
            sizes = divide_room(len(one), len(other), room, cut["pairs"])
            sides = [cut_text(ids, size, part, fraction) for ids, size in zip((one, other), sizes, strict=True)]
            rows.append([self._surround(*sides)])
        return rows

    def _count(self, texts: Sequence[str]) -> list[list[int]]:
        """All tokens of each text, without special tokens."""
        return [each.ids for each in self.tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def _surround(self, *sides: Sequence[int]) -> Window:
        """Put special tokens around the tokens of a text, or of a pair of texts."""
        width = len(self._count([PROBE])[0])
        probe = self.tokenizer.encode(PROBE, PROBE if len(sides) == 2 else None)
        begins = [number for number, special in enumerate(probe.special_tokens_mask) if not special][::width]
        window: Window = {}
        for name, values in (("input_ids", probe.ids), ("token_type_ids", probe.type_ids)):
            row = values[: begins[0]]
            for ids, begin, following in zip(sides, begins, [*begins[1:], len(values)], strict=True):
                row += list(ids) if name == "input_ids" else values[begin : begin + 1] * len(ids)
                row += values[begin + width : following]
            window[name] = row
        return self._fill(window)

    def _fill(self, window: Window) -> Window:
        """One token of padding in place of no token at all, for the model to read."""
        padding = self.settings["padding"]
        return {name: values or [padding[name]] for name, values in window.items()}

    def _pad(self, windows: Sequence[Window]) -> dict[str, np.ndarray]:
        """The inputs of the model, (window, token)."""
        padding, lengths = self.settings["padding"], [len(window["input_ids"]) for window in windows]
        width, on_left = padding["width"] or max(lengths), padding["side"] == "left"
        inputs = {}
        for name in self.settings["inputs"]:
            values = np.full((len(windows), width), padding.get(name, 0), dtype=np.int64)
            for row, (window, length) in enumerate(zip(windows, lengths, strict=True)):
                span = slice(width - length, width) if on_left else slice(0, length)
                values[row, span] = 1 if name == "attention_mask" else window[name]
            inputs[name] = values
        return inputs

    def _merge(self, answers: np.ndarray) -> np.ndarray:
        """The probabilities of a text, (class), from those of its windows, (window, class)."""
        return merge_windows(answers, self.settings["merge"], self.multi_label) if len(answers) > 1 else answers[0]


def _load_model(path: Path) -> RunModel:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run_model(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        logits: np.ndarray = session.run(["logits"], dict(inputs))[0]
        return logits

    return run_model


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities: np.ndarray = exponentials / exponentials.sum(-1, keepdims=True)
    return probabilities


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    # exp never overflows: its argument is at most 0.
    small = np.exp(-np.abs(logits))
    probabilities: np.ndarray = np.where(logits >= 0, 1, small) / (1 + small)
    return probabilities


def split(ids: Sequence[int], room: int, stride: int, most: int | None) -> list[Sequence[int]]:
    """Split a text into windows of `room` tokens, `stride` apart; at most `most` of them."""
    starts = range(0, max(1, len(ids) - room + stride), stride)[:most]
    return [ids[start : start + room] for start in starts]


def split_pair(
    one: Sequence[int], other: Sequence[int], room: int, stride: int, most: int | None
) -> list[tuple[Sequence[int], ...]]:
    """Split the longer text of a pair; each window also has the start of the shorter one, at most half a window."""
    short_room = min(len(one), len(other), room // 2)
    room, stride = room - short_room, min(stride, room - short_room)
    if len(one) > len(other):
        return [(window, other[:short_room]) for window in split(one, room, stride, most)]
    return [(one[:short_room], window) for window in split(other, room, stride, most)]


def cut_text(ids: Sequence[int], size: int, part: str, head_fraction: float) -> Sequence[int]:
    """Take `size` tokens of a text, or all if it has fewer: its head, its tail, or both."""
    if len(ids) <= size:
        return ids
    head = {"head": size, "tail": 0, "head_tail": round(head_fraction * size)}[part]
    return [*ids[:head], *ids[len(ids) - (size - head) :]]


def divide_room(first: int, second: int, room: int, pairs: str) -> tuple[int, int]:
    """The number of tokens that remain of each text of a pair; `pairs` names the text that loses tokens."""
    half = room // 2 + (room % 2 if first > second else 0)
    # The first text keeps at least its guaranteed tokens, and more if the second one leaves room.
    guaranteed = {"longest": half, "first": 0, "second": room}[pairs]
    remaining = min(first, max(room - second, guaranteed))
    return remaining, min(second, room - remaining)


def merge_windows(answers: np.ndarray, merge: str, multi_label: bool) -> np.ndarray:
    """The probabilities of a text, (class), from those of its windows, (window, class)."""
    mean: np.ndarray = answers.mean(0)
    if merge == "mean_probabilities":
        return mean
    if merge == "mean_logits":
        limits = np.finfo(np.float32)  # beyond these a logit or logarithm is not finite
        if multi_label:
            clipped = answers.clip(limits.eps, 1 - limits.eps)
            return _sigmoid(np.log(clipped / (1 - clipped)).mean(0))
        return _softmax(np.log(answers.clip(limits.tiny)).mean(0))
    if merge == "max":
        highest: np.ndarray = answers.max(0)
        return highest if multi_label else highest / highest.sum()
    counted = (answers >= 0.5).sum(0) if multi_label else np.bincount(answers.argmax(1), minlength=answers.shape[1])
    # The mean adds less than one vote, so it only breaks ties.
    votes: np.ndarray = (counted + mean) / (len(answers) + 1)
    return votes
