"""What each satellite's bands, scaling and quality bits mean: one row a sensor, and pure functions.

Mask bits, alike for all sensors: FILL nothing was measured, CLOUD (with its dilated edge), SHADOW of a cloud, CIRRUS,
SATURATED in green or swir16. Snow is never masked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
    return table[scl]


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


# ── Digital numbers: what is added so that one scale and offset hold for all scenes of a sensor ──────────────────


def no_shift(properties: Mapping) -> int:
    """Return 0: the archive's numbers are kept."""
    return 0


def sentinel_shift(properties: Mapping) -> int:
    """Return 1000 for processing baselines before 04.00, which lack the 1000 that later ones add to every number.

    The baseline tells, not the date: old scenes are processed again. ESA, Sentinel-2 Products Specification Document.
    """
    return 0 if str(properties.get("s2:processing_baseline", "")) >= "04.00" else 1000


def hls_shift(properties: Mapping) -> int:
    """Return 10000: numbers are signed in the archive, and kept unsigned here."""
    return 10000


# ── The sensors ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Sensor:
    """One row of SENSORS.

    platforms : in lower case, hyphens for blanks. bands : STAC common name -> asset key.
    reflectance = (archive's number + shift) * scale + offset [1]; the number `nodata` is missing, and kept as 0.
    quality : asset key -> value outside the file, in the order `mask` takes them; only the first is needed, a missing
        one is given as None.
    pixel_size : the finest [m]. anchor : the archive's pixel edges lie on multiples of it plus this [m].
    """

    collection: str
    platforms: tuple[str, ...]
    bands: dict[str, str]
    scale: float
    offset: float
    quality: dict[str, int]
    mask: Callable[..., np.ndarray]
    pixel_size: float
    anchor: float
    nodata: int = 0
    shift: Callable[[Mapping], int] = no_shift


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
}
SENTINELS = ("sentinel-2a", "sentinel-2b", "sentinel-2c")
LANDSAT = {
    "collection": "landsat-c2-l2",
    "scale": 2.75e-05,
    "offset": -0.2,
    "quality": {"qa_pixel": 1, "qa_radsat": 0},
    "pixel_size": 30.0,
    "anchor": 15.0,
}
HLS = {
    "scale": 1e-4,
    "offset": -1.0,
    "nodata": -9999,
    "quality": {"Fmask": 255},
    "mask": hls_mask,
    "shift": hls_shift,
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
        platforms=SENTINELS,
        bands=MSI_BANDS,
        scale=1e-4,
        offset=-0.1,
        quality={"SCL": 0},
        mask=sentinel_mask,
        pixel_size=10.0,
        anchor=0.0,
        shift=sentinel_shift,
    ),
    "hls-landsat": Sensor(
        collection="hls2-l30",
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
    "hls-sentinel": Sensor(collection="hls2-s30", platforms=SENTINELS, bands=MSI_BANDS, **HLS),
}


def find(name: str) -> Sensor:
    """Return the row of a sensor; GlacierError with the known names if there is none."""
    if name not in SENSORS:
        raise GlacierError(
            f"unknown sensor {name!r}; known: {', '.join(SENSORS)}{nearest(name, SENSORS)}"
        )
    return SENSORS[name]


def shifted(dn: np.ndarray, nodata: int, shift: int) -> np.ndarray:
    """Return an archive's numbers (H, W) as uint16 plus `shift`, at least 1; 0 where they are `nodata`."""
    if dn.dtype == np.uint16 and nodata == 0 and shift == 0:
        return dn
    return np.where(dn == nodata, 0, (dn.astype(np.int32) + shift).clip(1, 65535)).astype(np.uint16)


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
