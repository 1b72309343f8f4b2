"""Co-registration, composites and gap filling against answers known beforehand."""

import dataclasses
import json
import shutil
from datetime import date, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import command, copy_home
from scipy import ndimage

import alignment
import config
import dataAPI
from config import GlacierError
from glacier.aligned import (
    holds_scenes,
    read_aligned_scenes,
    read_composites,
    write_composite_records,
)
from glacier.composites import (
    KERNEL,
    KINDS,
    NARROW,
    Arrays,
    composite,
    fill_gaps,
    fill_narrow_gaps,
    shapes,
)
from glacier.coregistration import edges, resampling
from glacier.coregistration.adjustment import Pair, adjust
from glacier.coregistration.consensus import confirmed_scenes
from glacier.coregistration.resampling import resample
from glacier.coregistration.series import estimate_transforms, neighbour_pairs
from glacier.coregistration.transforms import corner_shift
from glacier.coregistration.verdict import (
    admit,
    allowed_error,
    best_pairs,
    fits_better,
    geometric_doubt,
    judge,
    unaligned,
)
from glacier.figures.sheets import Thumbnail, contact_sheet
from glacier.grid import Grid
from glacier.ground import month_with_least_snow, ndsi, outline_mask, persistent_snow
from glacier.report.alignment import unaligned_warning
from glacier.seasons import step_date, step_name, year_step
from glacier.storage import disk, pickles, runner


def ground(seed=0, shape=(160, 160), smooth=1.5):
    """Texture (H, W) without edges that would ring under a spline."""
    noise = np.random.default_rng(seed).normal(size=shape)
    return ndimage.gaussian_filter(noise, smooth, mode="wrap").astype(np.float32)


def moved(image, dx, dy):
    """The image with what was at (x, y) now at (x + dx, y + dy), exact for what wraps around."""
    return ndimage.shift(image, (dy, dx), order=5, mode="grid-wrap").astype(np.float32)


def test_ndsi_is_computed_on_reflectance():
    """Snow of green 0.76 and swir16 0.07 has 0.83; on digital numbers it would be 0.58 or less."""
    assert ndsi(np.array([0.76]), np.array([0.07]))[0] == pytest.approx(0.83, abs=0.005)
    green, swir16 = (np.array([value + 0.2]) / 2.75e-5 for value in (0.76, 0.07))
    assert ndsi(green, swir16)[0] == pytest.approx(0.58, abs=0.02)


def test_ndsi_is_missing_where_undefined():
    """Masked, black and negative pixels have no index."""
    index = ndsi(np.array([np.nan, 0.0, -0.1, 0.5]), np.array([0.1, 0.0, 0.05, -0.1]))
    assert np.isnan(index[:3]).all()
    assert index[3] == 1  # noise below zero cannot leave [-1, 1]
    assert index.dtype == np.float32


@pytest.mark.parametrize("method", ["orientation", "ecc"])
@pytest.mark.parametrize("model", ["translation", "euclidean", "affine", "homography"])
def test_known_shift_is_found(model, method):
    """Shifts of up to 3 px between three scenes, with holes and noise, are found to 0.1 px."""
    rng, shifts = np.random.default_rng(1), [(0.0, 0.0), (2.6, -1.3), (-0.4, 0.7)]
    stack = np.array(
        [moved(ground(), *shift) + rng.normal(0, 0.02, (160, 160)) for shift in shifts], np.float32
    )
    for scene, (row, column) in zip(stack, ((30, 40), (90, 20), (60, 120)), strict=True):
        scene[row : row + 25, column : column + 30] = np.nan
    found = estimate_transforms(stack, model, method)
    assert found.accepted.all()
    centre = found.matrices @ [80, 80, 1]
    centre = centre[:, :2] / centre[:, 2:]
    assert centre - centre[0] == pytest.approx(np.array(shifts), abs=0.1)


@pytest.mark.parametrize("method", ["orientation", "ecc"])
def test_ice_motion_survives_coregistration(method):
    """Ground put in the wrong place is put back; ice on 45 % of the width keeps its 3 px."""
    ice = np.zeros((160, 160), bool)
    ice[:, 44:116] = True
    first = np.where(ice, ground(1), ground(0))
    second = moved(np.where(ice, moved(ground(1), 0, 3), ground(0)), 0.4, -0.3)
    found = estimate_transforms(np.array([first, second]), "affine", method, ~ice)
    back = resample(second, found.matrices[1] @ np.linalg.inv(found.matrices[0]))
    inner = (slice(40, 120), slice(60, 100))
    left = [np.nansum((moved(first, 0, dy) - back)[inner] ** 2) for dy in np.arange(2.0, 4.0, 0.05)]
    assert np.arange(2.0, 4.0, 0.05)[np.argmin(left)] == pytest.approx(3.0, rel=0.05)
    outside = (slice(10, -10), slice(5, 40))
    assert np.nanstd((back - first)[outside]) < 0.1 * first.std()


@pytest.mark.parametrize("method", ["orientation", "ecc"])
def test_scenes_that_match_nothing_stay_as_delivered(method):
    """Another place, noise, a constant and an empty scene keep the identity and say why; the others are aligned."""
    stack = np.array(
        [
            ground(),
            moved(ground(), 1.2, 0.4),
            moved(ground(), -0.6, 0.2),
            ground(7),
            np.random.default_rng(3).normal(size=(160, 160)),
            np.full((160, 160), 0.3),
            np.full((160, 160), np.nan),
        ],
        np.float32,
    )
    found = estimate_transforms(stack, "affine", method)
    assert found.accepted.tolist() == [True] * 3 + [False] * 4
    assert (found.matrices[3:] == np.eye(3)).all()
    assert all(found.reasons[3:])


