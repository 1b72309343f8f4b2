"""One truth in the dialects of five archives, north and south of the equator: the same reflectance, pixel by pixel.

The dialects follow what the archives answer: the Planetary Computer (../shared/data/planetaryComputer), Earth Search v0
and v1 (its items name an offset of -0.1 beside the flag that it was applied; the flag is the truth), the Copernicus
Data Space (STAC 1.1, JPEG names of all pixel sizes, s3:// with an https alternate), and a catalogue that tells nothing
but ids and places.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from archives import box_around
from rasterio.warp import transform_bounds

import config
import dataAPI
from config import Config
from demo.cog_server import CogServer
from glacier.satellites import sensors
from glacier.scenes import read_grid

SIDE = 48
SITES = {
    "north": ("EPSG:32643", (500_040.0, 3_550_020.0)),
    "south": ("EPSG:32718", (650_040.0, 4_800_020.0)),
}
COMMON = {key: band for band, key in sensors.find("sentinel-2").bands.items()}
# pixel size of each band: of these all are 10 m in the truth, so that every pixel can be compared
BANDS = ("B02", "B03", "B04", "B08", "B8A", "B11", "B12")
PRODUCT = "S2A_MSIL2A_20230501T053641_N{baseline}_R005_T43SFR_20230501T093000"


def truth_of(band: str) -> np.ndarray:
    """Return the true reflectance of a band, (SIDE, SIDE), from dark water to bright snow, in steps of 1e-4."""
    rng = np.random.default_rng(list(band.encode()))
    return rng.integers(50, 9000, (SIDE, SIDE)) / 1e4


def numbers_of(band: str, applied: bool) -> np.ndarray:
    """Return the digital numbers of a band: with ESA's 1000 on top, or with the offset applied."""
    return np.rint(truth_of(band) * 1e4 + (0 if applied else 1000)).astype(np.uint16)


