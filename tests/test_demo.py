"""The demo's archive says what it claims to be: known shifts, known motion, honest quality bits."""

import hashlib
import json

import numpy as np
import pytest
import rasterio
from rasterio import features, warp
from scipy import ndimage

import config
from demo import makeGlacier
from demo.landscape import BANDS, PIXEL_SIZE
from demo.makeGlacier import CRS, make_glacier, read_truth
from demo.scene import CLEAR, CLOUD, DILATED, FILL, OFFSET, SCALE, SNOW

SMALL = {"size": 96, "years": (2018, 2020), "scenes_per_year": 12, "seed": 3}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("glacier")
    make_glacier(folder, **SMALL)
    return folder


@pytest.fixture(scope="module")
def clear_archive(tmp_path_factory):
    """Cloudless Septembers, a year apart."""
    folder = tmp_path_factory.mktemp("clear")
    make_glacier(
        folder,
        size=128,
        years=(2016, 2020),
        scenes_per_year=11,
        cloudiness=0,
        max_velocity=100,
        seed=5,
    )
    return folder


def read(folder, scene_id, name):
    with rasterio.open(folder / scene_id / f"{name}.tif") as file:
        return file.read(1)


def reflectance(folder, scene_id, band):
    return (read(folder, scene_id, band) * SCALE + OFFSET).astype(np.float32)


def ndsi(folder, scene_id):
    green, swir16 = (reflectance(folder, scene_id, band) for band in ("green", "swir16"))
    return (green - swir16) / (green + swir16)


def structure(image):
    """Return the image without its broad brightness, at unit local contrast."""
    detail = ndimage.gaussian_filter(image, 0.7) - ndimage.gaussian_filter(image, 4)
    return detail / (np.sqrt(ndimage.gaussian_filter(detail**2, 6)) + 0.01)


def find_shift(first, second, where):
    """Return the shift (dx, dy) [px] of `second` against `first` by least squares over the pixels `where`."""
    reference, shift = structure(first), np.zeros(2)
    for _ in range(6):
        moved = structure(ndimage.shift(second, (-shift[1], -shift[0]), order=3, mode="nearest"))
        down, right = np.gradient(moved)
        residual = (moved - reference)[where]
        weight = 1 / (1 + (residual / 0.5) ** 2)
        slopes = np.stack([right[where], down[where]], axis=1)
        shift -= np.linalg.lstsq(slopes * weight[:, None], residual * weight, rcond=None)[0]
    return shift


def same_season_pairs(truth, month):
    """Return pairs of scenes of that month, one or two years apart and at most 10 days of the year."""
    place = [(index, day) for index, day in enumerate(truth.dates) if day.month == month]
    return [
        (i, j)
        for i, first in place
        for j, second in place
        if 1 <= second.year - first.year <= 2 and abs((second - first).days % 365.25 - 183) > 173
    ]


def away_from(mask, distance):
    """Return the pixels at least `distance` from the mask and from the border."""
    far = ~ndimage.binary_dilation(mask, iterations=distance)
    far[:distance], far[-distance:], far[:, :distance], far[:, -distance:] = (
        False,
        False,
        False,
        False,
    )
    return far


def test_same_seed_same_bytes(archive, tmp_path):
    def fingerprints(folder):
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*")
            if path.is_file()
        }

    make_glacier(tmp_path, **SMALL)
    assert fingerprints(tmp_path) == fingerprints(archive)


def test_known_shift_is_found_on_stable_ground(clear_archive):
    truth = read_truth(clear_archive)
    ground = away_from(truth.ice, 8)
    errors = []
    for i, j in same_season_pairs(truth, 9):
        first, second = (reflectance(clear_archive, truth.ids[index], "nir08") for index in (i, j))
        expected = truth.misregistration[j] - truth.misregistration[i]
        errors.append(np.hypot(*(find_shift(first, second, ground) - expected)))
    assert np.median(errors) < 0.05


