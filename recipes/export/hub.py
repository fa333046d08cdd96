"""Publish a finished run on the Hugging Face hub: its model, its card, and what `recipes.load` needs. No texts."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import yaml
from huggingface_hub import HfApi, ModelCard, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from recipes.config import saved_config
from recipes.errors import UserError
from recipes.export.kinds import refuse_other_kinds
from recipes.reports.model_card import without_folders
from recipes.runs import manifest
from recipes.runs.files import write_json
from recipes.runs.folder import RunFolder

# The base class of all errors of the network: `httpx` of one version of the library, `httpx2` of another.
HTTP_ERROR = cast(type[Exception], HfHubHTTPError.__mro__[1])
CARD = "README.md"
METRICS = ("format", "weights", "labels", "classes", "calibration", "versions", "seed", "tricks")
"""Entries of `metrics.json` that are published, next to the scores of each split and the health."""
LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z]{2,8})?")


@dataclass(frozen=True)
class Publication:
    """Where a run is published, and what its card says."""

    repository: str
    """`owner/name` on the hub."""
    private: bool = False
    license: str | None = None
    """The hub's name of a licence, such as apache-2.0."""
    language: str | None = None
    """ISO 639, such as en; None: as the card says already."""

    def __post_init__(self) -> None:
        """Refuse what the hub would refuse after the upload."""
        try:
            validate_repo_id(self.repository)
        except HFValidationError as error:
            raise UserError(f"--hub={self.repository}: {error}") from error
        if "/" not in self.repository:
            raise UserError(f"--hub={self.repository}: name the owner too: --hub owner/{self.repository}.")
        for name, value, form, example in (
            ("license", self.license, LICENSE, "apache-2.0, mit, cc-by-4.0 or other"),
            ("language", self.language, LANGUAGE, "en, zh or multilingual"),
        ):
            is_known = value is None or form.fullmatch(value) or value == "multilingual"
            if not is_known:
                raise UserError(f"--{name}={value}: the hub has no such {name}; use its identifier, such as {example}.")


def publish(run: RunFolder, publication: Publication, dry_run: bool = False) -> dict[str, int]:
    """Upload a finished run to the hub.

    Args:
        run: the finished run.
        publication: where, and what the card says.
        dry_run: upload nothing, and need no account.

    Returns:
        The files and their lengths in bytes.

    Raises:
        UserError: the run has no model of transformers; there is no account or network; the hub refuses.
    """
    _check_kind(run)
    if not dry_run and not get_token():
        raise UserError(
            "--hub needs an account: run `hf auth login` once, or set HF_TOKEN to a token that may write "
            "(https://huggingface.co/settings/tokens). --dry-run lists what would be uploaded."
        )
    with TemporaryDirectory(prefix="trickbook-") as temporary:
        folder = Path(temporary) / "model"
        write_published(run, folder, publication)
        files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
        if not dry_run:
            _upload(folder, publication)
    return files


def _check_kind(run: RunFolder) -> None:
    run.require_model()
    run.check_model()
    refuse_other_kinds(run, "publish", "which transformers cannot load; publish a run of another model.")
    if not (run.model_folder / CARD).is_file():
        raise UserError(
            f"{run.model_folder / CARD} is missing, and a model is published with its card; copy the run folder again."
        )


def write_published(run: RunFolder, folder: Path, publication: Publication) -> None:
    """Write the files that are published: those of `model/`, and of the run what `recipes.load` needs.

    Predictions, the history and the checksums of the data are not published. Settings lose the folders of this
    machine.
    """
    shutil.copytree(run.model_folder, folder, ignore=shutil.ignore_patterns(".*", "onnx"))
    settings = _published_settings(run)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), encoding="utf-8")
    write_json(folder / "metrics.json", _published_metrics(run))
    names = [path.name for path in sorted(folder.iterdir()) if path.name not in (CARD, manifest.FILE)]
    manifest.write(folder, names=names)
    card = ModelCard.load(folder / CARD)
    card.data.license = publication.license or card.data.license
    card.data.language = publication.language or card.data.language
    card.text = card.text.replace('model="<this folder>"', f'model="{publication.repository}"')
    card.save(folder / CARD)


def _published_settings(run: RunFolder) -> dict[str, Any]:
    settings: dict[str, Any] = without_folders(asdict(saved_config(run.config)))
    data, evaluate = settings["data"], settings["evaluate"]
    if data["source"] == "files":
        # Without the folders of a relative path too, which may name a customer.
        data |= {name: Path(data[name]).name for name in ("train", "validation", "test") if data[name]}
        evaluate["extra"] = {name: Path(path).name for name, path in evaluate["extra"].items()}
    return settings


def _published_metrics(run: RunFolder) -> dict[str, Any]:
    metrics: Mapping[str, Any] = run.metrics
    published = {name: metrics[name] for name in (*METRICS, *run.splits) if name in metrics}
    if health := metrics.get("health"):
        # The ids of rows may say who wrote them.
        findings = [{**finding, "rows": []} for finding in health["findings"]]
        published["health"] = {**health, "findings": findings}
    return published


def _upload(folder: Path, publication: Publication) -> None:
    api, repository = HfApi(), publication.repository
    try:
        # None: as the owner's settings on the hub say.
        api.create_repo(repository, private=publication.private or None, exist_ok=True)
        api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message="Upload a model trained with Trickbook"
        )
    except HfHubHTTPError as error:
        reason = str(error).strip().split("\n")[0].rstrip(". ")
        raise UserError(
            f"--hub={repository}: the hub refused ({reason}). Does the token exist, may it write, and is {repository} "
            "yours? `hf auth whoami` shows the account."
        ) from error
    except (HTTP_ERROR, OSError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(". ")
        raise UserError(
            f"--hub={repository}: the hub cannot be reached ({reason}). Start the same command again when it can: "
            "what was uploaded is not uploaded twice."
        ) from error