def test_every_scene_is_compared_with_near_and_far_ones():
    """Two seasons that look nothing alike: a tree connects all, and far pairs tie the seasons together many times."""
    season = np.arange(30) % 2
    alike = np.where(season == season[:, None], 0.9, 0.1) - 0.001 * np.abs(
        np.subtract.outer(*[np.arange(30)] * 2)
    )
    pairs = neighbour_pairs(alike)
    assert pairs == neighbour_pairs(alike)
    assert len(set(pairs)) == len(pairs) <= 30 * 6 + 29
    assert all(first < second for first, second in pairs)
    assert sum(season[first] != season[second] for first, second in pairs) > 20
    assert neighbour_pairs(np.ones((2, 2))) == [(0, 1)]


def test_too_little_stable_ground_means_no_correction():
    stack = np.array([ground(), moved(ground(), 1.2, 0.4)])
    found = estimate_transforms(stack, "affine", "ecc", np.zeros((160, 160)))
    assert not found.accepted.any()
    assert "stable ground" in found.reasons[0]


def test_little_stable_ground_means_shifts_only():
    """On 5 % of the scene an affine model is not fitted; the shift still is."""
    stack = np.array([ground(), moved(ground(), 1.2, 0.4)])
    weights = np.zeros((160, 160))
    weights[60:96, 60:96] = 1
    found = estimate_transforms(stack, "affine", "ecc", weights)
    assert found.matrices[:, :2, :2] == pytest.approx(np.tile(np.eye(2), (2, 1, 1)), abs=1e-6)
    assert np.ptp(found.matrices[:, :2, 2], axis=0) == pytest.approx([1.2, 0.4], abs=0.1)


def test_ground_under_clouds_means_shifts_only():
    """All of it is stable, but scenes show half: too little for an affine model, enough for shifts."""
    shifts = [(0.0, 0.0), (1.2, -0.4), (-0.8, 0.6), (0.4, 1.1)]
    stack = np.array([moved(ground(5, (130, 130)), *shift) for shift in shifts], np.float32)
    for scene, row in zip(stack, (0, 6, 12, 18), strict=True):
        scene[row : row + 65] = np.nan
    found = estimate_transforms(stack, "affine")
    assert found.accepted.all()
    assert found.matrices[:, :2, :2] == pytest.approx(np.tile(np.eye(2), (4, 1, 1)), abs=1e-9)
    found_shifts = found.matrices[:, :2, 2] - found.matrices[0, :2, 2]
    assert found_shifts == pytest.approx(np.array(shifts), abs=0.1)


SMALL = [(0.3, -0.2), (-0.4, 0.1), (0.0, 0.4), (0.2, 0.3)]  # px


def seasons(shifts, shape=(128, 128), seed=2):
    """Scenes (T, H, W) of one ground under changing light, at the given shifts, with a little noise."""
    rng = np.random.default_rng(seed)
    lasting, passing = ground(seed, shape), ground(seed + 1, shape, smooth=4)
    scenes = [lasting + rng.uniform(0, 0.5) * passing for _ in shifts]
    moved_scenes = [moved(scene, *shift) for scene, shift in zip(scenes, shifts, strict=True)]
    return np.array(moved_scenes) + rng.normal(0, 0.01, (len(shifts), *shape)).astype(np.float32)


def find(stack, **settings):
    """Transforms as the stage estimates them, for a product that may be 2 px off."""
    return estimate_transforms(stack, "translation", gauge="archive", limit=2.0, **settings)


@pytest.mark.parametrize(
    "far", [[(6, 4)], [(-9, 3)], [(2.5, -17)], [(6, 4), (6, 4)], [(40, -25)], [(7, 0), (-3, 8)]]
)
def test_misplaced_scenes_are_put_right(far):
    """Clear scenes far off, alone or two together, are found where they are, and the others not moved by them."""
    shifts = np.array([*SMALL, *far])
    found = find(seasons(shifts))
    assert found.accepted.all()
    assert not found.displaced.any()
    known = shifts - np.median(shifts, axis=0)
    assert found.matrices[:, :2, 2] == pytest.approx(known, abs=0.15)


def test_misplaced_cloudy_scene_is_put_right():
    shifts = [*SMALL, (-7, 5)]
    stack = seasons(shifts)
    stack[-1, 20:110, :75] = np.nan
    found = find(stack)
    assert found.accepted[-1]
    in_place = np.array(shifts) - np.median(shifts, axis=0)
    assert found.matrices[:, :2, 2] == pytest.approx(in_place, abs=0.15)


def test_scene_beyond_the_search_stays_and_is_flagged():
    """90 of 128 px off nothing can be proved."""
    wide = seasons([*SMALL, (0, 0)], shape=(128, 256))
    stack = np.array([*wide[:-1, :, :128], wide[-1, :, 90:218]])
    found = find(stack)
    assert found.accepted.tolist() == [True] * 4 + [False]
    assert not found.displaced.any()
    assert (found.matrices[-1] == np.eye(3)).all()


def test_rare_state_stays_in_the_composites():
    """First snow looks like no other scene: unconfirmed, as delivered, and not left out."""
    stack = seasons([*SMALL, (0.2, 0.1)])
    stack[-1] = 0.9 + 0.05 * ground(11, (128, 128), smooth=5)
    found, admitted = admit(find(stack), [""] * 5)
    assert found.accepted.tolist() == [True] * 4 + [False]
    assert admitted.all()


def test_cloud_that_always_lies_alike_is_not_confirmed():
    """Scan lines missing at the same places match each other at zero shift; the cloud between them shows no ground."""
    stack = seasons([*SMALL, (0, 0)])
    stack[-1] = ground(21, (128, 128), smooth=6)
    stack[:, ::8] = np.nan
    stack[:, 1::8] = 0.2
    found = find(stack)
    assert not found.accepted[-1]
    assert found.reasons[-1]


def test_scene_that_shows_no_ground_is_not_confirmed_by_matches_at_zero():
    """A cloud whose matches with all others agree, as the rims of missing lines do; its quality is about 0."""
    stack = seasons([*SMALL, (0, 0)])
    stack[-1] = np.random.default_rng(3).normal(size=(128, 128))
    pairs = [
        Pair(first, second, np.eye(3), 0.1, 10.0)
        for first in range(5)
        for second in range(first + 1, 5)
    ]
    matrices = np.tile(np.eye(3), (5, 1, 1))
    found = judge(stack[:, None], np.ones((128, 128), bool), pairs, matrices, 2.0, None)
    assert found.accepted.tolist() == [True] * 4 + [False]
    assert found.quality[-1] < 0.1
    assert found.reasons[-1] == "it has too little in common with its neighbours"


