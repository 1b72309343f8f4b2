"""How well the velocities of glaciers of known motion are found:  python benchmarks/movement.py

Three demo glaciers (fastest ice 40, 120 and 300 m/yr; 8 years, clouds, changing snow and sun, scenes shifted by
0.4 px), co-registered and tracked as the stages do. Prints the errors against the truth, the coverage of the error
bars, the same pairs tracked by OpenCV's template matching and by Farneback's optical flow, what becomes of the
velocities when co-registration is left out or done over the ice, and time and memory; then the rows of
benchmarks/texture.py, on real texture. Takes about five minutes.
Beside each figure stands its bound; exit code 1 if one is missed.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import cv2
import numpy as np

from benchmarks import texture
from demo.archive import overpasses
from demo.landscape import BANDS, PIXEL_SIZE, build_landscape
from demo.scene import CIRRUS, CLOUD, DILATED, FILL, OFFSET, PAD, SCALE, SHADOW, observe, snow_lines
from glacier import console
from glacier.coregistration.resampling import resample
from glacier.coregistration.series import estimate_transforms
from glacier.grid import Grid
from glacier.ground import ndsi, persistent_snow
from glacier.robust import nmad
from glacier.storage import disk
from glacier.velocity import displacement, fields, velocities
from glacier.velocity.flow import flow
from glacier.velocity.tracking import track_pairs
from glacier.velocity.velocities import Field, Nodes, Pair

SIZE = 256
YEARS = (2013, 2020)
SCENES_PER_YEAR = 22
MASKED = FILL | DILATED | CIRRUS | CLOUD | SHADOW
SINGLE_PAIRS = 12  # of each glacier, for the comparison with other trackers


@dataclass
class Glacier:
    """Scenes as delivered, float32 (T, H, W) reflectance, NaN where masked, and the truth (2, H, W) m/yr."""

    nir: np.ndarray
    ndsi: np.ndarray
    days: list[date]
    truth: np.ndarray
    ice: np.ndarray
    fastest: float

    @property
    def nodes(self) -> Nodes:
        grid = Grid("EPSG:32643", (PIXEL_SIZE, 0, 0, 0, -PIXEL_SIZE, 0), self.ice.shape)
        return Nodes.over(grid, velocities.SPACING)


def make_glacier(fastest: float, seed: int) -> Glacier:
    """Return a demo glacier whose fastest ice moves as many m/yr, with the scenes of less than 20 % cloud."""
    landscape = build_landscape(
        np.random.default_rng([seed, 0]), (SIZE + 2 * PAD,) * 2, SIZE, 0.4, fastest
    )
    rng = np.random.default_rng([seed, 1])
    days = overpasses(YEARS, SCENES_PER_YEAR, int(rng.integers(8)))
    lines, departures = snow_lines(rng, days)
    shifts = 0.4 * rng.standard_normal((len(days), 2)).clip(-2.5, 2.5)
    middle = days[0] + (days[-1] - days[0]) / 2
    kept = []
    nir = []
    index = []
    for number, day in enumerate(days):
        scene = observe(
            np.random.default_rng([seed, 2, number]),
            landscape,
            day,
            (day - middle).days / 365.25,
            lines[number],
            departures[number],
            1.0,
            tuple(shifts[number]),
            False,
        )
        if scene.cloud_fraction < 0.2:
            bands = {
                name: scene.numbers[BANDS.index(name)] * np.float32(SCALE) + np.float32(OFFSET)
                for name in ("green", "nir08", "swir16")
            }
            for band in bands.values():
                band[(scene.qa_pixel & MASKED > 0) | (scene.qa_radsat > 0)] = np.nan
            kept.append(day)
            nir.append(bands["nir08"])
            index.append(ndsi(bands["green"], bands["swir16"]))
    inner = (..., slice(PAD, -PAD), slice(PAD, -PAD))
    return Glacier(
        np.array(nir),
        np.array(index),
        kept,
        landscape.velocity[inner],
        landscape.ice[inner],
        fastest,
    )


def co_register(glacier: Glacier, weights: np.ndarray) -> np.ndarray:
    """Return the near-infrared scenes co-registered over the ground of weight 1, as stage 2 does, (T, H, W)."""
    images = np.stack([np.log(np.maximum(glacier.nir, 0.02)), glacier.ndsi], axis=1)
    transforms = estimate_transforms(images, weights=weights, gauge="archive")
    return np.array(
        [
            resample(image, matrix)
            for image, matrix in zip(glacier.nir, transforms.matrices, strict=True)
        ]
    )


def find_pairs(glacier: Glacier) -> list[Pair]:
    return velocities.choose_pairs(
        glacier.days, velocities.longest_span(reach(glacier), PIXEL_SIZE)
    )


def reach(glacier: Glacier) -> float:
    """Return maxVelocity as a user who knows the glacier a little would set it [m/yr]."""
    return max(60.0, 1.2 * glacier.fastest)


def make_field(
    glacier: Glacier, images: np.ndarray, stable: np.ndarray | None
) -> tuple[Field, np.ndarray]:
    """Return the field of all pairs, and those of the pairs (P, 3, h, w); stable None: nothing is held at rest."""
    pairs = find_pairs(glacier)
    nodes = glacier.nodes
    tracked = np.empty((len(pairs), 3, *nodes.shape), np.float32)
    if stable is not None:
        track_pairs(images, pairs, nodes, stable, reach(glacier), 2, tracked)
        return fields.combine(tracked, pairs, np.ones(len(pairs), bool), stable)[0], tracked
    for number, pair in enumerate(pairs):
        tracks = displacement.track(
            images[pair.first],
            images[pair.second],
            velocities.SPACING,
            reach(glacier) * pair.years / PIXEL_SIZE,
        )
        tracked[number, :2] = velocities.to_velocity(
            tracks.displacement, pair.years, nodes.grid.transform
        )
        tracked[number, 2] = np.where(
            np.isfinite(tracks.displacement[0]), pair.years * tracks.correlation, 0
        )
    return velocities.combine(tracked[:, :2], tracked[:, 2], pairs), tracked


# ── Accuracy ─────────────────────────────────────────────────────────────────────────────────────────────────────


def errors(glacier: Glacier, field: Field, tracked: np.ndarray) -> dict[str, float]:
    """Return the figures of a field, and of its pairs (P, 3, h, w), against the truth.

    Speed and direction where the ice exceeds 30 m/yr.
    """
    truth = glacier.nodes.of(glacier.truth)
    ice = glacier.nodes.of(glacier.ice)
    speed = np.hypot(*truth)
    found = np.isfinite(field.velocity[0])
    fast = ice & found & (speed > 30)
    off = field.velocity - truth
    measured = [east + 1j * north for east, north in (field.velocity[:, fast], truth[:, fast])]
    inside = np.abs(off) < 1.645 * field.error
    ratio = np.hypot(*field.velocity)[fast] / speed[fast]
    return {
        "speed, median error [%]": 100 * float(np.median(np.abs(ratio - 1))),
        "speed, bias [%]": 100 * float(np.median(ratio) - 1),
        "direction, median error [deg]": float(
            np.median(np.abs(np.degrees(np.angle(measured[0] / measured[1]))))
        ),
        "NMAD over ice [m/yr]": max(nmad(part[ice]) for part in off),
        "NMAD over stable ground [m/yr]": max(nmad(part[~ice]) for part in off),
        "ice covered [%]": 100 * float(found[ice].mean()),
        "median error of one pair [m/yr]": float(
            np.nanmedian(np.hypot(*np.moveaxis(tracked[:, :2] - truth, 1, 0))[:, fast])
        ),
        "truth in 90 % interval, ice [%]": 100 * float(inside[:, ice & found].mean()),
        "truth in 90 % interval, ground [%]": 100 * float(inside[:, ~ice & found].mean()),
    }


BOUNDS = {
    "speed, median error [%]": (0, 5),
    "direction, median error [deg]": (0, 3),
    "NMAD over ice [m/yr]": (0, 3),
    "NMAD over stable ground [m/yr]": (0, 1.5),
    "ice covered [%]": (80, 100),
    "truth in 90 % interval, ice [%]": (85, 95),
    "error per pair / better peer": (0, 0.8),
    "error, all pairs / single pair": (0, 0.5),
    "time / template matching": (0, 2),
    "800 x 800 px at 4 px, one core [s]": (0, 10),
}


# ── Other trackers ───────────────────────────────────────────────────────────────────────────────────────────────


def match_templates(
    first: np.ndarray, second: np.ndarray, nodes: Nodes, reach_px: float
) -> np.ndarray:
    """Return the displacement (2, h, w) [px] by cv2.matchTemplate with chips of the same size and a parabola's peak."""
    radius = int(np.ceil(reach_px)) + 1
    half = displacement.CHIP // 2
    filled = [np.nan_to_num(image, nan=float(np.nanmean(image))) for image in (first, second)]
    padded = [np.pad(image, half + radius, mode="reflect") for image in filled]
    field = np.full((2, *nodes.shape), np.nan)
    for i, row in enumerate(nodes.rows):
        for j, column in enumerate(nodes.columns):
            chip = padded[0][
                row + radius : row + radius + 2 * half, column + radius : column + radius + 2 * half
            ]
            area = padded[1][row : row + 2 * (half + radius), column : column + 2 * (half + radius)]
            score = cv2.matchTemplate(area, chip, cv2.TM_CCOEFF_NORMED)
            y, x = np.unravel_index(score.argmax(), score.shape)
            if score[y, x] < displacement.MIN_CORRELATION:
                continue
            field[:, i, j] = x - radius, y - radius
            for axis, (low, middle, high) in enumerate(
                (
                    score[y, x - 1 : x + 2] if 0 < x < 2 * radius else (0, 1, 0),
                    score[y - 1 : y + 2, x] if 0 < y < 2 * radius else (0, 1, 0),
                )
            ):
                field[axis, i, j] += 0.5 * (low - high) / (low - 2 * middle + high)
    return field


