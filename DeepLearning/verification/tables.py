"""What is said of the scores: one sentence, ten lines, and the skill by lead time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from DeepLearning.verification.intervals import FEWEST_BLOCKS
from DeepLearning.verification.scoring import REFERENCE

LINES = 10
LEADS, MOST_METHODS = 4, 4  # of what is printed
HEADS = (
    "method",
    "CRPS",
    "skill vs climatology [95 %]",
    "n_eff",
    "worst date",
    "Brier",
    "in 90 % band",
    "MSE",
    "factor",
)


def overall(rows: Sequence[dict], region: str = "seen") -> list[dict]:
    """Return the rows of a region over all lead times and seasons."""
    wanted = {"region": region, "lead": "all", "season": "all"}
    return [row for row in rows if wanted.items() <= row.items()]


def verdict(row: dict) -> str:
    """Return what a network's row says against climatology, in one sentence.

    row : its row over all lead times and seasons, with numbers. Proof is an interval that is clear of 0.
    """
    skill, low, high = (100 * row[name] for name in ("crpss", "crpss_low", "crpss_high"))
    dates = f"{row['dates']} clear-sky date{'s' if row['dates'] != 1 else ''}"
    start = f"On {dates} (n_eff {row['n_eff']:.0f}) {row['method']} is"
    if row["factor"] == 0 and skill == 0:
        return f"{start} climatology itself: what it added was not earned in validation."
    if not np.isfinite(skill):
        return f"{start} not to be compared with climatology, which made no error at all."
    better = skill >= 0
    word = "better" if better else "worse"
    digits = 0 if abs(skill) >= 3 else 1
    amount = f"{abs(skill):.{digits}f} %"
    if not np.isfinite(low):
        return (
            f"{start} {amount} {word} than climatology: no proof, for fewer than "
            f"{FEWEST_BLOCKS} three-month blocks of dates give no interval."
        )
    ends = (low, high) if better else (-high, -low)
    interval = f"[{ends[0]:+.{digits}f}, {ends[1]:+.{digits}f}]"
    clear = low > 0 or high < 0
    proof = "the interval is clear of 0" if clear else "no proof"
    return f"{start} {amount} {interval} {word} than climatology: {proof}."


def verdict_of(rows: Sequence[dict], network: str) -> str:
    """Return the verdict on a network, of the region "seen", or of "block" where nothing else was scored."""
    for region in ("seen", "block"):
        for row in overall(rows, region):
            if row["method"] == network:
                return verdict(row)
    return f"No target of the test windows was observed: nothing can be said of {network}."


def table(rows: Sequence[dict], networks: Sequence[str]) -> list[tuple]:
    """Return what the report says of the scores: a head and LINES rows of the region "seen" over all lead times.

    The networks first, then the baselines by their CRPS.
    """
    everything = overall(rows)
    of_networks = [row for row in everything if row["method"] in networks]
    of_baselines = [row for row in everything if row["method"] not in networks]
    of_baselines.sort(key=lambda row: row["crps"])
    ranked = of_networks + of_baselines
    lines = [table_line(row) for row in ranked[:LINES]]
    return [HEADS, *lines]


def skill_by_lead(rows: Sequence[dict], networks: Sequence[str]) -> list[tuple]:
    """Return what is printed of the scores: the skill against climatology of each network, and of the best baseline.

    A column for each of at most LEADS lead times, the first and the last among them; in the region of the verdict.
    """
    region = "seen" if overall(rows, "seen") else "block"
    wanted = {"region": region, "season": "all"}
    scored = [row for row in rows if wanted.items() <= row.items()]
    leads = sorted({row["lead"] for row in scored if row["lead"] != "all"})
    count = min(len(leads), LEADS)
    places = np.linspace(0, len(leads) - 1, count).round().astype(int)
    columns = [leads[place] for place in places]
    columns.append("all")
    by_place = {(row["method"], row["lead"]): row for row in scored}
    methods = [name for name in networks if (name, "all") in by_place]
    baselines = [row for row in overall(rows, region) if is_rival(row, networks)]
    if baselines:
        methods.append(min(baselines, key=lambda row: row["crps"])["method"])
    heads = [head_of(lead) for lead in columns]
    lines: list[tuple] = [("skill [%], 95 %", *heads)]
    for name in methods[:MOST_METHODS]:
        cells = [percent_cell(by_place.get((name, lead))) for lead in columns]
        lines.append((name, *cells))
    return lines


def is_rival(row: dict, networks: Sequence[str]) -> bool:
    """Return whether a row is of a baseline other than climatology."""
    return row["method"] not in networks and row["method"] != REFERENCE


def head_of(lead: int | str) -> str:
    """Return the head of the column of a lead time."""
    return "all leads" if lead == "all" else f"lead {lead}"


def percent_cell(row: dict | None) -> str:
    """Return a skill with its interval in percent: +4 [-2, +9]; without brackets where there is no interval."""
    if row is None or not np.isfinite(row["crpss"]):
        return "-"
    skill, low, high = (100 * row[name] for name in ("crpss", "crpss_low", "crpss_high"))
    interval = f" [{low:+.0f}, {high:+.0f}]" if np.isfinite(low) else ""
    return f"{skill:+.1f}{interval}"


def table_line(row: dict) -> tuple[str, ...]:
    """Return a row of scores as the cells of HEADS; a dash for what does not apply."""
    return (
        row["method"],
        number(row["crps"], ".4f"),
        skill_cell(row),
        number(row["n_eff"], ".0f"),
        number(row["worst_date_share"], ".0%"),
        number(row["brier"], ".3f"),
        number(row["coverage_90"], ".0%"),
        number(row["mse"], ".4f"),
        number(row["factor"], ".2f"),
    )


def skill_cell(row: dict) -> str:
    """Return skill and interval as text; the interval a dash where there is none."""
    low, high = row["crpss_low"], row["crpss_high"]
    interval = f"[{low:+.2f}, {high:+.2f}]" if np.isfinite(low) else "[-]"
    return f"{number(row['crpss'], '+.3f')} {interval}"


def number(value: float, form: str) -> str:
    """Return a number in a format, a dash for NaN."""
    return format(value, form) if np.isfinite(value) else "-"
