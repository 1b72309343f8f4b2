"""Make an archive of a valley glacier whose truth is known: Landsat-like scenes as a STAC catalogue of COGs.

    python demo/makeGlacier.py --name=demo --size=256
    python demo/makeGlacier.py --name=valley --glaciers=8 --size=96   # valley1 ... valley8, under one regional weather

Writes datasets/<name>/archive/ (catalog.json, one folder a scene, truth/) and datasets/<name>/glacier.yaml, so that
`python dataAPI.py --name=demo` and all later stages run on it, offline. The same seed gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import sys
import time
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # where config.py is
import config  # first: it tells who forgot to activate .venv
from config import Config, GlacierError, setting

# isort: split
import glacier  # noqa: F401  before rasterio, which looks at once where PROJ and GDAL have their data

# isort: split
import numpy as np
import rasterio
from rasterio import features, warp

from demo.landscape import BANDS, PIXEL_SIZE, Landscape, build_landscape, sun_position
from demo.scene import OFFSET, PAD, SCALE, Scene, observe, snow_lines, usual_snow_line
from demo.weather import Weather, valley_weather
from glacier import console
from glacier.storage import disk, runner

log = logging.getLogger(__name__)

CRS = rasterio.CRS.from_epsg(32643)
CENTRE = 77.65, 32.1  # degrees: near the Parvati glacier, Himachal Pradesh, India
COLLECTION = "landsat-c2-l2"
MODEL_COLLECTION = "cop-dem-glo-30"
SOURCE = "archive/catalog.json"  # as glacier.yaml names it
VALLEY_SEEDS = 100  # a region's seeds apart: each has at most 99 valleys
PARTIAL_SHARE = 0.06  # of the scenes lie at the edge of the swath


@dataclass(frozen=True)
class Settings(Config):
    name: str = setting("demo", "folder under datasets/")
    size: int = setting(256, "side of the bounding box [px of 30 m]", low=64, high=2048)
    scenesPerYear: int = setting(
        22, "scenes a year; 22: every 16 days, as Landsat 8", low=1, high=365
    )
    seed: int = setting(0, "another seed, another glacier and another weather", low=0)
    iceVelocity: float = setting(120.0, "of the fastest ice [m/yr]", low=0, high=1000)
    iceWidth: float = setting(0.4, "share of the valley's width under ice", low=0.05, high=0.8)
    misregistration: float = setting(
        0.4, "spread of the scenes' shifts, at most 2.5 times that [px]", low=0, high=2
    )
    glaciers: int = setting(
        1,
        "how many; several are valleys of one region, whose snow comes late together",
        low=1,
        high=99,
    )
    cloudiness: float = setting(
        1.0, "factor on the usual cloud fraction; 0: clear skies", low=0, high=3
    )


@dataclass(frozen=True)
class Truth:
    """What the archive was made from. Arrays lie on the archive's grid (H, W), a little larger than the bounding box.

    bounding_box : west, south, east, north [degrees].  transform : of the grid, in CRS.
    ids, dates : of the T scenes, by date.
    velocity : (2, H, W) m/yr, east and north; 0 off the ice.  elevation : (H, W) m.  ice : (H, W) bool.
    misregistration : (T, 2) dx, dy [px]: ground of pixel (x, y) of the grid appears at (x + dx, y + dy), y down.
    cloud_fraction : (T,) share of a scene's recorded pixels flagged as cloud.
    """

    bounding_box: tuple[float, float, float, float]
    transform: rasterio.Affine
    ids: list[str]
    dates: list[date]
    velocity: np.ndarray
    elevation: np.ndarray
    ice: np.ndarray
    misregistration: np.ndarray
    cloud_fraction: np.ndarray


def make_glacier(
    folder: Path,
    *,
    size: int = 256,
    years: tuple[int, int] = (2013, 2022),
    scenes_per_year: int = 22,
    seed: int = 0,
    max_velocity: float = 120.0,
    ice_width: float = 0.4,
    misregistration: float = 0.4,
    cloudiness: float = 1.0,
    weather: Weather | None = None,
) -> Truth:
    """Write an archive into `folder` (its catalogue is folder/catalog.json) and return its truth.

    The parameters are those of `Settings`: lengths in px of 30 m, `max_velocity` in m/yr. weather : of a valley of a
    region; None: the glacier's own.
    """
    transform, bounding_box = place_grid(size, margin_of(size))
    landscape = make_landscape(seed, size, ice_width, max_velocity)

    rng = np.random.default_rng([seed, 1])
    dates = overpasses(years, scenes_per_year, first=int(rng.integers(8)))
    ids = [f"LC08_L2SP_147038_{day:%Y%m%d}_02_T1" for day in dates]
    heights, departures = snow_lines(rng, dates)
    if weather is not None:
        departures = np.array([weather.on(day) for day in dates])
        seasons = np.array([day.timetuple().tm_yday for day in dates])
        heights = usual_snow_line(seasons) + departures
    shifts = (misregistration * rng.standard_normal((len(dates), 2)).clip(-2.5, 2.5)).round(4)
    partial = rng.random(len(dates)) < PARTIAL_SHARE
    reference = reference_day(dates)

    clouds = []
    for index, day in enumerate(console.progress(dates, "scenes")):
        scene = observe(
            np.random.default_rng([seed, 2, index]),
            landscape,
            day,
            (day - reference).days / 365.25,
            heights[index],
            departures[index],
            cloudiness,
            tuple(shifts[index]),
            bool(partial[index]),
        )
        write_scene(folder / ids[index], ids[index], day, scene, transform)
        clouds.append(round(scene.cloud_fraction, 4))
    write_truth(
        folder / "truth",
        landscape,
        transform,
        dict(zip(ids, shifts.tolist(), strict=True)),
        dict(zip(ids, clouds, strict=True)),
    )
    if weather is not None:
        write_weather(folder / "truth", weather)
    inner = slice(PAD, -PAD)
    write_model(folder, landscape.elevation[inner, inner], transform, bounding_box)
    write_catalogue(folder, ids, dates, bounding_box)
    return read_truth(folder)


def margin_of(size: int) -> int:
    """Return how far the scenes reach beyond the bounding box [px]."""
    return max(8, size // 16)


def make_landscape(seed: int, size: int, ice_width: float, max_velocity: float) -> Landscape:
    """Return the valley of a seed, PAD px larger on each side than the scenes."""
    shape = (size + 2 * (margin_of(size) + PAD),) * 2
    random = np.random.default_rng([seed, 0])
    return build_landscape(random, shape, size, ice_width, max_velocity)


def landscape_of(settings: dict) -> Landscape:
    """Return the valley of an archive whose manifest has these settings."""
    names = ("seed", "size", "iceWidth", "iceVelocity")
    return make_landscape(*(settings[name] for name in names))


def reference_day(dates: list[date]) -> date:
    """Return the day on which the ice's texture is not sheared: the middle of the series."""
    return dates[0] + (dates[-1] - dates[0]) / 2


