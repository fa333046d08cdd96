"""TensorBoard: event files in the run folder."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from accelerate.tracking import TensorBoardTracker

from recipes.trackers.identity import Identity
from recipes.trackers.tracker import Point, RunTracker, State

EVENTS = "events.out.tfevents.*"


class TensorBoard(RunTracker, TensorBoardTracker):  # type: ignore[misc]
    """Writes through accelerate's tracker, but into the run folder itself, and one event for each line of the history.

    Args:
        identity: of the run.
        next_update: the first update that this start makes. What older files have from there on is not shown.
    """

    name = "tensorboard"
    replaces = True

    def __init__(self, identity: Identity, next_update: int) -> None:
        super().__init__("", identity.folder, purge_step=next_update)
        self.settings: Mapping[str, Any] = {}

    def start(self) -> None:
        """Nothing yet: the first numbers come after the first updates, which need not wait for imports."""

    @cached_property
    def writer(self) -> Any:
        """The writer of torch, made when the first numbers are written."""
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        writer: Any = SummaryWriter(str(self.logging_dir_param), **self.init_kwargs)
        if self.settings:
            for summary in hparams(self.settings, {})[:2]:  # type: ignore[no-untyped-call]
                writer.file_writer.add_summary(summary)
        return writer

    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Keep the settings for the hyperparameters of the file. accelerate would make a second folder for them."""
        self.settings = {name: value for name, value in values.items() if value is not None}

    def log_points(self, points: Sequence[Point]) -> None:
        """Write one event for each line: an event costs the writer the same whatever it holds."""
        super().log_points(points)
        self.writer.flush()

    def log(self, values: Mapping[str, float], step: int | None = None, **options: Any) -> None:
        """Write scalars as one event."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self.writer.file_writer.add_summary(Summary(value=scalars), step)

    def log_results(self, scores: Mapping[str, float], texts: Mapping[str, str], update: int) -> None:
        """Write the final scores, and the texts as such."""
        if scores:
            self.log(scores, step=update)
        for name, text in texts.items():
            self.writer.add_text(name, text, update)

    def log_pictures(self, paths: Sequence[Path], update: int) -> None:
        """Write PNG files as they are."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        for path in paths:
            data = path.read_bytes()
            # The width and the height stand at the beginning of every PNG file.
            width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
            image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=data)
            summary = Summary(value=[Summary.Value(tag=path.stem, image=image)])
            self.writer.file_writer.add_summary(summary, update)

    def end(self, state: State) -> None:
        """Close the file, if anything was written."""
        if "writer" in vars(self):
            self.writer.close()
