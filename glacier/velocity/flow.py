"""Dense optical flow between two images, and images carried along a displacement.

Pure functions of arrays. A displacement is (2, ...) in pixels, x to the right and y down, NaN where unknown.
"""

from __future__ import annotations

import cv2
import numpy as np

from config import GlacierError
from glacier.coregistration.resampling import local_contrast
from glacier.velocity.refinement import SIGMA, deform
from glacier.velocity.sampling import blur, midway, pixels, sample

AGREEMENT = 1.0  # px, between where a flow begins and where the flow back leads
CHANCE = 95  # percentile of the correlations of unrelated images that a sure flow must exceed
NEIGHBOURHOOD = 3.0  # px, Gaussian, in which texture is measured


def farneback(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Farneback's flow (H, W, 2) of 8-bit images: 4 levels, windows of 21 px, polynomials over 7 px."""
    return cv2.calcOpticalFlowFarneback(first, second, None, 0.5, 4, 21, 5, 7, 1.5, 0)


def dis(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the flow (H, W, 2) of 8-bit images by dense inverse search."""
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(first, second, None)


FLOWS = {"farneback": farneback, "dis": dis}


def flow(first: np.ndarray, second: np.ndarray, method: str = "farneback") -> np.ndarray:
    """Return the dense optical flow from the first to the second image, float32 (2, H, W) [px].

    first, second : (H, W) in the same unit, NaN where missing; both are brought to 8 bits with one scale between
    the 1st and the 99th percentile of the first. method : "farneback", Farneback (2003), 10.1007/3-540-45103-X_50,
    or "dis", Kroeger et al. (2016), 10.1007/978-3-319-46493-0_29. NaN where either image is.
    """
    if method not in FLOWS:
        raise GlacierError(f"optical flow is one of {', '.join(FLOWS)}; got {method!r}")
    missing = ~(np.isfinite(first) & np.isfinite(second))
    if missing.all():
        return np.full((2, *first.shape), np.nan, np.float32)
    low, high = np.percentile(first[~missing], (1, 99))
    early, late = (
        eight_bits(np.where(missing, low, image), low, high) for image in (first, second)
    )
    field = np.moveaxis(FLOWS[method](early, late), -1, 0).copy()
    field[:, missing] = np.nan
    return field


def eight_bits(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return an image as uint8, `low` and less as 0, `high` and more as 255."""
    scaled = (image.clip(low, high) - low) / max(high - low, 1e-6)
    return (scaled * 255).astype(np.uint8)


def local_deviation(image: np.ndarray) -> np.ndarray:
    """Return the standard deviation in a Gaussian neighbourhood, (H, W), in the image's unit; NaN where missing."""
    seen = np.isfinite(image).astype(np.float32)
    values = np.where(seen > 0, image, 0).astype(np.float32)
    weight = np.maximum(blur(seen, NEIGHBOURHOOD), 1e-6)
    mean = blur(values, NEIGHBOURHOOD) / weight
    squares = blur(values**2, NEIGHBOURHOOD) / weight
    deviation = np.sqrt(np.maximum(squares - mean**2, 0))
    return np.where(seen > 0, deviation, np.nan)


def textured(first: np.ndarray, second: np.ndarray, texture: float) -> np.ndarray:
    """Return where both images show something that can be seen to move, bool (H, W).

    texture : least local standard deviation, in the unit of the images.
    """
    return (local_deviation(first) > texture) & (local_deviation(second) > texture)


def sure_flow(
    first: np.ndarray, second: np.ndarray, texture: float, method: str = "farneback"
) -> np.ndarray:
    """Return the optical flow as `flow`, NaN where it is not sure.

    It is sure where both images have texture, the flow back from the second to the first image leads to within
    AGREEMENT of where it began, and the images brought together are more alike than chance would make them. Flow brings
    any two textures closer: how alike those become that have nothing in common is measured with the second image turned
    upside down. All are followed by their local contrast, which a season changes less than brightness.
    """
    early = np.where(np.isfinite(first), local_contrast(first), np.nan)
    late = np.where(np.isfinite(second), local_contrast(second), np.nan)
    sure = textured(first, second, texture)
    if not sure.any():
        return np.full((2, *first.shape), np.nan, np.float32)
    there = flow(early, late, method)
    back = flow(late, early, method)
    arrived = pixels(first.shape) + np.nan_to_num(there)
    parts = [sample(part, arrived, cv2.INTER_LINEAR) for part in back]
    returned = there + np.array(parts)
    sure &= np.hypot(*returned) < AGREEMENT
    sure &= likeness(early, late, there) > chance_likeness(early, late, sure, method)
    return np.where(sure, there, np.nan).astype(np.float32)


def likeness(early: np.ndarray, late: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """Return the correlation in a window of two images (H, W) brought together by a displacement (2, H, W) [px].

    Of what both show: up to the border, and 0 where they show nothing in common.
    """
    halfway = midway(np.nan_to_num(displacement))
    first = np.nan_to_num(early).astype(np.float32)
    second = np.nan_to_num(late).astype(np.float32)
    before, after, seen = deform(first, second, halfway)
    product = blur(seen * before * after, SIGMA)
    power = blur(seen * before**2, SIGMA) * blur(seen * after**2, SIGMA)
    return product / np.sqrt(np.maximum(power, 1e-12))


def chance_likeness(early: np.ndarray, late: np.ndarray, place: np.ndarray, method: str) -> float:
    """Return the correlation that flow reaches between images that have nothing in common, at most CHANCE % of it.

    place : bool (H, W), where it is looked at. 1, which nothing exceeds, where that is nowhere.
    """
    if not place.any():
        return 1.0
    upside_down = np.ascontiguousarray(late[::-1, ::-1])
    unrelated = likeness(early, upside_down, flow(early, upside_down, method))
    return float(np.percentile(unrelated[place], CHANCE))


def end_point_error(field: np.ndarray, truth: np.ndarray) -> float:
    """Return the median length of the difference of two displacements (2, H, W) [px], NaN if they share no pixel."""
    length = np.hypot(*(field - truth))
    measured = length[np.isfinite(length)]
    if measured.size:
        return float(np.median(measured))
    return float("nan")


def advect(image: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """Return the image (H, W) carried along by a displacement (2, H, W) [px], float32.

    Each pixel shows what was displacement upstream of it, traced back through the middle of the path; an unknown
    displacement is none. NaN where what arrives is missing; the border's value comes in from outside.
    Semi-Lagrangian, as in Germann & Zawadzki (2002), 10.1175/1520-0493(2002)130<2859:SDOTPO>2.0.CO;2.
    """
    path = midway(np.nan_to_num(displacement).astype(np.float32))
    places = pixels(image.shape) - path
    missing = ~np.isfinite(image)
    values = sample(np.where(missing, 0, image), places, cv2.INTER_LANCZOS4, cv2.BORDER_REPLICATE)
    lost = sample(missing, places, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE) > 0.01
    return np.where(lost, np.nan, values)
