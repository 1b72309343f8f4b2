"""Velocity products of others, as ITS_LIVE's: Gardner et al. (2018), 10.5194/tc-12-521-2018.

Reads a GeoTIFF with both components, a pair of GeoTIFFs, a NetCDF granule or a Zarr cube, and compares with it.
"""

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
from rasterio import Affine
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.warp import Resampling, reproject, transform
from rasterio.windows import Window

from config import CONTAINER, GlacierError
from glacier.figures import charts
from glacier.robust import nan_median, nmad
from glacier.storage import disk, runner
from glacier.velocity.velocities import Field, Nodes

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
        return tuple(every_time(variables[place]) for place in pick_names(source, names))
    is_variable = re.match(r"(?i)(netcdf|hdf5|zarr):", source) is not None
    partner = second_component(source)
    if partner is not None and (is_variable or count == 1):
        return every_time(source), every_time(partner)
    if count == 1:
        raise GlacierError(
            f"itsLive {source} has one band; it needs vx and vy, or files *_vx.tif and *_vy.tif"
        )
    named = any(names)
    first, second = pick_names(source, names) if named else pick_unnamed(source, count)
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


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────


def read(source: str, nodes: Nodes) -> np.ndarray:
    """Return a product's velocity at the nodes, float32 (2, h, w) [m/yr, east and north], NaN where it has none.

    source : a GeoTIFF with the bands vx and vy, the one of a pair of files that ends in _vx.tif, a NetCDF file or a
    variable of it (netcdf:FILE:vx), or a Zarr cube, of which the median over time is taken. The vectors are turned
    from the axes of its map projection to those of the nodes' grid; their lengths stay as in the file.
    """
    layers = find_components(source)
    reference = np.array([read_layer(layer, nodes) for layer in layers])
    if not np.isfinite(reference).all(axis=0).any():
        raise GlacierError(
            f"itsLive {source} has no velocity within the scenes ({nodes.grid.crs}); choose the file of "
            "this region, or set itsLive to None"
        )
    with opened(layers[0].dataset) as file:
        crs = file.crs
    return turn(reference, crs, nodes)


def read_layer(layer: Layer, nodes: Nodes) -> np.ndarray:
    """Return a component at the nodes, float32 (h, w), NaN where it has no data; the median over its times."""
    with opened(layer.dataset) as file:
        if file.crs is None:
            raise GlacierError(
                f"itsLive {layer.dataset} has no map projection; give it one, as with gdal_edit -a_srs"
            )
        window = covering_window(file, nodes)
        if window is None:
            return np.full(nodes.shape, np.nan, np.float32)
        times = [warp(file, number, window, nodes) for number in layer.bands]  # each (h, w)
    median, _ = nan_median(np.array(times))
    return median.astype(np.float32)


def covering_window(file: rasterio.DatasetReader, nodes: Nodes) -> Window | None:
    """Return the part of a raster that the nodes lie in, with a margin; None if they lie outside."""
    x, y = nodes.places.reshape(2, -1)
    x, y = (np.array(part) for part in transform(nodes.grid.crs, file.crs, x, y))
    inside = np.isfinite(x) & np.isfinite(y)
    if not inside.any():
        return None
    columns, rows = ~file.transform @ (x[inside], y[inside])
    spacing = np.ptp(columns) / max(nodes.shape)
    margin = 3 + int(2 * spacing)
    left, top = (max(int(part.min()) - margin, 0) for part in (columns, rows))
    right = min(int(columns.max()) + margin, file.width)
    bottom = min(int(rows.max()) + margin, file.height)
    if right <= left or bottom <= top:
        return None
    return Window(left, top, right - left, bottom - top)


def read_valid(file: rasterio.DatasetReader, number: int, window: Window) -> np.ndarray:
    """Return a band in its unit, float32, NaN where it has no data or is faster than any glacier."""
    masked = file.read(number, window=window, masked=True).astype(np.float32)
    values = masked.filled(np.nan) * file.scales[number - 1] + file.offsets[number - 1]
    return np.where(np.abs(values) <= FASTEST, values, np.nan).astype(np.float32)


