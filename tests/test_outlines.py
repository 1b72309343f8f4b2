"""Outlines come as glaciologists have them, and land on the right pixels."""

import json
import time

import numpy as np
import pyogrio
import pytest
import shapely
from conftest import ROOT
from rasterio.warp import transform

from config import GlacierError
from glacier import outlines
from glacier.grid import Grid, make_grid
from glacier.outlines import outline_mask, read_polygons

REAL = ROOT.parent / "shared/data/movement/rgi"
GRID = Grid("EPSG:32643", (30.0, 0.0, 600015.0, 0.0, -30.0, 3550015.0), (60, 80))
DRIVERS = {".shp": "ESRI Shapefile", ".gpkg": "GPKG", ".geojson": "GeoJSON"}
EXPLORADORES = make_grid((-73.86, -46.84, -73.05, -46.43), 100, 50)


@pytest.fixture
def real():
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is not there")
    return REAL


def pixels(left, top, right, bottom):
    """A rectangle that covers whole pixels of the grid."""
    return shapely.box(
        600015 + 30 * left, 3550015 - 30 * bottom, 600015 + 30 * right, 3550015 - 30 * top
    )


def degrees(geometry):
    def turned(coordinates):
        return np.array(transform(GRID.crs, "EPSG:4326", *coordinates.T)).T

    return shapely.transform(geometry, turned)


def write(path, geometries, ids=None, crs="EPSG:32643", kind=None, layer=None, append=False):
    """Write features with the column RGIId; return the path as text."""
    geometries = np.array(geometries, dtype=object)
    ids = ids or [f"RGI60-14.{number:05d}" for number in range(len(geometries))]
    kinds = {part.geom_type for part in geometries if part is not None}
    pyogrio.raw.write(
        path,
        shapely.to_wkb(geometries),
        [np.array(ids, dtype=object)],
        ["RGIId"],
        geometry_type=kind or (kinds.pop() if len(kinds) == 1 else "Unknown"),
        crs=crs,
        driver=DRIVERS[path.suffix],
        layer=layer,
        append=append,
    )
    return str(path)


def area(mask):
    return (
        np.argwhere(mask).min(axis=0).tolist(),
        np.argwhere(mask).max(axis=0).tolist(),
        mask.sum(),
    )


@pytest.mark.parametrize("suffix", DRIVERS)
@pytest.mark.parametrize("crs", ["EPSG:32643", "EPSG:4326", "EPSG:32644"])
def test_every_format_and_crs_lands_on_its_pixels(tmp_path, suffix, crs):
    """20 x 10 px with a nunatak of 4 x 4: neither grows nor shrinks."""
    ice = pixels(30, 20, 50, 30) - pixels(38, 23, 42, 27)
    placed = shapely.transform(ice, lambda xy: np.array(transform(GRID.crs, crs, *xy.T)).T)
    mask = outline_mask(write(tmp_path / f"ice{suffix}", [placed], crs=crs), GRID)
    expected = np.zeros(GRID.shape, bool)
    expected[20:30, 30:50] = True
    expected[23:27, 38:42] = False
    assert (mask == expected).all()


def test_a_pixel_counts_by_its_centre_and_the_margin_is_in_metres(tmp_path):
    ice = shapely.box(
        600015 + 30 * 30.6, 3550015 - 30 * 29.4, 600015 + 30 * 49.6, 3550015 - 30 * 20.6
    )
    path = write(tmp_path / "ice.gpkg", [ice])
    assert area(outline_mask(path, GRID)) == ([21, 31], [28, 49], 8 * 19)
    widened = outline_mask(path, GRID, 45.0)
    low, high, _ = area(widened)
    assert (low, high) == ([19, 29], [30, 50])
    assert not widened[19, 29]  # round corners: a distance, not a square
    coarse = Grid("EPSG:32643", (120.0, 0.0, 600015.0, 0.0, -120.0, 3550015.0), (15, 20))
    assert outline_mask(path, coarse, 120.0).sum() * 16 == pytest.approx(
        19 * 9 + 2 * 28 * 4 + 50, rel=0.25
    )


