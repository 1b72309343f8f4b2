"""Archives made for one question: a catalogue on disk, written item by item."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import rasterio
from rasterio.warp import transform_bounds

import config
import dataAPI
from config import Config
from glacier.satellites import sensors
from glacier.scenes import Scene, read_scenes


class Archive:
    """A catalogue on disk, written item by item."""

    def __init__(self, folder: Path):
        self.folder, self.items = folder, []

    def add(
        self,
        name: str,
        sensor: str,
        when: str,
        layers: dict[str, np.ndarray],
        crs: str,
        corner: tuple,
        pixel_sizes: dict[str, float] | None = None,
        **properties,
    ) -> None:
        """Write an item; layers : asset key -> (H, W). corner : left, top. pixel_sizes : of keys not of 30 m."""
        row = sensors.find(sensor)
        folder = self.folder / name
        folder.mkdir(parents=True)
        for key, values in layers.items():
            size = (pixel_sizes or {}).get(key, 30.0)
            affine = rasterio.Affine(size, 0, corner[0], 0, -size, corner[1])
            with rasterio.open(
                folder / f"{key}.tif",
                "w",
                driver="COG",
                dtype=values.dtype,
                count=1,
                crs=crs,
                height=values.shape[0],
                width=values.shape[1],
                transform=affine,
                nodata=row.nodata if key in row.bands.values() else None,
            ) as file:
                file.write(values[None])
        bounds = rasterio.transform.array_bounds(*values.shape, affine)
        box = transform_bounds(crs, "EPSG:4326", *bounds)
        self.items.append(name)
        (folder / f"{name}.json").write_text(
            json.dumps(
                {
                    "type": "Feature",
                    "stac_version": "1.0.0",
                    "id": name,
                    "collection": row.collection,
                    "bbox": box,
                    "geometry": None,
                    "links": [],
                    "stac_extensions": [],
                    "properties": {
                        "datetime": when,
                        "platform": row.platforms[0],
                        "eo:cloud_cover": 1.0,
                        "proj:code": crs,
                    }
                    | properties,
                    "assets": {key: {"href": f"./{key}.tif"} for key in layers},
                }
            )
        )

    def settings(self, box: tuple, sensor: str, **keywords) -> Config:
        links = [{"rel": "item", "href": f"./{name}/{name}.json"} for name in self.items]
        (self.folder / "catalog.json").write_text(
            json.dumps(
                {
                    "type": "Catalog",
                    "stac_version": "1.0.0",
                    "id": "made",
                    "description": "-",
                    "links": links,
                }
            )
        )
        given = {
            "name": "made",
            "source": str(self.folder / "catalog.json"),
            "boundingBox": box,
            "sensor": sensor,
            "years": [2000, 2024],
            "maxMissingFraction": 1.0,
        }
        return config.load(Config, [], **(given | keywords))


def box_around(crs: str, left: float, top: float, width: float, height: float) -> tuple[float, ...]:
    """Return a box in degrees that lies within a rectangle [m]."""
    west, south, east, north = transform_bounds(
        crs, "EPSG:4326", left, top - height, left + width, top
    )
    inset_x, inset_y = 0.1 * (east - west), 0.1 * (north - south)
    return west + inset_x, south + inset_y, east - inset_x, north - inset_y


def landsat_layers(values: np.ndarray, oli: bool = True) -> dict[str, np.ndarray]:
    """Return the assets of a clear Landsat scene whose bands all hold `values`; 0 is fill."""
    row = sensors.find("landsat-8-9" if oli else "landsat-4-5-7")
    qa = np.where(values == 0, 1, 64).astype(np.uint16)
    return {key: values for key in row.bands.values()} | {
        "qa_pixel": qa,
        "qa_radsat": np.zeros_like(qa),
    }


def scenes_of(cfg: Config, code: int = 0) -> list[Scene]:
    """Run stage 1; return its scenes. code : the exit code that is expected."""
    assert dataAPI.run(cfg) == code
    return list(read_scenes(cfg))
