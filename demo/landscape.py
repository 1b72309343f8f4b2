"""The demo's valley: terrain, moving ice and light, as pure functions of NumPy arrays.

Lengths along the grid are in pixels of 30 m, heights in metres. Rows run south, columns run east.
Along the glacier's curved axis the place of every bit of ice is known in closed form, so the
surface of any date is the surface of the reference date, looked up where that ice then was.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import fft, ndimage

PIXEL_SIZE = 30.0  # m
LATITUDE = 32.1  # degrees north
OVERPASS = 10.5  # local solar time, hours

BANDS = ("coastal", "blue", "green", "red", "nir08", "swir16", "swir22")

# Surface reflectance in the order of BANDS. Snow darkens with age as in Warren (1982), 10.1029/RG020i001p00067; ice
# and debris as seen by Landsat in Hall et al. (1988), Remote Sensing of Environment 25, 311.
SPECTRA = {
    "fresh_snow": (0.89, 0.91, 0.92, 0.91, 0.84, 0.075, 0.065),
    "old_snow": (0.66, 0.69, 0.70, 0.68, 0.56, 0.055, 0.045),
    "ice": (0.42, 0.46, 0.45, 0.40, 0.27, 0.095, 0.075),
    "debris": (0.10, 0.11, 0.13, 0.15, 0.18, 0.19, 0.17),
    "dark_rock": (0.07, 0.08, 0.10, 0.11, 0.14, 0.15, 0.13),
    "light_rock": (0.15, 0.17, 0.20, 0.22, 0.27, 0.26, 0.22),
    "green_meadow": (0.03, 0.04, 0.08, 0.05, 0.34, 0.17, 0.09),
    "dry_meadow": (0.07, 0.08, 0.11, 0.14, 0.22, 0.26, 0.19),
    "cloud": (0.66, 0.65, 0.64, 0.65, 0.66, 0.58, 0.47),
}
SPECTRA = {name: np.array(values, np.float32)[:, None, None] for name, values in SPECTRA.items()}

# Share of the light that comes from the sky, not from the sun: all that is left in a shadow.
SKYLIGHT = np.array((0.26, 0.23, 0.19, 0.17, 0.14, 0.12, 0.11), np.float32)[:, None, None]

# counter-clockwise from east: down the valley, to the north-west
FLOW_DIRECTION = np.radians(150.0)
TERMINUS_HEIGHT = 4350.0  # m
SUN_AZIMUTHS = np.linspace(95.0, 160.0, 9)  # degrees; the overpass sees no other sun


@dataclass(frozen=True)
class Landscape:
    """A valley on a grid (H, W), and the material coordinates of its N pixels of ice.

    elevation : (H, W) m.  ice : (H, W) bool.
    velocity : (2, H, W) m/yr, east and north; 0 off the ice.
    rock, meadow : (7, H, W) reflectance of the bare ground, (H, W) share of grass on it.
    snow_height : (H, W) height [m] at which snow behaves as it does here: elevation, aspect, drifts.
    snow_hold : (H, W) greatest share of snow that a slope this steep can hold.
    normal : (3, H, W) unit vector out of the ground: east, north, up.
    horizon : (azimuths, H, W) tangent of the skyline's height towards each of SUN_AZIMUTHS.
    travel, across : (N,) place of the ice pixels along the flow line (in pixels that ice at full
        speed would travel) and across it [px].
    drift : (N,) growth of `travel` [px/yr].
    texture : (2, across, along) spline coefficients of the ice's brightness and debris, periodic.
    """

    elevation: np.ndarray
    ice: np.ndarray
    velocity: np.ndarray
    rock: np.ndarray
    meadow: np.ndarray
    snow_height: np.ndarray
    snow_hold: np.ndarray
    normal: np.ndarray
    horizon: np.ndarray
    travel: np.ndarray
    across: np.ndarray
    drift: np.ndarray
    texture: np.ndarray


@dataclass(frozen=True)
class Flow:
    """Where each pixel lies on the glacier's flow lines. All (H, W).

    along, across : px from the middle of the grid, down the axis and to its left.
    slope : rise of the curved axis, d(across) / d(along).
    half_width : of the ice [px]; closes to 0 at the terminus.
    pace : speed along the axis relative to its maximum.
    travel : px that ice at full speed would travel from the middle of the grid to here.
    """

    along: np.ndarray
    across: np.ndarray
    slope: np.ndarray
    half_width: np.ndarray
    pace: np.ndarray
    travel: np.ndarray


def fractal(
    rng: np.random.Generator,
    shape: tuple[int, int],
    longest: float,
    shortest: float,
    slope: float = 1.0,
    stretch: float = 1.0,
) -> np.ndarray:
    """Return periodic Gaussian noise (H, W), mean 0, variance 1, with a power-law amplitude spectrum.

    longest, shortest : wavelengths [px] between which the amplitude falls as wavelength ** slope.
    stretch : how many times longer the features are along columns than along rows.
    """
    height, width = shape
    rows = fft.fftfreq(height)[:, None]
    columns = fft.rfftfreq(width)[None, :] * stretch
    frequency = np.hypot(rows, columns)
    falling = np.hypot(frequency, 1 / longest) ** -(slope + 1)
    fine = frequency * shortest
    amplitude = falling * np.exp(-0.5 * fine**2)
    amplitude[0, 0] = 0
    white = rng.standard_normal(shape, dtype=np.float32)
    spectrum = fft.rfft2(white)
    spectrum = spectrum * amplitude.astype(np.float32)
    field = fft.irfft2(spectrum, s=shape)
    return field / field.std()


def smoothstep(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return 0 below `low`, 1 above `high`, and a smooth rise between."""
    width = high - low
    share = np.clip((values - low) / width, 0, 1)
    return share * share * (3 - 2 * share)


