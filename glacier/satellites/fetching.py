"""All scenes of a run, read at once by threads or a cluster, and what became of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from itertools import islice

from config import GlacierError
from glacier import machine
from glacier.satellites.assembly import fetch
from glacier.satellites.items import Item
from glacier.satellites.layers import Job
from glacier.satellites.overpasses import Acquisition, Dropped
from glacier.satellites.selection import count_reasons
from glacier.satellites.waiting import Outcome
from glacier.texts import printable
from glacier.workers import THREADS, workplace

BAND_A_PIXEL = 8  # bytes that a band takes while its scene is read, scaled, and written


class AllLostError(GlacierError):
    """Not one scene could be read."""

    exit_code = 3


@dataclass(frozen=True)
class Harvest:
    """What became of all scenes. kept : items of those that are there.

    unfit : with the reason. lost : with the fault. resampled : how many of those kept. warnings : of those kept, by
    label.
    """

    kept: list[Item]
    unfit: list[tuple[Item, str]]
    lost: dict[str, str]
    resampled: int
    warnings: dict[str, str]


def fetch_all(scenes: list[list[Acquisition]], job: Job, executor: str) -> Iterator[Outcome]:
    """Yield what became of each scene, as they finish; few wait at a time, so memory stays flat."""
    with workplace(executor, job.workers) as (pool, at_once):
        if executor == THREADS:
            at_once = min(at_once, fitting(job))
        rest = iter(scenes)
        running: set[Future[Outcome]] = set()
        while True:
            free = at_once - len(running)
            running |= {pool.submit(fetch, scene, job) for scene in islice(rest, free)}
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)


def fitting(job: Job) -> int:
    """Return how many scenes fit into memory while they are read, 1 at least."""
    pixels = math.prod(job.grid.shape)
    a_scene = BAND_A_PIXEL * len(job.bands) * pixels
    return max(1, int(machine.stage_memory(pixels) // a_scene))


def gather(scenes: list[list[Acquisition]], outcomes: list[Outcome], dropped: Dropped) -> Harvest:
    """Return the harvest, in the order of the scenes; AllLostError or GlacierError if no scene is there."""
    by_identity = {outcome.identity: outcome for outcome in outcomes}
    items = [scene[0].item for scene in scenes]
    pairs = [(item, by_identity[item.identity]) for item in items]
    labels = labels_of(items)
    kept = [(item, outcome) for item, outcome in pairs if outcome.is_kept]
    unfit = [(item, outcome.reason) for item, outcome in pairs if outcome.reason]
    lost = {labels[item.identity]: outcome.fault for item, outcome in pairs if outcome.fault}
    reasons = all_reasons(dropped, unfit)
    if not kept and lost:
        raise AllLostError(
            f"{len(lost)} of {len(scenes)} scenes were lost to faults and none is left: "
            f"{count_reasons(list(lost.items()) + reasons)}; check the network, then run again"
        )
    if not kept:
        raise GlacierError(
            f"none of {len(scenes)} scenes is usable: {count_reasons(reasons)}; "
            "raise maxCloudPercent or maxMissingFraction"
        )
    items = [item for item, _ in kept]
    resampled = sum(outcome.resampled for _, outcome in kept)
    doubtful = [(item, outcome.warning) for item, outcome in kept if outcome.warning]
    warnings = {labels[item.identity]: warning for item, warning in doubtful}
    return Harvest(items, unfit, lost, resampled, warnings)


def all_reasons(dropped: Dropped, unfit: list[tuple[Item, str]]) -> Dropped:
    """Return (label, reason) of all scenes that are left out, before they were read or after."""
    return dropped + [(item.label, reason) for item, reason in unfit]


def labels_of(items: list[Item]) -> dict[tuple[str, str], str]:
    """Return what to call items, by identity: their id, with its collection where several share it."""
    counts = Counter(item.label for item in items)
    labels = {item.identity: item.label for item in items}
    shared = [item for item in items if counts[item.label] > 1]
    labels |= {item.identity: f"{printable(item.collection)}/{item.label}" for item in shared}
    return labels


def counts_of(harvest: Harvest, dropped: Dropped) -> dict:
    """Return what the manifest counts."""
    reasons = all_reasons(dropped, harvest.unfit)
    return {
        "kept": len(harvest.kept),
        "dropped": len(reasons),
        "lost": len(harvest.lost),
        "resampled": harvest.resampled,
        "dropped_scenes": numbered(reasons),
        "lost_scenes": harvest.lost,
        "warnings": harvest.warnings,
    }


def numbered(pairs: Dropped) -> dict[str, str]:
    """Return pairs as a dict; a name that comes again gets a number."""
    content: dict[str, str] = {}
    for name, reason in pairs:
        key = name
        number = 1
        while key in content:
            number += 1
            key = f"{name} ({number})"
        content[key] = reason
    return content


def table_of(harvest: Harvest, dropped: Dropped) -> list[tuple]:
    """Return the closing table: kept, resampled, dropped, doubtful and lost."""
    reasons = count_reasons(all_reasons(dropped, harvest.unfit))
    doubts = count_reasons(list(harvest.warnings.items()))
    rows: list[tuple] = [
        ("scenes kept", len(harvest.kept)),
        ("of these resampled, for their pixels lay elsewhere", harvest.resampled),
    ]
    rows += [(f"dropped: {reason}", count) for reason, count in reasons.items()]
    rows += [(f"warning: {doubt}", count) for doubt, count in doubts.items()]
    rows += [(f"lost: {name}: {fault}",) for name, fault in harvest.lost.items()]
    if harvest.lost:
        again = "the same command tries them again, and only them"
        rows.append((f"{len(harvest.lost)} scenes were lost to faults: {again}",))
    return rows
