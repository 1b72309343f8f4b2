"""Stage 1: satellite scenes of the glacier, from a STAC archive onto one grid.

    python dataAPI.py --name=parvati --dryRun=True     # how many scenes, MB and requests
    python dataAPI.py --name=parvati

Reads the Planetary Computer, another STAC API, or a catalogue on disk (`source`).
Writes datasets/<name>/rawData/<year>.pkl: all bands as digital numbers with their mask, scene by scene.
Exit code 3: scenes were lost to faults of archive or network; the same command tries those again, and only those.
"""
from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import os
import pickle
import shutil
import site
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

import archive
import config
import figures
import sensors
import store
from archive import NEEDED, TOO_MUCH_MISSING, Grid, Item, Job, Outcome, fetch, make_grid, search, waiting_file
from config import Config, GlacierError

log = logging.getLogger(__name__)

STAGE = "rawData"
USES = ("boundingBox", "years", "sensor", "collection", "platforms", "maxCloudPercent", "maxMissingFraction",
        "pixelSize")
SCHEDULER_TIMEOUT = 20  # seconds
REQUESTS_PER_FILE = 3  # size, header, pixels; more where the box cuts through wide files


class AllLostError(GlacierError):
    """Not one scene could be read."""
    exit_code = 3


# ── What to read ─────────────────────────────────────────────────────────────────────────────────────────────────

def sensor_of(cfg: Config, item: Item) -> str:
    """Return the sensor (a key of sensors.SENSORS) of an item among those of the settings, or an empty text.

    `platforms` and `collection`, where given, replace those of the sensor's row.
    """
    platforms = tuple(name.lower() for name in cfg.platforms)
    if platforms and item.platform not in platforms:
        return ""
    rows = {name: sensors.find(name) for name in cfg.sensor}
    fitting = [name for name, row in rows.items() if platforms or item.platform in row.platforms]
    fitting.sort(key=lambda name: (item.platform not in rows[name].platforms,
                                   item.collection != rows[name].collection))  # stable: else in the order given
    return fitting[0] if fitting else ""


def select(cfg: Config, items: list[Item]) -> tuple[list[Item], list[tuple[str, str]]]:
    """Return the items to read, with their sensor, and (id, reason) of the others. Needed: green, swir16, quality."""
    kept, dropped = [], []
    for item in items:
        name = sensor_of(cfg, item)
        if not name:
            dropped.append((item.id, f"platform {item.platform or 'unknown'}"))
            continue
        row = sensors.find(name)
        missing = [key for key in (*(row.bands[band] for band in NEEDED), next(iter(row.quality)))
                   if key not in item.hrefs]
        if item.cloud_percent > cfg.maxCloudPercent:
            dropped.append((item.id, "more cloud than maxCloudPercent"))
        elif missing:
            dropped.append((item.id, f"no asset {missing[0]}"))
        else:
            kept.append(dataclasses.replace(item, sensor=name))
    return kept, dropped


def solar_days(items: list[Item], longitude: float, crs: str) -> list[list[Item]]:
    """Return the items grouped by solar day and satellite: neighbours of one overpass are one scene.

    The first observed pixel counts, so within a day those of the grid's own projection come first, then the earlier.
    """
    days: dict[tuple, list[Item]] = {}
    for item in items:
        day = (item.datetime + dt.timedelta(hours=((longitude + 180) % 360 - 180) / 15)).date()
        days.setdefault((day, item.sensor, item.platform), []).append(item)
    return [sorted(day, key=lambda item: item.crs != crs) for day in days.values()]


def find_days(cfg: Config, grid: Grid) -> tuple[list[list[Item]], list[tuple[str, str]]]:
    """Search and select; return the solar days to read and (id, reason) of the items left out."""
    kept, dropped = select(cfg, search(cfg))
    if not kept:
        why = f" (left out: {count_reasons(dropped)})" if dropped else ""
        raise GlacierError(f"no scene found for boundingBox {list(cfg.boundingBox)}, years {list(cfg.years)} "
                           f"in {cfg.source}{why}; check these settings, maxCloudPercent and platforms")
    return solar_days(kept, (cfg.boundingBox[0] + cfg.boundingBox[2]) / 2, grid.crs), dropped