def trace_flow(shape: tuple[int, int], size: int, ice_width: float) -> Flow:
    """Return the flow lines of a gently curved glacier that ends inside the grid.

    size : px across the valley that the shapes scale with.  ice_width : share of it under ice.
    """
    height, width = shape
    rows, columns = np.indices(shape, dtype=np.float64)
    east = columns - (width - 1) / 2
    north = (height - 1) / 2 - rows
    forward = np.cos(FLOW_DIRECTION)
    upward = np.sin(FLOW_DIRECTION)
    along = east * forward + north * upward
    sideways = north * forward - east * upward

    bend = 0.06 * size
    wavenumber = 2 * np.pi / (1.3 * size)
    across = sideways - bend * np.sin(wavenumber * along)

    def axis_slope(place):
        return bend * wavenumber * np.cos(wavenumber * place)

    def pace(place):
        """Slow under the head wall and at the tongue, fastest near the equilibrium line."""
        from_fastest = (place + 0.1 * size) / (0.35 * size)
        return 0.5 + 0.5 * np.exp(-(from_fastest**2))

    # ds/dt = speed * pace(s) turns into a steady drift of the integral of ds / pace(s).
    places = np.linspace(-size, size, 16 * size + 1)
    length = np.hypot(1, axis_slope(places))
    rate = length / pace(places)
    mean_rate = (rate[1:] + rate[:-1]) / 2
    spacing = places[1] - places[0]
    travel = np.concatenate([[0], np.cumsum(mean_rate)]) * spacing
    travel -= np.interp(0, places, travel)

    to_terminus = (0.42 * size - along) / (0.25 * size)
    to_terminus = np.clip(to_terminus, 0, 1)
    closing = np.sqrt(1 - (1 - to_terminus) ** 2)
    return Flow(
        along,
        across,
        slope=axis_slope(along),
        half_width=0.5 * ice_width * size * closing,
        pace=pace(along),
        travel=np.interp(along, places, travel),
    )


def raise_terrain(rng: np.random.Generator, flow: Flow, size: int) -> np.ndarray:
    """Return the elevation (H, W) [m]: a smooth glacier in a valley between fractal ridges."""
    shape = flow.along.shape
    height = 1000.0 * np.sqrt(size / 256)
    to_terminus = 0.42 * size - flow.along
    floor = TERMINUS_HEIGHT + 0.9 * height * to_terminus / size
    closing = smoothstep(flow.along, 0.2 * size, 0.7 * size)
    valley = flow.half_width.max() * (1.03 - 0.5 * closing)
    outside = np.abs(flow.across) - valley
    outside = np.maximum(outside, 0) * PIXEL_SIZE
    wall = 1 - np.exp(-outside / (1.3 * height))
    ridges = fractal(rng, shape, 0.6 * size, 6, slope=1.5)
    ridged = 1 - 2 * np.abs(ridges)
    boulders = fractal(rng, shape, 50, 3.5, slope=1.2)
    relief = 0.25 * ridged + 0.08 * boulders
    bulge = 1 - (flow.across / valley) ** 2
    bulge = 0.03 * np.clip(bulge, 0, 1)
    above_floor = wall * (1 + relief) + bulge
    return floor + height * above_floor


