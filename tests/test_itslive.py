"""Velocities of others are read whatever their file looks like, without their no-data values."""

import json

import netCDF4
import numpy as np
import pytest
import rasterio
from conftest import ROOT
from PIL import Image
from rasterio.crs import CRS
from rasterio.warp import transform

from config import Config, GlacierError, load
from glacier.grid import Grid, make_grid
from glacier.velocity import itslive
from glacier.velocity.velocities import Field, Nodes

REAL = ROOT.parent / "shared/data/movement/itslive"
GRANULE = (
    "LT05_L1GS_219121_19841206_20200918_02_T2_X_LT05_L1GS_226120_19850124_20200918_02_T2_"
    "G0120V02_P000.nc"
)
TRANSFORM = (30.0, 0.0, 500015.0, 0.0, -30.0, 3550005.0)
NODES = Nodes.over(Grid("EPSG:32643", TRANSFORM, (64, 64)), 4)  # 16 x 16


def write(path, bands, names=None, nodata=None, crs="EPSG:32643", transform=None, dtype="float32"):
    """Write bands (B, h, w) of 120 m that begin at the grid's corner, or where `transform` says."""
    bands = np.asarray(bands)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        dtype=dtype,
        count=len(bands),
        height=bands.shape[1],
        width=bands.shape[2],
        crs=crs,
        nodata=nodata,
        transform=transform or rasterio.Affine(120, 0, 500015, 0, -120, 3550005),
    ) as file:
        file.write(bands.astype(dtype))
        if names:
            file.descriptions = names
    return str(path)


def uniform(*values):
    return [np.full((16, 16), float(value)) for value in values]


@pytest.fixture
def real():
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is not there")
    return REAL


# ── No data ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fill", [-32767, -32768, -9999e6, np.nan])
@pytest.mark.parametrize("tagged", [True, False])
def test_no_data_never_reaches_a_velocity(tmp_path, fill, tagged):
    """Holes, in each band elsewhere, beside 100 m/yr; with the file's tag and without."""
    bands = np.array(uniform(100, -50))
    bands[0, 5:8, 3:9] = fill
    bands[1, 10:12, :] = fill
    path = write(tmp_path / "v.tif", bands, ("vx", "vy"), fill if tagged else None)
    velocity = itslive.read(path, NODES)
    for part, value in zip(velocity, (100, -50), strict=True):
        assert np.isnan(part).any()
        assert np.isfinite(part).mean() > 0.7
        assert np.nanmax(np.abs(part - value)) < 1e-3


def test_a_file_whose_values_are_no_velocities_is_refused(tmp_path):
    path = write(tmp_path / "v.tif", uniform(-32767, -32767), ("vx", "vy"))
    with pytest.raises(GlacierError, match="no velocity within the scenes"):
        itslive.read(path, NODES)


def test_the_real_crop_has_its_largest_speed(real):
    nodes = Nodes.over(make_grid((-147.3, 60.95, -146.6, 61.4), 30, 15), 4)
    velocity = itslive.read(str(real / "crop_ALA_G0120_0000_vx.tif"), nodes)
    assert np.nanmax(np.hypot(*velocity)) == pytest.approx(3109, abs=2)
    assert np.isfinite(velocity[0]).mean() > 0.6


# ── Which bands ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "names",
    [
        ("vx", "vy", "v"),
        ("VX", "VY", "V"),
        ("vx [m/yr]", "vy [m/yr]", "v [m/yr]"),
        ("Vx (m a-1)", "Vy (m a-1)", "speed"),
        ("vx_m_per_yr", "vy_m_per_yr", "vx_error"),
        ("x_velocity", "y_velocity", "vx_error"),
        ("land_ice_surface_x_velocity", "land_ice_surface_y_velocity", ""),
        (None, None, None),
    ],
)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (0, 2, 1)])
def test_components_are_found_whatever_the_spelling_and_the_order(tmp_path, names, order):
    """The third band is the speed; without any names it is known as the length of the others."""
    bands = np.array(uniform(-30, 40, 50))
    path = write(tmp_path / "v.tif", bands[list(order)], [names[place] for place in order])
    velocity = itslive.read(path, NODES)
    assert velocity[:, 8, 8] == pytest.approx([-30, 40])


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("v", "v_error"), "v, v_error"),
        (("vx", "VX [m/yr]", "vy"), "VX"),
        (("vx", "vx_error"), "vx_error"),
        (("speed", None), "one without a name"),
        ((None,) * 3, "3 bands without names"),
        ((None,) * 4, "4 bands without names"),
    ],
)
def test_bands_that_are_not_clear_are_refused_with_their_names(tmp_path, names, told):
    path = write(tmp_path / "v.tif", uniform(30, 40, 60, 7)[: len(names)], names)
    with pytest.raises(GlacierError, match="not clear") as error:
        itslive.read(path, NODES)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a_vx.tif", "a_vy.tif"),
        ("a_vx.TIF", "a_vy.TIF"),
        ("A_VX.tiff", "A_VY.tiff"),
        ("vx.tif", "vy.tif"),
    ],
)
def test_a_pair_of_files_whatever_their_spelling(tmp_path, first, second):
    write(tmp_path / second, uniform(40))
    path = write(tmp_path / first, uniform(-30))
    assert itslive.read(path, NODES)[:, 8, 8] == pytest.approx([-30, 40])
    assert [file.name for file in itslive.files(path)] == [first, second]


