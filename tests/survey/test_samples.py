"""The rows of a data set that the atlas uses: no text is in two parts, and a seed's draw is always the same."""

import gzip
from collections import Counter
from pathlib import Path

import pytest

from recipes.errors import UserError
from scripts.survey.samples import draw, find_sample, read_rows


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set with a repeated text, a text with two labels, and a class of one row."""
    rows = [(f"text {number}", "yes" if number % 3 else "no") for number in range(150)]
    rows += [("text 1", "yes"), ("text 2", "no"), ("rare", "seldom")]
    folder = tmp_path / "data" / "set"
    folder.mkdir(parents=True)
    for number, split in enumerate(("train", "validation", "test")):
        lines = "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows[number::3])
        if split == "train":
            (folder / "train.csv.gz").write_bytes(gzip.compress(lines.encode()))
        else:
            (folder / f"{split}.csv").write_text(lines)
    return tmp_path / "data"


def test_parts_have_no_text_in_common(data: Path, tmp_path: Path) -> None:
    folder = find_sample(data, "set", tmp_path / "work", 40)
    pool, validation = (read_rows(folder / name)[1] for name in ("pool.csv", "validation.csv"))
    texts = [text for text, _ in [*pool, *validation]]
    # "text 2" has two labels, and "seldom" has too few rows.
    assert len(validation) == 40 and len(texts) == len(set(texts)) == 149
    assert "text 2" not in texts and "rare" not in texts
    counts = Counter(label for _, label in validation)
    assert counts == {"yes": 27, "no": 13}
    # A packed folder is used as it is.
    assert find_sample(tmp_path / "work", "set", tmp_path / "other", 40) == folder


def test_each_seed_draws_other_rows(data: Path, tmp_path: Path) -> None:
    folder = find_sample(data, "set", tmp_path, 40)
    first, second = (read_rows(draw(folder, 30, seed, 1, tmp_path / "drawn")[0])[1] for seed in (0, 1))
    assert len(first) == len(second) == 30 and first != second
    assert Counter(label for _, label in first) == Counter(label for _, label in second)
    assert read_rows(draw(folder, 30, 0, 1, tmp_path / "again")[0])[1] == first
    with pytest.raises(UserError, match=r"has 109 rows; a draw of 109 rows and 1 folds of 40 take more"):
        draw(folder, 109, 0, 1, tmp_path / "drawn")
    with pytest.raises(UserError, match=r"a draw of 30 rows and 4 folds of 40 take more"):
        draw(folder, 30, 0, 4, tmp_path / "folds")


def test_validation_rows_rotate_and_no_seed_trains_on_its_own(data: Path, tmp_path: Path) -> None:
    folder = find_sample(data, "set", tmp_path, 40)
    parts = [[read_rows(path)[1] for path in draw(folder, 60, seed, 3, tmp_path / "drawn")] for seed in range(4)]
    for train, validation in parts:
        assert len(train) == 60 and len(validation) == 40 and not {*train} & {*validation}
    folds = [validation for _, validation in parts]
    assert folds[0] == read_rows(folder / "validation.csv")[1] == folds[3] and parts[0][0] != parts[3][0]
    assert len({row for fold in folds[:3] for row in fold}) == 120
    # The first seed's rows do not depend on whether others rotate.
    assert read_rows(draw(folder, 60, 0, 1, tmp_path / "again")[0])[1] == parts[0][0]


def test_what_is_missing_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--data=.*: it has no folder other"):
        find_sample(data, "other", tmp_path, 40)
    (data / "set" / "test.csv").unlink()
    with pytest.raises(UserError, match=r"has no test\.csv or test\.csv\.gz"):
        find_sample(data, "set", tmp_path, 40)
