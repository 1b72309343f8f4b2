"""What each satellite's bands, scaling and quality bits mean: one row a sensor, and pure functions.

Mask bits, alike for all sensors: FILL nothing was measured, CLOUD (with its dilated edge), SHADOW of a cloud, CIRRUS,
SATURATED in green or swir16. Snow is never masked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from config import GlacierError, nearest

FILL, CLOUD, SHADOW, CIRRUS, SATURATED = 1, 2, 4, 8, 16


# ── Quality: from each archive's own classes to the mask bits above ──────────────────────────────────────────────


def landsat_mask(qa_pixel: np.ndarray, qa_radsat: np.ndarray | None, saturated: int) -> np.ndarray:
    """Return the mask bits (H, W) uint8 of a Landsat Collection 2 Level-2 scene.

    qa_pixel : (H, W) uint16; bit 0 fill, 1 dilated cloud, 2 cirrus, 3 cloud, 4 cloud shadow (5 is snow, not masked).
    qa_radsat : (H, W) uint16 or None; bit n - 1 tells that band n is saturated, bit 9 that the pixel was dropped.
    saturated : the bits of green and swir16 in qa_radsat.
    USGS LSDS-1619 and LSDS-1618, Landsat 8-9 and 4-7 Collection 2 Level 2 Science Product Guides, quality tables.
    """
    mask = np.zeros(qa_pixel.shape, np.uint8)
    mask[qa_pixel & 1 > 0] |= FILL
    mask[qa_pixel & (1 << 1 | 1 << 3) > 0] |= CLOUD
    mask[qa_pixel & 1 << 4 > 0] |= SHADOW
    mask[qa_pixel & 1 << 2 > 0] |= CIRRUS
    if qa_radsat is not None:
        mask[qa_radsat & saturated > 0] |= SATURATED
    return mask


def oli_mask(qa_pixel: np.ndarray, qa_radsat: np.ndarray | None = None) -> np.ndarray:
    """Return the mask bits of a Landsat 8-9 scene: green is band 3, swir16 band 6."""
    return landsat_mask(qa_pixel, qa_radsat, 1 << 2 | 1 << 5)


def tm_mask(qa_pixel: np.ndarray, qa_radsat: np.ndarray | None = None) -> np.ndarray:
    """Return the mask bits of a Landsat 4, 5 or 7 scene: green is band 2, swir16 band 5, dropped pixels are fill.

    The gaps of Landsat 7 since its scan-line corrector failed on 2003-05-31 are fill in qa_pixel. Bit 2 of qa_pixel
    is unused: these satellites see no cirrus. USGS LSDS-1618.
    """
    mask = landsat_mask(qa_pixel & np.uint16(~(1 << 2) & 0xFFFF), qa_radsat, 1 << 1 | 1 << 4)
    if qa_radsat is not None:
        mask[qa_radsat & 1 << 9 > 0] |= FILL
    return mask


def sentinel_mask(scl: np.ndarray) -> np.ndarray:
    """Return the mask bits (H, W) uint8 of a Sentinel-2 Level-2A scene.

    scl : (H, W) uint8 classes: 0 no data, 1 saturated or defective, 3 cloud shadow, 8 and 9 cloud, 10 thin cirrus;
        2 terrain in shadow, 4-7 ground, water and unclassified, 11 snow are kept.
    ESA S2-PDGS-TAS-DI-PSD, Sentinel-2 Products Specification Document, Level-2A scene classification.
    """
    table = np.zeros(256, np.uint8)
    table[[0, 1, 3, 8, 9, 10]] = FILL, SATURATED, SHADOW, CLOUD, CLOUD, CIRRUS
    table[12:] = FILL  # no class: nothing is known of the pixel
    return table[np.minimum(scl, 255)]


def hls_mask(fmask: np.ndarray) -> np.ndarray:
    """Return the mask bits (H, W) uint8 of a Harmonized Landsat Sentinel-2 scene.

    fmask : (H, W) uint8; 255 fill, bit 0 cirrus, 1 cloud, 2 next to cloud or shadow, 3 shadow (4 is snow, not masked).
    HLS Product User Guide 2.0, table 9.
    """
    mask = np.zeros(fmask.shape, np.uint8)
    mask[fmask & (1 << 1 | 1 << 2) > 0] |= CLOUD
    mask[fmask & 1 << 3 > 0] |= SHADOW
    mask[fmask & 1 > 0] |= CIRRUS
    mask[fmask == 255] = FILL
    return mask


# ── The sensors ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Sensor:
    """One row of SENSORS.

    collection : of the Planetary Computer. other_collections : its names elsewhere.
    platforms : in lower case, hyphens for blanks. bands : STAC common name -> asset key.
    scale, offset : reflectance = number * scale + offset [1] of the numbers that are kept; 0 is missing.
    archive_offset : of the archive's own numbers, where its documents fix one for all files; None: each item tells.
    nodata : the archive's number for missing.
    quality : asset key -> value outside the file, in the order `mask` takes them; only the first is needed, a missing
        one is given as None.
    pixel_size : the finest [m]. finest : the bands of that size, where others are coarser.
    anchor : the archive's pixel edges lie on multiples of it plus this [m].
    """

    collection: str
    other_collections: tuple[str, ...]
    platforms: tuple[str, ...]
    bands: dict[str, str]
    scale: float
    offset: float
    quality: dict[str, int]
    mask: Callable[..., np.ndarray]
    pixel_size: float
    anchor: float
    nodata: int = 0
    archive_offset: float | None = None
    finest: tuple[str, ...] = ()

    @property
    def collections(self) -> tuple[str, ...]:
        """All names of its collection, the Planetary Computer's first."""
        return (self.collection, *self.other_collections)


