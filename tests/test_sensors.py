"""Bands, scaling and quality bits, on real numbers where they are at hand."""

import json

import numpy as np
import pytest

import config
from glacier.satellites import scaling, sensors
from glacier.satellites.sensors import CIRRUS, CLOUD, FILL, SATURATED, SHADOW

DATA = config.ROOT.parent / "shared" / "data"
GREENLAND = "LC08_L2SP_005009_20150710_20200908_02_T2"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA}")
COMMON_NAMES = {
    "nir08": {"nir08", "nir", "rededge", None}
}  # what the collections call this band differs


def read_band(scene: str, band: str) -> np.ndarray:
    rasterio = pytest.importorskip("rasterio")
    with rasterio.open(DATA / "landsatC2L2" / f"{scene}_{band}.TIF") as file:
        return file.read(1)


def masked(mask, *layers) -> list[int]:
    return mask(*(np.array([layer]) for layer in layers))[0].tolist()


@needs_data
def test_real_snow_has_the_snow_index_of_snow_and_is_not_masked():
    """Greenland's ice sheet: NDSI 0.92 on reflectance, far less on digital numbers; snow flags mask nothing."""
    qa = read_band(GREENLAND, "QA_PIXEL")
    sensor = sensors.find("landsat-8-9")
    mask = sensor.mask(qa, read_band(GREENLAND, "QA_RADSAT"))
    dn = np.stack([read_band(GREENLAND, "SR_B3"), read_band(GREENLAND, "SR_B6")])
    green, swir16 = sensors.reflectance(dn, mask, sensor.scale, sensor.offset)
    index = (green - swir16) / (green + swir16)
    clear_snow = (qa & 1 << 5 > 0) & (qa & 0b11111 == 0)
    assert clear_snow.sum() > 50_000
    assert not mask[clear_snow].any()
    assert np.median(index[clear_snow]) == pytest.approx(0.92, abs=0.02)
    plain = (dn[0].astype(float) - dn[1]) / np.maximum(dn[0].astype(float) + dn[1], 1)
    assert np.median(plain[clear_snow]) < 0.7
    assert np.isnan(green[qa & 1 > 0]).all()


@needs_data
def test_real_overcast_scene_is_masked():
    """A scene the archive calls 100 % cloudy has no clear pixel."""
    scene = "LC08_L2SP_017036_20130419_20200913_02_T2"
    mask = sensors.find("landsat-8-9").mask(
        read_band(scene, "QA_PIXEL"), read_band(scene, "QA_RADSAT")
    )
    assert (mask != 0).mean() == 1
    assert (mask & CLOUD > 0).sum() == 176_015


@needs_data
@pytest.mark.parametrize("name", sensors.SENSORS)
def test_the_real_collections_have_every_band_under_its_common_name(name):
    sensor = sensors.find(name)
    path = DATA / "planetaryComputer" / f"collection_{sensor.collection}_20250731.json"
    collection = json.loads(path.read_text())
    assets = collection["item_assets"]
    assert set(sensor.quality) <= set(assets)
    for band, key in sensor.bands.items():
        told = (assets[key].get("eo:bands") or [{}])[0].get("common_name")
        assert told in COMMON_NAMES.get(band, {band}), f"{key} is {told}, not {band}"
    platforms = {
        platform.lower().replace(" ", "-") for platform in collection["summaries"]["platform"]
    }
    assert set(sensor.platforms) & platforms


@pytest.mark.parametrize(
    ("name", "layers", "expected"),
    [
        (
            "landsat-8-9",
            ([1, 2, 4, 8, 16, 32, 64, 64, 64], [0] * 6 + [1 << 2, 1 << 5, 1 << 4]),
            [FILL, CLOUD, CIRRUS, CLOUD, SHADOW, 0, SATURATED, SATURATED, 0],
        ),
        (
            "landsat-4-5-7",
            ([1, 2, 4, 8, 16, 32, 64, 64, 64, 64], [0] * 6 + [1 << 1, 1 << 4, 1 << 5, 1 << 9]),
            [FILL, CLOUD, 0, CLOUD, SHADOW, 0, SATURATED, SATURATED, 0, FILL],
        ),
        (
            "sentinel-2",
            (list(range(12)),),
            [FILL, SATURATED, 0, SHADOW, 0, 0, 0, 0, CLOUD, CLOUD, CIRRUS, 0],
        ),
        (
            "hls-landsat",
            ([255, 1, 2, 4, 8, 16, 32, 64],),
            [FILL, CIRRUS, CLOUD, CLOUD, SHADOW, 0, 0, 0],
        ),
    ],
)
def test_quality_bits(name, layers, expected):
    """Every class of the product guides, one by one; snow, water and aerosol mask nothing."""
    kinds = np.uint16 if name.startswith("landsat") else np.uint8
    assert (
        masked(sensors.find(name).mask, *(np.array(layer, kinds) for layer in layers)) == expected
    )


