"""Members of a forecast: maps that could occur. Each pixel's values follow F, and neighbours agree as in past maps.

A member takes at each pixel the quantile of F at the level

    u(x) = Phi(sqrt(r) g + sqrt(1 - r) e(x)),

g one normal number a member and step, an AR(1) over the steps: what the weather does to the whole scene; e smoothed
normal noise of variance 1: what differs from place to place. A Gaussian copula; Schefzik, Thorarinsdottir & Gneiting
(2013), 10.1214/13-STS443. Without it every pixel would draw by itself, and the snow-covered area would seem certain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.special import ndtr, ndtri

from glacier import distribution

EXTREME = 1e-3  # of a rank: a truth outside all of F is as good as this rare
SMOOTHINGS = (
    0.5,
    0.7,
    1.0,
    1.4,
    2.0,
    2.8,
    4.0,
    5.7,
    8.0,
    11.0,
    16.0,
    23.0,
    32.0,
)  # px, to choose from
FEWEST_MAPS = 3


@dataclass(frozen=True)
class Agreement:
    """How the pixels of a map agree. common : r, the share of the variance that the whole scene has in common.

    smoothing : standard deviation of the Gaussian that smooths the noise [px]. carry : correlation of the common number
    with that of the step before.
    """

    common: float = 0.5
    smoothing: float = 2.0
    carry: float = 0.5


# ── How past maps agree ──────────────────────────────────────────────────────────────────────────────────────────


def normal_scores(
    F: np.ndarray, truth: np.ndarray, x: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Return the truth's rank in F as a standard normal number, (..., C, h, w), NaN where not observed.

    F (..., K, C, h, w), truth (..., C, h, w) : not clipped, so that few ranks have to be drawn.
    """
    low, high = distribution.rank(F, truth, x)
    drawn = low + random.random(low.shape, np.float32) * (high - low)
    return ndtri(drawn.clip(EXTREME, 1 - EXTREME))


def correlations(scores: np.ndarray, distances: list[int]) -> np.ndarray:
    """Return the correlation of pixels at each distance [px] along rows and columns, of maps (N, H, W) with NaN.

    About 0, the mean of a calibrated forecast, not about each map's mean, which is what the scene has in common.
    """
    variance = np.nanmean(scores**2)
    products = []
    for distance in distances:
        down = scores[:, distance:] * scores[:, :-distance]
        across = scores[:, :, distance:] * scores[:, :, :-distance]
        pairs = np.concatenate([down.ravel(), across.ravel()])
        paired = np.isfinite(pairs)
        products.append(pairs[paired].mean() if paired.any() else np.nan)
    return np.array(products) / variance


def fit_space(scores: np.ndarray) -> tuple[float, float]:
    """Return the common share and the smoothing [px] that fit maps of normal scores (N, H, W), NaN where unobserved.

    Correlation at distance d is r + (1 - r) exp(-d^2 / (4 s^2)): least squares in r for each s.
    """
    reach = min(scores.shape[-2:]) // 2
    distances = [2**power for power in range(12) if 2**power <= reach]
    measured = correlations(scores, distances)
    usable = np.isfinite(measured)
    fits = []
    for smoothing in SMOOTHINGS:
        near = np.exp(-(np.array(distances)[usable] ** 2) / (4 * smoothing**2))
        far = 1 - near
        common = (far * (measured[usable] - near)).sum() / max((far**2).sum(), 1e-12)
        common = float(np.clip(common, 0, 0.99))
        error = ((common * far + near - measured[usable]) ** 2).sum()
        fits.append((error, common, smoothing))
    _, common, smoothing = min(fits)
    return common, smoothing


def fit_carry(scores: np.ndarray, steps: np.ndarray) -> float:
    """Return the correlation of the maps' means with those of the step before; steps (N,) rising, in [0, 0.95]."""
    means = np.nanmean(scores, axis=(1, 2))
    neighbours = np.flatnonzero(np.diff(steps) == 1)
    if len(neighbours) < FEWEST_MAPS:
        return Agreement.carry
    product = (means[neighbours] * means[neighbours + 1]).mean()
    return float(np.clip(product / (means**2).mean(), 0, 0.95))