def compare_trackers(
    glacier: Glacier, images: np.ndarray, stable: np.ndarray
) -> tuple[dict[str, float], float]:
    """Return median errors over fast ice [m/yr] and times [s] of a pair by each tracker, and the error of this one.

    The same co-registered pairs, at rest over the same ground, at the nodes that every tracker answered.
    """
    nodes = glacier.nodes
    pairs = find_pairs(glacier)
    truth = nodes.of(glacier.truth)
    fast = nodes.of(glacier.ice) & (np.hypot(*truth) > 30)
    chosen = [pairs[number] for number in np.linspace(0, len(pairs) - 1, SINGLE_PAIRS).astype(int)]
    trackers = {
        "ours": lambda first, second, px: (
            displacement.track(first, second, velocities.SPACING, px).displacement
        ),
        "template matching": lambda first, second, px: match_templates(first, second, nodes, px),
        "Farneback": lambda first, second, px: nodes.of(flow(first, second)),
    }
    off = {name: [] for name in trackers}
    seconds = {name: [] for name in trackers}
    cv2.setNumThreads(1)
    for pair in chosen:
        found = {}
        for name, tracker in trackers.items():
            start = time.perf_counter()
            moved = tracker(
                images[pair.first], images[pair.second], reach(glacier) * pair.years / PIXEL_SIZE
            )
            seconds[name].append(time.perf_counter() - start)
            found[name] = velocities.correct(
                velocities.to_velocity(moved, pair.years, nodes.grid.transform), stable
            )[0]
        common = fast & np.all([np.isfinite(field).all(axis=0) for field in found.values()], axis=0)
        if common.sum() > 50:
            for name, field in found.items():
                off[name].append(float(np.median(np.hypot(*(field - truth)[:, common]))))
    typical = {name: float(np.median(values)) for name, values in off.items()}
    ratios = [
        ours / theirs
        for ours, theirs in zip(seconds["ours"], seconds["template matching"], strict=True)
    ]
    figures = {f"error per pair, {name} [m/yr]": value for name, value in typical.items()}
    better = min(typical["template matching"], typical["Farneback"])
    return figures | {
        "error per pair / better peer": typical["ours"] / better,
        "time / template matching": float(np.median(ratios)),
    }, typical["ours"]


