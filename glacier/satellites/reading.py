"""One file of an archive on the glacier's grid, read again after faults."""

from __future__ import annotations

import logging
import math
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.warp import Resampling, transform_bounds
from rasterio.windows import Window, from_bounds

from glacier.grid import Grid
from glacier.satellites.addresses import is_web
from glacier.satellites.metadata import printable
from glacier.satellites.signing import BLOBS, reason_of, sign
from glacier.satellites.web import MEGABYTE

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
# images only: no format that names other files, runs a query, or is computed
DRIVERS = {".jp2": "JP2OpenJPEG", ".j2k": "JP2OpenJPEG"}
OTHERWISE = "GTiff"
READ_AT_ONCE = 100 * MEGABYTE  # pixels of a file: a larger part of it is read row by row
LOWEST, HIGHEST = -(1 << 15), (1 << 16) - 1  # numbers that 16 bits hold, signed or not


class UnreadableError(Exception):
    """A file that cannot be had; the text says why, without secrets."""


@dataclass(frozen=True)
class Layer:
    """A file on the grid. values : (H, W), in the file's own type. resampled : whether its pixels lay elsewhere."""

    values: np.ndarray
    resampled: bool


def read_window(address: str, grid: Grid, resampling: Resampling, outside: int) -> Layer:
    """Return one file on the grid; `outside` where the file has nothing.

    A file that already lies on the grid is copied, another resampled. UnreadableError for a file that lies nowhere.
    """
    with open_image(address) as file:
        check_file(file)
        step = ~file.transform @ grid.affine  # grid pixel -> file pixel
        column, row = round(step.c), round(step.f)
        aligned = np.allclose(step[:6], (1, 0, column, 0, 1, row), rtol=0, atol=1e-6)
        if not aligned or file.crs != rasterio.CRS.from_string(grid.crs):
            return Layer(resample_window(file, grid, resampling, outside), resampled=True)
        values = np.full(grid.shape, outside, file.dtypes[0])
        top, left = max(row, 0), max(column, 0)
        height = min(row + grid.shape[0], file.height) - top
        width = min(column + grid.shape[1], file.width) - left
        if height > 0 and width > 0:
            rows = slice(top - row, top - row + height)
            columns = slice(left - column, left - column + width)
            part = file.read(1, window=Window(left, top, width, height))
            values[rows, columns] = with_nodata(part, file.nodata, outside)
    return Layer(values, resampled=False)


def check_file(file: rasterio.DatasetReader) -> None:
    """Raise UnreadableError for a file without bands, without a place on Earth, or of complex numbers."""
    if not file.count:
        raise UnreadableError("the file has no bands")
    if file.crs is None:
        raise UnreadableError("the file has no map projection")
    affine = file.transform
    if not all(map(math.isfinite, affine[:6])) or abs(affine.determinant) < 1e-18:
        raise UnreadableError("the file's transform leads nowhere")
    if affine.is_identity:
        raise UnreadableError("the file has no transform")
    if np.dtype(file.dtypes[0]).kind not in "uif":
        raise UnreadableError(f"the file holds {file.dtypes[0]}, no plain numbers")


def with_nodata(values: np.ndarray, nodata: float | None, outside: int) -> np.ndarray:
    """Return values with `outside` in the place of the file's own number for missing, where that is another."""
    if nodata is None or nodata == outside:
        return values
    missing = np.isnan(values) if math.isnan(nodata) else values == nodata
    return np.where(missing, values.dtype.type(outside), values) if missing.any() else values