def overpasses(years: tuple[int, int], scenes_per_year: int, first: int) -> list[date]:
    """Return evenly spaced dates from day `first` of the first year to the end of the last."""
    start = date(years[0], 1, 1) + timedelta(days=first)
    end = date(years[1], 12, 31)
    return [
        start + timedelta(days=days)
        for days in range(0, (end - start).days + 1, int(365.25 // scenes_per_year))
    ]


def place_grid(size: int, margin: int) -> tuple[rasterio.Affine, tuple[float, float, float, float]]:
    """Return the transform of a grid of size + 2 margin px, and the largest box [degrees] within its middle.

    Landsat's pixel edges lie on multiples of 30 m plus 15 m. The box is a rectangle in longitude and latitude whose
    bounds in the grid's CRS fit `size` px, with 10 m to spare on each side.
    """
    (east,), (north,) = warp.transform("EPSG:4326", CRS, [CENTRE[0]], [CENTRE[1]])
    half = PIXEL_SIZE * size / 2
    corner = [
        15 + PIXEL_SIZE * round((value - 15) / PIXEL_SIZE) for value in (east - half, north + half)
    ]
    middle = corner[0] + half, corner[1] - half

    def box(reach):
        return warp.transform_bounds(
            CRS,
            "EPSG:4326",
            middle[0] - reach,
            middle[1] - reach,
            middle[0] + reach,
            middle[1] + reach,
        )

    west, _, east, _ = warp.transform_bounds("EPSG:4326", CRS, *box(half))
    west, south, east, north = (
        round(value, 6) for value in box((half - 10) * 2 * half / (east - west))
    )
    left = corner[0] - margin * PIXEL_SIZE
    top = corner[1] + margin * PIXEL_SIZE
    return rasterio.Affine(PIXEL_SIZE, 0, left, 0, -PIXEL_SIZE, top), (west, south, east, north)


def write_cog(
    path: Path,
    values: np.ndarray,
    transform: rasterio.Affine,
    nodata: float | None = None,
    names: tuple[str, ...] = (),
) -> None:
    """Write an array (C, H, W) as a cloud-optimised GeoTIFF."""
    count, height, width = values.shape
    with rasterio.open(
        path,
        "w",
        driver="COG",
        compress="deflate",
        level=1,
        overviews="NONE",
        blocksize=128,
        dtype=values.dtype,
        count=count,
        height=height,
        width=width,
        crs=CRS,
        transform=transform,
        nodata=nodata,
    ) as file:
        file.write(values)
        for band, name in enumerate(names, 1):
            file.set_band_description(band, name)


def write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=1))


