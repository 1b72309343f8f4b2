"""A mountain range from an outline file: a folder, a box and an outline for each glacier of it."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rasterio.warp import transform

import config
from config import Config, GlacierError
from glacier import outlines
from glacier.glaciers import EARTH_RADIUS
from glacier.lazily import load
from glacier.storage import disk, runner

if TYPE_CHECKING:
    from shapely import Geometry, STRtree

pyogrio = load("pyogrio")
errors = load("pyogrio.errors")
shapely = load("shapely")

log = logging.getLogger(__name__)
STABLE = 0.4  # of a box: what co-registration wants of ground that no outline covers
PADDING = 1500.0  # m around the outline, at least; a hundred pixels for the smallest glacier
MOST_PADDING = 30_000.0  # m; within an ice field no box has enough ground
GROWTH = 1.25  # of the padding from one try to the next
DEGREE = EARTH_RADIUS * 1000 * math.pi / 180  # m, of latitude
OUTLINE = "outline.geojson"  # beside glacier.yaml


class Outlines(NamedTuple):
    """The glaciers of a file. ids, geometries (N,), in longitude and latitude; features : as outlines reads them."""

    path: str
    ids: list[str]
    geometries: np.ndarray
    features: outlines.Features


def read(source: str) -> Outlines:
    """Return all glaciers of an outline file of any vector format, or of one layer of it (FILE:LAYER)."""
    path, selector = outlines.split_source(source)
    try:
        layer, selector = outlines.choose_layer(path, selector)
        features = outlines.read_features(path, layer)
        if np.isnan(features.bounds).all():
            raise GlacierError(f"{path} holds no polygon")
        crs = outlines.layer_crs(path, features)
        geometries = features.geometries
        if geometries is None:
            content = pyogrio.raw.read(path, layer=layer, columns=[])[2]
            geometries = outlines.flat_geometries(content)
    except (errors.DataSourceError, errors.DataLayerError, shapely.errors.GEOSException) as error:
        raise GlacierError(
            f"outlines {source} cannot be read ({error}); give a GeoJSON, shapefile or GeoPackage of polygons"
        ) from error
    outlines.refuse_other_shapes(path, [part.geom_type for part in geometries if part])
    if crs != outlines.LONGITUDE_LATITUDE:
        geometries = shapely.transform(
            geometries, lambda points: np.array(transform(crs, "EPSG:4326", *points.T)).T
        )
    read_glaciers = Outlines(path, ids_of(path, features), shapely.make_valid(geometries), features)
    if selector is None:
        return read_glaciers
    return only(read_glaciers, (selector,))


def ids_of(path: str, features: outlines.Features) -> list[str]:
    """Return what each glacier's folder is called: its RGI or other id; GlacierError where ids are no such names."""
    columns = {name.lower(): values for name, values in features.names.items()}
    for column in outlines.ID_COLUMNS:
        if column in columns:
            ids = [str(value) for value in columns[column]]
            if len(set(ids)) == len(ids) and all(map(config.is_folder_name, ids)):
                return ids
    raise GlacierError(
        f"outlines {path} have no column that names each glacier ({', '.join(outlines.ID_COLUMNS)}), "
        "each once and without a slash"
    )


def only(region: Outlines, ids: tuple[str, ...]) -> Outlines:
    """Return the glaciers with some ids or names; GlacierError for one that is not there."""
    wanted = np.zeros(len(region.ids), bool)
    for name in ids:
        wanted |= outlines.with_id(region.path, region.features, name)
    chosen = [glacier for glacier, is_wanted in zip(region.ids, wanted, strict=True) if is_wanted]
    return region._replace(ids=chosen, geometries=region.geometries[wanted])


def find(source: str, name: str) -> tuple[tuple[float, ...], str]:
    """Return the box of one glacier of an outline file, and FILE:ID as the setting iceOutline takes it.

    name : its id, or its name where only one glacier has it.
    """
    everything = read(source)
    chosen = only(everything, (name,))
    if len(chosen.ids) > 1:
        raise GlacierError(
            f"{len(chosen.ids)} glaciers of {source} are called {name!r}; give the id of one: "
            f"{', '.join(chosen.ids[:5])}"
        )
    box, _ = box_of(chosen.geometries[0], shapely.STRtree(everything.geometries))
    return box, f"{Path(everything.path).resolve()}:{chosen.ids[0]}"


