"""NetCDF files by the CF conventions, written whole or not at all.

Eaton et al. (2023), CF Metadata Conventions 1.11, cfconventions.org.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rasterio.crs import CRS

from glacier.lazily import load
from glacier.storage import disk

netCDF4 = load("netCDF4")  # noqa: N816 (its own spelling)

if TYPE_CHECKING:
    from netCDF4 import Dataset, Variable

EPOCH = date(1970, 1, 1)
CHUNK = 256  # pixels


@contextmanager
def writing(path: Path, **attributes: str) -> Iterator[Dataset]:
    """Give a data set to fill; it becomes the file `path` once it is fully on disk. attributes : of the file."""
    with disk.writing(path) as file, netCDF4.Dataset(file.name, "w") as dataset:
        dataset.setncatts({"Conventions": "CF-1.11"} | attributes)
        yield dataset


def add_grid(
    dataset: Dataset, crs: str, transform: Sequence[float], shape: tuple[int, int], suffix: str = ""
) -> None:
    """Add the dimensions and coordinates y, x (pixel centres, [m]) and their grid mapping `crs`.

    transform : rasterio's a, b, c, d, e, f. suffix : of the names, where a file holds two grids.
    """
    height, width = shape
    centres = {
        "y": transform[5] + transform[4] * (np.arange(height) + 0.5),
        "x": transform[2] + transform[0] * (np.arange(width) + 0.5),
    }
    for axis, values in centres.items():
        dataset.createDimension(axis + suffix, len(values))
        coordinate = dataset.createVariable(axis + suffix, "f8", (axis + suffix,))
        coordinate[:] = values
        coordinate.setncatts(
            {"standard_name": f"projection_{axis}_coordinate", "units": "m", "axis": axis.upper()}
        )
    mapping = dataset.createVariable("crs" + suffix, "i4")
    mapping.setncatts(projection(crs))
    corner = (transform[2], transform[0], transform[1], transform[5], transform[3], transform[4])
    mapping.GeoTransform = " ".join(str(number) for number in corner)  # as GDAL reads it


def projection(crs: str) -> dict:
    """Return the attributes of a grid mapping; `crs` is one that grid.map_crs gives."""
    code = CRS.from_string(crs).to_epsg()
    text = {"crs_wkt": CRS.from_string(crs).to_wkt(), "spatial_ref": CRS.from_string(crs).to_wkt()}
    if code in (3413, 3031):
        north = code == 3413
        return text | {
            "grid_mapping_name": "polar_stereographic",
            "latitude_of_projection_origin": 90.0 if north else -90.0,
            "straight_vertical_longitude_from_pole": -45.0 if north else 0.0,
            "standard_parallel": 70.0 if north else -71.0,
            "false_easting": 0.0,
            "false_northing": 0.0,
        }
    zone = code % 100
    return text | {
        "grid_mapping_name": "transverse_mercator",
        "latitude_of_projection_origin": 0.0,
        "longitude_of_central_meridian": 6.0 * zone - 183,
        "scale_factor_at_central_meridian": 0.9996,
        "false_easting": 500000.0,
        "false_northing": 10000000.0 if code // 100 == 327 else 0.0,
    }


def add_time(
    dataset: Dataset, starts: Sequence[date], ends: Sequence[date], name: str = "time"
) -> None:
    """Add the time of periods: their middle as the coordinate, their ends as its bounds.

    ends : the day after the last of each period.
    """
    bounds = np.array(
        [
            [(start - EPOCH).days, (end - EPOCH).days]
            for start, end in zip(starts, ends, strict=True)
        ],
        np.float64,
    ).reshape(-1, 2)
    if "bounds" not in dataset.dimensions:
        dataset.createDimension("bounds", 2)
    dataset.createDimension(name, len(bounds))
    units = {"units": f"days since {EPOCH}", "calendar": "standard"}
    middle = dataset.createVariable(name, "f8", (name,))
    middle[:] = bounds.mean(axis=1)
    middle.setncatts(units | {"standard_name": "time", "axis": "T", "bounds": f"{name}_bounds"})
    limits = dataset.createVariable(f"{name}_bounds", "f8", (name, "bounds"))
    limits[:] = bounds


def add_variable(
    dataset: Dataset, name: str, dimensions: Sequence[str], dtype: str, units: str, long_name: str
) -> Variable:
    """Return a compressed variable to fill, on the grid of its last two dimensions; floats: NaN is missing."""
    sizes = [len(dataset.dimensions[dimension]) for dimension in dimensions]
    leading = [1] * (len(sizes) - 2)
    chunks = [*leading, min(sizes[-2], CHUNK), min(sizes[-1], CHUNK)]
    missing = np.nan if dtype.startswith("f") else None
    variable = dataset.createVariable(
        name,
        dtype,
        dimensions,
        zlib=True,
        complevel=4,
        shuffle=True,
        chunksizes=chunks,
        fill_value=missing,
    )
    suffix = dimensions[-1].removeprefix("x")
    variable.setncatts({"units": units, "long_name": long_name, "grid_mapping": "crs" + suffix})
    return variable
