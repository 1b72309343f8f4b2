"""All that is known of a glacier as one NetCDF file, datasets/<name>/<name>.nc, and as xarray data sets in Python.

Written again by each stage that changed one of its parts; a stage's own arrays are what counts.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio

import config
from config import Config, GlacierError
from glacier import aligned, stages
from glacier.aligned import Composites
from glacier.velocity import fields

if TYPE_CHECKING:  # at run time it is loaded when there is something to write
    import netCDF4

VELOCITY = "_velocity"  # of the names of its grid, which is coarser than that of the composites
NODES = {"x" + VELOCITY: "x", "y" + VELOCITY: "y"}


def file_of(cfg: Config) -> Path:
    """Return the path of a glacier's NetCDF file."""
    return cfg.folder / f"{cfg.folder.name}.nc"


def write(cfg: Config) -> Path:
    """Write a glacier's NetCDF file unless it is newer than all its parts; return its path."""
    path = file_of(cfg)
    velocity = cfg.folder / fields.STAGE / "velocity.tif"
    forecast = newest_forecast(cfg.name)
    folders = [cfg.folder / aligned.STAGE, velocity.parent, forecast and forecast.parent]
    manifests = [folder / "manifest.yaml" for folder in folders if folder]
    ages = [manifest.stat().st_mtime for manifest in manifests if manifest.is_file()]
    if path.is_file() and path.stat().st_mtime >= max(ages, default=0):
        return path
    from glacier.storage import disk, netcdf

    disk.sweep_parts(path)
    title = f"Snow index, forecast and velocity of {cfg.name}"
    with netcdf.writing(path, title=title) as dataset:
        add_composites(dataset, aligned.read_composites(cfg))
        if forecast:
            add_forecast(dataset, forecast)
        if velocity.is_file():
            add_velocity(dataset, velocity)
    return path


def newest_forecast(name: str) -> Path | None:
    """Return the forecast.tif of a glacier's runs that was written last; None if there is none."""
    runs = stages.runs_folder()
    forecasts = list(runs.glob(f"{config.file_name(name)}-*/forecast/forecast.tif"))
    return max(forecasts, key=lambda path: path.stat().st_mtime, default=None)


def add_composites(dataset: netCDF4.Dataset, series: Composites) -> None:
    """Add the composites, a variable for each channel, and which pixels were really observed."""
    from glacier.storage import netcdf

    netcdf.add_grid(dataset, series.crs, series.transform, series.values.shape[2:])
    starts, last_days = zip(*series.periods(), strict=True)
    netcdf.add_time(dataset, starts, [day + timedelta(days=1) for day in last_days])
    axes = ("time", "y", "x")
    for channel, name in enumerate(series.channels):
        if name == "ndsi":
            text = "normalised difference snow index"
        else:
            text = f"reflectance of {name}"
        variable = netcdf.add_variable(dataset, name, axes, "f4", "1", text)
        variable.ancillary_variables = "observed"
        for step, values in enumerate(series.values):
            variable[step] = values[channel]
    observed = netcdf.add_variable(dataset, "observed", axes, "i1", "1", "really observed")
    observed.flag_values = np.array([0, 1], np.int8)
    observed.flag_meanings = "filled observed"
    for step, seen in enumerate(series.observed):
        observed[step] = seen


def add_forecast(dataset: netCDF4.Dataset, path: Path) -> None:
    """Add the bands of a forecast.tif: a variable for each quantity, by the periods that the bands' tags tell."""
    from glacier.storage import netcdf

    with rasterio.open(path) as file:
        tags = [file.tags(band) for band in file.indexes]
        spans = sorted({tag["DATES"] for tag in tags})
        starts = [date.fromisoformat(span.split("/")[0]) for span in spans]
        ends = [date.fromisoformat(span.split("/")[1]) + timedelta(days=1) for span in spans]
        netcdf.add_time(dataset, starts, ends, "forecast_time")
        for band, tag, unit in zip(file.indexes, tags, file.units, strict=True):
            name = variable_name(tag)
            if name not in dataset.variables:
                axes = ("forecast_time", "y", "x")
                text = f"forecast: {tag['QUANTITY']}"
                netcdf.add_variable(dataset, name, axes, "f4", unit or "1", text)
            dataset[name][spans.index(tag["DATES"])] = file.read(band)


def variable_name(tag: dict[str, str]) -> str:
    """Return the name of the variable that holds a band of forecast.tif."""
    words = f"forecast {tag['QUANTITY']} {tag['CHANNEL']}"
    return "".join(letter if letter.isalnum() else "_" for letter in words)


def add_velocity(dataset: netCDF4.Dataset, path: Path) -> None:
    """Add the bands of velocity.tif, on their own grid."""
    from glacier.storage import netcdf

    with rasterio.open(path) as file:
        netcdf.add_grid(dataset, file.crs.to_string(), file.transform, file.shape, VELOCITY)
        axes = ("y" + VELOCITY, "x" + VELOCITY)
        for band, name, unit in zip(file.indexes, file.descriptions, file.units, strict=True):
            units = (unit or "1").replace("m/yr", "m year-1")
            variable = netcdf.add_variable(dataset, name, axes, "f4", units, f"ice {name}")
            variable[:] = file.read(band)


class Opened:
    """A glacier's results as xarray data sets that are read when they are used.

    composites : ndsi, or red, green, blue (time, y, x), and observed. forecast : its quantities (forecast_time, y, x).
    velocity : vx, vy, speed and errors [m/yr] (y, x). table : snow.csv, a pandas DataFrame.
    """

    def __init__(self, cfg: Config):
        import xarray

        self._cfg = cfg
        if not file_of(cfg).is_file():
            raise GlacierError(
                f"no results of {cfg.name} yet ({file_of(cfg)}); run first: {stages.ALIGNED.command(cfg)}"
            )
        self.dataset = xarray.open_dataset(file_of(cfg), decode_coords="all")

    @cached_property
    def composites(self):
        return self._without("forecast_time", *NODES)

    @cached_property
    def forecast(self):
        self._need("forecast_time", "DeepLearning/forecast.py")
        forecast = self._without("time", *NODES)
        short = {name: name.removeprefix("forecast_") for name in forecast.data_vars}
        return forecast.rename(short)

    @cached_property
    def velocity(self):
        self._need("x" + VELOCITY, "movement.py")
        return self._without("time", "forecast_time", "x", "y").rename(NODES)

    @cached_property
    def table(self):
        import pandas

        forecast = newest_forecast(self._cfg.name)
        if forecast is None:
            raise GlacierError(f"no forecast of {self._cfg.name} yet: run DeepLearning/forecast.py")
        return pandas.read_csv(forecast.with_name("snow.csv"))

    def _need(self, dimension: str, script: str) -> None:
        if dimension not in self.dataset.dims:
            raise GlacierError(f"{file_of(self._cfg)} holds no such part: run {script} first")

    def _without(self, *dimensions: str):
        """Return the data set without the variables that have one of these dimensions."""
        return self.dataset.drop_dims(dimensions, errors="ignore")
