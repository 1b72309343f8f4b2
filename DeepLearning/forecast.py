"""Forecast the whole scene beyond the last composite:  python DeepLearning/forecast.py --name=parvati

Writes DeepLearning/runs/RUN/forecast/: forecast.tif (for each step P(snow), median, mean and 5, 25, 75, 95 %),
members.tif (maps that could occur), snow.csv (snow-covered area, snow line and hydrological years, past and forecast),
forecast.png and forecast.gif, lastTest.png (the last test window: forecast beside truth), and flow.png, flow.csv (the
motion that forecast and truth of that window show).
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.append(str(Path(__file__).resolve().parents[1]))  # where config.py is
from config import Config, setting  # first: it tells who forgot to activate .venv

# isort: split
from DeepLearning.training import choice, run_folders
from glacier import console, export
from glacier.lazily import load
from glacier.patches.windows import STAGE, is_index
from glacier.report import pages
from glacier.storage import runner

if TYPE_CHECKING:
    import torch

    from DeepLearning.data.glacier import Glacier
    from DeepLearning.verification.ahead import Ahead

# loaded with the work, as PyTorch takes seconds: --help and "up to date" go without
data = load("DeepLearning.data.glacier")
trained = load("DeepLearning.training.networks")
ahead = load("DeepLearning.verification.ahead")
motion = load("DeepLearning.verification.motion")
pictures = load("DeepLearning.verification.pictures")
sections = load("DeepLearning.verification.sections")
snow_series = load("DeepLearning.verification.snow_series")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings(Config):
    run: str | None = setting(
        None, "the run to forecast with; None: the glacier's best by validation"
    )
    members: int = setting(
        20, "maps that could occur, in members.tif and behind the bands of snow.csv", low=10
    )
    device: str = setting("auto", "where to compute", choices=run_folders.DEVICES)


def choose_run(cfg: Settings, patches: str) -> Path:
    """Return the run named, or the best by validation, and say which. patches : hash of the glacier's patches."""
    finished = choice.finished_runs(cfg.name, patches)
    if cfg.run or not finished:
        (run,) = run_folders.runs_for(cfg, [cfg.run] if cfg.run else [], patches)
        why = "as asked for"
    else:
        run, why = choice.best_run(finished)
    log.info("Forecasting with %s: %s.", run.name, why)
    return run


def forecast_ahead(
    cfg: Settings, folder: Path, glacier: Glacier, network: torch.nn.Module, device: torch.device
) -> tuple[list[Path], Ahead]:
    """Write the forecast beyond the last composite: GeoTIFFs, snow.csv, pictures; return the files and the forecast."""
    agreement = snow_series.fit(glacier)
    ground = snow_series.read_ground(cfg, glacier)
    tags = {
        "GLACIER": glacier.name,
        "RUN": folder.parent.name,
        "LAST_INPUT": glacier.series.dates[-1],
    }
    files, forecast = ahead.write_ahead(
        folder, glacier, network, device, agreement, cfg.members, tags, ground.thinning
    )
    files.append(ahead.write_style(folder / "forecast.tif", glacier))
    if is_index(glacier.series.channels):
        rows = snow_series.all_rows(glacier, ground, agreement, forecast.snow)
        run_folders.write_csv(folder / "snow.csv", rows)
        files.append(folder / "snow.csv")
        files += snow_series.draw(folder, rows)
    files += pictures.draw_ahead(folder, glacier, forecast)
    return files, forecast


def last_test(
    cfg: Settings, folder: Path, glacier: Glacier, network: torch.nn.Module, device: torch.device
) -> list[Path]:
    """Draw the last test window beside what came, and the motion both show; return the files."""
    tests = glacier.windows("test")
    if not tests:
        return []
    first = glacier.patches.windows[tests[-1]].start
    target = first + glacier.sequence_length
    maps = ahead.past_maps(glacier, network, first, device)
    files = pictures.draw_past(folder / "lastTest.png", glacier, target, maps)
    flow_files, flows = motion.draw_flows(folder, glacier, target, maps["median"], cfg.maxVelocity)
    run_folders.write_csv(folder / "flow.csv", flows)
    return files + flow_files + [folder / "flow.csv"]


def run(cfg: Settings) -> int:
    """Forecast with the run unless that is done; return the exit code."""
    patches = runner.need(cfg, STAGE)
    run_folder = choose_run(cfg, patches)

    def work(folder: Path) -> runner.Result:
        glacier = data.Glacier(cfg, whole=True)
        device = trained.choose_device(cfg.device)
        network = trained.load_network(run_folder, device)
        files, forecast = forecast_ahead(cfg, folder, glacier, network, device)
        files += last_test(cfg, folder, glacier, network, device)
        files += sections.forecast(folder)
        lines = ahead.summary_lines(glacier, forecast)
        return runner.Result(files, {"steps": [line[0] for line in lines[1:]]}, lines)

    manifest = runner.read_manifest(run_folder)
    inputs = {"patches": patches, "run": runner.manifest_hash(manifest)}
    used = runner.used_settings(cfg, ["maxVelocity", "members", "iceOutline", "elevation"])
    folder = choice.folder_in(run_folder, "forecast", cfg.name)
    chosen = []
    if cfg.run:
        chosen = [f"--run={cfg.run}"]
    command = console.command("DeepLearning/forecast.py", cfg.name, *chosen)
    runner.make(cfg, folder, used, inputs, work, command)
    export.write(cfg)
    log.info("All of %s in one page: %s", cfg.name, pages.report(cfg))
    return 0


if __name__ == "__main__":
    sys.exit(console.main(run, Settings))
