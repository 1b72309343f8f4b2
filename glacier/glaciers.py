"""A rectangle drawn on the map: its box, what that means to read and to learn from, and its glacier.yaml.

What getCoordinatesFromMap.ipynb shows, without its widgets.
"""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path

import config
from config import Config, GlacierError
from glacier.grid import make_grid
from glacier.satellites import search, sensors
from glacier.storage import disk, runner

EARTH_RADIUS = 6371.0  # km, of the sphere with the Earth's area; areas are right to half a per cent
LARGE = 16e6  # px; about 120 x 120 km at 30 m, 0.3 GB for a scene of Landsat 8
REVISIT = 16  # days between two passes of one Landsat


class GlacierExistsError(GlacierError):
    """The glacier has a glacier.yaml already, which is not written over unasked."""


def read_rectangle(
    features: list[dict], before: tuple[float, ...] | None = None
) -> tuple[float, ...] | None:
    """Return the box (west, south, east, north in degrees, to about 1 m) of what is drawn, None if nothing is.

    features : GeoJSON features, longitudes beyond 180 where the map was scrolled around the world. before : the box
    that one corner was pulled from; the corner opposite stays. GlacierError for more than one shape, one that is no
    upright rectangle, or one across the antimeridian.
    """
    if not features:
        return None
    if len(features) > 1:
        raise GlacierError(
            f"{len(features)} shapes are drawn; one glacier is one rectangle: remove the others"
        )
    geometry = features[0]["geometry"]
    if geometry["type"] == "Polygon":
        ring = geometry["coordinates"][0]
    else:
        ring = [(0, 0)]
    turns = math.floor((min(point[0] for point in ring) + 180) / 360) * 360
    points = {(round(point[0] - turns, 5), round(point[1], 5)) for point in ring}
    if before and len(points) == 4 and len(pulled := points - corners(before)) == 1:
        ((x, y),) = corners(before) - points
        opposite = round(before[0] + before[2] - x, 5), round(before[1] + before[3] - y, 5)
        points = corners(spanned({*pulled, opposite}))
    drawn = spanned(points)
    if len(points) != 4 or points != corners(drawn):
        raise GlacierError(
            "the shape is no upright rectangle; boxes run along meridians and parallels: "
            "remove it and draw one with the rectangle tool"
        )
    if drawn[2] > 180:
        raise GlacierError(
            "the rectangle crosses the antimeridian (180 degrees); draw the part on one side "
            "of it, or write boundingBox by hand, with an east above 180"
        )
    return drawn


def spanned(points: set[tuple[float, float]]) -> tuple[float, ...]:
    """Return the smallest box around points (longitude, latitude)."""
    longitudes, latitudes = zip(*points, strict=True)
    return min(longitudes), min(latitudes), max(longitudes), max(latitudes)


def corners(box: tuple[float, ...]) -> set[tuple[float, float]]:
    """Return the four corners (longitude, latitude) of a box."""
    west, south, east, north = box
    return {(west, south), (west, north), (east, north), (east, south)}


def as_feature(box: tuple[float, ...], style: dict) -> dict:
    """Return a box as a GeoJSON feature drawn in a style."""
    west, south, east, north = box
    ring = [[west, south], [west, north], [east, north], [east, south], [west, south]]
    return {
        "type": "Feature",
        "properties": {"type": "rectangle", "style": style},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }


