"""How well displacements are found on real texture:  python benchmarks/texture.py

Yahtse Glacier in two Landsat scenes 16 days apart, and three textures with a known shear at fractions of a pixel,
beside normalised cross-correlation in windows of 32 and 64 px, DIS optical flow and, where it is installed (pip install
openpiv, under the GPL: for the comparison only), OpenPIV: scatter over still ground, coverage
and scatter of strain rates over ice (Zheng et al., 2023, 10.5194/tc-17-4063-2023), errors by zone, time. Needs the
scenes in ../shared/data/movement/yahtse. Half a minute. Part of benchmarks/movement.py, which holds the bounds.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import rasterio
from scipy import ndimage
from scipy.interpolate import RegularGridInterpolator

from glacier import console
from glacier.robust import nmad
from glacier.velocity import displacement
from glacier.velocity.flow import flow

SCENES = Path(__file__).resolve().parents[2] / "shared/data/movement/yahtse"
DAYS = 16
SPACING = 4
SHIFTS = ((0.0, 0.0), (0.25, 0.0), (0.5, 0.0), (0.4, 0.3))  # px, of the second image
STILL = (slice(330, 590), slice(20, 240))  # rock and old snow beside the glacier
ICE = (slice(30, 300), slice(230, 430))  # its trunk above the icefall
SIDE = 192  # px, of the textures with a known shear
NOISE = 0.2  # of the texture's standard deviation
# RMSE [px] still, middle, margin, steepest, before displacements were held to their neighbours
BEFORE = {
    "crevasses": (0.146, 0.133, 0.141, 0.127),
    "rough": (0.144, 0.145, 0.149, 0.143),
    "smooth": (0.502, 0.534, 0.539, 0.544),
}
BOUNDS = {
    "Yahtse, still ground, mean of four shifts [px]: ours": (0, 0.19),
    "Yahtse, still ground, worst shift / none: ours": (0, 1.1),
    "Yahtse, still ground, ours / correlation 32 px": (0, 1),
}
for _texture in BEFORE:
    for _zone in ("still", "middle", "margin"):
        BOUNDS[f"{_texture}, {_zone}, RMSE / before"] = (0, 0.85)
    BOUNDS[f"{_texture}, steepest, RMSE / before"] = (0, 1)


# ── Trackers ─────────────────────────────────────────────────────────────────────────────────────────────────────


def parabola(low: float, middle: float, high: float) -> float:
    """Return where the parabola through three values has its peak, between -0.5 and 0.5."""
    curvature = low - 2 * middle + high
    if curvature:
        return 0.5 * (low - high) / curvature
    return 0.0


def correlate(first: np.ndarray, second: np.ndarray, window: int, reach: int) -> np.ndarray:
    """Return the displacement (2, h, w) [px] at the nodes by normalised cross-correlation and a parabola's peak."""
    rows, columns = (displacement.nodes(length, SPACING) for length in first.shape)
    half = window // 2
    padded_first = np.pad(first, half, mode="reflect")
    padded_second = np.pad(second, half + reach, mode="reflect")
    field = np.full((2, len(rows), len(columns)), np.nan)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            chip = padded_first[row : row + window, column : column + window]
            side = window + 2 * reach
            area = padded_second[row : row + side, column : column + side]
            score = cv2.matchTemplate(area, chip, cv2.TM_CCOEFF_NORMED)
            y, x = np.unravel_index(score.argmax(), score.shape)
            inside = 0 < x < 2 * reach and 0 < y < 2 * reach
            if not inside or score[y, x] < 0.5:
                continue
            field[0, i, j] = x - reach + parabola(*score[y, x - 1 : x + 2])
            field[1, i, j] = y - reach + parabola(*score[y - 1 : y + 2, x])
    return field


def flow_at_nodes(first: np.ndarray, second: np.ndarray, reach: int) -> np.ndarray:
    rows, columns = (displacement.nodes(length, SPACING) for length in first.shape)
    return flow(first, second, "dis")[:, rows[:, None], columns]


