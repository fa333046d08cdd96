"""Fit a tokenizer to its model by asking the model: which token pads, on which side, and how many tokens it reads.

Families count positions differently, and a tokenizer may say something else than its model. So nothing here knows a
family: rows are passed through the model, without any random draw.
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from recipes.data.encoding import Encoded, Padding
from recipes.errors import UserError
from recipes.models.anatomy import Reached, layers, word_embeddings
from recipes.runtime.precision import exact_products

UNDECLARED = 2048
"""Tokens that are tried where a model's config does not say how many it reads."""
TOLERANCE = 1e-4
"""How far the logits of a row may differ between a batch and alone, relative to the largest logit: rounding."""

# What the code of a model raises for an input, or with a config, that it cannot read.
UNREADABLE = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
CONFIG_WIDTH = "padded_to_length"
"""The entry of a saved model's config that says how wide every input is, where that is fixed."""


def fit_tokenizer(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, most: int, name: str) -> None:
    """Let a tokenizer make only inputs that its model can read.

    It gets a padding token if it has none, leaves out inputs that the model does not take, and its `model_max_length`
    falls to the tokens that the model reads.

    Args:
        tokenizer: the tokenizer; it is changed.
        model: its model; its config gets the padding token.
        most: tokens that an input of this run may have.
        name: the setting that chose the model, for messages.

    Raises:
        UserError: the model takes no attention mask, so it cannot read padded rows.
    """
    accepted = inspect.signature(model.forward).parameters
    if "attention_mask" not in accepted:
        raise UserError(
            f"{name}: {type(model).__name__} takes no attention_mask, so it cannot tell padding from text; take another"
            " model."
        )
    inputs = [name for name in tokenizer.model_input_names if name in accepted]
    if inputs != tokenizer.model_input_names:
        _save_setting(tokenizer, "model_input_names", inputs)
    _choose_padding_token(tokenizer, model)
    limit = _count_readable_tokens(model, tokenizer, min(most, tokenizer.model_max_length))
    declared = _declared_positions(model.config)
    # Up to `most` it was tried. More is only a promise of the config, for advice.
    longest = max(limit, declared) if limit >= most else limit
    tokenizer.model_max_length = min(tokenizer.model_max_length, longest)


def _choose_padding_token(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Let tokenizer and model agree on a token that pads; no row is added to the embeddings."""
    config, count = model.config.get_text_config(), count_embeddings(model) or len(tokenizer)

    def has_row(number: int | None) -> bool:
        return isinstance(number, int) and 0 <= number < count

    if not has_row(tokenizer.pad_token_id):
        others = (tokenizer.eos_token_id, tokenizer.unk_token_id, tokenizer.sep_token_id, tokenizer.bos_token_id, 0)
        number = next(each for each in (config.pad_token_id, *others) if has_row(each))
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(number)
    # A head that reads the last token finds it by the id of the padding.
    if not has_row(config.pad_token_id):
        model.config.pad_token_id = config.pad_token_id = tokenizer.pad_token_id


def count_embeddings(model: nn.Module) -> int | None:
    """The number of tokens that the model has vectors for; None if it has no table of them."""
    try:
        embeddings = word_embeddings(model)
    except NotImplementedError:  # canine hashes characters
        return None
    return embeddings.num_embeddings if isinstance(embeddings, nn.Embedding) else None


def _declared_positions(config: PretrainedConfig) -> int:
    """The positions that the config speaks of: where there is a table, about its size; 0 if it speaks of none."""
    declared = getattr(config, "max_position_embeddings", None)
    return declared if isinstance(declared, int) and declared > 0 else 0


def _count_readable_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, most: int) -> int:
    """The most tokens, up to `most`, that pass the model's embeddings and its first layer."""
    special, declared = set(tokenizer.all_special_ids), _declared_positions(model.config)
    # Not the padding token: some models give it no position.
    token = next((each for each in range(len(tokenizer)) if each not in special), 0)

    def reads(count: int) -> bool:
        return _passes_first_layer(model, {"input_ids": torch.full((1, count), token)})

    # A table has about as many rows as the config says. Longer inputs would only take memory.
    tried = min(most, 2 * (declared or UNDECLARED))
    if reads(tried):
        return most
    # Some models read one length only, that of their config.
    readable, unreadable = (declared if 0 < declared < tried and reads(declared) else 0), tried
    while unreadable - readable > 1:
        middle = (readable + unreadable) // 2
        readable, unreadable = (middle, unreadable) if reads(middle) else (readable, middle)
    # A model that reads nothing at all has another fault, which its first rows will show.
    return readable or most


def _passes_first_layer(model: nn.Module, inputs: Mapping[str, Tensor]) -> bool:
    def stop(module: nn.Module, arguments: object) -> None:
        raise Reached

    try:
        stack = layers(model)
    except ValueError:
        stack = nn.ModuleList()
    handles = [layer.register_forward_pre_hook(stop) for layer in list(stack)[1:2]]
    try:
        with _without_traces(model):
            model(**inputs)
    except Reached:
        return True
    except UNREADABLE:
        return False
    finally:
        for handle in handles:
            handle.remove()
    return True


@contextmanager
def _without_traces(model: nn.Module) -> Iterator[None]:
    """Inside this context dropout is off, and afterwards modes and random states are as before."""
    modes = [(module, module.training) for module in model.modules()]
    devices = [device for device in {each.device for each in model.parameters()} if device.type == "cuda"]
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices):
            yield
    finally:
        for module, training in modes:
            module.training = training


