"""What the viewer of the report shows: composites, forecast and velocity as bytes, at most as fine as a screen.

A value of the snow index is kept as one byte, (index + 1) * 127, a probability as probability * 254; 255 is missing.
Large scenes and long series are shown by every n-th pixel, so that each number shown is one of the files.
"""

from __future__ import annotations

import base64
from datetime import date
from pathlib import Path

import numpy as np
import rasterio

from config import Config
from glacier import aligned, distribution
from glacier.aligned import Composites
from glacier.climatology import Climatology
from glacier.figures import looks
from glacier.stages import ALIGNED, MOVEMENT
from glacier.storage import runner

MOST_BYTES = 2_200_000  # of all maps; in the page they take a third more
MOST_SEASONS = 12  # of which the climatology is shown
QUANTILES = {"low": 0.05, "middle": 0.5, "high": 0.95}  # of climatology
QUANTITIES = {"mean": "mean", "low": "q05", "high": "q95", "probability": "p_snow"}  # forecast.tif
MISSING = 255
PALETTES = (looks.INDEX.colours, looks.SNOW.colours, looks.SPEED.colours)


def viewer(cfg: Config, forecast: Path | None) -> dict | None:
    """Return the data of the viewer; None without finished composites of a snow index.

    forecast : folder of forecast.tif and members.tif, None if there is none.
    """
    if not (cfg.folder / ALIGNED / "composites.json").is_file():
        return None
    series = aligned.read_composites(cfg)
    if tuple(series.channels) != ("ndsi",):
        return None
    ahead = read_ahead(forecast) if forecast else {}
    spans = [f"{first}/{last}" for first, last in series.periods()]
    spans += list(ahead.get("spans", ()))
    every = thinning(series, len(spans))
    thin = (..., slice(None, None, every), slice(None, None, every))
    seen = np.packbits(series.observed[thin].ravel())
    data = {
        "shape": list(series.values[0, 0][thin].shape),
        "every": every,
        "spans": spans,
        "past": len(series.dates),
        "index": encode(index_bytes(series.values[:, 0][thin])),
        "seen": encode(seen),
        "shares": [round(100 * float(step.mean())) for step in series.observed],
        "climatology": climatology(series, every),
        "seasons": seasons(spans, series.steps_per_year),
        "snow_colours": looks.SNOW.colours,
        "palettes": {name: palette(name) for name in PALETTES},
    }
    for name in (*QUANTITIES, "member"):
        if name in ahead:
            to_bytes = probability_bytes if name == "probability" else index_bytes
            data[name] = encode(to_bytes(ahead[name][thin]))
    return data | speed(cfg, series, every)


def thinning(series: Composites, frames: int) -> int:
    """Return n: every n-th pixel is shown, so that the maps take at most MOST_BYTES."""
    count = min(series.steps_per_year, MOST_SEASONS)
    bytes_per_pixel = frames * 9 / 8 + 5 * (frames - len(series.dates)) + 3 * count + 1
    pixels = series.values[0, 0].size
    return int(np.ceil(np.sqrt(pixels * bytes_per_pixel / MOST_BYTES)))


def index_bytes(values: np.ndarray) -> np.ndarray:
    """Return values of a snow index in [-1, 1] as bytes."""
    levels = np.rint((values.clip(-1, 1) + 1) * 127)
    return np.where(np.isnan(values), MISSING, levels).astype(np.uint8)


def probability_bytes(values: np.ndarray) -> np.ndarray:
    """Return probabilities as bytes."""
    return np.where(np.isnan(values), MISSING, np.rint(values * 254)).astype(np.uint8)


def encode(numbers: np.ndarray) -> str:
    """Return bytes as base64."""
    return base64.b64encode(np.ascontiguousarray(numbers).tobytes()).decode()


def palette(name: str) -> list[int]:
    """Return 255 colours of matplotlib, red, green and blue in turn."""
    from matplotlib import colormaps

    colours = colormaps[name](np.linspace(0, 1, 255), bytes=True)[:, :3]
    return colours.ravel().tolist()


def read_ahead(folder: Path) -> dict:
    """Return the forecast's spans and maps (horizon, H, W): mean, 5 and 95 %, P(snow), and the first member."""
    ahead: dict = {}
    with rasterio.open(folder / "forecast.tif") as file:
        bands = [(file.tags(band), band) for band in file.indexes]
        ahead["spans"] = sorted({tags["DATES"] for tags, _ in bands})
        for name, quantity in QUANTITIES.items():
            numbers = [band for tags, band in bands if tags["QUANTITY"] == quantity]
            ahead[name] = file.read(numbers)
    with rasterio.open(folder / "members.tif") as file:
        first = range(1, len(ahead["spans"]) + 1)
        ahead["member"] = file.read(list(first))
    return ahead


def season_steps(steps_per_year: int) -> range:
    """Return the steps of the year of which the climatology is shown."""
    return range(0, steps_per_year, -(-steps_per_year // MOST_SEASONS))


def seasons(spans: list[str], steps_per_year: int) -> list[int]:
    """Return for each span which of the climatology's maps belongs to it."""
    length = season_steps(steps_per_year).step
    places = []
    for span in spans:
        first = date.fromisoformat(span.split("/")[0])
        step = aligned.year_step(first, steps_per_year) % steps_per_year
        places.append(step // length)
    return places


def climatology(series: Composites, every: int) -> str:
    """Return 5, 50 and 95 % of what is usual in each season, from all composites: bytes (seasons, 3, h, w)."""
    periods = series.periods()
    middles = [first + (last - first) / 2 for first, last in periods]
    thin = (slice(None), slice(None), slice(None, None, every), slice(None, None, every))
    x = distribution.thresholds(ndsi=True)
    values, observed = series.values[thin], series.observed[:, ::every, ::every]
    usual = Climatology(values, observed, middles, x)
    past = range(len(middles))
    year = middles[-1].year
    maps = []
    for step in season_steps(series.steps_per_year):
        share = (step + 0.5) / series.steps_per_year
        day = date.fromordinal(date(year, 1, 1).toordinal() + int(365 * share))
        F = usual.distribution(day, past, slice(None), slice(None))
        maps.append([distribution.quantile(F, p, x)[0] for p in QUANTILES.values()])
    return encode(index_bytes(np.array(maps)))


def speed(cfg: Config, series: Composites, every: int) -> dict:
    """Return the speed of the ice on the pixels shown, and its highest value [m/yr]; empty where it is not known."""
    path = cfg.folder / MOVEMENT / "velocity.tif"
    if runner.read_manifest(path.parent) is None or not path.is_file():
        return {}
    with rasterio.open(path) as file:
        nodes = file.read(file.descriptions.index("speed") + 1)
        spacing = file.transform.a / series.transform[0]
    height, width = series.values.shape[2:]
    last_row, last_column = np.array(nodes.shape) - 1
    rows = (np.arange(0, height, every) / spacing).astype(int)
    columns = (np.arange(0, width, every) / spacing).astype(int)
    rows, columns = rows.clip(max=last_row), columns.clip(max=last_column)
    values = nodes[rows][:, columns]
    most = 1.0
    if np.isfinite(values).any():
        most = float(np.nanpercentile(values, 99))
    shares = (values / most).clip(0, 1)
    return {"speed": encode(probability_bytes(shares)), "fastest": most}
