"""How fast stage 1 reads an archive over the network, beside its peers:  python benchmarks/extraction.py

8 demo scenes of 800 x 800 px, 8 files each, from a web server on this machine that takes 50 ms a request. Each reader
searches, reads, masks by quality and scales to reflectance, in a process of its own, by turns; then dataAPI.py alone
reads 8, 32 and 128 scenes. Needs requirements-test.txt; without them only the rows of dataAPI.py.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import rasterio

import config
import dataAPI
from config import Config, setting
from demo.archive import make_glacier
from demo.cog_server import CogServer
from glacier import console
from glacier.grid import make_grid
from glacier.satellites import sensors
from glacier.scenes import STAGE, read_scenes

ROOT = Path(__file__).resolve().parents[1]

LATENCY = 0.05  # seconds a request
WORKERS = 8


@dataclasses.dataclass(frozen=True)
class Settings(Config):
    name: str = setting("benchmark", "not used")
    size: int = setting(800, "side of the box [px]", low=64)
    rounds: int = setting(5, "runs of each reader", low=1)
    scenes: tuple[int, ...] = setting((8, 32, 128), "of the second table", low=1)


# ── The archive and its server ───────────────────────────────────────────────────────────────────────────────────


def make_archive(folder: Path, size: int, count: int) -> tuple[float, ...]:
    """Write 8 demo scenes and name them `count` times, at as many addresses; return the box."""
    truth = make_glacier(
        folder / "made", size=size, years=(2014, 2014), scenes_per_year=8, cloudiness=0.3
    )
    originals = [folder / "made" / name for name in truth.ids[:8]]
    for index in range(count):
        (folder / "web").mkdir(exist_ok=True)
        (folder / "web" / f"scene{index:03d}").symlink_to(originals[index % 8])
    return truth.bounding_box


def write_catalogue(folder: Path, address: str, count: int) -> Path:
    """Write the catalogue of the first `count` scenes, a day apart, all at the server's address; return its path."""
    target = folder / f"catalogue{count}"
    target.mkdir()
    for index in range(count):
        source = folder / "web" / f"scene{index:03d}"
        item = json.loads(next(source.glob("*.json")).read_text())
        item |= {"id": source.name, "links": []}
        item["properties"]["datetime"] = (
            str(np.datetime64("2014-01-01T05:00:00") + np.timedelta64(index, "D")) + "Z"
        )
        item["assets"].pop("qa_radsat")
        for key, asset in item["assets"].items():
            asset["href"] = f"{address}/{source.name}/{key}.tif"
        (target / f"{source.name}.json").write_text(json.dumps(item))
    links = [{"rel": "item", "href": f"./scene{index:03d}.json"} for index in range(count)]
    (target / "catalog.json").write_text(
        json.dumps(
            {
                "type": "Catalog",
                "stac_version": "1.0.0",
                "id": "benchmark",
                "description": "-",
                "links": links,
            }
        )
    )
    return target / "catalog.json"


def serve(folder: Path, pipe) -> None:
    """Serve the folder in a process of its own; each message on the pipe is answered with the requests since then."""
    with CogServer(folder, latency=LATENCY) as server:
        pipe.send(server.address)
        while pipe.recv():
            pipe.send(server.total)
            server.reset()


# ── The readers: each returns the mean reflectance, so that all can be seen to do the same ───────────────────────


def read_ours(source: Path, box: tuple, home: Path) -> float:
    """dataAPI.py, its files on disk included but not its pictures, then reflectance scene by scene."""
    os.environ["GLACIER_HOME"] = str(home)
    cfg = config.load(
        Config,
        [],
        name="benchmark",
        source=str(source),
        boundingBox=box,
        years=[2014, 2014],
        maxCloudPercent=100.0,
        maxMissingFraction=1.0,
        workers=WORKERS,
    )
    dataAPI.read_years(cfg, cfg.folder / STAGE)
    means = [
        np.nanmean(scene.reflectance("green"))
        for scene in read_scenes(cfg)
        if [scene.reflectance(band) for band in scene.bands]
    ]
    return float(np.mean(means))


