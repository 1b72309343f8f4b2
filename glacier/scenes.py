"""The scenes of rawData/: what one is, and how the yearly pickles are written and read."""

from __future__ import annotations

import datetime as dt
import logging
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config import Config, GlacierError
from glacier import stages
from glacier.grid import Grid, Lattice, make_grid
from glacier.satellites import sensors
from glacier.satellites.assembly import TOO_MUCH_MISSING
from glacier.satellites.fetching import Harvest
from glacier.satellites.waiting import Outcome, keep_reason, keep_scene, waiting_file
from glacier.storage import disk, pickles
from glacier.storage.forms import is_finite

log = logging.getLogger(__name__)


STAGE = stages.RAW_DATA
HEADER = ("crs", "transform", "shape", "bands", "scale", "offset", "nodata", "count")
BIASES = "sensors.json"


def take_back(folder: Path, waiting: Path, made_with: str) -> int:
    """Put the scenes of finished years back to wait, where they were made alike; return how many there were.

    So more years, or scenes that were lost, do not mean to read the others again.
    """
    taken = 0
    for path in pickled_years(folder):
        try:
            stream = pickles.read_pickles(path)
            header: dict = next(stream, {})
            if header.get("made_with") != made_with:
                continue
            for collection, name in header["dropped"]:
                keep_reason(waiting, (collection, name), TOO_MUCH_MISSING)
            for scene in stream:
                identity = scene["collection"], scene["id"]
                facts = {"resampled": scene["resampled"], "warning": scene["warning"]}
                keep_scene(waiting, scene, Outcome(identity, **facts))
                taken += 1
        except GlacierError as error:
            log.warning("  %s; its scenes are read again", error)
    return taken


def pickled_years(folder: Path) -> list[Path]:
    """Return the yearly pickles of a folder in time order."""
    return sorted(folder.glob("[0-9][0-9][0-9][0-9].pkl"))


def join_years(folder: Path, header: dict, harvest: Harvest, waiting: Path) -> list[Path]:
    """Write each year's stream, header first, from the waiting scenes, as bytes; return the paths."""
    paths = []
    for year in sorted({item.datetime.year for item in harvest.kept}):
        items = [item for item in harvest.kept if item.datetime.year == year]
        unfit = [item for item, _ in harvest.unfit if item.datetime.year == year]
        dropped = [list(item.identity) for item in unfit]
        path = folder / f"{year}.pkl"
        with disk.writing(path) as file:
            file.write(pickles.pickled(header | {"dropped": dropped, "count": len(items)}))
            for item in items:
                with open(waiting_file(waiting, item.identity), "rb") as scene:
                    shutil.copyfileobj(scene, file, 1 << 20)
        paths.append(path)
    return paths


def earlier_grid(folder: Path, box: tuple[float, ...], pixel_size: float) -> Grid | None:
    """Return the grid of the scenes that are in a folder, None if there is none or box or pixel size are others.

    It is chosen once: more years, which may lie on another lattice, do not move it.
    """
    for path in pickled_years(folder):
        try:
            header: dict = next(pickles.read_pickles(path), {})
            grid = grid_in(header)
            lattice = Lattice(grid.crs, grid.transform[2], grid.transform[5])
        except (GlacierError, KeyError, TypeError):
            continue
        return grid if make_grid(box, pixel_size, lattice) == grid else None
    return None


def grid_in(header: dict) -> Grid:
    """Return the grid that the header of a stream tells."""
    return Grid(header["crs"], tuple(header["transform"]), tuple(header["shape"]))


def read_header(path: Path, stream: Iterator, again: str) -> dict:
    """Return the header of a year's stream; GlacierError if there is none of this version. again : what to do then."""
    header: dict = next(stream, {})
    if not isinstance(header, dict) or header.get("schema") != disk.SCHEMA:
        raise GlacierError(f"{path} is no stream of scenes of this version; {again}")
    missing = [key for key in HEADER if key not in header]
    if missing:
        raise GlacierError(f"{path} says nothing of {', '.join(missing)} (damaged); {again}")
    return header


def scene_of(content: dict, header: dict, biases: dict[str, float]) -> Scene:
    """Return a scene from its part of a stream; ValueError if its arrays are not those of the header.

    biases : of the snow index, by sensor.
    """
    shared = {key: header[key] for key in ("scale", "offset", "nodata")}
    time = dt.datetime.fromisoformat(content.pop("datetime"))
    bias = biases.get(content.get("sensor", ""), 0.0)
    finer_band, times = header.get("finer", ("", 1))
    scene = Scene(
        **(shared | content),
        bands=tuple(header["bands"]),
        date=time.date(),
        time=time,
        ndsi_bias=bias,
        finer_band=finer_band,
    )
    shape = tuple(header["shape"])
    if scene.dn.dtype != np.uint16 or scene.dn.shape != (len(scene.bands), *shape):
        raise ValueError(f"its numbers are {scene.dn.dtype} {scene.dn.shape}")
    if scene.mask.dtype != np.uint8 or scene.mask.shape != shape:
        raise ValueError(f"its mask is {scene.mask.dtype} {scene.mask.shape}")
    if finer_band:
        check_finer(scene.finer, (shape[0] * times, shape[1] * times))
    return scene


