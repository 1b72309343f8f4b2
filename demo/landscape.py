"""The demo's valley: terrain, moving ice and light, as pure functions of NumPy arrays.

Lengths along the grid are in pixels of 30 m, heights in metres. Rows run south, columns run east.
Along the glacier's curved axis the place of every bit of ice is known in closed form, so the
surface of any date is the surface of the reference date, looked up where that ice then was.
"""

from __future__ import annotations

from dataclasses import dataclass

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

FLOW_DIRECTION = np.radians(
    150.0
)  # counter-clockwise from east: down the valley, to the north-west
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
    rows = fft.fftfreq(shape[0])[:, None]
    columns = fft.rfftfreq(shape[1])[None, :] * stretch
    frequency = np.hypot(rows, columns)
    amplitude = np.hypot(frequency, 1 / longest) ** -(slope + 1) * np.exp(
        -0.5 * (frequency * shortest) ** 2
    )
    amplitude[0, 0] = 0
    white = rng.standard_normal(shape, dtype=np.float32)
    field = fft.irfft2(fft.rfft2(white) * amplitude.astype(np.float32), s=shape)
    return field / field.std()


def smoothstep(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return 0 below `low`, 1 above `high`, and a smooth rise between."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def trace_flow(shape: tuple[int, int], size: int, ice_width: float) -> Flow:
    """Return the flow lines of a gently curved glacier that ends inside the grid.

    size : px across the valley that the shapes scale with.  ice_width : share of it under ice.
    """
    rows, columns = np.indices(shape, dtype=np.float64)
    east, north = columns - (shape[1] - 1) / 2, (shape[0] - 1) / 2 - rows
    along = east * np.cos(FLOW_DIRECTION) + north * np.sin(FLOW_DIRECTION)
    sideways = north * np.cos(FLOW_DIRECTION) - east * np.sin(FLOW_DIRECTION)

    bend, wavenumber = 0.06 * size, 2 * np.pi / (1.3 * size)
    across = sideways - bend * np.sin(wavenumber * along)

    def axis_slope(place):
        return bend * wavenumber * np.cos(wavenumber * place)

    def pace(
        place,
    ):  # slow under the head wall and at the tongue, fastest near the equilibrium line
        return 0.5 + 0.5 * np.exp(-(((place + 0.1 * size) / (0.35 * size)) ** 2))

    # ds/dt = speed * pace(s) turns into a steady drift of the integral of ds / pace(s).
    places = np.linspace(-size, size, 16 * size + 1)
    rate = np.hypot(1, axis_slope(places)) / pace(places)
    travel = np.concatenate([[0], np.cumsum((rate[1:] + rate[:-1]) / 2)]) * (places[1] - places[0])
    travel -= np.interp(0, places, travel)

    to_terminus = np.clip((0.42 * size - along) / (0.25 * size), 0, 1)
    half_width = 0.5 * ice_width * size * np.sqrt(1 - (1 - to_terminus) ** 2)
    return Flow(
        along, across, axis_slope(along), half_width, pace(along), np.interp(along, places, travel)
    )


def raise_terrain(rng: np.random.Generator, flow: Flow, size: int) -> np.ndarray:
    """Return the elevation (H, W) [m]: a smooth glacier in a valley between fractal ridges."""
    shape, height = flow.along.shape, 1000.0 * np.sqrt(size / 256)
    floor = TERMINUS_HEIGHT + 0.9 * height * (0.42 * size - flow.along) / size
    valley = flow.half_width.max() * (1.03 - 0.5 * smoothstep(flow.along, 0.2 * size, 0.7 * size))
    outside = np.maximum(np.abs(flow.across) - valley, 0) * PIXEL_SIZE
    wall = 1 - np.exp(-outside / (1.3 * height))
    ridged = 1 - 2 * np.abs(fractal(rng, shape, 0.6 * size, 6, slope=1.5))
    relief = 0.25 * ridged + 0.08 * fractal(rng, shape, 50, 3.5, slope=1.2)
    bulge = 0.03 * np.clip(1 - (flow.across / valley) ** 2, 0, 1)
    return floor + height * (wall * (1 + relief) + bulge)


def weave_texture(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return the ice's brightness (mean 0) and debris share [0, 1], (2, across, along), periodic.

    Crevasses lie across the flow, dirt in patches, moraines in broken bands along the flow.
    """
    crevasses = fractal(rng, shape, 14, 3.0, slope=0.5, stretch=0.5)
    patches = fractal(rng, shape, 30, 3.0, slope=0.7)
    moraines = fractal(rng, shape, 40, 3.5, slope=0.5, stretch=12)
    debris = smoothstep(0.4 * patches + moraines, 0.5, 1.8)
    return np.stack([0.7 * crevasses + 0.3 * patches, debris])


def skyline(elevation: np.ndarray, azimuth: float) -> np.ndarray:
    """Return the tangent of the skyline's height (H, W) seen towards `azimuth` [degrees from north]."""
    reach = int(
        np.ceil(np.ptp(elevation) / np.tan(np.radians(25)) / PIXEL_SIZE)
    )  # the sun is never below 25 degrees
    padded = np.pad(elevation, reach + 1, mode="edge")
    height, width = elevation.shape
    highest = np.zeros_like(elevation)
    distance = 1.0
    while distance <= reach:
        row = reach + 1 - round(distance * np.cos(np.radians(azimuth)))
        column = reach + 1 + round(distance * np.sin(np.radians(azimuth)))
        rise = padded[row : row + height, column : column + width] - elevation
        np.maximum(highest, rise / (distance * PIXEL_SIZE), out=highest)
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
    profile = np.where(ice, 1 - (flow.across / widest) ** 4, 0)
    speed = max_velocity * profile * flow.pace
    heading = FLOW_DIRECTION + np.arctan(flow.slope)
    velocity = np.stack([speed * np.cos(heading), speed * np.sin(heading)])

    fall_south, rise_east = np.gradient(elevation, PIXEL_SIZE)
    normal = np.stack([-rise_east, fall_south, np.ones(shape)])
    normal /= np.linalg.norm(normal, axis=0)

    tone = smoothstep(fractal(rng, shape, 50, 2.0, slope=0.4), -1.5, 1.8)
    rock = SPECTRA["dark_rock"] + tone * (SPECTRA["light_rock"] - SPECTRA["dark_rock"])
    belt = smoothstep(TERMINUS_HEIGHT + 250 - elevation, -120, 120)
    meadow = belt * smoothstep(fractal(rng, shape, 30, 2.5, slope=0.5), -0.8, 0.8) * ~ice
    drifts = fractal(rng, shape, 25, 2.5, slope=0.5) * ~ice
    texture = weave_texture(
        rng, (fft.next_fast_len(int(2 * widest) + 16), fft.next_fast_len(3 * size))
    )
    return Landscape(
        elevation=elevation.astype(np.float32),
        ice=ice,
        velocity=velocity.astype(np.float32),
        rock=rock.astype(np.float32),
        meadow=meadow.astype(np.float32),
        snow_height=(elevation + 250 * normal[1] + 70 * drifts).astype(np.float32),
        snow_hold=smoothstep(normal[2], np.cos(np.radians(58)), np.cos(np.radians(42))).astype(
            np.float32
        ),
        normal=normal.astype(np.float32),
        horizon=np.stack([skyline(elevation, azimuth) for azimuth in SUN_AZIMUTHS]).astype(
            np.float32
        ),
        travel=flow.travel[ice],
        across=flow.across[ice],
        drift=(max_velocity / PIXEL_SIZE * profile)[ice],
        texture=np.stack(
            [ndimage.spline_filter(layer, order=3, mode="grid-wrap") for layer in texture]
        ),
    )


def sun_position(day_of_year: float) -> tuple[float, float]:
    """Return azimuth (from north) and elevation of the sun [degrees] at the overpass.

    Declination after Cooper (1969), 10.1016/0038-092X(69)90047-4; the equation of time is left out.
    """
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + day_of_year) / 365.25)
    hour_angle, latitude = np.radians(15 * (OVERPASS - 12)), np.radians(LATITUDE)
    east = -np.cos(declination) * np.sin(hour_angle)
    north = np.sin(declination) * np.cos(latitude) - np.cos(declination) * np.sin(
        latitude
    ) * np.cos(hour_angle)
    up = np.sin(declination) * np.sin(latitude) + np.cos(declination) * np.cos(latitude) * np.cos(
        hour_angle
    )
    return float(np.degrees(np.arctan2(east, north)) % 360), float(np.degrees(np.arcsin(up)))


