"""Where one image lies on another, by the orientation of their gradients. Pure functions of arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from glacier.coregistration.edges import orientation
from glacier.coregistration.resampling import resample_sharply
from glacier.coregistration.transforms import Match, motion_basis, to_matrix
from glacier.lazily import load
from glacier.robust import nmad

fft = load("scipy.fft")
ndimage = load("scipy.ndimage")
optimize = load("scipy.optimize")

MIN_STRENGTH = 5.0  # deviations; noise and wrong places reach 6.5, but not with so little scatter
MAX_SCATTER = 0.5  # px between the estimates of two halves of the tiles
BLUNT = 3.0  # px of error that a peak of one deviation would mean
MIN_CLEAR = 0.01  # mean orientation of a tile below which it shows nothing
RIDGE = 5e-4  # cost of a px of motion at the frame's edge other than shift, against the height of all peaks
ENOUGH_TILES = 6  # a side of the frame
REACH = 8  # px, how far around a place the correlation is looked at
NEAR = 2  # px, the same when the place is known well
SLOPE_STEP = 0.1  # of the surfaces' grid, over which their slope is taken


def whole_shift(first: np.ndarray, second: np.ndarray, side: int = 256) -> tuple[int, int]:
    """Return the shift x, y [px] at which two orientation fields correlate best, searched at `side` px at most."""
    step = -(-max(first.shape) // side)
    one = shrunk(first, step)
    another = shrunk(second, step)
    size = [fft.next_fast_len(length) for length in one.shape]
    spectrum = np.conj(fft.fft2(one, size)) * fft.fft2(another, size)
    surface = fft.ifft2(half_whitened(spectrum)).real
    row, column = np.unravel_index(surface.argmax(), surface.shape)
    if row > size[0] // 2:  # the far half of the surface holds shifts up and to the left
        row -= size[0]
    if column > size[1] // 2:
        column -= size[1]
    return step * int(column), step * int(row)


def shrunk(field: np.ndarray, step: int) -> np.ndarray:
    """Return the sums over squares of `step` px, (H // step, W // step)."""
    rows = field.shape[0] // step
    columns = field.shape[1] // step
    squares = field[: rows * step, : columns * step].reshape(rows, step, columns, step)
    return squares.sum(axis=(1, 3))


def half_whitened(spectrum: np.ndarray) -> np.ndarray:
    """Return cross spectra (..., h, w) divided by the root of their amplitude: between plain and phase correlation."""
    power = np.abs(spectrum)
    usual = power.mean(axis=(-2, -1), keepdims=True)
    return spectrum / np.sqrt(power + 1e-3 * usual + 1e-9)


class Tiles(NamedTuple):
    """Squares of `side` px: their top-left corners (N, 2) x, y, and the spectra of the reference's orientation."""

    side: int
    corners: np.ndarray
    spectra: np.ndarray


def cut_tiles(field: np.ndarray, corners: np.ndarray, side: int) -> np.ndarray:
    """Return the Fourier transforms of tapered tiles of an orientation field, 0 outside of it, (N, side, side)."""
    taper = np.hanning(side + 2)[1:-1].astype(np.float32)
    tiles = np.zeros((len(corners), side, side), np.complex64)
    for tile, (x, y) in zip(tiles, corners, strict=True):
        top = max(y, 0)
        left = max(x, 0)
        part = field[top : max(y + side, 0), left : max(x + side, 0)]
        height, width = part.shape
        tile[top - y : top - y + height, left - x : left - x + width] = part
    return fft.fft2(tiles * taper * taper[:, None], overwrite_x=True)


def make_tiles(field: np.ndarray, most: int = 16) -> Tiles:
    """Return tiles of the reference, at most `most` a side, without those that show next to nothing."""
    side = min(max(32, min(field.shape) // 5), 128)
    tops, lefts = (tile_starts(length, side, most) for length in field.shape)
    corners = np.array([(x, y) for y in tops for x in lefts])
    squares = [field[y : y + side, x : x + side] for x, y in corners]
    clear = np.array([np.abs(square).mean() for square in squares])
    corners = corners[clear > MIN_CLEAR]
    return Tiles(side, corners, cut_tiles(field, corners, side))


def tile_starts(length: int, side: int, most: int) -> np.ndarray:
    """Return where tiles of `side` px begin along a side of the frame: side by side, closer where these are few.

    On frames of 700 px tiles side by side err by 0.021 and 0.023 px (two runs) where tiles that share a third err by
    0.035 px; on 300 px by 0.026 px instead of 0.023 and 0.025; on 128 px four tiles a side instead of six double the
    error.
    """
    side_by_side = length // side
    sharing_a_third = 3 * length // (2 * side)
    count = max(side_by_side, min(ENOUGH_TILES, sharing_a_third))
    return np.linspace(0, length - side, min(most, count)).round().astype(int)


def surfaces(tiles: Tiles, second: np.ndarray, offsets: np.ndarray, reach: int) -> np.ndarray:
    """Return the correlation of each tile with the second field at displacements `offsets` + (-reach .. reach).

    offsets : (N, 2) whole x, y [px]. Returns (N, 4 reach + 1, 4 reach + 1), rows y, columns x, in steps of half a px.
    """
    shifts = np.arange(-2 * reach, 2 * reach + 1) / 2
    phase = 2j * np.pi * shifts[:, None] * fft.fftfreq(tiles.side)
    wave = np.exp(phase).astype(np.complex64) / tiles.side  # (4 reach + 1, side)
    result = np.empty((len(offsets), len(shifts), len(shifts)), np.float32)
    batches = -(-len(offsets) // 32)
    for part in np.array_split(np.arange(len(offsets)), batches):
        spectra = cut_tiles(second, tiles.corners[part] + offsets[part], tiles.side)
        cross = np.conj(tiles.spectra[part]) * spectra
        cross[:, 0, 0] = 0
        result[part] = (wave @ half_whitened(cross) @ wave.T).real
    return result


def climb(
    correlation: np.ndarray, basis: np.ndarray, offsets: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """Return the parameters (K,) whose displacements maximise the sum of the surfaces, from `start` on.

    correlation : (N, m, m), surfaces around `offsets` (N, 2). basis : (K, N, 2), of motion_basis at the tiles' middles.
    """
    along_rows = ndimage.spline_filter1d(correlation, axis=1)
    spline = ndimage.spline_filter1d(along_rows, axis=2)
    tile = np.tile(np.arange(len(correlation)), 5)
    middle = correlation.shape[1] // 2
    scale = correlation.max(axis=(1, 2)).sum() + 1e-9
    bends = np.arange(len(basis)) > 1  # the first two are the shift
    flat_basis = np.ascontiguousarray(basis).reshape(len(basis), -1)  # (K, 2 N)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the negative sum and its gradient, from the surface at each place and a little around it."""
        displacements = np.dot(parameters[None], flat_basis).reshape(-1, 2)  # (N, 2) px
        x, y = 2 * (displacements - offsets).T + middle  # in steps of the surfaces
        columns = np.concatenate([x, x + SLOPE_STEP, x - SLOPE_STEP, x, x])
        rows = np.concatenate([y, y, y, y + SLOPE_STEP, y - SLOPE_STEP])
        values = ndimage.map_coordinates(
            spline, (tile, rows, columns), order=3, prefilter=False, mode="nearest"
        )
        height, right, left, down, up = values.reshape(5, -1)
        # a px is two steps, and the difference spans two SLOPE_STEPs
        slope = np.stack([right - left, down - up], axis=1) / SLOPE_STEP
        ridge = RIDGE * parameters * bends
        cost = ridge @ parameters - height.sum() / scale
        uphill = np.dot(flat_basis, slope.reshape(-1, 1))[:, 0]  # (K,)
        return cost, 2 * ridge - uphill / scale

    options = {"gtol": 1e-4, "maxiter": 30}
    return optimize.minimize(loss, start, method="BFGS", jac=True, options=options).x


def peak_strength(correlation: np.ndarray) -> float:
    """Return how far the middle of the stacked surfaces (N, m, m) rises above their scatter [deviations].

    The scatter is that of all displacements more than 2 px from the middle, in steps of half a px.
    """
    total = correlation.sum(axis=0)
    middle = len(total) // 2
    distance = np.hypot(*np.ogrid[-middle : middle + 1, -middle : middle + 1])
    around = total[distance > 4]
    peak = total[middle - 1 : middle + 2, middle - 1 : middle + 2].max()
    return float((peak - np.median(around)) / (nmad(around) + 1e-12))


class Reference(NamedTuple):
    """What is compared of a first image: its orientation field (H, W), tiles of it, and how these move.

    model : of the motion. basis : of motion_basis at the middles of the tiles.
    """

    model: str
    field: np.ndarray
    tiles: Tiles
    basis: np.ndarray


def reference_orientation(first: np.ndarray, stable: np.ndarray, model: str) -> Reference | None:
    """Return what is compared of an image with any other; None if it shows next to nothing.

    first : (H, W), NaN where missing. stable : bool, True where nothing moves. model : a key of MODELS.
    """
    field = orientation(first)
    field *= stable
    tiles = make_tiles(field)
    if not len(tiles.corners):
        return None
    basis = motion_basis(model, first.shape, tiles.corners + (tiles.side - 1) / 2)
    return Reference(model, field, tiles, basis)


def register_orientation(reference: Reference, second: np.ndarray) -> Match | None:
    """Return the match of two images by the direction of their edges; None if there is none to be sure of.

    second : (H, W), NaN where missing.
    One shift for the whole image; then a motion of the given model that maximises the sum of the correlation surfaces
    of tiles; then, twice, the same on the second image moved back. The expected error follows from the estimates of
    two halves of the tiles and from how little the peak stands out.
    """
    model, _, tiles, basis = reference
    shape = second.shape
    matrix = to_matrix(first_motion(reference, orientation(second)), model, shape)
    in_place = np.zeros_like(tiles.corners)
    still = np.zeros(len(basis))
    for reach in (NEAR, REACH):  # twice, as a peak seems nearer to 0 than it is
        moved_back = orientation(resample_sharply(second, matrix))
        correlation = surfaces(tiles, moved_back, in_place, reach)
        rest = climb(correlation, basis, in_place, still)
        matrix = matrix @ to_matrix(rest, model, shape)
    strength = peak_strength(correlation)
    if strength < MIN_STRENGTH:
        return None
    halves = [
        climb(correlation[half::2], basis[:, half::2], in_place[half::2], still) for half in (0, 1)
    ]
    differences = np.tensordot(halves[0] - halves[1], basis, 1)  # (N, 2) px
    scatter = np.linalg.norm(differences, axis=1).mean()
    if scatter > MAX_SCATTER:
        return None
    error = float(np.hypot(scatter / 2, BLUNT / strength))
    return Match(matrix / matrix[2, 2], error, strength)


def first_motion(reference: Reference, field: np.ndarray) -> np.ndarray:
    """Return the parameters (K,) of the motion from the reference to a field, to a fraction of a px."""
    _, reference_field, tiles, basis = reference
    parameters = np.zeros(len(basis))
    parameters[:2] = whole_shift(reference_field, field)
    offsets = np.tile(parameters[:2].astype(int), (len(tiles.corners), 1))
    correlation = surfaces(tiles, field, offsets, REACH)
    total = correlation.sum(axis=0)
    row, column = np.unravel_index(total.argmax(), total.shape)
    middle = len(total) // 2
    parameters[:2] += (column - middle) / 2, (row - middle) / 2
    for blur in (2.0, 0.0):  # wide hills first, so that it does not stop on a near one
        smooth = ndimage.gaussian_filter(correlation, (0, blur, blur))
        parameters = climb(smooth, basis, offsets, parameters)
    return parameters
