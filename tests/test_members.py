"""Members: each pixel follows F, neighbours agree as they were made to, and the area's band covers."""

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import norm

from DeepLearning.verification import members
from DeepLearning.verification.members import Agreement
from glacier import distribution

X = distribution.thresholds(ndsi=True)
AGREEMENT = Agreement(common=0.4, smoothing=2.0, carry=0.6)


def normal_scene(centres, spread=0.2):
    """F (K, 1, H, W) of pixels with known normal distributions around centres (H, W)."""
    F = norm.cdf(X[:, None, None], centres, spread)
    return F[:, None].astype(np.float32)


def draw_scores(count, shape, agreement, seed):
    """Normal scores of a series of maps that agree as given, (count, H, W)."""
    random = np.random.default_rng(seed)
    common, maps = random.standard_normal(), []
    for _ in range(count):
        fresh = np.sqrt(1 - agreement.carry**2) * random.standard_normal()
        common = agreement.carry * common + fresh
        noise = members.smooth_noise(shape, agreement.smoothing, random)
        share = agreement.common
        maps.append(np.sqrt(share) * common + np.sqrt(1 - share) * noise)
    return np.array(maps)


def test_members_reproduce_the_distribution():
    """At each pixel as many of 600 members lie below a threshold as F says; below the floor they are 0."""
    F = normal_scene(np.linspace(-0.2, 0.8, 12).reshape(3, 4))[None]
    maps = list(members.level_maps((3, 4), 1, AGREEMENT, 600, seed=3))
    values = np.array([distribution.quantile(F, level, X) for level in maps])
    for level in (0.0, 0.4, 0.6):
        share = (values <= level).mean(axis=0)
        assert share == pytest.approx(1 - distribution.exceedance(F, level, X), abs=0.06)
    clipped = np.array([distribution.quantile(F, level, X, 0.3) for level in maps])
    assert np.array_equal(clipped, np.where(values >= 0.3, values, 0))


def test_each_draw_of_the_common_number_comes_from_another_part():
    numbers = members.common_numbers(20, 3, AGREEMENT, np.random.default_rng(0))
    parts = np.sort((ndtr(numbers) * 20).astype(int), axis=0)
    assert np.array_equal(parts, np.arange(20)[:, None].repeat(3, axis=1))
    many = members.common_numbers(5000, 2, AGREEMENT, np.random.default_rng(0))
    assert np.corrcoef(many.T)[0, 1] == pytest.approx(AGREEMENT.carry, abs=0.03)


def test_noise_has_variance_1_up_to_the_border():
    random = np.random.default_rng(0)
    maps = np.array([members.smooth_noise((10, 12), 3.0, random) for _ in range(3000)])
    assert maps.var(axis=0) == pytest.approx(np.ones((10, 12)), abs=0.12)
    neighbours = (maps[:, :, 1:] * maps[:, :, :-1]).mean()
    assert neighbours == pytest.approx(np.exp(-1 / (4 * 3.0**2)), abs=0.03)


def test_agreement_of_past_maps_is_found():
    """Share, smoothing and carry that were put in; a third of the pixels unobserved, some maps altogether."""
    scores = draw_scores(150, (40, 40), AGREEMENT, seed=0)
    scores[np.random.default_rng(1).random(scores.shape) < 0.33] = np.nan
    scores[::10] = np.nan
    fitted = members.fit_agreement(scores, np.arange(150))
    assert fitted.common == pytest.approx(0.4, abs=0.1)
    assert fitted.smoothing == pytest.approx(2.0, rel=0.45)
    assert fitted.carry == pytest.approx(0.6, abs=0.15)


def test_too_few_maps_give_the_usual_agreement():
    scores = np.full((4, 8, 8), np.nan)
    scores[:2] = 1
    assert members.fit_agreement(scores, np.arange(4)) == Agreement()


def test_normal_scores_of_a_calibrated_forecast_are_normal():
    random = np.random.default_rng(0)
    truth = random.normal(0.3, 0.2, (1, 60, 60)).astype(np.float32)
    truth[:, :5] = np.nan
    F = normal_scene(np.full((60, 60), 0.3))
    scores = members.normal_scores(F, truth, X, random)
    assert np.array_equal(np.isnan(scores), np.isnan(truth))
    assert np.nanmean(scores) == pytest.approx(0, abs=0.05)
    assert np.nanstd(scores) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("drawn_alike", "least", "most"), [(True, 0.84, 0.97), (False, 0.0, 0.5)])
def test_band_of_the_snow_covered_area_covers(drawn_alike, least, most):
    """Of 300 scenes made by the rule, the area's 5 to 95 % of 20 members hold about 90; with every pixel drawn by
    itself, less than half."""
    centres = np.linspace(0.1, 0.7, 144).reshape(12, 12)
    snow_level = (
        1 - distribution.exceedance(normal_scene(centres), 0.4, X)[0]
    )  # (H, W), snow from this level on
    truths = ndtr(draw_scores(300, (12, 12), Agreement(0.4, 2.0, 0.0), seed=5))
    areas = (truths > snow_level).mean(axis=(1, 2))
    assumed = Agreement(0.4, 2.0) if drawn_alike else Agreement(0.0, 0.5)
    held = 0
    for seed, area in enumerate(areas):
        maps = members.level_maps((12, 12), 1, assumed, 20, seed)
        shares = np.array([(level[0, 0] > snow_level).mean() for level in maps])
        low, high = members.quantiles(shares, (0.05, 0.95))
        held += low <= area <= high
    assert least <= held / 300 <= most


def test_what_was_seen_tells_the_common_number():
    """A large observed part gives the number itself; a few pixels little; nothing seen, nothing known."""
    scores = np.full((60, 60), np.nan)
    assert members.known_common(scores, AGREEMENT) == (0.0, 1.0)
    number = 1.5
    random = np.random.default_rng(0)
    noise = members.smooth_noise((60, 60), 2.0, random)
    full = np.sqrt(0.4) * number + np.sqrt(0.6) * noise
    mean, spread = members.known_common(full, AGREEMENT)
    assert mean == pytest.approx(number, abs=3 * spread)
    assert spread < 0.25
    scores[:2, :2] = full[:2, :2]
    assert 0.7 < members.known_common(scores, AGREEMENT)[1] < 1
