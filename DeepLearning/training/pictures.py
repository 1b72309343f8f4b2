"""A picture of a forecast, drawn while a network trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from DeepLearning.data.batches import Glaciers
from glacier import distribution
from glacier.figures import looks, maps


@torch.no_grad()
def draw_sample(
    path: Path,
    model: torch.nn.Module,
    glaciers: Glaciers,
    sample: np.ndarray,
    device: torch.device,
) -> None:
    """Draw inputs, the forecast's median and the truth of a sample."""
    batch = glaciers.batch(sample[None])
    forecast = model.eval()(batch.inputs.to(device), batch.context.to(device)).cpu()
    median = distribution.quantile(forecast, 0.5, batch.context.thresholds, batch.context.floor)
    seen = batch.targets.where(batch.observed, np.nan)  # only what was observed is the truth
    parts = {"input": batch.inputs, "median": median, "truth": seen}
    images = []
    titles = []
    for name, frames in parts.items():
        for step, image in enumerate(frames[0].numpy(), 1):
            images.append(looks.picture_of(image))
            titles.append(f"{name} {step}")
    columns = max(batch.inputs.shape[1], median.shape[1])
    label = looks.look_of(glaciers.channels).label
    maps.map_row(path, images, titles, label, columns=columns)