def write_scene(
    folder: Path, scene_id: str, day: date, scene: Scene, transform: rasterio.Affine
) -> None:
    """Write the COGs of a scene and the STAC item that names them as the Planetary Computer does."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in zip(BANDS, scene.numbers, strict=True):
        write_cog(folder / f"{name}.tif", values[None], transform, nodata=0)
    write_cog(folder / "qa_pixel.tif", scene.qa_pixel[None], transform, nodata=1)
    write_cog(folder / "qa_radsat.tif", scene.qa_radsat[None], transform)

    height, width = scene.qa_pixel.shape
    left, bottom, right, top = rasterio.transform.array_bounds(height, width, transform)
    corners = [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]
    azimuth, elevation = sun_position(day.timetuple().tm_yday)
    write_json(
        folder / f"{scene_id}.json",
        {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": scene_id,
            "collection": COLLECTION,
            "bbox": warp.transform_bounds(CRS, "EPSG:4326", left, bottom, right, top),
            "geometry": warp.transform_geom(
                CRS, "EPSG:4326", {"type": "Polygon", "coordinates": [corners]}
            ),
            "properties": {
                "datetime": f"{day}T05:19:24.000000Z",
                "platform": "landsat-8",
                "instruments": ["oli", "tirs"],
                "gsd": 30,
                "eo:cloud_cover": round(100 * scene.cloud_fraction, 2),
                "view:off_nadir": 0,
                "view:sun_azimuth": round(azimuth, 4),
                "view:sun_elevation": round(elevation, 4),
                "proj:epsg": CRS.to_epsg(),
                "proj:shape": [height, width],
                "proj:transform": list(transform)[:6],
                "landsat:wrs_path": "147",
                "landsat:wrs_row": "038",
                "landsat:correction": "L2SP",
                "landsat:collection_number": "02",
                "landsat:collection_category": "T1",
            },
            "stac_extensions": [
                f"https://stac-extensions.github.io/{name}/schema.json"
                for name in ("raster/v1.1.0", "eo/v1.0.0", "view/v1.0.0", "projection/v1.1.0")
            ],
            "links": [
                link("root", "../catalog.json"),
                link("parent", "../collection.json"),
                link("collection", "../collection.json"),
            ],
            "assets": describe_assets(),
        },
    )


def describe_assets() -> dict:
    """Return the assets of an item: the bands, in reflectance after scale and offset, and the two quality files."""
    raster = {"data_type": "uint16", "spatial_resolution": 30}
    assets = {
        name: {
            "roles": ["data", "reflectance"],
            "eo:bands": [{"name": f"OLI_B{number}", "common_name": name}],
            "raster:bands": [raster | {"scale": SCALE, "offset": OFFSET, "nodata": 0}],
        }
        for number, name in enumerate(BANDS, 1)
    }
    assets["qa_pixel"] = {
        "roles": ["cloud", "cloud-shadow", "snow-ice"],
        "raster:bands": [raster | {"nodata": 1}],
    }
    assets["qa_radsat"] = {"roles": ["saturation"], "raster:bands": [raster]}
    cog = "image/tiff; application=geotiff; profile=cloud-optimized"
    return {name: {"href": f"./{name}.tif", "type": cog} | asset for name, asset in assets.items()}


def link(relation: str, address: str) -> dict:
    kind = "application/geo+json" if relation == "item" else "application/json"
    return {"rel": relation, "href": address, "type": kind}


def write_model(
    folder: Path, elevation: np.ndarray, transform: rasterio.Affine, bounding_box: tuple
) -> None:
    """Write the elevation (H, W) [m] as a collection with one item, as the Planetary Computer has Copernicus'."""
    name = "Copernicus_DSM_COG_10_demo_DEM"
    place = folder / MODEL_COLLECTION
    (place / name).mkdir(parents=True, exist_ok=True)
    write_cog(place / name / "elevation.tif", elevation[None], transform, names=("elevation m",))
    west, south, east, north = bounding_box
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": MODEL_COLLECTION,
        "bbox": list(bounding_box),
        "geometry": {"type": "Polygon", "coordinates": [corners]},
        "properties": {
            "datetime": None,
            "start_datetime": "2010-12-12T00:00:00Z",
            "end_datetime": "2012-12-31T00:00:00Z",
            "platform": "TanDEM-X",
            "gsd": PIXEL_SIZE,
        },
        "stac_extensions": [],
        "links": [
            link("root", "../../catalog.json"),
            link("parent", "../collection.json"),
            link("collection", "../collection.json"),
        ],
        "assets": {
            "data": {
                "href": "./elevation.tif",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "roles": ["data"],
            }
        },
    }
    write_json(place / name / f"{name}.json", item)
    links = [
        link("root", "../catalog.json"),
        link("parent", "../catalog.json"),
        link("item", f"./{name}/{name}.json"),
    ]
    text = "The elevation of a valley that was computed, not observed"
    days = ("2010-12-12", "2012-12-31")
    content = collection_of(MODEL_COLLECTION, text, bounding_box, days, links)
    write_json(place / "collection.json", content)


