"""Displacements to parts of a pixel: least squares in a window, round by round, held to their neighbours where unsure.

Pure functions of arrays. A displacement is (2, H, W) in pixels, x to the right and y down.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from glacier.velocity.sampling import blur, enlarge, halve, pixels, sample

SIGMA = 6.0  # px, Gaussian window; it weighs as much as a square of 21 px
NEIGHBOURHOOD = 4.0  # px, Gaussian of the neighbours that a displacement is held to
# of gradient over noise, in square, at which a displacement is as much its neighbours' as its own
TRUST = 4.0
INDEPENDENT = 200.0  # pixels of a window whose noise is not that of their neighbours
ROUNDS = 8  # at most
FINAL_ROUNDS = 3  # with the sharper interpolation, after the others have settled
SETTLED = 0.05  # px; a round that moves 95 % of the pixels by less gains nothing
RESIDUAL = 1.0  # of local contrast: a pixel that changed by this much counts half
MIN_SEEN = 0.5  # share of a window that both images must show


class Sums(NamedTuple):
    """Weighted means over the window of products of the gradients x, y and the change t, each (H / 2, W / 2)."""

    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray
    xt: np.ndarray
    yt: np.ndarray
    tt: np.ndarray
    weight: np.ndarray


def deform(
    first: np.ndarray, second: np.ndarray, field: np.ndarray, how: int = cv2.INTER_LANCZOS4
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return both images seen from midway, and where both are seen (1 or 0), float32 (H, W) each."""
    here = pixels(first.shape)
    half = np.float32(0.5) * field
    before = here - half
    after = here + half
    early = sample(first, before, how)
    late = sample(second, after, how)
    first_seen = sample(first != 0, before, cv2.INTER_LINEAR) > 0.99
    second_seen = sample(second != 0, after, cv2.INTER_LINEAR) > 0.99
    return early, late, (first_seen & second_seen).astype(np.float32)


def window_mean(image: np.ndarray) -> np.ndarray:
    """Return the mean over the window, at half the resolution of an image (H, W)."""
    return blur(halve(image), SIGMA / 2)


def window_sums(early: np.ndarray, late: np.ndarray, seen: np.ndarray) -> Sums:
    """Return what the least squares need; pixels that changed count less."""
    change = early - late
    weight = seen / (1 + (change / np.float32(RESIDUAL)) ** 2)
    middle = (early + late) * np.float32(0.5)
    x = cv2.Scharr(middle, cv2.CV_32F, 1, 0, scale=1 / 32)
    y = cv2.Scharr(middle, cv2.CV_32F, 0, 1, scale=1 / 32)
    weighted_x = weight * x
    weighted_y = weight * y
    products = (
        weighted_x * x,
        weighted_x * y,
        weighted_y * y,
        weighted_x * change,
        weighted_y * change,
        weight * change**2,
        weight,
    )
    return Sums(*map(window_mean, products))


def solve(sums: Sums) -> tuple[np.ndarray, np.ndarray]:
    """Return the displacement that is left, (2, H / 2, W / 2) px, at most 1 px, and how sure it is.

    Lucas & Kanade (1981), IJCAI 674. How sure: the smaller eigenvalue of the gradients' tensor over the variance that
    is left, the inverse of the least squares' own variance but for the number of pixels in the window.
    """
    damping = 1e-3 * (sums.xx + sums.yy) + 1e-6
    xx = sums.xx + damping
    yy = sums.yy + damping
    determinant = xx * yy - sums.xy**2
    right = (yy * sums.xt - sums.xy * sums.yt) / determinant
    down = (xx * sums.yt - sums.xy * sums.xt) / determinant
    explained = right * sums.xt + down * sums.yt
    noise = np.maximum(sums.tt - explained, 1e-3 * sums.tt + 1e-6) / np.maximum(sums.weight, 1e-3)
    spread = np.sqrt((xx - yy) ** 2 / 4 + sums.xy**2)
    smaller = np.maximum((xx + yy) / 2 - spread, 1e-6)
    step = np.array([right, down])
    return step / np.maximum(np.hypot(right, down), 1), smaller / noise


def hold_together(field: np.ndarray, sureness: np.ndarray) -> np.ndarray:
    """Return a displacement (2, H / 2, W / 2) drawn to its neighbours', the more the less sure it is.

    Without this each round undoes a little more of the window's smoothing, of the noise as well: the error grows from
    round to round. Schrijer & Scarano (2008), 10.1007/s00348-008-0511-7. What the neighbours' mean takes off real
    shear shows in what a second mean takes off; there the displacement keeps its own value.
    """
    sigma = NEIGHBOURHOOD / 2
    total = blur(sureness, sigma) + 1e-9

    def neighbours(values):
        return np.array([blur(sureness * part, sigma) / total for part in values])

    mean = neighbours(field)
    shear = np.sum((neighbours(mean) - mean) ** 2, axis=0)  # px2
    share = 1 / (1 + sureness * (1 / TRUST + INDEPENDENT * shear))
    return field + share * (mean - field)


def improve(first: np.ndarray, second: np.ndarray, field: np.ndarray, how: int) -> np.ndarray:
    """Return the displacement after one round: both images deformed by half of it each, and the rest solved for.

    Deforming follows the ice through shear and speed-up; it and central differences as in Scarano (2002),
    10.1088/0957-0233/13/1/201.
    """
    step, sureness = solve(window_sums(*deform(first, second, field, how)))
    halved = np.array([halve(part) for part in field])
    better = hold_together(halved + step, sureness)
    return np.array([enlarge(part, first.shape) for part in better])


def correlation_of(first: np.ndarray, second: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Return the correlation of the windows once brought together, (H, W), NaN where too little is seen."""
    early, late, seen = deform(first, second, field)
    product, power, late_power = map(
        window_mean, (seen * early * late, seen * early**2, seen * late**2)
    )
    correlation = product / np.sqrt(np.maximum(power * late_power, 1e-12))
    correlation = np.where(window_mean(seen) > MIN_SEEN, correlation, np.nan)
    return enlarge(correlation, first.shape)


def refine(
    first: np.ndarray, second: np.ndarray, field: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the displacement (2, H, W) [px] that brings the images together, and their correlation then, (H, W).

    first, second : local contrast (H, W), 0 where missing. field : a start, right to about 2 px. Rounds with cubic
    interpolation until one gains nothing; the last ones with Lanczos', which does not draw to whole pixels.
    """
    field = field.astype(np.float32)
    for _ in range(ROUNDS):
        better = improve(first, second, field, cv2.INTER_CUBIC)
        moved = np.abs(better - field).max(axis=0)[::4, ::4]
        field = better
        if np.percentile(moved, 95) < SETTLED:
            break
    for _ in range(FINAL_ROUNDS):
        field = improve(first, second, field, cv2.INTER_LANCZOS4)
    return field, correlation_of(first, second, field)
