"""Forecast the whole scene beyond the last composite:  python DeepLearning/forecast.py --name=parvati

Writes DeepLearning/runs/RUN/forecast/: forecast.tif (one band a channel and step, with CRS and dates), forecast.png
(inputs and forecast), forecast.gif, lastTest.png (the last test window: forecast beside truth), and
flow.png, flow.csv (the motion that forecast and truth of that window show).
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rasterio import Affine

from config import Config, setting
from DeepLearning.data.glacier import Glacier
from DeepLearning.training import run_folders
from DeepLearning.training.networks import choose_device, load_network
from DeepLearning.verification import motion, sections
from glacier import console
from glacier.figures import maps
from glacier.report import pages
from glacier.storage import geotiff, runner

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings(Config):
    run: str | None = setting(None, "the run to forecast with; None: the newest of the glacier")
    device: str = setting("auto", "where to compute", choices=run_folders.DEVICES)


def write_geotiff(
    path: Path, images: np.ndarray, glacier: Glacier, dates: list[str], tags: dict[str, str]
) -> Path:
    """Write images (horizon, C, H, W) as a GeoTIFF, a band for each date and channel, nodata NaN; return its path."""
    series = glacier.series
    bands = [(date, channel) for date in dates for channel in series.channels]
    names = [f"{channel} {date}" for date, channel in bands]
    band_tags = [{"DATE": date, "CHANNEL": channel} for date, channel in bands]
    tags = {**tags, "DATES": ",".join(dates), "CHANNELS": ",".join(series.channels)}
    return geotiff.write(
        path,
        images.reshape(-1, *images.shape[2:]),
        series.crs,
        Affine(*series.transform[:6]),
        names,
        tags,
        band_tags=band_tags,
    )


def picture(image: np.ndarray) -> np.ndarray:
    """Return one step (C, H, W) as figures draw it: (H, W) for one channel, else three."""
    return image[0] if len(image) == 1 else image[:3]


def draw_ahead(folder: Path, glacier: Glacier, forecast: np.ndarray) -> list[Path]:
    """Draw the last inputs and the forecast after them, as a picture and an animation; return the files."""
    last = len(glacier.series.values)
    known = range(last - glacier.sequence_length, last)
    images = [picture(image) for image in (*glacier.series.values[known.start :], *forecast)]
    titles = [f"{glacier.date(step)} input" for step in known]
    titles += [f"{glacier.date(last + lead)} forecast" for lead in range(len(forecast))]
    return [
        make(
            folder / f"forecast.{kind}",
            images,
            titles,
            label(glacier),
            pixel_size=glacier.series.transform[0],
        )
        for kind, make in (("png", maps.map_row), ("gif", maps.animation))
    ]


def draw_known(folder: Path, glacier: Glacier, target: int, forecast: np.ndarray) -> list[Path]:
    """Draw a forecast of steps that have come, from step `target` on, each beside the truth; return the files."""
    images, titles = [], []
    for step, image in enumerate(forecast, target):
        images += [picture(image), picture(glacier.series.values[step])]
        titles += [f"{glacier.date(step)} forecast", f"{glacier.date(step)} truth"]
    size = glacier.series.transform[0]
    return [maps.map_row(folder / "lastTest.png", images, titles, label(glacier), pixel_size=size)]


def label(glacier: Glacier) -> str:
    """Return quantity and unit of what is forecast."""
    return "NDSI [1]" if glacier.channels == 1 else "reflectance [1]"


def make_forecast(
    folder: Path,
    glacier: Glacier,
    network: torch.nn.Module,
    device: torch.device,
    max_velocity: float,
) -> runner.Result:
    """Write the forecast beyond the last composite, and the last test window beside its truth. max_velocity [m/yr]."""
    first = len(glacier.series.dates) - glacier.sequence_length
    ahead = glacier.forecast_scene(network, first, device)[0].numpy()
    dates = [str(glacier.date(len(glacier.series.dates) + lead)) for lead in range(glacier.horizon)]
    tags = {
        "GLACIER": glacier.name,
        "RUN": folder.parent.name,
        "LAST_INPUT": glacier.series.dates[-1],
    }
    files = [write_geotiff(folder / "forecast.tif", ahead, glacier, dates, tags)]
    files += draw_ahead(folder, glacier, ahead)
    if tests := glacier.windows("test"):
        known = glacier.patches.windows[tests[-1]].start
        forecast = glacier.forecast_scene(network, known, device)[0].numpy()
        files += draw_known(folder, glacier, known + glacier.sequence_length, forecast)
        shown, flows = motion.draw_flows(
            folder, glacier, known + glacier.sequence_length, forecast, max_velocity
        )
        run_folders.write_csv(folder / "flow.csv", flows)
        files += [*shown, folder / "flow.csv"]
    files += sections.forecast(folder)
    numbers = [(image.mean(), image.min(), image.max()) for image in ahead]
    rows = [
        (date, *(f"{number:.3f}" for number in row))
        for date, row in zip(dates, numbers, strict=True)
    ]
    return runner.Result(files, {"steps": dates}, [("step", "mean", "least", "most"), *rows])


def run(cfg: Settings) -> int:
    """Forecast with the run unless that is done; return the exit code."""
    glacier = Glacier(cfg)
    (folder,) = run_folders.runs_for(cfg, [cfg.run] if cfg.run else [], glacier.hash)

    def work(target: Path) -> runner.Result:
        device = choose_device(cfg.device)
        return make_forecast(target, glacier, load_network(folder, device), device, cfg.maxVelocity)

    inputs = {"patches": glacier.hash, "run": runner.manifest_hash(runner.read_manifest(folder))}
    own = (
        "forecast"
        if run_folders.read_run(folder)["names"][0] == cfg.name
        else f"forecast-{cfg.name}"
    )
    settings = runner.used_settings(cfg, ["maxVelocity"])
    command = f"python DeepLearning/forecast.py --name={cfg.name}"
    runner.make(cfg, folder / own, settings, inputs, work, command)
    log.info("All of %s in one page: %s", cfg.name, pages.report(cfg))
    return 0


if __name__ == "__main__":
    sys.exit(console.main(run, Settings))
