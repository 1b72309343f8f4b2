"""Runs: their folders, metrics.csv, and their mirror on Weights & Biases.

A run is DeepLearning/runs/<glacier>-<network>-<number>/ with config.yaml, metrics.csv, best.pt, last.pt; manifest.yaml
says that it is finished. The local files are the truth; Weights & Biases never makes a run fail.
"""

from __future__ import annotations

import csv
import io
import logging
import netrc
import os
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlparse

import yaml

import config
import store
from config import Config, GlacierError

log = logging.getLogger(__name__)

WANDB_MODES = ("auto", "online", "offline", "disabled")


# ── Folders ──────────────────────────────────────────────────────────────────────────────────────────────────────


def runs_folder() -> Path:
    """Return the folder of all runs."""
    return config.home() / "DeepLearning" / "runs"


def run_number(folder: Path) -> int:
    """Return the number at the end of a run's name."""
    return int(folder.name.rpartition("-")[2])


def list_runs(name: str, network: str | None = None) -> list[Path]:
    """Return a glacier's runs, oldest first; of one network if given."""
    runs = [
        path.parent
        for path in runs_folder().glob("*/config.yaml")
        if (saved := read_run(path.parent))["name"] == name and network in (None, saved["network"])
    ]
    return sorted(runs, key=run_number)


def new_run(name: str, network: str) -> Path:
    """Return the folder of the glacier's next run, made now."""
    number = max(map(run_number, list_runs(name)), default=0) + 1
    folder = runs_folder() / f"{name}-{network}-{number:03d}"
    folder.mkdir(parents=True)
    return folder


def read_run(folder: Path) -> dict:
    """Return a run's config.yaml: name, network, patches (hash), settings."""
    return yaml.safe_load((folder / "config.yaml").read_text())


def finished_run(cfg: Config, wanted: str | None) -> Path:
    """Return the folder of a finished run, the wanted or the glacier's newest; GlacierError if there is none."""
    train = f"python DeepLearning/trainAttentionLSTM.py --name={cfg.name}"
    if wanted is None:
        finished = [run for run in list_runs(cfg.name) if store.read_manifest(run)]
        if not finished:
            raise GlacierError(f"no finished run of {cfg.name} in {runs_folder()}; run first: {train}")
        return finished[-1]
    names = sorted(path.parent.name for path in runs_folder().glob("*/config.yaml"))
    wanted = Path(wanted).name
    if wanted not in names:
        raise GlacierError(f"no run {wanted!r} in {runs_folder()}{config.nearest(wanted, names)}")
    saved = read_run(runs_folder() / wanted)
    if saved["name"] != cfg.name:
        raise GlacierError(
            f"run {wanted} was trained on {saved['name']}, not on {cfg.name}; add --name={saved['name']}"
        )
    if store.read_manifest(runs_folder() / wanted) is None:
        raise GlacierError(
            f"run {wanted} is not finished; go on with: "
            f"python DeepLearning/train{saved['network']}.py --name={cfg.name} --resume"
        )
    return runs_folder() / wanted


def need_same_patches(folder: Path, patches: str) -> None:
    """Raise GlacierError unless a run was trained on the patches that are there now."""
    saved = read_run(folder)
    if saved["patches"] != patches:
        raise GlacierError(
            f"run {folder.name} was trained on other patches of {saved['name']} than are there now; train again: "
            f"python DeepLearning/train{saved['network']}.py --name={saved['name']}"
        )


def make_once(cfg: Config, folder: Path, settings: dict, inputs: dict, work: Callable[[Path], store.Result]) -> None:
    """Fill a folder of a run by `work`, unless it was made with these settings and inputs; print what came out."""
    reason = "--force" if cfg.force else store.why_stale(folder, settings, inputs)
    if reason is None:
        log.info("%s is up to date.", folder)
        return
    log.info("Making %s (%s).", folder, reason)
    start = time.monotonic()
    (folder / "manifest.yaml").unlink(missing_ok=True)
    result = work(folder)
    seconds = time.monotonic() - start
    store.write_manifest(folder, settings, inputs, result.files, result.counts, seconds)
    log.info("%s", "\n".join(store.lines_of(result.table)))
    log.info("Wrote %s in %.1f s", folder, seconds)


def write_csv(path: Path, rows: list[dict]) -> None:
    """Write rows with equal keys as CSV, numbers to 9 digits, whole at once."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        [{key: f"{value:.9g}" if isinstance(value, float) else value for key, value in row.items()} for row in rows]
    )
    with store.writing(path) as file:
        file.write(text.getvalue().encode())


# ── Weights & Biases ─────────────────────────────────────────────────────────────────────────────────────────────


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
    """A run's mirror on Weights & Biases; every failure is a warning and ends the mirror, not the run."""

    def __init__(self, mode: str, folder: Path, settings: dict):
        self.run = None
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE", "online" if key_known() else "offline")
        if mode != "disabled":
            self.attempt(lambda: self.start(mode, folder, settings))

    def start(self, mode: str, folder: Path, settings: dict) -> None:
        """Open the mirror and say where it is."""
        import wandb

        self.run = wandb.init(
            project="glacier-movement-prediction",
            name=folder.name,
            dir=folder,
            mode=mode,
            config=settings,
            settings=wandb.Settings(silent=True, console="off", init_timeout=30, x_disable_stats=True),
        )
        if mode == "online":
            log.info("Live at %s", self.run.url)
        else:
            log.info(
                "Weights & Biases offline; to see this run there: wandb login, then wandb sync %s",
                Path(self.run.dir).parent,
            )

    def log(self, row: dict, step: int) -> None:
        """Mirror one row of metrics."""
        if self.run is not None:
            self.attempt(lambda: self.run.log(row, step=step))

    def finish(self) -> None:
        """Close the mirror."""
        if self.run is not None:
            self.attempt(self.run.finish)

    def attempt(self, action) -> None:
        """Do something with Weights & Biases that may fail."""
        try:
            action()
        except Exception as error:  # whatever a tracker throws, the run goes on
            log.warning(
                "Weights & Biases stopped (%s); the run goes on, metrics.csv has everything",
                " ".join(str(error).split())[:200],
            )
            self.run = None