def peer_input(source: Path, box: tuple):
    """Return items, grid and band names for a peer."""
    import pystac

    items = sorted(pystac.Catalog.from_file(str(source)).get_items(), key=lambda item: item.id)
    return (
        items,
        make_grid(box, 30.0, 15.0),
        [*sensors.find("landsat-8-9").bands.values(), "qa_pixel"],
    )


def scaled(dn: np.ndarray, qa: np.ndarray) -> np.ndarray:
    return sensors.reflectance(dn, sensors.oli_mask(qa), 2.75e-05, -0.2)


def read_odc(source: Path, box: tuple, home: Path) -> float:
    """odc.stac.load with a pool of as many threads, then mask and reflectance of every band."""
    import odc.stac
    from odc.geo.geobox import GeoBox

    items, grid, bands = peer_input(source, box)
    odc.stac.configure_rio(cloud_defaults=True)
    found = odc.stac.load(
        items,
        bands=bands,
        groupby="id",
        pool=WORKERS,
        geobox=GeoBox(grid.shape, rasterio.Affine(*grid.transform), grid.crs),
    )
    qa = found["qa_pixel"].values
    made = {
        band: np.stack([scaled(dn, bits) for dn, bits in zip(found[band].values, qa, strict=True)])
        for band in bands[:-1]
    }
    return float(np.mean([np.nanmean(scene) for scene in made["green"]]))


def read_stackstac(source: Path, box: tuple, home: Path) -> float:
    """stackstac scene by scene, as published research code loops over it, then mask and reflectance of every band."""
    items, grid, bands = peer_input(source, box)
    means = []
    for item in items:
        cube = stackstac_cube([item], grid, bands).compute()
        means += mean_green(cube.values, bands)
    return float(np.mean(means))


def read_stackstac_at_once(source: Path, box: tuple, home: Path) -> float:
    """stackstac with all scenes in one array and as many threads, then mask and reflectance of every band."""
    items, grid, bands = peer_input(source, box)
    cube = stackstac_cube(items, grid, bands)
    values = cube.compute(scheduler="threads", num_workers=WORKERS).values
    return float(np.mean(mean_green(values, bands)))


def stackstac_cube(items: list, grid, bands: list[str]):
    """Return the bands of items on a grid, as stackstac reads them when asked."""
    import stackstac

    left = grid.transform[2]
    top = grid.transform[5]
    bounds = left, top - 30 * grid.shape[0], left + 30 * grid.shape[1], top
    return stackstac.stack(
        [item.to_dict(transform_hrefs=False) for item in items],
        assets=bands,
        epsg=int(grid.crs[5:]),
        bounds=bounds,
        resolution=30,
        rescale=False,
        dtype="uint16",
        fill_value=np.uint16(0),
    )


def mean_green(numbers: np.ndarray, bands: list[str]) -> list[float]:
    """Return the mean reflectance of each scene's green, of numbers (T, bands, H, W), quality last; scales all."""
    means = []
    for scene in numbers:
        reflectances = [scaled(band, scene[-1]) for band in scene[:-1]]
        means.append(np.nanmean(reflectances[bands.index("green")]))
    return means


READERS = {
    "dataAPI.py": (read_ours, "pystac"),
    "odc-stac": (read_odc, "odc.stac"),
    "stackstac, scene by scene": (read_stackstac, "stackstac"),
    "stackstac, all at once": (read_stackstac_at_once, "stackstac"),
}


