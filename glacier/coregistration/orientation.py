"""Where one image lies on another, by the orientation of their gradients. Pure functions of arrays."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from glacier.coregistration.resampling import resample_sharply
from glacier.coregistration.transforms import Match, motion_basis, to_matrix
from glacier.lazily import load

fft = load("scipy.fft")
ndimage = load("scipy.ndimage")
optimize = load("scipy.optimize")

FLAT = 8.0  # gradients much below this many times the median one count as flat
MIN_STRENGTH = 5.0  # deviations; noise and wrong places reach 6.5, but not with so little scatter
MAX_SCATTER = 0.5  # px between the estimates of two halves of the tiles
BLUNT = 3.0  # px of error that a peak of one deviation would mean
MIN_CLEAR = 0.01  # mean orientation of a tile below which it shows nothing
RIDGE = 5e-4  # cost of a px of motion at the frame's edge other than shift, against the height of all peaks


def orientation(image: np.ndarray) -> np.ndarray:
    """Return the direction of edges at twice its angle, complex64 (H, W), of length near 1 where it is clear.

    0 where flat or where a missing pixel touches the stencil. image : (H, W), NaN where missing. Edges keep their
    direction when light and snow change their strength (Fitch et al., Orientation Correlation, BMVC 2002); at twice its
    angle (Granlund 1978, 10.1016/0146-664X(78)90047-3) also when the bright side becomes the dark one.
    """
    missing = ~np.isfinite(image)
    smooth = cv2.GaussianBlur(np.where(missing, 0, image).astype(np.float32), (3, 3), 0.4)
    gradient = cv2.Scharr(smooth, cv2.CV_32F, 1, 0) + 1j * cv2.Scharr(smooth, cv2.CV_32F, 0, 1)
    strength = np.abs(gradient)
    strength[cv2.dilate(missing.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1) > 0] = 0
    clear = strength[::3, ::3][strength[::3, ::3] > 1e-6]
    length = strength + FLAT * (np.median(clear) if len(clear) else 1)
    return gradient * gradient * (strength > 1e-6) / (length * np.maximum(strength, 1e-6))


def whole_shift(first: np.ndarray, second: np.ndarray, side: int = 256) -> tuple[int, int]:
    """Return the shift x, y [px] at which two orientation fields correlate best, searched at `side` px at most."""
    step = -(-max(first.shape) // side)
    rows, columns = (length // step * step for length in first.shape)
    small = [
        field[:rows, :columns].reshape(rows // step, step, columns // step, step).sum(axis=(1, 3))
        for field in (first, second)
    ]
    size = [fft.next_fast_len(length) for length in small[0].shape]
    surface = fft.ifft2(
        half_whitened(np.conj(fft.fft2(small[0], size)) * fft.fft2(small[1], size))
    ).real
    row, column = np.unravel_index(surface.argmax(), surface.shape)
    return tuple(
        step * int(at - length * (at > length // 2))
        for at, length in ((column, size[1]), (row, size[0]))
    )


def half_whitened(spectrum: np.ndarray) -> np.ndarray:
    """Return cross spectra (..., h, w) divided by the root of their amplitude: between plain and phase correlation."""
    power = np.abs(spectrum)
    return spectrum / np.sqrt(power + 1e-3 * power.mean(axis=(-2, -1), keepdims=True) + 1e-9)


class Tiles(NamedTuple):
    """Squares of `side` px: their top-left corners (N, 2) x, y, and the spectra of the reference's orientation."""

    side: int
    corners: np.ndarray
    spectra: np.ndarray


def cut_tiles(field: np.ndarray, corners: np.ndarray, side: int) -> np.ndarray:
    """Return the Fourier transforms of tapered tiles of an orientation field, 0 outside of it, (N, side, side)."""
    window = np.hanning(side + 2)[1:-1].astype(np.float32)
    tiles = np.zeros((len(corners), side, side), np.complex64)
    for tile, (x, y) in zip(tiles, corners, strict=True):
        top, left = max(y, 0), max(x, 0)
        part = field[top : max(y + side, 0), left : max(x + side, 0)]
        tile[top - y : top - y + part.shape[0], left - x : left - x + part.shape[1]] = part
    return fft.fft2(tiles * window * window[:, None], overwrite_x=True)


