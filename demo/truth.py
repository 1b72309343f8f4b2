"""What an archive of the demo was made from: its velocity, elevation, ice, shifts, clouds and weather."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import rasterio
from rasterio import features, warp

from demo.catalogue import CRS, write_cog, write_json
from demo.landscape import PIXEL_SIZE, Landscape
from demo.scene import PAD
from demo.weather import Weather


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