def peak_memory() -> float:
    """Return the most memory this process has held [MB]; getrusage would count its parent's too."""
    line = next(
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    return int(line.split()[1]) / 1024


def run_reader(name: str, source: Path, box: tuple, pipe) -> None:
    """Run a reader in this process; send seconds, peak memory [MB] and the mean reflectance, or why it cannot."""
    logging.disable()
    warnings.simplefilter("ignore")  # the peers use what their packages deprecate
    read, module = READERS[name]
    with tempfile.TemporaryDirectory() as home:
        try:
            importlib.import_module(module)
            start = time.monotonic()
            mean = read(source, box, Path(home))
            pipe.send((time.monotonic() - start, peak_memory(), mean))
        except ImportError as error:
            pipe.send(str(error))


# ── Tables ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Bench:
    """The archive being served, and measurements on it."""

    def __init__(self, folder: Path, cfg: Settings):
        self.context = multiprocessing.get_context("spawn")
        self.box = make_archive(folder, cfg.size, max(*cfg.scenes, 8))
        self.server, pipe = self.context.Pipe()
        self.context.Process(target=serve, args=(folder / "web", pipe), daemon=True).start()
        self.address = self.server.recv()
        self.sources = {
            count: write_catalogue(folder, self.address, count) for count in {8, *cfg.scenes}
        }

    def requests(self) -> int:
        """Return how many requests there were since the last call."""
        self.server.send("count")
        return self.server.recv()

    def measure(self, name: str, count: int = 8) -> tuple[float, float, float, int] | str:
        """Return seconds, peak memory [MB], mean reflectance and requests of one run, or why it cannot be."""
        ours, theirs = self.context.Pipe()
        process = self.context.Process(
            target=run_reader, args=(name, self.sources[count], self.box, theirs)
        )
        self.requests()
        process.start()
        answer = ours.recv()
        process.join()
        if isinstance(answer, str):
            return answer
        return (*answer, self.requests())

    def least_requests(self) -> int:
        """Return what 8 scenes need if GDAL opens each file and reads the box's pixels of it, once, without a fault."""
        self.requests()
        grid = make_grid(self.box, 30.0, 15.0)
        with (
            rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"),
            rasterio.open(f"{self.address}/scene000/green.tif") as file,
        ):
            step = ~file.transform @ rasterio.Affine(*grid.transform)
            file.read(
                1, window=rasterio.windows.Window(round(step.c), round(step.f), *grid.shape[::-1])
            )
        return 64 * self.requests()


def compare(bench: Bench, rounds: int) -> list[tuple]:
    """Return the table of all readers: medians of interleaved runs, and ratios to dataAPI.py's, round by round."""
    runs: dict[str, list] = {name: [] for name in READERS}
    for _ in console.progress(range(rounds), "rounds"):
        for name in READERS:
            runs[name].append(bench.measure(name))
    rows: list[tuple] = [
        ("8 scenes", "seconds", "ours / it", "peak MB", "ours / it", "requests", "mean reflectance")
    ]
    ours = runs["dataAPI.py"]
    for name, found in runs.items():
        if isinstance(found[0], str):
            rows.append((name, found[0]))
            continue
        times, memory, means, requests = zip(*found, strict=True)
        rows.append(
            (
                name,
                statistics.median(times),
                statistics.median(one[0] / two for one, two in zip(ours, times, strict=True)),
                statistics.median(memory),
                statistics.median(one[1] / two for one, two in zip(ours, memory, strict=True)),
                statistics.median(requests),
                means[0],
            )
        )
    return [*rows, ("least requests", "", "", "", "", bench.least_requests())]


def grow(bench: Bench, counts: tuple[int, ...]) -> list[tuple]:
    """Return the table of dataAPI.py alone for more and more scenes."""
    rows: list[tuple] = [("scenes", "seconds", "a scene", "peak MB", "requests")]
    for count in counts:
        seconds, memory, _, requests = bench.measure("dataAPI.py", count)
        rows.append((count, seconds, seconds / count, memory, requests))
    return rows


def run(cfg: Settings) -> int:
    """Print both tables."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), cfg)
        for table in (compare(bench, cfg.rounds), grow(bench, cfg.scenes)):
            print("\n".join(console.lines_of(table)), end="\n\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(console.main(run, Settings))
