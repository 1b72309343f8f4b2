"""How each quantity is shown, in pictures, in QGIS and in the viewer: its name with the unit, colours and range."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Look(NamedTuple):
    """label : quantity and unit. colours : a colour map of matplotlib. limits : the values at its two ends."""

    label: str
    colours: str
    limits: tuple[float, float] = (0.0, 1.0)


INDEX = Look("NDSI [1]", "cividis")
REFLECTANCE = Look("reflectance [1]", "gray")
# brown where it is bare, white where nobody knows, blue-green where it is snow
SNOW = Look("P(snow) [1]", "BrBG")
SPEED = Look("speed [m/yr]", "viridis")  # up to that of the glacier


def look_of(channels: int) -> Look:
    """Return how the values of a series are shown: one channel is the snow index, three are red, green and blue."""
    if channels == 1:
        return INDEX
    return REFLECTANCE


def picture_of(values: np.ndarray) -> np.ndarray:
    """Return what is drawn of a scene (C, H, W): the index (H, W), or red, green and blue (3, H, W)."""
    if len(values) == 1:
        return values[0]
    return values[:3]
