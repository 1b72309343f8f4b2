"""Train the U-Net:  python DeepLearning/trainUNet.py --name=parvati --widths=32,64,128

--preset=small trains on a laptop, --preset=published is the size of the published results. Every other setting is a
flag too: --help.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

sys.path.append(str(Path(__file__).resolve().parents[1]))  # where config.py is
from config import setting
from DeepLearning.training.session import run_training
from DeepLearning.training.settings import TrainingConfig, knobs

if TYPE_CHECKING:  # loading PyTorch takes seconds: --help goes without
    from DeepLearning.models import UNet

PRESETS = {
    "small": {"widths": (16, 32, 64)},
    "published": {"widths": (64, 128, 256, 512, 1024)},  # 31 million parameters
}


@dataclass(frozen=True)
class Settings(TrainingConfig):
    network: ClassVar[str] = "UNet"

    # ── The network; None: as in the preset ──────────────────────────────────────────────────────────────────────
    preset: str = setting("small", "size of the network", choices=tuple(PRESETS))
    widths: tuple[int, ...] | None = setting(None, "channels at each scale, finest first", low=1)


def build(cfg: Settings, channels: int) -> UNet:
    from DeepLearning.models import UNet

    shape = (cfg.patchSize, channels, cfg.sequenceLength, cfg.horizon)
    return UNet(*shape, context=cfg.context, **knobs(cfg, PRESETS[cfg.preset]))


if __name__ == "__main__":
    sys.exit(run_training(build, Settings))
