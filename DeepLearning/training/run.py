"""One run: its network trained in its folder, what that earned, and the manifest that says it is finished."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from DeepLearning.data.base import KEPT_BYTES, Memory
from DeepLearning.data.batches import Glaciers
from DeepLearning.data.glacier import Glacier
from DeepLearning.training import checkpoints, earning, processes, run_folders
from DeepLearning.training.carry import earned_carry
from DeepLearning.training.loop import Fit
from DeepLearning.training.mirror import Mirror
from DeepLearning.training.networks import choose_device
from DeepLearning.training.settings import TrainingConfig, for_glacier, held_out, used
from DeepLearning.verification import sections
from DeepLearning.verification.metrics import skill
from glacier import console
from glacier.storage import runner

log = logging.getLogger(__name__)

Build = Callable[[TrainingConfig, int], nn.Module]


def start_processes(cfg: TrainingConfig) -> torch.device:
    """Return the device to compute on, this process's own; several processes meet here.

    Small networks compute on one thread: more cost time as soon as another program runs, and how many there are may
    change how sums are rounded. Setting the number also keeps libraries from changing it under load.
    """
    device = processes.local_device(choose_device(cfg.device))
    threads = 1 if getattr(cfg, "preset", "small") == "small" else torch.get_num_threads()
    torch.set_num_threads(threads)
    processes.start(device)
    return device


def check_start(cfg: TrainingConfig, build: Build, channels: int) -> None:
    """Raise GlacierError if the run to start from holds another network, before a run is made."""
    if cfg.start:
        with torch.device("meta"):
            model = build(cfg, channels)
        checkpoints.read_alike(model, run_folders.find_run(cfg.start) / "best.pt")


def read_glaciers(cfg: TrainingConfig) -> Glaciers:
    """Return the glaciers to train on, under one budget of memory, of which each has its share."""
    names = cfg.names or (cfg.name,)
    glaciers = []
    for name in names:
        memory = Memory(KEPT_BYTES // len(names))
        of_name = cfg if name == cfg.name else for_glacier(cfg, name)
        glacier = Glacier(of_name, coarse=True, memory=memory, further=cfg.context)
        glaciers.append(glacier)
    return Glaciers(glaciers)


def fit(
    cfg: TrainingConfig, build: Build, glaciers: Glaciers, device: torch.device, folder: Path
) -> None:
    """Train in a run's folder, finish it with its manifest, and print the closing table."""
    start, writer = time.monotonic(), processes.is_writer()
    torch.use_deterministic_algorithms(cfg.deterministic)
    torch.manual_seed(cfg.seed)
    model = build(cfg, glaciers.channels)
    if cfg.start:
        checkpoints.load_into(model, run_folders.find_run(cfg.start) / "best.pt")
        model.factor.fill_(1)  # it is to be earned anew
    model.seasonal.fill_(glaciers.training_years() >= 2)
    model.region_carry.copy_(torch.as_tensor(earned_carry(glaciers.glaciers)))
    model.to(device)
    record = {"run": folder.name, "network": type(model).__name__, **used(cfg)}
    mirror = Mirror(cfg.wandb if writer else "disabled", folder, record)
    try:
        course = Fit(model, glaciers, cfg, device, folder, mirror, used(cfg))
        state = course.run()
    finally:
        mirror.finish()
    processes.wait()
    scores, epoch = course.earn()
    counts = {
        "epochs": state["epoch"],
        "best_epoch": epoch,
        "parameters": sum(part.numel() for part in model.parameters()),
        "validation_years": max(years.years for years in course.years),
        "factor": [round(number, 4) for number in course.average.factor.tolist()],
        "region_carry": [round(number, 4) for number in model.region_carry.tolist()],
        "crps": closing_scores(cfg, course, scores, device),
    }
    counts["stayed_at_start"] = not any(counts["factor"])
    if writer:
        finish(cfg, glaciers, folder, counts, time.monotonic() - start)


def closing_scores(
    cfg: TrainingConfig, course: Fit, scores: earning.Scores, device: torch.device
) -> dict[str, dict[str, float]]:
    """Return the CRPS of the network, its factor applied, and of climatology: in validation, and held out."""
    parts = {"validation": scores}
    for name in held_out(cfg):
        glacier = Glacier(for_glacier(cfg, name), coarse=True, further=cfg.context)
        steps = frozenset(range(len(glacier.series.dates)))
        parts[f"holdout {name}"] = earning.score(
            course.average, Glaciers([glacier]), [steps], cfg.batchSize, device, factor=True
        )
    closing = {}
    for part, of_part in parts.items():
        closing[part] = {
            "network": of_part.mean("network"),
            "climatology": of_part.mean("climatology"),
        }
    return closing


def finish(
    cfg: TrainingConfig, glaciers: Glaciers, folder: Path, counts: dict, seconds: float
) -> None:
    """Write a run's section and manifest; say what it is worth."""
    names = ("config.yaml", "metrics.csv", "best.pt")
    files = [folder / name for name in names]
    files += sections.training(folder)
    command = run_folders.train_command(folder, "--force")
    runner.write_manifest(folder, used(cfg), glaciers.hashes, files, counts, seconds, command)
    log.info("%s", "\n".join(console.lines_of(closing_table(counts, seconds))))
    if counts["stayed_at_start"]:
        log.info(
            "%s stayed at its start: it forecasts %s (%s).",
            folder.name,
            start_of(counts),
            why(counts),
        )


def closing_table(counts: dict, seconds: float) -> list[tuple]:
    """Return the lines of the closing table."""
    rows = [("CRPS", "network", "climatology", "skill")]
    for part, errors in counts["crps"].items():
        network, climatology = errors["network"], errors["climatology"]
        gain = skill(network, climatology)
        rows.append((part, f"{network:.5f}", f"{climatology:.5f}", f"{gain:+.3f}"))
    for name, words in (("factor", "factor"), ("region_carry", "region's departure carried")):
        leads = [f"{number:.2f}" for number in counts[name]]
        rows.append((f"{words}, by lead time", *leads))
    rows.append(("epochs", f"{counts['epochs']}, best {counts['best_epoch']}"))
    rows.append(("parameters", counts["parameters"]))
    rows.append(("seconds", f"{seconds:.1f}"))
    return rows


def start_of(counts: dict) -> str:
    """Return what an untrained network forecasts."""
    if any(counts["region_carry"]):
        return "climatology and what the region's last departures carry over"
    return "climatology"


def why(counts: dict) -> str:
    """Return why a network earned nothing."""
    if counts["validation_years"] == 0:
        return "there is no whole year of validation to show that it adds anything"
    if counts["best_epoch"] == 0:
        return "no epoch was better in the years that stop the training"
    return "what it adds is not clear of chance in the validation years kept for that"