def test_displaced_scene_that_cannot_be_put_right_is_left_out(monkeypatch):
    """Two others prove that it lies 7 px off, but the checks do not agree to the correction."""
    from glacier.coregistration import verdict

    def worse(checks, clear):
        return np.arange(5) < 4

    monkeypatch.setattr(verdict, "fits_better", worse)
    found, admitted = admit(find(seasons([*SMALL, (6, 4)])), [""] * 5)
    assert found.displaced.tolist() == [False] * 4 + [True]
    assert admitted.tolist() == [True] * 4 + [False]
    assert "cannot be put right" in found.reasons[-1]


def test_doubtful_products_enter_only_where_others_confirm_them():
    """Tier 2, or a geometric error of more than 12 m."""
    records = [{"tier": tier, "geometric_rmse": None} for tier in ("T1", "T2", "RT", "", "T2")]
    records += [{"tier": "T1", "geometric_rmse": rmse} for rmse in (11.9, 12.1)]
    doubts = [geometric_doubt(record, 12.0) for record in records]
    assert [bool(doubt) for doubt in doubts] == [False, True, False, False, True, False, True]
    stack = seasons([*SMALL, (0, 0), (0, 0), (0, 0)])
    stack[4:] = [ground(seed, (128, 128)) for seed in (31, 32, 33)]  # shows another place
    found, admitted = admit(find(stack), doubts)
    assert found.accepted.tolist() == [True] * 4 + [False] * 3
    assert admitted.tolist() == [True] * 4 + [False, True, False]
    assert "Tier 2" in found.reasons[4]
    assert "12 m" in found.reasons[6]


def test_one_of_two_checks_is_not_enough_unless_the_correction_is_clear():
    checks = {
        "before": np.array([0.5, 0.5, 0.5, 0.5, 0.5]),
        "after": np.array([0.6, 0.6, 0.4, 0.4, 0.6]),
        "nmad_before": np.array([0.3, 0.3, 0.3, 0.3, 0.3]),
        "nmad_after": np.array([0.2, 0.4, 0.2, 0.4, 0.4]),
    }
    clear = np.array([False, False, False, True, True])
    assert fits_better(checks, clear).tolist() == [True, False, False, False, True]


def test_scenes_at_the_end_of_one_comparison_are_not_confirmed():
    """A ring of four, a chain of two, a triangle at the end of one link, and one alone."""
    ends = [(0, 1), (1, 2), (2, 3), (0, 3), (3, 4), (4, 5), (2, 6), (6, 7), (7, 8), (6, 8)]
    pairs = [Pair(*pair, np.eye(3), 0.1, 10.0) for pair in ends]
    assert np.flatnonzero(confirmed_scenes(pairs, 10)).tolist() == [0, 1, 2, 3]
    pairs.append(Pair(5, 8, np.eye(3), 0.1, 10.0))  # now every scene but the last has two ways
    assert np.flatnonzero(confirmed_scenes(pairs, 10)).tolist() == list(range(9))
    assert confirmed_scenes([pairs[0]], 2).all()
    assert not confirmed_scenes([pairs[0]], 3).any()
    assert not confirmed_scenes(
        [pairs[0], pairs[0]], 3
    ).any()  # two images of one pair are one partner


def test_ecc_does_not_follow_snow_lines():
    """Five scenes of the same place whose snow line wanders by 4 px: the intensities say 0.3 px, the edges none."""
    rng = np.random.default_rng(5)
    rock, snow = ground(4, (128, 128)), ground(9, (128, 128), smooth=8)
    scenes = []
    for step in range(5):
        line = moved(snow / snow.std(), step, 0.5 * step)
        scene = rock / rock.std() + 2 * np.tanh(4 * line)
        scenes.append(scene + rng.normal(0, 0.1, scene.shape))
    found = find(np.array(scenes, np.float32), method="ecc")
    assert np.abs(found.matrices[:, :2, 2]).max() < 0.05


def test_archive_frame_is_the_middle_of_the_scenes():
    """Seen from the middle of all scenes as delivered, the corrections are 0 in the median."""
    shifts = np.array([(1.0, 0.0), (1.5, 0.5), (0.5, -0.5), (1.2, 0.1), (0.8, -0.1)])
    found = estimate_transforms(
        np.array([moved(ground(), *shift) for shift in shifts]), "translation", gauge="archive"
    )
    assert found.matrices[:, :2, 2] == pytest.approx(shifts - [1, 0], abs=0.1)


def test_scene_with_one_featureless_image_is_judged_by_the_other():
    """Two images a scene, the second of one scene constant, as a snow index of 1 everywhere."""
    stack = np.array(
        [
            [moved(ground(), *shift), moved(ground(5), *shift)]
            for shift in ((0, 0), (1.3, -0.8), (-0.6, 0.9), (0.5, 0.4))
        ]
    )
    stack[2, 1] = 1.0
    found = estimate_transforms(stack)
    assert found.accepted.all()
    assert np.isfinite(found.measures["nmad_after"]).all()


def test_scene_turned_about_its_middle_is_not_in_place():
    turn = np.radians(0.8)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    turned = ndimage.affine_transform(
        ground(), matrix, offset=[80, 80] - matrix @ [80, 80], order=5, mode="grid-wrap"
    )
    found = estimate_transforms(np.array([*[ground()] * 5, turned]), gauge="archive")
    assert corner_shift(found.matrices[5], (160, 160)) == pytest.approx(80 * 2**0.5 * turn, rel=0.1)
    assert all(corner_shift(matrix, (160, 160)) < 0.05 for matrix in found.matrices[:5])


