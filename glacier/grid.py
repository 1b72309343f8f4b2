"""The one map grid of a glacier."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rasterio.warp import transform_bounds


@dataclass(frozen=True)
class Grid:
    """The glacier's one map grid. transform : a, b, c, d, e, f with x = a * column + b * row + c (rasterio's order)."""

    crs: str
    transform: tuple[float, ...]
    shape: tuple[int, int]


def map_crs(longitude: float, latitude: float) -> str:
    """Return the map projection of a place: its UTM zone, or polar stereographic where UTM ends (84 N, 80 S)."""
    if latitude > 84:
        return "EPSG:3413"
    if latitude < -80:
        return "EPSG:3031"
    zone = int((longitude + 180) % 360 // 6) + 1
    return f"EPSG:{32600 + (latitude < 0) * 100 + zone}"


def make_grid(box: tuple[float, ...], pixel_size: float, anchor: float) -> Grid:
    """Return the grid that covers a box (west, south, east, north in degrees; east > 180 beyond the antimeridian).

    Projection by the box's centre. pixel_size [m]; pixel edges lie on multiples of it plus `anchor` [m], as in the
    archive, so that scenes of this projection are copied rather than resampled.
    """
    crs = map_crs((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    west, south, east, north = transform_bounds("EPSG:4326", crs, *box, densify_pts=359)
    left = anchor + pixel_size * math.floor((west - anchor) / pixel_size)
    top = anchor + pixel_size * math.ceil((north - anchor) / pixel_size)
    width, height = math.ceil((east - left) / pixel_size), math.ceil((top - south) / pixel_size)
    return Grid(crs, (pixel_size, 0.0, left, 0.0, -pixel_size, top), (height, width))