def test_ice_moves_by_the_velocity(clear_archive):
    """Between two Septembers the middle of the glacier is displaced by velocity x time, plus the known shift."""
    truth = read_truth(clear_archive)
    speed = np.hypot(*truth.velocity)
    core = (speed > 0.85 * speed.max()) & away_from(~truth.ice, 4)
    ratios = []
    for i, j in same_season_pairs(truth, 9):
        years = (truth.dates[j] - truth.dates[i]).days / 365.25
        flow = truth.velocity[:, core].mean(1) * years / PIXEL_SIZE * (1, -1)
        expected = flow + truth.misregistration[j] - truth.misregistration[i]
        first, second = (reflectance(clear_archive, truth.ids[index], "green") for index in (i, j))
        coarse = np.rint(expected)
        second = np.roll(second, tuple(-coarse[::-1].astype(int)), axis=(0, 1))
        ratios.append(
            np.hypot(*(coarse + find_shift(first, second, core) - expected)) / np.hypot(*flow)
        )
    assert speed.max() == pytest.approx(100, rel=0.02)
    assert np.median(ratios) < 0.05


def test_quality_bits_tell_what_is_there(archive):
    truth = read_truth(archive)
    assert 0.2 < (truth.cloud_fraction < 0.2).mean() < 0.8
    for scene_id, fraction in zip(truth.ids, truth.cloud_fraction, strict=True):
        bits = read(archive, scene_id, "qa_pixel")
        empty, cloud, snow = bits == FILL, bits & CLOUD > 0, bits & SNOW > 0
        assert cloud[~empty].mean() == pytest.approx(fraction, abs=1e-4)
        np.testing.assert_array_equal(read(archive, scene_id, "green") == 0, empty)
        np.testing.assert_array_equal(bits & CLEAR > 0, ~empty & ~cloud & (bits & DILATED == 0))
        if fraction < 0.2 and snow.any():
            assert np.median(ndsi(archive, scene_id)[snow]) > 0.5
        if fraction > 0.2:
            assert abs(np.median(ndsi(archive, scene_id)[cloud])) < 0.2


def test_snow_comes_and_goes(clear_archive):
    truth = read_truth(clear_archive)
    covered = {
        month: np.mean(
            [
                (read(clear_archive, name, "qa_pixel") & SNOW > 0).mean()
                for name, day in zip(truth.ids, truth.dates, strict=True)
                if day.month == month
            ]
        )
        for month in (3, 9)
    }
    assert covered[3] > 0.75
    assert covered[9] < 0.6


def test_catalogue_and_outline_agree_with_the_rasters(archive):
    truth = read_truth(archive)
    collection = json.loads((archive / "collection.json").read_text())
    items = [link["href"] for link in collection["links"] if link["rel"] == "item"]
    assert len(items) == len(truth.ids) == 36 + 1
    item = json.loads((archive / items[0]).read_text())
    assert set(item["assets"]) == {*BANDS, "qa_pixel", "qa_radsat"}
    with rasterio.open((archive / items[0]).parent / item["assets"]["green"]["href"]) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert item["properties"]["proj:epsg"] == file.crs.to_epsg()
        assert tuple(item["properties"]["proj:transform"]) == tuple(file.transform)[:6]
        assert (file.transform.c % PIXEL_SIZE, file.transform.f % PIXEL_SIZE) == (15, 15)
        west, south, east, north = warp.transform_bounds("EPSG:4326", file.crs, *truth.bounding_box)
        assert file.bounds.left < west < east < file.bounds.right
        assert file.bounds.bottom < south < north < file.bounds.top
        assert east - west == pytest.approx(96 * PIXEL_SIZE, abs=30)

    outline = json.loads((archive / "truth" / "ice.geojson").read_text())
    shapes = [
        warp.transform_geom("EPSG:4326", CRS, feature["geometry"])
        for feature in outline["features"]
    ]
    drawn = features.rasterize(shapes, truth.ice.shape, transform=truth.transform)
    assert (drawn.astype(bool) == truth.ice).mean() > 0.999


def test_command_makes_a_glacier_once_and_leaves_others_alone(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    caplog.set_level("INFO")
    tiny = ["--name=tiny", "--size=64", "--years=2018,2018", "--scenesPerYear=2"]
    for _ in range(2):
        assert makeGlacier.run(config.load(makeGlacier.Settings, tiny)) == 0
    assert "up to date" in caplog.text
    cfg = config.load(config.Config, ["--name=tiny"])
    archive = cfg.folder / "archive"
    assert cfg.source == str(archive / "catalog.json")
    assert cfg.boundingBox == read_truth(archive).bounding_box

    (cfg.folder / "glacier.yaml").write_text("source: planetary-computer\n")
    with pytest.raises(config.GlacierError, match="another glacier"):
        makeGlacier.run(config.load(makeGlacier.Settings, tiny))