def open_piv(first: np.ndarray, second: np.ndarray, reach: int) -> np.ndarray:
    """Return the displacement (2, h, w) [px] at the nodes by OpenPIV: windows of 64, 32, 32 px, the images deformed.

    NaN where it replaced a vector, and beside the border where no window fits.
    """
    from openpiv import windef

    settings = windef.PIVSettings()
    settings.windowsizes, settings.overlap = (64, 32, 32), (32, 28, 28)
    settings.num_iterations = len(settings.windowsizes)
    settings.min_max_u_disp = settings.min_max_v_disp = (-reach, reach)
    images = (first.astype(float), second.astype(float))
    with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
        x, y, right, up, replaced = windef.simple_multipass(*images, settings)
    middles = np.sort(y[:, 0]), x[0]  # y counts from below, its rows do not
    rows, columns = (displacement.nodes(length, SPACING) for length in first.shape)
    places = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
    parts = []
    for part in (right, -up):
        measured = np.where(replaced, np.nan, part)
        at = RegularGridInterpolator(middles, measured, bounds_error=False, fill_value=np.nan)
        parts.append(at(places))
    return np.array(parts)


TRACKERS: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "ours": lambda first, second, reach: (
        displacement.track(first, second, SPACING, reach).displacement
    ),
    "correlation 32 px": lambda first, second, reach: correlate(first, second, 32, reach),
    "correlation 64 px": lambda first, second, reach: correlate(first, second, 64, reach),
    "DIS": flow_at_nodes,
}
if importlib.util.find_spec("openpiv"):
    TRACKERS["OpenPIV"] = open_piv


# ── A real pair ──────────────────────────────────────────────────────────────────────────────────────────────────


def read_pair() -> list[np.ndarray]:
    images = []
    for path in sorted(SCENES.glob("*.tif")):
        with rasterio.open(path) as file:
            images.append(file.read(1).astype(np.float32))
    return images


def inner(field: np.ndarray) -> np.ndarray:
    return field[..., 5:-5, 5:-5]


def strain_scatter(field: np.ndarray) -> float:
    """Return the scatter of the strain rates along and across the flow [1/yr], by what neighbours differ."""
    velocity = field * 365.25 / DAYS  # px a year
    (along_y_x, along_x_x), (along_y_y, along_x_y) = (
        np.gradient(part, SPACING) for part in velocity
    )
    heading = np.arctan2(velocity[1], velocity[0])
    cos = np.cos(heading)
    sin = np.sin(heading)
    normal = cos**2 * along_x_x + sin * cos * (along_y_x + along_x_y) + sin**2 * along_y_y
    shear = cos * sin * (along_y_y - along_x_x) + (cos**2 - sin**2) * (along_y_x + along_x_y) / 2
    return float(np.hypot(nmad(normal), nmad(shear)) / np.sqrt(2))


def measure_pair() -> list[tuple]:
    """Return the rows of the real pair for every tracker."""
    first, second = read_pair()
    rows = []
    still = {}
    for name, tracker in TRACKERS.items():
        noise = []
        for right, down in SHIFTS:
            moved = ndimage.shift(second, (down, right), order=5, mode="nearest")
            x, y = inner(tracker(first[STILL], moved[STILL], 6))
            noise.append(float(np.hypot(nmad(x), nmad(y)) / np.sqrt(2)))
        still[name] = np.mean(noise)
        start = time.process_time()
        ice = inner(tracker(first[ICE], second[ICE], 16))
        seconds = time.process_time() - start
        rows += [
            (f"Yahtse, still ground, mean of four shifts [px]: {name}", np.mean(noise)),
            (f"Yahtse, still ground, worst shift / none: {name}", max(noise) / noise[0]),
            (f"Yahtse, ice covered [%]: {name}", 100 * float(np.isfinite(ice[0]).mean())),
            (f"Yahtse, scatter of strain rates [1/yr]: {name}", strain_scatter(ice)),
            (f"Yahtse, ice, time [s]: {name}", seconds),
        ]
    peer = still["correlation 32 px"]
    return [*rows, ("Yahtse, still ground, ours / correlation 32 px", still["ours"] / peer)]


