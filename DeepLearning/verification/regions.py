"""Where forecasts are scored: regions of the scene, their tiles, and the stratum where climatology is in doubt."""

from __future__ import annotations

import numpy as np

from DeepLearning.data.glacier import Glacier

TILES = 5  # a side: a region is cut into this many parts squared, the units of an interval in space
COUNT = TILES * TILES
REGIONS = ("seen", "block")
DOUBT = (0.05, 0.95)  # climatology's P(snow) between which a pixel is in doubt
IN_DOUBT = "seen, in doubt"
CLASSES = 2 * len(REGIONS) * COUNT


def region_masks(glacier: Glacier) -> dict[str, np.ndarray]:
    """Return masks (H, W): "seen", the pixels of training patches, and "block", those kept out of training."""
    masks = {}
    for region, part in zip(REGIONS, ("train", "block"), strict=True):
        mask = np.zeros(glacier.shape, bool)
        places = np.argwhere(glacier.patches.patch_parts == part) * glacier.stride
        for row, column in places:
            mask[row : row + glacier.patch_size, column : column + glacier.patch_size] = True
        if mask.any():
            masks[region] = mask
    return masks


def tiles_of(mask: np.ndarray) -> np.ndarray:
    """Return the number of each pixel's tile, int (H, W): the mask's frame in TILES x TILES parts, -1 outside it."""
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    height = rows[-1] + 1 - rows[0]
    width = columns[-1] + 1 - columns[0]
    row = (np.arange(mask.shape[0]) - rows[0]) * TILES // height
    column = (np.arange(mask.shape[1]) - columns[0]) * TILES // width
    number = row[:, None] * TILES + column
    return np.where(mask, number, -1)


def numbered_tiles(masks: dict[str, np.ndarray]) -> np.ndarray:
    """Return the tile of each pixel, int16 (H, W), numbered on from region to region; -1 in none."""
    (shape,) = {mask.shape for mask in masks.values()}
    numbers = np.full(shape, -1, np.int16)
    for place, region in enumerate(REGIONS):
        if region in masks:
            mask = masks[region]
            numbers[mask] = tiles_of(mask)[mask] + place * COUNT
    return numbers


def classes_of(tiles: np.ndarray, observed: np.ndarray, in_doubt: np.ndarray) -> np.ndarray:
    """Return the class of each pixel that counts, int16 (horizon, H, W), -1 of the others: its tile, and if in doubt.

    tiles : as numbered_tiles gives them. observed, in_doubt : bool (horizon, H, W).
    """
    classes = np.empty(observed.shape, np.int16)
    for lead, seen in enumerate(observed):
        stratum = len(REGIONS) * COUNT * in_doubt[lead].astype(np.int16)
        classes[lead] = np.where(seen & (tiles >= 0), tiles + stratum, -1)
    return classes


def region_sums(sums: np.ndarray, region: str) -> np.ndarray:
    """Return the sums (..., COUNT, S) over the tiles of a region, from those of all classes (..., CLASSES, S)."""
    strata = sums.reshape(*sums.shape[:-2], 2, len(REGIONS), COUNT, sums.shape[-1])
    if region == IN_DOUBT:
        return strata[..., 1, 0, :, :]
    place = REGIONS.index(region)
    return strata[..., :, place, :, :].sum(axis=-3)