def resample_window(
    file: rasterio.DatasetReader, grid: Grid, resampling: Resampling, outside: int
) -> np.ndarray:
    """Return an open file resampled to the grid, (H, W), each pixel within 0.001 px of its place.

    Where pixels are about as large as the grid's, plain interpolation: by itself GDAL would widen the kernel for a
    scale of 1.02, and misplace a slope by up to 0.05 px.
    """
    bounds = transform_bounds(grid.crs, file.crs, *grid.bounds)
    there = from_bounds(*bounds, file.transform)
    if not all(map(math.isfinite, there.flatten())):
        raise UnreadableError("the file's transform leads nowhere")
    alike = max(there.width / grid.shape[1], there.height / grid.shape[0]) < 1.25
    scale = {"XSCALE": "1", "YSCALE": "1"} if alike else {}
    left, top = max(math.floor(there.col_off) - 3, 0), max(math.floor(there.row_off) - 3, 0)
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
        resampling=resampling,
        src_nodata=outside if file.nodata is None else file.nodata,
        nodata=outside,
        tolerance=0.001,
        **scale,
    ) as warped:
        return warped.read(1)


def peek(href: str) -> tuple[str, tuple[float, ...]]:
    """Return projection ("EPSG:32643") and transform of a file, empty where it cannot be opened; tried once."""
    if not is_web(href) and not Path(href).is_file():
        return "", ()
    try:
        address = sign(href) if is_web(href) else href
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


def check_numbers(values: np.ndarray, outside: int) -> np.ndarray:
    """Return a band's numbers (H, W) as they are; UnreadableError for numbers that no 16 bits hold, or none at all."""
    if values.dtype.itemsize <= 2 and values.dtype.kind in "ui":
        return values
    there = values[values != outside]
    if there.size and not np.isfinite(there).all():
        raise UnreadableError("the file holds NaN or infinite numbers")
    if there.size and (there.min() < LOWEST or there.max() > HIGHEST):
        raise UnreadableError(
            f"the file holds numbers from {there.min():g} to {there.max():g}, beyond 16 bits"
        )
    return values


def check_quality(values: np.ndarray) -> np.ndarray:
    """Return quality classes or bits (H, W) as uint16; UnreadableError for anything but whole numbers of 16 bits."""
    if values.dtype.kind not in "ui":
        raise UnreadableError(f"the quality file holds {values.dtype}, no classes or bits")
    if values.size and (values.min() < 0 or values.max() > HIGHEST):
        raise UnreadableError("the quality file holds numbers beyond 16 bits")
    return values.astype(np.uint16, copy=False)


# ── Faults ───────────────────────────────────────────────────────────────────────────────────────────────────────


def read_file(href: str, grid: Grid, resampling: Resampling, outside: int) -> Layer:
    """Return read_window of a signed address, tried again after faults, waiting longer each time.

    Raises UnreadableError after TRIES, or at once where waiting cannot help: the file is not there, asks for an
    account, or is none.
    """
    if not is_web(href):
        return read_local(href, grid, resampling, outside)
    settings = {key: os.environ.get(key, value) for key, value in GDAL.items()}
    refused = ""
    for attempt in range(TRIES):
        signed = ""
        try:
            signed = sign(href, refused)
            with rasterio.Env(**settings):
                return read_window(signed, grid, resampling, outside)
        except (OSError, RasterioError) as error:
            fault = reason_of(error.__cause__ or error)
        if attempt == TRIES - 1 or is_final(fault, href):
            raise UnreadableError(explained(fault, signed))
        refused = signed if "403" in fault else ""
        settings |= FORGET
        log.debug("try %d failed: %s", attempt + 1, fault)
        time.sleep(min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * random.uniform(0.75, 1.25))
    raise AssertionError("unreachable")


def read_local(path: str, grid: Grid, resampling: Resampling, outside: int) -> Layer:
    """Return read_window of a plain file; UnreadableError for anything else."""
    if not Path(path).exists():
        raise UnreadableError("the file does not exist")
    if not Path(path).is_file():
        raise UnreadableError("it is no plain file")
    try:
        return read_window(path, grid, resampling, outside)
    except (OSError, RasterioError) as error:
        raise UnreadableError(reason_of(error.__cause__ or error)) from None


def is_final(fault: str, href: str) -> bool:
    """Tell whether trying again cannot help. A token of the Planetary Computer that expired (403) is renewed."""
    codes = ("404", "410", "401") if BLOBS in href else ("404", "410", "401", "403")
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
