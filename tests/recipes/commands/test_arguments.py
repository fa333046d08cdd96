"""The page of a command names commands as the user has started them, and fits 80 columns."""

from pathlib import Path

import pytest

from recipes.commands.arguments import add_trust, make_parser, read_trusted
from recipes.errors import UserError

PAGE = f"""Do something.

    trickbook predict a b   # an example stays a line, however long it is {"x" * 20}

{"word " * 30}
after `trickbook train`.
"""


@pytest.mark.parametrize(
    ("program", "predict", "train"),
    [
        ("/usr/bin/trickbook", "trickbook predict", "trickbook train"),
        ("predict.py", "python scripts/predict.py", "python train.py"),
    ],
)
def test_a_page(program: str, predict: str, train: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [program])
    parser = make_parser("predict", PAGE)
    assert parser.prog == predict
    first, example, rest = (parser.description or "").split("\n\n")
    assert first == "Do something." and example.startswith(f"    {predict} a b   # an example")
    assert " ".join(rest.split()) == f"{'word ' * 30}after `{train}`."
    assert max(map(len, rest.splitlines())) <= 80


def test_classes_are_trusted_by_name_and_by_the_folder_of_their_configs(tmp_path: Path) -> None:
    parser = make_parser("predict", "A page.")
    add_trust(parser)
    (tmp_path / "tricks").mkdir()
    (tmp_path / "tricks" / "mine.yaml").write_text("_target_: my_tricks.Mine\n", encoding="utf-8")
    folder = ["--config-dir", str(tmp_path)]
    for arguments, names in (
        ([], []),
        (["--trusted", "[a.A,b.B]", "--trusted", "c.C"], ["a.A", "b.B", "c.C"]),
        ([*folder, "--trusted=a.A"], ["a.A", "my_tricks.Mine"]),
    ):
        assert read_trusted(parser.parse_args(arguments)) == names
    with pytest.raises(UserError, match="--config-dir=nowhere: there is no such folder"):
        read_trusted(parser.parse_args(["--config-dir=nowhere"]))