def sunlight(landscape: Landscape, azimuth: float, elevation: float) -> np.ndarray:
    """Return the direct light (H, W) relative to level ground: hill-shading and cast shadows."""
    bearing, height = np.radians(azimuth), np.radians(elevation)
    sun = np.array(
        [np.sin(bearing) * np.cos(height), np.cos(bearing) * np.cos(height), np.sin(height)],
        np.float32,
    )
    incidence = np.einsum("c,cij->ij", sun, landscape.normal) / sun[2]
    place = np.clip(
        np.interp(azimuth, SUN_AZIMUTHS, np.arange(len(SUN_AZIMUTHS))), 0, len(SUN_AZIMUTHS) - 1.001
    )
    left, share = int(place), np.float32(place % 1)
    horizon = (1 - share) * landscape.horizon[left] + share * landscape.horizon[left + 1]
    return np.clip(incidence, 0, 1.8) * smoothstep(np.tan(height) - horizon, -0.03, 0.03)


def ice_texture(landscape: Landscape, years: float) -> np.ndarray:
    """Return brightness and debris share (2, N) of the ice pixels, `years` after the reference date."""
    row = landscape.across + landscape.texture.shape[1] / 2
    column = landscape.travel - landscape.drift * years
    return np.stack(
        [
            ndimage.map_coordinates(
                layer, (row, column), order=3, mode="grid-wrap", prefilter=False
            )
            for layer in landscape.texture
        ]
    ).astype(np.float32)


