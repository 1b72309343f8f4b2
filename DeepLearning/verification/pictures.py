"""Pictures of the scores: skill, reliability, ranks, bands at four pixels, and the best and the worst patch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from DeepLearning.data.glacier import Glacier
from DeepLearning.verification import diagnosis, scoring
from DeepLearning.verification.ahead import Ahead
from DeepLearning.verification.diagnosis import Diagnosis
from glacier import distribution
from glacier.figures import animations, looks, skill
from glacier.figures.forecasts import Column, map_table, screen_size
from glacier.seasons import step_name

SCREEN = 480  # px a side of a map in an animation, at most
REGIONS = {
    "seen": "seen: trained on, at other times",
    "block": "block: never trained on",
    scoring.ALL_YEARS: "seen, all years: what needs no training",
}


def label_of(glacier: Glacier) -> str:
    """Return quantity and unit of what is forecast."""
    return looks.look_of(len(glacier.series.channels)).label


def draw_skill(path: Path, rows: Sequence[dict]) -> Path:
    """Draw the skill by lead time with its intervals, in the two regions and over every origin; return the file."""
    panels = {}
    for region in REGIONS:
        lines = skill_lines(rows, region)
        if lines:
            bounded = any(np.isfinite(line.low).any() for line in lines.values())
            bars = "bars: 95 % intervals" if bounded else "too few 3-month blocks for intervals"
            panels[f"{REGIONS[region]}; {bars}"] = lines
    return skill.skill_by_lead(path, panels, "CRPS skill [1]")


def skill_lines(rows: Sequence[dict], region: str) -> dict[str, skill.Line]:
    """Return the skills of a region by lead time, of each method but climatology."""
    points: dict[str, list[tuple]] = {}
    for row in rows:
        of_lead = row["region"] == region and row["lead"] != "all"
        if of_lead and row["method"] != scoring.REFERENCE:
            point = (row["crpss"], row["crpss_low"], row["crpss_high"])
            points.setdefault(row["method"], []).append(point)
    lines = {}
    for name, triples in points.items():
        skills, lows, highs = zip(*triples, strict=True)
        lines[name] = skill.Line(skills, lows, highs)
    return lines


def draw_probabilities(folder: Path, diagnosed: Mapping[str, Diagnosis]) -> list[Path]:
    """Draw ranks and, of a snow index, reliability; return the files."""
    ranks = {}
    reliability = {}
    for name, one in diagnosed.items():
        ranks[name] = one.ranks / max(one.ranks.sum(), 1)
        reliability[name] = one.reliability
    files = [skill.rank_histogram(folder / "ranks.png", ranks)]
    if any(table.any() for table in reliability.values()):
        files.append(skill.reliability(folder / "reliability.png", reliability, "snow"))
    return files


def draw_bands(
    path: Path,
    glacier: Glacier,
    network: Callable,
    device: torch.device,
    firsts: Sequence[int],
    seen: np.ndarray,
) -> Path:
    """Draw the network's bands of the first lead time against what came, at four pixels of a mask; return the file."""
    steps = [first + glacier.sequence_length for first in firsts]
    series = glacier.series
    values = (series.values[step, 0] for step in steps)
    observed = [series.observed[step] for step in steps]
    pixels = diagnosis.sample_pixels(values, observed, seen)
    quantiles = scoring.bands_at(glacier, network, device, firsts, pixels)
    rows, columns = pixels.T
    truths = np.empty((len(pixels), len(steps)))
    for number, step in enumerate(steps):
        truth = series.values[step, 0, rows, columns]
        truths[:, number] = np.where(series.observed[step, rows, columns], truth, np.nan)
    titles = [f"row {row}, column {column}" for row, column in pixels]
    dates = [glacier.middle(step) for step in steps]
    return skill.bands(path, dates, quantiles, truths, titles, label_of(glacier))


# ── Forecasts ────────────────────────────────────────────────────────────────────────────────────────────────────

LEADS = 4  # rows of a picture, at most


def shown_leads(horizon: int) -> list[int]:
    """Return the lead times, from 0 on, that a picture has room for, the first and the last among them."""
    count = min(horizon, LEADS)
    return np.linspace(0, horizon - 1, count).round().astype(int).tolist()


def year_before(glacier: Glacier, step: int) -> int | None:
    """Return the latest step of the series with the season of `step` at least a year before it; None: there is none."""
    every = glacier.series.steps_per_year
    earlier = step - every
    while earlier >= len(glacier.series.dates):
        earlier -= every
    return earlier if earlier >= 0 else None


