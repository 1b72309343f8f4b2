"""The forecast beyond the last composite: its GeoTIFFs, written band of rows by band, and what pictures need of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
from rasterio import Affine
from rasterio.windows import Window

from DeepLearning.data.glacier import Glacier
from DeepLearning.verification import members
from DeepLearning.verification.members import Agreement
from glacier import distribution
from glacier.figures import looks, qgis
from glacier.patches.windows import is_index
from glacier.storage import disk, geotiff
from glacier.storage.geotiff import Band

QUANTILES = {"median": 0.5, "q05": 0.05, "q25": 0.25, "q75": 0.75, "q95": 0.95}
IN_WORDS = {
    "p_snow": "P(snow)",
    "median": "median",
    "mean": "mean",
    "q05": "5 %",
    "q25": "25 %",
    "q75": "75 %",
    "q95": "95 %",
}
ONE = 65535  # of a level kept in two bytes


@dataclass(frozen=True)
class Ahead:
    """A forecast as pictures and the snow series need it, each (horizon, C, H, W): median, first member and P(snow).

    probability : None if the channels are no snow index. snow : maps of snow of all members on every n-th pixel, bool
    (members, horizon, h, w), None as well.
    """

    median: np.ndarray
    member: np.ndarray
    probability: np.ndarray | None
    snow: np.ndarray | None


def quantities(glacier: Glacier) -> tuple[str, ...]:
    """Return the names of what forecast.tif holds of each step and channel."""
    names = ("p_snow", "median", "mean", "q05", "q25", "q75", "q95")
    if is_index(glacier.series.channels):
        return names
    return names[1:]


def date_span(glacier: Glacier, step: int) -> str:
    """Return first and last day of a step, 2020-01-01/2020-03-31."""
    last = date.fromordinal(glacier.date(step + 1).toordinal() - 1)
    return f"{glacier.date(step)}/{last}"


def band_of(glacier: Glacier, step: int, quantity: str, name: str, channel: str) -> Band:
    """Return what a band says of itself: name, unit, dates, quantity and channel."""
    span = date_span(glacier, step)
    tags = {"DATES": span, "QUANTITY": quantity, "CHANNEL": channel}
    return Band(f"{name} {channel} {span}", "1", tags)


def statistic_bands(glacier: Glacier, target: int) -> list[Band]:
    """Return the bands of forecast.tif: for each step, each quantity, each channel."""
    bands = []
    for step in range(target, target + glacier.horizon):
        for quantity in quantities(glacier):
            for channel in glacier.series.channels:
                bands.append(band_of(glacier, step, quantity, IN_WORDS[quantity], channel))
    return bands


def member_bands(glacier: Glacier, target: int, count: int) -> list[Band]:
    """Return the bands of members.tif: for each member, each step, each channel."""
    bands = []
    for member in range(1, count + 1):
        for step in range(target, target + glacier.horizon):
            for channel in glacier.series.channels:
                name = f"member {member:02d}"
                bands.append(band_of(glacier, step, f"member_{member:02d}", name, channel))
    return bands


def statistics(F: np.ndarray, glacier: Glacier) -> dict[str, np.ndarray]:
    """Return the quantities of F (horizon, K, C, h, w), each (horizon, C, h, w)."""
    x = glacier.x
    floor = glacier.floor
    maps = {name: distribution.quantile(F, p, x, floor) for name, p in QUANTILES.items()}
    maps["mean"] = distribution.mean(F, x, floor)
    if is_index(glacier.series.channels):
        maps["p_snow"] = distribution.exceedance(F, distribution.SNOW, x)
    return maps


def past_maps(
    glacier: Glacier, forecaster: Callable, first: int, device: torch.device
) -> dict[str, np.ndarray]:
    """Return median and, of a snow index, P(snow) of a window's forecast, each (horizon, C, H, W).

    first : step of the window's first input.
    """
    bands: dict[str, list[np.ndarray]] = {}
    for _, band in glacier.forecast_bands(forecaster, first, device):
        F = band.numpy()
        medians = distribution.quantile(F, QUANTILES["median"], glacier.x, glacier.floor)
        bands.setdefault("median", []).append(medians)
        if is_index(glacier.series.channels):
            probability = distribution.exceedance(F, distribution.SNOW, glacier.x)
            bands.setdefault("p_snow", []).append(probability)
    return {name: np.concatenate(parts, axis=-2) for name, parts in bands.items()}


def kept_levels(folder: Path, glacier: Glacier, agreement: Agreement, count: int) -> np.ndarray:
    """Return the levels of all members, uint16 (members, horizon, H, W) in units of 1 / ONE, in a nameless file."""
    shape = (count, glacier.horizon, *glacier.shape)
    kept = disk.nameless_array(folder, shape, np.uint16)
    maps = members.level_maps(glacier.shape, glacier.horizon, agreement, count)
    for place, levels in enumerate(maps):
        kept[place] = np.rint(levels[:, 0] * ONE)
    return kept


def write_ahead(
    folder: Path,
    glacier: Glacier,
    forecaster: Callable,
    device: torch.device,
    agreement: Agreement,
    count: int,
    tags: dict[str, str],
    thinning: int,
) -> tuple[list[Path], Ahead]:
    """Write forecast.tif and members.tif of the steps after the last composite; return the files, and the forecast.

    count : members. thinning : every n-th pixel of the members' snow is returned.
    """
    target = len(glacier.series.dates)
    first = target - glacier.sequence_length
    place = (glacier.shape, glacier.series.crs, Affine(*glacier.series.transform[:6]))
    paths = [folder / "forecast.tif", folder / "members.tif"]
    maps = Maps(glacier, count, thinning)
    levels = kept_levels(folder, glacier, agreement, count)
    with (
        geotiff.writing(paths[0], statistic_bands(glacier, target), *place, tags) as statistic_file,
        geotiff.writing(
            paths[1], member_bands(glacier, target, count), *place, tags
        ) as member_file,
    ):
        for rows, band in glacier.forecast_bands(forecaster, first, device):
            F = band.numpy()
            window = Window(0, rows.start, glacier.shape[1], rows.stop - rows.start)
            own = statistics(F, glacier)
            ordered = np.stack([own[name] for name in quantities(glacier)], axis=1)
            statistic_file.write(flat(ordered), window=window)
            maps.keep(rows, own)
            for member in range(count):
                level = levels[member][:, None, rows].astype(np.float32) / ONE
                values = distribution.quantile(F, level, glacier.x, glacier.floor)
                numbers = member_numbers(member, values)
                member_file.write(flat(values).round(3), numbers, window=window)
                maps.keep_member(rows, member, values)
    return paths, maps.ahead()


def write_style(path: Path, glacier: Glacier) -> Path:
    """Write how QGIS shows a forecast.tif: P(snow), or the median, of the first step; return its path."""
    if is_index(glacier.series.channels):
        limits = looks.SNOW.limits
        return qgis.write_ramp(path, 1, limits, limits, looks.SNOW.colours, "")
    return qgis.write_true_colour(path, (1, 2, 3), 0.5)


def flat(maps: np.ndarray) -> np.ndarray:
    """Return maps (..., h, w) as bands (B, h, w), float32."""
    return maps.reshape(-1, *maps.shape[-2:]).astype(np.float32, copy=False)


def member_numbers(member: int, values: np.ndarray) -> list[int]:
    """Return the numbers of the bands of members.tif that hold a member's values (horizon, C, h, w)."""
    count = values.shape[0] * values.shape[1]
    first = member * count + 1
    return list(range(first, first + count))


