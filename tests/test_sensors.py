"""Bands, scaling and quality bits, on real numbers where they are at hand."""

import json

import numpy as np
import pytest

import config
from glacier.satellites import sensors
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


@pytest.mark.parametrize(
    ("baseline", "number", "expected"),
    [
        ("02.14", 5000, 0.5),
        ("03.01", 5000, 0.5),
        ("04.00", 6000, 0.5),
        ("05.10", 6000, 0.5),
        ("05.11", 900, -0.01),
    ],
)
def test_sentinel_offset_goes_by_the_processing_baseline(baseline, number, expected):
    sensor = sensors.find("sentinel-2")
    dn = sensors.shifted(
        np.array([[number, 0]], np.uint16), 0, sensor.shift({"s2:processing_baseline": baseline})
    )
    values = sensors.reflectance(dn, np.zeros((1, 2), np.uint8), sensor.scale, sensor.offset)
    assert values[0, 0] == pytest.approx(expected, abs=1e-6)
    assert np.isnan(values[0, 1])


def test_hls_numbers_below_zero_survive():
    sensor = sensors.find("hls-sentinel")
    dn = sensors.shifted(
        np.array([[-9999, -200, 0, 8000]], np.int16), sensor.nodata, sensor.shift({})
    )
    assert dn.dtype == np.uint16
    values = sensors.reflectance(dn, np.zeros((1, 4), np.uint8), sensor.scale, sensor.offset)
    assert np.isnan(values[0, 0])
    assert values[0, 1:] == pytest.approx([-0.02, 0, 0.8], abs=1e-6)


def test_unknown_sensor_names_the_known_ones():
    with pytest.raises(
        config.GlacierError, match=r"landsat-8-9, landsat-4-5-7, .*did you mean sentinel-2\?"
    ):
        sensors.find("sentinel2")


def test_every_sensor_sees_snow():
    """Green and swir16, which the snow index needs, and all of red, green, blue."""
    for sensor in sensors.SENSORS.values():
        assert {"green", "swir16", "red", "blue"} <= set(sensor.bands)