def name_of(glacier: Glacier, step: int) -> str:
    """Return what to call a step: Jul-Sep 2021."""
    return step_name(glacier.date(step), glacier.series.steps_per_year)


def share_seen(glacier: Glacier, step: int) -> str:
    """Return how much of a step of the series was observed, as titles say it."""
    return f"{100 * glacier.series.observed[step].mean():.0f} % observed"


def truth(glacier: Glacier, step: int) -> np.ndarray:
    """Return what came in a step, (C, H, W): only what was seen, NaN elsewhere."""
    return np.where(glacier.series.observed[step], glacier.series.values[step], np.nan)


def probability_column(
    glacier: Glacier, probability: np.ndarray, leads: list[int], target: int
) -> Column:
    """Return the column of P(snow) of some lead times; the title of each row's first map is its dates."""
    images = [probability[lead, 0] for lead in leads]
    titles = [f"{name_of(glacier, target + lead)}\nP(snow)" for lead in leads]
    return Column(looks.SNOW.label, images, titles, looks.SNOW.colours)


def value_column(
    glacier: Glacier, images: Sequence, titles: Sequence[str], seen: Sequence | None = None
) -> Column:
    """Return a column of values; images (C, H, W), or None. seen : bool (H, W) of each, what was not filled."""
    drawn: list[np.ndarray | None] = []
    for image in images:
        drawn.append(None if image is None else map_of(np.asarray(image)))
    return Column(label_of(glacier), drawn, titles, seen=seen)


def draw_ahead(folder: Path, glacier: Glacier, ahead: Ahead) -> list[Path]:
    """Draw the forecast beside last year's same season, and as an animation after the last inputs; return the files."""
    target = len(glacier.series.dates)
    leads = shown_leads(glacier.horizon)
    spans = [name_of(glacier, target + lead) for lead in leads]
    columns = []
    if ahead.probability is not None:
        columns.append(probability_column(glacier, ahead.probability, leads, target))
        spans = [""] * len(leads)
    medians = [ahead.median[lead] for lead in leads]
    columns.append(value_column(glacier, medians, [f"{span}\nmedian" for span in spans]))
    members = [ahead.member[lead] for lead in leads]
    columns.append(value_column(glacier, members, ["\na member"] * len(leads)))
    year_ago = year_ago_column(glacier, [target + lead for lead in leads])
    if any(image is not None for image in year_ago.images):
        columns.append(year_ago)
    pixel_size = abs(glacier.series.transform[0])
    picture = map_table(folder / "forecast.png", columns, pixel_size)
    return [picture, animate(folder / "forecast.gif", glacier, ahead.median)]


def year_ago_column(glacier: Glacier, steps: Sequence[int]) -> Column:
    """Return the column of what was in the season of some steps a year before them, pale where it was filled."""
    images, titles, seen = [], [], []
    for step in steps:
        earlier = year_before(glacier, step)
        if earlier is None:
            images.append(None)
            titles.append("")
            seen.append(None)
            continue
        images.append(glacier.series.values[earlier])
        titles.append(f"{name_of(glacier, earlier)}\n{share_seen(glacier, earlier)}")
        seen.append(glacier.series.observed[earlier])
    return value_column(glacier, images, titles, seen)


def animate(path: Path, glacier: Glacier, median: np.ndarray) -> Path:
    """Write an animation of the last inputs and the forecast's medians (horizon, C, H, W); return the file."""
    target = len(glacier.series.dates)
    images, titles, masks = [], [], []
    for step in range(target - glacier.sequence_length, target):
        images.append(glacier.series.values[step])
        titles.append(f"{name_of(glacier, step)}, {share_seen(glacier, step)}")
        masks.append(screen_size(glacier.series.observed[step].astype(np.float32), SCREEN))
    for lead, image in enumerate(median):
        images.append(image)
        titles.append(f"{name_of(glacier, target + lead)}, forecast")
        masks.append(np.ones_like(masks[0]))
    thin = [screen_size(map_of(image), SCREEN) for image in images]
    every = images[0].shape[-1] / thin[0].shape[-1]
    pixel_size = abs(glacier.series.transform[0]) * every
    label = label_of(glacier)
    return animations.animation(path, thin, titles, label, pixel_size=pixel_size, seen=masks)


