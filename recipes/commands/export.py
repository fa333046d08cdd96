"""Take a finished run elsewhere: to programs without torch, as an ONNX file, or to the Hugging Face hub.

    trickbook export runs/<run> --onnx
    trickbook export runs/<run> --hub owner/name --license apache-2.0 --dry-run

--onnx writes a folder with the model, its tokenizer, and a program that predicts with numpy, onnxruntime and tokenizers
alone. It is compared with Trickbook's own predictions first, and refused if it does not agree.

--hub uploads the model, its card and its settings. Predictions and other texts of your data stay here.
"""

from pathlib import Path

from recipes.commands.arguments import add_trust, make_parser, read_trusted
from recipes.errors import UserError


def main(arguments: list[str] | None = None) -> None:
    """Export a run, and say where it is now."""
    parser = make_parser("export", __doc__)
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument(
        "--onnx", nargs="?", const="", metavar="FOLDER", help="a new or empty folder (default: onnx/ in the run folder)"
    )
    parser.add_argument("--hub", metavar="OWNER/NAME", help="a repository of the hub; created if there is none")
    parser.add_argument("--private", action="store_true", help="make a private repository")
    parser.add_argument("--license", help="of the model, for its card: apache-2.0, mit, cc-by-4.0, other ...")
    parser.add_argument("--language", help="of the texts, for the card: en, zh ... (default: guessed, if it is clear)")
    parser.add_argument("--dry-run", action="store_true", help="list what would be uploaded; needs no account")
    add_trust(parser)
    options = parser.parse_args(arguments)
    of_hub = [name for name in ("private", "license", "language", "dry_run") if getattr(options, name)]
    if options.onnx is None and options.hub is None:
        raise UserError("Name a target: --onnx for an ONNX file, --hub owner/name for the Hugging Face hub, or both.")
    if of_hub and options.hub is None:
        raise UserError(f"--{of_hub[0].replace('_', '-')} is for an upload, so it needs --hub owner/name.")

    from recipes.compose.trust import trusting
    from recipes.runs.folder import finished_run

    # Importing PyTorch takes seconds, so a wrong folder is refused first.
    run = finished_run(options.run)
    with trusting(read_trusted(options)):
        if options.hub is not None:
            from recipes.export.hub import Publication, publish

            publication = Publication(options.hub, options.private, options.license, options.language)
            files = publish(run, publication, options.dry_run)
            for name, size in files.items():
                print(f"{size:>15,} {name}")
            done = "would be uploaded" if options.dry_run else "uploaded"
            print(f"{sum(files.values()):>15,} bytes {done} to https://huggingface.co/{options.hub}")
        if options.onnx is not None:
            from recipes.export.onnx import export_onnx

            folder, agreement = export_onnx(run, Path(options.onnx).expanduser() if options.onnx else None)
            print(
                f"{agreement.texts} texts ({agreement.own_texts} of the run): no probability differs by more than "
                f"{agreement.largest_difference:.1e}; onnxruntime takes {agreement.time_ratio:.2f} of predict's time."
            )
            print(folder)