@pytest.mark.parametrize("suffix", DRIVERS)
def test_one_glacier_by_its_id(tmp_path, suffix):
    path = write(tmp_path / f"ice{suffix}", [pixels(5, 5, 10, 10), pixels(30, 30, 40, 40)])
    assert outline_mask(path, GRID).sum() == 125
    assert area(outline_mask(f"{path}:RGI60-14.00001", GRID)) == ([30, 30], [39, 39], 100)
    with pytest.raises(
        GlacierError, match="no outline 'RGI60-14.0001'; did you mean RGI60-14.0000"
    ):
        outline_mask(f"{path}:RGI60-14.0001", GRID)
    assert tmp_path / f"ice{suffix}" in outlines.files(f"{path}:RGI60-14.00001")


def test_a_layer_is_chosen_by_name(tmp_path):
    path = tmp_path / "ice.gpkg"
    write(path, [pixels(5, 5, 10, 10)], layer="old")
    assert outline_mask(f"{path}:old", GRID).sum() == 25
    write(path, [pixels(30, 30, 40, 40)], layer="new", append=True)
    assert outline_mask(f"{path}:new", GRID).sum() == 100
    with pytest.raises(GlacierError, match="has the layers old, new; choose one"):
        outline_mask(str(path), GRID)


def test_lines_beside_the_polygons_do_not_hide_the_layer(tmp_path):
    path = tmp_path / "ice.gpkg"
    write(path, [shapely.LineString([(600100, 3549900), (600900, 3549000)])], layer="intersects")
    write(path, [pixels(5, 5, 10, 10)], layer="outlines", append=True)
    assert outline_mask(str(path), GRID).sum() == 25


@pytest.mark.parametrize("suffix", DRIVERS)
@pytest.mark.parametrize(
    ("shape", "told"),
    [
        (shapely.LineString([(600100, 3549900), (600900, 3549000)]), "holds lines"),
        (shapely.Point(600900, 3549000), "holds points"),
        (shapely.MultiPoint([(600900, 3549000), (601000, 3549100)]), "holds points"),
    ],
)
def test_lines_and_points_are_refused_with_what_they_are(tmp_path, suffix, shape, told):
    with pytest.raises(GlacierError, match=told):
        outline_mask(write(tmp_path / f"ice{suffix}", [shape]), GRID)


@pytest.mark.parametrize("suffix", DRIVERS)
def test_features_without_a_geometry_are_skipped_and_counted(tmp_path, suffix, caplog):
    caplog.set_level("INFO")
    path = write(tmp_path / f"ice{suffix}", [None, pixels(5, 5, 10, 10), None], kind="Polygon")
    assert outline_mask(path, GRID).sum() == 25
    assert "2 outlines" in caplog.text
    path = write(tmp_path / f"none{suffix}", [None], kind="Polygon")
    with pytest.raises(GlacierError, match="none of its 1 features has a polygon"):
        outline_mask(path, GRID)


def test_empty_polygons_and_collections(tmp_path):
    collection = shapely.GeometryCollection(
        [shapely.MultiPolygon([pixels(5, 5, 10, 10)]), pixels(20, 5, 22, 10)]
    )
    path = write(tmp_path / "ice.geojson", [shapely.Polygon(), collection], kind="Unknown")
    assert outline_mask(path, GRID).sum() == 35


def test_metres_that_call_themselves_degrees_are_one_line(tmp_path):
    ice = pixels(5, 5, 10, 10)
    content = {"type": "FeatureCollection", "features": []}
    feature = {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(ice)}
    (tmp_path / "ice.geojson").write_text(json.dumps(content | {"features": [feature]}))
    with pytest.raises(GlacierError, match=r"outside \+-180"):
        outline_mask(str(tmp_path / "ice.geojson"), GRID)
    path = tmp_path / "ice.shp"
    write(path, [ice])
    path.with_suffix(".prj").unlink()
    with pytest.raises(GlacierError, match="has no CRS, but coordinates up to 600315"):
        outline_mask(str(path), GRID)
    write(tmp_path / "degrees.shp", [degrees(ice)], crs="EPSG:4326")
    (tmp_path / "degrees.prj").unlink()
    assert outline_mask(str(tmp_path / "degrees.shp"), GRID).sum() == 25


