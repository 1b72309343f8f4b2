"""The score table as it is printed, and pictures of scores and patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from DeepLearning.data.glacier import Glacier
from glacier.figures import charts, maps


def table(rows: list[dict]) -> list[tuple]:
    """Return what is printed of the rows: all lead times, without the single seasons."""
    heads = (
        "region",
        "lead",
        "method",
        "MSE",
        "MAE",
        "SSIM",
        "F1",
        "bias",
        "variance",
        "skill vs climatology [95 %]",
        "vs damped persistence",
        "vs persistence",
    )
    lines = [heads]
    for row in rows:
        if row["season"] == "all":
            skills = [
                f"{row[f'skill_vs_{name}']:+.3f} [{row[f'skill_vs_{name}_low']:+.3f}, "
                f"{row[f'skill_vs_{name}_high']:+.3f}]"
                for name in ("climatology", "damped_persistence", "persistence")
            ]
            numbers = (
                f"{row['mse']:.5f}",
                f"{row['mae']:.4f}",
                f"{row['ssim']:.3f}",
                f"{row['f1']:.3f}",
                f"{row['bias']:+.4f}",
                f"{row['variance_ratio']:.2f}",
            )
            lines.append((row["region"], str(row["lead"]), row["method"], *numbers, *skills))
    return lines


def draw_scores(path: Path, rows: list[dict]) -> Path:
    """Draw the error by lead time over the region that was trained on; return the file."""
    lines = {}
    for row in rows:
        if row["region"] == "seen" and row["season"] == "all" and row["lead"] != "all":
            lines.setdefault(row["method"], []).append(row["mse"])
    leads = range(1, 1 + len(next(iter(lines.values()))))
    return charts.curves(path, leads, lines, "lead time [steps]", "mean squared error [1]")


def draw_patches(
    path: Path, glacier: Glacier, network: torch.nn.Module, device: torch.device
) -> Path:
    """Draw the best, the median and the worst patch of a network's test forecasts; return the file."""
    found, side = [], glacier.patch_size
    for window in glacier.windows("test"):
        first = glacier.patches.windows[window].start
        target, end = (
            first + glacier.sequence_length,
            first + glacier.sequence_length + glacier.horizon,
        )
        made, truth = (
            glacier.forecast_scene(network, first, device)[0].numpy(),
            glacier.series.values[target:end],
        )
        observed = glacier.series.observed[target:end, None]
        for top in range(0, truth.shape[-2] - side + 1, side):
            for left in range(0, truth.shape[-1] - side + 1, side):
                here = np.s_[..., top : top + side, left : left + side]
                if observed[here].any():
                    error = (
                        (made - truth)[here][np.broadcast_to(observed, truth.shape)[here]] ** 2
                    ).mean()
                    found.append((float(error), target, top, left, made[here], truth[here]))
    found.sort(key=lambda entry: entry[:4])
    images, titles = [], []
    chosen = {"best": found[0], "median": found[len(found) // 2], "worst": found[-1]}
    for kind, (error, target, top, left, made, truth) in chosen.items():
        last = glacier.series.values[target - 1, :, top : top + side, left : left + side]
        sheet = {
            f"{kind}, MSE {error:.4f}, last input": last,
            "truth, first lead": truth[0],
            "forecast ": made[0],
            "truth, last lead": truth[-1],
            "forecast": made[-1],
        }
        images += [image[0] if len(image) == 1 else image[:3] for image in sheet.values()]
        titles += sheet
    return maps.map_row(path, images, titles, "NDSI [1]", columns=5)
