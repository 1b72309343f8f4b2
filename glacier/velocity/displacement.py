"""How far the ground moved between two images, by tracking chips.

Pure functions of arrays. A displacement is (2, ...) in pixels, x to the right and y down, NaN where unknown.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from glacier.coregistration.resampling import local_contrast
from glacier.lazily import load
from glacier.robust import nan_median
from glacier.velocity.refinement import MIN_SEEN, refine
from glacier.velocity.sampling import blur, midway, pixels, sample

fft = load("scipy.fft")

CHIP = 32  # px, side of the chips that are searched for
# every 4th node of the grid is searched for, in x and in y; the rest follows by refinement
COARSE = 4
PEAK_WIDTH = 3.0  # px; what is higher further away is another peak
MIN_PEAK = 0.3  # of the correlation in the search; below it nothing was found
MIN_CORRELATION = 0.6  # after refinement; below it a match is refused
AMBIGUOUS = 0.9  # second peak of the search over the highest; above it a match is refused
# times the usual departure from the neighbours' median; beyond it a match is refused
TOLERANCE = 3.0
NOISE = 0.3  # px, departure from the neighbours that is always allowed for


class Tracks(NamedTuple):
    """Displacement (2, h, w) [px] at the nodes of a grid, NaN where refused, and how far to trust it, each (h, w).

    The ground was displacement / 2 before the node in the first image and is as far behind it in the second.
    correlation : of the matched windows, [-1, 1]. peak_ratio : the second highest peak of the search over the highest;
    1 is ambiguous, NaN not searched. departure : from the median of the neighbours, in units of their usual departure.
    """

    displacement: np.ndarray
    correlation: np.ndarray
    peak_ratio: np.ndarray
    departure: np.ndarray


def nodes(length: int, spacing: int) -> np.ndarray:
    """Return the pixels of a grid's nodes along a side of `length` px, centred on it."""
    return np.arange((length - 1) % spacing // 2, length, spacing)


# ── Search: whole pixels, any distance ───────────────────────────────────────────────────────────────────────────


def search(
    first: np.ndarray, second: np.ndarray, rows: np.ndarray, columns: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return where chips of the first image lie in the second: displacement (2, h, w) [px] and peak ratio (h, w).

    first, second : local contrast (H, W), 0 where missing. rows, columns : of the chips' middles. reach : px.
    NaN where less than half of the chip is seen in both, or the peak is low. Normalised cross-correlation in the
    Fourier domain with missing pixels left out, after Padfield (2012), 10.1109/TIP.2011.2181402.
    """
    radius = int(np.ceil(reach)) + 1
    chips = squares(first, CHIP)  # (H + 1, W + 1, CHIP, CHIP), by their middle
    areas = squares(second, CHIP + 2 * radius)
    dy, dx = np.mgrid[-radius : radius + 1, -radius : radius + 1].reshape(2, -1)
    beyond = np.hypot(dx, dy) > reach + 1
    best = np.full((2, len(rows), len(columns)), np.nan, np.float32)
    ratio = np.full((len(rows), len(columns)), np.nan, np.float32)
    for row, middle in enumerate(rows):
        scores = correlate(chips[middle, columns], areas[middle, columns])
        scores = scores.reshape(len(columns), -1)  # (w, places)
        scores[:, beyond] = 0
        peak = scores.argmax(axis=1)
        height = scores.max(axis=1)
        distance = np.hypot(dx - dx[peak][:, None], dy - dy[peak][:, None])
        second_height = np.where(distance > PEAK_WIDTH, scores, 0).max(axis=1)
        clear = height > MIN_PEAK
        best[:, row, clear] = dx[peak[clear]], dy[peak[clear]]
        ratio[row, clear] = second_height[clear] / height[clear]
    return best, ratio


def squares(image: np.ndarray, side: int) -> np.ndarray:
    """Return the square around every pixel of an image (H, W), 0 beyond it: a view, (H + 1, W + 1, side, side)."""
    padded = np.pad(image, side // 2)
    return np.lib.stride_tricks.sliding_window_view(padded, (side, side))


def correlate(chips: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Return the masked correlation (N, n - m + 1, n - m + 1) of chips (N, m, m) at every place of areas (N, n, n).

    Both have mean 0 and are 0 where missing. 0 where less than MIN_SEEN of a chip is seen in both.
    """
    side = fft.next_fast_len(areas.shape[-1], real=True)
    places = areas.shape[-1] - chips.shape[-1] + 1

    def spectra(images):
        seen = (images != 0).astype(np.float32)
        parts = (images.astype(np.float32), images.astype(np.float32) ** 2, seen)
        return [fft.rfft2(part, (side, side)) for part in parts]

    def product(chip, area):
        return fft.irfft2(np.conj(chip) * area, (side, side))[:, :places, :places]

    chip, chip_power, chip_seen = spectra(chips)
    area, area_power, area_seen = spectra(areas)
    first_power = np.maximum(product(chip_power, area_seen), 1e-3)
    second_power = np.maximum(product(chip_seen, area_power), 1e-3)
    enough = product(chip_seen, area_seen) > MIN_SEEN * chips.shape[-1] ** 2
    return np.where(enough, product(chip, area) / np.sqrt(first_power * second_power), 0)


# ── Neighbours ───────────────────────────────────────────────────────────────────────────────────────────────────


def departure(field: np.ndarray, noise: float = NOISE, side: int = 5) -> np.ndarray:
    """Return how far each vector (2, h, w) lies from the median of its neighbours, over their usual departure, (h, w).

    noise : px, added to the usual departure. NaN where the vector or all its neighbours are missing.
    Westerweel & Scarano (2005), 10.1007/s00348-005-0016-6.
    """
    middle = side // 2
    border = [(0, 0), (middle, middle), (middle, middle)]
    padded = np.pad(field, border, constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))
    around = around.reshape(*field.shape, side * side)
    neighbours = np.delete(around, side * side // 2, axis=-1)
    median, _ = nan_median(neighbours, axis=-1)
    usual, _ = nan_median(np.abs(neighbours - median[..., None]), axis=-1)
    return np.hypot(*((field - median) / (usual + noise)))


def interpolate(
    field: np.ndarray, rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Return a displacement known at nodes (2, h, w), NaN allowed, at every pixel: float32 (2, H, W), smooth.

    Gaussian means over one node, in gaps over as many as it takes; 0 if nothing is known.
    """
    measured = np.isfinite(field).all(axis=0).astype(np.float32)
    values = np.where(measured > 0, field, 0).astype(np.float32)
    smooth = np.zeros_like(values)
    weight = np.zeros_like(measured)
    sigma = 1.0
    while measured.any() and (weight < 1e-3).any():
        empty = weight < 1e-3
        weight[empty] = blur(measured, sigma)[empty]
        wider = np.array([blur(part, sigma) for part in values])
        smooth[:, empty] = wider[:, empty]
        sigma *= 2
    x, y = pixels(shape)
    across = (x - columns[0]) / (columns[1] - columns[0])
    along = (y - rows[0]) / (rows[1] - rows[0])
    parts = []
    for part in smooth / np.maximum(weight, 1e-9):
        parts.append(
            sample(part, np.array([across, along]), cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
        )
    return np.array(parts)


def locate(
    first: np.ndarray, second: np.ndarray, spacing: int, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return where to start the refinement, (2, H, W) px, and the peak ratio at the nodes, (h, w), by a search."""
    rows, columns = (nodes(length, spacing * COARSE) for length in first.shape)
    coarse, ratio = search(first, second, rows, columns, reach)
    coarse[:, ~(departure(coarse, noise=1.0) < TOLERANCE)] = np.nan
    start = midway(interpolate(coarse, rows, columns, first.shape))
    nearest = []
    for length, searched in zip(first.shape, (rows, columns), strict=True):
        distance = np.abs(nodes(length, spacing)[:, None] - searched)
        nearest.append(distance.argmin(axis=1))
    return start, ratio[np.ix_(*nearest)]


def track(
    first: np.ndarray,
    second: np.ndarray,
    spacing: int,
    reach: float,
    guess: np.ndarray | None = None,
) -> Tracks:
    """Return the displacement from the first to the second image at the nodes of a grid.

    first, second : (H, W) of one band, NaN where missing, on one frame. spacing : of the nodes [px].
    reach : the largest displacement to look for [px]. guess : (2, H, W) px, right to about 2 px, to start from;
    None: found by a search.
    """
    contrasts = local_contrast(first), local_contrast(second)
    rows, columns = (nodes(length, spacing) for length in first.shape)
    if guess is None:
        start, ratio = locate(*contrasts, spacing, reach)
    else:
        start = guess
        ratio = np.full((len(rows), len(columns)), np.nan)
    refined, correlation = refine(*contrasts, start)
    field = refined[:, rows[:, None], columns]
    correlation = correlation[rows[:, None], columns]
    refused = ~(correlation > MIN_CORRELATION)
    refused |= ratio > AMBIGUOUS
    refused |= np.hypot(*field) > reach + 1
    field[:, refused] = np.nan
    apart = departure(field)
    field[:, ~(apart < TOLERANCE)] = np.nan
    return Tracks(field, correlation, ratio, apart)
