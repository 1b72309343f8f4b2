"""What a file of an archive must be to be read as a band, or as its quality."""

from __future__ import annotations

import math

import numpy as np
import rasterio

LOWEST = -(1 << 15)  # numbers that 16 bits hold, signed or not
HIGHEST = (1 << 16) - 1
# floating numbers all below it are reflectance, or a part of it, and no digital numbers
FRACTIONS = 10.0
DIGITAL = 0.01  # scales below it are those of digital numbers


class UnreadableError(Exception):
    """A file that cannot be had; the text says why, without secrets."""


def check_file(file: rasterio.DatasetReader) -> None:
    """Raise UnreadableError for a file without bands, without a place on Earth, or of complex numbers."""
    if not file.count:
        raise UnreadableError("the file has no bands")
    if file.crs is None:
        raise UnreadableError("the file has no map projection")
    affine = file.transform
    if not all(map(math.isfinite, affine[:6])) or abs(affine.determinant) < 1e-18:
        raise UnreadableError("the file's transform leads nowhere")
    if affine.is_identity:
        raise UnreadableError("the file has no transform")
    if np.dtype(file.dtypes[0]).kind not in "uif":
        raise UnreadableError(f"the file holds {file.dtypes[0]}, no plain numbers")


def check_numbers(values: np.ndarray, outside: int) -> np.ndarray:
    """Return a band's numbers (H, W) as they are; UnreadableError for numbers that no 16 bits hold, or none at all."""
    if values.dtype.itemsize <= 2 and values.dtype.kind in "ui":
        return values
    there = values[values != outside]
    if there.size and not np.isfinite(there).all():
        raise UnreadableError("the file holds NaN or infinite numbers")
    if there.size and (there.min() < LOWEST or there.max() > HIGHEST):
        raise UnreadableError(
            f"the file holds numbers from {there.min():g} to {there.max():g}, beyond 16 bits"
        )
    return values


def check_scale(values: np.ndarray, outside: int, scale: float) -> None:
    """Raise UnreadableError for reflectance in floating numbers where digital numbers of a scale are promised."""
    if values.dtype.kind != "f" or scale >= DIGITAL:
        return
    there = values[values != outside]
    if there.size and float(np.abs(there).max()) < FRACTIONS:
        raise UnreadableError(
            f"the file holds numbers of {there.min():.3g} to {there.max():.3g}, which a scale of {scale:g} "
            "makes no reflectance of: its raster:bands must tell scale 1, offset 0"
        )


def check_quality(values: np.ndarray) -> np.ndarray:
    """Return quality classes or bits (H, W) as uint16; UnreadableError for anything but whole numbers of 16 bits."""
    if values.dtype.kind not in "ui":
        raise UnreadableError(f"the quality file holds {values.dtype}, no classes or bits")
    if values.size and (values.min() < 0 or values.max() > HIGHEST):
        raise UnreadableError("the quality file holds numbers beyond 16 bits")
    return values.astype(np.uint16, copy=False)
