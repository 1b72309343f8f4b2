"""Runs: their folders, and what lies in them.

A run is DeepLearning/runs/<glacier>-<network>-<number>/ with config.yaml, metrics.csv, best.pt, last.pt; manifest.yaml
says that it is finished. The local files are the truth.
"""

from __future__ import annotations

import csv
import io
import logging
import pickle
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml

import config
from config import Config, GlacierError
from glacier.storage import disk, integrity, runner

log = logging.getLogger(__name__)
DEVICES = ("auto", "cpu", "cuda", "mps")


def runs_folder() -> Path:
    """Return the folder of all runs."""
    return config.home() / "DeepLearning" / "runs"


def list_runs(network: str | None = None, name: str | None = None) -> list[Path]:
    """Return the runs, oldest first: of one network, and trained on one glacier (among others), if given."""
    runs = []
    for path in runs_folder().glob("*/config.yaml"):
        saved = read_run(path.parent)
        if network in (None, saved["network"]) and (name is None or name in saved.get("names", ())):
            runs.append(path.parent)
    return sorted(runs, key=run_number)


def run_number(folder: Path) -> int:
    """Return the number at the end of a run's name."""
    return int(folder.name.rpartition("-")[2])


def new_run(name: str, network: str) -> Path:
    """Return the folder of the next run, made now."""
    number = max(map(run_number, list_runs()), default=0) + 1
    folder = runs_folder() / f"{name}-{network}-{number:03d}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def read_run(folder: Path) -> dict:
    """Return a run's config.yaml: network, names, holdout, patches (hash of each glacier's), settings."""
    return yaml.safe_load((folder / "config.yaml").read_text())


def find_run(wanted: str) -> Path:
    """Return the folder of a finished run; GlacierError, with the nearest name, if there is none."""
    names = [run.name for run in list_runs()]
    wanted = Path(wanted).name
    if wanted not in names:
        raise GlacierError(f"no run {wanted!r} in {runs_folder()}{config.nearest(wanted, names)}")
    folder = runs_folder() / wanted
    if runner.read_manifest(folder) is None:
        saved = read_run(folder)
        command = (
            f"python DeepLearning/train{saved['network']}.py --name={saved['names'][0]} --resume"
        )
        raise GlacierError(f"run {wanted} is not finished; go on with: {command}")
    return folder


def runs_for(cfg: Config, wanted: Sequence[str], patches: str) -> list[Path]:
    """Return finished runs fit for a glacier: those wanted, or the newest trained on it.

    patches : hash of the glacier's patches. GlacierError if a run is not there, knows the glacier neither from training
    nor as the one held out, or was trained on other patches of it.
    """
    finished = [run for run in list_runs(name=cfg.name) if runner.read_manifest(run)]
    if not wanted and not finished:
        command = f"python DeepLearning/trainAttentionLSTM.py --name={cfg.name}"
        raise GlacierError(
            f"no finished run of {cfg.name} in {runs_folder()}; run first: {command}"
        )
    folders = [find_run(name) for name in wanted] or finished[-1:]
    for folder in folders:
        saved = read_run(folder)
        if cfg.name not in (*saved["names"], saved["holdout"]):
            known = " and ".join(saved["names"])
            raise GlacierError(
                f"run {folder.name} was trained on {known}, not on {cfg.name}; add --name={known}"
            )
        if saved["patches"].get(cfg.name, patches) != patches:
            command = f"python DeepLearning/train{saved['network']}.py --name={cfg.name}"
            raise GlacierError(
                f"run {folder.name} was trained on other patches of {cfg.name} than are there now; "
                f"train again: {command}"
            )
    return folders


def read_checkpoint(path: Path) -> dict:
    """Return a checkpoint; GlacierError if it is missing or damaged."""
    integrity.check(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise GlacierError(
            f"{path} is missing or damaged ({' '.join(str(error).split())[:120]}); "
            "train again with --force"
        ) from error


def write_csv(path: Path, rows: list[dict]) -> None:
    """Write rows with equal keys as CSV, numbers to 9 digits, whole at once."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        [
            {
                key: f"{value:.9g}" if isinstance(value, float) else value
                for key, value in row.items()
            }
            for row in rows
        ]
    )
    with disk.writing(path) as file:
        file.write(text.getvalue().encode())
