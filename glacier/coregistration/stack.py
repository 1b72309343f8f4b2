"""The scenes as they are compared: layers of each in scratch files, read one scene at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from config import GlacierError
from glacier.scenes import Scene

# the first of these that is there shows the texture of rock and of snow
BRIGHTNESS = ("nir08", "red", "green")
DARK = 0.02  # reflectance, below which shadows and noise are not told apart


def channel_names(snow_index: bool, bands: Sequence[str]) -> tuple[str, ...]:
    """Return the channels of the aligned series; GlacierError if the archive lacks a band that they need.

    snow_index : True for the snow index, False for red, green and blue. bands : of the archive.
    """
    needed: tuple[str, ...] = ("red", "green", "blue")
    if snow_index:
        needed = ("green", "swir16")
    missing = [band for band in needed if band not in bands]
    if missing:
        raise GlacierError(
            f"extractNDSI={snow_index} needs the bands {', '.join(needed)}, but the archive lacks "
            f"{', '.join(missing)} (it has {', '.join(bands)}); set extractNDSI to {not snow_index} "
            "or choose another collection"
        )
    if snow_index:
        return ("ndsi",)
    return needed


class Layers(Sequence):
    """Layers of the scenes in scratch files, read one scene at a time: float32 (n, H, W), or (H, W) for one number.

    A few kB to hand to another process; nothing of it stays in memory.
    """

    def __init__(self, paths: list[Path], part: slice | int):
        self.paths = paths
        self.part = part

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, scene) -> Any:
        return np.array(np.load(self.paths[scene], mmap_mode="r")[self.part])


class SceneStack(NamedTuple):
    """The scenes as delivered, NaN where masked.

    channels : (C, H, W) each, what is aligned. images : (B, H, W) each, what is compared to find the transforms: the
    logarithm of the brightness, in which the sun's height is only a constant, and the snow index, which hardly
    depends on the light; each errs in its own way. index : (H, W) each, the snow index; None without swir16.
    records : id, date, platform, tier and geometric_rmse [m] of each scene.
    """

    channels: Layers
    images: Layers
    index: Layers | None  # type: ignore[assignment]  # hides tuple's own, which nobody asks for
    records: list[dict]


def stack_scenes(scenes: Iterable[Scene], names: Sequence[str], folder: Path) -> SceneStack:
    """Return the series, written to scratch files in `folder`, one a scene."""
    records: list[dict] = []
    paths: list[Path] = []
    images = 1
    for scene in scenes:
        layers = compared_layers(scene)
        images = len(layers)
        layers += [scene.reflectance(name) for name in names if name != "ndsi"]
        path = folder / f"{len(paths)}.npy"
        np.save(path, np.array(layers, np.float32))
        paths.append(path)
        records.append(record_of(scene))
    index = None
    if images > 1:
        index = Layers(paths, 1)
    channels = Layers(paths, slice(-len(names), None))
    return SceneStack(channels, Layers(paths, slice(images)), index, records)


def compared_layers(scene: Scene) -> list[np.ndarray]:
    """Return what is compared to find where a scene lies: see SceneStack.images."""
    brightness = next(band for band in BRIGHTNESS if band in scene.bands)
    layers = [np.log(np.maximum(scene.reflectance(brightness), DARK))]
    if "swir16" in scene.bands:
        layers.append(scene.snow_index())
    return layers


def record_of(scene: Scene) -> dict:
    """Return what scenes.json says of a scene before co-registration."""
    rmse = None if math.isnan(scene.geometric_rmse) else scene.geometric_rmse
    return {
        "id": scene.id,
        "date": scene.date.isoformat(),
        "platform": scene.platform,
        "tier": scene.tier,
        "geometric_rmse": rmse,
    }
