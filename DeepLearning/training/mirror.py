"""A run's mirror on Weights & Biases, which never makes a run fail."""

from __future__ import annotations

import logging
import netrc
import os
import shlex
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlparse

log = logging.getLogger(__name__)


MODES = ("auto", "online", "offline", "disabled")
PROJECT = "glacier-movement-prediction"
# which are no kin of each other; only those of modules that are loaded can be raised
TRACKER_FAULTS = (
    ("wandb.errors", "Error"),
    ("wandb.sdk.mailbox", "HandleAbandonedError"),
    ("wandb.sdk.mailbox", "MailboxClosedError"),
    ("wandb.sdk.mailbox.mailbox_handle", "ServerResponseError"),
    ("wandb.sdk.lib.service.service_token", "WandbServiceConnectionError"),
    ("wandb.sdk.lib.service.service_connection", "WandbAttachFailedError"),
    ("wandb.sdk.lib.service.service_connection", "WandbApiFailedError"),
)
PATIENCE_S = 15  # how long a run waits for Weights & Biases, at its start and at its end


def key_known() -> bool:
    """Return whether this user has logged in to Weights & Biases, by variable or `wandb login`."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


class Mirror:
    """A run's mirror on Weights & Biases; every failure is a warning and ends the mirror, not the run.

    mode : as the setting `wandb`. settings : what the run is described by there; nothing else of this machine is sent.
    kind : "training" or "evaluation".
    """

    def __init__(self, mode: str, folder: Path, settings: dict, kind: str = "training"):
        self.run = None
        self.folder = folder
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE", "online" if key_known() else "offline")
        if mode != "disabled":
            self.attempt(lambda: self.start(mode, settings, kind))
        if mode == "online" and self.run is None:
            self.attempt(lambda: self.start("offline", settings, kind))

    def start(self, mode: str, settings: dict, kind: str) -> None:
        """Open the mirror and say where it is; an online one goes on where the run's last one stopped."""
        import wandb

        known = self.folder / f"wandb-{kind}.id"
        quiet = wandb.Settings(
            silent=True,
            console="off",
            init_timeout=PATIENCE_S,
            x_disable_stats=True,
            x_disable_meta=True,
            disable_git=True,
            disable_code=True,
        )
        again = {}
        if mode == "online" and known.is_file():
            again = {"id": known.read_text(encoding="utf-8"), "resume": "allow"}
        self.run = wandb.init(
            project=PROJECT,
            name=self.folder.name,
            group=self.folder.name,
            job_type=kind,
            dir=self.folder,
            mode=mode,
            config=settings,
            settings=quiet,
            **again,
        )
        known.write_text(self.run.id)
        if mode == "online":
            log.info("Live at %s", self.run.url)
        elif kind == "training":  # of an evaluation its table is there to read
            log.info(
                "Weights & Biases is offline. To see this run there: wandb login, then wandb sync %s",
                shlex.quote(str(Path(self.run.dir).parent)),
            )

    def log(self, row: dict, step: int | None = None) -> None:
        """Mirror one row of metrics."""
        if self.run is not None:
            self.attempt(lambda: self.run.log(row, step=step))

    def picture(self, draw: Callable[[Path], None], step: int) -> None:
        """Draw a picture into the run's folder and mirror it."""
        path = self.folder / "pictures" / f"epoch{step:03d}.png"
        draw(path)
        if self.run is not None:
            self.attempt(lambda: self.run.log({"forecast": image_of(path)}, step=step))

    def table(self, name: str, rows: list[dict]) -> None:
        """Mirror a table."""
        if self.run is not None:
            self.attempt(lambda: self.run.log({name: table_of(rows)}))

    def finish(self) -> None:
        """Close the mirror; what could not be sent in time stays in the folder for `wandb sync`."""
        if self.run is not None:
            closing = threading.Thread(target=self.attempt, args=(self.run.finish,), daemon=True)
            closing.start()
            closing.join(PATIENCE_S)
            if closing.is_alive():
                log.warning(
                    "Weights & Biases is slow; send the rest later: wandb sync %s",
                    shlex.quote(str(Path(self.run.dir).parent)),
                )

    def attempt(self, action) -> None:
        """Do something with Weights & Biases that may fail."""
        try:
            action()
        except tracker_faults() as error:
            text = " ".join(str(error).split())[:200]
            log.warning(
                "Weights & Biases stopped (%s); the run goes on, its folder has everything", text
            )
            self.run = None


def tracker_faults() -> tuple[type[Exception], ...]:
    """Return what Weights & Biases raises for faults of the network, of the disk, of its service and of settings.

    TypeError and the like are left out: such a fault is ours, and has to show.
    """
    faults: list[type[Exception]] = [OSError, EOFError, ImportError, RuntimeError, ValueError]
    for module, name in TRACKER_FAULTS:
        fault = getattr(sys.modules.get(module), name, None)
        if fault is not None:
            faults.append(fault)
    return tuple(faults)


def image_of(path: Path):
    """Return a picture as Weights & Biases takes it."""
    import wandb

    return wandb.Image(str(path))


def table_of(rows: list[dict]):
    """Return rows with equal keys as Weights & Biases takes them."""
    import wandb

    return wandb.Table(
        columns=list(rows[0]),
        data=[
            [str(row["lead"]) if key == "lead" else value for key, value in row.items()]
            for row in rows
        ],
    )
