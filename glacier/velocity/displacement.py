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

fft = load("scipy.fft")

CHIP = 32  # px, side of the chips that are searched for
# every 4th node of the grid is searched for, in x and in y; the rest follows by refinement
COARSE = 4
SIGMA = 6.0  # px, Gaussian window of the refinement; it weighs as much as a square of 21 px
ROUNDS = 6  # of the refinement
RESIDUAL = 1.0  # of local contrast: a pixel that changed by this much counts half
MIN_SEEN = 0.5  # share of a window that both images must show
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


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return the Gaussian mean, float32 (H, W); beyond the border is 0."""
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)


def pixels(shape: tuple[int, int]) -> np.ndarray:
    """Return the coordinates x, y of the pixels, float32 (2, H, W)."""
    return np.indices(shape, dtype=np.float32)[::-1]


def sample(
    image: np.ndarray,
    places: np.ndarray,
    how: int = cv2.INTER_LANCZOS4,
    border: int = cv2.BORDER_CONSTANT,
) -> np.ndarray:
    """Return the image (H, W) at places (2, ...) [px], float32; 0 beyond the border, or as `border` says."""
    x, y = np.asarray(places, np.float32)
    return cv2.remap(np.ascontiguousarray(image, np.float32), x, y, how, borderMode=border)


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
    side = CHIP + 2 * radius
    window = np.lib.stride_tricks.sliding_window_view
    chips = window(np.pad(first, CHIP // 2), (CHIP, CHIP))
    areas = window(np.pad(second, CHIP // 2 + radius), (side, side))
    dy, dx = np.mgrid[-radius : radius + 1, -radius : radius + 1].reshape(2, -1)
    within = np.hypot(dx, dy) <= reach + 1
    best = np.full((2, len(rows), len(columns)), np.nan, np.float32)
    ratio = np.full(best.shape[1:], np.nan, np.float32)
    for row, middle in enumerate(rows):
        score = correlate(chips[middle, columns], areas[middle, columns]).reshape(len(columns), -1)
        score[:, ~within] = 0
        peak = score.argmax(axis=1)
        height = score.max(axis=1)
        far = np.hypot(dx - dx[peak][:, None], dy - dy[peak][:, None]) > 3
        found = height > MIN_PEAK
        best[:, row, found] = dx[peak[found]], dy[peak[found]]
        ratio[row, found] = (score * far).max(axis=1)[found] / height[found]
    return best, ratio


def correlate(chips: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Return the masked correlation (N, n - m + 1, n - m + 1) of chips (N, m, m) at every place of areas (N, n, n).

    Both have mean 0 and are 0 where missing. 0 where less than MIN_SEEN of a chip is seen in both.
    """
    size = (fft.next_fast_len(areas.shape[-1], real=True),) * 2
    places = areas.shape[-1] - chips.shape[-1] + 1

    def spectra(images):
        seen = (images != 0).astype(np.float32)
        return (fft.rfft2(part.astype(np.float32), size) for part in (images, images**2, seen))

    def product(chip, area):
        return fft.irfft2(np.conj(chip) * area, size)[:, :places, :places]

    (chip, chip_power, chip_seen), (area, area_power, area_seen) = spectra(chips), spectra(areas)
    power = np.maximum(product(chip_power, area_seen), 1e-3) * np.maximum(
        product(chip_seen, area_power), 1e-3
    )
    enough = product(chip_seen, area_seen) > MIN_SEEN * chips.shape[-1] ** 2
    return np.where(enough, product(chip, area) / np.sqrt(power), 0)


# ── Neighbours ───────────────────────────────────────────────────────────────────────────────────────────────────


