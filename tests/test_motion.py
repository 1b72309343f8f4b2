"""A forecast that shows no motion is seen to; a climatology carried along by the ice beats one that is not."""

from datetime import date
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import ndimage

from DeepLearning.verification.motion import AdvectedClimatology, compare_flows, compare_tracks
from glacier import distribution
from glacier.climatology import Climatology
from glacier.velocity.flow import FLOWS, sure_flow, textured
from glacier.velocity.velocities import Field


@pytest.fixture(scope="module")
def drifting():
    """Eight yearly maps (8, 64, 64) of a pattern that moves by 1.5 px a year to the right."""
    noise = ndimage.gaussian_filter(
        np.random.default_rng(0).standard_normal((64, 64)), 2, mode="wrap"
    )
    return np.array(
        [
            ndimage.shift(noise / noise.std() / 4 + 0.5, (0, 1.5 * year), order=5, mode="grid-wrap")
            for year in range(8)
        ]
    ).astype(np.float32)


def test_a_copied_forecast_has_no_motion_and_a_perfect_one_no_difference(drifting):
    copied = np.repeat(drifting[:1], 4, axis=0)
    for row in compare_flows(drifting[:4], copied, 30.0):
        assert row["truth_m"] == pytest.approx(45, abs=6)
        assert row["forecast_m"] == pytest.approx(0, abs=3)
        assert row["difference_m"] == pytest.approx(row["truth_m"], rel=0.2)
    assert {row["difference_m"] for row in compare_flows(drifting[:4], drifting[:4], 30.0)} == {0}


def test_arrows_only_where_both_images_show_something_and_the_way_back_agrees(drifting):
    """A pattern that moves by 1.5 px on the left, blank snow on the right; and two that have nothing in common."""
    first, second = drifting[0].copy(), drifting[1].copy()
    blank = np.random.default_rng(1).normal(0.9, 0.01, (2, 64, 64))
    first[:, 32:], second[:, 32:] = blank[0][:, 32:], blank[1][:, 32:]
    for method in FLOWS:
        field = sure_flow(first, second, 0.05, method)
        known = np.isfinite(field[0])
        assert known[8:56, 8:24].mean() > 0.9
        assert np.nanmedian(field[:, 8:56, 8:24], axis=(1, 2)) == pytest.approx([1.5, 0], abs=0.2)
        assert not known[:, 44:].any()
        assert np.nanmax(np.hypot(*field)) < 10
    (row, *_) = compare_flows(np.stack([first, second]), np.stack([first, first * 0 + 0.5]), 30.0)
    assert 35 < row["truth_without_percent"] < 60
    assert row["forecast_without_percent"] == 100
    assert row["found_percent"] == 0


@pytest.mark.parametrize("method", FLOWS)
@pytest.mark.parametrize("width", [1.5, 3, 5])
def test_two_maps_that_have_nothing_in_common_show_no_motion(method, width):
    """Flow makes any two textures alike a little, smooth ones a lot: that is no motion."""
    noise = np.random.default_rng(7).standard_normal((2, 96, 96))
    smooth = ndimage.gaussian_filter(noise, (0, width, width), mode="wrap")
    first, second = (0.5 + smooth / smooth.std() / 4).astype(np.float32)
    field = sure_flow(first, second, 0.05, method)
    assert np.isfinite(field[0]).mean() < 0.1


def test_seasons_keep_their_arrows(drifting):
    """Another brightness and half of the contrast, as of another season: most of the texture is still followed."""
    first, second = drifting[0], 0.3 + 0.5 * drifting[1]
    kept = np.isfinite(sure_flow(first, second, 0.05)[0])
    assert kept[textured(first, second, 0.05)].mean() > 0.9


def test_chips_are_followed_in_truth_and_forecast_and_a_blurred_forecast_loses_them(drifting):
    before = np.stack([drifting[0], np.full((64, 64), np.nan, np.float32)])
    truth = drifting[1:3]
    (perfect,) = compare_tracks(
        before, truth, truth, 30.0, 8.0
    )  # the second lead has no earlier year
    assert (perfect["lead"], perfect["difference_m"], perfect["found_percent"]) == (1, 0, 100)
    assert perfect["truth_m"] == pytest.approx(45, abs=6)
    (copied,) = compare_tracks(before, truth, np.repeat(drifting[:1], 2, axis=0), 30.0, 8.0)
    assert copied["forecast_m"] == pytest.approx(0, abs=1)
    assert copied["difference_m"] == pytest.approx(copied["truth_m"], rel=0.1)
    (flat,) = compare_tracks(before, truth, np.full_like(truth, 0.5), 30.0, 8.0)
    assert flat["found_percent"] == 0


@pytest.mark.parametrize(("error", "moves"), [(0.1, True), (1000.0, False)])
def test_climatology_is_carried_where_the_velocity_is_certain(drifting, error, moves):
    """Six years: carried, half of climatology's error goes; where nothing moves it stays what it is, no surer."""
    x = distribution.thresholds(ndsi=True)
    frames = drifting[:, None]
    series = SimpleNamespace(
        values=frames, unclipped=frames, observed=np.ones((8, 64, 64), bool), steps_per_year=1
    )
    days = [date(2013 + year, 7, 1) for year in range(8)]
    climatology = Climatology(frames, series.observed, days, x)
    glacier = SimpleNamespace(
        series=series,
        x=x,
        horizon=2,
        date=lambda step: date(2013 + step, 1, 1),
        base=SimpleNamespace(climatology=climatology, days=days),
    )
    field = Field(np.full((2, 4, 4), 45.0), np.full((2, 4, 4), error), np.ones((4, 4)))

    def displacement(moving):
        right = np.full((64, 64), 1.5 * bool(moving.velocity[0, 0, 0]))
        return np.stack([right, np.zeros((64, 64))])

    asked = []
    movement = SimpleNamespace(
        field=lambda before: asked.append(before) or field, displacement=displacement
    )
    usual = [climatology.distribution(days[step], range(6)) for step in (6, 7)]
    base = torch.from_numpy(np.stack(usual))[None]

    def ask(rows):
        place = SimpleNamespace(target=6, rows=rows)
        context = SimpleNamespace(climatology=base[..., rows, :], place=place)
        return advected(None, context)

    advected = AdvectedClimatology(glacier, movement)
    forecast = ask(slice(0, 64))
    assert asked == [date(2019, 1, 1)]  # no later scene
    assert torch.equal(ask(slice(10, 30)), forecast[..., 10:30, :])
    if not moves:
        torch.testing.assert_close(forecast, base)
        return
    inner = (..., slice(16, -16), slice(16, -16))
    truth = torch.from_numpy(frames[6:8])[None][inner]
    errors = []
    for F in (forecast, base):
        errors.append((distribution.mean(F[inner], x) - truth).abs().mean())
    assert errors[0] < 0.45 * errors[1]
