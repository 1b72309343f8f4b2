"""The demo's weather and its camera: what a Landsat-like sensor records of the valley on one date.

Digital numbers and quality bits follow the Landsat 8-9 Collection 2 Level-2 Science Product Guide,
LSDS-1619 (scale, offset, QA_PIXEL, QA_RADSAT).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from scipy import fft, ndimage

from demo import landscape as land
from demo.landscape import BANDS, PIXEL_SIZE, SPECTRA, Landscape, fractal, smoothstep

# reflectance = number * SCALE + OFFSET
SCALE = 2.75e-05
OFFSET = -0.2
PAD = 8  # px around the scene that the sensor's blur and shift may reach
# px, standard deviation of the point spread function; with less, bright edges would ring
BLUR = 0.65
SATURATION = 1.45  # reflectance at which the visible bands end

FILL, DILATED, CIRRUS, CLOUD, SHADOW, SNOW, CLEAR = (1 << bit for bit in range(7))
# Two-bit confidences: 1 is low, 3 is high.
LOW_CONFIDENCE = 1 << 8 | 1 << 10 | 1 << 12 | 1 << 14
HIGH_CONFIDENCE = {CLOUD: 1 << 9, SHADOW: 1 << 11, SNOW: 1 << 13, CIRRUS: 1 << 15}


@dataclass(frozen=True)
class Scene:
    """One acquisition.

    numbers : (7, H, W) uint16, in the order of BANDS, 0 where nothing was recorded.
    qa_pixel, qa_radsat : (H, W) uint16 bits.
    cloud_fraction : share of the recorded pixels that are flagged as cloud.
    """

    numbers: np.ndarray
    qa_pixel: np.ndarray
    qa_radsat: np.ndarray
    cloud_fraction: float


def usual_snow_line(season):
    """Return the usual snow line [m] of days of the year; highest in early September."""
    year_angle = 2 * np.pi * (season - 245) / 365.25
    return 4600 + 700 * np.cos(year_angle)


def state_of_snow(season: int, departure: float) -> tuple[float, float]:
    """Return how fresh the snow is and how green the meadows are, 0 to 1, on a day of the year.

    departure : how far the snow line lies above the usual one [m].
    """
    from_peak = (season - 220) / 45
    greenness = np.exp(-(from_peak**2))
    freshness = np.clip(0.45 - departure / 500, 0, 1)
    return float(freshness), float(greenness)


def illuminated(surface: np.ndarray, light: np.ndarray, skylight: np.ndarray) -> np.ndarray:
    """Return the reflectance (bands, H, W) seen of a surface under direct light (H, W) and the sky's, (bands, 1, 1)."""
    sunlight = 1 - skylight
    return surface * (skylight + sunlight * light)


def snow_lines(rng: np.random.Generator, dates: list[date]) -> tuple[np.ndarray, np.ndarray]:
    """Return the snow line of each date [m] and how far it lies above that season's usual one.

    Highest in early September. Departures are of the year and of the last weeks: the latter fade
    with an e-folding time of 60 days, so that one season tells something of the next.
    """
    days = np.array([day.toordinal() for day in dates])
    season = np.array([day.timetuple().tm_yday for day in dates])
    usual = usual_snow_line(season)

    first = dates[0].year
    last = dates[-1].year
    years = np.arange(first - 1, last + 2)
    middles = [date(year, 7, 1).toordinal() for year in years]
    of_years = rng.normal(0, 130, len(years))
    departure = np.interp(days, middles, of_years)
    recent = rng.normal(0, 170)
    gaps = np.diff(days, prepend=days[0])
    for step, gap in enumerate(gaps):
        memory = np.exp(-gap / 60)
        news = np.sqrt(1 - memory**2)
        recent = memory * recent + news * rng.normal(0, 170)
        departure[step] += recent
    return usual + departure, departure