def collection_of(
    name: str, text: str, bounding_box: tuple, days: tuple[str, str], links: list[dict]
) -> dict:
    """Return a STAC collection of one place. days : first and last, ISO 8601."""
    first, last = days
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "license": "CC0-1.0",
        "description": text,
        "extent": {
            "spatial": {"bbox": [list(bounding_box)]},
            "temporal": {"interval": [[f"{first}T00:00:00Z", f"{last}T23:59:59Z"]]},
        },
        "links": links,
    }


def write_catalogue(folder: Path, ids: list[str], dates: list[date], bounding_box: tuple) -> None:
    """Write collection.json, then catalog.json: an archive that has one is complete."""
    text = "A valley glacier that was computed, not observed, in the form of Landsat Collection 2 Level-2"
    items = [link("item", f"./{name}/{name}.json") for name in ids]
    links = [link("root", "./catalog.json"), link("parent", "./catalog.json"), *items]
    days = (dates[0].isoformat(), dates[-1].isoformat())
    content = collection_of(COLLECTION, text, bounding_box, days, links)
    write_json(folder / "collection.json", content)
    write_json(
        folder / "catalog.json",
        {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "demo-glacier",
            "description": "A glacier of known motion",
            "links": [
                link("root", "./catalog.json"),
                link("child", "./collection.json"),
                link("child", f"./{MODEL_COLLECTION}/collection.json"),
            ],
        },
    )


