"""Which runs are scored and which one forecasts: by validation, never by the test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import config
from DeepLearning.training import run_folders
from glacier.storage import runner
from glacier.storage.forms import is_count, is_finite, misfit

# of the counts of a run whose validation decides something
SCORED = {
    "validation_years": is_count,
    "crps": {"validation": {"network": is_finite, "climatology": is_finite}},
}


def finished_runs(name: str, patches: str) -> list[Path]:
    """Return the finished runs of a glacier that were trained on its present patches, oldest first.

    patches : hash of the glacier's patches. Runs of an earlier version of this project are passed over.
    """
    runs = []
    for run in run_folders.list_runs(name=name):
        record = run_folders.read_record(run)
        present = record.get("format") == run_folders.FORMAT
        fits = record["patches"].get(name) == patches
        if present and fits and runner.read_manifest(run):
            runs.append(run)
    return runs


def validation_skill(run: Path) -> float | None:
    """Return a run's CRPS skill against climatology in validation, None where validation decides nothing."""
    counts = runner.read_manifest(run)["counts"]
    if misfit(counts, SCORED) or not counts["validation_years"]:
        return None
    score = counts["crps"]["validation"]
    if not score["climatology"]:
        return None
    return 1 - score["network"] / score["climatology"]


def best_run(runs: Sequence[Path]) -> tuple[Path, str]:
    """Return the best run by validation, and why in a few words; the newest among equals, or where none is known."""
    skills = {run: validation_skill(run) for run in runs}
    known = [run for run in runs if skills[run] is not None]
    if not known:
        return runs[-1], "the newest; with so few years validation decides nothing"
    best = max(reversed(known), key=lambda run: skills[run])
    percent = 100 * skills[best]
    word = "below" if percent >= 0 else "above"
    why = f"the best of {len(known)} by validation, CRPS {abs(percent):.1f} % {word} climatology"
    return best, why


def newest_of_each_network(runs: Sequence[Path]) -> list[Path]:
    """Return the newest run of each network."""
    newest = {run_folders.read_run(run)["network"]: run for run in runs}
    return list(newest.values())


def labels_of(runs: Sequence[Path]) -> dict[str, Path]:
    """Return the runs by the names of their networks, with their numbers where two share a network."""
    names = [run_folders.read_run(run)["network"] for run in runs]
    labels = {}
    for name, run in zip(names, runs, strict=True):
        if names.count(name) == 1:
            label = name
        else:
            label = f"{name} {run_folders.run_number(run):03d}"
        labels[label] = run
    return labels


def folder_in(run: Path, stem: str, glacier: str) -> Path:
    """Return where a run keeps its results for a glacier: `stem`, with the glacier's name where it is another one."""
    own_glacier = run_folders.read_run(run)["names"][0] == glacier
    return run / (stem if own_glacier else f"{stem}-{config.file_name(glacier)}")