def expected_cloud(day_of_year: int) -> float:
    """Return the usual cloud fraction of the season: monsoon in July and August, snowfall in late winter."""
    from_monsoon = (day_of_year - 210) / 38
    from_snowfall = (day_of_year - 45) / 45
    monsoon = 0.55 * np.exp(-(from_monsoon**2))
    winter = 0.22 * np.exp(-(from_snowfall**2))
    return float(0.22 + monsoon + winter)


def draw_clouds(
    rng: np.random.Generator, shape: tuple[int, int], mean_fraction: float
) -> np.ndarray:
    """Return the opacity (H, W) of a cloud field, 0 to 1; most skies are either mostly clear or mostly covered."""
    if mean_fraction <= 0:
        return np.zeros(shape, np.float32)
    mean_fraction = min(mean_fraction, 0.95)
    clear = 1 - mean_fraction
    fraction = rng.beta(1.2 * mean_fraction, 1.2 * clear)
    field = fractal(rng, shape, 0.6 * max(shape), 2.5, slope=0.8)
    edge = np.quantile(field, 1 - fraction)
    return smoothstep(field, edge - 0.12, edge + 0.25).astype(np.float32)


def cast_cloud_shadow(
    opacity: np.ndarray, base: float, azimuth: float, elevation: float
) -> np.ndarray:
    """Return the opacity (H, W) as its shadow falls on the ground; `base` is the cloud's height over it [m]."""
    height = np.radians(elevation)
    bearing = np.radians(azimuth)
    reach = base / np.tan(height) / PIXEL_SIZE
    rows = round(reach * np.cos(bearing))
    columns = round(-reach * np.sin(bearing))
    return np.roll(opacity, (rows, columns), axis=(0, 1))


def photograph(layers: np.ndarray, dx: float, dy: float) -> np.ndarray:
    """Return the layers (..., H, W) blurred by the optics, moved by (dx, dy) px right and down, and cropped by PAD.

    One multiplication in the Fourier domain: the shift is exact, with no interpolation of its own.
    """
    height, width = layers.shape[-2:]
    rows = fft.fftfreq(height)[:, None]
    columns = fft.rfftfreq(width)[None, :]
    frequency = rows**2 + columns**2
    width_of_blur = np.pi * BLUR
    blur = np.exp(-2 * width_of_blur**2 * frequency)
    phase = columns * dx + rows * dy
    shift = np.exp(-2j * np.pi * phase)
    optics = (blur * shift).astype(np.complex64)
    spectrum = fft.rfft2(layers) * optics
    moved = fft.irfft2(spectrum, s=(height, width))
    return moved[..., PAD:-PAD, PAD:-PAD]


def quality_bits(
    cloud: np.ndarray, shadow: np.ndarray, cirrus: np.ndarray, snow: np.ndarray
) -> np.ndarray:
    """Return QA_PIXEL (H, W) uint16 of the flags (H, W) bool; clouds are dilated by 3 px."""
    rows, columns = np.mgrid[-3:4, -3:4]
    disc = np.hypot(rows, columns) <= 3
    around = ndimage.binary_dilation(cloud, disc)
    uncovered = ~cloud
    flags = {
        CLOUD: cloud,
        SHADOW: shadow & uncovered,
        CIRRUS: cirrus,
        SNOW: snow & uncovered,
    }
    bits = np.full(cloud.shape, LOW_CONFIDENCE, np.uint16)
    bits[uncovered & around] |= DILATED
    bits[uncovered & ~around] |= CLEAR
    for flag, where in flags.items():
        bits[where] |= flag
        bits[where] |= HIGH_CONFIDENCE[flag]
    return bits


