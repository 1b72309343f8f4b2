"""GeoTIFFs with named bands, written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import rasterio

from glacier.storage import disk


def write(
    path: Path,
    bands: np.ndarray,
    crs: str,
    transform: rasterio.Affine,
    names: Sequence[str],
    tags: Mapping[str, str],
    units: Sequence[str] = (),
    band_tags: Sequence[Mapping[str, str]] = (),
) -> Path:
    """Return the path of a GeoTIFF with the bands (B, H, W) as float32, missing pixels NaN.

    names, units, band_tags : of each band. tags : of the file.
    """
    count, height, width = bands.shape
    profile = {
        "driver": "GTiff",
        "dtype": "float32",
        "count": count,
        "height": height,
        "width": width,
        "crs": crs,
        "transform": transform,
        "nodata": np.nan,
        "compress": "deflate",
    }
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as file:
            file.write(bands.astype(np.float32, copy=False))
            file.descriptions = names
            if units:
                file.units = units
            for number, own_tags in enumerate(band_tags, 1):
                file.update_tags(number, **own_tags)
            file.update_tags(**tags)
        with disk.writing(path) as file:
            file.write(memory.read())
    return path
