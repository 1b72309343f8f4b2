"""A velocity field against ITS_LIVE, NASA's glacier velocities: Gardner et al. (2018), 10.5194/tc-12-521-2018."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.warp import Resampling, transform

from config import GlacierError
from glacier.figures import charts
from glacier.robust import nmad
from glacier.storage import disk
from glacier.velocity.velocities import Field, Nodes


def read(source: str, nodes: Nodes) -> np.ndarray:
    """Return ITS_LIVE's velocity at the nodes, float32 (2, h, w) [m/yr, east and north], NaN where it has none.

    source : a GeoTIFF with the bands vx and vy (by their names, else the first two), or the one of a pair of files
    that ends in _vx.tif. Their axes are turned from those of its map projection to those of the nodes' grid.
    """
    try:
        if source.endswith("_vx.tif"):
            parts = [
                read_bands(name, [1], nodes)[0]
                for name in (source, source.removesuffix("_vx.tif") + "_vy.tif")
            ]
        else:
            with rasterio.open(source) as file:
                names = [str(name).lower() for name in file.descriptions]
            if len(names) < 2:
                raise GlacierError(
                    f"itsLive {source} has one band; it needs vx and vy, or files *_vx.tif and *_vy.tif"
                )
            parts = read_bands(
                source,
                [
                    names.index(name) + 1 if name in names else number
                    for number, name in enumerate(("vx", "vy"), 1)
                ],
                nodes,
            )
    except RasterioError as error:
        raise GlacierError(f"itsLive {source} cannot be read ({error}); give a GeoTIFF") from error
    other = np.array(parts)
    if not np.isfinite(other).all(axis=0).any():
        raise GlacierError(
            f"itsLive {source} has no velocity within the scenes ({nodes.grid.crs}); choose the file of "
            "this region, or set itsLive to None"
        )
    return turn(other, source, nodes)


def read_bands(source: str, bands: list[int], nodes: Nodes) -> np.ndarray:
    """Return bands of a raster on the nodes' grid, float32 (bands, h, w), NaN where it has no data."""
    with (
        rasterio.open(source) as file,
        WarpedVRT(
            file,
            crs=nodes.grid.crs,
            transform=nodes.transform,
            width=nodes.shape[1],
            height=nodes.shape[0],
            resampling=Resampling.bilinear,
            nodata=file.nodata if file.nodata is not None else -32767,
        ) as warped,
    ):
        return warped.read(bands, masked=True).astype(np.float32).filled(np.nan)


def turn(other: np.ndarray, source: str, nodes: Nodes) -> np.ndarray:
    """Return vectors (2, h, w) along the axes of a file's projection as vectors along those of the nodes' grid."""
    with rasterio.open(source) as file:
        crs = file.crs
    x, y = nodes.places.reshape(2, -1)
    here, east = (np.array(transform(nodes.grid.crs, crs, x + shift, y)) for shift in (0, 100))
    angle = np.arctan2(*(east - here)[::-1]).reshape(nodes.shape)
    return np.stack(
        [
            np.cos(angle) * other[0] + np.sin(angle) * other[1],
            np.cos(angle) * other[1] - np.sin(angle) * other[0],
        ]
    ).astype(np.float32)


def compare(folder: Path, field: Field, other: np.ndarray) -> tuple[dict, list[Path]]:
    """Return how the field agrees with ITS_LIVE, and the files that show it."""
    scores = agreement(field.velocity, other)
    both = np.isfinite(field.velocity).all(axis=0) & np.isfinite(other).all(axis=0)
    title = (
        f"bias {scores['speed_bias']:.2f}, RMSE {scores['speed_rmse']:.2f}, NMAD {scores['speed_nmad']:.2f} m/yr, "
        f"r {scores['speed_correlation']:.3f}, {scores['nodes']} nodes"
    )
    speeds = (np.hypot(*part)[both] for part in (other, field.velocity))
    return scores, [
        disk.write_json(
            folder / "itslive.json", {name: round(score, 4) for name, score in scores.items()}
        ),
        charts.scatter(
            folder / "quicklooks" / "itslive.png",
            *speeds,
            "ITS_LIVE speed [m/yr]",
            "speed here [m/yr]",
            title,
        ),
    ]


def agreement(velocity: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Return how well a velocity (2, h, w) agrees with another one of the same nodes [m/yr].

    bias and rmse and nmad of vx, vy and the speed; correlation of the speeds; coverage, the share of the nodes known
    to the other that this one knows.
    """
    both = np.isfinite(velocity).all(axis=0) & np.isfinite(other).all(axis=0)
    scores = {
        "coverage": float(both.sum() / np.isfinite(other).all(axis=0).sum()),
        "nodes": int(both.sum()),
    }
    speeds = [np.hypot(*part)[both] for part in (velocity, other)]
    differences = {
        "vx": (velocity - other)[0][both],
        "vy": (velocity - other)[1][both],
        "speed": speeds[0] - speeds[1],
    }
    for name, difference in differences.items():
        scores |= {
            f"{name}_bias": float(np.median(difference)),
            f"{name}_nmad": nmad(difference),
            f"{name}_rmse": float(np.sqrt(np.mean(difference**2))),
        }
    return scores | {"speed_correlation": float(np.corrcoef(*speeds)[0, 1])}