def test_one_band_or_half_a_pair_is_one_line(tmp_path):
    with pytest.raises(GlacierError, match="has one band"):
        itslive.read(write(tmp_path / "speed.tif", uniform(30)), NODES)
    with pytest.raises(GlacierError, match="a_vy.tif cannot be read"):
        itslive.read(write(tmp_path / "a_vx.tif", uniform(30)), NODES)
    with pytest.raises(GlacierError, match="has no map projection"):
        itslive.read(write(tmp_path / "b.tif", uniform(3, 4), ("vx", "vy"), crs=None), NODES)


# ── NetCDF and Zarr ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_real_granule_is_read_and_holds_nothing(real):
    layers = itslive.find_components(str(real / GRANULE))
    assert [layer.dataset.rsplit(":", 1)[1] for layer in layers] == ["vx", "vy"]
    nodes = Nodes.over(Grid("EPSG:3031", (30, 0, -760000, 0, -30, -560000), (64, 64)), 4)
    for source in (real / GRANULE, f"netcdf:{real / GRANULE}:vx"):
        with pytest.raises(GlacierError, match="no velocity within the scenes"):
            itslive.read(str(source), nodes)


def test_a_granule_is_read_by_its_variables(tmp_path):
    path = tmp_path / "granule.nc"
    with netCDF4.Dataset(path, "w") as file:
        for name, first, step in (("y", 3549945, -120), ("x", 500075, 120)):
            file.createDimension(name, 16)
            file.createVariable(name, "f8", (name,))[:] = first + step * np.arange(16)
            file[name].standard_name = f"projection_{name}_coordinate"
            file[name].units = "m"
        mapping = file.createVariable("mapping", "i4")
        mapping.setncatts(
            {"crs_wkt": CRS.from_epsg(32643).to_wkt(), "grid_mapping_name": "transverse_mercator"}
        )
        mapping.spatial_ref = mapping.crs_wkt
        for name, value in (("v", 50), ("vx", -30), ("vy", 40), ("vx_error", 1)):
            variable = file.createVariable(name, "i2", ("y", "x"), fill_value=-32767)
            variable.grid_mapping = "mapping"
            variable[:] = value
            variable[3:6] = np.ma.masked
    for source in (str(path), f"netcdf:{path}:vx", f'NETCDF:"{path}":vx'):
        velocity = itslive.read(source, NODES)
        assert velocity[:, 8, 8] == pytest.approx([-30, 40])
        assert np.nanmax(np.hypot(*velocity)) == pytest.approx(50)
        assert itslive.files(source) == [path]


def zarr_array(path, values, dimensions, **attributes):
    path.mkdir(parents=True)
    form = {
        "zarr_format": 2,
        "shape": values.shape,
        "chunks": values.shape,
        "dtype": values.dtype.str,
        "compressor": None,
        "fill_value": attributes.pop("fill", None),
        "order": "C",
        "filters": None,
    }
    (path / ".zarray").write_text(json.dumps(form))
    (path / ".zattrs").write_text(json.dumps({"_ARRAY_DIMENSIONS": dimensions} | attributes))
    (path / (".".join("0" * values.ndim) or "0")).write_bytes(values.tobytes())


def test_a_zarr_cube_gives_its_median_over_time(tmp_path):
    cube = tmp_path / "cube.zarr"
    zarr_array(cube / "x", 500075 + 120.0 * np.arange(16), ["x"])
    zarr_array(cube / "y", 3549945 - 120.0 * np.arange(16), ["y"])
    zarr_array(cube / "mid_date", np.arange(3.0), ["mid_date"])
    wkt = CRS.from_epsg(32643).to_wkt()
    zarr_array(cube / "mapping", np.array(0, "u1"), [], crs_wkt=wkt, spatial_ref=wkt)
    (cube / ".zgroup").write_text('{"zarr_format": 2}')
    for name, value in (("vx", -30), ("vy", 40), ("v", 50)):
        times = np.full((3, 16, 16), value, "<i2")
        times[2] = 900  # one time that errs
        times[:, 4:6] = -32767
        zarr_array(cube / name, times, ["mid_date", "y", "x"], grid_mapping="mapping", fill=-32767)
    velocity = itslive.read(str(cube), NODES)
    assert velocity[:, 8, 8] == pytest.approx([-30, 40])
    assert np.nanmax(np.hypot(*velocity)) == pytest.approx(50)


