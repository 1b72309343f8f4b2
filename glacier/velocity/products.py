"""Where a velocity product has its components: which file, which variable, which bands; and their valid values."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from config import CONTAINER, GlacierError

FASTEST = 30_000.0  # m/yr; no glacier moves faster, so what lies beyond is no data
UNIT_WORDS = {"m", "metre", "metres", "meter", "meters", "per", "a", "y", "yr", "year", "years"}
COMPONENT_NAMES = {
    "vx": "vx",
    "v x": "vx",
    "x velocity": "vx",
    "velocity x": "vx",
    "surface x velocity": "vx",
    "land ice surface x velocity": "vx",
    "vy": "vy",
    "v y": "vy",
    "y velocity": "vy",
    "velocity y": "vy",
    "surface y velocity": "vy",
    "land ice surface y velocity": "vy",
}
# a file or variable of one component: its name ends in vx
ONE_COMPONENT = re.compile(r"(?i)^(.*[^a-z])?(vx)(\.[a-z0-9]+|\"?)$")
ROUNDING = (
    1.0  # m/yr, by which a speed in whole numbers may differ from the length of its components
)


class Layer(NamedTuple):
    """One component: what rasterio opens, and which bands of it; several bands are times."""

    dataset: str
    bands: tuple[int, ...]


@contextmanager
def opened(source: str) -> Iterator[rasterio.DatasetReader]:
    """Give an open raster; GlacierError if it cannot be read. The container of a NetCDF file has no map of its own."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            file = rasterio.open(source)
        with file:
            yield file
    except RasterioError as error:
        raise GlacierError(
            f"itsLive {source} cannot be read ({error}); give a GeoTIFF, NetCDF or Zarr file"
        ) from error


# ── Which bands are vx and vy ────────────────────────────────────────────────────────────────────────────────────


def component(name: str) -> str | None:
    """Return vx or vy for the name of a band or variable in any spelling, None for every other quantity."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"[\[(].*?[\])]", " ", name.lower()))
    while words and words[-1] in UNIT_WORDS | {"1"}:
        words.pop()
    return COMPONENT_NAMES.get(" ".join(words))


def second_component(source: str) -> str | None:
    """Return the file or variable of vy beside that of vx, None if the name does not end in vx."""
    match = ONE_COMPONENT.match(source)
    if match is None:
        return None
    letter = "Y" if match[2][1] == "X" else "y"
    return source[: match.start(2)] + match[2][0] + letter + source[match.end(2) :]


def find_components(source: str) -> tuple[Layer, Layer]:
    """Return where the components vx and vy of a velocity product are; GlacierError if that is not clear."""
    with opened(source) as file:
        variables = file.subdatasets
        count = file.count
        names = [name or "" for name in file.descriptions]
    if variables:
        names = [re.split(r"[:/]", variable.strip('"'))[-1] for variable in variables]
        east, north = pick_names(source, names)
        return every_time(variables[east]), every_time(variables[north])
    is_variable = re.match(r"(?i)(netcdf|hdf5|zarr):", source) is not None
    partner = second_component(source)
    if partner is not None and (is_variable or count == 1):
        return every_time(source), every_time(partner)
    if count == 1:
        raise GlacierError(
            f"itsLive {source} has one band; it needs vx and vy, or files *_vx.tif and *_vy.tif"
        )
    named = any(names)
    if named:
        first, second = pick_names(source, names)
    else:
        first, second = pick_unnamed(source, count)
    return Layer(source, (first + 1,)), Layer(source, (second + 1,))


def every_time(dataset: str) -> Layer:
    """Return a variable with all its bands."""
    with opened(dataset) as file:
        return Layer(dataset, tuple(file.indexes))


def pick_names(source: str, names: Sequence[str]) -> tuple[int, int]:
    """Return the places of vx and vy among the names of bands; GlacierError if there is not one of each."""
    components = [component(name) for name in names]
    if components.count("vx") != 1 or components.count("vy") != 1:
        raise GlacierError(
            f"itsLive {source}: which of its bands are vx and vy is not clear; it has "
            f"{', '.join(name or 'one without a name' for name in names)}; name them vx and vy"
        )
    return components.index("vx"), components.index("vy")


def pick_unnamed(source: str, count: int) -> tuple[int, int]:
    """Return the places of vx and vy among bands without names: two are these, of three one must be their length."""
    if count == 2:
        return 0, 1
    unclear = GlacierError(
        f"itsLive {source} has {count} bands without names, and which are vx and vy is not clear; "
        "name them vx and vy"
    )
    if count != 3:
        raise unclear
    with opened(source) as file:
        bands = [
            read_valid(file, number, Window(0, 0, file.width, file.height)) for number in (1, 2, 3)
        ]
    fits = []
    for first, second in itertools.combinations(range(3), 2):
        speed = bands[3 - first - second]
        difference = np.abs(np.hypot(bands[first], bands[second]) - speed)
        difference = difference[np.isfinite(difference)]
        if difference.size and np.percentile(difference, 90) <= ROUNDING:
            fits.append((first, second))
    if len(fits) != 1:
        raise unclear
    return fits[0]


def files(source: str | None) -> list[Path]:
    """Return the files of this machine behind a velocity product; none for an address or None."""
    if source is None:
        return []
    container = CONTAINER.match(source)
    if container:
        return [Path(container["path"])]
    paths = [Path(source)]
    partner = second_component(source)
    if partner is not None:
        paths.append(Path(partner))
    return [path for path in paths if path.is_file()]


def read_valid(file: rasterio.DatasetReader, number: int, window: Window) -> np.ndarray:
    """Return a band in its unit, float32, NaN where it has no data or is faster than any glacier."""
    masked = file.read(number, window=window, masked=True).astype(np.float32)
    values = masked.filled(np.nan) * file.scales[number - 1] + file.offsets[number - 1]
    return np.where(np.abs(values) <= FASTEST, values, np.nan).astype(np.float32)