# ── Time and memory ──────────────────────────────────────────────────────────────────────────────────────────────


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_cost() -> list[tuple]:
    """Return rows: time of a large pair on one core, gain of two workers, and memory for 10 and for 40 pairs."""
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.standard_normal((808, 808)).astype(np.float32), (0, 0), 2)
    nodes = Nodes.over(
        Grid("EPSG:32643", (PIXEL_SIZE, 0, 0, 0, -PIXEL_SIZE, 0), (800, 800)), velocities.SPACING
    )
    stable = np.ones(nodes.shape, bool)
    with tempfile.TemporaryDirectory() as scratch:
        images = np.memmap(Path(scratch) / "images", np.float32, "w+", shape=(11, 800, 800))
        images[:] = [image[4:804, shift : shift + 800] for shift in np.arange(11) % 8]
        seconds = {1: [], 2: []}
        peaks = []
        for count, workers in ((10, 1), (10, 2), (10, 1), (10, 2), (40, 2)):
            pairs = [Pair(number % 10, number % 10 + 1, 1.0) for number in range(count)]
            with disk.writing_array(Path(scratch) / "tracked.npy", (count, 3, *nodes.shape)) as out:
                start = time.perf_counter()
                track_pairs(images, pairs, nodes, stable, 300.0, workers, out)
            if count == 10:
                seconds[workers].append((time.perf_counter() - start) / count)
            peaks.append(peak_megabytes())
    return [
        ("800 x 800 px at 4 px, one core [s]", min(seconds[1])),
        ("two workers, time / one worker", min(seconds[2]) / min(seconds[1])),
        ("peak memory of 10 pairs, 2 workers [MB]", peaks[3]),
        ("peak memory of 40 pairs, 2 workers [MB]", peaks[4]),
    ]