def weave_texture(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return the ice's brightness (mean 0) and debris share [0, 1], (2, across, along), periodic.

    Crevasses lie across the flow, dirt in patches, moraines in broken bands along the flow.
    """
    crevasses = fractal(rng, shape, 14, 3.0, slope=0.5, stretch=0.5)
    patches = fractal(rng, shape, 30, 3.0, slope=0.7)
    moraines = fractal(rng, shape, 40, 3.5, slope=0.5, stretch=12)
    brightness = 0.7 * crevasses + 0.3 * patches
    debris = smoothstep(0.4 * patches + moraines, 0.5, 1.8)
    return np.stack([brightness, debris])


def skyline(elevation: np.ndarray, azimuth: float) -> np.ndarray:
    """Return the tangent of the skyline's height (H, W) seen towards `azimuth` [degrees from north]."""
    lowest_sun = np.tan(np.radians(25))
    longest_shadow = np.ptp(elevation) / lowest_sun / PIXEL_SIZE
    reach = int(np.ceil(longest_shadow))
    bearing = np.radians(azimuth)
    padded = np.pad(elevation, reach + 1, mode="edge")
    height, width = elevation.shape
    highest = np.zeros_like(elevation)
    distance = 1.0
    while distance <= reach:
        row = reach + 1 - round(distance * np.cos(bearing))
        column = reach + 1 + round(distance * np.sin(bearing))
        ridge = padded[row : row + height, column : column + width]
        rise = ridge - elevation
        tangent = rise / (distance * PIXEL_SIZE)
        np.maximum(highest, tangent, out=highest)
        distance += max(1.0, 0.04 * distance)
    return highest


def build_landscape(
    rng: np.random.Generator,
    shape: tuple[int, int],
    size: int,
    ice_width: float,
    max_velocity: float,
) -> Landscape:
    """Return a valley glacier on a grid of `shape`; `max_velocity` in m/yr, `ice_width` as a share of `size`."""
    flow = trace_flow(shape, size, ice_width)
    elevation = raise_terrain(rng, flow, size)
    ice = np.abs(flow.across) < flow.half_width
    widest = flow.half_width.max()

    # Across a channel ice of Glen's exponent 3 flows as 1 - r^4: Nye (1965), 10.3189/S0022143000018670.
    across = flow.across / widest
    profile = np.where(ice, 1 - across**4, 0)
    speed = max_velocity * profile * flow.pace
    heading = FLOW_DIRECTION + np.arctan(flow.slope)
    velocity = np.stack([speed * np.cos(heading), speed * np.sin(heading)])

    normal = ground_normal(elevation)
    tone = smoothstep(fractal(rng, shape, 50, 2.0, slope=0.4), -1.5, 1.8)
    rock = blend("dark_rock", "light_rock", tone)
    belt = smoothstep(TERMINUS_HEIGHT + 250 - elevation, -120, 120)
    tufts = fractal(rng, shape, 30, 2.5, slope=0.5)
    meadow = belt * smoothstep(tufts, -0.8, 0.8) * ~ice
    drifts = fractal(rng, shape, 25, 2.5, slope=0.5) * ~ice
    snow_height = elevation + 250 * normal[1] + 70 * drifts
    horizon = [skyline(elevation, azimuth) for azimuth in SUN_AZIMUTHS]
    drift = max_velocity / PIXEL_SIZE * profile

    rows = fft.next_fast_len(int(2 * widest) + 16)
    columns = fft.next_fast_len(3 * size)
    texture = weave_texture(rng, (rows, columns))
    splines = [ndimage.spline_filter(layer, order=3, mode="grid-wrap") for layer in texture]
    return Landscape(
        elevation=elevation.astype(np.float32),
        ice=ice,
        velocity=velocity.astype(np.float32),
        rock=rock.astype(np.float32),
        meadow=meadow.astype(np.float32),
        snow_height=snow_height.astype(np.float32),
        snow_hold=snow_hold(normal).astype(np.float32),
        normal=normal.astype(np.float32),
        horizon=np.stack(horizon).astype(np.float32),
        travel=flow.travel[ice],
        across=flow.across[ice],
        drift=drift[ice],
        texture=np.stack(splines),
    )


def ground_normal(elevation: np.ndarray) -> np.ndarray:
    """Return the unit vector (3, H, W) out of the ground: east, north, up."""
    fall_south, rise_east = np.gradient(elevation, PIXEL_SIZE)
    up = np.ones(elevation.shape)
    normal = np.stack([-rise_east, fall_south, up])
    normal /= np.linalg.norm(normal, axis=0)
    return normal


def snow_hold(normal: np.ndarray) -> np.ndarray:
    """Return the greatest share of snow (H, W) that slopes hold: all up to 42 degrees, none from 58."""
    steep = np.cos(np.radians(58))
    gentle = np.cos(np.radians(42))
    return smoothstep(normal[2], steep, gentle)


def blend(first: str, second: str, share: np.ndarray | float) -> np.ndarray:
    """Return a mixture of two spectra (7, 1, 1) or (7, H, W); share : of the second."""
    difference = SPECTRA[second] - SPECTRA[first]
    return SPECTRA[first] + share * difference


def sun_position(day_of_year: float) -> tuple[float, float]:
    """Return azimuth (from north) and elevation of the sun [degrees] at the overpass.

    Declination after Cooper (1969), 10.1016/0038-092X(69)90047-4; the equation of time is left out.
    """
    year_angle = 2 * np.pi * (284 + day_of_year) / 365.25
    declination = np.radians(23.45) * np.sin(year_angle)
    hour_angle = np.radians(15 * (OVERPASS - 12))
    latitude = np.radians(LATITUDE)
    axial = np.sin(
        declination
    )  # of the sun's direction: along the Earth's axis, and in its equator
    equatorial = np.cos(declination)
    east = -equatorial * np.sin(hour_angle)
    north = axial * np.cos(latitude) - equatorial * np.sin(latitude) * np.cos(hour_angle)
    up = axial * np.sin(latitude) + equatorial * np.cos(latitude) * np.cos(hour_angle)
    azimuth = np.degrees(np.arctan2(east, north)) % 360
    elevation = np.degrees(np.arcsin(up))
    return float(azimuth), float(elevation)


def sunlight(landscape: Landscape, azimuth: float, elevation: float) -> np.ndarray:
    """Return the direct light (H, W) relative to level ground: hill-shading and cast shadows."""
    bearing = np.radians(azimuth)
    height = np.radians(elevation)
    east = np.sin(bearing) * np.cos(height)
    north = np.cos(bearing) * np.cos(height)
    sun = np.array([east, north, np.sin(height)], np.float32)
    incidence = np.einsum("c,cij->ij", sun, landscape.normal) / sun[2]

    count = len(SUN_AZIMUTHS)
    place = np.interp(azimuth, SUN_AZIMUTHS, np.arange(count))
    place = np.clip(place, 0, count - 1.001)
    left = int(place)
    share = np.float32(place % 1)
    horizon = (1 - share) * landscape.horizon[left] + share * landscape.horizon[left + 1]
    above = np.tan(height) - horizon
    return np.clip(incidence, 0, 1.8) * smoothstep(above, -0.03, 0.03)


def ice_texture(landscape: Landscape, years: float) -> np.ndarray:
    """Return brightness and debris share (2, N) of the ice pixels, `years` after the reference date."""
    _, height, _ = landscape.texture.shape
    row = landscape.across + height / 2
    column = landscape.travel - landscape.drift * years
    look_up = partial(
        ndimage.map_coordinates,
        coordinates=(row, column),
        order=3,
        mode="grid-wrap",
        prefilter=False,
    )
    layers = [look_up(layer) for layer in landscape.texture]
    return np.stack(layers).astype(np.float32)


def surface_reflectance(
    landscape: Landscape, years: float, snow_line: float, freshness: float, greenness: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the reflectance (7, H, W) of the evenly lit surface and its share of snow or clean ice (H, W).

    years : since the reference date.  snow_line : m.
    freshness, greenness : of snow and meadows, 0 to 1.
    """
    ice = landscape.ice
    meadow = blend("dry_meadow", "green_meadow", greenness)
    bare = landscape.rock + landscape.meadow * (meadow - landscape.rock)
    brightness, debris = ice_texture(landscape, years)  # (N,)
    debris = np.clip(debris, 0, 1)
    clean = SPECTRA["ice"][..., 0] * (1 + 0.16 * brightness)
    dirty = SPECTRA["debris"][..., 0]
    bare[:, ice] = clean + debris * (dirty - clean)

    depth = landscape.snow_height - np.float32(snow_line)
    lingering = 40 * brightness - 60 * debris  # in hollows; it melts first on dark ground
    depth[ice] += lingering
    cover = smoothstep(depth, -90, 150) * landscape.snow_hold
    fresh = np.clip(freshness + depth / 1500, 0, 1)
    snow = blend("old_snow", "fresh_snow", fresh)
    # Snow drapes crevasses and boulders: their relief shows through, less the deeper it lies.
    thickness = np.clip(depth[ice], 0, None)
    relief = np.exp(-thickness / 500)
    snow[:, ice] *= 1 + (0.05 * brightness - 0.08 * debris) * relief
    frozen = cover.copy()
    uncovered = 1 - cover[ice]
    frozen[ice] += uncovered * (1 - debris)
    seen = bare + cover * (snow - bare)
    return seen, frozen
