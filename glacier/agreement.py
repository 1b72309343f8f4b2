"""Whether the sensors of a series agree: the bias of their snow index, from scenes a few days apart.

Their bands differ (green of Landsat 5 is not that of Sentinel-2), and so does the snow index of the same ground.
Overlaps in the series itself tell by how much.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from glacier.scenes import Scene

DAYS_APART = 3  # at most, between two scenes that are compared
PIXELS = 250_000  # of a scene, at most: every n-th
LEAST_PIXELS = 200  # clear and stable in both scenes
STABLE = 0.15  # a pixel whose snow index changed by more has changed itself
MEDIAN_ERROR = 1.2533  # standard error of a median over that of a mean, for normal errors


@dataclass(frozen=True)
class Overlap:
    """Two sensors' scenes a few days apart: the median of first less second, of the snow index [1]."""

    first: str
    second: str
    difference: float


@dataclass(frozen=True)
class Bias:
    """By how much a sensor's snow index exceeds the reference's [1], and the standard error; NaN if nothing tells.

    overlaps : pairs of scenes that tell of this sensor.
    """

    sensor: str
    bias: float
    error: float
    overlaps: int


def find_overlaps(scenes: Iterable[Scene]) -> list[Overlap]:
    """Return what scenes of different sensors, at most DAYS_APART days apart, say of each other.

    scenes : in time order; few are in memory at a time, and of these a sample of the pixels.
    """
    recent: list[tuple[str, dt.date, np.ndarray]] = []
    overlaps = []
    for scene in scenes:
        if not {"green", "swir16"} <= set(scene.bands):
            continue
        recent = [one for one in recent if (scene.date - one[1]).days <= DAYS_APART]
        index = sample(scene.snow_index())
        for sensor, _, earlier in recent:
            difference = median_difference(index, earlier)
            if sensor != scene.sensor and not math.isnan(difference):
                overlaps.append(Overlap(scene.sensor, sensor, difference))
        recent.append((scene.sensor, scene.date, index))
    return overlaps


def sample(image: np.ndarray) -> np.ndarray:
    """Return every n-th pixel of an image (H, W), at most PIXELS of them."""
    step = math.ceil(math.sqrt(image.size / PIXELS))
    return image[::step, ::step]


def median_difference(first: np.ndarray, second: np.ndarray) -> float:
    """Return the median of first less second over clear stable pixels, NaN if they are too few.

    first, second : snow index (H, W), NaN where missing. Snow that fell or melted between the two is no disagreement: a
    stable pixel is snow in both or in neither, and changes little.
    """
    from glacier.ground import SNOW  # loads OpenCV, which a series of one sensor does not need

    difference = first - second
    with np.errstate(invalid="ignore"):
        same_ground = (first > SNOW) == (second > SNOW)
        stable = same_ground & (np.abs(difference) < STABLE)
    if stable.sum() < LEAST_PIXELS:
        return math.nan
    return float(np.median(difference[stable]))


def find_biases(overlaps: Sequence[Overlap], sensors: Sequence[str]) -> list[Bias]:
    """Return the bias of each sensor against the first, also by way of a third, by weighted least squares.

    overlaps : of any two. Each pair of sensors counts with the median of its overlaps, weighed by how sure that is.
    """
    rows = []
    values = []
    weights = []
    for first, second in sorted({(overlap.first, overlap.second) for overlap in overlaps}):
        if first > second and (second, first) in {(one.first, one.second) for one in overlaps}:
            continue
        differences = both_ways(overlaps, first, second)
        row = np.zeros(len(sensors))
        row[sensors.index(first)] = 1
        row[sensors.index(second)] = -1
        rows.append(row[1:])  # the reference is 0
        values.append(np.median(differences))
        weights.append(1 / standard_error(differences))
    matrix = np.array(rows).reshape(-1, len(sensors) - 1)
    weight = np.array(weights)
    solution = np.linalg.lstsq(matrix * weight[:, None], np.array(values) * weight, rcond=None)[0]
    covariance = np.linalg.pinv((matrix * weight[:, None]).T @ (matrix * weight[:, None]))
    tied = tied_to(sensors[0], overlaps)
    biases = [Bias(sensors[0], 0.0, 0.0, count_of(overlaps, sensors[0]))]
    for number, sensor in enumerate(sensors[1:]):
        bias = float(solution[number])
        error = float(np.sqrt(covariance[number, number]))
        if sensor not in tied:
            bias = math.nan
            error = math.nan
        biases.append(Bias(sensor, bias, error, count_of(overlaps, sensor)))
    return biases


def both_ways(overlaps: Sequence[Overlap], first: str, second: str) -> list[float]:
    """Return all differences of two sensors, first less second, whichever came first."""
    forth = [one.difference for one in overlaps if (one.first, one.second) == (first, second)]
    back = [-one.difference for one in overlaps if (one.first, one.second) == (second, first)]
    return forth + back


def standard_error(differences: Sequence[float]) -> float:
    """Return the standard error of the median of differences; STABLE, the most there can be, of a single one."""
    if len(differences) < 2:
        return STABLE
    values = np.asarray(differences)
    spread = 1.4826 * np.median(np.abs(values - np.median(values)))
    return max(MEDIAN_ERROR * float(spread) / math.sqrt(len(values)), 1e-4)


def tied_to(reference: str, overlaps: Sequence[Overlap]) -> set[str]:
    """Return the sensors that overlap with the reference, or with one that does."""
    tied = {reference}
    while True:
        pairs = [{one.first, one.second} for one in overlaps]
        wider = tied.copy()
        for pair in pairs:
            if pair & wider:
                wider |= pair
        if wider == tied:
            return tied
        tied = wider


def count_of(overlaps: Sequence[Overlap], sensor: str) -> int:
    """Return how many overlaps tell of a sensor."""
    return sum(sensor in (one.first, one.second) for one in overlaps)


def compare_sensors(scenes: Iterable[Scene], sensors: Sequence[str]) -> list[Bias]:
    """Return the bias of each sensor of a series against the first, an empty list if no two overlap.

    scenes : in time order. sensors : keys of satellites/sensors.py, the reference first.
    """
    if len(sensors) < 2:
        return []
    overlaps = find_overlaps(scenes)
    if overlaps:
        return find_biases(overlaps, sensors)
    return []


def table_of(biases: Sequence[Bias], reference: str) -> list[tuple]:
    """Return a row a sensor: how its snow index differs from the reference's, with its error."""
    rows = []
    for one in biases[1:]:
        if math.isnan(one.bias):
            rows.append((f"snow index of {one.sensor} less {reference}", "no overlap"))
        else:
            text = f"{one.bias:+.4f} +- {one.error:.4f} ({one.overlaps} pairs)"
            rows.append((f"snow index of {one.sensor} less {reference}", text))
    return rows