def find_bands(cfg: Config, days: list[list[Item]]) -> list[str]:
    """Return the common names of the bands that any item has, in the order of the sensors' rows."""
    there = {(item.sensor, key) for day in days for item in day for key in item.hrefs}
    return list(dict.fromkeys(band for name in cfg.sensor for band, key in sensors.find(name).bands.items()
                              if (name, key) in there))


def scenes_at_once(cfg: Config) -> int:
    """Return how many scenes one process works on, so that its `workers` always have files to read."""
    return 3 + cfg.workers // 8


def glacier_grid(cfg: Config) -> Grid:
    """Return the grid of the settings, on the pixel edges of the first sensor; GlacierError if memory is too small.

    A scene is held as all its bands and its quality, twice while it is put together.
    """
    rows = [sensors.find(name) for name in cfg.sensor]
    grid = make_grid(cfg.boundingBox, cfg.pixelSize, rows[0].anchor)
    layers = max(len(row.bands) + len(row.quality) for row in rows)
    need = 2 * scenes_at_once(cfg) * layers * 2 * grid.shape[0] * grid.shape[1]
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if need > have:
        raise GlacierError(f"boundingBox is {grid.shape[1]} x {grid.shape[0]} px of {cfg.pixelSize:g} m: its scenes "
                           f"need {need / 1e9:.1f} GB of memory, this machine has {have / 1e9:.1f} GB; "
                           "draw a smaller box or raise pixelSize")
    return grid


# ── All scenes ───────────────────────────────────────────────────────────────────────────────────────────────────

@contextmanager
def workplace(cfg: Config) -> Iterator[tuple[Executor, int]]:
    """Give what runs the scenes, threads here or the workers of a Dask scheduler, and how many scenes it takes at once.

    Dask's workers and scheduler have the same packages and see this folder and the glacier's (a shared disk): they
    import from the one and write the scenes into the other.
    """
    if cfg.executor == Config.executor:
        with ThreadPoolExecutor(scenes_at_once(cfg)) as pool:
            yield pool, scenes_at_once(cfg)
        return
    try:
        from distributed import Client, WorkerPlugin

        client = Client(cfg.executor, timeout=SCHEDULER_TIMEOUT, set_as_default=False)
    except ImportError as error:
        raise GlacierError("executor other than threads needs Dask: pip install -r requirements-cluster.txt") from error
    except (OSError, ValueError) as error:
        raise GlacierError(f"no Dask scheduler at executor {cfg.executor} ({archive.reason_of(error)}); "
                           "give its address, as tcp://10.0.0.5:8786, or threads") from error
    project = str(config.ROOT)

    class FindProject(WorkerPlugin):  # in here, so that it travels by value; workers that start later get it too
        def setup(self, worker):
            site.addsitedir(project)

    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise GlacierError(f"the Dask scheduler {cfg.executor} has no workers; start: dask worker {cfg.executor}")
        client.run_on_scheduler(site.addsitedir, project)
        client.register_plugin(FindProject())
        yield client.get_executor(), threads


def fetch_all(cfg: Config, days: list[list[Item]], job: Job) -> Iterator[Outcome]:
    """Yield what became of each scene, as they finish; few wait at a time, so memory stays flat."""
    with workplace(cfg) as (pool, at_once):
        rest, running = iter(days), set()
        while True:
            running |= {pool.submit(fetch, day, job) for day in islice(rest, at_once - len(running))}
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)