def check_finer(dn: np.ndarray | None, shape: tuple[int, int]) -> None:
    """Raise ValueError if the band on the finer grid is not of this shape."""
    if dn is None:
        raise ValueError("its band on the finer grid is missing")
    if dn.dtype != np.uint16 or dn.shape != shape:
        raise ValueError(f"its band on the finer grid is {dn.dtype} {dn.shape}")


@dataclass(frozen=True)
class Scene:
    """One acquisition on the glacier's grid. dn : (bands, H, W) uint16. mask : (H, W) bits of satellites/sensors.py.

    date, time : UTC. tier : of Landsat's geolocation, T1, T2 or RT, empty where the archive does not tell.
    geometric_rmse : distance of its ground control points from their places [m], NaN where the archive does not tell.
    resampled : whether its pixels lay elsewhere. warning : what is doubtful about its numbers, or empty.
    sensor : a key of satellites/sensors.py, empty in scenes of earlier versions. ndsi_bias : taken from the snow index,
    with the setting `harmonise`. finer : (H * times, W * times) uint16, the band `finer_band` on a finer grid, where
    that was asked for.
    """

    id: str
    date: dt.date
    time: dt.datetime
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
    collection: str = ""
    tier: str = ""
    geometric_rmse: float = math.nan
    resampled: bool = False
    warning: str = ""
    sensor: str = ""
    ndsi_bias: float = 0.0
    finer: np.ndarray | None = None
    finer_band: str = ""

    def snow_index(self) -> np.ndarray:
        """Return the snow index (NDSI) [1], (H, W) float32, NaN where masked, without the bias of its sensor."""
        from glacier.ground import ndsi

        index = ndsi(self.reflectance("green"), self.reflectance("swir16"))
        if self.ndsi_bias:
            return index - np.float32(self.ndsi_bias)
        return index

    def reflectance(self, band: str) -> np.ndarray:
        """Return a band's surface reflectance [1], (H, W) float32, NaN where masked."""
        if band not in self.bands:
            raise GlacierError(f"the archive has no band {band}; it has {', '.join(self.bands)}")
        return sensors.reflectance(
            self.dn[self.bands.index(band)], self.mask, self.scale, self.offset, self.nodata
        )

    def finer_reflectance(self) -> np.ndarray:
        """Return the surface reflectance [1] of the band on the finer grid, float32, NaN where masked."""
        if self.finer is None:
            raise GlacierError(f"scene {self.id} has no band on a finer grid")
        times = self.finer.shape[0] // self.mask.shape[0]
        mask = self.mask.repeat(times, axis=0).repeat(times, axis=1)
        return sensors.reflectance(self.finer, mask, self.scale, self.offset, self.nodata)


def year_files(cfg: Config) -> list[Path]:
    """Return the yearly pickles in time order; GlacierError if there is none."""
    files = pickled_years(cfg.folder / STAGE)
    if not files:
        raise GlacierError(f"{cfg.folder / STAGE} holds no scenes; run first: {STAGE.command(cfg)}")
    return files


def write_biases(folder: Path, biases: dict[str, float]) -> Path:
    """Write by how much each sensor's snow index exceeds the first one's; return the path."""
    return disk.write_json(folder / BIASES, biases)


def read_biases(cfg: Config) -> dict[str, float]:
    """Return by how much each sensor's snow index exceeds the first one's; empty if none overlap."""
    path = cfg.folder / STAGE / BIASES
    if path.is_file():
        biases = disk.read_json(path)
        return {name: float(bias) for name, bias in biases.items() if is_finite(bias)}
    return {}


def read_grid(cfg: Config) -> Grid:
    """Return the grid of the scenes."""
    path = year_files(cfg)[0]
    again = f"run again: {STAGE.command(cfg)} --force"
    return grid_in(read_header(path, pickles.read_pickles(path), again))


def read_finer_bands(cfg: Config) -> set[str]:
    """Return the bands that the scenes hold on a finer grid as well; an empty name stands for a year without."""
    again = f"run again: {STAGE.command(cfg)} --force"
    bands = set()
    for path in year_files(cfg):
        header = read_header(path, pickles.read_pickles(path), again)
        bands.add(header.get("finer", ("", 1))[0])
    return bands


def read_scenes(cfg: Config) -> Iterator[Scene]:
    """Yield the scenes in time order, one in memory at a time; GlacierError if a file is damaged or incomplete."""
    again = f"run again: {STAGE.command(cfg)} --force"
    biases = {}
    if cfg.harmonise:
        biases = read_biases(cfg)
    for path in year_files(cfg):
        stream = pickles.read_pickles(path)
        header = read_header(path, stream, again)
        done = 0
        for content in stream:
            try:
                scene = scene_of(content, header, biases)
            except (TypeError, ValueError, KeyError, AttributeError) as error:
                reason = f"{path} holds a scene that is none ({error})"
                raise GlacierError(f"{reason}; {again}") from error
            yield scene
            done += 1
        if done != header["count"]:
            raise GlacierError(
                f"{path} holds {done} of {header['count']} scenes (truncated); {again}"
            )
