"""A forecast as a distribution function: what follows from F at a fixed set of thresholds.

F (..., K, C, h, w) is the probability that a pixel's value is at most each of the K thresholds x (K,), of the value as
it is: not clipped. NaN where nothing is known. `floor` is the snow threshold below which a value counts as 0; None: no
value is clipped. F may be a NumPy array or a torch tensor; what is returned is of the same kind, without the axis K.
Between two thresholds F is taken as linear, and nothing lies outside the first and the last one.
"""

from __future__ import annotations

import numpy as np

SNOW = 0.4  # a pixel whose index is above is snow: Dozier (1989), 10.1016/0034-4257(89)90101-6

# fmt: off
# vegetation and dry soil have an index of -0.7 to -0.4: with wide steps there a 90 % band would hold 96 %
INDEX = (
    -1.0, -0.75, -0.65, -0.6, -0.55, -0.5, -0.45, -0.4, -0.3, -0.2, -0.1,
    -0.05, 0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.375, 0.4,
    0.425, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 0.85, 0.9, 1.0,
)
REFLECTANCE = (
    0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2,
    0.225, 0.25, 0.275, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65,
    0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.1, 1.2, 1.4, 1.6,
)
# fmt: on


def thresholds(ndsi: bool) -> np.ndarray:
    """Return the thresholds (33,) of a snow index, or of a band's reflectance; denser where the values change."""
    return np.array(INDEX if ndsi else REFLECTANCE, np.float32)


def clipped(F, x: np.ndarray, floor: float | None):
    """Return the distribution function of the value that is 0 below `floor`, and its thresholds: those from 0 on."""
    if floor is None:
        return F, x
    first = int(np.searchsorted(x, np.float32(0)))
    levels = x[first:]
    kept = F[..., first:, :, :, :]
    below = _below(F, floor, x)[..., None, :, :, :]
    lump = _along_thresholds(levels < floor, F)
    function = kept * (1 - lump) + below * lump
    return function, levels


def _below(F, level: float, x: np.ndarray):
    """Return the probability of a value that is at most `level`."""
    return 1 - exceedance(F, level, x)


def crps(F, truth, x: np.ndarray, floor: float | None = None):
    """Return the continuous ranked probability score, in units of x; 0 is perfect, NaN where the truth is.

    truth : (..., C, h, w). The integral of (F(x) - 1{truth <= x})^2, exact for F linear between thresholds:
    that of F^2 over all x, and of 1 - 2 F from the truth on. Matheson & Winkler (1976), 10.1287/mnsc.22.10.1087.
    """
    if floor is not None:
        truth = truth * (truth >= floor)
    F, x = clipped(F, x, floor)
    left, right = _ends(F)
    width = _along_thresholds(np.diff(x), F)
    ends = _along_thresholds(x[1:], F)
    after = ends - truth[..., None, :, :, :]
    reach = (after / width).clip(0, 1)  # share beyond the truth
    squares = (left**2 + left * right + right**2) / 3
    rise = right - left
    beyond = reach * (1 - 2 * right + reach * rise)
    score = width * (squares + beyond)
    return score.sum(-4)


def mean(F, x: np.ndarray, floor: float | None = None):
    """Return the expected value: the last threshold less the integral of F up to it."""
    F, x = clipped(F, x, floor)
    left, right = _ends(F)
    middles = (left + right) / 2
    width = _along_thresholds(np.diff(x), F)
    integral = (width * middles).sum(-4)
    return float(x[-1]) - integral


def quantile(F, p, x: np.ndarray, floor: float | None = None):
    """Return the value that is not exceeded with probability p, a number or an array (..., C, h, w)."""
    if not np.isscalar(p):
        p = p[..., None, :, :, :]
    lower, upper = _ends(F)
    rise = upper - lower
    passed = (p - lower) / rise.clip(1e-7)
    passed = passed.clip(0, 1)  # share of each interval that lies below
    width = _along_thresholds(np.diff(x), F)
    way = (width * passed).sum(-4)
    value = float(x[0]) + way
    if floor is None:
        return value
    return value * (value >= floor) + 0.0  # no -0


def exceedance(F, level: float, x: np.ndarray):
    """Return the probability of a value above `level`; P(snow) at the level SNOW."""
    place = np.searchsorted(x, np.float32(level))
    upper = int(np.clip(place, 1, len(x) - 1))
    lower = upper - 1
    width = x[upper] - x[lower]
    share = float((level - x[lower]) / width)
    share = min(max(share, 0.0), 1.0)
    return 1 - (1 - share) * F[..., lower, :, :, :] - share * F[..., upper, :, :, :]


def variance(F, x: np.ndarray, floor: float | None = None):
    """Return the variance, in squared units of x: values lie evenly between two thresholds, or in the lump at 0."""
    F, x = clipped(F, x, floor)
    lower = x[:-1]
    upper = x[1:]
    squares = (lower**2 + lower * upper + upper**2) / 3  # (K - 1,), mean square of an interval
    rise = _rise(F)
    weight = _along_thresholds(squares, F)
    lump = F[..., 0, :, :, :]
    second_moment = (weight * rise).sum(-4)
    second_moment = second_moment + float(x[0]) ** 2 * lump
    spread = second_moment - mean(F, x) ** 2
    return spread.clip(0)


def rank(F, truth, x: np.ndarray, floor: float | None = None):
    """Return the probability of a value below the truth, and of one not above it; both NaN where the truth is.

    truth : (..., C, h, w). The two differ where many values are equal: at 0, for those below `floor`, and at the first
    threshold. A good forecast's ranks, drawn evenly between the two, lie evenly in [0, 1].
    """
    start = _along_thresholds(x[:-1], F)
    width = _along_thresholds(np.diff(x), F)
    before = truth[..., None, :, :, :] - start
    reach = (before / width).clip(0, 1)
    rise = _rise(F)
    passed = (rise * reach).sum(-4)
    high = F[..., 0, :, :, :] + passed
    above_first = truth > float(x[0])
    low = high * above_first
    if floor is None:
        return low, high
    seen = truth >= floor
    low = low * seen
    high = high * seen + _below(F, floor, x) * ~seen
    return low, high


def _ends(F):
    """Return F at the lower and at the upper end of each interval between thresholds, each (..., K - 1, C, h, w)."""
    return F[..., :-1, :, :, :], F[..., 1:, :, :, :]


def _rise(F):
    """Return the probability (..., K - 1, C, h, w) of each interval between thresholds."""
    lower, upper = _ends(F)
    return upper - lower


def _along_thresholds(numbers: np.ndarray, like):
    """Return one number a threshold as (K, 1, 1, 1), of the kind of `like`."""
    column = np.asarray(numbers, np.float32).reshape(-1, 1, 1, 1)
    if isinstance(like, np.ndarray):
        return column
    return like.new_tensor(column)