def swath_edge(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return where (H, W) a scene recorded nothing: beyond a slanted line through its inner half."""
    rows, columns = np.indices(shape)
    edge = rng.uniform(0.3, 0.8) * shape[1]
    side = columns + 0.2 * rows - edge
    if rng.random() < 0.5:
        return side > 0
    return side < 0


def observe(
    rng: np.random.Generator,
    landscape: Landscape,
    day: date,
    years: float,
    snow_line: float,
    departure: float,
    cloudiness: float,
    shift: tuple[float, float],
    partial: bool,
) -> Scene:
    """Return the scene of one date, PAD px smaller on each side than the landscape.

    years : since the reference date of the ice.  snow_line, departure : m, from `snow_lines`.
    cloudiness : factor on the season's usual cloud fraction.  shift : dx, dy [px]: ground of pixel
    (x, y) appears at (x + dx, y + dy).  partial : whether the edge of the swath crosses the scene.
    """
    season = day.timetuple().tm_yday
    azimuth, elevation = land.sun_position(season)
    shape = landscape.elevation.shape

    freshness, greenness = state_of_snow(season, departure)
    surface, frozen = land.surface_reflectance(landscape, years, snow_line, freshness, greenness)

    mean_fraction = cloudiness * expected_cloud(season)
    opacity = draw_clouds(rng, shape, mean_fraction)
    base = rng.uniform(800, 2500)
    shade = cast_cloud_shadow(opacity, base, azimuth, elevation)
    veil = fractal(rng, shape, 0.8 * max(shape), 8, slope=1.0)
    cirrus = smoothstep(veil, 2.6 - cloudiness, 4.0)
    cirrus = 0.25 * cirrus.astype(np.float32)

    sunlight = land.sunlight(landscape, azimuth, elevation)
    light = sunlight * (1 - 0.8 * shade)
    ground = illuminated(surface, light, land.SKYLIGHT)
    amount = np.float32(rng.normal(0.004, 0.004))
    haze = amount * land.SKYLIGHT / land.SKYLIGHT.mean()
    covered = np.maximum(opacity, cirrus)
    cloud = SPECTRA["cloud"] * (1 + 0.06 * veil)
    seen = ground + haze + covered * (cloud - ground)

    masks = np.stack([opacity, shade, cirrus, frozen])
    layers = np.concatenate([seen, masks]).astype(np.float32)
    layers = photograph(layers, *shift)
    reflectance = layers[: len(BANDS)]
    opacity, shade, cirrus, frozen = layers[len(BANDS) :]
    reflectance = with_noise(rng, reflectance)

    numbers = digital_numbers(reflectance)
    qa_radsat = saturation_bits(reflectance > SATURATION)
    qa_pixel = quality_bits(opacity > 0.4, shade > 0.4, cirrus > 0.1, frozen > 0.5)
    empty = np.zeros(qa_pixel.shape, bool)
    if partial:
        empty = swath_edge(rng, qa_pixel.shape)
    numbers[:, empty] = 0
    qa_pixel[empty] = FILL
    qa_radsat[empty] = 0
    clouds = (qa_pixel & CLOUD) > 0
    cloud_fraction = float(clouds[~empty].mean())
    return Scene(numbers, qa_pixel, qa_radsat, cloud_fraction)


def with_noise(rng: np.random.Generator, reflectance: np.ndarray) -> np.ndarray:
    """Return reflectance (bands, H, W) with the sensor's noise, more where it is bright."""
    noise = rng.standard_normal(reflectance.shape, dtype=np.float32)
    spread = 0.0015 + 0.004 * np.clip(reflectance, 0, None)
    return reflectance + noise * spread


def digital_numbers(reflectance: np.ndarray) -> np.ndarray:
    """Return the uint16 that stand for reflectance (bands, H, W); 0 is none of them."""
    recorded = np.minimum(reflectance, SATURATION)
    numbers = np.rint((recorded - OFFSET) / SCALE)
    return numbers.clip(1, 65535).astype(np.uint16)


def saturation_bits(saturated: np.ndarray) -> np.ndarray:
    """Return QA_RADSAT (H, W) uint16 of the bands (bands, H, W) that are saturated."""
    bits = 1 << np.arange(len(saturated))
    bands = saturated * bits[:, None, None]
    return bands.sum(0).astype(np.uint16)