def test_quality_without_the_saturation_file():
    assert masked(sensors.oli_mask, np.array([1, 64], np.uint16)) == [FILL, 0]
    assert masked(sensors.tm_mask, np.array([1, 64], np.uint16)) == [FILL, 0]


def kept_reflectance(numbers: np.ndarray, sensor: sensors.Sensor, statement) -> np.ndarray:
    """Return the reflectance of an archive's numbers after they are kept as ours, NaN where missing."""
    missing = numbers == sensor.nodata
    dn = scaling.stored(numbers, missing, statement, sensor.scale, sensor.offset)
    assert dn.dtype == np.uint16
    clear = np.zeros(numbers.shape, np.uint8)
    return sensors.reflectance(dn, clear, sensor.scale, sensor.offset)


@pytest.mark.parametrize(
    ("baseline", "major", "minor"),
    [
        ("02.14", 2, 14),
        ("2.14", 2, 14),
        (2.12, 2, 12),
        ("N0214", 2, 14),
        ("0510", 5, 10),
        ("V05.11", 5, 11),
        ("04.00", 4, 0),
        (4, 4, 0),
        (4.0, 4, 0),
        ("05.11.1", 5, 11),
        (" 03.01 ", 3, 1),
    ],
)
def test_processing_baselines_are_numbers_however_they_are_spelled(baseline, major, minor):
    assert scaling.parse_baseline(baseline) == (major, minor)


@pytest.mark.parametrize(
    "baseline", [None, "", "unknown", True, "5.x", [5], "N05110", float("nan")]
)
def test_what_is_no_baseline_tells_nothing(baseline):
    assert scaling.parse_baseline(baseline) is None


def test_numbers_of_another_scale_keep_their_reflectance_to_half_a_step():
    sensor = sensors.find("landsat-8-9")
    numbers = np.array([[0, 500, 5000, 15000]], np.int16)
    values = kept_reflectance(numbers, sensor, scaling.Statement(1e-4, 0.0, "item"))
    assert np.isnan(values[0, 0])
    assert values[0, 1:] == pytest.approx([0.05, 0.5, 1.5], abs=1.4e-5)


@pytest.mark.parametrize(
    ("numbers", "share"),
    [
        ([9000, 9000, 9000, 65535], 0.0),  # one saturated pixel
        (
            [65535, 65535, 65535, 9000],
            0.75,
        ),  # hardly anything else: not saturated, but scaled wrongly
        ([9000, 5000, 9000, 9000], 0.25),  # -0.0625
        ([9000, 65500, 9000, 9000], 0.25),  # 1.601
        ([0, 0, 9000, 9000], 0.0),
    ],
)
def test_share_of_numbers_that_no_ground_reflects(numbers, share):
    sensor = sensors.find("landsat-8-9")
    dn = np.array([[numbers], [[9000] * 4]], np.uint16)
    clear = np.ones((1, 4), bool)
    assert scaling.implausible_share(dn, clear, sensor.scale, sensor.offset) == share


def test_hls_numbers_below_zero_survive():
    sensor = sensors.find("hls-sentinel")
    numbers = np.array([[-9999, -200, 0, 8000]], np.int16)
    manual = scaling.Statement(sensor.scale, sensor.archive_offset, "manual")
    values = kept_reflectance(numbers, sensor, manual)
    assert np.isnan(values[0, 0])
    assert values[0, 1:] == pytest.approx([-0.02, 0, 0.8], abs=1e-6)


def test_classes_that_no_manual_knows_are_missing():
    assert masked(sensors.sentinel_mask, np.array([12, 300, 4], np.uint16)) == [FILL, FILL, 0]


def test_unknown_sensor_names_the_known_ones():
    with pytest.raises(
        config.GlacierError, match=r"landsat-8-9, landsat-4-5-7, .*did you mean sentinel-2\?"
    ):
        sensors.find("sentinel2")


def test_every_sensor_sees_snow():
    """Green and swir16, which the snow index needs, and all of red, green, blue."""
    for sensor in sensors.SENSORS.values():
        assert {"green", "swir16", "red", "blue"} <= set(sensor.bands)