def surface_reflectance(
    landscape: Landscape, years: float, snow_line: float, freshness: float, greenness: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the reflectance (7, H, W) of the evenly lit surface and its share of snow or clean ice (H, W).

    years : since the reference date.  snow_line : m.
    freshness, greenness : of snow and meadows, 0 to 1.
    """
    meadow = SPECTRA["dry_meadow"] + greenness * (SPECTRA["green_meadow"] - SPECTRA["dry_meadow"])
    bare = landscape.rock + landscape.meadow * (meadow - landscape.rock)
    brightness, debris = ice_texture(landscape, years)
    debris = np.clip(debris, 0, 1)
    clean = SPECTRA["ice"][..., 0] * (1 + 0.16 * brightness)
    bare[:, landscape.ice] = clean + debris * (SPECTRA["debris"][..., 0] - clean)

    depth = landscape.snow_height - np.float32(snow_line)
    depth[landscape.ice] += (
        40 * brightness - 60 * debris
    )  # lingers in hollows, melts first on dark ground
    cover = smoothstep(depth, -90, 150) * landscape.snow_hold
    fresh = np.clip(freshness + depth / 1500, 0, 1)
    snow = SPECTRA["old_snow"] + fresh * (SPECTRA["fresh_snow"] - SPECTRA["old_snow"])
    # Snow drapes crevasses and boulders: their relief shows through, less the deeper it lies.
    relief = np.exp(-np.clip(depth[landscape.ice], 0, None) / 500)
    snow[:, landscape.ice] *= 1 + (0.05 * brightness - 0.08 * debris) * relief
    frozen = cover.copy()
    frozen[landscape.ice] += (1 - cover[landscape.ice]) * (1 - debris)
    return bare + cover * (snow - bare), frozen
