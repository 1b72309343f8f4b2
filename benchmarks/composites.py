"""Gap filling and composites, beside the libraries that do the like:

    python benchmarks/composites.py                # everything
    python benchmarks/composites.py gaps           # some of: gaps composites

Scenes: the eight real snow-index scenes of ../shared/data/parvati. Errors are against what the gaps hide.
"""

from __future__ import annotations

import sys
import time
from datetime import date, timedelta
from pathlib import Path

import cv2
import numpy as np
from rasterio.fill import fillnodata
from scipy import ndimage

from glacier import console
from glacier.composites import KERNEL, composite, fill_gaps

PARVATI = Path(__file__).resolve().parents[2] / "shared" / "data" / "parvati"
FURTHEST = 200  # px, how far GDAL looks for a seen pixel
RADIUS = 5  # px, around a pixel, of OpenCV's inpainting


def real_scenes() -> np.ndarray:
    """Return the eight real scenes (8, 800, 800): four quarters of 2019, four of 2021."""
    if not PARVATI.is_dir():
        sys.exit(f"error: no scenes in {PARVATI}")
    names = [f"ndsi_{year}_q{quarter}.npy" for year in (2019, 2021) for quarter in range(1, 5)]
    return np.array([np.load(PARVATI / name) for name in names])


def cloud_shapes(rng: np.random.Generator, shape: tuple[int, int], fraction: float) -> np.ndarray:
    """Return where blobs of the given total fraction lie, bool (H, W)."""
    coarse = rng.normal(size=(shape[0] // 4 + 1, shape[1] // 4 + 1))
    smooth = ndimage.zoom(ndimage.gaussian_filter(coarse, 4), 4, order=1)
    field = smooth[: shape[0], : shape[1]]
    return field > np.quantile(field, 1 - fraction)


def show(title: str, rows: list[tuple]) -> None:
    """Print a table."""
    lines = console.lines_of(rows)
    print("\n" + title + "\n" + "\n".join(lines), flush=True)


# ── Ways to fill gaps: each takes an image (H, W) with NaN and returns it without ─────────────────────────────────


def pixel_by_pixel(image: np.ndarray) -> np.ndarray:
    """The definition of ours as a loop in Python, repeated until full."""
    values = image.astype(float)
    while np.isnan(values).any():
        padded = np.pad(values, 2, constant_values=np.nan)
        for row, column in np.argwhere(np.isnan(values)):
            around = padded[row : row + 5, column : column + 5]
            weights = KERNEL * np.isfinite(around)
            if weights.sum() > 0:
                values[row, column] = np.nansum(weights * around) / weights.sum()
    return values.astype(np.float32)


def gdal(image: np.ndarray) -> np.ndarray:
    """rasterio.fill: from eight directions, weighted by inverse distance."""
    seen = np.isfinite(image)
    filled = np.where(seen, image, 0).astype(np.float32)
    return fillnodata(filled, seen.astype(np.uint8), max_search_distance=FURTHEST)


def navier_stokes(image: np.ndarray) -> np.ndarray:
    """OpenCV's inpainting that carries edges on into the gap."""
    missing = np.isnan(image)
    filled = np.where(missing, 0, image).astype(np.float32)
    return cv2.inpaint(filled, missing.astype(np.uint8), RADIUS, cv2.INPAINT_NS)


def telea(image: np.ndarray) -> np.ndarray:
    """OpenCV's inpainting from the rim inwards, in 256 steps of an index from 0 to 1: on float32 it errs by 1."""
    missing = np.isnan(image)
    filled = np.where(missing, 0, 255 * image).clip(0, 255).astype(np.uint8)
    return cv2.inpaint(filled, missing.astype(np.uint8), RADIUS, cv2.INPAINT_TELEA) / 255


FILLERS = {
    "here": fill_gaps,
    "pixel by pixel in Python": pixel_by_pixel,
    "rasterio.fill": gdal,
    "cv2.inpaint, Telea": telea,
    "cv2.inpaint, Navier-Stokes": navier_stokes,
}


def gaps() -> None:
    """Gaps in cloud shapes, 2 and 10 % of real scenes of 400 x 400: error of what is filled, and time."""
    scenes = real_scenes()[:, 200:600, 200:600]
    rows: list[tuple] = [("filled by", "missing [%]", "RMSE [1]", "bias [1]", "CPU ms a band")]
    for fraction in (0.02, 0.1):
        rng = np.random.default_rng(0)
        hidden = [cloud_shapes(rng, scene.shape, fraction) for scene in scenes]
        for name, fill in FILLERS.items():
            if fill is pixel_by_pixel:
                count = 1
            else:
                count = len(scenes)
            errors = []
            start = time.process_time()
            for scene, gap in zip(scenes[:count], hidden[:count], strict=True):
                filled = fill(np.where(gap, np.nan, scene).astype(np.float32))
                errors.append((filled - scene)[gap])
            milliseconds = 1000 * (time.process_time() - start) / count
            error = np.concatenate(errors)
            rmse = float(np.sqrt(np.mean(error**2)))
            bias = round(float(error.mean()), 4)
            rows.append((name, round(100 * fraction), round(rmse, 4), bias, milliseconds))
    show("Gaps of real scenes, 400 x 400 px, one thread", rows)


def composites() -> None:
    """Seasonal medians of 60 scenes of 400 x 400 with a quarter missing: ours, with spread, counts and gaps filled."""
    import xarray

    scenes = real_scenes()[:, 200:600, 200:600]
    rng = np.random.default_rng(1)
    days = [date(2013, 1, 5) + timedelta(days=24 * number) for number in range(60)]
    stack = np.empty((60, 1, 400, 400), np.float32)
    for number in range(60):
        cloud = cloud_shapes(rng, (400, 400), 0.25)
        noise = rng.normal(0, 0.05, cloud.shape)
        stack[number, 0] = np.where(cloud, np.nan, scenes[number % 8] + noise)
    start = time.process_time()
    values, observed, _ = composite(stack, days, 4)
    seconds = time.process_time() - start
    start = time.process_time()
    times = np.array([str(day) for day in days], "datetime64[ns]")
    dims = ("time", "channel", "row", "column")
    cube = xarray.DataArray(stack, dims=dims, coords={"time": times})
    medians = cube.resample(time="QS").median(skipna=True).values
    other_seconds = time.process_time() - start
    largest = float(np.abs(values - medians)[observed[:, None]].max())
    rows = [
        ("seasons", "CPU s", "what there is"),
        ("here", seconds, "median, spread, counts, gaps filled"),
        ("xarray, resample and median", other_seconds, "median"),
        ("ratio", other_seconds / seconds, f"largest difference of medians {largest:.1g}"),
    ]
    show("Seasonal composites of 60 scenes, 400 x 400 px, one thread", rows)


SECTIONS = {"gaps": gaps, "composites": composites}


if __name__ == "__main__":
    cv2.setNumThreads(1)
    for section in sys.argv[1:] or SECTIONS:
        SECTIONS[section]()
