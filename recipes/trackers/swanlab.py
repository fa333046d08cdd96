"""SwanLab: a run in a project, or files to upload later where there are no credentials."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate.tracking import SwanLabTracker

from recipes.trackers.identity import Identity
from recipes.trackers.tracker import RunTracker, State, new_id

STATES: Mapping[State, str] = {"finished": "success", "killed": "aborted", "failed": "crashed"}


class SwanLab(RunTracker, SwanLabTracker):  # type: ignore[misc]
    """Logs through accelerate's tracker.

    Args:
        identity: of the run.
        workspace: of SwanLab; None: the user's own.
        offline: whether to write files only.
        run_id: of the run to go on with; None: a new one.
        say: prints a line.
    """

    name = "swanlab"

    def __init__(
        self, identity: Identity, workspace: str | None, offline: bool, run_id: str | None, say: Callable[[str], None]
    ) -> None:
        super().__init__(
            identity.project,
            workspace=workspace,
            group=identity.group,
            name=identity.name,
            tags=identity.labels,
            id=run_id or new_id(),
            resume="allow",
        )
        self.run_id, self.offline, self.say = self.init_kwargs["id"], offline, say

    def start(self) -> None:
        """Open the run; offline where nobody is logged in or the server does not answer."""
        import swanlab

        # It must never wait for an answer in the terminal, and the progress bar is not for a log.
        self.init_kwargs["settings"] = swanlab.Settings(interactive=False, terminal={"proxy_type": "none"})
        mode = "offline" if self.offline else os.environ.get("SWANLAB_MODE")
        try:
            self._open(mode)
        except (RuntimeError, OSError) as error:
            if mode == "offline":
                raise
            self.say(f"tracker=swanlab: {' '.join(str(error).split())} So it works offline.")
            self._open("offline")

    def _open(self, mode: str | None) -> None:
        self.init_kwargs["mode"] = mode
        super().start()

    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Log the settings."""
        self.run.config.update(dict(values))

    def log_results(self, scores: Mapping[str, float], texts: Mapping[str, str], update: int) -> None:
        """Log the final scores, and the texts as such."""
        import swanlab

        self.log({**scores, **{name: swanlab.Text(text) for name, text in texts.items()}}, step=update)

    def log_pictures(self, paths: Sequence[Path], update: int) -> None:
        """Log picture files as images."""
        import swanlab

        self.log({path.stem: swanlab.Image(str(path)) for path in paths}, step=update)

    def end(self, state: State) -> None:
        """Close the run with its state."""
        self.run.finish(state=STATES[state], error=None if state == "finished" else state)
