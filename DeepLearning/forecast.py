"""Forecast the whole scene beyond the last composite:  python DeepLearning/forecast.py --name=parvati

Writes DeepLearning/runs/RUN/forecast/: forecast.tif (one band a channel and step, with CRS and dates), forecast.png
(inputs and forecast), forecast.gif, and lastTest.png (inputs, forecast and truth of the last test window).
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import rasterio
import torch

import figures
import store
from config import Config, setting
from DeepLearning import tracking
from DeepLearning.data import Glacier
from DeepLearning.training import choose_device, load_network

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings(Config):
    run: str | None = setting(None, "the run to forecast with; None: the newest of the glacier")
    device: str = setting("auto", "where to compute", choices=tracking.DEVICES)


def write_geotiff(path: Path, images: np.ndarray, glacier: Glacier, dates: list[str], tags: dict[str, str]) -> Path:
    """Write images (horizon, C, H, W) as a GeoTIFF, a band for each date and channel, nodata NaN; return its path."""
    series = glacier.series
    profile = {
        "driver": "GTiff",
        "dtype": "float32",
        "count": images.shape[0] * images.shape[1],
        "height": images.shape[2],
        "width": images.shape[3],
        "crs": series.crs,
        "transform": rasterio.Affine(*series.transform[:6]),
        "nodata": np.nan,
        "compress": "deflate",
    }
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            dataset.update_tags(**tags, DATES=",".join(dates), CHANNELS=",".join(series.channels))
            bands = [(date, channel) for date in dates for channel in series.channels]
            for number, (image, (date, channel)) in enumerate(
                zip(images.reshape(-1, *images.shape[2:]), bands, strict=True), 1
            ):
                dataset.write(image, number)
                dataset.set_band_description(number, f"{channel} {date}")
                dataset.update_tags(number, DATE=date, CHANNEL=channel)
        with store.writing(path) as file:
            file.write(memory.read())
    return path


def picture(image: np.ndarray) -> np.ndarray:
    """Return one step (C, H, W) as figures draw it: (H, W) for one channel, else three."""
    return image[0] if len(image) == 1 else image[:3]


def draw(folder: Path, glacier: Glacier, first: int, forecast: np.ndarray, name: str) -> list[Path]:
    """Draw a window's inputs and forecast, and the truth of those of its targets that have come; return the files."""
    values, target = glacier.series.values, first + glacier.sequence_length
    steps = [(values[step], f"{glacier.date(step)} input") for step in range(first, target)]
    steps += [(image, f"{glacier.date(target + lead)} forecast") for lead, image in enumerate(forecast)]
    truth = [
        (values[step], f"{glacier.date(step)} truth")
        for step in range(target, min(target + glacier.horizon, len(values)))
    ]
    images, titles = zip(*((picture(image), title) for image, title in steps + truth), strict=True)
    label = "NDSI [1]" if glacier.channels == 1 else "reflectance [1]"
    files = [
        figures.map_row(
            folder / f"{name}.png", images, titles, label, columns=max(glacier.sequence_length, glacier.horizon)
        )
    ]
    if not truth:
        files.append(figures.animation(folder / f"{name}.gif", images, titles, label))
    return files


def make_forecast(folder: Path, glacier: Glacier, network: torch.nn.Module, device: torch.device) -> store.Result:
    """Write the forecast beyond the last composite, and the last test window beside its truth."""
    first = len(glacier.series.dates) - glacier.sequence_length
    ahead = glacier.forecast_scene(network, first, device)[0].numpy()
    dates = [str(glacier.date(len(glacier.series.dates) + lead)) for lead in range(glacier.horizon)]
    tags = {"GLACIER": glacier.name, "RUN": folder.parent.name, "LAST_INPUT": glacier.series.dates[-1]}
    files = [write_geotiff(folder / "forecast.tif", ahead, glacier, dates, tags)]
    files += draw(folder, glacier, first, ahead, "forecast")
    if tests := glacier.windows("test"):
        known = glacier.patches.windows[tests[-1]].start
        files += draw(folder, glacier, known, glacier.forecast_scene(network, known, device)[0].numpy(), "lastTest")
    numbers = [(image.mean(), image.min(), image.max()) for image in ahead]
    rows = [(date, *(f"{number:.3f}" for number in row)) for date, row in zip(dates, numbers, strict=True)]
    return store.Result(files, {"steps": dates}, [("step", "mean", "least", "most"), *rows])


def run(cfg: Settings) -> int:
    """Forecast with the run unless that is done; return the exit code."""
    glacier = Glacier(cfg)
    (folder,) = tracking.runs_for(cfg, [cfg.run] if cfg.run else [], glacier.hash)

    def work(target: Path) -> store.Result:
        device = choose_device(cfg.device)
        return make_forecast(target, glacier, load_network(folder, device), device)

    inputs = {"patches": glacier.hash, "run": store.manifest_hash(store.read_manifest(folder))}
    own = "forecast" if tracking.read_run(folder)["names"][0] == cfg.name else f"forecast-{cfg.name}"
    tracking.make_once(cfg, folder / own, {}, inputs, work)
    return 0


if __name__ == "__main__":
    sys.exit(store.main(run, Settings))
