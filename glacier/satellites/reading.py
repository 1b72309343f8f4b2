"""One file of an archive on the glacier's grid, read again after faults."""

from __future__ import annotations

import logging
import math
import os
import random
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.warp import Resampling, transform_bounds
from rasterio.windows import Window

from glacier.grid import Grid
from glacier.satellites.addresses import is_s3, is_web
from glacier.satellites.image_checks import UnreadableError, check_file
from glacier.satellites.signing import BLOBS, sign
from glacier.satellites.web import MEGABYTE
from glacier.texts import printable, reason_of

log = logging.getLogger(__name__)


# of each file: with the waits between them about a minute, longer than a server's restart
TRIES = 9
FIRST_WAIT = 0.5  # seconds between them, doubled each time
LONGEST_WAIT = 20.0
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
FORGET = {"CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/"}
# images only: no format that names other files, runs a query, or is computed
DRIVERS = {".jp2": "JP2OpenJPEG", ".j2k": "JP2OpenJPEG"}
OTHERWISE = "GTiff"
READ_AT_ONCE = 100 * MEGABYTE  # pixels of a file: a larger part of it is read row by row


@dataclass(frozen=True)
class Layer:
    """A file on the grid. values : (H, W), in the file's own type. resampled : whether its pixels lay elsewhere."""

    values: np.ndarray
    resampled: bool


@dataclass(frozen=True)
class How:
    """How a file is put on the grid. outside : the value where it has nothing.

    nodata : its number for missing, perhaps NaN, where the file itself does not tell one; None: it has none.
    """

    resampling: Resampling
    outside: int
    nodata: float | None = None


def read_window(address: str, grid: Grid, how: How) -> Layer:
    """Return one file on the grid.

    A file that already lies on the grid is copied, another resampled. UnreadableError for a file that lies nowhere.
    """
    outside = how.outside
    with open_image(address) as file:
        check_file(file)
        nodata = how.nodata if file.nodata is None else file.nodata
        step = ~file.transform @ grid.affine  # grid pixel -> file pixel
        column = round(step.c)
        row = round(step.f)
        aligned = np.allclose(step[:6], (1, 0, column, 0, 1, row), rtol=0, atol=1e-6)
        if not aligned or file.crs != rasterio.CRS.from_string(grid.crs):
            return Layer(resample_window(file, grid, how, nodata), resampled=True)
        values = np.full(grid.shape, outside, file.dtypes[0])
        top = max(row, 0)
        left = max(column, 0)
        height = min(row + grid.shape[0], file.height) - top
        width = min(column + grid.shape[1], file.width) - left
        if height > 0 and width > 0:
            rows = slice(top - row, top - row + height)
            columns = slice(left - column, left - column + width)
            part = file.read(1, window=Window(left, top, width, height))
            values[rows, columns] = with_nodata(part, nodata, outside)
    return Layer(values, resampled=False)


def with_nodata(values: np.ndarray, nodata: float | None, outside: int) -> np.ndarray:
    """Return values with `outside` in the place of the file's own number for missing, where that is another."""
    if nodata is None or nodata == outside:
        return values
    if math.isnan(nodata):
        missing = np.isnan(values)
    else:
        missing = values == nodata
    if missing.any():
        return np.where(missing, values.dtype.type(outside), values)
    return values


def resample_window(
    file: rasterio.DatasetReader, grid: Grid, how: How, nodata: float | None
) -> np.ndarray:
    """Return an open file resampled to the grid, (H, W), each pixel within 0.001 px of its place.

    Where pixels are about as large as the grid's, plain interpolation: by itself GDAL would widen the kernel for a
    scale of 1.02, and misplace a slope by up to 0.05 px.
    """
    there = window_of(file, grid)
    alike = max(there.width / grid.shape[1], there.height / grid.shape[0]) < 1.25
    scale = {}
    if alike:
        scale = {"XSCALE": "1", "YSCALE": "1"}
    left = max(math.floor(there.col_off) - 3, 0)
    top = max(math.floor(there.row_off) - 3, 0)
    right = min(math.ceil(there.col_off + there.width) + 3, file.width)
    bottom = min(math.ceil(there.row_off + there.height) + 3, file.height)
    if right > left and bottom > top and (right - left) * (bottom - top) < READ_AT_ONCE:
        # at once: the warp asks row by row
        file.read(1, window=Window(left, top, right - left, bottom - top))
    with WarpedVRT(
        file,
        crs=grid.crs,
        transform=grid.affine,
        height=grid.shape[0],
        width=grid.shape[1],
        resampling=how.resampling,
        src_nodata=how.outside if nodata is None else nodata,
        nodata=how.outside,
        tolerance=0.001,
        **scale,
    ) as warped:
        return warped.read(1)


