"""Outline files, as those of the Randolph Glacier Inventory: which polygons of them lie on a grid."""

from __future__ import annotations

import difflib
import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rasterio import Affine
from rasterio.features import rasterize
from rasterio.transform import array_bounds
from rasterio.warp import transform, transform_bounds

from config import GlacierError
from glacier.grid import Grid
from glacier.lazily import load

pyogrio = load("pyogrio")
errors = load("pyogrio.errors")
shapely = load("shapely")

log = logging.getLogger(__name__)
LONGITUDE_LATITUDE = "EPSG:4326"
# columns that name a glacier, in lower case: RGI 6, RGI 7, GLIMS and hand-made files
ID_COLUMNS = ("rgiid", "rgi_id", "glimsid", "glims_id", "glac_id", "name", "glac_name", "id")
TEXT_FILES = {".geojson", ".json"}  # read once and whole, as every look at them parses them anew
COMPANIONS = (".prj", ".dbf")  # of a shapefile, that say where and what it is
LONGEST_EDGE = 0.02  # degrees; longer edges bend when they are brought to a map


class Features(NamedTuple):
    """The features of one layer. fids (N,); bounds (N, 4): west, south, east, north in the layer's CRS, NaN where a
    feature has no geometry; names: {column: (N,)}; geometries (N,), None where they are still in the file."""

    crs: str | None
    fids: np.ndarray
    bounds: np.ndarray
    names: dict[str, np.ndarray]
    geometries: np.ndarray | None


def split_source(source: str) -> tuple[str, str | None]:
    """Return the file and the glacier or layer that FILE or FILE:ID names."""
    if Path(source).exists() or ":" not in source:
        return source, None
    path, _, selector = source.rpartition(":")
    if Path(path).exists():
        return path, selector
    if "://" in source and "/" not in selector:
        return path, selector
    return source, None


def files(source: str | None) -> list[Path]:
    """Return the files of this machine that an outline is read from; none for an address or None."""
    if source is None:
        return []
    path = Path(split_source(source)[0])
    paths = [path, *(path.with_suffix(suffix) for suffix in COMPANIONS)]
    return [path for path in paths if path.is_file()]


# ── What the file holds ──────────────────────────────────────────────────────────────────────────────────────────


def read_features(path: str, layer: str | None) -> Features:
    """Return the features of a layer, with their geometries only where the file is text."""
    if Path(path).suffix.lower() in TEXT_FILES:
        meta, fids, content, columns = pyogrio.raw.read(path, layer=layer, return_fids=True)
        geometries = flat_geometries(content)
        crs = meta["crs"]
        bounds = shapely.bounds(geometries)
        fields = dict(zip(meta["fields"], columns, strict=True))
    else:
        info = pyogrio.read_info(path, layer=layer)
        refuse_other_shapes(path, [info["geometry_type"]])
        fids, bounds = pyogrio.read_bounds(path, layer=layer)
        crs = info["crs"]
        bounds = bounds.T
        geometries = None
        id_fields = [name for name in info["fields"] if name.lower() in ID_COLUMNS]
        meta, _, _, columns = pyogrio.raw.read(
            path, layer=layer, columns=id_fields, read_geometry=False
        )
        fields = dict(zip(meta["fields"], columns, strict=True))
    names = {name: values for name, values in fields.items() if name.lower() in ID_COLUMNS}
    return Features(crs, fids, bounds, names, geometries)


def flat_geometries(content: np.ndarray) -> np.ndarray:
    """Return geometries without height from their binary form."""
    return shapely.force_2d(shapely.from_wkb(content))


def choose_layer(path: str, selector: str | None) -> tuple[str | None, str | None]:
    """Return the layer to read, None for the only one, and the selector if it does not name a layer."""
    if Path(path).suffix.lower() in TEXT_FILES:
        return None, selector
    layers = [(str(name), str(kind)) for name, kind in pyogrio.list_layers(path)]
    names = [name for name, _ in layers]
    if selector in names and len(names) > 1:
        return selector, None
    polygons = [name for name, kind in layers if "Polygon" in kind or kind == "Unknown"]
    if len(polygons) > 1:
        raise GlacierError(
            f"iceOutline {path} has the layers {', '.join(names)}; choose one: {path}:{polygons[0]}"
        )
    if polygons:
        layer = polygons[0]
    else:
        layer = names[0]
    return layer, None if selector == layer else selector


def with_id(path: str, features: Features, selector: str) -> np.ndarray:
    """Return which features are called `selector`, bool (N,); GlacierError if none is."""
    matches = np.zeros(len(features.fids), bool)
    every: set[str] = set()
    for values in features.names.values():
        texts = np.array([str(value) for value in values], dtype=object)
        matches |= texts == selector
        every.update(texts)
    if not matches.any():
        nearest = difflib.get_close_matches(selector, sorted(every), n=1, cutoff=0.3)
        hint = ""
        if nearest:
            hint = f"; did you mean {nearest[0]}?"
        raise GlacierError(f"iceOutline {path} has no outline {selector!r}{hint}")
    return matches


