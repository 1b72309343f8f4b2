"""What the scenes show in the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config import Config
from glacier.figures import charts, maps
from glacier.report import pages
from glacier.robust import nan_median
from glacier.satellites.selection import count_reasons
from glacier.scenes import Scene, read_scenes

CANDIDATES = 15  # scenes of which the clearest is drawn
LONGEST = 767  # px a side of a picture


@dataclass(frozen=True)
class Candidate:
    """A scene to draw. seen : share of the box. image : reflectance (3, h, w) or (h, w), every n-th pixel."""

    title: str
    seen: float
    image: np.ndarray
    bands: str
    every: int


def describe(cfg: Config, folder: Path, counts: dict) -> list[Path]:
    """Draw when the scenes were taken, and the clearest, for the report; return the files."""
    dates = []
    seen = []
    candidates: list[Candidate] = []
    rows: list[tuple] = [("scene", "date", "satellite", "cloud [%]", "seen in the box [%]")]
    for scene in read_scenes(cfg):
        dates.append(scene.date)
        seen.append(1 - scene.missing_fraction)
        rows.append(row_of(scene))
        if len(candidates) < CANDIDATES or seen[-1] > min(one.seen for one in candidates):
            candidates.append(candidate(scene))
            candidates.sort(key=lambda one: -one.seen)
            del candidates[CANDIDATES:]
    clearest = clearest_of(candidates)
    quicklooks = folder / "quicklooks"
    days = charts.calendar(quicklooks / "scenes.png", dates, seen, "seen in the box [1]")
    white = brightest(clearest.image)
    image = clearest.image
    if clearest.image.ndim == 3:
        image = clearest.image / white
    best = maps.map_row(
        quicklooks / "clearest.png",
        [image],
        [clearest.title],
        f"reflectance of {clearest.bands} [1]",
        (0.0, white),
        "gray",
        pixel_size=cfg.pixelSize * clearest.every,
    )
    section = pages.section(
        folder,
        "Scenes",
        table_of(counts),
        pages.Picture(
            days, "When the kept scenes were taken, and how much of the box they saw between clouds"
        ),
        pages.Picture(
            best, f"A clear scene that looks as most do: {clearest.bands}, {white:.2g} is white"
        ),
        pages.Fold("All kept scenes", rows),
    )
    return [days, best, section]


def candidate(scene: Scene) -> Candidate:
    """Return what is needed to draw a scene: its colours if it has them, at the size of the screen."""
    colours = [band for band in ("red", "green", "blue") if band in scene.bands]
    every = -(-max(scene.mask.shape) // LONGEST)
    if len(colours) < 3:
        colours = colours[:1]
    bands = [scene.reflectance(band)[::every, ::every] for band in colours]
    title = f"{scene.date:%Y-%m-%d}, {scene.platform}"
    if len(bands) == 3:
        image = np.stack(bands)
    else:
        image = bands[0]
    seen = 1 - scene.missing_fraction
    return Candidate(title, seen, image, ", ".join(colours), every)


def clearest_of(candidates: Sequence[Candidate]) -> Candidate:
    """Return, of the scenes that see most, the one that is most like their median and sees much.

    A cloud that no mask knows, or a dark day, hides the ground that all others show. Likeness is the correlation.
    """
    stack = np.stack([one.image.reshape(-1) for one in candidates])  # (N, pixels)
    median, _ = nan_median(stack)
    typical = median.reshape(-1)
    worth = []
    for one, values in zip(candidates, stack, strict=True):
        both = np.isfinite(values) & np.isfinite(typical)
        worth.append(one.seen * correlation(values[both], typical[both]))
    return candidates[int(np.argmax(worth))]


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation of two rows of values (N,); -1 where one of them tells nothing.

    Compared by their ends: the deviation of equal values is not 0 but of the size of a rounding.
    """
    if len(first) == 0 or first.min() == first.max() or second.min() == second.max():
        return -1.0
    return float(np.corrcoef(first, second)[0, 1])


def brightest(image: np.ndarray) -> float:
    """Return the reflectance to draw white: that of all but 1 % of a scene, with NaN, at most 1."""
    if not np.isfinite(image).any():
        return 1.0
    return float(np.nanpercentile(image, 99).clip(0.05, 1.0))


def row_of(scene: Scene) -> tuple:
    """Return what the fold of all scenes says of one."""
    cloud = round(scene.cloud_percent, 1)
    seen = round(100 * (1 - scene.missing_fraction))
    return scene.id, str(scene.date), scene.platform, cloud, seen


def table_of(counts: dict) -> list[tuple]:
    """Return the table of the section: what became of the scenes, and whether their sensors agree."""
    reasons = count_reasons(list(counts["dropped_scenes"].items()))
    doubts = count_reasons(list(counts["warnings"].items()))
    rows: list[tuple] = [
        ("scenes", "number"),
        ("kept", counts["kept"]),
        ("of these resampled", counts["resampled"]),
    ]
    rows += [(f"dropped: {reason}", number) for reason, number in reasons.items()]
    rows += [(f"warning: {doubt}", number) for doubt, number in doubts.items()]
    rows.append(("lost to faults", counts["lost"]))
    rows += counts.get("sensors", {}).items()
    return rows
