"""The page of a command names commands as the user has started them, and fits 80 columns."""

import pytest

from recipes.commands.arguments import make_parser

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
