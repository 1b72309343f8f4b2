"""Stage 1: satellite scenes of the glacier, from a STAC archive onto one grid.

    python dataAPI.py --name=parvati --dryRun=True     # how many scenes and MB
    python dataAPI.py --name=parvati

Reads the Planetary Computer, another STAC API, or a catalogue on disk (`source`).
Writes datasets/<name>/rawData/<year>.pkl: all bands as digital numbers with their mask, scene by scene.
"""
from __future__ import annotations

import datetime as dt
import logging
import math
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.vrt import WarpedVRT
from rasterio.warp import Resampling, transform_bounds

import config
import sensors
import store
from config import Config, GlacierError

log = logging.getLogger(__name__)

STAGE = "rawData"
USES = ("boundingBox", "years", "sensor", "collection", "platforms", "maxCloudPercent", "maxMissingFraction",
        "pixelSize")
PLANETARY_COMPUTER = "https://planetarycomputer.microsoft.com/api/stac/v1"
TRIES = 4  # of each file
GDAL = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_HTTP_TIMEOUT": 60, "GDAL_HTTP_CONNECTTIMEOUT": 20,
        "GDAL_HTTP_MAX_RETRY": 3, "GDAL_HTTP_RETRY_DELAY": 1, "GDAL_HTTP_RETRY_CODES": "429,500,502,503,504"}


# ── The grid ─────────────────────────────────────────────────────────────────────────────────────────────────────

@dataclass(frozen=True)
class Grid:
    """The glacier's one map grid. transform : a, b, c, d, e, f with x = a * column + b * row + c (rasterio's order)."""
    crs: str
    transform: tuple[float, ...]
    shape: tuple[int, int]


def make_grid(box: tuple[float, ...], pixel_size: float, anchor: float) -> Grid:
    """Return the UTM grid that covers a box (west, south, east, north in degrees), zone by the box's centre.

    pixel_size [m]; pixel edges lie on multiples of it plus `anchor` [m], as in the archive, so that scenes of this
    zone are copied rather than resampled.
    """
    longitude, latitude = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    crs = f"EPSG:{32600 + (latitude < 0) * 100 + min(int((longitude + 180) // 6) + 1, 60)}"
    west, south, east, north = transform_bounds("EPSG:4326", crs, *box)
    left = anchor + pixel_size * math.floor((west - anchor) / pixel_size)
    top = anchor + pixel_size * math.ceil((north - anchor) / pixel_size)
    width, height = math.ceil((east - left) / pixel_size), math.ceil((top - south) / pixel_size)
    return Grid(crs, (pixel_size, 0.0, left, 0.0, -pixel_size, top), (height, width))


# ── Search ───────────────────────────────────────────────────────────────────────────────────────────────────────

@dataclass(frozen=True)
class Item:
    """What this stage needs of a STAC item. hrefs : asset key -> address, not signed (a signature lives 45 minutes)."""
    id: str
    datetime: dt.datetime
    platform: str
    cloud_percent: float
    sun_azimuth: float
    sun_elevation: float
    bbox: tuple[float, ...]
    hrefs: dict[str, str]


def parse_item(item) -> Item:
    """Return an Item of a pystac.Item. Cloud cover and sun angles are NaN where the item does not tell them."""
    get = item.properties.get
    cloud, azimuth, elevation = (float(get(key, math.nan))
                                 for key in ("eo:cloud_cover", "view:sun_azimuth", "view:sun_elevation"))
    hrefs = {key: asset.get_absolute_href() or asset.href for key, asset in item.assets.items()}
    return Item(item.id, item.datetime, get("platform", ""), cloud, azimuth, elevation, tuple(item.bbox), hrefs)