TM_BANDS = {name: name for name in ("blue", "green", "red", "nir08", "swir16", "swir22")}
OLI_BANDS = {"coastal": "coastal"} | TM_BANDS
MSI_BANDS = {
    "coastal": "B01",
    "blue": "B02",
    "green": "B03",
    "red": "B04",
    "nir08": "B8A",
    "swir16": "B11",
    "swir22": "B12",
    "nir": "B08",
}
SENTINELS = ("sentinel-2a", "sentinel-2b", "sentinel-2c")
LANDSAT: dict[str, Any] = {
    "collection": "landsat-c2-l2",
    "other_collections": ("landsat-c2l2-sr",),
    "scale": 2.75e-05,
    "offset": -0.2,
    "archive_offset": -0.2,
    "quality": {"qa_pixel": 1, "qa_radsat": 0},
    "pixel_size": 30.0,
    "anchor": 15.0,
}
HLS: dict[str, Any] = {
    "scale": 1e-4,
    "offset": -1.0,
    "nodata": -9999,
    "quality": {"Fmask": 255},
    "mask": hls_mask,
    "archive_offset": 0.0,
    "pixel_size": 30.0,
    "anchor": 0.0,
}

SENSORS = {
    "landsat-8-9": Sensor(
        platforms=("landsat-8", "landsat-9"), bands=OLI_BANDS, mask=oli_mask, **LANDSAT
    ),
    "landsat-4-5-7": Sensor(
        platforms=("landsat-4", "landsat-5", "landsat-7"), bands=TM_BANDS, mask=tm_mask, **LANDSAT
    ),
    "sentinel-2": Sensor(
        collection="sentinel-2-l2a",
        other_collections=("sentinel-2-c1-l2a", "sentinel-s2-l2a-cogs"),
        platforms=SENTINELS,
        bands=MSI_BANDS,
        scale=1e-4,
        offset=-0.1,
        quality={"SCL": 0},
        mask=sentinel_mask,
        pixel_size=10.0,
        anchor=0.0,
        finest=("blue", "green", "red", "nir"),
    ),
    "hls-landsat": Sensor(
        collection="hls2-l30",
        other_collections=("HLSL30_2.0", "HLSL30.v2.0"),
        platforms=("landsat-8", "landsat-9"),
        **HLS,
        bands={
            "coastal": "B01",
            "blue": "B02",
            "green": "B03",
            "red": "B04",
            "nir08": "B05",
            "swir16": "B06",
            "swir22": "B07",
        },
    ),
    "hls-sentinel": Sensor(
        collection="hls2-s30",
        other_collections=("HLSS30_2.0", "HLSS30.v2.0"),
        platforms=SENTINELS,
        bands=MSI_BANDS,
        **HLS,
    ),
}


def find(name: str) -> Sensor:
    """Return the row of a sensor; GlacierError with the known names if there is none."""
    if name not in SENSORS:
        raise GlacierError(
            f"unknown sensor {name!r}; known: {', '.join(SENSORS)}{nearest(name, SENSORS)}"
        )
    return SENSORS[name]


def times_finer(names: Sequence[str], band: str, pixel_size: float) -> int:
    """Return by how much finer than the common grid a band of some sensors is kept, 1 where it is not.

    names : keys of SENSORS, which must all have it. pixel_size : of the common grid [m].
    """
    rows = [find(name) for name in names]
    if not all(band in row.finest for row in rows):
        return 1
    return max(int(pixel_size // max(row.pixel_size for row in rows)), 1)


def reflectance(
    dn: np.ndarray, mask: np.ndarray, scale: float, offset: float, nodata: int = 0
) -> np.ndarray:
    """Return surface reflectance [1], float32, NaN where a mask bit is set or nothing was measured.

    dn : (..., H, W) digital numbers. mask : (H, W) bits.
    """
    return np.where(
        (mask == 0) & (dn != nodata),
        dn * np.float32(scale) + np.float32(offset),
        np.float32(np.nan),
    )
