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
    edges = np.linspace(0, 1, BINS + 1)[1:-1]
    width = np.maximum(high - low, 1e-9)
    below = [((edge - low) / width).clip(0, 1).sum(dtype=np.float64) for edge in edges]
    return np.diff(np.array([0.0, *below, len(low)]))


def reliability_sums(probability: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Return for BINS equal parts of [0, 1] the number of forecasts, the sum of their probabilities, and of events.

    probability : (N,). event : bool (N,). The answer is (BINS, 3).
    """
    part = np.minimum((probability * BINS).astype(int), BINS - 1)
    columns = (np.ones(len(part)), probability, event)
    sums = [np.bincount(part, column, BINS) for column in columns]
    return np.stack(sums, axis=1)


@dataclass
class Diagnosis:
    """Sums of the ranks and of the reliability table of one method, over the pixels and dates that count."""

    ranks: np.ndarray = field(default_factory=lambda: np.zeros(BINS))
    reliability: np.ndarray = field(default_factory=lambda: np.zeros((BINS, 3)))

    def add(self, maps: dict[str, np.ndarray], counted: np.ndarray) -> None:
        """Add maps of metrics.score_maps, (horizon, C, h, w), at the pixels counted, bool (horizon, h, w)."""
        here = np.broadcast_to(counted[:, None], maps["rank_low"].shape)
        self.ranks += rank_sums(maps["rank_low"][here], maps["rank_high"][here])
        if "snow_probability" in maps:
            self.reliability += reliability_sums(maps["snow_probability"][here], maps["snow"][here])


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
    ranked = often[np.argsort(means, kind="stable")]
    places = [int(share * (len(ranked) - 1)) for share in SHARES]
    return ranked[places]


def pixel_bands(
    F: np.ndarray, pixels: np.ndarray, x: np.ndarray, floor: float | None
) -> np.ndarray:
    """Return the BANDS' quantiles of the first lead and channel, (len(BANDS), pixels).

    F : (horizon, K, C, H, W), or a band of its rows. pixels : (N, 2), places in it.
    """
    here = F[0, :, :1, pixels[:, 0], pixels[:, 1]]  # (N, K, 1)
    columns = np.moveaxis(np.asarray(here), 0, -1)[..., None, :]  # (K, 1, 1, N)
    return np.stack([distribution.quantile(columns, p, x, floor)[0, 0] for p in BANDS])
