"""The one map grid of a glacier."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import rasterio
from rasterio.transform import array_bounds
from rasterio.warp import transform, transform_bounds

UTM = {"EPSG:326", "EPSG:327"}
POLAR = {"EPSG:3413", "EPSG:3031"}


@dataclass(frozen=True)
class Grid:
    """The glacier's one map grid. transform : a, b, c, d, e, f with x = a * column + b * row + c (rasterio's order)."""

    crs: str
    transform: tuple[float, ...]
    shape: tuple[int, int]

    @property
    def affine(self) -> rasterio.Affine:
        """Its transform as rasterio takes it."""
        return rasterio.Affine(*self.transform)

    @property
    def pixel_size(self) -> float:
        """The side of a pixel [m]."""
        return self.transform[0]

    def finer(self, times: int) -> Grid:
        """Return the grid over the same ground with as many pixels along each side of a pixel."""
        a, b, c, d, e, f = self.transform
        transform = (a / times, b / times, c, d / times, e / times, f)
        return Grid(self.crs, transform, (self.shape[0] * times, self.shape[1] * times))

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top [m]."""
        return array_bounds(*self.shape, self.affine)


@dataclass(frozen=True)
class Lattice:
    """Where the pixel edges of files lie in a projection: at multiples of the pixel size plus left, plus top [m]."""

    crs: str
    left: float
    top: float


def map_crs(longitude: float, latitude: float) -> str:
    """Return the map projection of a place: its UTM zone, or polar stereographic where UTM ends (84 N, 80 S)."""
    if latitude > 84:
        return "EPSG:3413"
    if latitude < -80:
        return "EPSG:3031"
    zone = int((longitude + 180) % 360 // 6) + 1
    return f"EPSG:{32600 + (latitude < 0) * 100 + zone}"


def box_crs(box: tuple[float, ...]) -> str:
    """Return the map projection of the centre of a box (west, south, east, north in degrees)."""
    return map_crs((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)


def make_grid(box: tuple[float, ...], pixel_size: float, anchor: float | Lattice) -> Grid:
    """Return the grid that covers a box (west, south, east, north in degrees; east > 180 beyond the antimeridian).

    pixel_size [m]. anchor : the lattice of the archive's files, so that scenes which lie on it are copied rather than
    resampled; or a number [m]: pixel edges lie on multiples of the pixel size plus that, in the box's own projection.
    """
    if isinstance(anchor, Lattice):
        lattice = anchor
    else:
        lattice = Lattice(box_crs(box), anchor, anchor)
    west, south, east, north = transform_bounds("EPSG:4326", lattice.crs, *box, densify_pts=359)
    columns_before = math.floor((west - lattice.left) / pixel_size)
    rows_before = math.ceil((north - lattice.top) / pixel_size)
    left = lattice.left + pixel_size * columns_before
    top = lattice.top + pixel_size * rows_before
    width = math.ceil((east - left) / pixel_size)
    height = math.ceil((top - south) / pixel_size)
    return Grid(lattice.crs, (pixel_size, 0.0, left, 0.0, -pixel_size, top), (height, width))


def lattice_of(crs: str, transform: tuple[float, ...], pixel_size: float) -> Lattice | None:
    """Return the lattice of a file with upright square pixels of this size in a metric projection, None for others."""
    metric = crs[:8] in UTM or crs in POLAR
    upright = len(transform) == 6 and transform[1] == transform[3] == 0
    if not metric or not upright:
        return None
    if transform[0] != pixel_size or transform[4] != -pixel_size:
        return None
    return Lattice(crs, transform[2] % pixel_size, transform[5] % pixel_size)


def choose_lattice(
    box: tuple[float, ...], lattices: Iterable[Lattice | None], anchor: float
) -> Lattice:
    """Return the lattice on which most files lie; among equals the one of the box's own projection, then the first.

    lattices : of the files that could be copied, None for others. anchor : where no file tells [m], the sensor's own.
    A file south of the equator may lie in a northern zone, as Landsat's do: 10,000,000 m is no multiple of 30 m.
    """
    crs = box_crs(box)
    counts = Counter(lattice for lattice in lattices if lattice is not None)
    if not counts:
        return Lattice(crs, anchor, anchor)
    return max(counts, key=lambda lattice: (counts[lattice], lattice.crs == crs))


def centre_latitude(grid: Grid) -> float:
    """Return the latitude of a grid's centre [degrees], negative in the south."""
    a, b, c, d, e, f = grid.transform[:6]
    row = grid.shape[0] / 2
    column = grid.shape[1] / 2
    x = a * column + b * row + c
    y = d * column + e * row + f
    _, (latitude,) = transform(grid.crs, "EPSG:4326", [x], [y])
    return latitude
