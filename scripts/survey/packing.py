"""Pack what the atlas needs into one small folder, for a machine without a network or without these packages.

The folder has the sample of each data set, and below `encoders` each model with 16-bit weights. Runs read the weights
as 32-bit numbers again. An encoder whose vocabulary is trimmed has the pieces of all texts of its data sets here; a run
trims it further to its own, as it would trim the whole one.
"""

from collections.abc import Sequence
from pathlib import Path

from recipes.compose.reading import read
from recipes.models.loading import load_model, load_tokenizer
from recipes.runs.files import atomic_write
from scripts.survey.blocks import compose
from scripts.survey.declaration import Atlas
from scripts.survey.samples import read_rows, sample

ENCODERS = "encoders"


def pack(atlas: Atlas, source: Path, target: Path, data: Sequence[str]) -> None:
    """Pack data sets, and the encoders of their languages.

    Args:
        atlas: the declaration.
        source: the folder of the data sets.
        target: the folder to write to.
        data: names of data sets.

    Raises:
        UserError: a data set or a model is not there.
    """
    for name in data:
        (target / name).mkdir(parents=True, exist_ok=True)
        sample(source / name, target / name, atlas.validation_rows)
    for name, encoder in atlas.encoders.items():
        of_language = [each for each in data if atlas.data[each].language == encoder.language]
        if of_language:
            files = [target / each / file for each in of_language for file in ("pool.csv", "validation.csv")]
            texts = [text for file in files for *fields, _ in read_rows(file)[1] for text in fields]
            pack_encoder(encoder.overrides, texts, target / ENCODERS / name)


def pack_encoder(overrides: Sequence[str], texts: Sequence[str], target: Path) -> None:
    """Write a model without a head, with 16-bit weights, and its tokenizer."""
    settings = read(compose([*overrides, "data=files"])).model
    tokenizer = load_tokenizer(settings, texts)
    model = load_model(settings, tokenizer, ["no", "yes"], False)
    with atomic_write(target) as draft:
        model.base_model.half().save_pretrained(draft)
        tokenizer.save_pretrained(draft)


def find_encoder(data: Path, name: str) -> list[str]:
    """Find the overrides that load an encoder from a packed folder; none if it is not packed."""
    folder = data / ENCODERS / name
    return ["model.source=hub", f"model.name={folder.resolve()}"] if folder.is_dir() else []
