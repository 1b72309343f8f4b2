"""What tracking starts from: the tracked band on the common frame, what is ice, and the pairs of scenes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

import numpy as np

import config
from config import GlacierError
from glacier.coregistration.resampling import resample
from glacier.coregistration.transforms import on_finer_grid
from glacier.scenes import Scene
from glacier.velocity import pairs as pair_choice
from glacier.velocity import velocities
from glacier.velocity.pairs import Pair
from glacier.velocity.refinement import SIGMA
from glacier.velocity.sampling import blur
from glacier.velocity.velocities import Nodes

INDEX = "ndsi"
MIXED = 0.05  # share of a window on the other side of the margin, from which a node counts as mixed


def check_band(band: str, bands: Sequence[str]) -> None:
    """Raise GlacierError if a band cannot be tracked in an archive with these bands."""
    possible = list(bands)
    if {"green", "swir16"} <= set(bands):
        possible.append(INDEX)
    if band not in possible:
        raise GlacierError(
            f"trackingBand must be one of {', '.join(possible)} in this archive; got "
            f"{band!r}{config.nearest(band, possible)}"
        )


def collect(
    scenes: Iterable[Scene],
    matrices: np.ndarray,
    band: str,
    shape: tuple[int, int],
    path: Path,
    times: int = 1,
) -> np.ndarray:
    """Return the tracked band of every scene on the common frame, float32 (T, H, W), in a scratch file.

    matrices : (T, 3, 3) common frame px -> scene px: scenes are tracked as co-registered, not as delivered.
    times : by how much finer than the common frame the band is tracked; (H, W) is its shape then.
    """
    matrices = on_finer_grid(matrices, times)
    with open(path, "wb") as file:
        for scene, matrix in zip(scenes, matrices, strict=True):
            image = tracked_band(scene, band, times)
            file.write(resample(image, matrix).astype(np.float32).tobytes())
    return np.memmap(path, np.float32, "r", shape=(len(matrices), *shape))


def tracked_band(scene: Scene, band: str, times: int) -> np.ndarray:
    """Return what is tracked of a scene, (H, W), NaN where masked; times : as in `collect`."""
    if times > 1:
        return scene.finer_reflectance()
    return scene.snow_index() if band == INDEX else scene.reflectance(band)


def stable_nodes(ice: np.ndarray, nodes: Nodes) -> np.ndarray:
    """Return which nodes lie on ground that does not move, bool (h, w); GlacierError if hardly any does.

    ice : bool (H, W), what may move.
    """
    stable = ~nodes.of(ice)
    if stable.sum() < velocities.MIN_STABLE:
        raise GlacierError(
            f"only {stable.sum()} of {stable.size} grid nodes are stable ground, but velocities need "
            f"{velocities.MIN_STABLE} to refer to; take a larger boundingBox, or check iceOutline"
        )
    return stable


def margin_nodes(ice: np.ndarray, nodes: Nodes) -> np.ndarray:
    """Return at which nodes the tracking window sees ice and ground, bool (h, w): about 10 px beside the margin."""
    inside = np.ones(ice.shape, np.float32)
    share = blur(ice.astype(np.float32), SIGMA) / blur(inside, SIGMA)
    share = nodes.of(share)
    return (share > MIXED) & (share < 1 - MIXED)


def find_pairs(
    dates: Sequence[date],
    accepted: np.ndarray,
    quality: np.ndarray,
    seen: np.ndarray | None,
    limits: tuple[tuple[float, float] | None, int],
    fewest_days: float,
    more: str,
) -> list[Pair]:
    """Return the pairs of co-registered scenes to track; GlacierError if there is none.

    accepted : (T,) bool, where co-registration is confirmed; the others are left out. seen : (T, N) bool, or None.
    limits : of short pairs [days] and of whole years, as pairs.spans gives them. more : what to do about it.
    """
    usable = np.flatnonzero(accepted)
    if len(usable) < 2:
        raise GlacierError(
            f"{len(usable)} co-registered scene{'s' * (len(usable) != 1)}, but movement needs two of "
            f"the same season; {more}"
        )
    short_days, max_years = limits
    days = [dates[scene] for scene in usable.tolist()]
    usable_seen = None if seen is None else seen[usable]
    pairs = pair_choice.choose_pairs(
        days, max_years, short_days, usable_seen, np.asarray(quality)[usable], fewest_days
    )
    if not pairs:
        apart = []
        if max_years:
            season = pair_choice.SEASON
            apart.append(f"of the same season (within {season} days) 1 to {max_years} years apart")
        if short_days and short_days[0] <= short_days[1]:
            apart.append(f"{short_days[0]:.0f} to {short_days[1]:.0f} days apart")
        raise GlacierError(
            f"no two of {len(usable)} scenes, {days[0]} to {days[-1]}, that see the same are "
            f"{' or '.join(apart)}; {more}"
        )
    return [Pair(int(usable[pair.first]), int(usable[pair.second]), pair.years) for pair in pairs]
