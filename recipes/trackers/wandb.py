"""Weights & Biases: a run in a project, or files to upload later where there are no credentials."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate.tracking import WandBTracker

from recipes.trackers.identity import Identity
from recipes.trackers.tracker import RunTracker, State, new_id

# As W&B itself ends the run of a program that raises KeyboardInterrupt, or any other exception.
EXIT_CODES: Mapping[State, int] = {"finished": 0, "killed": 255, "failed": 1}
SECONDS_TO_CONNECT = 30


class WandB(RunTracker, WandBTracker):  # type: ignore[misc]
    """Logs through accelerate's tracker, into a run of its own next to any that the user has open.

    Args:
        identity: of the run.
        entity: user or team; None: the user's own.
        offline: whether to write files only.
        run_id: of the run to go on with; None: a new one.
        say: prints a line.
    """

    name = "wandb"

    def __init__(
        self, identity: Identity, entity: str | None, offline: bool, run_id: str | None, say: Callable[[str], None]
    ) -> None:
        super().__init__(
            identity.project,
            entity=entity,
            group=identity.group,
            name=identity.name,
            tags=[label[:64] for label in identity.labels],
            resume="allow",
            reinit="create_new",
        )
        self.run_id, self.offline, self.say = run_id or new_id(), offline, say

    def start(self) -> None:
        """Open the run; offline where nobody is logged in or the server does not answer."""
        # Crashes of W&B itself are not reported to its makers.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        # The progress bar is not for a log.
        self.init_kwargs["settings"] = wandb.Settings(silent=True, console="off", init_timeout=SECONDS_TO_CONNECT)
        mode = "offline" if self.offline else os.environ.get("WANDB_MODE")
        if mode is None and not wandb.login(prompt=False, verify=False):
            self.say("tracker=wandb: nobody is logged in (wandb login, or WANDB_API_KEY), so it works offline.")
            mode = "offline"
        try:
            self._open(mode)
        except wandb.errors.Error as error:
            if mode == "offline":
                raise
            self.say(f"tracker=wandb: {' '.join(str(error).split())} So it works offline.")
            mode, self.run_id = "offline", new_id()  # W&B does not open an id twice
            self._open(mode)
        # A run that goes on online knows its last step, and drops what comes before it.
        self.drops_known = self.run.starting_step > 0
        folder = self.run.settings.sync_dir
        self.address = f"{folder}; to upload it: wandb sync {folder}" if mode == "offline" else self.run.url

    def _open(self, mode: str | None) -> None:
        self.init_kwargs |= {"id": self.run_id, "mode": mode}
        super().start()

    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Log the settings."""
        self.run.config.update(dict(values), allow_val_change=True)

    def log_results(self, scores: Mapping[str, float], texts: Mapping[str, str], update: int) -> None:
        """Write the final scores and the texts into the summary of the run."""
        self.run.summary.update({**scores, **texts})

    def log_pictures(self, paths: Sequence[Path], update: int) -> None:
        """Log picture files as images."""
        import wandb

        self.run.log({path.stem: wandb.Image(str(path)) for path in paths}, step=update)

    def end(self, state: State) -> None:
        """Close the run with the exit code of its state."""
        self.run.finish(exit_code=EXIT_CODES[state])