def write_truth(
    folder: Path, landscape: Landscape, transform: rasterio.Affine, shifts: dict, clouds: dict
) -> None:
    """Write what the scenes were made from; `read_truth` reads it back."""
    folder.mkdir(parents=True, exist_ok=True)
    inner = (..., slice(PAD, -PAD), slice(PAD, -PAD))
    ice = landscape.ice[inner].astype(np.uint8)
    write_cog(
        folder / "velocity.tif",
        landscape.velocity[inner],
        transform,
        float("nan"),
        ("vx m/yr", "vy m/yr"),
    )
    write_cog(
        folder / "elevation.tif",
        landscape.elevation[inner][None],
        transform,
        float("nan"),
        ("elevation m",),
    )
    write_cog(folder / "ice.tif", ice[None], transform)
    outlines = [shape for shape, value in features.shapes(ice, transform=transform) if value]
    write_json(
        folder / "ice.geojson",
        {
            "type": "FeatureCollection",
            "features": [
                {
                    "type": "Feature",
                    "properties": {
                        "glac_name": "demo",
                        "area_km2": round(ice.sum() * PIXEL_SIZE**2 / 1e6, 3),
                    },
                    "geometry": warp.transform_geom(CRS, "EPSG:4326", outline, precision=7),
                }
                for outline in outlines
            ],
        },
    )
    write_json(folder / "misregistration.json", shifts)
    write_json(folder / "clouds.json", clouds)


def write_weather(folder: Path, weather: Weather) -> None:
    """Write the weather of a valley of a region; `read_weather` reads it back."""
    content = {
        "first": weather.first.isoformat(),
        "memory_days": weather.memory,
        "spread_m": weather.spread,
        "departures_m": weather.departures.round(2).tolist(),
    }
    write_json(folder / "weather.json", content)


def read_weather(folder: Path) -> Weather:
    """Return the weather of the archive in `folder`, a valley of a region."""
    content = json.loads((folder / "truth" / "weather.json").read_text(encoding="utf-8"))
    first = date.fromisoformat(content["first"])
    departures = np.array(content["departures_m"])
    return Weather(first, departures, content["memory_days"], content["spread_m"])


def read_truth(folder: Path) -> Truth:
    """Return the truth of the archive in `folder`."""
    truth = folder / "truth"
    with rasterio.open(truth / "velocity.tif") as file:
        velocity = file.read()
        transform = file.transform
    with rasterio.open(truth / "elevation.tif") as file:
        elevation = file.read(1)
    with rasterio.open(truth / "ice.tif") as file:
        ice = file.read(1).astype(bool)
    shifts = json.loads((truth / "misregistration.json").read_text(encoding="utf-8"))
    clouds = json.loads((truth / "clouds.json").read_text(encoding="utf-8"))
    collection = json.loads((folder / "collection.json").read_text(encoding="utf-8"))
    return Truth(
        bounding_box=tuple(collection["extent"]["spatial"]["bbox"][0]),
        transform=transform,
        ids=list(shifts),
        dates=[date.fromisoformat(name.split("_")[3]) for name in shifts],
        velocity=velocity,
        elevation=elevation,
        ice=ice,
        misregistration=np.array(list(shifts.values())),
        cloud_fraction=np.array(list(clouds.values())),
    )