def window_of(file: rasterio.DatasetReader, grid: Grid) -> Window:
    """Return the part of a file that the grid needs, whichever way its rows and columns run; it may reach beyond."""
    left, bottom, right, top = transform_bounds(grid.crs, file.crs, *grid.bounds)
    to_pixel = ~file.transform
    corners = [to_pixel @ corner for corner in product((left, right), (bottom, top))]
    columns, rows = zip(*corners, strict=True)
    if not all(map(math.isfinite, columns + rows)):
        raise UnreadableError("the file's transform leads nowhere")
    width = max(columns) - min(columns)
    height = max(rows) - min(rows)
    return Window(min(columns), min(rows), width, height)


def peek(href: str) -> tuple[str, tuple[float, ...]]:
    """Return projection ("EPSG:32643") and transform of a file, empty where it cannot be opened; tried once."""
    if not is_remote(href) and not os.path.isfile(href):
        return "", ()
    try:
        address = href
        if is_remote(href):
            address = sign(in_gdal(href))
        with rasterio.Env(**GDAL), open_image(address) as file:
            check_file(file)
            return f"EPSG:{file.crs.to_epsg()}", tuple(file.transform[:6])
    except (OSError, ValueError, RasterioError, UnreadableError) as error:
        log.debug("no look at a file: %s", reason_of(error))
        return "", ()


def open_image(address: str) -> rasterio.DatasetReader:
    """Return an image opened by the reader of its format, and by no other."""
    ending = Path(urlsplit(address).path).suffix.lower()
    return rasterio.open(address, driver=DRIVERS.get(ending, OTHERWISE))


# ── Faults ───────────────────────────────────────────────────────────────────────────────────────────────────────


def is_remote(href: str) -> bool:
    """Tell whether a file is on the web or in Amazon's storage."""
    return is_web(href) or is_s3(href)


def in_gdal(href: str) -> str:
    """Return an address as GDAL takes it; it finds the account of Amazon's storage in the environment."""
    if is_s3(href):
        return href.replace("s3://", "/vsis3/", 1)
    return href


def read_file(href: str, grid: Grid, how: How) -> Layer:
    """Return read_window of a signed address, tried again after faults, waiting longer each time.

    Raises UnreadableError after TRIES, or at once where waiting cannot help: the file is not there, asks for an
    account, or is none.
    """
    if not is_remote(href):
        return read_local(href, grid, how)
    href = in_gdal(href)
    settings = {key: os.environ.get(key, value) for key, value in GDAL.items()}
    refused = ""
    for attempt in range(TRIES):
        signed = ""
        try:
            signed = sign(href, refused)
            with rasterio.Env(**settings):
                return read_window(signed, grid, how)
        except (OSError, RasterioError) as error:
            fault = reason_of(error.__cause__ or error)
        if attempt == TRIES - 1 or is_final(fault, href):
            raise UnreadableError(explained(fault, signed))
        refused = signed if "403" in fault else ""
        settings |= FORGET
        log.debug("try %d failed: %s", attempt + 1, fault)
        time.sleep(min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * random.uniform(0.75, 1.25))
    raise AssertionError("unreachable")


def read_local(path: str, grid: Grid, how: How) -> Layer:
    """Return read_window of a plain file; UnreadableError for anything else."""
    if not os.path.exists(path):  # nor do names that are too long, where Path raises
        raise UnreadableError("the file does not exist")
    if not os.path.isfile(path):
        raise UnreadableError("it is no plain file")
    try:
        return read_window(path, grid, how)
    except (OSError, RasterioError) as error:
        raise UnreadableError(reason_of(error.__cause__ or error)) from None


def is_final(fault: str, href: str) -> bool:
    """Tell whether trying again cannot help. A token of the Planetary Computer that expired (403) is renewed."""
    codes = ["404", "410", "401"]
    if BLOBS not in href:
        codes.append("403")
    if any(f"HTTP response code: {code}" in fault for code in codes):
        return True
    return "does not exist" in fault or is_web_page(fault, href)


def is_web_page(fault: str, href: str) -> bool:
    """Tell whether a file that is no image is a web page, such as one to sign in."""
    import requests

    if "not recognized" not in fault or BLOBS in href:
        return False
    try:
        with requests.get(
            href, headers={"Range": "bytes=0-511"}, timeout=20, stream=True
        ) as answer:
            start = next(answer.iter_content(512), b"").lstrip().lower()
    except (requests.exceptions.RequestException, OSError):
        return False
    return start.startswith((b"<!doctype", b"<html", b"<head", b"<body"))


def explained(fault: str, address: str) -> str:
    """Return a fault with what it means where a user can mend it."""
    if any(f"HTTP response code: {code}" in fault for code in ("401", "403")):
        return f"{fault}: the archive asks for an account"
    if "not recognized" in fault and is_web_page(fault, address):
        return "a web page came instead of an image: the archive asks to sign in"
    return printable(fault)
