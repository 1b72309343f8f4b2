"""What stage 1 asks of a STAC archive: the items it has, their files, and the scenes these make on one grid.

An address is signed just before its file is read, for a signature lives 45 minutes; what follows the `?` of a signed
address is a secret and gets into no log, error or file.
"""
from __future__ import annotations

import datetime as dt
import functools
import logging
import math
import os
import pickle
import random
import re
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.transform import array_bounds
from rasterio.vrt import WarpedVRT
from rasterio.warp import Resampling, transform_bounds
from rasterio.windows import Window, from_bounds

import sensors
import store
from config import Config, GlacierError

log = logging.getLogger(__name__)

PLANETARY_COMPUTER = "https://planetarycomputer.microsoft.com/api/stac/v1"
BLOBS = ".blob.core.windows.net"  # files there need a token
TOKEN_TIMEOUT = 120  # seconds
SEARCH_TRIES = 6  # of each page
TRIES = 9  # of each file: with the waits between them about a minute, longer than a server's restart
FIRST_WAIT, LONGEST_WAIT = 0.5, 20.0  # seconds between them, doubled each time
GDAL = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_HTTP_CONNECTTIMEOUT": 20, "GDAL_HTTP_TIMEOUT": 300,
        "GDAL_HTTP_LOW_SPEED_TIME": 10, "GDAL_HTTP_LOW_SPEED_LIMIT": 100, "GDAL_HTTP_MAX_RETRY": 3,
        "GDAL_HTTP_RETRY_DELAY": 0.5, "GDAL_HTTP_RETRY_CODES": "429,500,502,503,504"}
FORGET = {"CPL_VSIL_CURL_NON_CACHED": "/vsicurl/"}  # else a file that once failed to open fails for ever
NEEDED = ("green", "swir16")  # bands without which a scene is of no use; of the others, those that are there
TOO_MUCH_MISSING = "more missing than maxMissingFraction"
SIGNING = threading.Lock()  # one request for a token, however many files wait for it


class UnreadableError(Exception):
    """A file that cannot be had; the text says why, without secrets."""


# ── The grid ─────────────────────────────────────────────────────────────────────────────────────────────────────

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


# ── Search ───────────────────────────────────────────────────────────────────────────────────────────────────────

@dataclass(frozen=True)
class Item:
    """What stage 1 needs of a STAC item.

    platform : in lower case, hyphens for blanks. crs : as "EPSG:32643", or empty. sensor : a key of sensors.SENSORS.
    shift : added to its digital numbers. hrefs : asset key -> address, not signed.
    """
    id: str
    datetime: dt.datetime
    collection: str
    platform: str
    cloud_percent: float
    sun_azimuth: float
    sun_elevation: float
    bbox: tuple[float, ...]
    crs: str
    properties: dict
    hrefs: dict[str, str]
    sensor: str = ""


def parse_item(item) -> Item:
    """Return an Item of a pystac.Item. Cloud cover and sun angles are NaN where the item does not tell them."""
    told = item.properties
    zenith = float(told.get("s2:mean_solar_zenith", math.nan))
    azimuth = told.get("view:sun_azimuth", told.get("s2:mean_solar_azimuth", math.nan))
    when = item.datetime or item.common_metadata.start_datetime
    hrefs = {key: asset.get_absolute_href() or asset.href for key, asset in item.assets.items()}
    crs = told.get("proj:code") or (f"EPSG:{told['proj:epsg']}" if told.get("proj:epsg") else "")
    return Item(item.id, when, item.collection_id or "", str(told.get("platform", "")).lower().replace(" ", "-"),
                float(told.get("eo:cloud_cover", math.nan)), float(azimuth),
                float(told.get("view:sun_elevation", 90 - zenith)), tuple(item.bbox or (-180, -90, 180, 90)), crs,
                {key: value for key, value in told.items() if key == "s2:processing_baseline"}, hrefs)


def search(cfg: Config) -> list[Item]:
    """Return the items of the source within box and years, in time order; GlacierError if it cannot be asked."""
    import pystac

    api = cfg.source == Config.source or "://" in cfg.source
    try:
        found = {(item.collection_id, item.id): parse_item(item)
                 for item in (search_api(cfg) if api else search_catalogue(cfg))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pystac.errors.STACError) as error:
        raise GlacierError(f"source {cfg.source} is no STAC {'API' if api else 'catalogue'} ({reason_of(error)}); "
                           "give planetary-computer, a STAC API's address or the path of a catalog.json") from error
    return sorted((item for item in found.values() if cfg.years[0] <= item.datetime.year <= cfg.years[1]
                   and overlap(item.bbox, cfg.boundingBox)), key=lambda item: (item.datetime, item.id))


