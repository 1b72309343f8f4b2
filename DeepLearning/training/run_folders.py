"""Runs: their folders, and what lies in them.

A run is DeepLearning/runs/<glacier>-<network>-<number>/ with config.yaml, metrics.csv, best.pt, last.pt; manifest.yaml
says that it is finished. The local files are the truth.
"""

from __future__ import annotations

import csv
import io
import logging
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import yaml

import config
from config import Config, GlacierError
from glacier import console
from glacier.stages import runs_folder as runs_folder
from glacier.storage import disk, integrity, runner

log = logging.getLogger(__name__)
DEVICES = ("auto", "cpu", "cuda", "mps")
# Of runs and checkpoints: 2 answers a distribution function by two numbers a pixel. Others are refused.
FORMAT = 3
LONGEST_NAME = 150  # bytes of the glaciers' names in a folder's name


def list_runs(network: str | None = None, name: str | None = None) -> list[Path]:
    """Return the runs, oldest first: of one network, and trained on one glacier (among others), if given.

    A folder that is no run of ours, or whose config.yaml cannot be read, is passed over.
    """
    runs = []
    for path in runs_folder().glob("*/config.yaml"):
        folder = path.parent
        record = read_record(folder)
        if record is None or not re.fullmatch(r".+-\d{3,}", folder.name):
            continue
        if network in (None, record["network"]) and (name is None or name in record["names"]):
            runs.append(folder)
    return sorted(runs, key=lambda folder: (run_number(folder), folder.name))


def run_number(folder: Path) -> int:
    """Return the number at the end of a run's name."""
    return int(folder.name.rpartition("-")[2])


def new_run(name: str, network: str) -> Path:
    """Return the folder of the next run, made now and for nobody else."""
    number = max(map(run_number, list_runs()), default=0) + 1
    name = config.file_name(name)
    if len(name.encode()) > LONGEST_NAME:
        name = f"{name.partition('+')[0]}+others-{config.fingerprint(name)}"
    while True:
        folder = runs_folder() / f"{name}-{network}-{number:03d}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.mkdir()
        except FileExistsError:  # another training has just taken it
            number += 1
        else:
            return folder


def read_record(folder: Path) -> dict | None:
    """Return a run's config.yaml as it is; None if it is none of ours, or damaged."""
    try:
        record = yaml.safe_load((folder / "config.yaml").read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return record if is_record(record) else None


def is_record(record) -> bool:
    """Tell whether what a config.yaml holds is the record of a run."""
    if not isinstance(record, dict):
        return False
    kinds = {"network": str, "names": list, "patches": dict, "settings": dict}
    for key, kind in kinds.items():
        if not isinstance(record.get(key), kind):
            return False
    texts = [record["network"], *record["names"], *record["patches"], *record["settings"]]
    texts += record["patches"].values()
    holdout = record.get("holdout")
    all_texts = all(isinstance(text, str) for text in texts)
    return bool(record["names"]) and all_texts and isinstance(holdout, str | None)


def train_command(folder: Path, *more: str) -> str:
    """Return what a user types to train a run's network on its glaciers again; more : further flags."""
    record = read_record(folder)
    if record is not None:
        network, names = record["network"], record["names"]
    elif folder.name.count("-") >= 2:
        glaciers, network, _ = folder.name.rsplit("-", 2)
        names = glaciers.replace("@", "/").split("+")
    else:
        network, names = "AttentionLSTM", [folder.name]
    together = [f"--names={','.join(names)}"] if len(names) > 1 else []
    return console.command(f"DeepLearning/train{network}.py", names[0], *together, *more)


def read_run(folder: Path) -> dict:
    """Return a run's config.yaml: network, names, holdout, patches (hash of each glacier's), settings.

    GlacierError if it is damaged, or of an earlier version.
    """
    integrity.check(folder / "config.yaml")
    record = read_record(folder)
    if record is None:
        raise GlacierError(
            f"{folder / 'config.yaml'} is damaged; delete {folder.name} and run: {train_command(folder)}"
        )
    if record.get("format") != FORMAT:
        raise outdated(folder)
    return record


def outdated(folder: Path) -> GlacierError:
    """Return the error of a run that an earlier version of this project made."""
    command = train_command(folder)
    return GlacierError(f"run {folder.name} was made by an earlier version: train again: {command}")


def find_run(wanted: str) -> Path:
    """Return the folder of a finished run; GlacierError, with the nearest name, if there is none."""
    names = [run.name for run in list_runs()]
    wanted = Path(wanted).name
    if wanted not in names:
        there = f"; there is: {', '.join(names[-20:])}" if names else ", which holds none"
        hint = config.nearest(wanted, names)
        raise GlacierError(f"no run {wanted!r} in {runs_folder()}{hint}{there}")
    folder = runs_folder() / wanted
    read_run(folder)
    if runner.read_manifest(folder) is None:
        command = train_command(folder, "--resume")
        raise GlacierError(f"run {wanted} is not finished; go on with: {command}")
    return folder


def runs_for(cfg: Config, wanted: Sequence[str], patches: str) -> list[Path]:
    """Return finished runs fit for a glacier: those wanted, or the newest trained on it.

    patches : hash of the glacier's patches. GlacierError if a run is not there, knows the glacier neither from training
    nor as the one held out, or was trained on other patches of it.
    """
    finished = [run for run in list_runs(name=cfg.name) if runner.read_manifest(run)]
    current = [run for run in finished if read_record(run).get("format") == FORMAT]
    finished = current or finished  # if there are older ones only, the newest is refused below
    if not wanted and not finished:
        command = console.command("DeepLearning/trainAttentionLSTM.py", cfg.name)
        raise GlacierError(
            f"no finished run of {cfg.name} in {runs_folder()}; run first: {command}"
        )
    folders = [find_run(name) for name in wanted] or finished[-1:]
    for folder in folders:
        saved = read_run(folder)
        scored = (saved["holdout"] or "").split(",")
        if cfg.name not in (*saved["names"], *scored):
            known = " and ".join(saved["names"])
            raise GlacierError(
                f"run {folder.name} was trained on {known}, not on {cfg.name}; "
                f"add --name={shlex.quote(saved['names'][0])}"
            )
        if saved["patches"].get(cfg.name, patches) != patches:
            raise GlacierError(
                f"run {folder.name} was trained on other patches of {cfg.name} than are there now; "
                f"train again: {train_command(folder)}"
            )
    return folders


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
