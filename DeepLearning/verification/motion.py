"""Movement and forecasts: climatology carried along by the ice as a baseline, and the motion that a forecast shows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from config import Config
from DeepLearning.data.context import Context
from DeepLearning.data.glacier import Glacier
from DeepLearning.data.layers import year_ago
from glacier.climatology import PRIOR
from glacier.figures import maps
from glacier.seasons import step_name
from glacier.stages import runs_folder
from glacier.storage import disk
from glacier.velocity import fields, velocities
from glacier.velocity.displacement import nodes, track
from glacier.velocity.flow import FLOWS, advect, end_point_error, sure_flow
from glacier.velocity.velocities import certain

log = logging.getLogger(__name__)

TEXTURE = 0.05  # local standard deviation [1] from which on a map shows something that can be seen to move
ARROWS = 6  # px between arrows


# ── The baseline ─────────────────────────────────────────────────────────────────────────────────────────────────


class AdvectedClimatology:
    """Climatology with the same season of earlier years carried to where the ice will be in the target year.

    Climatology is (A + PRIOR P) / (n + PRIOR), A and n being weighted sums over the pixel's past. In both, the same
    season of each earlier year, as it was seen at the pixel, gives way to what the ice carried there; where nothing
    moves, that is climatology itself. The velocity is measured from pairs of scenes that end before the first target;
    where it is not certain, nothing moves. For whole scenes of one glacier.
    """

    def __init__(self, glacier: Glacier, movement: fields.Movement):
        self.glacier, self.movement = glacier, movement
        self.target: int | None = None
        self.carried: list[np.ndarray] = []

    def displacement(self, target: int) -> np.ndarray | None:
        """Return how far the ice moves in a year, (2, H, W) px, as known before a step; None if it is not known."""
        field = self.movement.field(before=self.glacier.date(target))
        if field is None:
            return None
        velocity = np.where(certain(field), field.velocity, 0)
        return self.movement.displacement(field._replace(velocity=velocity))

    def carry(self, target: int) -> list[np.ndarray]:
        """Return the carried years of each lead time, (years, C, H, W), NaN where nothing was observed.

        target : the first target step. Kept for the next rows of the same window.
        """
        if self.target != target:
            yearly = self.displacement(target)
            steps = range(target, target + self.glacier.horizon)
            self.carried = [self.carried_years(yearly, target, step) for step in steps]
            self.target = target
        return self.carried

    def carried_years(self, yearly: np.ndarray | None, target: int, step: int) -> np.ndarray:
        """Return the season of `step` in the years before step `target`, carried to where it will be at `step`.

        (years, C, H, W), in a scratch file: a long series has many.
        """
        series = self.glacier.series
        every = series.steps_per_year
        earlier = range(step % every, target, every) if yearly is not None else ()
        years = disk.nameless_array(runs_folder(), (len(earlier), *series.values.shape[1:]))
        for year, past in enumerate(earlier):
            seen = np.where(series.observed[past], series.unclipped[past], np.nan)
            moved = yearly * ((step - past) / every)
            years[year] = [advect(channel, moved) for channel in seen]
        return years

    def __call__(self, inputs: Tensor, context: Context) -> Tensor:
        place = context.place
        steps = range(place.target, place.target + self.glacier.horizon)
        usual = context.climatology[0].numpy()  # (horizon, K, C, h, W)
        leads = []
        for step, years, function in zip(steps, self.carry(place.target), usual, strict=True):
            carried = years[:, :, place.rows]
            leads.append(self.exchanged(function, carried, place.target, step, place.rows))
        return torch.from_numpy(np.array(leads, np.float32))[None]

    def exchanged(
        self, usual: np.ndarray, carried: np.ndarray, target: int, step: int, rows: slice
    ) -> np.ndarray:
        """Return climatology F (K, C, h, W) of a step, with carried years in place of the same ones as they were seen.

        carried : (years, C, h, W). target : the first target step.
        """
        base, series = self.glacier.base, self.glacier.series
        every = series.steps_per_year
        weights = base.climatology.weights(base.days[step], range(target))
        observed = np.array(series.observed[:target, rows])  # (target, h, W)
        number = np.tensordot(weights, observed, axes=1) + PRIOR
        number = np.repeat(number[None], usual.shape[1], axis=0)  # (C, h, W)
        below = usual * number
        for past, moved in zip(range(step % every, target, every), carried, strict=False):
            seen = np.where(observed[past], series.unclipped[past][:, rows], np.nan)
            for values, weight in ((moved, weights[past]), (seen, -weights[past])):
                count, at_most = self.counted(values)
                number += weight * count
                below += weight * at_most
        return below / number

    def counted(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which values (C, h, W) are known, and which of these are at most each threshold, (K, C, h, W)."""
        x = self.glacier.x
        known = np.isfinite(values)
        limited = np.minimum(np.nan_to_num(values), x[-1])
        return known, known & (limited <= x[:, None, None, None])


def baselines(cfg: Config, glacier: Glacier) -> dict[str, Callable[[Tensor, Context], Tensor]]:
    """Return the baseline that needs a finished movement stage, by its name."""
    return {"advected climatology": AdvectedClimatology(glacier, fields.read_movement(cfg))}


# ── The motion of a forecast ─────────────────────────────────────────────────────────────────────────────────────


