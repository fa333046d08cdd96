"""Publish on the hub: which files, that none holds a text or a folder of this machine, and how it can fail."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.errors import HfHubHTTPError
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import recipes
from recipes.errors import UserError
from recipes.export import hub
from recipes.export.hub import Publication, publish, write_published
from recipes.prediction import ensemble
from recipes.runs.folder import RunFolder
from recipes.testing import TINY, finished_run, in_child

TEXTS = ["the staff was friendly towards alice", "the soup was cold and bob left", "a table for two under the lamp"]
FILES = {
    *("README.md", "config.json", "config.yaml", "manifest.json", "metrics.json", "model.safetensors"),
    *("tokenizer.json", "tokenizer_config.json"),
}
HOME = Publication("owner/name")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with texts that can be searched for, in a folder that names a customer, with a fitted threshold."""
    folder = tmp_path_factory.mktemp("acme-corp")
    source = folder / "reviews.csv"
    with source.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows(
            [["text", "label"], *([text, f"{'xyz'[row % 3]}"] for row, text in enumerate(TEXTS * 8))]
        )
    files = [f"data.{split}={source}" for split in ("train", "validation", "test")]
    overrides = [*TINY, *files, "train.max_updates=3", "+tricks=[threshold]", f"hydra.run.dir={folder / 'run'}"]
    in_child(lambda: str(recipes.finetune(overrides).folder))
    return recipes.load(folder / "run")


@pytest.fixture
def published(run: RunFolder, tmp_path: Path) -> Path:
    write_published(run, tmp_path / "published", Publication("owner/name", license="apache-2.0", language="de"))
    return tmp_path / "published"


@pytest.mark.slow
def test_the_folder_predicts_like_the_run(run: RunFolder, published: Path) -> None:
    assert {path.name for path in published.iterdir()} == FILES | {"tricks.safetensors"}
    expected = recipes.load(run.folder).predict(TEXTS)
    found = recipes.load(published).predict(TEXTS)
    assert (found.probabilities == expected.probabilities).all() and (found.decisions == expected.decisions).all()
    assert recipes.load(published).metrics["test"] == run.metrics["test"]
    model = AutoModelForSequenceClassification.from_pretrained(published)
    classify = pipeline(
        "text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(published), top_k=None
    )
    for text, probabilities in zip(TEXTS, expected.probabilities, strict=True):
        scores = {each["label"]: each["score"] for each in classify([text])[0]}
        assert [scores[name] for name in expected.classes] == pytest.approx(probabilities, abs=1e-6)


def test_a_damaged_file_is_named(published: Path) -> None:
    weights = published / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        recipes.load(published).predict(TEXTS)


def test_no_text_and_no_folder_of_this_machine_is_published(run: RunFolder, published: Path) -> None:
    for path in published.iterdir():
        content = path.read_bytes()
        assert b"acme-corp" not in content and str(run.folder.parent).encode() not in content, path.name
        # The vocabulary of model=tiny is made of words of the texts; no file has a sentence of them.
        for text in TEXTS:
            assert text.encode() not in content and text[:12].encode() not in content, path.name
    settings = yaml.safe_load((published / "config.yaml").read_text(encoding="utf-8"))
    assert settings["data"]["train"] == "reviews.csv"
    rows = [finding["rows"] for finding in json.loads((published / "metrics.json").read_bytes())["health"]["findings"]]
    assert rows and not any(rows)


def test_the_card_names_licence_language_and_repository(published: Path) -> None:
    card = ModelCard.load(published / "README.md")
    assert (card.data.license, card.data.language) == ("apache-2.0", "de")
    assert 'pipeline("text-classification", model="owner/name")' in card.text
    assert card.data.eval_results


class Api:
    """The hub, as far as an upload goes."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.error = error

    def create_repo(self, repository: str, **options: Any) -> None:
        if self.error:
            raise self.error
        self.calls.append(("create_repo", repository, options))

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        self.calls.append(("upload_folder", repo_id, {path.name for path in folder_path.iterdir()}))


def use_api(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> Api:
    api = Api(error)
    monkeypatch.setattr(hub, "HfApi", lambda: api)
    monkeypatch.setattr(hub, "get_token", lambda: "hf_token")
    return api


@pytest.fixture
def tiny() -> RunFolder:
    return RunFolder(finished_run())


@pytest.mark.parametrize("private", [True, False])
def test_an_upload(private: bool, tiny: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    api = use_api(monkeypatch)
    recipes.load(tiny.folder).push_to_hub("owner/name", private=private)
    assert api.calls == [
        ("create_repo", "owner/name", {"private": private or None, "exist_ok": True}),
        ("upload_folder", "owner/name", FILES),
    ]


def test_a_dry_run_needs_no_account_and_calls_nothing(tiny: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    api = use_api(monkeypatch)
    monkeypatch.setattr(hub, "get_token", lambda: None)
    files = publish(tiny, HOME, dry_run=True)
    assert set(files) == FILES and api.calls == []
    assert files["model.safetensors"] == (tiny.folder / "model" / "model.safetensors").stat().st_size
    with pytest.raises(UserError, match="--hub needs an account: run `hf auth login` once, or set HF_TOKEN"):
        publish(tiny, HOME)


def test_errors_of_the_hub_and_of_the_network(tiny: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    response = httpx2.Response(403, request=httpx2.Request("POST", "https://huggingface.co/api/repos/create"))
    use_api(monkeypatch, HfHubHTTPError("403 Forbidden: not your organization.\nmore", response=response))
    with pytest.raises(UserError, match=r"the hub refused \(403 Forbidden: not your organization\)\. Does the token"):
        publish(tiny, HOME)
    for error in (httpx2.ConnectError("Connection refused"), ConnectionError("offline mode is enabled.")):
        use_api(monkeypatch, error)
        with pytest.raises(
            UserError, match=r"the hub cannot be reached \((Connection refused|offline mode is enabled)"
        ):
            publish(tiny, HOME)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"repository": "name"}, "--hub=name: name the owner too: --hub owner/name"),
        ({"repository": "a/b/c"}, "--hub=a/b/c: Repo id must be in the form"),
        ({"repository": "a/b", "license": "Apache 2.0"}, "--license=Apache 2.0: the hub has no such license"),
        ({"repository": "a/b", "language": "English"}, "--language=English: the hub has no such language"),
    ],
)
def test_wrong_names_are_refused_before_anything_is_read(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Publication(**values)


def test_what_transformers_cannot_load_is_refused(tmp_path: Path) -> None:
    shutil.copytree(finished_run(), tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    run.config["model"]["source"] = "linear"
    with pytest.raises(UserError, match="which transformers cannot load"):
        publish(run, HOME, dry_run=True)
    (tmp_path / "run" / "model" / "README.md").unlink()
    run.config["model"]["source"] = "tiny"
    with pytest.raises(UserError, match=r"README\.md is missing, and a model is published with its card"):
        publish(run, HOME, dry_run=True)


def test_the_members_of_a_fused_run_are_named(tiny: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    fused = ensemble.Ensemble(["a", "b"], False, {"members/1-tiny/fold-1": 1.0})
    monkeypatch.setattr(ensemble, "read", lambda folder: fused)
    with pytest.raises(UserError, match=r"fused from 1 runs; publish each of them: '.*members/1-tiny/fold-1'"):
        publish(tiny, HOME, dry_run=True)
