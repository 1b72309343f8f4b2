"""The settings of every training."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import config
from config import Config, GlacierError, setting
from DeepLearning.data.layers import FURTHER
from DeepLearning.training import processes, run_folders
from DeepLearning.training.mirror import MODES
from glacier.storage import runner


@dataclass(frozen=True)
class TrainingConfig(Config):
    network: ClassVar[str]  # name of the class in DeepLearning/models

    # ── 5 Training ───────────────────────────────────────────────────────────────────────────────────────────────
    epochs: int = setting(10, "passes at most", low=1)
    samplesPerEpoch: int = setting(
        1000, "patches drawn for one pass, anew each time; all if there are fewer", low=1
    )
    batchSize: int = setting(32, "patches a process takes at once", low=1)
    accumulate: int = setting(1, "batches whose gradients are summed before a step", low=1)
    learningRate: float = setting(1e-3, "of AdamW, at its highest", low=0)
    warmupEpochs: float = setting(
        1.0, "passes over which the learning rate rises; then it falls as a cosine", low=0
    )
    weightDecay: float = setting(1e-2, "of AdamW", low=0)
    clipNorm: float = setting(1.0, "largest norm of the gradient", low=0)
    averaging: float = setting(
        0.98, "part that the averaged weights keep at a step; they forecast", low=0, high=1
    )
    teacherForcing: float = setting(
        0.0,
        "part of the lead times that read the truth at first, for networks that feed "
        "back; falls to 0 by half time",
        low=0,
        high=1,
    )
    augment: bool = setting(
        False, "flip and turn patches; off: melt starts on slopes that face the sun"
    )
    patience: int = setting(
        8,
        "passes without gain in the years that stop the training, from 4 on, before it ends",
        low=1,
    )
    seed: int = setting(0, "of weights and sampling", low=0)
    deterministic: bool = setting(
        False, "refuse GPU operations that may differ from run to run; CPUs never differ"
    )
    device: str = setting(
        "auto", "where to compute; auto: a GPU if there is one", choices=run_folders.DEVICES
    )
    precision: str = setting(
        "float32",
        "of the network's arithmetic; bfloat16 pays on GPUs and takes 5 to 8 times as long on CPUs without it",
        choices=("float32", "bfloat16"),
    )
    compile: bool = setting(False, "torch.compile; pays for large convolutional networks")
    context: tuple[str, ...] = setting(
        (), f"further layers the network reads: {', '.join(FURTHER)}; none has paid so far"
    )
    names: tuple[str, ...] = setting((), "glaciers to train on, drawn equally; empty: name alone")
    holdout: str | None = setting(
        None,
        "glaciers never trained on, scored at the end: names, a file with one a line, or a share "
        "of names, as 0.2",
    )
    start: str | None = setting(None, "run whose weights to start from (fine-tuning)")
    pictureEvery: int = setting(10, "epochs between pictures of a forecast", low=1)
    wandb: str = setting(
        "auto", "Weights & Biases; auto: online if logged in, else offline", choices=MODES
    )
    resume: bool = setting(False, "go on with the newest unfinished run, with its own settings")

    def __post_init__(self):
        super().__post_init__()
        for name in self.context:
            if name not in FURTHER:
                raise GlacierError(
                    f"context names {name!r}, which is none of {', '.join(FURTHER)}"
                    f"{config.nearest(name, FURTHER)}"
                )


def with_held_out(cfg: TrainingConfig) -> TrainingConfig:
    """Return the settings with the names of the glaciers that `holdout` asks for, which leave `names`.

    A share is drawn by lot, alike for equal seeds, each glacier's lot its own: a further name changes few others. A
    name that stands in both is refused later.
    """
    if not cfg.holdout:
        return cfg
    share = share_of(cfg.holdout)
    if share is not None:
        if len(cfg.names) < 2:
            raise GlacierError(
                f"holdout {cfg.holdout} is a share of names, which lists {len(cfg.names)}; give two or more"
            )
        count = round(share * len(cfg.names))
        count = min(max(1, count), len(cfg.names) - 1)
        held_out = sorted(cfg.names, key=lambda name: config.fingerprint([cfg.seed, name]))[:count]
    elif Path(cfg.holdout).is_file():
        held_out = Path(cfg.holdout).read_text(encoding="utf-8").split()
    else:
        return cfg
    names = tuple(name for name in cfg.names if name not in held_out)
    return dataclasses.replace(cfg, names=names, holdout=",".join(sorted(held_out)))


def share_of(text: str) -> float | None:
    """Return the share that a text gives, above 0 and below 1; None if it gives none."""
    with contextlib.suppress(ValueError):
        share = float(text)
        if 0 < share < 1:
            return share
    return None


def held_out(cfg: TrainingConfig) -> list[str]:
    """Return the names of the glaciers held out."""
    if cfg.holdout:
        return cfg.holdout.split(",")
    return []


FREE = ("wandb", "resume", "pictureEvery")  # settings that do not change what a run computes


def knobs(cfg: TrainingConfig, preset: dict) -> dict:
    """Return a network's arguments: those given as settings, else the preset's."""
    arguments = {}
    for name, value in preset.items():
        given = getattr(cfg, name)
        arguments[name] = value if given is None else given
    return arguments


def for_glacier(cfg: Config, name: str) -> Config:
    """Return the settings of another glacier, its patches cut as here."""
    alike = {key: getattr(cfg, key) for key in ("patchSize", "sequenceLength", "horizon")}
    return config.load(Config, name=name, **alike)


def used(cfg: TrainingConfig) -> dict:
    """Return the settings of a run that change what it computes, beyond those of its patches."""
    names = [
        field.name
        for field in dataclasses.fields(cfg)
        if field.name not in Config.__dataclass_fields__
    ]
    batch = {}
    if processes.COUNT > 1:
        batch = {"processes": processes.COUNT}
    return runner.used_settings(cfg, [name for name in names if name not in FREE]) | batch


def with_settings(cfg: TrainingConfig, saved: dict) -> TrainingConfig:
    """Return the settings with those that a run has saved."""
    if saved.get("processes", 1) != processes.COUNT:
        raise GlacierError(
            f"the run was made by {saved.get('processes', 1)} processes, these are {processes.COUNT}"
        )
    plain = {}
    for name, value in saved.items():
        plain[name] = value
        if isinstance(value, list):
            plain[name] = tuple(value)
    plain.pop("processes", None)
    return dataclasses.replace(cfg, **plain)