def plan_box(
    bounding_box: tuple[float, ...],
    years: tuple[int, ...],
    sensor: str,
    pixel_size: float,
    steps_per_year: int,
    patch_size: int,
    stride: int,
) -> tuple[dict[str, str], list[str]]:
    """Return what a box means, {fact: text}, and warnings, each a sentence.

    bounding_box : west, south, east, north [degrees]. years : first and last. sensor : a row of SENSORS. pixel_size :
    of the grid [m]. patch_size, stride : side of a patch and distance between two [px].
    """
    satellites = sensors.find(sensor)
    grid = make_grid(bounding_box, pixel_size, satellites.anchor)
    height, width = grid.shape
    first_year, last_year = years
    count = last_year - first_year + 1
    rows = max(0, (height - patch_size) // stride + 1)
    columns = max(0, (width - patch_size) // stride + 1)
    bands = set(satellites.bands.values())
    files = len(bands) + len(satellites.quality)
    megabytes = 2e-6 * height * width * files
    passes = count * 365 // REVISIT
    facts = {
        "box": ", ".join(f"{degrees:.5f}" for degrees in bounding_box),
        "area": f"{area_of(bounding_box):,.1f} km2",
        "UTM zone": zone_of(grid.crs),
        "pixels": f"{height} x {width} of {pixel_size:g} m",
        "composites": f"{count * steps_per_year} in {first_year}-{last_year}",
        "patches": f"{rows * columns:,} of {patch_size} x {patch_size} px a composite",
        "a scene": f"{megabytes:,.1f} MB",
        "to read": f"up to {passes * megabytes:,.0f} MB a satellite",
    }
    return facts, warn(grid.shape, patch_size)


def years_there(
    source: str, bounding_box: tuple[float, ...], years: tuple[int, ...], sensor: tuple[str, ...]
) -> str:
    """Return in words which years an archive has of a box, and which of those asked for it has not.

    source : as the setting. bounding_box : west, south, east, north [degrees]. years : first and last. sensor : rows
    of SENSORS.
    """
    query = search.Query(source, bounding_box, years, sensor)
    try:
        there = search.years_of(query)
    except GlacierError as error:
        return f"the archive does not answer: {error}"
    if not there:
        return "the archive has nothing of this box"
    first, last = years
    missing = [year for year in range(first, last + 1) if not there[0] <= year <= there[-1]]
    told = f"the archive has {there[0]} to {there[-1]}"
    if missing:
        told += f", not {', '.join(map(str, missing))}"
    return told


def zone_of(crs: str) -> str:
    """Return the UTM zone of a projection such as EPSG:32643, for people."""
    hemispheres = {"EPSG:326": "N", "EPSG:327": "S"}
    hemisphere = hemispheres.get(crs[:8])
    if hemisphere:
        return f"{crs[-2:]} {hemisphere}"
    return "none, polar stereographic"


def area_of(box: tuple[float, ...]) -> float:
    """Return the area of a box (west, south, east, north in degrees) [km2]."""
    west, south, east, north = map(math.radians, box)
    return EARTH_RADIUS**2 * (east - west) * (math.sin(north) - math.sin(south))


def warn(shape: tuple[int, int], patch_size: int) -> list[str]:
    """Return what is unreasonable about a box of (H, W) pixels for patches of a size [px], each a sentence."""
    warnings = []
    if min(shape) < patch_size:
        warnings.append(
            f"Too small: a patch has {patch_size} px a side, the box only {min(shape)}."
        )
    if math.prod(shape) > LARGE:
        warnings.append(
            f"Very large: {math.prod(shape) / 1e6:,.0f} million pixels; a glacier with its surroundings "
            "has about one million."
        )
    return warnings


def known_glaciers() -> dict[str, tuple[float, ...]]:
    """Return the box of each glacier under datasets/ by name; those whose glacier.yaml gives no box are left out."""
    boxes = {}
    for path in sorted((config.home() / "datasets").glob("*/glacier.yaml")):
        with suppress(GlacierError):  # a broken file is told to whoever runs a script on it
            content = config.read_yaml(path)
            if "boundingBox" in content:
                boxes[path.parent.name] = Config(
                    boundingBox=tuple(content["boundingBox"])
                ).boundingBox
    return boxes


def write_glacier(cfg: Config, replace: bool = False) -> Path:
    """Write name, box, years and, where they are not the default, archive and outline to glacier.yaml; return its path.

    GlacierExistsError if there is one already, unless `replace`: then its other settings stay, and its years where
    those given are the default.
    """
    path = cfg.folder / "glacier.yaml"
    if path.is_file() and not replace:
        raise GlacierExistsError(f"{path} is there already")
    content = {}
    if path.is_file():
        content = config.read_yaml(path)
    drawn = runner.used_settings(cfg, ("name", "boundingBox", "years", "source", "iceOutline"))
    changed = {
        name: value for name, value in drawn.items() if getattr(cfg, name) != getattr(Config, name)
    }
    first_lines = {name: drawn[name] for name in ("name", "boundingBox", "years")}
    new = changed | {"name": cfg.name, "boundingBox": drawn["boundingBox"]}
    disk.write_yaml(path, first_lines | content | new)
    return path


def edit_lines(name: str, bounding_box: tuple[float, ...], years: tuple[int, ...]) -> str:
    """Return the three lines of config.py's edit block for a glacier."""
    values = {"name": json.dumps(name), "boundingBox": repr(bounding_box), "years": repr(years)}
    lines = []
    for key, text in values.items():
        field = Config.__dataclass_fields__[key]
        words = [text, json.dumps(field.metadata["help"])]
        for bound in ("low", "high"):
            limit = field.metadata[bound]
            if limit is not None:
                words.append(f"{bound}={limit}")
        lines.append(f"    {key}: {field.type} = setting({', '.join(words)})")
    return "\n".join(lines)


def read_place(text: str) -> tuple[float, float]:
    """Return (latitude, longitude) in degrees of a typed place such as "32.1, 77.65"; GlacierError if it is none."""
    try:
        latitude, longitude = (float(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise GlacierError(
            f"{text!r} is no place; write latitude, longitude in degrees, such as 32.1, 77.65"
        ) from None
    if not (-85 <= latitude <= 85 and -180 <= longitude <= 180):
        raise GlacierError(
            f"latitude goes from -85 to 85 and longitude from -180 to 180; got {latitude}, {longitude}"
        )
    return latitude, longitude
