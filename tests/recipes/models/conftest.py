"""The saved encoders that the tests of all families load."""

import pytest
import torch
from transformers import AutoModel

from tests.recipes.models.families import FAMILIES, config_of


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A folder for each family, with an encoder without a head, as on the hub."""
    folder_of = {}
    for family, (make_tokenizer, options) in FAMILIES.items():
        folder = tmp_path_factory.mktemp(family)
        tokenizer = make_tokenizer()
        torch.manual_seed(0)
        AutoModel.from_config(config_of(family, tokenizer, options)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        folder_of[family] = str(folder)
    return folder_of
