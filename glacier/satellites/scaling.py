"""How an archive's numbers become reflectance, and whom to believe when its statements differ.

Order of trust: scale and offset of the file in the item, a flag that the offset was applied, the processing baseline,
the collection. Nothing told: the scene is refused. Archives contradict themselves (Earth Search names an offset of -0.1
beside the flag that it was applied); then the first statement that the pixels bear out counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from glacier.satellites.items import Asset, Item, read_scaling

ALIKE = 1e-9  # two offsets [1] that differ by less are the same statement
FIRST_WITH_OFFSET = 4  # ESA's processing baseline 04.00 added 1000 to every number
OFFSET = -0.1
POSSIBLE = -0.05, 1.6  # reflectance of clear ground [1]; beyond it something is wrong
IMPLAUSIBLE_SHARE = 0.05
FULL = 65535
MOSTLY = 0.5
# a few pixels in deep shadow come out below 0 by right; more than this share of a scene do not
NEGATIVE_SHARE = 0.02


@dataclass(frozen=True)
class Statement:
    """What someone says of a file: reflectance = number * scale + offset. source : who says it, for people."""

    scale: float
    offset: float
    source: str


# ── Who says what ────────────────────────────────────────────────────────────────────────────────────────────────


def own_statements(
    item: Item, asset: Asset, scale: float, offset: float | None
) -> tuple[Statement, ...]:
    """Return what is said of one of an item's files, the most trusted first, each once; nothing if all are silent.

    scale : of the sensor, where only the offset is told. offset : that its manual fixes for all files, or None where
    processing changed it.
    """
    own_scale = asset.scale or scale
    told: list[Statement] = []
    if asset.offset is not None:
        told.append(Statement(own_scale, asset.offset, "its raster:bands"))
        own_scale = scale  # what follows speaks of the numbers as the sensor's agency writes them
    if offset is not None:
        told.append(Statement(own_scale, offset, "the sensor's manual"))
        return different(told)
    applied = offset_by_flag(item.properties)
    baseline = offset_by_baseline(item)
    if applied is not None:
        told.append(Statement(own_scale, applied, "its flag boa_offset_applied"))
    elif baseline is not None:
        told.append(Statement(own_scale, baseline, "its baseline"))
    return different(told)


def different(statements: list[Statement]) -> tuple[Statement, ...]:
    """Return statements without those that repeat an earlier one."""
    kept: list[Statement] = []
    for statement in statements:
        repeats = [
            abs(one.offset - statement.offset) + abs(one.scale / statement.scale - 1) < ALIKE
            for one in kept
        ]
        if not any(repeats):
            kept.append(statement)
    return tuple(kept)


def offset_by_flag(properties: dict) -> float | None:
    """Return 0 where a flag says that the offset was applied to the numbers, None where none says so."""
    flags = [value for name, value in properties.items() if name.endswith(":boa_offset_applied")]
    applied = any(str(flag).strip().lower() in ("true", "1", "1.0") for flag in flags)
    return 0.0 if applied else None


def offset_by_baseline(item: Item) -> float | None:
    """Return the offset of a Sentinel-2 processing baseline, None where none is told.

    The baseline tells, not the date: old scenes are processed again. ESA, Sentinel-2 Products Specification Document.
    """
    baseline = baseline_of(item)
    if baseline is None:
        return None
    return OFFSET if baseline[0] >= FIRST_WITH_OFFSET else 0.0


def baseline_of(item: Item) -> tuple[int, int] | None:
    """Return the processing baseline as (4, 0), from its properties or the product's name; None where not told."""
    for name, value in item.properties.items():
        if name.rpartition(":")[2] == "processing_baseline" or name == "processing:version":
            baseline = parse_baseline(value)
            if baseline is not None:
                return baseline
    texts = [value for value in item.properties.values() if isinstance(value, str)]
    for text in (item.id, *texts):
        named = re.search(r"_N(\d{2})\.?(\d{2})(?:_|\.|$)", text)
        if named:
            return int(named[1]), int(named[2])
    return None


def parse_baseline(value) -> tuple[int, int] | None:
    """Return a baseline as two numbers from "04.00", "2.14", 2.12, "N0214" or "0214"; None for anything else."""
    if isinstance(value, bool):
        return None
    text = str(value).strip().upper().lstrip("NV")
    digits = re.fullmatch(r"(\d{2})(\d{2})", text)
    dotted = re.fullmatch(r"(\d{1,2})(?:\.(\d{1,2}))?(?:\.\d+)*", text)
    parts = digits or dotted
    if parts is None:
        return None
    return int(parts[1]), int(parts[2] or 0)


def collection_statement(content: dict, key: str, scale: float) -> Statement | None:
    """Return what a collection says of the file `key` of all its items, None where it tells no offset."""
    assets = content.get("item_assets")
    asset = None
    if isinstance(assets, dict):
        asset = assets.get(key)
    if not isinstance(asset, dict):
        return None
    own_scale, offset = read_scaling(asset)
    if offset is None:
        return None
    return Statement(own_scale or scale, offset, "its collection")


# ── Numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────


def stored(
    numbers: np.ndarray, missing: np.ndarray, statement: Statement, scale: float, offset: float
) -> np.ndarray:
    """Return numbers (H, W) of an archive as uint16 of our scale and offset, at least 1; 0 where missing.

    Where the scales agree this adds a whole number and loses nothing.
    """
    gain = statement.scale / scale
    shift = (statement.offset - offset) / scale
    if abs(gain - 1) < ALIKE and abs(shift - round(shift)) < 1e-6:
        if round(shift) == 0:
            plain = numbers
        else:
            plain = numbers.astype(np.int32) + round(shift)
        if plain.dtype == np.uint16 and not missing.any():
            return plain
    else:
        plain = np.rint(numbers * gain + shift)
    return np.where(missing, 0, plain.clip(1, 65535)).astype(np.uint16)


def bears_out(numbers: np.ndarray, clear: np.ndarray, statement: Statement) -> bool:
    """Tell whether numbers (H, W) agree with a statement: few clear pixels reflect less than nothing, or too much.

    clear : (H, W), True where they show clear ground.
    """
    values = numbers[clear]
    if values.size == 0:
        return True
    lowest = -statement.offset / statement.scale
    highest = (POSSIBLE[1] - statement.offset) / statement.scale
    is_negative = float((values < lowest).mean()) > NEGATIVE_SHARE
    is_too_bright = float(((values > highest) & (values < FULL)).mean()) > MOSTLY
    return not is_negative and not is_too_bright


def implausible_share(dn: np.ndarray, clear: np.ndarray, scale: float, offset: float) -> float:
    """Return the largest share [0-1] of the clear pixels of a band that reflect what no ground can.

    dn : (bands, H, W) uint16, 0 where missing; reflectance = dn * scale + offset. clear : (H, W), True over ground.
    The largest number stands for saturation, as of snow in spring, and counts only where most of a band holds it.
    """
    low, high = ((bound - offset) / scale for bound in POSSIBLE)
    shares = [0.0]
    for band in dn:
        values = band[clear & (band > 0)]
        if not values.size:
            continue
        full = values == FULL
        outside = ((values < low) | (values > high)) & ~full
        shares.append(float(outside.mean()))
        if full.mean() > MOSTLY:
            shares.append(float(full.mean()))
    return max(shares)