def departure(field: np.ndarray, noise: float = NOISE, side: int = 5) -> np.ndarray:
    """Return how far each vector (2, h, w) lies from the median of its neighbours, over their usual departure, (h, w).

    noise : px, added to the usual departure. NaN where the vector or all its neighbours are missing.
    Westerweel & Scarano (2005), 10.1007/s00348-005-0016-6.
    """
    middle = side // 2
    padded = np.pad(field, [(0, 0), (middle, middle), (middle, middle)], constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2)).reshape(
        *field.shape, -1
    )
    around = np.delete(around, side * side // 2, axis=-1)
    median, _ = nan_median(around, axis=-1)
    usual, _ = nan_median(np.abs(around - median[..., None]), axis=-1)
    return np.hypot(*((field - median) / (usual + noise)))


def interpolate(
    field: np.ndarray, rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Return a displacement known at nodes (2, h, w), NaN allowed, at every pixel: float32 (2, H, W), smooth.

    Gaussian means over one node, in gaps over as many as it takes; 0 if nothing is known.
    """
    known = np.isfinite(field).all(axis=0).astype(np.float32)
    values = np.where(known > 0, field, 0).astype(np.float32)
    smooth, weight = np.zeros_like(values), np.zeros_like(known)
    sigma = 1.0
    while known.any() and (weight < 1e-3).any():
        empty = weight < 1e-3
        weight[empty] = blur(known, sigma)[empty]
        smooth[:, empty] = np.array([blur(part, sigma) for part in values])[:, empty]
        sigma *= 2
    x, y = pixels(shape)
    places = [(x - columns[0]) / (columns[1] - columns[0]), (y - rows[0]) / (rows[1] - rows[0])]
    return np.array(
        [
            sample(part / np.maximum(weight, 1e-9), places, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
            for part in smooth
        ]
    )


def midway(field: np.ndarray) -> np.ndarray:
    """Return a displacement (2, H, W) that starts at each pixel as one that has its middle there."""
    result = field
    for _ in range(3):
        start = pixels(field.shape[1:]) - result / 2
        result = np.array(
            [sample(part, start, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE) for part in field]
        )
    return result


# ── Refinement: parts of a pixel ─────────────────────────────────────────────────────────────────────────────────


def deform(
    first: np.ndarray, second: np.ndarray, field: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return both images seen from midway, and where both are seen (1 or 0), float32 (H, W) each."""
    images, both = [], np.float32(1)
    for image, part in ((first, -0.5), (second, 0.5)):
        places = pixels(image.shape) + part * field
        images.append(sample(image, places))
        both = both * (sample(image != 0, places, cv2.INTER_LINEAR) > 0.99)
    return *images, both.astype(np.float32)


def refine(
    first: np.ndarray, second: np.ndarray, field: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the displacement (2, H, W) [px] that brings the images together, and their correlation then, (H, W).

    first, second : local contrast (H, W), 0 where missing. field : a start, right to about 2 px.
    Each round deforms both images by half of the displacement found so far, which follows the ice through shear and
    speed-up, and solves for the rest by weighted least squares in a Gaussian window; pixels that changed count less.
    Lucas & Kanade (1981), IJCAI 674; deformation and central differences as in Scarano (2002),
    10.1088/0957-0233/13/1/201.
    """
    for _ in range(ROUNDS):
        early, late, weight = deform(first, second, field)
        change = early - late
        weight /= 1 + (change / RESIDUAL) ** 2
        x, y = (
            cv2.Scharr((early + late) / 2, cv2.CV_32F, *order, scale=1 / 32)
            for order in ((1, 0), (0, 1))
        )
        xx, xy, yy, xt, yt = (
            blur(weight * part, SIGMA) for part in (x * x, x * y, y * y, x * change, y * change)
        )
        damping = 1e-3 * (xx + yy) + 1e-6
        xx, yy = xx + damping, yy + damping
        step = np.array([yy * xt - xy * yt, xx * yt - xy * xt]) / (xx * yy - xy * xy)
        field = field + step / np.maximum(np.hypot(*step), 1)  # at most 1 px a round
    early, late, weight = deform(first, second, field)
    product, power, other = (
        blur(weight * part, SIGMA) for part in (early * late, early**2, late**2)
    )
    correlation = product / np.sqrt(np.maximum(power * other, 1e-12))
    return field, np.where(blur(weight, SIGMA) > MIN_SEEN, correlation, np.nan)


def locate(
    first: np.ndarray, second: np.ndarray, spacing: int, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return where to start the refinement, (2, H, W) px, and the peak ratio at the nodes, (h, w), by a search."""
    rows, columns = (nodes(length, spacing * COARSE) for length in first.shape)
    found, ratio = search(first, second, rows, columns, reach)
    found[:, ~(departure(found, noise=1.0) < TOLERANCE)] = np.nan
    near = (
        np.abs(nodes(length, spacing)[:, None] - coarse).argmin(axis=1)
        for length, coarse in zip(first.shape, (rows, columns), strict=True)
    )
    return midway(interpolate(found, rows, columns, first.shape)), ratio[np.ix_(*near)]


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
    grid = np.ix_(*(nodes(length, spacing) for length in first.shape))
    start, ratio = (
        (guess, np.full(first[grid].shape, np.nan))
        if guess is not None
        else locate(*contrasts, spacing, reach)
    )
    field, correlation = refine(*contrasts, start)
    field, correlation = np.array([part[grid] for part in field], np.float32), correlation[grid]
    field[
        :, ~(correlation > MIN_CORRELATION) | (ratio > AMBIGUOUS) | (np.hypot(*field) > reach + 1)
    ] = np.nan
    apart = departure(field)
    field[:, ~(apart < TOLERANCE)] = np.nan
    return Tracks(field, correlation, ratio, apart)