def search(cfg: Config, sensor: sensors.Sensor) -> list[Item]:
    """Return the items of the source within box and years, in time order; GlacierError if it cannot be asked."""
    try:
        if cfg.source == Config.source or "://" in cfg.source:
            found = [parse_item(item) for item in search_api(cfg, sensor)]
        else:
            found = [parse_item(item) for item in search_catalogue(cfg)]
    except (OSError, ValueError, KeyError) as error:
        raise GlacierError(f"source {cfg.source} is no readable STAC catalogue ({' '.join(str(error).split())[:200]}); "
                           "give planetary-computer, a STAC API's address or the path of a catalog.json") from error
    west, south, east, north = cfg.boundingBox
    return sorted((item for item in found if cfg.years[0] <= item.datetime.year <= cfg.years[1]
                   and item.bbox[0] < east and item.bbox[2] > west and item.bbox[1] < north and item.bbox[3] > south),
                  key=lambda item: (item.datetime, item.id))


def search_api(cfg: Config, sensor: sensors.Sensor) -> Iterator:
    """Yield the pystac items of a STAC API; clouds are filtered there, the rest by the caller."""
    from pystac_client import Client
    from pystac_client.exceptions import APIError
    from pystac_client.stac_api_io import StacApiIO
    from urllib3 import Retry

    retries = Retry(total=6, backoff_factor=0.5, status_forcelist=[429, 500, 502, 503, 504], allowed_methods=None)
    address = PLANETARY_COMPUTER if cfg.source == Config.source else cfg.source
    try:
        client = Client.open(address, stac_io=StacApiIO(max_retries=retries), timeout=60)
        yield from client.search(collections=[cfg.collection or sensor.collection], bbox=cfg.boundingBox,
                                 datetime=f"{cfg.years[0]}-01-01/{cfg.years[1]}-12-31T23:59:59Z",
                                 query={"eo:cloud_cover": {"lte": cfg.maxCloudPercent}}, limit=250).items()
    except APIError as error:
        raise GlacierError(f"the STAC API {address} does not answer ({str(error)[:200]}); "
                           "check the network, then run again") from error


def search_catalogue(cfg: Config) -> Iterator:
    """Yield the pystac items of a catalogue on disk."""
    import pystac

    if not Path(cfg.source).is_file():
        raise GlacierError(f"source {cfg.source} does not exist; "
                           "give planetary-computer, a STAC API's address or the path of a catalog.json")
    items = pystac.Catalog.from_file(cfg.source).get_items(recursive=True)
    yield from (item for item in items if cfg.collection in ("", item.collection_id))


def select(cfg: Config, sensor: sensors.Sensor, items: list[Item]) -> tuple[list[Item], list[tuple[str, str]]]:
    """Return the items to read, and (id, reason) of the others. Needed assets: green, swir16 and the quality band."""
    platforms = tuple(name.lower() for name in cfg.platforms or sensor.platforms)
    needed = [sensor.bands["green"], sensor.bands["swir16"], next(iter(sensor.quality))]
    kept, dropped = [], []
    for item in items:
        missing = [key for key in needed if key not in item.hrefs]
        if item.platform.lower() not in platforms:
            dropped.append((item.id, f"platform {item.platform}"))
        elif item.cloud_percent > cfg.maxCloudPercent:
            dropped.append((item.id, "more cloud than maxCloudPercent"))
        elif missing:
            dropped.append((item.id, f"no asset {missing[0]}"))
        else:
            kept.append(item)
    return kept, dropped


def solar_days(items: list[Item], longitude: float) -> list[list[Item]]:
    """Return the items grouped by solar day: neighbours of one overpass, cut apart by the archive, are one scene."""
    days: dict[tuple, list[Item]] = {}
    for item in items:
        day = (item.datetime + dt.timedelta(hours=longitude / 15)).date()
        days.setdefault((day, item.platform), []).append(item)
    return list(days.values())


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

def read_window(href: str, grid: Grid, resampling: Resampling, outside: int) -> np.ndarray:
    """Return one file on the grid, (H, W) in the file's own type; `outside` where the file has nothing.

    A file that already lies on the grid is copied, another resampled.
    """
    if href.startswith("http"):
        import planetary_computer

        href = planetary_computer.sign_url(href)  # here, just before reading: signatures expire
    target = rasterio.Affine(*grid.transform)
    with rasterio.open(href) as file:
        step = ~file.transform * target  # grid pixel -> file pixel: a whole shift, if the file lies on the grid
        on_grid = file.crs == rasterio.CRS.from_string(grid.crs) and np.allclose(
            step[:6], (1, 0, round(step.c), 0, 1, round(step.f)), rtol=0, atol=1e-6)
        with WarpedVRT(file, crs=grid.crs, transform=target, height=grid.shape[0], width=grid.shape[1],
                       resampling=Resampling.nearest if on_grid else resampling,
                       src_nodata=outside, nodata=outside) as warped:
            return warped.read(1)