def make_tiles(field: np.ndarray, most: int = 16) -> Tiles:
    """Return overlapping tiles of the reference, at most `most` a side, without those that show next to nothing."""
    side = min(max(32, min(field.shape) // 5), 128)
    starts = [
        np.linspace(0, length - side, min(most, 3 * length // (2 * side))).round().astype(int)
        for length in field.shape
    ]
    corners = np.array([(x, y) for y in starts[0] for x in starts[1]])
    clear = [np.abs(field[y : y + side, x : x + side]).mean() for x, y in corners]
    corners = corners[np.array(clear) > MIN_CLEAR]
    return Tiles(side, corners, cut_tiles(field, corners, side))


def surfaces(tiles: Tiles, second: np.ndarray, offsets: np.ndarray, reach: int) -> np.ndarray:
    """Return the correlation of each tile with the second field at displacements `offsets` + (-reach .. reach).

    offsets : (N, 2) whole x, y [px]. Returns (N, 4 reach + 1, 4 reach + 1), rows y, columns x, in steps of half a px.
    """
    shifts = np.arange(-2 * reach, 2 * reach + 1) / 2
    wave = (
        np.exp(2j * np.pi * shifts[:, None] * fft.fftfreq(tiles.side)).astype(np.complex64)
        / tiles.side
    )
    result = np.empty((len(offsets), len(shifts), len(shifts)), np.float32)
    for part in np.array_split(np.arange(len(offsets)), -(-len(offsets) // 32)):
        cross = np.conj(tiles.spectra[part]) * cut_tiles(
            second, tiles.corners[part] + offsets[part], tiles.side
        )
        cross[:, 0, 0] = 0
        result[part] = (wave @ half_whitened(cross) @ wave.T).real
    return result


def climb(
    found: np.ndarray, basis: np.ndarray, offsets: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """Return the parameters (K,) whose displacements maximise the sum of the surfaces, from `start` on."""
    smooth = ndimage.spline_filter1d(ndimage.spline_filter1d(found, axis=1), axis=2)
    number, middle = np.arange(len(found)), found.shape[1] // 2
    scale = found.max(axis=(1, 2)).sum() + 1e-9

    def loss(parameters):
        """The negative sum and its gradient, from the surface at each place and a tenth of a step around it."""
        x, y = 2 * (np.tensordot(parameters, basis, 1) - offsets).T + middle
        places = (
            np.tile(number, 5),
            np.concatenate([y, y, y, y + 0.1, y - 0.1]),
            np.concatenate([x, x + 0.1, x - 0.1, x, x]),
        )
        values = ndimage.map_coordinates(
            smooth, places, order=3, prefilter=False, mode="nearest"
        ).reshape(5, -1)
        slope = np.stack([values[1] - values[2], values[3] - values[4]], axis=1) / 0.1
        cost = RIDGE * parameters * (np.arange(len(parameters)) > 1)
        return cost @ parameters - values[0].sum() / scale, 2 * cost - np.tensordot(
            basis, slope, 2
        ) / scale

    return optimize.minimize(
        loss, start, method="BFGS", jac=True, options={"gtol": 1e-4, "maxiter": 30}
    ).x


def peak_strength(found: np.ndarray) -> float:
    """Return how far the middle of the stacked surfaces (N, m, m) rises above their scatter [deviations].

    The scatter is that of all displacements more than 2 px from the middle, in steps of half a px.
    """
    total = found.sum(axis=0)
    reach = len(total) // 2
    around = total[np.hypot(*np.ogrid[-reach : reach + 1, -reach : reach + 1]) > 4]
    spread = 1.4826 * np.median(np.abs(around - np.median(around)))
    peak = total[reach - 1 : reach + 2, reach - 1 : reach + 2].max()
    return float((peak - np.median(around)) / (spread + 1e-12))


def register_orientation(
    first: np.ndarray, second: np.ndarray, stable: np.ndarray, model: str
) -> Match | None:
    """Return the match of two images by the direction of their edges; None if there is none to be sure of.

    first, second : (H, W), NaN where missing. stable : bool, True where nothing moves; only the first is cut by it.
    One shift for the whole image; then a motion of the given model that maximises the sum of the correlation surfaces
    of tiles; then, twice, the same on the second image moved back. The expected error follows from the estimates of
    two halves of the tiles and from how little the peak stands out.
    """
    reference, field = orientation(first) * stable, orientation(second)
    tiles = make_tiles(reference)
    if not len(tiles.corners):
        return None
    basis = motion_basis(model, first.shape, tiles.corners + (tiles.side - 1) / 2)
    parameters = np.zeros(len(basis))
    parameters[:2] = whole_shift(reference, field)
    offsets = np.tile(parameters[:2].astype(int), (len(tiles.corners), 1))
    found = surfaces(tiles, field, offsets, 8)
    row, column = np.unravel_index(found.sum(axis=0).argmax(), found.shape[1:])
    parameters[:2] += (column - found.shape[2] // 2) / 2, (row - found.shape[1] // 2) / 2
    for blur in (2.0, 0.0):  # wide hills first, lest it stop on a near one
        parameters = climb(
            ndimage.gaussian_filter(found, (0, blur, blur)), basis, offsets, parameters
        )
    matrix, offsets = to_matrix(parameters, model, first.shape), np.zeros_like(offsets)
    for reach in (
        2,
        8,
    ):  # twice, as a peak seems nearer to 0 than it is; then with surroundings to judge it by
        found = surfaces(tiles, orientation(resample_sharply(second, matrix)), offsets, reach)
        matrix = matrix @ to_matrix(
            climb(found, basis, offsets, np.zeros(len(basis))), model, first.shape
        )
    halves = [
        climb(found[half::2], basis[:, half::2], offsets[half::2], np.zeros(len(basis)))
        for half in (0, 1)
    ]
    scatter = np.linalg.norm(np.tensordot(halves[0] - halves[1], basis, 1), axis=1).mean()
    strength = peak_strength(found)
    if strength < MIN_STRENGTH or scatter > MAX_SCATTER:
        return None
    return Match(matrix / matrix[2, 2], float(np.hypot(scatter / 2, BLUNT / strength)), strength)