def areas(geometries: np.ndarray) -> np.ndarray:
    """Return areas (N,) [km2] of polygons in longitude and latitude, on a sphere, each at its middle latitude."""
    bounds = shapely.bounds(geometries)  # (N, 4)
    latitudes = np.radians((bounds[:, 1] + bounds[:, 3]) / 2)
    square_degree = (DEGREE / 1000) ** 2
    return shapely.area(geometries) * square_degree * np.cos(latitudes)


def stable_share(box: tuple[float, ...], tree: STRtree) -> float:
    """Return which part of a box no outline covers [0-1]."""
    frame = shapely.box(*box)
    near = tree.geometries[tree.query(frame)]
    ice = shapely.union_all(shapely.intersection(near, frame))
    return 1 - ice.area / frame.area


def box_of(geometry: Geometry, tree: STRtree) -> tuple[tuple[float, ...], float]:
    """Return the box of a glacier, padded until enough of it is stable ground, and the stable part of it.

    tree : all outlines, as the neighbours' ice moves as well. Where even the largest padding does not suffice, that
    box is returned.
    """
    padding = PADDING
    while True:
        box = padded(shapely.bounds(geometry), padding)
        share = stable_share(box, tree)
        if share >= STABLE or padding >= MOST_PADDING:
            return box, share
        padding = min(GROWTH * padding, MOST_PADDING)


def padded(bounds: np.ndarray, padding: float) -> tuple[float, ...]:
    """Return bounds (west, south, east, north in degrees), wider by a padding [m] on each side, to about 1 m."""
    west, south, east, north = bounds
    up = padding / DEGREE
    aside = up / math.cos(math.radians((south + north) / 2))
    box = (west - aside, south - up, east + aside, north + up)
    return tuple(round(float(degrees), 5) for degrees in box)


def write_region(
    cfg: Config,
    source: str,
    ids: tuple[str, ...],
    smallest: float,
    within: tuple[float, ...] | None,
) -> list[tuple]:
    """Write glacier.yaml and the outline of each glacier of a file into datasets/<group>/<id>/; return a table.

    cfg.name is the group. smallest : area [km2]. within : only glaciers whose outline lies in this box. A glacier.yaml
    that is there stays as it is.
    """
    check_group(cfg.name, cfg.folder)
    everything = read(source)
    tree = shapely.STRtree(everything.geometries)
    region = everything
    if ids:
        region = only(everything, ids)
    large = areas(region.geometries) >= smallest
    inside = np.ones(len(large), bool)
    if within:
        inside = shapely.covered_by(region.geometries, shapely.box(*within))
    rows = [("glacier", "km2", "stable ground", "")]
    for place in np.flatnonzero(large & inside):
        rows.append(write_one(cfg, region.ids[place], region.geometries[place], tree))
    if len(rows) == 1:
        raise GlacierError(
            f"none of the {len(region.ids)} outlines is left; lower minArea or widen boundingBox"
        )
    return rows


def check_group(name: str, folder: Path) -> None:
    """Raise GlacierError unless a name, of this folder, can be that of a group."""
    if "/" in name:
        raise GlacierError(f"name is the group's with outlines, as --name=alps; got {name!r}")
    if (folder / "glacier.yaml").is_file():
        raise GlacierError(f"{name!r} is a glacier; give the group of the outlines another name")


def write_one(cfg: Config, glacier: str, geometry: Geometry, tree: STRtree) -> tuple:
    """Write a glacier's outline and settings; return its line of the table."""
    box, share = box_of(geometry, tree)
    of_glacier = dataclasses.replace(cfg, name=f"{cfg.name}/{glacier}", boundingBox=box)
    if share >= STABLE:
        remark = ""
    else:
        remark = f"less than {STABLE:.0%}: co-registration may fail"
    settings = of_glacier.folder / "glacier.yaml"
    if settings.is_file():
        remark = "was there already"
    else:
        shape = json.loads(shapely.to_geojson(geometry))
        feature = {"type": "Feature", "properties": {"id": glacier}, "geometry": shape}
        content = {"type": "FeatureCollection", "features": [feature]}
        with disk.writing(of_glacier.folder / OUTLINE) as file:
            file.write(json.dumps(content).encode())
        drawn = runner.used_settings(of_glacier, ("name", "boundingBox", "years"))
        disk.write_yaml(settings, drawn | {"iceOutline": OUTLINE})
    (area,) = areas(np.array([geometry]))
    return of_glacier.name, float(area), f"{share:.0%}", remark