def run(cfg: Settings) -> int:
    """Make the archive and its glacier.yaml, or those of all valleys, unless up to date; return the exit code."""
    if cfg.glaciers == 1:
        make_archive(cfg)
        log.info("Next: %s", console.command("dataAPI.py", cfg.name))
        return 0
    names = [f"{cfg.name}{number}" for number in range(1, cfg.glaciers + 1)]
    for number, name in enumerate(names, 1):
        seed = VALLEY_SEEDS * cfg.seed + number
        make_archive(dataclasses.replace(cfg, name=name, seed=seed), cfg.seed, number)
    together = ",".join(names)
    for script in ("dataAPI.py", "alignment.py", "createPatches.py"):
        log.info("Next: %s", console.command(script, together))
    training = "DeepLearning/trainConvLSTM.py"
    log.info("Next: %s", console.command(training, names[0], f"--names={together}"))
    return 0


def make_archive(cfg: Settings, region: int | None = None, valley: int = 0) -> None:
    """Make a glacier's archive and its glacier.yaml unless they are up to date.

    region : seed of the weather that it shares with the region's other valleys, None for weather of its own.
    """
    archive = cfg.folder / "archive"
    overlay = cfg.folder / "glacier.yaml"
    if overlay.is_file():
        present = config.read_yaml(overlay)
    else:
        present = {"source": SOURCE}
    if present.get("source") != SOURCE:
        raise GlacierError(
            f"{overlay} is of another glacier, with source {present.get('source')}; choose a new --name"
        )
    settings = settings_of(cfg)
    start_values = {"pixelSize": PIXEL_SIZE, "patchSize": min(50, cfg.size // 3)}
    weather = None
    if region is not None:
        settings |= {"region": region}
        start_values |= {"stepsPerYear": 12}
        weather = valley_weather(cfg.years, region, valley)
    if cfg.force:
        reason = "--force"
    else:
        reason = runner.why_stale(archive, settings, {})
    if reason is None and overlay.is_file():
        log.info("%s is up to date.", archive)
        return
    log.info("Making %s (%s).", archive, reason or "glacier.yaml is missing")
    box = write_archive(cfg, archive, settings, weather)
    fixed = {"boundingBox": list(box), "years": list(cfg.years), "source": SOURCE}
    disk.write_yaml(overlay, start_values | present | fixed)  # the user's own changes stay


def settings_of(cfg: Settings) -> dict:
    """Return the settings that decide what one archive holds."""
    fields = dataclasses.fields(Settings)
    names = [field.name for field in fields if field.name not in Config.__dataclass_fields__]
    names.remove("glaciers")
    return runner.used_settings(cfg, ["years", *names])


def write_archive(
    cfg: Settings, archive: Path, settings: dict, weather: Weather | None
) -> tuple[float, ...]:
    """Write the archive of a glacier, and tell what is in it; return its bounding box [degrees]."""
    start = time.monotonic()
    part = disk.hidden_neighbour(archive)
    shutil.rmtree(part, ignore_errors=True)
    truth = make_glacier(
        part,
        size=cfg.size,
        years=cfg.years,
        scenes_per_year=cfg.scenesPerYear,
        seed=cfg.seed,
        max_velocity=cfg.iceVelocity,
        ice_width=cfg.iceWidth,
        misregistration=cfg.misregistration,
        cloudiness=cfg.cloudiness,
        weather=weather,
    )
    files = [path for path in part.rglob("*") if path.is_file()]
    counts = {
        "scenes": len(truth.ids),
        "less than 20 % cloud": int((truth.cloud_fraction < 0.2).sum()),
    }
    seconds = time.monotonic() - start
    runner.write_manifest(part, settings, {}, files, counts, seconds)
    shutil.rmtree(archive, ignore_errors=True)
    os.replace(part, archive)
    fastest = float(np.hypot(*truth.velocity).max())
    rows = [("fastest ice [m/yr]", fastest), ("files", len(files)), ("seconds", f"{seconds:.1f}")]
    log.info("%s", "\n".join(console.lines_of([*counts.items(), *rows])))
    return truth.bounding_box


if __name__ == "__main__":
    sys.exit(console.main(run, Settings))