def take_back(folder: Path, waiting: Path, made_with: str) -> int:
    """Put the scenes of finished years back to wait, where they were made alike; return how many there were.

    So more years, or scenes that were lost, do not mean to read the others again.
    """
    taken = 0
    for path in sorted(folder.glob("[0-9][0-9][0-9][0-9].pkl")):
        try:
            stream = store.read_pickles(path)
            header = next(stream, {})
            if header.get("made_with") != made_with:
                continue
            for name in header["dropped"]:
                with store.writing(waiting_file(waiting, name, "txt")) as file:
                    file.write(TOO_MUCH_MISSING.encode())
            for scene in stream:
                with store.writing(waiting_file(waiting, scene["id"])) as file:
                    pickle.dump(scene, file, protocol=5)
                taken += 1
        except GlacierError as error:
            log.warning("  %s; its scenes are read again", error)
    return taken


def read_years(cfg: Config, folder: Path) -> store.Result:
    """Search, read, mask and write the yearly pickles."""
    grid = glacier_grid(cfg)
    days, dropped = find_days(cfg, grid)
    bands = find_bands(cfg, days)
    log.info("  %d scenes of %s on %d x %d px of %g m, %s; bands %s", len(days), ", ".join(cfg.sensor), *grid.shape,
             cfg.pixelSize, grid.crs, ", ".join(bands))
    settings = store.used_settings(cfg, [name for name in USES if name != "years"])
    made_with = config.fingerprint([settings, source_hash(cfg), bands])
    waiting = folder / f".scenes-{made_with}"
    taken = 0 if cfg.force else take_back(folder, waiting, made_with)
    if taken:
        log.info("  %d scenes are there already", taken)
    row = sensors.find(cfg.sensor[0])
    job = Job(tuple(bands), grid, cfg.maxMissingFraction, row.scale, row.offset, waiting, cfg.workers)
    archive.get_first_tokens(item.hrefs[row.bands["green"]] for day in days for item in day
                             for row in [sensors.find(item.sensor)])
    outcomes = {outcome.id: outcome for outcome in store.progress(
        fetch_all(cfg, days, job), "scenes", len(days), megabytes=lambda outcome: outcome.megabytes)}
    header = {"schema": store.SCHEMA, "crs": grid.crs, "transform": list(grid.transform), "shape": list(grid.shape),
              "bands": bands, "scale": row.scale, "offset": row.offset, "nodata": 0, "made_with": made_with}
    return conclude(folder, waiting, header, days, outcomes, dropped)


def conclude(folder: Path, waiting: Path, header: dict, days: list[list[Item]], outcomes: dict[str, Outcome],
             dropped: list[tuple[str, str]]) -> store.Result:
    """Join the waiting scenes into years; return what was made, dropped and lost, exit code 3 if any was lost."""
    found = [(day[0], outcomes[day[0].id]) for day in days]
    kept = [item for item, outcome in found if not outcome.reason and not outcome.fault]
    unfit = [(item, outcome.reason) for item, outcome in found if outcome.reason]
    lost = {item.id: outcome.fault for item, outcome in found if outcome.fault}
    dropped = [*dropped, *((item.id, reason) for item, reason in unfit)]
    if not kept and lost:
        raise AllLostError(f"{len(lost)} of {len(days)} scenes were lost to faults and none is left: "
                           f"{count_reasons([*lost.items(), *dropped])}; check the network, then run again")
    if not kept:
        raise GlacierError(f"none of {len(days)} scenes is usable: {count_reasons(dropped)}; "
                           "raise maxCloudPercent or maxMissingFraction")
    files = []
    for year in sorted({item.datetime.year for item in kept}):
        own = {"dropped": [item.id for item, _ in unfit if item.datetime.year == year]}
        files.append(join_year(folder, year, header | own, [item for item in kept if item.datetime.year == year],
                               waiting))
    counts = {"kept": len(kept), "dropped": len(dropped), "lost": len(lost), "dropped_scenes": dict(dropped),
              "lost_scenes": lost}
    table = [("scenes kept", len(kept)), *((f"dropped: {why}", n) for why, n in count_reasons(dropped).items()),
             *((f"lost: {name}: {fault}",) for name, fault in lost.items())]
    if lost:
        table.append((f"{len(lost)} scenes were lost to faults: the same command tries them again, and only them",))
    return store.Result(files, counts, table, exit_code=3 if lost else 0)