def test_quality_tells_what_was_gained():
    stack = np.array([moved(ground(), *shift) for shift in ((0, 0), (1.3, -0.8), (-0.6, 0.9))])
    found = estimate_transforms(stack, "translation")
    assert (found.measures["nmad_after"] < 0.5 * found.measures["nmad_before"])[1:].all()
    assert (found.measures["residual"] < 0.2).all()
    assert (found.measures["expected_error"] < 0.1).all()
    assert (found.quality > 0.9).all()


def test_joint_adjustment_outvotes_a_wrong_pair():
    """Five scenes, all ten pairs right but one, which is 5 px off: nobody moves by more than 0.05 px."""
    shifts = np.array([(0, 0), (1, 2), (-1, 0.5), (0.3, -2), (2, 1)])
    pairs = []
    for i in range(5):
        for j in range(i + 1, 5):
            matrix = np.eye(3)
            matrix[:2, 2] = shifts[j] - shifts[i] + (5 if (i, j) == (1, 3) else 0)
            pairs.append(Pair(i, j, matrix, 0.1, 10.0))
    found = adjust(pairs, 5, (160, 160))[:, :2, 2]
    assert found - found[0] == pytest.approx(shifts, abs=0.05)


@pytest.mark.parametrize("far", [0, 60])
def test_joint_adjustment_tells_far_scenes_from_wrong_pairs(far):
    """Five scenes near their places, the last perhaps 60 px off, and one wrong pair that is the most certain of all."""
    shifts = np.array([(0, 0), (0.3, 0.2), (-0.4, 0.1), (0.2, -0.3), (far, 0.1)])
    pairs = []
    for i in range(5):
        for j in range(i + 1, 5):
            matrix = np.eye(3)
            matrix[:2, 2] = shifts[j] - shifts[i]
            pairs.append(Pair(i, j, matrix, 0.1, 10.0))
    wrong = np.eye(3)
    wrong[:2, 2] = 40, -30
    pairs.append(Pair(1, 3, wrong, 0.02, 10.0))
    found = adjust(pairs, 5, (160, 160), archive=(0.4, 0.03))[:, :2, 2]
    assert found - found[0] == pytest.approx(shifts, abs=0.1)


def test_unknown_method_names_the_known_ones():
    with pytest.raises(GlacierError, match="ecc"):
        estimate_transforms(np.zeros((2, 8, 8)), method="magic")


def test_images_in_blocks_of_rows_are_the_same(monkeypatch):
    """Gaps at the joints and at the edges; what large scenes are made of, a few rows at a time."""
    image = ground(3, (96, 80))
    image[30:35, 20:40] = np.nan
    image[:2] = np.nan
    turned = np.array([[1, 0.01, 0.4], [-0.02, 1.001, -1.3], [0, 0, 1]])

    def made():
        contrast = resampling.local_contrast(image)
        arrays = (
            edges.orientation(image),
            resampling.resample_sharply(image, turned),
            resampling.seen_through(contrast, turned),
        )
        return [array.tobytes() for array in arrays]

    whole = made()
    monkeypatch.setattr(edges, "BLOCK", 31)
    monkeypatch.setattr(resampling, "ROWS", 31)
    assert made() == whole


def test_narrow_gaps_in_blocks_of_rows_are_filled_alike():
    image = ground(5, (60, 40))
    image[np.random.default_rng(0).random(image.shape) < 0.6] = np.nan
    image[20:33, 5:30] = np.nan
    whole = fill_gaps(image, passes=NARROW)
    assert np.isnan(whole).any()
    for rows in (7, 29, 60):
        assert fill_narrow_gaps(image, rows).tobytes() == whole.tobytes()


def test_resample_moves_a_scene_back():
    """Half a pixel of a smooth scene comes back to a few percent of its contrast."""
    image, matrix = ground(smooth=3), np.array([[1, 0, 0.5], [0, 1, -0.25], [0, 0, 1]])
    back = resample(moved(image, 0.5, -0.25), matrix)
    inner = (slice(4, -4), slice(4, -4))
    assert np.abs(back - image)[inner].max() < 0.06 * image.std()


def test_resample_is_exact_and_keeps_gaps_at_whole_shifts():
    image = ground()
    image[10, 20] = np.nan
    assert np.array_equal(resample(image, np.eye(3)), image, equal_nan=True)
    shifted = resample(image, np.array([[1, 0, 3], [0, 1, -2], [0, 0, 1]]))
    assert np.array_equal(shifted[2:, :-3], image[:-2, 3:], equal_nan=True)
    assert np.isnan(shifted[:2]).all()
    assert np.isnan(shifted[:, -3:]).all()


def test_resample_is_missing_where_the_stencil_meets_a_gap():
    """At half coordinates in x and y the 16 pixels around count: a missing one takes 16, the frame's edge 3 a side."""
    image = ground()
    image[50, 60] = np.nan
    half = resample(image, np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]]))
    gap = np.zeros(image.shape, bool)
    gap[48:52, 58:62] = True  # floor(y) - 1 .. floor(y) + 2 must hold 50
    inner = (slice(1, -2), slice(1, -2))
    assert np.array_equal(np.isnan(half)[inner], gap[inner])
    assert np.isnan(half[0]).all()
    assert np.isnan(half[-2:]).all()
    row = resample(image, np.array([[1, 0, 0.5], [0, 1, 0], [0, 0, 1]]))
    assert np.flatnonzero(np.isnan(row[:, 60])).tolist() == [
        50
    ]  # whole rows: no row above or below is used


def plain_fill(image, kernel):
    """One pass of the definition, pixel by pixel."""
    result, padded = image.astype(float), np.pad(image.astype(float), 2, constant_values=np.nan)
    for y, x in np.argwhere(np.isnan(image)):
        total = weight = 0.0
        for dy in range(5):
            for dx in range(5):
                if not np.isnan(padded[y + dy, x + dx]):
                    total += kernel[dy, dx] * padded[y + dy, x + dx]
                    weight += kernel[dy, dx]
        if weight > 0:
            result[y, x] = total / weight
    return result.astype(np.float32)


