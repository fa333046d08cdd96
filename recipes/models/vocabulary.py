"""Leave out the pieces of a vocabulary that no text uses, with their word vectors.

Most parameters of a multilingual model are words of languages that a task does not need. Without them an update takes
less time and memory, and the saved model is smaller. The tokens of the given texts stay the same, and so their logits.
"""

import json
from collections.abc import Sequence
from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from recipes.errors import UserError
from recipes.models.anatomy import word_embeddings

TEXTS_AT_ONCE = 1000
WORD_START = "▁"
"""Begins the pieces that begin a word."""


def trim_rules(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], name: str) -> str:
    """Trim the vocabulary of a tokenizer to the pieces of these texts.

    All pieces of one character stay too. So a word that comes later is split into pieces that are left, at worst into
    characters, and no character that the model knows becomes unknown.

    Args:
        tokenizer: the tokenizer; it stays as it is.
        texts: the texts whose tokens must not change.
        name: the setting that chose the model, for messages.

    Returns:
        What `tokenizer.json` has to hold.

    Raises:
        UserError: the tokenizer has no list of pieces with scores.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules: dict[str, Any] = {} if backend is None else json.loads(backend.to_str())
    if not rules or rules["model"]["type"] != "Unigram":
        raise UserError(
            f"model.trim_vocabulary=true: the vocabulary of {name} is no list of pieces with scores (Unigram of "
            "SentencePiece), as e5, xlm_roberta and deberta_v3 have it; leave the setting out."
        )
    pieces, added = rules["model"]["vocab"], rules["added_tokens"]
    # Up to the last token that surrounds, fills or stands in for a text, so that these have the same ids as before.
    special = [*tokenizer("", "").input_ids, tokenizer.pad_token_id, tokenizer.unk_token_id]
    remaining = {*range(1 + max(number for number in special if number is not None)), *(token["id"] for token in added)}
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        chunk = list(texts[start : start + TEXTS_AT_ONCE])
        remaining.update(*tokenizer(chunk, add_special_tokens=False, verbose=False).input_ids)
    remaining.update(number for number, (piece, _) in enumerate(pieces) if len(piece.removeprefix(WORD_START)) <= 1)
    # The score of an unknown character follows from the lowest score.
    remaining.add(min(range(len(pieces)), key=lambda number: pieces[number][1]))
    new = {old: number for number, old in enumerate(sorted(remaining))}
    rules["model"]["vocab"] = [pieces[old] for old in new if old < len(pieces)]
    rules["added_tokens"] = [{**token, "id": new[token["id"]]} for token in added]
    return json.dumps(rules, ensure_ascii=False)


def trim_embeddings(model: PreTrainedModel, own: PreTrainedTokenizerBase, trimmed: PreTrainedTokenizerBase) -> None:
    """Leave a model only the word vectors of a trimmed vocabulary.

    Args:
        model: the model; it is changed.
        own: the tokenizer that it came with.
        trimmed: the tokenizer that it is used with.
    """
    own_ids, tokens = own.get_vocab(), trimmed.get_vocab()
    rows = [own_ids.get(token, 0) for token in sorted(tokens, key=tokens.__getitem__)]
    embeddings = cast(nn.Embedding, word_embeddings(model))
    fewer = nn.Embedding(
        len(rows), embeddings.embedding_dim, embeddings.padding_idx, _weight=embeddings.weight.detach()[rows]
    )
    model.set_input_embeddings(fewer)
    model.config.get_text_config().vocab_size = len(rows)
