"""Make an archive of a valley glacier whose truth is known: Landsat-like scenes as a STAC catalogue of COGs.

    python demo/makeGlacier.py --name=demo --size=256
    python demo/makeGlacier.py --name=valley --glaciers=8 --size=96   # valley1 ... valley8, under one regional weather

Writes datasets/<name>/archive/ (catalog.json, one folder a scene, truth/) and datasets/<name>/glacier.yaml, so that
`python dataAPI.py --name=demo` and all later stages run on it, offline. The same seed gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # where config.py is
import config  # first: it tells who forgot to activate .venv
from config import Config, GlacierError, setting

# isort: split
import numpy as np

from demo.archive import landscape_of, make_glacier, overpasses, reference_day
from demo.catalogue import CRS, MODEL_COLLECTION
from demo.landscape import PIXEL_SIZE
from demo.truth import read_truth, read_weather
from demo.weather import Weather, valley_weather
from glacier import console
from glacier.storage import disk, runner

# What tests and other people's scripts import from here.
__all__ = [
    "CRS",
    "MODEL_COLLECTION",
    "landscape_of",
    "make_glacier",
    "overpasses",
    "read_truth",
    "read_weather",
    "reference_day",
    "run",
]

log = logging.getLogger(__name__)

SOURCE = "archive/catalog.json"  # as glacier.yaml names it
VALLEY_SEEDS = 100  # a region's seeds apart: each has at most 99 valleys


@dataclass(frozen=True)
class Settings(Config):
    name: str = setting("demo", "folder under datasets/")
    size: int = setting(256, "side of the bounding box [px of 30 m]", low=64, high=2048)
    scenesPerYear: int = setting(
        22, "scenes a year; 22: every 16 days, as Landsat 8", low=1, high=365
    )
    seed: int = setting(0, "another seed, another glacier and another weather", low=0)
    iceVelocity: float = setting(120.0, "of the fastest ice [m/yr]", low=0, high=1000)
    iceWidth: float = setting(0.4, "share of the valley's width under ice", low=0.05, high=0.8)
    misregistration: float = setting(
        0.4, "spread of the scenes' shifts, at most 2.5 times that [px]", low=0, high=2
    )
    glaciers: int = setting(
        1,
        "how many; several are valleys of one region, whose snow comes late together",
        low=1,
        high=99,
    )
    cloudiness: float = setting(
        1.0, "factor on the usual cloud fraction; 0: clear skies", low=0, high=3
    )


def run(cfg: Settings) -> int:
    """Make the archive and its glacier.yaml, or those of all valleys, unless up to date; return the exit code."""
    if cfg.glaciers == 1:
        make_archive(cfg)
        log.info("Next: %s", console.command("dataAPI.py", cfg.name))
        return 0
    names = [f"{cfg.name}{number}" for number in range(1, cfg.glaciers + 1)]
    for number, name in enumerate(names, 1):
        seed = VALLEY_SEEDS * cfg.seed + number
        make_archive(dataclasses.replace(cfg, name=name, seed=seed), cfg.seed, number)
    together = ",".join(names)
    for script in ("dataAPI.py", "alignment.py", "createPatches.py"):
        log.info("Next: %s", console.command(script, together))
    training = "DeepLearning/trainConvLSTM.py"
    log.info("Next: %s", console.command(training, names[0], f"--names={together}"))
    return 0


def make_archive(cfg: Settings, region: int | None = None, valley: int = 0) -> None:
    """Make a glacier's archive and its glacier.yaml unless they are up to date.

    region : seed of the weather that it shares with the region's other valleys, None for weather of its own.
    """
    archive = cfg.folder / "archive"
    overlay = cfg.folder / "glacier.yaml"
    present = {"source": SOURCE}
    if overlay.is_file():
        present = config.read_yaml(overlay)
    if present.get("source") != SOURCE:
        raise GlacierError(
            f"{overlay} is of another glacier, with source {present.get('source')}; choose a new --name"
        )
    settings = settings_of(cfg)
    start_values = {"pixelSize": PIXEL_SIZE, "patchSize": min(50, cfg.size // 3)}
    weather = None
    if region is not None:
        settings |= {"region": region}
        start_values |= {"stepsPerYear": 12}
        weather = valley_weather(cfg.years, region, valley)

    def work(folder: Path) -> runner.Result:
        result = write_archive(cfg, folder, weather)
        write_overlay(cfg, start_values)
        return result

    command = console.command("demo/makeGlacier.py", cfg.name)
    runner.make(cfg, archive, settings, {}, work, command)
    if not overlay.is_file():
        write_overlay(cfg, start_values)


def write_overlay(cfg: Settings, start_values: dict) -> None:
    """Write the box, years and source of an archive into its glacier.yaml; the user's own changes stay."""
    path = cfg.folder / "glacier.yaml"
    present = {"source": SOURCE}
    if path.is_file():
        present = config.read_yaml(path)
    box = read_truth(cfg.folder / "archive").bounding_box
    fixed = {"boundingBox": list(box), "years": list(cfg.years), "source": SOURCE}
    disk.write_yaml(path, start_values | present | fixed)


def settings_of(cfg: Settings) -> dict:
    """Return the settings that decide what one archive holds."""
    fields = dataclasses.fields(Settings)
    names = [field.name for field in fields if field.name not in Config.__dataclass_fields__]
    names.remove("glaciers")
    return runner.used_settings(cfg, ["years", *names])


def write_archive(cfg: Settings, folder: Path, weather: Weather | None) -> runner.Result:
    """Write the archive of a glacier in place of an earlier one; return its files and what to tell."""
    (folder / "catalog.json").unlink(missing_ok=True)  # an archive that has one is complete
    for path in folder.glob("[!.]*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    truth = make_glacier(
        folder,
        size=cfg.size,
        years=cfg.years,
        scenes_per_year=cfg.scenesPerYear,
        seed=cfg.seed,
        max_velocity=cfg.iceVelocity,
        ice_width=cfg.iceWidth,
        misregistration=cfg.misregistration,
        cloudiness=cfg.cloudiness,
        weather=weather,
    )
    files = [path for path in folder.rglob("[!.]*") if path.is_file()]
    counts = {
        "scenes": len(truth.ids),
        "less than 20 % cloud": int((truth.cloud_fraction < 0.2).sum()),
    }
    fastest = float(np.hypot(*truth.velocity).max())
    rows = [*counts.items(), ("fastest ice [m/yr]", fastest)]
    return runner.Result(files, counts, rows)


if __name__ == "__main__":
    sys.exit(console.main(run, Settings))