def test_fill_gaps_equals_the_definition():
    rng = np.random.default_rng(2)
    image = ground(shape=(40, 50))
    image[rng.random(image.shape) < 0.3] = np.nan
    image[5:20, 8:30] = np.nan
    expected, passes = image, 0
    while np.isnan(expected).any():
        expected, passes = plain_fill(expected, KERNEL), passes + 1
        np.testing.assert_allclose(fill_gaps(image, passes=passes), expected, rtol=1e-5, atol=1e-7)
    assert passes > 3
    assert np.isfinite(fill_gaps(image)).all()
    assert np.isnan(fill_gaps(np.full((6, 6), np.nan))).all()


def test_steps_are_calendar_quarters_and_eight_day_steps():
    day = date(2015, 1, 1)
    while day.year < 2017:
        assert (year_step(day, 4) % 4) == (day.month - 1) // 3
        step = year_step(day, 46)
        assert step_date(step, 46) <= day < step_date(step + 1, 46)
        day += timedelta(days=1)
    assert step_date(2015 * 4 + 1, 4) == date(2015, 4, 1)
    first, last = (year_step(date(2015, *part), 46) for part in ((4, 1), (10, 31)))
    assert last - first + 1 == 28


def test_steps_have_the_names_of_their_months():
    assert step_name(date(2021, 7, 1), 4) == "Jul-Sep 2021"
    assert step_name(date(2021, 12, 1), 12) == "Dec 2021"
    assert step_name(date(2021, 1, 1), 1) == "Jan-Dec 2021"
    assert step_name(step_date(46 * 2021 + 12, 46), 46) == "7-14 Apr 2021"
    assert step_name(step_date(46 * 2021 + 11, 46), 46) == "30 Mar-6 Apr 2021"