def overlap(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    """Tell whether two boxes (west, south, east, north in degrees) share ground, also across the antimeridian."""
    turn = 360 if first[2] < first[0] else 0
    return first[1] < second[3] and first[3] > second[1] and any(
        first[0] + round_earth < second[2] and first[2] + turn + round_earth > second[0]
        for round_earth in (-360, 0, 360))


def halves(box: tuple[float, ...]) -> list[tuple[float, ...]]:
    """Return a box as one or two that do not cross the antimeridian, which not every server understands."""
    west, south, east, north = box
    return [box] if east <= 180 else [(west, south, 180.0, north), (-180.0, south, east - 360, north)]


def search_api(cfg: Config) -> Iterator:
    """Yield the pystac items of a STAC API, all pages; clouds are filtered there if it can, the rest by the caller."""
    from pystac_client import Client
    from pystac_client.errors import ClientTypeError
    from pystac_client.exceptions import APIError
    from pystac_client.stac_api_io import StacApiIO
    from urllib3 import Retry

    retries = Retry(total=SEARCH_TRIES, backoff_factor=0.5, status_forcelist=[429, 500, 502, 503, 504],
                    allowed_methods=None)
    address = PLANETARY_COMPUTER if cfg.source == Config.source else cfg.source
    collections = [cfg.collection] if cfg.collection else list(
        dict.fromkeys(sensors.find(name).collection for name in cfg.sensor))
    try:
        client = Client.open(address, stac_io=StacApiIO(max_retries=retries), timeout=60)
        clouds = {"eo:cloud_cover": {"lte": cfg.maxCloudPercent}}
        query = clouds if client.conforms_to("QUERY") and cfg.maxCloudPercent < 100 else None
        for box in halves(cfg.boundingBox):
            yield from client.search(collections=collections, bbox=box, query=query, limit=250, datetime=
                                     f"{cfg.years[0]}-01-01/{cfg.years[1]}-12-31T23:59:59Z").items()
    except ClientTypeError as error:
        raise ValueError(str(error)) from error
    except APIError as error:
        raise GlacierError(f"the STAC API {address} does not answer ({reason_of(error)}); "
                           "check the address and the network, then run again") from error


def search_catalogue(cfg: Config) -> Iterator:
    """Yield the pystac items of a catalogue on disk."""
    import pystac

    if not Path(cfg.source).is_file():
        raise GlacierError(f"source {cfg.source} does not exist; "
                           "give planetary-computer, a STAC API's address or the path of a catalog.json")
    items = pystac.Catalog.from_file(cfg.source).get_items(recursive=True)
    yield from (item for item in items if cfg.collection in ("", item.collection_id))


# ── Reading a file ───────────────────────────────────────────────────────────────────────────────────────────────────

def reason_of(error: BaseException) -> str:
    """Return an error's text on one line, at most 200 characters, without what follows the `?` of an address."""
    return re.sub(r"\?[^\s'\")]*", "", " ".join(str(error).split()))[:200] or type(error).__name__


def ask_for_signature(href: str) -> str:
    """Return planetary_computer.sign_url(href); TimeoutError if no token comes: by itself it would wait for ever."""
    import planetary_computer

    answer: Future = Future()

    def ask():
        try:
            answer.set_result(planetary_computer.sign_url(href))
        except (OSError, ValueError) as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return answer.result(TOKEN_TIMEOUT)


def sign(href: str, refused: str = "") -> str:
    """Return an address with the Planetary Computer's token if it needs one; `refused` is one whose token expired."""
    if BLOBS not in href:
        return href
    import planetary_computer

    with SIGNING:
        signed = ask_for_signature(href)
        if signed == refused:  # no other thread has renewed it yet
            planetary_computer.sas.TOKEN_CACHE.clear()
            signed = ask_for_signature(href)
    return signed


def get_first_tokens(hrefs: Iterable[str]) -> None:
    """Fetch the token of each container before many threads ask for it; GlacierError if it is refused."""
    containers = {"/".join(href.split("/")[:4]): href for href in hrefs if href.startswith("http")}
    for container, href in containers.items():
        try:
            sign(href)
        except (OSError, ValueError) as error:
            raise GlacierError(f"no token for {container} ({reason_of(error)}); check PC_SDK_SUBSCRIPTION_KEY and "
                               "the network, then run again") from None


def read_window(address: str, grid: Grid, resampling: Resampling, outside: int) -> np.ndarray:
    """Return one file on the grid, (H, W) in the file's own type; `outside` where the file has nothing.

    A file that already lies on the grid is copied, another resampled.
    """
    with rasterio.open(address) as file:
        step = ~file.transform @ rasterio.Affine(*grid.transform)  # grid pixel -> file pixel
        column, row = round(step.c), round(step.f)
        if file.crs != rasterio.CRS.from_string(grid.crs) or not np.allclose(step[:6], (1, 0, column, 0, 1, row),
                                                                             rtol=0, atol=1e-6):
            return resample_window(file, grid, resampling, outside)
        values = np.full(grid.shape, outside, file.dtypes[0])
        top, left = max(row, 0), max(column, 0)
        height, width = min(row + grid.shape[0], file.height) - top, min(column + grid.shape[1], file.width) - left
        if height > 0 and width > 0:
            values[top - row:top - row + height, left - column:left - column + width] = file.read(
                1, window=Window(left, top, width, height))
    return values


def resample_window(file: rasterio.DatasetReader, grid: Grid, resampling: Resampling, outside: int) -> np.ndarray:
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
        file.read(1, window=Window(left, top, right - left, bottom - top))  # at once: the warp asks row by row
    with WarpedVRT(file, crs=grid.crs, transform=rasterio.Affine(*grid.transform), height=grid.shape[0],
                   width=grid.shape[1], resampling=resampling, src_nodata=outside, nodata=outside, tolerance=0.001,
                   **scale) as warped:
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
        time.sleep(min(FIRST_WAIT * 2 ** attempt, LONGEST_WAIT) * random.uniform(0.75, 1.25))
    raise AssertionError("unreachable")


# ── Reading a scene ──────────────────────────────────────────────────────────────────────────────────────────────────

@dataclass(frozen=True)
class Job:
    """What all scenes of a run share. limit : maxMissingFraction. scale, offset : of the archive's first sensor.

    folder : where finished scenes and files wait. workers : files read at once in one process.
    """
    bands: tuple[str, ...]
    grid: Grid
    limit: float
    scale: float
    offset: float
    folder: Path
    workers: int


@dataclass(frozen=True)
class Outcome:
    """What became of a scene. reason : why it is dropped, or nothing. fault : why it is lost, or nothing."""
    id: str
    reason: str = ""
    fault: str = ""
    megabytes: float = 0.0


@functools.cache
def reading_pool(workers: int) -> ThreadPoolExecutor:
    """Return this process's one pool of threads that read files."""
    return ThreadPoolExecutor(workers)


def waiting_file(folder: Path, name: str, kind: str = "pkl") -> Path:
    """Return where a finished scene (pkl), the reason why it is dropped (txt) or a file of an item (KEY.npy) waits."""
    return folder / re.sub(r"[^A-Za-z0-9._-]", "_", f"{name}.{kind}")


def read_kept(item: Item, key: str, resampling: Resampling, outside: int, job: Job) -> np.ndarray:
    """Return a file of an item on the grid, (H, W), from the network once only: it waits until the scene is done.

    It is not forced onto the disk, for it is gone again in a second: a kill spares it, and if a power cut does not it
    is read again.
    """
    path = waiting_file(job.folder, item.id, f"{key}.npy")
    if path.is_file():
        with suppress(ValueError, EOFError):
            return np.load(path, allow_pickle=False)
    values = read_file(item.hrefs[key], job.grid, resampling, outside)
    part = store.hidden_neighbour(path)
    with open(part, "wb") as file:
        np.save(file, values)
    os.replace(part, path)
    return values


def read_layers(item: Item, outsides: dict[str, int], resampling: Resampling, job: Job) -> dict[str, np.ndarray]:
    """Return some files of an item, {asset key: (H, W)}, those it has; outsides : asset key -> value outside the file.

    Raises UnreadableError if one cannot be had, after the others are safe on disk.
    """
    reads = {key: reading_pool(job.workers).submit(read_kept, item, key, resampling, outside, job)
             for key, outside in outsides.items() if key in item.hrefs}
    wait(reads.values())
    for key, read in reads.items():
        if isinstance(read.exception(), UnreadableError):
            raise UnreadableError(f"{key}: {read.exception()}")
    return {key: read.result() for key, read in reads.items()}


def read_mask(item: Item, job: Job) -> np.ndarray:
    """Return the mask bits (H, W) uint8 that the quality files of an item tell."""
    row = sensors.find(item.sensor)
    layers = read_layers(item, row.quality, Resampling.nearest, job)
    return row.mask(*(layers.get(key) for key in row.quality))


def read_bands(item: Item, mask: np.ndarray, job: Job) -> np.ndarray:
    """Return digital numbers (bands, H, W) uint16, 0 where the item has nothing; fill is added to its mask in place."""
    row = sensors.find(item.sensor)
    dn = np.zeros((len(job.bands), *job.grid.shape), np.uint16)
    if (mask & sensors.FILL > 0).all():  # it only touches the box
        return dn
    keys = {band: row.bands[band] for band in job.bands if band in row.bands}
    layers = read_layers(item, dict.fromkeys(keys.values(), row.nodata), Resampling.bilinear, job)
    for index, band in enumerate(job.bands):
        if keys.get(band) in layers:
            dn[index] = sensors.shifted(layers.pop(keys[band]), row.nodata, row.shift(item.properties))
    mask[(dn[[job.bands.index(band) for band in NEEDED]] == 0).any(0)] |= sensors.FILL
    return dn


def read_day(day: list[Item], job: Job) -> dict | None:
    """Return one scene as the plain dict that is pickled; None if quality alone tells that too much is missing.

    Of several items the first observed pixel counts: band by band the same item's.
    """
    masks = [read_mask(item, job) for item in day]
    if np.logical_and.reduce([mask != 0 for mask in masks]).mean() > job.limit:
        return None
    mask, dn = masks[0], read_bands(day[0], masks[0], job)
    for item, other_mask in zip(day[1:], masks[1:], strict=True):
        if not mask.any():
            break
        other_dn = read_bands(item, other_mask, job)
        better = (mask != 0) & (other_mask == 0) | (mask & sensors.FILL > 0)
        dn, mask = np.where(better, other_dn, dn), np.where(better, other_mask, mask)
    first, row = day[0], sensors.find(day[0].sensor)
    own = {} if (row.scale, row.offset) == (job.scale, job.offset) else {"scale": row.scale, "offset": row.offset}
    return {"id": first.id, "datetime": first.datetime.isoformat(), "platform": first.platform,
            "cloud_percent": first.cloud_percent, "missing_fraction": float((mask != 0).mean()),
            "sun_azimuth": first.sun_azimuth, "sun_elevation": first.sun_elevation, **own, "dn": dn, "mask": mask}


def fetch(day: list[Item], job: Job) -> Outcome:
    """Read one scene into its waiting file unless it is there; return what became of it.

    A scene with too much missing leaves a .txt with the reason, so that it is not read again either.
    """
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)  # its messages quote signed addresses
    name = day[0].id
    path, note = waiting_file(job.folder, name), waiting_file(job.folder, name, "txt")
    if path.is_file():
        return Outcome(name)
    if note.is_file():
        return Outcome(name, note.read_text())
    job.folder.mkdir(parents=True, exist_ok=True)
    try:
        scene = read_day(day, job)
    except UnreadableError as error:
        return Outcome(name, fault=f"cannot be read: {error}")
    files = [waiting_file(job.folder, item.id, f"{key}.npy") for item in day for key in item.hrefs]
    files = [file for file in files if file.is_file()]
    megabytes = 1e-6 * sum(file.stat().st_size for file in files)
    too_much = scene is None or scene["missing_fraction"] > job.limit
    with store.writing(note if too_much else path) as file:
        if too_much:
            file.write(TOO_MUCH_MISSING.encode())
        else:
            pickle.dump(scene, file, protocol=5)
    for file in files:
        file.unlink()
    return Outcome(name, TOO_MUCH_MISSING if too_much else "", megabytes=megabytes)