def read_file(href: str, grid: Grid, resampling: Resampling, outside: int) -> np.ndarray:
    """read_window, tried again after faults, waiting longer each time; the last fault is raised."""
    for attempt in range(TRIES):
        try:
            return read_window(href, grid, resampling, outside)
        except (OSError, rasterio.errors.RasterioError):
            if attempt == TRIES - 1 or not href.startswith("http"):
                raise
            time.sleep(2 ** attempt)
    raise AssertionError("unreachable")


def read_item(item: Item, sensor: sensors.Sensor, bands: list[str], grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return digital numbers (bands, H, W) uint16 and mask bits (H, W) uint8 of one item; bands it lacks are nodata."""
    quality = [read_file(item.hrefs[key], grid, Resampling.nearest, outside) if key in item.hrefs else None
               for key, outside in sensor.quality.items()]
    mask = sensor.mask(*quality)
    dn = np.full((len(bands), *grid.shape), sensor.nodata, np.uint16)
    for index, band in enumerate(bands):
        if sensor.bands[band] in item.hrefs:
            dn[index] = read_file(item.hrefs[sensor.bands[band]], grid, Resampling.bilinear, sensor.nodata)
    mask[(dn[[bands.index("green"), bands.index("swir16")]] == sensor.nodata).any(0)] |= sensors.FILL
    return dn, mask


def read_day(day: list[Item], sensor: sensors.Sensor, bands: list[str], grid: Grid) -> dict:
    """Return one scene as the plain dict that is pickled. Of several items the first observed pixel counts."""
    dn, mask = read_item(day[0], sensor, bands, grid)
    for item in day[1:]:
        other_dn, other_mask = read_item(item, sensor, bands, grid)
        better = (mask != 0) & (other_mask == 0) | (mask & sensors.FILL > 0)
        dn, mask = np.where(better, other_dn, dn), np.where(better, other_mask, mask)
    first = day[0]
    return {"id": first.id, "datetime": first.datetime.isoformat(), "platform": first.platform,
            "cloud_percent": first.cloud_percent, "missing_fraction": float((mask != 0).mean()),
            "sun_azimuth": first.sun_azimuth, "sun_elevation": first.sun_elevation, "dn": dn, "mask": mask}


def waiting_file(folder: Path, name: str) -> Path:
    """Return where a finished scene waits to be joined into its year."""
    return folder / (re.sub(r"[^A-Za-z0-9._-]", "_", name) + ".pkl")


def fetch(day: list[Item], sensor: sensors.Sensor, bands: list[str], grid: Grid, limit: float,
          folder: Path) -> tuple[str, str]:
    """Read one scene into its waiting file unless it is there; return (id, why it is dropped or nothing).

    A scene with too many missing pixels leaves a .txt with the reason, so that it is not read again either.
    """
    path = waiting_file(folder, day[0].id)
    note = path.with_suffix(".txt")
    if path.is_file():
        return day[0].id, ""
    if note.is_file():
        return day[0].id, note.read_text()
    try:
        scene = read_day(day, sensor, bands, grid)
    except (OSError, rasterio.errors.RasterioError) as error:
        return day[0].id, f"cannot be read: {error}"
    if scene["missing_fraction"] > limit:
        with store.writing(note) as file:
            file.write(b"more missing than maxMissingFraction")
        return day[0].id, "more missing than maxMissingFraction"
    with store.writing(path) as file:
        file.write(store.pickled(scene))
    return day[0].id, ""


def make_years(cfg: Config, folder: Path) -> store.Result:
    """Search, read, mask and write the yearly pickles."""
    sensor = sensors.find(cfg.sensor)
    grid = make_grid(cfg.boundingBox, cfg.pixelSize, sensor.anchor)
    days, dropped = find_days(cfg, sensor)
    bands = [band for band, key in sensor.bands.items() if any(key in item.hrefs for day in days for item in day)]
    log.info("  %d scenes of %s on %d x %d px of %g m, %s; bands %s",
             len(days), cfg.sensor, *grid.shape, cfg.pixelSize, grid.crs, ", ".join(bands))
    waiting = folder / f".scenes-{config.fingerprint([store.used_settings(cfg, USES), source_hash(cfg), bands])}"
    with rasterio.Env(**GDAL), ThreadPoolExecutor(cfg.workers) as pool:
        work = pool.map(lambda day: fetch(day, sensor, bands, grid, cfg.maxMissingFraction, waiting), days)
        outcome = dict(store.progress(work, "scenes", len(days)))
    kept = [day[0] for day in days if not outcome[day[0].id]]
    dropped += [(name, reason) for name, reason in outcome.items() if reason]
    if not kept:
        raise GlacierError(f"none of {len(days)} scenes is usable: {count_reasons(dropped)}; "
                           "raise maxCloudPercent or maxMissingFraction")
    header = {"schema": store.SCHEMA, "crs": grid.crs, "transform": list(grid.transform), "shape": list(grid.shape),
              "bands": bands, "scale": sensor.scale, "offset": sensor.offset, "nodata": sensor.nodata}
    files = [join_year(folder, year, header, [item for item in kept if item.datetime.year == year], waiting)
             for year in sorted({item.datetime.year for item in kept})]
    counts = {"kept": len(kept), "dropped": len(dropped), "dropped_scenes": dict(dropped)}
    reasons = [(f"dropped: {reason}", count) for reason, count in count_reasons(dropped).items()]
    return store.Result(files, counts, [("scenes kept", len(kept)), *reasons])


def find_days(cfg: Config, sensor: sensors.Sensor) -> tuple[list[list[Item]], list[tuple[str, str]]]:
    """Search and select; return the solar days to read and (id, reason) of the items left out."""
    items = search(cfg, sensor)
    kept, dropped = select(cfg, sensor, items)
    if not kept:
        why = f" (left out: {count_reasons(dropped)})" if dropped else ""
        raise GlacierError(f"no scene found for boundingBox {list(cfg.boundingBox)}, years {list(cfg.years)} "
                           f"in {cfg.source}{why}; check these settings, maxCloudPercent and platforms")
    return solar_days(kept, (cfg.boundingBox[0] + cfg.boundingBox[2]) / 2), dropped


def join_year(folder: Path, year: int, header: dict, items: list[Item], waiting: Path) -> Path:
    """Write one year's stream, header first, from the waiting scenes, as bytes; return its path."""
    path = folder / f"{year}.pkl"
    with store.writing(path) as file:
        file.write(store.pickled(header | {"count": len(items)}))
        for item in items:
            file.write(waiting_file(waiting, item.id).read_bytes())
    return path


def count_reasons(dropped: list[tuple[str, str]]) -> dict[str, int]:
    """Return how many scenes each reason cost."""
    reasons = [reason for _, reason in dropped]
    return {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}


# ── Readers for the stages that follow ───────────────────────────────────────────────────────────────────────────

@dataclass(frozen=True)
class Scene:
    """One acquisition on the glacier's grid. dn : (bands, H, W) uint16. mask : (H, W) bits of sensors.py."""
    id: str
    date: dt.datetime
    platform: str
    cloud_percent: float
    missing_fraction: float
    sun_azimuth: float
    sun_elevation: float
    bands: tuple[str, ...]
    dn: np.ndarray
    mask: np.ndarray
    scale: float
    offset: float
    nodata: int

    def reflectance(self, band: str) -> np.ndarray:
        """Return a band's surface reflectance [1], (H, W) float32, NaN where masked."""
        if band not in self.bands:
            raise GlacierError(f"the archive has no band {band}; it has {', '.join(self.bands)}")
        return sensors.reflectance(self.dn[self.bands.index(band)], self.mask, self.scale, self.offset, self.nodata)


def year_files(cfg: Config) -> list[Path]:
    """Return the yearly pickles in time order; GlacierError if there is none."""
    files = sorted((cfg.folder / STAGE).glob("[0-9][0-9][0-9][0-9].pkl"))
    if not files:
        raise GlacierError(f"{cfg.folder / STAGE} holds no scenes; run first: python dataAPI.py --name={cfg.name}")
    return files


def read_grid(cfg: Config) -> Grid:
    """Return the grid of the scenes."""
    header = next(store.read_pickles(year_files(cfg)[0]))
    return Grid(header["crs"], tuple(header["transform"]), tuple(header["shape"]))


def read_scenes(cfg: Config) -> Iterator[Scene]:
    """Yield the scenes in time order, one in memory at a time; GlacierError if a file is damaged or incomplete."""
    again = f"run python dataAPI.py --name={cfg.name} --force"
    for path in year_files(cfg):
        stream = store.read_pickles(path)
        header = next(stream, {})
        if header.get("schema") != store.SCHEMA:
            raise GlacierError(f"{path} is no stream of scenes of this version; {again}")
        shared = {key: header[key] for key in ("scale", "offset", "nodata")} | {"bands": tuple(header["bands"])}
        done = 0
        for content in stream:
            date = dt.datetime.fromisoformat(content.pop("datetime"))
            yield Scene(**(shared | content), date=date)
            done += 1
        if done != header["count"]:
            raise GlacierError(f"{path} holds {done} of {header['count']} scenes (truncated); {again}")


def say_plan(cfg: Config) -> int:
    """Print how many scenes each year has and how many MB will be read (uncompressed), and read none."""
    sensor = sensors.find(cfg.sensor)
    grid = make_grid(cfg.boundingBox, cfg.pixelSize, sensor.anchor)
    days, dropped = find_days(cfg, sensor)
    keys = {*sensor.bands.values(), *sensor.quality}
    megabytes = 2e-6 * grid.shape[0] * grid.shape[1]
    rows: list[tuple] = [("year", "scenes", "files", "MB")]
    for year in range(cfg.years[0], cfg.years[1] + 1):
        scenes = [day for day in days if day[0].datetime.year == year]
        files = sum(len(keys & item.hrefs.keys()) for day in scenes for item in day)
        rows.append((year, len(scenes), files, round(files * megabytes, 1)))
    rows.append(("all", *(sum(row[i] for row in rows[1:]) for i in (1, 2)), round(sum(row[3] for row in rows[1:]), 1)))
    rows += [(f"left out: {reason}", count) for reason, count in count_reasons(dropped).items()]
    log.info("%d x %d px of %g m, %s\n%s", *grid.shape, cfg.pixelSize, grid.crs, "\n".join(store.lines_of(rows)))
    log.info("Nothing was read. Next: python dataAPI.py --name=%s", cfg.name)
    return 0


def source_hash(cfg: Config) -> list[tuple[str, str]]:
    """Return what stands for the source: the hash of a catalogue on disk, wherever it was moved to, or the address."""
    if cfg.source == Config.source or "://" in cfg.source or not Path(cfg.source).is_file():
        return [("source", cfg.source)]
    pages = sorted(Path(cfg.source).parent.rglob("*.json"))
    return [("source", config.fingerprint([store.file_hash(path) for path in pages]))]


def run(cfg: Config) -> int:
    """Make rawData/ of the glacier, or with dryRun only say what that means."""
    if cfg.name != Config.name and cfg.boundingBox == Config.boundingBox:
        known = sorted(path.parent.name for path in cfg.folder.parent.glob("*/glacier.yaml"))
        raise GlacierError(f"glacier {cfg.name!r} has no boundingBox of its own{config.nearest(cfg.name, known)}; "
                           f"draw it in the notebook, or give its --boundingBox")
    return say_plan(cfg) if cfg.dryRun else store.run_stage(cfg, STAGE, USES, [], make_years, source_hash(cfg))


if __name__ == "__main__":
    sys.exit(store.main(run))