def lengths(real: np.ndarray, shown: np.ndarray, pixel_size: float) -> dict[str, float]:
    """Return the median length of two displacements (2, h, w) [px] and of their difference, each in m."""
    still = np.zeros_like(real)
    compared = {"truth": (real, still), "forecast": (shown, still), "difference": (shown, real)}
    medians = {}
    for name, displacements in compared.items():
        medians[f"{name}_m"] = round(end_point_error(*displacements) * pixel_size, 2)
    return medians


def without_percent(field: np.ndarray) -> float:
    """Return the share of pixels without a displacement [%]."""
    return round(100 * float(np.isnan(field[0]).mean()), 1)


def common_percent(real: np.ndarray, shown: np.ndarray) -> float:
    """Return the share of the displacements in the truth that the forecast has too [%]; NaN if there is none."""
    found = np.isfinite(real[0])
    both = found & np.isfinite(shown[0])
    return round(100 * float(both.sum() / found.sum()), 1) if found.any() else float("nan")


def compare_flows(truth: np.ndarray, forecast: np.ndarray, pixel_size: float) -> list[dict]:
    """Return for each lead time and optical flow how far things move in truth and forecast, and how these differ [m].

    truth, forecast : (1 + horizon, H, W), the same last known step first. Medians over the pixels where the flow is
    sure: both images have texture, and the flow back leads to where it began. The shares without it stand beside them,
    for a blurred forecast, or blank snow, shows no motion at all; found_percent as in compare_tracks.
    """
    rows = []
    for lead in range(1, len(truth)):
        for method in FLOWS:
            real = sure_flow(truth[lead - 1], truth[lead], TEXTURE, method)
            shown = sure_flow(forecast[lead - 1], forecast[lead], TEXTURE, method)
            shares = {
                "found_percent": common_percent(real, shown),
                "truth_without_percent": without_percent(real),
                "forecast_without_percent": without_percent(shown),
            }
            rows.append({"lead": lead, "flow": method} | lengths(real, shown, pixel_size) | shares)
    return rows


def compare_tracks(
    before: np.ndarray, truth: np.ndarray, forecast: np.ndarray, pixel_size: float, reach: float
) -> list[dict]:
    """Return for each lead time how far chips moved since an earlier year, in truth and forecast, as compare_flows.

    before, truth, forecast : (horizon, H, W), the same season an earlier year (all NaN: none, no row) and the targets.
    reach : largest displacement to look for [px]. Medians over the nodes that are found in the truth; found_percent
    of them are found in the forecast too, NaN where the truth holds no texture to follow.
    """
    rows = []
    for lead, images in enumerate(zip(before, truth, forecast, strict=True), 1):
        if not np.isfinite(images[0]).any():
            continue
        real, shown = (
            track(images[0], image, velocities.SPACING, reach).displacement for image in images[1:]
        )
        shares = {
            "found_percent": common_percent(real, shown),
            "truth_without_percent": without_percent(real),
            "forecast_without_percent": without_percent(shown),
        }
        shown = np.where(np.isfinite(real[0]), shown, np.nan)
        rows.append({"lead": lead, "flow": "chips"} | lengths(real, shown, pixel_size) | shares)
    return rows


def year_ago_maps(glacier: Glacier, target: int) -> np.ndarray:
    """Return the last map of each target's season before step `target`, (horizon, H, W); NaN where there is none."""
    origin = glacier.origin(target - glacier.sequence_length)
    everywhere = (slice(None), slice(None))
    steps = range(target, target + glacier.horizon)
    return np.stack([year_ago(glacier, origin, step, *everywhere)[0] for step in steps])


def draw_flows(
    folder: Path, glacier: Glacier, target: int, forecast: np.ndarray, max_velocity: float
) -> tuple[list[Path], list[dict]]:
    """Draw the flow from the last input to the first target, in truth and forecast; return the file and the motions.

    target : step of the first target. forecast : (horizon, C, H, W); the first channel is looked at.
    max_velocity : of the ice [m/yr]. The motions are the rows of compare_flows and compare_tracks.
    """
    truth = np.array(glacier.series.values[target - 1 : target + len(forecast), 0])
    shown = np.concatenate([truth[:1], forecast[:, 0]])
    size = abs(glacier.series.transform[0])
    rows, columns = (nodes(length, ARROWS) for length in truth.shape[1:])
    metres = np.array([size, -size])[:, None, None]  # to the right and up
    observed = glacier.series.observed[target - 1] & glacier.series.observed[target]
    everywhere = np.ones_like(observed)
    fields, titles = [], []
    for images, what, seen in ((truth, "what came", observed), (shown, "forecast", everywhere)):
        arrows = np.where(seen, sure_flow(images[0], images[1], TEXTURE), np.nan)
        fields.append(arrows[:, rows[:, None], columns] * metres)
        name = step_name(glacier.date(target), glacier.series.steps_per_year)
        sure = 100 - without_percent(arrows)
        titles.append(f"{name}, {what}\nmotion that is sure: {sure:.0f} % of the pixels")
    path = maps.arrows(
        folder / "flow.png",
        [np.where(glacier.series.observed[target], truth[1], np.nan), shown[1]],
        fields,
        rows,
        columns,
        titles,
        "optical flow since the step before [m]",
        size,
    )
    before = year_ago_maps(glacier, target)
    tracks = compare_tracks(before, truth[1:], shown[1:], size, max_velocity / size)
    return [path], compare_flows(truth, shown, size) + tracks
