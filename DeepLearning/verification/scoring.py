"""Scores of networks and baselines over whole test scenes, by region, lead time and season."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from DeepLearning.data.glacier import Glacier
from DeepLearning.verification import metrics
from DeepLearning.verification.baselines import BASELINES, DampedPersistence, Ridge
from glacier import console

REFERENCES = ("climatology", "damped persistence", "ridge", "seasonal persistence", "persistence")
TILES = 5  # a side: a region is cut into this many parts squared, which the bootstrap draws
SEASONS = ("Dec-Feb", "Mar-May", "Jun-Aug", "Sep-Nov")


# ── Where and when ───────────────────────────────────────────────────────────────────────────────────────────────


def region_masks(glacier: Glacier) -> dict[str, Tensor]:
    """Return masks (H, W): "seen", the pixels of training patches, and "block", those kept out of training."""
    masks = {}
    for region, part in (("seen", "train"), ("block", "block")):
        mask = torch.zeros(glacier.series.values.shape[-2:], dtype=torch.bool)
        for row, column in np.argwhere(glacier.patches.patch_parts == part) * glacier.stride:
            mask[row : row + glacier.patch_size, column : column + glacier.patch_size] = True
        if mask.any():
            masks[region] = mask
    return masks


def tiles_of(mask: Tensor) -> Tensor:
    """Return the number of each pixel's tile, int (H, W): the mask's frame in TILES x TILES parts, -1 outside it."""
    number = torch.full(mask.shape, -1)
    rows, columns = (mask.any(dim=dim).nonzero()[:, 0] for dim in (1, 0))
    top, bottom, left, right = (
        int(edge) for edge in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)
    )
    row, column = (
        torch.arange(length) * TILES // length for length in (bottom - top, right - left)
    )
    number[top:bottom, left:right] = row[:, None] * TILES + column
    return torch.where(mask, number, -1)


# ── Forecasts to sums, sums to scores ────────────────────────────────────────────────────────────────────────────


@dataclass
class Scored:
    """Sums over tiles of all forecasts of one region: method -> (cells, tiles, len(SUMS)); a cell is a target step of a
    test window, with its lead time from 1 on, its season and its year."""

    sums: dict[str, list[np.ndarray]]
    leads: list[int]
    seasons: list[str]
    years: list[int]

    def add(self, glacier: Glacier, target: int, made: dict[str, Tensor], tiles: Tensor) -> None:
        """Add the forecasts of one window, each (horizon, C, H, W), whose first target is step `target`."""
        steps = range(target, target + glacier.horizon)
        truth = torch.from_numpy(glacier.series.values[steps])
        observed = torch.from_numpy(glacier.series.observed[steps])[:, None]
        for name, forecast in made.items():
            self.sums.setdefault(name, []).append(
                metrics.tile_sums(forecast, truth, observed, tiles)
            )
        for lead, step in enumerate(steps, 1):
            day = glacier.date(step)
            self.leads.append(lead)
            self.seasons.append(SEASONS[day.month % 12 // 3])
            self.years.append(day.year)

    def rows(self, region: str) -> list[dict]:
        """Return one row for each lead time, each season and all together, and each method."""
        leads, seasons, years = map(np.array, (self.leads, self.seasons, self.years))
        groups = [(lead, "all", leads == lead) for lead in np.unique(leads).tolist()]
        groups += [
            ("all", season, seasons == season) for season in SEASONS if season in self.seasons
        ]
        groups.append(("all", "all", leads > 0))
        labels = [{"region": region, "lead": lead, "season": season} for lead, season, _ in groups]
        return [
            row
            for label, (_, _, chosen) in zip(labels, groups, strict=True)
            for row in self.group_rows(label, chosen, years)
        ]

    def group_rows(self, labels: dict, chosen: np.ndarray, years: np.ndarray) -> list[dict]:
        """Return the rows of some cells, one a method, with its skills against the references and their intervals."""
        squared = metrics.SUMS.index("squared")
        totals, by_year, rows = {}, {}, []
        for name, windows in self.sums.items():
            sums = np.concatenate(windows)[chosen]
            totals[name] = metrics.scores(sums.sum(axis=(0, 1)))
            found = np.unique(years[chosen])
            by_year[name] = np.stack(
                [sums[years[chosen] == year, :, squared].sum(axis=0) for year in found]
            )
        for name, total in totals.items():
            row = labels | {"method": name} | total
            for other in REFERENCES:
                column = f"skill_vs_{other.replace(' ', '_')}"
                low, high = metrics.skill_interval(by_year[name], by_year[other])
                row |= {column: metrics.skill(total["mse"], totals[other]["mse"])}
                row |= {f"{column}_low": low, f"{column}_high": high}
            rows.append(row)
        return rows


def score(
    glacier: Glacier, networks: dict, device: torch.device, baselines: dict = BASELINES
) -> list[dict]:
    """Return the rows of all regions: networks, baselines and those fitted here, over all test windows."""
    masks = region_masks(glacier)
    tiles = {region: tiles_of(mask) for region, mask in masks.items()}
    fitted = {
        "damped persistence": DampedPersistence(glacier, masks["seen"]),
        "ridge": Ridge(glacier, masks["seen"]),
    }
    scored = {region: Scored({}, [], [], []) for region in masks}
    for window in console.progress(glacier.windows("test"), "test windows"):
        first = glacier.patches.windows[window].start
        made = {
            name: glacier.forecast_scene(network, first, device)[0]
            for name, network in networks.items()
        }
        inputs, context = glacier.scene_inputs(first), glacier.scene_context(first)
        made |= {
            name: baseline(inputs, context)[0] for name, baseline in (baselines | fitted).items()
        }
        for region, found in scored.items():
            found.add(glacier, first + glacier.sequence_length, made, tiles[region])
    return [row for region, found in scored.items() for row in found.rows(region)]