def warp(file: rasterio.DatasetReader, number: int, window: Window, nodes: Nodes) -> np.ndarray:
    """Return one band at the nodes, float32 (h, w), interpolated between its own valid pixels only."""
    result = np.full(nodes.shape, np.nan, np.float32)
    reproject(
        read_valid(file, number, window),
        result,
        src_transform=file.transform @ Affine.translation(window.col_off, window.row_off),
        src_crs=file.crs,
        src_nodata=np.nan,
        dst_transform=nodes.transform,
        dst_crs=nodes.grid.crs,
        dst_nodata=np.nan,
        resampling=Resampling.bilinear,
    )
    return result


def turn(vectors: np.ndarray, crs: rasterio.crs.CRS, nodes: Nodes) -> np.ndarray:
    """Return vectors (2, h, w) along the axes of a map projection as vectors along those of the nodes' grid."""
    x, y = nodes.places.reshape(2, -1)
    here, east = (np.array(transform(nodes.grid.crs, crs, x + shift, y)) for shift in (0, 100))
    right, up = east - here
    if crs.is_geographic:  # a degree of longitude is shorter than one of latitude
        right = right * np.cos(np.radians(here[1]))
    angle = np.arctan2(up, right).reshape(nodes.shape)
    vx = np.cos(angle) * vectors[0] + np.sin(angle) * vectors[1]
    vy = np.cos(angle) * vectors[1] - np.sin(angle) * vectors[0]
    return np.stack([vx, vy]).astype(np.float32)


# ── Agreement ────────────────────────────────────────────────────────────────────────────────────────────────────


def compare(folder: Path, field: Field, reference: np.ndarray) -> tuple[dict, list[Path]]:
    """Return how the field agrees with a velocity product at the same nodes, and the files that show it."""
    scores = agreement(field.velocity, reference)
    rounded = {name: round(score, 4) for name, score in scores.items()}
    files = [disk.write_json(folder / "itslive.json", rounded)]
    if not scores["nodes"]:
        return scores, files
    both = np.isfinite(field.velocity).all(axis=0) & np.isfinite(reference).all(axis=0)
    title = (
        f"median difference {scores['speed_bias']:.2f}, NMAD {scores['speed_nmad']:.2f} m/yr, "
        f"{scores['nodes']} nodes\n(RMSE {scores['speed_rmse']:.2f} m/yr, r {scores['speed_correlation']:.3f})"
    )
    reference_speed = np.hypot(*reference)[both]
    speed = np.hypot(*field.velocity)[both]
    picture = charts.scatter(
        folder / "quicklooks" / "itslive.png",
        reference_speed,
        speed,
        "ITS_LIVE speed [m/yr]",
        "speed here [m/yr]",
        title,
    )
    return scores, [*files, picture]


def add_comparison(
    folder: Path, field: Field, reference: np.ndarray, result: runner.Result
) -> None:
    """Add to what a stage made how its field agrees with a velocity product: files, and lines of the closing table."""
    scores, files = compare(folder, field, reference)
    result.files += files
    for name, score in scores.items():
        result.table.append((f"ITS_LIVE: {name.replace('_', ' ')}", round(score, 3)))


def agreement(velocity: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Return how well a velocity (2, h, w) agrees with a reference at the same nodes [m/yr].

    bias, the median difference, and NMAD of vx, vy and the speed, which a few wrong values hardly change; RMSE and the
    correlation of the speeds beside them. coverage : the share of the reference's nodes that have a velocity here.
    Without a node in common only coverage and nodes, both 0.
    """
    referenced = np.isfinite(reference).all(axis=0)
    both = np.isfinite(velocity).all(axis=0) & referenced
    coverage = both.sum() / max(referenced.sum(), 1)
    scores = {"coverage": float(coverage), "nodes": int(both.sum())}
    if not both.any():
        return scores
    speed, reference_speed = (np.hypot(*vectors)[both] for vectors in (velocity, reference))
    vx, vy = (velocity - reference)[:, both]
    for name, difference in (("vx", vx), ("vy", vy), ("speed", speed - reference_speed)):
        scores[f"{name}_bias"] = float(np.median(difference))
        scores[f"{name}_nmad"] = nmad(difference)
        scores[f"{name}_rmse"] = float(np.sqrt(np.mean(difference**2)))
    constant = np.ptp(speed) == 0 or np.ptp(reference_speed) == 0
    correlation = 0.0 if constant else np.corrcoef(speed, reference_speed)[0, 1]
    return scores | {"speed_correlation": float(correlation)}
