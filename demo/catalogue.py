"""The demo's archive: STAC catalogues of COGs, scenes as the Planetary Computer has them, and a model of the ground."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import glacier  # noqa: F401  before rasterio, which looks at once where PROJ and GDAL have their data

# isort: split
import numpy as np
import rasterio
from rasterio import warp

from demo.landscape import BANDS, PIXEL_SIZE, sun_position
from demo.scene import OFFSET, SCALE, Scene

CRS = rasterio.CRS.from_epsg(32643)
COLLECTION = "landsat-c2-l2"
MODEL_COLLECTION = "cop-dem-glo-30"


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