def settle_padding(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dataset: Encoded, max_length: int, name: str
) -> Padding:
    """Find a padding with which the result of a row does not depend on its batch.

    The longest and the shortest row are read together, and each alone. The tokenizer's own padding is tried first, then
    the other side, the model's own padding token, and last rows that are all as wide as `max_length`. The tokenizer and
    the model's config take over what is found.

    Args:
        model: the classifier.
        tokenizer: its tokenizer.
        dataset: the training rows.
        max_length: tokens of the longest input.
        name: the setting that chose the model, for messages.

    Raises:
        UserError: the model cannot read a row, or no padding is right.
    """
    rows = _longest_and_shortest(dataset, max_length)
    differences, failure = [], None
    for padding in _paddings(model, tokenizer, dataset.padding, max_length):
        try:
            difference = _measure_difference(model, replace(dataset, padding=padding), rows)
        except UNREADABLE as error:
            failure = failure or error
            continue
        if difference <= TOLERANCE:
            _save_setting(tokenizer, "padding_side", padding.side)
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(padding.values["input_ids"])
            if padding.width is not None:
                setattr(model.config, CONFIG_WIDTH, padding.width)
            return padding
        differences.append(difference)
    if failure is not None and not differences:
        reason = str(failure).strip().split("\n")[0].rstrip(". ")
        raise UserError(
            f"{name}: {type(model).__name__} cannot read training rows of {_describe_lengths(dataset, rows)} tokens "
            f"({reason}). Set data.max_length, now {max_length}, to what the model reads, or take another model."
        ) from failure
    if _measure_repetition(model, dataset, rows) > TOLERANCE:
        raise UserError(
            f"{name}: the same rows give other logits the second time, with dropout off. Its predictions could not be "
            "repeated; look for dropout, or another random operation, that ignores model.eval()."
        )
    raise UserError(
        f"{name}: a row's result depends on the rows next to it. Alone and in a batch, logits of training rows of "
        f"{_describe_lengths(dataset, rows)} tokens differ by {min(differences):.1%} of the largest one, with padding "
        "on either side. Its predictions could not be repeated; take another model, or correct its pad_token_id and "
        "the tokenizer's padding_side."
    )


def _save_setting(tokenizer: PreTrainedTokenizerBase, name: str, value: object) -> None:
    """Change a setting so that the saved tokenizer has it too: it saves the settings that it was made with."""
    setattr(tokenizer, name, value)
    tokenizer.init_kwargs[name] = value


def check_token_ids(model: nn.Module, tokenizer: PreTrainedTokenizerBase, dataset: Encoded, name: str) -> None:
    """Check that the model has a vector for every token.

    Raises:
        UserError: it has none for some token.
    """
    ids, count = dataset.columns["input_ids"], count_embeddings(model)
    largest = int(ids.max(initial=0))
    if count is not None and largest >= count:
        raise UserError(
            f"{name}: the tokenizer gives {tokenizer.convert_ids_to_tokens(largest)!r} the id {largest}, and the model "
            f"has {count} embeddings, so for ids up to {count - 1}. Save the model's own tokenizer to its folder."
        )


def fixed_width(model: nn.Module) -> int | None:
    """The tokens to which every row of this model is padded, as `settle_padding` found; None: those of the longest."""
    width: int | None = getattr(model.config, CONFIG_WIDTH, None)
    return width


def _paddings(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, own: Padding, max_length: int
) -> Iterator[Padding]:
    other_side = "left" if own.side == "right" else "right"
    yield own
    yield replace(own, side=other_side)
    model_token = model.config.get_text_config().pad_token_id
    if model_token != own.values["input_ids"] and model_token < len(tokenizer):
        values = {**own.values, "input_ids": model_token}
        yield replace(own, values=values)
        yield replace(own, values=values, side=other_side)
    yield replace(own, width=max_length)


def _longest_and_shortest(dataset: Encoded, max_length: int) -> np.ndarray:
    """Indices of two rows. One that is read in many segments would take long, so at most two are passed."""
    lengths = dataset.window_lengths
    within = np.flatnonzero(lengths <= 2 * max_length)
    shortest = int(lengths.argmin())
    longest = int(within[lengths[within].argmax()]) if len(within) else shortest
    return np.unique([shortest, longest])


def _describe_lengths(dataset: Encoded, windows: np.ndarray) -> str:
    return " and ".join(str(length) for length in sorted(dataset.window_lengths[windows].tolist()))


def _measure_difference(model: nn.Module, dataset: Encoded, windows: np.ndarray) -> float:
    """The largest difference between logits in a batch and alone, relative to the largest logit."""
    with _without_traces(model), exact_products():
        together = _read(model, dataset, windows)
        alone = torch.cat([_read(model, dataset, windows[number : number + 1]) for number in range(len(windows))])
    return _relative_difference(together, alone)


def _measure_repetition(model: nn.Module, dataset: Encoded, windows: np.ndarray) -> float:
    """The largest difference between two readings of the same rows, relative to the largest logit."""
    with _without_traces(model), exact_products():
        return _relative_difference(_read(model, dataset, windows), _read(model, dataset, windows))


def _read(model: nn.Module, dataset: Encoded, windows: np.ndarray) -> Tensor:
    device = next(model.parameters()).device
    logits: Tensor = model(**{name: values.to(device) for name, values in dataset.pad(windows).items()}).logits
    return logits.float()


def _relative_difference(one: Tensor, other: Tensor) -> float:
    # NaN and inf are the fault of weights, which other checks find. A new head may give logits near 0, so that rounding
    # would be all of them.
    one, other = one.nan_to_num(0.0, 0.0, 0.0), other.nan_to_num(0.0, 0.0, 0.0)
    return float((one - other).abs().max() / one.abs().max().clamp(min=1e-2))
