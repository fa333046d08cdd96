"""`trickbook export`: what it prints, and arguments that do not fit together."""

from pathlib import Path

import pytest

from recipes.commands.export import main
from recipes.errors import UserError
from recipes.export import onnx
from recipes.export.agreement import Agreement
from recipes.testing import finished_run


def test_a_dry_run_lists_the_files(capsys: pytest.CaptureFixture[str]) -> None:
    main([str(finished_run()), "--hub", "owner/name", "--dry-run", "--license", "mit"])
    *files, total = capsys.readouterr().out.splitlines()
    assert total.endswith("bytes would be uploaded to https://huggingface.co/owner/name")
    sizes = {line.split()[1]: int(line.split()[0].replace(",", "")) for line in files}
    assert sum(sizes.values()) == int(total.split()[0].replace(",", ""))
    assert {"README.md", "model.safetensors", "config.yaml"} <= sizes.keys()


@pytest.mark.parametrize(("argument", "expected"), [([], None), (["some/folder"], Path("some/folder"))])
def test_an_onnx_file(
    argument: list[str], expected: Path | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path | None] = []

    def export(run: object, folder: Path | None) -> tuple[Path, Agreement]:
        folders.append(folder)
        return Path("written"), Agreement(200, 150, 1.5e-7, 0.5)

    monkeypatch.setattr(onnx, "export_onnx", export)
    main([str(finished_run()), "--onnx", *argument])
    assert folders == [expected]
    first, second = capsys.readouterr().out.splitlines()
    assert first == (
        "200 texts (150 of the run): no probability differs by more than 1.5e-07; onnxruntime takes 0.50 of predict's "
        "time."
    )
    assert second == "written"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name a target: --onnx for an ONNX file, --hub owner/name"),
        (["--onnx", "--private"], "--private is for an upload, so it needs --hub owner/name"),
        (["--dry-run"], "Name a target"),
        (["--onnx", "--dry-run"], "--dry-run is for an upload"),
        (["--hub", "name"], "name the owner too"),
    ],
)
def test_arguments_that_do_not_fit(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main([str(finished_run()), *arguments])


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished run"):
        main([str(tmp_path), "--onnx"])