def test_sheet_shows_a_year_with_what_was_filled_pale(tmp_path):
    """Ten maps of one value: seen ones in its colour, filled ones paler, missing ones grey."""
    from PIL import Image

    seen = np.zeros((40, 40), bool)
    seen[:, :20] = True
    image = np.ones((40, 40), np.float32)
    image[30:] = np.nan
    maps = [Thumbnail(f"map {number}", image, seen) for number in range(10)]
    sheet = np.array(Image.open(contact_sheet(tmp_path / "s.png", maps, "NDSI [1]")).convert("RGB"))
    height, width = sheet.shape[:2]
    assert width < 800
    first = sheet[30 : height // 4, : width // 4].astype(int)
    rows, columns = first.shape[:2]
    full, pale = first[rows // 2, columns // 4], first[rows // 2, 3 * columns // 4]
    assert full[2] < 100 < pale[2]  # yellow has little blue
    assert np.ptp(first[rows - 8, columns // 4]) < 5  # grey where missing


def make_series(years=3, shape=(24, 24)):
    """Scenes (T, 1, H, W) of the middle of each quarter, with clouds."""
    rng = np.random.default_rng(4)
    dates = [date(2013 + i // 4, 2 + 3 * (i % 4), 10) for i in range(4 * years)]
    scenes = rng.normal(0.5, 0.1, (len(dates), 1, *shape)).astype(np.float32)
    for scene in scenes:
        scene[:, 2:20, rng.integers(0, 4) : 20] = np.nan
    return scenes, dates


def test_composite_is_the_median_and_the_series_unbroken():
    scenes = np.array([1, 5, 3, 9], np.float32)[:, None, None, None] * np.ones(
        (1, 1, 6, 6), np.float32
    )
    scenes[3, 0, 0, 0] = np.nan
    dates = [date(2014, 1, 5), date(2014, 2, 1), date(2014, 3, 1), date(2014, 8, 1)]
    values, observed, steps = composite(scenes, dates, 4)
    assert [str(day) for day in steps] == ["2014-01-01", "2014-04-01", "2014-07-01"]
    assert (values[0] == 3).all()
    assert (values[1] == 3).all()  # nothing seen: the step before
    assert observed.sum(axis=(1, 2)).tolist() == [36, 0, 35]
    assert values[2, 0, 0, 0] == 9


def test_composites_say_how_many_scenes_saw_a_pixel_and_how_far_these_differ():
    """Of 1, 5, 3 the median is 3 and 1.4826 x the median distance from it 2.9652; of one scene there is no spread."""
    scenes = np.array([1, 5, 3, 9], np.float32)[:, None, None, None] * np.ones(
        (1, 1, 6, 6), np.float32
    )
    scenes[:3, 0, 2, 2] = np.nan, 4, np.nan
    dates = [date(2014, 1, 5), date(2014, 2, 1), date(2014, 3, 1), date(2014, 8, 1)]
    made = Arrays(*map(np.empty, shapes(3, (1, 6, 6)), KINDS))
    composite(scenes, dates, 4, lambda steps: made)
    assert made.seen[:, 0, 0].tolist() == [3, 0, 1]
    assert made.seen[0, 2, 2] == 1
    assert made.spread[0, 0, 0, 0] == pytest.approx(1.4826 * 2)
    assert np.isnan(made.spread[1:]).all()
    assert np.isnan(made.spread[0, 0, 2, 2])


def test_composites_leave_out_what_is_not_admitted():
    """Of 1, 5, 3, 9 the second and the last do not count: the median of one step, and the length of the series."""
    values = np.array([1, 5, 3, 9], np.float32)[:, None, None, None]
    scenes = values * np.ones((1, 1, 6, 6), np.float32)
    days = [date(2014, 1, 5), date(2014, 2, 1), date(2014, 3, 1), date(2014, 8, 1)]
    admitted = np.array([True, False, True, False])
    composites, observed, steps = composite(scenes, days, 4, admitted=admitted)
    assert [str(day) for day in steps] == ["2014-01-01"]
    assert (composites == 2).all()
    assert observed.all()
    with pytest.raises(GlacierError, match="none of 4 scenes is left"):
        composite(scenes, days, 4, admitted=np.zeros(4, bool))


def test_wide_gaps_are_filled_from_the_same_season_of_earlier_years():
    scenes, dates = make_series()
    values, observed, _ = composite(scenes, dates, 4)
    assert np.isfinite(values).all()
    hidden = ~observed[8]
    middle = np.zeros_like(hidden)
    middle[10, 10] = True
    scenes[0, 0, 10, 10], scenes[4, 0, 10, 10] = 0.2, 0.4
    values, observed, _ = composite(scenes, dates, 4)
    assert hidden[middle].all()
    assert values[8, 0, 10, 10] == pytest.approx(0.3)


def test_nothing_comes_from_a_later_step():
    """Whatever later scenes show, earlier composites stay the same to the last bit."""
    scenes, dates = make_series()
    values, observed, _ = composite(scenes, dates, 4)
    for step in range(1, len(dates)):
        changed = scenes.copy()
        changed[step:] = np.random.default_rng(step).normal(size=changed[step:].shape)
        again, seen, _ = composite(changed, dates, 4)
        assert np.array_equal(again[:step], values[:step])
        assert np.array_equal(seen[:step], observed[:step])


def test_series_without_any_pixel_is_an_error():
    with pytest.raises(GlacierError, match="no scene has a pixel"):
        composite(
            np.full((2, 1, 4, 4), np.nan, np.float32), [date(2014, 1, 1), date(2014, 2, 1)], 4
        )


def test_persistent_snow_is_what_outlasts_the_summer():
    index = np.full((24, 40, 40), 0.8, np.float32)
    dates = [date(2013 + i // 12, 1 + i % 12, 5) for i in range(24)]
    for scene, day in zip(index, dates, strict=True):
        if day.month in (7, 8, 9):
            scene[:, 20:] = -0.2
    snow = persistent_snow(index, dates, margin=2)
    assert snow[:, :22].all()
    assert not snow[:, 22:].any()


def test_melt_season_lies_around_the_month_with_least_snow():
    """August has the least snow. What melts in July is ground; what is bare in October only, snow that lasts."""
    index = np.full((24, 40, 60), 0.8, np.float32)
    dates = [date(2013 + i // 12, 1 + i % 12, 5) for i in range(24)]
    for scene, day in zip(index, dates, strict=True):
        scene[:, :20] = -0.2 if day.month in (7, 8) else 0.8
        scene[:20, :20] = -0.2 if day.month == 8 else 0.8
        scene[:, 40:] = -0.2 if day.month == 10 else 0.8
    index[:, 25:, :20][[6, 18]] = -0.2
    snow = persistent_snow(index, dates, margin=1)
    assert snow[:, 42:].all()
    assert not snow[:, :17].any()


@pytest.mark.parametrize("crs", [None, "EPSG:32643"])
def test_outline_in_any_crs_lands_on_its_pixels(tmp_path, crs):
    """A square of 20 x 10 px, in metres or in degrees."""
    from rasterio.warp import transform

    grid = Grid("EPSG:32643", (30.0, 0.0, 600015.0, 0.0, -30.0, 3550015.0), (60, 80))
    x = [600015 + 30 * column for column in (30, 50, 50, 30, 30)]
    y = [3550015 - 30 * row for row in (20, 20, 30, 30, 20)]
    if crs is None:
        x, y = transform(grid.crs, "EPSG:4326", x, y)
    content = {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "properties": {},
                "geometry": {"type": "Polygon", "coordinates": [list(zip(x, y, strict=True))]},
            }
        ],
    }
    if crs:
        content["crs"] = {"type": "name", "properties": {"name": crs}}
    (tmp_path / "ice.geojson").write_text(json.dumps(content))
    inside = outline_mask(str(tmp_path / "ice.geojson"), grid)
    assert inside[21:29, 31:49].all()
    assert inside[19:31, 29:51].sum() == inside.sum()
    (tmp_path / "ice.geojson").write_text('{"type": "Feature"}')
    with pytest.raises(GlacierError, match="cannot be read"):
        outline_mask(str(tmp_path / "ice.geojson"), grid)


def snow_index(quarter, texture):
    """The true snow index of a quarter, (H, W): rock and snow by the same texture, more snow in winter."""
    return np.clip((0.35, 0.25, -0.1, 0.1)[quarter] + 0.15 * texture, -0.9, 0.95)


def write_scenes(folder, images, days):
    """Write rawData/ of scenes with the given snow index, (T, H, W), as Landsat would deliver them."""
    header = {
        "schema": disk.SCHEMA,
        "crs": "EPSG:32643",
        "transform": [30.0, 0.0, 600015.0, 0.0, -30.0, 3550015.0],
        "shape": list(images[0].shape),
        "bands": ["green", "nir08", "swir16"],
        "scale": 2.75e-5,
        "offset": -0.2,
        "nodata": 0,
    }
    files = []
    for year in sorted({day.year for day in days}):
        members = [i for i, day in enumerate(days) if day.year == year]
        files.append(folder / f"{year}.pkl")
        with disk.writing(files[-1]) as file:
            file.write(pickles.pickled(header | {"count": len(members)}))
            for i in members:
                index = images[i]
                bands = np.array([0.3 * (1 + index), 0.3 + 0.2 * index, 0.3 * (1 - index)])
                scene = {
                    "id": f"scene{i:02}",
                    "datetime": f"{days[i]}T05:00:00",
                    "platform": "landsat-8",
                    "cloud_percent": 0.0,
                    "missing_fraction": 0.0,
                    "sun_azimuth": 150.0,
                    "sun_elevation": 40.0,
                    "tier": "T1",
                    "geometric_rmse": 5.0,
                    "mask": np.zeros(index.shape, np.uint8),
                    "dn": np.round((bands + 0.2) / 2.75e-5).astype(np.uint16),
                }
                file.write(pickles.pickled(scene))
    return files


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """A glacier whose ground and shifts are known, after stage 2: its settings, shifts [px], days and texture."""
    rng = np.random.default_rng(8)
    texture = ground(6, (96, 96), smooth=1.2)
    texture = texture / texture.std()
    days = [date(2014 + i // 4, 2 + 3 * (i % 4), 10) for i in range(8)]
    shifts = rng.uniform(-0.8, 0.8, (8, 2))
    shifts[5] = 6.0, 4.0
    images = [
        moved(snow_index(i % 4, texture), *shift) + rng.normal(0, 0.005, texture.shape)
        for i, shift in enumerate(shifts)
    ]
    images[4] = 0.9 + 0.02 * ground(12, (96, 96), smooth=4)  # snow has hidden all
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLACIER_HOME", str(tmp_path_factory.mktemp("known")))
        cfg = config.load(config.Config, name="known", workers=1)
        files = write_scenes(cfg.folder / "rawData", images, days)
        settings = runner.used_settings(cfg, dataAPI.USES)
        runner.write_manifest(cfg.folder / "rawData", settings, {}, files, {}, 0.0)
        assert alignment.run(cfg) == 0
        yield cfg, shifts, days, texture


def test_stage_writes_the_shifts_that_were_put_in(stage):
    """To the east and to the north in metres, the misplaced scene too; the one that shows nothing is not moved."""
    cfg, shifts, days, _ = stage
    records = disk.read_json(cfg.folder / "aligned" / "quality.json")["scenes"]
    assert [record["date"] for record in records] == [str(day) for day in days]
    accepted = [record["accepted"] for record in records]
    assert accepted == [True] * 4 + [False] + [True] * 3
    in_place = shifts - np.median(shifts[accepted], axis=0)
    in_place[4] = 0
    east = [record["shift_east_m"] for record in records]
    north = [record["shift_north_m"] for record in records]
    assert east == pytest.approx(30 * in_place[:, 0], abs=3)
    assert north == pytest.approx(-30 * in_place[:, 1], abs=3)


def test_stage_makes_composites_of_the_truth(stage):
    """Each composite is the true index of its quarter, where the misplaced scene was alone in its quarter as well."""
    cfg, shifts, _, texture = stage
    composites = read_composites(cfg)
    frame = np.median(np.delete(shifts, 4, axis=0), axis=0)
    inner = (slice(8, -8), slice(8, -8))
    for step, values in enumerate(composites.values):
        if step == 4:
            assert values.mean() == pytest.approx(0.9, abs=0.01)  # the rare state is there
            continue
        truth = moved(snow_index(step % 4, texture), *frame)
        error = np.sqrt(np.mean((values[0] - truth)[inner] ** 2))
        assert error < 0.02, step
    assert composites.counts == (1,) * 8
    assert composites.observed[:, 8:-8, 8:-8].all()


def test_other_steps_a_year_make_other_composites_only(stage, tmp_path, monkeypatch):
    """The co-registered scenes stay, to their time of writing; whatever else changes, they are made anew."""
    cfg, *_ = stage
    folder = cfg.folder / "aligned"
    kept = {name: (folder / name).stat().st_mtime_ns for name in ("scenes.npy", "quality.json")}
    half_yearly = dataclasses.replace(cfg, stepsPerYear=2)
    assert alignment.run(half_yearly) == 0
    composites = read_composites(half_yearly)
    assert composites.counts == (2,) * 4
    assert kept == {name: (folder / name).stat().st_mtime_ns for name in kept}
    assert (folder / "quicklooks" / "coregistration.gif").is_file()
    assert holds_scenes(folder, alignment.scenes_fingerprint(cfg))
    for name, value in (("motionModel", "translation"), ("maxGeometricError", 3.0)):
        changed = dataclasses.replace(cfg, **{name: value})
        assert not holds_scenes(folder, alignment.scenes_fingerprint(changed))
    anew = []

    def co_register(*words):
        anew.append(words)
        raise GlacierError("made anew")

    monkeypatch.setattr(alignment, "co_register", co_register)
    with pytest.raises(GlacierError, match="made anew"):
        alignment.make_aligned(dataclasses.replace(half_yearly, force=True), folder)
    assert len(anew) == 1
    copy = shutil.copytree(folder, tmp_path / "aligned")
    assert holds_scenes(copy, alignment.scenes_fingerprint(cfg))
    values = np.load(copy / "scenes.npy", mmap_mode="r+")
    values[3, 0, 40, 40] += 1
    values.flush()
    assert not holds_scenes(copy, alignment.scenes_fingerprint(cfg))


def test_most_scenes_unaligned_is_said(stage):
    cfg, *_ = stage
    scenes = read_aligned_scenes(cfg)
    assert unaligned_warning(scenes) == ""
    few = dataclasses.replace(scenes, accepted=np.arange(8) < 3)
    warning = unaligned_warning(few)
    assert warning.startswith("5 of 8 scenes stayed where the archive put them")
    assert "the other 3 scenes only" in warning


@pytest.fixture(scope="module")
def series(finished_home):
    """Composites, aligned scenes and known misregistration of the small demo glacier."""
    from demo.makeGlacier import read_truth

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLACIER_HOME", str(finished_home))
        cfg = config.load(config.Config, name="small")
        yield read_composites(cfg), read_aligned_scenes(cfg), read_truth(cfg.folder / "archive")


def test_demo_misregistration_is_recovered(series):
    """Against the truth, common offset removed: less than half of what it was, on only 96 x 96 px."""
    _, scenes, truth = series
    known = truth.misregistration[[truth.ids.index(name) for name in scenes.ids]]
    side = scenes.values.shape[-1]
    found = (scenes.matrices @ [side / 2, side / 2, 1])[:, :2] - side / 2
    left = found - known
    error = np.hypot(*(left - np.median(left, axis=0)).T)
    before = np.hypot(*(known - np.median(known, axis=0)).T)
    assert error.mean() < 0.2
    assert error.mean() < before.mean() / 2


def test_demo_composites_are_whole(series):
    found, scenes, _ = series
    assert np.isfinite(found.values).all()
    assert found.values.shape == (len(found.dates), 1, *found.observed.shape[1:])
    assert sum(found.counts) == len(scenes.ids)
    assert list(found.dates) == sorted(found.dates)
    assert 0.5 < found.observed.mean() <= 1


def test_residual_is_that_of_phase_correlation_where_it_holds(
    monkeypatch,
):
    """Less than a pixel is believed; more, or nothing found, is not."""
    from glacier.coregistration import verdict

    count = 4
    pairs = [Pair(0, 1, np.eye(3), 0.2, 9.0), Pair(0, 2, np.eye(3), 0.3, 8.0)]
    pairs += [Pair(1, 2, np.eye(3), 0.4, 7.0), Pair(2, 3, np.eye(3), 0.5, 6.0)]
    checks = {name: np.ones(count) for name in ("before", "after", "nmad_before", "nmad_after")}
    checks["residual"] = np.array([0.7, 1.5, np.nan, 0.1])
    monkeypatch.setattr(verdict, "check_scenes", lambda *parts: checks)
    matrices = np.tile(np.eye(3), (count, 1, 1))
    found = judge(np.ones((count, 1, 9, 9)), np.ones((9, 9), bool), pairs, matrices, 2.0, None)
    assert found.measures["expected_error"].tolist() == [0.2, 0.2, 0.3, 0.5]
    assert found.measures["strength"].tolist() == [9, 9, 8, 6]
    assert found.measures["residual"].tolist() == [0.7, 0.2, 0.3, 0.1]


def test_each_scene_is_checked_by_its_two_most_certain_partners():
    """Two images of one pair are one partner, by the better of them."""
    pairs = [Pair(0, 1, np.eye(3), error, 5.0) for error in (0.5, 0.1)]
    pairs += [Pair(0, 2, np.eye(3), 0.3, 5.0), Pair(0, 3, np.eye(3), 0.2, 5.0)]
    checked = [[pair.error for pair in few] for few in best_pairs(pairs, 4)]
    assert checked == [[0.1, 0.2], [0.1], [0.3], [0.2]]


def test_products_may_lie_sixty_metres_off_and_two_pixels_at_least():
    assert [allowed_error(size) for size in (10.0, 30.0, 460.0)] == [6.0, 2.0, 2.0]


def test_the_stage_asks_no_more_of_the_product_than_its_pixels_allow(stage, monkeypatch):
    cfg, *_ = stage
    asked = {}

    def estimate(stack, *words, **named):
        asked.update(named)
        return unaligned(3, "not tried")

    monkeypatch.setattr(alignment, "estimate_transforms", estimate)
    monkeypatch.setattr(alignment, "stable_ground", lambda *parts: np.ones((9, 9)))
    records = [{"tier": "T1", "geometric_rmse": 5.0}] * 3
    grid = Grid("EPSG:32643", (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), (9, 9))
    alignment.find_transforms(cfg, grid, SimpleNamespace(images=[], records=records))
    assert asked["limit"] == 6.0


def test_records_count_the_scenes_that_are_in_the_composites(tmp_path):
    days = ("2014-01-05", "2014-02-01", "2014-03-01", "2014-08-01")
    scenes = SimpleNamespace(
        dates=days,
        in_composites=np.array([True, False, True, True]),
        channels=("ndsi",),
        crs="EPSG:32643",
        transform=(30.0, 0.0, 0.0, 0.0, -30.0, 0.0),
    )
    steps = [date(2014, 1, 1), date(2014, 4, 1), date(2014, 7, 1)]
    write_composite_records(tmp_path / "aligned", scenes, steps, 4)
    for name in ("composites.npy", "observed.npy"):
        np.save(tmp_path / "aligned" / name, np.ones((3, 1, 2, 2)))
    composites = read_composites(SimpleNamespace(folder=tmp_path))
    assert composites.counts == (2, 0, 1)
    assert composites.periods()[0] == (date(2014, 1, 1), date(2014, 3, 31))
    assert composites.periods()[2] == (date(2014, 7, 1), date(2014, 9, 30))


def test_a_pixel_is_seen_where_all_channels_are():
    """Two channels: the first scene lacks one everywhere, the second in a corner; the series begins with the second."""
    scenes = np.ones((3, 2, 6, 6), np.float32)
    scenes[0, 1] = np.nan
    scenes[1, 0, 0, 0] = np.nan
    days = [date(2014, 1, 5), date(2014, 4, 5), date(2014, 5, 5)]
    made = Arrays(*map(np.empty, shapes(1, (2, 6, 6)), KINDS))
    *_, steps = composite(scenes, days, 4, lambda steps: made)
    assert steps == [date(2014, 4, 1)]
    assert made.seen[0, 0, 0] == 1
    assert made.seen[0, 3, 3] == 2


def test_clouds_do_not_make_a_month_bare():
    """July is half snow; August is all snow, what can be seen of it through cloud."""
    index = np.full((4, 20, 20), 0.8, np.float32)
    index[:2, :10] = -0.2
    index[2:, :18] = np.nan
    months = np.array([7, 7, 8, 8])
    assert month_with_least_snow(index, months) == 7


def copy_of_known(stage, target):
    """Return a copy of the home of `stage`, and what was written there of its scenes."""
    cfg, *_ = stage
    home = copy_home(cfg.folder.parents[1], target)
    record = home / "datasets" / "known" / "aligned" / "scenes.json"
    return home, record, record.read_bytes()


FORCE = ("alignment.py", "--name=known", "--force")


def test_several_processes_find_what_one_finds(stage, tmp_path):
    home, record, expected = copy_of_known(stage, tmp_path)
    command(home, *FORCE, "--workers=2")
    assert record.read_bytes() == expected


@pytest.mark.peers
def test_workers_of_a_dask_cluster_find_the_same_transforms(stage, tmp_path):
    distributed = pytest.importorskip(
        "distributed", reason="distributed is not installed: requirements-cluster.txt"
    )
    home, record, expected = copy_of_known(stage, tmp_path)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        command(home, *FORCE, f"--executor={cluster.scheduler_address}")
    assert record.read_bytes() == expected