class Maps:
    """Puts a forecast together from bands of rows."""

    def __init__(self, glacier: Glacier, count: int, thinning: int):
        self.thinning = thinning
        self.is_index = is_index(glacier.series.channels)
        shape = (glacier.horizon, len(glacier.series.channels), *glacier.shape)
        self.median = np.empty(shape, np.float32)
        self.member = np.empty(shape, np.float32)
        self.probability = np.empty(shape, np.float32)
        thin = [len(range(0, side, thinning)) for side in glacier.shape]
        self.snow = np.zeros((count, glacier.horizon, *thin), bool)

    def keep(self, rows: slice, own: dict[str, np.ndarray]) -> None:
        """Keep the statistics of a band."""
        self.median[..., rows, :] = own["median"]
        if self.is_index:
            self.probability[..., rows, :] = own["p_snow"]

    def keep_member(self, rows: slice, member: int, values: np.ndarray) -> None:
        """Keep a member's values (horizon, C, h, w) of a band."""
        if member == 0:
            self.member[..., rows, :] = values
        kept = np.arange(rows.start, rows.stop) % self.thinning == 0
        snow = values[:, 0, kept, :: self.thinning] > distribution.SNOW
        top = -(-rows.start // self.thinning)
        self.snow[member, :, top : top + snow.shape[1]] = snow

    def ahead(self) -> Ahead:
        """Return what was kept."""
        if self.is_index:
            return Ahead(self.median, self.member, self.probability, self.snow)
        return Ahead(self.median, self.member, None, None)


def summary_lines(glacier: Glacier, ahead: Ahead) -> list[tuple]:
    """Return a table of the forecast's steps: dates, mean P(snow), and the median's mean, least and most."""
    lines: list[tuple] = [("step", "P(snow)", "median", "least", "most")]
    target = len(glacier.series.dates)
    for lead, median in enumerate(ahead.median):
        cells: Sequence[str] = [
            f"{number:.3f}" for number in (median.mean(), median.min(), median.max())
        ]
        if ahead.probability is None:
            snow = "-"
        else:
            snow = f"{ahead.probability[lead].mean():.2f}"
        lines.append((date_span(glacier, target + lead), snow, *cells))
    return lines