def draw_past(
    path: Path, glacier: Glacier, target: int, forecast: Mapping[str, np.ndarray]
) -> list[Path]:
    """Draw a forecast of steps that have come, from step `target` on, beside the truth; return the file.

    forecast : its maps by name, as ahead.statistics gives them.
    """
    leads = shown_leads(glacier.horizon)
    columns = []
    if "p_snow" in forecast:
        columns.append(probability_column(glacier, forecast["p_snow"], leads, target))
    medians = [forecast["median"][lead] for lead in leads]
    spans = [name_of(glacier, target + lead) for lead in leads]
    if columns:
        spans = [""] * len(leads)  # the first column says them
    titles = [f"{span}\nmedian" for span in spans]
    columns.append(value_column(glacier, medians, titles))
    truths = [truth(glacier, target + lead) for lead in leads]
    titles = [f"what came,\n{share_seen(glacier, target + lead)}" for lead in leads]
    columns.append(value_column(glacier, truths, titles))
    return [map_table(path, columns, abs(glacier.series.transform[0]))]


# ── Patches ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Place:
    """A patch of a window and the mean squared error of its forecast. first : step of the window's first input."""

    error: float
    first: int
    top: int
    left: int


def medians(glacier: Glacier, network: Callable, first: int, device: torch.device) -> np.ndarray:
    """Return the median of a forecast, (horizon, C, H, W)."""
    bands = []
    for _, F in glacier.forecast_bands(network, first, device):
        bands.append(distribution.quantile(F.numpy(), 0.5, glacier.x, glacier.floor))
    return np.concatenate(bands, axis=-2)


def patch_errors(squared: np.ndarray, observed: np.ndarray, side: int, first: int) -> list[Place]:
    """Return the error of each patch, side by side, in which something was observed.

    squared : errors (horizon, C, H, W). observed : bool (horizon, 1, H, W).
    """
    counted = np.broadcast_to(observed, squared.shape)
    places = []
    for top in range(0, squared.shape[-2] - side + 1, side):
        for left in range(0, squared.shape[-1] - side + 1, side):
            here = np.s_[..., top : top + side, left : left + side]
            errors = squared[here][counted[here]]
            if len(errors):
                places.append(Place(float(errors.mean()), first, top, left))
    return places


def draw_patches(
    path: Path, glacier: Glacier, network: Callable, device: torch.device, firsts: Sequence[int]
) -> Path:
    """Draw the best, the median and the worst patch of a network's forecasts (its medians); return the file."""
    places = []
    for first in firsts:
        target = first + glacier.sequence_length
        steps = slice(target, target + glacier.horizon)
        forecast = medians(glacier, network, first, device)
        squared = (forecast - glacier.series.values[steps]) ** 2
        observed = glacier.series.observed[steps, None]
        places += patch_errors(squared, observed, glacier.patch_size, first)
    places.sort(key=lambda place: place.error)
    named = {"best": places[0], "median": places[len(places) // 2], "worst": places[-1]}
    sheets = [patch_sheet(glacier, network, device, place) for place in named.values()]
    seen = [last_input_seen(glacier, place) for place in named.values()]  # the first column
    firsts_of_rows = [f"{kind}, MSE {place.error:.4f}" for kind, place in named.items()]
    columns = []
    for name in sheets[0]:
        above = [""] * len(sheets) if columns else firsts_of_rows
        titles = [f"{head}\n{name}" for head in above]
        images = [sheet[name] for sheet in sheets]
        columns.append(value_column(glacier, images, titles, None if columns else seen))
    return map_table(path, columns, abs(glacier.series.transform[0]))


def last_input_seen(glacier: Glacier, place: Place) -> np.ndarray:
    """Return which pixels of a patch were observed in the step before the first target, bool (side, side)."""
    side = glacier.patch_size
    observed = glacier.series.observed[place.first + glacier.sequence_length - 1]
    return observed[place.top : place.top + side, place.left : place.left + side]


def patch_sheet(
    glacier: Glacier, network: Callable, device: torch.device, place: Place
) -> dict[str, np.ndarray]:
    """Return the maps (C, side, side) of a patch by their titles: last input, truth and forecast at two lead times."""
    target = place.first + glacier.sequence_length
    side = glacier.patch_size
    here = np.s_[..., place.top : place.top + side, place.left : place.left + side]
    forecast = medians(glacier, network, place.first, device)[here]
    last = glacier.horizon - 1
    maps_by_title = {
        "last input": glacier.series.values[target - 1][here],
        "truth, lead 1": truth(glacier, target)[here],
        "median, lead 1": forecast[0],
    }
    if last:
        maps_by_title[f"truth, lead {last + 1}"] = truth(glacier, target + last)[here]
        maps_by_title[f"median, lead {last + 1}"] = forecast[last]
    return maps_by_title


def map_of(image: np.ndarray) -> np.ndarray:
    """Return one step (C, H, W) as figures draw it: (H, W) for one channel, else three."""
    return image[0] if len(image) == 1 else image[:3]
