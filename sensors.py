"""What each satellite's bands, scaling and quality bits mean: one row a sensor, and pure functions.

Mask bits, alike for all sensors: FILL nothing was measured, CLOUD (with its dilated edge), SHADOW of a cloud, CIRRUS,
SATURATED in green or swir16. Snow is never masked.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from config import GlacierError, nearest

FILL, CLOUD, SHADOW, CIRRUS, SATURATED = 1, 2, 4, 8, 16


@dataclass(frozen=True)
class Sensor:
    """One row of SENSORS.

    bands : STAC common name -> asset key. reflectance = DN * scale + offset [1]; DN `nodata` is missing.
    quality : asset keys that `mask` takes, in this order; only the first is needed, a missing one is given as None.
    anchor : the archive's pixel edges lie on multiples of the pixel size plus this [m].
    """
    collection: str
    platforms: tuple[str, ...]
    bands: dict[str, str]
    scale: float
    offset: float
    nodata: int
    quality: dict[str, int]  # asset key -> value outside the file
    mask: Callable[..., np.ndarray]
    anchor: float


def landsat_mask(qa_pixel: np.ndarray, qa_radsat: np.ndarray | None = None) -> np.ndarray:
    """Return the mask bits (H, W) uint8 of a Landsat 8-9 Collection 2 Level-2 scene.

    qa_pixel : (H, W) uint16; bit 0 fill, 1 dilated cloud, 2 cirrus, 3 cloud, 4 cloud shadow (5 is snow, not masked).
    qa_radsat : (H, W) uint16 or None; bit 2 green (band 3), bit 5 swir16 (band 6) saturated.
    USGS LSDS-1619, Landsat 8-9 Collection 2 Level 2 Science Product Guide, tables 5-3 and 5-4.
    """
    mask = np.zeros(qa_pixel.shape, np.uint8)
    mask[qa_pixel & 1 > 0] |= FILL
    mask[qa_pixel & (1 << 1 | 1 << 3) > 0] |= CLOUD
    mask[qa_pixel & 1 << 4 > 0] |= SHADOW
    mask[qa_pixel & 1 << 2 > 0] |= CIRRUS
    if qa_radsat is not None:
        mask[qa_radsat & (1 << 2 | 1 << 5) > 0] |= SATURATED
    return mask


LANDSAT_BANDS = {name: name for name in ("coastal", "blue", "green", "red", "nir08", "swir16", "swir22")}

SENSORS = {
    "landsat-8-9": Sensor(collection="landsat-c2-l2", platforms=("landsat-8", "landsat-9"), bands=LANDSAT_BANDS,
                          scale=2.75e-05, offset=-0.2, nodata=0, quality={"qa_pixel": 1, "qa_radsat": 0},
                          mask=landsat_mask, anchor=15.0),
}


def find(name: str) -> Sensor:
    """Return the row of a sensor; GlacierError with the known names if there is none."""
    if name not in SENSORS:
        raise GlacierError(f"unknown sensor {name!r}; known: {', '.join(SENSORS)}{nearest(name, SENSORS)}")
    return SENSORS[name]


def reflectance(dn: np.ndarray, mask: np.ndarray, scale: float, offset: float, nodata: int = 0) -> np.ndarray:
    """Return surface reflectance [1], float32, NaN where a mask bit is set or nothing was measured.

    dn : (..., H, W) digital numbers. mask : (H, W) bits.
    """
    return np.where((mask == 0) & (dn != nodata), dn * np.float32(scale) + np.float32(offset), np.float32(np.nan))
