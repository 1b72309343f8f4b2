"""Score runs and baselines over the test windows:  python DeepLearning/evaluate.py --name=parvati --run=all

Writes scores.csv, scores.png (error by lead time) and patches.png (best, median and worst), for one run into
DeepLearning/runs/RUN/evaluation/, for several into a folder of their own. Whole scenes are forecast, so each pixel
counts once; only really observed pixels count. The region "seen" is the scene the networks were trained on, at times
they were not; "block" is the part of the scene kept out of training as well.
"""
from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor

from config import Config, GlacierError, setting
from DeepLearning import metrics, motion, sections, tracking
from DeepLearning.baselines import BASELINES, DampedPersistence, Ridge
from DeepLearning.data import Glacier
from DeepLearning.training import choose_device, load_network
from glacier import console, figures
from glacier.report import pages
from glacier.storage import runner

log = logging.getLogger(__name__)

REFERENCES = ("climatology", "damped persistence", "ridge", "seasonal persistence", "persistence")
TILES = 5  # a side: a region is cut into this many parts squared, which the bootstrap draws
SEASONS = ("Dec-Feb", "Mar-May", "Jun-Aug", "Sep-Nov")


@dataclass(frozen=True)
class Settings(Config):
    run: tuple[str, ...] = setting((), "runs to score; empty: the newest; all: the newest of each network")
    device: str = setting("auto", "where to compute", choices=tracking.DEVICES)
    wandb: str = setting("auto", "Weights & Biases; auto: online if logged in, else offline", choices=tracking.MODES)


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
    top, bottom, left, right = (int(edge) for edge in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1))
    row, column = (torch.arange(length) * TILES // length for length in (bottom - top, right - left))
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
            self.sums.setdefault(name, []).append(metrics.tile_sums(forecast, truth, observed, tiles))
        for lead, step in enumerate(steps, 1):
            day = glacier.date(step)
            self.leads.append(lead)
            self.seasons.append(SEASONS[day.month % 12 // 3])
            self.years.append(day.year)

    def rows(self, region: str) -> list[dict]:
        """Return one row for each lead time, each season and all together, and each method."""
        leads, seasons, years = map(np.array, (self.leads, self.seasons, self.years))
        groups = [(lead, "all", leads == lead) for lead in np.unique(leads).tolist()]
        groups += [("all", season, seasons == season) for season in SEASONS if season in self.seasons]
        groups.append(("all", "all", leads > 0))
        labels = [{"region": region, "lead": lead, "season": season} for lead, season, _ in groups]
        return [row for label, (_, _, chosen) in zip(labels, groups, strict=True)
                for row in self.group_rows(label, chosen, years)]

    def group_rows(self, labels: dict, chosen: np.ndarray, years: np.ndarray) -> list[dict]:
        """Return the rows of some cells, one a method, with its skills against the references and their intervals."""
        squared = metrics.SUMS.index("squared")
        totals, by_year, rows = {}, {}, []
        for name, windows in self.sums.items():
            sums = np.concatenate(windows)[chosen]
            totals[name] = metrics.scores(sums.sum(axis=(0, 1)))
            found = np.unique(years[chosen])
            by_year[name] = np.stack([sums[years[chosen] == year, :, squared].sum(axis=0) for year in found])
        for name, total in totals.items():
            row = labels | {"method": name} | total
            for other in REFERENCES:
                column = f"skill_vs_{other.replace(' ', '_')}"
                low, high = metrics.skill_interval(by_year[name], by_year[other])
                row |= {column: metrics.skill(total["mse"], totals[other]["mse"])}
                row |= {f"{column}_low": low, f"{column}_high": high}
            rows.append(row)
        return rows


def score(glacier: Glacier, networks: dict, device: torch.device, baselines: dict = BASELINES) -> list[dict]:
    """Return the rows of all regions: networks, baselines and those fitted here, over all test windows."""
    masks = region_masks(glacier)
    tiles = {region: tiles_of(mask) for region, mask in masks.items()}
    fitted = {"damped persistence": DampedPersistence(glacier, masks["seen"]), "ridge": Ridge(glacier, masks["seen"])}
    scored = {region: Scored({}, [], [], []) for region in masks}
    for window in console.progress(glacier.windows("test"), "test windows"):
        first = glacier.patches.windows[window].start
        made = {name: glacier.forecast_scene(network, first, device)[0] for name, network in networks.items()}
        inputs, context = glacier.scene_inputs(first), glacier.scene_context(first)
        made |= {name: baseline(inputs, context)[0] for name, baseline in (baselines | fitted).items()}
        for region, found in scored.items():
            found.add(glacier, first + glacier.sequence_length, made, tiles[region])
    return [row for region, found in scored.items() for row in found.rows(region)]


# ── Tables and pictures ──────────────────────────────────────────────────────────────────────────────────────────

def table(rows: list[dict]) -> list[tuple]:
    """Return what is printed of the rows: all lead times, without the single seasons."""
    heads = ("region", "lead", "method", "MSE", "MAE", "SSIM", "F1", "bias", "variance",
             "skill vs climatology [95 %]", "vs damped persistence", "vs persistence")
    lines = [heads]
    for row in rows:
        if row["season"] == "all":
            skills = [f"{row[f'skill_vs_{name}']:+.3f} [{row[f'skill_vs_{name}_low']:+.3f}, "
                      f"{row[f'skill_vs_{name}_high']:+.3f}]"
                      for name in ("climatology", "damped_persistence", "persistence")]
            numbers = (f"{row['mse']:.5f}", f"{row['mae']:.4f}", f"{row['ssim']:.3f}", f"{row['f1']:.3f}",
                       f"{row['bias']:+.4f}", f"{row['variance_ratio']:.2f}")
            lines.append((row["region"], str(row["lead"]), row["method"], *numbers, *skills))
    return lines


def draw_scores(path: Path, rows: list[dict]) -> Path:
    """Draw the error by lead time over the region that was trained on; return the file."""
    lines = {}
    for row in rows:
        if row["region"] == "seen" and row["season"] == "all" and row["lead"] != "all":
            lines.setdefault(row["method"], []).append(row["mse"])
    leads = range(1, 1 + len(next(iter(lines.values()))))
    return figures.curves(path, leads, lines, "lead time [steps]", "mean squared error [1]")


def draw_patches(path: Path, glacier: Glacier, network: torch.nn.Module, device: torch.device) -> Path:
    """Draw the best, the median and the worst patch of a network's test forecasts; return the file."""
    found, side = [], glacier.patch_size
    for window in glacier.windows("test"):
        first = glacier.patches.windows[window].start
        target, end = first + glacier.sequence_length, first + glacier.sequence_length + glacier.horizon
        made, truth = glacier.forecast_scene(network, first, device)[0].numpy(), glacier.series.values[target:end]
        observed = glacier.series.observed[target:end, None]
        for top in range(0, truth.shape[-2] - side + 1, side):
            for left in range(0, truth.shape[-1] - side + 1, side):
                here = np.s_[..., top : top + side, left : left + side]
                if observed[here].any():
                    error = ((made - truth)[here][np.broadcast_to(observed, truth.shape)[here]] ** 2).mean()
                    found.append((float(error), target, top, left, made[here], truth[here]))
    found.sort(key=lambda entry: entry[:4])
    images, titles = [], []
    chosen = {"best": found[0], "median": found[len(found) // 2], "worst": found[-1]}
    for kind, (error, target, top, left, made, truth) in chosen.items():
        last = glacier.series.values[target - 1, :, top : top + side, left : left + side]
        sheet = {f"{kind}, MSE {error:.4f}, last input": last, "truth, first lead": truth[0], "forecast ": made[0],
                 "truth, last lead": truth[-1], "forecast": made[-1]}
        images += [image[0] if len(image) == 1 else image[:3] for image in sheet.values()]
        titles += sheet
    return figures.map_row(path, images, titles, "NDSI [1]", columns=5)


# ── The stage ────────────────────────────────────────────────────────────────────────────────────────────────────

def choose_runs(cfg: Settings, glacier: Glacier) -> list[Path]:
    """Return the runs to score; with --run=all the newest finished one of each network."""
    if cfg.run != ("all",):
        return tracking.runs_for(cfg, cfg.run, glacier.hash)
    newest = {}
    for run in tracking.list_runs(name=cfg.name):
        saved = tracking.read_run(run)
        if runner.read_manifest(run) and saved["patches"].get(cfg.name) == glacier.hash:
            newest[saved["network"]] = run
    return list(newest.values()) or tracking.runs_for(cfg, (), glacier.hash)


def labels_of(runs: list[Path]) -> dict[str, Path]:
    """Return the runs by the names of their networks, with their numbers where two share a network."""
    names = [tracking.read_run(run)["network"] for run in runs]
    return {name if names.count(name) == 1 else f"{name} {tracking.run_number(run):03d}": run
            for name, run in zip(names, runs, strict=True)}


def run(cfg: Settings) -> int:
    """Score the runs unless that is done; return the exit code."""
    glacier = Glacier(cfg)
    runs = choose_runs(cfg, glacier)
    if not glacier.windows("test"):
        raise GlacierError(f"{cfg.name} has no test window; take more years, or a larger testFraction")
    numbers = "-".join(f"{tracking.run_number(run):03d}" for run in runs)
    own = "evaluation" if tracking.read_run(runs[0])["names"][0] == cfg.name else f"evaluation-{cfg.name}"
    folder = runs[0] / own if len(runs) == 1 else tracking.runs_folder() / f"{cfg.name}-comparison-{numbers}"

    def work(folder: Path) -> runner.Result:
        device = choose_device(cfg.device)
        networks = {label: load_network(run, device) for label, run in labels_of(runs).items()}
        rows = score(glacier, networks, device, BASELINES | motion.baselines(cfg, glacier))
        tracking.write_csv(folder / "scores.csv", rows)
        files = [folder / "scores.csv", draw_scores(folder / "scores.png", rows),
                 draw_patches(folder / "patches.png", glacier, next(iter(networks.values())), device)]
        mirror = tracking.Mirror(cfg.wandb, runs[0], {"runs": [run.name for run in runs]}, "evaluation")
        mirror.table("scores", rows)
        mirror.finish()
        files += sections.evaluation(folder)
        return runner.Result(files, {"test_windows": len(glacier.windows("test"))}, table(rows))

    inputs = {run.name: runner.manifest_hash(runner.read_manifest(run)) for run in runs} | motion.inputs(cfg)
    tracking.make_once(cfg, folder, {"glacier": cfg.name}, inputs | {"patches": glacier.hash}, work)
    pages.report(cfg)
    log.info("Skill is 1 - MSE / MSE of the baseline: 0 is no better, negative is worse.")
    log.info("Next: python DeepLearning/forecast.py --name=%s", cfg.name)
    return 0


if __name__ == "__main__":
    sys.exit(console.main(run, Settings))
