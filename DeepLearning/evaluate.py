"""Score a run and the baselines over the test windows:  python DeepLearning/evaluate.py --name=parvati

Writes DeepLearning/runs/RUN/evaluation/scores.csv. Whole scenes are forecast, so each pixel counts once; only really
observed pixels count. The region "seen" is the scene the network was trained on, at times it was not; "block" is the
part of the scene that was kept out of training as well.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor

import figures
import store
from config import Config, GlacierError, setting
from DeepLearning import metrics, sections, tracking
from DeepLearning.baselines import BASELINES
from DeepLearning.data import Glacier
from DeepLearning.training import choose_device, load_network

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings(Config):
    run: str | None = setting(None, "the run to score; None: the newest of the glacier")
    device: str = setting("auto", "where to compute", choices=("auto", "cpu", "cuda", "mps"))


def regions(glacier: Glacier) -> dict[str, Tensor]:
    """Return masks (H, W): "seen", the pixels of training patches, and "block", those kept out of training."""
    masks = {}
    for region, part in (("seen", "train"), ("block", "block")):
        mask = torch.zeros(glacier.series.values.shape[-2:], dtype=torch.bool)
        for row, column in np.argwhere(glacier.patches.patch_parts == part) * glacier.stride:
            mask[row : row + glacier.patch_size, column : column + glacier.patch_size] = True
        masks[region] = mask
    return {region: mask for region, mask in masks.items() if mask.any()}


def forecasts(glacier: Glacier, networks: dict, device: torch.device) -> dict[str, Tensor]:
    """Return all forecasts of the test windows by name, the truth among them, each (windows, horizon, C, H, W)."""
    made = {name: [] for name in (*networks, *BASELINES, "truth")}
    for window in store.progress(glacier.windows("test"), "test windows"):
        first = glacier.patches.windows[window].start
        inputs, context = glacier.scene_inputs(first), glacier.scene_context(first)
        for name, network in networks.items():
            made[name].append(glacier.forecast_scene(network, first, device))
        for name, baseline in BASELINES.items():
            made[name].append(baseline(inputs, context))
        target = first + glacier.sequence_length
        made["truth"].append(torch.from_numpy(glacier.series.values[target : target + glacier.horizon])[None])
    return {name: torch.cat(parts) for name, parts in made.items()}


def observed_pixels(glacier: Glacier) -> Tensor:
    """Return which target pixels of the test windows were really observed, bool (windows, horizon, 1, H, W)."""
    starts = [glacier.patches.windows[window].start + glacier.sequence_length for window in glacier.windows("test")]
    return torch.from_numpy(np.stack([glacier.series.observed[start : start + glacier.horizon] for start in starts]))[
        :, :, None
    ]


def score(made: dict[str, Tensor], observed: Tensor, masks: dict[str, Tensor]) -> list[dict]:
    """Return one row for each region, lead time ("all": their mean) and method, with skills against two baselines."""
    truth, rows = made["truth"], []
    for region, mask in masks.items():
        counted = observed & mask
        measured = {
            name: [with_mean(metric(forecast, truth, counted)) for metric in (metrics.mse, metrics.mae, metrics.ssim)]
            for name, forecast in made.items()
            if name != "truth"
        }
        for index in range(truth.shape[1] + 1):
            lead = index + 1 if index < truth.shape[1] else "all"
            for name, (mse, mae, ssim) in measured.items():
                skills = [
                    metrics.skill(mse[index], measured[other][0][index]) for other in ("climatology", "persistence")
                ]
                rows.append(
                    {
                        "region": region,
                        "lead": lead,
                        "method": name,
                        "mse": mse[index],
                        "mae": mae[index],
                        "ssim": ssim[index],
                        "skill_vs_climatology": skills[0],
                        "skill_vs_persistence": skills[1],
                    }
                )
    return rows


def with_mean(values: Tensor) -> list[float]:
    """Return the values of all lead times and, last, their mean over the lead times that could be scored."""
    return [*values.tolist(), values.nanmean().item()]


def table(rows: list[dict]) -> list[tuple]:
    """Return the rows as a printed table."""
    heads = ("region", "lead", "method", "MSE", "MAE", "SSIM", "vs climatology", "vs persistence")
    return [
        heads,
        *(
            (
                row["region"],
                str(row["lead"]),
                row["method"],
                f"{row['mse']:.5f}",
                f"{row['mae']:.4f}",
                f"{row['ssim']:.3f}",
                f"{row['skill_vs_climatology']:+.3f}",
                f"{row['skill_vs_persistence']:+.3f}",
            )
            for row in rows
        ),
    ]


def run(cfg: Settings) -> int:
    """Score the run unless that is done; return the exit code."""
    glacier = Glacier(cfg)
    folder = tracking.finished_run(cfg, cfg.run)
    tracking.need_same_patches(folder, glacier.hash)
    if not glacier.windows("test"):
        raise GlacierError(
            f"{cfg.name} has no test window; take more years, or a larger testFraction, and run createPatches.py"
        )

    def work(folder: Path) -> store.Result:
        device = choose_device(cfg.device)
        networks = {tracking.read_run(folder.parent)["network"]: load_network(folder.parent, device)}
        rows = score(forecasts(glacier, networks, device), observed_pixels(glacier), regions(glacier))
        tracking.write_csv(folder / "scores.csv", rows)
        files = [folder / "scores.csv", *sections.evaluation(folder)]
        return store.Result(files, {"test_windows": len(glacier.windows("test"))}, table(rows))

    inputs = {"patches": glacier.hash, "run": store.manifest_hash(store.read_manifest(folder))}
    tracking.make_once(cfg, folder / "evaluation", {}, inputs, work)
    figures.report(cfg)
    log.info("Skill is 1 - MSE / MSE of the baseline: 0 is no better, negative is worse.")
    log.info("Next: python DeepLearning/forecast.py --name=%s", cfg.name)
    return 0


if __name__ == "__main__":
    sys.exit(store.main(run, Settings))