def refuse_other_shapes(path: str, kinds: list[str | None]) -> None:
    """Raise GlacierError if a kind of geometry is a line or a point."""
    for kind in kinds:
        for shape in ("Line", "Point"):
            if kind and shape in kind:
                raise GlacierError(
                    f"iceOutline {path} holds {shape.lower()}s, but outlines are polygons; "
                    "choose the file of the outlines"
                )


def layer_crs(path: str, features: Features) -> str:
    """Return the CRS of a layer: without one, longitude and latitude; GlacierError where coordinates are no degrees."""
    crs = features.crs or LONGITUDE_LATITUDE
    if crs != LONGITUDE_LATITUDE:
        return crs
    lowest = np.nanmin(features.bounds, axis=0)
    highest = np.nanmax(features.bounds, axis=0)
    longest = np.array([180, 90]) + 1e-6
    if (lowest[:2] < -longest).any() or (highest[2:] > longest).any():
        states = "no CRS" if features.crs is None else "longitude and latitude as its CRS"
        raise GlacierError(
            f"iceOutline {path} has {states}, but coordinates up to {highest[2]:.0f}, {highest[3]:.0f}, outside "
            "+-180 and +-90 degrees; write it with the CRS of its coordinates"
        )
    return crs


# ── Which of it lies on the grid ─────────────────────────────────────────────────────────────────────────────────


def near_box(bounds: np.ndarray, grid: Grid, crs: str) -> np.ndarray:
    """Return which features' bounds (N, 4) meet a grid, bool (N,); a grid may lie across the antimeridian."""
    box = array_bounds(*grid.shape, Affine(*grid.transform))
    left, bottom, right, top = transform_bounds(grid.crs, crs, *box)
    west, south, east, north = bounds.T
    with np.errstate(invalid="ignore"):  # bounds of nothing are NaN
        upright = (south <= top) & (north >= bottom)
        beside_east = west <= right
        beside_west = east >= left
    across = left > right
    return upright & (beside_east | beside_west if across else beside_east & beside_west)


def read_polygons(source: str, grid: Grid) -> np.ndarray:
    """Return the polygons (N,) of an outline file that may meet a grid, in the grid's CRS.

    source : a file of any vector format, or FILE:ID for one glacier (an RGI or GLIMS id, a name) or one layer of it.
    Features far from the grid are left in the file. GlacierError for lines and points, for coordinates without a
    place, and where nothing meets the grid.
    """
    path, selector = split_source(source)
    try:
        layer, selector = choose_layer(path, selector)
        features = read_features(path, layer)
        empty = np.isnan(features.bounds).any(axis=1)
        if empty.all():
            raise GlacierError(
                f"iceOutline {path} cannot be read as outlines: none of its {len(empty)} features has a polygon"
            )
        if empty.any():
            log.info("  %d outlines of %s have no geometry and are skipped", empty.sum(), path)
        crs = layer_crs(path, features)
        wanted = near_box(features.bounds, grid, crs)
        if selector is not None:
            wanted &= with_id(path, features, selector)
        if features.geometries is not None:
            geometries = features.geometries[wanted]
        elif wanted.any():
            content = pyogrio.raw.read(path, layer=layer, columns=[], fids=features.fids[wanted])[2]
            geometries = flat_geometries(content)
        else:
            geometries = np.array([])
    except (errors.DataSourceError, errors.DataLayerError, shapely.errors.GEOSException) as error:
        raise GlacierError(
            f"iceOutline {source} cannot be read ({error}); give a GeoJSON, shapefile or GeoPackage of "
            "polygons, or FILE:ID for one glacier of it"
        ) from error
    parts = shapely.get_parts(geometries)
    parts = shapely.get_parts(parts)  # those of collections may be multiple again
    refuse_other_shapes(path, [part.geom_type for part in parts])
    if not len(parts):
        raise GlacierError(
            f"iceOutline {source} does not touch the scenes; check its coordinates or set it to None"
        )
    return to_grid(parts, crs, grid)


def to_grid(polygons: np.ndarray, crs: str, grid: Grid) -> np.ndarray:
    """Return polygons in the CRS of a grid; long edges of longitude and latitude follow their curve."""
    if crs == LONGITUDE_LATITUDE:
        polygons = shapely.segmentize(polygons, LONGEST_EDGE)

    def moved(coordinates):
        return np.array(transform(crs, grid.crs, *coordinates.T)).T

    return shapely.transform(polygons, moved)


def outline_mask(source: str, grid: Grid, margin: float = 0.0) -> np.ndarray:
    """Return which pixels have their centre inside the polygons of an outline file, bool (H, W).

    margin : m, by which the polygons are widened before, where to take too much is safer than too little.
    source and errors as in read_polygons.
    """
    polygons = read_polygons(source, grid)
    if margin > 0:
        polygons = shapely.buffer(shapely.make_valid(polygons), margin)
    inside = rasterize(polygons, grid.shape, transform=Affine(*grid.transform), dtype=np.uint8)
    if not inside.any():
        raise GlacierError(
            f"iceOutline {source} does not touch the scenes; check its coordinates or set it to None"
        )
    return inside > 0