def test_a_variable_of_a_file_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = load(Config, ["--itsLive=netcdf:granule.nc:vx"])
    assert cfg.itsLive == f"netcdf:{tmp_path / 'granule.nc'}:vx"
    assert load(Config, ["--itsLive=its_vx.tif"]).itsLive == str(tmp_path / "its_vx.tif")


# ── Axes and agreement ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("crs", "tolerance"), [("EPSG:32645", 0.5), ("EPSG:3413", 0.5), ("EPSG:4326", 1.5)]
)
def test_axes_are_turned_and_lengths_kept(tmp_path, crs, tolerance):
    """A velocity on the axes of another map projection comes back to those of the grid."""
    x, y = 500000 + 30 * 32, 3550000 - 30 * 32
    here, there = (
        np.array(transform("EPSG:32643", crs, [x + east], [y + north]))[:, 0]
        for east, north in ((0, 0), (80, 60))
    )
    moved = there - here
    if crs == "EPSG:4326":
        moved[0] *= np.cos(np.radians(here[1]))
    turned = moved / np.hypot(*moved) * 100
    pixel = 0.001 if crs == "EPSG:4326" else 120
    corner = rasterio.Affine(pixel, 0, here[0] - 30 * pixel, 0, -pixel, here[1] + 30 * pixel)
    for name, value in zip(("vx", "vy"), turned, strict=True):
        write(tmp_path / f"its_{name}.tif", [np.full((60, 60), value)], crs=crs, transform=corner)
    velocity = itslive.read(str(tmp_path / "its_vx.tif"), NODES)
    assert velocity[:, 8, 8] == pytest.approx([80, 60], abs=tolerance)
    assert np.hypot(*velocity[:, 8, 8]) == pytest.approx(100, abs=0.01)


def test_a_degree_of_longitude_is_shorter_far_north(tmp_path):
    """A file in longitude and latitude, on a polar grid whose axes lie across: east stays east."""
    (x,), (y,) = transform("EPSG:4326", "EPSG:3413", [-100.0], [75.0])
    nodes = Nodes.over(Grid("EPSG:3413", (30.0, 0.0, x - 960, 0.0, -30.0, y + 960), (64, 64)), 4)
    corner = rasterio.Affine(0.01, 0, -100.5, 0, -0.01, 75.5)
    wide = [np.full((100, 100), value) for value in (100.0, 0.0)]
    path = write(tmp_path / "v.tif", wide, ("vx", "vy"), crs="EPSG:4326", transform=corner)
    velocity = itslive.read(path, nodes)[:, 8, 8]
    angle = np.radians(-100.0 + 45)  # of the meridian from the grid's central one
    assert velocity == pytest.approx([100 * np.cos(angle), 100 * np.sin(angle)], abs=1)


def test_one_bad_pixel_changes_neither_the_figures_nor_the_picture(tmp_path):
    rng = np.random.default_rng(0)
    reference = np.stack([100 * rng.random((40, 40)), np.zeros((40, 40))]).astype(np.float32)
    velocity = reference + rng.normal(0, 2, reference.shape) + np.array([3, 0])[:, None, None]
    clean = itslive.agreement(velocity, reference)
    assert clean["vx_bias"] == pytest.approx(3, abs=0.3)
    assert clean["vx_nmad"] == pytest.approx(2, abs=0.2)
    assert clean["coverage"] == 1
    bad = reference.copy()
    bad[0, 3, 3] = 25000
    scores, files = itslive.compare(tmp_path / "bad", Field(velocity, velocity, velocity[0]), bad)
    assert scores["speed_bias"] == pytest.approx(clean["speed_bias"], abs=0.05)
    assert scores["speed_nmad"] == pytest.approx(clean["speed_nmad"], abs=0.05)
    assert scores["speed_rmse"] > 100
    picture = np.asarray(Image.open(files[1]).convert("L"))
    points = picture < 160
    middle = points[picture.shape[0] // 4 : -picture.shape[0] // 4]
    assert middle[:, picture.shape[1] // 4 : -picture.shape[1] // 4].sum() > 2000


def test_nothing_in_common_is_no_error(tmp_path):
    reference = np.full((2, 4, 4), np.nan, np.float32)
    reference[:, 0] = 5
    velocity = np.full((2, 4, 4), np.nan, np.float32)
    scores, files = itslive.compare(tmp_path, Field(velocity, velocity, velocity[0]), reference)
    assert scores == {"coverage": 0, "nodes": 0}
    assert [file.name for file in files] == ["itslive.json"]