# ── A known shear ────────────────────────────────────────────────────────────────────────────────────────────────


def fractal(seed: int, slope: float) -> np.ndarray:
    """Return a random image whose amplitude falls with wave number to the power of `slope`, blurred a little."""
    rng = np.random.default_rng(seed)
    wave = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    wave[0, 0] = np.inf
    spectrum = np.fft.fft2(rng.standard_normal((SIDE, SIDE))) * wave**-slope
    return np.fft.ifft2(spectrum * np.exp(-((wave / 0.25) ** 2))).real


def shear_pair(image: np.ndarray) -> tuple[list[np.ndarray], np.ndarray, dict[str, np.ndarray]]:
    """Return two noisy images of ice between banks, its displacement (2, h, w) [px], and the zones, bool (h, w)."""
    rows, columns = np.indices(image.shape, dtype=float)
    distance = np.abs(columns - SIDE / 2 - 8 * np.sin(rows * 2 * np.pi / SIDE))
    plug = 5.37 / (1 + np.exp((distance - 44) / 8))
    field = np.stack([0.31 * plug + 0.37, plug - 0.27])
    here = np.stack([columns, rows])
    rng = np.random.default_rng(0)
    images = []
    for part in (-0.5, 0.5):
        start = here
        for _ in range(5):  # the displacement has its middle at the pixel
            moved = [
                ndimage.map_coordinates(axis, start[::-1], order=1, mode="nearest")
                for axis in field
            ]
            start = here - part * np.array(moved)
        seen = ndimage.map_coordinates(image, start[::-1], order=5, mode="reflect")
        speckle = ndimage.gaussian_filter(rng.standard_normal(image.shape), 1)
        images.append((seen + NOISE * seen.std() * speckle / speckle.std()).astype(np.float32))
    nodes = displacement.nodes(SIDE, SPACING)
    grid = np.ix_(nodes, nodes)
    slope = np.abs(np.gradient(plug, axis=1))[grid]
    zones = {
        "still": plug[grid] < 0.2,
        "middle": plug[grid] > 5.2,
        "margin": (plug[grid] >= 0.5) & (plug[grid] <= 4.9),
        "steepest": slope >= np.percentile(inner(slope), 90),
    }
    return images, field[:, nodes[:, None], nodes], zones


def measure_shear() -> list[tuple]:
    """Return the RMSE in each zone of three textures for every tracker [px], and ours over that of before."""
    textures = {
        "crevasses": read_pair()[0][160 : 160 + SIDE, 260 : 260 + SIDE].astype(float),
        "rough": fractal(1, 0.5),
        "smooth": fractal(2, 1.2),
    }
    rows = []
    for texture, image in textures.items():
        images, truth, zones = shear_pair(image)
        for name, tracker in TRACKERS.items():
            error = inner(np.hypot(*(tracker(*images, 9) - truth)))
            for (zone, inside), before in zip(zones.items(), BEFORE[texture], strict=True):
                rmse = float(np.sqrt(np.nanmean(error[inner(inside)] ** 2)))
                rows.append((f"{texture}, {zone}, RMSE [px]: {name}", rmse))
                if name == "ours":
                    rows.append((f"{texture}, {zone}, RMSE / before", rmse / before))
    return rows


def measure() -> list[tuple]:
    """Return all rows; none, and say so, without the scenes."""
    if len(list(SCENES.glob("*.tif"))) != 2:
        print(f"{SCENES} does not hold the two scenes: no rows of real texture")
        return []
    cv2.setNumThreads(1)
    return measure_pair() + measure_shear()


if __name__ == "__main__":
    print("\n".join(console.lines_of(measure())))