def test_what_is_no_outline_file_is_one_line(tmp_path):
    (tmp_path / "ice.geojson").write_text('{"type": "Feature"}')
    (tmp_path / "ice.gpkg").write_text("nothing")
    far = write(tmp_path / "far.gpkg", [pixels(900, 5, 910, 10)])
    for source, told in (
        (tmp_path / "ice.geojson", "cannot be read"),
        (tmp_path / "ice.gpkg", "cannot be read"),
        (tmp_path / "missing.gpkg", "cannot be read"),
        (f"{tmp_path / 'missing.gpkg'}:RGI60-14.1", "cannot be read"),
        (far, "does not touch the scenes"),
        (f"{far}:RGI60-14.00000", "does not touch the scenes"),
    ):
        with pytest.raises(GlacierError, match=told) as error:
            outline_mask(str(source), GRID)
        assert "\n" not in str(error.value)


def test_a_grid_across_the_antimeridian(tmp_path):
    grid = make_grid((179.9, 65.0, 180.1, 65.1), 60, 30)
    both = [shapely.box(179.95, 65.04, 180, 65.06), shapely.box(-180, 65.04, -179.95, 65.06)]
    far = shapely.box(10, 65.04, 11, 65.06)
    path = write(tmp_path / "ice.gpkg", [*both, far], crs="EPSG:4326")
    assert len(read_polygons(path, grid)) == 2
    width = 0.1 * 111320 * np.cos(np.radians(65.05))
    assert outline_mask(path, grid).sum() * 3600 == pytest.approx(width * 0.02 * 111400, rel=0.02)


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".geojson"])
def test_a_region_of_4000_outlines_is_read_by_its_box(tmp_path, suffix):
    """All but three lie elsewhere; under two seconds of one core, whatever the format."""
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    circle = 0.005 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    rng = np.random.default_rng(0)
    middles = rng.uniform((70, 20), (75, 30), (4000, 2))
    middles[[5, 500, 3999]] = degrees(pixels(10, 10, 70, 50)).centroid.coords[0]
    path = write(
        tmp_path / f"region{suffix}",
        [shapely.Polygon(middle + circle) for middle in middles],
        crs="EPSG:4326",
    )
    start = time.process_time()
    assert len(read_polygons(path, GRID)) == 3
    assert time.process_time() - start < 2


# ── Real outlines ────────────────────────────────────────────────────────────────────────────────────────────────


def test_areas_of_real_outlines_are_those_of_their_inventory(real):
    """RGI 6 in 3-D with 140 nunataks, and RGI 7; pixel by pixel to 1 %."""
    for name, column, unit in (
        ("RGI60-01.10689.shp", "Area", 1e6),
        ("rgi7g_hef.shp", "area_km2", 1e6),
    ):
        meta, _, content, columns = pyogrio.raw.read(real / name)
        west, south, east, north = shapely.total_bounds(shapely.from_wkb(content))
        grid = make_grid((west - 0.01, south - 0.01, east + 0.01, north + 0.01), 30, 15)
        listed = float(dict(zip(meta["fields"], columns, strict=True))[column][0]) * unit
        assert outline_mask(str(real / name), grid).sum() * 900 == pytest.approx(listed, rel=0.01)


def test_one_glacier_of_a_real_geopackage(real):
    path = real / "17_rgi60_glacier_outlines.gpkg"
    every = outline_mask(str(path), EXPLORADORES)
    meta, _, _, columns = pyogrio.raw.read(path, read_geometry=False)
    fields = dict(zip(meta["fields"], columns, strict=True))
    largest = int(np.argmax(fields["Area"].astype(float)))
    one = outline_mask(f"{path}:{fields['RGIId'][largest]}", EXPLORADORES)
    assert one.sum() < every.sum()
    assert one.sum() * 1e4 == pytest.approx(float(fields["Area"][largest]) * 1e6, rel=0.02)


def test_real_intersects_are_lines(real):
    with pytest.raises(GlacierError, match="holds lines"):
        outline_mask(str(real / "rgi7g_hef_intersects.shp"), EXPLORADORES)
