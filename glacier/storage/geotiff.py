"""GeoTIFFs with named bands, written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil

from glacier.storage import disk


@dataclass(frozen=True)
class Band:
    """What a band of a GeoTIFF says of itself."""

    name: str
    unit: str
    tags: Mapping[str, str]


@contextmanager
def writing(
    path: Path,
    bands: Sequence[Band],
    shape: tuple[int, int],
    crs: str,
    transform: rasterio.Affine,
    tags: Mapping[str, str],
) -> Iterator[rasterio.io.DatasetWriter]:
    """Give a float32 GeoTIFF to fill by windows, missing pixels NaN; it takes its name once it is fully on disk."""
    profile = {
        "driver": "GTiff",
        "dtype": "float32",
        "count": len(bands),
        "height": shape[0],
        "width": shape[1],
        "crs": crs,
        "transform": transform,
        "nodata": np.nan,
        "compress": "deflate",
        "interleave": "band",
        "bigtiff": "if_safer",
    }
    with disk.writing(path) as file, rasterio.open(file.name, "w", **profile) as dataset:
        dataset.descriptions = [band.name for band in bands]
        dataset.units = [band.unit for band in bands]
        for number, band in enumerate(bands, 1):
            dataset.update_tags(number, **band.tags)
        dataset.update_tags(**tags)
        yield dataset


def write(
    path: Path,
    bands: np.ndarray,
    crs: str,
    transform: rasterio.Affine,
    names: Sequence[str],
    tags: Mapping[str, str],
    units: Sequence[str],
    band_tags: Sequence[Mapping[str, str]] | None = None,
) -> Path:
    """Return the path of a GeoTIFF with the bands (B, H, W) as float32, missing pixels NaN.

    bands : may be memory-mapped: it is read band by band. names, units, band_tags : of each band. tags : of the file.
    """
    band_tags = band_tags or [{}] * len(bands)
    told = [Band(*words) for words in zip(names, units, band_tags, strict=True)]
    with writing(path, told, bands.shape[1:], crs, transform, tags) as file:
        for number, values in enumerate(bands, 1):
            file.write(values.astype(np.float32, copy=False), number)
    return path


def write_cog(path: Path, *contents) -> Path:
    """Return the path of a cloud-optimised GeoTIFF: tiled, with overviews and statistics.

    contents : bands, crs, transform, names, tags, units and band_tags, as of `write`.
    """
    cog = {
        "driver": "COG",
        "compress": "deflate",
        "predictor": "yes",
        "statistics": "yes",
        "overview_resampling": "average",
    }
    scratch = disk.hidden_neighbour(path)  # a folder: GDAL makes the final file from a plain one
    scratch.mkdir(parents=True, exist_ok=True)
    plain = scratch / "plain.tif"
    optimised = scratch / "cog.tif"
    try:
        write(plain, *contents)
        rasterio.shutil.copy(plain, optimised, **cog)
        with open(optimised, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(optimised, path)
    finally:
        shutil.rmtree(scratch)
    return path
