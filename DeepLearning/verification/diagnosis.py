"""What a forecast's probabilities are worth: ranks of the truth, reliability of P(snow), bands at single pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from glacier import distribution

BINS = 10
BANDS = (0.05, 0.25, 0.5, 0.75, 0.95)
SHARES = (0.2, 0.4, 0.6, 0.8)  # of the pixels in the order of their mean, where bands are shown


def rank_sums(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return how many truths have their rank in each of BINS equal parts of [0, 1], (BINS,).

    low, high : (N,), the probability of less than the truth, and of not more; a truth counts evenly between the two:
    Czado, Gneiting & Held (2009), 10.1111/j.1541-0420.2009.01191.x.
    """
    edges = np.linspace(0, 1, BINS + 1)
    width = np.maximum(high - low, 1e-9)
    below = np.zeros(BINS + 1)
    for number, edge in enumerate(edges[1:-1], 1):
        share = (edge - low) / width
        below[number] = share.clip(0, 1).sum(dtype=np.float64)
    below[-1] = len(low)
    return np.diff(below)


def reliability_sums(probability: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Return for BINS equal parts of [0, 1] the number of forecasts, the sum of their probabilities, and of events.

    probability : (N,). event : bool (N,). The answer is (BINS, 3).
    """
    part = (probability * BINS).astype(int)
    part = np.minimum(part, BINS - 1)
    number = np.bincount(part, minlength=BINS)
    total = np.bincount(part, probability, BINS)
    events = np.bincount(part, event, BINS)
    return np.stack([number, total, events], axis=1)


@dataclass
class Diagnosis:
    """Sums of the ranks and of the reliability table of one method, over the pixels and dates that count."""

    ranks: np.ndarray = field(default_factory=lambda: np.zeros(BINS))
    reliability: np.ndarray = field(default_factory=lambda: np.zeros((BINS, 3)))

    def add(self, maps: dict[str, np.ndarray], counted: np.ndarray) -> None:
        """Add maps of metrics.score_maps, (horizon, C, h, w), at the pixels counted, bool (horizon, h, w)."""
        low, high = maps["rank_low"], maps["rank_high"]
        here = np.broadcast_to(counted[:, None], low.shape)
        self.ranks += rank_sums(low[here], high[here])
        if "snow_probability" in maps:
            probability = maps["snow_probability"][here]
            snow = maps["snow"][here]
            self.reliability += reliability_sums(probability, snow)


def sample_pixels(
    values: Iterable[np.ndarray], observed: Sequence[np.ndarray], mask: np.ndarray
) -> np.ndarray:
    """Return the places (row, column) of four pixels from low to high values, (4, 2), among those often observed.

    values : (T, H, W), without gaps. observed : bool (T, H, W), of the steps to show; both are read step by step.
    mask : bool (H, W), where to choose.
    """
    counts = np.zeros(mask.shape, np.int32)
    for seen in observed:
        counts += seen
    counts[~mask] = -1
    often = np.argwhere(counts >= 0.8 * counts.max())
    total = np.zeros(len(often), np.float32)
    for frame in values:
        total += frame[often[:, 0], often[:, 1]]
    means = total / len(observed)
    order = np.argsort(means, kind="stable")
    last = len(often) - 1
    places = [int(share * last) for share in SHARES]
    return often[order[places]]


def pixel_bands(
    F: np.ndarray, pixels: np.ndarray, x: np.ndarray, floor: float | None
) -> np.ndarray:
    """Return the BANDS' quantiles of the first lead and channel, (len(BANDS), pixels).

    F : (horizon, K, C, H, W), or a band of its rows. pixels : (N, 2), places in it.
    """
    rows, columns = pixels.T
    here = F[0, :, :1, rows, columns]  # (N, K, 1)
    functions = np.moveaxis(np.asarray(here), 0, -1)  # (K, 1, N)
    image = functions[..., None, :]  # (K, 1, 1, N)
    bands = [distribution.quantile(image, p, x, floor)[0, 0] for p in BANDS]
    return np.stack(bands)
