"""`trickbook judge` as a user runs it: the table, the report, and what is refused."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from recipes.commands.trickbook import main

SCORES = {"base": (0.80, 0.812, 0.79), "a_trick_with_a_long_name": (0.85, 0.866, 0.843), "ema": (0.801, 0.812, 0.788)}
Judge = Callable[..., tuple[int, str]]


@pytest.fixture
def judge(capsys: pytest.CaptureFixture[str]) -> Judge:
    """Run the command on a file, and return its exit code and what it prints."""

    def run(*arguments: str) -> tuple[int, str]:
        try:
            main(["judge", *arguments])
        except SystemExit as error:
            return int(error.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().out

    return run


def write_runs(path: Path, scores: dict[str, Sequence[float]]) -> str:
    lines = [f"{arm},{seed},{score}" for arm, each in scores.items() for seed, score in enumerate(each)]
    path.write_text("\n".join(["arm,seed,score", *lines]) + "\n", encoding="utf-8")
    return str(path)


def test_the_table_fits_80_columns_and_the_report_is_a_file(judge: Judge, tmp_path: Path) -> None:
    runs, target = write_runs(tmp_path / "runs.csv", SCORES), tmp_path / "report.md"
    code, text = judge(runs, f"--output={target}")
    printed = text.removesuffix(f"{target}\n")
    assert code == 0 and max(map(len, printed.splitlines())) <= 80
    assert "a_trick_with_a_long_name (+0.0523) helps. ema makes no difference" in " ".join(printed.split())
    report = target.read_text(encoding="utf-8")
    assert report.startswith("# Judged runs\n") and "| a_trick_with_a_long_name | helps | +0.0523 |" in report
    assert judge(runs, f"--output={target}")[0] == 0  # its own report may be replaced


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--base=emma"], "--base: no run has arm=emma; did you mean ema"),
        (["--margin=0"], "--margin=0 must be above 0"),
        (["--factor=lr"], "no column 'lr'"),
        (["--second-endpoint=brier"], "--second-endpoint=brier: it needs predictions with a column p_<class>"),
    ],
)
def test_mistakes_end_with_a_message(judge: Judge, tmp_path: Path, arguments: list[str], message: str) -> None:
    code, text = judge(write_runs(tmp_path / "runs.csv", SCORES), *arguments)
    assert code == 2 and message in text


def test_no_other_file_is_replaced(judge: Judge, tmp_path: Path) -> None:
    runs = write_runs(tmp_path / "runs.csv", SCORES)
    for target in (runs, str(tmp_path)):
        code, text = judge(runs, f"--output={target}")
        assert code == 2 and "exists and is not a report of judge" in text
    assert Path(runs).read_text(encoding="utf-8").startswith("arm,seed,score")


def test_predictions_are_scored_by_a_function(tmp_path: Path, judge: Judge) -> None:
    lines = ["arm,seed,row,label,prediction"]
    wrong = {"base": 12, "better": 3}
    for arm, count in wrong.items():
        for seed in range(3):
            for row in range(40):
                label = "ab"[row % 2]
                is_right = row >= count + seed
                lines.append(f"{arm},{seed},{row},{label},{label if is_right else 'ba'[row % 2]}")
    path = tmp_path / "predictions.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    code, output = judge(str(path), "--metric", "{_target_: sklearn.metrics.fbeta_score, beta: 2, average: macro}")
    assert code == 0 and "fbeta_score" in output and "better" in output
    code, output = judge(str(path), "--metric", "{_target_: sklearn.metrics.hamming_loss}")
    assert code == 2 and "choose a metric of which more is better" in output
    code, output = judge(str(path), "--metric", "{_target_: os.system}")
    assert code == 2 and "os.system is not trusted" in output
    assert judge(str(path), "--metric", "kappa")[0] == 0
