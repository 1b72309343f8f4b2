"""Velocity products of others, as ITS_LIVE's: Gardner et al. (2018), 10.5194/tc-12-521-2018.

Reads a GeoTIFF with both components, a pair of GeoTIFFs, a NetCDF granule or a Zarr cube, and compares with it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from rasterio import Affine
from rasterio.warp import Resampling, reproject, transform
from rasterio.windows import Window

from config import GlacierError
from glacier.figures import charts
from glacier.robust import nan_median, nmad
from glacier.storage import disk, runner
from glacier.velocity.products import Layer, files, find_components, opened, read_valid
from glacier.velocity.velocities import Field, Nodes

__all__ = ["add_comparison", "agreement", "compare", "files", "find_components", "read"]

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
    if constant:
        correlation = 0.0
    else:
        correlation = np.corrcoef(speed, reference_speed)[0, 1]
    return scores | {"speed_correlation": float(correlation)}