def fit_agreement(scores: np.ndarray, steps: np.ndarray) -> Agreement:
    """Return how past maps agree, from their normal scores (N, H, W), NaN where unobserved, and their steps (N,).

    With fewer than FEWEST_MAPS maps: the usual Agreement().
    """
    observed = np.isfinite(scores).any(axis=(1, 2))
    if observed.sum() < FEWEST_MAPS:
        return Agreement()
    scores = scores[observed]
    steps = steps[observed]
    common, smoothing = fit_space(scores)
    return Agreement(common, smoothing, fit_carry(scores, steps))


# ── Drawing ──────────────────────────────────────────────────────────────────────────────────────────────────────


def common_numbers(
    count: int, steps: int, agreement: Agreement, random: np.random.Generator
) -> np.ndarray:
    """Return g (count, steps): normal at each step, an AR(1) from step to step.

    Drawn one from each of `count` equally likely parts of the normal distribution, so that 20 members are enough for
    the 5 and 95 % of what they have in common.
    """
    numbers = np.empty((count, steps))
    fresh_share = np.sqrt(1 - agreement.carry**2)
    for step in range(steps):
        drawn = random.standard_normal(count)
        if step:
            drawn = agreement.carry * numbers[:, step - 1] + fresh_share * drawn
        order = drawn.argsort().argsort()
        numbers[:, step] = ndtri((order + random.random(count)) / count)
    return numbers


def smooth_noise(
    shape: tuple[int, int], smoothing: float, random: np.random.Generator
) -> np.ndarray:
    """Return normal noise (H, W) of variance 1, smoothed by a Gaussian of `smoothing` px; alike up to the border."""
    reach = int(np.ceil(3 * smoothing))
    offset = np.arange(-reach, reach + 1)
    kernel = np.exp(-(offset**2) / (2 * smoothing**2))
    kernel /= np.sqrt((kernel**2).sum())  # keeps the variance of white noise
    height, width = shape
    noise = random.standard_normal((height + 2 * reach, width + 2 * reach), np.float32)
    smooth = cv2.sepFilter2D(noise, -1, kernel, kernel)
    return smooth[reach : reach + height, reach : reach + width]


def levels(common: float, noise: np.ndarray, agreement: Agreement) -> np.ndarray:
    """Return the levels u(x), float32 in (0, 1), at which a member takes its quantiles; common : g of its step."""
    share = agreement.common
    return ndtr(np.sqrt(share) * common + np.sqrt(1 - share) * noise).astype(np.float32)


def level_maps(
    shape: tuple[int, int], steps: int, agreement: Agreement, count: int, seed: int = 0
) -> Iterator[np.ndarray]:
    """Yield the levels of each of `count` members, (steps, 1, H, W); alike for all channels, and for equal seeds."""
    random = np.random.default_rng(seed)
    numbers = common_numbers(count, steps, agreement, random)
    for own_numbers in numbers:
        maps = []
        for number in own_numbers:
            noise = smooth_noise(shape, agreement.smoothing, random)
            maps.append(levels(number, noise, agreement))
        yield np.stack(maps)[:, None]


def known_common(scores: np.ndarray, agreement: Agreement) -> tuple[float, float]:
    """Return mean and standard deviation of a step's common number, given the normal scores (H, W) of what was seen.

    NaN where nothing was seen; 0 and 1 if nothing was at all. Pixels within the smoothing's reach count as one.
    """
    seen = scores[np.isfinite(scores)]
    share = agreement.common
    if len(seen) == 0 or share == 0:
        return 0.0, 1.0
    patch = max(
        1.0, 4 * np.pi * agreement.smoothing**2
    )  # px that agree: the correlation's integral
    places = max(1.0, len(seen) / patch)
    noise = (1 - share) / places
    weight = share / (share + noise)
    return float(weight * seen.mean() / np.sqrt(share)), float(np.sqrt(1 - weight))


def quantiles(values: np.ndarray, probabilities: tuple[float, ...]) -> np.ndarray:
    """Return quantiles over the members (members, ...), the i-th smallest of M being the one at (i - 1/2) / M.

    So it fits members drawn one from each of M equal parts: Hyndman & Fan (1996), 10.1080/00031305.1996.10473566.
    """
    return np.quantile(values, probabilities, axis=0, method="hazen")
