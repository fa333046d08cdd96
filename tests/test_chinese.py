"""A user with Chinese files: names of folders, files, columns and labels, GBK, full-width signs, and Excel."""

from pathlib import Path

import pytest

import recipes
from recipes.prediction.files import PredictionJob, PredictionRequest
from recipes.testing import in_child

REVIEWS = [
    ("房间很干净，服务也好。", "正面"),
    ("太差了！再也不来", "负面"),
    ("早餐丰富；位置方便", "正面"),
    ("空调坏了，“等”了两个小时", "负面"),
] * 10


def write_table(path: Path, rows: list[tuple[str, ...]], encoding: str) -> Path:
    path.write_text("".join(",".join(row) + "\r\n" for row in rows), encoding=encoding, newline="")
    return path


def test_a_chinese_file_is_trained_on_and_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "用户 甲" / "情感分析（一）"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    train = write_table(folder / "评论 数据.csv", [("评论（内容）", "情感：类别"), *REVIEWS], "gbk")
    source = write_table(folder / "要预测.csv", [("评论（内容）",), (REVIEWS[0][0],), (REVIEWS[1][0],)], "gbk")
    overrides = [
        "data=files",
        f"data.train={train.name}",
        "data.text=评论（内容）",
        "data.label=情感：类别",
        "model=linear",
        "doctor=off",
        "hydra.run.dir=结果/第一次",
    ]

    def work() -> tuple[str, list[str], list[str]]:
        run = recipes.finetune(overrides)
        summary = PredictionJob(PredictionRequest(str(run.folder), source.name, "预测.csv")).run()
        return str(run.folder), sorted(run.metrics["classes"]["test"]), summary.notes

    run, classes, notes = in_child(work)
    assert folder / run == folder / "结果" / "第一次"
    assert classes == ["正面", "负面"]
    assert notes[0] == "要预测.csv is read as GB18030."
    lines = (folder / "预测.csv").read_text(encoding="utf-8-sig").splitlines()
    assert lines[0].split(",")[:2] == ["id", "prediction"] and [line.split(",")[1] for line in lines[1:]] == [
        "正面",
        "负面",
    ]
    assert (folder / "预测.csv").read_bytes().startswith("id".encode("utf-8-sig"))