def verdict(name: str, figure: float) -> str:
    bounds = BOUNDS | texture.BOUNDS
    if name not in bounds:
        return ""
    low, high = bounds[name]
    word = "holds" if low <= figure <= high else "MISSED"
    return f"{word} ({low:g} to {high:g})"


def measure(glacier: Glacier) -> list[tuple]:
    """Return the rows of one glacier: the field, other trackers, and all pairs against single ones."""
    ice = persistent_snow(glacier.ndsi, glacier.days)
    stable = ~glacier.nodes.of(ice)
    images = co_register(glacier, ~ice)
    field, tracked = make_field(glacier, images, stable)
    compared, single = compare_trackers(glacier, images, stable)
    truth = glacier.nodes.of(glacier.truth)
    fast = glacier.nodes.of(glacier.ice) & (np.hypot(*truth) > 30)
    every = float(np.nanmedian(np.hypot(*(field.velocity - truth))[fast]))
    return [
        *errors(glacier, field, tracked).items(),
        *compared.items(),
        ("error, all pairs [m/yr]", every),
        ("error, all pairs / single pair", every / single),
    ]


def measure_damage(glacier: Glacier) -> list[tuple]:
    """Return rows: what is measured where nothing is held at rest over stable ground."""
    rows = []
    for what, series in (
        ("no co-registration", glacier.nir),
        ("co-registration over the ice", co_register(glacier, glacier.ice)),
    ):
        damaged = errors(glacier, *make_field(glacier, series, None))
        rows += [
            (f"{what}: {name}", value)
            for name, value in damaged.items()
            if name.startswith(("speed", "NMAD", "median"))
        ]
    return rows


def main() -> int:
    real = texture.measure()
    print("\n".join(console.lines_of([(*row, verdict(*row)) for row in real])), flush=True)
    missed = sum("MISSED" in verdict(*row) for row in real)
    for fastest, seed in ((None, 0), (40.0, 11), (120.0, 12), (300.0, 13)):
        if fastest is None:
            rows = measure_cost()
        else:
            glacier = make_glacier(fastest, seed)
            print(
                f"fastest ice {fastest:g} m/yr: {len(glacier.days)} scenes, {len(find_pairs(glacier))} pairs"
            )
            rows = measure(glacier) + (measure_damage(glacier) if fastest == 120 else [])
        print("\n".join(console.lines_of([(*row, verdict(*row)) for row in rows])), flush=True)
        missed += sum("MISSED" in verdict(*row) for row in rows)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