class Truth:
    """An archive of one scene, in a folder and behind a web server."""

    def __init__(self, folder: Path, address: str, site: str):
        self.folder, self.address = folder, address
        self.crs, self.corner = SITES[site]

    def transform(self, size: float = 10.0) -> list[float]:
        return [size, 0, self.corner[0], 0, -size, self.corner[1]]

    def write(self, name: str, values: np.ndarray, size: float = 10.0) -> str:
        """Write a file; return its address on the web."""
        path = self.folder / name
        with rasterio.open(
            path,
            "w",
            driver="COG",
            dtype=values.dtype,
            count=1,
            crs=self.crs,
            height=values.shape[0],
            width=values.shape[1],
            transform=rasterio.Affine(*self.transform(size)),
            nodata=0,
        ) as file:
            file.write(values[None])
        return f"{self.address}/{name}"

    def classes(self, name: str) -> str:
        return self.write(name, np.full((SIDE // 2, SIDE // 2), 11, np.uint8), 20.0)

    @property
    def box(self) -> tuple[float, ...]:
        left, top = self.corner
        bounds = left, top - 10 * SIDE, left + 10 * SIDE, top
        return transform_bounds(self.crs, "EPSG:4326", *bounds)

    def item(self, name: str, collection: str, properties: dict, assets: dict, **members) -> dict:
        when = {"datetime": "2023-05-01T05:36:41.024Z"}
        plain = {"type": "Feature", "id": name, "collection": collection, "links": []}
        plain |= {"bbox": list(self.box), "geometry": None, "stac_version": "1.0.0"}
        return plain | {"properties": when | properties, "assets": assets} | members


def planetary_computer(truth: Truth) -> dict:
    assets = {}
    for band in BANDS:
        href = truth.write(f"T43SFR_{band}_10m.tif", numbers_of(band, applied=False))
        bands = [
            {
                "name": band,
                "common_name": {"nir": "nir", "nir08": "rededge"}.get(COMMON[band], COMMON[band]),
            }
        ]
        assets[band] = {
            "href": href,
            "eo:bands": bands,
            "proj:transform": truth.transform(),
            "gsd": 10.0,
        }
    assets["SCL"] = {"href": truth.classes("SCL.tif"), "proj:transform": truth.transform(20.0)}
    assets["visual"] = {"href": "https://example.com/TCI.tif", "eo:bands": [{}, {}, {}]}
    properties = {
        "platform": "Sentinel-2A",
        "eo:cloud_cover": 0.2,
        "proj:epsg": int(truth.crs[5:]),
        "s2:processing_baseline": "05.10",
        "s2:mgrs_tile": "43SFR",
    }
    return truth.item(
        "S2A_MSIL2A_20230501T053641_R005_T43SFR_20230501", "sentinel-2-l2a", properties, assets
    )


def earth_search_v0(truth: Truth) -> dict:
    assets = {}
    for band in BANDS:
        href = truth.write(f"{band}.tif", numbers_of(band, applied=True))
        bands = [{"name": band, "common_name": COMMON[band]}]
        transform = [*truth.transform(), 0, 0, 1]
        assets[band] = {"href": href, "eo:bands": bands, "proj:transform": transform}
    assets["SCL"] = {"href": truth.classes("SCL.tif")}
    assets["overview"] = {
        "href": "https://example.com/L2A_PVI.tif",
        "eo:bands": [{"common_name": "green"}] * 3,
    }
    properties = {
        "platform": "sentinel-2a",
        "eo:cloud_cover": 0.2,
        "proj:epsg": int(truth.crs[5:]),
        "sentinel:processing_baseline": "05.09",
        "sentinel:boa_offset_applied": True,
        "sentinel:product_id": PRODUCT.format(baseline="0509"),
    }
    members = {"stac_version": "1.0.0-beta.2"}
    return truth.item(
        "S2A_43SFR_20230501_0_L2A", "sentinel-s2-l2a-cogs", properties, assets, **members
    )


def earth_search_v1(truth: Truth) -> dict:
    raster = [{"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}]
    assets = {}
    for band in BANDS:
        href = truth.write(f"{COMMON[band]}.tif", numbers_of(band, applied=True))
        bands = [{"name": COMMON[band], "common_name": COMMON[band]}]
        assets[f"{COMMON[band]}-jp2"] = {
            "href": f"s3://sentinel-s2-l2a/{band}.jp2",
            "eo:bands": bands,
        }
        assets[COMMON[band]] = {
            "href": href,
            "eo:bands": bands,
            "raster:bands": raster,
            "proj:transform": truth.transform(),
        }
    assets["scl"] = {"href": truth.classes("scl.tif"), "raster:bands": [{"nodata": 0}]}
    assets["thumbnail"] = {"href": "https://example.com/thumbnail.jpg", "roles": ["thumbnail"]}
    properties = {
        "platform": "sentinel-2a",
        "eo:cloud_cover": 0.2,
        "proj:epsg": int(truth.crs[5:]),
        "s2:processing_baseline": "05.09",
        "earthsearch:boa_offset_applied": True,
    }
    return truth.item("S2A_43SFR_20230501_0_L2A", "sentinel-2-l2a", properties, assets)


def copernicus(truth: Truth) -> dict:
    assets = {}
    for band in BANDS:
        for size in (20, 10, 60):
            values = numbers_of(band, applied=False)[:: size // 10, :: size // 10].copy()
            name = f"T43SFR_{band}_{size}m.tif"
            https = {"href": truth.write(name, values, float(size)), "auth:refs": ["oidc"]}
            assets[f"{band}_{size}m"] = {
                "href": f"s3://eodata/Sentinel-2/{name}",
                "alternate": {"https": https},
                "bands": [{"name": band, "eo:common_name": COMMON[band]}],
                "raster:scale": 0.0001,
                "raster:offset": -0.1,
                "nodata": 0,
                "gsd": size,
                "proj:transform": truth.transform(float(size)),
            }
    https = {"href": truth.classes("T43SFR_SCL_20m.tif")}
    assets["SCL_20m"] = {
        "href": "s3://eodata/SCL_20m.jp2",
        "alternate": {"https": https},
        "gsd": 20,
    }
    assets["TCI_10m"] = {
        "href": "s3://eodata/TCI_10m.jp2",
        "bands": [{}, {}, {}],
        "roles": ["visual"],
    }
    properties = {
        "platform": "sentinel-2a",
        "eo:cloud_cover": None,
        "proj:code": truth.crs,
        "processing:version": "05.11",
        "grid:code": "MGRS-43SFR",
    }
    name = PRODUCT.format(baseline="0511")
    return truth.item(name, "sentinel-2-l2a", properties, assets, stac_version="1.1.0")


def bare(truth: Truth) -> dict:
    assets = {
        band: {"href": truth.write(f"{band}.tif", numbers_of(band, applied=False))}
        for band in BANDS
    }
    assets["SCL"] = {"href": truth.classes("SCL.tif")}
    west, south, east, north = truth.box
    members = {"bbox": [west, south, 0.0, east, north, 5000.0]}
    properties = {"datetime": "2023-05-01T05:36:41"}
    return truth.item(PRODUCT.format(baseline="0509"), "tiles", properties, assets, **members)


DIALECTS = {
    "planetary-computer": planetary_computer,
    "earth-search-v0": earth_search_v0,
    "earth-search-v1": earth_search_v1,
    "copernicus": copernicus,
    "bare": bare,
}


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_same_truth_in_every_dialect(tmp_path, monkeypatch, dialect, site):
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(dataAPI, "describe", lambda *arguments: [])  # no pictures here
    (tmp_path / "web").mkdir()
    with CogServer(tmp_path / "web") as server:
        truth = Truth(tmp_path / "web", server.address, site)
        saved = {"type": "FeatureCollection", "features": [DIALECTS[dialect](truth)]}
        source = tmp_path / "saved.json"
        source.write_text(json.dumps(saved))
        left, top = truth.corner
        cfg = config.load(
            Config,
            [],
            name="truth",
            source=str(source),
            boundingBox=box_around(truth.crs, left, top, 10 * SIDE, 10 * SIDE),
            sensor="sentinel-2",
            years=[2023, 2023],
            maxMissingFraction=1.0,
            pixelSize=10.0,
        )
        assert dataAPI.run(cfg) == 0
    grid = read_grid(cfg)
    (scene,) = dataAPI.read_scenes(cfg)
    column, row = ~rasterio.Affine(*truth.transform()) @ (grid.transform[2], grid.transform[5])
    rows = slice(round(row), round(row) + grid.shape[0])
    columns = slice(round(column), round(column) + grid.shape[1])
    assert (grid.crs, scene.platform, str(scene.date)) == (truth.crs, "sentinel-2a", "2023-05-01")
    assert scene.bands == tuple(
        COMMON[band] for band in ("B02", "B03", "B04", "B8A", "B11", "B12", "B08")
    )
    assert not scene.resampled
    assert not scene.mask.any()
    for band in BANDS:
        expected = truth_of(band)[rows, columns]
        assert np.abs(scene.reflectance(COMMON[band]) - expected).max() < 1e-6
