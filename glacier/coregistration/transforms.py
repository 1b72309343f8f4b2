"""Motion models: matrices from the pixels of one image to those of another.

A matrix (3, 3) takes a pixel (x, y, 1) of the first image, or of the common frame, to a pixel of the second.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from glacier.lazily import load

linalg = load("scipy.linalg")

MODELS = {
    "translation": cv2.MOTION_TRANSLATION,
    "euclidean": cv2.MOTION_EUCLIDEAN,
    "affine": cv2.MOTION_AFFINE,
    "homography": cv2.MOTION_HOMOGRAPHY,
}


class Match(NamedTuple):
    """How the first image lies on the second: matrix (3, 3), its expected error [px], and how clearly it stands out.

    strength : by orientation, height of the peak over its surroundings [deviations]; by ECC, the correlation.
    """

    matrix: np.ndarray
    error: float
    strength: float


def on_finer_grid(matrices: np.ndarray, times: int) -> np.ndarray:
    """Return matrices (..., 3, 3) between pixels of a grid as those between pixels of one finer by some times.

    Pixel 0 of both grids begins at the same corner; whole numbers are the middles of pixels.
    """
    middle = (times - 1) / 2
    to_finer = np.array([[times, 0, middle], [0, times, middle], [0, 0, 1]])
    return to_finer @ matrices @ np.linalg.inv(to_finer)


def unit_frame(shape: tuple[int, int]) -> np.ndarray:
    """Return the matrix (3, 3) from px to a frame around the middle whose longer side goes from -1 to 1."""
    height, width = shape
    half = max(shape) / 2
    left = -width / 2 / half
    top = -height / 2 / half
    return np.array([[1 / half, 0, left], [0, 1 / half, top], [0, 0, 1]])


def middle_shift(matrix: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the displacement x, y of the middle of a (H, W) frame [px]."""
    height, width = shape
    middle_x = width / 2
    middle_y = height / 2
    x, y, scale = matrix @ [middle_x, middle_y, 1]
    return np.array([x / scale - middle_x, y / scale - middle_y])


def corner_shift(matrix: np.ndarray, shape: tuple[int, int]) -> float:
    """Return the largest displacement of the four corners of a (H, W) frame [px]."""
    height, width = shape
    right = width - 1
    bottom = height - 1
    corners = np.array([(0, 0, 1), (0, bottom, 1), (right, 0, 1), (right, bottom, 1)], float)
    moved = corners @ matrix.T
    places = moved[:, :2] / moved[:, 2:]
    shifts = places - corners[:, :2]  # (4, 2)
    lengths = np.hypot(shifts[:, 0], shifts[:, 1])
    return float(lengths.max())


def motion_basis(model: str, shape: tuple[int, int], places: np.ndarray) -> np.ndarray:
    """Return (K, N, 2): displacement x, y of places (N, 2) for each parameter, in px at the edge of the frame."""
    middle = np.array(shape[::-1]) / 2
    half = max(shape) / 2
    from_middle = (places - middle) / half
    x, y = from_middle.T
    one = np.ones_like(x)
    none = np.zeros_like(x)
    shift = [(one, none), (none, one)]
    turn = [(-y, x)]
    linear = [(x, none), (y, none), (none, x), (none, y)]
    perspective = [(x * x, x * y), (x * y, y * y)]
    parameters = {
        "translation": shift,
        "euclidean": shift + turn,
        "affine": shift + linear,
        "homography": shift + linear + perspective,
    }
    basis = np.array(parameters[model])  # (K, 2, N)
    return basis.transpose(0, 2, 1)


def to_matrix(parameters: np.ndarray, model: str, shape: tuple[int, int]) -> np.ndarray:
    """Return the matrix (3, 3) of small motions given as parameters of motion_basis."""
    generator = np.zeros((3, 3))
    generator[:2, 2] = parameters[:2]
    if model == "euclidean":
        angle = parameters[2]
        generator[:2, :2] = [[0, -angle], [angle, 0]]
    elif model != "translation":
        generator[:2, :2] = parameters[2:6].reshape(2, 2)
    if model == "homography":
        generator[2, :2] = -parameters[6:]
    frame = unit_frame(shape)
    half = max(shape) / 2
    motion = linalg.expm(generator / half)
    return np.linalg.inv(frame) @ motion @ frame
