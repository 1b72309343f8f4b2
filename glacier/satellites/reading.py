"""One file of an archive on the glacier's grid, read again after faults."""

from __future__ import annotations

import logging
import math
import os
import random
import time

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.transform import array_bounds
from rasterio.vrt import WarpedVRT
from rasterio.warp import Resampling, transform_bounds
from rasterio.windows import Window, from_bounds

from glacier.grid import Grid
from glacier.satellites.signing import reason_of, sign

log = logging.getLogger(__name__)


# of each file: with the waits between them about a minute, longer than a server's restart
TRIES = 9
FIRST_WAIT, LONGEST_WAIT = 0.5, 20.0  # seconds between them, doubled each time
GDAL = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_CONNECTTIMEOUT": 20,
    "GDAL_HTTP_TIMEOUT": 300,
    "GDAL_HTTP_LOW_SPEED_TIME": 10,
    "GDAL_HTTP_LOW_SPEED_LIMIT": 100,
    "GDAL_HTTP_MAX_RETRY": 3,
    "GDAL_HTTP_RETRY_DELAY": 0.5,
    "GDAL_HTTP_RETRY_CODES": "429,500,502,503,504",
}
# else a file that once failed to open fails for ever
FORGET = {"CPL_VSIL_CURL_NON_CACHED": "/vsicurl/"}


class UnreadableError(Exception):
    """A file that cannot be had; the text says why, without secrets."""


def read_window(address: str, grid: Grid, resampling: Resampling, outside: int) -> np.ndarray:
    """Return one file on the grid, (H, W) in the file's own type; `outside` where the file has nothing.

    A file that already lies on the grid is copied, another resampled.
    """
    with rasterio.open(address) as file:
        step = ~file.transform @ rasterio.Affine(*grid.transform)  # grid pixel -> file pixel
        column, row = round(step.c), round(step.f)
        if file.crs != rasterio.CRS.from_string(grid.crs) or not np.allclose(
            step[:6], (1, 0, column, 0, 1, row), rtol=0, atol=1e-6
        ):
            return resample_window(file, grid, resampling, outside)
        values = np.full(grid.shape, outside, file.dtypes[0])
        top, left = max(row, 0), max(column, 0)
        height, width = (
            min(row + grid.shape[0], file.height) - top,
            min(column + grid.shape[1], file.width) - left,
        )
        if height > 0 and width > 0:
            values[top - row : top - row + height, left - column : left - column + width] = (
                file.read(1, window=Window(left, top, width, height))
            )
    return values


def resample_window(
    file: rasterio.DatasetReader, grid: Grid, resampling: Resampling, outside: int
) -> np.ndarray:
    """Return an open file resampled to the grid, (H, W), each pixel within 0.001 px of its place.

    Where pixels are about as large as the grid's, plain interpolation: by itself GDAL would widen the kernel for a
    scale of 1.02, and misplace a slope by up to 0.05 px.
    """
    bounds = array_bounds(*grid.shape, rasterio.Affine(*grid.transform))
    there = from_bounds(*transform_bounds(grid.crs, file.crs, *bounds), file.transform)
    alike = max(there.width / grid.shape[1], there.height / grid.shape[0]) < 1.25
    scale = {"XSCALE": "1", "YSCALE": "1"} if alike else {}
    left, top = max(math.floor(there.col_off) - 3, 0), max(math.floor(there.row_off) - 3, 0)
    right = min(math.ceil(there.col_off + there.width) + 3, file.width)
    bottom = min(math.ceil(there.row_off + there.height) + 3, file.height)
    if right > left and bottom > top:
        file.read(
            1, window=Window(left, top, right - left, bottom - top)
        )  # at once: the warp asks row by row
    with WarpedVRT(
        file,
        crs=grid.crs,
        transform=rasterio.Affine(*grid.transform),
        height=grid.shape[0],
        width=grid.shape[1],
        resampling=resampling,
        src_nodata=outside,
        nodata=outside,
        tolerance=0.001,
        **scale,
    ) as warped:
        return warped.read(1)


def read_file(href: str, grid: Grid, resampling: Resampling, outside: int) -> np.ndarray:
    """Return read_window of a signed address, tried again after faults, waiting longer each time.

    Raises UnreadableError after TRIES, or at once if the file is not there.
    """
    settings = {key: os.environ.get(key, value) for key, value in GDAL.items()}
    refused = ""
    for attempt in range(TRIES):
        signed = ""
        try:
            signed = sign(href, refused) if href.startswith("http") else href
            with rasterio.Env(**settings):
                return read_window(signed, grid, resampling, outside)
        except (OSError, RasterioError) as error:
            fault = reason_of(error.__cause__ or error)
            missing = "HTTP response code: 404" in fault or "does not exist" in fault
            if attempt == TRIES - 1 or missing or not href.startswith("http"):
                raise UnreadableError(fault) from None
        refused = signed if "403" in fault else ""
        settings |= FORGET
        log.debug("try %d failed: %s", attempt + 1, fault)
        time.sleep(min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * random.uniform(0.75, 1.25))
    raise AssertionError("unreachable")