def join_year(folder: Path, year: int, header: dict, items: list[Item], waiting: Path) -> Path:
    """Write one year's stream, header first, from the waiting scenes, as bytes; return its path."""
    path = folder / f"{year}.pkl"
    with store.writing(path) as file:
        file.write(store.pickled(header | {"count": len(items)}))
        for item in items:
            with open(waiting_file(waiting, item.id), "rb") as scene:
                shutil.copyfileobj(scene, file, 1 << 20)
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


# ── Pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────

def describe(cfg: Config, folder: Path, counts: dict) -> list[Path]:
    """Draw when the scenes were taken, and the clearest, for the report; return the files."""
    dates, seen, rows, clearest = [], [], [("scene", "date", "satellite", "cloud [%]", "seen in the box [%]")], None
    for scene in read_scenes(cfg):
        dates.append(scene.date.date())
        seen.append(1 - scene.missing_fraction)
        rows.append((scene.id, str(dates[-1]), scene.platform, round(scene.cloud_percent, 1), round(100 * seen[-1])))
        if seen[-1] == max(seen):
            clearest = scene
    reasons = count_reasons(list(counts["dropped_scenes"].items()))
    table = [("scenes", "number"), ("kept", len(dates)), *((f"dropped: {why}", n) for why, n in reasons.items()),
             ("lost to faults", counts["lost"])]
    colours = [band for band in ("red", "green", "blue") if band in clearest.bands]
    images = [clearest.reflectance(band) for band in colours]
    image = np.stack(images) if len(images) == 3 else images[0]
    quicklooks = folder / "quicklooks"
    days = figures.calendar(quicklooks / "scenes.png", dates, seen, "seen in the box [1]")
    best = figures.map_row(quicklooks / "clearest.png", [image], [f"{clearest.date:%Y-%m-%d}, {clearest.platform}"],
                           "reflectance [1]", pixel_size=cfg.pixelSize)
    section = figures.section(
        folder, "Scenes", table,
        figures.Picture(days, "When the kept scenes were taken, and how much of the box they saw between clouds"),
        figures.Picture(best, f"The clearest scene: {', '.join(colours)} reflectance, 0 to 1"),
        figures.Fold("All kept scenes", rows))
    return [days, best, section]


# ── The stage ────────────────────────────────────────────────────────────────────────────────────────────────────

def make_years(cfg: Config, folder: Path) -> store.Result:
    """Make the yearly pickles and the pictures of what they hold."""
    result = read_years(cfg, folder)
    result.files += describe(cfg, folder, result.counts)
    return result


def say_plan(cfg: Config) -> int:
    """Print how many scenes each year has, how many MB (uncompressed) and requests they take, and read none."""
    grid = glacier_grid(cfg)
    days, dropped = find_days(cfg, grid)
    megabytes = 2e-6 * grid.shape[0] * grid.shape[1]
    rows: list[tuple] = [("year", "scenes", "files", "MB", "requests")]
    for year in range(cfg.years[0], cfg.years[1] + 1):
        scenes = [day for day in days if day[0].datetime.year == year]
        files = sum(key in item.hrefs for day in scenes for item in day for row in [sensors.find(item.sensor)]
                    for key in (*row.bands.values(), *row.quality))
        rows.append((year, len(scenes), files, round(files * megabytes, 1), files * REQUESTS_PER_FILE))
    rows.append(("all", *(round(sum(row[column] for row in rows[1:]), 1) for column in range(1, 5))))
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
    if cfg.dryRun:
        return say_plan(cfg)
    code = store.run_stage(cfg, STAGE, USES, [], make_years, source_hash(cfg))
    figures.report(cfg)
    return code


if __name__ == "__main__":
    sys.exit(store.main(run))
